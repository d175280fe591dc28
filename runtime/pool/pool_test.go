package pool

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// registry is a few functions in memory.
type registry struct {
	mu       sync.Mutex
	versions map[string]functions.Version // by qualified name
	codeErr  error
}

func (r *registry) Version(_ context.Context, name, qualifier string) (functions.Version, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if qualifier == "" {
		qualifier = functions.Unpublished
	}
	v, ok := r.versions[name+":"+qualifier]
	if !ok {
		return v, fmt.Errorf("%w: %s", functions.ErrNotFound, name)
	}
	return v, nil
}

func (r *registry) Code(_ context.Context, sha256 string) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return []byte(sha256), r.codeErr
}

func (r *registry) set(v functions.Version) functions.Version {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.Version == "" {
		v.Version = functions.Unpublished
	}
	v.ID = "id-" + v.Function
	v.Code.SHA256 = "sha-" + v.Function
	if r.versions == nil {
		r.versions = map[string]functions.Version{}
	}
	r.versions[v.Function+":"+v.Version] = v
	return v
}

// native is an engine whose environments are Go functions: an environment need
// not be WASM, and here it is to wait, fail and count as a test says.
type native struct {
	mu sync.Mutex
	counts
	handle  func(ctx context.Context, inv *runtime.Invocation) runtime.Result
	start   func(ctx context.Context) error
	rest    func()
	opened  func(*nativeEnvironment)
	served  func(environment int, inv *runtime.Invocation) // told of each invocation
	asked   functions.Version                              // by the last start
	loadErr error
}

type counts struct {
	programs, environments  int // open
	loads, starts, maxStart int
	rests                   int
	misuse                  string
}

func (n *native) now() counts {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.counts
}

func (n *native) count(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

func (n *native) Load(_ context.Context, code []byte, _ func(runtime.Progress)) (runtime.Program, functions.Code, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loads++
	if n.loadErr != nil {
		return nil, functions.Code{}, n.loadErr
	}
	n.programs++
	return &nativeProgram{engine: n}, functions.Code{SHA256: string(code), ABI: functions.ABIJSON}, nil
}

type nativeProgram struct {
	engine *native
	open   int
	closed bool
}

func (p *nativeProgram) ABI() functions.ABI { return functions.ABIJSON }

func (p *nativeProgram) New(ctx context.Context, v functions.Version, logs runtime.LogWriter) (runtime.Environment, error) {
	p.engine.count(func() { p.engine.starts, p.engine.asked = p.engine.starts+1, v })
	if p.engine.start != nil {
		if err := p.engine.start(ctx); err != nil {
			return nil, err
		}
	}
	var number int
	p.engine.count(func() {
		number = p.engine.starts
		if p.closed {
			p.engine.misuse = "environment of a closed program"
		}
		p.open++
		p.engine.environments++
		p.engine.maxStart = max(p.engine.maxStart, p.engine.environments)
	})
	e := &nativeEnvironment{program: p, logs: logs, number: number}
	if p.engine.opened != nil {
		p.engine.opened(e)
	}
	return e, nil
}

func (p *nativeProgram) Close() error {
	p.engine.count(func() {
		if p.closed || p.open > 0 {
			p.engine.misuse = fmt.Sprintf("program closed with %d open environments, closed before: %v", p.open, p.closed)
		}
		p.closed = true
		p.engine.programs--
	})
	return nil
}

type nativeEnvironment struct {
	program *nativeProgram
	logs    runtime.LogWriter
	dead    atomic.Bool
	busy    bool
	closed  bool
	number  int // of the environment, from 1
}

func (e *nativeEnvironment) Invoke(ctx context.Context, inv *runtime.Invocation) runtime.Result {
	n := e.program.engine
	n.count(func() {
		if e.busy || e.closed {
			n.misuse = fmt.Sprintf("an invocation in an environment that is in use: %v, closed: %v", e.busy, e.closed)
		}
		e.busy = true
	})
	defer n.count(func() { e.busy = false })
	e.logs.Line(inv.ID, []byte("line of "+inv.ID))
	if n.served != nil {
		n.served(e.number, inv)
	}
	began := time.Now()
	r := n.handle(ctx, inv)
	r.Duration = time.Since(began)
	if r.Outcome == runtime.Timeout || r.ErrorType == runtime.TypeExit {
		e.dead.Store(true)
	}
	return r
}

func (e *nativeEnvironment) Reusable() bool { return !e.dead.Load() }

func (e *nativeEnvironment) Rest() {
	n := e.program.engine
	n.count(func() {
		if e.busy {
			n.misuse = "rest during an invocation"
		}
		e.busy = true
		n.rests++
	})
	if n.rest != nil {
		n.rest()
	}
	n.count(func() { e.busy = false })
}

func (e *nativeEnvironment) Close() error {
	e.program.engine.count(func() {
		if e.busy || e.closed {
			e.program.engine.misuse = fmt.Sprintf("environment closed while busy: %v, closed before: %v", e.busy, e.closed)
		}
		e.closed = true
		e.program.open--
		e.program.engine.environments--
	})
	return nil
}

// takes is a handler that takes a while, or until it is stopped.
func takes(d time.Duration) func(context.Context, *runtime.Invocation) runtime.Result {
	return func(ctx context.Context, inv *runtime.Invocation) (r runtime.Result) {
		select {
		case <-time.After(d):
			r.Response = []byte("null")
			r.MaxMemory = 10 << 20
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				r.Fail(runtime.Timeout, runtime.TypeTimeout, inv.ID, "Task timed out")
			} else {
				r.Fail(runtime.Infrastructure, runtime.TypeInternal, inv.ID, "%v", context.Cause(ctx))
			}
		}
		return r
	}
}

