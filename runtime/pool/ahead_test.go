package pool

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

func TestPrewarmedEnvironmentIsIdleForTheFirstInvocation(t *testing.T) {
	n := &native{handle: takes(0)}
	n.start = func(context.Context) error { time.Sleep(time.Second); return nil }
	bench(t, n, Options{}, func(t *testing.T, p *Pool, _ *registry) {
		began := time.Now()
		for range 5 {
			p.Prewarm(t.Context(), "f", "")
		}
		p.Prewarm(t.Context(), "nobody", "")
		if !time.Now().Equal(began) {
			t.Error("it waits")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if st := p.Stats(); st.Idle != 1 || st.Busy != 0 || n.now().starts != 1 {
			t.Errorf("%+v, %d starts", st, n.now().starts)
		}
		r := p.Invoke(t.Context(), "f", "", &runtime.Invocation{ID: "i"})
		if r.Outcome != runtime.Done || r.Init != 0 || n.now().starts != 1 || strings.Contains(string(r.Logs), "Init") {
			t.Errorf("%v, init %v, %d starts", r.Outcome, r.Init, n.now().starts)
		}
		if p.Prewarm(t.Context(), "f", ""); n.now().starts != 1 {
			t.Error("another beside one that is idle")
		}
	})
}

func TestPrewarmTakesFromNobody(t *testing.T) {
	n := &native{handle: takes(0)}
	bench(t, n, Options{MemoryBytes: 20 << 20}, func(t *testing.T, p *Pool, r *registry) {
		r.set(functions.Version{Function: "g", Revision: 1})
		p.Invoke(t.Context(), "f", "", event()) // 10 MB, and g is taken to need 16
		p.Prewarm(t.Context(), "g", "")
		synctest.Wait()
		if n.now().starts != 1 || n.now().environments != 1 {
			t.Errorf("%d starts, %d environments", n.now().starts, n.now().environments)
		}
	})
}

func TestFewArePrewarmedAtOnce(t *testing.T) {
	n := &native{handle: takes(0)}
	var now, most atomic.Int32
	n.start = func(context.Context) error {
		most.Store(max(most.Load(), now.Add(1)))
		time.Sleep(time.Second)
		now.Add(-1)
		return nil
	}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, r *registry) {
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			r.set(functions.Version{Function: name, Revision: 1})
			p.Prewarm(t.Context(), name, "")
		}
		time.Sleep(time.Minute)
		if most.Load() != warmAtOnce || n.now().environments != 5 {
			t.Errorf("%d at once, %d environments", most.Load(), n.now().environments)
		}
	})
}

func TestFailedPrewarmIsLoggedOnceAndLeavesNothing(t *testing.T) {
	var log bytes.Buffer
	for name, fault := range map[string]error{"theirs": &runtime.InitError{Outcome: runtime.FunctionError, Type: runtime.TypeInit, Message: "no handler"}, "ours": errors.New("no child")} {
		n := &native{handle: takes(0)}
		n.start = func(context.Context) error { return fault }
		log.Reset()
		bench(t, n, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(t *testing.T, p *Pool, _ *registry) {
			for range 3 {
				p.Prewarm(t.Context(), "f", "")
				synctest.Wait()
			}
			if n.now().starts != 3 || strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), "function not started ahead") {
				t.Errorf("%s: %d starts, log\n%s", name, n.now().starts, log.String())
			}
			if st := p.Stats(); st != (Stats{}) {
				t.Errorf("%+v", st)
			}
			n.start = nil
		})
	}
}

func TestPrewarmEndsWithItsCallerAndWithThePool(t *testing.T) {
	hangs := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	n := &native{handle: takes(0), start: hangs}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, _ *registry) {
		ctx, cancel := context.WithCancel(t.Context())
		p.Prewarm(ctx, "f", "")
		synctest.Wait()
		cancel()
		synctest.Wait()
		if st := p.Stats(); st != (Stats{}) {
			t.Errorf("%+v", st)
		}
		p.Prewarm(t.Context(), "f", "") // bench closes the pool
		synctest.Wait()
	})
}

