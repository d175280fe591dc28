package telemetry

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"
)

// class is the metrics of users, or those of wasmill's own: neither takes room of the other.
type class struct {
	count int           // series
	cells int           // of their buckets, see Bucket.cells
	most  int           // cells there may be
	stale time.Duration // since when one was not written that makes room for another

	spare []*series // found to be stale, those first that were not written for longest
	// Until refused, Unix seconds, it is known that refusedFor series do not become free.
	refused    int64
	refusedFor int
	told       int64 // when the server's log said that there is no room
}

const (
	// maxSeries bounds the series of a class.
	maxSeries = 8_000
	// maxCells bounds the cells of a class, which take about 60 bytes each.
	maxCells = 300_000
	// userStale and ownStale are when a series makes room for another. Users are told that
	// there is no room, while a function that was deleted shall not cost another its metrics.
	userStale = 24 * time.Hour
	ownStale  = time.Hour
	// refuseFor is how long it is taken for granted that there is no room: to look for it
	// takes a while, in which nothing is measured.
	refuseFor = 60
	// tellEvery is how often the server's log says that there is none, in seconds.
	tellEvery = 3600
)

func (s *Series) class(m Metric) *class {
	if strings.HasPrefix(m.Namespace, "AWS/") {
		return &s.own
	}
	return &s.users
}

// room makes room for n more series of a class: it drops those that were not written for
// longest, if that is long enough, but none that keep has. False: there is none, and nothing
// was dropped. mu is held.
func (s *Series) room(c *class, n int, keep map[*series]bool) bool {
	over := c.count + n - maxSeries
	if over <= 0 || n == 0 {
		return true
	}
	now := time.Now().Unix()
	latest := now - int64(c.stale/time.Second)
	found := c.pick(over, latest, keep)
	if len(found) < over {
		if now < c.refused && over >= c.refusedFor {
			return false
		}
		c.spare = nil
		for _, one := range s.byKey {
			if one.class == c && one.touch <= latest {
				c.spare = append(c.spare, one)
			}
		}
		slices.SortFunc(c.spare, func(a, b *series) int { return cmp.Compare(a.touch, b.touch) })
		if len(c.spare) < over {
			c.refused, c.refusedFor = now+refuseFor, over
		}
		if found = c.pick(over, latest, keep); len(found) < over {
			return false
		}
	}
	for _, one := range found {
		s.forget(one)
	}
	return true
}

// pick chooses n series that make room, fewer if there are not so many.
func (c *class) pick(n int, latest int64, keep map[*series]bool) (found []*series) {
	useless := func(one *series) bool { return one.gone || one.touch > latest }
	for len(c.spare) > 0 && useless(c.spare[0]) {
		c.spare = c.spare[1:]
	}
	for _, one := range c.spare {
		if len(found) == n {
			break
		}
		if !useless(one) && !keep[one] {
			found = append(found, one)
		}
	}
	return found
}

func (s *Series) forget(one *series) {
	one.gone = true
	one.class.cells -= one.cells()
	one.class.count--
	delete(s.byKey, one.metric.key(one.unit))
}

// tellFull says now and then that something measured is not kept. mu is held.
func (s *Series) tellFull(namespace, name string, dims []Dimension, now int64) {
	if s.own.told != 0 && now-s.own.told < tellEvery {
		return
	}
	s.own.told = now
	s.logger.Warn("there are as many metrics of functions, triggers and streams as are kept; others are not shown", "kept", maxSeries, "namespace", namespace, "metric", name, "dimensions", dims)
}

func (one *series) cells() (n int) {
	for _, buckets := range one.steps {
		n += cellsOf(buckets)
	}
	return n
}

func cellsOf(buckets []Bucket) (n int) {
	for i := range buckets {
		n += buckets[i].cells()
	}
	return n
}

// thin drops values of a class that has too many, so many at once that the next time is a
// while away: of the largest series, all down to one size. mu is held.
func (s *Series) thin(now int64) {
	for _, c := range []*class{&s.users, &s.own} {
		if c.cells <= c.most {
			continue
		}
		level := s.level(c, c.most*7/10)
		for _, one := range s.byKey {
			if one.class == c && one.cells() > level {
				one.cut(level, now)
			}
		}
	}
}

// level is the size in cells that brings a class down to goal if no series is larger.
func (s *Series) level(c *class, goal int) int {
	var sizes []int
	for _, one := range s.byKey {
		if one.class == c {
			sizes = append(sizes, one.cells())
		}
	}
	slices.Sort(sizes)
	for i, size := range sizes {
		if rest := len(sizes) - i; size*rest >= goal {
			return goal / rest
		}
		goal -= size
	}
	return math.MaxInt
}

// cut brings a series down to a size: its fine values go first, the old before the new, so
// that as much of its history as can be stays.
func (one *series) cut(size int, now int64) {
	one.expire(0, now-60)
	for _, shorten := range []func(){
		func() { one.expire(1, now-3600) },
		func() { one.shorten(0, 0) },
		func() { one.shorten(1, size/3) },
		func() { one.shorten(2, size-cellsOf(one.steps[1])) },
		func() { one.shorten(1, 0) },
		func() {
			for i := range one.steps[2] { // the last one: how its values are spread is a matter of many cells
				b := &one.steps[2][i]
				one.class.cells -= b.cells() - 1
				b.opaque, b.bins = b.opaque || b.bins != nil, nil
			}
		},
	} {
		if one.cells() <= size {
			return
		}
		shorten()
	}
}

// shorten drops the oldest values of a step beyond so many cells; of the coarsest one stays.
func (one *series) shorten(i, cells int) {
	buckets := one.steps[i]
	n := len(buckets)
	for n > 0 && cells >= buckets[n-1].cells() {
		n--
		cells -= buckets[n].cells()
	}
	if i == len(steps)-1 {
		n = min(n, len(buckets)-1)
	}
	if n > 0 {
		one.expire(i, buckets[n-1].At-mod(buckets[n-1].At, 300)+300)
	}
}
