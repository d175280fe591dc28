package sandbox

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/wasm/wasmtest"
)

func TestGuestThatGoesOnIsAnsweredForAtItsDeadline(t *testing.T) {
	e := newEngine(t)
	tests := []struct {
		name string
		code []byte
		word string
	}{
		{"spinning loop", wasmtest.Guest(t), "loop"},
		{"sleep", wasmtest.Guest(t), "sleep 100000"},
		{"deep sleep of all goroutines", wasmtest.Guest(t), "flood 100000000"},
		{"2^33 calls", chain(33), ""},
		{"straight memory.fill", fills(1000), ""},
		{"host calls", hostCalls(), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := loaded(t, e, tt.code)
			env, sibling := start(t, p, version(), nil), start(t, p, version(), nil)
			if env.process != sibling.process {
				t.Fatal("they should share a process")
			}
			began := time.Now()
			r := invoke(t, env, say(tt.word), 300*time.Millisecond)
			if r.Outcome != runtime.Timeout || r.ErrorType != runtime.TypeTimeout {
				t.Errorf("%v %s %s", r.Outcome, r.ErrorType, r.ErrorMessage)
			}
			if took := time.Since(began); took > patient {
				t.Errorf("it took %v", took)
			}
			if !sibling.Reusable() || !env.Reusable() {
				t.Error("the guest was to stop by itself, and the process to live on")
			}
		})
	}
}

// stopped has a child stand still, as one whose guest never comes back would.
func stopped(t *testing.T, p *process) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// The signal takes effect when a thread of it has had the processor.
	for end := time.Now().Add(patient); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		if err == nil && strings.Contains(string(b), ") T ") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the child does not stop: %s", b)
		}
	}
}

func TestProcessThatDoesNotAnswerIsEndedAtTheDeadlineAndItsSiblingsPayNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*Options)) {
		p := loaded(t, newEngine(t, with), wasmtest.Guest(t))
		late, sibling := start(t, p, version(), nil), start(t, p, version(), nil)
		stopped(t, late.process)
		var r runtime.Result
		var wg sync.WaitGroup
		wg.Go(func() { r = invoke(t, sibling, say("calls"), patient) })
		waitBusy(t, sibling.process, 1)
		// More than fits into the connection: writing must not block either.
		inv := &runtime.Invocation{ID: "id", Batch: batchOf("noop", 5000, 1000)}
		if r := invoke(t, late, inv, 200*time.Millisecond); r.Outcome != runtime.Timeout {
			t.Errorf("%v %s %s", r.Outcome, r.ErrorType, r.ErrorMessage)
		}
		wg.Wait()
		if r.Outcome != runtime.Infrastructure {
			t.Errorf("sibling: %v %s %s", r.Outcome, r.ErrorType, r.ErrorMessage)
		}
		if late.Reusable() || sibling.Reusable() {
			t.Error("both are gone")
		}
		a, b := start(t, p, version(), nil), start(t, p, version(), nil)
		if a.process == b.process {
			t.Error("after that each environment has a process of its own")
		}
		want(t, a, "calls", "1")
		want(t, b, "calls", "1")
	})
}

// waitBusy waits until n calls are under way in a process.
func waitBusy(t *testing.T, p *process, n int) {
	t.Helper()
	for end := time.Now().Add(patient); ; time.Sleep(time.Millisecond) {
		p.mu.Lock()
		busy := 0
		for e := range p.envs {
			if e.busy && !e.ahead {
				busy++
			}
		}
		p.mu.Unlock()
		if busy >= n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d calls are under way, want %d", busy, n)
		}
	}
}

