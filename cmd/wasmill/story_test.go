package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/api/admin"
)

func TestStreams(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "orders", "--shards", "2", "--retention", "7d")
	w.fails(4, admin.CodeStreamExists, "stream", "create", "orders")
	if v := data[admin.Stream](w, "stream", "create", "orders", "--shards", "9", "--if-not-exists"); v.ShardCount != 2 {
		t.Errorf("an existing stream was given %d shards", v.ShardCount)
	}
	w.fails(2, admin.CodeUsage, "stream", "create", "x", "--shards", "0")
	w.fails(2, admin.CodeUsage, "stream", "create", "x", "--shards", "10001")
	w.fails(2, admin.CodeUsage, "stream", "create", "x", "--retention", "0")
	if o := w.fails(4, admin.CodeStreamExists, "stream", "create", "orders"); !strings.Contains(o.err, "a stream named orders exists already") {
		t.Errorf("%s", o.err)
	}
	w.fails(3, admin.CodeStreamNotFound, "stream", "put", "nothing", "--data", "x")

	put := data[struct{ Shard, Sequence string }](w, "stream", "put", "orders", "--data", `{"id":1}`, "--key", "a")
	w.ok("stream", "put", "orders", "--data", "\xff\x00binary", "--key", "b")
	if out := w.ok("stream", "ls"); !strings.Contains(out, "orders  2       168h") {
		t.Errorf("stream ls:\n%s", out)
	}
	v := data[admin.Stream](w, "stream", "get", "orders")
	if v.Records != 2 || len(v.Shards) != 2 || v.Shards[0].KeyShare != 0.5 {
		t.Errorf("stream get: %+v", v)
	}
	records := tail(w, "orders")
	for _, r := range records {
		switch r.Key {
		case "a":
			if string(r.Payload()) != `{"id":1}` || r.Text == nil || r.Sequence != put.Sequence || r.Shard != put.Shard {
				t.Errorf("record a: %+v", r)
			}
		case "b":
			if string(r.Payload()) != "\xff\x00binary" || r.Text != nil {
				t.Errorf("record b: %+v", r)
			}
		}
	}
	if len(records) != 2 {
		t.Errorf("tail has %d records", len(records))
	}
	if out := w.ok("stream", "tail", "orders", "--no-follow"); strings.Contains(out, "\xff") || !strings.Contains(out, "binary data") {
		t.Errorf("binary data reaches the terminal: %q", out)
	}
	after := w.ok("stream", "tail", "orders", "--no-follow", "--shard", put.Shard, "--from", "after:"+put.Sequence)
	if strings.Contains(after, `"id":1`) {
		t.Errorf("after: a record's own sequence is %s", after)
	}
	index := strings.TrimLeft(strings.TrimPrefix(put.Shard, "shardId-"), "0")
	if byIndex := w.ok("stream", "tail", "orders", "--no-follow", "--shard", cmp.Or(index, "0")); !strings.Contains(byIndex, `"id":1`) {
		t.Errorf("tail of shard %q: %s", index, byIndex)
	}
	w.fails(1, admin.CodeBadRequest, "stream", "tail", "orders", "--no-follow", "--from", "at:"+put.Sequence)
	w.fails(3, admin.CodeShardNotFound, "stream", "tail", "orders", "--shard", "shardId-000000000007")
	w.fails(2, admin.CodeUsage, "stream", "tail", "orders", "--from", "yesterday")

	if o := w.fails(2, admin.CodeConfirm, "stream", "rm", "orders"); !strings.Contains(o.err, "wasmill stream rm orders --yes") {
		t.Errorf("a refusal says what to do: %s", o.err)
	}
	w.ok("stream", "rm", "orders", "--yes")
	w.fails(3, admin.CodeStreamNotFound, "stream", "rm", "orders", "--yes")
	w.ok("stream", "rm", "orders", "--yes", "--ignore-missing")
}

// tail reads all records, and checks that the envelope comes last.
func tail(w *world, name string) []admin.Record {
	w.Helper()
	lines := strings.Split(strings.TrimSpace(w.ok("stream", "tail", name, "--no-follow", "--json")), "\n")
	var records []admin.Record
	for i, l := range lines {
		if i == len(lines)-1 {
			var e envelope
			if err := json.Unmarshal([]byte(l), &e); err != nil || e.SchemaVersion != schemaVersion || e.Status != "ok" {
				w.Errorf("the last line is no envelope: %s", l)
			}
			break
		}
		var r admin.Record
		if err := json.Unmarshal([]byte(l), &r); err != nil {
			w.Fatalf("%v in %s", err, l)
		}
		records = append(records, r)
	}
	return records
}

