package door

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// place is what a function wants to dial: a name or an address, and a port.
type place struct {
	host string     // in lower case, without a dot at the end; empty for an address
	addr netip.Addr // never an IPv4 address in IPv6 clothes
	port uint16     // 0 when only the name is asked for
}

func (p place) String() string {
	switch {
	case p.port == 0 && p.addr.IsValid():
		return p.addr.String()
	case p.port == 0:
		return p.host
	case p.addr.IsValid():
		return netip.AddrPortFrom(p.addr, p.port).String()
	}
	return p.host + ":" + strconv.Itoa(int(p.port))
}

// parsePlace reads host:port.
func parsePlace(address string) (place, error) {
	at := strings.LastIndexByte(address, ':')
	if at < 0 {
		return place{}, refused(address, "want host:port")
	}
	port, err := strconv.ParseUint(address[at+1:], 10, 16)
	if err != nil || port == 0 {
		return place{}, refused(address, "the port is no number from 1 to 65535")
	}
	host := address[:at]
	if inner, ok := strings.CutPrefix(host, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); !ok || !strings.Contains(inner, ":") {
			return place{}, refused(address, "want an IPv6 address in brackets")
		}
		host = inner
	} else if strings.Contains(host, ":") {
		return place{}, refused(address, "want an IPv6 address in brackets")
	}
	to, err := parseHost(host)
	if err != nil {
		return place{}, refused(address, err.(*runtime.DialError).Message)
	}
	to.port = uint16(port)
	return to, nil
}

// parseHost reads a name or an address.
func parseHost(host string) (place, error) {
	fault := func(why string) (place, error) {
		return place{}, &runtime.DialError{Kind: runtime.DialNotAllowed, Message: why}
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return fault("addresses with a zone are of one machine only")
		}
		return place{addr: ip.Unmap()}, nil
	}
	name := strings.TrimSuffix(strings.ToLower(host), ".")
	switch {
	case functions.Numeric(name):
		// What inet_aton takes for an address (2130706433, 0x7f.1) a resolver of
		// the system may as well.
		return fault("neither a name nor an address; addresses are written like 10.0.0.7")
	case !functions.ValidHost(name):
		return fault("that is no name of a host")
	}
	return place{host: name}, nil
}

// refused is an error about a place that cannot be dialled, whatever is allowed.
func refused(what, why string) error {
	return &runtime.DialError{Kind: runtime.DialNotAllowed, Message: fmt.Sprintf("dial %s refused: %s", printable(what), why)}
}

// class says who is at an address.
type class uint8

const (
	public   class = iota
	private        // of this site: a network of containers, of a company
	loopback       // this machine itself
	special        // the link, the cloud's metadata, nobody or everybody
)

func (c class) String() string {
	return [...]string{"a public", "a private", "this machine's own", "a link-local, metadata or special"}[c]
}

var (
	specialNets = prefixes(
		"0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"::/128", "fe80::/10", "fec0::/10", "ff00::/8", "100::/64",
		"100.100.100.200/32", // metadata of Alibaba's cloud
		"168.63.129.16/32",   // wire server of Azure
		"fd00:ec2::/32",      // metadata, time and DNS of AWS (fd00:ec2::254)
		"fd20:ce::254/128",   // metadata of Google's cloud
	)
	loopbackNets = prefixes("127.0.0.0/8", "::1/128")
	privateNets  = prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15", "fc00::/7")

	// Addresses that lead to an IPv4 address which they contain, from that byte on.
	embedded = []struct {
		prefix netip.Prefix
		at     int
		flip   byte
	}{
		{netip.MustParsePrefix("::/96"), 12, 0},             // IPv4-compatible (RFC 4291)
		{netip.MustParsePrefix("::ffff:0:0:0/96"), 12, 0},   // IPv4-translated (RFC 2765)
		{netip.MustParsePrefix("64:ff9b::/96"), 12, 0},      // NAT64 (RFC 6052)
		{netip.MustParsePrefix("2002::/16"), 2, 0},          // 6to4 (RFC 3056)
		{netip.MustParsePrefix("2001::/32"), 12, 0xff},      // Teredo (RFC 4380), its bits flipped
		{netip.MustParsePrefix("::ffff:0.0.0.0/96"), 12, 0}, // IPv4-mapped (RFC 4291)
	}
	// A network's own NAT64 (RFC 8215) may have the address anywhere.
	localNAT64 = netip.MustParsePrefix("64:ff9b:1::/48")
)

func prefixes(s ...string) []netip.Prefix {
	p := make([]netip.Prefix, len(s))
	for i := range s {
		p[i] = netip.MustParsePrefix(s[i])
	}
	return p
}

func within(nets []netip.Prefix, ip netip.Addr) bool {
	for _, n := range nets {
		if n.Contains(ip) {
			return true
		}
	}
	return false
}

// classOf says who is at an address, looking through what translates to IPv4.
func classOf(ip netip.Addr) class {
	ip = ip.Unmap().WithZone("")
	switch {
	case within(specialNets, ip), localNAT64.Contains(ip):
		return special
	case within(loopbackNets, ip):
		return loopback
	}
	if ip.Is6() {
		for _, e := range embedded {
			if e.prefix.Contains(ip) {
				b := ip.As16()
				v4 := [4]byte(b[e.at : e.at+4])
				for i := range v4 {
					v4[i] ^= e.flip
				}
				return classOf(netip.AddrFrom4(v4))
			}
		}
	}
	if within(privateNets, ip) {
		return private
	}
	return public
}

