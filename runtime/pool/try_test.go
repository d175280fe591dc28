package pool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

func aBatch(reply bool) *runtime.Invocation {
	return &runtime.Invocation{Batch: &runtime.Batch{Records: []runtime.Record{{Sequence: "1"}, {Sequence: "2"}}}, PartialReplies: reply, Source: "t"}
}

// answers is a handler that returns one response.
func answers(response string) func(context.Context, *runtime.Invocation) runtime.Result {
	return func(context.Context, *runtime.Invocation) runtime.Result {
		return runtime.Result{Response: []byte(response), MaxMemory: 1 << 20}
	}
}

const emitsToA = `{"emit":[{"stream":"a","partitionKey":"k","data":"eA=="}]}`

func TestEmitsAreThoseTheVersionAllows(t *testing.T) {
	n := &native{handle: answers(emitsToA)}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, r *registry) {
		if res := p.Invoke(t.Context(), "f", "", aBatch(false)); res.Outcome != runtime.FunctionError || !strings.Contains(res.ErrorMessage, "wasmill fn update f --emit a") ||
			!strings.Contains(string(res.Logs), "Emit.Invalid: emit 0 is to stream") {
			t.Errorf("%v %s\n%s", res.Outcome, res.ErrorMessage, res.Logs)
		}
		r.set(functions.Version{Function: "f", Revision: 2, Config: functions.Config{Emits: []string{"a"}}})
		if res := p.Invoke(t.Context(), "f", "", aBatch(false)); res.Outcome != runtime.Done || len(res.Emits) != 1 {
			t.Errorf("%v %s, emits %v", res.Outcome, res.ErrorMessage, res.Emits)
		}
	})
}

func TestTryRunsCodeOutsideTheRegistry(t *testing.T) {
	n := &native{handle: answers(emitsToA)}
	o := Observer{Ended: func(*runtime.Invocation, *runtime.Result) { t.Error("a trial was observed") }}
	bench(t, n, Options{Observer: o}, func(t *testing.T, p *Pool, _ *registry) {
		p.opts.Observer.Started = func(*runtime.Invocation, functions.Version) { t.Error("a trial was observed") }
		defer func() { p.opts.Observer = Observer{} }() // bench calls once more
		v := functions.Version{Function: "new", Config: functions.Config{Emits: []string{"a"}, Memory: 300, Environment: map[string]string{"A": "b"}}}
		n.handle = func(ctx context.Context, inv *runtime.Invocation) runtime.Result {
			if st := p.Stats(); st.Busy != 1 || st.Memory == 0 {
				t.Errorf("it runs beside the pool: %+v", st)
			}
			return answers(emitsToA)(ctx, inv)
		}
		r, log, err := p.Try(t.Context(), v, []byte("code"), aBatch(true))
		if err != nil || r.Outcome != runtime.Done || len(r.Emits) != 1 || r.Version.Code.SHA256 != "code" || r.Version.Function != "new" || r.Finished.IsZero() {
			t.Errorf("%+v", r)
		}
		if !strings.HasPrefix(log, "START RequestId: ") || !strings.Contains(log, "\nline of ") || !strings.Contains(log, "\nREPORT ") || log != string(r.Logs) {
			t.Errorf("log %q", log)
		}
		if n.asked.Config.Memory != 300 || n.asked.Config.Environment["A"] != "b" || n.asked.Config.Timeout != functions.DefaultTimeout {
			t.Errorf("started with %+v", n.asked.Config)
		}
		if now := n.now(); now.environments != 0 || now.programs != 0 {
			t.Errorf("%d environments and %d programs are left", now.environments, now.programs)
		}
		if lines := p.Logs("new").Tail(-1); len(lines) != 0 {
			t.Errorf("the function's log has %d lines of it", len(lines))
		}
	})
}

func TestTryTimesOutAsTheVersionSays(t *testing.T) {
	n := &native{handle: takes(time.Hour)}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, _ *registry) {
		began := time.Now()
		r, log, err := p.Try(t.Context(), functions.Version{Function: "f", Config: functions.Config{Timeout: 7 * time.Second}}, nil, event())
		if took := time.Since(began); err != nil || r.Outcome != runtime.Timeout || took != 7*time.Second || !strings.Contains(log, "Task timed out after 7.00 seconds") {
			t.Errorf("%v after %v\n%s", r.Outcome, took, log)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if r, _, _ := p.Try(ctx, functions.Version{Function: "f"}, nil, event()); r.Outcome != runtime.Infrastructure {
			t.Errorf("of a caller who leaves: %v", r.Outcome)
		}
	})
}

