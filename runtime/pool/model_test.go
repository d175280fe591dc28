package pool

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// world is a pool under a random story: invocations that end in every way there
// is, code and concurrency that change, functions that go, starts that fail. The
// engine finds out about an environment that is used twice at once, closed twice,
// or closed in use; the rest is checked when all is quiet for a moment.
type world struct {
	t *rapid.T
	n *native
	r listed
	p *Pool

	calls    sync.WaitGroup
	mu       sync.Mutex
	plans    map[string]plan // of invocations, by id
	started  int
	ended    int
	revision uint64
	starts   plan // of start-ups
	rests    plan
}

// plan is how something goes.
type plan struct {
	takes time.Duration
	ends  int
}

const (
	well = iota
	byItsFault
	dead // by its fault, and not to be used again
	byOurFault
	withBug
	never // before it is cut off
	ends
)

var someFunctions = []string{"a", "b", "c"}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, n: &native{}, r: listed{&registry{}}, plans: map[string]plan{}}
	w.n.handle = func(ctx context.Context, inv *runtime.Invocation) runtime.Result {
		w.mu.Lock()
		how := w.plans[inv.ID]
		w.mu.Unlock()
		r := w.carryOut(ctx, how)
		r.MaxMemory = int64(how.takes) % (30 << 20)
		return r
	}
	w.n.start = func(ctx context.Context) error {
		w.mu.Lock()
		how := w.starts
		w.mu.Unlock()
		r := w.carryOut(ctx, how)
		switch r.Outcome {
		case runtime.Done:
			return nil
		case runtime.Infrastructure:
			return errors.New(r.ErrorMessage)
		}
		return &runtime.InitError{Outcome: r.Outcome, Type: r.ErrorType}
	}
	w.n.rest = func() {
		w.mu.Lock()
		how := w.rests
		w.mu.Unlock()
		time.Sleep(how.takes)
	}
	for _, name := range someFunctions {
		w.change(name)
	}
	w.p = New(w.r, w.n, Options{
		MaxConcurrency: rapid.IntRange(1, 12).Draw(t, "places"),
		MemoryBytes:    rapid.Int64Range(20<<20, 200<<20).Draw(t, "memory"),
		Idle:           time.Minute, RestAfter: 10 * time.Second,
		Observer: Observer{
			Started: func(*runtime.Invocation, functions.Version) { w.mu.Lock(); w.started++; w.mu.Unlock() },
			Ended:   func(*runtime.Invocation, *runtime.Result) { w.mu.Lock(); w.ended++; w.mu.Unlock() },
		},
	})
	return w
}

func (w *world) carryOut(ctx context.Context, how plan) (r runtime.Result) {
	takes := how.takes
	if how.ends == never {
		takes = 1000 * time.Hour
	}
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			r.Fail(runtime.Timeout, runtime.TypeTimeout, "", "timed out")
		} else {
			r.Fail(runtime.Infrastructure, runtime.TypeInternal, "", "%v", context.Cause(ctx))
		}
		return r
	}
	switch how.ends {
	case byItsFault:
		r.Fail(runtime.FunctionError, runtime.TypeUnhandled, "", "failed")
	case dead:
		r.Fail(runtime.FunctionError, runtime.TypeExit, "", "exited")
	case byOurFault:
		r.Fail(runtime.Infrastructure, runtime.TypeInternal, "", "child died")
	case withBug:
		panic("a bug of ours")
	}
	return r
}

func (w *world) draw(what string) plan {
	return plan{time.Duration(rapid.IntRange(0, 20_000).Draw(w.t, what+" takes")) * time.Millisecond, rapid.IntRange(0, ends-1).Draw(w.t, what+" ends")}
}

// change gives a function another revision.
func (w *world) change(name string) {
	w.revision++
	c := functions.Config{Timeout: time.Duration(rapid.IntRange(1, 15).Draw(w.t, "timeout")) * time.Second}
	if n := rapid.IntRange(-2, 4).Draw(w.t, "concurrency"); n >= 0 {
		c.Concurrency = &n
	}
	w.r.set(functions.Version{Function: name, Revision: w.revision, Config: c})
}

