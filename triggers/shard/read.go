package shard

import (
	"iter"
	"math/bits"
	"slices"

	"github.com/wasmill/wasmill/triggers"
)

// reader is what the machine knows of the Fetch that is out and what lies beyond.
type reader struct {
	asking bool
	want   Fetch
	caught bool // the last answer said that nothing more was stored
	news   bool // something was since
	// withheld: more may be stored though caught says otherwise.
	withheld bool
	enough   bool // as the last answer said
	stalled  bool // what was to be read again cannot be, for now
	ended    bool
	endAt    uint64
	leap     uint64 // numbers from next to here are lost; passed once nothing below is open
	leapWhy  string
	granted  uint64 // Below of the last Release
}

// fetched takes in what was read.
func (m *Machine) fetched(ev Fetched) {
	if !m.asking || ev.From != m.want.From {
		return
	}
	m.asking = false
	if m.want.Again {
		m.stalled = len(ev.Records) == 0
		m.reread(ev.Records)
		return
	}
	m.caught, m.withheld = ev.Caught || len(ev.Records) == 0, ev.Withheld
	m.enough = ev.Enough
	m.grow(len(ev.Records))
	tumbling := m.cfg.Tumbling > 0
	for i := range ev.Records {
		r := &ev.Records[i]
		if r.Number != m.next {
			m.caught = false
			break // not as agreed: read again from there
		}
		m.next++
		e := m.at(r.Number)
		*e = entry{arrival: r.Arrival, size: r.Size, pinned: r.Pinned, bucket: r.Bucket % Buckets, state: waiting}
		if tumbling {
			m.turns(r.Number, r.Arrival)
		}
		if r.Filtered {
			if r.Number < m.restoreTop && m.behind(r, e) {
				m.unmet -= min(m.unmet, 1) // it may have been let through, and resolved, in the life before
			}
			m.skip(e)
			continue
		}
		if r.Number < m.restoreTop && m.recall(r, e) {
			continue
		}
		m.pinned += int64(r.Pinned)
		m.push(r, m.now)
	}
	m.readUnits()
}

// reread takes in records that were released before and are a unit's now. What
// else comes along is not wanted.
func (m *Machine) reread(records []Record) {
	for i := range records {
		r := &records[i]
		if r.Number < m.base || r.Number >= m.next {
			m.freed = append(m.freed, r.Number)
			continue
		}
		e := m.at(r.Number)
		switch {
		case e.state == claimed && e.gone:
			e.gone, e.pinned, e.size = false, r.Pinned, r.Size // filters may make another size of an aggregate
			m.gone--
			m.pinned += int64(r.Pinned)
			u := m.holder(e.bucket).top()
			if u.gone--; r.Filtered { // since the filters have changed
				m.pinned -= int64(r.Pinned)
				m.skip(e)
				u.numbers = slices.DeleteFunc(u.numbers, func(k uint64) bool { return k == r.Number })
			}
		case e.state == resolved || e.state == filtered || e.gone:
			m.freed = append(m.freed, r.Number)
		}
	}
}

// refilter takes in which of the records read the filters in force let through no more.
func (m *Machine) refilter(ev Refiltered) {
	changed := false
	for k, size := range ev.Sizes {
		if m.Waiting(k) && m.at(k).size != size {
			m.at(k).size, changed = size, true
		}
	}
	for _, k := range ev.Numbers {
		if m.Waiting(k) {
			e := m.at(k)
			changed = true
			m.skip(e)
			m.pinned -= int64(e.pinned)
			m.freed = append(m.freed, k)
		}
	}
	if changed {
		m.requeue(m.now)
	}
}

// Waiting says whether a record that was read and is held is in no unit yet.
func (m *Machine) Waiting(number uint64) bool {
	if number < m.base || number >= m.next {
		return false
	}
	e := m.at(number)
	return e.state == waiting && !e.gone // those that are gone are judged when they are read again
}

// nothing takes in that what was asked for cannot be had for now.
func (m *Machine) nothing() {
	m.asking = false
	if m.want.Again {
		m.stalled = true
	} else {
		m.caught = true
	}
}

