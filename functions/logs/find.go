package logs

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"
)

// Position is where an event stands in its group: by time, and of one millisecond by when
// it came. The zero Position is before all events.
type Position struct {
	Millis int64 // Unix
	ID     uint64
}

// Compare orders positions.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Millis, q.Millis), cmp.Compare(p.ID, q.ID))
}

// Event is an event as it is kept.
type Event struct {
	Position
	Stream    string
	Ingested  int64 // Unix milliseconds
	RequestID string
	Text      string
}

// Query says which events of a group are wanted.
type Query struct {
	Group string
	// Streams are the only ones, and Prefix begins the names of the only ones; nil and ""
	// restrict nothing.
	Streams []string
	Prefix  string
	// From and Before bound the events' times, in Unix milliseconds: From <= time < Before.
	// Before nil is no bound.
	From   int64
	Before *int64
	// After has only what follows it, Until only what comes before it. Nil: no bound.
	After, Until *Position
	// Last wants the last Limit events instead of the first.
	Last  bool
	Limit int // events, at least 1
	// Bytes bounds the texts and 26 bytes for each event; one event there is in any case.
	Bytes int
	// Match picks events by their text, nil: all. It must not keep or change what it is given.
	Match func(text []byte) bool
}

// eventCost is what CloudWatch counts for an event beside its text.
const eventCost = 26

// Find gives events in the order of their positions, and whether there are more in the
// direction asked for. A group that is not there is ErrNoGroup.
func (s *Store) Find(q Query) (events []Event, more bool, err error) {
	g, err := s.group(q.Group)
	if err != nil {
		return nil, false, err
	}
	g.mu.Lock()
	q.From = max(q.From, g.cutoff(time.Now()))
	deleted := g.def.Deleted
	candidates := make([]*candidate, 0, len(g.segments))
	for _, seg := range g.segments {
		c := &candidate{first: seg.first, min: seg.min, max: seg.max, part: seg.from(0)}
		if seg.n == 0 || !q.overlaps(c.min, c.max) {
			continue
		}
		if !q.any(seg) {
			continue
		}
		candidates = append(candidates, c)
	}
	g.mu.Unlock()
	slices.SortFunc(candidates, func(a, b *candidate) int {
		if q.Last {
			return cmp.Compare(b.max, a.max)
		}
		return cmp.Compare(a.min, b.min)
	})
	p := &page{Query: q}
	for _, c := range candidates {
		if p.beyond(c) {
			break
		}
		err := c.part.each(func(place int, r *raw) {
			id := c.first + uint64(place)
			if id >= deleted[r.stream] {
				p.offer(id, r)
			}
		}, s.tell(q.Group, c.part))
		if err != nil {
			return nil, false, fmt.Errorf("logs: read group %s: %w", q.Group, err)
		}
		p.cut()
	}
	return p.events, p.more, nil
}

// candidate is a segment that may have what is asked for.
type candidate struct {
	first    uint64
	min, max int64
	part     part
}

func (q *Query) overlaps(low, high int64) bool {
	return high >= q.From && (q.Before == nil || low < *q.Before) &&
		(q.After == nil || high >= q.After.Millis) && (q.Until == nil || low <= q.Until.Millis)
}

// any says whether a segment has any of the streams.
func (q *Query) any(s *segment) bool {
	switch {
	case q.Streams != nil:
		return slices.ContainsFunc(q.Streams, func(name string) bool { return s.streams[name] != nil })
	case q.Prefix != "":
		for name := range maps.Keys(s.streams) {
			if strings.HasPrefix(name, q.Prefix) {
				return true
			}
		}
		return false
	}
	return true
}

func (q *Query) wants(at Position, r *raw) bool {
	return at.Millis >= q.From && (q.Before == nil || at.Millis < *q.Before) &&
		(q.After == nil || at.Compare(*q.After) > 0) && (q.Until == nil || at.Compare(*q.Until) < 0) &&
		(q.Streams == nil || slices.Contains(q.Streams, r.stream)) && strings.HasPrefix(r.stream, q.Prefix) &&
		(q.Match == nil || q.Match(r.text))
}

// page collects the first, or the last, events of a query.
type page struct {
	Query
	events []Event
	bytes  int
	more   bool     // something was cut off
	edge   Position // of the page as it was then: what lies further out is not wanted
}

func (p *page) offer(id uint64, r *raw) {
	at := Position{r.millis(), id}
	if p.more && p.worse(at) || !p.wants(at, r) {
		return
	}
	p.events = append(p.events, Event{Position: at, Stream: r.stream, Ingested: r.ingested(), RequestID: r.request, Text: r.whole()})
	p.bytes += len(r.text) + eventCost
	if len(p.events) > 2*p.Limit+64 || p.bytes > 2*p.Bytes+MaxText {
		p.cut()
	}
}

// worse says whether a position is cut off once there is a full page.
func (p *page) worse(at Position) bool {
	if p.Last {
		return at.Compare(p.edge) < 0
	}
	return at.Compare(p.edge) > 0
}

// beyond says that nothing of a candidate can be in the page.
func (p *page) beyond(c *candidate) bool {
	if !p.more {
		return false
	}
	if p.Last {
		return c.max < p.edge.Millis
	}
	return c.min > p.edge.Millis
}

// cut orders what there is and keeps a page of it.
func (p *page) cut() {
	sort.Slice(p.events, func(i, j int) bool { return p.events[i].Compare(p.events[j].Position) < 0 })
	n, bytes := 0, 0
	for n < len(p.events) && n < p.Limit {
		e := &p.events[n]
		if p.Last {
			e = &p.events[len(p.events)-1-n]
		}
		cost := len(e.Text) + eventCost
		if n > 0 && bytes+cost > p.Bytes {
			break
		}
		bytes += cost
		n++
	}
	p.bytes = bytes
	if n == len(p.events) {
		return
	}
	p.more = true
	if p.Last {
		p.events = slices.Delete(p.events, 0, len(p.events)-n)
		p.edge = p.events[0].Position
		return
	}
	clear(p.events[n:])
	p.events = p.events[:n]
	p.edge = p.events[n-1].Position
}
