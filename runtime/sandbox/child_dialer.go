package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// farDialer is the way out as the child has it: it asks the server, which resolves,
// checks and dials, and hands over what is connected.
type farDialer struct {
	link *childLink

	mu      sync.Mutex
	number  uint32
	waiting map[uint32]chan answered

	roots     sync.Mutex // held while they are on their way
	pem       []byte
	haveRoots bool
}

type answered struct {
	report toldReport
	conn   net.Conn
	err    error
}

func newFarDialer(l *childLink) *farDialer {
	return &farDialer{link: l, waiting: map[uint32]chan answered{}}
}

// ask sends a question. The channel gets the answers; forget ends it.
func (d *farDialer) ask(o askOrder, answers int) (c chan answered, forget func(), err error) {
	c = make(chan answered, answers)
	d.mu.Lock()
	d.number++
	o.Number = d.number
	d.waiting[o.Number] = c
	d.mu.Unlock()
	forget = func() {
		d.mu.Lock()
		delete(d.waiting, o.Number)
		d.mu.Unlock()
		select { // it came too late
		case a := <-c:
			if a.conn != nil {
				a.conn.Close()
			}
		default:
		}
	}
	if err := d.link.send(kindAsk, o, nil); err != nil {
		forget()
		return nil, nil, err
	}
	return c, forget, nil
}

// told takes an answer; the child's main loop calls it.
func (d *farDialer) told(b []byte) error {
	var r toldReport
	if err := json.Unmarshal(b, &r); err != nil {
		return err
	}
	a := answered{report: r}
	switch {
	case r.Ticket != "" && r.Ticket != alongside:
		a.conn, a.err = d.link.dial(r.Ticket)
	case r.Ticket == alongside:
		a.conn, a.err = d.link.accept("")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case d.waiting[r.Number] <- a:
	default: // nobody waits any more
		if a.conn != nil {
			a.conn.Close()
		}
	}
	return nil
}

func (d *farDialer) once(ctx context.Context, o askOrder) (answered, error) {
	o.Left = functions.MaxTimeout
	if deadline, ok := ctx.Deadline(); ok {
		o.Left = time.Until(deadline)
	}
	c, forget, err := d.ask(o, 1)
	if err != nil {
		return answered{}, err
	}
	defer forget()
	select {
	case a := <-c:
		return a, a.failure()
	case <-ctx.Done():
		return answered{}, context.Cause(ctx)
	}
}

func (a *answered) failure() error {
	switch {
	case a.err != nil:
		return a.err
	case a.report.Fault != nil:
		return &runtime.DialError{Kind: runtime.DialFault(*a.report.Fault), Message: a.report.Error}
	case a.report.Error != "":
		return errors.New(a.report.Error)
	}
	return nil
}

// Dial implements runtime.Dialer.
func (d *farDialer) Dial(ctx context.Context, _ functions.Version, address string) (net.Conn, error) {
	a, err := d.once(ctx, askOrder{Kind: askDial, Place: address})
	if err == nil && a.conn == nil {
		err = broken("an answer without its connection")
	}
	return a.conn, err
}

// Resolve implements runtime.Dialer.
func (d *farDialer) Resolve(ctx context.Context, _ functions.Version, host string) ([]netip.Addr, error) {
	a, err := d.once(ctx, askOrder{Kind: askResolve, Place: host})
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, s := range a.report.Addresses {
		if ip, err := netip.ParseAddr(s); err == nil {
			out = append(out, ip)
		}
	}
	return out, nil
}

// Roots implements runtime.Dialer.
func (d *farDialer) Roots() []byte {
	d.roots.Lock()
	defer d.roots.Unlock()
	if d.haveRoots {
		return d.pem
	}
	c, forget, err := d.ask(askOrder{Kind: askRoots}, 1024)
	if err != nil {
		return nil
	}
	defer forget()
	late := time.NewTimer(10 * time.Second)
	defer late.Stop()
	var pem []byte
	for {
		select {
		case a := <-c:
			pem = append(pem, a.report.Roots...)
			if !a.report.More {
				d.pem, d.haveRoots = pem, true
				return pem
			}
		case <-late.C:
			return nil
		}
	}
}
