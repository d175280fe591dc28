package shard

import (
	"slices"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/batch"
)

// advance takes a claim as far as it goes: to its next invocation, to
// whatever it has to wait for, or to its end.
func (m *Machine) advance(c *chain) {
	for !c.out && c.wait <= m.durableID {
		if len(c.units) == 0 {
			c.done = true
			return
		}
		u := c.top()
		if u.unread {
			return
		}
		if len(u.numbers) == 0 { // nothing left of it
			m.passed(c.mask, u.to)
			c.pop()
			continue
		}
		if m.draining || u.gone > 0 {
			return // records to be read again are asked for in fetch
		}
		switch {
		case u.oversized:
			m.buryAll(c, u, dlq.PayloadTooLarge)
			continue
		case m.cfg.Retries >= 0 && u.attempts > m.cfg.Retries: // settings may have changed since it failed
			m.buryAll(c, u, dlq.RetryAttemptsExhausted)
			continue
		case u.delayed && m.now < u.notBefore:
			m.wakeAt(u.notBefore)
			return
		case m.out >= m.cfg.Parallel || m.blocked() || m.win != nil && m.win.closing:
			return
		case m.buryOld(c, u), m.loseOld(c, u):
			continue
		case !m.enter(c, u):
			return
		}
		u.delayed = false
		c.out, c.cfg, c.windowed = true, m.cfg, m.win != nil
		m.out++
		m.emit(Invoke{Unit: u.id, Numbers: u.numbers, Attempt: u.attempts + 1, Invocation: u.invocations + 1, Window: m.win.written()})
		return
	}
}

// settle judges an invocation.
func (m *Machine) settle(ev Settled) {
	var c *chain
	for _, open := range m.chains {
		if open.out && open.top().id == ev.Unit {
			c = open
		}
	}
	if c == nil {
		if w := m.win; w != nil && w.out && w.unit == ev.Unit {
			m.settleFinal(ev)
		} else {
			m.settleRedrive(ev)
		}
		return
	}
	u, cfg := c.top(), c.cfg
	c.out = false
	m.out--
	u.invocations++
	m.lastOutcome = ev.Outcome.String()

	outcome := ev.Outcome
	if outcome == runtime.Partial && !cfg.PartialReplies {
		outcome = runtime.Done // the reply is not asked about failed items
	}
	switch {
	case outcome == runtime.Done:
		m.output(ev.Outputs)
		m.success(c, len(u.numbers))
		m.remember(c, ev.State)
		c.pop()
	case outcome == runtime.Partial && 0 < ev.FirstFailed && ev.FirstFailed < len(u.numbers):
		// Progress: the rest is a unit of its own with a full quota.
		m.output(ev.Outputs)
		m.success(c, ev.FirstFailed)
		m.remember(c, ev.State)
		rest := m.newUnit(u.numbers, u.to)
		rest.split, rest.first, rest.last = true, m.wall, ev.Failure
		c.units[len(c.units)-1] = rest
		m.urge()
	case runtime.Attempted(outcome):
		m.failed(c, u, cfg, ev)
	default:
		m.refused(&u.tries, ev.Failure)
	}
}

// output puts what an invocation emitted into the next commit.
func (m *Machine) output(outputs []triggers.Output) {
	if len(outputs) == 0 {
		return
	}
	m.outputs = append(m.outputs, outputs...)
	for i := range outputs {
		n := int64(len(outputs[i].Data) + len(outputs[i].PartitionKey))
		m.outputBytes += n
		m.pinned += n
	}
	m.urge()
}

// refused puts off what the function has not seen.
func (m *Machine) refused(t *tries, said triggers.Failure) {
	t.refusals++
	t.refusal = &said
	m.delay(t, batch.Backoff(hostBackoff, hostLimit, t.refusals, m.rand.Uint64()))
	m.touch()
}

// attempted counts a failed attempt.
func (m *Machine) attempted(t *tries, f triggers.Failure) {
	t.attempts++
	t.refusals, t.refusal = 0, nil
	t.last = f
	if t.first.IsZero() {
		t.first = m.wall
	}
	m.urge()
}

