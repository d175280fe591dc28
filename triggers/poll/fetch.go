package poll

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"
	"unsafe"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/shard"
)

// fetched is what a fetch brought: pieces, a gap, the shard's end, or trouble.
type fetched struct {
	asked   shard.Fetch
	pieces  []piece     // in order, the first holds asked.From
	took    int64       // bytes taken from the node's budget, those of the pieces
	event   shard.Event // Fetched, Gap or End
	starved bool        // the node's budget is spent
	err     error
}

// startFetch reads in a goroutine of its own, which sends one answer.
func (p *poller) startFetch(ctx context.Context, asked shard.Fetch) {
	if p.removed {
		p.fetched <- fetched{asked: asked, event: p.lost(asked)} // there is room: one fetch is out at a time
		return
	}
	batch := p.r.m.emptyBatch(p.mapping, p.id)
	r := reading{
		asked: asked, log: p.shard.Log(), horizon: p.shard.Horizon(time.Now()), budget: p.r.m.budget,
		sizer: runtime.NewRecordSizer(&batch), skipCorrupt: p.mapping.Config.SkipCorrupt, deaggregate: p.mapping.Config.Deaggregate,
	}
	switch {
	case asked.Must:
		r.free = asked.Records
	case len(p.held.pieces) == 0:
		r.free = p.mapping.Config.BatchSize
	}
	if asked.From == p.saved.Next {
		r.hint = p.saved.Frame
	} else if asked.From > 0 {
		if f, _ := p.held.find(asked.From - 1); f != nil {
			r.hint = f.Seq
		}
	}
	p.wg.Go(func() { p.fetched <- r.read(ctx) })
}

// reading is one fetch under way.
type reading struct {
	asked       shard.Fetch
	log         *log.Log
	horizon     int64 // arrivals before it are beyond retention, Unix ms
	budget      *budget
	sizer       runtime.RecordSizer
	skipCorrupt bool
	deaggregate bool
	hint        uint64 // the frame that holds asked.From, or near it
	// free is how many records need not wait for the node's budget: a shard
	// that holds nothing may always have one batch.
	free int
}

// read reads records from asked.From on, as many as asked for and as the node's
// budget has room for. It never waits for records that do not exist yet, nor
// for the budget.
func (r *reading) read(ctx context.Context) fetched {
	out := fetched{asked: r.asked}
	got := shard.Fetched{From: r.asked.From}
	at, bytes := r.asked.From, 0
	known := lately.Get().(*buckets)
	defer lately.Put(known)
	var f *log.Frame
	for len(got.Records) < r.asked.Records && bytes < r.asked.Bytes {
		var err error
		if f == nil {
			f, err = r.log.Find(ctx, at, r.hint)
		} else {
			f, err = r.log.At(ctx, f.Seq+1) // which reads ahead
		}
		ev, err := r.obstacle(ctx, f, err, at)
		if err != nil || ev != nil {
			// What was read goes first; the obstacle is met again.
			if len(got.Records) == 0 {
				out.event, out.err = ev, err
				return out
			}
			break
		}
		if f == nil {
			got.Caught = true
			break
		}
		if len(f.Records) == 0 {
			continue // a place that the store used up without storing anything
		}
		i, held := int(at-f.First), bytes
		got.Records = slices.Grow(got.Records, min(len(f.Records)-i, r.asked.Records-len(got.Records)))
		for ; i < len(f.Records) && len(got.Records) < r.asked.Records && (bytes < r.asked.Bytes || len(got.Records) == 0); i++ {
			rec := &f.Records[i]
			size := len(rec.Data) + len(rec.Key)
			bytes += size
			one := shard.Record{
				Number: f.First + uint64(i), Bucket: known.of(rec.Key), Arrival: rec.Arrival,
				Size: int32(r.sizer.Size(rec.Key, len(rec.Data))), Pinned: int32(size),
			}
			if r.deaggregate {
				unpack(&one, rec.Data, r.sizer)
			}
			got.Records = append(got.Records, one)
		}
		next, took := f.First+uint64(i), int64(bytes-held)
		must := int(at-r.asked.From) < r.free && (r.asked.Must || held < triggers.MaxPayload)
		if out.starved = !r.budget.take(took, must); out.starved {
			got.Records = got.Records[:at-r.asked.From]
			got.Caught = len(got.Records) == 0 // nothing for now
			break
		}
		out.took += took
		out.pieces = append(out.pieces, piece{frame: f, from: at, to: next, took: took, left: int(next - at)})
		at = next
	}
	out.event = got
	return out
}

