// Package door is the way out of a sandbox.
//
// A [Door] stands in the server: it takes a function's wish to dial, asks the
// function's allow list, resolves the name, looks at each address that it is
// about to dial, and dials. It never waits for two answers of a resolver: what
// was checked is what is dialled. An address that it gave out for a name stands
// for this name when the function dials it, since drivers resolve first.
//
// [Sockets] stand in the sandbox: the descriptors that a guest reads and writes.
// None of their calls waits, so that the one thread of a guest can serve all its
// connections; what waits are goroutines on our side of the wall, with bounded
// buffers. docs/door.md describes what a guest sees of it.
package door

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

const (
	// DialTimeout is how long a dial takes at most, resolving included, if the
	// invocation has more time than that.
	DialTimeout = 30 * time.Second
	// maxAddresses is how many addresses of a name are tried.
	maxAddresses = 8
	// fallback is the head start of one address before the next is tried beside it
	// (RFC 8305, Happy Eyeballs: 250 ms).
	fallback = 250 * time.Millisecond
)

// Resolver finds the addresses of a name. [net.Resolver] is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Options shape a [Door]. The zero value works.
type Options struct {
	// Endpoint is host:port of this server, which every function may dial.
	// Defaults to none.
	Endpoint string
	// Behind is where a function's connections to Endpoint go, if that is another
	// listener. Defaults to Endpoint itself.
	Behind netip.AddrPort
	// Resolver defaults to the machine's.
	Resolver Resolver
	// Roots are the certificates that functions trust, as PEM. Defaults to those
	// that this machine trusts; SSL_CERT_FILE and SSL_CERT_DIR say which.
	Roots []byte
	// Connections is how many connections the door holds open or is dialling, for
	// all functions together, and ConnectionsPerVersion for one version of a
	// function. Default to 2,048 and 512.
	Connections, ConnectionsPerVersion int
	// Logger is told of refusals, at debug level. Defaults to nobody.
	Logger *slog.Logger
}

// Door lets functions dial what their configuration allows. It is a
// [runtime.Dialer].
type Door struct {
	o        Options
	endpoint *endpoint
	names    names
	given    given
	roots    func() []byte

	mu      sync.Mutex
	open    int
	version map[string]int // function's incarnation and version -> connections
	// callers are the functions that have, or last had, a connection to Behind, by its
	// address on our side. There are as many as ports at most.
	callers map[netip.AddrPort]string
}

// New returns a door. It panics if the endpoint is not host:port, since it is ours.
func New(o Options) *Door {
	o.Connections = cmp.Or(o.Connections, 2048)
	o.ConnectionsPerVersion = cmp.Or(o.ConnectionsPerVersion, 512)
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Door{o: o, version: make(map[string]int), callers: make(map[netip.AddrPort]string), roots: sync.OnceValue(systemRoots)}
	d.names = names{resolver: o.Resolver, known: make(map[string]*lookup)}
	d.given = given{functions: make(map[string]*gifts)}
	if o.Roots != nil {
		d.roots = func() []byte { return o.Roots }
	}
	if o.Endpoint != "" {
		e, err := parseEndpoint(o.Endpoint)
		if err != nil {
			panic(fmt.Sprintf("door: endpoint %q: %v", o.Endpoint, err))
		}
		d.endpoint = e
	}
	return d
}

// Roots are the certificates of authorities that functions trust.
func (d *Door) Roots() []byte { return d.roots() }

// Dial connects a function to address, host:port. The error is a
// [*runtime.DialError].
func (d *Door) Dial(ctx context.Context, v functions.Version, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	conn, err := d.dial(ctx, v, address)
	if err != nil {
		err = fault(ctx, address, err)
		d.o.Logger.Debug("a function did not get through", "function", v.Function, "version", v.Version, "error", err)
		return nil, err
	}
	return conn, nil
}

func (d *Door) dial(ctx context.Context, v functions.Version, address string) (net.Conn, error) {
	to, err := parsePlace(address)
	if err != nil {
		return nil, err
	}
	release, err := d.enter(v, to.String())
	if err != nil {
		return nil, err
	}
	conn, err := d.through(ctx, v, to)
	if err != nil {
		release()
		return nil, err
	}
	if addressOf(conn.RemoteAddr()) == d.o.Behind {
		d.mu.Lock()
		d.callers[addressOf(conn.LocalAddr())] = v.Function
		d.mu.Unlock()
	}
	return &held{TCPConn: conn, release: release}, nil
}

