package log

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Log is one append-only sequence of records. Its methods may be called from
// several goroutines.
type Log struct {
	set *Set
	id  string
	key uint64 // of this incarnation, for the cache

	mu       sync.Mutex // never held across a wait
	tail     tail
	loading  chan struct{} // closed when a load of tail has ended; nil: none
	gone     bool          // deleted
	queue    []*Pending    // not yet sent, in the order of the calls
	running  bool          // the appender lives
	trouble  error         // why appends are refused while a frame's fate is looked up
	flights  []*flight     // reads from disk under way
	watchers []chan<- struct{}

	// froms are the newest frames of sources, as far as they were looked at; one
	// without a frame is known to be there, not where. Once loaded, a source that
	// is not in it has no frame here. It takes about 100 bytes a source.
	froms       map[string]From
	fromsLoaded bool
	sending     map[string]*Pending // newest append of each source that is not settled

	// rest goes before the queue: a part of its records is stored or was not
	// taken for want of room. Only the appender touches it.
	rest *Pending
}

// tail is what is known of a log as a whole. Only the appender moves its end,
// only Trim its beginning.
type tail struct {
	loaded  bool
	epoch   uint32
	first   uint64 // oldest frame kept; last + 1 in an empty log
	last    uint64 // newest frame; 0 if nothing was ever written
	next    uint64 // running number of the next record
	bytes   uint64 // of all records before it
	arrival int64  // newest
	ended   bool
	oldest  *head // of frame first, once somebody asked for it
}

// empty says that there is no frame. A first write that failed may have used up a
// sequence nevertheless.
func (t *tail) empty() bool { return t.last < t.first }

// Bounds is where a log begins and ends.
type Bounds struct {
	FirstFrame   uint64 // oldest frame kept; in an empty log the next one
	FirstNumber  uint64 // running number of its first record
	FirstArrival int64  // Unix ms; 0 in an empty log
	LastFrame    uint64 // newest frame; in an empty log the one before FirstFrame, 0 as a rule
	NextNumber   uint64 // running number the next record will get
	LastArrival  int64  // newest arrival, Unix ms; 0 before the first record
	Bytes        uint64 // keys and data of the records kept
	Ended        bool   // LastFrame is an END frame
}

// Records is how many records are kept.
func (b Bounds) Records() uint64 { return b.NextNumber - b.FirstNumber }

// ID is the id the log was opened with.
func (l *Log) ID() string { return l.id }

// Epoch is what the log was created with; 0 if that cannot be found out now. The
// first use of a log asks the server.
func (l *Log) Epoch() uint32 {
	ctx, cancel := l.set.srv.ReadContext(l.set.base)
	defer cancel()
	t, err := l.state(ctx)
	if err != nil {
		return 0
	}
	return t.epoch
}

// Bounds asks the server at the first use of a log and after a Trim, else it
// answers from memory.
func (l *Log) Bounds(ctx context.Context) (Bounds, error) {
	return steady(l, ctx, l.bounds)
}

// steady looks again if the log was trimmed while look was looking.
func steady[T any](l *Log, ctx context.Context, look func(context.Context, tail) (T, error)) (T, error) {
	for {
		t, err := l.state(ctx)
		if err != nil {
			var none T
			return none, err
		}
		found, err := look(ctx, t)
		if err != errTrimmed {
			return found, err
		}
	}
}

func (l *Log) bounds(ctx context.Context, t tail) (Bounds, error) {
	b := Bounds{FirstFrame: t.first, FirstNumber: t.next, LastFrame: t.last, NextNumber: t.next, LastArrival: t.arrival, Ended: t.ended}
	if t.empty() {
		return b, nil
	}
	first, err := l.oldest(ctx, t)
	if err != nil {
		return Bounds{}, err
	}
	b.FirstNumber, b.Bytes, b.FirstArrival = first.first, t.bytes-first.before, first.from
	return b, nil
}

