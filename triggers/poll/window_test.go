package poll

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// A dead letter that is delivered again comes too late for its window. It has one of its own, with no
// state, and the final invocation follows at once; what both emit is there once, and only if both succeed.
func TestARedrivenLetterHasATumblingWindowOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		defer r.close()
		r.stream("out", stream.Config{Shards: 1})
		c := &recorder{emit: true, fail: failsOn(runtime.FunctionError, "bad")}
		r.fn.handler = c.handle
		r.put("k", "a", "bad", "b")
		r.create(triggers.Config{BatchSize: 1, Tumbling: time.Minute, Retries: ptr(0)})
		r.drain()
		letters := r.letters()
		if len(letters) != 1 {
			t.Fatalf("dead letters %+v", letters)
		}
		time.Sleep(2 * time.Minute)
		r.put("k", "c")
		r.drain()
		before := len(c.all())
		redrive := func(fail string, want RedriveOutcome, lines ...string) {
			t.Helper()
			c.mu.Lock()
			c.fail = failsOn(runtime.FunctionError, fail)
			c.mu.Unlock()
			got, err := r.redrive(r.letters())
			if err != nil || len(got) != 1 || got["bad"].Outcome != want {
				t.Fatalf("redriven %+v, %v", got, err)
			}
			if now := c.all()[before:]; !slices.Equal(now, lines) {
				t.Errorf("invoked %q, want %q", now, lines)
			}
			before = len(c.all())
		}
		own := []string{"[bad] in 00:00-01:00", `final in 00:00-01:00 {"seen":["bad"]}`}
		redrive("final", RedriveBuried, own...)
		redrive("", RedriveDone, own...)
		// Nobody else's window has noticed.
		r.put("k", "d")
		time.Sleep(2 * time.Minute)
		r.drain()
		if got := strings.Join(c.all()[before:], "; "); got != `[d] in 02:00-03:00 {"seen":["c"]}; final in 02:00-03:00 {"seen":["c","d"]}` {
			t.Errorf("then %s", got)
		}
		if got := strings.Join(r.contents("out"), " "); got != `{"seen":["a","b"]} {"seen":["bad"]} {"seen":["c","d"]}` {
			t.Errorf("results %s", got)
		}
	})
}

func TestASeekBeginsTumblingWindowsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		defer r.close()
		c := &recorder{}
		r.fn.handler = c.handle
		r.put("k", "a", "b")
		r.create(triggers.Config{Tumbling: time.Minute})
		r.drain()
		r.seek(horizon, false)
		r.drain()
		if got := strings.Join(c.all(), "; "); got != "[a b] in 00:00-01:00; [a b] in 00:00-01:00" {
			t.Errorf("invoked %s", got)
		}
	})
}

// What a window has come to is not lost because the trigger goes on elsewhere, unless its records come again.
func TestASeekEndsTheTumblingWindowUnderWay(t *testing.T) {
	latest := stream.Position{Kind: stream.Latest}
	for _, tt := range []struct {
		name   string
		to     stream.Position
		paused bool // when it moves, and records come meanwhile
		move   string
		want   string // then, "; d" being invoked with a record of the next minute
	}{
		{"nothing moves", latest, false, WindowKept, `[c] in 00:00-01:00 {"seen":["a","b"]}; final in 00:00-01:00 {"seen":["a","b","c"]}; [d] in 01:00-02:00`},
		{"forward", latest, true, WindowEnds, `final in 00:00-01:00 {"seen":["a","b"]} early; [c] in 00:00-01:00; final in 00:00-01:00 {"seen":["c"]}; [d] in 01:00-02:00`},
		{"back", horizon, false, WindowDropped, `[a b] in 00:00-01:00; [c] in 00:00-01:00 {"seen":["a","b"]}; final in 00:00-01:00 {"seen":["a","b","c"]}; [d] in 01:00-02:00`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 1)
				defer r.close()
				c := &recorder{}
				r.fn.handler = c.handle
				r.put("k", "a", "b")
				r.create(triggers.Config{Tumbling: time.Minute})
				r.drain()
				before := len(c.all())
				if tt.paused {
					if _, err := r.m.Pause(t.Context(), "t"); err != nil {
						t.Fatal(err)
					}
					r.put("k", "skipped")
				}
				if _, moves := r.seek(tt.to, true); moves[0].Window != tt.move {
					t.Errorf("dry: %+v, want window %q", moves[0], tt.move)
				}
				if _, moves := r.seek(tt.to, false); moves[0].Window != tt.move {
					t.Errorf("%+v, want window %q", moves[0], tt.move)
				}
				if tt.paused {
					if _, err := r.m.Resume(t.Context(), "t"); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(10 * time.Second)
				r.put("k", "c")
				time.Sleep(70 * time.Second)
				r.put("k", "d")
				r.drain()
				if got := strings.Join(c.all()[before:], "; "); got != tt.want {
					t.Errorf("invoked %s\nwant %s", got, tt.want)
				}
			})
		})
	}
}

