package shard

import (
	"math/bits"
	"time"

	"github.com/wasmill/wasmill/triggers"
)

// Status is where a machine stands and what it waits for.
type Status struct {
	Next      uint64 // lowest record that is not resolved
	Committed uint64 // Next of the last checkpoint known to be durable
	Read      uint64 // number after the last record read
	Waiting   int    // records read and in no unit
	Out       int    // units and letters at the function
	Parallel  int    // how many may be
	Pinned    int64  // bytes held in memory
	Caught    bool   // everything stored has been read
	Done      uint64 // records ever resolved by success
	Buried    uint64 // records ever dead-lettered
	Gaps      uint64 // records ever lost
	// WaitsFor says in a few words why nothing new is started; empty when something is.
	WaitsFor    string
	LastOutcome string // of an invocation in this life
	Draining    bool
	Finished    bool
	Units       []UnitStatus
	Window      *WindowStatus   // the tumbling window under way; nil: none
	Redrives    []RedriveStatus // open ones, oldest command first
}

// UnitState is what a unit does.
type UnitState string

const (
	UnitOut     UnitState = "out"      // at the function
	UnitReady   UnitState = "ready"    // waits for a slot
	UnitBackoff UnitState = "back-off" // waits for Until
	UnitSibling UnitState = "sibling"  // waits for the half before it; a letter: for what has its bucket
	UnitReading UnitState = "reading"  // its records are being read again
	UnitCommit  UnitState = "commit"   // waits for its dead letters or attempts to be durable
)

// UnitStatus is one open unit.
type UnitStatus struct {
	ID           uint64
	State        UnitState
	Buckets      int // it holds
	From, To     uint64
	Records      int
	Attempts     int
	Invocations  int
	FirstFailure time.Time
	LastError    triggers.Failure // of an attempt, or of a throttle and the like since
	Until        time.Time        // with UnitBackoff
}

// WindowStatus is a tumbling window under way.
type WindowStatus struct {
	Start, End   time.Time // End exclusive
	StateBytes   int
	State        UnitState // of the final invocation; empty: its time has not come
	Early        bool      // it ends before its time
	Attempts     int       // of the final invocation that failed
	Invocations  int
	FirstFailure time.Time
	LastError    triggers.Failure // of an attempt, or of a throttle and the like since
	Until        time.Time        // with UnitBackoff
}

// RedriveStatus is a dead letter that is being delivered again.
type RedriveStatus struct {
	Letter       string // id
	Bucket       uint8
	State        UnitState // never UnitReading
	Since        time.Time
	Attempts     int
	Invocations  int
	FirstFailure time.Time
	LastError    triggers.Failure // of an attempt, or of a throttle and the like since
	Until        time.Time        // with UnitBackoff
}

// Status says where the machine stands.
func (m *Machine) Status() Status {
	s := Status{
		Next: m.base, Committed: m.committedNext, Read: m.next,
		Waiting: m.waiting, Out: m.out, Parallel: m.cfg.Parallel, Pinned: m.pinned,
		Caught: m.caught && !m.news, Done: m.doneCount, Buried: m.buriedCount, Gaps: m.gaps,
		LastOutcome: m.lastOutcome, Draining: m.draining, Finished: m.finished,
		WaitsFor: m.waitsFor(),
	}
	if w := m.win; w != nil {
		s.Window = &WindowStatus{
			Start: time.UnixMilli(w.start).UTC(), End: time.UnixMilli(w.end).UTC(), StateBytes: len(w.state), State: m.windowState(w), Early: w.early,
			Attempts: w.attempts, Invocations: w.invocations, FirstFailure: w.first, LastError: w.last,
		}
		if w.refusal != nil {
			s.Window.LastError = *w.refusal
		}
		if s.Window.State == UnitBackoff {
			s.Window.Until = w.until
		}
	}
	for _, c := range m.chains {
		for i := len(c.units) - 1; i >= 0; i-- {
			u := c.units[i]
			us := UnitStatus{
				ID: u.id, State: m.unitState(c, u), Buckets: bits.OnesCount64(c.mask), Records: len(u.numbers), From: u.to, To: u.to,
				Attempts: u.attempts, Invocations: u.invocations, FirstFailure: u.first, LastError: u.last,
			}
			if u.refusal != nil {
				us.LastError = *u.refusal
			}
			switch {
			case len(u.numbers) > 0:
				us.From = u.numbers[0]
			case len(u.spans) > 0:
				us.From = u.spans[0].From
			}
			if us.State == UnitBackoff {
				us.Until = u.until
			}
			s.Units = append(s.Units, us)
		}
	}
	for _, r := range m.redrives.letters {
		if r.settled {
			continue
		}
		rs := RedriveStatus{
			Letter: r.letter, Bucket: r.bucket, State: m.redriveState(r), Since: r.since,
			Attempts: r.attempts, Invocations: r.invocations, FirstFailure: r.first, LastError: r.last,
		}
		if r.refusal != nil {
			rs.LastError = *r.refusal
		}
		if rs.State == UnitBackoff {
			rs.Until = r.until
		}
		s.Redrives = append(s.Redrives, rs)
	}
	return s
}