// obstacle says what ends a fetch at a number: a gap, the shard's end or
// trouble. Without any, f is the frame to read, nil when there is none yet.
func (r *reading) obstacle(ctx context.Context, f *log.Frame, err error, at uint64) (shard.Event, error) {
	gap := func(to uint64, reason string) (shard.Event, error) {
		if to <= at {
			return nil, fmt.Errorf("triggers/poll: record %d is neither stored nor lost; the next one is %d", at, to)
		}
		return shard.Gap{From: at, To: to, Reason: reason}, nil
	}
	var trimmed *log.TrimmedError
	var corrupt *log.CorruptError
	switch {
	case err == nil && f.End:
		return shard.End{Next: at}, nil
	case err == nil && f.First > at:
		// Numbers behind a damaged end are not given again.
		return gap(f.First, "corrupt")
	case err == nil:
		if n := expired(f, int(at-f.First), r.horizon); n > 0 {
			return gap(at+uint64(n), "retention")
		}
		return nil, nil
	case errors.Is(err, log.ErrNotYet):
		return nil, nil
	case errors.As(err, &trimmed):
		return gap(trimmed.FirstNumber, "retention")
	case errors.As(err, &corrupt) && r.skipCorrupt:
		return gap(corrupt.NextNumber, "corrupt")
	}
	return nil, err
}

// expired counts the records of f from i on that are beyond retention.
func expired(f *log.Frame, i int, horizon int64) int {
	n := 0
	for ; i+n < len(f.Records) && f.Records[i+n].Arrival < horizon; n++ {
	}
	return n
}

const (
	// afterTrouble is when reading is tried again that failed: a disk comes back.
	afterTrouble = time.Second
	// whenStarved is when it is tried again for which the budget had no room.
	whenStarved = 20 * time.Millisecond
)

// arrived hands what a fetch brought to the machine. Trouble is shown, and
// reading tried again later; what was read before it goes on meanwhile.
func (p *poller) arrived(ctx context.Context, f fetched) {
	problem := &p.unread
	if f.asked.Again {
		problem = &p.lostSight
	}
	if f.err != nil {
		if ctx.Err() != nil {
			return
		}
		if p.vanished(ctx) {
			p.lose()
			*problem = ""
			p.step(ctx, p.lost(f.asked))
			return
		}
		if text := p.trouble(f.err); text != *problem {
			p.log.Error("shard stands still", "problem", text)
			*problem = text
		}
		p.readAgain(afterTrouble)
		p.step(ctx, shard.Fetched{From: f.asked.From, Caught: true})
		return
	}
	*problem = ""
	if f.starved {
		p.readAgain(whenStarved)
	}
	if got, ok := f.event.(shard.Fetched); ok && len(got.Records) > 0 {
		if o := p.r.m.d.Observer.Polled; o != nil {
			o(p.mapping, len(got.Records))
		}
		p.held.add(f.pieces)
	}
	p.step(ctx, f.event)
}

// readAgain has the machine ask again after a while, or sooner if something is
// to be tried again already.
func (p *poller) readAgain(after time.Duration) {
	if at := time.Now().Add(after); p.again == nil || at.Before(p.againAt) {
		p.again, p.againAt = time.After(after), at
	}
}

// trouble puts an error of reading into words, with what to do.
func (p *poller) trouble(err error) string {
	name := p.mapping.Name
	if errors.Is(err, log.ErrNotFound) {
		return streamGone(p.mapping)
	}
	var corrupt *log.CorruptError
	if errors.As(err, &corrupt) {
		return fmt.Sprintf("%v; the shard stands still. Pass the damaged records as a counted gap with: wasmill trigger update %s --skip-corrupt",
			p.shard.Explain(err), name)
	}
	return err.Error()
}

// holding is the pieces of frames whose records the machine may still ask for.
type holding struct {
	pieces []piece // ascending by from; what was read again may lie in an older one
	long   uint64  // numbers of the longest piece there ever was
}

// piece is what one fetch brought of one frame.
type piece struct {
	frame    *log.Frame
	from, to uint64   // numbers held, exclusive
	took     int64    // bytes of the node's budget
	left     int      // numbers not released
	released []uint64 // bit i: number from+i; made when the first is
}

// add takes pieces that follow each other. What is read again may come to lie
// between others.
func (h *holding) add(pieces []piece) {
	for _, p := range pieces {
		h.long = max(h.long, p.to-p.from)
		h.pieces = slices.Insert(h.pieces, h.after(p.from), p)
	}
}

// after is the index of the first piece that begins behind a number.
func (h *holding) after(number uint64) int {
	return sort.Search(len(h.pieces), func(i int) bool { return h.pieces[i].from > number })
}

// each calls fn for every piece that holds a number until fn returns false.
func (h *holding) each(number uint64, fn func(*piece) bool) {
	for i := h.after(number) - 1; i >= 0 && h.pieces[i].from+h.long > number; i-- {
		if p := &h.pieces[i]; number < p.to && !fn(p) {
			return
		}
	}
}

// find returns the frame that holds a number, and the place in it.
func (h *holding) find(number uint64) (f *log.Frame, at int) {
	h.each(number, func(p *piece) bool {
		f, at = p.frame, int(number-p.frame.First)
		return false
	})
	return f, at
}

// release forgets pieces of which nothing is needed any longer, and gives their
// bytes back.
func (h *holding) release(b *budget, below uint64, numbers []uint64) {
	for _, n := range numbers {
		h.each(n, func(p *piece) bool {
			if p.released == nil {
				p.released = make([]uint64, (p.to-p.from+63)/64)
			}
			word, bit := (n-p.from)/64, uint64(1)<<((n-p.from)%64)
			if p.released[word]&bit == 0 {
				p.released[word] |= bit
				p.left--
			}
			return true
		})
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