func TestCallThatIsGivenUpStopsTheGuestAndNotTheProcess(t *testing.T) {
	p := loaded(t, newEngine(t), wasmtest.Guest(t))
	env, sibling := start(t, p, version(), nil), start(t, p, version(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if r := env.Invoke(ctx, say("loop")); r.Outcome != runtime.Infrastructure {
		t.Errorf("%v %s %s", r.Outcome, r.ErrorType, r.ErrorMessage)
	}
	want(t, sibling, "calls", "1")
	want(t, env, "calls", "1")
}

func TestStartUpThatDoesNotEndIsTheFunctionsTimeout(t *testing.T) {
	p := loaded(t, newEngine(t), wasmtest.Guest(t))
	v := version()
	v.Config.Environment = map[string]string{"START": "loop"}
	// Some of it a child takes to start, on a busy machine.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	<-p.(*program).spare.ready
	_, err := p.New(ctx, v, nil)
	if f, ok := err.(*runtime.InitError); !ok || f.Outcome != runtime.Timeout {
		t.Errorf("%v", err)
	}
}

func inFlight(t *testing.T, word string, envs ...*environment) (results func() []runtime.Result) {
	t.Helper()
	out := make([]runtime.Result, len(envs))
	var wg sync.WaitGroup
	for i, e := range envs {
		wg.Go(func() { out[i] = invoke(t, e, say(word), patient) })
	}
	waitBusy(t, envs[0].process, len(envs))
	return func() []runtime.Result { wg.Wait(); return out }
}

func TestEndOfAProcessIsLaidAtADoorOnlyWhenItIsThatDoor(t *testing.T) {
	tests := []struct {
		name  string
		end   func(*process)
		alone string // error type for one that was alone, the first time
		again string // and the second
	}{
		{"killed by somebody", func(p *process) { p.cmd.Process.Signal(syscall.SIGKILL) }, runtime.TypeInternal, runtime.TypeExit},
		{"crashed", func(p *process) { p.cmd.Process.Signal(syscall.SIGQUIT) }, runtime.TypeExit, runtime.TypeExit},
		{"too large", func(p *process) { p.mu.Lock(); p.slack = -1 << 50; p.mu.Unlock() }, runtime.TypeOutOfMemory, runtime.TypeOutOfMemory},
	}
	e := newEngine(t)
	code := wasmtest.Guest(t)
	for _, tt := range tests {
		t.Run(tt.name+", alone", func(t *testing.T) {
			p := loaded(t, e, code)
			for _, want := range []string{tt.alone, tt.again} {
				env := start(t, p, version(), nil)
				results := inFlight(t, "sleep 60000", env)
				tt.end(env.process)
				if r := results()[0]; r.ErrorType != want || (want == runtime.TypeInternal) != (r.Outcome == runtime.Infrastructure) {
					t.Errorf("%v %s %s, want %s", r.Outcome, r.ErrorType, r.ErrorMessage, want)
				}
				env.Close()
			}
		})
		t.Run(tt.name+", in company", func(t *testing.T) {
			p := loaded(t, e, code)
			a, b := start(t, p, version(), nil), start(t, p, version(), nil)
			results := inFlight(t, "sleep 60000", a, b)
			tt.end(a.process)
			for _, r := range results() {
				if r.Outcome != runtime.Infrastructure {
					t.Errorf("%v %s %s: nobody knows who it was", r.Outcome, r.ErrorType, r.ErrorMessage)
				}
			}
			// The same two again: now the one that does it is found.
			a, b = start(t, p, version(), nil), start(t, p, version(), nil)
			other := inFlight(t, "sleep 1000", b)
			results = inFlight(t, "sleep 60000", a)
			tt.end(a.process)
			if r := results()[0]; r.Outcome != runtime.FunctionError || r.ErrorType != tt.again {
				t.Errorf("%v %s %s", r.Outcome, r.ErrorType, r.ErrorMessage)
			}
			if r := other()[0]; r.Outcome != runtime.Done {
				t.Errorf("the other: %v %s %s", r.Outcome, r.ErrorType, r.ErrorMessage)
			}
		})
	}
}

func TestProcessStandsReadyAfterAnEnd(t *testing.T) {
	p := loaded(t, newEngine(t), wasmtest.Guest(t))
	env := start(t, p, version(), nil)
	results := inFlight(t, "sleep 60000", env)
	env.process.cmd.Process.Signal(syscall.SIGKILL)
	results()
	f := env.process.fleet
	for end := time.Now().Add(patient); ; time.Sleep(time.Millisecond) {
		f.mu.Lock()
		c := f.spare
		f.mu.Unlock()
		if c != nil {
			<-c.ready
			break
		}
		if time.Now().After(end) {
			t.Fatal("there is none")
		}
	}
}

func TestProcessWithoutEnvironmentsEnds(t *testing.T) {
	p := loaded(t, newEngine(t, func(o *Options) { o.linger = 10 * time.Millisecond }), wasmtest.Guest(t))
	env := start(t, p, version(), nil)
	want(t, env, "calls", "1")
	env.Close()
	select {
	case <-env.process.gone:
	case <-time.After(patient):
		t.Fatal("it stays")
	}
	want(t, start(t, p, version(), nil), "calls", "1")
}
