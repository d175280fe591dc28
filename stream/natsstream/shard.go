package natsstream

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/stream"
)

// Shard is one shard of a stream, for those who read it record by record.
type Shard struct {
	inc  *incarnation
	info stream.Shard                 // as it was made: its state may be another by now
	now  atomic.Pointer[stream.Shard] // as it is
	logs *log.Set
	log  atomic.Pointer[log.Log] // nil until first used
	due  atomic.Int64            // Unix ms before which nothing can have expired; see Store.trimShard
	load atomic.Pointer[load]    // nil until the first record
	// above and below are since when its load is (Unix ms), as Store.Loads has seen it; 0: it is not.
	above, below atomic.Int64
	removed      atomic.Bool // closed and expired, or its stream is gone

	// floor is a frame below which no source has its newest one that is not
	// confirmed. Only the trimmer touches it; see Store.keep.
	floor uint64
	// told is the source that expired frames were last said to be kept for; empty:
	// none are. Only the trimmer touches it.
	told string
}

// Shard opens a shard of an incarnation. [stream.ErrNotFound] if there is none
// of that id, or its stream is deleted.
func (s *Store) Shard(ctx context.Context, streamID, shard string) (*Shard, error) {
	inc, err := s.incarnation(streamID)
	if err != nil {
		return nil, err
	}
	return inc.use(ctx, shard)
}

// use is the shard of that id with its log open.
func (inc *incarnation) use(ctx context.Context, id string) (*Shard, error) {
	sh, err := inc.shard(id)
	if err != nil {
		return nil, err
	}
	if _, err := sh.open(ctx); err != nil {
		return nil, err
	}
	return sh, nil
}

// open is the shard's log, opened when first asked for: after a restart
// thousands of shards are ready at once.
func (sh *Shard) open(ctx context.Context) (*log.Log, error) {
	if l := sh.log.Load(); l != nil {
		return l, nil
	}
	d := sh.inc.desc.Load()
	l, err := sh.logs.Open(ctx, logID(d.ID, sh.info.Index)) // the same one for all who ask
	if err != nil {
		return nil, fmt.Errorf("open %s of stream %s: %w", sh.info.ID, d.Name, err)
	}
	sh.log.Store(l)
	return l, nil
}

// Log is the shard's log.
func (sh *Shard) Log() *log.Log { return sh.log.Load() }

// Info describes the shard as it is now.
func (sh *Shard) Info() stream.Shard { return *sh.now.Load() }

// Sequence is the sequence number of record i of a frame of this shard.
func (sh *Shard) Sequence(f *log.Frame, i int) stream.SequenceNumber {
	return sh.sequence(f.Seq, uint16(i), f.Records[i].Arrival)
}

func (sh *Shard) sequence(frame uint64, index uint16, arrival int64) stream.SequenceNumber {
	return stream.SequenceNumber{Epoch: sh.info.Epoch, Shard: uint8(sh.info.Index & 15), Frame: frame, Index: index, Time: uint32(arrival / 1000)}
}

// cursor stands for the first record of a frame, which need not exist yet. No
// record bears that number; it is only for positions of kind At.
func (sh *Shard) cursor(frame uint64) stream.SequenceNumber { return sh.sequence(frame, 0, 0) }

// Horizon is the arrival, in Unix ms, before which records are beyond
// retention at now, and hidden.
func (sh *Shard) Horizon(now time.Time) int64 {
	return now.Add(-sh.inc.desc.Load().Retention).UnixMilli()
}

// Resolve turns a position into the running number of the record to read next
// and the frame that holds or will hold it. Whether that record is beyond
// retention is for the reader to see, by [Shard.Horizon], except that
// TRIM_HORIZON and AT_TIMESTAMP never start at one.
//
// [stream.ErrInvalid]: the position is none, a time in the future, or the
// sequence number was given out by another shard or another incarnation of the
// stream, or not yet. A number already trimmed stands for the oldest record
// kept, as on AWS. The shard's Starting and Ending stand for its beginning and its end.
func (sh *Shard) Resolve(ctx context.Context, pos stream.Position) (number, frame uint64, err error) {
	if err := pos.Validate(); err != nil {
		return 0, 0, err
	}
	l := sh.Log()
	// Bounds first: whatever is appended from here on lies at or behind b's end.
	b, err := l.Bounds(ctx)
	if err != nil {
		return 0, 0, sh.Explain(err)
	}
	now := time.Now()
	switch pos.Kind {
	case stream.Latest:
		number, frame = end(b)
		return number, frame, nil
	case stream.TrimHorizon:
		return sh.since(ctx, sh.Horizon(now), b)
	case stream.AtTimestamp:
		ms := pos.Time.UnixMilli()
		if pos.Time.After(time.UnixMilli(ms)) {
			ms++ // at or after: arrivals have no more than milliseconds
		}
		if pos.Time.After(now) && ms > b.LastArrival {
			return 0, 0, fmt.Errorf("%w: position at %s, which is in the future", stream.ErrInvalid, pos.Time.Format(time.RFC3339Nano))
		}
		return sh.since(ctx, max(ms, sh.Horizon(now)), b)
	default:
		return sh.locate(ctx, pos, b)
	}
}

