package history

import (
	"crypto/md5"
	"fmt"
	"maps"
	"slices"
)

// lane is one trigger's way through one shard.
type lane struct {
	trigger string
	gen     int
	place
}

func (e Event) lane() lane { return lane{e.Trigger, e.Gen, e.place()} }

type laneState struct {
	epoch, to uint64
	seen      int               // faults there were at the newest Ckpt or Take
	resolved  map[string]string // seq -> done, dead
	doneAt    map[string]int    // seq -> faults there were when it was done
	taken     map[string]bool   // finished above the checkpoint, by a Take
	gaps      [][2]uint64
	dead      map[string]bool

	failed    int            // invocations that failed
	failures  map[string]int // same batch -> how often it failed
	uncounted map[string]int // batch whose last failure a kill may undo -> commits since
	undone    map[string]int // batch -> failures that a kill may have undone
	repeats   int            // their sum

	again     int      // successes of records that had succeeded
	redriving []string // letters that the newest Ckpt or Take names
	asked     *Event   // the commit that has no answer yet
	askedAt   int

	ended  bool            // by a commit: the shard is finished
	mayEnd bool            // a kill came while such a commit, asked, was under way
	older  map[string]bool // keys of which all records in shards before were looked at
}

// counted is how many commits must follow a failure before one of them surely
// holds it: the first may have been under way when the function ended.
const counted = 2

func (c *checker) lane(k lane) *laneState {
	l := c.lanes[k]
	if l == nil {
		l = &laneState{
			resolved: map[string]string{}, doneAt: map[string]int{}, taken: map[string]bool{}, dead: map[string]bool{},
			failures: map[string]int{}, uncounted: map[string]int{}, undone: map[string]int{},
			older: map[string]bool{},
		}
		c.lanes[k] = l
	}
	return l
}

// fault is a kill: what was under way is over, and a failure that no commit
// holds will happen again.
func (c *checker) fault() {
	c.faults++
	clear(c.open)
	for _, l := range c.lanes {
		for batch := range l.uncounted {
			l.undone[batch]++
			l.repeats++
		}
		clear(l.uncounted)
		l.mayEnd = l.asked != nil && l.asked.Ended
	}
	c.faultLetters()
}

// invoked checks that no two invocations under way share a key; order per key:
// whenever a record runs, the one before it of its key is resolved or stands
// before it in the batch; and that a record runs again only where a kill may
// have undone that it was resolved.
func (c *checker) invoked(line int, e Event) {
	l, s := c.lane(e.lane()), c.shards[e.place()]
	if s == nil {
		return
	}
	// Nobody runs a batch again in the same life before its failure is durable.
	if e.Letter == "" {
		delete(l.uncounted, fmt.Sprint(e.Seqs))
		c.begins(line, e)
	} else {
		c.letterInvoked(line, e)
	}
	busy := map[string]string{} // key -> invocation
	for id, o := range c.open {
		// A letter may come from another shard than the one that runs it.
		letters := (o.Letter != "" || e.Letter != "") && o.Trigger == e.Trigger && o.Stream == e.Stream
		if there := c.shards[o.place()]; there != nil && (letters || o.Trigger == e.Trigger && o.Gen == e.Gen && c.kin(o.place(), e.place())) {
			for _, seq := range o.Seqs {
				busy[there.bySeq[seq].key] = id
			}
		}
	}
	inBatch := map[string]bool{}
	for i, seq := range e.Seqs {
		r, ok := s.bySeq[seq]
		if !ok {
			c.fail("I1", line, "invoked with %s of %s, which cannot be read back", seq, e.place())
			continue
		}
		if i > 0 && seq <= e.Seqs[i-1] {
			c.fail("I5", line, "batch %s is not in order of sequence at %s", e.ID, seq)
		}
		inBatch[seq] = true
		if e.Letter == "" && c.filtered(e.Trigger, r) {
			c.fail("I15", line, "%s %s: invoked with %s, which no filter lets through", e.Trigger, e.place(), seq)
		}
		if id, ok := busy[r.key]; ok {
			c.fail("I5", line, "%s of key %q runs while invocation %s has that key", seq, r.key, id)
		}
		c.keyIsFree(line, e, r.key)
		if e.Letter != "" {
			continue // records that it stands before ran long ago
		}
		c.again(line, e, l, seq, r)
		c.older(line, e, l, seq, r.key)
		for at := c.indexOf(s, r.number) - 1; at >= 0; at-- {
			before := s.ordered[at]
			if s.bySeq[before].key != r.key {
				continue
			}
			if inBatch[before] || l.resolved[before] != "" {
				break // the one before it was checked when it ran
			}
			if !l.gap(s.bySeq[before].number) && !c.filtered(e.Trigger, s.bySeq[before]) {
				c.fail("I5", line, "%s of key %q runs before %s of the same key is resolved", seq, r.key, before)
				break
			}
		}
	}
}

