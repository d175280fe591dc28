package wasm

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/door"
)

// environment runs a function. It is the same for all grades: an instance that
// is called by exports, or, of a command, one whose _start is called and which is
// put back to what it was each time.
type environment struct {
	p        *program
	version  functions.Version
	arn      string
	isolated bool // each invocation finds memory as after start-up
	in       *instance
	image    *image // nil: what the guest does cannot be undone
	console  *console
	sockets  *door.Sockets

	meter
	calls    callContext // of calls into the guest
	stack    [1]uint64
	args     []string
	environ  []string
	variable []string // of environ those that every invocation has
	stdin    []byte
	event    []byte // what stdin is a rest of
	stdout   *bounded
	answer   []byte // what the last http exchange got and the guest has not read
	polled   poller
	life     context.Context // of what the guest opens; nil: not made yet in this exchange
	endLife  context.CancelFunc

	used   bool // since the start-up or the last reset
	broken bool // nothing may run in it before a reset
	seed   bool // it is to be reseeded before it runs
	dead   bool
}

// callContext is the context that host functions find their environment by.
type callContext struct {
	context.Context
	environment *environment
}

// limit is the most memory a function may have, in bytes.
func limit(v functions.Version) uint64 {
	c := v.Config
	c.Memory = cmp.Or(c.Memory, functions.MinMemory)
	return uint64(c.MemoryBytes())
}

func timeout(v functions.Version) time.Duration {
	return cmp.Or(v.Config.Timeout, functions.DefaultTimeout)
}

func (p *program) environment(v functions.Version, logs runtime.LogWriter) *environment {
	o := &p.engine.opts
	e := &environment{
		p: p, version: v, arn: v.ARN(o.Account, o.Region),
		isolated: v.Config.Isolation == functions.IsolationInvocation || p.abi == functions.ABICommand,
		console:  newConsole(logs),
		sockets:  door.NewSockets(o.Dialer, v),
	}
	for _, kv := range p.variables(v) {
		e.variable = append(e.variable, kv[0]+"="+kv[1])
	}
	e.environ = e.variable
	if p.abi == functions.ABICommand {
		e.args = []string{"bootstrap"}
		e.stdout = &bounded{most: runtime.MaxResponse + 1}
	}
	e.calls.environment = e
	return e
}

// boot starts the guest up in a new instance. An *InitError is the guest's
// doing.
func (e *environment) boot(ctx context.Context) (err error) {
	began := time.Now()
	if e.in, err = e.p.instantiate(ctx, limit(e.version), nil); err != nil {
		return fmt.Errorf("wasm: start: %w", err)
	}
	defer e.console.end()
	if f := e.startUp(ctx, allowed(ctx, began)); f != nil {
		return refusal(f)
	}
	return nil
}

// refusal is a failed start-up as an error: not an *InitError if it is ours.
func refusal(f *runtime.InitError) error {
	if f.Outcome == runtime.Infrastructure {
		return fmt.Errorf("wasm: start: %s", f.Message)
	}
	return f
}

// allowed is how long a start-up that began then may take.
func allowed(ctx context.Context, began time.Time) time.Duration {
	deadline, _ := ctx.Deadline()
	return max(0, deadline.Sub(began).Round(10*time.Millisecond))
}

func (e *environment) startUp(ctx context.Context, allowed time.Duration) *runtime.InitError {
	if ctx.Err() != nil {
		return stopped(ctx, allowed)
	}
	e.enter(ctx, time.Time{})
	defer e.leave()
	for _, name := range e.p.starts() {
		f := e.in.mod.ExportedFunction(name)
		if f == nil {
			continue
		}
		if err := f.CallWithStack(&e.calls, e.stack[:]); err != nil {
			return e.failure(ctx, err, allowed)
		}
		switch got := int32(e.stack[0]); {
		case name == "wm_abi_version" && got != runtime.ABIVersion:
			return &runtime.InitError{Outcome: runtime.FunctionError, Type: runtime.TypeInit,
				Message: fmt.Sprintf("the module speaks version %d of the guest ABI, this server version %d; build it again", got, runtime.ABIVersion)}
		case name == "wm_start" && got != 0:
			e.console.end()
			return &runtime.InitError{Outcome: runtime.FunctionError, Type: runtime.TypeInit,
				Message: strings.TrimSpace(fmt.Sprintf("the function did not get ready (wm_start returned %d): %s", got, printable(string(e.console.last), 500)))}
		}
	}
	return nil
}

