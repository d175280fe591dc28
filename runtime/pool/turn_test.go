package pool

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// TestStartUpsTakeTurns: where a hundred functions are wanted at once, as when a server
// comes up, each start-up has all the time that one may take.
func TestStartUpsTakeTurns(t *testing.T) {
	n := &native{handle: takes(0)}
	var now, most atomic.Int32
	n.start = func(ctx context.Context) error {
		end, _ := ctx.Deadline()
		if left := time.Until(end); left != 10*time.Second {
			return fmt.Errorf("%v are left of a start-up's time", left)
		}
		most.Store(max(most.Load(), now.Add(1)))
		time.Sleep(time.Second)
		now.Add(-1)
		return nil
	}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, r *registry) {
		var wg sync.WaitGroup
		for i := range 100 {
			name := fmt.Sprint("f", i)
			r.set(functions.Version{Function: name, Revision: 1})
			wg.Go(func() {
				if r := p.Invoke(t.Context(), name, "", event()); r.Outcome != runtime.Done || r.Init != time.Second {
					t.Errorf("%v %s, start-up %v", r.Outcome, r.ErrorMessage, r.Init)
				}
			})
		}
		wg.Wait()
		if int(most.Load()) != cap(p.starting) {
			t.Errorf("%d start at once, want %d", most.Load(), cap(p.starting))
		}
	})
}

func TestStartUpsThatHangKeepNobodyWaitingForLong(t *testing.T) {
	n := &native{handle: takes(0)}
	hang := true
	n.start = func(ctx context.Context) error {
		n.mu.Lock()
		hangs := hang
		n.mu.Unlock()
		if hangs {
			<-ctx.Done()
			return &runtime.InitError{Outcome: runtime.Timeout, Type: runtime.TypeTimeout, Message: "it hangs"}
		}
		return nil
	}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, r *registry) {
		r.set(functions.Version{Function: "g", Revision: 1})
		var wg sync.WaitGroup
		for range cap(p.starting) {
			wg.Go(func() { p.Invoke(t.Context(), "f", "", event()) })
		}
		synctest.Wait()
		n.count(func() { hang = false })
		began := time.Now()
		if r := p.Invoke(t.Context(), "g", "", event()); r.Outcome != runtime.Done || time.Since(began) != longTurn {
			t.Errorf("%v %s after %v", r.Outcome, r.ErrorMessage, time.Since(began))
		}
		wg.Wait()
		if len(p.starting) != 0 {
			t.Errorf("%d turns are not given back", len(p.starting))
		}
	})
}

func TestWaitingForATurnEndsWithTheCaller(t *testing.T) {
	n := &native{handle: takes(0)}
	n.start = func(ctx context.Context) error { time.Sleep(time.Second); return nil }
	bench(t, n, Options{}, func(t *testing.T, p *Pool, r *registry) {
		var wg sync.WaitGroup
		for range cap(p.starting) {
			wg.Go(func() { p.Invoke(t.Context(), "f", "", event()) })
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		if r := p.Invoke(ctx, "f", "", event()); r.Outcome != runtime.Infrastructure || time.Since(began) != 100*time.Millisecond {
			t.Errorf("%v %s after %v", r.Outcome, r.ErrorMessage, time.Since(began))
		}
		wg.Wait()
	})
}

func TestProcessesCountAsMemory(t *testing.T) {
	n := &native{handle: takes(time.Second)}
	const process = 24 << 20
	bench(t, n, Options{MemoryBytes: 120 << 20, ProcessBytes: process}, func(t *testing.T, p *Pool, r *registry) {
		for _, name := range []string{"g", "h"} {
			r.set(functions.Version{Function: name, Revision: 1})
		}
		done, refusals := atOnce(t, p, "f", "f", "g", "h") // 40 MB, 16 MB more, 40 MB, 40 MB
		if done["f"] != 2 || done["g"]+done["h"] != 1 || len(refusals) != 1 {
			t.Errorf("%v, %q", done, refusals)
		}
		if st := p.Stats(); st.Memory != 2*process+3*10<<20 {
			t.Errorf("%+v", st)
		}
		// What is idle makes room for the other, and takes its process along.
		for range 3 {
			for _, name := range []string{"h", "g", "f"} {
				if r := p.Invoke(t.Context(), name, "", event()); r.Outcome != runtime.Done {
					t.Errorf("%s: %v %s", name, r.Outcome, r.ErrorMessage)
				}
			}
		}
		if st := p.Stats(); st.Memory > 120<<20 {
			t.Errorf("%+v", st)
		}
	})
}

// checking is an engine that can compile code and do no more.
type checking struct {
	*native
	checked atomic.Int32
}

func (c *checking) Check(context.Context, []byte, func(runtime.Progress)) (functions.Code, error) {
	c.checked.Add(1)
	return functions.Code{}, nil
}

func TestCodeIsCompiledAheadWithoutAProcessForEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, e := &registry{}, &checking{native: &native{}}
		v := r.set(functions.Version{Function: "f", Revision: 1})
		p := New(r, e, Options{})
		p.Warm([]functions.Version{v, r.set(functions.Version{Function: "g", Revision: 1})})
		synctest.Wait()
		if e.checked.Load() != 2 || e.now().loads != 0 {
			t.Errorf("%d compiled, %d readied to run", e.checked.Load(), e.now().loads)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
