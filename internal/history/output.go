package history

import (
	"cmp"
	"slices"
)

// outputs is what commits hold of outputs, and what is visible.
type outputs struct {
	committed map[string]int // name -> line
	// lost are the outputs of commits that were asked for and whose answer nobody
	// wrote down: each is there as a whole or not at all.
	lost []lostCommit
	seen map[string]int // name -> how often
	// at is where each was read back, of those that were read with a place.
	at map[string]Event
	// made are the names in the order in which each lane has asked for them.
	made []made
}

// made is an output of a lane, and the line that tells of it.
type made struct {
	lane
	line int
	name string
}

type lostCommit struct {
	line int
	out  []string
}

// sees takes in an output that is visible.
func (o *outputs) sees(e Event) {
	name := OutName(e.Stream, e.ID)
	o.seen[name]++
	if e.Kind == Read {
		o.at[name] = e
	}
}

// outCommitted checks that an output is in one commit.
func (c *checker) outCommitted(line int, e Event) {
	for _, name := range e.Out {
		if was, ok := c.outs.committed[name]; ok {
			c.fail("I7", line, "output %s is in the commits of lines %d and %d", name, was, line)
			continue
		}
		c.outs.committed[name] = line
		c.outs.made = append(c.outs.made, made{e.lane(), line, name})
	}
}

// unanswered keeps what may be durable of a lane's last commit.
func (c *checker) unanswered(l *laneState) {
	if l.asked != nil && len(l.asked.Out) > 0 {
		c.outs.lost = append(c.outs.lost, lostCommit{l.askedAt, l.asked.Out})
		for _, name := range l.asked.Out {
			c.outs.made = append(c.outs.made, made{l.asked.lane(), l.askedAt, name})
		}
	}
	l.asked = nil
}

// endOutputs checks that what is committed, and nothing else, is visible once.
func (c *checker) endOutputs() {
	for _, l := range c.lanes {
		c.unanswered(l)
	}
	for name, line := range c.outs.committed {
		if c.outs.seen[name] == 0 && c.o.Complete {
			c.fail("I7", line, "output %s is committed and nowhere to be seen", name)
		}
	}
	c.outputOrder()
	excused := map[string]bool{}
	for _, lost := range c.outs.lost {
		seen, unseen := 0, 0
		for _, name := range lost.out {
			excused[name] = true
			if _, ok := c.outs.committed[name]; ok {
				continue // by a later commit, since this one was not durable
			}
			if c.outs.seen[name] > 0 {
				seen++
			} else {
				unseen++
			}
		}
		if seen > 0 && unseen > 0 && c.o.Complete {
			c.fail("I7", lost.line, "of the outputs of one commit %d are to be seen and %d are not", seen, unseen)
		}
	}
	for name, n := range c.outs.seen {
		if n > 1 {
			c.fail("I7", c.outs.committed[name], "output %s is visible %d times", name, n)
		}
		if _, ok := c.outs.committed[name]; !ok && !excused[name] {
			c.fail("I7", 0, "output %s is visible, and no commit holds it", name)
		}
	}
}

// outputOrder checks that of each key what a shard has emitted to a stream is there
// in the order in which it was committed, behind what the shards before it have.
func (c *checker) outputOrder() {
	type way struct {
		trigger string
		gen     int
		source  string // stream
		target  string
		key     string
	}
	type step struct {
		made
		seq string
	}
	// Of commits with the same output the last is the durable one: it would not have
	// been asked for again.
	last := map[string]int{}
	for _, m := range c.outs.made {
		last[m.name] = max(last[m.name], m.line)
	}
	ways := map[way][]step{}
	for _, m := range c.outs.made {
		e, read := c.outs.at[m.name]
		if !read || m.line != last[m.name] {
			continue
		}
		w := way{m.trigger, m.gen, m.stream, e.Stream, e.Key}
		ways[w] = append(ways[w], step{m, e.Seq})
	}
	for w, steps := range ways {
		slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(a.line, b.line) })
		last := map[place]step{}
		for _, s := range steps {
			for _, before := range append([]place{s.place}, c.ancestors(s.place)...) {
				if o, ok := last[before]; ok && o.seq >= s.seq {
					c.fail("I5", s.line, "%s %s: output %s of key %q stands before %s, which was committed first", w.trigger, s.place, s.name, w.key, o.name)
				}
			}
			if s.seq > last[s.place].seq {
				last[s.place] = s
			}
		}
	}
}
