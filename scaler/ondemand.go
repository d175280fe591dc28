package scaler

import (
	"fmt"
	"slices"
	"time"

	"github.com/wasmill/wasmill/stream"
)

// When the shards of an on-demand stream are split and merged. Between the two shares lies
// more than the load of a merged shard can grow by chance, so that no shard is split and
// merged in turn.
const (
	SplitShare  = 0.5              // of what a shard takes: above it, it is split
	SplitAfter  = time.Minute      // above it so long
	MergeShare  = 0.3              // two neighbours that take less together are merged
	MergeAfter  = 24 * time.Hour   // so long
	DoubleAfter = 15 * time.Minute // the shards are at most doubled in so long
	hotShare    = 0.5              // of a shard's records: one cell with more cannot be shared
)

// ShardLoad is what one open shard takes.
type ShardLoad struct {
	Shard stream.Shard
	// Share of what a shard can take, as the mean of the last minute.
	Share float64
	// Above is since when Share is above SplitShare; zero: it is not.
	Above time.Time
	// Cells are records by equal parts of the hash range, Cell the first hash key of one.
	Cells []uint32
	Cell  func(i int) stream.HashKey
}

// Action is what is done about a shard.
type Action string

const (
	Split Action = "split" // at Change.At
	Merge Action = "merge" // with Change.With
	Keep  Action = "keep"  // it should be split and cannot be: Reason says why
)

// Change is what is to be done about a shard, and why, for people.
type Change struct {
	Action Action
	Shard  string
	At     stream.HashKey // Split: the first hash key of the second half
	With   string         // Merge: the neighbour
	Reason string
}

// Elastic decides over the shards of one on-demand stream. The zero value works; it
// remembers how long neighbours have been idle, so a new one merges nothing for
// [MergeAfter]. It is pure, and of one goroutine.
type Elastic struct {
	idle map[[2]string]time.Time // since when neighbours take less than MergeShare together
}

// Decide says what to do now. shards are the open ones in the order of their hash ranges,
// was is how many there were [DoubleAfter] ago. The changes do not touch one another: all
// of them can be carried out, and those that could not be come again.
func (e *Elastic) Decide(now time.Time, shards []ShardLoad, was int) []Change {
	changes, taken := splits(now, shards, 2*was-len(shards))
	return append(changes, e.merges(now, shards, taken)...)
}

// splits are for shards that have been busy for long enough, the busiest first, room of them
// at most; taken are all that are busy.
func splits(now time.Time, shards []ShardLoad, room int) (changes []Change, taken map[string]bool) {
	var busy []*ShardLoad
	taken = make(map[string]bool)
	for i := range shards {
		if s := &shards[i]; !s.Above.IsZero() {
			taken[s.Shard.ID] = true
			if now.Sub(s.Above) >= SplitAfter {
				busy = append(busy, s)
			}
		}
	}
	slices.SortStableFunc(busy, func(a, b *ShardLoad) int {
		if a.Share > b.Share {
			return -1
		}
		return 1
	})
	for _, s := range busy {
		c := Change{Action: Keep, Shard: s.Shard.ID}
		load := fmt.Sprintf("it takes %.0f %% of what a shard can", 100*s.Share)
		at, hot, ok := median(s)
		switch {
		case hot >= 0:
			c.Reason = fmt.Sprintf("%s, and more than half of its records have hash keys from %s to %s: another partition key would spread them, a split would not", load, s.Cell(hot), end(s, hot))
		case !ok:
			c.Reason = load + ", and its hash range cannot be divided"
		case room <= 0:
			c.Reason = fmt.Sprintf("%s, and is split as soon as that does not more than double the stream's shards within %.0f minutes", load, DoubleAfter.Minutes())
		default:
			room--
			c.Action, c.At = Split, at
			c.Reason = fmt.Sprintf("%s, for %.0f s", load, now.Sub(s.Above).Seconds())
		}
		changes = append(changes, c)
	}
	return changes, taken
}

// median is the hash key that has half of a shard's records before it, as nearly as its
// cells tell; hot is a cell with too many of them, or -1.
func median(s *ShardLoad) (at stream.HashKey, hot int, ok bool) {
	total := 0.0
	for _, n := range s.Cells {
		total += float64(n)
	}
	best, before := total/2, 0.0 // both halves have some
	for i, n := range s.Cells {
		if float64(n) > hotShare*total {
			return at, i, false
		}
		// The first hash key of the cell would begin the second half.
		if off := max(before, total-before) - total/2; off < best {
			if key := s.Cell(i); key.Compare(s.Shard.From) > 0 && key.Compare(s.Shard.To) <= 0 {
				best, at, ok = off, key, true
			}
		}
		before += float64(n)
	}
	return at, -1, ok
}

// end is the last hash key of a cell.
func end(s *ShardLoad, cell int) stream.HashKey {
	if cell == len(s.Cells)-1 {
		return s.Shard.To
	}
	next := s.Cell(cell + 1)
	if next.Lo == 0 {
		next.Hi--
	}
	next.Lo--
	return next
}

// merges are for neighbours that have been idle for long enough. No stream is merged to fewer
// shards than a new one has.
func (e *Elastic) merges(now time.Time, shards []ShardLoad, taken map[string]bool) (changes []Change) {
	idle := make(map[[2]string]time.Time)
	left := len(shards)
	for i := 1; i < len(shards); i++ {
		a, b := &shards[i-1], &shards[i]
		sum := a.Share + b.Share
		if sum >= MergeShare {
			continue
		}
		pair := [2]string{a.Shard.ID, b.Shard.ID}
		since, known := e.idle[pair]
		if !known {
			since = now
		}
		idle[pair] = since
		if now.Sub(since) < MergeAfter || left <= stream.OnDemandShards || taken[pair[0]] || taken[pair[1]] {
			continue
		}
		left--
		taken[pair[0]], taken[pair[1]] = true, true
		changes = append(changes, Change{Action: Merge, Shard: pair[0], With: pair[1],
			Reason: fmt.Sprintf("together they take %.0f %% of what a shard can, and have stayed below %.0f %% for %.0f hours", 100*sum, 100*MergeShare, now.Sub(since).Hours())})
	}
	e.idle = idle
	return changes
}
