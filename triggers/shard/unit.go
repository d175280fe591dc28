package shard

import (
	"math/bits"
	"slices"
	"time"

	"github.com/wasmill/wasmill/triggers"
)

// chain is a claim: buckets, and the units that run on them one after the other.
type chain struct {
	id    uint64
	mask  uint64
	units []*unit   // a stack: the last runs next, the first covers the highest numbers
	cfg   *settings // of the invocation that is out
	wait  uint64    // the commit that must be durable first
	buf   []uint64  // backs the units' numbers
	out   bool
	done  bool
	// windowed: what is out is of the window under way.
	windowed bool

	own   unit // the first one, and
	stack [2]*unit
}

func (c *chain) top() *unit   { return c.units[len(c.units)-1] }
func (c *chain) pop()         { c.units = c.units[:len(c.units)-1] }
func (c *chain) closed() bool { return c.done }

// unit is records that go to the function together.
type unit struct {
	id        uint64
	numbers   []uint64 // unresolved, ascending
	to        uint64   // no record of its claim from its first to here is another's
	gone      int      // numbers that are not in memory
	split     bool     // a half or a rest: to be written down though it has not failed
	oversized bool     // one record that no event can hold

	tries

	// Of a restored unit until its records are read.
	unread bool
	spans  []triggers.Span
}

// tries is what a unit, or a letter that is delivered again, went through.
type tries struct {
	attempts    int // that count against the quota
	invocations int
	refusals    int // throttles and the like in a row
	first       time.Time
	last        triggers.Failure
	refusal     *triggers.Failure // the last one's, while it is newer than last; for people
	notBefore   time.Duration     // since the machine's start; with delayed
	delayed     bool
	until       time.Time // its notBefore, on the wall clock
}

// covers says whether a restored unit owns a record.
func (u *unit) covers(bucket uint8, number uint64) bool {
	for _, s := range u.spans {
		if s.Buckets>>bucket&1 == 1 && s.From <= number && number < s.To {
			return true
		}
	}
	return false
}

// kept says whether a checkpoint names the unit. One that was never invoked
// needs no memory of it: its records are formed into a unit again.
func (u *unit) kept() bool { return u.split || u.invocations > 0 || u.unread || u.attempts > 0 }

func (m *Machine) newUnit(numbers []uint64, to uint64) *unit {
	m.lastID++
	return &unit{id: m.lastID, numbers: numbers, to: to}
}

// open counts the unresolved records that are in units.
func (m *Machine) open() int {
	n := 0
	for _, c := range m.chains {
		for _, u := range c.units {
			n += len(u.numbers)
		}
	}
	return n
}

// success resolves the first n records of a chain's running unit.
func (m *Machine) success(c *chain, n int) {
	u := c.top()
	m.doneCount += uint64(n)
	m.drop(c, u, n, false)
}

// drop resolves the first n records of a chain's running unit.
func (m *Machine) drop(c *chain, u *unit, n int, keep bool) {
	run := u.numbers[:n]
	m.resolve(run, keep)
	m.resolved += uint64(n)
	if !keep {
		m.runs = append(m.runs, run)
	}
	if u.numbers = u.numbers[n:]; len(u.numbers) > 0 {
		m.passed(c.mask, u.numbers[0])
	} else {
		m.passed(c.mask, u.to)
	}
	m.touch()
}

// pick resolves those records of a chain's running unit that match, wherever
// they are in it. What is resolved behind a record that is not becomes a hole.
// Their memory is free unless they are kept for dead letters.
func (m *Machine) pick(c *chain, u *unit, keep bool, match func(i int, k uint64, e *entry) bool) int {
	left := u.numbers[:0]
	picked := 0
	for i, k := range u.numbers {
		e := m.at(k)
		if !match(i, k, e) {
			left = append(left, k)
			continue
		}
		picked++
		one := [1]uint64{k}
		m.resolve(one[:], keep)
		if len(left) > 0 {
			m.holes = append(m.holes, triggers.Span{Buckets: 1 << e.bucket, From: k, To: k + 1})
		}
	}
	if picked == 0 {
		return 0
	}
	u.numbers = left
	m.resolved += uint64(picked)
	if len(left) > 0 {
		m.passed(c.mask, left[0])
	} else {
		m.passed(c.mask, u.to)
	}
	m.touch()
	return picked
}

// buffer is an empty slice for the numbers of a unit.
func (m *Machine) buffer(size int) []uint64 {
	if n := len(m.spare); n > 0 {
		b := m.spare[n-1]
		m.spare = m.spare[:n-1]
		return b[:0]
	}
	return make([]uint64, 0, size)
}

// newChain is a zero chain.
func (m *Machine) newChain() *chain {
	if n := len(m.spareChains); n > 0 {
		c := m.spareChains[n-1]
		m.spareChains = m.spareChains[:n-1]
		*c = chain{}
		return c
	}
	return &chain{}
}

// holder is the chain that has a bucket, or nil.
func (m *Machine) holder(bucket uint8) *chain {
	for _, c := range m.chains {
		if c.mask>>bucket&1 == 1 {
			return c
		}
	}
	return nil
}

// free ends a claim: its buckets are idle, its slot is free.
func (m *Machine) free(i int) {
	c := m.chains[i]
	m.chains = slices.Delete(m.chains, i, i+1)
	m.held &^= c.mask
	for set := c.mask & m.waitingIn; set != 0; set &= set - 1 {
		m.buckets[bits.TrailingZeros64(set)].since = m.now
	}
	if c.buf != nil {
		m.retired = append(m.retired, c.buf)
	}
	m.spareChains = append(m.spareChains, c)
}