func TestTryTakesRoomInThePool(t *testing.T) {
	n := &native{handle: takes(time.Second)}
	bench(t, n, Options{MaxConcurrency: 2}, func(t *testing.T, p *Pool, _ *registry) {
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() { p.Invoke(t.Context(), "f", "", event()) })
		wg.Go(func() { p.Try(t.Context(), functions.Version{Function: "f"}, nil, event()) })
		synctest.Wait()
		if r, _, _ := p.Try(t.Context(), functions.Version{Function: "f"}, nil, event()); r.Outcome != runtime.Throttled {
			t.Errorf("a third: %v", r.Outcome)
		}
		if r := p.Invoke(t.Context(), "f", "", event()); r.Outcome != runtime.Throttled {
			t.Errorf("an invocation beside a trial: %v", r.Outcome)
		}
	})
}

func TestTryThatCannotRunIsAnOutcome(t *testing.T) {
	n := &native{loadErr: fmt.Errorf("%w: not a module", functions.ErrCode)}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, _ *registry) {
		if r, _, err := p.Try(t.Context(), functions.Version{Function: "f"}, nil, event()); r.Outcome != runtime.FunctionError || r.ErrorType != runtime.TypeInit || !strings.Contains(r.ErrorMessage, "not a module") || !errors.Is(err, functions.ErrCode) {
			t.Errorf("bad code: %+v, %v", r, err)
		}
		n.loadErr = nil
		n.start = func(context.Context) error {
			return &runtime.InitError{Outcome: runtime.FunctionError, Type: runtime.TypeInit, Message: "no handler"}
		}
		if r, log, err := p.Try(t.Context(), functions.Version{Function: "f"}, nil, event()); r.Outcome != runtime.FunctionError || !strings.Contains(log, "no handler") || err != nil {
			t.Errorf("%v, %v\n%s", r.Outcome, err, log)
		}
		n.start = nil
		n.handle = func(context.Context, *runtime.Invocation) runtime.Result { panic("a bug of ours") }
		if r, _, _ := p.Try(t.Context(), functions.Version{Function: "f"}, nil, event()); r.Outcome != runtime.Infrastructure {
			t.Errorf("a bug: %v", r.Outcome)
		}
	})
}

func TestCloseWaitsForTrials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &native{handle: takes(2 * time.Second)}
		p := New(&registry{}, n, Options{})
		var wg sync.WaitGroup
		wg.Go(func() {
			if r, _, _ := p.Try(t.Context(), functions.Version{Function: "f"}, nil, event()); r.Outcome != runtime.Done {
				t.Errorf("cut short: %v %s", r.Outcome, r.ErrorMessage)
			}
		})
		synctest.Wait()
		began := time.Now()
		if err := p.Close(t.Context()); err != nil || time.Since(began) != 2*time.Second {
			t.Errorf("closed after %v: %v", time.Since(began), err)
		}
		if r, _, _ := p.Try(t.Context(), functions.Version{Function: "f"}, nil, event()); r.Outcome != runtime.Infrastructure {
			t.Errorf("of a closed pool: %v", r.Outcome)
		}
		wg.Wait()
		if now := n.now(); now.environments != 0 || now.programs != 0 || now.misuse != "" {
			t.Errorf("left behind: %+v", now)
		}
	})
}

func TestLogOfATrialIsItsLastMegabyte(t *testing.T) {
	r := recorder{most: maxTryLog}
	for range 10_000 {
		r.Line("i", []byte(strings.Repeat("y", 999)))
	}
	r.Line("i", []byte("last"))
	if got := r.last(); len(got) != maxTryLog || !strings.HasSuffix(string(got), "y\nlast\n") {
		t.Errorf("%d bytes", len(got))
	}
}

