package wasm

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/tetratelabs/wazero/api"
)

// A guest counts its steps down and calls us when there are none left: so it is
// stopped, and so its work is counted. The steps it gets are tuned to what it
// does, so that it calls about every yieldAim: seldom enough to cost nothing,
// often enough that neither a deadline nor our garbage collector, which waits for
// it, has to wait for long.
const (
	yieldAim  = 75 * time.Microsecond
	leastFuel = 1 << 10
	mostFuel  = 1 << 17
)

// meter stops a guest and counts what it does. Only the goroutine that is in the
// guest touches it.
type meter struct {
	fuel     api.MutableGlobal // what the guest counts down
	tank     int32             // what it was given last
	next     int32             // what it is to get
	filled   time.Duration     // when, by now
	ctx      context.Context   // of the exchange
	deadline time.Duration     // by now; math.MaxInt64: none
	work     uint64
}

// started is when this process did, more or less: the zero of the guests'
// monotonic clock, which must not go back from one environment to its clones.
var started = time.Now().Add(-time.Second)

func now() time.Duration { return time.Since(started) }

// errStopped unwinds a guest at its deadline, or when nobody waits for it any more.
var errStopped = errors.New("stopped")

// begin starts to count. deadline, if not zero, is beside that of ctx.
func (m *meter) begin(ctx context.Context, deadline time.Time) {
	m.ctx, m.work, m.deadline, m.filled = ctx, 0, math.MaxInt64, now()
	if d, ok := ctx.Deadline(); ok {
		m.deadline = d.Sub(started)
	}
	if !deadline.IsZero() {
		m.deadline = min(m.deadline, deadline.Sub(started))
	}
	m.fill(max(m.next, leastFuel))
}

func (m *meter) fill(steps int32) {
	m.tank = steps
	m.fuel.Set(uint64(uint32(steps)))
}

// end counts what was used of the last tank.
func (m *meter) end() uint64 {
	m.work += uint64(int64(m.tank) - int64(int32(m.fuel.Get())))
	m.tank = 0
	m.fuel.Set(0)
	m.ctx = context.Background()
	return m.work
}

// over says whether the guest is to be stopped.
func (m *meter) over(at time.Duration) bool { return at >= m.deadline || m.ctx.Err() != nil }

// check stops the guest if it is to be. Host functions that may take long call it.
func (m *meter) check() {
	if m.over(now()) {
		panic(errStopped)
	}
}

// refill is the yield: it answers with the next tank.
func (m *meter) refill() int32 {
	at := now()
	if m.over(at) {
		panic(errStopped)
	}
	m.work += uint64(int64(m.tank) - int64(int32(m.fuel.Get())))
	// At most twice as much as before: one slow or fast stretch says little.
	took := max(at-m.filled, time.Microsecond)
	m.next = int32(min(float64(m.tank)*2, max(float64(m.tank)/4, float64(m.tank)*float64(yieldAim)/float64(took))))
	m.next = min(max(m.next, leastFuel), mostFuel)
	m.tank, m.filled = m.next, at
	return m.next
}

// waited takes what the guest spent waiting out of what its steps took.
func (m *meter) waited(d time.Duration) { m.filled += d }
