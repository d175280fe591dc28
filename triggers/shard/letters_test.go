package shard_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/shard"
)

// letterFate is what has become of a dead letter that is, or could be, redriven.
type letterFate struct {
	id     string
	bucket uint8
	poison bool
	// Of this life of the machine.
	open    bool // the machine has it
	acked   bool // and knows that this is durable
	front   uint64
	out     bool
	begun   bool // was invoked, and so has its bucket
	settled bool // not open any more
	dead    bool // by burial
	emitted []triggers.Output
	// Ever.
	written  bool // its end is durable
	done     bool // by success
	buried   dlq.Reason
	attempts int // of that burial
	times    int // invocations
	failed   int // attempts
	commands int // given to the machine and not known to it already
}

// emission is what the function gives out of one record or letter, the same at
// each run but for the data, which tells the run.
func (w *world) emission(name string, bucket uint8, count int) (out []triggers.Output) {
	for i := range count {
		out = append(out, triggers.Output{
			ID: fmt.Sprintf("%s.%d", name, i), StreamID: "target", PartitionKey: fmt.Sprint(bucket),
			Data: fmt.Appendf(nil, "run %d", w.settledRuns),
		})
	}
	return out
}

func bytesOf(outputs []triggers.Output) (n int64) {
	for _, o := range outputs {
		n += int64(len(o.Data) + len(o.PartitionKey))
	}
	return n
}

// resolveOutputs notes what the next commit has to hold.
func (w *world) resolveOutputs(o []triggers.Output) {
	w.pendingOut = append(w.pendingOut, o...)
	w.pinned += bytesOf(o)
}

// letter finds or makes one.
func (w *world) letter(id string, bucket uint8) *letterFate {
	if w.letters == nil {
		w.letters = map[string]*letterFate{}
	}
	l := w.letters[id]
	if l == nil {
		l = &letterFate{id: id, bucket: bucket}
		w.letters[id] = l
		w.letterOrder = append(w.letterOrder, l)
	}
	return l
}

// redrive gives a command, and works out what the machine makes of it.
func (w *world) redrive(letters ...*letterFate) {
	w.t.Helper()
	var ev shard.Redrive
	for _, l := range letters {
		if l.written {
			w.fatalf("the test redrives %s, which is no dead letter any more", l.id)
		}
		ev.Letters = append(ev.Letters, shard.Redriven{Letter: l.id, Bucket: l.bucket})
		if !w.over && !l.open && !l.settled && w.openLetters() < shard.MaxRedrives {
			l.open = true
			l.commands++
			w.opened = append(w.opened, l)
			w.everRedriven |= 1 << l.bucket
		}
	}
	w.step(ev)
}

func (w *world) openLetters() (n int) {
	for _, l := range w.opened {
		if l.open {
			n++
		}
	}
	return n
}

// bootLetters is what a crash or a drain leaves of letters: those that stand in
// the checkpoint.
func (w *world) bootLetters(cp *triggers.Checkpoint) {
	w.opened, w.pendingOut, w.pendingEnds, w.over, w.why = nil, nil, nil, false, ""
	for _, l := range w.letterOrder {
		l.open, l.acked, l.out, l.begun, l.emitted = false, false, false, false, nil
		l.settled, l.dead = l.written, false
	}
	for _, r := range cp.Redrives {
		l := w.letters[r.Letter]
		if l == nil || l.written {
			w.fatalf("checkpoint with redrive %+v, which is none", r)
		}
		l.open = true
		w.opened = append(w.opened, l)
		w.ack(l, cp.Units)
	}
}

// ack notes that the machine knows a redrive to be durable. From front on no
// record of its bucket goes before it: those of earlier units are below.
func (w *world) ack(l *letterFate, restored []triggers.Unit) {
	l.acked = true
	if restored == nil && w.m != nil {
		st := w.m.Status()
		l.front = st.Read
		for _, u := range st.Units { // restored, and not read yet
			l.front = max(l.front, u.To)
		}
		return
	}
	l.front = 0
	for _, u := range restored {
		for _, s := range u.Spans {
			if s.Buckets>>l.bucket&1 == 1 {
				l.front = max(l.front, s.To)
			}
		}
	}
}

