package pool

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// maxTryLog is how many bytes of its log a trial keeps, the last ones.
const maxTryLog = 1 << 20

// Try runs code once as the version v would, to see what it does: in an
// environment of its own that is closed afterwards, with the timeout, memory and
// variables of v. The registry need not know it. Nothing of it goes to the
// function's log, to metrics or to the history; what it emits goes nowhere.
//
// The log is all it wrote, up to the last 1 MiB, and stands in the result's Logs
// too. A trial takes room in the pool like any invocation, and is throttled
// where there is none. Code that cannot be run by anybody is an outcome, and an
// error that wraps functions.ErrCode as well; there are no other errors.
func (p *Pool) Try(ctx context.Context, v functions.Version, code []byte, inv *runtime.Invocation) (r runtime.Result, log string, refusal error) {
	if inv.ID == "" {
		inv.ID = uuid.NewString()
	}
	v.Config = v.Config.WithDefaults()
	v.Version = cmp.Or(v.Version, functions.Unpublished)
	c := newCall(ctx)
	defer c.end()

	// A set of one: retired from the start, it goes with its environment.
	s := &set{f: &function{name: v.Function}, version: v, retired: true}
	e, full := p.admit(s, c)
	if e == nil {
		r = unadmitted(full, inv)
	} else {
		e.log = recorder{version: v.Version, most: maxTryLog}
		r, refusal = p.try(c, s, e, code, inv)
		if n := runtime.IgnoredEmits(inv, &r); n > 0 {
			e.log.write(time.Now(), inv.ID, "[wasmill: "+ignoredEmits(n)+"; records to emit are: "+runtime.WantedEmit+"]")
		}
		p.release(s, e, &r, true, time.Now())
		r.Logs = e.log.last()
	}
	r.Version, r.Finished = s.version, time.Now()
	return r, string(r.Logs), refusal
}

func (p *Pool) try(c *call, s *set, e *environment, code []byte, inv *runtime.Invocation) (r runtime.Result, refusal error) {
	program, info, err := p.engine.Load(c, code, nil)
	if errors.Is(err, functions.ErrCode) {
		return refused(&runtime.InitError{Outcome: runtime.FunctionError, Type: runtime.TypeInit, Message: err.Error()}, inv), err
	} else if err != nil {
		return refused(err, inv), nil
	}
	s.version.Code = info
	p.mu.Lock()
	s.program = program
	p.mu.Unlock()
	return p.perform(c, s, e, s.version, inv), nil
}

// admit takes room for an environment of s beside those of the pool. None and
// no refusal: the pool is closing.
func (p *Pool) admit(s *set, c *call) (*environment, string) {
	now := time.Now()
	p.mu.Lock()
	if p.closing {
		p.mu.Unlock()
		return nil, ""
	}
	var old garbage
	refusal := p.full(s.f, nil)
	var e *environment
	if refusal == "" {
		e, refusal = p.room(s, now, &old)
	}
	if e != nil {
		p.use(s, e, c, origin{}, now)
	}
	p.mu.Unlock()
	old.close()
	return e, refusal
}
