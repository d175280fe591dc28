package door

import (
	"net/netip"
	"slices"
	"sync"
)

// endpoint is this server's own: every function may dial it, and nothing else by
// its leave.
type endpoint struct {
	at place

	mu    sync.Mutex
	addrs []netip.Addr // that its name was resolved to, last
}

func parseEndpoint(address string) (*endpoint, error) {
	at, err := parsePlace(address)
	if err != nil {
		return nil, err
	}
	return &endpoint{at: at}, nil
}

// machine says whether the endpoint is on this machine only by its address, and so
// has the machine's names too.
func (e *endpoint) machine() bool {
	return e.at.host == "localhost" || e.at.addr.IsValid() && (e.at.addr.IsUnspecified() || e.at.addr.IsLoopback())
}

// local is its address on this machine.
func (e *endpoint) local() netip.Addr {
	switch {
	case e.at.addr.IsValid() && !e.at.addr.IsUnspecified():
		return e.at.addr
	case e.at.addr.Is6():
		return netip.IPv6Loopback()
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// named says whether a name is that of the endpoint.
func (e *endpoint) named(host string) bool {
	return e != nil && (host == e.at.host || host == "localhost" && e.machine())
}

// learn keeps what the name of the endpoint was resolved to.
func (e *endpoint) learn(addrs []netip.Addr) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.addrs = slices.Clone(addrs)
}

// is says whether a place is the endpoint, and where to connect then.
func (e *endpoint) is(to place) (place, bool) {
	if e == nil || to.port != e.at.port {
		return place{}, false
	}
	if to.host != "" {
		if !e.named(to.host) {
			return place{}, false
		}
		if e.at.host != "" {
			return e.at, true
		}
		return place{addr: e.local(), port: to.port}, true
	}
	switch {
	case to.addr == e.at.addr, e.machine() && to.addr.IsLoopback(), e.machine() && to.addr == e.local():
		if e.at.addr.IsUnspecified() || !e.at.addr.IsValid() {
			return place{addr: e.local(), port: to.port}, true
		}
		return e.at, true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return to, slices.Contains(e.addrs, to.addr)
}
