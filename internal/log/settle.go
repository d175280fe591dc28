package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// errConflict means somebody else wrote at the sequence a frame was made for, so
// that it is certainly not stored.
var errConflict = fmt.Errorf("%w: another writer appended", ErrUnavailable)

// fate of a frame that was sent.
type fate int

const (
	absent  fate = iota // nothing is stored at its sequence
	ours                // the frame is
	foreign             // another frame is
)

// settle sends a frame and returns when its fate is certain: nil when it is
// stored, ErrUnavailable, errConflict or ErrNotFound when it never will be. Only
// when the set is closed under it is the error ErrUnknown.
//
// The frame carries the expected last sequence, so that of all its copies one at
// most is stored, and none once something else is. Without an acknowledgement
// the server is told, and when it is healthy again the sequence is read from
// the stream's leader (a failed store may show what never reached the disk):
//
//   - our frame, by epoch and attempt, is there: stored.
//   - another frame is there: ours is refused for ever.
//   - nothing is there, and JetStream did answer the newest copy, with an error:
//     earlier copies went before it on the same connection (natsd keeps no
//     message over a reconnection), so none is under way and it is not stored.
//   - nothing is there and there was no answer: a copy may still be under way.
//     The same frame is sent again.
//
// A frame of a source has a second fence, the newest frame of its source. If it is
// refused and nothing is at its sequence, the newest frame of the source tells which
// fence it was: [ErrRefused] only if that is another than expected.
//
// No other frame of the log is sent meanwhile. What waits behind it is refused
// as soon as the first answer is missing.
func (l *Log) settle(f *Frame, buf []byte, from fence) error {
	var err error
	defer l.setTrouble(nil)
	for try := 0; ; try++ {
		err = l.publish(buf, f.Seq-1, from)
		if err == nil {
			return nil
		}
		refused := errors.Is(err, errRefused)
		var failed *storeError
		answered := refused || errors.As(err, &failed) || errors.Is(err, ErrNotFound)
		if !refused {
			l.set.opts.Logger.Warn("append not acknowledged", "log", l.id, "frame", f.Seq, "try", try+1, "err", err)
			l.setTrouble(fmt.Errorf("%w: %w", ErrUnavailable, err))
			l.set.srv.Failed(err)
		}
		found, lookErr := l.lookUp(f)
		switch {
		case errors.Is(lookErr, ErrNotFound):
			return fmt.Errorf("log %s: %w", l.id, ErrNotFound)
		case lookErr != nil:
			return fmt.Errorf("%w: %w", ErrUnknown, lookErr)
		case found == ours:
			return nil
		case found == absent && refused && l.moved(from):
			return ErrRefused
		case found == foreign, refused:
			// Refused though nothing is there: the log ends elsewhere than we
			// thought. Either way our place is wrong.
			l.set.opts.Logger.Error("append refused: another writer", "log", l.id, "frame", f.Seq)
			return errConflict
		case answered:
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
}

// publish sends the frame once.
func (l *Log) publish(buf []byte, last uint64, from fence) error {
	ctx, cancel := l.set.srv.WriteContext(l.set.base)
	defer cancel()
	return l.set.wire.publish(ctx, l.id, buf, last, from)
}

// lookUp finds out what is stored at the sequence of a frame. It goes on until
// the server answers; its errors are ErrNotFound and that the set is closed.
func (l *Log) lookUp(f *Frame) (fate, error) {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		if err := l.set.srv.Healthy(l.set.base); err != nil {
			return 0, err
		}
		var data []byte
		err := l.set.calmly(l.set.base, func() (err error) {
			data, err = l.stored(f.Seq)
			return err
		})
		switch {
		case err == nil:
			h, bad := decodeHead(data, f.Seq)
			if bad == nil && h.epoch == f.Epoch && bytes.Equal(h.attempt[:], f.head.attempt[:]) {
				return ours, nil
			}
			return foreign, nil
		case errors.Is(err, errNoMessage):
			return absent, nil
		case errors.Is(err, ErrNotFound):
			return 0, err
		}
		l.set.opts.Logger.Warn("cannot look up an append", "log", l.id, "frame", f.Seq, "err", err)
		if !errors.Is(err, nats.ErrNoResponders) {
			l.set.srv.Failed(err)
		}
		select {
		case <-time.After(pause):
		case <-l.set.base.Done():
			return 0, context.Cause(l.set.base)
		}
	}
}

func (l *Log) stored(seq uint64) ([]byte, error) {
	ctx, cancel := l.set.srv.ReadContext(l.set.base)
	defer cancel()
	return l.set.wire.stored(ctx, l.id, seq)
}

// setTrouble has appends refused while err is set, and refuses those that wait:
// they were never sent, and their callers shall not hang on a sick disk.
func (l *Log) setTrouble(err error) {
	l.mu.Lock()
	l.trouble = err
	l.mu.Unlock()
	if err != nil {
		l.refuse(err)
	}
}
