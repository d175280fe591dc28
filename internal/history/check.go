package history

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
)

// Options tell [Check] what the run was meant to do.
type Options struct {
	// Poison says whether a payload of that hash can never succeed. Nil: none.
	Poison func(hash string) bool
	// Filtered says whether no filter of a trigger lets a payload of that hash through: it is
	// passed without an invocation. Nil: none.
	Filtered func(trigger, hash string) bool
	// Retries is MaximumRetryAttempts of the triggers; negative: no bound is checked.
	Retries int
	// BatchSize of the triggers, for the bound on invocations; 0: not checked.
	BatchSize int
	// Complete says that the run was drained before the read-back: every
	// acknowledged record must be resolved by every trigger.
	Complete bool
	// Triggers are those of the run. With Complete each of them must have resolved
	// every record of every shard of its stream, even where it left no event; without
	// this list a trigger that never ran would go unnoticed. They begin at the
	// oldest record.
	Triggers []Trigger
	// UniquePayloads says that no two puts to one stream had the same payload: one
	// that is read twice was then stored twice.
	UniquePayloads bool
	// Gaps says that the run was meant to lose records, to retention or damage: a
	// gap then excuses the records it covers from being resolved. Otherwise every
	// gap breaks a promise, and excuses nothing.
	Gaps bool
	// Repeats is how many records of a shard one fault may make succeed again, which
	// is what may be in flight: twice the parallel batches times their size. 0: not
	// checked.
	Repeats int
}

// Trigger is one of a run, and the stream that it reads.
type Trigger struct{ Name, Stream string }

// Violation is one broken promise.
type Violation struct {
	Invariant string // I1, I2, …
	Line      int    // of the history; 0: the read-back
	Text      string
}

func (v Violation) String() string { return fmt.Sprintf("%s line %d: %s", v.Invariant, v.Line, v.Text) }

// record is what the read-back says of a sequence number.
type record struct {
	number    uint64
	key, hash string
}

// place is a shard. Streams all have shards of the same ids.
type place struct{ stream, id string }

func (p place) String() string { return p.stream + "/" + p.id }

func (e Event) place() place { return place{e.Stream, e.Shard} }

// shard is one by read-back, ascending.
type shard struct {
	bySeq   map[string]record
	ordered []string // sequence numbers by running number
}

// Check reads a history and returns every promise it breaks, in order of the
// lines. The read-back must have been written into it last. A line that does
// not say of which stream it is, though its kind should, is an error, and so are
// an empty history and Complete without Triggers: they would check nothing.
func Check(r io.Reader, o Options) ([]Violation, error) {
	var events []Event
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 64<<20)
	for sc.Scan() {
		var e Event
		if len(sc.Bytes()) == 0 {
			continue
		}
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			// A kill may tear the line that a process was writing: it came before that
			// event. Anything else is damage.
			if err.Error() == "unexpected end of JSON input" {
				continue
			}
			return nil, fmt.Errorf("history: line %d: %w", len(events)+1, err)
		}
		switch e.Kind {
		case PutOK, Inv, Ckpt, Take, Gap, Read, Letter, Shard:
			if e.Stream == "" || e.Shard == "" {
				return nil, fmt.Errorf("history: line %d: %s without stream or shard", len(events)+1, e.Kind)
			}
		case Seen:
			if e.Stream == "" || e.ID == "" {
				return nil, fmt.Errorf("history: line %d: %s without stream or id", len(events)+1, e.Kind)
			}
		}
		events = append(events, e)
	}
	if err := sc.Err(); err != nil {
		return nil, err
	}
	if len(events) == 0 {
		return nil, errors.New("history: empty: nothing was checked")
	}
	if o.Complete && len(o.Triggers) == 0 {
		return nil, errors.New("history: complete for which triggers? Options.Triggers is empty")
	}
	c := &checker{
		o: o, shards: map[place]*shard{}, lanes: map[lane]*laneState{}, open: map[string]Event{},
		puts: map[string]Event{}, letters: map[lane]map[string]int{}, letterIDs: map[string]bool{},
		graves: map[string]*grave{}, begun: map[string]*grave{}, outs: outputs{committed: map[string]int{}, seen: map[string]int{}, at: map[string]Event{}},
		order: putOrder{newest: map[[2]string]string{}, at: map[string]string{}},
	}
	c.readBack(events)
	c.family(events)
	for i, e := range events {
		c.event(i+1, e)
	}
	c.expect()
	c.end(events)
	c.endFamily()
	c.endOutputs()
	slices.SortStableFunc(c.out, func(a, b Violation) int { return cmp.Compare(a.Line, b.Line) })
	return c.out, nil
}

