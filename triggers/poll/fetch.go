package poll

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/filter"
	"github.com/wasmill/wasmill/triggers/shard"
)

// fetched is what a fetch brought: pieces, a gap, the shard's end, or trouble.
type fetched struct {
	asked   shard.Fetch
	pieces  []piece     // in order, the first holds asked.From
	took    int64       // bytes taken from the node's budget, those of the pieces
	event   shard.Event // Fetched, Gap or End
	starved bool        // the node's budget is spent
	dropped int         // records that no filter lets through
	scanned int         // bytes of these
	last    uint64      // the frame read last; 0: none
	filters *filter.Set // that it was judged by
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
		sizer: runtime.NewRecordSizer(&batch), skipCorrupt: p.mapping.Config.SkipCorrupt, sieve: p.sieve(),
	}
	switch {
	case asked.Must:
		r.free = asked.Records
	case len(p.held.pieces) == 0:
		r.free = p.mapping.Config.BatchSize
	}
	if asked.From == p.near.next {
		r.hint = p.near.frame
	} else if asked.From == p.saved.Next {
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
	sieve       sieve
	hint        uint64 // the frame that holds asked.From, or near it
	// free is how many records need not wait for the node's budget: a shard
	// that holds nothing may always have one batch.
	free int
}

// maxScan is how many bytes of records that no filter lets through one fetch passes: what it has
// found by then must not wait for the end of a backlog. AWS polls up to 10 MB.
const maxScan = 8 << 20

// read reads records from asked.From on, as many as asked for and as the node's
// budget has room for. It never waits for records that do not exist yet, nor
// for the budget.
func (r *reading) read(ctx context.Context) fetched {
	out := fetched{asked: r.asked, filters: r.sieve.filters}
	got := shard.Fetched{From: r.asked.From}
	at, bytes := r.asked.From, 0
	known := lately.Get().(*buckets)
	defer lately.Put(known)
	var f *log.Frame
	for len(got.Records) < r.asked.Records && bytes < r.asked.Bytes {
		if got.Enough = out.scanned >= maxScan; got.Enough {
			break
		}
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
		out.last = f.Seq
		if r.sieve.filters != nil {
			next, more := r.sift(&out, &got, f, at, &bytes, known)
			if at = next; !more {
				break
			}
			continue
		}
		i, held := int(at-f.First), bytes
		got.Records = slices.Grow(got.Records, min(len(f.Records)-i, r.asked.Records-len(got.Records)))
		for ; i < len(f.Records) && len(got.Records) < r.asked.Records && (bytes < r.asked.Bytes || len(got.Records) == 0); i++ {
			got.Records = append(got.Records, shard.Record{})
			bytes += r.tell(&got.Records[len(got.Records)-1], f, i, known)
		}
		next, took := f.First+uint64(i), int64(bytes-held)
		must := int(at-r.asked.From) < r.free && (r.asked.Must || held < triggers.MaxPayload)
		if out.starved = !r.budget.take(took, must); out.starved {
			got.Records = got.Records[:at-r.asked.From]
			got.Caught = len(got.Records) == 0 // nothing for now
			got.Withheld = got.Caught
			break
		}
		out.took += took
		out.pieces = append(out.pieces, piece{frame: f, from: at, to: next, took: took, left: int(next - at)})
		at = next
	}
	out.event = got
	return out
}

// tell fills in what the machine is told of record i of a frame, and returns its size.
func (r *reading) tell(one *shard.Record, f *log.Frame, i int, known *buckets) int {
	rec := &f.Records[i]
	size := len(rec.Data) + len(rec.Key)
	one.Number, one.Bucket, one.Arrival = f.First+uint64(i), known.of(rec.Key), rec.Arrival
	one.Size, one.Pinned = int32(r.sizer.Size(rec.Key, len(rec.Data))), int32(size)
	if r.sieve.filters != nil || r.sieve.deaggregate {
		r.sieve.judge(one, f, i, r.sizer)
	}
	return size
}

// sift reads the records of a frame from number at on, where there are filters, and says where to go
// on, and whether to. Of a frame most of which is dropped the rest is copied.
func (r *reading) sift(out *fetched, got *shard.Fetched, f *log.Frame, at uint64, bytes *int, known *buckets) (next uint64, more bool) {
	from, before := int(at-f.First), len(got.Records)
	i, kept, dropped, size := from, 0, 0, 0
	for ; i < len(f.Records) && len(got.Records) < r.asked.Records && (*bytes+size < r.asked.Bytes || len(got.Records) == 0); i++ {
		var one shard.Record
		if bytes := r.tell(&one, f, i, known); !one.Filtered {
			size += bytes
			kept++
		} else {
			dropped += bytes
			one.Pinned = 0
		}
		got.Records = append(got.Records, one)
	}
	next = f.First + uint64(i)
	records := got.Records[before:]
	out.dropped += len(records) - kept
	out.scanned += dropped
	if kept == 0 {
		return next, true
	}
	passed := func(i int) bool { return !records[i-from].Filtered }
	extra := dropped // kept in memory by those that pass
	if copied := recordBytes * len(f.Records); size+copied < dropped {
		f, extra = sparse(f, from, i, passed), copied
	}
	for k := range records {
		if !records[k].Filtered {
			records[k].Pinned += int32(extra)
			break
		}
	}
	took := int64(size + extra)
	must := before < r.free && (r.asked.Must || *bytes < triggers.MaxPayload)
	if out.starved = !r.budget.take(took, must); out.starved {
		got.Records = got.Records[:before]
		out.dropped -= len(records) - kept
		got.Caught = before == 0 // nothing for now
		got.Withheld = got.Caught
		return at, false
	}
	*bytes += size + extra
	out.took += took
	one := piece{frame: f, from: at, to: next, took: took, left: kept}
	if kept < len(records) {
		one.released = make([]uint64, (next-at+63)/64)
		for k := range records {
			if records[k].Filtered {
				one.released[k/64] |= 1 << (k % 64)
			}
		}
	}
	out.pieces = append(out.pieces, one)
	return next, true
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
		p.step(ctx, shard.Fetched{From: f.asked.From, Caught: true, Withheld: true})
		return
	}
	*problem = ""
	if f.filters != p.filters { // they have changed meanwhile: read it once more
		p.r.m.budget.give(f.took)
		p.readAgain(0)
		p.step(ctx, shard.Fetched{From: f.asked.From, Caught: true, Withheld: true})
		return
	}
	if f.starved {
		p.readAgain(whenStarved)
	}
	if got, ok := f.event.(shard.Fetched); ok {
		if n := len(got.Records); !f.asked.Again {
			o := &p.r.m.d.Observer
			if o.Polled != nil && (n > 0 || !f.starved) {
				o.Polled(p.mapping, n)
			}
			p.r.m.passedBy(p.source, f.dropped)
			if o.Filtered != nil && f.dropped > 0 {
				o.Filtered(p.mapping, f.dropped)
			}
			p.tellUndecided()
			if n > 0 {
				p.near.next, p.near.frame = got.Records[n-1].Number+1, f.last
			}
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