// again checks that a record that is finished does not run.
func (c *checker) again(line int, e Event, l *laneState, seq string, r record) {
	done, ran := l.doneAt[seq]
	switch {
	case l.dead[seq]:
		c.fail("I9", line, "%s %s: %s runs after it was buried", e.Trigger, e.place(), seq)
	case r.number < l.to || l.taken[seq]:
		c.fail("I6", line, "%s %s: %s runs though it is finished by a commit", e.Trigger, e.place(), seq)
	case ran && done == c.faults:
		c.fail("I6", line, "%s %s: %s runs again with no fault since it was done", e.Trigger, e.place(), seq)
	}
}

func (c *checker) indexOf(s *shard, number uint64) int {
	if len(s.ordered) == 0 {
		return 0
	}
	return int(number - s.bySeq[s.ordered[0]].number)
}

func (l *laneState) gap(number uint64) bool {
	return slices.ContainsFunc(l.gaps, func(g [2]uint64) bool { return g[0] <= number && number < g[1] })
}

func (c *checker) ended(line int, inv, e Event) {
	if inv.Letter != "" {
		c.letterEnded(line, inv, e)
		return
	}
	if inv.Final {
		return // of a tumbling window: it has no records, and is tried for ever
	}
	l := c.lane(inv.lane())
	batch := fmt.Sprint(inv.Seqs)
	done := func(seq string) {
		if l.resolved[seq] == "done" {
			l.again++
		}
		l.resolved[seq], l.doneAt[seq] = "done", c.faults
		if s := c.shards[inv.place()]; s != nil && c.o.Poison != nil && c.o.Poison(s.bySeq[seq].hash) {
			c.fail("I8", line, "poison record %s of %s succeeded", seq, inv.place())
		}
	}
	switch e.Outcome {
	case "done":
		for _, seq := range inv.Seqs {
			done(seq)
		}
	case "partial":
		for _, seq := range inv.Seqs {
			if seq >= e.Seq {
				break
			}
			done(seq)
		}
		l.failed++
		l.uncounted[batch] = 0
	case "error", "timeout":
		l.failed++
		l.uncounted[batch] = 0
		if c.o.Retries < 0 {
			return
		}
		l.failures[batch]++
		if n := l.failures[batch]; n > c.o.Retries+1+l.undone[batch] {
			c.fail("I10", line, "batch of %d from %s failed %d times; %d retries allowed, %d failures undone by kills", len(inv.Seqs), inv.Seqs[0], n, c.o.Retries, l.undone[batch])
		}
	}
}

// committed checks that a checkpoint covers only what is resolved, never moves
// back, and is never written by a former owner.
func (c *checker) committed(line int, e Event) {
	l := c.lane(e.lane())
	if e.Epoch < l.epoch {
		c.fail("I4", line, "%s %s: commit of epoch %d accepted after epoch %d", e.Trigger, e.place(), e.Epoch, l.epoch)
	}
	l.epoch = max(l.epoch, e.Epoch)
	for batch := range l.uncounted {
		if l.uncounted[batch]++; l.uncounted[batch] == counted {
			delete(l.uncounted, batch)
		}
	}
	for _, seq := range e.Dead {
		if l.dead[seq] {
			c.fail("I9", line, "%s %s: %s buried twice", e.Trigger, e.place(), seq)
		}
		c.buried(line, e, seq)
	}
	c.bury(line, e)
	c.redrives(line, e, l)
	c.outCommitted(line, e)
	l.asked, l.mayEnd = nil, false
	if e.To < l.to {
		c.fail("I3", line, "%s %s: checkpoint fell from %d to %d", e.Trigger, e.place(), l.to, e.To)
	}
	c.passed(line, e, Span{^uint64(0), l.to, e.To}, nil)
	l.to, l.seen = max(l.to, e.To), c.faults
	if e.Ended {
		c.finished(line, e)
	}
}

