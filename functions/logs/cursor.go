package logs

// cursor reads the events of a group in the order in which they came. One goroutine uses it.
type cursor struct {
	store *Store
	name  string
	group *group // nil: there was none
	id    uint64 // of the next event
	end   uint64 // id of the event that was to come next when it was made

	at    uint64 // first of the segment that what follows is about; 0: none
	off   int    // what of it was fetched
	place uint64 // of the event that buf begins with
	buf   []byte // fetched and not read yet
	dec   decoder
	tell  func(hole) // with what of it is damaged
}

// cursor begins before the last n events; all for n < 0.
func (s *Store) cursor(name string, n int) *cursor {
	c := &cursor{store: s, name: name, id: 1}
	g, err := s.group(name)
	if err != nil {
		return c
	}
	c.group = g
	g.mu.Lock()
	defer g.mu.Unlock()
	c.id, c.end = g.next, g.next
	for i := len(g.segments) - 1; i >= 0 && n != 0; i-- {
		seg := g.segments[i]
		if n > 0 && n < seg.n {
			c.id = seg.first + uint64(seg.n-n)
			break
		}
		c.id = seg.first
		if n > 0 {
			n -= seg.n
		}
	}
	return c
}

// mostAtOnce is how many lines a cursor gives at once.
const mostAtOnce = 256

// next gives some lines, how many are gone that should have come before them, and, when
// there are none, what is closed when there may be.
func (c *cursor) next() (lines []Line, missed uint64, more <-chan struct{}) {
	for {
		if len(c.buf) == 0 {
			p, gone, more := c.fetch()
			missed += gone
			if more != nil {
				return nil, missed, more
			}
			b, err := p.read()
			if err != nil || len(b) == 0 {
				c.pass()
				continue
			}
			c.buf, c.tell = b, c.store.tell(c.name, p)
			c.off += len(b)
		}
		for len(c.buf) > 0 && len(lines) < mostAtOnce {
			r, n, event := c.dec.next(c.buf)
			if n == 0 { // damaged since it was written
				n, _ = c.dec.skip(c.buf)
				c.tell(hole{c.off - len(c.buf), n})
			}
			c.buf = c.buf[n:]
			if !event {
				continue
			}
			id := c.at + c.place
			c.place++
			if id >= c.id {
				c.id = id + 1
				lines = append(lines, Line{Time: r.time(), RequestID: r.request, Stream: r.stream, Text: string(r.text)})
			}
		}
		if len(lines) > 0 {
			return lines, missed, nil
		}
	}
}

// fetch finds what comes next. More is not nil when there is nothing.
func (c *cursor) fetch() (p part, missed uint64, more <-chan struct{}) {
	for {
		if c.group == nil {
			if more := c.find(); more != nil {
				return p, missed, more
			}
		}
		g := c.group
		g.mu.Lock()
		if g.gone {
			g.mu.Unlock()
			c.group, c.id, c.at = nil, 1, 0
			continue
		}
		for _, seg := range g.segments {
			if c.id >= seg.first+uint64(seg.n) {
				continue
			}
			if c.id < seg.first {
				missed += seg.first - c.id
				c.id = seg.first
			}
			if c.at != seg.first {
				c.at, c.off, c.place, c.dec = seg.first, 0, 0, decoder{}
			}
			p = seg.from(c.off)
			g.mu.Unlock()
			return p, missed, nil
		}
		if g.more == nil {
			g.more = make(chan struct{})
		}
		more = g.more
		g.mu.Unlock()
		return p, missed, more
	}
}

// find looks for the group; not nil is closed when one is made.
func (c *cursor) find() <-chan struct{} {
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.group = s.groups[c.name]; c.group != nil {
		return nil
	}
	if s.made == nil {
		s.made = make(chan struct{})
	}
	return s.made
}

// pass gives up what is left of the segment: it was trimmed meanwhile, or is damaged.
func (c *cursor) pass() {
	g := c.group
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, seg := range g.segments {
		if seg.first == c.at {
			c.id = max(c.id, seg.first+uint64(seg.n))
		}
	}
	c.at = 0
}
