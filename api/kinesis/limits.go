package kinesis

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
)

// What AWS lets an account have in us-east-1 unless it asks for more. Shown by
// DescribeLimits; kept to only if there are [Limits].
const (
	accountShards  = 20_000
	accountStreams = 50 // in on-demand mode
)

// What one shard takes and gives in a second (Kinesis Data Streams, "Quotas and limits").
const (
	writeRecords = 1000
	writeBytes   = 1 << 20 // data and keys
	readBytes    = 2 << 20 // of all GetRecords, and of each registered consumer
	readCalls    = 5       // of GetRecords, and of GetShardIterator
)

// Limits keeps to AWS's quotas. The zero value works; nil has no quotas.
type Limits struct {
	mu     sync.Mutex
	calls  map[string][]time.Time // those of the last day that count, by operation and stream
	rates  map[string]*bucket     // calls of the last second, by operation and what they are counted for
	shards map[string]*shardRates // by stream id and shard
}

// shardRates is what one shard has lately taken and given.
type shardRates struct{ records, bytes, iterators, reads, out bucket }

// bucket is a token bucket that holds what one second brings: it is refilled evenly. The
// zero value is full.
type bucket struct {
	spent float64 // what is missing; more than it holds: that was taken in one piece
	owing bool    // what was taken in one piece is not made up for yet
	at    time.Time
}

// refill gives back what the time since the last call has brought, rate a second.
func (b *bucket) refill(now time.Time, rate float64) {
	if b.spent -= rate * max(0, now.Sub(b.at).Seconds()); b.spent < rate*1e-9 { // what rounding leaves is nothing
		b.spent = 0
	}
	b.at = now
	b.owing = b.owing && b.spent > 0
}

// fits says whether n can be taken. What is more than the bucket holds can if it is full:
// else a record larger than one second's bytes would never be taken.
func (b *bucket) fits(now time.Time, rate, n float64) bool {
	b.refill(now, rate)
	return b.spent == 0 || b.spent+n <= rate
}

// open says whether anything can be taken, of a size that is not known before. What was
// more than the bucket held has to be made up for wholly: after 10 MiB at 2 MiB/s nothing
// is read for 5 s, as AWS says of GetRecords.
func (b *bucket) open(now time.Time, rate float64) bool {
	b.refill(now, rate)
	return !b.owing && b.spent < rate
}

func (b *bucket) take(rate, n float64) {
	b.spent += n
	b.owing = b.owing || b.spent > rate
}

// wait is how long until no more is missing than one second brings.
func (b *bucket) wait(now time.Time, rate float64) time.Duration {
	b.refill(now, rate)
	return time.Duration(max(0, b.spent-rate) / rate * float64(time.Second))
}

// of is what a shard has lately taken and given. Called with mu held.
func (l *Limits) of(now time.Time, id, shard string) *shardRates {
	key := id + "/" + shard
	r := l.shards[key]
	if r == nil {
		if l.shards == nil {
			l.shards = make(map[string]*shardRates)
		}
		if crowded(len(l.shards)) {
			maps.DeleteFunc(l.shards, func(_ string, r *shardRates) bool { return r.idle(now) })
		}
		r = new(shardRates)
		l.shards[key] = r
	}
	return r
}

// crowded says that so many shards or kinds of calls are remembered that it is time to
// forget those that have used nothing lately: each time their number has doubled.
func crowded(n int) bool { return n >= 1<<13 && n&(n-1) == 0 }

func (r *shardRates) idle(now time.Time) bool {
	r.records.refill(now, writeRecords)
	r.bytes.refill(now, writeBytes)
	r.iterators.refill(now, readCalls)
	r.reads.refill(now, readCalls)
	r.out.refill(now, readBytes)
	return r.records.spent+r.bytes.spent+r.iterators.spent+r.reads.spent+r.out.spent == 0
}

// write says of n entries of d which are within their shards' quotas, and counts those:
// refused[i] is the shard of an entry that is not, or "". If one of a shard is refused, all
// behind it in the call are, so that what is stored is in order.
func (l *Limits) write(now time.Time, d *stream.Description, entries []stream.Entry) (refused []string) {
	if l == nil {
		return nil
	}
	open := openShards(*d)
	slices.SortFunc(open, func(a, b stream.Shard) int { return a.From.Compare(b.From) })
	full := make(map[string]bool)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range entries {
		h, err := entries[i].HashKey()
		at, found := slices.BinarySearchFunc(open, h, func(sh stream.Shard, h stream.HashKey) int { return sh.From.Compare(h) })
		if !found {
			at--
		}
		if err != nil || at < 0 {
			continue // the store refuses it
		}
		id := open[at].ID
		r, size := l.of(now, d.ID, id), float64(entries[i].Size())
		if full[id] || !r.records.fits(now, writeRecords, 1) || !r.bytes.fits(now, writeBytes, size) {
			full[id] = true
			if refused == nil {
				refused = make([]string, len(entries))
			}
			refused[i] = id
			continue
		}
		r.records.take(writeRecords, 1)
		r.bytes.take(writeBytes, size)
	}
	return refused
}

// read says whether a shard may be read now, and counts the call.
func (l *Limits) read(now time.Time, id, shard string) bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.of(now, id, shard)
	if !r.reads.fits(now, readCalls, 1) || !r.out.open(now, readBytes) {
		return false
	}
	r.reads.take(readCalls, 1)
	return true
}

