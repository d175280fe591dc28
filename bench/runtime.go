package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/functions/build"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/door"
	"github.com/wasmill/wasmill/runtime/pool"
	"github.com/wasmill/wasmill/runtime/sandbox"
	"github.com/wasmill/wasmill/runtime/wasm"
)

// runs is the pool over the sandbox, with functions that can be invoked by name.
type runs struct {
	*pool.Pool
	engine *sandbox.Engine
	many   *several
	cache  string
}

// several is a registry of a few functions.
type several struct {
	mu       sync.Mutex
	versions map[string]functions.Version
	code     map[string][]byte
}

func (s *several) Version(_ context.Context, name, _ string) (functions.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.versions[name]
	if !ok {
		return v, functions.ErrNotFound
	}
	return v, nil
}

func (s *several) Code(_ context.Context, sha string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.code[sha], nil
}

// restAfter is short, for those who wait for it.
const restAfter = 300 * time.Millisecond

func (h *host) runs(ctx context.Context) (*runs, error) {
	r := &runs{many: &several{versions: map[string]functions.Version{}, code: map[string][]byte{}}, cache: h.sub("code")}
	return r, r.open(ctx, h)
}

func (r *runs) open(ctx context.Context, h *host) error {
	engine, err := sandbox.New(ctx, sandbox.Options{Options: wasm.Options{CacheDir: r.cache, Dialer: door.New(door.Options{})}})
	if err != nil {
		return err
	}
	r.engine, r.Pool = engine, pool.New(r.many, engine, pool.Options{RestAfter: restAfter})
	h.undo = append(h.undo, r.close)
	return nil
}

func (r *runs) close() {
	ctx := context.Background()
	_ = errors.Join(r.Pool.Close(ctx), r.engine.Close(ctx))
}

// add makes code a function of that name.
func (r *runs) add(ctx context.Context, name string, code []byte, config functions.Config) error {
	checked, err := r.Check(ctx, code, nil)
	if err != nil {
		return err
	}
	config = config.WithDefaults()
	r.many.mu.Lock()
	defer r.many.mu.Unlock()
	r.many.versions[name] = functions.Version{Function: name, Version: functions.Unpublished, ID: name, Code: checked, Config: config}
	r.many.code[checked.SHA256] = code
	return nil
}

// invoke runs a function once and says how long the caller waited.
func (r *runs) invoke(ctx context.Context, name string, inv *runtime.Invocation) (time.Duration, error) {
	began := time.Now()
	res := r.Invoke(ctx, name, "", inv)
	took := time.Since(began)
	if res.Outcome != runtime.Done {
		return took, fmt.Errorf("%s: %v %s: %s", name, res.Outcome, res.ErrorType, res.ErrorMessage)
	}
	return took, nil
}

// hundred is a batch of 100 records of 1 KB, in JSON if they are to be read.
func hundred() *runtime.Batch {
	b := &runtime.Batch{Shard: "shardId-000000000000", ARN: "arn:aws:kinesis:us-east-1:000000000000:stream/bench", Region: "us-east-1", Identity: "arn:aws:iam::000000000000:role/wasmill"}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 100 {
		data := fmt.Appendf(nil, `{"id":%d,"place":"%d km E of somewhere","magnitude":%.2f,"values":[`, i, r.IntN(100), r.Float64()*9)
		for len(data) < 990 {
			data = fmt.Appendf(data, "%d,", r.IntN(1000))
		}
		data = append(bytes.TrimRight(data, ","), "]}"...)
		b.Records = append(b.Records, runtime.Record{Sequence: fmt.Sprintf("495451152434909850182806771497314458218006259324420096%02d", i), PartitionKey: fmt.Sprint(i), Data: data, Arrival: 1_700_000_000_000})
	}
	return b
}

// rounds is over how many calls a quantile is taken, at least.
const rounds = 2000

// against times ours and raw in turn, fifty at a time, and gives the tenths
// percentile of each in microseconds.
func against(name, goal string, n int, ours, raw func() (time.Duration, error)) (result, error) {
	var a, b []float64
	side := func(to *[]float64, f func() (time.Duration, error)) error {
		for range min(n, 50) {
			d, err := f()
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			*to = append(*to, float64(d)/float64(time.Microsecond))
		}
		return nil
	}
	for len(a) < n {
		if err := errors.Join(side(&a, ours), side(&b, raw)); err != nil {
			return result{}, err
		}
	}
	slices.Sort(a)
	slices.Sort(b)
	v, w := quantile(a, .1), quantile(b, .1)
	fmt.Fprintf(os.Stderr, "  %s: p10 %.1f p50 %.1f p99 %.1f us against %.1f\n", name, v, quantile(a, .5), quantile(a, .99), w)
	return result{Bench: name, Value: round(v), Unit: "us", Raw: round(w), Ratio: round(v / w), Goal: goal}, nil
}