func TestConfirmationIsAskedForOnATerminal(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "orders")
	w.tty = true
	w.in = "n\n"
	if o := w.fails(2, admin.CodeConfirm, "stream", "rm", "orders"); !strings.Contains(o.err, "delete stream orders with its 0 records for good") {
		t.Errorf("the question: %s", o.err)
	}
	w.in = "yes\n"
	w.ok("stream", "rm", "orders")
	w.fails(3, admin.CodeStreamNotFound, "stream", "get", "orders")
}

func TestPutKeepsTheOrderOfAKeyAcrossParallelBatches(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "s", "--shards", "3")
	var lines strings.Builder
	const n, keys = 6000, 7
	for i := range n {
		fmt.Fprintf(&lines, `{"k":{"id":%d},"n":%d}`+"\n", i%keys, i)
		if i%100 == 0 {
			lines.WriteString("\n") // passed over
		}
	}
	put := data[struct {
		Records int
		Shards  map[string]int
	}](w, "stream", "put", "s", "--file", w.file("in.ndjson", lines.String()), "--key", "$.k.id")
	if put.Records != n || len(put.Shards) < 2 {
		t.Fatalf("put %+v", put)
	}
	last := map[string]int{}
	records := tail(w, "s")
	for _, r := range records {
		var v struct{ N int }
		if err := json.Unmarshal(r.Payload(), &v); err != nil {
			t.Fatal(err)
		}
		if before, seen := last[r.Key]; seen && v.N != before+keys || !seen && v.N >= keys {
			t.Fatalf("key %s: %d comes after %d", r.Key, v.N, before)
		}
		last[r.Key] = v.N
	}
	if len(records) != n {
		t.Errorf("%d records are stored, want %d", len(records), n)
	}
}

func TestPutNamesTheLineItCannotUse(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "s")
	for content, says := range map[string]string{
		"{\"k\":1}\n{\"other\":1}\n": "line 2 has nothing at $.k",
		"{\"k\":1}\nnot json\n":      "line 2 is not JSON",
		"{\"k\":{}}\n":               "line 1 has no text, number or boolean at $.k",
		"{\"k\":1}\n{\"k\":\"" + strings.Repeat("x", 257) + "\"}": "line 2 has a partition key of 257 characters: want 1 to 256; 1 record put",
		`{"k":"` + strings.Repeat("x", 2<<20) + `"}`:              "line 1 has a partition key of 2097152 characters: want 1 to 256 and a record of",
	} {
		w.in = content
		if o := w.fails(1, admin.CodeInput, "stream", "put", "s", "--key", "$.k"); !strings.Contains(o.err, says) {
			t.Errorf("%q: want %q in\n%s", content, says, o.err)
		}
	}
	before := len(tail(w, "s"))
	w.in = "{\"k\":1}\n" + `{"k":2,"x":"` + strings.Repeat("x", 2<<20) + "\"}\n\n{\"k\":3}\nnot json\n" + strings.Repeat("y", 11<<20) + "\n{\"k\":4}"
	o := w.fails(1, admin.CodeInput, "stream", "put", "s", "--key", "$.k", "--json")
	p := putDetails(w, o)
	if p.Records != 3 || p.Refused != 3 || !slices.Equal(p.RefusedLines, []int{2, 5, 6}) || p.Unknown+p.NotAttempted != 0 || !strings.Contains(o.out, "line 2 has a record of 2097") || strings.Contains(o.out, `"retryable":true`) {
		t.Errorf("%+v\n%s", p, o.out)
	}
	if n := len(tail(w, "s")) - before; n != 3 {
		t.Errorf("of three good records among bad ones %d are stored", n)
	}
	w.fails(1, admin.CodeInput, "stream", "put", "s", "--file", "/does/not/exist")
	w.fails(2, admin.CodeUsage, "stream", "put", "s", "--key", "$[", "--data", "x")
	w.fails(2, admin.CodeUsage, "stream", "put", "s", "--key", "a", "--key-field", "b", "--data", "x")
}

// putCounts is what a put that did not end well says in error.details.put.
type putCounts struct {
	Records, Refused, Unknown, NotAttempted       int
	RefusedLines, UnknownLines, NotAttemptedLines []int
}

