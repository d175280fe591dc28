package history

import "slices"

// grave is one dead letter, of one burial.
type grave struct {
	lane      // of its record
	seq       string
	durable   bool // that it is delivered again
	done      bool // it ran and succeeded
	doneAt    int  // faults there were then
	ended     bool // by a commit
	failures  int
	uncounted int // 1 + commits since its last failure, which a kill may undo; 0: none may be undone
	undone    int
}

// key is the partition key of a letter's record, and whether it is known.
func (c *checker) key(g *grave) (string, bool) {
	s := c.shards[g.place]
	if s == nil {
		return "", false
	}
	r, ok := s.bySeq[g.seq]
	return r.key, ok
}

// faultLetters: what a kill does to letters that are delivered again. Who had a
// key may have it no more, since a unit before it may come back.
func (c *checker) faultLetters() {
	clear(c.begun)
	for _, g := range c.graves {
		if g.uncounted > 0 {
			g.undone++
			g.uncounted = 0
		}
	}
}

// letterInvoked checks that a letter that runs is one, alone, by its trigger and
// in its turn, and that a commit names it before and has not ended it.
func (c *checker) letterInvoked(line int, e Event) {
	if len(e.Seqs) != 1 {
		c.fail("I9", line, "letter %s runs with %d records", e.Letter, len(e.Seqs))
		return
	}
	g := c.graves[e.Letter]
	if g == nil {
		if c.faults == 0 {
			c.fail("I9", line, "letter %s runs, and no commit has buried it", e.Letter)
		}
		g = &grave{lane: e.lane(), seq: e.Seqs[0]} // a kill came between that commit and its line
		c.graves[e.Letter] = g
		c.markDead(c.lane(g.lane), g.seq)
	}
	switch {
	case g.lane != e.lane() || g.seq != e.Seqs[0]:
		c.fail("I9", line, "letter %s of %s %s, %s, runs as %s %s, %s", e.Letter, g.trigger, g.place, g.seq, e.Trigger, e.place(), e.Seqs[0])
		return
	case g.ended:
		c.fail("I9", line, "letter %s runs after a commit ended it", e.Letter)
	case !g.durable:
		c.fail("I9", line, "letter %s runs, and no commit names it as redriven", e.Letter)
	case g.done && g.doneAt == c.faults:
		c.fail("I6", line, "letter %s runs again with no fault since it was done", e.Letter)
	}
	if key, ok := c.key(g); ok {
		for _, l := range c.lanes {
			at := slices.Index(l.redriving, e.Letter)
			for _, id := range l.redriving[:max(at, 0)] {
				before := c.graves[id]
				if before == nil || before.ended || before.done {
					continue
				}
				if k, ok := c.key(before); ok && k == key && before.trigger == g.trigger {
					c.fail("I5", line, "letter %s of key %q runs before %s, which was redriven first", e.Letter, key, id)
				}
			}
		}
	}
	g.uncounted = 0
	c.begun[e.Letter] = g
}

// keyIsFree checks that nobody runs with a key while a letter has it.
func (c *checker) keyIsFree(line int, e Event, key string) {
	for id, g := range c.begun {
		if id == e.Letter || g.ended || g.done || g.trigger != e.Trigger || g.stream != e.Stream {
			continue
		}
		if k, ok := c.key(g); ok && k == key {
			c.fail("I5", line, "%s of key %q runs before letter %s, which is redriven, is at its end", e.Seqs[0], key, id)
		}
	}
}

// letterEnded takes in how the run of a letter ended.
func (c *checker) letterEnded(line int, inv, e Event) {
	g := c.graves[inv.Letter]
	if g == nil {
		return
	}
	switch e.Outcome {
	case "done":
		g.done, g.doneAt = true, c.faults
	case "partial", "error", "timeout":
		g.failures++
		g.uncounted = 1
		if c.o.Retries >= 0 && g.failures > c.o.Retries+1+g.undone {
			c.fail("I10", line, "letter %s failed %d times; %d retries allowed, %d failures undone by kills", inv.Letter, g.failures, c.o.Retries, g.undone)
		}
	}
}

// bury makes graves of what a commit has buried.
func (c *checker) bury(line int, e Event) {
	if len(e.DeadIDs) == 0 {
		return
	}
	if len(e.DeadIDs) != len(e.Dead) {
		c.fail("I9", line, "%d letters of %d records", len(e.DeadIDs), len(e.Dead))
		return
	}
	for i, id := range e.DeadIDs {
		if c.graves[id] != nil {
			c.fail("I9", line, "letter %s is made twice", id)
			continue
		}
		c.graves[id] = &grave{lane: e.lane(), seq: e.Dead[i]}
	}
}

