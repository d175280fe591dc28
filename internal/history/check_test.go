package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func seq(n int) string { return fmt.Sprintf("%056d", 1000+n) }

// sound is a run that keeps every promise: four records of two keys, the third
// is poison, one kill between commit and read-back.
func sound() []Event {
	var h []Event
	keys := []string{"a", "b", "a", "a"}
	for i, k := range keys {
		h = append(h, Event{Kind: Put, Req: fmt.Sprint(i), Key: k, Hash: fmt.Sprint("h", i)},
			Event{Kind: PutOK, Req: fmt.Sprint(i), Stream: "in", Shard: "s", Seq: seq(i), Hash: fmt.Sprint("h", i)})
	}
	inv := func(id, outcome string, from, to int) {
		e := Event{Kind: Inv, ID: id, Trigger: "t", Gen: 1, Stream: "in", Shard: "s"}
		for i := from; i < to; i++ {
			e.Seqs = append(e.Seqs, seq(i))
		}
		h = append(h, e, Event{Kind: InvEnd, ID: id, Outcome: outcome})
	}
	ckpt := func(epoch, to uint64, dead ...string) {
		h = append(h, Event{Kind: Ckpt, Trigger: "t", Gen: 1, Stream: "in", Shard: "s", Epoch: epoch, To: to, Dead: dead, Result: "ok"})
	}
	h = append(h, take(1, 0))
	inv("1", "error", 0, 4)
	inv("2", "done", 0, 2)
	ckpt(1, 2)
	inv("3", "error", 2, 4)
	inv("4", "error", 2, 3)
	h = append(h, Event{Kind: Fault, Reason: "SIGKILL"}, take(2, 2))
	inv("5", "error", 2, 3)
	ckpt(2, 3, seq(2))
	inv("6", "done", 3, 4)
	ckpt(2, 4)
	for i, k := range keys {
		h = append(h, Event{Kind: Read, Stream: "in", Shard: "s", Seq: seq(i), Number: uint64(i), Key: k, Hash: fmt.Sprint("h", i)})
	}
	return append(h, Event{Kind: Letter, Trigger: "t", Gen: 1, Stream: "in", Shard: "s", Seq: seq(2), Hash: "h2"})
}

func take(epoch, to uint64, spans ...Span) Event {
	return Event{Kind: Take, Trigger: "t", Gen: 1, Stream: "in", Shard: "s", Epoch: epoch, To: to, Spans: spans}
}

func run(id, outcome string, numbers ...int) []Event {
	e := Event{Kind: Inv, ID: id, Trigger: "t", Gen: 1, Stream: "in", Shard: "s"}
	for _, n := range numbers {
		e.Seqs = append(e.Seqs, seq(n))
	}
	return []Event{e, {Kind: InvEnd, ID: id, Outcome: outcome}}
}

// killed is a run that keeps every promise though two kills undo some of it:
// record 1 is done and done again, and a kill comes between the durable commit
// that buries record 2, above the lowest unfinished one, and its line.
func killed() []Event {
	keys := []string{"a", "b", "c", "b"}
	var h []Event
	for i, k := range keys {
		h = append(h, Event{Kind: Put, Req: fmt.Sprint(i), Key: k, Hash: fmt.Sprint("h", i)},
			Event{Kind: PutOK, Req: fmt.Sprint(i), Stream: "in", Shard: "s", Seq: seq(i), Hash: fmt.Sprint("h", i)})
	}
	fault := Event{Kind: Fault, Reason: "SIGKILL"}
	h = append(h, take(1, 0))
	h = append(h, run("1", "done", 1)...)
	h = append(h, run("2", "done", 0)[0], fault, take(1, 0)) // 0 was under way
	h = append(h, run("3", "done", 1)...)
	h = append(h, run("4", "error", 2)...)
	h = append(h, run("5", "error", 2)...)
	h = append(h, fault, take(2, 0, Span{1<<bucket("b") | 1<<bucket("c"), 0, 3}))
	h = append(h, run("6", "done", 0, 3)...)
	h = append(h, Event{Kind: Ckpt, Trigger: "t", Gen: 1, Stream: "in", Shard: "s", Epoch: 2, To: 4, Result: "ok"})
	for i, k := range keys {
		h = append(h, Event{Kind: Read, Stream: "in", Shard: "s", Seq: seq(i), Number: uint64(i), Key: k, Hash: fmt.Sprint("h", i)})
	}
	return append(h, Event{Kind: Letter, Trigger: "t", Gen: 1, Stream: "in", Shard: "s", Seq: seq(2), Hash: "h2"})
}