func putDetails(w *world, o outcome) putCounts {
	w.Helper()
	var e struct {
		Error struct {
			Details struct{ Put putCounts }
		}
	}
	if err := json.Unmarshal([]byte(o.out), &e); err != nil {
		w.Fatalf("%v in %s", err, o.out)
	}
	return e.Error.Details.Put
}

// before puts a proxy before the server that does something with the answer to
// each put before it is passed on; an error cuts the connection.
func (w *world) before(answered func() error) {
	w.Helper()
	at, err := url.Parse(w.server.Endpoint())
	if err != nil {
		w.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(at)
	proxy.ModifyResponse = func(res *http.Response) error {
		if res.Request.Method == "POST" && strings.HasSuffix(res.Request.URL.Path, "/records") {
			return answered()
		}
		return nil
	}
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	s := httptest.NewServer(proxy)
	w.Cleanup(s.Close)
	w.vars["WASMILL_ENDPOINT"] = s.URL
}

func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, i)
	}
	return b.String()
}

func TestPutThatIsInterruptedCountsWhatIsStored(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "s")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.before(func() error { cancel(); return nil })
	const n = 4000
	o := w.runCtx(ctx, "stream", "put", "s", "--file", w.file("in", numbered(n)), "--parallel", "1", "--json")
	p, stored := putDetails(w, o), len(tail(w, "s"))
	if o.status != 1 || !strings.Contains(o.out, admin.CodeInterrupted) || stored == 0 || stored == n || p.Records != stored || p.Unknown+p.Refused != 0 {
		t.Fatalf("%d are stored, exit status %d: %s", stored, o.status, o.out)
	}
	// What was not read yet when the interruption came is not counted.
	if len(p.NotAttemptedLines) != min(p.NotAttempted, 100) || p.NotAttempted > 0 && p.NotAttemptedLines[0] != stored+1 {
		t.Errorf("after %d stored, never attempted: %+v", stored, p)
	}
}

func TestPutWhoseAnswerIsLostDoesNotSayThatNothingIsStored(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "s")
	w.before(func() error { return errors.New("lost") })
	o := w.fails(1, admin.CodePutPartly, "stream", "put", "s", "--file", w.file("in", numbered(30)), "--parallel", "1", "--json")
	p, stored := putDetails(w, o), len(tail(w, "s"))
	if p.Unknown != stored || p.Records+p.Refused != 0 || p.Unknown == 0 || p.UnknownLines[0] != 1 || strings.Contains(o.out, `"retryable":true,"details":{"cause"`) {
		t.Errorf("%d are stored; %+v\n%s", stored, p, o.out)
	}
	o = w.run("stream", "put", "s", "--file", w.file("in", "one\n"))
	if !strings.Contains(o.err, "1 (line 1) unknown: sent, and no answer came") || strings.Contains(o.err, "not stored") {
		t.Errorf("%s", o.err)
	}
}

func TestPutCanBeStoppedWhileItsInputIsSilent(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "s")
	silent, writer := io.Pipe()
	defer writer.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var out, err buffer
	e := w.env(&out, &err)
	e.in = silent
	done := make(chan int)
	go func() { done <- run(ctx, e, []string{"stream", "put", "s", "--json"}) }()
	fmt.Fprintln(writer, "a record that goes out at once")
	for len(tail(w, "s")) == 0 {
		if t.Context().Err() != nil {
			t.Fatal("the record never arrived")
		}
	}
	cancel()
	if status := <-done; status != 1 || !strings.Contains(out.String(), admin.CodeInterrupted) || !strings.Contains(out.String(), `"records":1`) {
		t.Errorf("exit status %d: %s%s", status, out.String(), err.String())
	}
}

func TestTailFollowsUntilItIsStopped(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "s", "--shards", "2")
	w.ok("stream", "put", "s", "--data", "before", "--key", "1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, err buffer
	done := make(chan int)
	go func() { done <- run(ctx, w.env(&out, &err), []string{"stream", "tail", "s"}) }()
	err.until(t, "waiting for records")
	for i := range 10 {
		w.ok("stream", "put", "s", "--data", fmt.Sprintf("record%d.", i), "--key", fmt.Sprint(i))
	}
	for i := range 10 {
		out.until(t, fmt.Sprintf("record%d.", i))
	}
	cancel()
	if status := <-done; status != 0 {
		t.Errorf("a tail that was stopped ends with %d: %s", status, err.String())
	}
	if strings.Contains(out.String(), "before") {
		t.Errorf("a tail from now on shows what was before:\n%s", out.String())
	}
}

