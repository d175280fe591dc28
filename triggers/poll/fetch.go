package poll

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers/shard"
)

// fetched is what a fetch brought: frames, a gap, the shard's end, or trouble.
type fetched struct {
	asked  shard.Fetch
	pieces []piece     // in order, the first holds asked.From
	took   int64       // bytes taken from the node's budget, those of the pieces
	event  shard.Event // Fetched, Gap or End
	err    error
}

// startFetch reads in a goroutine of its own, which sends one answer. A shard
// that holds nothing need not wait for the node's budget: it may always have
// one batch.
func (p *poller) startFetch(ctx context.Context, asked shard.Fetch) {
	always := len(p.held.pieces) == 0 || asked.Again
	hint := uint64(0)
	if asked.From == p.next {
		hint = p.saved.Frame
	} else if f, _ := p.held.find(asked.From - 1); f != nil {
		hint = f.Seq
	}
	skip := p.mapping.Config.SkipCorrupt
	batch := p.r.m.emptyBatch(p.mapping, p.id)
	p.wg.Go(func() { p.fetched <- p.read(ctx, asked, hint, always, skip, &batch) })
}

// read reads records from asked.From on, as many as asked for. It never waits
// for records that do not exist yet.
func (p *poller) read(ctx context.Context, asked shard.Fetch, hint uint64, always, skipCorrupt bool, batch *runtime.Batch) fetched {
	out := fetched{asked: asked}
	for {
		retry := p.r.m.budget.take(int64(asked.Bytes), always)
		if retry == nil {
			break
		}
		select {
		case <-retry:
		case <-ctx.Done():
			out.err = ctx.Err()
			return out
		}
	}
	lg, horizon := p.shard.Log(), p.shard.Horizon(time.Now())
	got := shard.Fetched{From: asked.From}
	at, bytes := asked.From, 0
	defer func() {
		// Only what was read stays taken.
		p.r.m.budget.give(int64(asked.Bytes - bytes))
	}()
	for len(got.Records) < asked.Records && bytes < asked.Bytes {
		f, err := lg.Find(ctx, at, hint)
		if err != nil {
			var trimmed *log.TrimmedError
			var corrupt *log.CorruptError
			switch {
			case len(got.Records) > 0 && !errors.Is(err, log.ErrNotYet):
				// What was read is handed over first; the trouble comes again.
			case errors.Is(err, log.ErrNotYet):
				got.Caught = true
				if b, err := lg.Bounds(ctx); err == nil && b.Ended && at >= b.NextNumber && len(got.Records) == 0 {
					out.event = shard.End{Next: at}
					return out
				}
			case errors.As(err, &trimmed):
				out.event = shard.Gap{From: at, To: trimmed.FirstNumber, Reason: "retention"}
				return out
			case errors.As(err, &corrupt) && corrupt.NextNumber > at && skipCorrupt:
				out.event = shard.Gap{From: at, To: corrupt.NextNumber, Reason: "corrupt"}
				return out
			default:
				out.err = err
				return out
			}
			break
		}
		if f.End {
			if len(got.Records) == 0 {
				out.event = shard.End{Next: at}
				return out
			}
			break
		}
		i, held := int(at-f.First), bytes
		if expired := p.expired(f, i, horizon); expired > 0 {
			if len(got.Records) == 0 {
				out.event = shard.Gap{From: at, To: at + uint64(expired), Reason: "retention"}
				return out
			}
			break
		}
		for ; i < len(f.Records) && len(got.Records) < asked.Records && (bytes < asked.Bytes || len(got.Records) == 0); i++ {
			r := &f.Records[i]
			size := len(r.Data) + len(r.Key)
			bytes += size
			got.Records = append(got.Records, shard.Record{
				Number: f.First + uint64(i), Bucket: stream.Bucket(r.Key), Arrival: r.Arrival,
				Size: int32(runtime.RecordJSONSize(batch, r.Key, len(r.Data))), Pinned: int32(size),
			})
		}
		next := f.First + uint64(i)
		out.pieces = append(out.pieces, piece{frame: f, from: at, to: next, took: int64(bytes - held), left: int(next - at)})
		at, hint = next, f.Seq+1
	}
	out.took = int64(bytes)
	out.event = got
	return out
}

