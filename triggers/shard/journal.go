package shard

import (
	"slices"
	"time"

	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/batch"
)

// journal is what is durable, on its way, and still to be written.
type journal struct {
	commitID    uint64 // of the last commit asked for
	durableID   uint64 // of the last one that is durable
	outstanding bool
	sent        Commit        // the outstanding one
	sentCount   uint64        // resolved when it was made
	sentPins    []int32       // of its burials
	sentBytes   int64         // of its outputs
	failing     bool          // it failed, and has not succeeded since
	failures    int           // in a row
	redoAt      time.Duration // when to ask for it again; with redo
	redo        bool

	dirty, urgent bool          // something changed since
	dirtySince    time.Duration // with dirty
	burials       []Burial
	discards      []Discard
	burialPins    []int32
	outputs       []triggers.Output
	outputBytes   int64

	resolved, durable uint64 // records resolved in this life, and of these committed
	committedNext     uint64
	doneCount         uint64
	buriedCount       uint64
	gaps              uint64
	endCommitted      bool
}

// touch notes that the next checkpoint differs from the last.
func (m *Machine) touch() {
	if !m.dirty {
		m.dirty, m.dirtySince = true, m.now
	}
}

// urge notes that it has to be written at once.
func (m *Machine) urge() {
	m.touch()
	m.urgent = true
}

// commit asks for a commit if one is due.
func (m *Machine) commit() {
	if m.outstanding {
		if m.redo && m.now >= m.redoAt {
			m.redo = false
			m.emit(m.sent)
		} else if m.redo {
			m.wakeAt(m.redoAt)
		}
		return
	}
	over := m.over()
	if over && !m.endCommitted {
		m.endCommitted = true
		m.urge()
	}
	if !m.dirty {
		return
	}
	if due := m.dirtySince + commitDelay; !m.urgent && m.out > 0 && m.now < due &&
		m.resolved-m.durable < max(m.cfg.ahead(), uncommitted)/2 {
		m.wakeAt(due)
		return
	}
	m.commitID++
	m.sent = Commit{
		ID: m.commitID, Checkpoint: m.checkpoint(over),
		Buried: m.burials, Discards: m.discards, Outputs: m.outputs, Redriven: m.redrives.redriven, Urgent: m.urgent,
	}
	m.sentCount, m.sentPins, m.sentBytes = m.resolved, m.burialPins, m.outputBytes
	m.burials, m.burialPins, m.discards = nil, nil, nil
	m.outputs, m.outputBytes, m.redrives.redriven = nil, 0, nil
	m.outstanding, m.dirty, m.urgent = true, false, false
	m.emit(m.sent)
}

// over says that everything of a closed shard is resolved.
func (m *Machine) over() bool {
	return m.ended && m.leap == 0 && m.base >= m.endAt && len(m.chains) == 0 && len(m.redrives.letters) == 0 && m.win == nil
}

// committed takes in how a commit went.
func (m *Machine) committed(ev Committed) {
	if !m.outstanding || ev.ID != m.sent.ID || m.redo {
		return
	}
	switch ev.Result {
	case Fenced:
		m.finish(Finished{Fenced: true})
	case Failed:
		// Nobody knows whether it is there: only the very same commit can settle
		// that, so nothing newer goes before it.
		m.failing, m.redo = true, true
		m.failures++
		m.redoAt = m.now + batch.Backoff(redoCommit, hostLimit, m.failures, m.rand.Uint64())
	case OK:
		m.outstanding, m.failing, m.failures = false, false, 0
		m.durableID, m.durable = ev.ID, m.sentCount
		m.committedNext = m.sent.Checkpoint.Next
		m.pinned -= m.sentBytes
		for i, b := range m.sent.Buried {
			if b.Letter != "" {
				continue
			}
			m.pinned -= int64(m.sentPins[i])
			m.freed = append(m.freed, b.Number)
			if b.Number >= m.base {
				m.at(b.Number).state = resolved
			}
		}
		ended := m.sent.Checkpoint.Ended
		m.sent, m.sentPins, m.sentBytes = Commit{}, nil, 0
		if ended {
			m.settleBase()
			m.release()
			m.finish(Finished{Ended: true})
		}
	}
}

// checkpoint is everything a machine needs to go on from here.
func (m *Machine) checkpoint(over bool) triggers.Checkpoint {
	cp := triggers.Checkpoint{
		Next: m.base, Gaps: m.gaps, Done: m.doneCount, Buried: m.buriedCount,
		Above: m.above(m.open()), Ended: over, Redrives: m.redrives.written(), Window: m.win.written(),
	}
	cp.Finished = m.finishedSpans()
	for _, c := range m.chains {
		before := uint64(0) // where the unit before it ends
		for i := len(c.units) - 1; i >= 0; i-- {
			u := c.units[i]
			from := before
			if before = u.to; from == 0 && len(u.numbers) > 0 {
				from = u.numbers[0]
			}
			if !u.kept() || (len(u.numbers) == 0 && !u.unread) {
				continue
			}
			w := triggers.Unit{
				ID: u.id, Claim: c.id, Spans: u.spans,
				Attempts: u.attempts, Invocations: u.invocations, FirstFailure: u.first, LastError: u.last,
			}
			if !u.unread {
				w.Spans = []triggers.Span{{Buckets: c.mask, From: from, To: u.to}}
			}
			if u.delayed {
				w.NotBefore = u.until
			}
			cp.Units = append(cp.Units, w)
		}
	}
	return cp
}

// finishedSpans says what is resolved above base.
func (m *Machine) finishedSpans() []triggers.Span {
	if m.next == m.base && m.restoreTop == 0 {
		return nil
	}
	var spans []triggers.Span
	m.settleMarks(^m.held)
	for b := range m.buckets {
		to := m.buckets[b].mark
		if to <= m.base {
			continue
		}
		at := 0
		for at < len(spans) && spans[at].To < to {
			at++
		}
		if at == len(spans) || spans[at].To != to {
			spans = slices.Insert(spans, at, triggers.Span{From: m.base, To: to})
		}
		spans[at].Buckets |= 1 << b
	}
	m.holes = slices.DeleteFunc(m.holes, func(h triggers.Span) bool { return h.To <= m.base })
	for _, h := range m.holes {
		h.From = max(h.From, m.base)
		spans = append(spans, h)
	}
	return spans
}