type checker struct {
	o      Options
	out    []Violation
	shards map[place]*shard
	lanes  map[lane]*laneState
	open   map[string]Event // invocations under way, by id
	puts   map[string]Event // by request
	faults int              // so far
	// Of the read-back: how often a sequence number is among the dead letters.
	letters   map[lane]map[string]int
	letterIDs map[string]bool
	graves    map[string]*grave // dead letters, by id
	begun     map[string]*grave // those that ran in this life, and have their keys until they are at their ends
	outs      outputs
	line      lineage
	order     putOrder
}

func (c *checker) fail(invariant string, line int, format string, args ...any) {
	c.out = append(c.out, Violation{invariant, line, fmt.Sprintf(format, args...)})
}

// filtered says whether no filter of a trigger lets a record through.
func (c *checker) filtered(trigger string, r record) bool {
	return c.o.Filtered != nil && c.o.Filtered(trigger, r.hash)
}

// readBack collects the independent side, and checks that a sequence number is
// never used twice.
func (c *checker) readBack(events []Event) {
	type payload struct{ stream, hash string }
	stored := map[payload]string{}
	for i, e := range events {
		if e.Kind == Letter {
			if c.letters[e.lane()] == nil {
				c.letters[e.lane()] = map[string]int{}
			}
			c.letters[e.lane()][e.Seq]++
			if e.ID != "" {
				c.letterIDs[e.ID] = true
			}
		}
		if e.Kind == Seen || e.Kind == Read && e.ID != "" {
			c.outs.sees(e)
		}
		if e.Kind != Read {
			continue
		}
		s := c.shards[e.place()]
		if s == nil {
			s = &shard{bySeq: map[string]record{}}
			c.shards[e.place()] = s
		}
		if was, ok := s.bySeq[e.Seq]; ok {
			c.fail("I1", i+1, "sequence %s of %s read twice, hashes %s and %s", e.Seq, e.place(), was.hash, e.Hash)
			continue
		}
		s.bySeq[e.Seq] = record{e.Number, e.Key, e.Hash}
		s.ordered = append(s.ordered, e.Seq)
		p := payload{e.Stream, e.Hash}
		if was, ok := stored[p]; ok && c.o.UniquePayloads && e.ID == "" {
			c.fail("I1", i+1, "one put of %s is stored twice, as %s and as %s", e.Hash, was, e.Seq)
		}
		if e.ID == "" {
			stored[p] = e.Seq
		}
	}
	for id, s := range c.shards {
		slices.SortFunc(s.ordered, func(a, b string) int { return cmp.Compare(s.bySeq[a].number, s.bySeq[b].number) })
		for i, seq := range s.ordered {
			if i > 0 && seq <= s.ordered[i-1] {
				c.fail("I1", 0, "%s: sequence %s at number %d is not above its predecessor", id, seq, s.bySeq[seq].number)
			}
			if i > 0 && s.bySeq[seq].number != s.bySeq[s.ordered[i-1]].number+1 {
				c.fail("I1", 0, "%s: running numbers jump at %s", id, seq)
			}
		}
	}
}

// expect makes lanes of what the triggers should have worked through and did not
// touch, and of those that only a dead letter names. A trigger without any event
// is taken for its first generation.
func (c *checker) expect() {
	for k := range c.letters {
		c.lane(k)
	}
	for _, t := range c.o.Triggers {
		gen := 1
		for k := range c.lanes {
			if k.trigger == t.Name && k.stream == t.Stream {
				gen = max(gen, k.gen)
			}
		}
		for p := range c.shards {
			if p.stream == t.Stream {
				c.lane(lane{t.Name, gen, p})
			}
		}
		for p := range c.line.shards { // empty ones too
			if p.stream == t.Stream {
				c.lane(lane{t.Name, gen, p})
			}
		}
	}
}

