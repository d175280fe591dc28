package natsstream

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/wasmill/wasmill/stream"
)

// Whatever the open shards are: in the end they are even, each made shard is one of
// two that its parent was split into or what two neighbours were merged to, and its
// epoch is above theirs.
func TestScalePlansSplitsAndMergesOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shards := evenShards(rapid.IntRange(1, 30).Draw(t, "shards"), 1_700_000_000)
		for range rapid.IntRange(1, 4).Draw(t, "steps") {
			p := &plan{next: shards[len(shards)-1].Index + 1, now: 1_700_000_000}
			to := rapid.IntRange(1, 60).Draw(t, "to")
			if open := openOf(shards); rapid.Bool().Draw(t, "uneven") { // one split somewhere
				sh := open[rapid.IntRange(0, len(open)-1).Draw(t, "shard")]
				at := plus(sh.From, stream.HashKey{Hi: rapid.Uint64Range(0, minus(sh.To, sh.From).Hi-1).Draw(t, "hi"), Lo: rapid.Uint64Min(1).Draw(t, "lo")})
				p.split(sh, at)
				shards = finished(shards, p)
				p = &plan{next: p.next, now: p.now}
			}
			p.scale(openOf(shards), to)
			known := map[string]stream.Shard{}
			for _, sh := range shards {
				known[sh.ID] = sh
			}
			children := map[string][]stream.Shard{}
			for i, sh := range p.made {
				if sh.Index != p.next-len(p.made)+i || sh.ID != stream.ShardID(sh.Index) {
					t.Fatalf("made shard %d is %s, index %d", i, sh.ID, sh.Index)
				}
				for _, id := range sh.Parents {
					parent, ok := known[id]
					if !ok || parent.Epoch >= sh.Epoch || parent.State == stream.Closed {
						t.Fatalf("parent %s of %+v: %+v", id, sh, parent)
					}
					children[id] = append(children[id], sh)
				}
				if len(sh.Parents) == 2 {
					if a, b := known[sh.Parents[0]], known[sh.Parents[1]]; a.From != sh.From || b.To != sh.To || after(a.To) != b.From {
						t.Fatalf("%+v is no merger of %+v and %+v", sh, a, b)
					}
				} else if len(sh.Parents) != 1 {
					t.Fatalf("%+v has %d parents", sh, len(sh.Parents))
				}
				known[sh.ID] = sh
			}
			for id, of := range children {
				whole := len(of) == 1 && len(of[0].Parents) == 2
				halves := len(of) == 2 && len(of[0].Parents) == 1 && len(of[1].Parents) == 1 &&
					of[0].From == known[id].From && after(of[0].To) == of[1].From && of[1].To == known[id].To
				if !whole && !halves {
					t.Fatalf("children of %+v: %+v", known[id], of)
				}
			}
			shards = finished(shards, p)
			open := openOf(shards)
			if len(open) != to {
				t.Fatalf("%d open shards, want %d", len(open), to)
			}
			for i, r := range stream.EvenRanges(to) {
				if open[i].From != r[0] || open[i].To != r[1] {
					t.Fatalf("open shard %d of %d: %s to %s, want %v", i, to, open[i].From, open[i].To, r)
				}
			}
		}
	})
}

func TestScalingToWhatIsThereMakesNothing(t *testing.T) {
	for _, n := range []int{1, 3, 1000} {
		p := &plan{next: n, now: 1}
		if p.scale(evenShards(n, 1), n); len(p.made) > 0 {
			t.Errorf("%d shards to %d: %d made", n, n, len(p.made))
		}
	}
	// Doubling and halving need no shards between.
	p := &plan{next: 1000, now: 9}
	if p.scale(evenShards(1000, 1), 2000); len(p.made) != 2000 {
		t.Errorf("doubling 1000 shards makes %d, want 2000", len(p.made))
	}
	p = &plan{next: 1000, now: 9}
	if p.scale(evenShards(1000, 1), 500); len(p.made) != 500 {
		t.Errorf("halving 1000 shards makes %d, want 500", len(p.made))
	}
}