// freeze makes an image of a guest that has just started up. What it has
// connected to it has to dial again: a connection cannot be had twice.
func (e *environment) freeze() *image {
	e.sockets.Reset()
	e.answer = nil // its clones have none either
	return e.in.capture(e.p.engine.opts.copying)
}

// clone puts an instance into e that is as the image says.
func (e *environment) clone(ctx context.Context, from *image) (err error) {
	e.in, err = e.p.instantiate(ctx, limit(e.version), from)
	if err != nil {
		return fmt.Errorf("wasm: clone: %w", err)
	}
	e.image, e.seed = from, true
	return nil
}

// enter begins a call or several into the guest with ctx, and leave ends it.
func (e *environment) enter(ctx context.Context, deadline time.Time) {
	e.calls.Context = ctx
	e.meter.fuel = e.in.fuel
	if e.isolated {
		e.in.mem.hot.enter()
	}
	e.meter.begin(ctx, deadline)
}

func (e *environment) leave() uint64 {
	e.calls.Context = context.Background()
	e.life = nil // its timer ends it: what the guest dialled may go on until then
	if e.isolated {
		e.in.mem.hot.leave()
	}
	return e.meter.end()
}

// renew makes the guest what it was after its start-up, or, where that cannot
// be, the environment dead. again is for memory.reset.
func (e *environment) renew(again bool) {
	if e.dead {
		return
	}
	e.sockets.Reset()
	e.answer = nil
	switch {
	case e.image == nil && e.p.abi == functions.ABICommand:
		if err := e.reboot(); err != nil {
			e.in, e.dead = nil, true
			return
		}
	case e.image == nil:
		e.dead = true
		return
	case e.in.reset(again):
		if e.broken {
			e.in.functions()
		}
	default: // it has grown, and memory does not shrink
		_ = e.in.close() // nothing of it is needed any more
		if err := e.clone(context.Background(), e.image); err != nil {
			e.in, e.dead = nil, true
			return
		}
	}
	e.used, e.broken, e.seed = false, false, true
}

// reboot is for commands that cannot be cloned.
func (e *environment) reboot() error {
	_ = e.in.close() // nothing of it is needed any more
	ctx, cancel := context.WithTimeout(context.Background(), timeout(e.version))
	defer cancel()
	return e.boot(ctx)
}

// Finish implements [Guest].
func (e *environment) Finish() {
	if e.dead || !e.broken && !(e.isolated && e.used) {
		return
	}
	e.renew(e.isolated)
	if e.dead || e.in.reseed == nil {
		return
	}
	// Now, while nobody waits for it.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	e.enter(ctx, time.Time{})
	defer e.leave()
	e.broken = e.reseed() != nil
}

// Reusable implements [runtime.Environment] and [Guest].
func (e *environment) Reusable() bool {
	return !e.dead && (!e.broken || e.image != nil || e.p.abi == functions.ABICommand)
}

// Rest implements [runtime.Environment] and [Guest]: what the guest wrote to its
// memory is given back, and its connections are closed.
func (e *environment) Rest() {
	if e.image != nil && (e.used || e.isolated) {
		e.renew(false)
	}
	e.event = nil
	if e.stdout != nil {
		e.stdout.b = nil
	}
}

// Close implements [runtime.Environment] and [Guest].
func (e *environment) Close() error {
	e.sockets.Reset()
	e.dead = true
	if e.endLife != nil {
		e.endLife()
	}
	if e.in == nil {
		return nil
	}
	in := e.in
	e.in = nil
	return in.close()
}

// Invoke implements [runtime.Environment].
func (e *environment) Invoke(ctx context.Context, inv *runtime.Invocation) runtime.Result {
	began := time.Now()
	res := Converse(ctx, e.p.abi, e.arn, inv, e.Exchange)
	if res.ErrorType == runtime.TypeMalformed {
		e.broken = true
	}
	res.Duration = time.Since(began)
	e.Finish()
	return res
}

// until is when the exchange ends at the latest.
func (m *meter) until() time.Time {
	return started.Add(min(m.deadline, now()+functions.MaxTimeout))
}

// living is the context of what the guest opens: it ends at the deadline of the
// exchange.
func (e *environment) living() context.Context {
	if e.life == nil {
		if e.endLife != nil {
			e.endLife()
		}
		e.life, e.endLife = context.WithDeadline(e.calls.Context, e.until())
	}
	return e.life
}

var (
	_ Guest               = (*environment)(nil)
	_ runtime.Environment = (*environment)(nil)
)