// compile builds a project of the repository.
func (h *host) compile(ctx context.Context, dir string) ([]byte, error) {
	res, err := build.Go(ctx, build.Options{Dir: dir, Out: filepath.Join(h.dir, filepath.Base(dir)+".wasm")})
	if err != nil {
		return nil, err
	}
	return os.ReadFile(res.Out)
}

// runtimes measures the way from the pool through the sandbox into the guest.
func runtimes(ctx context.Context, h *host) (out []result, err error) {
	code, err := h.compile(ctx, "bench/noop")
	if err != nil {
		return nil, err
	}
	r, err := h.runs(ctx)
	if err != nil {
		return nil, err
	}
	batch := hundred()
	request := runtime.AppendBinary(nil, batch, runtime.BatchHeader{RequestID: "3f04a7c0-1c9b-4a57-9f2e-0a5d3a4f6b11", FunctionARN: "arn:aws:lambda:us-east-1:000000000000:function:noop", Deadline: time.Now().Add(time.Hour)})
	long := functions.Config{Timeout: time.Minute, Memory: 256}
	isolated := long
	isolated.Isolation = functions.IsolationInvocation
	for name, c := range map[string]functions.Config{"noop": long, "isolated": isolated} {
		if err := r.add(ctx, name, code, c); err != nil {
			return nil, err
		}
	}
	plain, err := newBare(ctx, code, false, nil)
	if err != nil {
		return nil, err
	}
	defer plain.close()
	bare := func() (time.Duration, error) { return plain.call(ctx, request) }
	of := func(name string) func() (time.Duration, error) {
		return func() (time.Duration, error) { return r.invoke(ctx, name, &runtime.Invocation{Batch: batch}) }
	}
	line := func(res result, err error) error {
		if err == nil {
			out = append(out, res)
		}
		return err
	}
	if err := line(against("runtime.go.batch", "ratio <= 2", rounds, of("noop"), bare)); err != nil {
		return out, err
	}
	if err := line(against("runtime.go.batch.isolated", "ratio <= 3", rounds, of("isolated"), bare)); err != nil {
		return out, err
	}
	event := runtime.AppendJSON(nil, batch)
	res, err := against("runtime.go.json", "", 100, func() (time.Duration, error) {
		return r.invoke(ctx, "noop", &runtime.Invocation{Payload: event})
	}, of("noop"))
	if err != nil {
		return out, err
	}
	out = append(out, result{Bench: "runtime.go.batch.vs_json", Value: res.Value, Unit: "us", Raw: res.Raw, Ratio: res.Ratio, Goal: "ratio >= 50"})
	for _, s := range []func(context.Context, *host, *runs, []byte) ([]result, error){languages, parallel, clones, starts, instrumented, deadlines} {
		more, err := s(ctx, h, r, code)
		out = append(out, more...)
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// languages times handlers in C and Rust that do what the one in Go does.
func languages(ctx context.Context, h *host, r *runs, _ []byte) (out []result, err error) {
	batch := hundred()
	for language, library := range map[string]string{"c": "wasmill.h", "rust": "src/wasmill.rs"} {
		dir := h.sub(language)
		text, err := os.ReadFile(filepath.Join("samples", language, library))
		if err == nil {
			err = os.CopyFS(dir, os.DirFS(filepath.Join("bench/touch", language)))
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, library), text, 0o644)
		}
		if err != nil {
			return out, err
		}
		res, err := build.Project(ctx, build.Options{Dir: dir, Out: filepath.Join(h.dir, language+".wasm")})
		if err != nil {
			fmt.Fprintf(os.Stderr, "  runtime.%s.batch is left out: %v\n", language, err)
			continue
		}
		code, err := os.ReadFile(res.Out)
		if err != nil {
			return out, err
		}
		if err := r.add(ctx, language, code, functions.Config{}); err != nil {
			return out, err
		}
		call := func() (time.Duration, error) {
			return r.invoke(ctx, language, &runtime.Invocation{Batch: batch})
		}
		line, err := against("runtime."+language+".batch", "<= 40", rounds, call, call)
		if err != nil {
			return out, err
		}
		line.Raw, line.Ratio = 0, 0
		out = append(out, line)
	}
	return out, nil
}

