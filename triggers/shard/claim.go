package shard

import (
	"math/bits"
	"slices"

	"github.com/wasmill/wasmill/triggers/batch"
)

// claim gives free slots to waiting records.
func (m *Machine) claim() {
	m.starved = false
	for {
		free := m.cfg.Parallel - len(m.chains)
		m.settleSlots(free)
		if free <= 0 || m.draining || m.blocked() {
			return
		}
		if m.win != nil {
			if m.tumble(); m.win.closing || len(m.chains) > 0 {
				return
			}
		}
		ready := m.ready()
		if ready == 0 {
			m.starved = true
			return
		}
		mask, slot, ok := allBuckets, 0, true
		switch {
		case m.cfg.Parallel > 1:
			mask, slot, ok = m.dueGroup(ready, free)
		case m.redrives.parked == 0:
			ok = m.due(ready, m.waiting, m.waitingBytes(ready), 0)
		default:
			// Keys of redriven letters wait, and nobody else for them: the claim is
			// of what it takes from, as with many slots.
			mask, ok = ready, m.due(ready, m.waitingRecords(ready), m.waitingBytes(ready), 0)
		}
		if !ok && m.cfg.Tumbling > 0 {
			ok = m.dueByWindow(ready)
		}
		if !ok {
			m.starved = true
			return
		}
		m.freeSlots = slices.Delete(m.freeSlots, slot, slot+1)
		c := m.take(mask)
		if m.advance(c); c.closed() {
			m.free(len(m.chains) - 1) // all of it was lost
		}
	}
}

// ready are the idle buckets with waiting records; not those whose first record is of
// other buckets too that are not ready.
func (m *Machine) ready() uint64 {
	set := m.waitingIn &^ (m.held | m.redrives.parked)
	if len(m.wides) == 0 {
		return set
	}
	for before := uint64(0); before != set; {
		before = set
		for rest := set; rest != 0; rest &= rest - 1 {
			b := bits.TrailingZeros64(rest)
			if w := m.wides[m.buckets[b].head]; w != nil && w.mask&^set != 0 {
				set &^= 1 << b
			}
		}
	}
	return set
}

// whole adds to some ready buckets those that their first records are of too.
func (m *Machine) whole(mask uint64) uint64 {
	if len(m.wides) == 0 {
		return mask
	}
	for before := uint64(0); before != mask; {
		before = mask
		for rest := mask; rest != 0; rest &= rest - 1 {
			if w := m.wides[m.buckets[bits.TrailingZeros64(rest)].head]; w != nil {
				mask |= w.mask
			}
		}
	}
	return mask
}

// settleSlots keeps one time for each free slot: new ones are free from now.
func (m *Machine) settleSlots(free int) {
	for len(m.freeSlots) < free {
		m.freeSlots = append(m.freeSlots, m.now)
	}
	if len(m.freeSlots) > max(free, 0) {
		m.freeSlots = m.freeSlots[:max(free, 0)]
	}
}

func (m *Machine) waitingBytes(set uint64) int64 {
	var n int64
	for ; set != 0; set &= set - 1 {
		n += m.buckets[bits.TrailingZeros64(set)].bytes
	}
	return n
}

func (m *Machine) waitingRecords(set uint64) (n int) {
	for ; set != 0; set &= set - 1 {
		n += m.buckets[bits.TrailingZeros64(set)].own
	}
	return n
}

// due says whether the records waiting in a set of buckets go now, to the
// free slot of that index.
func (m *Machine) due(set uint64, records int, bytes int64, slot int) bool {
	l := &m.cfg.limits
	switch {
	case l.Full(records, bytes):
		return true
	case l.Window <= 0:
		// What one poll gave; but while more is stored, the poll goes on.
		return m.caught || m.enough || !m.canRead()
	case m.ended, m.filtered >= maxFiltered:
		return true // no company will come
	}
	first := m.buckets[bits.TrailingZeros64(set)].since
	for ; set != 0; set &= set - 1 {
		first = min(first, m.buckets[bits.TrailingZeros64(set)].since)
	}
	at := l.Deadline(m.freeSlots[slot], first)
	if m.now >= at {
		return true
	}
	m.wakeAt(at)
	return false
}

// dueGroup deals the ready buckets out to the free slots, oldest head first and
// ceil(64/n) to each, and finds the first group that goes now.
func (m *Machine) dueGroup(ready uint64, free int) (mask uint64, slot int, ok bool) {
	per := (Buckets + m.cfg.Parallel - 1) / m.cfg.Parallel
	if m.cfg.limits.Window <= 0 && !m.caught && !m.enough && m.canRead() && !m.anyFull(ready, per) {
		return 0, 0, false // as the loop would find, for much less: while records come in this is the rule
	}
	for ; slot < free && ready != 0; slot++ {
		mask = m.whole(m.oldest(ready, per))
		ready &^= mask
		records, bytes := 0, int64(0)
		for set := mask; set != 0; set &= set - 1 {
			b := &m.buckets[bits.TrailingZeros64(set)]
			records += b.own
			bytes += b.bytes
		}
		if m.due(mask, records, bytes, slot) {
			return mask, slot, true
		}
	}
	return 0, 0, false
}

