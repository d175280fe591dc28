package sandbox

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/wasm"
)

// environment is one of a child's, seen from the server.
type environment struct {
	process *process
	fleet   *fleet
	version functions.Version
	arn     string
	logs    runtime.LogWriter
	number  uint32
	conn    net.Conn
	in      *frameReader
	tray    *tray  // nil where the system has none
	body    []byte // of the last reply, taken from it

	// ahead: it only readies the process for those to come. Nobody's invocation is in
	// it, so it is not looked at when one is to blame.
	ahead    bool
	calls    uint32
	init     time.Duration // what a start-up may take, while it is under way
	reusable bool
	memory   int64 // of the last call
	once     sync.Once

	busy bool // a call is under way; the process's mutex guards it
}

// buffers are requests on their way.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// allowed is what the call under way may take.
func (e *environment) allowed() time.Duration {
	if e.init > 0 {
		return e.init
	}
	return cmp.Or(e.version.Config.Timeout, functions.DefaultTimeout)
}

// open starts an environment in the child, where a place is claimed for it: it gives the
// place back if that fails.
func (p *process) open(ctx context.Context, v functions.Version, logs runtime.LogWriter, ahead bool) (*environment, error) {
	deadline, limited := ctx.Deadline()
	if !limited {
		deadline = time.Now().Add(functions.MaxTimeout)
	}
	left := time.Until(deadline)
	o := p.engine.opts
	e := &environment{process: p, version: v, arn: v.ARN(o.Account, o.Region), logs: logs, ahead: ahead, init: max(left.Round(10*time.Millisecond), 1)}
	var along []*os.File
	if !o.Portable {
		if e.tray, _ = newTray(); e.tray != nil { // it goes without one too
			along = append(along, e.tray.file)
		}
	}
	p.mu.Lock()
	p.last++
	e.number = p.last
	p.envs[e] = struct{}{}
	e.fleet, e.busy = p.fleet, true
	p.mu.Unlock()

	b, err := json.Marshal(v)
	if err == nil {
		e.conn, err = p.engine.starter.connect(ctx, p.ctl, kindOpen, func(ticket string) any {
			return openOrder{Environment: e.number, Ticket: ticket, Tray: e.tray != nil, Mapped: p.mapped()}
		}, along...)
	}
	if err != nil {
		defer e.Close() // never fails
		if ctx.Err() != nil {
			return nil, fmt.Errorf("sandbox: start: %w", context.Cause(ctx))
		}
		p.kill(death{reason: itself}) // it does not do what it is told
		return nil, e.lost(p.verdict(e))
	}
	e.in = newFrameReader(e.conn)
	var payload [8]byte
	putDuration(payload[:], left)
	watch := e.watch(ctx, deadline)
	var report startReport
	err = e.talk(appendFrame(nil, kindStart, append(payload[:], b...)), func(kind byte, n int) error {
		if kind != kindStarted {
			return broken("a frame of kind %q", kind)
		}
		b, err := e.in.body(n)
		if err != nil {
			return err
		}
		if json.Unmarshal(b, &report) != nil {
			return broken("a start-up that cannot be read")
		}
		if report.Failure != nil {
			if b, err = json.Marshal(report.Failure); err == nil {
				report.Failure, err = decodeFailure(b)
			}
		}
		return err
	}, "")
	watch()
	var failure *runtime.InitError
	if err != nil {
		failure = e.broke(err, deadline)
	} else {
		e.idle()
	}
	e.init = 0
	switch {
	case failure != nil:
		err = e.lost(failure)
	case report.Failure != nil:
		err = e.lost(report.Failure)
	case report.Error != "":
		err = errors.New(report.Error[:min(len(report.Error), 4<<10)])
	}
	if err != nil {
		_ = e.Close() // never fails
		return nil, err
	}
	e.reusable = true
	return e, nil
}

// lost is a failed start-up as an error: not an *InitError if it is ours.
func (e *environment) lost(f *runtime.InitError) error {
	if f.Outcome == runtime.Infrastructure {
		return fmt.Errorf("sandbox: start: %s", f.Message)
	}
	return f
}

func (e *environment) idle() {
	e.process.mu.Lock()
	e.busy = false
	e.process.mu.Unlock()
}

// watch bounds a call: its connection fails when the guest has had its deadline and
// the grace, and a call that is given up is cancelled. The caller calls stop.
func (e *environment) watch(ctx context.Context, deadline time.Time) (stop func()) {
	grace := e.process.engine.opts.grace
	_ = e.conn.SetDeadline(deadline.Add(grace)) // fails only on what has failed
	number := e.calls
	over := make(chan struct{})
	halt := context.AfterFunc(ctx, func() {
		defer close(over)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return
		}
		_ = e.conn.SetDeadline(time.Now().Add(grace))
		e.process.cancelCall(e.number, number)
	})
	return func() {
		if !halt() {
			<-over
		}
	}
}

// talk writes a request and reads frames up to the one that answers it, which last takes.
func (e *environment) talk(request []byte, last func(kind byte, n int) error, id string) error {
	if _, err := e.conn.Write(request); err != nil {
		return err
	}
	budget := maxLogged
	for {
		kind, n, err := e.in.head(fromGuest)
		if err != nil {
			return err
		}
		if kind != kindLine {
			return last(kind, n)
		}
		if budget -= frameHead + n; budget < 0 {
			return broken("more log than a call may send")
		}
		line, err := e.in.body(n)
		if err != nil {
			return err
		}
		if e.logs != nil {
			e.logs.Line(id, line)
		}
	}
}

