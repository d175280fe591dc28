package pool

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/functions/logs"
)

// function is what the pool knows of a function, all its versions together. The
// pool's mutex guards it.
type function struct {
	name         string
	logs         *logs.Log
	reserved     *int // places it has for itself, as of the last change that the pool was told of
	busy         int  // invocations that run
	environments int  // that live, idle ones and those starting or at rest included
}

// Lister is what a [Registry] may be besides. A pool asks it once, for the
// concurrency that functions have reserved before their first invocation.
type Lister interface {
	// List returns $LATEST of all functions.
	List(ctx context.Context) ([]functions.Version, error)
}

// known finds or makes what the pool knows of a function.
func (p *Pool) known(name string) *function {
	f := p.functions[name]
	if f == nil {
		f = &function{name: name, logs: p.opts.Logs.Function(name)}
		p.functions[name] = f
	}
	return f
}

// reserve notes what a function has reserved, nil for nothing.
func (p *Pool) reserve(f *function, places *int) {
	if f.reserved != nil {
		p.reserved -= *f.reserved
		p.reservedBusy -= f.busy
	}
	f.reserved = places
	if places != nil {
		p.reserved += *places
		p.reservedBusy += f.busy
	}
}

// full tells why no more invocations of a function may run, or nothing. Its cap is
// what its configuration says at this moment.
func (p *Pool) full(f *function, cap *int) string {
	switch {
	case cap != nil && *cap == 0:
		return fmt.Sprintf("function %s has a concurrency of 0: it does not run until that is raised", f.name)
	case cap != nil && f.busy >= *cap:
		return fmt.Sprintf("function %s runs %d invocations, and its concurrency is %d", f.name, f.busy, *cap)
	case len(p.running) >= p.opts.MaxConcurrency:
		return fmt.Sprintf("%d invocations run, and no more than %d may at once", len(p.running), p.opts.MaxConcurrency)
	case cap == nil && len(p.running)-p.reservedBusy >= p.shared():
		return fmt.Sprintf("%d invocations run of functions that have reserved no concurrency, and no more may: %d of %d places are reserved for others", len(p.running)-p.reservedBusy, p.reserved, p.opts.MaxConcurrency)
	}
	return ""
}

// shared is how many places functions without a reservation share.
func (p *Pool) shared() int {
	return max(p.opts.MaxConcurrency-p.reserved, min(functions.MinUnreserved, p.opts.MaxConcurrency))
}

// room makes an environment of s, not started yet, and makes room for it, or
// tells why there is none.
func (p *Pool) room(s *set, now time.Time, old *garbage) (*environment, string) {
	if refusal := s.health.refuse(now); refusal != "" {
		return nil, fmt.Sprintf("function %s: %s", s.f.name, refusal)
	}
	for p.memory > 0 {
		need := p.need(s) // more, once the last of its own has gone
		if p.memory+need <= p.opts.MemoryBytes {
			break
		}
		from := p.victim(s.f)
		if from == nil {
			return nil, fmt.Sprintf("environments hold %d of %d MB, and function %s needs %d MB more", p.memory>>20, p.opts.MemoryBytes>>20, s.f.name, (need+1<<20-1)>>20)
		}
		p.evict(from, 0, old)
	}
	return p.place(s, now), ""
}

// need is what one more environment of s takes.
func (p *Pool) need(s *set) int64 {
	need := cmp.Or(s.typical, firstMemory)
	if s.environments == 0 {
		need += p.opts.ProcessBytes
	}
	return need
}

// place makes an environment of s, and counts it.
func (p *Pool) place(s *set, now time.Time) *environment {
	e := &environment{memory: cmp.Or(s.typical, firstMemory), made: now, probe: s.health.failures > patience}
	if e.probe {
		s.health.probing = true
	}
	e.log = recorder{logs: s.f.logs, version: s.version.Version}
	p.memory += p.need(s)
	s.environments++
	s.f.environments++
	return e
}

// surplus closes idle environments of a function as long as there are more than it
// may have invocations: one more is about to start.
func (p *Pool) surplus(f *function, cap *int, old *garbage) {
	for cap != nil && f.environments >= *cap {
		var from *set
		for _, s := range p.sets {
			if s.f == f && len(s.idle) > 0 && (from == nil || s.idle[0].since.Before(from.idle[0].since)) {
				from = s
			}
		}
		if from == nil {
			return
		}
		p.evict(from, 0, old)
	}
}

// victim finds whose longest idle environment is to go for another one of f: of
// functions that have more than one, and of f itself, whichever has been idle
// longest; only then that of a function with no other, so that one with many does
// not keep taking from those with few.
func (p *Pool) victim(f *function) *set {
	var spare, last *set
	older := func(than *set, s *set) bool { return than == nil || s.idle[0].since.Before(than.idle[0].since) }
	for _, s := range p.sets {
		switch {
		case len(s.idle) == 0:
		case s.f == f || s.f.environments > 1:
			if older(spare, s) {
				spare = s
			}
		case older(last, s):
			last = s
		}
	}
	return cmp.Or(spare, last)
}

// evict has idle environment i of s closed.
func (p *Pool) evict(s *set, i int, old *garbage) {
	old.environments = append(old.environments, s.idle[i].runs)
	p.gone(s, s.idle[i])
	s.idle = slices.Delete(s.idle, i, i+1)
}

// gone gives back what an environment held.
func (p *Pool) gone(s *set, e *environment) {
	p.memory -= e.memory
	if s.environments--; s.environments == 0 {
		p.memory -= p.opts.ProcessBytes
	}
	s.f.environments--
}
