package shard

import (
	"math/bits"
	"slices"
	"time"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/batch"
)

const (
	// grace is how long after its end a window stays open for records that arrived in it
	// and are still on their way to the disk.
	grace = time.Second
	// windowBytes is what the event has beside its records and the state.
	windowBytes = 512
)

// tumbler is what the machine knows of tumbling windows.
type tumbler struct {
	win    *tumbling // under way; nil: none
	latest int64     // where the window of the last record read begins, filtered or not
	turn   uint64    // the first record of those read that are all of that window
}

// tumbling is the window under way.
type tumbling struct {
	start, end int64 // Unix ms, end exclusive
	state      []byte
	early      bool
	// closing: its records are done, and the final invocation is all that is left. Nothing
	// else is invoked until that has succeeded.
	closing bool
	tries
	unit uint64 // id of the final invocation
	out  bool
	cfg  *settings // it is judged by
	wait uint64    // the commit that must be durable first
}

// windowOf is where the window of a time begins.
func (m *Machine) windowOf(arrival int64) int64 {
	return arrival - arrival%m.cfg.Tumbling.Milliseconds()
}

// turns notes a record that is read.
func (m *Machine) turns(number uint64, arrival int64) {
	if at := m.windowOf(arrival); at != m.latest {
		m.latest, m.turn = at, number
	}
}

// retime works out what turns has noted, for windows of another length.
func (m *Machine) retime() {
	m.latest, m.turn = 0, 0
	if m.cfg.Tumbling <= 0 {
		return
	}
	for k := m.base; k < m.next; k++ {
		if e := m.at(k); e.state != resolved {
			m.turns(k, e.arrival)
		}
	}
}

// parts says whether a record is of another window than those before it in its unit.
func (m *Machine) parts(before []uint64, e *entry) bool {
	return len(before) > 0 && m.windowOf(m.at(before[0]).arrival) != m.windowOf(e.arrival)
}

// room is how many bytes the event of a new unit may take.
func (m *Machine) room() int64 {
	limit := m.cfg.limits.Bytes
	if m.cfg.Tumbling > 0 || m.win != nil {
		limit -= windowBytes
	}
	if m.win != nil {
		limit -= int64(len(m.win.state))
	}
	return limit
}

// first is the lowest record waiting in a set of buckets.
func (m *Machine) first(set uint64) (low uint64) {
	low = m.next
	for ; set != 0; set &= set - 1 {
		low = min(low, m.buckets[bits.TrailingZeros64(set)].head)
	}
	return low
}

// dueByWindow says whether records waiting go now since no more of their window will come.
func (m *Machine) dueByWindow(ready uint64) bool {
	k := m.first(ready)
	return m.turn > k || m.past(m.windowOf(m.at(k).arrival)+m.cfg.Tumbling.Milliseconds())
}

// past says whether a window that ends then is over by the clock, all that is stored having
// been read.
func (m *Machine) past(end int64) bool {
	if !m.caught || m.news || m.withheld {
		return false
	}
	wait := time.UnixMilli(end).Add(grace).Sub(m.wall)
	if wait > 0 {
		m.wakeAt(m.now + wait)
	}
	return wait <= 0
}

// tumble ends the window under way when its time has come.
func (m *Machine) tumble() {
	w := m.win
	if w == nil {
		return
	}
	if !w.closing && len(m.chains) == 0 && m.windowOver(w) {
		m.shut(w)
	}
	if !w.closing || w.out || w.wait > m.durableID || m.draining {
		return
	}
	switch {
	case w.delayed && m.now < w.notBefore:
		m.wakeAt(w.notBefore)
	case m.out >= m.cfg.Parallel || m.blocked():
	default:
		w.delayed = false
		w.out, w.cfg = true, m.cfg
		m.out++
		m.emit(Invoke{
			Unit: w.unit, Window: w.written(), Final: true, From: m.base, Attempt: w.attempts + 1, Invocation: w.invocations + 1,
		})
	}
}

// windowOver says whether all of a window that will come is done. Records behind a letter that is
// delivered again are not waited for: they come late.
func (m *Machine) windowOver(w *tumbling) bool {
	ready := m.ready()
	switch {
	case m.cfg.Tumbling.Milliseconds() != w.end-w.start: // the settings have changed
		w.early = m.wall.UnixMilli() < w.end
	case ready != 0:
		e := m.at(m.first(ready))
		if m.windowOf(e.arrival) == w.start {
			w.early = m.crowded(int64(e.size))
			return w.early
		}
		w.early = e.arrival < w.start && m.wall.UnixMilli() < w.end // a late one comes between
	case m.ended:
		w.early = m.wall.UnixMilli() < w.end
	default:
		return m.latest > w.start || m.past(w.end)
	}
	return true
}

