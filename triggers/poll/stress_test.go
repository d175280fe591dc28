package poll

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/shard"
)

func TestWhatIsReadAgainIsFoundAmongWhatIsHeld(t *testing.T) {
	f := &log.Frame{}
	pieces := func(numbers ...uint64) (out []piece) {
		for _, n := range numbers {
			out = append(out, piece{frame: f, from: n, to: n + 1, left: 1, took: 1})
		}
		return out
	}
	var h holding
	b := newBudget(0)
	h.add(pieces(5, 15, 25))
	h.add(pieces(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11))
	for n := uint64(1); n < 12; n++ {
		if found, _ := h.find(n); found == nil {
			t.Errorf("record %d is held and not found", n)
		}
	}
	h.release(b, 0, []uint64{5, 25})
	if found, _ := h.find(5); found != nil {
		t.Error("record 5 is found after its release")
	}
	h.release(b, 16, nil)
	if len(h.pieces) != 0 || b.free.Load() != 14 {
		t.Errorf("%d pieces held, %d bytes given back; want 0 and 14", len(h.pieces), b.free.Load())
	}
}

// machine waits until the only shard's machine is as wanted.
func (r *rig) machine(what string, ok func(*shard.Status) bool) {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		st, err := r.m.Status(r.t.Context(), "t")
		if err != nil {
			r.t.Fatal(err)
		}
		if m := st.Shards[0].Machine; m != nil && ok(m) {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("never %s: %+v", what, st.Shards[0].Machine)
		}
	}
}

// TestRecordsReadAgainRunWhileOthersAreOut has a slow key with more behind it
// than may be held, and another unit out whose record lies among what is read again.
func TestRecordsReadAgainRunWhileOthersAreOut(t *testing.T) {
	r := newRig(t, 1)
	bGo, cGo := make(chan struct{}), make(chan struct{})
	var bRuns, cRuns atomic.Int32
	r.fn.handler = func(inv *runtime.Invocation) runtime.Result {
		switch inv.Batch.Records[0].PartitionKey {
		case "B":
			bRuns.Add(1)
			<-bGo
		case "C":
			cRuns.Add(1)
			<-cGo
		}
		return runtime.Result{Outcome: runtime.Done}
	}
	r.put("B", "b0")
	r.create(triggers.Config{BatchSize: 10, Parallel: 3})
	r.machine("one out", func(m *shard.Status) bool { return bRuns.Load() == 1 })
	big := strings.Repeat("x", 1<<20-100)
	for i := range 42 {
		r.put("B", big)
		if i == 2 {
			r.put("C", "c")
		}
		if i == 7 {
			r.machine("two out", func(m *shard.Status) bool { return cRuns.Load() == 1 })
		}
	}
	r.machine("all read", func(m *shard.Status) bool { return m.Read == 44 })
	close(bGo)
	r.machine("the slow key's next are run", func(m *shard.Status) bool { return bRuns.Load() > 1 })
	close(cGo)
	r.drain()
}

// TestWhateverIsDoneAtOnceEverythingIsResolved puts, fails, throttles, updates,
// pauses, resumes, deletes and creates at once, with hardly any room to look ahead; and,
// in the second case, sets other filters.
func TestWhateverIsDoneAtOnceEverythingIsResolved(t *testing.T) {
	t.Run("as it comes", func(t *testing.T) { stress(t, false) })
	t.Run("filters", func(t *testing.T) { stress(t, true) })
}

