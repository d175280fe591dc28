package telemetry

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Listed is a metric of which there are values.
type Listed struct {
	Metric
	Last time.Time // of its latest value
}

// List lists the metrics that pick says yes to, in order; nil: all. pick must not call s.
func (s *Series) List(pick func(Metric) bool) []Listed {
	s.fold(time.Now())
	oldest := time.Now().Add(-Kept).Unix()
	s.mu.Lock()
	defer s.mu.Unlock()
	byMetric := map[string]Listed{}
	for _, one := range s.byKey {
		if one.last < oldest || pick != nil && !pick(one.metric) {
			continue
		}
		key := one.metric.key("")
		if last := time.Unix(one.last, 0); last.After(byMetric[key].Last) {
			byMetric[key] = Listed{Metric{one.metric.Namespace, one.metric.Name, slices.Clone(one.metric.Dimensions)}, last}
		}
	}
	keys := make([]string, 0, len(byMetric))
	for key := range byMetric {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	out := make([]Listed, len(keys))
	for i, key := range keys {
		out[i] = byMetric[key]
	}
	return out
}

// Units are those in which there are values of a metric.
func (s *Series) Units(m Metric) []string {
	s.fold(time.Now())
	m.Dimensions = slices.Clone(m.Dimensions)
	want := m.key("")
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, one := range s.byKey {
		if one.metric.Name == m.Name && one.metric.key("") == want {
			out = append(out, one.unit)
		}
	}
	slices.Sort(out)
	return out
}

// Read gives the values of from <= time < to in steps of period that begin at from, those
// without values left out. from and period are whole seconds. An unknown metric has none.
// Values are as fine as they are kept: those of a step that is longer than period count for
// the period in which it begins.
func (s *Series) Read(m Metric, unit string, from, to time.Time, period time.Duration) []Bucket {
	now := time.Now()
	s.fold(now)
	m.Dimensions = slices.Clone(m.Dimensions)
	start, end, length := from.Unix(), to.Unix(), int64(period/time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.byKey[m.key(unit)]
	if one == nil {
		return nil
	}
	var out []Bucket
	before := end // what is behind was taken from finer steps
	for i := range steps {
		since := now.Unix() - steps[i].kept
		since -= mod(since, 300) // where a coarser step begins too
		if i+1 < len(steps) {
			since = max(since, one.since[i])
		}
		if i == 0 {
			since = max(since, s.begun) // whole minutes both
		}
		if i+1 < len(steps) && length%steps[i+1].length == 0 && start%steps[i+1].length == 0 {
			continue // the next step says as much
		}
		buckets := one.steps[i]
		at, _ := slices.BinarySearchFunc(buckets, max(start, since), func(b Bucket, at int64) int { return cmp.Compare(b.At, at) })
		for ; at < len(buckets) && buckets[at].At < before; at++ {
			place(&out, start+(buckets[at].At-start)/length*length).Merge(&buckets[at])
		}
		before = min(before, max(since, start))
	}
	return out
}

// ParseStatistic reads "Sum", "Average", "Minimum", "Maximum", "SampleCount" or a percentile
// like "p99.9". ok is false for others.
func ParseStatistic(name string) (of func(*Bucket) (v float64, ok bool), ok bool) {
	switch name {
	case "Sum":
		return func(b *Bucket) (float64, bool) { return b.Sum, true }, true
	case "Average":
		return func(b *Bucket) (float64, bool) { return b.Sum / b.Count, true }, true
	case "Minimum":
		return func(b *Bucket) (float64, bool) { return b.Min, true }, true
	case "Maximum":
		return func(b *Bucket) (float64, bool) { return b.Max, true }, true
	case "SampleCount":
		return func(b *Bucket) (float64, bool) { return b.Count, true }, true
	}
	digits, isPercentile := strings.CutPrefix(name, "p")
	p, fine := percent(digits)
	if !isPercentile || !fine {
		return nil, false
	}
	return func(b *Bucket) (float64, bool) { return b.Percentile(p) }, true
}

// percent reads a number of up to three digits before and ten behind its point, from 0 to 100.
func percent(s string) (float64, bool) {
	whole, part, _ := strings.Cut(s, ".")
	if whole == "" || len(whole) > 3 || len(part) > 10 || strings.HasSuffix(s, ".") {
		return 0, false
	}
	v, scale := 0.0, 1.0
	for _, d := range whole + part {
		if d < '0' || d > '9' {
			return 0, false
		}
		v = v*10 + float64(d-'0')
	}
	for range part {
		scale *= 10
	}
	v /= scale
	return v, v <= 100
}