func TestTailEndsWithTheServer(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "s")
	var out, err buffer
	done := make(chan int)
	go func() { done <- run(t.Context(), w.env(&out, &err), []string{"stream", "tail", "s"}) }()
	err.until(t, "waiting for records")
	if e := w.server.Close(t.Context()); e != nil {
		t.Errorf("close: %v", e)
	}
	if status := <-done; status != 1 || !strings.Contains(err.String(), admin.CodeStopping) {
		t.Errorf("exit status %d: %s", status, err.String())
	}
}

func TestFunctions(t *testing.T) {
	w := newWorld(t)
	good, bad := w.file("good.wasm", answers(`{"ok":true}`)), w.file("bad.wasm", traps())
	v := data[admin.Function](w, "fn", "create", "f", good, "--timeout", "5s", "--memory", "256MB", "-e", "NAME=é1", "--description", "first")
	if v.Timeout.String() != "5s" || v.MemoryMB != 256 || v.Environment["NAME"] != "é1" || v.ABI != "command" || v.Description != "first" {
		t.Errorf("created %+v", v)
	}
	// Refused before anything is built.
	w.fails(4, admin.CodeFunctionExists, "fn", "create", "f", "/does/not/exist")
	w.fails(1, admin.CodeFunctionInvalid, "fn", "create", "no name", "/does/not/exist")
	w.fails(1, admin.CodeInput, "build", t.TempDir(), "-o", "/does/not/exist/x.wasm")
	w.fails(1, admin.CodeFunctionInvalid, "fn", "update", "f", "--memory", "0")
	w.fails(1, admin.CodeCodeRefused, "fn", "create", "g", w.file("no.wasm", "this is no module"))
	w.fails(1, admin.CodeInput, "fn", "create", "g", "/does/not/exist.wasm")
	w.fails(1, admin.CodeFunctionInvalid, "fn", "create", "g", good, "--timeout", "901s")
	w.fails(2, admin.CodeUsage, "fn", "create", "g", good, "--memory", "lots")
	if out := w.ok("fn", "invoke", "f", "--data", `{"x":1}`); strings.TrimSpace(out) != `{"ok":true}` {
		t.Errorf("invoke prints %q", out)
	}
	w.fails(1, admin.CodeInput, "fn", "invoke", "f", "--data", "{")
	if out := w.ok("fn", "invoke", "f", "--record", "one", "--record", "two", "--key", "k"); strings.TrimSpace(out) != `{"ok":true}` {
		t.Errorf("invoke with records prints %q", out)
	}
	w.fails(2, admin.CodeUsage, "fn", "invoke", "f", "--record", "one", "--data", "{}")
	w.fails(2, admin.CodeUsage, "fn", "invoke", "f", "--key", "k")
	id := data[admin.Invocation](w, "fn", "invoke", "f").ID
	mine := data[struct{ Lines []admin.LogLine }](w, "fn", "logs", "f", "--request", id).Lines
	if len(mine) == 0 || slices.ContainsFunc(mine, func(l admin.LogLine) bool { return l.RequestID != id }) {
		t.Errorf("the log of call %s: %+v", id, mine)
	}
	if out := w.ok("fn", "logs", "f", "-v"); !strings.Contains(out, "Z  "+id+"  START") {
		t.Errorf("fn logs -v does not name the call:\n%s", out)
	}
	w.fails(3, admin.CodeFunctionNotFound, "fn", "invoke", "f", "--version", "9")
	if out := w.ok("fn", "logs", "f"); !strings.Contains(out, "START RequestId") || !strings.Contains(out, "REPORT") {
		t.Errorf("logs:\n%s", out)
	}

	if out := w.ok("fn", "publish", "f"); out != "1\n" {
		t.Errorf("published %q", out)
	}
	w.ok("fn", "update", "f", bad, "--timeout", "9s")
	o := w.fails(1, admin.CodeFunctionFailed, "fn", "invoke", "f")
	if !strings.Contains(o.err, "wasmill fn logs f") {
		t.Errorf("what to do next: %s", o.err)
	}
	if out := w.ok("fn", "invoke", "f", "--version", "1"); strings.TrimSpace(out) != `{"ok":true}` {
		t.Errorf("a published version answers %q", out)
	}
	got := data[admin.Function](w, "fn", "get", "f")
	if got.Timeout.String() != "9s" || got.MemoryMB != 256 || len(got.Versions) != 1 || got.SHA256 == v.SHA256 {
		t.Errorf("after update: %+v", got)
	}
	w.fails(2, admin.CodeUsage, "fn", "update", "f")
	w.ok("fn", "rm", "f", "--yes")
	w.fails(3, admin.CodeFunctionNotFound, "fn", "get", "f")
	if out := w.ok("fn", "ls"); out != "" {
		t.Errorf("an empty list prints %q on standard output", out)
	}
}

