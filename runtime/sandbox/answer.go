package sandbox

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// rootsPiece is how much of the certificates goes into one frame, where it grows by a third.
const rootsPiece = 64 << 10

// answer asks the door for a child. Whose version it is the server knows, whatever
// the child says.
func (p *process) answer(ask askOrder) {
	p.mu.Lock()
	v, mine := p.version, p.fleet != nil
	p.mu.Unlock()
	dialer := p.engine.opts.Dialer
	told := toldReport{Number: ask.Number}
	if dialer == nil || !mine {
		told.fail(&runtime.DialError{Kind: runtime.DialNotAllowed, Message: "functions cannot reach out here"})
		p.tell(told)
		return
	}
	ctx, cancel := context.WithTimeout(p.engine.life, min(max(ask.Left, 0), functions.MaxTimeout))
	defer cancel()
	switch ask.Kind {
	case askDial:
		conn, err := dialer.Dial(ctx, v, ask.Place)
		if err != nil {
			told.fail(err)
			break
		}
		if !p.handOver(told, conn) {
			conn.Close()
		}
		return
	case askResolve:
		addresses, err := dialer.Resolve(ctx, v, ask.Place)
		if err != nil {
			told.fail(err)
			break
		}
		for _, a := range addresses[:min(len(addresses), 64)] {
			told.Addresses = append(told.Addresses, a.String())
		}
	case askRoots:
		roots := dialer.Roots()
		for len(roots) > rootsPiece {
			if !p.tell(toldReport{Number: ask.Number, Roots: roots[:rootsPiece], More: true}) {
				return
			}
			roots = roots[rootsPiece:]
		}
		told.Roots = roots
	default:
		told.Error = "there is no such question"
	}
	p.tell(told)
}

func (t *toldReport) fail(err error) {
	if refused, ok := errors.AsType[*runtime.DialError](err); ok {
		fault := int(refused.Kind)
		t.Fault = &fault
	}
	t.Error = err.Error()
	t.Error = t.Error[:min(len(t.Error), 8<<10)]
}

// tell sends an answer. A child that does not read is ended.
func (p *process) tell(t toldReport) bool {
	err := p.ctl.send(kindTold, t, nil)
	p.unheard(err)
	return err == nil
}

// unheard ends a child that an answer could not be sent to.
func (p *process) unheard(err error) {
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.kill(death{reason: lied, text: errFrame.Error() + ": it does not read what it asked for"})
	default:
		p.kill(death{reason: itself}) // it has ended, or must
	}
}

// handOver gives a connection to the child: itself where the system can, else by a
// second one and copying between them.
func (p *process) handOver(t toldReport, conn net.Conn) bool {
	if !p.engine.opts.Portable {
		if file := kernelConn(conn); file != nil {
			defer file.Close()
			t.Ticket = alongside
			if err := p.ctl.send(kindTold, t, file); err != nil {
				p.unheard(err)
				return false
			}
			conn.Close() // ours; the child has its own
			return true
		}
	}
	theirs, err := p.engine.starter.connect(p.engine.life, p.ctl, kindTold, func(ticket string) any {
		t.Ticket = ticket
		if ticket == "" {
			t.Ticket = alongside
		}
		return t
	})
	if err != nil {
		return false
	}
	p.engine.work.Go(func() { splice(conn, theirs, p.gone) })
	return true
}

// splice copies both ways until both have ended, or gone has.
func splice(a, b net.Conn, gone <-chan struct{}) {
	ended := make(chan struct{}, 2)
	pipe := func(dst, src net.Conn) {
		_, err := io.Copy(dst, src)
		if half, ok := dst.(interface{ CloseWrite() error }); err == nil && ok && half.CloseWrite() == nil {
			ended <- struct{}{}
			return
		}
		// Nobody can be told that one direction ended, or it ended badly: both do.
		past := time.Unix(1, 0)
		_ = a.SetDeadline(past)
		_ = b.SetDeadline(past)
		ended <- struct{}{}
	}
	go pipe(a, b)
	go pipe(b, a)
	for left := 2; left > 0; {
		select {
		case <-ended:
			left--
		case <-gone:
			gone = nil
			past := time.Unix(1, 0)
			_ = a.SetDeadline(past)
			_ = b.SetDeadline(past)
		}
	}
	a.Close()
	b.Close()
}
