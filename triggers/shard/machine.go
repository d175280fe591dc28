package shard

import (
	"cmp"
	"math/bits"
	"math/rand/v2"
	"time"

	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/batch"
)

const (
	commitDelay  = 5 * time.Millisecond   // most that mere progress waits under load
	hostBackoff  = 50 * time.Millisecond  // first wait after a throttle or a failure of wasmill
	hostLimit    = 5 * time.Second        // and its longest
	redoCommit   = 100 * time.Millisecond // first wait before a commit is asked for again
	lookahead    = 10                     // x n x BatchSize
	defaultPin   = 32 << 20               // bytes
	uncommitted  = 1000                   // least bound of records resolved but not committed
	allBuckets   = ^uint64(0)
	never        = time.Duration(-1)
	maxRereads   = 10_000  // numbers asked for by one Fetch Again
	maxLost      = 1 << 17 // numbers of a gap that may lie in the window
	maxFiltered  = 1 << 17 // filtered records that may lie in the window
	jitterStream = 0x776d696c6c
)

// settings are a Config with its defaults, immutable: an invocation that is
// out keeps the one it was started with.
type settings struct {
	Config
	limits batch.Limits
}

func newSettings(c Config) *settings {
	c.Parallel = min(max(c.Parallel, 1), Buckets)
	c.BatchSize = max(c.BatchSize, 1)
	c.Backoff = cmp.Or(c.Backoff, triggers.DefaultBackoff)
	c.MaxBytes = cmp.Or(c.MaxBytes, triggers.MaxPayload)
	c.PinnedBytes = cmp.Or(c.PinnedBytes, defaultPin)
	return &settings{c, batch.Limits{Size: c.BatchSize, Bytes: int64(c.MaxBytes), Window: c.Window}}
}

// ahead is the most numbers between the lowest unresolved record and the last read.
func (s *settings) ahead() uint64 { return uint64(lookahead * s.Parallel * s.BatchSize) }

// Machine decides for one shard of one trigger. Not safe for concurrent use.
type Machine struct {
	cfg  *settings
	rand *rand.PCG

	started bool
	start   time.Time     // the first Step's; durations below count from it
	wall    time.Time     // the current Step's
	now     time.Duration // the same since start

	window          // the records of [base, next)
	chains []*chain // claims, oldest first; at most cfg.Parallel unless restored
	out    int      // units at the function
	lastID uint64   // of units

	// Slots of cfg.Parallel that no chain has, as the times they became free, ascending.
	freeSlots []time.Duration
	starved   bool // a slot is free and got nothing

	reader
	journal
	redrives redrives
	tumbler
	idleWhy string // of Held

	wake, asked time.Duration // when Woken is wanted, and when it was last asked for
	draining    bool
	bornEnded   bool // the checkpoint says that nothing is left to do
	finished    bool
	lastOutcome string

	effects []Effect
	runs    [][]uint64 // resolved in this Step
	freed   []uint64   // numbers of this Step's Release
	retired [][]uint64 // buffers to be reused from the next Step on
	spare   [][]uint64

	spareChains []*chain
}

// New makes a machine that goes on from a checkpoint, the zero one being the
// beginning of the shard. The seed is that of the jitter. Nothing happens
// before the first Step.
func New(c Config, cp triggers.Checkpoint, seed uint64) *Machine {
	m := &Machine{
		cfg:   newSettings(c),
		rand:  rand.NewPCG(seed, jitterStream),
		wake:  never,
		asked: never,
	}
	m.restore(cp)
	return m
}

