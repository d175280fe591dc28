package shard

import (
	"math/bits"
	"time"

	"github.com/wasmill/wasmill/triggers"
)

// state of a record in the window.
type state uint8

const (
	resolved state = iota // done, buried or lost
	waiting               // in no unit
	claimed               // in an open unit
	letter                // buried, and held until the dead letter is durable
	filtered              // let through by no filter: finished when all before it of its bucket is
)

// entry is a record of the window.
type entry struct {
	arrival int64
	follow  uint32 // distance to the next waiting record of its bucket
	size    int32
	pinned  int32
	bucket  uint8
	state   state
	gone    bool // released, to be read again
	wide    bool // it waits, and is of other buckets too: see window.wides
}

// wide is a waiting record of several buckets. It is in the queue of each, and is taken
// from all of them at once when it is the first in all.
type wide struct {
	mask   uint64
	follow [Buckets]uint32 // as of an entry, by bucket
}

// bucket is a queue of waiting records, linked through their entries.
type bucket struct {
	head, tail uint64 // numbers; with count > 0
	count      int
	own        int   // of those, less wide ones that count elsewhere
	bytes      int64 // of its own
	// mark: all its records below are resolved, and of those above base and
	// from here on none is, but for the holes.
	mark  uint64
	since time.Duration // when its head became claimable; with count > 0
}

// window holds what is known of the records of [base, next): those below base
// are resolved, those from next on not read. It costs nothing per record but
// ring slots, and every question but "which are the next" is answered by bucket.
type window struct {
	base, next uint64
	ring       []entry // of number k at k mod len, a power of two
	buckets    [Buckets]bucket
	waitingIn  uint64           // buckets with waiting records
	held       uint64           // buckets that a chain has; marks know nothing of a letter that has one
	waiting    int              // records
	filtered   int              // records of the window in that state
	gone       int              // records of the window that were released and are not resolved
	pinned     int64            // bytes
	wides      map[uint64]*wide // waiting records of several buckets, by number
	// holes are resolved records above the mark of their bucket, from records
	// whose arrival times are not in order, and gaps. Rare.
	holes []triggers.Span
	// From a checkpoint: numbers below may be finished or belong to restored
	// units; unmet counts finished ones that were not read yet.
	restoreTop, unmet uint64
}

func (w *window) at(number uint64) *entry { return &w.ring[number&uint64(len(w.ring)-1)] }

// grow makes room for so many more records.
func (w *window) grow(more int) {
	need := int(w.next-w.base) + more
	if need <= len(w.ring) {
		return
	}
	size := max(1024, 1<<bits.Len(uint(need-1)))
	old := window{ring: w.ring}
	w.ring = make([]entry, size)
	for k := w.base; k < w.next; k++ {
		*w.at(k) = *old.at(k)
	}
}

// push appends the next record to the queues of its buckets.
func (w *window) push(r *Record, now time.Duration) {
	if mask := r.Also | 1<<r.Bucket; mask != 1<<r.Bucket {
		w.at(r.Number).wide = true
		if w.wides == nil {
			w.wides = make(map[uint64]*wide)
		}
		w.wides[r.Number] = &wide{mask: mask}
		for also := mask &^ (1 << r.Bucket); also != 0; also &= also - 1 {
			w.queue(uint8(bits.TrailingZeros64(also)), r.Number, now)
		}
	}
	w.queue(r.Bucket, r.Number, now)
	b := &w.buckets[r.Bucket]
	b.own++
	b.bytes += int64(r.Size)
	w.waiting++
}

// queue puts a record at the end of a bucket's queue.
func (w *window) queue(bucket uint8, number uint64, now time.Duration) {
	b := &w.buckets[bucket]
	if b.count == 0 {
		b.head, b.since = number, now
		w.waitingIn |= 1 << bucket
	} else if e := w.at(b.tail); e.wide {
		w.wides[b.tail].follow[bucket] = uint32(number - b.tail)
	} else {
		e.follow = uint32(number - b.tail)
	}
	b.tail = number
	b.count++
}