// bench is a pool in a bubble over native, closed and found empty at the end.
func bench(t *testing.T, n *native, o Options, test func(t *testing.T, p *Pool, r *registry)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &registry{}
		r.set(functions.Version{Function: "f", Revision: 1, Config: functions.Config{Timeout: 3 * time.Second, Memory: 128}})
		p := New(r, n, o)
		test(t, p, r)
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if st := p.Stats(); st != (Stats{}) || n.now().programs != 0 || n.now().environments != 0 {
			t.Errorf("left behind: %+v, %d programs, %d environments", st, n.now().programs, n.now().environments)
		}
		if n.now().misuse != "" {
			t.Error(n.now().misuse)
		}
		if r := p.Invoke(context.Background(), "f", "", event()); r.Outcome != runtime.Infrastructure {
			t.Errorf("a closed pool: %v", r.Outcome)
		}
	})
}

func event() *runtime.Invocation { return &runtime.Invocation{Payload: []byte("{}"), Source: "invoke"} }

func TestEnvironmentIsUsedAgain(t *testing.T) {
	n := &native{handle: takes(time.Millisecond)}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, _ *registry) {
		for range 5 {
			if r := p.Invoke(t.Context(), "f", "", event()); r.Outcome != runtime.Done || r.Version.Function != "f" || r.Finished.IsZero() {
				t.Errorf("%+v", r)
			}
		}
		if n.now().starts != 1 || n.now().loads != 1 {
			t.Errorf("%d starts, %d loads", n.now().starts, n.now().loads)
		}
	})
}

func TestEachInvocationAtOnceHasItsEnvironment(t *testing.T) {
	n := &native{handle: takes(time.Second)}
	bench(t, n, Options{MaxConcurrency: 4}, func(t *testing.T, p *Pool, _ *registry) {
		var mu sync.Mutex
		got := map[runtime.Outcome]int{}
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				r := p.Invoke(t.Context(), "f", "", event())
				mu.Lock()
				defer mu.Unlock()
				got[r.Outcome]++
				if r.Outcome == runtime.Throttled && (runtime.Attempted(r.Outcome) || r.ErrorType != runtime.TypeThrottled) {
					t.Errorf("%+v", r)
				}
			})
		}
		wg.Wait()
		if got[runtime.Done] != 4 || got[runtime.Throttled] != 6 || n.now().maxStart != 4 || n.now().loads != 1 {
			t.Errorf("%v, %d environments, %d loads", got, n.now().maxStart, n.now().loads)
		}
	})
}

