package sandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/wasm/wasmtest"
)

// shared is a cache for the tests that are not about it: compiling takes seconds.
var shared string

func TestMain(m *testing.M) {
	probe = lookAround
	Child(os.Args)
	if len(os.Args) == 4 && os.Args[1] == "server" {
		server(os.Args[2], os.Args[3] == "portable")
	}
	if len(os.Args) > 2 && os.Args[1] == "hostile" {
		hostile(os.Args[2])
	}
	os.Exit(func() int {
		probe = nil
		var err error
		if shared, err = os.MkdirTemp("", "wasmill-test-"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(shared)
		return m.Run()
	}())
}

// patient is far more than anything takes: it tells an answer from a hang.
const patient = 20 * time.Second

func newEngine(t testing.TB, change ...func(*Options)) *Engine {
	t.Helper()
	o := Options{Logger: slog.New(slog.NewTextHandler(&testLog{t: t}, nil))}
	o.CacheDir = shared
	for _, c := range change {
		c(&o)
	}
	e, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return e
}

// testLog shows what an engine logs, as long as the test runs.
type testLog struct {
	t    testing.TB
	mu   sync.Mutex
	done bool
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.done {
		l.t.Log(strings.TrimSpace(string(p[:min(len(p), 200)])))
	}
	return len(p), nil
}

func version(change ...func(*functions.Config)) functions.Version {
	v := functions.Version{Function: "f", Version: functions.Unpublished, ID: "1", Config: functions.Config{Timeout: 20 * time.Second, Memory: 128}}
	for _, c := range change {
		c(&v.Config)
	}
	return v
}

func loaded(t testing.TB, e *Engine, code []byte) runtime.Program {
	t.Helper()
	p, _, err := e.Load(t.Context(), code, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func start(t testing.TB, p runtime.Program, v functions.Version, logs runtime.LogWriter) *environment {
	t.Helper()
	e, err := p.New(t.Context(), v, logs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e.(*environment)
}

func say(word string) *runtime.Invocation {
	return &runtime.Invocation{ID: "id", Payload: fmt.Appendf(nil, "%q", word)}
}

func invoke(t testing.TB, e runtime.Environment, inv *runtime.Invocation, within time.Duration) runtime.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	return e.Invoke(ctx, inv)
}

func want(t testing.TB, e runtime.Environment, word, response string) {
	t.Helper()
	if r := invoke(t, e, say(word), 20*time.Second); r.Outcome != runtime.Done || string(r.Response) != response {
		t.Errorf("%s: %v %s %s: %s, want %s", word, r.Outcome, r.Response, r.ErrorType, r.ErrorMessage, response)
	}
}

func batchOf(first string, n, size int) *runtime.Batch {
	b := &runtime.Batch{Shard: "shardId-000000000000", ARN: "arn:aws:kinesis:us-east-1:000000000000:stream/s", Region: "us-east-1"}
	for i := range n {
		data := append([]byte(first+";"), make([]byte, size)...)[:size]
		b.Records = append(b.Records, runtime.Record{Sequence: fmt.Sprintf("%056d", i), PartitionKey: "k", Data: data, Arrival: 1700000000123})
	}
	return b
}

type lines struct {
	sync.Mutex
	all   []string
	bytes int
}

func (l *lines) Line(id string, line []byte) {
	l.Lock()
	defer l.Unlock()
	l.bytes += len(line)
	if len(l.all) < 1000 {
		l.all = append(l.all, id+" "+string(line))
	}
}

func portable(o *Options)   { o.Portable = true }
func noLandlock(o *Options) { o.NoLandlock = true }

// everywhere runs a test with all protections that the test binary can have, without
// Landlock, and with what other systems have.
func everywhere(t *testing.T, f func(t *testing.T, with func(*Options))) {
	t.Run("all", func(t *testing.T) { f(t, func(*Options) {}) })
	t.Run("no landlock", func(t *testing.T) { f(t, noLandlock) })
	t.Run("portable", func(t *testing.T) { f(t, portable) })
}

func TestFunctionRunsInAChildAsItDoesInProcess(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*Options)) {
		p := loaded(t, newEngine(t, with), wasmtest.Guest(t))
		l := &lines{}
		e := start(t, p, version(func(c *functions.Config) { c.Environment = map[string]string{"THEIRS": "public"} }), l)
		want(t, e, "calls", "1")
		want(t, e, "calls", "2")
		want(t, e, "env THEIRS", `"public"`)
		want(t, e, "say it", "null")
		if got := fmt.Sprint(l.all); got != "[ starting f id out it id err it]" {
			t.Errorf("log: %s", got)
		}
		r := invoke(t, e, &runtime.Invocation{ID: "b", Batch: batchOf("count", 100, 1000)}, 10*time.Second)
		if r.Outcome != runtime.Done || !strings.Contains(string(r.Response), `"records":100,"bytes":100000`) {
			t.Errorf("%v %s %s", r.Outcome, r.Response, r.ErrorMessage)
		}
		if r.MaxMemory < 1<<20 || r.Work == 0 || r.Duration <= 0 {
			t.Errorf("memory %d, work %d, duration %v", r.MaxMemory, r.Work, r.Duration)
		}
		if r := invoke(t, e, say("error it broke"), time.Second); r.Outcome != runtime.FunctionError || r.ErrorType != "errorString" || string(r.StackTrace) != `["main.do"]` {
			t.Errorf("%+v", r)
		}
		if r := invoke(t, e, say("exit 3"), time.Second); r.Outcome != runtime.FunctionError || r.ErrorType != runtime.TypeExit || !e.Reusable() {
			t.Errorf("%+v", r)
		}
		want(t, e, "calls", "1")
		e.Rest()
		want(t, e, "calls", "1")
		if r := invoke(t, e, say("large 6291456"), 10*time.Second); r.Outcome != runtime.Done || len(r.Response) != 6<<20 {
			t.Errorf("%v %d bytes %s", r.Outcome, len(r.Response), r.ErrorMessage)
		}
		if r := invoke(t, e, say(fmt.Sprint("large ", runtime.MaxResponse+1)), 10*time.Second); r.ErrorType != runtime.TypeTooLarge {
			t.Errorf("%v %s", r.Outcome, r.ErrorType)
		}
	})
}

func decode(b []byte, to any) bool { return json.Unmarshal(b, to) == nil }
