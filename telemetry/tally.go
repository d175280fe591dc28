package telemetry

import (
	"sync"
	"time"
)

// tally adds up what happens often, a second at a time, before it goes into series: an
// invocation adds to one tally, whose metrics go into the series of several sets of dimensions.
type tally struct {
	namespace string
	metrics   []tallied
	sets      [][]Dimension

	mu     sync.Mutex
	second int64
	used   time.Time
	open   []Bucket // of the second, one for each metric
	gone   bool     // forgotten: there is another one, or none
}

// tallyKey says what a tally is of: a function and the qualifier it was called by, a mapping,
// a stream.
type tallyKey struct{ kind, name, qualifier, version string }

type tallied struct{ name, unit string }

// tally finds or makes the one of a key; first says how it is made.
func (s *Series) tally(key tallyKey, first func() *tally) *tally {
	s.tallying.Lock()
	defer s.tallying.Unlock()
	t := s.tallies[key]
	if t == nil {
		t = first()
		t.open = make([]Bucket, len(t.metrics))
		s.tallies[key] = t
	}
	return t
}

// sample is a value of one of a tally's metrics, that was there n times.
type sample struct {
	metric int
	value  float64
	n      float64
}

// add adds samples of now to the tally of a key.
func (s *Series) add(key tallyKey, first func() *tally, now time.Time, samples ...sample) {
	for {
		t := s.tally(key, first)
		t.mu.Lock()
		if t.gone {
			t.mu.Unlock()
			continue
		}
		var full []Bucket
		at := t.second
		if second := now.Unix(); second != at {
			full, t.open = t.open, make([]Bucket, len(t.metrics))
			t.second = second
		}
		t.used = now
		for _, v := range samples {
			t.open[v.metric].add(v.value, v.n)
		}
		t.mu.Unlock()
		s.pour(t, at, full)
		return
	}
}

// pour puts the buckets of a second into series.
func (s *Series) pour(t *tally, second int64, full []Bucket) {
	if second == 0 || full == nil {
		return
	}
	now := time.Now().Unix()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range full {
		b := &full[i]
		if b.Count == 0 {
			continue
		}
		b.At = second
		for _, dims := range t.sets {
			one, err := s.series(Metric{t.namespace, t.metrics[i].name, dims}, t.metrics[i].unit)
			if err != nil {
				s.tellFull(t.namespace, t.metrics[i].name, dims, now)
				continue
			}
			s.merge(one, b, now)
		}
	}
	s.thin(now)
}

// idleTally is when a tally that nobody adds to is forgotten.
const idleTally = time.Hour

// fold puts what tallies hold into series.
func (s *Series) fold(now time.Time) {
	s.tallying.Lock()
	defer s.tallying.Unlock()
	for key, t := range s.tallies {
		t.mu.Lock()
		at, full := t.second, t.open
		t.open, t.second = make([]Bucket, len(t.metrics)), 0
		t.gone = now.Sub(t.used) > idleTally
		gone := t.gone
		t.mu.Unlock()
		s.pour(t, at, full)
		if gone {
			delete(s.tallies, key)
		}
	}
}