func TestIdleEnvironmentsRest(t *testing.T) {
	n := &native{handle: takes(time.Second)}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, _ *registry) {
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { p.Invoke(t.Context(), "f", "", event()) })
		}
		wg.Wait()
		time.Sleep(28 * time.Second)
		p.Invoke(t.Context(), "f", "", event()) // one of them is in use again
		if n.now().rests != 0 {
			t.Error("one rests too early")
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if n.now().rests != 1 {
			t.Errorf("%d rest after 35 s, want that which was not used", n.now().rests)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n.now().rests != 2 || p.Stats().Idle != 2 {
			t.Errorf("%d have rested, %+v; want each once", n.now().rests, p.Stats())
		}
		p.Invoke(t.Context(), "f", "", event())
		time.Sleep(time.Minute)
		synctest.Wait()
		if n.now().rests != 3 || n.now().starts != 2 {
			t.Errorf("%d have rested, %d starts; want one again after its use", n.now().rests, n.now().starts)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n.now().environments != 0 {
			t.Error("rest has kept them from being closed")
		}
	})
}

func TestEnvironmentAtRestIsNotHandedOut(t *testing.T) {
	n := &native{handle: takes(time.Second)}
	n.rest = func() { time.Sleep(4 * time.Second) }
	bench(t, n, Options{}, func(t *testing.T, p *Pool, r *registry) {
		p.Invoke(t.Context(), "f", "", event())
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if st := p.Stats(); n.now().rests != 1 || st.Idle != 1 || st.Memory != 10<<20 {
			t.Fatalf("%d rest, %+v", n.now().rests, st)
		}
		if res := p.Invoke(t.Context(), "f", "", event()); res.Outcome != runtime.Done || n.now().starts != 2 {
			t.Errorf("%v, %d starts", res.Outcome, n.now().starts)
		}
		time.Sleep(5 * time.Second)
		if st := p.Stats(); st.Idle != 2 || n.now().environments != 2 {
			t.Errorf("%+v, %d environments", st, n.now().environments)
		}
		for _, s := range p.sets {
			if !s.idle[0].since.Before(s.idle[1].since) {
				t.Error("it is not as old as it was")
			}
		}
		if p.Invoke(t.Context(), "f", "", event()); p.Stats().Idle != 2 {
			t.Error("it is not back")
		}

		// Code that changes meanwhile, and a pool that closes, wait for it.
		time.Sleep(31 * time.Second)
		synctest.Wait()
		r.set(functions.Version{Function: "f", Revision: 2})
		p.Changed("f")
		synctest.Wait()
		if n.now().environments == 0 || n.now().programs != 1 {
			t.Error("one was closed at rest")
		}
		time.Sleep(30 * time.Second)
		if n.now().environments != 0 || n.now().programs != 0 {
			t.Errorf("left: %d environments, %d programs", n.now().environments, n.now().programs)
		}
		p.Invoke(t.Context(), "f", "", event())
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if p.resting != 1 { // bench closes the pool
			t.Errorf("%d rest", p.resting)
		}
	})
}

func TestEnvironmentThatCannotRestIsClosed(t *testing.T) {
	n := &native{handle: takes(time.Second), rest: func() { panic("a bug of ours") }}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, _ *registry) {
		p.Invoke(t.Context(), "f", "", event())
		n.count(func() {})
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if st := p.Stats(); st != (Stats{}) {
			t.Errorf("%+v", st)
		}
		n.count(func() { n.misuse = "" }) // the fake takes what panicked for busy
	})
}

