package pool

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// key tells revisions of a version apart.
type key struct {
	id, function, version string
	revision              uint64
	digest                string
}

func keyOf(v functions.Version) key {
	return key{v.ID, v.Function, v.Version, v.Revision, v.Code.SHA256}
}

// set is the environments of one revision of a version. The pool's mutex guards it.
type set struct {
	f            *function
	version      functions.Version
	program      runtime.Program
	loading      *load
	idle         []*environment // the one used last at the end
	environments int            // that live, idle ones and those starting or at rest included
	uses         int            // who hold it: invocations, starts, loads, environments at rest
	retired      bool           // not in the pool's map any more; ends with its last use
	typical      int64          // memory of the environment that ended last
	touched      time.Time
	health       health
	warned       atomic.Uint32 // of what
}

// load is a program on its way. done is closed when program or err is set.
type load struct {
	done chan struct{}
	err  error
}

// environment is one place to run. While it is not idle, one invocation owns it.
type environment struct {
	runs   runtime.Environment // nil until started
	log    recorder
	took   time.Duration // of the start-up
	memory int64         // as accounted
	call   *call         // under way, or nil
	at     int           // where in the pool's running; guarded by its mutex
	made   time.Time     // when its start began
	began  time.Time     // of the invocation under way
	since  time.Time     // idle since
	served origin        // of the invocation before
	rested bool          // has given back its memory since then
	probe  bool          // its start shows whether the set has recovered
	broken bool          // not to be used again
}

// origin is where an invocation comes from, if it is a batch of a shard. What a
// function has learnt of a shard it finds again in the environment that served it
// last.
type origin struct{ shard, stream string }

func originOf(inv *runtime.Invocation) origin {
	if inv.Batch == nil {
		return origin{}
	}
	return origin{inv.Batch.Shard, inv.Batch.ARN}
}

// leastMemory is what an environment counts for at least: what the engine keeps
// for it, beside its memory.
const leastMemory = 1 << 20

// firstMemory is what one counts for while nobody knows.
const firstMemory = 16 << 20

// invoke runs the environment; a bug on our side must not take the server down.
func (e *environment) invoke(ctx context.Context, inv *runtime.Invocation) (r runtime.Result) {
	defer func() {
		if bug := recover(); bug != nil {
			r = runtime.Result{}
			r.Fail(runtime.Infrastructure, runtime.TypeInternal, inv.ID, "bug in the engine: %v\n%s", bug, debug.Stack())
			e.broken = true
		}
	}()
	return e.runs.Invoke(ctx, inv)
}

// set finds or makes the set of v, and retires those of its older revisions.
func (p *Pool) set(v functions.Version) (*set, garbage) {
	var old garbage
	k := keyOf(v)
	s := p.sets[k]
	if s == nil {
		for o, other := range p.sets {
			if o.id == k.id && o.function == k.function && o.version == k.version && o.revision < k.revision {
				p.retire(o, other, &old)
			}
		}
		s = &set{f: p.known(v.Function), version: v, touched: time.Now()}
		s.warned.Store(p.warned[k])
		p.sets[k] = s
	}
	return s, old
}

// acquire takes an idle environment, or room for a new one, whose runs is nil.
// No set: the pool is closing. A refusal tells which limit was reached.
func (p *Pool) acquire(v functions.Version, c *call, inv *runtime.Invocation) (*set, *environment, string) {
	now := time.Now()
	p.mu.Lock()
	if p.closing {
		p.mu.Unlock()
		return nil, nil, ""
	}
	s, old := p.set(v)
	refusal := p.full(s.f, v.Config.Concurrency)
	from := originOf(inv)
	var e *environment
	if refusal == "" {
		if e = p.take(s, from, &old); e == nil {
			p.surplus(s.f, v.Config.Concurrency, &old)
			e, refusal = p.room(s, now, &old)
		}
	}
	if e != nil {
		p.use(s, e, c, from, now)
	}
	p.mu.Unlock()
	old.close()
	return s, e, refusal
}