func stress(t *testing.T, filters bool) {
	r := newRig(t, 2)
	r.stop()
	r.lookahead = 3000
	r.start()
	r.fn.handler = func(inv *runtime.Invocation) runtime.Result {
		switch x := rand.IntN(100); {
		case x < 5:
			return runtime.Result{Outcome: runtime.Throttled}
		case x < 12:
			return runtime.Result{Outcome: runtime.FunctionError, ErrorMessage: "r"}
		case x < 20:
			return runtime.Result{Outcome: runtime.Partial, Failures: []string{inv.Batch.Records[rand.IntN(len(inv.Batch.Records))].Sequence}}
		}
		for _, rec := range inv.Batch.Records {
			if strings.HasPrefix(string(rec.Data), "bad") {
				return runtime.Result{Outcome: runtime.FunctionError, ErrorMessage: "bad"}
			}
		}
		return runtime.Result{Outcome: runtime.Done}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	var puts, ops atomic.Int64
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			var es []stream.Entry
			for j := range 1 + rand.IntN(30) {
				d := "good"
				if rand.IntN(50) == 0 {
					d = "bad"
				}
				es = append(es, stream.Entry{PartitionKey: fmt.Sprint(rand.IntN(20)), Data: []byte(fmt.Sprint(d, i, j, strings.Repeat("y", rand.IntN(300))))})
			}
			if _, err := r.streams.Put(ctx, stream.Local("s"), es); err == nil {
				puts.Add(int64(len(es)))
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	one := 1
	r.create(triggers.Config{BatchSize: 20, Parallel: 4, Bisect: true, Retries: &one, PartialReplies: true})
	allowed := func(err error) bool {
		return err == nil || errors.Is(err, triggers.ErrBusy) || errors.Is(err, triggers.ErrNotFound) || errors.Is(err, triggers.ErrExists) || errors.Is(err, triggers.ErrInvalid) || ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded)
	}
	for w := range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				name := "t"
				if w == 3 {
					name = "u"
				}
				var err error
				x := rand.IntN(12)
				switch {
				case x == 0:
					_, err = r.m.Pause(ctx, name)
				case x < 3:
					_, err = r.m.Resume(ctx, name)
				case x < 6:
					_, err = r.m.Update(ctx, name, func(c *triggers.Config) {
						c.Parallel = 1 + rand.IntN(6)
						c.BatchSize = 1 + rand.IntN(40)
						if filters {
							c.Filters = []string{fmt.Sprintf(`{"partitionKey":[{"anything-but":["%d"]}]}`, rand.IntN(20)), `{"partitionKey":["7"]}`}[:rand.IntN(3)]
						}
					})
				case x < 9:
					_, err = r.m.Status(ctx, name)
				case x == 9:
					b, c := context.WithTimeout(ctx, 300*time.Millisecond)
					err = r.m.WaitDrained(b, name)
					c()
				case x == 10 && w == 3:
					err = r.m.Delete(ctx, name)
				default:
					if w == 3 {
						_, err = r.m.Create(ctx, name, from(triggers.Config{Function: "g", BatchSize: 7, Parallel: 3, Bisect: true, Retries: &one}), true)
					}
				}
				ops.Add(1)
				if !allowed(err) {
					t.Errorf("op %d: %v", x, err)
				}
				time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
			}
		})
	}
	wg.Wait()
	r.fn.mu.Lock()
	r.fn.handler = nil
	r.fn.mu.Unlock()
	bg := context.WithoutCancel(t.Context())
	for r.m.Delete(bg, "u") != nil {
		if _, err := r.m.Get(bg, "u"); errors.Is(err, triggers.ErrNotFound) {
			break
		}
	}
	if _, err := r.m.Resume(bg, "t"); err != nil {
		t.Fatal(err)
	}
	func() {
		c, k := context.WithTimeout(bg, 20*time.Second)
		defer k()
		if err := r.m.WaitDrained(c, "t"); err != nil {
			st, _ := r.m.Status(bg, "t")
			for _, s := range st.Shards {
				t.Logf("budget %d lag %d %+v", r.m.budget.free.Load(), s.Lag, *s.Machine)
			}
			t.Fatal(err)
		}
	}()
	st, _ := r.m.Status(bg, "t")
	var done uint64
	for _, s := range st.Shards {
		done += s.Done + s.Buried
	}
	t.Logf("puts %d resolved %d ops %d", puts.Load(), done, ops.Load())
	if int64(done) > puts.Load() || !filters && int64(done) < puts.Load() {
		t.Errorf("resolved %d of %d", done, puts.Load())
	}
	if _, err := r.m.Pause(bg, "t"); err != nil {
		t.Fatal(err)
	}
	if free := r.m.budget.free.Load(); free != r.lookahead {
		t.Errorf("%d bytes of the budget are free when nothing runs, want all %d", free, r.lookahead)
	}
}
