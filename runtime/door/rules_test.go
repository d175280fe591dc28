package door

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime"
)

func TestClassesOfAddresses(t *testing.T) {
	tests := map[string]class{
		"93.184.216.34": public, "1.1.1.1": public, "2606:4700::1111": public,
		"10.0.0.1": private, "172.16.0.1": private, "172.31.255.255": private, "192.168.1.1": private, "100.64.0.1": private, "198.18.0.1": private,
		"fd12:3456::1": private, "fc00::1": private,
		"127.0.0.1": loopback, "127.255.255.254": loopback, "::1": loopback,
		"169.254.169.254": special, "169.254.0.1": special, "fe80::1": special, "fec0::1": special, "0.0.0.0": special, "0.1.2.3": special, "::": special,
		"224.0.0.1": special, "255.255.255.255": special, "240.0.0.1": special, "ff02::1": special,
		"100.100.100.200": special, "fd00:ec2::254": special, "fd20:ce::254": special, "168.63.129.16": special, "192.0.0.192": special,
		// IPv4 in other clothes.
		"::ffff:127.0.0.1": loopback, "::ffff:169.254.169.254": special, "::ffff:10.0.0.1": private, "::ffff:1.1.1.1": public,
		"::127.0.0.1": loopback, "::169.254.169.254": special,
		"::ffff:0:127.0.0.1": loopback,
		"64:ff9b::7f00:1":    loopback, "64:ff9b::a9fe:a9fe": special, "64:ff9b::a00:1": private, "64:ff9b::101:101": public, "64:ff9b:1::1": special,
		"2002:7f00:1::": loopback, "2002:a9fe:a9fe::1": special, "2002:101:101::": public,
		"2001:0:1:2:3:4:80ff:fffe": loopback, "2001:0:1:2:3:4:5601:5601": special,
	}
	for s, want := range tests {
		if got := classOf(netip.MustParseAddr(s)); got != want {
			t.Errorf("%s: %v; want %v", s, got, want)
		}
	}
}

func TestPlaces(t *testing.T) {
	for address, want := range map[string]string{
		"opensearch:9200":             "opensearch:9200",
		"OpenSearch.:9200":            "opensearch:9200",
		"10.0.0.7:80":                 "10.0.0.7:80",
		"[fd00::7]:80":                "[fd00::7]:80",
		"[::ffff:127.0.0.1]:80":       "127.0.0.1:80",
		"xn--bcher-kva.example:65535": "xn--bcher-kva.example:65535",
	} {
		if to, err := parsePlace(address); err != nil || to.String() != want {
			t.Errorf("%s: %v, %v", address, to, err)
		}
	}
	for _, address := range []string{
		"", ":", "a", "a:", ":80", "a:0", "a:65536", "a:-1", "a:+1", "a:http", "a:80:80", "[a]:80", "[127.0.0.1]:80", "fd00::7:80",
		"[fe80::1%lo]:80", "fe80::1%lo:80", "[::1:80", "0x7f000001:80", "2130706433:80", "127.1:80", "0177.0.0.1:80", "127.0.0.01:80", "0:80",
		"a..b:80", "a b:80", "a\n:80", "a\x00.b:80", "a/b:80", "u@a:80", "*:80", "*.a:80", "bücher:80", "１２７.０.０.１:80", strings.Repeat("a", 64) + ":80",
	} {
		to, err := parsePlace(address)
		e, ok := errors.AsType[*runtime.DialError](err)
		if !ok || e.Kind != runtime.DialNotAllowed {
			t.Errorf("%q: %v, %v", address, to, err)
		} else if strings.ContainsAny(e.Message, "\n\x00") {
			t.Errorf("%q: its bytes are in the message %q", address, e.Message)
		}
	}
}