// What fails by our fault again and again is tried less and less.
func TestStartsThatFailAreDamped(t *testing.T) {
	n := &native{handle: takes(0)}
	n.start = func(context.Context) error { return errors.New("the child died\nof shame") }
	var log bytes.Buffer
	bench(t, n, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(t *testing.T, p *Pool, _ *registry) {
		var last runtime.Result
		for began := time.Now(); time.Since(began) < 10*time.Minute; time.Sleep(100 * time.Millisecond) {
			last = p.Invoke(t.Context(), "f", "", event()) // as a trigger that keeps asking
			if last.Outcome != runtime.Infrastructure && last.Outcome != runtime.Throttled {
				t.Fatalf("%v", last.Outcome)
			}
		}
		if starts := n.now().starts; starts < 20 || starts > 40 {
			t.Errorf("%d starts in 10 minutes", starts)
		}
		if !strings.Contains(last.ErrorMessage, "Rate Exceeded: function f: environments failed ") || !strings.HasSuffix(last.ErrorMessage, "s: the child died") {
			t.Errorf("%s", last.ErrorMessage)
		}
		if said := strings.Count(log.String(), "fail again and again"); said != n.now().starts-patience {
			t.Errorf("said %d times, for %d starts", said, n.now().starts)
		}
		n.start = nil
		time.Sleep(maxPause)
		for range 10 {
			if r := p.Invoke(t.Context(), "f", "", event()); r.Outcome != runtime.Done {
				t.Errorf("after it has recovered: %v %s", r.Outcome, r.ErrorMessage)
			}
		}
		if done, refusals := atOnce(t, p, "f", "f", "f"); done["f"] != 3 {
			t.Errorf("%v %q", done, refusals)
		}
	})
}

func TestOneThatWorksDoesNotHideThatStartsFail(t *testing.T) {
	n := &native{handle: takes(10 * time.Millisecond)}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, _ *registry) {
		p.Invoke(t.Context(), "f", "", event())
		n.start = func(context.Context) error { return errors.New("no more processes") }
		for began := time.Now(); time.Since(began) < time.Minute; {
			var wg sync.WaitGroup
			wg.Go(func() {
				if r := p.Invoke(t.Context(), "f", "", event()); r.Outcome != runtime.Done {
					t.Errorf("in the one that works: %v %s", r.Outcome, r.ErrorMessage)
				}
			})
			synctest.Wait()
			p.Invoke(t.Context(), "f", "", event()) // needs another
			wg.Wait()
		}
		if starts := n.now().starts; starts > 20 {
			t.Errorf("%d starts in a minute", starts)
		}
	})
}

func TestFailuresAtTheSameTimeAreOne(t *testing.T) {
	n := &native{handle: takes(0)}
	n.start = func(context.Context) error { time.Sleep(time.Second); return errors.New("the child died") }
	bench(t, n, Options{}, func(t *testing.T, p *Pool, _ *registry) {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { p.Invoke(t.Context(), "f", "", event()) })
		}
		wg.Wait()
		n.start = nil
		if r := p.Invoke(t.Context(), "f", "", event()); r.Outcome != runtime.Done {
			t.Errorf("%v %s", r.Outcome, r.ErrorMessage)
		}
	})
}

func TestOneAtATimeProbesWhetherStartsGoAgain(t *testing.T) {
	n := &native{handle: takes(0)}
	n.start = func(context.Context) error { time.Sleep(time.Second); return errors.New("the child died") }
	bench(t, n, Options{}, func(t *testing.T, p *Pool, _ *registry) {
		for range patience + 1 {
			p.Invoke(t.Context(), "f", "", event())
		}
		time.Sleep(maxPause)
		before := n.now().starts
		var wg sync.WaitGroup
		var throttled atomic.Int32
		for range 20 {
			wg.Go(func() {
				if r := p.Invoke(t.Context(), "f", "", event()); r.Outcome == runtime.Throttled {
					throttled.Add(1)
				}
			})
		}
		wg.Wait()
		if starts := n.now().starts - before; starts != 1 || throttled.Load() != 19 {
			t.Errorf("%d starts, %d throttled", starts, throttled.Load())
		}
	})
}