// redrives checks what a commit says of letters that are delivered again: each
// stands in every commit until one of them ends it, once.
func (c *checker) redrives(line int, e Event, l *laneState) {
	for i, id := range e.Redriven {
		again := ""
		if i < len(e.Again) {
			again = e.Again[i]
		}
		if !slices.Contains(l.redriving, id) {
			c.fail("I9", line, "%s %s: letter %s is ended, and no commit before names it as redriven", e.Trigger, e.place(), id)
		}
		c.endLetter(line, id, again)
	}
	for _, id := range l.redriving {
		if !slices.Contains(e.Redriving, id) && !slices.Contains(e.Redriven, id) {
			c.fail("I9", line, "%s %s: the redrive of letter %s is lost", e.Trigger, e.place(), id)
		}
	}
	c.redriving(line, e, l)
}

// redriving takes in the letters that a checkpoint names.
func (c *checker) redriving(line int, e Event, l *laneState) {
	l.redriving = e.Redriving
	for _, id := range e.Redriving {
		g := c.graves[id]
		if g == nil {
			if c.faults == 0 { // otherwise one may have come between that commit and its line
				c.fail("I9", line, "%s %s: letter %s is redriven, and no commit has buried it", e.Trigger, e.place(), id)
			}
			continue
		}
		if g.ended {
			c.fail("I9", line, "%s %s: letter %s is redriven after its end", e.Trigger, e.place(), id)
		}
		g.durable = true
		if g.uncounted > 0 {
			if g.uncounted++; g.uncounted > counted {
				g.uncounted = 0
			}
		}
	}
}

func (c *checker) endLetter(line int, id, again string) {
	g := c.graves[id]
	if g == nil { // too old for any run, perhaps
		g = &grave{ended: true}
		c.graves[id] = g
		return
	}
	switch {
	case g.ended:
		c.fail("I9", line, "letter %s is ended twice", id)
	case again == "" && !g.done:
		c.fail("I9", line, "letter %s is ended as done, and no run of it succeeded", id)
	case again != "" && g.done && g.doneAt == c.faults:
		c.fail("I9", line, "letter %s was done and is buried again", id)
	}
	g.ended = true
	if again == "" {
		return
	}
	if c.graves[again] != nil {
		c.fail("I9", line, "letter %s is made twice", again)
	}
	c.graves[again] = &grave{lane: g.lane, seq: g.seq}
}

// tookLetters compares the letters that the journal names with those of the last
// line. Only a commit that was asked for and has no answer may come between.
func (c *checker) tookLetters(line int, e Event, l *laneState) {
	landed, open := 0, 0
	var asked Event
	if l.asked != nil {
		asked = *l.asked
	}
	for i, id := range asked.Redriven {
		if slices.Contains(e.Redriving, id) {
			open++
			continue
		}
		landed++
		again := ""
		if i < len(asked.Again) {
			again = asked.Again[i]
		}
		c.endLetter(line, id, again)
	}
	if landed > 0 && open > 0 {
		c.fail("I9", line, "%s %s: of one commit's redriven letters %d are ended and %d are not", e.Trigger, e.place(), landed, open)
	}
	for _, id := range l.redriving {
		if !slices.Contains(e.Redriving, id) && !slices.Contains(asked.Redriven, id) {
			c.fail("I9", line, "%s %s: the redrive of letter %s is lost", e.Trigger, e.place(), id)
		}
	}
	c.redriving(line, e, l)
}

// endLetters compares graves with the dead letters that there are.
func (c *checker) endLetters(k lane, l *laneState) {
	want := map[string]int{}
	for seq := range l.dead {
		want[seq] = 1
	}
	for id, g := range c.graves {
		if g.lane != k {
			continue
		}
		if g.ended {
			want[g.seq] = 0
		}
		if g.ended && c.letterIDs[id] {
			c.fail("I9", 0, "letter %s is at its end and still among the dead letters", id)
		}
	}
	for _, g := range c.graves {
		if g.lane == k && !g.ended {
			want[g.seq] = 1 // buried again
		}
	}
	for seq := range l.dead {
		if n := c.letters[k][seq]; n != want[seq] {
			c.fail("I9", 0, "%s %s: %s was buried and stands %d times among the dead letters, want %d", k.trigger, k.place, seq, n, want[seq])
		}
	}
	for seq := range c.letters[k] {
		if !l.dead[seq] {
			c.fail("I9", 0, "%s %s: dead letter %s rides in no accepted commit", k.trigger, k.place, seq)
		}
	}
	if c.o.Complete {
		for _, id := range l.redriving {
			c.fail("I9", 0, "%s %s: the redrive of letter %s never ended", k.trigger, k.place, id)
		}
	}
}
