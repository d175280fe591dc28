package natsstream

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/stream"
)

const (
	// looksApart is how long a stream that is full counts as full before it is
	// measured again.
	looksApart = time.Second
	// calmShare is the share of a quota below which a warning is over: it is less
	// than what brings the next one.
	calmShare = 0.75
)

// quota keeps a stream within its MaxBytes. What counts are the bytes of records
// that can be read, as [Store.Stats] tells them: measured now and then, with what
// was taken since on top. That is never too little: what is on its way counts
// from the moment it is taken, so that concurrent puts do not exceed the limit
// together, and what was settled while the stream was being measured may count
// twice until the next time. What expires counts until it is missed, or for a
// pass of the trimmer.
type quota struct {
	inc    *incarnation
	logger *slog.Logger
	held   func(context.Context) (bytes int64, err error) // measures the stream
	turn   chan struct{}                                  // holds one token meanwhile

	mu       sync.Mutex // never held across a wait
	measured time.Time  // zero: not yet, or the configuration has changed since
	stored   int64      // as measured, and settled since
	flying   int64      // taken and not settled
	settled  int64      // ever, as far as it was stored
	adrift   []drifter
	warned   bool
}

// drifter is an append that nobody waits for any more. Its bytes are on their way
// until its fate is known.
type drifter struct {
	pending *log.Pending
	bytes   int64
}

// take books entries, from the front as many as there is room for, and returns
// their number and bytes, for settle. The error says why the others are not taken:
// a [*stream.QuotaError], or why the stream could not be measured.
func (q *quota) take(ctx context.Context, entries []stream.Entry) (n int, bytes int64, err error) {
	err = q.book(ctx, func(room int64) (int64, bool) {
		for n, bytes = 0, 0; n < len(entries); n++ {
			size := int64(entries[n].Size())
			if size > room-bytes {
				break
			}
			bytes += size
		}
		return bytes, n == len(entries)
	})
	return n, bytes, err
}

// takeAll books bytes, or nothing if there is no room for all of them.
func (q *quota) takeAll(ctx context.Context, bytes int64) error {
	return q.book(ctx, func(room int64) (int64, bool) {
		if bytes > room {
			return 0, false
		}
		return bytes, true
	})
}

// book asks fit what to book with so much room, and whether that is all it wants.
// It asks again once the stream has been measured anew.
func (q *quota) book(ctx context.Context, fit func(room int64) (bytes int64, all bool)) error {
	for {
		limit := q.inc.desc.Load().MaxBytes
		q.mu.Lock()
		if limit == 0 {
			q.land()
			bytes, _ := fit(1 << 62)
			q.flying += bytes // a limit may be set before this is settled
			q.mu.Unlock()
			return nil
		}
		seen := q.measured
		if !seen.IsZero() {
			used := q.stored + q.flying
			bytes, all := fit(limit - used)
			if all || time.Since(seen) < looksApart {
				q.flying += bytes
				q.mu.Unlock()
				q.judge()
				if all {
					return nil
				}
				return &stream.QuotaError{Stream: q.inc.desc.Load().Name, Used: used + bytes, Limit: limit}
			}
		}
		q.mu.Unlock()
		if err := q.measure(ctx, seen); err != nil {
			fit(0)
			return err
		}
	}
}

// settle ends what take has begun: bytes were booked, and gone of them are
// certainly not stored.
func (q *quota) settle(bytes, gone int64) {
	q.mu.Lock()
	q.flying -= bytes
	q.stored += bytes - gone
	q.settled += bytes - gone
	q.mu.Unlock()
}

// drift is settle for an append that the caller has given up.
func (q *quota) drift(p *log.Pending, bytes int64) {
	q.mu.Lock()
	q.adrift = append(q.adrift, drifter{p, bytes})
	q.mu.Unlock()
}

// land settles what is not adrift any more, as stored: who failed may be so in
// part, and is missed when the stream is measured. Called with mu held.
func (q *quota) land() {
	q.adrift = slices.DeleteFunc(q.adrift, func(d drifter) bool {
		if !d.pending.Done() {
			return false
		}
		q.flying -= d.bytes
		q.stored += d.bytes
		q.settled += d.bytes
		return true
	})
}

// stale has the stream measured before more is taken.
func (q *quota) stale() {
	q.mu.Lock()
	q.measured = time.Time{}
	q.mu.Unlock()
}

// measure finds out what the stream holds, unless somebody has since seen.
func (q *quota) measure(ctx context.Context, seen time.Time) error {
	select {
	case q.turn <- struct{}{}:
		defer func() { <-q.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	q.mu.Lock()
	q.land()
	done, before := !q.measured.Equal(seen), q.settled
	q.mu.Unlock()
	if done {
		return nil
	}
	desc := q.inc.desc.Load()
	held, err := q.held(ctx)
	if err != nil {
		return err
	}
	q.mu.Lock()
	q.stored = held + q.settled - before
	if q.inc.desc.Load() == desc {
		q.measured = time.Now()
	}
	q.mu.Unlock()
	q.judge()
	return nil
}

// held is what can be read of the stream, in bytes.
func (inc *incarnation) held(ctx context.Context) (bytes int64, err error) {
	all, err := inc.stats(ctx)
	for _, st := range all {
		bytes += int64(st.Bytes)
	}
	return bytes, err
}

// look is for the trimmer: it notices what has expired though nobody puts.
func (q *quota) look(ctx context.Context) {
	if q.inc.desc.Load().MaxBytes == 0 {
		return
	}
	q.mu.Lock()
	seen := q.measured
	q.mu.Unlock()
	if err := q.measure(ctx, seen); err != nil && ctx.Err() == nil && live(q.inc.desc.Load().State) {
		q.logger.Warn("a stream's quota cannot be measured", "stream", q.inc.desc.Load().Name, "error", err)
	}
}

// judge warns once when a stream fills up, and again only after it was emptier.
func (q *quota) judge() {
	d := q.inc.desc.Load()
	q.mu.Lock()
	used, was := q.stored+q.flying, q.warned
	share := 0.0
	if d.MaxBytes > 0 {
		share = float64(used) / float64(d.MaxBytes)
	}
	switch {
	case share >= stream.QuotaShare:
		q.warned = true
	case share < calmShare:
		q.warned = false
	}
	now := q.warned
	q.mu.Unlock()
	switch {
	case now && !was:
		q.logger.Warn("a stream has nearly reached its quota; raise it, or shorten the retention", "stream", d.Name, "bytes", used, "limit", d.MaxBytes)
	case was && !now:
		q.logger.Info("a stream is well below its quota again", "stream", d.Name, "bytes", used, "limit", d.MaxBytes)
	}
}

// Quota is what a stream holds of what it may.
type Quota struct {
	Stream      string
	Used, Limit int64 // bytes
}

// Quotas are those of the streams that have one, in no order. Used is what counts
// towards the limit, as was found out last; a stream that was not looked at yet is
// left out. It asks nobody.
func (s *Store) Quotas() []Quota {
	var list []Quota
	for _, inc := range s.actives() {
		d, q := inc.desc.Load(), &inc.quota
		if d.MaxBytes == 0 {
			continue
		}
		q.mu.Lock()
		used, known := q.stored+q.flying, !q.measured.IsZero()
		q.mu.Unlock()
		if known {
			list = append(list, Quota{d.Name, used, d.MaxBytes})
		}
	}
	return list
}
