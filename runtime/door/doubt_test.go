package door

import (
	"strings"
	"testing"
)

func TestPatternsThatReachLessThanTheyLookLikeAreDoubted(t *testing.T) {
	tests := []struct{ pattern, want string }{
		{"127.0.0.0/8:4790", "reaches nothing: this machine's"},
		{"[::1]/128:80", ""},
		{"169.254.0.0/16:80", "reaches nothing: link-local"},
		{"169.254.169.254:80", ""},
		{"*:*", "public addresses only"},
		{"*:443", "public addresses only"},
		{"*.localhost:80", "reaches nothing"},
		{"*.example.com:443", ""},
		{"0.0.0.0/0:443", "the public addresses in it only"},
		{"10.0.0.0/7:443", "the public addresses in it only"},
		{"[::]/0:443", "the public addresses in it only"},
		{"10.1.0.0/16:5432", ""},
		{"8.8.8.0/24:53", ""},
		{"localhost:80", ""},
		{"127.0.0.1:80", ""},
		{"nonsense", ""},
	}
	for _, tt := range tests {
		if got := Doubt(tt.pattern); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.pattern, got, tt.want)
		}
	}
}