func TestTriggersAndDeadLetters(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "orders", "--shards", "2")
	w.ok("fn", "create", "fails", w.file("bad.wasm", traps()))
	w.ok("fn", "create", "works", w.file("good.wasm", answers(`null`)))

	// What is missing is named with its like.
	if o := w.fails(3, admin.CodeStreamNotFound, "trigger", "create", "t", "--stream", "order", "--fn", "works"); !strings.Contains(o.err, "did you mean orders?") {
		t.Errorf("%s", o.err)
	}
	if o := w.fails(3, admin.CodeFunctionNotFound, "trigger", "create", "t", "--stream", "orders", "--fn", "work"); !strings.Contains(o.err, "did you mean works?") {
		t.Errorf("%s", o.err)
	}
	w.fails(3, admin.CodeFunctionNotFound, "trigger", "create", "t", "--stream", "orders", "--fn", "works:7")
	w.fails(1, admin.CodeTriggerInvalid, "trigger", "create", "t", "--stream", "orders", "--fn", "works", "--batch-size", "10001")
	w.fails(2, admin.CodeUsage, "trigger", "create", "t", "--stream", "orders")
	for _, flag := range []string{"--batch-size", "--parallel", "--backoff"} {
		w.fails(1, admin.CodeTriggerInvalid, "trigger", "create", "t", "--stream", "orders", "--fn", "works", flag, "0")
	}

	w.ok("stream", "put", "orders", "--data", `{"id":1,"name":"é"}`, "--key", "a")
	w.ok("stream", "put", "orders", "--data", "\x01\xfe", "--key", "b")
	v := data[admin.Trigger](w, "trigger", "create", "t", "--stream", "orders", "--fn", "fails", "--retries", "1", "--backoff", "1ms", "--bisect", "--window", "1s")
	if v.Retries != 1 || !v.Bisect || v.BatchSize != 100 || v.From != "trim-horizon" || v.Window.String() != "1s" || v.Backoff.String() != "1ms" {
		t.Errorf("created %+v", v)
	}
	w.fails(1, admin.CodeTriggerInvalid, "trigger", "update", "t", "--batch-size", "0")
	if o := w.fails(4, admin.CodeTriggerExists, "trigger", "create", "t", "--stream", "orders", "--fn", "works"); !strings.Contains(o.err, "a trigger named t exists already") {
		t.Errorf("%s", o.err)
	}
	for _, more := range [][]string{nil, {"--if-not-exists"}} {
		args := append([]string{"trigger", "create", "other", "--stream", "orders", "--fn", "fails"}, more...)
		if o := w.fails(4, admin.CodeTriggerExists, args...); !strings.Contains(o.err, "trigger t already calls fails") || !strings.Contains(o.err, "wasmill trigger update t") {
			t.Errorf("%s", o.err)
		}
	}
	w.fails(4, admin.CodeFunctionInUse, "fn", "rm", "fails", "--yes")
	w.ok("trigger", "update", "t", "--window", "0s")
	drained := data[admin.Trigger](w, "trigger", "wait", "t", "--drained", "--timeout", "60s")
	var buried, lag uint64
	for _, s := range drained.Shards {
		buried, lag = buried+s.Buried, lag+s.Lag
	}
	if buried != 2 || lag != 0 {
		t.Errorf("drained: %d buried, %d left: %+v", buried, lag, drained.Shards)
	}
	if out := w.ok("trigger", "get", "t"); !strings.Contains(out, "caught up") || !strings.Contains(out, "bisect") {
		t.Errorf("trigger get:\n%s", out)
	}

	letters := data[struct{ DeadLetters []admin.Letter }](w, "dlq", "ls").DeadLetters
	if len(letters) != 2 {
		t.Fatalf("%d dead letters: %+v", len(letters), letters)
	}
	for _, l := range letters {
		if l.Text != nil || l.Data != nil {
			t.Errorf("a list carries data: %+v", l)
		}
		out := w.ok("dlq", "show", l.ID)
		for _, want := range []string{l.ID, "wasmill fn logs fails --request " + l.BatchInvocation, "RetryAttemptsExhausted", "2 attempts", "sha256 ", "version $LATEST", "invocation ", l.Sequence} {
			if !strings.Contains(out, want) {
				t.Errorf("dlq show lacks %q:\n%s", want, out)
			}
		}
		switch raw := w.ok("dlq", "show", l.ID, "--raw"); l.Key {
		case "a":
			if raw != `{"id":1,"name":"é"}` || !strings.Contains(out, "\n  \"id\": 1,\n") {
				t.Errorf("raw %q, shown\n%s", raw, out)
			}
		case "b":
			if raw != "\x01\xfe" || !strings.Contains(out, "00000000  01 fe") {
				t.Errorf("raw %q, shown\n%s", raw, out)
			}
		}
	}
	if o := w.fails(2, admin.CodeUsage, "dlq", "ls", "--reason", "Foo"); !strings.Contains(o.err, "RecordAgeExceeded") {
		t.Errorf("%s", o.err)
	}
	w.fails(2, admin.CodeUsage, "dlq", "purge")
	if o := w.fails(2, admin.CodeConfirm, "dlq", "purge", letters[0].ID); !strings.Contains(o.err, "delete 1 dead letter with its record for good") {
		t.Errorf("%s", o.err)
	}
	w.ok("dlq", "purge", letters[0].ID, "--yes")
	w.fails(3, admin.CodeLetterNotFound, "dlq", "show", letters[0].ID)
	if n := data[struct{ Purged int }](w, "dlq", "purge", "--trigger", "t", "--yes").Purged; n != 1 {
		t.Errorf("purged %d", n)
	}

	if p := data[admin.Trigger](w, "trigger", "pause", "t"); p.Enabled {
		t.Errorf("paused: %+v", p)
	}
	if out := w.ok("trigger", "ls"); !strings.Contains(out, "paused") {
		t.Errorf("trigger ls:\n%s", out)
	}
	w.ok("stream", "put", "orders", "--data", "while paused", "--key", "a")
	if o := w.run("trigger", "wait", "t", "--drained", "--timeout", "5s"); o.status == 0 || !strings.Contains(o.err, "paused") || !strings.Contains(o.err, "wasmill trigger resume t") {
		t.Errorf("waiting for a paused trigger: %+v", o)
	}
	w.ok("trigger", "update", "t", "--fn", "works")
	w.ok("trigger", "resume", "t")
	w.ok("trigger", "wait", "t", "--drained")
	w.fails(2, admin.CodeUsage, "trigger", "wait", "t")
	w.ok("trigger", "rm", "t", "--yes")
	if o := w.fails(3, admin.CodeTriggerNotFound, "trigger", "get", "tt"); strings.Contains(o.err, "did you mean") {
		t.Errorf("suggests a trigger that was deleted: %s", o.err)
	}
}