// checkLetterInvoke holds that a letter goes alone, in its turn, and not before
// it is durable that it is redriven.
func (w *world) checkLetterInvoke(e shard.Invoke) {
	w.t.Helper()
	l := w.letters[e.Letter]
	switch {
	case l == nil || !l.open || l.settled:
		w.fatalf("letter %s is invoked, but %+v", e.Letter, l)
	case len(e.Numbers) > 0:
		w.fatalf("letter %s is invoked with records %v", e.Letter, e.Numbers)
	case !l.acked:
		w.fatalf("letter %s is invoked before it is durable that it is redriven", e.Letter)
	case l.out:
		w.fatalf("letter %s is out twice", e.Letter)
	case w.restart+w.drains == 0 && (e.Attempt != l.failed+1 || e.Invocation != l.times+1):
		w.fatalf("letter %s: %+v after %+v", e.Letter, e, *l)
	case e.Attempt > l.failed+1 || e.Invocation > l.times+1:
		w.fatalf("letter %s: counts what never was: %+v after %+v", e.Letter, e, *l)
	}
	for _, r := range w.cp.Redrives {
		if r.Letter == l.id && r.Attempts != e.Attempt-1 {
			w.fatalf("letter %s: attempt %d while %d before it are durable", l.id, e.Attempt, r.Attempts)
		}
	}
	for _, other := range w.opened {
		if other == l {
			break
		}
		if other.bucket == l.bucket && other.open {
			w.fatalf("letter %s goes before %s of its bucket", l.id, other.id)
		}
	}
	w.checkBucketsOfLetters(1<<l.bucket, l)
	for _, other := range w.out {
		for _, n := range other.Numbers {
			if w.log[n-1].Bucket == l.bucket {
				w.fatalf("letter %s and record %d of one bucket are out", l.id, n)
			}
		}
	}
	l.out, l.begun = true, true
	l.times++
}

// checkBucketsOfLetters holds that nobody runs in the bucket of a letter that has
// begun, or was buried and its new letter is not durable.
func (w *world) checkBucketsOfLetters(buckets uint64, but *letterFate) {
	w.t.Helper()
	for _, l := range w.opened {
		if l == but || buckets>>l.bucket&1 == 0 {
			continue
		}
		if l.open && l.begun {
			w.fatalf("somebody runs in bucket %d, which letter %s has", l.bucket, l.id)
		}
		if l.dead && !l.written {
			w.fatalf("somebody runs in bucket %d before the new letter of %s is durable", l.bucket, l.id)
		}
	}
}

// checkRecordsBehindLetters holds that records read after a redrive was durable do not overtake it.
func (w *world) checkRecordsBehindLetters(e shard.Invoke) {
	w.t.Helper()
	for _, l := range w.opened {
		if !l.open || !l.acked {
			continue
		}
		for _, n := range e.Numbers {
			if w.mask(n)>>l.bucket&1 == 1 && n >= l.front {
				w.fatalf("record %d goes before letter %s of its bucket", n, l.id)
			}
		}
	}
}

