// Package pool keeps environments of functions and runs invocations in them. It
// is the one door through which every invocation goes, from triggers and from
// callers alike.
//
// An environment serves one invocation at a time and is used again. A call that
// finds none idle starts one, unless the pool's limits are reached: then it is
// throttled at once, and waiting is the caller's business. Code that changed
// leaves the environments of old revisions to finish what they do, and no more.
//
// A function may have places of its own (functions.Config.Concurrency), which are
// as many as it may use. The rest is for all that have none.
package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	goruntime "runtime"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/functions/logs"
	"github.com/wasmill/wasmill/runtime"
)

// Registry says what a function is.
type Registry interface {
	// Version is asked at each invocation and should be quick. An error that
	// wraps functions.ErrNotFound says there is none.
	Version(ctx context.Context, name, qualifier string) (functions.Version, error)
	Code(ctx context.Context, sha256 string) ([]byte, error)
}

// Engine makes code ready to run; package runtime/wasm has one.
type Engine interface {
	Load(ctx context.Context, code []byte, progress func(runtime.Progress)) (runtime.Program, functions.Code, error)
}

// Observer is told of every invocation: for metrics, traces and the history.
// Both are called exactly once for each, Started first, from the goroutine of
// the invocation; what they take makes invocations slower. Nil fields are skipped.
type Observer struct {
	// Started: v is zero when there is no such function.
	Started func(inv *runtime.Invocation, v functions.Version)
	// Ended: the outcome tells whether the function has seen anything.
	Ended func(inv *runtime.Invocation, r *runtime.Result)
}

// Options shape a [Pool]. The zero value works.
type Options struct {
	// MaxConcurrency is how many invocations may run at once, of all functions
	// together. Defaults to functions.MaxConcurrency.
	MaxConcurrency int
	// MemoryBytes is what all environments may hold together, by what they
	// really use. Defaults to three quarters of the machine's.
	MemoryBytes int64
	// ProcessBytes is what a version with environments holds besides them: the process
	// they are in, where the engine has such. Defaults to 0.
	ProcessBytes int64
	// Idle is how long an environment waits for its next invocation before it is
	// closed. Defaults to 5 minutes.
	Idle time.Duration
	// RestAfter is how long an environment waits before it gives back what memory
	// it can. Defaults to 30 s.
	RestAfter time.Duration
	// InitTimeout bounds the start-up of an environment, unless the function's
	// timeout is longer. Defaults to 10 s, as on AWS.
	InitTimeout time.Duration
	// Logs is where functions write. Defaults to one in memory.
	Logs     *logs.Store
	Logger   *slog.Logger
	Observer Observer
}

func (o Options) withDefaults() Options {
	o.MaxConcurrency = cmp.Or(o.MaxConcurrency, functions.MaxConcurrency)
	o.MemoryBytes = cmp.Or(o.MemoryBytes, machineMemory()/4*3)
	o.Idle = cmp.Or(o.Idle, 5*time.Minute)
	o.RestAfter = cmp.Or(o.RestAfter, 30*time.Second)
	o.InitTimeout = cmp.Or(o.InitTimeout, 10*time.Second)
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	if o.Logs == nil {
		o.Logs, _ = logs.Open(logs.Options{}) // which cannot fail
	}
	return o
}

// Pool runs functions.
type Pool struct {
	registry Registry
	engine   Engine
	opts     Options

	// life ends at the second step of Close; its cause is what reports who is cut
	// short.
	life context.Context
	end  context.CancelCauseFunc
	work sync.WaitGroup // loads and checks in the background

	warming  chan struct{} // a token for each environment that is started ahead
	starting chan struct{} // a token for each that is started at all, see turn

	reserving sync.Mutex // held while what one function has reserved is asked and noted

	mu           sync.Mutex
	sets         map[key]*set
	functions    map[string]*function
	warned       map[key]uint32 // what revisions were warned of; few
	running      []*environment // with an invocation, start-ups included; in no order
	reserved     int            // places that functions have for themselves
	reservedBusy int            // invocations of these functions
	memory       int64          // of all environments
	resting      int            // environments that nobody may use for a moment
	closing      bool           // no more invocations
	quiet        chan struct{}  // closed when closing and nothing is busy
	tender       *time.Timer    // nil while nothing is idle
}