func TestMemoryBoundsEnvironments(t *testing.T) {
	n := &native{handle: takes(time.Second)}
	bench(t, n, Options{MemoryBytes: 40 << 20}, func(t *testing.T, p *Pool, r *registry) {
		r.set(functions.Version{Function: "g", Revision: 1})
		var wg sync.WaitGroup
		var mu sync.Mutex
		throttled := 0
		for range 4 { // 16 MB each while nobody knows
			wg.Go(func() {
				if p.Invoke(t.Context(), "f", "", event()).Outcome == runtime.Throttled {
					mu.Lock()
					defer mu.Unlock()
					throttled++
				}
			})
		}
		wg.Wait()
		if throttled != 2 {
			t.Errorf("%d throttled, want 2", throttled)
		}
		if st := p.Stats(); st.Idle != 2 || st.Memory != 20<<20 {
			t.Errorf("%+v", st)
		}
		// Two more of another function: idle ones of the first make room.
		for range 2 {
			wg.Go(func() {
				if r := p.Invoke(t.Context(), "g", "", event()); r.Outcome != runtime.Done {
					t.Errorf("%v %s", r.Outcome, r.ErrorMessage)
				}
			})
		}
		wg.Wait()
		if st := p.Stats(); st.Memory > 40<<20 {
			t.Errorf("%+v", st)
		}
	})
}

func TestTimeoutIsTheFunctionsAndDiscardsItsEnvironment(t *testing.T) {
	n := &native{handle: takes(time.Hour)}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, _ *registry) {
		began := time.Now()
		r := p.Invoke(t.Context(), "f", "", event())
		if took := time.Since(began); r.Outcome != runtime.Timeout || took != 3*time.Second {
			t.Errorf("%v after %v", r.Outcome, took)
		}
		if st := p.Stats(); st.Idle != 0 || n.now().environments != 0 {
			t.Errorf("%+v, %d environments", st, n.now().environments)
		}
	})
}

func TestCallersEndIsNotTheFunctionsTimeout(t *testing.T) {
	n := &native{handle: takes(time.Hour)}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, _ *registry) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		r := p.Invoke(ctx, "f", "", event())
		if took := time.Since(began); r.Outcome != runtime.Infrastructure || took != time.Second {
			t.Errorf("%v after %v: %s", r.Outcome, took, r.ErrorMessage)
		}
	})
}

func TestChangeRetiresOldRevisionsAfterTheirInvocation(t *testing.T) {
	n := &native{handle: takes(time.Second)}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, r *registry) {
		p.Invoke(t.Context(), "f", "", event()) // one idle
		var wg sync.WaitGroup
		for range 2 { // one of them in a new environment
			wg.Go(func() {
				if res := p.Invoke(t.Context(), "f", "", event()); res.Outcome != runtime.Done || res.Version.Revision != 1 {
					t.Errorf("%v, revision %d", res.Outcome, res.Version.Revision)
				}
			})
		}
		synctest.Wait()
		r.set(functions.Version{Function: "f", Revision: 2})
		p.Changed("f")
		if res := p.Invoke(t.Context(), "f", "", event()); res.Version.Revision != 2 || res.Init != 0 && n.now().starts != 3 {
			t.Errorf("revision %d, %d starts", res.Version.Revision, n.now().starts)
		}
		wg.Wait()
		if n.now().environments != 1 || n.now().programs != 1 || n.now().starts != 3 {
			t.Errorf("%d environments, %d programs, %d starts", n.now().environments, n.now().programs, n.now().starts)
		}
	})
}

func TestUnannouncedChangeRetiresToo(t *testing.T) {
	n := &native{handle: takes(time.Second)}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, r *registry) {
		p.Invoke(t.Context(), "f", "", event())
		r.set(functions.Version{Function: "f", Revision: 2})
		p.Invoke(t.Context(), "f", "", event())
		if n.now().environments != 1 {
			t.Errorf("%d environments", n.now().environments)
		}
	})
}

