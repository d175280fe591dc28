package pool

import (
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// arm sees to it that idle environments are looked at in time.
func (p *Pool) arm() {
	if p.tender == nil && !p.closing {
		p.tender = time.AfterFunc(p.patrol(), p.tend)
	}
}

// patrol is how long nothing that becomes idle from now on needs to be looked at.
func (p *Pool) patrol() time.Duration { return min(p.opts.Idle, p.opts.RestAfter) }

// resting is an environment that is given time to rest.
type resting struct {
	s *set
	e *environment
}

// tend has environments rest that have been idle for a while, closes those that
// have been for long or have died, and lets go of programs whose last environment ended as long
// ago again.
func (p *Pool) tend() {
	var old garbage
	var tired []resting
	p.mu.Lock()
	p.tender = nil
	if p.closing {
		p.mu.Unlock()
		return
	}
	p.work.Add(1)
	defer p.work.Done()
	now := time.Now()
	next := p.patrol()
	due := func(since time.Time, after time.Duration) bool {
		left := after - now.Sub(since)
		if left > 0 {
			next = min(next, left)
		}
		return left <= 0
	}
	for k, s := range p.sets {
		for i := len(s.idle) - 1; i >= 0; i-- {
			if due(s.idle[i].since, p.opts.Idle) || !s.idle[i].runs.Reusable() {
				p.evict(s, i, &old)
			}
		}
		s.idle = slices.DeleteFunc(s.idle, func(e *environment) bool {
			if e.rested || !due(e.since, p.opts.RestAfter) {
				return false
			}
			e.rested = true
			s.uses++ // keeps the set, and its program
			p.resting++
			tired = append(tired, resting{s, e})
			return true
		})
		if s.environments == 0 && s.uses == 0 && due(s.touched, 2*p.opts.Idle) {
			p.retire(k, s, &old)
		}
	}
	if len(p.sets) > 0 {
		// Not at every single one that becomes due: a little later will do.
		p.tender = time.AfterFunc(max(next, p.patrol()/16, time.Millisecond), p.tend)
	}
	p.mu.Unlock()
	old.close()
	for _, t := range tired {
		p.rest(t.s, t.e)
	}
}

// rest has an environment rest, which nobody uses meanwhile.
func (p *Pool) rest(s *set, e *environment) {
	func() {
		defer func() {
			if bug := recover(); bug != nil { // as in invoke
				e.broken = true
				p.opts.Logger.Error("an environment could not rest", "function", s.version.Function, "error", fmt.Errorf("bug in the engine: %v\n%s", bug, debug.Stack()))
			}
		}()
		e.runs.Rest()
	}()
	var old garbage
	p.mu.Lock()
	p.resting--
	s.uses--
	if e.broken || s.retired || p.closing || !e.runs.Reusable() {
		old.environments = append(old.environments, e.runs)
		p.gone(s, e)
	} else {
		// As long idle as before.
		at, _ := slices.BinarySearchFunc(s.idle, e, func(a, b *environment) int { return a.since.Compare(b.since) })
		s.idle = slices.Insert(s.idle, at, e)
	}
	s.settle(&old)
	p.mu.Unlock()
	old.close()
}