// gap passes lost numbers. Those that a unit needs again are taken out of it;
// others are passed at once or, if there are very many, when everything before
// them is resolved.
func (m *Machine) gap(ev Gap) {
	if !m.asking || ev.From != m.want.From {
		return
	}
	if ev.To <= ev.From {
		m.nothing() // left unanswered, the Fetch would be the last one
		return
	}
	m.asking = false
	if !m.want.Again {
		m.caught = false
		m.lose(ev.To, ev.Reason)
		return
	}
	for _, c := range m.chains {
		if c.out || len(c.units) == 0 || c.top().gone == 0 {
			continue
		}
		u := c.top()
		u.gone -= m.pick(c, u, false, func(_ int, k uint64, e *entry) bool {
			if !e.gone || k < ev.From || k >= ev.To {
				return false
			}
			m.lost(k, k+1, 1, ev.Reason)
			return true
		})
	}
}

// lost counts records of [from, to) as lost, and tells so.
func (m *Machine) lost(from, to, records uint64, reason string) {
	m.gaps += records
	if i := len(m.effects) - 1; i >= 0 {
		if l, ok := m.effects[i].(Lost); ok && l.To == from && l.Reason == reason {
			m.effects[i] = Lost{l.From, to, l.Records + records, reason}
			return
		}
	}
	m.emit(Lost{from, to, records, reason})
}

// lose passes the numbers from next to to.
func (m *Machine) lose(to uint64, reason string) {
	if to-m.next > maxLost && m.base != m.next {
		m.leap, m.leapWhy = to, reason
		// Restored units go on with what was read of them, since the leap waits
		// for that. What is behind the gap of one that reaches beyond is formed anew.
		for _, c := range m.chains {
			for _, u := range c.units {
				u.unread = false
			}
		}
		return
	}
	span, lost := to-m.next, uint64(0)
	first, last := to, to
	for from, to := range m.unsure(m.next, to) {
		lost += to - from
		first, last = min(first, from), to
	}
	// Where records of some buckets were resolved before a restart it is not known
	// which of the numbers they are, only that unmet of those below restoreTop
	// are: what does not fit behind the gap is in it. Rather too many are lost
	// than one not told of, and so unmet is from now on the least it can be.
	exact := true
	if rest := max(m.restoreTop, to) - to; m.unmet > rest && span-min(m.unmet-rest, span) < lost {
		lost, exact = span-min(m.unmet-rest, span), false
	}
	m.unmet -= min(span, m.unmet)
	m.resolved += lost
	if exact {
		for from, to := range m.unsure(m.next, to) {
			m.lost(from, to, to-from, reason)
		}
	} else if lost > 0 {
		m.lost(first, last, lost, reason)
	}
	if m.base == m.next {
		m.base, m.next = to, to
	} else {
		m.grow(int(to - m.next))
		m.holes = append(m.holes, triggers.Span{Buckets: allBuckets, From: m.next, To: to})
		for ; m.next < to; m.next++ {
			*m.at(m.next) = entry{state: resolved}
		}
	}
	m.touch()
	m.readUnits()
}

// unsure are the parts of [from, to) that are not known to be resolved whatever
// their bucket is.
func (m *Machine) unsure(from, to uint64) iter.Seq2[uint64, uint64] {
	return func(yield func(from, to uint64) bool) {
		for at := from; at < to; {
			end, next := to, to
			for _, h := range m.holes {
				if h.Buckets == allBuckets && h.To > at && h.From < end {
					end, next = max(h.From, at), h.To
				}
			}
			if end > at && !yield(at, end) {
				return
			}
			at = next
		}
	}
}

// jump makes the leap of lose once nothing below it is open.
func (m *Machine) jump() {
	if m.leap == 0 || m.base != m.next {
		return
	}
	to := m.leap
	m.leap = 0
	m.lose(to, m.leapWhy)
	m.advanceAll() // units whose records were all in the gap are at their end
}

// end takes in that the shard is closed.
func (m *Machine) end(ev End) {
	if !m.asking {
		return
	}
	if m.want.Again {
		m.nothing() // what was read before is not behind the end: trouble
		return
	}
	m.asking = false
	m.caught, m.ended, m.endAt = true, true, max(ev.Next, m.next)
	if ev.Next > m.next {
		m.lose(ev.Next, LostBeforeEnd)
	}
}

