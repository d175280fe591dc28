package main

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/dlq"
)

// emits is a module whose reply emits a record.
func (w *world) emits(stream string, data []byte) string {
	w.Helper()
	return w.file("emits.wasm", answers(fmt.Sprintf(`{"emit":[{"stream":%q,"partitionKey":"k","data":%q}]}`, stream, base64.StdEncoding.EncodeToString(data))))
}

func TestInvokeSaysWhatATriggerWouldRefuse(t *testing.T) {
	w := newWorld(t)
	w.ok("fn", "create", "f", w.emits("out", []byte("hi")), "--emit", "out")
	o := w.run("fn", "invoke", "f", "--record", "x")
	if o.status != 0 || !strings.Contains(o.err, "would have failed with this reply: emit 0 goes to stream out, which does not exist; create it with: wasmill stream create out") || strings.Contains(o.err, "would emit") {
		t.Errorf("no such stream: %+v", o)
	}
	if v := data[admin.Invocation](w, "fn", "invoke", "f"); len(v.Emits) != 0 || !strings.Contains(v.EmitProblem, "stream out") {
		t.Errorf("%+v", v)
	}
	w.ok("stream", "create", "out")
	if o := w.run("fn", "invoke", "f"); !strings.Contains(o.err, "would emit 1 record") {
		t.Errorf("%+v", o)
	}

	// Fields without tags, and what is another thing of that name.
	w.ok("fn", "update", "f", w.file("untagged.wasm", answers(`{"emit":[{"Stream":"out","PartitionKey":"k","Data":"aGk="}]}`)), "--emit", "")
	if o := w.run("fn", "invoke", "f"); !strings.Contains(o.err, "would have failed") || !strings.Contains(o.err, "tag the field `json:\"stream\"`") {
		t.Errorf("without tags: %+v", o)
	}
	w.ok("fn", "update", "f", w.file("topics.wasm", answers(`{"emit":[{"topic":"out"}]}`)))
	if o := w.run("fn", "invoke", "f"); o.status != 0 || !strings.Contains(o.err, "would be ignored: it lists 1,") {
		t.Errorf("another thing: %+v", o)
	}
	w.ok("fn", "update", "f", w.file("flag.wasm", answers(`{"emit":true}`)))
	if o := w.run("fn", "invoke", "f"); o.status != 0 || strings.Contains(o.err, "emit") {
		t.Errorf("no list: %+v", o)
	}
}

// An output vanishes for no reply without a word.
func TestABatchThatEmitsWithoutTagsIsADeadLetterThatSaysSo(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "in")
	w.ok("fn", "create", "f", w.file("untagged.wasm", answers(`{"emit":[{"Stream":"out","PartitionKey":"k","Data":"aGk="}]}`)))
	w.ok("fn", "create", "g", w.file("topics.wasm", answers(`{"emit":[{"topic":"out"}]}`)))
	w.ok("stream", "put", "in", "--data", "x")
	w.ok("trigger", "create", "t", "--stream", "in", "--fn", "f", "--retries", "0")
	w.ok("trigger", "create", "u", "--stream", "in", "--fn", "g", "--retries", "0")
	w.ok("trigger", "wait", "t", "--drained")
	w.ok("trigger", "wait", "u", "--drained")
	letters := data[struct{ DeadLetters []admin.Letter }](w, "dlq", "ls").DeadLetters
	if len(letters) != 1 || letters[0].Trigger != "t" || !strings.HasPrefix(letters[0].ErrorMessage, `emit 0 has "Stream": want "stream"`) {
		t.Errorf("%+v", letters)
	}
	if log := w.ok("fn", "logs", "g"); !strings.Contains(log, `[wasmill: the function's reply has an "emit" that was ignored`) {
		t.Errorf("log:\n%s", log)
	}
}

func TestReplaySaysWhatATriggerWouldRefuse(t *testing.T) {
	w, letters := poisoned(t)
	w.ok("fn", "update", "f", "--emit", "out")
	out := w.ok("dlq", "replay", letters[0].ID, "--against", w.emits("out", []byte("hi")))
	if !strings.Contains(out, "error: Emit.Invalid: emit 0 goes to stream out, which does not exist") {
		t.Errorf("no such stream:\n%s", out)
	}
	w.ok("stream", "create", "out")
	if v := data[admin.Replay](w, "dlq", "replay", letters[0].ID, "--against", w.emits("out", []byte("hi"))); v.Against.Outcome != "done" || len(v.Against.Emits) != 1 {
		t.Errorf("%+v", v.Against)
	}
}

func TestReplayRefusesWhatIsNoModule(t *testing.T) {
	w, letters := poisoned(t)
	for _, text := range []string{"\n", "[functions.f]\n", "\x00asm", "\x00asm\x01\x00\x00\x00"} {
		file := w.file("wasmill.toml", text)
		o := w.fails(1, admin.CodeCodeRefused, "dlq", "replay", letters[0].ID, "--against", file)
		if !strings.Contains(o.err, file+": ") || !strings.Contains(o.err, "want a WebAssembly module, or a folder to build one from") || strings.Contains(o.out, "CURRENT") {
			t.Errorf("%q:\n%s%s", text, o.out, o.err)
		}
	}
}