// Step takes what happened and says what to do about it. The time may go
// backwards; ages and waits are then only longer. The slice is valid until the
// next Step. Once Finished was among the effects there are no more.
func (m *Machine) Step(now time.Time, ev Event) []Effect {
	if m.finished {
		return nil
	}
	if !m.started {
		m.started, m.start = true, now
		m.clampBackoffs(now)
	}
	m.wall, m.now = now, now.Sub(m.start)
	m.effects, m.runs, m.freed = m.effects[:0], m.runs[:0], m.freed[:0]
	m.spare = append(m.spare, m.retired...)
	m.retired = m.retired[:0]

	if m.bornEnded {
		m.finish(Finished{Ended: true})
		return m.effects
	}

	switch ev := ev.(type) {
	case Fetched:
		m.fetched(ev)
	case Gap:
		m.gap(ev)
	case End:
		m.end(ev)
	case Settled:
		m.settle(ev)
	case Committed:
		m.committed(ev)
	case Woken:
		m.news = m.news || ev.Arrived
		m.stalled = m.stalled && !ev.Arrived
		m.asked = never // the timer may be used up
	case Configured:
		was := m.cfg.Tumbling
		if m.cfg = newSettings(ev.Config); m.cfg.Tumbling != was {
			m.retime()
		}
	case Refiltered:
		m.refilter(ev)
	case Resized:
		c := m.cfg.Config
		c.Parallel = ev.Parallel
		m.cfg = newSettings(c)
	case Redrive:
		m.redrive(ev)
	case Held:
		m.idleWhy = ev.Why
	case Drain:
		m.draining = true
	}
	if m.finished {
		return m.effects
	}

	m.wake = never
	m.advanceAll()
	m.settleBase()
	m.jump()
	m.advanceRedrives()
	m.tumble()
	before := m.resolved
	if m.claim(); m.resolved != before {
		m.settleBase() // records were too old
	}
	m.fetch()
	m.commit()
	m.release()
	if m.drained() {
		m.finish(Finished{})
	} else if m.wake != m.asked {
		m.asked = m.wake
		var at time.Time
		if m.wake != never {
			at = m.start.Add(m.wake)
		}
		m.emit(WakeAt{at})
	}
	return m.effects
}

// advanceAll takes every claim as far as it goes.
func (m *Machine) advanceAll() {
	for i := 0; i < len(m.chains); {
		if m.advance(m.chains[i]); m.chains[i].closed() {
			m.free(i)
		} else {
			i++
		}
	}
}

func (m *Machine) emit(e Effect) { m.effects = append(m.effects, e) }

func (m *Machine) finish(f Finished) {
	m.finished = true
	m.emit(f)
}

// wakeAt asks to be woken at t or before.
func (m *Machine) wakeAt(t time.Duration) {
	if m.wake == never || t < m.wake {
		m.wake = t
	}
}

// blocked says that nothing may be invoked: the journal fails, or too much
// would have to be repeated after a crash, or is in memory for want of a
// commit, or the caller says so.
func (m *Machine) blocked() bool {
	return m.failing || m.idleWhy != "" || m.resolved-m.durable >= max(m.cfg.ahead(), uncommitted) || m.flooded()
}

// undurable is how many outputs may wait for a commit: a slow disk must not let a function emit
// without end ahead of what its caller looks at, which is outputs that are durable.
const undurable = 10_000

// flooded says that outputs which are not durable take all the memory there is, or are as many
// as may be.
func (m *Machine) flooded() bool {
	return m.outputBytes+m.sentBytes >= m.cfg.PinnedBytes || len(m.outputs)+len(m.sent.Outputs) >= undurable
}

// settleBase finds the lowest number that is not resolved.
func (m *Machine) settleBase() {
	low := m.next
	for set := m.waitingIn; set != 0; set &= set - 1 {
		low = min(low, m.buckets[bits.TrailingZeros64(set)].head)
	}
	for _, c := range m.chains {
		for _, u := range c.units {
			if len(u.numbers) > 0 {
				low = min(low, u.numbers[0])
			}
		}
	}
	if low != m.base {
		m.rise(low)
		m.touch()
	}
}

// drained says that nothing is out. With no unit out commit has asked for all
// there is to write, so that nothing is left once it is answered.
func (m *Machine) drained() bool { return m.draining && m.out == 0 && !m.outstanding }
