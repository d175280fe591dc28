package natsd

import (
	"fmt"
	"sync"
	"time"
)

// Class says how much of the disk a write must leave free.
type Class int

const (
	// Data is records and everything else users put: it leaves the reserve.
	Data Class = iota
	// Journal is what lets work that was taken be finished: it leaves half
	// of the reserve.
	Journal
)

// ReserveError is an [ErrReserve] with its figures.
type ReserveError struct {
	Dir     string // data directory; empty in memory
	Free    int64  // bytes, what the write would have needed taken off
	Reserve int64  // bytes that must stay free
}

func (e *ReserveError) Error() string {
	if e.Dir == "" {
		return fmt.Sprintf("natsd: memory limit reached: %s left, %s are kept in reserve; wait for retention to free some, delete streams, or start with a larger limit", size(e.Free), size(e.Reserve))
	}
	return fmt.Sprintf("natsd: disk reserve reached: the disk of %s has %s left, %s are kept in reserve; free some space, or start with a smaller reserve", e.Dir, size(e.Free), size(e.Reserve))
}

// Is makes errors.Is(err, ErrReserve) true.
func (e *ReserveError) Is(target error) bool { return target == ErrReserve }

// freshness is how long a measurement of the disk serves, together with what
// was admitted since.
const freshness = 200 * time.Millisecond

// gauge answers whether bytes may be written without asking the disk each time.
// What was admitted and is not yet written when the disk is measured is not
// seen; the reserve is wide enough for that.
type gauge struct {
	measure func() (free, total int64, err error)
	reserve int64 // 0: the default rule

	mu       sync.Mutex // never held across a wait
	at       time.Time
	free     int64
	total    int64
	admitted int64 // since at
}

// admit books bytes, or refuses them after having looked at the disk itself.
func (g *gauge) admit(class Class, bytes int64) (free, keep int64, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	looked := false
	if time.Since(g.at) > freshness {
		looked = g.look()
	}
	for {
		keep = reserve(g.reserve, g.total)
		if class == Journal {
			keep /= 2
		}
		free = g.free - g.admitted - bytes
		if free >= keep {
			g.admitted += bytes
			return free, keep, true
		}
		if looked || !g.look() {
			return free, keep, false
		}
		looked = true
	}
}

// look measures. A disk that cannot be measured stands in nobody's way: the
// write itself will tell.
func (g *gauge) look() bool {
	free, total, err := g.measure()
	if err != nil {
		free, total = unlimited, unlimited
	}
	g.at, g.free, g.total, g.admitted = time.Now(), free, total, 0
	return true
}

// reserve is the rule of what stays free of a disk of total bytes.
func reserve(set, total int64) int64 {
	if set > 0 {
		return set
	}
	return min(max(256<<20, total/100), total/4)
}

// measure asks the disk, or JetStream in memory mode.
func (s *Server) measure() (free, total int64, err error) {
	if !s.opts.Memory {
		return diskSpace(s.store)
	}
	return max(0, s.opts.MaxMemory-s.used()), s.opts.MaxMemory, nil
}

// Admit asks whether bytes more may be written. It answers at once: nil books
// them, [ErrReserve] (a [*ReserveError]) and [ErrDown] can be tried again later,
// [ErrClosed] cannot.
func (s *Server) Admit(class Class, bytes int) error {
	s.mu.Lock()
	closed, down := s.closed, s.down
	s.mu.Unlock()
	switch {
	case closed:
		return ErrClosed
	case down:
		return ErrDown
	}
	if free, keep, ok := s.gauge.admit(class, int64(bytes)); !ok {
		return &ReserveError{Dir: s.opts.Dir, Free: max(0, free), Reserve: keep}
	}
	if used, ok := s.quota.admit(class, int64(bytes)); !ok && !s.opts.Memory {
		return &QuotaError{Dir: s.opts.Dir, Used: used, Limit: s.quota.most}
	}
	return nil
}

// Usage tells how many bytes JetStream keeps (with [Options.MaxDisk] how many all
// files of the data directory take), and how many more records may take before
// they are refused. While the store is being restored what JetStream keeps is 0.
func (s *Server) Usage() (used, free int64) {
	f, total, err := s.measure()
	if err == nil {
		free = max(0, f-reserve(s.gauge.reserve, total))
	}
	used = s.used()
	if s.opts.MaxDisk > 0 {
		used, _, _ = s.Quota()
		free = min(free, max(0, s.opts.MaxDisk-used))
	}
	return used, free
}

func (s *Server) used() int64 {
	s.mu.Lock()
	in := s.cur
	s.mu.Unlock()
	if in == nil {
		return 0
	}
	u := in.ns.GlobalAccount().JetStreamUsage()
	if s.opts.Memory {
		return int64(u.Memory)
	}
	return int64(u.Store)
}

// size is n bytes for a person.
func size(n int64) string {
	const units = "KMGTPE"
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}
