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

	"github.com/wasmill/wasmill/dlq/morgue"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// TestEveryOutputIsThereOnceWhateverIsDoneAtOnce puts, fails, names failures,
// pauses, updates and redrives at once, and, in the second case, seeks. Then the
// function is mended and the letters left are redriven: each record's output is
// there once, or, after seeks, once for each time its generation has run it.
func TestEveryOutputIsThereOnceWhateverIsDoneAtOnce(t *testing.T) {
	for _, seeks := range []bool{false, true} {
		t.Run(map[bool]string{false: "no seeks", true: "seeks"}[seeks], func(t *testing.T) { chaos(t, seeks) })
	}
}

func chaos(t *testing.T, seeks bool) {
	r := newRig(t, 2)
	r.stream("out", stream.Config{Shards: 3})
	var mended atomic.Bool
	emit := echo("")
	r.fn.handler = func(inv *runtime.Invocation) runtime.Result {
		res := emit(inv)
		if mended.Load() {
			return res
		}
		switch x := rand.IntN(100); {
		case x < 5:
			return runtime.Result{Outcome: runtime.Throttled}
		case x < 12:
			res.Outcome, res.ErrorMessage = runtime.FunctionError, "r"
		case x < 20:
			res.Outcome, res.Failures = runtime.Partial, []string{inv.Batch.Records[rand.IntN(len(inv.Batch.Records))].Sequence}
		}
		for _, rec := range inv.Batch.Records {
			if strings.HasPrefix(string(rec.Data), "bad") {
				res.Outcome, res.ErrorMessage = runtime.FunctionError, "bad"
			}
		}
		return res
	}
	r.create(triggers.Config{BatchSize: 20, Parallel: 4, Bisect: true, Retries: ptr(1), PartialReplies: true})
	ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	put := map[string]bool{}
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			var es []stream.Entry
			for j := range 1 + rand.IntN(30) {
				d := "good"
				if rand.IntN(40) == 0 {
					d = "bad"
				}
				es = append(es, stream.Entry{PartitionKey: fmt.Sprint(rand.IntN(20)), Data: fmt.Appendf(nil, "%s %d/%d", d, i, j)})
			}
			// Not cut short: what is stored must be known.
			res, err := r.streams.Put(context.WithoutCancel(ctx), stream.Local("s"), es)
			if err != nil {
				t.Error(err)
				return
			}
			for k := range res {
				if res[k].Err == nil {
					put[string(es[k].Data)] = true
				}
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	allowed := func(err error) bool {
		return err == nil || errors.Is(err, triggers.ErrBusy) || errors.Is(err, triggers.ErrInvalid) || ctx.Err() != nil
	}
	var redriven, sought atomic.Int64
	for w := range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				var err error
				switch x := rand.IntN(14); {
				case x == 0:
					_, err = r.m.Pause(ctx, "t")
				case x < 4:
					_, err = r.m.Resume(ctx, "t")
				case x < 6:
					_, err = r.m.Update(ctx, "t", func(c *triggers.Config) { c.Parallel = 1 + rand.IntN(6); c.BatchSize = 1 + rand.IntN(40) })
				case x > 5 && seeks && w == 0:
					if _, _, err = r.m.Seek(ctx, "t", horizon, false); err == nil {
						sought.Add(1)
					}
				default:
					letters, e := r.morgue.List(ctx, morgue.Filter{Limit: 20})
					if err = e; err == nil {
						err = r.m.Redrive(ctx, "t", letters, 0, func(v Redriven) {
							if v.Outcome == RedriveRefused {
								t.Errorf("refused: %v", v.Err)
							}
							redriven.Add(1)
						})
					}
				}
				if !allowed(err) {
					t.Error(err)
				}
				time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
			}
		})
	}
	wg.Wait()
	mended.Store(true)
	if _, err := r.m.Resume(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	r.drain()
	if seeks {
		r.seek(horizon, false)
		sought.Add(1)
		r.drain()
	}
	last, err := r.redrive(r.letters())
	if err != nil {
		t.Fatal(err)
	}
	redriven.Add(int64(len(last)))
	r.drain()
	if left := r.letters(); len(left) > 0 {
		t.Errorf("%d dead letters are left, the first %+v", len(left), left[0])
	}
	ids, seen := map[string]bool{}, map[string]int{}
	for _, rec := range r.stored("out") {
		if ids[rec.OutputID] {
			t.Errorf("output %s of %s is there twice", rec.OutputID, rec.Data)
		}
		ids[rec.OutputID] = true
		seen[string(rec.Data)]++
	}
	for data := range put {
		if n := seen[data]; n == 0 || n > 1 && !seeks {
			t.Errorf("%s was emitted %d times", data, n)
		}
	}
	t.Logf("%d records, %d outputs, %d redriven, %d seeks", len(put), len(ids), redriven.Load(), sought.Load())
	if redriven.Load() == 0 {
		t.Error("that is too little to prove anything")
	}
}