// Caller is the function whose connection comes to Behind from an address, host:port; "" if
// it is none that was dialled here. Nothing that the function says of itself is believed.
func (d *Door) Caller(address string) string {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return ""
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.callers[netip.AddrPortFrom(at.Addr().Unmap(), at.Port())]
}

func addressOf(a net.Addr) netip.AddrPort {
	at := a.(*net.TCPAddr).AddrPort() // of a TCP connection
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// through resolves, checks and connects.
func (d *Door) through(ctx context.Context, v functions.Version, to place) (*net.TCPConn, error) {
	if ours, ok := d.endpoint.is(to); ok {
		return d.connectOurs(ctx, ours)
	}
	allowed := parseAll(v.Config.Allow)
	if to.addr.IsValid() {
		named := d.given.names(who(v), to.addr, time.Now())
		if err := allowed.address(to, named); err != nil {
			return nil, err
		}
		return connect(ctx, to, []netip.Addr{to.addr})
	}
	if err := allowed.name(to); err != nil {
		return nil, err
	}
	found, err := d.lookup(ctx, v, to.host)
	if err != nil {
		return nil, err
	}
	addrs, err := allowed.resolved(to, found)
	if err != nil {
		return nil, err
	}
	d.given.add(who(v), to.host, addrs, time.Now())
	return connect(ctx, to, addrs)
}

// connectOurs dials this server's own endpoint, whatever address that is.
func (d *Door) connectOurs(ctx context.Context, ours place) (*net.TCPConn, error) {
	if b := d.o.Behind; b.IsValid() {
		return connect(ctx, place{addr: b.Addr(), port: b.Port()}, []netip.Addr{b.Addr()})
	}
	if ours.addr.IsValid() {
		return connect(ctx, ours, []netip.Addr{ours.addr})
	}
	addrs, err := d.names.lookup(ctx, ours.host, forNothing)
	if err != nil {
		return nil, err
	}
	return connect(ctx, ours, addrs)
}

// Resolve gives the addresses of host that the function may dial. Each of them
// stands for host from then on. The error is a [*runtime.DialError].
func (d *Door) Resolve(ctx context.Context, v functions.Version, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	addrs, err := d.resolve(ctx, v, host)
	if err != nil {
		return nil, fault(ctx, host, err)
	}
	return addrs, nil
}

func (d *Door) resolve(ctx context.Context, v functions.Version, host string) ([]netip.Addr, error) {
	to, err := parseHost(host)
	if err != nil {
		return nil, err
	}
	if to.addr.IsValid() {
		return []netip.Addr{to.addr}, nil
	}
	if d.endpoint.named(to.host) {
		return d.endpointAddrs(ctx, to.host)
	}
	allowed := parseAll(v.Config.Allow)
	if err := allowed.name(to); err != nil {
		return nil, err
	}
	found, err := d.lookup(ctx, v, to.host)
	if err != nil {
		return nil, err
	}
	addrs, err := allowed.resolved(to, found)
	if err != nil {
		return nil, err
	}
	d.given.add(who(v), to.host, addrs, time.Now())
	return addrs, nil
}

// lookup finds the addresses of a name for a function.
func (d *Door) lookup(ctx context.Context, v functions.Version, host string) ([]netip.Addr, error) {
	return d.names.lookup(ctx, host, func() (func(), error) { return d.enter(v, host) })
}

// forNothing is the place of our own name: there is one.
func forNothing() (func(), error) { return func() {}, nil }

// endpointAddrs are what the name of our own endpoint resolves to. They are not
// given out: only the endpoint's port may be dialled there.
func (d *Door) endpointAddrs(ctx context.Context, host string) ([]netip.Addr, error) {
	if host == "localhost" {
		return []netip.Addr{d.endpoint.local()}, nil
	}
	addrs, err := d.names.lookup(ctx, host, forNothing)
	if err == nil {
		d.endpoint.learn(addrs)
	}
	return addrs, err
}

// who a function is to the tables: its incarnation.
func who(v functions.Version) string { return cmp.Or(v.ID, v.Function) }

// enter counts a connection, and refuses one too many.
func (d *Door) enter(v functions.Version, what string) (release func(), err error) {
	key := who(v) + "\x00" + v.Version
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.version[key] >= d.o.ConnectionsPerVersion:
		return nil, tooMany("dial %s refused: version %s of the function has %d connections open; close what is not needed", what, v.Version, d.o.ConnectionsPerVersion)
	case d.open >= d.o.Connections:
		return nil, tooMany("dial %s refused: all functions together have %d connections open; try again later", what, d.o.Connections)
	}
	d.version[key]++
	d.open++
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.open--
		if d.version[key]--; d.version[key] == 0 {
			delete(d.version, key)
		}
	}), nil
}

