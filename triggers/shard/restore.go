package shard

import (
	"math/bits"
	"slices"
	"time"

	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/batch"
)

// restore takes over a checkpoint.
func (m *Machine) restore(cp triggers.Checkpoint) {
	m.base, m.next, m.granted, m.committedNext = cp.Next, cp.Next, cp.Next, cp.Next
	m.doneCount, m.buriedCount, m.gaps, m.unmet = cp.Done, cp.Buried, cp.Gaps, cp.Above
	m.news = true
	m.bornEnded = cp.Ended
	for _, s := range cp.Finished {
		m.restoreTop = max(m.restoreTop, s.To)
		if s.From > cp.Next {
			m.holes = append(m.holes, s)
			continue
		}
		m.passed(s.Buckets, s.To)
	}
	claims := map[uint64]*chain{}
	for _, w := range cp.Units {
		u := &unit{
			id: w.ID, split: true, unread: true, spans: w.Spans,
			tries: tries{
				attempts: w.Attempts, invocations: w.Invocations, first: w.FirstFailure, last: w.LastError, until: w.NotBefore,
			},
		}
		c := claims[w.Claim]
		if c == nil {
			c = &chain{id: w.Claim}
			claims[w.Claim] = c
			m.chains = append(m.chains, c)
		}
		for _, s := range w.Spans {
			c.mask |= s.Buckets
			u.to = max(u.to, s.To)
		}
		m.restoreTop = max(m.restoreTop, u.to)
		m.lastID = max(m.lastID, w.ID, w.Claim)
		c.units = append(c.units, u)
	}
	for _, c := range m.chains {
		// A unit has the oldest records of its buckets: what filters have dropped before it
		// must not come behind it because they let it through now.
		if spans := c.units[0].spans; len(spans) > 0 {
			m.passed(c.mask, spans[0].From)
		}
		slices.Reverse(c.units) // the oldest runs first
		m.held |= c.mask
	}
	m.restoreRedrives(cp.Redrives)
	m.restoreWindow(cp.Window)
}

// clampBackoffs brings the back-offs of what was restored onto the machine's
// clock. A wall clock that was set back does not make them longer than they can be.
func (m *Machine) clampBackoffs(now time.Time) {
	clamp := func(t *tries) {
		if wait := t.until.Sub(now); !t.until.IsZero() && wait > 0 {
			t.delayed, t.notBefore = true, min(wait, triggers.MaxBackoff)
		}
	}
	for _, c := range m.chains {
		for _, u := range c.units {
			clamp(&u.tries)
		}
	}
	for _, r := range m.redrives.letters {
		clamp(&r.tries)
	}
	if m.win != nil {
		clamp(&m.win.tries)
	}
}

// recall takes in a record that the checkpoint may know: it is resolved or in
// a unit, or neither and the answer is no.
//
// One that filters have dropped in the life before, and let through now, is known by what is
// behind it: where a unit or what is resolved has passed it in one of its buckets, it stays
// dropped, for order's sake.
func (m *Machine) recall(r *Record, e *entry) bool {
	mask := r.Also | 1<<e.bucket
	known := m.isHole(e.bucket, r.Number)
	for set := mask; set != 0 && !known; set &= set - 1 {
		b := uint8(bits.TrailingZeros64(set))
		if known = r.Number < m.buckets[b].mark; known {
			break
		}
		c := m.holder(b)
		if c == nil {
			continue
		}
		for _, u := range c.units {
			if !u.unread || !u.covers(b, r.Number) {
				continue
			}
			if known = mask&^c.mask != 0; !known {
				u.numbers = append(u.numbers, r.Number)
				e.state = claimed
				m.pinned += int64(r.Pinned)
				return true
			}
		}
	}
	if known {
		e.state = resolved
		m.unmet -= min(m.unmet, 1)
		m.freed = append(m.freed, r.Number)
	}
	return known
}

// behind says whether the checkpoint has passed a record in one of its buckets.
func (m *Machine) behind(r *Record, e *entry) bool {
	for set := r.Also | 1<<e.bucket; set != 0; set &= set - 1 {
		if r.Number < m.buckets[bits.TrailingZeros64(set)].mark {
			return true
		}
	}
	return m.isHole(e.bucket, r.Number)
}

// readUnits finds restored units whose records have all been read.
func (m *Machine) readUnits() {
	if m.restoreTop == 0 {
		return
	}
	for _, c := range m.chains {
		for i := 0; i < len(c.units); i++ {
			u := c.units[i]
			if !u.unread || m.next < u.to {
				continue
			}
			u.unread = false
			for at := i; ; i++ {
				rest := m.excess(u)
				u.oversized = len(u.numbers) == 1 && !batch.Fits(int64(m.at(u.numbers[0]).size), m.cfg.limits.Bytes)
				if rest == nil {
					break
				}
				c.units = slices.Insert(c.units, at, rest) // below it, and so behind it
				u = rest
			}
		}
	}
	if m.next >= m.restoreTop {
		m.restoreTop, m.unmet = 0, 0
	}
}

// excess cuts what does not go into one event off a restored unit. It was in one before: now
// there are records between that filters have let through since.
func (m *Machine) excess(u *unit) *unit {
	bytes := int64(0)
	for i, k := range u.numbers {
		if bytes += int64(m.at(k).size); i > 0 && !batch.Fits(bytes, m.cfg.limits.Bytes) || i >= triggers.MaxBatchSize {
			rest := m.newUnit(u.numbers[i:], u.to)
			rest.split, rest.first, rest.last = true, u.first, u.last
			u.numbers, u.to = u.numbers[:i:i], k
			return rest
		}
	}
	return nil
}
