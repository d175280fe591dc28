package history

import (
	"cmp"
	"crypto/md5"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
)

// lineage is what is known of shards that split and merge.
type lineage struct {
	shards map[place]Event // their Shard events
	before map[place][]place
	// keys are the sequence numbers of a shard's records by key, ascending.
	keys map[place]map[string][]string
}

// family takes in what the read-back tells of shards, and checks what needs no
// more than that: a record lies in a shard that its key belongs to, and behind all
// of the shards that this one came from.
func (c *checker) family(events []Event) {
	c.line = lineage{shards: map[place]Event{}, before: map[place][]place{}, keys: map[place]map[string][]string{}}
	for _, e := range events {
		if e.Kind == Shard {
			c.line.shards[e.place()] = e
		}
	}
	for i, e := range events {
		if s, ok := c.line.shards[e.place()]; ok && e.Kind == Read && s.High != "" {
			if h := hashKey(e.Key); compare(h, s.Low) < 0 || compare(s.High, h) < 0 {
				c.fail("I1", i+1, "record %s of key %q is in %s, where its key does not belong", e.Seq, e.Key, e.place())
			}
		}
	}
	for p, e := range c.line.shards {
		own := c.shards[p]
		for _, id := range e.Parents {
			parent := c.shards[place{p.stream, id}]
			if own == nil || parent == nil || len(own.ordered) == 0 || len(parent.ordered) == 0 {
				continue
			}
			if last := parent.ordered[len(parent.ordered)-1]; own.ordered[0] <= last {
				c.fail("I1", 0, "%s: sequence %s is not above %s of its parent %s", p, own.ordered[0], last, id)
			}
		}
	}
}

// compare orders decimal numbers.
func compare(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) }

// hashKey is the MD5 of a partition key as a decimal number. As bucket, it is worked
// out here.
func hashKey(key string) string {
	sum := md5.Sum([]byte(key))
	return new(big.Int).SetBytes(sum[:]).String()
}

// ancestors are the shards that one came from, and those that these came from.
func (c *checker) ancestors(p place) []place {
	if all, ok := c.line.before[p]; ok {
		return all
	}
	var all []place
	for _, id := range c.line.shards[p].Parents {
		parent := place{p.stream, id}
		for _, a := range append([]place{parent}, c.ancestors(parent)...) {
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	c.line.before[p] = all
	return all
}

// kin says whether a key can be in both of two shards one after the other.
func (c *checker) kin(a, b place) bool {
	return a == b || slices.Contains(c.ancestors(a), b) || slices.Contains(c.ancestors(b), a)
}

// ofKey are the sequence numbers of a key's records in a shard.
func (c *checker) ofKey(p place, key string) []string {
	byKey := c.line.keys[p]
	if byKey == nil {
		byKey = map[string][]string{}
		if s := c.shards[p]; s != nil {
			for _, seq := range s.ordered {
				k := s.bySeq[seq].key
				byKey[k] = append(byKey[k], seq)
			}
		}
		c.line.keys[p] = byKey
	}
	return byKey[key]
}

// begins checks that a shard is taken up, or invoked, only once a commit says of
// each of its parents that it is finished.
func (c *checker) begins(line int, e Event) {
	for _, id := range c.line.shards[e.place()].Parents {
		parent := place{e.Stream, id}
		if _, there := c.line.shards[parent]; !there {
			continue // it expired before the read-back
		}
		l := c.lane(lane{e.Trigger, e.Gen, parent})
		if l.mayEnd {
			// The commit was under way at a kill, and here is the proof that it is durable.
			c.committed(l.askedAt, *l.asked)
		}
		if !l.ended {
			c.fail("I13", line, "%s %s: %s, and no commit says that its parent %s is finished", e.Trigger, e.place(), e.Kind, id)
		}
	}
}

// finished takes in that a commit ends a shard: then nothing of it is left.
func (c *checker) finished(line int, e Event) {
	l, s := c.lane(e.lane()), c.shards[e.place()]
	l.ended = true
	if s == nil || len(s.ordered) == 0 {
		return
	}
	if end := s.bySeq[s.ordered[len(s.ordered)-1]].number + 1; e.To < end {
		c.fail("I13", line, "%s %s: finished at %d, and %d records lie behind", e.Trigger, e.place(), e.To, end-e.To)
	}
}

// older checks that all records of a key in the shards before are resolved when one
// of it runs, once a key and shard: what is resolved there stays so.
func (c *checker) older(line int, e Event, l *laneState, seq, key string) {
	if l.older[key] {
		return
	}
	l.older[key] = true
	for _, p := range c.ancestors(e.place()) {
		there := c.lane(lane{e.Trigger, e.Gen, p})
		for _, before := range c.ofKey(p, key) {
			if there.resolved[before] == "" && !there.gap(c.shards[p].bySeq[before].number) && !c.filtered(e.Trigger, c.shards[p].bySeq[before]) {
				c.fail("I5", line, "%s of key %q runs before %s of the same key, in %s before it, is resolved", seq, key, before, p.id)
				return
			}
		}
	}
}

// endFamily checks that every trigger has finished the shards that others came from.
func (c *checker) endFamily() {
	if !c.o.Complete {
		return
	}
	parents := map[place]bool{}
	for p, e := range c.line.shards {
		for _, id := range e.Parents {
			parents[place{p.stream, id}] = true
		}
	}
	for k, l := range c.lanes {
		if parents[k.place] && c.current(k) && !l.ended && !l.mayEnd {
			c.fail("I13", 0, "%s %s: is closed and was never finished", k.trigger, k.place)
		}
	}
}

// current says whether a lane is of the newest generation of its trigger.
func (c *checker) current(k lane) bool {
	for o := range maps.Keys(c.lanes) {
		if o.trigger == k.trigger && o.stream == k.stream && o.gen > k.gen {
			return false
		}
	}
	return true
}

// putOrder checks that what a producer puts after an acknowledgement gets a larger
// sequence number than what was acknowledged, if it is of the same key: in whatever
// shards they are.
type putOrder struct {
	newest map[[2]string]string // by stream and key: largest number that was acknowledged
	at     map[string]string    // by request: what newest was when it began
}

func (o *putOrder) begins(e Event) { o.at[e.Req] = o.newest[[2]string{e.Stream, e.Key}] }

func (o *putOrder) ends(e Event, key string) error {
	k := [2]string{e.Stream, key}
	before := o.at[e.Req]
	if o.newest[k] < e.Seq {
		o.newest[k] = e.Seq
	}
	if e.Seq <= before {
		return fmt.Errorf("%s of key %q in %s is not above %s, which was acknowledged before it was put", e.Seq, key, e.place(), before)
	}
	return nil
}