// expired counts the records of f from i on that are beyond retention.
func (p *poller) expired(f *log.Frame, i int, horizon int64) int {
	n := 0
	for ; i+n < len(f.Records) && f.Records[i+n].Arrival < horizon; n++ {
	}
	return n
}

// arrived hands what a fetch brought to the machine, or stops the shard with a
// problem until its cause is gone.
func (p *poller) arrived(ctx context.Context, f fetched) {
	if f.err != nil {
		p.r.m.budget.give(f.took)
		if ctx.Err() != nil {
			return
		}
		text := f.err.Error()
		var corrupt *log.CorruptError
		if errors.As(f.err, &corrupt) {
			text = fmt.Sprintf("%v; the shard stands still. Pass the damaged records as a counted gap with: wasmill trigger update %s --skip-corrupt",
				p.shard.Explain(f.err), p.mapping.Name)
		}
		if text != p.problem {
			p.log.Error("shard stands still", "problem", text)
		}
		p.problem = text
		// Whatever it is may pass: a disk comes back, a setting changes. What
		// was read before the trouble goes on meanwhile.
		p.again = time.After(time.Second)
		p.step(ctx, shard.Fetched{From: f.asked.From, Caught: true})
		return
	}
	p.problem, p.again = "", nil
	if g, ok := f.event.(shard.Gap); ok {
		p.log.Warn("records lost", "from", g.From, "to", g.To, "count", g.To-g.From, "reason", g.Reason)
		p.r.m.recordGap(p.mapping, p.source, g)
	}
	if got, ok := f.event.(shard.Fetched); ok && len(got.Records) > 0 {
		if o := p.r.m.d.Observer.Polled; o != nil {
			o(p.mapping, len(got.Records))
		}
		p.held.add(f.pieces)
	} else {
		p.r.m.budget.give(f.took)
	}
	p.step(ctx, f.event)
}

// holding is the pieces of frames whose records the machine may still ask for.
type holding struct {
	pieces []piece // ascending by from
}

// piece is what one fetch brought of one frame.
type piece struct {
	frame    *log.Frame
	from, to uint64   // numbers held, exclusive
	took     int64    // bytes of the node's budget
	left     int      // numbers not released
	released []uint64 // bit i: number from+i; made when the first is
}

// add takes pieces that follow each other.
func (h *holding) add(pieces []piece) {
	at := len(h.pieces)
	for at > 0 && h.pieces[at-1].from > pieces[0].from {
		at--
	}
	h.pieces = slices.Insert(h.pieces, at, pieces...)
}

// find returns the frame that holds a number, and the place in it.
func (h *holding) find(number uint64) (*log.Frame, int) {
	for i := range h.pieces {
		if p := &h.pieces[i]; p.from <= number && number < p.to {
			return p.frame, int(number - p.frame.First)
		}
	}
	return nil, 0
}

// release forgets pieces of which nothing is needed any longer, and gives their
// bytes back.
func (h *holding) release(b *budget, below uint64, numbers []uint64) {
	for i := range h.pieces {
		p := &h.pieces[i]
		for _, n := range numbers {
			if n < p.from || n >= p.to {
				continue
			}
			if p.released == nil {
				p.released = make([]uint64, (p.to-p.from+63)/64)
			}
			word, bit := (n-p.from)/64, uint64(1)<<((n-p.from)%64)
			if p.released[word]&bit == 0 {
				p.released[word] |= bit
				p.left--
			}
		}
	}
	h.pieces = slices.DeleteFunc(h.pieces, func(p piece) bool {
		if p.to <= below || p.left == 0 {
			b.give(p.took)
			return true
		}
		return false
	})
}

// alias makes a string of bytes that will not change.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
