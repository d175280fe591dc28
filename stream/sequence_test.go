package stream

import (
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSequenceGolden(t *testing.T) {
	tests := []struct {
		name string
		hex  string // digit by digit, as MECHANISMS has the layout
		text string
		want SequenceNumber
	}{
		{
			"the layout",
			"20" + "5FEE6600" + "3" + "0000000000070009" + "000" + "5FEE6601" + "0000000" + "3" + "2",
			"49614131540201440709412738315282871294097302501250302002",
			SequenceNumber{Epoch: 0x5FEE6600, Shard: 3, Frame: 7, Index: 9, Time: 0x5FEE6601},
		},
		{
			// From the sample event of the AWS Lambda developer guide; its
			// approximateArrivalTimestamp is 1545084650.987.
			"one that AWS gave out",
			"20" + "5BF4E5C2" + "6" + "0000000067648A17" + "000" + "5C181EEA" + "0000000" + "6" + "2",
			"49590338271490256608559692538361571095921575989136588898",
			SequenceNumber{Epoch: 0x5BF4E5C2, Shard: 6, Frame: 0x6764, Index: 0x8A17, Time: 1545084650},
		},
		{
			"the largest",
			"20" + "FFFFFFFF" + "F" + "FFFFFFFFFFFFFFFF" + "000" + "FFFFFFFF" + "0000000" + "F" + "2",
			"50572352848574332325825451895958994428746681513517514994",
			SequenceNumber{Epoch: 1<<32 - 1, Shard: 15, Frame: 1<<48 - 1, Index: 1<<16 - 1, Time: 1<<32 - 1},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, _ := new(big.Int).SetString(tt.hex, 16)
			if tt.want.String() != n.String() {
				t.Errorf("%+v = %s, want hex %s = %s", tt.want, tt.want, tt.hex, n)
			}
			if tt.want.String() != tt.text {
				t.Errorf("%+v = %s, want %s", tt.want, tt.want, tt.text)
			}
			got, err := ParseSequence(tt.text)
			if err != nil || got != tt.want {
				t.Errorf("ParseSequence(%s) = %+v, %v; want %+v", tt.text, got, err, tt.want)
			}
		})
	}
}

func sequences() *rapid.Generator[SequenceNumber] {
	return rapid.Custom(func(t *rapid.T) SequenceNumber {
		// Small ranges too, so that equal leading fields come up and the later ones decide.
		return SequenceNumber{
			Epoch: rapid.OneOf(rapid.Uint32Range(1, 2), rapid.Uint32Min(1)).Draw(t, "epoch"),
			Shard: uint8(rapid.IntRange(0, 15).Draw(t, "shard")),
			Frame: rapid.OneOf(rapid.Uint64Range(0, 2), rapid.Uint64Range(0, 1<<48-1)).Draw(t, "frame"),
			Index: rapid.OneOf(rapid.Uint16Range(0, 1), rapid.Uint16()).Draw(t, "index"),
			Time:  rapid.OneOf(rapid.Uint32Range(0, 1), rapid.Uint32()).Draw(t, "time"),
		}
	})
}

func TestSequenceComparesAsTheInteger(t *testing.T) {
	number := func(s SequenceNumber) *big.Int {
		n, ok := new(big.Int).SetString(s.String(), 10)
		if !ok {
			t.Fatalf("%+v prints as %q", s, s)
		}
		return n
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := sequences().Draw(t, "a"), sequences().Draw(t, "b")
		if got, want := a.Compare(b), number(a).Cmp(number(b)); got != want {
			t.Fatalf("Compare(%+v, %+v) = %d, want %d", a, b, got, want)
		}
	})
}

func TestSequenceGrowsWithEpochThenFrameThenIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := sequences().Draw(t, "a"), sequences().Draw(t, "b")
		b.Shard = a.Shard // of one shard, or a child whose epoch is larger
		switch {
		case a.Epoch < b.Epoch,
			a.Epoch == b.Epoch && a.Frame < b.Frame,
			a.Epoch == b.Epoch && a.Frame == b.Frame && a.Index < b.Index:
			if a.Compare(b) != -1 {
				t.Fatalf("%+v is not below %+v", a, b)
			}
		}
	})
}

func TestSequenceTextRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := sequences().Draw(t, "s")
		if len(s.String()) != 56 {
			t.Fatalf("%+v has %d digits, want 56", s, len(s.String()))
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var got SequenceNumber
		if err := json.Unmarshal(b, &got); err != nil || got != s {
			t.Fatalf("%s reads as %+v, %v; want %+v", b, got, err, s)
		}
	})
}

func TestSequenceZeroIsNoNumber(t *testing.T) {
	var s SequenceNumber
	if s.String() != "" {
		t.Errorf("zero prints as %q, want nothing", s)
	}
	s = SequenceNumber{Epoch: 1}
	if err := s.UnmarshalText(nil); err != nil || !s.IsZero() {
		t.Errorf("nothing reads as %+v, %v; want zero", s, err)
	}
}

func TestParseSequenceRefusesWhatNoShardGaveOut(t *testing.T) {
	good := "49614131540201440709412738315282871294097302501250302002"
	if _, err := ParseSequence(good); err != nil {
		t.Fatal(err)
	}
	hex := func(digits string) string {
		n, _ := new(big.Int).SetString(digits, 16)
		return n.String()
	}
	for name, text := range map[string]string{
		"empty":                  "",
		"zero":                   "0",
		"too short":              good[1:],
		"too long":               good + "0",
		"a sign":                 "+" + good[1:],
		"a letter":               "x" + good[1:],
		"the neighbour":          good[:55] + "3",
		"another version":        hex("21" + "5FEE6600" + "3" + "0000000000070009" + "000" + "5FEE6601" + "0000000" + "3" + "2"),
		"shard digits differ":    hex("20" + "5FEE6600" + "3" + "0000000000070009" + "000" + "5FEE6601" + "0000000" + "4" + "2"),
		"something in the zeros": hex("20" + "5FEE6600" + "3" + "0000000000070009" + "000" + "5FEE6601" + "0000001" + "3" + "2"),
		"all nines":              strings.Repeat("9", 56),
	} {
		if s, err := ParseSequence(text); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: ParseSequence(%q) = %+v, %v; want ErrInvalid", name, text, s, err)
		}
	}
}

func FuzzParseSequence(f *testing.F) {
	f.Add("49614131540201440709412738315282871294097302501250302002")
	f.Add("0")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSequence(text)
		if err == nil && s.String() != text {
			t.Errorf("%q reads as %+v, which prints as %q", text, s, s)
		}
	})
}

// As AWS has them: the counter of a closed shard's end is 7fffffffffffffff.
func TestStartingAndEndingEncloseTheNumbersOfAShard(t *testing.T) {
	sh := Shard{Index: 19, Epoch: 0x5FEE6600, Closed: time.Unix(0x5FEE6609, 0)}
	for hex, got := range map[string]SequenceNumber{
		"20" + "5FEE6600" + "3" + "0000000000000000" + "000" + "5FEE6600" + "0000000" + "3" + "2": sh.Starting(),
		"20" + "5FEE6600" + "3" + "7FFFFFFFFFFFFFFF" + "000" + "5FEE6609" + "0000000" + "3" + "2": sh.Ending(),
	} {
		n, _ := new(big.Int).SetString(hex, 16)
		if got.String() != n.String() {
			t.Errorf("%s, want hex %s", got, hex)
		}
		if back, err := ParseSequence(got.String()); err != nil || back != got {
			t.Errorf("%s reads as %+v, %v", got, back, err)
		}
	}
	for _, first := range []SequenceNumber{
		{Epoch: sh.Epoch, Shard: 3, Frame: 1, Time: sh.Epoch - 9}, // a clock that went back
		{Epoch: sh.Epoch, Shard: 3, Frame: 1 << 46, Index: 1<<16 - 1, Time: 1<<32 - 1},
	} {
		if sh.Starting().Compare(first) >= 0 || first.Compare(sh.Ending()) >= 0 {
			t.Errorf("%s does not lie between %s and %s", first, sh.Starting(), sh.Ending())
		}
	}
	if sh.Closed = (time.Time{}); !sh.Ending().IsZero() {
		t.Error("an open shard has an end")
	}
}