// oldest is the head of the oldest frame. If that is damaged it is made up from
// what lies behind it.
func (l *Log) oldest(ctx context.Context, t tail) (head, error) {
	if t.oldest != nil {
		return *t.oldest, nil
	}
	f, bad, err := l.frame(ctx, t.first, 1)
	if err != nil {
		return head{}, err
	}
	var h head
	switch {
	case f != nil:
		h = f.head
	case bad.head != nil:
		h = *bad.head
	default:
		m, err := l.markAt(ctx, t, t.first)
		if err != nil {
			return head{}, err
		}
		h = head{first: m.first, before: t.bytes, from: m.last, last: m.last}
		if m.to <= t.last {
			after, err := l.headAt(ctx, m.to)
			if err != nil {
				return head{}, err
			}
			if after != nil {
				h.before = after.before
			}
		}
	}
	l.mu.Lock()
	if l.tail.first == t.first {
		l.tail.oldest = &h
	}
	l.mu.Unlock()
	return h, nil
}

// state returns what is known of the log, asking the server if that is nothing.
// Several callers make one request.
func (l *Log) state(ctx context.Context) (tail, error) {
	for {
		l.mu.Lock()
		t, gone, loading := l.tail, l.gone, l.loading
		mine := loading == nil && !t.loaded && !gone
		if mine {
			loading = make(chan struct{})
			l.loading = loading
		}
		l.mu.Unlock()
		switch {
		case gone:
			return tail{}, fmt.Errorf("log %s: %w", l.id, ErrNotFound)
		case t.loaded:
			return t, nil
		case !mine:
			select {
			case <-loading:
				continue // another's context may have ended: then it is our turn
			case <-ctx.Done():
				return tail{}, context.Cause(ctx)
			}
		}
		t, err := l.load(ctx, t)
		l.mu.Lock()
		if err == nil {
			l.tail = t
		}
		l.loading = nil
		l.mu.Unlock()
		close(loading)
		if err != nil {
			return tail{}, fmt.Errorf("open log %s: %w", l.id, l.unavailable(ctx, err))
		}
	}
}

// load reads where the log ends. was is what was known of that before, if anything.
//
// A sequence can be used up by a write that failed: JetStream has counted it, but
// after the restart knows nothing but that it is gone (its deleted list). Such a
// void frame was never acknowledged and holds no numbers. It can only be the
// newest, or behind what this process knew as the end. Any other frame that is
// missing, or damaged in its head, did hold records; the numbers go on as if it
// had been full, so that none is given twice.
func (l *Log) load(ctx context.Context, was tail) (tail, error) {
	ctx, cancel := l.set.srv.ReadContext(ctx)
	defer cancel()
	at, err := l.set.nats.info(ctx, l.id)
	if err != nil {
		return tail{}, err
	}
	t := tail{loaded: true, epoch: at.epoch, first: at.first, last: at.last}
	for seq := at.last; seq >= at.first; seq-- {
		f, bad, err := l.readExactly(ctx, seq)
		if err != nil {
			return tail{}, err
		}
		var h head
		switch {
		case f != nil:
			h = f.head
			l.set.cache.put(l.key, f, fetched)
		case bad.head != nil:
			h = *bad.head
		case bad.missing && slices.Contains(at.deleted, seq) && (seq == at.last || was.last > 0 && seq > was.last):
			l.set.opts.Logger.Warn("a failed write has left an empty frame", "log", l.id, "frame", seq)
			continue
		default:
			l.set.opts.Logger.Error("newest frame of a log is damaged", "log", l.id, "frame", seq, "reason", bad.reason)
			t.next += maxRecords
			continue
		}
		t.next += h.next()
		t.bytes, t.arrival, t.ended = h.before+h.size, h.last, h.kind == kindEnd
		return t, nil
	}
	if t.empty() && at.last > max(1, was.last) {
		t.next = at.last * maxRecords
	}
	return t, nil
}