// A seek to the end of a closed shard does not finish it before its window has its final invocation.
func TestASeekToTheEndOfAClosedShardEndsItsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		defer r.close()
		c := &recorder{}
		r.fn.handler = c.handle
		r.put("k", "a", "b")
		r.create(triggers.Config{Tumbling: time.Minute})
		r.drain()
		if _, err := r.m.Pause(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		r.put("k", "skipped")
		r.split(0)
		r.seek(stream.Position{Kind: stream.Latest}, false)
		if _, err := r.m.Resume(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		r.put("k", "c")
		time.Sleep(time.Second)
		want := `[a b] in 00:00-01:00; final in 00:00-01:00 {"seen":["a","b"]} early; [c] in 00:00-01:00`
		if got := strings.Join(c.all(), "; "); got != want {
			t.Errorf("invoked %s\nwant %s", got, want)
		}
	})
}

// Of a letter's two invocations the second one starts no more when the trigger is being stopped: it
// is redriven as a whole by whoever takes up next.
func TestNoFinalInvocationOfALetterStartsOnceTheTriggerIsHalted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		defer r.close()
		var well, halted, after atomic.Bool
		var finals atomic.Int32
		r.fn.handler = func(inv *runtime.Invocation) runtime.Result {
			if halted.Load() {
				after.Store(true)
			}
			if !well.Load() {
				return runtime.Result{Outcome: runtime.FunctionError, ErrorMessage: "no"}
			}
			time.Sleep(10 * time.Second)
			if w := inv.Batch.Window; w.Final && len(w.State) > 0 {
				finals.Add(1)
			}
			return runtime.Result{Outcome: runtime.Done, State: []byte(`{"n":1}`)}
		}
		r.put("k", "a")
		r.create(triggers.Config{BatchSize: 1, Retries: ptr(0), Tumbling: time.Minute})
		r.drain()
		well.Store(true)
		letters := r.letters()
		go func() { _, _ = r.redrive(letters) }()
		time.Sleep(5 * time.Second)
		if _, err := r.m.Change(t.Context(), "t", func(mp *triggers.Mapping) error { mp.Enabled = false; return nil }); err != nil {
			t.Fatal(err)
		}
		halted.Store(true)
		time.Sleep(time.Minute)
		synctest.Wait()
		if after.Load() {
			t.Error("an invocation has started after Change returned")
		}
		// It is not done with, and goes on.
		halted.Store(false)
		if _, err := r.m.Resume(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if l := r.letters(); finals.Load() != 1 || len(l) > 0 {
			t.Errorf("resumed: %d final invocations, dead letters %+v", finals.Load(), l)
		}
	})
}

// What is left of a batch grows with the state: its event stays within what a function is handed.
func TestAGrownStateLeavesRoomForTheRestOfABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		defer r.close()
		var sizes []int
		r.fn.handler = func(inv *runtime.Invocation) runtime.Result {
			sizes = append(sizes, len(runtime.AppendJSON(nil, inv.Batch)))
			res := runtime.Result{Outcome: runtime.Done, State: []byte(`{"p":"` + strings.Repeat("s", 1_000_000) + `"}`)}
			if len(sizes) == 1 {
				res.Outcome, res.Failures = runtime.Partial, []string{inv.Batch.Records[1].Sequence}
			}
			return res
		}
		r.put("k", "a")
		for range 4 {
			r.put("k", strings.Repeat("y", 1_045_000))
		}
		r.create(triggers.Config{BatchSize: 10, PartialReplies: true, Tumbling: 5 * time.Minute, Window: time.Second})
		time.Sleep(30 * time.Second)
		r.drain()
		if len(sizes) != 3 || slices.Max(sizes) > triggers.MaxPayload {
			t.Errorf("events of %v bytes, limit %d", sizes, triggers.MaxPayload)
		}
	})
}
