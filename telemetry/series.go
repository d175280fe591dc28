package telemetry

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Dimension is part of a metric's identity.
type Dimension struct{ Name, Value string }

// Metric is what is measured. Two metrics are the same if their dimensions are, in any order.
type Metric struct {
	Namespace, Name string
	Dimensions      []Dimension
}

// key is the metric's identity with a unit.
func (m Metric) key(unit string) string {
	slices.SortFunc(m.Dimensions, func(a, b Dimension) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Value, b.Value))
	})
	var b strings.Builder
	for _, s := range []string{m.Namespace, m.Name, unit} {
		b.WriteString(s)
		b.WriteByte(0)
	}
	for _, d := range m.Dimensions {
		b.WriteString(d.Name)
		b.WriteByte(0)
		b.WriteString(d.Value)
		b.WriteByte(0)
	}
	return b.String()
}

// ErrTooManySeries means that there are as many metrics as are kept; those that nobody
// has written for a while make room.
var ErrTooManySeries = errors.New("telemetry: too many metrics")

const (
	// Kept is how long values are kept.
	Kept = 15 * 24 * time.Hour
)

// A series keeps its values in steps of three lengths, each for a while. The first is in
// memory only, the others survive a restart.
var steps = [...]struct{ length, kept int64 }{{1, 900}, {60, 86_400}, {300, int64(Kept / time.Second)}}

// Series keeps metrics over time, for those who ask later. Its methods may be called from
// any goroutine.
type Series struct {
	dir    string
	admit  func(bytes int) error
	logger *slog.Logger
	stop   chan struct{} // closed by Close
	done   chan struct{} // closed when the writer has ended

	tallying sync.Mutex // before mu
	tallies  map[tallyKey]*tally

	mu     sync.Mutex
	byKey  map[string]*series
	users  class // metrics outside of AWS's namespaces
	own    class // those in them
	begun  int64 // since when there are values of the first step, Unix seconds
	lastID uint64
	disk   disk
}

// series is one metric in one unit.
type series struct {
	id     uint64 // in files
	metric Metric
	unit   string
	class  *class
	gone   bool  // forgotten
	last   int64 // Unix seconds of the latest value
	touch  int64 // when it was last written
	steps  [len(steps)][]Bucket
	since  [len(steps)]int64 // Unix seconds, in five minutes: what is older was dropped
	delta  []Bucket          // minutes, what is not in a file yet
	known  bool              // its name is in the file
}

// SeriesOptions shape [Series]. The zero value keeps them in memory.
type SeriesOptions struct {
	Dir string // where files go, made if missing. Empty: nothing is written
	// Admit asks whether so many bytes may be written; an error says why not. Nil: always.
	Admit  func(bytes int) error
	Logger *slog.Logger // defaults to none
}

// OpenSeries reads what an earlier process has left. Close is to follow.
func OpenSeries(o SeriesOptions) (*Series, error) {
	s := &Series{dir: o.Dir, admit: o.Admit, logger: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)), stop: make(chan struct{}), done: make(chan struct{}),
		tallies: map[tallyKey]*tally{}, byKey: map[string]*series{},
		users: class{stale: userStale, most: maxCells}, own: class{stale: ownStale, most: maxCells}}
	s.begun = (time.Now().Unix() + 59) / 60 * 60
	if s.dir == "" {
		close(s.done)
		return s, nil
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	go s.run()
	return s, nil
}

