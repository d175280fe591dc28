package log

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// aheadFrames is how many frames one request reads at most. Small frames come
// many at a time, of large ones max_bytes lets at most two through.
const aheadFrames = 256

// flight is one read of consecutive frames from disk. All who want one of them
// meanwhile wait for it.
type flight struct {
	from, to uint64        // frames it may bring: from <= seq < to
	done     chan struct{} // closed by its goroutine; then the rest is final
	frames   []*Frame      // from, from+1, ...: at least one unless bad or err is set
	bad      *damage       // what is wrong with from
	err      error
}

// At returns a frame by its sequence. It has no records if it is the END frame or a
// write that failed has left its place empty. Frames that follow one another are
// read ahead, two large ones at most. Errors: [*TrimmedError], [ErrNotYet] and
// [*CorruptError], or [ErrUnavailable].
func (l *Log) At(ctx context.Context, seq uint64) (*Frame, error) {
	return steady(l, ctx, func(ctx context.Context, t tail) (*Frame, error) { return l.at(ctx, t, seq) })
}

func (l *Log) at(ctx context.Context, t tail, seq uint64) (*Frame, error) {
	switch {
	case seq < t.first:
		return nil, l.trimmed(ctx)
	case seq > t.last:
		return nil, ErrNotYet
	}
	f := l.set.cache.get(l.key, seq)
	if f == nil {
		var bad *damage
		var err error
		if f, bad, err = l.frame(ctx, seq, aheadFrames); err != nil {
			return nil, err
		}
		if bad != nil {
			return l.instead(ctx, t, seq, bad)
		}
	}
	if seq < t.last && !l.set.cache.has(l.key, seq+1) {
		l.board(seq+1, t.last, aheadFrames)
	}
	return f, nil
}

// within checks that a frame is between the log's bounds: errTrimmed, ErrNotYet.
func (l *Log) within(ctx context.Context, seq uint64) (tail, error) {
	t, err := l.state(ctx)
	switch {
	case err != nil:
		return t, err
	case seq < t.first:
		return t, errTrimmed
	case seq > t.last:
		return t, ErrNotYet
	}
	return t, nil
}

// trimmed is the TrimmedError of a log, or why it could not be made.
func (l *Log) trimmed(ctx context.Context) error {
	b, err := l.Bounds(ctx)
	if err != nil {
		return err
	}
	return &TrimmedError{FirstFrame: b.FirstFrame, FirstNumber: b.FirstNumber}
}

// errTrimmed is what looking at a frame before the log's first one gives inside
// the package. Callers who search look again, since the log has been trimmed
// under them.
var errTrimmed = errors.New("log: trimmed")

