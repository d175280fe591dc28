package functions

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Allow is a place that a function may dial, or a set of them.
type Allow struct {
	host     string // lower case; "" stands for any
	suffix   bool   // host is what comes behind "*", with its dot
	prefix   netip.Prefix
	from, to uint16
}

// ParseAllow reads a pattern of places to dial, HOST:PORT.
//
// HOST is a name (opensearch), a name with all that ends in it
// (*.example.com, which is not example.com itself), an address (10.0.0.7,
// [fd00::7]), a network (10.0.0.0/8, [fd00::]/8) or * for any name or address
// that is public. PORT is a number, a range (9200-9299) or *. Names match
// without regard to case.
func ParseAllow(pattern string) (Allow, error) {
	host, port, err := splitPattern(pattern)
	if err != nil {
		return Allow{}, err
	}
	var a Allow
	if a.from, a.to, err = parsePorts(port); err != nil {
		return Allow{}, err
	}
	if strings.Contains(host, "/") {
		p, err := netip.ParsePrefix(host)
		if err != nil || p.Masked() != p || p.Addr().Is4In6() {
			return Allow{}, fmt.Errorf("%q is not a network; want one like 10.0.0.0/8", host)
		}
		a.prefix = p
		return a, nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return Allow{}, errors.New("want an address without a zone")
		}
		ip = ip.Unmap()
		a.prefix = netip.PrefixFrom(ip, ip.BitLen())
		return a, nil
	}
	if host == "*" {
		a.suffix = true
		return a, nil
	}
	a.host = strings.TrimSuffix(strings.ToLower(host), ".")
	if rest, ok := strings.CutPrefix(a.host, "*."); ok {
		a.host, a.suffix = "."+rest, true
	}
	switch name := strings.TrimPrefix(a.host, "."); {
	case !ValidHost(name):
		return Allow{}, fmt.Errorf("%q is not a host: want a name, *.name, an address, a network or *", host)
	case Numeric(name):
		return Allow{}, fmt.Errorf("%q is not an address; want one like 10.0.0.7", host)
	}
	return a, nil
}

// splitPattern takes HOST:PORT apart; an IPv6 address or network has brackets
// around its address.
func splitPattern(pattern string) (host, port string, err error) {
	switch {
	case strings.Contains(pattern, "://"):
		return "", "", errors.New("want HOST:PORT without a scheme, like opensearch:9200")
	case strings.ContainsAny(pattern, ", "):
		return "", "", errors.New("want one HOST:PORT: for more of them repeat the flag, or the list in wasmill.toml has more items")
	}
	at := strings.LastIndexByte(pattern, ':')
	if at <= 0 || at == len(pattern)-1 || strings.HasSuffix(pattern[:max(at, 0)], ":") {
		return "", "", errors.New("want HOST:PORT, like opensearch:9200")
	}
	host, port = pattern[:at], pattern[at+1:]
	if rest, ok := strings.CutPrefix(host, "["); ok {
		inner, after, ok := strings.Cut(rest, "]")
		if !ok || after != "" && after[0] != '/' || !strings.Contains(inner, ":") {
			return "", "", fmt.Errorf("%q is not an address in brackets", host)
		}
		return inner + after, port, nil
	}
	if strings.Contains(host, ":") {
		return "", "", errors.New("want an IPv6 address in brackets, like [fd00::7]:5432")
	}
	return host, port, nil
}

func parsePorts(port string) (from, to uint16, err error) {
	if port == "*" {
		return 1, 65535, nil
	}
	first, last, ranged := strings.Cut(port, "-")
	if !ranged {
		last = first
	}
	a, err1 := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	if err1 != nil || err2 != nil || a == 0 || b < a {
		return 0, 0, fmt.Errorf("port %q: want 1 to 65535, a range like 9200-9299, or *", port)
	}
	return uint16(a), uint16(b), nil
}

// ValidHost says whether a name, in lower case and without a dot at the end, can be
// that of a host.
func ValidHost(host string) bool {
	if host == "" || len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range label {
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
				return false
			}
		}
	}
	return true
}

// Numeric says whether a name is one that programs take for an IPv4 address though
// it is not written as one (2130706433, 0x7f000001, 127.1): it ends in a number
// (WHATWG URL, "ends in a number").
func Numeric(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == "" {
		return false
	}
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

// Names says whether a name with that port is meant. Names are in lower case and
// without a dot at the end.
func (a Allow) Names(host string, port uint16) bool {
	switch {
	case port < a.from || port > a.to || a.prefix.IsValid():
		return false
	case a.suffix:
		return a.host == "" || strings.HasSuffix(host, a.host)
	}
	return host == a.host
}

// Holds says whether an address with that port is meant as such, by an address
// or a network, not by a name that stands for it.
func (a Allow) Holds(ip netip.Addr, port uint16) bool {
	return port >= a.from && port <= a.to && a.prefix.IsValid() && a.prefix.Contains(ip.Unmap())
}

// Any says whether the pattern is *, which stands for what is public only.
func (a Allow) Any() bool { return a.suffix && a.host == "" }

// Knows says whether a name is meant with some port.
func (a Allow) Knows(host string) bool { return a.Names(host, a.from) }

// Exact says whether the pattern is one name or one address, not a set of them.
func (a Allow) Exact() bool {
	if a.prefix.IsValid() {
		return a.prefix.IsSingleIP()
	}
	return !a.suffix
}

// Network is the network, or the one address, that the pattern stands for; it is
// not valid for names.
func (a Allow) Network() netip.Prefix { return a.prefix }
