package batch

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestFull(t *testing.T) {
	l := Limits{Size: 10, Bytes: 114} // 100 bytes of records and the envelope
	for _, c := range []struct {
		name    string
		records int
		bytes   int64
		want    bool
	}{
		{"nothing", 0, 0, false},
		{"fewer than the size", 9, 50, false},
		{"as many as the size", 10, 50, true},
		{"exactly the cap, the last comma not counted", 5, 101, false},
		{"a byte more would not fit", 5, 102, true},
	} {
		if got := l.Full(c.records, c.bytes); got != c.want {
			t.Errorf("%s: full(%d, %d) = %v, want %v", c.name, c.records, c.bytes, got, c.want)
		}
	}
	if !Fits(101, 114) || Fits(102, 114) || !Fits(0, 1) {
		t.Error("Fits does not agree with {\"Records\":[]} of 14 bytes")
	}
}

func TestWindowStartsWithSlotAndRecord(t *testing.T) {
	l := Limits{Window: 5 * time.Second}
	if got := l.Deadline(3*time.Second, 1*time.Second); got != 8*time.Second {
		t.Errorf("slot freed after the record came: deadline %v, want 8s", got)
	}
	if got := l.Deadline(1*time.Second, 3*time.Second); got != 8*time.Second {
		t.Errorf("record came after the slot was free: deadline %v, want 8s", got)
	}
}

func TestHalveLeavesBothSidesSmaller(t *testing.T) {
	for n, want := range map[int]int{2: 1, 3: 1, 8: 4, 9: 4, 10_000: 5_000} {
		if got := Halve(n); got != want {
			t.Errorf("Halve(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestBackoffDoublesToItsLimit(t *testing.T) {
	const limit = time.Minute
	for _, first := range []time.Duration{1, time.Millisecond, 500 * time.Millisecond, limit} {
		for failures := 1; failures < 100; failures++ {
			floor := first
			for range failures - 1 {
				floor = min(2*floor, limit)
			}
			floor = min(floor, max(first, limit/5*4))
			lo, hi := Backoff(first, limit, failures, 0), time.Duration(0)
			for range 20 {
				hi = max(hi, Backoff(first, limit, failures, rand.Uint64()))
			}
			if lo != floor || hi < lo || hi > min(floor+floor/4, limit) {
				t.Fatalf("Backoff(%v, failure %d) from %v to %v, want %v and at most a quarter more", first, failures, lo, hi, floor)
			}
		}
	}
}