// broke ends the process after a call that did not end well, and tells who is to
// blame.
func (e *environment) broke(err error, deadline time.Time) *runtime.InitError {
	e.reusable = false
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(deadline):
		e.process.kill(death{reason: dropped, by: e})
	case errors.Is(err, os.ErrDeadlineExceeded):
		e.process.kill(death{reason: late, by: e})
	case errors.Is(err, errFrame):
		e.process.kill(death{reason: lied, text: err.Error()})
	default: // the connection ended because the process did, or else it must
		e.process.kill(death{reason: itself})
	}
	f := e.process.verdict(e)
	e.idle()
	return f
}

// exchange has the guest answer one message.
func (e *environment) exchange(ctx context.Context, q wasm.Request) (r wasm.Reply) {
	began := time.Now()
	if !e.reusable {
		return wasm.Reply{Failure: &runtime.InitError{Outcome: runtime.Infrastructure, Type: runtime.TypeInternal, Message: "the environment is used up"}}
	}
	deadline := q.Deadline
	if d, ok := ctx.Deadline(); ok && (deadline.IsZero() || d.Before(deadline)) {
		deadline = d
	}
	if deadline.IsZero() {
		deadline = began.Add(functions.MaxTimeout)
	}
	e.calls++
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	inTray := e.tray.holds(q.Size)
	b := appendCall((*buf)[:0], call{number: e.calls, json: q.JSON, inTray: inTray, size: q.Size, left: deadline.Sub(began), id: q.ID})
	var err error
	if inTray {
		err = e.tray.use(q.Size, q.Fill)
	} else {
		head := len(b)
		if cap(b) < head+q.Size {
			b = append(make([]byte, 0, head+q.Size), b...)
		}
		b = b[:head+q.Size]
		err = q.Fill(b[head:])
	}
	if err != nil {
		return wasm.Reply{Failure: &runtime.InitError{Outcome: runtime.Infrastructure, Type: runtime.TypeInternal, Message: "the request could not be written: " + err.Error()}}
	}
	if cap(b) <= 1<<20 {
		*buf = b
	}

	e.process.mu.Lock()
	e.busy = true
	e.process.mu.Unlock()
	stop := e.watch(ctx, deadline)
	err = e.talk(b, func(kind byte, n int) error {
		if kind != kindReply {
			return broken("a frame of kind %q", kind)
		}
		b, err := e.in.body(n)
		if err != nil {
			return err
		}
		r, e.reusable, n, err = decodeReply(b, e.calls, int64(limitOf(e.version)), time.Since(began))
		if n > 0 {
			r.Body, err = e.taken(n)
		}
		return err
	}, q.ID)
	stop()
	if err != nil {
		f := e.broke(err, deadline)
		return wasm.Reply{Failure: f, MaxMemory: e.memory, Duration: time.Since(began)}
	}
	e.idle()
	e.memory = r.MaxMemory
	e.fleet.answered()
	return r
}

// taken is a message of n bytes in the tray. It is a copy: the child cannot change it any
// more while it is judged.
func (e *environment) taken(n int) ([]byte, error) {
	if !e.tray.holds(n) {
		return nil, broken("a reply of %d bytes in a tray that does not take it", n)
	}
	b, err := e.tray.take(e.body, n)
	if e.body = b; n > 2<<20 {
		e.body = nil // not kept for the rare one
	}
	return b, err
}

// Invoke implements runtime.Environment.
func (e *environment) Invoke(ctx context.Context, inv *runtime.Invocation) runtime.Result {
	res := wasm.Converse(ctx, e.process.code.ABI, e.arn, inv, e.exchange)
	if res.ErrorType == runtime.TypeMalformed {
		e.reusable = false // who answers so may be broken inside
	}
	return res
}

// Reusable implements runtime.Environment.
func (e *environment) Reusable() bool { return e.reusable && e.process.alive() }

// Rest implements runtime.Environment.
func (e *environment) Rest() {
	if !e.reusable {
		return
	}
	deadline := time.Now().Add(5 * patience)
	_ = e.conn.SetDeadline(deadline) // fails only on what has failed
	e.process.mu.Lock()
	e.busy = true
	e.process.mu.Unlock()
	err := e.talk(appendFrame(nil, kindRest, nil), func(kind byte, n int) error {
		if kind != kindRested {
			return broken("a frame of kind %q", kind)
		}
		b, err := e.in.body(n)
		e.reusable = err == nil && len(b) == 1 && b[0] == 1
		return err
	}, "")
	if err != nil {
		e.broke(err, deadline)
		return
	}
	e.idle()
	e.body = nil
	e.tray.empty()
}

// Close implements runtime.Environment.
func (e *environment) Close() error {
	e.once.Do(func() {
		e.reusable = false
		if e.conn != nil {
			e.conn.Close() // the child sees it
		}
		e.process.unclaim(e)
		_ = e.tray.close() // only a bug of ours could make it fail
	})
	return nil
}
