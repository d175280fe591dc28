package pool

import (
	"context"
	"errors"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// warmAtOnce is how many environments are started ahead at the same time: with a
// server that starts all its triggers at once, invocations come first.
const warmAtOnce = 2

// targeter is what a [Registry] may be besides: it has aliases, and says all that
// Version may choose.
type targeter interface {
	Targets(ctx context.Context, name, qualifier string) ([]functions.Version, error)
}

// Prewarm starts an environment of a version in the background, so that the
// invocation to come finds it idle; of an alias, one of each version that it may
// choose. It returns at once; ctx ends the start too. It
// does nothing where the version has an environment, or where there is no room
// without taking it from others. What goes wrong is logged once for each revision,
// and not tried again: the invocation will tell.
func (p *Pool) Prewarm(ctx context.Context, function, qualifier string) {
	if t, ok := p.registry.(targeter); ok {
		all, _ := t.Targets(ctx, function, qualifier) // what is not there is not started
		for _, v := range all {
			p.prewarm(ctx, v)
		}
		return
	}
	if v, err := p.registry.Version(ctx, function, qualifier); err == nil {
		p.prewarm(ctx, v)
	}
}

func (p *Pool) prewarm(ctx context.Context, v functions.Version) {
	if unready(v) {
		return
	}
	v.Config = v.Config.WithDefaults()
	now := time.Now()
	p.mu.Lock()
	if p.closing {
		p.mu.Unlock()
		return
	}
	s, old := p.set(v)
	limit := v.Config.Concurrency
	if s.environments == 0 && (limit == nil || s.f.environments < *limit) && p.memory+p.need(s) <= p.opts.MemoryBytes && s.health.refuse(now) == "" {
		e := p.place(s, now)
		e.began = now
		s.uses++
		p.work.Go(func() { p.warm(ctx, s, e) })
	}
	p.mu.Unlock()
	old.close()
}

// warm starts e when its turn comes.
func (p *Pool) warm(ctx context.Context, s *set, e *environment) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(p.life, func() { stop(context.Cause(p.life)) })()
	var err error
	select {
	case p.warming <- struct{}{}:
		e.began = time.Now()
		err = p.start(ctx, s, e)
		<-p.warming
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil && ctx.Err() == nil && s.warned.Or(warnedPrewarm)&warnedPrewarm == 0 {
		p.opts.Logger.Warn("function not started ahead", "function", s.version.Function, "version", s.version.Version, "error", err)
	}

	var old garbage
	var pause time.Duration
	now := time.Now()
	p.mu.Lock()
	if _, theirs := errors.AsType[*runtime.InitError](err); err != nil && !theirs && ctx.Err() == nil {
		pause = s.health.fail(e.began, now, err.Error())
	}
	p.shelve(s, e, e.runs != nil && e.runs.Reusable(), now, &old)
	failures, reason := s.health.failures, s.health.reason
	p.mu.Unlock()
	old.close()
	p.complain(s, pause, failures, reason)
	if p.life.Err() == nil {
		// What was deleted or changed between the question what it is and its place here
		// would wait for invocations that never come.
		p.sweep(s.version.Function)
	}
}