// canRead says whether a Fetch of new records is out or may go now.
func (m *Machine) canRead() bool {
	if m.asking {
		return !m.want.Again
	}
	if m.ended || m.leap != 0 || m.draining || (m.caught && !m.news) {
		return false
	}
	if m.restoring() {
		return true // restored units need their records, whatever they cost
	}
	if m.span() >= m.cfg.ahead() || m.filtered >= maxFiltered {
		return false
	}
	return m.pinned < m.cfg.PinnedBytes
}

// restoring says that there are units of the checkpoint whose records were not read yet.
func (m *Machine) restoring() bool {
	if m.restoreTop == 0 {
		return false
	}
	for _, c := range m.chains {
		for _, u := range c.units {
			if u.unread {
				return true
			}
		}
	}
	return false
}

// fetch asks for records: first for those that a unit needs again.
func (m *Machine) fetch() {
	if m.asking || m.draining || m.fetchAgain() {
		return
	}
	m.unload()
	if !m.canRead() {
		return
	}
	limit := m.cfg.ahead()
	room := limit - min(limit, m.span())
	bytes := max(m.cfg.PinnedBytes-m.pinned, 1)
	restoring := m.restoring()
	if restoring {
		room = max(room, m.restoreTop-m.next)
		bytes = max(bytes, int64(m.cfg.MaxBytes))
	} else if !m.starved && uint64(m.waiting-min(m.gone, m.waiting)) >= (limit+1)/2 {
		return // enough at hand
	}
	m.news = false
	m.ask(Fetch{From: m.next, Records: int(room), Bytes: int(bytes), Must: restoring})
}

func (m *Machine) ask(f Fetch) {
	m.asking, m.want = true, f
	m.emit(f)
}

// fetchAgain asks for the first run of released records that a unit needs.
func (m *Machine) fetchAgain() bool {
	if m.gone == 0 || m.stalled {
		return false
	}
	for _, c := range m.chains {
		if c.out || len(c.units) == 0 || c.top().gone == 0 {
			continue
		}
		var from, to uint64
		for _, k := range c.top().numbers {
			if !m.at(k).gone {
				continue
			}
			if to == 0 {
				from = k
			} else if k-from >= maxRereads {
				break
			}
			to = k + 1
		}
		m.ask(Fetch{From: from, Records: int(to - from), Bytes: m.cfg.MaxBytes, Again: true, Must: true})
		return true
	}
	return false
}

// unload lets go of records that cannot be claimed for now, when they keep
// those that could be from being read.
func (m *Machine) unload() {
	if m.pinned < m.cfg.PinnedBytes || m.waiting == m.gone || (m.caught && !m.news) {
		return
	}
	set := m.waitingIn &^ m.ready()
	switch {
	case m.restoring():
		set = m.waitingIn
	case !m.starved || m.ready() != 0 || m.span() >= m.cfg.ahead() || m.filtered >= maxFiltered:
		return
	}
	for ; set != 0; set &= set - 1 {
		b := &m.buckets[bits.TrailingZeros64(set)]
		k := b.head
		for range b.count {
			e := m.at(k)
			if !e.gone {
				e.gone = true
				m.gone++
				m.pinned -= int64(e.pinned)
				m.freed = append(m.freed, k)
			}
			k = m.following(uint8(bits.TrailingZeros64(set)), k)
		}
	}
}

// release says what need not be held any longer.
func (m *Machine) release() {
	below := m.base
	for _, buried := range [...][]Burial{m.sent.Buried, m.burials} {
		for i := range buried {
			if buried[i].Letter == "" {
				below = min(below, buried[i].Number)
			}
		}
	}
	for _, run := range m.runs {
		if run[len(run)-1] < below {
			continue
		}
		for _, k := range run {
			if k >= below {
				m.freed = append(m.freed, k)
			}
		}
	}
	kept := m.freed[:0]
	for _, k := range m.freed {
		if k >= below {
			kept = append(kept, k)
		}
	}
	if m.freed = kept; below != m.granted || len(kept) > 0 {
		m.granted = below
		m.emit(Release{Below: below, Numbers: kept})
	}
}