// allowList is what a function may dial.
type allowList []functions.Allow

// parseAll reads the patterns of a configuration, which were checked when it was
// made; one that cannot be read allows nothing.
func parseAll(patterns []string) allowList {
	list := make(allowList, 0, len(patterns))
	for _, p := range patterns {
		if a, err := functions.ParseAllow(p); err == nil {
			list = append(list, a)
		}
	}
	return list
}

// notAllowed is the refusal that a user can mend.
func notAllowed(to place) error {
	what := to.String()
	if to.port == 0 {
		return &runtime.DialError{Kind: runtime.DialNotAllowed,
			Message: fmt.Sprintf("resolve %s refused: not in the function's allow list; fn update --allow %s:PORT", what, what)}
	}
	return &runtime.DialError{Kind: runtime.DialNotAllowed,
		Message: fmt.Sprintf("dial %s refused: not in the function's allow list; fn update --allow %s", what, what)}
}

// means says whether a pattern means a name, with its port or, asked for none,
// with any.
func means(a functions.Allow, to place) bool {
	if to.port == 0 {
		return a.Knows(to.host)
	}
	return a.Names(to.host, to.port)
}

// name says whether a name may be resolved, in order to be dialled.
func (l allowList) name(to place) error {
	for _, a := range l {
		if means(a, to) {
			return nil
		}
	}
	return notAllowed(to)
}

// reach is what a pattern that means host reaches under it. A name of its own
// may be one of a private network, as it is among containers; a set of names, which
// somebody else may add to, is public only. This machine is reached by names that
// it gives itself, in /etc/hosts or as localhost, and not by one that a server of
// names out there answers for: example.com must not become our port 6379 one day.
// Link-local and metadata addresses have to be named themselves in any case.
func reach(a functions.Allow, host string) class {
	switch {
	case !a.Exact():
		return public
	case strings.Contains(host, ".") && !strings.HasSuffix(host, ".localhost"):
		return private
	}
	return loopback
}

// itself says whether an address is in the list in its own right, by itself and not
// by a network.
func (l allowList) itself(ip netip.Addr, port uint16) bool {
	for _, a := range l {
		if a.Network().IsValid() && a.Exact() && (port == 0 && a.Network().Addr() == ip || a.Holds(ip, port)) {
			return true
		}
	}
	return false
}

// resolved gives those of a name's addresses that may be dialled under it, or by
// their own leave.
func (l allowList) resolved(to place, found []netip.Addr) ([]netip.Addr, error) {
	far, any := public, false
	for _, a := range l {
		if means(a, to) {
			far, any = max(far, reach(a, to.host)), true
		}
	}
	if !any {
		return nil, notAllowed(to)
	}
	var addrs []netip.Addr
	var over netip.Addr
	for _, ip := range found {
		ip = ip.Unmap()
		if ip.Zone() != "" || classOf(ip) > far && !l.itself(ip, to.port) {
			over = ip
			continue
		}
		addrs = append(addrs, ip)
	}
	if len(addrs) > 0 {
		return addrs, nil
	}
	if !over.IsValid() {
		return nil, &runtime.DialError{Kind: runtime.DialNoSuchHost, Message: fmt.Sprintf("dial %s: no such host", to)}
	}
	c, hint := classOf(over), to
	if c == special || c == loopback {
		hint = place{addr: over.WithZone(""), port: to.port}
	}
	return nil, &runtime.DialError{Kind: runtime.DialNotAllowed, Message: fmt.Sprintf(
		"dial %s refused: it is at %s, %s address, which the function's allow list does not name; fn update --allow %s", to, over, c, withPort(hint))}
}

func withPort(to place) string {
	if to.port == 0 {
		return to.String() + ":PORT"
	}
	return to.String()
}

// address says whether an address may be dialled: as one that the list names, by a
// network of the list, as a public one by *, or for a name that it was given out for.
func (l allowList) address(to place, named []string) error {
	c := classOf(to.addr)
	for _, a := range l {
		switch {
		case a.Holds(to.addr, to.port) && c <= reachOf(a):
			return nil
		case a.Any() && c == public && a.Names("", to.port):
			return nil
		}
	}
	var err error
	for _, name := range named {
		as := place{host: name, port: to.port}
		if _, err = l.resolved(as, []netip.Addr{to.addr}); err == nil {
			return nil
		}
	}
	if err != nil {
		return err // about the name, which the user knows
	}
	return notAllowed(to)
}

// reachOf is what a pattern of addresses reaches. One address reaches itself,
// whatever it is. A network reaches private addresses if all of it is private, so
// that 0.0.0.0/0 is not more than it looks like.
func reachOf(a functions.Allow) class {
	if a.Exact() {
		return special
	}
	for _, n := range privateNets {
		if p := a.Network(); n.Bits() <= p.Bits() && n.Contains(p.Addr()) {
			return private
		}
	}
	return public
}