func TestDeletedFunctionLeavesNothing(t *testing.T) {
	n := &native{handle: takes(time.Second)}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, r *registry) {
		r.set(functions.Version{Function: "f", Version: "1", Revision: 1})
		p.Invoke(t.Context(), "f", "1", event())
		p.Invoke(t.Context(), "f", "", event())
		p.Changed("f") // an alias, or a tag: what runs stays
		synctest.Wait()
		if n.now().environments != 2 {
			t.Errorf("%d environments after a change of neither code nor configuration", n.now().environments)
		}
		r.set(functions.Version{Function: "f", Revision: 2})
		p.Changed("f") // $LATEST changed: version 1 stays
		synctest.Wait()
		if n.now().environments != 1 {
			t.Errorf("%d environments after a change", n.now().environments)
		}
		r.mu.Lock()
		clear(r.versions)
		r.mu.Unlock()
		p.Changed("f")
		synctest.Wait()
		if n.now().environments != 0 || n.now().programs != 0 || len(p.functions) != 0 {
			t.Errorf("%d environments, %d programs, %d logs", n.now().environments, n.now().programs, len(p.functions))
		}
		res := p.Invoke(t.Context(), "f", "", event())
		if res.Outcome != runtime.Infrastructure || res.ErrorType != runtime.TypeNotFound || runtime.Attempted(res.Outcome) {
			t.Errorf("%v %s", res.Outcome, res.ErrorType)
		}
	})
}

func TestIdleEnvironmentsAreClosed(t *testing.T) {
	n := &native{handle: takes(time.Millisecond)}
	bench(t, n, Options{Idle: time.Minute}, func(t *testing.T, p *Pool, _ *registry) {
		p.Invoke(t.Context(), "f", "", event())
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if n.now().environments != 1 {
			t.Error("closed too early")
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if n.now().environments != 0 || n.now().programs != 1 {
			t.Errorf("%d environments, %d programs after idling", n.now().environments, n.now().programs)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n.now().programs != 0 {
			t.Error("the program is kept for ever")
		}
		if r := p.Invoke(t.Context(), "f", "", event()); r.Outcome != runtime.Done || n.now().loads != 2 {
			t.Errorf("%v, %d loads", r.Outcome, n.now().loads)
		}
	})
}

func TestOurFaultsCostNoAttemptAndMend(t *testing.T) {
	n := &native{handle: takes(time.Millisecond), loadErr: errors.New("cache is broken")}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, reg *registry) {
		if r := p.Invoke(t.Context(), "f", "", event()); r.Outcome != runtime.Infrastructure || !strings.Contains(r.ErrorMessage, "cache is broken") {
			t.Errorf("%v %s", r.Outcome, r.ErrorMessage)
		}
		n.loadErr, reg.codeErr = nil, errors.New("disk is gone")
		if r := p.Invoke(t.Context(), "f", "", event()); r.Outcome != runtime.Infrastructure || !strings.Contains(r.ErrorMessage, "disk is gone") {
			t.Errorf("%v %s", r.Outcome, r.ErrorMessage)
		}
		reg.codeErr = nil
		n.handle = func(context.Context, *runtime.Invocation) runtime.Result { panic("a bug of ours") }
		if r := p.Invoke(t.Context(), "f", "", event()); r.Outcome != runtime.Infrastructure || n.now().environments != 0 {
			t.Errorf("%v, %d environments", r.Outcome, n.now().environments)
		}
		n.handle = takes(time.Millisecond)
		if r := p.Invoke(t.Context(), "f", "", event()); r.Outcome != runtime.Done {
			t.Errorf("%v %s", r.Outcome, r.ErrorMessage)
		}
	})
}

func TestDamagedCodeIsNotRun(t *testing.T) {
	n := &native{handle: takes(time.Millisecond)}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, r *registry) {
		r.mu.Lock()
		v := r.versions["f:$LATEST"]
		v.Code.SHA256 = "another"
		r.versions["f:$LATEST"] = v
		r.mu.Unlock()
		p.registry = damaged{r}
		if res := p.Invoke(t.Context(), "f", "", event()); res.Outcome != runtime.Infrastructure || n.now().programs != 0 {
			t.Errorf("%v, %d programs", res.Outcome, n.now().programs)
		}
	})
}

type damaged struct{ *registry }

func (damaged) Code(context.Context, string) ([]byte, error) { return []byte("bits have flipped"), nil }

