package natsstream

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/stream"
)

// Limits of a page, as on AWS (GetRecords).
const (
	MaxPageRecords = 10_000
	MaxPageBytes   = 10 << 20 // data and keys; one record is returned whatever its size
)

// Page is records read from a shard.
type Page struct {
	Records []stream.Record
	// Next is where to read on. It stays good for ever.
	Next stream.Position
	// Behind is how far the page is from the shard's tip: the age of the last
	// record returned, 0 if nothing lies behind it (MillisBehindLatest).
	Behind time.Duration
	// Ended says that the shard is closed and Next lies behind its last record.
	Ended bool
	// Gap is how many records between the position asked for and the first one
	// returned were lost to retention, as far as can be told.
	Gap uint64
}

// Read returns records of a shard from pos on, at most limit (0: 10,000, which
// is also the most) and 10 MiB. It does not wait: at the tip the page is empty.
//
// Damaged data is a [*stream.CorruptError] once the records before it have
// been returned; the page that comes with it has Next behind the damage, if
// the log can tell where that is.
//
// Data aliases memory shared with other readers: it must not be changed.
func (s *Store) Read(ctx context.Context, ref stream.Ref, shard string, pos stream.Position, limit int) (Page, error) {
	inc, err := s.active(ref)
	if err != nil {
		return Page{}, err
	}
	sh, err := inc.use(ctx, shard)
	if err != nil {
		return Page{}, err
	}
	number, frame, err := sh.Resolve(ctx, pos)
	if err != nil {
		return Page{}, err
	}
	if limit <= 0 || limit > MaxPageRecords {
		limit = MaxPageRecords
	}
	p := pager{sh: sh, number: number, frame: frame, limit: limit, horizon: sh.Horizon(time.Now())}
	if pos.Number > 0 && number > pos.Number {
		p.page.Gap = number - pos.Number
	}
	return p.read(ctx)
}

// pager reads one page.
type pager struct {
	sh             *Shard
	number, frame  uint64 // to be read next
	limit, bytes   int
	horizon        int64
	page           Page
	last           stream.SequenceNumber // of the last record returned
	tip, exhausted bool
}

func (p *pager) read(ctx context.Context) (Page, error) {
	l := p.sh.Log()
	for !p.exhausted && !p.tip {
		f, err := l.At(ctx, p.frame)
		if t, ok := errors.AsType[*log.TrimmedError](err); ok {
			// Trimmed while we read. The first frame lies behind p.frame, so we
			// never go backwards here.
			p.skip(t.FirstNumber)
			p.frame = t.FirstFrame
			continue
		}
		switch {
		case errors.Is(err, log.ErrNotYet):
			p.tip = true
		case err != nil && len(p.page.Records) > 0:
			p.exhausted = true // the next page will tell, and begins there
		case err != nil:
			return p.sh.passDamage(p.sh.Explain(err))
		case f.End:
			p.tip, p.page.Ended = true, true
		default:
			p.add(f)
		}
	}
	return p.finish(ctx)
}

// skip counts the records up to number, exclusive, as lost.
func (p *pager) skip(number uint64) {
	if number > p.number {
		p.page.Gap += number - p.number
		p.number = number
	}
}

// add takes the records of f from p.number on, until the page is full.
func (p *pager) add(f *log.Frame) {
	p.skip(f.First) // numbers behind damage may be missing
	for i := int(p.number - f.First); i < len(f.Records); i++ {
		r := &f.Records[i]
		if r.Arrival < p.horizon {
			p.skip(p.number + 1)
			continue
		}
		size := len(r.Data) + len(r.Key)
		if len(p.page.Records) == p.limit || len(p.page.Records) > 0 && p.bytes+size > MaxPageBytes {
			p.exhausted = true
			return
		}
		p.bytes += size
		p.last = p.sh.Sequence(f, i)
		p.page.Records = append(p.page.Records, stream.Record{
			Shard: p.sh.info.ID, Sequence: p.last, Number: p.number,
			PartitionKey: r.Key, ExplicitHashKey: r.HashKey, Arrival: time.UnixMilli(r.Arrival).UTC(), Data: r.Data, TraceParent: r.Trace, OutputID: r.ID,
		})
		p.number++
	}
	p.frame = f.Seq + 1
}