// take takes an idle environment of s: the one that served the same shard last, or
// else that which was used last, so that those not needed grow old.
func (p *Pool) take(s *set, from origin, old *garbage) *environment {
	for len(s.idle) > 0 {
		at := len(s.idle) - 1
		for i := at; i >= 0 && from != (origin{}); i-- {
			if s.idle[i].served == from {
				at = i
				break
			}
		}
		if e := s.idle[at]; e.runs.Reusable() {
			s.idle = slices.Delete(s.idle, at, at+1)
			return e
		}
		p.evict(s, at, old) // its child has died meanwhile
	}
	return nil
}

// use has an invocation begin in e.
func (p *Pool) use(s *set, e *environment, c *call, from origin, now time.Time) {
	e.call, e.at = c, len(p.running)
	p.running = append(p.running, e)
	s.f.busy++
	if s.f.reserved != nil {
		p.reservedBusy++
	}
	s.uses++
	s.touched = now
	e.began, e.served, e.rested = now, from, false
}

// start loads the program if need be and starts e, when its turn comes. What it waits
// for that is not part of the start-up, which has a limit.
func (p *Pool) start(ctx context.Context, s *set, e *environment) (err error) {
	defer func() {
		if bug := recover(); bug != nil { // as in invoke
			err = fmt.Errorf("bug in the engine: %v\n%s", bug, debug.Stack())
		}
	}()
	turn, err := p.turn(ctx)
	if err != nil {
		return err
	}
	defer turn()
	program, err := p.load(ctx, s)
	if err != nil {
		return err
	}
	began := time.Now()
	init, cancel := context.WithTimeout(ctx, max(p.opts.InitTimeout, s.version.Config.Timeout))
	defer cancel()
	e.runs, err = program.New(init, s.version, &e.log)
	if err != nil {
		e.runs = nil // an interface of a nil pointer is not nil
	}
	e.took = time.Since(began)
	return err
}

// longTurn is how long others wait at most for one start-up among those that may go
// on at once: code may have to be compiled first, or a function's own start-up hang.
const longTurn = 2 * time.Second