// unavailable makes errors of the connection an ErrUnavailable, which callers
// know to be worth another try.
func (l *Log) unavailable(ctx context.Context, err error) error {
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// remove makes every further use of the log fail.
func (l *Log) remove() {
	l.mu.Lock()
	l.gone = true
	l.mu.Unlock()
	l.set.cache.drop(l.key, ^uint64(0))
	l.wake() // whoever waits for records shall see it
}

// Watch has a value sent to ch, without blocking, after every settled append,
// and when the log is deleted. A channel with room for one value misses nothing.
func (l *Log) Watch(ch chan<- struct{}) (stop func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers = append(slices.Clone(l.watchers), ch)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		// A fresh slice: wake walks the former one without the lock.
		watchers := slices.Clone(l.watchers)
		if i := slices.Index(watchers, ch); i >= 0 {
			l.watchers = slices.Delete(watchers, i, i+1)
		}
	}
}

func (l *Log) wake() {
	l.mu.Lock()
	watchers := l.watchers
	l.mu.Unlock()
	for _, ch := range watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// Trim removes the oldest frames all of whose records arrived before that time
// (Unix ms). It never passes frame keep (0: none) and never removes the newest
// frame, nor the last one whose head is whole: from it the numbers go on.
func (l *Log) Trim(ctx context.Context, before int64, keep uint64) error {
	seq, err := steady(l, ctx, func(ctx context.Context, t tail) (uint64, error) { return l.trimTo(ctx, t, before, keep) })
	if err != nil || seq == 0 {
		return err
	}
	// The beginning moves first: a reader must not find a frame missing that
	// this very call is removing. If the purge fails the frames stay hidden
	// until the next opening, and are removed with the next purge.
	l.mu.Lock()
	if seq > l.tail.first {
		l.tail.first, l.tail.oldest = seq, nil
	}
	l.mu.Unlock()
	ctx, cancel := l.set.srv.WriteContext(ctx)
	defer cancel()
	err = l.set.nats.purge(ctx, l.id, seq)
	l.set.cache.drop(l.key, seq)
	if err != nil {
		return fmt.Errorf("trim log %s: %w", l.id, l.unavailable(ctx, err))
	}
	l.mu.Lock()
	maps.DeleteFunc(l.froms, func(_ string, f From) bool { return f.Frame > 0 && f.Frame < seq })
	l.mu.Unlock()
	return nil
}

// Due is the frame that Trim would make the first if nothing were kept; 0 if
// there is nothing to remove.
func (l *Log) Due(ctx context.Context, before int64) (uint64, error) {
	return steady(l, ctx, func(ctx context.Context, t tail) (uint64, error) { return l.trimTo(ctx, t, before, 0) })
}

// Size is how many bytes the keys and data of the frames from one up to, and
// without, another have, as far as their heads are whole. [ErrNotYet]: there is no
// such frame.
func (l *Log) Size(ctx context.Context, from, to uint64) (uint64, error) {
	return steady(l, ctx, func(ctx context.Context, t tail) (uint64, error) {
		var begin, end *head
		for seq := max(from, t.first); seq < to && begin == nil; seq++ {
			var err error
			if begin, err = l.headAt(ctx, seq); err != nil {
				return 0, err
			}
		}
		for seq := to; begin != nil && end == nil; seq-- { // begin is found at the latest
			var err error
			if end, err = l.headAt(ctx, seq); err != nil {
				return 0, err
			}
		}
		if begin == nil {
			return 0, nil
		}
		return end.before - begin.before, nil
	})
}

// trimTo is the frame that Trim makes the first; 0 if it is that already.
func (l *Log) trimTo(ctx context.Context, t tail, before int64, keep uint64) (uint64, error) {
	end := t.last
	if keep > 0 {
		end = min(end, keep)
	}
	if end <= t.first {
		return 0, nil
	}
	if oldest, err := l.oldest(ctx, t); err != nil || oldest.last >= before {
		return 0, err
	}
	seq, err := l.firstSince(ctx, t, before)
	if err != nil {
		return 0, err
	}
	for seq = min(seq, end); seq > t.first; seq-- {
		h, err := l.headAt(ctx, seq)
		if err != nil {
			return 0, err
		}
		if h != nil {
			return seq, nil
		}
	}
	return 0, nil
}
