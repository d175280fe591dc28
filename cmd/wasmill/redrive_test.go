package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/api/admin"
)

// poisoned is a world with a trigger t of stream in, and two dead letters.
func poisoned(t *testing.T) (*world, []admin.Letter) {
	t.Helper()
	w := newWorld(t)
	w.ok("stream", "create", "in")
	w.ok("fn", "create", "f", w.file("bad.wasm", traps()))
	w.ok("stream", "put", "in", "--data", "one", "--key", "a")
	w.ok("stream", "put", "in", "--data", "\x01\xfe", "--key", "b")
	w.ok("trigger", "create", "t", "--stream", "in", "--fn", "f", "--retries", "0", "--backoff", "1ms", "--bisect")
	w.ok("trigger", "wait", "t", "--drained")
	letters := data[struct{ DeadLetters []admin.Letter }](w, "dlq", "ls").DeadLetters
	if len(letters) != 2 {
		t.Fatalf("%d dead letters", len(letters))
	}
	return w, letters
}

func (w *world) emitting() string {
	return w.file("good.wasm", answers(`{"emit":[{"stream":"out","partitionKey":"k","data":"aGk="}]}`))
}

func TestTheFailureLoop(t *testing.T) {
	w, letters := poisoned(t)
	w.ok("stream", "create", "out")
	type outcomes struct {
		Total    int
		Outcomes admin.RedriveEnd
		Letters  []admin.Redriven
	}

	// Nothing is done by a dry run, and what fails again says so.
	if v := data[outcomes](w, "dlq", "redrive", "t", "--dry-run"); v.Total != 2 || v.Outcomes.Would != 2 || v.Letters[0].ID != letters[0].ID {
		t.Errorf("dry run: %+v", v)
	}
	o := w.fails(1, admin.CodeRedriveFailed, "dlq", "redrive", "t", "--filter", "key=a")
	again := data[struct{ DeadLetters []admin.Letter }](w, "dlq", "ls").DeadLetters
	if len(again) != 2 || again[1].Burial != 2 || again[1].Key != "a" || !strings.Contains(o.err, "wasmill dlq replay "+again[1].ID) {
		t.Errorf("%+v\n%s", again, o.err)
	}
	if out := w.ok("dlq", "show", again[1].ID); !strings.Contains(out, "(burial 2)") {
		t.Errorf("dlq show:\n%s", out)
	}

	// Another build is tried: the module may emit nothing yet, then it may.
	if out := w.ok("dlq", "replay", again[1].ID, "--against", w.emitting()); !strings.Contains(out, "--emit out") {
		t.Errorf("replay of what may not emit:\n%s", out)
	}
	w.ok("fn", "update", "f", "--emit", "out")
	out := w.ok("dlq", "replay", again[1].ID, "--against", w.emitting())
	for _, want := range []string{"error: ", "done", "≠", "+ out  k  hi"} {
		if !strings.Contains(out, want) {
			t.Errorf("replay lacks %q:\n%s", want, out)
		}
	}
	v := data[admin.Replay](w, "dlq", "replay", again[1].ID, "--against", w.emitting())
	if v.Current.Outcome != "error" || v.Against.Outcome != "done" || len(v.Against.Emits) != 1 || *v.Against.Emits[0].Text != "hi" || len(v.Letters) != 1 {
		t.Errorf("replay: %+v", v)
	}
	if n := len(tail(w, "out")); n != 0 {
		t.Errorf("a replay has emitted %d records", n)
	}
	if alone := data[admin.Replay](w, "dlq", "replay", letters[1].ID); alone.Against != nil || alone.Current.Outcome != "error" {
		t.Errorf("replay: %+v", alone)
	}

	// Exported as they are.
	lines := strings.Split(strings.TrimSpace(w.ok("dlq", "export")), "\n")
	var l admin.Letter
	if len(lines) != 2 || json.Unmarshal([]byte(lines[0]), &l) != nil || string(l.Payload()) != "\x01\xfe" {
		t.Errorf("exported %v", lines)
	}
	to := filepath.Join(t.TempDir(), "letters.ndjson")
	w.ok("dlq", "export", "--trigger", "t", "--output", to)
	if b, err := os.ReadFile(to); err != nil || strings.Count(string(b), "\n") != 2 {
		t.Errorf("exported %q, %v", b, err)
	}
	w.fails(1, admin.CodeInput, "dlq", "export", "--output", to)

	// The fix, and the letters are no more.
	w.ok("fn", "update", "f", w.emitting())
	if v := data[outcomes](w, "dlq", "redrive", "t", "--id", letters[1].ID, "--id", again[1].ID, "--rate", "600/m"); v.Outcomes.Done != 2 {
		t.Errorf("redriven: %+v", v)
	}
	w.ok("trigger", "wait", "t", "--drained")
	records := tail(w, "out")
	if len(records) != 2 || records[0].OutputID == "" || records[0].OutputID == records[1].OutputID {
		t.Errorf("emitted %+v", records)
	}
	w.fails(3, admin.CodeLetterNotFound, "dlq", "show", letters[1].ID)
	if o := w.run("dlq", "redrive", "t"); o.status != 0 || !strings.Contains(o.err, "trigger t has no dead letters") {
		t.Errorf("%+v", o)
	}
	if out := w.ok("trigger", "wait", "t", "--drained", "--json"); !strings.Contains(out, `"done":2`) {
		t.Errorf("%s", out)
	}
}