// held is a connection that is counted until it is closed. It is a
// [syscall.Conn], so that its descriptor can be handed over.
type held struct {
	*net.TCPConn
	release func()
}

func (h *held) Close() error {
	defer h.release()
	return h.TCPConn.Close()
}

// connect dials addresses that were checked, the first that answers wins. The
// next is tried when one has failed, or has not answered for a while.
func connect(ctx context.Context, to place, addrs []netip.Addr) (*net.TCPConn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	addrs = addrs[:min(len(addrs), maxAddresses)]
	if len(addrs) == 0 {
		return nil, &runtime.DialError{Kind: runtime.DialNoSuchHost, Message: fmt.Sprintf("dial %s: no such host", to)}
	}
	type result struct {
		conn *net.TCPConn
		err  error
	}
	results := make(chan result, len(addrs)) // has room for all: no dial waits for us
	start := func(ip netip.Addr) {
		conn, err := connectTo(ctx, netip.AddrPortFrom(ip, to.port))
		results <- result{conn, err}
	}
	var (
		next, running int
		first         error
		timer         = time.NewTimer(0)
	)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			if next < len(addrs) {
				go start(addrs[next])
				next++
				running++
				timer.Reset(fallback)
			}
		case r := <-results:
			running--
			if r.err == nil {
				// Whoever else gets through is late.
				go func() {
					for ; running > 0; running-- {
						if r := <-results; r.conn != nil {
							r.conn.Close()
						}
					}
				}()
				return r.conn, nil
			}
			if first == nil {
				first = r.err
			}
			if running == 0 && next == len(addrs) {
				return nil, first
			}
			timer.Reset(0)
		}
	}
}

// connectTo dials one address and nothing else: the socket is looked at once
// more right before it connects.
func connectTo(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
	d := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true},
		Control: func(_, address string, _ syscall.RawConn) error {
			if at, err := netip.ParseAddrPort(address); err != nil || at.Addr().Unmap() != to.Addr().Unmap() || at.Port() != to.Port() {
				return fmt.Errorf("about to connect to %s instead of %s", address, to)
			}
			return nil
		},
	}
	d.SetMultipathTCP(false)
	conn, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// fault makes a [*runtime.DialError] of whatever went wrong.
func fault(ctx context.Context, what string, err error) error {
	if e, ok := errors.AsType[*runtime.DialError](err); ok {
		return e
	}
	say := func(kind runtime.DialFault, why string) error {
		return &runtime.DialError{Kind: kind, Message: fmt.Sprintf("dial %s: %s", printable(what), why)}
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		return say(runtime.DialNoSuchHost, "no such host")
	}
	if kind, ok := systemFault(err); ok {
		return say(kind, reason(err))
	}
	if e, ok := errors.AsType[net.Error](err); ctx.Err() != nil || ok && e.Timeout() {
		return say(runtime.DialTimeout, "nobody answered in time")
	}
	return say(runtime.DialFailed, reason(err))
}

// printable is a guest's word as it can stand in a log.
func printable(what string) string {
	what = strconv.Quote(what)
	return fmt.Sprintf("%.300s", what[1:len(what)-1])
}

// reason is the innermost text of an error of package net.
func reason(err error) string {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		err = e.Err
	}
	return err.Error()
}

func tooMany(format string, a ...any) error {
	return &runtime.DialError{Kind: runtime.DialTooMany, Message: fmt.Sprintf(format, a...)}
}