func options() Options {
	return Options{
		Poison: func(h string) bool { return h == "h2" }, Retries: 1, BatchSize: 4,
		Complete: true, Triggers: []Trigger{{"t", "in"}}, UniquePayloads: true,
	}
}

func check(t *testing.T, h []Event) []Violation {
	t.Helper()
	return checkWith(t, h, options())
}

func checkWith(t *testing.T, h []Event, o Options) []Violation {
	t.Helper()
	var b bytes.Buffer
	for _, e := range h {
		line, _ := json.Marshal(e)
		b.Write(append(line, '\n'))
	}
	v, err := Check(&b, o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSoundHistoryPasses(t *testing.T) {
	if v := check(t, sound()); len(v) > 0 {
		t.Errorf("violations in a sound history: %v", v)
	}
	if v := check(t, killed()); len(v) > 0 {
		t.Errorf("violations in a sound history with two kills: %v", v)
	}
	h := sound()
	h = slices.Insert(h, at(h, Ckpt, 1), run("x", "error", 2)...) // as often as retries allow, and once for the kill
	if v := check(t, h); len(v) > 0 {
		t.Errorf("a failure that a kill undid was held against the budget: %v", v)
	}
}

// A SIGKILL may come between the pages of one write(2).
func TestLineTornByAKillIsNoEvent(t *testing.T) {
	h := sound()
	file := filepath.Join(t.TempDir(), "history")
	write := func(events ...Event) {
		w, err := Open(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			w.Add(e)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	half := at(h, Ckpt, 1)
	write(h[:half]...)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	torn, _ := json.Marshal(h[half])
	if err := os.WriteFile(file, append(whole, torn[:len(torn)-5]...), 0o600); err != nil {
		t.Fatal(err)
	}
	write(h[half:]...)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := Check(bytes.NewReader(text), options()); err != nil || len(v) > 0 {
		t.Errorf("a torn line: %v, %v", v, err)
	}
	text[bytes.IndexByte(text, ':')] = ';'
	if _, err := Check(bytes.NewReader(text), options()); err == nil {
		t.Error("a damaged line passes")
	}
}

// at is where the nth event of a kind stands, counted from 0.
func at(h []Event, kind Kind, nth int) int {
	for i, e := range h {
		if e.Kind == kind {
			if nth == 0 {
				return i
			}
			nth--
		}
	}
	panic("no such event")
}

// TestDoctoredHistoriesAreRejected breaks one promise at a time.
func TestDoctoredHistoriesAreRejected(t *testing.T) {
	tests := []struct {
		name, want string
		doctor     func(h []Event) []Event
	}{
		{"an acknowledged record is gone", "I1", func(h []Event) []Event { i := at(h, Read, 3); return slices.Delete(h, i, i+1) }},
		{"an acknowledged record reads otherwise", "I1", func(h []Event) []Event { h[at(h, Read, 1)].Hash = "h9"; return h }},
		{"a sequence number is used twice", "I1", func(h []Event) []Event { h[at(h, Read, 1)].Seq = seq(0); return h }},
		{"a record nobody put", "I1", func(h []Event) []Event {
			return append(h, Event{Kind: Read, Stream: "in", Shard: "s", Seq: seq(4), Number: 4, Key: "a", Hash: "torn"})
		}},
		{"a checkpoint passes a record that never succeeded", "I2", func(h []Event) []Event { h[at(h, InvEnd, 1)].Outcome = "throttled"; return h }},
		{"a checkpoint before the success it rests on", "I2", func(h []Event) []Event {
			i, j := at(h, InvEnd, 5), at(h, Ckpt, 2)
			h[i], h[j] = h[j], h[i]
			return h
		}},
		{"a record is never resolved", "I2", func(h []Event) []Event {
			i := at(h, Inv, 5)
			h = slices.Delete(h, i, i+2)
			i = at(h, Ckpt, 2)
			return slices.Delete(h, i, i+1)
		}},
		{"a checkpoint falls", "I3", func(h []Event) []Event { h[at(h, Ckpt, 2)].To = 1; return h }},
		{"a former owner commits", "I4", func(h []Event) []Event { h[at(h, Ckpt, 2)].Epoch = 1; return h }},
		{"a key's records run out of order", "I5", func(h []Event) []Event {
			e := Event{Kind: Inv, ID: "x", Trigger: "t", Gen: 1, Stream: "in", Shard: "s", Seqs: []string{seq(3)}}
			return slices.Insert(h, at(h, Inv, 0), e, Event{Kind: InvEnd, ID: "x", Outcome: "done"})
		}},
		{"a batch is not in order", "I5", func(h []Event) []Event { slices.Reverse(h[at(h, Inv, 0)].Seqs); return h }},
		{"a good record is buried", "I8", func(h []Event) []Event {
			h[at(h, Ckpt, 2)].Dead = []string{seq(3)}
			return append(h, Event{Kind: Letter, Trigger: "t", Gen: 1, Stream: "in", Shard: "s", Seq: seq(3), Hash: "h3"})
		}},
		{"poison succeeds", "I8", func(h []Event) []Event { h[at(h, InvEnd, 3)].Outcome = "done"; return h }},
		{"halving does not end", "I8", func(h []Event) []Event {
			for i := range 40 {
				id := fmt.Sprint("y", i)
				h = slices.Insert(h, at(h, Ckpt, 1), Event{Kind: Inv, ID: id, Trigger: "t", Gen: 1, Stream: "in", Shard: "s", Seqs: []string{seq(2), seq(i % 7)}[:1]}, Event{Kind: InvEnd, ID: id, Outcome: "error"})
			}
			return h
		}},
		{"buried and in no dead letter", "I9", func(h []Event) []Event { return h[:len(h)-1] }},
		{"buried twice", "I9", func(h []Event) []Event { return append(h, h[len(h)-1]) }},
		{"a dead letter with another payload", "I9", func(h []Event) []Event { h[len(h)-1].Hash = "h0"; return h }},
		{"a dead letter that no commit names", "I9", func(h []Event) []Event {
			return append(h, Event{Kind: Letter, Trigger: "t", Gen: 1, Stream: "in", Shard: "s", Seq: seq(0), Hash: "h0"})
		}},
		{"a gap over what was never lost", "I14", func(h []Event) []Event {
			return slices.Insert(h, at(h, Ckpt, 0), Event{Kind: Gap, Trigger: "t", Gen: 1, Stream: "in", Shard: "s", From: 0, To: 4, Reason: "retention"})
		}},
		{"a gap excuses nothing where none may be", "I2", func(h []Event) []Event {
			h[at(h, InvEnd, 1)].Outcome = "throttled"
			return slices.Insert(h, at(h, Ckpt, 0), Event{Kind: Gap, Trigger: "t", Gen: 1, Stream: "in", Shard: "s", From: 0, To: 4, Reason: "retention"})
		}},
		{"acknowledged in one stream, read in another", "I1", func(h []Event) []Event { h[at(h, PutOK, 1)].Stream = "out"; return h }},
		{"the dead letter is of another stream", "I9", func(h []Event) []Event { h[len(h)-1].Stream = "out"; return h }},
		{"a key goes back behind a record that failed", "I5", func(h []Event) []Event {
			// It ran before, in the first batch, but never after record 2 was resolved.
			return slices.Insert(h, at(h, Inv, 2), run("x", "error", 3)...)
		}},
		{"two batches of one key at a time", "I5", func(h []Event) []Event {
			return slices.Insert(h, at(h, InvEnd, 2), run("x", "error", 2)[0])
		}},
		{"the end of what a kill ended", "I6", func(h []Event) []Event {
			i := at(h, Fault, 0)
			h[i-1], h[i] = h[i], h[i-1]
			return h
		}},
		{"a trigger never ran", "I2", func(h []Event) []Event {
			return slices.DeleteFunc(h, func(e Event) bool {
				return e.Trigger != "" || e.Kind == InvEnd
			})
		}},
		{"a shard was never looked at", "I2", func(h []Event) []Event {
			return append(h, Event{Kind: Put, Req: "9", Key: "z", Hash: "h9"}, Event{Kind: Read, Stream: "in", Shard: "s2", Seq: seq(9), Number: 0, Key: "z", Hash: "h9"})
		}},
		{"a dead letter of a trigger without events", "I9", func(h []Event) []Event {
			return append(h, Event{Kind: Letter, Trigger: "u", Gen: 1, Stream: "in", Shard: "s", Seq: seq(2), Hash: "h2"})
		}},
		{"a kill excuses no failure that was committed", "I10", func(h []Event) []Event {
			i := at(h, Ckpt, 0)
			h = slices.Insert(h, at(h, Fault, 0), h[i], h[i]) // two commits hold the failure before the kill
			return slices.Insert(h, at(h, Ckpt, 3), run("x", "error", 2)...)
		}},
		{"two kills undo one failure once", "I10", func(h []Event) []Event {
			i := at(h, Fault, 0)
			h = slices.Insert(h, i, h[i])
			for i := range 2 {
				h = slices.Insert(h, at(h, Ckpt, 1), run(fmt.Sprint("x", i), "error", 2)...)
			}
			return h
		}},
		{"a kill allows no more failures than it undid", "I8", func(h []Event) []Event {
			for i := range 4 {
				h = slices.Insert(h, at(h, Ckpt, 1), run(fmt.Sprint("x", i), "error", 2, 3)...)
			}
			return h
		}},
		{"a buried record runs", "I9", func(h []Event) []Event {
			i := at(h, Ckpt, 1)
			h[i].To = 2 // the burial is above the lowest unfinished record
			return slices.Insert(h, i+1, run("x", "error", 2)...)
		}},
		{"a done record runs again with no kill", "I6", func(h []Event) []Event {
			return slices.Insert(h, at(h, Ckpt, 0), run("x", "done", 0)...)
		}},
		{"a done record runs again though a checkpoint covers it", "I6", func(h []Event) []Event {
			return slices.Insert(h, at(h, Take, 1), run("x", "done", 0, 1)...)
		}},
		{"one put is stored twice", "I1", func(h []Event) []Event {
			i := at(h, Read, 3)
			h = slices.Insert(h, i+1, Event{Kind: Read, Stream: "in", Shard: "s", Seq: seq(4), Number: 4, Key: "a", Hash: "h3"})
			i = at(h, Ckpt, 2)
			h[i].To = 5
			return slices.Insert(h, i, run("x", "done", 4)...)
		}},
		{"a record reads with another key", "I1", func(h []Event) []Event { h[at(h, Read, 1)].Key = "c"; return h }},
		{"a record of no acknowledged put reads with another key", "I1", func(h []Event) []Event {
			h[at(h, Read, 1)].Key = "c"
			i := at(h, PutOK, 1)
			return slices.Delete(h, i, i+1)
		}},
		{"a record reads with the key of another put of its payload", "I1", func(h []Event) []Event {
			h[at(h, Read, 1)].Key = "c"
			return slices.Insert(h, 0, Event{Kind: Put, Req: "9", Key: "c", Hash: "h1"})
		}},
		{"a shard is taken up below its checkpoint", "I3", func(h []Event) []Event { h[at(h, Take, 1)].To = 1; return h }},
		{"a shard is taken up above its checkpoint with no kill", "I3", func(h []Event) []Event {
			return slices.Insert(h, at(h, Ckpt, 0), take(1, 2))
		}},
		{"a shard is taken up beyond what was resolved", "I2", func(h []Event) []Event { h[at(h, Take, 1)].To = 4; return h }},
		{"a shard is taken up for an epoch that has commits", "I4", func(h []Event) []Event { h[at(h, Take, 1)].Epoch = 1; return h }},
		{"the retry budget is overrun", "I10", func(h []Event) []Event {
			for i := range 3 {
				id := fmt.Sprint("z", i)
				h = slices.Insert(h, at(h, Ckpt, 1), Event{Kind: Inv, ID: id, Trigger: "t", Gen: 1, Stream: "in", Shard: "s", Seqs: []string{seq(2)}}, Event{Kind: InvEnd, ID: id, Outcome: "timeout"})
			}
			return h
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := check(t, tt.doctor(sound()))
			if !slices.ContainsFunc(v, func(v Violation) bool { return v.Invariant == tt.want }) {
				t.Errorf("violations = %v, want one of %s", v, tt.want)
			}
		})
	}
}

// TestDoctoredKillsAreRejected breaks promises around a kill.
func TestDoctoredKillsAreRejected(t *testing.T) {
	tests := []struct {
		name, want string
		doctor     func(h []Event) []Event
	}{
		{"the state names a burial without a dead letter", "I2", func(h []Event) []Event { return h[:len(h)-1] }},
		{"a burial without a line and without a kill", "I2", func(h []Event) []Event {
			i := at(h, Fault, 1)
			return slices.Delete(h, i, i+1)
		}},
		{"a good record was buried", "I8", func(h []Event) []Event {
			h = slices.DeleteFunc(h, func(e Event) bool { return e.ID == "1" || e.ID == "3" })
			return append(h, Event{Kind: Letter, Trigger: "t", Gen: 1, Stream: "in", Shard: "s", Seq: seq(1), Hash: "h1"})
		}},
		{"the state covers a record of a bucket that is not done", "I2", func(h []Event) []Event {
			h[at(h, Take, 2)].Spans[0].Buckets |= 1 << bucket("a")
			return h
		}},
		{"a dead letter that the state does not know", "I9", func(h []Event) []Event {
			h[at(h, Take, 2)].Spans[0].Buckets &^= 1 << bucket("c")
			return h
		}},
		{"a record runs that the state calls finished", "I6", func(h []Event) []Event {
			return slices.Insert(h, at(h, Inv, 5), run("x", "done", 1)...)
		}},
		{"a record runs that was buried before the kill", "I9", func(h []Event) []Event {
			return slices.Insert(h, at(h, Inv, 5), run("x", "error", 2)...)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := check(t, tt.doctor(killed()))
			if !slices.ContainsFunc(v, func(v Violation) bool { return v.Invariant == tt.want }) {
				t.Errorf("violations = %v, want one of %s", v, tt.want)
			}
		})
	}
}

// TestOrderIsCheckedOnEveryRun of a record, not only on its first.
func TestOrderIsCheckedOnEveryRun(t *testing.T) {
	h := killed()
	h[at(h, InvEnd, 0)].Outcome = "error" // record 1 is not done in the first life
	x, y := run("x", "error", 3), run("y", "done", 3)
	h = slices.Insert(h, at(h, Fault, 0), x...)
	h = slices.Insert(h, at(h, Inv, 3), y...)
	var lines []int
	for _, v := range check(t, h) {
		if v.Invariant == "I5" {
			lines = append(lines, v.Line)
		}
	}
	if len(lines) != 2 {
		t.Errorf("order broken at lines %v, want both runs of record 3", lines)
	}
}

// TestGapsExcuseWhatTheyCover where records may be lost: nothing less, nothing more.
func TestGapsExcuseWhatTheyCover(t *testing.T) {
	o := options()
	o.Gaps = true
	gap := func(stream string, from, to uint64) []Violation {
		h := slices.DeleteFunc(sound(), func(e Event) bool { return e.ID == "6" }) // number 3 never runs alone
		i := slices.IndexFunc(h, func(e Event) bool { return e.Kind == Ckpt && e.To == 4 })
		return checkWith(t, slices.Insert(h, i, Event{Kind: Gap, Trigger: "t", Gen: 1, Stream: stream, Shard: "s", From: from, To: to, Reason: "retention"}), o)
	}
	if v := gap("in", 3, 4); len(v) > 0 {
		t.Errorf("a record that is lost: %v", v)
	}
	for name, v := range map[string][]Violation{"another record": gap("in", 2, 3), "another stream": gap("out", 3, 4)} {
		if !slices.ContainsFunc(v, func(v Violation) bool { return v.Invariant == "I2" }) {
			t.Errorf("a gap over %s: %v, want I2", name, v)
		}
	}
	// What a gap covers may have been read before, and succeed later.
	h := slices.Insert(sound(), 8, Event{Kind: Gap, Trigger: "t", Gen: 1, Stream: "in", Shard: "s", From: 0, To: 4, Reason: "corrupt"})
	if v := checkWith(t, h, o); len(v) > 0 {
		t.Errorf("a gap over records that ran later: %v", v)
	}
}

// TestStreamsAreApart has two streams whose shards and triggers bear the same names.
func TestStreamsAreApart(t *testing.T) {
	h := sound()
	for _, e := range sound() {
		if e.ID != "" {
			e.ID += "'"
		}
		if e.Stream != "" {
			e.Stream = "out"
		}
		h = append(h, e)
	}
	o := options()
	o.Triggers = append(o.Triggers, Trigger{"t", "out"})
	if v := checkWith(t, h, o); len(v) > 0 {
		t.Errorf("two sound streams: %v", v)
	}
}

func TestLineWithoutStreamIsAnError(t *testing.T) {
	for _, kind := range []Kind{PutOK, Inv, Ckpt, Take, Gap, Read, Letter} {
		line := fmt.Sprintf(`{"e":%q,"trigger":"t","gen":1,"shard":"s"}`, kind)
		if _, err := Check(strings.NewReader(line), Options{}); err == nil {
			t.Errorf("a %s of no stream passed", kind)
		}
	}
}

func TestEmptyHistoryIsAnError(t *testing.T) {
	if _, err := Check(strings.NewReader(""), Options{}); err == nil {
		t.Error("an empty history passed")
	}
}

func TestCompleteForNoTriggerIsAnError(t *testing.T) {
	if _, err := Check(strings.NewReader(`{"e":"fault"}`), Options{Complete: true}); err == nil {
		t.Error("a history was complete for no trigger")
	}
}

func TestWriterAppendsWholeLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	for range 2 {
		w, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		w.Add(Event{Kind: Put, Req: "1", Hash: Hash([]byte("x"))})
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(strings.Fields(string(b))); n != 2 {
		t.Errorf("%d lines, want 2", n)
	}
	var none *Writer
	none.Add(Event{Kind: Put}) // a nil writer drops
}