func TestWaitEndsAtItsTimeout(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "s")
	w.ok("fn", "create", "fails", w.file("bad.wasm", traps()))
	w.ok("stream", "put", "s", "--data", "x")
	w.ok("trigger", "create", "t", "--stream", "s", "--fn", "fails", "--backoff", "60s")
	o := w.fails(6, admin.CodeWaitExpired, "trigger", "wait", "t", "--drained", "--timeout", "300ms")
	if !strings.Contains(o.err, "1 record is left") || !strings.Contains(o.err, "wasmill trigger get t") || !strings.Contains(o.err, "is backing off after 1 attempt, again in") || !strings.Contains(o.err, "last error: ") {
		t.Errorf("%s", o.err)
	}
	if out := w.ok("trigger", "get", "t"); !strings.Contains(out, "backing off after 1 attempt") {
		t.Errorf("trigger get:\n%s", out)
	}
}

func TestAStreamThatATriggerReadsIsDeletedByForceOnly(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "s")
	w.ok("fn", "create", "f", w.file("good.wasm", answers("1")))
	w.ok("trigger", "create", "t", "--stream", "s", "--fn", "f")
	if o := w.fails(4, admin.CodeStreamInUse, "stream", "rm", "s", "--yes"); !strings.Contains(o.err, "stream s is read by trigger t") || !strings.Contains(o.err, "wasmill trigger rm t") {
		t.Errorf("%s", o.err)
	}
	w.ok("stream", "rm", "s", "--yes", "--force")
	for _, args := range [][]string{{"trigger", "ls"}, {"trigger", "get", "t"}} {
		if out := w.ok(args...); !strings.Contains(out, "stopped") || !strings.Contains(out, "stream s was deleted") {
			t.Errorf("%v:\n%s", args, out)
		}
	}
	if v := data[admin.Trigger](w, "trigger", "get", "t"); v.Problem == "" {
		t.Errorf("%+v", v)
	}
	if o := w.fails(1, admin.CodeTriggerStopped, "trigger", "wait", "t", "--drained"); !strings.Contains(o.err, "trigger t cannot be drained: stream s was deleted") {
		t.Errorf("%s", o.err)
	}
	w.ok("trigger", "rm", "t", "--yes")
}