// end is the number of the next record and the frame that will hold it, or the
// END frame.
func end(b log.Bounds) (number, frame uint64) {
	if b.Ended {
		return b.NextNumber, b.LastFrame
	}
	return b.NextNumber, b.LastFrame + 1
}

// since is the first record that arrived at ms or later, or the end of the
// shard as b has it. If that record may lie in damaged data it is the
// beginning of the damage: who reads there hears of it.
func (sh *Shard) since(ctx context.Context, ms int64, b log.Bounds) (number, frame uint64, err error) {
	if b.LastFrame > 0 && ms <= b.FirstArrival {
		return b.FirstNumber, b.FirstFrame, nil
	}
	f, i, err := sh.Log().Since(ctx, ms)
	if c, ok := errors.AsType[*log.CorruptError](err); ok {
		return c.First, c.Seq, nil
	}
	switch {
	case errors.Is(err, log.ErrNotYet):
		number, frame = end(b)
		return number, frame, nil
	case err != nil:
		return 0, 0, sh.Explain(err)
	}
	return f.First + uint64(i), f.Seq, nil
}

// locate finds the record that a sequence number names, or the one after it.
func (sh *Shard) locate(ctx context.Context, pos stream.Position, b log.Bounds) (number, frame uint64, err error) {
	seq := pos.Sequence
	foreign := func(why string) error {
		return fmt.Errorf("%w: sequence number %s: %s of %s in stream %s", stream.ErrInvalid, seq, why, sh.info.ID, sh.inc.desc.Load().Name)
	}
	if seq.Epoch != sh.info.Epoch || seq.Shard != uint8(sh.info.Index&15) {
		return 0, 0, foreign("belongs to another shard, or to an earlier stream of that name; not one")
	}
	switch info := sh.Info(); seq {
	case info.Starting():
		return sh.since(ctx, sh.Horizon(time.Now()), b)
	case info.Ending():
		number, frame = end(b)
		return number, frame, nil
	}
	f, err := sh.Log().At(ctx, seq.Frame)
	if t, ok := errors.AsType[*log.TrimmedError](err); ok {
		return t.FirstNumber, t.FirstFrame, nil
	}
	if errors.Is(err, log.ErrNotYet) {
		// The place of the next record is what a reader that has caught up holds.
		if pos.Kind == stream.At && seq == sh.cursor(b.LastFrame+1) {
			return b.NextNumber, b.LastFrame + 1, nil
		}
		return 0, 0, foreign("not given out yet; not one")
	}
	if c, ok := errors.AsType[*log.CorruptError](err); ok {
		return c.First, c.Seq, nil // as in since
	}
	if err != nil {
		return 0, 0, sh.Explain(err)
	}
	if pos.Kind == stream.At && seq == sh.cursor(f.Seq) {
		return f.First, f.Seq, nil
	}
	if int(seq.Index) >= len(f.Records) || sh.Sequence(f, int(seq.Index)) != seq {
		return 0, 0, foreign("never given out; not one")
	}
	number, frame = f.First+uint64(seq.Index), f.Seq
	if pos.Kind == stream.After {
		if number++; number == f.Next() {
			frame++
		}
	}
	return number, frame, nil
}

// Explain puts a fault of the shard's log into the words of package stream:
// damaged data becomes a [*stream.CorruptError] that names stream, shard and
// sequence number, keeping the log's own error beneath.
func (sh *Shard) Explain(err error) error {
	if err == nil {
		return nil
	}
	d := sh.inc.desc.Load()
	switch {
	case !live(d.State):
		return fmt.Errorf("%w: stream %s is being deleted", stream.ErrNotFound, d.Name)
	case sh.removed.Load():
		return fmt.Errorf("%w: %s of stream %s has expired", stream.ErrNotFound, sh.info.ID, d.Name)
	}
	if c, ok := errors.AsType[*log.CorruptError](err); ok {
		return &damage{&stream.CorruptError{Stream: d.Name, Shard: sh.info.ID, Sequence: sh.cursor(c.Seq), Reason: c.Reason}, err}
	}
	return fmt.Errorf("%s of stream %s: %w", sh.info.ID, d.Name, unavailable(err))
}

// damage is a CorruptError that also knows the log's.
type damage struct {
	*stream.CorruptError
	cause error
}

func (e *damage) Unwrap() []error { return []error{e.CorruptError, e.cause} }
