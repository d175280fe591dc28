package natsd

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheDefaultReserveFollowsTheDisk(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	tests := []struct {
		name       string
		set, total int64
		want       int64
	}{
		{"256 MiB", 0, 10 * gib, 256 * mib},
		{"1 % of a large disk", 0, 1000 * gib, 10 * gib},
		{"a quarter of a small disk", 0, 400 * mib, 100 * mib},
		{"as told", 5 * mib, 1000 * gib, 5 * mib},
		{"as told, on a small disk too", 300 * mib, 400 * mib, 300 * mib},
	}
	for _, tt := range tests {
		if got := reserve(tt.set, tt.total); got != tt.want {
			t.Errorf("%s: reserve(%d, %d) = %d, want %d", tt.name, tt.set, tt.total, got, tt.want)
		}
	}
}

// fakeDisk has 1,000 bytes, of which 100 are kept in reserve.
type fakeDisk struct {
	free  int64
	asked int
}

func (d *fakeDisk) gauge() *gauge {
	return &gauge{reserve: 100, measure: func() (int64, int64, error) {
		d.asked++
		return d.free, 1000, nil
	}}
}

func admits(g *gauge, c Class, bytes int64) bool {
	_, _, ok := g.admit(c, bytes)
	return ok
}

func TestTheReserveIsKeptAndTheSecondHalfIsForJournals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDisk{free: 300}
		g := d.gauge()
		if !admits(g, Data, 200) {
			t.Error("200 of 300 bytes refused: want the reserve of 100 to be left, no more")
		}
		d.free = 100 // they are written now
		if admits(g, Data, 1) {
			t.Error("a record got into the reserve")
		}
		if !admits(g, Journal, 50) {
			t.Error("a journal was refused its half of the reserve")
		}
		d.free = 50
		if admits(g, Journal, 1) {
			t.Error("a journal got into the second reserve")
		}
		d.free = 300 // somebody makes space: at once, no time passes here
		if !admits(g, Data, 1) {
			t.Error("still refused when there is space again")
		}
	})
}

func TestWhatWasAdmittedCountsBeforeTheDiskShowsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDisk{free: 1000}
		g := d.gauge()
		for range 90 {
			if !admits(g, Data, 10) {
				t.Fatal("refused with space left")
			}
		}
		if d.asked != 1 {
			t.Errorf("disk asked %d times for 90 writes at one moment, want once", d.asked)
		}
		d.free = 100
		if admits(g, Data, 10) || d.asked != 2 {
			t.Errorf("the last write must be refused after asking again; asked %d times", d.asked)
		}
		time.Sleep(freshness + 1)
		d.free = 110
		if !admits(g, Data, 10) || d.asked != 3 {
			t.Errorf("an old measurement must not serve; asked %d times", d.asked)
		}
	})
}

func TestADiskThatCannotBeMeasuredRefusesNothing(t *testing.T) {
	g := &gauge{measure: func() (int64, int64, error) { return 0, 0, errors.New("no such call") }}
	if !admits(g, Data, 1<<30) {
		t.Error("refused")
	}
}
