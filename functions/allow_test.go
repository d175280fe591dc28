package functions

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAllowedPlaces(t *testing.T) {
	tests := []struct {
		pattern  string
		yes, no  string // host:port, separated by blanks
		exact    bool
		any      bool
		isAPlace bool // of addresses
	}{
		{pattern: "opensearch:9200", yes: "opensearch:9200", no: "opensearch:9201 opensearch2:9200 x.opensearch:9200", exact: true},
		{pattern: "OpenSearch.Example.com.:443", yes: "opensearch.example.com:443", no: "example.com:443", exact: true},
		{pattern: "_srv.a-b:1-3", yes: "_srv.a-b:1 _srv.a-b:3", no: "_srv.a-b:4", exact: true},
		{pattern: "*.example.com:443", yes: "a.example.com:443 a.b.example.com:443", no: "example.com:443 evilexample.com:443 a.example.com:80"},
		{pattern: "*:443", yes: "a:443 b.c:443", no: "a:80", any: true},
		{pattern: "*:*", yes: "a:1 b.c:65535", any: true},
		{pattern: "10.0.0.7:*", yes: "10.0.0.7:1 10.0.0.7:65535 [::ffff:10.0.0.7]:80", no: "10.0.0.8:1", exact: true, isAPlace: true},
		{pattern: "[fd00::7]:5432", yes: "[fd00::7]:5432", no: "[fd00::8]:5432 [fd00::7]:5433", exact: true, isAPlace: true},
		{pattern: "[::ffff:10.0.0.7]:80", yes: "10.0.0.7:80", no: "10.0.0.8:80", exact: true, isAPlace: true},
		{pattern: "10.0.0.0/8:5432", yes: "10.255.0.1:5432", no: "11.0.0.1:5432 10.0.0.1:80", isAPlace: true},
		{pattern: "[fd00::]/8:5432", yes: "[fdff::1]:5432", no: "[fe80::1]:5432", isAPlace: true},
		{pattern: "10.0.0.7/32:80", yes: "10.0.0.7:80", no: "10.0.0.6:80", exact: true, isAPlace: true},
	}
	for _, tt := range tests {
		t.Run(tt.pattern, func(t *testing.T) {
			a, err := ParseAllow(tt.pattern)
			if err != nil {
				t.Fatal(err)
			}
			if a.Exact() != tt.exact || a.Any() != tt.any || a.Network().IsValid() != tt.isAPlace {
				t.Errorf("exact %t, any %t, network %v", a.Exact(), a.Any(), a.Network())
			}
			check := func(places string, want bool) {
				for place := range strings.FieldsSeq(places) {
					host, port, _ := splitPattern(place)
					from, _, err := parsePorts(port)
					if err != nil {
						t.Fatal(err)
					}
					got := a.Names(host, from)
					if ip, err := netip.ParseAddr(host); err == nil {
						got = a.Holds(ip, from)
					} else if want && !a.Knows(host) {
						t.Errorf("%s is not known with any port", host)
					}
					if got != want {
						t.Errorf("%s: %t", place, got)
					}
				}
			}
			check(tt.yes, true)
			check(tt.no, false)
		})
	}
}

// An address is never a name, nor the other way round.
func TestAllowedNamesAreNotAddresses(t *testing.T) {
	name, err := ParseAllow("opensearch:9200")
	if err != nil {
		t.Fatal(err)
	}
	if name.Holds(netip.MustParseAddr("10.0.0.7"), 9200) {
		t.Error("a name holds an address")
	}
	network, err := ParseAllow("0.0.0.0/0:9200")
	if err != nil {
		t.Fatal(err)
	}
	if network.Names("10.0.0.7", 9200) || network.Knows("opensearch") {
		t.Error("a network names")
	}
}

func TestAllowRefuses(t *testing.T) {
	tests := []struct{ pattern, want string }{
		{"", "want HOST:PORT"},
		{"opensearch", "want HOST:PORT"},
		{":9200", "want HOST:PORT"},
		{"opensearch:", "want HOST:PORT"},
		{"opensearch::9200", "want HOST:PORT"},
		{"opensearch:0", "port"},
		{"opensearch:65536", "port"},
		{"opensearch:-1", "port"},
		{"opensearch:9-8", "port"},
		{"opensearch:http", "port"},
		{"opensearch:1-", "port"},
		{"http://opensearch:80", "without a scheme"},
		{"a:80,b:80", "repeat the flag"},
		{"a:80 b:80", "repeat the flag"},
		{"fd00::7:5432", "brackets"},
		{"[10.0.0.7]:80", "not an address in brackets"},
		{"[fd00::7:5432", "not an address in brackets"},
		{"[fd00::7]x:80", "not an address in brackets"},
		{"[fe80::1%eth0]:80", "zone"},
		{"10.0.0.7/8:80", "not a network"},
		{"10.0.0.0/33:80", "not a network"},
		{"[::ffff:10.0.0.0]/104:80", "not a network"},
		{"*.:80", "not a host"},
		{"**:80", "not a host"},
		{"a.*.b:80", "not a host"},
		{"*a:80", "not a host"},
		{"a..b:80", "not a host"},
		{"a b:80", "repeat the flag"},
		{"a\x00:80", "not a host"},
		{"bücher.example:80", "not a host"},
		{strings.Repeat("a", 64) + ":80", "not a host"},
		{strings.Repeat("a.", 127) + "a:80", "not a host"},
		{"127.1:80", "not an address"},
		{"2130706433:80", "not an address"},
		{"0x7f000001:80", "not an address"},
		{"0x7f.0x1:80", "not an address"},
		{"0177.0.0.1:80", "not an address"},
		{"*.1:80", "not an address"},
	}
	for _, tt := range tests {
		if a, err := ParseAllow(tt.pattern); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %+v, %v; want %q", tt.pattern, a, err, tt.want)
		}
	}
}

func TestNumericNames(t *testing.T) {
	for name, want := range map[string]bool{
		"127.1": true, "0x7f000001": true, "a.0x": true, "1": true, "a.1": true, "0177.0.0.1": true,
		"": false, "a": false, "1a": false, "1.a": false, "0xg": false, "s3": false, "x0x1": false,
	} {
		if Numeric(name) != want {
			t.Errorf("%q: %t", name, !want)
		}
	}
}

func FuzzParseAllow(f *testing.F) {
	for _, s := range []string{"opensearch:9200", "*.a.b:1-2", "[fd00::]/8:*", "10.0.0.0/8:5", "*:*", "::", "[", "a:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		a, err := ParseAllow(pattern)
		if err != nil {
			return
		}
		if a.Exact() && a.Any() {
			t.Errorf("%q is one and any", pattern)
		}
		if a.Network().IsValid() && !a.Holds(a.Network().Addr(), a.from) {
			t.Errorf("%q does not hold its own address", pattern)
		}
		if a.from == 0 || a.to < a.from {
			t.Errorf("%q: ports %d to %d", pattern, a.from, a.to)
		}
	})
}