// Close writes what is not written yet.
func (s *Series) Close(ctx context.Context) error {
	s.mu.Lock()
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.mu.Unlock()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Value is something that was measured: single values, each so many times, or statistics
// of values that nobody knows any more.
type Value struct {
	Values, Counts []float64 // of equal length, or no counts: each once
	Statistics     *Bucket
}

func (v Value) bucket() Bucket {
	var b Bucket
	for i, value := range v.Values {
		n := 1.0
		if v.Counts != nil {
			n = v.Counts[i]
		}
		if n > 0 {
			b.add(value, n)
		}
	}
	if st := v.Statistics; st != nil {
		o := *st
		o.opaque = o.Count > 1 && o.Min != o.Max
		b.Merge(&o)
	}
	return b
}

// Datum is what was measured of a metric at a time.
type Datum struct {
	Metric Metric
	Unit   string
	At     time.Time
	Value  Value
}

// Put adds what was measured; of what is older than [Kept] nothing stays. At
// [ErrTooManySeries] nothing was added.
func (s *Series) Put(data ...Datum) error {
	buckets := make([]Bucket, len(data))
	for i, d := range data {
		buckets[i] = d.Value.bucket()
		buckets[i].At = d.At.Unix()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// All the room first: half of a request would count twice when it is sent again.
	known, more := map[*series]bool{}, map[*class]map[string]bool{&s.users: {}, &s.own: {}}
	for i, d := range data {
		if buckets[i].Count == 0 {
			continue
		}
		m := d.Metric
		m.Dimensions = slices.Clone(m.Dimensions) // key sorts them
		key := m.key(d.Unit)
		if one := s.byKey[key]; one != nil {
			known[one] = true
		} else {
			more[s.class(m)][key] = true
		}
	}
	for c, keys := range more {
		if !s.room(c, len(keys), known) {
			return ErrTooManySeries
		}
	}
	now := time.Now().Unix()
	for i, d := range data {
		if buckets[i].Count == 0 {
			continue
		}
		one, err := s.series(d.Metric, d.Unit)
		if err != nil {
			return err // cannot be: there is room
		}
		s.merge(one, &buckets[i], now)
	}
	s.thin(now)
	return nil
}

// series finds or makes one. mu is held.
func (s *Series) series(m Metric, unit string) (*series, error) {
	m.Dimensions = slices.Clone(m.Dimensions)
	key := m.key(unit)
	if one := s.byKey[key]; one != nil {
		return one, nil
	}
	c := s.class(m)
	if !s.room(c, 1, nil) {
		return nil, ErrTooManySeries
	}
	s.lastID++
	one := &series{id: s.lastID, metric: m, unit: unit, class: c}
	s.byKey[key] = one
	c.count++
	return one, nil
}

// merge adds a bucket of a second, or of a minute that a file had, to all steps that are
// not finer. mu is held.
func (s *Series) merge(one *series, b *Bucket, now int64) {
	one.last, one.touch = max(one.last, b.At), now
	for i, step := range steps {
		s.mergeStep(one, i, b, now-step.kept)
	}
	if s.dir != "" {
		minute := b.At - mod(b.At, 60)
		place(&one.delta, minute).Merge(b)
	}
}

func (s *Series) mergeStep(one *series, i int, b *Bucket, oldest int64) {
	at := b.At - mod(b.At, steps[i].length)
	if at < oldest-mod(oldest, 300) {
		return
	}
	to := place(&one.steps[i], at)
	if to.Count > 0 {
		one.class.cells -= to.cells()
	}
	to.Merge(b)
	one.class.cells += to.cells()
	one.expire(i, oldest)
}

// expire drops what is older than a step is kept.
func (one *series) expire(i int, oldest int64) {
	oldest -= mod(oldest, 300)
	one.since[i] = max(one.since[i], oldest)
	buckets := one.steps[i]
	n := 0
	for n < len(buckets) && buckets[n].At < oldest {
		one.class.cells -= buckets[n].cells()
		n++
	}
	if n > 0 {
		one.steps[i] = slices.Delete(buckets, 0, n)
	}
}

// mod is a remainder that is never negative.
func mod(a, b int64) int64 { return (a%b + b) % b }

// place is the bucket of a time, which mostly is the last or comes behind it.
func place(buckets *[]Bucket, at int64) *Bucket {
	b := *buckets
	i := len(b)
	for i > 0 && b[i-1].At > at {
		if i < len(b)-8 {
			i, _ = slices.BinarySearchFunc(b, at, func(b Bucket, at int64) int { return cmp.Compare(b.At, at) })
			if i < len(b) && b[i].At == at {
				i++
			}
			break
		}
		i--
	}
	if i > 0 && b[i-1].At == at {
		return &b[i-1]
	}
	*buckets = slices.Insert(b, i, Bucket{At: at})
	return &(*buckets)[i]
}
