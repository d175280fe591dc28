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
	inv("1", "error", 0, 4)
	inv("2", "done", 0, 2)
	ckpt(1, 2)
	inv("3", "error", 2, 4)
	inv("4", "error", 2, 3)
	h = append(h, Event{Kind: Fault, Reason: "SIGKILL"})
	inv("5", "error", 2, 3)
	ckpt(2, 3, seq(2))
	inv("6", "done", 3, 4)
	ckpt(2, 4)
	for i, k := range keys {
		h = append(h, Event{Kind: Read, Stream: "in", Shard: "s", Seq: seq(i), Number: uint64(i), Key: k, Hash: fmt.Sprint("h", i)})
	}
	return append(h, Event{Kind: Letter, Trigger: "t", Gen: 1, Stream: "in", Shard: "s", Seq: seq(2), Hash: "h2"})
}

func options() Options {
	return Options{Poison: func(h string) bool { return h == "h2" }, Retries: 1, BatchSize: 4, Complete: true}
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
}

// TestDoctoredHistoriesAreRejected breaks one promise at a time.
func TestDoctoredHistoriesAreRejected(t *testing.T) {
	at := func(h []Event, kind Kind, nth int) int {
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
	if v := checkWith(t, h, o); len(v) > 0 {
		t.Errorf("two sound streams: %v", v)
	}
}

func TestLineWithoutStreamIsAnError(t *testing.T) {
	for _, kind := range []Kind{PutOK, Inv, Ckpt, Gap, Read, Letter} {
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
	if n := strings.Count(string(b), "\n"); n != 2 {
		t.Errorf("%d lines, want 2", n)
	}
	var none *Writer
	none.Add(Event{Kind: Put}) // a nil writer drops
}
