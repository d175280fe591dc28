package natsd

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// fakeDir is a data directory that takes as much as it is told.
type fakeDir struct {
	takes, cost int64 // bytes; milliseconds to measure
	asked       int
	said        []string
}

func (d *fakeDir) quota(most int64) *quota {
	return &quota{most: most,
		measure: func() int64 {
			d.asked++
			time.Sleep(time.Duration(d.cost) * time.Millisecond)
			return d.takes
		},
		warn: func(used, most int64, over bool) { d.said = append(d.said, fmt.Sprint(used, over)) }}
}

func takes(q *quota, c Class, bytes int64) bool {
	_, ok := q.admit(c, bytes)
	return ok
}

func TestJournalsMayExceedTheDiskLimitByATenth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDir{takes: 900}
		q := d.quota(1000)
		if takes(q, Data, 101) || !takes(q, Data, 100) {
			t.Error("want the limit to be reached, and no more")
		}
		if d.takes = 1000; takes(q, Data, 1) { // written now
			t.Error("a record got above the limit")
		}
		if takes(q, Journal, 101) || !takes(q, Journal, 100) {
			t.Error("want a tenth more for journals, and no more")
		}
		if d.takes = 1100; takes(q, Journal, 1) {
			t.Error("a journal got above its limit")
		}
		// What was deleted is noticed when it matters.
		d.takes = 10
		if !takes(q, Data, 900) {
			t.Error("refused though there is room")
		}
		if q := d.quota(0); !takes(q, Data, 1<<60) {
			t.Error("refused without a limit")
		}
	})
}

func TestMeasuringTakesAFiftiethOfTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDir{takes: 10, cost: 20}
		q := d.quota(1 << 40)
		for range 10_000 { // 10 s
			if !takes(q, Data, 1) {
				t.Fatal("refused")
			}
			time.Sleep(time.Millisecond)
		}
		if d.asked < 8 || d.asked > 11 {
			t.Errorf("measured %d times in 10 s, want about once a second", d.asked)
		}
		d.asked, d.takes = 0, 1<<41
		for range 1000 {
			if takes(q, Data, 1) && d.asked > 0 {
				t.Fatal("taken above the limit")
			}
			time.Sleep(time.Millisecond)
		}
		if d.asked < 1 || d.asked > 6 {
			t.Errorf("measured %d times a second while all is refused, want about 5", d.asked)
		}
	})
}

// Issue 3, quotas: a warning at 80 %, said once.
func TestTheDiskLimitIsWarnedOfOnceUntilThereIsRoomAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDir{}
		q := d.quota(1000)
		for _, takesNow := range []int64{0, 799, 800, 850, 799, 750, 900, 749, 790, 800} {
			d.takes = takesNow
			time.Sleep(time.Second)
			takes(q, Data, 0)
			takes(q, Journal, 0)
		}
		if got, want := fmt.Sprint(d.said), "[800 true 749 false 800 true]"; got != want {
			t.Errorf("said %s, want %s", got, want)
		}
	})
}

func TestTheDiskLimitIsOneOfTheOptions(t *testing.T) {
	for _, o := range []Options{{Dir: "x", MaxDisk: 1<<20 - 1}, {Dir: "x", MaxDisk: -1}, {Memory: true, MaxDisk: 1 << 30}} {
		if err := o.withDefaults().validate(); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
	if err := (Options{Dir: "x", MaxDisk: 1 << 20}).withDefaults().validate(); err != nil {
		t.Error(err)
	}
	if err := error(&QuotaError{}); !errors.Is(err, ErrReserve) {
		t.Error("a quota that is reached is no ErrReserve")
	}
}