// shut has a window end. What was given up in it is durable before the final invocation.
func (m *Machine) shut(w *tumbling) {
	for _, c := range m.chains {
		w.wait = max(w.wait, c.wait)
	}
	m.lastID++
	w.closing, w.unit = true, m.lastID
	m.touch()
}

// enter has a unit be of one window, which is under way from now on, and no larger than the event
// has room beside the state; the rest comes behind it. A unit formed without windows may be of
// several, and a state may have grown since. It is no while the window under way has to end
// first.
func (m *Machine) enter(c *chain, u *unit) bool {
	first := m.at(u.numbers[0])
	switch w := m.win; {
	case w == nil && m.cfg.Tumbling <= 0:
		return true
	case w == nil:
		start := m.windowOf(first.arrival)
		m.win = &tumbling{start: start, end: start + m.cfg.Tumbling.Milliseconds()}
		m.touch()
	case m.out > 0: // what is out may be of the window
		return false
	case !w.holds(first.arrival):
		w.early = m.wall.UnixMilli() < w.end
		m.shut(w)
		return false
	case m.crowded(int64(first.size)):
		w.early = true
		m.shut(w)
		return false
	}
	bytes, limit := int64(0), m.room()
	for i, k := range u.numbers {
		e := m.at(k)
		if bytes += int64(e.size); i > 0 && (!m.win.holds(e.arrival) || !batch.Fits(bytes, limit)) {
			m.cut(c, u, i)
			break
		}
	}
	return true
}

// cut leaves a chain's running unit its first n records; the others are one that runs behind it.
func (m *Machine) cut(c *chain, u *unit, n int) {
	rest := m.newUnit(u.numbers[n:], u.to)
	rest.split, rest.first, rest.last = true, u.first, u.last
	u.split, u.numbers, u.to = true, u.numbers[:n:n], u.numbers[n]
	c.units = slices.Insert(c.units, len(c.units)-1, rest)
	m.touch()
}

// crowded says that the state of the window under way leaves no room for a record which an event
// without it has.
func (m *Machine) crowded(size int64) bool {
	return len(m.win.state) > 0 && !batch.Fits(size, m.room()) && batch.Fits(size, m.cfg.limits.Bytes-windowBytes)
}

// holds says whether a record that arrived then is of the window.
func (w *tumbling) holds(arrival int64) bool { return w.start <= arrival && arrival < w.end }

// around is the window under way if it holds records of all these numbers.
func (m *Machine) around(numbers []uint64) *triggers.Window {
	if m.win == nil {
		return nil
	}
	for _, k := range numbers {
		if !m.win.holds(m.at(k).arrival) {
			return nil
		}
	}
	return m.win.written()
}

// remember takes over the state that a chain's invocation has returned.
func (m *Machine) remember(c *chain, state []byte) {
	if !c.windowed {
		return
	}
	if m.win.state = state; len(state) > triggers.MaxState {
		m.win.early = true
		m.shut(m.win)
	}
	m.touch()
}

// settleFinal judges the final invocation. Its failure is no reason to give up: nobody
// would ever see what the window came to.
func (m *Machine) settleFinal(ev Settled) {
	w := m.win
	w.out = false
	m.out--
	w.invocations++
	m.lastOutcome = ev.Outcome.String()
	switch {
	case ev.Outcome == runtime.Done, ev.Outcome == runtime.Partial && !w.cfg.PartialReplies:
		m.output(ev.Outputs)
		m.win = nil
		m.urge()
	case !runtime.Attempted(ev.Outcome):
		m.refused(&w.tries, ev.Failure)
	default:
		m.attempted(&w.tries, ev.Failure)
		m.delay(&w.tries, batch.RetryBackoff(w.cfg.Backoff, w.attempts, m.rand.Uint64()))
		w.wait = m.commitID + 1
	}
}

// written is a window as a checkpoint has it.
func (w *tumbling) written() *triggers.Window {
	if w == nil {
		return nil
	}
	out := &triggers.Window{
		Start: time.UnixMilli(w.start).UTC(), End: time.UnixMilli(w.end).UTC(), State: w.state, Closing: w.closing, Early: w.early,
		Attempts: w.attempts, Invocations: w.invocations, FirstFailure: w.first, LastError: w.last,
	}
	if w.delayed {
		out.NotBefore = w.until
	}
	return out
}

// restoreWindow takes over that of a checkpoint.
func (m *Machine) restoreWindow(in *triggers.Window) {
	if in == nil {
		return
	}
	m.lastID++
	m.win = &tumbling{
		start: in.Start.UnixMilli(), end: in.End.UnixMilli(), state: in.State, early: in.Early, closing: in.Closing, unit: m.lastID,
		tries: tries{
			attempts: in.Attempts, invocations: in.Invocations, first: in.FirstFailure, last: in.LastError, until: in.NotBefore,
		},
	}
}