// turn waits until a start-up may begin. Each of them keeps a core busy; when a server
// comes up, hundreds would make each other late, and the last would be cut off by a
// limit that is meant for one. The caller calls done.
func (p *Pool) turn(ctx context.Context) (done func(), err error) {
	select {
	case p.starting <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	back := sync.OnceFunc(func() { <-p.starting })
	long := time.AfterFunc(longTurn, back)
	return func() {
		long.Stop()
		back()
	}, nil
}

// load waits for the program of s, and begins loading it if nobody has. The
// load is not the caller's: it goes on when ctx ends.
func (p *Pool) load(ctx context.Context, s *set) (runtime.Program, error) {
	p.mu.Lock()
	if s.program != nil {
		defer p.mu.Unlock()
		return s.program, nil
	}
	l := s.loading
	if l == nil {
		l = &load{done: make(chan struct{})}
		s.loading = l
		s.uses++ // keeps the set until the load has ended
		p.work.Go(func() { p.fetch(s, l) })
	}
	p.mu.Unlock()
	select {
	case <-l.done:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if l.err != nil {
		return nil, l.err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return s.program, nil
}

func (p *Pool) fetch(s *set, l *load) {
	began := time.Now()
	v := s.version
	program, err := func() (runtime.Program, error) {
		code, err := p.registry.Code(p.life, v.Code.SHA256)
		if err != nil {
			return nil, fmt.Errorf("code of %s: %w", qualified(v.Function, v.Version), err)
		}
		program, info, err := p.engine.Load(p.life, code, nil)
		if err == nil && v.Code.SHA256 != "" && info.SHA256 != v.Code.SHA256 {
			err = errors.Join(fmt.Errorf("stored code has digest %s, want %s", info.SHA256, v.Code.SHA256), program.Close())
		}
		if err != nil {
			return nil, fmt.Errorf("loading %s: %w", qualified(v.Function, v.Version), err)
		}
		return program, nil
	}()
	if err != nil {
		p.opts.Logger.Error("function cannot be loaded", "function", v.Function, "version", v.Version, "error", err)
	} else {
		p.opts.Logger.Debug("function loaded", "function", v.Function, "version", v.Version, "took", time.Since(began))
	}
	p.mu.Lock()
	var old garbage
	if err == nil {
		s.program = program
	}
	l.err, s.loading = err, nil // the next one tries again
	s.uses--
	s.settle(&old)
	p.mu.Unlock()
	close(l.done)
	old.close()
}

// release gives e back after an invocation, to the idle ones or to be closed. The
// invocation was cut off if what it ended with is not to be held against e.
func (p *Pool) release(s *set, e *environment, r *runtime.Result, cut bool, now time.Time) {
	var old garbage
	p.mu.Lock()
	last := p.running[len(p.running)-1]
	p.running[e.at], last.at = last, e.at
	p.running[len(p.running)-1] = nil
	p.running = p.running[:len(p.running)-1]
	e.call = nil
	s.f.busy--
	if s.f.reserved != nil {
		p.reservedBusy--
	}
	if r.MaxMemory > 0 {
		s.typical = max(leastMemory, r.MaxMemory)
		p.memory += s.typical - e.memory
		e.memory = s.typical
	}
	reusable := e.runs != nil && !e.broken && e.runs.Reusable()
	var pause time.Duration
	if r.Outcome != runtime.Infrastructure {
		s.health.mend(e.made)
	} else if !cut && !reusable {
		pause = s.health.fail(e.began, now, r.ErrorMessage)
	}
	p.shelve(s, e, reusable, now, &old)
	failures, reason := s.health.failures, s.health.reason
	quiet := p.closing && len(p.running) == 0
	p.mu.Unlock()
	old.close()
	if quiet {
		close(p.quiet)
	}
	p.complain(s, pause, failures, reason)
}

// complain tells of environments that fail again and again.
func (p *Pool) complain(s *set, pause time.Duration, failures int, reason string) {
	if pause > 0 {
		p.opts.Logger.Error("environments of a function fail again and again; it is throttled for a while", "function", s.version.Function, "version", s.version.Version,
			"failures", failures, "pause", pause, "error", reason)
	}
}

// shelve ends a use of e: it becomes idle, or is closed.
func (p *Pool) shelve(s *set, e *environment, reusable bool, now time.Time, old *garbage) {
	s.uses--
	if e.probe {
		e.probe, s.health.probing = false, false
	}
	if reusable && !s.retired && !p.closing {
		e.since = now
		s.touched = now
		s.idle = append(s.idle, e)
	} else {
		if e.runs != nil {
			old.environments = append(old.environments, e.runs)
		}
		p.gone(s, e)
	}
	s.settle(old)
	p.arm()
}

// retire takes s out of the pool. What is idle ends now, the rest with its use.
func (p *Pool) retire(k key, s *set, old *garbage) {
	delete(p.sets, k)
	s.retired = true
	for len(s.idle) > 0 {
		p.evict(s, len(s.idle)-1, old)
	}
	s.settle(old)
}

// settle ends a retired set that nobody uses.
func (s *set) settle(old *garbage) {
	if s.retired && s.uses == 0 && s.program != nil {
		old.programs = append(old.programs, s.program)
		s.program = nil
	}
}

// garbage is what is to be closed once the pool's mutex is free. Environments
// go before programs.
type garbage struct {
	environments []runtime.Environment
	programs     []runtime.Program
}

func (g *garbage) close() error {
	var errs []error
	for _, e := range g.environments {
		errs = append(errs, e.Close())
	}
	for _, p := range g.programs {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}
