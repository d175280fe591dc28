package wasm

import (
	"encoding/binary"
	"time"
)

// maxPolled is the most subscriptions of one poll_oneoff.
const maxPolled = 1024

const (
	subscriptionSize = 48
	eventSize        = 32

	eventClock = 0
	eventRead  = 1
	eventWrite = 2

	clockAbsolute = 1 << 0
)

// poller is what poll_oneoff keeps from call to call.
type poller struct {
	timer *time.Timer
	subs  []subscription
}

type subscription struct {
	user uint64
	kind byte
	fd   uint32
	at   time.Duration // of a clock: by now
	err  errno
}

// poll waits until one of the guest's subscriptions is there, or for its end. It
// is the one place where a guest waits.
func (e *environment) poll(s []uint64) errno {
	n := uint32(s[2])
	if n == 0 || n > maxPolled {
		return errInval
	}
	in, have := e.bytes(s[0], uint64(n)*subscriptionSize)
	out, room := e.bytes(s[1], uint64(n)*eventSize)
	if !have || !room {
		return errFault
	}
	// The events may be written over the subscriptions.
	began := now()
	e.polled.subs = e.polled.subs[:0]
	for ; len(in) > 0; in = in[subscriptionSize:] {
		e.polled.subs = append(e.polled.subs, subscribe(in, began))
	}
	for {
		e.check()
		wait := e.meter.deadline
		events := 0
		at := now()
		for i := range e.polled.subs {
			sub := &e.polled.subs[i]
			if !e.happened(sub, at) {
				if sub.kind == eventClock {
					wait = min(wait, sub.at)
				}
				continue
			}
			b := out[events*eventSize:][:eventSize]
			clear(b)
			binary.LittleEndian.PutUint64(b, sub.user)
			binary.LittleEndian.PutUint16(b[8:], uint16(sub.err))
			b[10] = sub.kind
			if sub.kind != eventClock && sub.err == ok {
				b[16] = 1 // a byte at least, nobody knows how many
			}
			events++
		}
		if events > 0 {
			e.waited(now() - began)
			if !e.put32(s[3], uint32(events)) {
				return errFault
			}
			return ok
		}
		e.wait(wait - at)
	}
}

// wait waits for d, for a socket, or for the end of the exchange.
func (e *environment) wait(d time.Duration) {
	t := e.polled.timer
	if t == nil {
		t = time.NewTimer(d)
		e.polled.timer = t
	} else {
		t.Reset(d)
	}
	defer t.Stop()
	select {
	case <-t.C:
	case <-e.sockets.Changed():
	case <-e.meter.ctx.Done():
	}
}

// subscribe reads a subscription.
func subscribe(b []byte, at time.Duration) subscription {
	le := binary.LittleEndian
	sub := subscription{user: le.Uint64(b), kind: b[8]}
	switch sub.kind {
	case eventClock:
		d := time.Duration(min(le.Uint64(b[24:]), 1<<62))
		switch absolute := le.Uint16(b[40:])&clockAbsolute != 0; {
		case le.Uint32(b[16:]) > clockMonotonic:
			sub.err = errInval
		case !absolute:
			sub.at = at + d
		case le.Uint32(b[16:]) == clockMonotonic:
			sub.at = d
		default:
			sub.at = at + time.Until(time.Unix(0, int64(d)))
		}
	case eventRead, eventWrite:
		sub.fd = le.Uint32(b[16:])
	default:
		sub.err = errInval
	}
	return sub
}

// happened says whether there is an event for a subscription.
func (e *environment) happened(sub *subscription, at time.Duration) bool {
	switch {
	case sub.err != ok:
		return true
	case sub.kind == eventClock:
		return sub.at <= at
	case sub.fd > 2:
		if !e.sockets.Is(int32(sub.fd)) {
			sub.err = errBadf
			return true
		}
		return e.sockets.Ready(int32(sub.fd), sub.kind == eventWrite)
	case (sub.fd == 0) != (sub.kind == eventRead):
		sub.err = errBadf
	}
	return true
}