func TestUnreadFailuresAreWarnedOfOnceARevision(t *testing.T) {
	n := &native{handle: answers(`{"batchItemFailures":[{"itemIdentifier":"2"}]}`)}
	var out bytes.Buffer
	bench(t, n, Options{Idle: time.Minute, Logger: slog.New(slog.NewTextHandler(&out, nil))}, func(t *testing.T, p *Pool, r *registry) {
		said := func(when string, want int) {
			t.Helper()
			inLog := 0
			for _, l := range p.Logs("f").Tail(-1) {
				inLog += strings.Count(l.Text, "[wasmill: the function named 1 of 2 records as failed, but trigger t does not read batchItemFailures")
			}
			if inServer := strings.Count(out.String(), "does not read batchItemFailures"); inLog != want || inServer != want {
				t.Errorf("%s: %d times in its log, %d times in the server's, want %d\n%s", when, inLog, inServer, want, &out)
			}
		}
		p.Invoke(t.Context(), "f", "", aBatch(true))
		p.Invoke(t.Context(), "f", "", event())
		said("read, and of a caller", 0)
		for range 3 {
			if res := p.Invoke(t.Context(), "f", "", aBatch(false)); res.Outcome != runtime.Done {
				t.Errorf("%v", res.Outcome)
			}
		}
		said("unread", 1)
		time.Sleep(time.Hour) // environments and program are gone
		p.Invoke(t.Context(), "f", "", aBatch(false))
		said("later", 1)
		r.set(functions.Version{Function: "f", Revision: 2})
		p.Invoke(t.Context(), "f", "", aBatch(false))
		said("a new revision", 2)
	})
}

// Records that a function makes so that nobody knows them are lost, and what is
// no record at all is none of ours: nobody can tell, so it is said.
func TestAnEmitThatIsIgnoredIsWarnedOfOnceARevision(t *testing.T) {
	n := &native{handle: answers(`{"emit":[{"topic":"a"},{"topic":"b"}]}`)}
	var out bytes.Buffer
	const what = "an \"emit\" that was ignored: it lists 2,"
	bench(t, n, Options{Idle: time.Minute, Logger: slog.New(slog.NewJSONHandler(&out, nil))}, func(t *testing.T, p *Pool, r *registry) {
		said := func(when string, want int) {
			t.Helper()
			inLog := 0
			for _, l := range p.Logs("f").Tail(-1) {
				inLog += strings.Count(l.Text, "[wasmill: the function's reply has "+what)
			}
			if inServer := strings.Count(out.String(), strings.ReplaceAll(what, `"`, `\"`)); inLog != want || inServer != want {
				t.Errorf("%s: %d times in its log, %d times in the server's, want %d\n%s", when, inLog, inServer, want, &out)
			}
		}
		p.Invoke(t.Context(), "f", "", event())
		said("of a caller", 0)
		for _, partial := range []bool{false, true, false} {
			if res := p.Invoke(t.Context(), "f", "", aBatch(partial)); res.Outcome != runtime.Done {
				t.Errorf("%v %s", res.Outcome, res.ErrorMessage)
			}
		}
		said("of a batch", 1)
		time.Sleep(time.Hour) // environments and program are gone
		p.Invoke(t.Context(), "f", "", aBatch(false))
		said("later", 1)
		r.set(functions.Version{Function: "f", Revision: 2})
		p.Invoke(t.Context(), "f", "", aBatch(false))
		said("a new revision", 2)

		n.handle = answers(`{"emit":[]}`)
		r.set(functions.Version{Function: "f", Revision: 3})
		p.Invoke(t.Context(), "f", "", aBatch(false))
		said("an empty list", 2)

		n.handle = answers(`{"emit":[1,2]}`)
		if _, log, _ := p.Try(t.Context(), functions.Version{Function: "new"}, nil, aBatch(false)); !strings.Contains(log, what) {
			t.Errorf("log of a trial: %s", log)
		}
		said("a trial", 2)
	})
}

func TestEmitsWithoutTagsFailTheirBatch(t *testing.T) {
	n := &native{handle: answers(`{"emit":[{"Stream":"a","PartitionKey":"k","Data":"eA=="}]}`)}
	bench(t, n, Options{}, func(t *testing.T, p *Pool, r *registry) {
		if res := p.Invoke(t.Context(), "f", "", aBatch(false)); res.Outcome != runtime.FunctionError || res.ErrorType != runtime.TypeBadEmits ||
			!strings.Contains(string(res.Logs), "Emit.Invalid: emit 0 has \"Stream\": want \"stream\"") {
			t.Errorf("%v %s\n%s", res.Outcome, res.ErrorMessage, res.Logs)
		}
	})
}
