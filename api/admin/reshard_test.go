package admin

import (
	"testing"

	"github.com/wasmill/wasmill/stream"
)

func TestTheMiddleOfARangeIsTheFirstKeyOfItsUpperHalf(t *testing.T) {
	for _, tt := range []struct{ from, to, want string }{
		{"0", "340282366920938463463374607431768211455", "170141183460469231731687303715884105728"},
		{"170141183460469231731687303715884105728", "340282366920938463463374607431768211455", "255211775190703847597530955573826158592"},
		{"7", "8", "8"},
		{"7", "9", "9"},
		{"18446744073709551615", "18446744073709551618", "18446744073709551617"},
		{"5", "5", "6"}, // of one key there is no middle: outside, which the stream refuses
	} {
		from, err1 := stream.ParseHashKey(tt.from)
		to, err2 := stream.ParseHashKey(tt.to)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if got := middle(from, to).String(); got != tt.want {
			t.Errorf("middle of %s to %s = %s, want %s", tt.from, tt.to, got, tt.want)
		}
	}
}
