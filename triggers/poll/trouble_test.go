package poll

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// troubled reads the trigger's trouble, once all has come to rest.
func (r *rig) troubled(want ...string) {
	r.t.Helper()
	time.Sleep(50 * time.Millisecond)
	got := r.status().Trouble
	if len(want) == 0 && got != "" {
		r.t.Errorf("there is trouble: %s", got)
	}
	for _, w := range want {
		if !strings.Contains(got, w) {
			r.t.Errorf("%q is missing in the trouble: %s", w, got)
		}
	}
}

func TestAFailingFinalInvocationIsTroubleUntilItSucceedsOrTheWindowIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		defer r.close()
		c := &recorder{fail: failsOn(runtime.FunctionError, "final")}
		r.fn.handler = c.handle
		r.create(triggers.Config{Tumbling: time.Minute})
		r.put("k", "a")
		r.drain()
		r.troubled()
		if w := r.status().Shards[0].Window; w == nil || w.State != "" {
			t.Errorf("window %+v, want one that is open", w)
		}
		time.Sleep(3 * time.Minute)
		r.troubled("the final invocation of a tumbling window fails in shardId-000000000000", "(Oops: no)", "wasmill trigger seek t --to latest")
		s := r.status()
		if w := s.Shards[0].Window; w == nil || w.State == "" || w.Attempts == 0 || s.LastResult != ResultBad {
			t.Errorf("window %+v, result %q", w, s.LastResult)
		}
		if text := strings.Join(s.Shards[0].Explain, "\n"); !strings.Contains(text, "Mend the function, or give the window up") {
			t.Errorf("no way out is named:\n%s", text)
		}

		if _, err := r.m.Pause(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		s = r.status()
		if w := s.Shards[0].Window; w == nil || w.Attempts == 0 || !strings.Contains(strings.Join(s.Shards[0].Explain, "\n"), "final invocation comes when the trigger goes on after ") {
			t.Errorf("paused: window %+v\n%q", w, s.Shards[0].Explain)
		}
		if _, err := r.m.Resume(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		r.fn.mu.Lock()
		r.fn.handler = (&recorder{}).handle
		r.fn.mu.Unlock()
		time.Sleep(2 * time.Minute)
		r.troubled()
		if w := r.status().Shards[0].Window; w != nil {
			t.Errorf("window %+v, want none", w)
		}

		r.fn.mu.Lock()
		r.fn.handler = c.handle
		r.fn.mu.Unlock()
		r.put("k", "b")
		time.Sleep(3 * time.Minute)
		r.troubled("the final invocation of a tumbling window fails")
		if _, _, err := r.m.Seek(t.Context(), "t", stream.Position{Kind: stream.Latest}, false); err != nil {
			t.Fatal(err)
		}
		r.troubled()
		if w := r.status().Shards[0].Window; w != nil {
			t.Errorf("window %+v, want none: it was given up", w)
		}
	})
}

func TestAWindowEndedBeforeItsTimeByItsStateSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		defer r.close()
		r.fn.handler = func(inv *runtime.Invocation) runtime.Result {
			if inv.Batch.Window.Final {
				return runtime.Result{Outcome: runtime.FunctionError, ErrorType: "Oops", ErrorMessage: "no"}
			}
			return runtime.Result{Outcome: runtime.Done, State: []byte(`{"a":"` + strings.Repeat("x", triggers.MaxState) + `"}`)}
		}
		r.create(triggers.Config{Tumbling: 15 * time.Minute})
		r.put("k", "a")
		time.Sleep(10 * time.Second)
		if text := strings.Join(r.status().Shards[0].Explain, "\n"); !strings.Contains(text, "was ended before its time, since its state of ") {
			t.Errorf("%s", text)
		}
	})
}

func TestAFunctionThatIsGoneIsTroubleAlsoWhileNothingComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		defer r.close()
		r.create(triggers.Config{})
		r.drain()
		r.troubled()
		// As after a release that took the function away: it was there when the trigger was made.
		mp, rev, err := r.mappings.Get(t.Context(), "t")
		if err != nil {
			t.Fatal(err)
		}
		mp.Config.Function = "h"
		if _, err := r.mappings.Update(t.Context(), "t", mp, rev); err != nil {
			t.Fatal(err)
		}
		r.troubled("function h does not exist any more", "wasmill fn create h", "wasmill trigger update t --fn", "wasmill trigger rm t")
		if got := r.status().LastResult; got != ResultBad {
			t.Errorf("last result %q", got)
		}
		mp.Config.Function, mp.Config.Qualifier = "f", "live"
		if got := r.m.Trouble(t.Context(), mp); got != "" {
			t.Errorf("the registry of this test knows every alias: %s", got)
		}
	})
}

func TestAStreamThatIsGoneIsTheLastResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		defer r.close()
		r.create(triggers.Config{})
		r.drain()
		if err := r.streams.Delete(t.Context(), stream.Local("s")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if got := r.status().LastResult; got != ResultNoStream {
			t.Errorf("last result %q", got)
		}
	})
}

func TestFilteredRecordsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		defer r.close()
		r.create(triggers.Config{Filters: []string{`{"data": {"n": [1]}}`}})
		r.put("k", `{"n":1}`, `{"n":2}`, `{"n":3}`)
		r.drain()
		s := r.status().Shards[0]
		if s.Filtered != 2 || s.Done != 1 || !strings.Contains(strings.Join(s.Explain, "\n"), "2 records were let through by no filter since the server was started.") {
			t.Errorf("filtered %d, done %d: %q", s.Filtered, s.Done, s.Explain)
		}
		if _, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.Filters = []string{`{"body": {"n": [1]}}`} }); err != nil {
			t.Fatal(err)
		}
		r.troubled("no record passes", `"body" is of SQS`, "wasmill trigger update t --filter")
		if err := r.m.Delete(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		r.m.mu.Lock()
		defer r.m.mu.Unlock()
		if len(r.m.passed) != 0 {
			t.Errorf("what is gone is remembered: %v", r.m.passed)
		}
	})
}