func TestWaitEndsWithTheServer(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "s")
	w.ok("fn", "create", "fails", w.file("bad.wasm", traps()))
	w.ok("stream", "put", "s", "--data", "x")
	w.ok("trigger", "create", "t", "--stream", "s", "--fn", "fails", "--backoff", "60s")
	var out, err buffer
	done := make(chan int)
	w.tty = true // so that its progress shows that it waits
	go func() { done <- run(t.Context(), w.env(&out, &err), []string{"trigger", "wait", "t", "--drained"}) }()
	err.until(t, "last error: ")
	if e := w.server.Close(t.Context()); e != nil {
		t.Errorf("close: %v", e)
	}
	if status := <-done; status != 1 || !strings.Contains(err.String(), admin.CodeStopping) || strings.Contains(err.String(), "context canceled") {
		t.Errorf("exit status %d: %s", status, err.String())
	}
}

func TestAFailedCallShowsItsErrorBeforeTheEndOfItsLog(t *testing.T) {
	var log strings.Builder
	for i := range 50 {
		fmt.Fprintf(&log, "line %d.\n", i)
	}
	text := logEnd(admin.Invocation{Function: "f", ID: "id", Log: log.String()})
	if strings.Contains(text, "line 29.") || !strings.Contains(text, "line 30.") || !strings.Contains(text, "line 49.") || !strings.Contains(text, "wasmill fn logs f --request id") {
		t.Errorf("%s", text)
	}
	w := newWorld(t)
	w.ok("fn", "create", "fails", w.file("bad.wasm", traps()))
	o := w.fails(1, admin.CodeFunctionFailed, "fn", "invoke", "fails")
	if wrote := strings.Index(o.err, "it wrote:"); wrote >= 0 && wrote < strings.Index(o.err, "error[") {
		t.Errorf("%s", o.err)
	}
}

func TestAnEventMadeByHandIsOneOfKinesis(t *testing.T) {
	var e struct {
		Records []struct {
			EventSource string
			Kinesis     struct {
				PartitionKey, SequenceNumber string
				Data                         []byte
			}
		}
	}
	if err := json.Unmarshal(kinesisEvent([]string{"a", "b", "c"}, []string{"k", "l"}, time.Unix(1767366245, 0)), &e); err != nil {
		t.Fatal(err)
	}
	if len(e.Records) != 3 || e.Records[0].EventSource != "aws:kinesis" || string(e.Records[2].Kinesis.Data) != "c" || e.Records[0].Kinesis.PartitionKey != "k" ||
		e.Records[2].Kinesis.PartitionKey != "l" || e.Records[0].Kinesis.SequenceNumber >= e.Records[1].Kinesis.SequenceNumber {
		t.Errorf("%+v", e)
	}
}

func TestResetNeedsLeave(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "s")
	w.ok("fn", "create", "f", w.file("good.wasm", answers("1")))
	w.ok("trigger", "create", "t", "--stream", "s", "--fn", "f")
	res, err := http.Post(w.server.Endpoint()+"/_wasmill/reset", "", nil)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%v %v", res, err)
	}
	res.Body.Close()
	for _, noun := range []string{"stream", "fn", "trigger"} {
		if out := w.ok(noun, "ls"); out != "" {
			t.Errorf("%s ls after a reset:\n%s", noun, out)
		}
	}
}