// failed counts an attempt and decides: halve, try again later, or bury.
func (m *Machine) failed(c *chain, u *unit, cfg *settings, ev Settled) {
	m.attempted(&u.tries, ev.Failure)
	switch {
	case cfg.Bisect && len(u.numbers) > 1:
		n := batch.Halve(len(u.numbers))
		right := m.newUnit(u.numbers[n:], u.to)
		left := m.newUnit(u.numbers[:n:n], u.numbers[n])
		for _, h := range [...]*unit{left, right} {
			h.split, h.first, h.last = true, u.first, u.last
		}
		c.units = append(c.units[:len(c.units)-1], right, left)
	case cfg.Retries >= 0 && u.attempts > cfg.Retries:
		m.buryAll(c, u, dlq.RetryAttemptsExhausted)
	default:
		m.delay(&u.tries, batch.RetryBackoff(cfg.Backoff, u.attempts, m.rand.Uint64()))
		m.await(c) // the count is durable before the next attempt: a kill costs one at most
	}
}

func (m *Machine) delay(t *tries, d time.Duration) {
	t.delayed, t.notBefore = true, m.now+d
	t.until = m.wall.Add(d)
}

// buryAll gives up a unit.
func (m *Machine) buryAll(c *chain, u *unit, reason dlq.Reason) {
	m.discard(u, slices.Clone(u.numbers), reason)
	for i, k := range u.numbers {
		m.bury(u, i, k, reason)
	}
	m.drop(c, u, len(u.numbers), true)
	m.await(c)
}

// buryOld gives up those records of a unit that are too old, and says whether
// there were any. The rest goes on once they are durable.
func (m *Machine) buryOld(c *chain, u *unit) bool {
	oldest := m.wall.Add(-m.cfg.RecordAge).UnixMilli() // what arrived before is too old
	if m.cfg.RecordAge <= 0 || !m.hasBefore(u, oldest) {
		return false
	}
	var numbers []uint64
	m.pick(c, u, true, func(i int, k uint64, e *entry) bool {
		if e.arrival >= oldest {
			return false
		}
		m.bury(u, i, k, dlq.RecordAgeExceeded)
		numbers = append(numbers, k)
		return true
	})
	if len(numbers) > 0 {
		m.discard(u, numbers, dlq.RecordAgeExceeded)
		m.await(c)
	}
	return len(numbers) > 0
}

// hasBefore says whether a unit has a record that arrived before oldest.
func (m *Machine) hasBefore(u *unit, oldest int64) bool {
	for _, k := range u.numbers {
		if m.at(k).arrival < oldest {
			return true
		}
	}
	return false
}

// loseOld passes those records of a unit that are beyond retention, and says
// whether there were any. They are in memory, but whoever reads the stream does
// not see them any more.
func (m *Machine) loseOld(c *chain, u *unit) bool {
	oldest := m.wall.Add(-m.cfg.Retention).UnixMilli() // what arrived before is out
	if m.cfg.Retention <= 0 || !m.hasBefore(u, oldest) {
		return false
	}
	return m.pick(c, u, false, func(_ int, k uint64, e *entry) bool {
		if e.arrival >= oldest {
			return false
		}
		m.lost(k, k+1, 1, LostToRetention)
		m.freed = append(m.freed, k)
		return true
	}) > 0
}

// bury puts a record into the next commit.
func (m *Machine) bury(u *unit, i int, k uint64, reason dlq.Reason) {
	m.buriedCount++
	m.burials = append(m.burials, Burial{
		Number: k, Reason: reason,
		Attempts: u.attempts, Invocations: u.invocations, FirstFailure: u.first, Failure: u.last,
		Position: i, Size: len(u.numbers),
	})
	m.burialPins = append(m.burialPins, m.at(k).pinned)
	m.urge()
}

// discard tells of a batch, or what was too old of one, as a whole.
func (m *Machine) discard(u *unit, numbers []uint64, reason dlq.Reason) {
	m.discards = append(m.discards, Discard{
		Reason: reason, Attempts: u.attempts, Invocations: u.invocations, Failure: u.last, Numbers: numbers, Window: m.around(numbers),
	})
}

// await holds a claim until what was decided so far is durable.
func (m *Machine) await(c *chain) { c.wait = m.commitID + 1 }