func TestAllowLists(t *testing.T) {
	const no = "not in the function's allow list"
	tests := []struct {
		name  string
		allow string // separated by blanks
		to    string
		found string // what a name resolves to; of an address, the names it stands for
		want  string // addresses, "yes", or a part of the refusal
	}{
		{"nothing is allowed by default", "", "opensearch:9200", "10.0.0.1", no},
		{"a name that is named may be private", "opensearch:9200", "opensearch:9200", "10.0.0.1 fd00::1 1.1.1.1", "10.0.0.1 fd00::1 1.1.1.1"},
		{"and on this machine", "localhost:9200", "localhost:9200", "::1 127.0.0.1", "::1 127.0.0.1"},
		{"or of a name below that", "db.localhost:9200", "db.localhost:9200", "127.0.0.1", "127.0.0.1"},
		{"but not by a name that others answer for", "example.com:6379", "example.com:6379", "127.0.0.1", "this machine's own address, which the function's allow list does not name; fn update --allow 127.0.0.1:6379"},
		{"nor by NAT64", "example.com:6379", "example.com:6379", "64:ff9b::7f00:1 ::1 ::ffff:127.0.0.1", "this machine's own address"},
		{"nor as an address that it was given out for", "example.com:6379", "127.0.0.1:6379", "example.com", "this machine's own address"},
		{"unless that is named as well", "example.com:6379 127.0.0.1:6379", "example.com:6379", "127.0.0.1", "127.0.0.1"},
		{"for that port", "example.com:6379 127.0.0.1:80", "example.com:6379", "127.0.0.1", "this machine's own address"},
		{"and not by a network", "example.com:6379 127.0.0.0/8:*", "example.com:6379", "127.0.0.1", "this machine's own address"},
		{"metadata that is named", "metadata:80 169.254.169.254:80", "metadata:80", "169.254.169.254", "169.254.169.254"},
		{"a private address it may be", "db.example.com:5432", "db.example.com:5432", "10.0.0.1", "10.0.0.1"},
		{"another port is another place", "opensearch:9200", "opensearch:9201", "10.0.0.1", no},
		{"a range of ports", "opensearch:9200-9210", "opensearch:9205", "1.1.1.1", "1.1.1.1"},
		{"a name is never link-local", "metadata:80", "metadata:80", "169.254.169.254", "fn update --allow 169.254.169.254:80"},
		{"nor everybody", "metadata:80", "metadata:80", "0.0.0.0", "it is at 0.0.0.0, a link-local"},
		{"nor what translates to it", "metadata:80", "metadata:80", "64:ff9b::a9fe:a9fe", "fn update --allow [64:ff9b::a9fe:a9fe]:80"},
		{"nor of another machine's zone", "opensearch:9200", "opensearch:9200", "fe80::1%lo", "it is at fe80::1%lo, a link-local"},
		{"of a name's addresses those that may be dialled", "opensearch:9200", "opensearch:9200", "169.254.1.1 10.0.0.1", "10.0.0.1"},
		{"an IPv4 address in IPv6 clothes is one", "opensearch:9200", "opensearch:9200", "::ffff:10.0.0.1", "10.0.0.1"},
		{"a name without addresses", "opensearch:9200", "opensearch:9200", "", "no such host"},
		{"a set of names is public", "*.example.com:443", "a.example.com:443", "1.1.1.1 10.0.0.1", "1.1.1.1"},
		{"and not private", "*.example.com:443", "a.example.com:443", "10.0.0.1", "a private address, which the function's allow list does not name; fn update --allow a.example.com:443"},
		{"nor this machine", "*.example.com:443", "a.example.com:443", "127.0.0.1", "this machine's own address"},
		{"any name is public", "*:443", "a.b:443", "1.1.1.1 10.0.0.1 127.0.0.1", "1.1.1.1"},
		{"and not this machine", "*:*", "localhost:80", "127.0.0.1", "this machine's own address"},
		{"the widest pattern counts", "*:443 db:443", "db:443", "10.0.0.1", "10.0.0.1"},
		{"a network names no names", "10.0.0.0/8:443", "db:443", "10.0.0.1", no},

		{"an address", "10.0.0.1:80", "10.0.0.1:80", "", "yes"},
		{"another address", "10.0.0.1:80", "10.0.0.2:80", "", no},
		{"an address of a network", "10.0.0.0/8:80", "10.9.9.9:80", "", "yes"},
		{"a network of everything is public", "0.0.0.0/0:80", "1.1.1.1:80", "", "yes"},
		{"and not private", "0.0.0.0/0:80", "10.0.0.1:80", "", no},
		{"nor this machine", "0.0.0.0/0:80", "127.0.0.1:80", "", no},
		{"nor metadata", "0.0.0.0/0:80 169.254.0.0/16:80 *:80", "169.254.169.254:80", "", no},
		{"a network of this machine has to be named by address", "127.0.0.0/8:80", "127.0.0.1:80", "", no},
		{"this machine by its address", "127.0.0.1:80", "127.0.0.1:80", "", "yes"},
		{"metadata by its address", "169.254.169.254:80", "169.254.169.254:80", "", "yes"},
		{"metadata of AWS over IPv6", "[fd00::]/8:80", "[fd00:ec2::254]:80", "", no},
		{"metadata of Alibaba", "100.64.0.0/10:80", "100.100.100.200:80", "", no},
		{"an address in IPv6 clothes", "127.0.0.1:80", "[::ffff:127.0.0.1]:80", "", "yes"},
		{"NAT64 of this machine", "[64:ff9b::]/96:80 127.0.0.1:80", "[64:ff9b::7f00:1]:80", "", no},
		{"NAT64 of a public one", "[64:ff9b::]/96:80", "[64:ff9b::101:101]:80", "", "yes"},
		{"any public address", "*:443", "1.1.1.1:443", "", "yes"},
		{"and no private one", "*:443", "10.0.0.1:443", "", no},
		{"a set of names is no address", "*.example.com:443", "1.1.1.1:443", "", no},
		{"an address given out for a name", "opensearch:9200", "10.0.0.1:9200", "opensearch", "yes"},
		{"on another port", "opensearch:9200", "10.0.0.1:80", "opensearch", "dial opensearch:80 refused: " + no + "; fn update --allow opensearch:80"},
		{"given out for one of a set", "*.example.com:443", "1.1.1.1:443", "a.example.com", "yes"},
		{"given out for two names", "b:80", "10.0.0.1:80", "a b", "yes"},
		{"given out for a name that is not allowed any more", "", "10.0.0.1:80", "a", "dial a:80 refused: " + no},
		{"this machine, given out for a set", "*.example.com:443", "127.0.0.1:443", "a.example.com", "this machine's own address"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list := parseAll(strings.Fields(tt.allow))
			if len(list) != len(strings.Fields(tt.allow)) {
				t.Fatal("a pattern cannot be read")
			}
			to, err := parsePlace(tt.to)
			if err != nil {
				t.Fatal(err)
			}
			const yes = "yes"
			got := yes
			if to.addr.IsValid() {
				err = list.address(to, strings.Fields(tt.found))
			} else if err = list.name(to); err == nil {
				var found, addrs []netip.Addr
				for s := range strings.FieldsSeq(tt.found) {
					found = append(found, netip.MustParseAddr(s))
				}
				addrs, err = list.resolved(to, found)
				var texts []string
				for _, a := range addrs {
					texts = append(texts, a.String())
				}
				got = strings.Join(texts, " ")
			}
			if err != nil {
				if _, ok := errors.AsType[*runtime.DialError](err); !ok {
					t.Errorf("%T", err)
				}
				if !strings.Contains(err.Error(), tt.want) || tt.want == yes || areAddresses(tt.want) {
					t.Errorf("refused: %v; want %s", err, tt.want)
				}
				return
			}
			if got != tt.want {
				t.Errorf("allowed %s; want %s", got, tt.want)
			}
		})
	}
}