// parallel: a handler of a millisecond, in two environments against one.
func parallel(ctx context.Context, h *host, r *runs, code []byte) ([]result, error) {
	if err := r.add(ctx, "compute", code, functions.Config{Timeout: time.Minute, Memory: 256, Environment: map[string]string{"MODE": "compute"}}); err != nil {
		return nil, err
	}
	batch := hundred()
	batch.Records = batch.Records[:1]
	rate := func(workers int) (float64, error) {
		var wg sync.WaitGroup
		errs := make([]error, workers)
		const each = 300
		began := time.Now()
		for w := range workers {
			wg.Go(func() {
				for range each {
					if _, err := r.invoke(ctx, "compute", &runtime.Invocation{Batch: batch}); err != nil {
						errs[w] = err
						return
					}
				}
			})
		}
		wg.Wait()
		return float64(each*workers) / time.Since(began).Seconds(), errors.Join(errs...)
	}
	if _, err := rate(2); err != nil { // both are started
		return nil, err
	}
	res, err := compare("runtime.go.parallel", "calls/s", "ratio >= 1.7", 5*time.Second, func() (float64, error) { return rate(2) }, func() (float64, error) { return rate(1) })
	return []result{res}, err
}

// clones times the engine's own part, in this process: a further environment, and
// its return to the state after start-up.
func clones(ctx context.Context, h *host, r *runs, code []byte) (out []result, err error) {
	engine, err := wasm.NewEngine(ctx, wasm.Options{CacheDir: h.sub("clones")})
	if err != nil {
		return nil, err
	}
	defer engine.Close(context.Background())
	one := func(name string, code []byte, most string) error {
		p, info, err := engine.Load(ctx, code, nil)
		if err != nil {
			return err
		}
		defer p.Close()
		v := functions.Version{Function: name, Version: functions.Unpublished, ID: name, Code: info, Config: functions.Config{Memory: 256, Timeout: time.Minute}.WithDefaults()}
		first, err := p.New(ctx, v, nil)
		if err != nil {
			return err
		}
		defer first.Close()
		var clone, reset []float64
		batch := hundred()
		for range rounds / 4 {
			began := time.Now()
			e, err := p.New(ctx, v, nil)
			if err != nil {
				return err
			}
			clone = append(clone, float64(time.Since(began))/1e3)
			deadline, cancel := context.WithTimeout(ctx, time.Minute)
			res := e.Invoke(deadline, &runtime.Invocation{ID: "x", Batch: batch})
			cancel()
			if res.Outcome != runtime.Done {
				return fmt.Errorf("%s: %s", name, res.ErrorMessage)
			}
			began = time.Now()
			e.Rest()
			reset = append(reset, float64(time.Since(began))/1e3)
			if err := e.Close(); err != nil {
				return err
			}
		}
		slices.Sort(clone)
		slices.Sort(reset)
		out = append(out, result{Bench: "runtime.clone." + name, Value: round(quantile(clone, .1)), Unit: "us", Goal: most},
			result{Bench: "runtime.reset." + name, Value: round(quantile(reset, .1)), Unit: "us", Goal: "<= 20"})
		return nil
	}
	if err := one("go", code, "<= 600"); err != nil {
		return out, err
	}
	if b, err := os.ReadFile(filepath.Join(h.dir, "c.wasm")); err == nil {
		if err := one("c", b, "<= 100"); err != nil {
			return out, err
		}
	}
	return out, nil
}

// starts: from nothing but the cache to the first result, the same with what is
// started ahead, what an idle environment holds, and from new code to its first
// result; for the small handler and one with aws-sdk-go-v2.
func starts(ctx context.Context, h *host, r *runs, code []byte) (out []result, err error) {
	sdk, err := h.compile(ctx, "bench/sdk")
	if err != nil {
		return nil, err
	}
	batch := hundred()
	for _, f := range []struct {
		name, dir string
		code      []byte
		cold      string
	}{{"go", "bench/noop", code, "<= 150"}, {"sdk", "bench/sdk", sdk, ""}} {
		config := functions.Config{Timeout: time.Minute, Memory: 512}
		var cold, ahead, dirty []float64
		for range pairs {
			r.close() // no child, nothing compiled in memory
			if err := r.open(ctx, h); err != nil {
				return out, err
			}
			if err := r.add(ctx, f.name, f.code, config); err != nil {
				return out, err
			}
			r.close() // what the check has left ready must go again
			if err := r.open(ctx, h); err != nil {
				return out, err
			}
			took, err := r.invoke(ctx, f.name, &runtime.Invocation{Batch: batch})
			if err != nil {
				return out, err
			}
			cold = append(cold, float64(took)/1e6)
			r.close()
			if err := r.open(ctx, h); err != nil {
				return out, err
			}
			r.Prewarm(ctx, f.name, "")
			for r.Stats().Idle == 0 {
				time.Sleep(time.Millisecond)
			}
			if took, err = r.invoke(ctx, f.name, &runtime.Invocation{Batch: batch}); err != nil {
				return out, err
			}
			ahead = append(ahead, float64(took)/1e6)
			kb, err := r.idleDirty(ctx, f.name, batch)
			if err != nil {
				return out, err
			}
			dirty = append(dirty, kb/1024)
		}
		out = append(out, result{Bench: "runtime.cold." + f.name, Value: round(median(cold)), Unit: "ms", Goal: f.cold},
			result{Bench: "runtime.ahead." + f.name, Value: round(median(ahead)), Unit: "ms", Goal: "<= 20"},
			result{Bench: "runtime.idle_dirty." + f.name, Value: round(median(dirty)), Unit: "MB", Goal: "<= 2"})
		took, err := h.edit(ctx, r, f.dir, config)
		if err != nil {
			return out, err
		}
		out = append(out, result{Bench: "runtime.edit_to_running." + f.name, Value: round(took.Seconds()), Unit: "s"})
	}
	return out, nil
}