func TestWrongRedrivesSayWhatIsWanted(t *testing.T) {
	w, letters := poisoned(t)
	for _, args := range [][]string{
		{"dlq", "redrive"}, {"dlq", "redrive", "t", "--rate", "0"}, {"dlq", "redrive", "t", "--rate", "fast"}, {"dlq", "redrive", "t", "--rate", "5/d"},
		{"dlq", "redrive", "t", "--filter", "error=x"}, {"dlq", "redrive", "t", "--filter", "shard=1"}, {"dlq", "redrive", "t", "--filter", "key="},
		{"dlq", "redrive", "t", "--filter", "x"}, {"dlq", "redrive", "t", "--filter", "reason=Foo"}, {"dlq", "redrive", "t", "--id", letters[0].ID, "--filter", "key=a"},
		{"dlq", "redrive", "t", "--filter", "key=a", "--filter", "key=b"},
		{"dlq", "replay"}, {"trigger", "seek", "t"}, {"trigger", "seek", "t", "--to", "yesterday"},
	} {
		w.fails(2, admin.CodeUsage, args...)
	}
	w.fails(3, admin.CodeTriggerNotFound, "dlq", "redrive", "tt")
	w.fails(3, admin.CodeLetterNotFound, "dlq", "redrive", "t", "--id", "0000000000-10")
	w.fails(3, admin.CodeLetterNotFound, "dlq", "replay", "0000000000-10")
	w.fails(1, admin.CodeInput, "dlq", "replay", letters[0].ID, "--against", "nothing.wasm")
	w.fails(1, admin.CodeInput, "dlq", "replay", letters[0].ID, "--against", w.file("empty.wasm", ""))
	if o := w.run("dlq", "replay", letters[0].ID, "--against", w.file("text.wasm", "no module")); !strings.Contains(o.out+o.err, "WebAssembly") && !strings.Contains(o.out+o.err, "module") {
		t.Errorf("%+v", o)
	}
	w.ok("trigger", "pause", "t")
	if o := w.fails(1, admin.CodeTriggerStopped, "dlq", "redrive", "t"); !strings.Contains(o.err, "wasmill trigger resume t") {
		t.Errorf("%s", o.err)
	}
	w.ok("dlq", "redrive", "t", "--dry-run")
	w.fails(3, admin.CodeTriggerNotFound, "trigger", "seek", "none", "--to", "latest")
	w.fails(1, admin.CodeStreamInvalid, "trigger", "seek", "t", "--to", "2999-01-01T00:00:00Z")
}

func TestSeekAsksAndCounts(t *testing.T) {
	w, _ := poisoned(t)
	w.ok("stream", "create", "out")
	w.ok("fn", "update", "f", w.emitting(), "--emit", "out")
	if v := data[admin.SeekAnswer](w, "trigger", "seek", "t", "--to", "trim-horizon", "--dry-run"); v.Again != 2 || v.Skipped != 0 || v.Generation != 1 || !v.DryRun {
		t.Errorf("dry run: %+v", v)
	}
	o := w.fails(2, admin.CodeConfirm, "trigger", "seek", "t", "--to", "-1h")
	if !strings.Contains(o.err, "2 records will be delivered again, and what the function emits for them to out emitted again") {
		t.Errorf("%s", o.err)
	}
	if v := data[admin.SeekAnswer](w, "trigger", "seek", "t", "--to", "-1h", "--yes"); v.Again != 2 || v.Generation != 2 {
		t.Errorf("moved: %+v", v)
	}
	w.ok("trigger", "wait", "t", "--drained")
	records := tail(w, "out")
	if len(records) != 1 { // both in one batch
		t.Errorf("emitted %+v", records)
	}
	sequence := tail(w, "in")[1].Sequence
	if v := data[admin.SeekAnswer](w, "trigger", "seek", "t", "--to", sequence, "--yes"); v.Again != 1 {
		t.Errorf("to a sequence number: %+v", v)
	}
	w.ok("trigger", "wait", "t", "--drained")
	if n := len(tail(w, "out")); n != 2 {
		t.Errorf("%d records emitted", n)
	}
	if out := w.ok("trigger", "seek", "t", "--to", "latest"); !strings.Contains(out, "AGAIN") {
		t.Errorf("%s", out)
	}
}