func TestALetterBuriedAgainIsFoundByItsFormerID(t *testing.T) {
	w, letters := poisoned(t)
	former := letters[0].ID
	for range 2 {
		w.fails(1, admin.CodeRedriveFailed, "dlq", "redrive", "t", "--filter", "key="+letters[0].Key)
	}
	now := former + "-3"
	w.ok("dlq", "show", now)
	for _, id := range []string{former, former + "-2"} {
		for _, args := range [][]string{{"dlq", "show", id}, {"dlq", "replay", id}, {"dlq", "redrive", "t", "--id", id}} {
			if o := w.fails(3, admin.CodeLetterNotFound, args...); !strings.Contains(o.err, id+" was redriven, failed and was buried again as "+now) || !strings.Contains(o.err, "wasmill dlq show "+now) {
				t.Errorf("%v:\n%s", args, o.err)
			}
		}
	}
	// One that is done, or never was, is not there.
	w.ok("dlq", "purge", now, "--yes")
	for _, id := range []string{former, "0000000000-10", "nonsense"} {
		if o := w.fails(3, admin.CodeLetterNotFound, "dlq", "show", id); !strings.Contains(o.err, "there is no dead letter "+id) || strings.Contains(o.err, "buried again") {
			t.Errorf("%s:\n%s", id, o.err)
		}
	}
}

func TestWhatIsLargeIsCutForPeople(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "in")
	w.ok("stream", "create", "out")
	text := strings.Repeat("m", 30<<10)
	w.ok("fn", "create", "f", w.emits("out", []byte(text)), "--emit", "out")
	o := w.run("fn", "invoke", "f", "--record", "x")
	if !strings.Contains(o.err, "to out, key k: mmm") || len(o.err) > 1000 || strings.Count(o.out, "bW1t") < 10<<10 {
		t.Errorf("%d bytes are said, %d printed", len(o.err), len(o.out))
	}
	var out, talk buffer
	e := w.env(&out, &talk)
	e.outTTY = true
	if status := run(t.Context(), e, []string{"fn", "invoke", "f"}); status != 0 || len(out.String()) != maxShown+1 || !strings.Contains(talk.String(), "whole in a file or pipe") {
		t.Errorf("status %d, %d bytes on a terminal\n%s", status, len(out.String()), talk.String())
	}
	if v := data[admin.Invocation](w, "fn", "invoke", "f"); len(v.Emits) != 1 || string(v.Emits[0].Data) != text {
		t.Error("not whole in JSON")
	}

	w.ok("fn", "update", "f", w.file("bad.wasm", traps()))
	binary := strings.Repeat("\xff\x00", 5000)
	w.ok("stream", "put", "in", "--data", binary)
	w.ok("trigger", "create", "t", "--stream", "in", "--fn", "f", "--retries", "0")
	w.ok("trigger", "wait", "t", "--drained")
	id := data[struct{ DeadLetters []admin.Letter }](w, "dlq", "ls").DeadLetters[0].ID
	shown := w.ok("dlq", "show", id)
	if strings.Count(shown, "ff 00 ff 00") > 64 || !strings.Contains(shown, "000000f0  ff") || strings.Contains(shown, "00000100  ") ||
		!strings.Contains(shown, "… and 9,744 bytes more; all of it: wasmill dlq show "+id+" --raw\n") {
		t.Errorf("shown:\n%s", shown)
	}
	if raw := w.ok("dlq", "show", id, "--raw"); raw != binary {
		t.Errorf("raw: %d bytes", len(raw))
	}
}

func TestALetterOfAnOutputShowsWhatItHas(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "in")
	w.ok("stream", "create", "out", "--max-bytes", "1MiB")
	w.ok("stream", "put", "out", "--data", strings.Repeat("x", 1<<20-100))
	w.ok("fn", "create", "f", w.emits("out", []byte(strings.Repeat("y", 30<<10))), "--emit", "out")
	w.ok("stream", "put", "in", "--data", "1")
	w.ok("trigger", "create", "t", "--stream", "in", "--fn", "f")
	// The stream is full, so that the output still waits when it goes.
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(w.ok("trigger", "get", "t"), "outputs wait for stream out"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no output waits")
		}
	}
	w.ok("stream", "rm", "out", "--yes", "--force")
	w.ok("trigger", "wait", "t", "--drained")
	letters := data[struct{ DeadLetters []admin.Letter }](w, "dlq", "ls").DeadLetters
	if len(letters) != 1 || letters[0].Kind != dlq.KindOutput {
		t.Fatalf("%+v", letters)
	}
	id := letters[0].ID
	out := w.ok("dlq", "show", id)
	for _, no := range []string{"attempts", "\nfunction", "version", "its log"} {
		if strings.Contains(out, no) {
			t.Errorf("shows %q of a record that no function has failed on:\n%s", no, out[:min(len(out), 1000)])
		}
	}
	o := w.fails(1, admin.CodeBadRequest, "dlq", "replay", id)
	if !strings.Contains(o.err, "wasmill dlq show "+id+" --raw") || strings.Contains(o.err, "documentation") || !strings.Contains(o.err, "to stream out,") {
		t.Errorf("%s", o.err)
	}
	if raw := w.ok("dlq", "show", id, "--raw"); raw != strings.Repeat("y", 30<<10) {
		t.Errorf("raw: %d bytes", len(raw))
	}
}