// edit copies a project, builds it, changes a line, and times from there to the
// first result of the new code.
func (h *host) edit(ctx context.Context, r *runs, dir string, config functions.Config) (time.Duration, error) {
	to := h.sub("edit")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		return 0, err
	}
	name := filepath.Base(dir) + "-edited"
	run := func() (time.Duration, error) {
		began := time.Now()
		code, err := h.compile(ctx, to)
		if err != nil {
			return 0, err
		}
		if err := r.add(ctx, name, code, config); err != nil {
			return 0, err
		}
		_, err = r.invoke(ctx, name, &runtime.Invocation{Batch: hundred()})
		return time.Since(began), err
	}
	if _, err := run(); err != nil {
		return 0, err
	}
	file := filepath.Join(to, "main.go")
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(file, append(text, "\nfunc init() { println(\"edited\") }\n"...), 0o644); err != nil {
		return 0, err
	}
	return run()
}

// idleDirty is what one more environment of a function holds for itself, in KB,
// when it has run once and been idle for so long that it rests.
func (r *runs) idleDirty(ctx context.Context, name string, batch *runtime.Batch) (float64, error) {
	const more = 8
	time.Sleep(3 * restAfter)
	before, err := privateDirty()
	if err != nil {
		return 0, err
	}
	idle := r.Stats().Idle
	var wg sync.WaitGroup
	errs := make([]error, idle+more)
	for i := range errs {
		wg.Go(func() {
			for r.Stats().Idle+r.Stats().Busy < idle+more && errs[i] == nil {
				_, errs[i] = r.invoke(ctx, name, &runtime.Invocation{Batch: batch})
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	got := r.Stats().Idle - idle
	time.Sleep(3 * restAfter)
	after, err := privateDirty()
	return (after - before) / float64(max(got, 1)), err
}

// privateDirty adds up what the children of this process hold for themselves, in KB.
func privateDirty() (kb float64, err error) {
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return 0, err
	}
	for _, file := range tasks {
		text, _ := os.ReadFile(file) // a thread that has ended has none
		for _, pid := range strings.Fields(string(text)) {
			rollup, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
			if err != nil {
				continue
			}
			for line := range strings.Lines(string(rollup)) {
				if f := strings.Fields(line); len(f) == 3 && f[0] == "Private_Dirty:" {
					n, err := strconv.ParseFloat(f[1], 64)
					if err != nil {
						return 0, err
					}
					kb += n
				}
			}
		}
	}
	return kb, nil
}

// instrumented: what counting costs, the rewritten module against the one that was built.
func instrumented(ctx context.Context, _ *host, _ *runs, code []byte) (out []result, err error) {
	batch := hundred()
	request := runtime.AppendBinary(nil, batch, runtime.BatchHeader{RequestID: "x", Deadline: time.Now().Add(time.Hour)})
	for _, mode := range []struct{ env, name, goal string }{{"decode", "runtime.instrumented.json", "ratio <= 1.15"}, {"compute", "runtime.instrumented.loop", "ratio <= 1.2"}} {
		var both [2]*bare
		for i := range both {
			if both[i], err = newBare(ctx, code, i == 0, map[string]string{"MODE": mode.env}); err != nil {
				return out, err
			}
			defer both[i].close()
		}
		r, err := against(mode.name, mode.goal, 400, func() (time.Duration, error) { return both[0].call(ctx, request) }, func() (time.Duration, error) { return both[1].call(ctx, request) })
		if err != nil {
			return out, err
		}
		out = append(out, r)
	}
	return out, nil
}
