package poll

import (
	"fmt"
	"strings"

	"github.com/wasmill/wasmill/stream"
)

// ancestors are the shards that hold older records of keys which s
// takes now: those made before it whose hash ranges overlap with its own. They
// are its parents and what these came from; a parent that is gone hides no
// grandparent. At any time the open shards cover each key once, so of two that
// overlap the later one descends from the other.
func ancestors(shards []stream.Shard, s stream.Shard) (before []stream.Shard) {
	if len(s.Parents) == 0 {
		return nil // made with its stream
	}
	for _, o := range shards {
		if o.Index < s.Index && overlap(o, s) {
			before = append(before, o)
		}
	}
	return before
}

// overlap says whether two shards have keys in common.
func overlap(a, b stream.Shard) bool { return a.From.Compare(b.To) <= 0 && b.From.Compare(a.To) <= 0 }

// covers says whether a shard's keys include one.
func covers(s stream.Shard, key stream.HashKey) bool {
	return s.From.Compare(key) <= 0 && key.Compare(s.To) <= 0
}

// waitsFor says in words for which shards another one waits.
func waitsFor(ids []string) string {
	if len(ids) == 1 {
		return "waits for its parent " + ids[0] + " to be finished"
	}
	more := ""
	if n := len(ids) - 3; n > 0 {
		ids, more = ids[n:], fmt.Sprintf(" and %d older", n) // the nearest come last
	}
	return "waits for the shards it came from to be finished: " + strings.Join(ids, ", ") + more
}
