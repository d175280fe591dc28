package telemetry

import (
	"math"
	"slices"
	"sort"
)

// Bucket is what is known of the values of a stretch of time. The zero Bucket has none.
type Bucket struct {
	At                   int64 // its beginning, Unix seconds
	Count, Sum, Min, Max float64
	// bins hold how the values are spread, nil while all are alike.
	bins *bins
	// opaque: some came as statistics, and nobody knows how they are spread.
	opaque bool
}

// add adds a value that was there n times.
func (b *Bucket) add(v, n float64) {
	switch {
	case b.Count == 0:
		b.Min, b.Max = v, v
	case b.bins != nil:
		b.bins.add(v, n)
	case !b.opaque && (v != b.Min || v != b.Max):
		b.bins = &bins{}
		b.bins.add(b.Min, b.Count)
		b.bins.add(v, n)
	}
	b.Count += n
	b.Sum += v * n
	b.Min, b.Max = min(b.Min, v), max(b.Max, v)
}

// Merge adds the values of another.
func (b *Bucket) Merge(o *Bucket) {
	if o.Count == 0 {
		return
	}
	if b.Count == 0 {
		at := b.At
		*b = *o
		b.At, b.bins = at, o.bins.clone()
		return
	}
	switch {
	case b.opaque || o.opaque:
		b.opaque, b.bins = true, nil
	case b.bins == nil && o.bins == nil && b.Min == b.Max && o.Min == o.Max && b.Min == o.Min:
	default:
		if b.bins == nil {
			b.bins = &bins{}
			b.bins.add(b.Min, b.Count)
		}
		if o.bins == nil {
			b.bins.add(o.Min, o.Count)
		} else {
			b.bins.merge(o.bins)
		}
	}
	b.Count += o.Count
	b.Sum += o.Sum
	b.Min, b.Max = min(b.Min, o.Min), max(b.Max, o.Max)
}

// Percentile is the value that p percent of all do not exceed, 0 < p <= 100, off by 1 % at
// most unless the values are spread over very much. ok is false where nobody knows.
func (b *Bucket) Percentile(p float64) (v float64, ok bool) {
	switch {
	case b.Count == 0 || b.opaque && b.Min != b.Max:
		return 0, false
	case b.bins == nil || p >= 100:
		return b.Max, true
	}
	return min(max(b.bins.at(p/100*b.Count), b.Min), b.Max), true
}

// cells is what a bucket takes, in buckets without bins.
func (b *Bucket) cells() int {
	if b.bins == nil {
		return 1
	}
	return 2 + len(b.bins.keys)/4
}

// gamma is how far apart bins are: their middle is off by 1 % at most.
const gamma = 1.02

var logGamma = math.Log(gamma)

// maxBins bounds the bins of a bucket. With more, two become one, and so on.
const maxBins = 160

// bins count values by the logarithm of their size.
type bins struct {
	shift  uint8   // two to the power of it are one
	keys   []int32 // sorted
	counts []float64
}

func (s *bins) clone() *bins {
	if s == nil {
		return nil
	}
	return &bins{s.shift, slices.Clone(s.keys), slices.Clone(s.counts)}
}

// origin lies in the middle of the logarithms of floats: those above 0 have keys above 0.
const origin = 40_000

func keyOf(v float64) int32 {
	if v == 0 {
		return 0
	}
	key := int32(math.Ceil(math.Log(math.Abs(v))/logGamma)) + origin
	if v < 0 {
		return -key
	}
	return key
}

// value is the middle of a bin.
func (s *bins) value(key int32) float64 {
	if key == 0 {
		return 0
	}
	abs := key
	if key < 0 {
		abs = -key
	}
	// The bin takes in all of [abs<<shift, (abs+1)<<shift), less one step at its lower end.
	low := float64(int64(abs)<<s.shift) - 1 - origin
	high := float64(int64(abs+1)<<s.shift) - 1 - origin
	v := 2 * math.Exp(logGamma*low) * math.Exp(logGamma*(high-low)) / (1 + math.Exp(logGamma*(high-low)))
	if key < 0 {
		return -v
	}
	return v
}

// coarse is a key after so many halvings, of the same sign.
func coarse(key int32, shift uint8) int32 {
	if key < 0 {
		return -(-key >> shift)
	}
	return key >> shift
}

func (s *bins) add(v, n float64) {
	s.put(coarse(keyOf(v), s.shift), n)
	s.fit()
}

func (s *bins) put(key int32, n float64) {
	i := sort.Search(len(s.keys), func(i int) bool { return s.keys[i] >= key })
	if i < len(s.keys) && s.keys[i] == key {
		s.counts[i] += n
		return
	}
	s.keys, s.counts = slices.Insert(s.keys, i, key), slices.Insert(s.counts, i, n)
}

func (s *bins) merge(o *bins) {
	for s.shift < o.shift {
		s.halve()
	}
	for i, key := range o.keys {
		s.put(coarse(key, s.shift-o.shift), o.counts[i])
	}
	s.fit()
}

func (s *bins) fit() {
	for len(s.keys) > maxBins {
		s.halve()
	}
}

func (s *bins) halve() {
	old := *s
	s.shift, s.keys, s.counts = s.shift+1, nil, nil
	for i, key := range old.keys {
		key = coarse(key, 1)
		if n := len(s.keys); n > 0 && s.keys[n-1] == key {
			s.counts[n-1] += old.counts[i]
			continue
		}
		s.keys, s.counts = append(s.keys, key), append(s.counts, old.counts[i])
	}
}

// at is the value of that rank.
func (s *bins) at(rank float64) float64 {
	seen := 0.0
	for i, n := range s.counts {
		if seen += n; seen >= rank {
			return s.value(s.keys[i])
		}
	}
	return s.value(s.keys[len(s.keys)-1])
}
