package history

// outputs is what commits hold of outputs, and what is visible.
type outputs struct {
	committed map[string]int // name -> line
	// lost are the outputs of commits that were asked for and whose answer nobody
	// wrote down: each is there as a whole or not at all.
	lost []lostCommit
	seen map[string]int // name -> how often
}

type lostCommit struct {
	line int
	out  []string
}

// sees takes in an output that is visible.
func (o *outputs) sees(e Event) { o.seen[OutName(e.Stream, e.ID)]++ }

// outCommitted checks that an output is in one commit.
func (c *checker) outCommitted(line int, e Event) {
	for _, name := range e.Out {
		if was, ok := c.outs.committed[name]; ok {
			c.fail("I7", line, "output %s is in the commits of lines %d and %d", name, was, line)
			continue
		}
		c.outs.committed[name] = line
	}
}

// unanswered keeps what may be durable of a lane's last commit.
func (c *checker) unanswered(l *laneState) {
	if l.asked != nil && len(l.asked.Out) > 0 {
		c.outs.lost = append(c.outs.lost, lostCommit{l.askedAt, l.asked.Out})
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