// checkCargo holds that a new commit has exactly what was settled since the last.
func (w *world) checkCargo(c shard.Commit) {
	w.t.Helper()
	if !slices.EqualFunc(c.Outputs, w.pendingOut, func(a, b triggers.Output) bool { return reflect.DeepEqual(a, b) }) {
		w.fatalf("commit %d has outputs %v, want %v", c.ID, c.Outputs, w.pendingOut)
	}
	again := map[string]*shard.Burial{}
	for i := range c.Buried {
		if b := &c.Buried[i]; b.Letter != "" {
			if again[b.Letter] != nil || b.Number != 0 || !slices.Contains(c.Redriven, b.Letter) {
				w.fatalf("burial %+v, redriven %v", b, c.Redriven)
			}
			again[b.Letter] = b
		}
	}
	if (len(c.Outputs) > 0 || len(c.Redriven) > 0) && !c.Urgent {
		w.fatalf("commit %d is not urgent", c.ID)
	}
	// What ended without an invocation is known by the commit alone.
	for _, id := range c.Redriven {
		l, b := w.letters[id], again[id]
		switch {
		case l == nil || l.written:
			w.fatalf("letter %s is redriven twice: %+v", id, l)
		case l.settled && (b != nil || !slices.Contains(w.pendingEnds, id)):
			w.fatalf("letter %s was done, and its end is %+v", id, b)
		case l.settled:
			continue
		case b == nil || l.out || !l.acked:
			w.fatalf("letter %s has an end, %+v, and is %+v", id, b, *l)
		}
		w.checkBurialOfLetter(b, l)
		l.open, l.settled, l.dead = false, true, true
	}
	for _, id := range w.pendingEnds {
		if !slices.Contains(c.Redriven, id) {
			w.fatalf("commit %d leaves out that letter %s is done", c.ID, id)
		}
	}
	w.pendingOut, w.pendingEnds = nil, nil
	var open []string
	for _, l := range w.opened {
		if l.open {
			open = append(open, l.id)
		}
	}
	var said []string
	for _, r := range c.Checkpoint.Redrives {
		said = append(said, r.Letter)
		l := w.letters[r.Letter]
		if r.Attempts > l.failed || r.Invocations > l.times || r.Bucket != l.bucket || r.Since.IsZero() {
			w.fatalf("checkpoint has %+v of %+v", r, *l)
		}
		if r.LastError.Type != "" && r.LastError.Type != "Oops" {
			w.fatalf("a refusal became the last error of redrive %+v", r)
		}
	}
	if !slices.Equal(said, open) {
		w.fatalf("checkpoint has redrives %v, open are %v", said, open)
	}
	w.over = w.over || c.Checkpoint.Ended
}

func (w *world) checkBurialOfLetter(b *shard.Burial, l *letterFate) {
	w.t.Helper()
	if b.Position != 0 || b.Size != 1 || b.Attempts > l.failed || b.Invocations > l.times {
		w.fatalf("letter %s, %+v, buried as %+v", l.id, *l, *b)
	}
	switch b.Reason {
	case dlq.RetryAttemptsExhausted:
		if w.exact && b.Attempts != w.config.Retries+1 || b.Failure.Type != "Oops" || b.FirstFailure.IsZero() {
			w.fatalf("letter %s buried as %+v, retries %d", l.id, *b, w.config.Retries)
		}
	case dlq.RecordAgeExceeded:
		if w.exact && w.config.RecordAge == 0 {
			w.fatalf("letter %s buried for age", l.id)
		}
	default:
		w.fatalf("letter %s buried: %s", l.id, b.Reason)
	}
}

// writeCargo makes outputs and ends durable, with the records that the
// checkpoint says are finished now and were not before.
func (w *world) writeCargo(c shard.Commit, now []uint64) {
	w.t.Helper()
	want := map[string]triggers.Output{}
	for _, n := range now {
		for _, o := range w.fate(n).emitted {
			want[o.ID] = o
		}
	}
	for _, r := range w.was {
		if !slices.Contains(c.Redriven, r.Letter) && !slices.ContainsFunc(c.Checkpoint.Redrives, func(s triggers.Redrive) bool { return s.Letter == r.Letter }) {
			w.fatalf("redrive of %s is lost", r.Letter)
		}
	}
	for _, id := range c.Redriven {
		if !slices.ContainsFunc(w.was, func(r triggers.Redrive) bool { return r.Letter == id }) {
			w.fatalf("letter %s has an end, and it was never durable that it is redriven", id)
		}
		l := w.letters[id]
		l.written, l.done = true, !l.dead
		for _, o := range l.emitted {
			want[o.ID] = o
		}
	}
	for i := range c.Buried {
		if b := &c.Buried[i]; b.Letter != "" {
			l := w.letters[b.Letter]
			l.buried, l.attempts = b.Reason, b.Attempts
			// The new letter is one that can be redriven, and heals.
			w.letter(b.Letter+"'", l.bucket)
		}
	}
	for _, o := range c.Outputs {
		if w.outputs[o.ID] {
			w.fatalf("output %s is durable twice", o.ID)
		}
		if got, ok := want[o.ID]; !ok || !reflect.DeepEqual(got, o) {
			w.fatalf("output %s is durable as %v, and what it comes from is not, or has %v", o.ID, o, got)
		}
		delete(want, o.ID)
		if w.outputs == nil {
			w.outputs = map[string]bool{}
		}
		w.outputs[o.ID] = true
	}
	if len(want) > 0 {
		w.fatalf("what they come from is durable, and outputs are not: %v", want)
	}
	w.was = c.Checkpoint.Redrives
}

