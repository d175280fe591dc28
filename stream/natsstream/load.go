package natsstream

import (
	"cmp"
	"math/big"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/stream"
)

// What one shard takes on AWS.
const (
	ShardRecords = 1000    // a second
	ShardBytes   = 1 << 20 // a second, data and keys
)

// Shares of what a shard takes, see [Load.Above] and [Load.Below].
const (
	busyShare = 0.5
	idleShare = 0.3
)

const (
	// Cells is into how many equal parts the hash range of a shard is divided to see
	// where its records fall.
	Cells = 256
	// loadSeconds is over how many whole seconds a rate is taken.
	loadSeconds = 60
)

// Load is what was lately put to an open shard, stored or refused, and relayed to it.
type Load struct {
	Ref      stream.Ref
	StreamID string
	Mode     stream.Mode
	Shard    stream.Shard
	// Records and Bytes a second, as the mean of the last 60 whole seconds.
	Records, Bytes float64
	// Above is since when [Load.Share] is above 0.5, Below since when it is below 0.3, both
	// as calls of [Store.Loads] have found it one after the other; zero: it is not.
	Above, Below time.Time
	// Cells are records by the part of the hash range that they fell into, 256 of them;
	// nil if there were none. Old ones count half after each minute.
	Cells []uint32
}

// Share is the load as a share of what one shard takes: the larger one of records
// and bytes. 1 is all.
func (l *Load) Share() float64 { return max(l.Records/ShardRecords, l.Bytes/ShardBytes) }

// Cell is the first hash key of a cell, 0 to 255. In a range of fewer than 256 hash
// keys some cells have none: it is that of the next one that has, or the last of all.
func (l *Load) Cell(i int) stream.HashKey {
	width := minus(l.Shard.To, l.Shard.From)
	size := new(big.Int).SetUint64(width.Hi)
	size.Lsh(size, 64).Or(size, new(big.Int).SetUint64(width.Lo)).Add(size, big.NewInt(1))
	at := size.Mul(size, big.NewInt(int64(i)))
	at.Add(at, big.NewInt(Cells-1)).Rsh(at, 8)
	if last := new(big.Int).SetUint64(width.Lo); width.Hi == 0 && at.Cmp(last) > 0 {
		at = last
	}
	lo := new(big.Int).And(at, new(big.Int).SetUint64(^uint64(0))).Uint64()
	return plus(l.Shard.From, stream.HashKey{Hi: at.Rsh(at, 64).Uint64(), Lo: lo})
}

// load counts what is put to a shard, without allocating.
type load struct {
	from  stream.HashKey
	shift int     // has the width of the hash range fill 64 bits
	scale float64 // from there to cells
	cells [Cells]atomic.Uint32

	mu      sync.Mutex // never held across a wait
	seconds [loadSeconds + 4]second
	halved  int64 // Unix seconds up to which cells are decayed
}

// second is what came in one; its place in the ring is its Unix time.
type second struct {
	unix    int64
	records int
	bytes   int
}

func newLoad(sh stream.Shard, now int64) *load {
	width := minus(sh.To, sh.From)
	l := &load{from: sh.From, halved: now}
	l.shift = bits.LeadingZeros64(width.Hi)
	if width.Hi == 0 {
		l.shift += bits.LeadingZeros64(width.Lo)
	}
	l.scale = Cells / (float64(shifted(width, l.shift)) + 1)
	return l
}

// shifted is the upper half of h moved left.
func shifted(h stream.HashKey, by int) uint64 {
	if by >= 64 {
		return h.Lo << (by - 64)
	}
	return h.Hi<<by | h.Lo>>(64-by)
}

// cell is where a hash key of the shard falls.
func (l *load) cell(h stream.HashKey) int {
	return min(int(float64(shifted(minus(h, l.from), l.shift))*l.scale), Cells-1)
}

// loading is the shard's load, made by the first who counts.
func (sh *Shard) loading() *load {
	if l := sh.load.Load(); l != nil {
		return l
	}
	sh.load.CompareAndSwap(nil, newLoad(sh.info, time.Now().Unix()))
	return sh.load.Load()
}

// mark notes where a record falls.
func (sh *Shard) mark(h stream.HashKey) {
	l := sh.loading()
	l.cells[l.cell(h)].Add(1)
}

// count adds records that come now, in Unix seconds.
func (sh *Shard) count(now int64, records, bytes int) {
	l := sh.loading()
	l.mu.Lock()
	s := &l.seconds[now%int64(len(l.seconds))]
	if s.unix != now {
		*s = second{unix: now}
	}
	s.records += records
	s.bytes += bytes
	l.decay(now)
	l.mu.Unlock()
}

// countRelayed is mark and count for records that did not come by Put.
func (sh *Shard) countRelayed(recs []log.Record) {
	bytes := 0
	for i := range recs {
		e := stream.Entry{PartitionKey: recs[i].Key, ExplicitHashKey: recs[i].HashKey}
		if h, err := e.HashKey(); err == nil {
			sh.mark(h)
		}
		bytes += recs[i].Size()
	}
	sh.count(time.Now().Unix(), len(recs), bytes)
}

// decay halves the cells for each minute that has passed. Called with mu held; a
// record that is marked meanwhile may be missed.
func (l *load) decay(now int64) {
	if minutes := (now - l.halved) / 60; minutes > 0 {
		l.halved += 60 * minutes
		for i := range l.cells {
			l.cells[i].Store(l.cells[i].Load() >> min(minutes, 31))
		}
	}
}

// rates are a second's worth of records and bytes, in the mean of the last 60 whole ones.
func (l *load) rates(now int64) (records, bytes float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range &l.seconds {
		if s.unix < now && s.unix >= now-loadSeconds {
			records += float64(s.records)
			bytes += float64(s.bytes)
		}
	}
	l.decay(now)
	return records / loadSeconds, bytes / loadSeconds
}

// Loads is what was put lately to the open shards of all streams, by stream and hash
// range. It asks nobody.
func (s *Store) Loads() []Load {
	now := time.Now()
	var all []Load
	for _, inc := range s.actives() {
		d := inc.desc.Load()
		for _, sh := range inc.table.Load().open {
			l := Load{Ref: d.Ref, StreamID: d.ID, Mode: d.Mode, Shard: sh.Info()}
			if counted := sh.load.Load(); counted != nil {
				l.Records, l.Bytes = counted.rates(now.Unix())
				l.Cells = counted.histogram()
			}
			l.Above = since(&sh.above, now, l.Share() > busyShare)
			l.Below = since(&sh.below, now, l.Share() < idleShare)
			all = append(all, l)
		}
	}
	slices.SortStableFunc(all, func(a, b Load) int {
		return cmp.Or(cmp.Compare(a.Ref.Name, b.Ref.Name), cmp.Compare(a.StreamID, b.StreamID))
	})
	return all
}

// histogram is nil if all cells are empty.
func (l *load) histogram() []uint32 {
	var cells []uint32
	for i := range l.cells {
		if n := l.cells[i].Load(); n > 0 {
			if cells == nil {
				cells = make([]uint32, Cells)
			}
			cells[i] = n
		}
	}
	return cells
}

// since keeps the time since which something is so.
func since(at *atomic.Int64, now time.Time, so bool) time.Time {
	if !so {
		at.Store(0)
		return time.Time{}
	}
	at.CompareAndSwap(0, now.UnixMilli())
	return time.UnixMilli(at.Load()).UTC()
}