// New makes a pool. It starts nothing. A registry that is a [Lister] is asked for
// what functions have reserved.
func New(r Registry, e Engine, o Options) *Pool {
	p := &Pool{
		registry: r, engine: e, opts: o.withDefaults(), warming: make(chan struct{}, warmAtOnce), starting: make(chan struct{}, max(4, 2*goruntime.NumCPU())),
		sets: map[key]*set{}, functions: map[string]*function{}, warned: map[key]uint32{}, quiet: make(chan struct{}),
	}
	p.life, p.end = context.WithCancelCause(context.Background())
	if l, ok := r.(Lister); ok {
		all, err := l.List(p.life)
		if err != nil {
			p.opts.Logger.Error("what functions have reserved is not known until they change", "error", err)
		}
		for _, v := range all {
			p.reserve(p.known(v.Function), v.Config.Concurrency)
		}
	}
	return p
}

var errClosing = errors.New("the server is stopping")

// Invoke implements [runtime.Invoker]. A request without an id gets one.
func (p *Pool) Invoke(ctx context.Context, function, qualifier string, inv *runtime.Invocation) runtime.Result {
	if inv.ID == "" {
		inv.ID = uuid.NewString()
	}
	inv.Qualifier = qualifier
	var r runtime.Result
	v, err := p.registry.Version(ctx, function, qualifier)
	if p.opts.Observer.Started != nil {
		p.opts.Observer.Started(inv, v)
	}
	switch {
	case errors.Is(err, functions.ErrNotFound):
		r.Fail(runtime.Infrastructure, runtime.TypeNotFound, "", "there is no function %s", qualified(function, qualifier))
	case err != nil:
		r.Fail(runtime.Infrastructure, runtime.TypeInternal, inv.ID, "function %s: %v", qualified(function, qualifier), err)
	case v.State == functions.Pending:
		r.Fail(runtime.Infrastructure, runtime.TypePending, "", "the code of function %s is still being compiled", qualified(function, qualifier))
	case v.State == functions.Failed:
		r.Fail(runtime.Infrastructure, runtime.TypeFailed, "", "the code of function %s cannot run: %s", qualified(function, qualifier), v.Reason)
	default:
		r = p.run(ctx, v, inv)
	}
	if r.Version = v; r.Finished.IsZero() {
		r.Finished = time.Now()
	}
	if p.opts.Observer.Ended != nil {
		p.opts.Observer.Ended(inv, &r)
	}
	return r
}

func qualified(function, qualifier string) string {
	if qualifier == "" {
		return function
	}
	return function + ":" + qualifier
}

// run invokes a version that exists.
func (p *Pool) run(ctx context.Context, v functions.Version, inv *runtime.Invocation) (r runtime.Result) {
	v.Config = v.Config.WithDefaults()

	c := newCall(ctx)
	s, e, refusal := p.acquire(v, c, inv)
	if e == nil {
		c.end()
		return unadmitted(refusal, inv)
	}
	defer func() { p.release(s, e, &r, c.end(), r.Finished) }()
	r = p.perform(c, s, e, v, inv)
	p.warn(s, e, inv, &r)
	r.Logs = e.log.last()
	return r
}

// unadmitted is the result of an invocation that found no room in the pool.
func unadmitted(refusal string, inv *runtime.Invocation) (r runtime.Result) {
	if refusal != "" {
		r.Fail(runtime.Throttled, runtime.TypeThrottled, "", "Rate Exceeded: %s", refusal)
	} else {
		r.Fail(runtime.Infrastructure, runtime.TypeInternal, inv.ID, "%v", errClosing)
	}
	return r
}