// took checks what the journal held when a poller took the shard up. A kill may
// come between a commit that is durable and its line: only then may it hold
// more than the lines tell, and dead letters that no line names.
func (c *checker) took(line int, e Event) {
	l := c.lane(e.lane())
	killed := c.faults > l.seen
	if l.epoch > 0 && e.Epoch <= l.epoch {
		c.fail("I4", line, "%s %s: taken up for epoch %d, and there are commits of %d", e.Trigger, e.place(), e.Epoch, l.epoch)
	}
	if e.To < l.to {
		c.fail("I3", line, "%s %s: taken up at %d, below the checkpoint %d", e.Trigger, e.place(), e.To, l.to)
	}
	if s := c.shards[e.place()]; !killed && s != nil && len(s.ordered) > 0 && e.To > max(l.to, s.bySeq[s.ordered[0]].number) {
		c.fail("I3", line, "%s %s: taken up at %d, above the checkpoint %d, with no fault since", e.Trigger, e.place(), e.To, l.to)
	}
	// A commit that was asked for tells what a kill may have kept from being told.
	letters := map[string]int{}
	if killed {
		maps.Copy(letters, c.letters[e.lane()])
		if l.asked != nil {
			for _, seq := range l.asked.Dead {
				letters[seq] = max(letters[seq], 1)
			}
		}
	}
	before := len(l.dead)
	c.passed(line, e, Span{^uint64(0), l.to, e.To}, letters)
	for _, span := range e.Spans {
		for _, seq := range c.passed(line, e, span, letters) {
			l.taken[seq] = true
		}
	}
	if l.asked != nil && len(l.dead) > before {
		c.bury(line, *l.asked)
	}
	c.tookLetters(line, e, l)
	c.unanswered(l)
	l.mayEnd = false
	switch {
	case e.Ended:
		l.ended = true
	case l.ended:
		c.fail("I13", line, "%s %s: taken up unfinished, and a commit has finished it", e.Trigger, e.place())
	default:
		c.begins(line, e)
	}
	// A poller that ends well commits what it knows.
	clear(l.uncounted)
	l.to, l.seen = max(l.to, e.To), c.faults
}

// buried says that a commit holds a dead letter.
func (c *checker) buried(line int, e Event, seq string) {
	l, s := c.lane(e.lane()), c.shards[e.place()]
	c.markDead(l, seq)
	if s != nil && c.o.Poison != nil && !c.o.Poison(s.bySeq[seq].hash) {
		c.fail("I8", line, "%s %s: %s buried, though it is not poison", e.Trigger, e.place(), seq)
	}
}

func (c *checker) markDead(l *laneState, seq string) {
	l.dead[seq] = true
	if l.resolved[seq] == "" {
		l.resolved[seq] = "dead"
	}
}

// passed checks that every record of a span that a commit calls finished is
// resolved, and returns them. One that is not, and is among the letters, was
// buried by that commit.
func (c *checker) passed(line int, e Event, span Span, letters map[string]int) (finished []string) {
	l, s := c.lane(e.lane()), c.shards[e.place()]
	if s == nil || len(s.ordered) == 0 {
		return nil
	}
	first := s.bySeq[s.ordered[0]].number
	for n := max(span.From, first); n < span.To; n++ {
		i := int(n - first)
		if i >= len(s.ordered) {
			c.fail("I2", line, "%s %s: %s to %d lies beyond the last record", e.Trigger, e.place(), e.Kind, span.To)
			break
		}
		seq := s.ordered[i]
		if span.Buckets>>bucket(s.bySeq[seq].key)&1 == 0 {
			continue
		}
		finished = append(finished, seq)
		switch {
		case l.resolved[seq] != "":
		case letters[seq] > 0:
			c.buried(line, e, seq)
		case !l.gap(n) && !c.filtered(e.Trigger, s.bySeq[seq]):
			c.fail("I2", line, "%s %s: %s to %d passes %s, which was neither done nor buried", e.Trigger, e.place(), e.Kind, span.To, seq)
		}
	}
	return finished
}

// bucket is the low six bits of the MD5 of a partition key. It is worked out
// here, and not by the code that is checked.
func bucket(key string) uint8 {
	sum := md5.Sum([]byte(key))
	return sum[len(sum)-1] & 63
}
