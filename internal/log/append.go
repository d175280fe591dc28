package log

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/wasmill/wasmill/internal/natsd"
)

// Place is where a record was stored.
type Place struct {
	Frame   uint64 // sequence of its frame
	Index   uint16 // of the record in the frame
	Number  uint64 // running number in the log
	Arrival int64  // Unix ms
}

// Pending is an append that has been started.
type Pending struct {
	done chan struct{} // closed by the appender, or by Start if it refuses

	// Until done is closed only the appender touches these.
	records []Record
	end     bool // END instead of records
	from    fence
	bytes   int64
	places  []Place // of the records that are stored
	err     error
}

// finished is a Pending that never was one.
func finished(err error) *Pending {
	p := &Pending{done: make(chan struct{}), err: err}
	close(p.done)
	return p
}

// Wait returns when the records are durable, or certainly not stored, or ctx has
// ended: then they may become durable yet, and must not be changed.
//
// On an error the returned places are those of the leading records which are
// stored nonetheless. There are none unless the records were too many for one
// frame.
func (p *Pending) Wait(ctx context.Context) ([]Place, error) {
	select {
	case <-p.done:
		return p.places, p.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Done says whether the fate of the records is known.
func (p *Pending) Done() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Append stores records in their order and returns their places when they are
// durable. Errors: [ErrClosed], [ErrTooLarge], [ErrNotFound]; [ErrUnavailable] is
// worth another try. See [Pending.Wait] for what is stored on an error.
func (l *Log) Append(ctx context.Context, recs []Record) ([]Place, error) {
	return l.Start(recs).Wait(ctx)
}

// Start begins an append without waiting, so that one caller can append to
// several logs at a time. The appends of a log are stored in the order of the
// calls. The records must not be changed before Wait has returned their fate.
func (l *Log) Start(recs []Record) *Pending {
	if len(recs) == 0 {
		return finished(nil)
	}
	bytes := 0
	for i := range recs {
		n := maxEncoded(&recs[i])
		if n > MaxRecordBytes {
			return finished(fmt.Errorf("record %d of %d bytes: %w", i, recs[i].Size(), ErrTooLarge))
		}
		bytes += n
	}
	if err := l.set.srv.Admit(natsd.Data, bytes+headBytes); err != nil {
		return finished(fmt.Errorf("%w: %w", ErrUnavailable, err))
	}
	p := &Pending{records: recs, bytes: int64(bytes), done: make(chan struct{}), places: make([]Place, 0, len(recs))}
	if err := l.enqueue(p); err != nil {
		return finished(err)
	}
	return p
}

// End closes the log for good by an END frame, behind everything that was
// started before. To end it again does nothing.
func (l *Log) End(ctx context.Context) error {
	p := &Pending{end: true, done: make(chan struct{})}
	if err := l.enqueue(p); err != nil {
		return err
	}
	_, err := p.Wait(ctx)
	return err
}

func (l *Log) enqueue(p *Pending) error {
	if waiting := l.set.waiting.Add(p.bytes); waiting > maxWaiting && waiting > p.bytes {
		l.set.waiting.Add(-p.bytes)
		return fmt.Errorf("%w: %d MiB wait to be written", ErrUnavailable, maxWaiting>>20)
	}
	l.mu.Lock()
	err := l.trouble
	switch {
	case err != nil:
	case l.set.isClosed():
		err = errClosing
	case l.gone:
		err = fmt.Errorf("log %s: %w", l.id, ErrNotFound)
	case l.tail.ended && !p.end:
		err = ErrClosed
	case !l.running:
		if l.running = l.set.start(l.run); !l.running {
			err = errClosing
		}
	}
	if err == nil {
		l.queue = append(l.queue, p)
		if p.from.source != "" {
			l.relaying(p)
		}
	}
	l.mu.Unlock()
	if err != nil {
		l.set.waiting.Add(-p.bytes)
	}
	return err
}

// run is the appender. It lives while there is something to write.
func (l *Log) run() {
	for {
		t, err := l.state(l.set.base)
		if err != nil {
			if l.rest != nil {
				l.answer(l.rest, err)
				l.rest = nil
			}
			l.refuse(err)
		}
		// Callers just answered come back with their next record: letting them
		// go first puts nearly twice as many into a frame.
		runtime.Gosched()
		work, ok := l.take(t)
		if !ok {
			return
		}
		switch {
		case err != nil:
			l.fail(work, err)
		case t.ended && work.end != nil:
			l.answer(work.end, nil)
		case t.ended:
			l.fail(work, ErrClosed)
		default:
			l.write(t, work)
		}
	}
}

// part is records of one caller that go into a frame.
type part struct {
	of   *Pending
	recs []Record
}

// work is what goes into one frame.
type work struct {
	parts []part
	from  fence // of the one part that travels alone, if it has one
	end   *Pending
	count int
	bytes int // encoded, at most
}

// take collects what goes into the next frame: as much as waits, up to the size
// and number a frame aims at. The appender has ended when it returns false.
func (l *Log) take(t tail) (w work, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rest == nil && len(l.queue) == 0 {
		l.running = false
		return w, false
	}
	for {
		p := l.rest
		if l.rest = nil; p == nil {
			if len(l.queue) == 0 || l.queue[0].alone() && len(w.parts) > 0 {
				return w, true
			}
			p = l.pop()
		}
		if p.from.source != "" {
			w.parts, w.from = []part{{p, p.records}}, p.from
			w.count, w.bytes = len(p.records), int(p.bytes)
			return w, true
		}
		if p.end {
			w.end = p
			return w, true
		}
		from := len(p.places) // the frame before is settled
		to := from
		for to < len(p.records) {
			n := maxEncoded(&p.records[to])
			if w.count == maxRecords || w.count > 0 && w.bytes+n > l.set.opts.FrameBytes {
				break
			}
			w.count++
			w.bytes += n
			to++
		}
		if to > from {
			w.parts = append(w.parts, part{p, p.records[from:to]})
		}
		if to < len(p.records) {
			l.rest = p
			return w, true
		}
	}
}

// alone says that p shares no frame with others.
func (p *Pending) alone() bool { return p.end || p.from.source != "" }

// pop needs mu and a queue.
func (l *Log) pop() *Pending {
	p := l.queue[0]
	l.queue[0] = nil
	if l.queue = l.queue[1:]; len(l.queue) == 0 {
		l.queue = nil
	}
	return p
}

// write makes one frame, sends it and answers its callers.
func (l *Log) write(t tail, w work) {
	h := head{epoch: t.epoch, seq: t.last + 1, first: t.next, before: t.bytes}
	rand.Read(h.attempt[:])
	b := newBuilder(h, w.from.mark, w.count, w.bytes, t.arrival)
	now := time.Now().UnixMilli()
	for _, part := range w.parts {
		for i := range part.recs {
			b.add(&part.recs[i], now)
		}
	}
	f, buf := b.finish()
	if err := l.settle(f, buf, w.from); err != nil {
		if errors.Is(err, errConflict) {
			l.mu.Lock()
			l.tail.loaded = false // read again where the log ends
			l.froms, l.fromsLoaded = nil, false
			l.mu.Unlock()
		}
		l.fail(w, err)
		return
	}

	// Readers find the frame before they can learn of it.
	l.set.cache.put(l.key, f, written)
	l.mu.Lock()
	l.tail.last, l.tail.next = f.Seq, f.Next()
	l.tail.bytes, l.tail.arrival, l.tail.ended = f.Bytes+f.head.size, f.head.last, f.End
	if w.from.source != "" {
		l.setFrom(w.from.source, From{f.Mark, f.Seq})
	}
	l.mu.Unlock()
	l.wake()

	if w.end != nil {
		l.answer(w.end, nil)
	}
	index := 0
	for _, part := range w.parts {
		p := part.of
		for range part.recs {
			p.places = append(p.places, Place{f.Seq, uint16(index), f.First + uint64(index), f.Records[index].Arrival})
			index++
		}
		if len(p.places) == len(p.records) {
			l.answer(p, nil)
		}
	}
}

// fail answers all whose records were in w. The rest of their records is not
// tried, so that what is stored of a call is a leading part.
func (l *Log) fail(w work, err error) {
	if w.end != nil {
		l.answer(w.end, err)
	}
	for _, part := range w.parts {
		if l.rest == part.of {
			l.rest = nil
		}
		l.answer(part.of, err)
	}
}

// refuse answers all that wait and were not sent.
func (l *Log) refuse(err error) {
	l.mu.Lock()
	queue := l.queue
	l.queue = nil
	l.mu.Unlock()
	for _, p := range queue {
		l.answer(p, err)
	}
}

func (l *Log) answer(p *Pending, err error) {
	p.err = err
	l.set.waiting.Add(-p.bytes)
	if p.from.source != "" {
		l.relayed(p)
	}
	close(p.done)
}