// invocation is one to come, whose parts are drawn before it runs beside others.
func (w *world) invocation() func() {
	name := rapid.SampledFrom(append(someFunctions, "nobody")).Draw(w.t, "function")
	id := fmt.Sprint(len(w.plans))
	how := w.draw("invocation") // not with the mutex held: a draw may panic
	w.mu.Lock()
	w.plans[id] = how
	w.mu.Unlock()
	inv := &runtime.Invocation{ID: id}
	if shard := rapid.IntRange(-1, 3).Draw(w.t, "shard"); shard >= 0 {
		inv.Batch = &runtime.Batch{ARN: "arn", Shard: fmt.Sprint(shard)}
	}
	patience := time.Duration(rapid.IntRange(0, 30).Draw(w.t, "caller waits")) * time.Second
	trial := rapid.IntRange(0, 9).Draw(w.t, "kind") == 0
	return func() {
		ctx, cancel := context.WithCancel(context.Background())
		if patience > 0 {
			ctx, cancel = context.WithTimeout(ctx, patience)
		}
		defer cancel()
		if trial {
			w.p.Try(ctx, functions.Version{Function: name}, []byte("trial"), inv)
			return
		}
		w.p.Invoke(ctx, name, "", inv)
	}
}

func (w *world) step() {
	switch rapid.SampledFrom([]string{"invoke", "burst", "burst", "wait", "wait", "prewarm", "change", "unannounced", "delete", "starts", "rests", "all"}).Draw(w.t, "step") {
	case "invoke":
		w.calls.Go(w.invocation())
	case "burst": // at once, in any order
		for range rapid.IntRange(2, 8).Draw(w.t, "calls") {
			w.calls.Go(w.invocation())
		}
	case "wait":
		time.Sleep(time.Duration(rapid.IntRange(1, 40_000).Draw(w.t, "ms")) * time.Millisecond)
	case "prewarm":
		w.p.Prewarm(context.Background(), rapid.SampledFrom(someFunctions).Draw(w.t, "function"), "")
	case "change":
		name := rapid.SampledFrom(someFunctions).Draw(w.t, "function")
		w.change(name)
		w.p.Changed(name)
	case "unannounced":
		w.change(rapid.SampledFrom(someFunctions).Draw(w.t, "function"))
	case "delete":
		name := rapid.SampledFrom(someFunctions).Draw(w.t, "function")
		w.r.mu.Lock()
		delete(w.r.versions, name+":"+functions.Unpublished)
		w.r.mu.Unlock()
		w.p.Changed(name)
	case "starts":
		how := w.draw("start")
		w.mu.Lock()
		w.starts = how
		w.mu.Unlock()
	case "rests":
		takes := time.Duration(rapid.IntRange(0, 4000).Draw(w.t, "ms")) * time.Millisecond
		w.mu.Lock()
		w.rests.takes = takes
		w.mu.Unlock()
	case "all": // beside each other
		name := rapid.SampledFrom(someFunctions).Draw(w.t, "function")
		call := w.invocation()
		w.change(name)
		var wg sync.WaitGroup
		wg.Go(func() { w.p.Changed(name) })
		wg.Go(func() { w.p.Prewarm(context.Background(), name, "") })
		wg.Go(func() { w.p.Stats(); w.p.Logs(name).Tail(3) })
		w.calls.Go(call)
		wg.Wait()
	}
}