func (m *Machine) windowState(w *tumbling) UnitState {
	switch {
	case !w.closing:
		return ""
	case w.out:
		return UnitOut
	case w.delayed && m.now < w.notBefore:
		return UnitBackoff
	case w.wait > m.durableID:
		return UnitCommit
	default:
		return UnitReady
	}
}

func (m *Machine) redriveState(r *redrive) UnitState {
	switch {
	case r.out:
		return UnitOut
	case r.delayed && m.now < r.notBefore:
		return UnitBackoff
	case r.wait > m.durableID:
		return UnitCommit
	case !r.holds:
		return UnitSibling
	default:
		return UnitReady
	}
}

func (m *Machine) unitState(c *chain, u *unit) UnitState {
	switch {
	case u != c.top():
		return UnitSibling
	case c.out:
		return UnitOut
	case u.delayed && m.now < u.notBefore:
		return UnitBackoff
	case c.wait > m.durableID:
		return UnitCommit
	case u.unread || u.gone > 0:
		return UnitReading
	default:
		return UnitReady
	}
}

// waitsFor explains a machine that starts nothing new, most pressing reason first.
func (m *Machine) waitsFor() string {
	switch {
	case m.finished:
		return "finished"
	case m.failing:
		return "the journal cannot be written; nothing is invoked until it can"
	case m.draining:
		return "draining: nothing new is started"
	case m.idleWhy != "":
		return m.idleWhy
	case m.flooded():
		return "outputs that are not durable yet are as many as may be"
	case m.blocked():
		return "the last commit is not durable yet, and too many records would run again after a crash"
	case m.leap != 0:
		return "records before a gap are still open"
	case m.out >= m.cfg.Parallel:
		return "" // as busy as it may be
	case m.win != nil && m.win.closing:
		return "the final invocation of a tumbling window has to succeed first"
	}
	backoff, out, other := 0, 0, 0
	for _, c := range m.chains {
		switch {
		case len(c.units) == 0:
			other++
		case c.out:
			out++
		case m.unitState(c, c.top()) == UnitBackoff:
			backoff++
		default:
			other++
		}
	}
	free := m.cfg.Parallel - len(m.chains)
	switch {
	case free <= 0 && backoff > 0 && out == 0 && other == 0:
		return "every slot is in back-off after failures"
	case free <= 0 && out > 0:
		return "" // those in back-off keep their slots
	case free <= 0:
		return "units are being read, or their dead letters written"
	case m.ready() != 0 && m.cfg.Window > 0:
		return "the batching window is open"
	case m.ready() != 0:
		return "more records are being read"
	case m.waiting > 0 && m.waitingIn&m.redrives.parked != 0:
		return "all records read belong to keys whose earlier records, or dead letters that are redriven, are not resolved yet"
	case m.waiting > 0:
		return "all records read belong to keys whose earlier records are not resolved yet"
	case m.ended:
		return "the shard is closed"
	case m.caught && !m.news:
		return "no records: everything stored has been read"
	case m.span() >= m.cfg.ahead(), m.filtered >= maxFiltered:
		return "too many records were read beyond the oldest open one"
	}
	return "records are being read"
}
