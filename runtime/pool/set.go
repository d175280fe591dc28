package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
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
	version functions.Version
	program runtime.Program
	loading *load
	idle    []*environment // the one used last at the end
	uses    int            // invocations that hold it
	retired bool           // not in the pool's map any more; ends with its last use
	typical int64          // memory of the environment that ended last
	touched time.Time
	warned  atomic.Uint32 // of what
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
	since  time.Time     // idle since
	broken bool          // not to be used again
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
		s = &set{version: v, touched: time.Now()}
		s.warned.Store(p.warned[k])
		p.sets[k] = s
	}
	return s, old
}

// acquire takes an idle environment, or room for a new one, whose runs is nil.
// No set: the pool is closing. A refusal tells which limit was reached.
func (p *Pool) acquire(v functions.Version) (*set, *environment, string) {
	p.mu.Lock()
	var old garbage
	defer func() {
		p.mu.Unlock()
		old.close()
	}()
	if p.closing {
		return nil, nil, ""
	}
	if refusal := p.full(); refusal != "" {
		return nil, nil, refusal
	}
	s, retired := p.set(v)
	old = retired
	for n := len(s.idle); n > 0; n = len(s.idle) {
		e := s.idle[n-1]
		s.idle[n-1] = nil
		s.idle = s.idle[:n-1]
		if e.runs.Reusable() {
			p.use(s)
			return s, e, ""
		}
		p.memory -= e.memory
		old.environments = append(old.environments, e.runs)
	}
	e, refusal := p.room(s, &old)
	if e != nil {
		e.log = recorder{logs: p.logsOf(v.Function), version: v.Version}
	}
	return s, e, refusal
}

// full tells why no more invocations may run, or nothing.
func (p *Pool) full() string {
	if p.busy < p.opts.MaxConcurrency {
		return ""
	}
	return fmt.Sprintf("%d invocations run, no more may at once", p.busy)
}

// room makes an environment of s, not started yet, and makes room for it, or
// tells why there is none.
func (p *Pool) room(s *set, old *garbage) (*environment, string) {
	e := &environment{memory: cmp.Or(s.typical, firstMemory)}
	for p.memory+e.memory > p.opts.MemoryBytes && p.memory > 0 {
		if !p.evict(old) {
			return nil, fmt.Sprintf("environments hold %d MB, all there is", p.memory>>20)
		}
	}
	p.memory += e.memory
	p.use(s)
	return e, ""
}

func (p *Pool) use(s *set) {
	p.busy++
	s.uses++
	s.touched = time.Now()
}

// evict closes the environment that has been idle longest.
func (p *Pool) evict(old *garbage) bool {
	var from *set
	for _, s := range p.sets {
		if len(s.idle) > 0 && (from == nil || s.idle[0].since.Before(from.idle[0].since)) {
			from = s
		}
	}
	if from == nil {
		return false
	}
	p.memory -= from.idle[0].memory
	old.environments = append(old.environments, from.idle[0].runs)
	from.idle = slices.Delete(from.idle, 0, 1)
	return true
}

// start loads the program if need be and starts e.
func (p *Pool) start(ctx context.Context, s *set, e *environment) (err error) {
	defer func() {
		if bug := recover(); bug != nil { // as in invoke
			err = fmt.Errorf("bug in the engine: %v\n%s", bug, debug.Stack())
		}
	}()
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

// release gives e back after an invocation, to the idle ones or to be closed.
func (p *Pool) release(s *set, e *environment, r *runtime.Result) {
	var old garbage
	p.mu.Lock()
	p.busy--
	s.uses--
	p.memory -= e.memory
	if r.MaxMemory > 0 {
		e.memory = max(leastMemory, r.MaxMemory)
		s.typical = e.memory
	}
	switch {
	case e.runs == nil:
	case e.broken || s.retired || p.closing || !e.runs.Reusable():
		old.environments = append(old.environments, e.runs)
	default:
		e.since = time.Now()
		s.touched = e.since
		s.idle = append(s.idle, e)
		p.memory += e.memory
		p.arm()
	}
	s.settle(&old)
	quiet := p.closing && p.busy == 0
	p.mu.Unlock()
	old.close()
	if quiet {
		close(p.quiet)
	}
}

// retire takes s out of the pool. What is idle ends now, the rest with its use.
func (p *Pool) retire(k key, s *set, old *garbage) {
	delete(p.sets, k)
	s.retired = true
	for _, e := range s.idle {
		p.memory -= e.memory
		old.environments = append(old.environments, e.runs)
	}
	s.idle = nil
	s.settle(old)
}

// settle ends a retired set that nobody uses.
func (s *set) settle(old *garbage) {
	if s.retired && s.uses == 0 && s.program != nil {
		old.programs = append(old.programs, s.program)
		s.program = nil
	}
}

// arm sees to it that idle environments are looked at in time.
func (p *Pool) arm() {
	if p.reaper == nil && !p.closing {
		p.reaper = time.AfterFunc(p.opts.Idle, p.reap)
	}
}

// reap closes environments that have been idle too long, and lets go of
// programs whose last environment ended as long ago again.
func (p *Pool) reap() {
	var old garbage
	p.mu.Lock()
	p.reaper = nil
	if p.closing {
		p.mu.Unlock()
		return
	}
	p.work.Add(1)
	defer p.work.Done()
	now := time.Now()
	for k, s := range p.sets {
		n := 0
		for n < len(s.idle) && now.Sub(s.idle[n].since) >= p.opts.Idle {
			p.memory -= s.idle[n].memory
			old.environments = append(old.environments, s.idle[n].runs)
			n++
		}
		s.idle = slices.Delete(s.idle, 0, n)
		if len(s.idle) == 0 && s.uses == 0 && now.Sub(s.touched) >= 2*p.opts.Idle {
			p.retire(k, s, &old)
		}
	}
	if len(p.sets) > 0 {
		p.reaper = time.AfterFunc(max(p.opts.Idle/4, time.Millisecond), p.reap)
	}
	p.mu.Unlock()
	old.close()
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
