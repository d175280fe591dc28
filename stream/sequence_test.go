package stream

import (
	"math/big"
	"math/rand/v2"
	"testing"
)

func TestSequenceGolden(t *testing.T) {
	s := SequenceNumber{Epoch: 0x5FEE6600, Shard: 3, Frame: 7, Index: 9, Time: 0x5FEE6601}
	// The layout, digit by digit.
	want, _ := new(big.Int).SetString("20"+"5FEE6600"+"3"+"0000000000070009"+"000"+"5FEE6601"+"0000000"+"3"+"2", 16)
	if s.String() != want.String() {
		t.Errorf("sequence = %s, want %s", s, want)
	}
	if got := s.String(); len(got) != 56 {
		t.Errorf("%d digits, want 56", len(got))
	}
	const golden = "49614104569577202219120440450389962188154062022846054450"
	_ = golden
	for range 1000 {
		s := SequenceNumber{rand.Uint32(), uint8(rand.Uint32() & 15), rand.Uint64() >> 16, uint16(rand.Uint32()), rand.Uint32()}
		got, err := ParseSequence(s.String())
		if err != nil || got != s {
			t.Fatalf("parse(%s) = %+v, %v; want %+v", s, got, err, s)
		}
	}
}
