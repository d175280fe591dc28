package scaler

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/stream"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// shard is the n-th of some, each 256,000 hash keys wide.
func shard(n int, share float64, busy time.Duration, cells ...uint32) ShardLoad {
	from, width := uint64(n)*256_000, uint64(256_000)
	s := ShardLoad{Share: share, Shard: stream.Shard{ID: stream.ShardID(n), Index: n, From: stream.HashKey{Lo: from}, To: stream.HashKey{Lo: from + width - 1}}}
	if busy > 0 {
		s.Above = noon.Add(-busy)
	}
	if cells != nil {
		s.Cells = slices.Clone(cells)
		for len(s.Cells) < 256 {
			s.Cells = append(s.Cells, 0)
		}
	}
	s.Cell = func(i int) stream.HashKey { return stream.HashKey{Lo: from + uint64(i)*1000} }
	return s
}

func even(n uint32) []uint32 { return slices.Repeat([]uint32{n}, 256) }

func TestBusyShardsSplitAtTheMedianOfTheirRecords(t *testing.T) {
	tests := []struct {
		name string
		load ShardLoad
		was  int
		want string // action, and where
		why  string // part of the reason
	}{
		{"an even load in the middle", shard(0, .6, time.Minute, even(9)...), 4, "split at 128000", "it takes 60 % of what a shard can, for 60 s"},
		{"a lopsided one where half of its records are before", shard(0, .9, time.Hour, 40, 30, 40, 30, 20), 4, "split at 2000", "90 %"},
		{"not before a minute has passed", shard(0, .9, time.Minute-time.Millisecond, even(9)...), 4, "", ""},
		{"not at or below half", shard(0, .5, 0, even(9)...), 4, "", ""},
		{"half of the records in one cell are not too many", shard(0, .9, time.Minute, 50, 0, 50), 4, "split at 1000", ""},
		{"one more is", shard(1, .9, time.Minute, 0, 51, 0, 50), 4, "keep", "more than half of its records have hash keys from 257000 to 257999: another partition key would spread them"},
		{"in the last cell too", shard(0, .9, time.Minute, append(slices.Repeat([]uint32{0}, 255), 9)...), 4, "keep", "from 255000 to 255999"},
		{"records that are not counted say nothing", shard(0, .9, time.Minute), 4, "keep", "cannot be divided"},
		{"no room to grow", shard(0, .9, time.Minute, even(9)...), 0, "keep", "as soon as that does not more than double the stream's shards within 15 minutes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, reason := "", ""
			for _, c := range new(Elastic).Decide(noon, []ShardLoad{tt.load}, tt.was) {
				got, reason = string(c.Action), c.Reason
				if c.Action == Split {
					got += " at " + c.At.String()
				}
			}
			if got != tt.want || !strings.Contains(reason, tt.why) {
				t.Errorf("%q because %q, want %q because %q", got, reason, tt.want, tt.why)
			}
		})
	}
}

// A range of few hash keys has cells that begin where the shard does: it is never split
// there, which would leave one half empty.
func TestSplitsLieInsideTheRange(t *testing.T) {
	s := shard(0, .9, time.Minute, 9, 9)
	s.Shard.To = stream.HashKey{Lo: 1}
	s.Cell = func(i int) stream.HashKey { return stream.HashKey{Lo: uint64(i) * 2 / 256} }
	if got := new(Elastic).Decide(noon, []ShardLoad{s}, 4); len(got) != 1 || got[0].Action != Keep {
		t.Errorf("two keys, both in the first half of the cells: %+v", got)
	}
	s.Cells[1], s.Cells[200] = 0, 9
	if got := new(Elastic).Decide(noon, []ShardLoad{s}, 4); len(got) != 1 || got[0].At != (stream.HashKey{Lo: 1}) {
		t.Errorf("two keys, one in each half: %+v", got)
	}
}

func TestShardsAtMostDouble(t *testing.T) {
	var shards []ShardLoad
	for i := range 6 { // two more than 15 minutes ago
		shards = append(shards, shard(i, .6+float64(i)/100, time.Minute, even(9)...))
	}
	var split, kept []string
	for _, c := range new(Elastic).Decide(noon, shards, 4) {
		if c.Action == Split {
			split = append(split, c.Shard)
		} else {
			kept = append(kept, c.Shard)
		}
	}
	if want := []string{stream.ShardID(5), stream.ShardID(4)}; !slices.Equal(split, want) || len(kept) != 4 {
		t.Errorf("split %v, want the busiest %v; kept %v", split, want, kept)
	}
}

func TestIdleNeighboursMergeAfterADay(t *testing.T) {
	loads := func(shares ...float64) (s []ShardLoad) {
		for i, share := range shares {
			s = append(s, shard(i, share, 0))
		}
		return s
	}
	merged := func(e *Elastic, after time.Duration, s []ShardLoad) (pairs string) {
		for _, c := range e.Decide(noon.Add(after), s, len(s)) {
			if c.Action != Merge || !strings.Contains(c.Reason, "below 30 % for") {
				t.Errorf("%+v", c)
			}
			pairs += fmt.Sprintf("%s+%s ", c.Shard[len(c.Shard)-1:], c.With[len(c.With)-1:])
		}
		return strings.TrimSpace(pairs)
	}
	var e Elastic
	idle := loads(.1, .1, .1, .25, .1, .1)
	if got := merged(&e, 0, idle); got != "" {
		t.Errorf("at once: %s", got)
	}
	if got := merged(&e, MergeAfter-1, idle); got != "" {
		t.Errorf("before a day: %s", got)
	}
	// 2 and 3 take more than 0.3 together, and so do 3 and 4; no shard is merged twice at once.
	if got := merged(&e, MergeAfter, idle); got != "0+1 4+5" {
		t.Errorf("after a day: %q, want 0+1 4+5", got)
	}
	// One busy moment begins the day anew.
	if got := merged(&e, MergeAfter+time.Second, loads(.1, .21, .1, .25, .1, .1)); got != "4+5" {
		t.Errorf("0 and 1 busy: %q, want 4+5", got)
	}
	if got := merged(&e, MergeAfter+2*time.Second, idle); got != "4+5" {
		t.Errorf("after 0 and 1 were busy: %q, want 4+5", got)
	}
	// No fewer shards than a new stream has.
	var small Elastic
	merged(&small, 0, loads(0, 0, 0, 0, 0))
	if got := merged(&small, MergeAfter, loads(0, 0, 0, 0, 0)); got != "0+1" {
		t.Errorf("five idle shards: %q, want one merge", got)
	}
	if got := merged(&small, 2*MergeAfter, loads(0, 0, 0, 0)); got != "" {
		t.Errorf("four idle shards: %q", got)
	}
}

// What was split is not merged, nor what was merged split, by the same steady load:
// however it is spread.
func TestSteadyLoadsComeToRest(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		share := .5 + dice.Float64() // of one shard
		part := .3 + .4*dice.Float64()
		halves := []ShardLoad{shard(0, share*part, 0), shard(1, share*(1-part), 0), shard(2, 1, 0), shard(3, 1, 0), shard(4, 1, 0)}
		var e Elastic
		e.Decide(noon, halves, 5)
		if got := e.Decide(noon.Add(30*24*time.Hour), halves, 5); len(got) > 0 {
			t.Fatalf("a shard of %.2f was split at %.2f, and then: %+v", share, part, got)
		}
	}
}