// perform runs an invocation in e, which it starts if need be. The configuration
// of v has its defaults, which that of s may lack.
func (p *Pool) perform(c *call, s *set, e *environment, v functions.Version, inv *runtime.Invocation) (r runtime.Result) {
	if e.runs == nil {
		if err := p.start(c, s, e); err != nil {
			r = refused(err, inv)
			r.Init, r.Finished = e.took, time.Now()
			if r.Outcome != runtime.Infrastructure {
				e.log.start(r.Finished, inv)
				e.log.end(inv, v, &r)
			}
			return r
		}
		r.Init = e.took
	} else {
		e.log.begin()
	}

	if inv.Batch == nil && inv.Payload == nil {
		inv.Payload = []byte("{}")
	}
	began := time.Now()
	e.log.start(began, inv)
	c.limit(began, v.Config.Timeout)
	init := r.Init
	r = e.invoke(c, inv)
	r.Version = v
	runtime.Classify(inv, v.Config.Emits, &r)
	r.Init, r.Finished = init, time.Now()
	e.log.end(inv, v, &r)
	return r
}

// refused is the result of an invocation whose environment did not come up.
func refused(err error, inv *runtime.Invocation) (r runtime.Result) {
	if f, ok := errors.AsType[*runtime.InitError](err); ok {
		r.Fail(f.Outcome, f.Type, inv.ID, "%s", f.Message)
		r.StackTrace = f.Stack
		return r
	}
	r.Fail(runtime.Infrastructure, runtime.TypeInternal, inv.ID, "%v", err)
	return r
}

// Prepare compiles the code of v, which the registry may not know yet, so that
// its first invocation finds it ready. Errors that wrap functions.ErrCode are
// the code's fault.
func (p *Pool) Prepare(ctx context.Context, v functions.Version, code []byte, progress func(runtime.Progress)) error {
	program, info, err := p.engine.Load(ctx, code, progress)
	if err != nil {
		return err
	}
	if v.Code.SHA256 != "" && v.Code.SHA256 != info.SHA256 {
		return errors.Join(fmt.Errorf("pool: prepare %s: code has digest %s, want %s", v.Function, info.SHA256, v.Code.SHA256), program.Close())
	}
	p.mu.Lock()
	if p.closing {
		p.mu.Unlock()
		return program.Close()
	}
	s, old := p.set(v)
	spare := program
	if s.program == nil && s.loading == nil {
		s.program, spare = program, nil
	}
	p.arm()
	p.mu.Unlock()
	old.close()
	if spare != nil {
		return spare.Close()
	}
	return nil
}

// checker is what an [Engine] may be besides: it compiles code without readying it to
// run, which may take a process.
type checker interface {
	Check(ctx context.Context, code []byte, progress func(runtime.Progress)) (functions.Code, error)
}

// Warm compiles the code of versions in the background, one after the other: after
// a restart the first invocations then find it compiled.
func (p *Pool) Warm(versions []functions.Version) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return
	}
	p.work.Go(func() {
		for _, v := range versions {
			if p.life.Err() != nil {
				return
			}
			if unready(v) || p.loaded(v) {
				continue
			}
			code, err := p.registry.Code(p.life, v.Code.SHA256)
			if c, ok := p.engine.(checker); ok && err == nil {
				_, err = c.Check(p.life, code, nil)
			} else if err == nil {
				err = p.Prepare(p.life, v, code, nil)
			}
			if err != nil {
				p.opts.Logger.Warn("function not compiled ahead", "function", v.Function, "version", v.Version, "error", err)
			}
		}
	})
}

// loaded says whether the code of v is there already, or on its way.
func (p *Pool) loaded(v functions.Version) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.sets[keyOf(v)]
	return s != nil && (s.program != nil || s.loading != nil)
}

// Check is what a registry asks of new code: whether it can run here, compiled
// as a side effect.
func (p *Pool) Check(ctx context.Context, code []byte, progress func(runtime.Progress)) (functions.Code, error) {
	program, info, err := p.engine.Load(ctx, code, progress)
	if err != nil {
		return info, err
	}
	return info, program.Close()
}

// unready says whether there is nothing of v that could run.
func unready(v functions.Version) bool {
	return v.State == functions.Pending || v.State == functions.Failed
}