func (c *checker) event(line int, e Event) {
	switch e.Kind {
	case Put:
		c.puts[e.Req] = e
		c.order.begins(e)
	case PutOK:
		if err := c.order.ends(e, c.puts[e.Req].Key); err != nil {
			c.fail("I5", line, "%v", err)
		}
		s := c.shards[e.place()]
		if s == nil {
			c.fail("I1", line, "acknowledged %s in %s, of which nothing can be read", e.Seq, e.place())
			return
		}
		switch r, ok := s.bySeq[e.Seq]; {
		case !ok:
			c.fail("I1", line, "acknowledged record %s of %s is lost", e.Seq, e.place())
		case r.hash != e.Hash:
			c.fail("I1", line, "acknowledged record %s of %s reads as %s, was put as %s", e.Seq, e.place(), r.hash, e.Hash)
		default:
			if p, ok := c.puts[e.Req]; ok && p.Key != r.key {
				c.fail("I1", line, "acknowledged record %s of %s reads with key %q, was put with %q", e.Seq, e.place(), r.key, p.Key)
			}
		}
	case Fault:
		c.fault()
	case Inv:
		c.invoked(line, e)
		c.open[e.ID] = e
	case InvEnd:
		inv, ok := c.open[e.ID]
		if !ok {
			c.fail("I6", line, "invocation %s ended and never began", e.ID)
			return
		}
		delete(c.open, e.ID)
		c.ended(line, inv, e)
	case Gap:
		if !c.o.Gaps {
			c.fail("I14", line, "%s %s: %d to %d counted as lost to %s; nothing may have been", e.Trigger, e.place(), e.From, e.To, e.Reason)
			return
		}
		l := c.lane(e.lane())
		l.gaps = append(l.gaps, [2]uint64{e.From, e.To})
	case Ckpt:
		switch e.Result {
		case "ok":
			c.committed(line, e)
		case "asked":
			l := c.lane(e.lane())
			l.asked, l.askedAt = &e, line
		}
	case Take:
		c.took(line, e)
	}
}

// end compares with the read-back of puts and dead letters.
func (c *checker) end(events []Event) {
	put := map[string]map[string]bool{} // hash -> keys
	for i, e := range events {
		switch e.Kind {
		case Put:
			if put[e.Hash] == nil {
				put[e.Hash] = map[string]bool{}
			}
			put[e.Hash][e.Key] = true
		case Letter:
			if s := c.shards[e.place()]; s != nil && s.bySeq[e.Seq].hash != "" && s.bySeq[e.Seq].hash != e.Hash {
				c.fail("I9", i+1, "dead letter of %s holds %s, the record is %s", e.Seq, e.Hash, s.bySeq[e.Seq].hash)
			}
		}
	}
	for i, e := range events {
		if e.Kind != Read || len(put) == 0 || e.ID != "" {
			continue
		}
		switch keys := put[e.Hash]; {
		case keys == nil:
			c.fail("I1", i+1, "record %s of %s holds what nobody put: torn", e.Seq, e.place())
		case !keys[e.Key]:
			c.fail("I1", i+1, "record %s of %s has key %q, with which nobody put it", e.Seq, e.place(), e.Key)
		}
	}
	for k, l := range c.lanes {
		c.endLetters(k, l)
		if c.o.Repeats > 0 && l.again > c.faults*c.o.Repeats {
			c.fail("I6", 0, "%s %s: %d records succeeded again after %d faults, at most %d each expected", k.trigger, k.place, l.again, c.faults, c.o.Repeats)
		}
		s := c.shards[k.place]
		if s == nil {
			continue
		}
		var poison int
		for _, seq := range s.ordered {
			r := s.bySeq[seq]
			if c.o.Poison != nil && c.o.Poison(r.hash) && !c.filtered(k.trigger, r) {
				poison++
			}
			if c.o.Complete && l.resolved[seq] == "" && !l.gap(r.number) && !c.filtered(k.trigger, r) {
				c.fail("I2", 0, "%s %s: %s was never resolved", k.trigger, k.place, seq)
			}
		}
		if c.o.BatchSize > 0 && c.o.Retries >= 0 && c.o.Poison != nil {
			// Each poison record fails once on each level of halving, then by
			// itself once and on every retry; a kill may repeat what no commit held.
			if most := poison*(bits.Len(uint(c.o.BatchSize-1))+1+c.o.Retries) + l.repeats; l.failed > most {
				c.fail("I8", 0, "%s %s: %d failed invocations for %d poison records, at most %d expected", k.trigger, k.place, l.failed, poison, most)
			}
		}
	}
}
