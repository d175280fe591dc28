package sandbox

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestVersionWhoseProcessesEndOneAfterTheOtherWaitsLongerEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{version: version()}
		var waits []time.Duration
		for range 12 {
			f.lost(nil, death{reason: swollen}, 0)
			waits = append(waits, max(0, time.Until(f.notBefore)))
		}
		if waits[0] != 0 || waits[1] != 100*time.Millisecond || waits[2] != 200*time.Millisecond || waits[11] != maxPause {
			t.Errorf("%v", waits)
		}
		if err := f.pause(t.Context()); err == nil || !strings.Contains(err.Error(), "12 times in a row, the next starts in 30s") {
			t.Errorf("%v", err)
		}
		time.Sleep(29500 * time.Millisecond)
		began := time.Now()
		if err := f.pause(t.Context()); err != nil || time.Since(began) != 500*time.Millisecond {
			t.Errorf("a short pause is sat out: %v after %v", err, time.Since(began))
		}
		f.answered()
		if f.lost(nil, death{reason: swollen}, 0); time.Until(f.notBefore) > 0 {
			t.Error("one that has answered starts again at once")
		}
		if f.lost(nil, death{reason: ended}, 0); f.deaths != 1 {
			t.Error("an end that we wanted counts for nothing")
		}
	})
}
