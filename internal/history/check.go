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
	// Retries is MaximumRetryAttempts of the triggers; negative: no bound is checked.
	Retries int
	// BatchSize of the triggers, for the bound on invocations; 0: not checked.
	BatchSize int
	// Complete says that the run was drained before the read-back: every
	// acknowledged record must be resolved by every trigger.
	Complete bool
	// Gaps says that the run was meant to lose records, to retention or damage: a
	// gap then excuses the records it covers from being resolved. Otherwise every
	// gap breaks a promise, and excuses nothing.
	Gaps bool
}

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

// lane is one trigger's way through one shard.
type lane struct {
	trigger string
	gen     int
	place
}

func (e Event) lane() lane { return lane{e.Trigger, e.Gen, e.place()} }

type laneState struct {
	epoch, to uint64
	resolved  map[string]string // seq -> done, dead
	gaps      [][2]uint64
	invoked   map[string]bool
	failures  map[string]int // same batch -> how often it failed
	failed    int            // invocations that failed
	dead      map[string]bool
}

// Check reads a history and returns every promise it breaks, in order of the
// lines. The read-back must have been written into it last. A line that does
// not say of which stream it is, though its kind should, is an error.
func Check(r io.Reader, o Options) ([]Violation, error) {
	var events []Event
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 64<<20)
	for sc.Scan() {
		var e Event
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			// A kill may cut the last line of a process short; anything else is damage.
			return nil, fmt.Errorf("history: line %d: %w", len(events)+1, err)
		}
		switch e.Kind {
		case PutOK, Inv, Ckpt, Gap, Read, Letter:
			if e.Stream == "" || e.Shard == "" {
				return nil, fmt.Errorf("history: line %d: %s without stream or shard", len(events)+1, e.Kind)
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
	c := &checker{o: o, shards: map[place]*shard{}, lanes: map[lane]*laneState{}, open: map[string]Event{}}
	c.readBack(events)
	for i, e := range events {
		c.event(i+1, e)
	}
	c.end(events)
	slices.SortStableFunc(c.out, func(a, b Violation) int { return cmp.Compare(a.Line, b.Line) })
	return c.out, nil
}

type checker struct {
	o      Options
	out    []Violation
	shards map[place]*shard
	lanes  map[lane]*laneState
	open   map[string]Event // invocations under way, by id
	kills  int
}

func (c *checker) fail(invariant string, line int, format string, args ...any) {
	c.out = append(c.out, Violation{invariant, line, fmt.Sprintf(format, args...)})
}

// readBack collects the independent side, and checks that a sequence number is
// never used twice.
func (c *checker) readBack(events []Event) {
	for i, e := range events {
		if e.Kind == Fault {
			c.kills++
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

func (c *checker) lane(e Event) *laneState {
	k := e.lane()
	l := c.lanes[k]
	if l == nil {
		l = &laneState{resolved: map[string]string{}, invoked: map[string]bool{}, failures: map[string]int{}, dead: map[string]bool{}}
		c.lanes[k] = l
	}
	return l
}

func (c *checker) event(line int, e Event) {
	switch e.Kind {
	case PutOK:
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
		}
	case Inv:
		c.open[e.ID] = e
		c.invoked(line, e)
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
		l := c.lane(e)
		l.gaps = append(l.gaps, [2]uint64{e.From, e.To})
	case Ckpt:
		if e.Result == "ok" {
			c.committed(line, e)
		}
	}
}

// invoked checks order per key: a record runs for the first time only after
// every earlier record of its key is resolved or stands before it in the batch.
func (c *checker) invoked(line int, e Event) {
	l, s := c.lane(e), c.shards[e.place()]
	if s == nil {
		return
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
		if l.invoked[seq] {
			continue
		}
		l.invoked[seq] = true
		for at := c.indexOf(s, r.number) - 1; at >= 0; at-- {
			before := s.ordered[at]
			if s.bySeq[before].key != r.key {
				continue
			}
			if !inBatch[before] && l.resolved[before] == "" && !l.gap(s.bySeq[before].number) {
				c.fail("I5", line, "%s of key %q runs before %s of the same key is resolved", seq, r.key, before)
			}
			break // the one before it was checked when it ran
		}
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
	l := c.lane(inv)
	switch e.Outcome {
	case "done":
		for _, seq := range inv.Seqs {
			l.resolved[seq] = "done"
			if s := c.shards[inv.place()]; s != nil && c.o.Poison != nil && c.o.Poison(s.bySeq[seq].hash) {
				c.fail("I8", line, "poison record %s of %s succeeded", seq, inv.place())
			}
		}
	case "partial":
		for _, seq := range inv.Seqs {
			if seq >= e.Seq {
				break
			}
			l.resolved[seq] = "done"
		}
		l.failed++
	case "error", "timeout":
		l.failed++
		if c.o.Retries < 0 {
			return
		}
		batch := fmt.Sprint(inv.Seqs)
		l.failures[batch]++
		// A kill may come between the function's end and the commit that counts it.
		if n := l.failures[batch]; n > c.o.Retries+1+c.kills {
			c.fail("I10", line, "batch of %d from %s failed %d times; %d retries allowed, %d kills", len(inv.Seqs), inv.Seqs[0], n, c.o.Retries, c.kills)
		}
	}
}

// committed checks that a checkpoint covers only what is resolved, never moves
// back, and is never written by a former owner.
func (c *checker) committed(line int, e Event) {
	l, s := c.lane(e), c.shards[e.place()]
	if e.Epoch < l.epoch {
		c.fail("I4", line, "%s %s: commit of epoch %d accepted after epoch %d", e.Trigger, e.place(), e.Epoch, l.epoch)
	}
	l.epoch = max(l.epoch, e.Epoch)
	for _, seq := range e.Dead {
		if l.dead[seq] {
			c.fail("I9", line, "%s %s: %s buried twice", e.Trigger, e.place(), seq)
		}
		l.dead[seq] = true
		if l.resolved[seq] == "" {
			l.resolved[seq] = "dead"
		}
		if s != nil && c.o.Poison != nil && !c.o.Poison(s.bySeq[seq].hash) {
			c.fail("I8", line, "%s %s: %s buried, though it is not poison", e.Trigger, e.place(), seq)
		}
	}
	if e.To < l.to {
		c.fail("I3", line, "%s %s: checkpoint fell from %d to %d", e.Trigger, e.place(), l.to, e.To)
	}
	if s != nil && len(s.ordered) > 0 {
		first := s.bySeq[s.ordered[0]].number
		for n := max(l.to, first); n < e.To; n++ {
			i := int(n - first)
			if i >= len(s.ordered) {
				c.fail("I2", line, "%s %s: checkpoint %d lies beyond the last record", e.Trigger, e.place(), e.To)
				break
			}
			if seq := s.ordered[i]; l.resolved[seq] == "" && !l.gap(n) {
				c.fail("I2", line, "%s %s: checkpoint %d passes %s, which was neither done nor buried", e.Trigger, e.place(), e.To, seq)
			}
		}
	}
	l.to = max(l.to, e.To)
}

// end compares with the read-back of puts and dead letters.
func (c *checker) end(events []Event) {
	put := map[string]bool{}
	letters := map[lane]map[string]int{}
	for i, e := range events {
		switch e.Kind {
		case Put:
			put[e.Hash] = true
		case Letter:
			k := e.lane()
			if letters[k] == nil {
				letters[k] = map[string]int{}
			}
			letters[k][e.Seq]++
			if s := c.shards[e.place()]; s != nil && s.bySeq[e.Seq].hash != "" && s.bySeq[e.Seq].hash != e.Hash {
				c.fail("I9", i+1, "dead letter of %s holds %s, the record is %s", e.Seq, e.Hash, s.bySeq[e.Seq].hash)
			}
		}
	}
	for i, e := range events {
		if e.Kind == Read && len(put) > 0 && !put[e.Hash] {
			c.fail("I1", i+1, "record %s of %s holds what nobody put: torn", e.Seq, e.place())
		}
	}
	for k, l := range c.lanes {
		for seq := range l.dead {
			if n := letters[k][seq]; n != 1 {
				c.fail("I9", 0, "%s %s: %s was buried and stands %d times among the dead letters", k.trigger, k.place, seq, n)
			}
		}
		for seq := range letters[k] {
			if !l.dead[seq] {
				c.fail("I9", 0, "%s %s: dead letter %s rides in no accepted commit", k.trigger, k.place, seq)
			}
		}
		s := c.shards[k.place]
		if s == nil {
			continue
		}
		var poison int
		for _, seq := range s.ordered {
			r := s.bySeq[seq]
			if c.o.Poison != nil && c.o.Poison(r.hash) {
				poison++
			}
			if c.o.Complete && l.resolved[seq] == "" && !l.gap(r.number) {
				c.fail("I2", 0, "%s %s: %s was never resolved", k.trigger, k.place, seq)
			}
		}
		if c.o.BatchSize > 0 && c.o.Retries >= 0 && c.o.Poison != nil {
			// Each poison record fails once on each level of halving, then by
			// itself once and on every retry; a kill may repeat what was out.
			if most := poison*(bits.Len(uint(c.o.BatchSize-1))+1+c.o.Retries) + c.kills*(2+bits.Len(uint(c.o.BatchSize))); l.failed > most {
				c.fail("I8", 0, "%s %s: %d failed invocations for %d poison records, at most %d expected", k.trigger, k.place, l.failed, poison, most)
			}
		}
	}
}