// anyFull says whether so many buckets of a set might make a full batch.
func (m *Machine) anyFull(set uint64, per int) bool {
	records, bytes := 0, int64(0)
	for ; set != 0; set &= set - 1 {
		b := &m.buckets[bits.TrailingZeros64(set)]
		records, bytes = max(records, b.own), max(bytes, b.bytes)
	}
	return m.cfg.limits.Full(records*per, bytes*int64(per))
}

// oldest finds the n buckets of a set that have the oldest heads.
func (m *Machine) oldest(set uint64, n int) (mask uint64) {
	if bits.OnesCount64(set) <= n {
		return set
	}
	var heads [Buckets]uint64
	var order [Buckets]uint8
	got := 0
	for ; set != 0; set &= set - 1 {
		b := uint8(bits.TrailingZeros64(set))
		head := m.buckets[b].head
		at := got
		if got < n {
			got++
		} else if at--; head > heads[at] {
			continue
		}
		for ; at > 0 && heads[at-1] > head; at-- {
			heads[at], order[at] = heads[at-1], order[at-1]
		}
		heads[at], order[at] = head, b
	}
	for _, b := range order[:got] {
		mask |= 1 << b
	}
	return mask
}

// take forms a unit of the oldest waiting records of idle buckets and claims
// those that have one in it.
func (m *Machine) take(mask uint64) *chain {
	numbers := m.buffer(min(m.cfg.BatchSize, m.waiting))
	gone := 0
	var used uint64
	if mask == allBuckets {
		m.settleBase() // no claim is open: all from there are waiting or resolved
		numbers, gone = m.takeRun(numbers)
		used = allBuckets
	} else {
		numbers, gone, used = m.takeMerged(numbers, mask)
	}
	m.lastID++
	c := m.newChain()
	c.id, c.mask, c.buf = m.lastID, used, numbers[:0]
	c.own = unit{
		id: m.lastID, numbers: numbers, to: numbers[len(numbers)-1] + 1, gone: gone,
		oversized: len(numbers) == 1 && !batch.Fits(int64(m.at(numbers[0]).size), m.cfg.limits.Bytes),
	}
	c.units = append(c.stack[:0], &c.own)
	m.hold(c)
	return c
}

// settleMarks brings the marks of idle buckets up to their first waiting
// record; those without one that say anything at all, to where all are.
func (m *Machine) settleMarks(set uint64) {
	for ; set != 0; set &= set - 1 {
		b := &m.buckets[bits.TrailingZeros64(set)]
		if b.count > 0 {
			b.mark = b.head
		} else if b.mark > m.base {
			b.mark = max(b.mark, m.next)
		}
	}
}

// hold gives a chain its buckets.
func (m *Machine) hold(c *chain) {
	m.held |= c.mask
	m.chains = append(m.chains, c)
}

// takeRun takes from all buckets: a walk through the window.
func (m *Machine) takeRun(numbers []uint64) (_ []uint64, gone int) {
	size, limit, tumbling := m.cfg.limits.Size, m.room(), m.cfg.Tumbling > 0
	var bytes int64
	for k := m.base; k < m.next && len(numbers) < size; k++ {
		e := m.at(k)
		if e.state != waiting {
			continue
		}
		if tumbling && m.parts(numbers, e) {
			break
		}
		if bytes += int64(e.size); len(numbers) > 0 && !batch.Fits(bytes, limit) {
			break
		}
		m.pop(k, e)
		if e.gone {
			gone++
		}
		numbers = append(numbers, k)
	}
	return numbers, gone
}

// takeMerged takes from some buckets: a merge of their queues by number,
// through a heap of their heads. It ends before a record that is of other buckets too: what
// comes behind that must not pass it. The first one never is.
func (m *Machine) takeMerged(numbers []uint64, from uint64) (_ []uint64, gone int, used uint64) {
	type head struct {
		number uint64
		bucket uint8
	}
	var heap [Buckets]head
	n := 0
	for mask := from; mask != 0; mask &= mask - 1 {
		b := uint8(bits.TrailingZeros64(mask))
		h := head{m.buckets[b].head, b}
		at := n
		for ; at > 0 && heap[(at-1)/2].number > h.number; at = (at - 1) / 2 {
			heap[at] = heap[(at-1)/2]
		}
		heap[at] = h
		n++
	}
	size, limit := m.cfg.limits.Size, m.room()
	var bytes int64
	for n > 0 && len(numbers) < size {
		h := heap[0]
		e := m.at(h.number)
		if e.state == waiting { // else it was taken through another of its buckets
			if e.wide && m.wides[h.number].mask&^from != 0 || m.cfg.Tumbling > 0 && m.parts(numbers, e) {
				break
			}
			if bytes += int64(e.size); len(numbers) > 0 && !batch.Fits(bytes, limit) {
				break
			}
			used |= m.pop(h.number, e)
			if e.gone {
				gone++
			}
			numbers = append(numbers, h.number)
		}

		if b := &m.buckets[h.bucket]; b.count > 0 {
			h.number = b.head
		} else if n--; n > 0 {
			h = heap[n]
		} else {
			break
		}
		at := 0
		for {
			kid := 2*at + 1
			if kid >= n {
				break
			}
			if kid+1 < n && heap[kid+1].number < heap[kid].number {
				kid++
			}
			if heap[kid].number >= h.number {
				break
			}
			heap[at] = heap[kid]
			at = kid
		}
		heap[at] = h
	}
	return numbers, gone, used
}