// check looks at the pool while nothing moves. Before says how many ran of each
// function before the step.
func (w *world) check(before map[string]int) {
	t, p := w.t, w.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if misuse := w.n.now().misuse; misuse != "" {
		t.Fatal(misuse)
	}
	if len(p.running) > p.opts.MaxConcurrency {
		t.Fatalf("%d run, at most %d may", len(p.running), p.opts.MaxConcurrency)
	}
	busy, environments, reserved, reservedBusy, trials := 0, 0, 0, 0, 0
	memory := int64(0)
	for i, e := range p.running {
		if e.at != i || e.call == nil {
			t.Fatalf("environment %d of those with an invocation stands at %d, %v", i, e.at, e.call)
		}
		memory += e.memory
	}
	for name, f := range p.functions {
		busy += f.busy
		environments += f.environments
		if f.reserved != nil {
			reserved += *f.reserved
			reservedBusy += f.busy
		}
		v, err := w.r.Version(context.Background(), name, "")
		if limit := v.Config.Concurrency; err == nil && limit != nil && f.busy > max(*limit, before[name]) {
			t.Fatalf("%d invocations of %s run, %d did before; it may have %d", f.busy, name, before[name], *limit)
		}
	}
	if p.reserved != reserved || p.reservedBusy != reservedBusy {
		t.Fatalf("reserved: %d, %d of them busy; want %d and %d", p.reserved, p.reservedBusy, reserved, reservedBusy)
	}
	trials = len(p.running) - busy // and invocations of functions that are gone
	if trials < 0 {
		t.Fatalf("%d run, functions count %d", len(p.running), busy)
	}
	idle, held := 0, 0
	for _, s := range p.sets {
		held += s.environments
		if s.retired || s.uses < 0 || s.environments < len(s.idle) {
			t.Fatalf("%+v", s)
		}
		for i, e := range s.idle {
			idle++
			memory += e.memory
			if i > 0 && e.since.Before(s.idle[i-1].since) {
				t.Fatal("idle environments are not in the order of their use")
			}
			if e.call != nil {
				t.Fatal("an idle environment has an invocation")
			}
		}
		if s.uses == 0 && s.environments != len(s.idle) {
			t.Fatalf("a set that nobody uses counts %d environments, %d are idle", s.environments, len(s.idle))
		}
	}
	if len(p.running) == 0 && p.resting == 0 && len(p.warming) == 0 {
		if open := w.n.now().environments; p.memory != memory || open != idle || held != idle || environments != idle {
			t.Fatalf("%d environments are idle: %d are open, sets count %d and functions %d; they hold %d bytes, counted as %d", idle, open, held, environments, memory, p.memory)
		}
	} else if p.memory < memory {
		t.Fatalf("environments hold %d bytes at least, counted as %d", memory, p.memory)
	}
}

func (w *world) runningNow() map[string]int {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	n := map[string]int{}
	for name, f := range w.p.functions {
		n[name] = f.busy
	}
	return n
}

// end leaves nothing of a world in the bubble.
func (w *world) end() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = w.p.Close(ctx)
	w.calls.Wait()
	time.Sleep(50 * time.Millisecond) // by this clock: what failed is made smaller for half a minute
}

// bubbled is a test in a bubble, where nobody may ask for its deadline.
type bubbled struct{ testing.TB }

func TestPoolKeepsItsBooksWhateverHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(bubbled{t}, func(t *rapid.T) {
			w := newWorld(t)
			defer w.end() // also when a check has failed
			for range rapid.IntRange(1, 60).Draw(t, "steps") {
				before := w.runningNow()
				w.step()
				synctest.Wait()
				w.check(before)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rapid.IntRange(0, 20).Draw(t, "grace"))*time.Second)
			defer cancel()
			w.calls.Go(w.invocation()) // beside it
			_ = w.p.Close(ctx)
			w.calls.Wait()
			synctest.Wait()
			w.check(nil)
			if st := w.p.Stats(); st != (Stats{}) || w.n.now().environments != 0 || w.n.now().programs != 0 || w.n.now().misuse != "" {
				t.Fatalf("left behind: %+v; %+v", st, w.n.now())
			}
			for name, f := range w.p.functions {
				if f.busy != 0 || f.environments != 0 {
					t.Fatalf("%s: %+v", name, f)
				}
			}
			if w.started != w.ended {
				t.Fatalf("%d invocations were said to have started, %d to have ended", w.started, w.ended)
			}
		})
	})
}