// Changed says that something of a function may be another: $LATEST, which versions
// there are, an alias. Environments of what is not current any more end after their
// invocation, others stay.
func (p *Pool) Changed(function string) {
	p.mu.Lock()
	check := !p.closing
	if check {
		p.work.Add(1)
	}
	p.mu.Unlock()
	if check {
		// Not from here: whoever calls may hold what the registry needs to answer.
		go func() {
			defer p.work.Done()
			p.sweep(function)
		}()
	}
}

// sweep retires what the registry does not know any more.
func (p *Pool) sweep(function string) {
	gone := func(version string, s *set) bool {
		v, err := p.registry.Version(p.life, function, version)
		return errors.Is(err, functions.ErrNotFound) || err == nil && s != nil && keyOf(v) != keyOf(s.version)
	}
	forget := p.ask(function)
	p.mu.Lock()
	sets := map[key]*set{}
	for k, s := range p.sets {
		if s.version.Function == function {
			sets[k] = s
		}
	}
	p.mu.Unlock()
	for k, s := range sets {
		if !gone(s.version.Version, s) {
			delete(sets, k)
		}
	}
	var old garbage
	p.mu.Lock()
	if f := p.functions[function]; forget && f != nil {
		p.reserve(f, nil)
		delete(p.functions, function)
		maps.DeleteFunc(p.warned, func(k key, _ uint32) bool { return k.function == function })
	}
	for k, s := range sets {
		if p.sets[k] == s {
			p.retire(k, s, &old)
		}
	}
	p.mu.Unlock()
	old.close()
}

// ask finds out what a function has reserved, and whether it is gone.
func (p *Pool) ask(function string) (gone bool) {
	p.reserving.Lock() // so that what was asked last is noted last
	defer p.reserving.Unlock()
	v, err := p.registry.Version(p.life, function, functions.Unpublished)
	switch {
	case errors.Is(err, functions.ErrNotFound):
		return true
	case err == nil:
		p.mu.Lock()
		p.reserve(p.known(function), v.Config.Concurrency)
		p.mu.Unlock()
	}
	return false
}

// Logs is the log of a function, empty for one that never ran.
func (p *Pool) Logs(function string) *logs.Log { return p.opts.Logs.Function(function) }

// Stats is a look at the pool.
type Stats struct {
	Busy   int   // invocations that run, start-ups included
	Idle   int   // environments that wait, those at rest included
	Memory int64 // bytes that environments hold
}

// Stats counts.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := Stats{Busy: len(p.running), Idle: p.resting, Memory: p.memory}
	for _, s := range p.sets {
		st.Idle += len(s.idle)
	}
	return st
}

// stragglers is how long Close waits for what it has cut short. An engine stops any
// guest within a quarter of a second; this is for one with a bug, which must not
// keep the server from stopping.
const stragglers = 5 * time.Second

// cutShort has everything end that the pool does.
func (p *Pool) cutShort() {
	p.end(errClosing)
	p.mu.Lock()
	var calls []*call
	for _, e := range p.running {
		calls = append(calls, e.call)
	}
	p.mu.Unlock()
	for _, c := range calls {
		c.cut(errClosing)
	}
}

// Close takes no more invocations, waits for those that run, and cancels them
// when ctx ends. When it returns nothing the pool started is left, unless the
// error says that some function could not be stopped.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	first := !p.closing
	p.closing = true
	if first && len(p.running) == 0 {
		close(p.quiet)
	}
	p.mu.Unlock()

	var err error
	select {
	case <-p.quiet:
	case <-ctx.Done():
		err = fmt.Errorf("pool: close: invocations were cut short: %w", context.Cause(ctx))
	}
	p.cutShort()
	quiet := make(chan struct{})
	go func() {
		<-p.quiet
		p.work.Wait()
		close(quiet)
	}()
	select {
	case <-quiet:
	case <-time.After(stragglers):
		// What they use stays open: closing it under them would crash the process.
		err = errors.Join(err, errors.New("pool: close: the engine has not stopped what still runs"))
	}

	p.mu.Lock()
	var old garbage
	for k, s := range p.sets {
		p.retire(k, s, &old)
	}
	if p.tender != nil {
		p.tender.Stop()
		p.tender = nil
	}
	p.mu.Unlock()
	return errors.Join(err, old.close())
}