// areAddresses says whether a text is addresses, separated by blanks.
func areAddresses(s string) bool {
	for a := range strings.FieldsSeq(s) {
		if _, err := netip.ParseAddr(a); err != nil {
			return false
		}
	}
	return s != ""
}

func TestRefusalReadsAsDocumented(t *testing.T) {
	err := parseAll(nil).name(place{host: "opensearch", port: 9200})
	if want := "dial opensearch:9200 refused: not in the function's allow list; fn update --allow opensearch:9200"; err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

func TestEndpointIsAllowedAndNothingBesideIt(t *testing.T) {
	tests := []struct{ endpoint, to, at string }{
		{"127.0.0.1:4566", "127.0.0.1:4566", "127.0.0.1:4566"},
		{"127.0.0.1:4566", "localhost:4566", "127.0.0.1:4566"},
		{"127.0.0.1:4566", "127.0.0.1:4567", ""},
		{"127.0.0.1:4566", "other:4566", ""},
		{"127.0.0.1:4566", "10.0.0.1:4566", ""},
		{"0.0.0.0:4566", "127.0.0.1:4566", "127.0.0.1:4566"},
		{"[::]:4566", "localhost:4566", "[::1]:4566"},
		{"localhost:4566", "localhost:4566", "localhost:4566"},
		{"10.0.0.1:4566", "localhost:4566", ""},
		{"10.0.0.1:4566", "127.0.0.1:4566", ""},
		{"10.0.0.1:4566", "10.0.0.1:4566", "10.0.0.1:4566"},
		{"mill.example:4566", "mill.example:4566", "mill.example:4566"},
		{"mill.example:4566", "localhost:4566", ""},
		{"", "127.0.0.1:4566", ""},
	}
	for _, tt := range tests {
		var e *endpoint
		if tt.endpoint != "" {
			var err error
			if e, err = parseEndpoint(tt.endpoint); err != nil {
				t.Fatal(err)
			}
		}
		to, err := parsePlace(tt.to)
		if err != nil {
			t.Fatal(err)
		}
		at, ok := e.is(to)
		if ok != (tt.at != "") || ok && at.String() != tt.at {
			t.Errorf("%s, dialled %s: %v, %t", tt.endpoint, tt.to, at, ok)
		}
	}
}

func FuzzPlace(f *testing.F) {
	for _, s := range []string{"a:1", "[::1]:2", "0x7f.1:80", "1.2.3.4:5", "[fe80::1%a]:1"} {
		f.Add(s)
	}
	everything := parseAll([]string{"*:*", "0.0.0.0/0:*", "[::]/0:*"})
	f.Fuzz(func(t *testing.T, address string) {
		to, err := parsePlace(address)
		if err != nil {
			return
		}
		again, err := parsePlace(to.String())
		if err != nil || again != to {
			t.Errorf("%q: %v and %v, %v", address, to, again, err)
		}
		if to.addr.IsValid() && everything.address(to, nil) == nil && classOf(to.addr) != public {
			t.Errorf("%q: everything is not public only", address)
		}
	})
}