// settleLetter settles the invocation of a letter.
func (w *world) settleLetter(e invocation, outcome runtime.Outcome, failed int, ev shard.Settled) {
	w.t.Helper()
	l := w.letters[e.Letter]
	l.out = false
	out := w.emission(l.id, l.bucket, w.emits)
	ev.Outputs = out
	switch {
	case outcome == runtime.Done, outcome == runtime.Partial && !e.config.PartialReplies:
		l.open, l.settled, l.emitted = false, true, out
		w.pendingEnds = append(w.pendingEnds, l.id)
		w.resolveOutputs(out)
	case runtime.Attempted(outcome):
		l.failed++
	}
	ev.FirstFailed = min(failed, 0)
	w.step(ev)
}

func TestRedrivesBeyondTheMostAreIgnored(t *testing.T) {
	w := newWorld(t, shard.Config{Parallel: 1, BatchSize: 10}, 1)
	var letters []*letterFate
	for i := range shard.MaxRedrives + 5 {
		letters = append(letters, w.letter(fmt.Sprintf("L%03d", i), uint8(i%3)))
	}
	w.redrive(letters...)
	open := func() (ids []string) {
		for _, r := range w.m.Status().Redrives {
			ids = append(ids, r.Letter)
		}
		return ids
	}
	if got := open(); len(got) != shard.MaxRedrives || got[99] != "L099" {
		t.Fatalf("open: %v", got)
	}
	w.answerCommit(shard.OK, true)
	w.answerInvoke(0, runtime.Done, -1)
	w.redrive(letters[100:]...) // as soon as one is done, though not durably, there is room for one
	if got := open(); len(got) != shard.MaxRedrives || got[99] != "L100" {
		t.Fatalf("open after one was done: %v", got)
	}
	for len(w.out) > 0 || w.commit != nil {
		if w.commit != nil {
			w.answerCommit(shard.OK, true)
			continue
		}
		w.answerInvoke(0, runtime.Done, -1)
	}
	if got := open(); len(got) > 0 || w.cp.Done != shard.MaxRedrives+1 || w.openLetters() > 0 {
		t.Fatalf("open at the end: %v, done %d", got, w.cp.Done)
	}
}

// TestCheckpointsStaySmallWithLongErrors of many letters; their dead letters have all of it.
func TestCheckpointsStaySmallWithLongErrors(t *testing.T) {
	m := shard.New(shard.Config{Parallel: shard.MaxRedrives, BatchSize: 1, Retries: 1}, triggers.Checkpoint{}, 1)
	message := "x" + strings.Repeat("ä", 4096) // so that a cut falls into a letter
	now := time.Now()
	var ev shard.Redrive
	for i := range 64 {
		ev.Letters = append(ev.Letters, shard.Redriven{Letter: fmt.Sprint(i), Bucket: uint8(i)})
	}
	var largest, buried int
	todo := []shard.Event{ev}
	for len(todo) > 0 {
		now = now.Add(time.Minute)
		effects := m.Step(now, todo[0])
		todo = todo[1:]
		for _, e := range effects {
			switch e := e.(type) {
			case shard.Fetch:
				todo = append(todo, shard.Fetched{From: e.From, Caught: true})
			case shard.Invoke:
				todo = append(todo, shard.Settled{Unit: e.Unit, Outcome: runtime.FunctionError, Failure: triggers.Failure{Type: "Oops", Message: message}})
			case shard.Commit:
				text, err := json.Marshal(e.Checkpoint)
				if err != nil || !utf8.Valid(text) || strings.Contains(string(text), `\ufffd`) {
					t.Fatalf("checkpoint %q, %v", text, err)
				}
				largest = max(largest, len(text))
				for _, b := range e.Buried {
					buried++
					if b.Failure.Message != message {
						t.Errorf("letter %s has a message of %d bytes", b.Letter, len(b.Failure.Message))
					}
				}
				todo = append(todo, shard.Committed{ID: e.ID})
			case shard.WakeAt:
				if !e.Time.IsZero() {
					todo = append(todo, shard.Woken{})
				}
			}
		}
	}
	if buried != 64 || largest > 64<<10 {
		t.Errorf("%d buried, largest checkpoint %d bytes", buried, largest)
	}
}