// frame returns a frame, or what is wrong with it, from the cache or from disk,
// reading at most ahead frames from it on.
func (l *Log) frame(ctx context.Context, seq uint64, ahead int) (*Frame, *damage, error) {
	for {
		if f := l.set.cache.get(l.key, seq); f != nil {
			return f, nil, nil
		}
		t, err := l.within(ctx, seq)
		if err != nil {
			return nil, nil, err
		}
		fl := l.board(seq, t.last, ahead)
		if fl == nil {
			return nil, nil, errClosing
		}
		select {
		case <-fl.done:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
		switch at := seq - fl.from; {
		case at < uint64(len(fl.frames)):
			return fl.frames[at], nil, nil
		case fl.err != nil:
			return nil, nil, fmt.Errorf("read frame %d of log %s: %w", seq, l.id, l.unavailable(ctx, fl.err))
		case fl.bad != nil && at == 0:
			// It may have been trimmed while we were reading.
			if _, err := l.within(ctx, seq); err != nil {
				return nil, nil, err
			}
			return nil, fl.bad, nil
		}
		// The flight ended before our frame; board the next one.
	}
}

// board returns the flight that may bring a frame, starting one if there is
// none; nil once the set is closed.
func (l *Log) board(seq, last uint64, ahead int) *flight {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, fl := range l.flights {
		if fl.from <= seq && seq < fl.to {
			return fl
		}
	}
	fl := &flight{from: seq, to: min(seq+uint64(ahead), last+1), done: make(chan struct{})}
	if !l.set.start(func() { l.fly(fl) }) {
		return nil
	}
	l.flights = append(l.flights, fl)
	return fl
}

func (l *Log) fly(fl *flight) {
	fl.frames, fl.bad, fl.err = l.read(fl)
	for _, f := range fl.frames {
		l.set.cache.put(l.key, f, fetched)
	}
	l.mu.Lock()
	l.flights = slices.DeleteFunc(l.flights, func(o *flight) bool { return o == fl })
	l.mu.Unlock()
	close(fl.done)
}

// read gets the frames of a flight. A batch shows neither gaps nor which
// sequence a damaged frame has, so it is taken up to the first frame that is not
// what it should be; if that is the flight's first one, it is read by itself.
func (l *Log) read(fl *flight) ([]*Frame, *damage, error) {
	ctx, cancel := l.set.srv.ReadContext(l.set.base)
	defer cancel()
	if count := int(fl.to - fl.from); count > 1 {
		messages, err := l.set.nats.fetch(ctx, l.id, fl.from, count, l.set.opts.FrameBytes)
		if err != nil && !errors.Is(err, errNoMessage) {
			return nil, nil, err
		}
		var frames []*Frame
		for i, data := range messages {
			f, bad := decode(data, fl.from+uint64(i))
			if bad != nil {
				break
			}
			frames = append(frames, f)
		}
		if len(frames) > 0 {
			return frames, nil, nil
		}
	}
	f, bad, err := l.readExactly(ctx, fl.from)
	if err != nil || bad != nil {
		return nil, bad, err
	}
	return []*Frame{f}, nil, nil
}

// readExactly reads one frame from disk.
func (l *Log) readExactly(ctx context.Context, seq uint64) (*Frame, *damage, error) {
	messages, err := l.set.nats.fetch(ctx, l.id, seq, 0, 0)
	if errors.Is(err, errNoMessage) {
		err = l.set.calmly(ctx, func() (err error) {
			messages, err = l.set.nats.fetch(ctx, l.id, seq, 0, 0)
			return err
		})
	}
	switch {
	case errors.Is(err, errNoMessage):
		return nil, &damage{reason: "missing", missing: true}, nil
	case err != nil:
		return nil, nil, err
	}
	f, bad := decode(messages[0], seq)
	return f, bad, nil
}

// corrupt describes a damaged frame so that a reader can skip it. If nothing is
// lost with it, because it is the void that a failed write left (see load), it
// returns a frame without records instead.
func (l *Log) corrupt(ctx context.Context, t tail, seq uint64, bad *damage) (*Frame, *CorruptError, error) {
	e := &CorruptError{Log: l.id, Seq: seq, Epoch: t.epoch, Reason: bad.reason}
	if bad.head != nil {
		e.First, e.NextFrame, e.NextNumber = bad.head.first, seq+1, bad.head.next()
		return nil, e, nil
	}
	// The neighbours whose heads are whole tell.
	e.NextFrame, e.NextNumber = t.last+1, t.next
	for after := seq + 1; after <= t.last; after++ {
		h, err := l.headAt(ctx, after)
		if err != nil {
			return nil, nil, err
		}
		if h != nil {
			e.NextFrame, e.NextNumber = after, h.first
			break
		}
	}
	e.First = e.NextNumber
	known := t.first == 1 // what goes before: nothing, or a frame
	if known {
		e.First = 0
	}
	before := head{epoch: t.epoch}
	for seq := seq - 1; seq >= t.first; seq-- {
		h, err := l.headAt(ctx, seq)
		if err != nil {
			return nil, nil, err
		}
		if h != nil {
			before, known, e.First = *h, true, h.next()
			break
		}
	}
	if bad.missing && known && e.First == e.NextNumber {
		h := head{epoch: before.epoch, seq: seq, first: e.First, before: before.before + before.size, from: before.last, last: before.last}
		return newFrame(h, nil, nil), nil, nil
	}
	return nil, e, nil
}

// headAt is the head of a frame, nil if it is damaged.
func (l *Log) headAt(ctx context.Context, seq uint64) (*head, error) {
	f, bad, err := l.frame(ctx, seq, 1)
	switch {
	case err != nil:
		return nil, err
	case f != nil:
		return &f.head, nil
	}
	return bad.head, nil
}

// instead is what a reader gets in place of a damaged frame.
func (l *Log) instead(ctx context.Context, t tail, seq uint64, bad *damage) (*Frame, error) {
	void, e, err := l.corrupt(ctx, t, seq, bad)
	switch {
	case err != nil:
		return nil, err
	case e != nil:
		return nil, e
	}
	return void, nil
}