func TestGuestThatBringsItsChildDownIsDamped(t *testing.T) {
	n := &native{handle: func(_ context.Context, inv *runtime.Invocation) (r runtime.Result) {
		panic("stands for a child that was killed")
	}}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, _ *registry) {
		for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(10 * time.Millisecond) {
			p.Invoke(t.Context(), "f", "", event())
		}
		if starts := n.now().starts; starts > 20 {
			t.Errorf("%d starts in a minute", starts)
		}
	})
}

func TestFunctionsOwnFaultsAreNotDamped(t *testing.T) {
	n := &native{handle: takes(0)}
	n.start = func(context.Context) error {
		return &runtime.InitError{Outcome: runtime.FunctionError, Type: runtime.TypeInit, Message: "no handler"}
	}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, _ *registry) {
		for range 20 {
			if r := p.Invoke(t.Context(), "f", "", event()); r.Outcome != runtime.FunctionError {
				t.Fatalf("%v %s", r.Outcome, r.ErrorMessage)
			}
		}
		// Nor are callers who give up while it starts.
		n.start = func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if r := p.Invoke(ctx, "f", "", event()); r.Outcome != runtime.Infrastructure {
				t.Fatalf("%v %s", r.Outcome, r.ErrorMessage)
			}
			cancel()
		}
	})
}

// Environments that die while they are idle, with the child they live in, serve
// nobody and hold nothing.
func TestEnvironmentsThatDieIdleAreNotUsed(t *testing.T) {
	n := &native{handle: takes(time.Second)}
	var mu sync.Mutex
	var all []*nativeEnvironment
	n.opened = func(e *nativeEnvironment) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, e)
	}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, _ *registry) {
		for range 2 {
			if done, refusals := atOnce(t, p, "f", "f", "f"); done["f"] != 3 {
				t.Fatalf("%v %q", done, refusals)
			}
			mu.Lock()
			for _, e := range all {
				e.dead.Store(true)
			}
			mu.Unlock()
		}
		if r := p.Invoke(t.Context(), "f", "", aBatch(false)); r.Outcome != runtime.Done || n.now().starts != 7 || n.now().environments != 1 {
			t.Errorf("%v, %d starts, %d environments", r.Outcome, n.now().starts, n.now().environments)
		}
		mu.Lock()
		all[6].dead.Store(true)
		mu.Unlock()
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if st := p.Stats(); st != (Stats{}) || n.now().rests != 0 {
			t.Errorf("%+v, %d rests", st, n.now().rests)
		}
	})
}

// overtaken is a registry in which something happens to a function right after it has
// said what it is.
type overtaken struct {
	*registry
	next func()
}

func (o *overtaken) Version(ctx context.Context, name, qualifier string) (functions.Version, error) {
	v, err := o.registry.Version(ctx, name, qualifier)
	if next := o.next; next != nil {
		o.next = nil
		next()
	}
	return v, err
}

func TestPrewarmOvertakenByADeletionOrAnUpdateLeavesNothing(t *testing.T) {
	for name, change := range map[string]func(r *registry){
		"deletion": func(r *registry) { delete(r.versions, "f:"+functions.Unpublished) },
		"update":   func(r *registry) { r.set(functions.Version{Function: "f", Revision: 2}) },
	} {
		synctest.Test(t, func(t *testing.T) {
			n := &native{handle: takes(0)}
			r := &registry{}
			r.set(functions.Version{Function: "f", Revision: 1})
			o := &overtaken{registry: r}
			p := New(o, n, Options{})
			o.next = func() {
				change(r)
				p.Changed("f")
				synctest.Wait()
			}
			p.Prewarm(t.Context(), "f", "")
			synctest.Wait()
			if n.now().starts != 1 || n.now().environments != 0 || n.now().programs != 0 {
				t.Errorf("%s: %+v", name, n.now())
			}
			if left := p.functions["f"]; name == "deletion" && left != nil {
				t.Error("the pool still knows the function")
			}
			if err := p.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
