package door

import (
	"fmt"
	"net/netip"

	"github.com/wasmill/wasmill/functions"
)

// Doubt says of a pattern of an allow list what it does not reach though it looks
// like it; it is empty for a pattern that reaches what it means. Patterns that
// [functions.ParseAllow] refuses have none.
func Doubt(pattern string) string {
	a, err := functions.ParseAllow(pattern)
	if err != nil || a.Exact() {
		return ""
	}
	n := a.Network()
	switch {
	case a.Any():
		return fmt.Sprintf("%q reaches public addresses only: this machine's own are allowed one by one, like 127.0.0.1:5432, and private ones by their name, address or network", pattern)
	case a.Knows("x.localhost"):
		return fmt.Sprintf("%q reaches nothing: this machine's own names are allowed one by one, like db.localhost:5432", pattern)
	case !n.IsValid():
		return ""
	case inside(specialNets, n):
		return fmt.Sprintf("%q reaches nothing: link-local, metadata and special addresses are allowed one by one, like %s", pattern, netip.AddrPortFrom(n.Addr().Next(), 80))
	case inside(loopbackNets, n):
		return fmt.Sprintf("%q reaches nothing: this machine's own addresses are allowed one by one, like 127.0.0.1:5432", pattern)
	case inside(privateNets, n):
		return ""
	}
	for _, nets := range [][]netip.Prefix{specialNets, loopbackNets, privateNets} {
		for _, net := range nets {
			if n.Overlaps(net) {
				return fmt.Sprintf("%q reaches the public addresses in it only: private networks are allowed by themselves, like 10.0.0.0/8:5432, and this machine's own addresses one by one", pattern)
			}
		}
	}
	return ""
}

// inside says whether all of a network is in one of several.
func inside(nets []netip.Prefix, n netip.Prefix) bool {
	for _, outer := range nets {
		if outer.Bits() <= n.Bits() && outer.Contains(n.Addr()) {
			return true
		}
	}
	return false
}