// finish works out where to read on and how far behind the page is.
func (p *pager) finish(ctx context.Context) (Page, error) {
	n := len(p.page.Records)
	if n == 0 {
		// Only at the tip: the frame to come, or the end.
		p.page.Next = stream.Position{Kind: stream.At, Sequence: p.sh.cursor(p.frame), Number: p.number}
		return p.page, nil
	}
	p.page.Next = stream.Position{Kind: stream.After, Sequence: p.last, Number: p.number}
	if !p.tip {
		b, err := p.sh.Log().Bounds(ctx)
		if err != nil {
			return Page{}, p.sh.Explain(err)
		}
		if p.number < b.NextNumber {
			p.page.Behind = max(time.Since(p.page.Records[n-1].Arrival), 0)
		}
	}
	return p.page, nil
}

// passDamage is a page with nothing but the position behind damaged data.
func (sh *Shard) passDamage(err error) (Page, error) {
	c, ok := errors.AsType[*log.CorruptError](err)
	if !ok || c.NextFrame == 0 {
		return Page{}, err
	}
	return Page{Next: stream.Position{Kind: stream.At, Sequence: sh.cursor(c.NextFrame), Number: c.NextNumber}}, err
}

// Wait returns a channel that receives when a shard has got records since, or
// its stream is deleted. Wake-ups that nobody took are merged into one. The
// function returned ends it; nobody closes the channel. Ask first, then
// [Store.Read], then receive, and no record is missed.
func (s *Store) Wait(ctx context.Context, ref stream.Ref, shard string) (<-chan struct{}, func(), error) {
	inc, err := s.active(ref)
	if err != nil {
		return nil, nil, err
	}
	sh, err := inc.use(ctx, shard)
	if err != nil {
		return nil, nil, err
	}
	ch := make(chan struct{}, 1) // sent to by the appender and by Delete
	return ch, sh.Log().Watch(ch), nil
}

// ShardStats is what a shard holds.
type ShardStats struct {
	Shard   stream.Shard
	Records uint64 // that can be read
	Bytes   uint64 // data and keys of those
	First   uint64 // running number of the oldest
	Next    uint64 // running number the next record will get
	// Oldest and Newest are the arrivals of the oldest and newest record that
	// can be read; zero if there is none.
	Oldest, Newest time.Time
}

// Stats tells what each shard of a stream holds, by index. Where a shard is
// damaged, records that have expired but are still on disk may count too.
func (s *Store) Stats(ctx context.Context, ref stream.Ref) ([]ShardStats, error) {
	inc, err := s.active(ref)
	if err != nil {
		return nil, err
	}
	return inc.stats(ctx)
}

func (inc *incarnation) stats(ctx context.Context) ([]ShardStats, error) {
	shards := inc.table.Load().shards
	all := make([]ShardStats, len(shards))
	err := each(ctx, hands, len(shards), func(i int) (err error) {
		all[i], err = shards[i].stats(ctx)
		if shards[i].removed.Load() && live(inc.desc.Load().State) {
			all[i].Shard.ID = "" // expired while we looked
			return nil
		}
		return shards[i].Explain(err)
	})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(st ShardStats) bool { return st.Shard.ID == "" }), nil
}

func (sh *Shard) stats(ctx context.Context) (ShardStats, error) {
	l, err := sh.open(ctx)
	if err != nil {
		return ShardStats{}, err
	}
	b, err := l.Bounds(ctx)
	if err != nil {
		return ShardStats{}, err
	}
	st := ShardStats{Shard: sh.Info(), Records: b.Records(), Bytes: b.Bytes, First: b.FirstNumber, Next: b.NextNumber}
	horizon := sh.Horizon(time.Now())
	switch {
	case b.LastFrame == 0:
		return st, nil
	case b.LastArrival < horizon:
		st.Records, st.Bytes, st.First = 0, 0, b.NextNumber
		return st, nil
	}
	st.Oldest, st.Newest = time.UnixMilli(b.FirstArrival).UTC(), time.UnixMilli(b.LastArrival).UTC()
	if b.FirstArrival >= horizon {
		return st, nil
	}
	// The oldest frames are expired, or part of the first one is.
	f, i, err := l.Since(ctx, horizon)
	end, endErr := l.At(ctx, b.LastFrame)
	if err := errors.Join(err, endErr); err != nil {
		if _, ok := errors.AsType[*log.CorruptError](err); ok {
			return st, nil
		}
		return ShardStats{}, err
	}
	st.First = f.First + uint64(i)
	st.Records = b.NextNumber - st.First
	st.Bytes = size(end, len(end.Records)) - size(f, i)
	st.Oldest = time.UnixMilli(f.Records[i].Arrival).UTC()
	return st, nil
}

// size is the bytes of all records before record i of f.
func size(f *log.Frame, i int) uint64 {
	n := f.Bytes
	for _, r := range f.Records[:i] {
		n += uint64(r.Size())
	}
	return n
}