func TestFailedStartIsTheFunctionsFault(t *testing.T) {
	n := &native{handle: takes(time.Millisecond)}
	n.start = func(context.Context) error {
		return &runtime.InitError{Outcome: runtime.FunctionError, Type: runtime.TypeInit, Message: "no handler"}
	}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, _ *registry) {
		r := p.Invoke(t.Context(), "f", "", &runtime.Invocation{ID: "i"})
		if r.Outcome != runtime.FunctionError || r.ErrorMessage != "RequestId: i Error: no handler" || !strings.Contains(string(r.Logs), "END RequestId: i") {
			t.Errorf("%+v", r)
		}
		n.start = func(ctx context.Context) error {
			<-ctx.Done()
			return &runtime.InitError{Outcome: runtime.Timeout, Type: runtime.TypeTimeout}
		}
		began := time.Now()
		if r := p.Invoke(t.Context(), "f", "", event()); r.Outcome != runtime.Timeout || time.Since(began) != 10*time.Second {
			t.Errorf("%v after %v", r.Outcome, time.Since(began))
		}
		if st := p.Stats(); st.Memory != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestPreparedCodeIsReady(t *testing.T) {
	n := &native{handle: takes(time.Millisecond)}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, r *registry) {
		v, _ := r.Version(t.Context(), "f", "")
		if err := p.Prepare(t.Context(), v, []byte("sha-f"), nil); err != nil {
			t.Fatal(err)
		}
		if err := p.Prepare(t.Context(), v, []byte("sha-g"), nil); err == nil {
			t.Error("code of another digest is taken")
		}
		loads := n.now().loads
		p.Warm([]functions.Version{v}) // twice is once
		synctest.Wait()
		p.Invoke(t.Context(), "f", "", event())
		if n.now().loads != loads || n.now().programs != 1 {
			t.Errorf("%d loads more, %d programs", n.now().loads-loads, n.now().programs)
		}
	})
}

func TestCloseWaitsThenCutsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &native{handle: takes(2 * time.Second)}
		r := &registry{}
		r.set(functions.Version{Function: "f", Config: functions.Config{Timeout: time.Minute}})
		for _, tt := range []struct {
			grace time.Duration
			want  runtime.Outcome
			took  time.Duration
		}{{time.Minute, runtime.Done, 2 * time.Second}, {time.Second, runtime.Infrastructure, time.Second}} {
			p := New(r, n, Options{})
			var wg sync.WaitGroup
			wg.Go(func() {
				if res := p.Invoke(t.Context(), "f", "", event()); res.Outcome != tt.want {
					t.Errorf("grace %v: %v %s", tt.grace, res.Outcome, res.ErrorMessage)
				}
			})
			synctest.Wait()
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), tt.grace)
			err := p.Close(ctx)
			cancel()
			if took := time.Since(began); took != tt.took || (err != nil) != (tt.want != runtime.Done) {
				t.Errorf("grace %v: closed after %v: %v", tt.grace, took, err)
			}
			wg.Wait()
			if n.now().environments != 0 || n.now().programs != 0 {
				t.Errorf("left %d environments, %d programs", n.now().environments, n.now().programs)
			}
		}
	})
}

func TestCloseDoesNotWaitForEverForWhatCannotBeStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &native{handle: func(context.Context, *runtime.Invocation) (r runtime.Result) {
			time.Sleep(time.Hour)
			return r
		}}
		r := &registry{}
		r.set(functions.Version{Function: "f"})
		p := New(r, n, Options{})
		var wg sync.WaitGroup
		wg.Go(func() { p.Invoke(t.Context(), "f", "", event()) })
		synctest.Wait()
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Close(ctx); err == nil || time.Since(began) != 6*time.Second {
			t.Errorf("closed after %v: %v", time.Since(began), err)
		}
		if n.now().programs != 1 || n.now().environments != 1 {
			t.Error("what still runs was closed under it")
		}
		wg.Wait()
		if n.now().programs != 0 || n.now().environments != 0 || n.now().misuse != "" {
			t.Errorf("left behind: %+v", n.now())
		}
	})
}

