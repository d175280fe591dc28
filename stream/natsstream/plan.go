package natsstream

import (
	"slices"

	"github.com/wasmill/wasmill/stream"
)

// plan is the shards that a stream makes on the way to other hash ranges, as values:
// nothing is done yet.
type plan struct {
	made []stream.Shard // by index; parents before their children
	next int            // index of the next one
	now  uint32         // Unix seconds
}

// child takes the range over from its parents. Its epoch is larger than theirs, so
// that its sequence numbers are too, however fast shards follow each other.
func (p *plan) child(from, to stream.HashKey, parents ...stream.Shard) stream.Shard {
	sh := stream.Shard{ID: stream.ShardID(p.next), Index: p.next, From: from, To: to, Epoch: p.now, State: stream.Creating}
	for _, parent := range parents {
		sh.Epoch = max(sh.Epoch, parent.Epoch+1)
		sh.Parents = append(sh.Parents, parent.ID)
	}
	p.next++
	p.made = append(p.made, sh)
	return sh
}

// split makes two of sh; at is the first hash key of the second.
func (p *plan) split(sh stream.Shard, at stream.HashKey) (lower, upper stream.Shard) {
	return p.child(sh.From, minus(at, stream.HashKey{Lo: 1}), sh), p.child(at, sh.To, sh)
}

// merge makes one of two shards, of which the first ends where the second begins.
func (p *plan) merge(lower, upper stream.Shard) stream.Shard {
	return p.child(lower.From, upper.To, lower, upper)
}

// scale makes n even ranges of the open shards, given by hash range: each is cut
// wherever a new one begins, and the pieces of each new one are merged. As on AWS that
// may take shards which end before they have taken a record. What is even already
// stays as it is.
func (p *plan) scale(open []stream.Shard, n int) {
	ranges := stream.EvenRanges(n)
	cuts := make([]stream.HashKey, 0, n)
	for _, r := range ranges {
		cuts = append(cuts, r[0])
	}
	var pieces []stream.Shard
	for _, sh := range open {
		first, there := slices.BinarySearchFunc(cuts, sh.From, stream.HashKey.Compare)
		if there {
			first++ // it begins there anyway
		}
		end, there := slices.BinarySearchFunc(cuts, sh.To, stream.HashKey.Compare)
		if there {
			end++
		}
		pieces = p.cut(pieces, sh, cuts[first:end])
	}
	for _, r := range ranges {
		of := slices.IndexFunc(pieces, func(sh stream.Shard) bool { return sh.To == r[1] }) + 1
		p.join(pieces[:of])
		pieces = pieces[of:]
	}
}

// cut splits sh at all of these places, in halves, so that the generations are few.
func (p *plan) cut(pieces []stream.Shard, sh stream.Shard, at []stream.HashKey) []stream.Shard {
	if len(at) == 0 {
		return append(pieces, sh)
	}
	mid := len(at) / 2
	lower, upper := p.split(sh, at[mid])
	return p.cut(p.cut(pieces, lower, at[:mid]), upper, at[mid+1:])
}

// join merges neighbours into one.
func (p *plan) join(pieces []stream.Shard) stream.Shard {
	if len(pieces) == 1 {
		return pieces[0]
	}
	mid := len(pieces) / 2
	return p.merge(p.join(pieces[:mid]), p.join(pieces[mid:]))
}