// following is the record behind number k in a bucket's queue.
func (w *window) following(bucket uint8, k uint64) uint64 {
	if e := w.at(k); !e.wide {
		return k + uint64(e.follow)
	}
	return k + uint64(w.wides[k].follow[bucket])
}

// pop takes the head of its buckets' queues, which must be number k, into a unit, and
// returns its buckets.
func (w *window) pop(k uint64, e *entry) (mask uint64) {
	mask = 1 << e.bucket
	if e.wide {
		mask = w.wides[k].mask
	}
	for rest := mask; rest != 0; rest &= rest - 1 {
		bucket := uint8(bits.TrailingZeros64(rest))
		b := &w.buckets[bucket]
		if b.count--; b.count == 0 {
			w.waitingIn &^= 1 << bucket
		} else {
			b.head = w.following(bucket, k)
		}
	}
	if e.wide {
		e.wide = false
		delete(w.wides, k)
	}
	b := &w.buckets[e.bucket]
	b.own--
	b.bytes -= int64(e.size)
	w.waiting--
	e.state = claimed
	return mask
}

// resolve marks claimed records; their memory is free unless they are kept for
// dead letters.
func (w *window) resolve(numbers []uint64, keep bool) {
	for _, k := range numbers {
		e := w.at(k)
		e.state = resolved
		switch {
		case e.gone:
			e.gone = false
			w.gone--
		case keep:
			e.state = letter
		default:
			w.pinned -= int64(e.pinned)
		}
	}
}

// passed says that the buckets of mask have no unresolved record below number.
func (w *window) passed(mask, number uint64) {
	if mask == allBuckets {
		return // base tells as much, since nothing else is open
	}
	for ; mask != 0; mask &= mask - 1 {
		b := &w.buckets[bits.TrailingZeros64(mask)]
		b.mark = max(b.mark, number)
	}
}

// isHole says whether a record above its bucket's mark is resolved.
func (w *window) isHole(bucket uint8, number uint64) bool {
	for _, h := range w.holes {
		if h.Buckets>>bucket&1 == 1 && h.From <= number && number < h.To {
			return true
		}
	}
	return false
}

// above is how many resolved records lie above base, as far as is known. Filtered ones are
// not counted, since it is not known how many of them the marks have passed.
func (w *window) above(open int) uint64 {
	return w.unmet + w.span() - uint64(w.waiting) - uint64(open)
}

// span is how many records there are in the window, less filtered ones: these cost
// neither a place in a batch nor their payload.
func (w *window) span() uint64 { return w.next - w.base - uint64(w.filtered) }

// skip takes a record that is not in a queue out of all that is to come.
func (w *window) skip(e *entry) {
	e.state = filtered
	w.filtered++
}

// rise moves base up.
func (w *window) rise(to uint64) {
	for k := w.base; w.filtered > 0 && k < to; k++ {
		if w.at(k).state == filtered {
			w.filtered--
		}
	}
	w.base = to
}

// requeue makes the queues anew from the records that wait still.
func (w *window) requeue(now time.Duration) {
	var since [Buckets]time.Duration
	for i := range w.buckets {
		b := &w.buckets[i]
		since[i] = now
		if b.count > 0 {
			since[i] = b.since
		}
		b.count, b.own, b.bytes = 0, 0, 0
	}
	wides := w.wides
	w.waitingIn, w.waiting, w.wides = 0, 0, nil
	for k := w.base; k < w.next; k++ {
		e := w.at(k)
		if e.state != waiting {
			continue
		}
		r := Record{Number: k, Bucket: e.bucket, Size: e.size}
		if e.wide {
			r.Also = wides[k].mask
		}
		e.wide, e.follow = false, 0
		w.push(&r, now)
	}
	for i := range w.buckets {
		w.buckets[i].since = since[i]
	}
}