func TestObserverSeesEveryInvocationOnce(t *testing.T) {
	n := &native{handle: takes(time.Second)}
	var mu sync.Mutex
	var seen []string
	o := Observer{
		Started: func(inv *runtime.Invocation, v functions.Version) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, "started "+inv.ID+" "+v.Function)
		},
		Ended: func(inv *runtime.Invocation, r *runtime.Result) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, "ended "+inv.ID+" "+r.Outcome.String())
		},
	}
	bench(t, n, Options{MaxConcurrency: 1, Observer: o}, func(t *testing.T, p *Pool, _ *registry) {
		var wg sync.WaitGroup
		wg.Go(func() { p.Invoke(t.Context(), "f", "", &runtime.Invocation{ID: "a"}) })
		synctest.Wait()
		p.Invoke(t.Context(), "f", "", &runtime.Invocation{ID: "b"})
		wg.Wait()
		p.Invoke(t.Context(), "g", "", &runtime.Invocation{ID: "c"})
		want := "started a f, started b f, ended b throttled, ended a done, started c , ended c infra"
		if got := strings.Join(seen, ", "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

func TestLinesAroundAnInvocationAreLambdas(t *testing.T) {
	n := &native{handle: takes(1500 * time.Microsecond)}
	n.start = func(context.Context) error { time.Sleep(20 * time.Millisecond); return nil }
	bench(t, n, Options{}, func(t *testing.T, p *Pool, _ *registry) {
		r := p.Invoke(t.Context(), "f", "", &runtime.Invocation{ID: "a"})
		want := "START RequestId: a Version: $LATEST\nline of a\nEND RequestId: a\n" +
			"REPORT RequestId: a\tDuration: 1.50 ms\tBilled Duration: 22 ms\tMemory Size: 128 MB\tMax Memory Used: 10 MB\tInit Duration: 20.00 ms\t\n"
		if string(r.Logs) != want {
			t.Errorf("cold:\n%s\nwant\n%s", r.Logs, want)
		}
		r = p.Invoke(t.Context(), "f", "", &runtime.Invocation{ID: "b"})
		want = "START RequestId: b Version: $LATEST\nline of b\nEND RequestId: b\n" +
			"REPORT RequestId: b\tDuration: 1.50 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\tMax Memory Used: 10 MB\t\n"
		if string(r.Logs) != want {
			t.Errorf("warm:\n%s\nwant\n%s", r.Logs, want)
		}
		n.handle = func(context.Context, *runtime.Invocation) runtime.Result { return runtime.Result{Work: 1234567} }
		r = p.Invoke(t.Context(), "f", "", &runtime.Invocation{ID: "w"})
		if want = "REPORT RequestId: w\tDuration: 0.00 ms\tBilled Duration: 0 ms\tMemory Size: 128 MB\tMax Memory Used: 0 MB\tWork: 1234567 steps\t\n"; !strings.HasSuffix(string(r.Logs), want) {
			t.Errorf("with its work counted:\n%s\nwant\n%s", r.Logs, want)
		}
		n.handle = takes(time.Hour)
		r = p.Invoke(t.Context(), "f", "", &runtime.Invocation{ID: "c"})
		re := regexp.MustCompile(`\n\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z c Task timed out after 3\.00 seconds\nEND RequestId: c\nREPORT .*\tStatus: timeout\t\n$`)
		if !re.Match(r.Logs) {
			t.Errorf("timeout:\n%s", r.Logs)
		}
		lines := p.Logs("f").Tail(-1)
		if len(lines) != 17 || lines[0].RequestID != "a" || lines[16].RequestID != "c" || !strings.Contains(lines[16].Stream, "/[$LATEST]") || lines[0].Time.IsZero() {
			t.Errorf("%d lines: %+v", len(lines), lines)
		}
	})
}

func TestIDIsGivenWhereNoneIs(t *testing.T) {
	n := &native{handle: takes(0)}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, _ *registry) {
		inv := &runtime.Invocation{}
		if p.Invoke(t.Context(), "f", "", inv); len(inv.ID) != 36 || string(inv.Payload) != "{}" {
			t.Errorf("id %q, payload %s", inv.ID, inv.Payload)
		}
	})
}