// iterate says whether an iterator may be got for a shard now, and counts the call.
func (l *Limits) iterate(now time.Time, id, shard string) bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.of(now, id, shard)
	if !r.iterators.fits(now, readCalls, 1) {
		return false
	}
	r.iterators.take(readCalls, 1)
	return true
}

// gave counts what reading has brought.
func (l *Limits) gave(now time.Time, id, shard string, records []stream.Record) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.of(now, id, shard)
	r.out.refill(now, readBytes)
	r.out.take(readBytes, float64(sizeOf(records)))
}

// sizeOf is data and keys.
func sizeOf(records []stream.Record) (bytes int) {
	for i := range records {
		bytes += len(records[i].Data) + len(records[i].PartitionKey)
	}
	return bytes
}

// pace is how long a subscription that has sent records waits before it sends more; sent is
// its own.
func (l *Limits) pace(now time.Time, sent *bucket, records []stream.Record) time.Duration {
	if l == nil {
		return 0
	}
	sent.refill(now, readBytes)
	sent.take(readBytes, float64(sizeOf(records)))
	return sent.wait(now, readBytes)
}

// callRate is how often an operation may be called in a second.
type callRate struct {
	most      int
	perStream bool // counted for each stream; else for the account in a region
}

// callRates are AWS's for operations other than on records (Kinesis Data Streams, "Quotas
// and limits", API limits).
var callRates = map[string]callRate{
	"AddTagsToStream":               {5, false},
	"CreateStream":                  {5, false},
	"DecreaseStreamRetentionPeriod": {5, true},
	"DeleteResourcePolicy":          {5, false},
	"DeleteStream":                  {5, false},
	"DeregisterStreamConsumer":      {5, true},
	"DescribeLimits":                {1, false},
	"DescribeStream":                {10, false},
	"DescribeStreamConsumer":        {20, true},
	"DescribeStreamSummary":         {20, false},
	"DisableEnhancedMonitoring":     {5, true},
	"EnableEnhancedMonitoring":      {5, true},
	"GetResourcePolicy":             {5, false},
	"IncreaseStreamRetentionPeriod": {5, true},
	"ListShards":                    {1000, true},
	"ListStreamConsumers":           {5, true},
	"ListStreams":                   {5, false},
	"ListTagsForStream":             {5, true},
	"MergeShards":                   {5, true},
	"PutResourcePolicy":             {5, false},
	"RegisterStreamConsumer":        {5, true},
	"RemoveTagsFromStream":          {5, true},
	"SplitShard":                    {5, true},
}

// limited has operations called no more often than [callRates] has it.
func (s *service) limited(ops []*wire.Operation) []*wire.Operation {
	if s.Limits == nil {
		return ops
	}
	for _, op := range ops {
		rate, ok := callRates[op.Name]
		if !ok {
			continue
		}
		do := op.Do
		op.Do = func(ctx context.Context, c *wire.Call) (any, error) {
			of, who := c.Account+"/"+c.Region, "account "+c.Account
			if ref := s.named(c); ref.Name != "" {
				who = "stream " + ref.Name + " under " + who
				if rate.perStream {
					of += "/" + ref.Name
				}
			}
			if !s.Limits.call(time.Now(), op.Name+"/"+of, rate.most) {
				return nil, wire.Errorf(codeLimit, "Rate exceeded for %s.", who)
			}
			return do(ctx, c)
		}
	}
	return ops
}

// named is the stream that a call is about, as far as its text tells.
func (s *service) named(c *wire.Call) stream.Ref {
	ref := stream.Ref{Account: c.Account, Region: c.Region, Name: c.In.String("StreamName")}
	for _, member := range []string{"StreamARN", "ResourceARN", "ConsumerARN"} {
		if of, _, ok := parseARN(c.In.String(member)); ok {
			ref.Name = cmp.Or(ref.Name, of.Name)
		}
	}
	return ref
}

// call counts a call if there have not been most of its kind within a second.
func (l *Limits) call(now time.Time, key string, most int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.rates[key]
	if b == nil {
		if l.rates == nil {
			l.rates = make(map[string]*bucket)
		}
		if crowded(len(l.rates)) {
			maps.DeleteFunc(l.rates, func(_ string, b *bucket) bool { return now.Sub(b.at) > time.Second })
		}
		b = new(bucket)
		l.rates[key] = b
	}
	if !b.fits(now, float64(most), 1) {
		return false
	}
	b.take(float64(most), 1)
	return true
}

// errThroughput means that a record is beyond its shard's quota.
var errThroughput = errors.New("kinesis: beyond the shard's quota")

// rateExceeded is in AWS's words, as recorded: npm kinesalite, pull request 87.
func rateExceeded(ref stream.Ref, shard string) *wire.Error {
	return wire.Errorf(codeThroughput, "Rate exceeded for shard %s in stream %s under account %s.", shard, ref.Name, ref.Account)
}

// day is the rolling window of the quotas on changes of a stream.
const day = 24 * time.Hour

// Daily says whether op may be done to the stream with that id once more, having
// been done fewer than most times within 24 hours, and counts it if so.
func (l *Limits) daily(op, id string, most int) bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key, now := op+"/"+id, time.Now()
	calls := l.calls[key]
	for len(calls) > 0 && now.Sub(calls[0]) >= day {
		calls = calls[1:]
	}
	if len(calls) >= most {
		return false
	}
	if l.calls == nil {
		l.calls = make(map[string][]time.Time)
	}
	l.calls[key] = append(calls, now)
	return true
}
