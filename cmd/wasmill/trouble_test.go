package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/api/admin"
)

// tells wants texts in what was printed.
func (w *world) tells(printed string, want ...string) {
	w.Helper()
	for _, text := range want {
		if !strings.Contains(printed, text) {
			w.Errorf("it does not say %q:\n%s", text, printed)
		}
	}
}

func TestAFilterThatNothingCanMatchIsSaidWhereItIsMadeAndWhereItRuns(t *testing.T) {
	w := newWorld(t)
	const pattern, says = `{"body":{"n":[1]}}`, `"body" is of SQS: a Kinesis record has data, partitionKey, `
	w.ok("stream", "create", "orders")
	w.ok("fn", "create", "f", w.file("f.wasm", answers("{}")))
	o := w.run("trigger", "create", "t", "--stream", "orders", "--fn", "f", "--filter", pattern)
	if o.status != 0 {
		t.Fatal(o.err)
	}
	w.tells(o.err, says, "nothing will ever match")
	w.tells(w.run("trigger", "test-filter", "--filter", pattern, "--data", `{"n":1}`).err, says)
	w.tells(w.run("trigger", "update", "t", "--filter", pattern, "--filter", `{"data":{"n":[1]}}`).err, "filter 1 asks for", says)
	w.tells(w.ok("trigger", "explain", "t"), "Mind: filter 1 asks for "+says)
	w.tells(w.run("trigger", "update", "t", "--filter", pattern).err, "the filter asks for "+says)
	w.ok("stream", "put", "orders", "--data", `{"n":1}`, "--key", "a")
	drained := w.run("trigger", "wait", "t", "--drained")
	w.tells(drained.err, "0 records done, 1 filtered out since the server was started")
	w.tells(w.ok("trigger", "explain", "t"), "It does not get on: no record passes: the filter asks for "+says, "Its filters have let 1 record pass by")
	got := w.ok("trigger", "get", "t")
	w.tells(got, "trouble", "FILTERED", data[admin.Trigger](w, "trigger", "get", "t").ID)
	w.tells(w.ok("trigger", "ls"), "PROBLEM", says)
	if v := data[admin.Trigger](w, "trigger", "get", "t"); v.Shards[0].Filtered != 1 || v.Trouble == "" {
		t.Errorf("%+v", v)
	}

	dir := w.folder(fmt.Sprintf("function = \"g\"\nsource = \"f.wasm\"\n[[trigger]]\nstream = \"orders\"\nfilters = ['%s']\n", pattern), answers("{}"))
	for _, verb := range []string{"diff", "deploy"} {
		o := w.run(verb, dir)
		if o.status != 0 {
			t.Errorf("%s: %s", verb, o.err)
		}
		w.tells(o.err, "trigger g: the filter asks for "+says)
	}
}

func TestATriggerIsFoundByItsUUID(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "orders")
	w.ok("fn", "create", "f", w.file("f.wasm", answers("{}")))
	id := data[admin.Trigger](w, "trigger", "create", "t", "--stream", "orders", "--fn", "f").ID
	w.tells(w.ok("trigger", "get", id), "name         t", id)
	w.fails(3, admin.CodeTriggerNotFound, "trigger", "get", id[1:])
}

func TestAnOpenWindowIsSaidWhereATriggerIsDoneOrPaused(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "orders")
	w.ok("fn", "create", "f", w.file("f.wasm", answers(`{"state":{"n":1}}`)))
	w.ok("trigger", "create", "t", "--stream", "orders", "--fn", "f", "--tumbling-window", "15m")
	w.ok("stream", "put", "orders", "--data", "x", "--key", "a")
	o := w.run("trigger", "wait", "t", "--drained")
	w.tells(o.err, "1 record done", "a tumbling window is open until ")
	w.tells(w.ok("trigger", "explain", "t"), "It is at the end of 1 shard, with the tumbling window of 1 shard open.")
	w.tells(w.ok("trigger", "get", "t"), "caught up; window open until ")
	w.ok("trigger", "pause", "t")
	w.tells(w.ok("trigger", "explain", "t"), "It is paused, with 0 records to do and an open tumbling window.", "its final invocation comes when the trigger goes on")
	if v := data[admin.Trigger](w, "trigger", "get", "t"); v.Shards[0].Window == nil || v.Shards[0].Window.StateBytes != 7 {
		t.Errorf("%+v", v.Shards[0].Window)
	}
	// One whose final invocation fails.
	failing := admin.ShardProgress{Shard: "s-0", WaitsFor: "the final invocation of a tumbling window has to succeed first", LastOutcome: "error", LastError: "Oops: no", Waiting: 1, Attempts: 3,
		Window: &admin.TriggerWindow{Closing: true, Attempts: 3, LastError: "Oops: no", RetryAt: time.Now().Add(time.Minute)}}
	if got := shardState(failing); !strings.HasPrefix(got, "the final invocation of its window fails, after 3 attempts, again in ") || !strings.HasSuffix(got, "; last: Oops: no") || strings.Contains(got, "caught up") {
		t.Errorf("%q", got)
	}
}

func TestAFunctionOrAliasThatIsGoneIsToldWithTheWayOut(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "orders")
	code := w.file("f.wasm", answers("{}"))
	w.ok("fn", "create", "f", code)
	w.ok("fn", "publish", "f")
	w.ok("fn", "alias", "set", "f", "live", "1")
	w.ok("trigger", "create", "t", "--stream", "orders", "--fn", "f:live")
	w.fails(4, admin.CodeFunctionInUse, "fn", "alias", "rm", "f", "live")
	over := func(path string) { // AWS's clients are not held back
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "DELETE", w.server.Endpoint()+"/2015-03-31/functions/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if res.Body.Close(); res.StatusCode != http.StatusNoContent {
			t.Fatalf("%s: %s", path, res.Status)
		}
	}
	over("f/aliases/live")
	w.tells(w.ok("trigger", "explain", "t"), "function f has no version and no alias live any more", "wasmill fn alias set f live VERSION", "wasmill trigger rm t", "PROBLEM: Function call failed")
	w.ok("fn", "invoke", "f", "--data", "{}")
	over("f")
	w.tells(w.ok("trigger", "explain", "t"), "It does not get on: function f does not exist any more; make it with: wasmill fn create f")
	w.tells(w.ok("trigger", "ls"), "PROBLEM", "function f does not exist any more")
	// What it has written is kept, and shown.
	w.tells(w.ok("fn", "logs", "f"), "START RequestId")
	w.fails(3, admin.CodeFunctionNotFound, "fn", "logs", "g")
	w.ok("fn", "create", "f", code)
	w.ok("fn", "alias", "set", "f", "live", "$LATEST")
	if v := data[admin.Trigger](w, "trigger", "get", "t"); v.Trouble != "" {
		t.Errorf("it is there again: %s", v.Trouble)
	}
}

func TestADestinationIsNamedLikeAStreamAndKept(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "orders")
	w.ok("stream", "create", "failures")
	w.ok("fn", "create", "f", w.file("f.wasm", traps()))
	arn := data[admin.Stream](w, "stream", "get", "failures").ARN
	if v := data[admin.Trigger](w, "trigger", "create", "t", "--stream", "orders", "--fn", "f", "--retries", "0", "--on-failure", "failures"); v.OnFailure != arn {
		t.Errorf("on failure %q, want %s", v.OnFailure, arn)
	}
	o := w.fails(2, admin.CodeUsage, "trigger", "update", "t", "--on-failure", "file://notices")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	w.tells(o.err, "file://notices: want the whole path of a directory: file://"+filepath.ToSlash(filepath.Join(here, "notices")))
	w.fails(2, admin.CodeUsage, "trigger", "update", "t", "--on-failure", "./notices")
	w.tells(w.fails(2, admin.CodeUsage, "trigger", "update", "t", "--no-filters", "--filter", `{"data":{"a":[1]}}`).err, "--filter and --no-filters: want one of them")
	w.tells(w.fails(2, admin.CodeUsage, "fn", "alias", "create").err, "did you mean set?")

	w.tells(w.fails(4, admin.CodeStreamInUse, "stream", "rm", "failures", "--yes").err, "stream failures is where trigger t tells of discarded batches", "--on-failure none", "--force")
	w.ok("stream", "rm", "failures", "--yes", "--force")
	w.ok("stream", "put", "orders", "--data", "x", "--key", "a")
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got := w.ok("trigger", "explain", "t")
		if strings.Contains(got, "Not delivered yet: ") {
			w.tells(got, "Not delivered yet: 1 notice of a discarded batch waits for "+arn+": there is no stream failures; make it with: wasmill stream create failures; or tell another",
				"wasmill trigger update t --on-destination-failure drop")
			w.tells(w.ok("trigger", "get", "t"), "not delivered")
			w.tells(w.ok("trigger", "ls"), "1 notice of a discarded batch waits")
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no trouble is told:\n%s", got)
		}
	}
}

func TestADestinationThatIsNotThereIsSaidBeforeAnythingIsDone(t *testing.T) {
	w := newWorld(t)
	const toml = "function = \"x\"\nsource = \"f.wasm\"\n[[trigger]]\nstream = \"orders\"\non-failure = \"failures\"\n"
	dir := w.folder(toml, answers("{}"))
	for _, verb := range []string{"diff", "deploy"} {
		w.tells(w.fails(1, admin.CodeTriggerInvalid, verb, dir).err, "trigger x: destination arn:aws:kinesis:us-east-1:000000000000:stream/failures: there is no such stream", "nothing was done")
	}
	w.fails(1, admin.CodeTriggerInvalid, "deploy", w.folder(strings.Replace(toml, `"failures"`, `"orders"`, 1), answers("{}")))
	w.fails(1, admin.CodeTriggerInvalid, "deploy", w.folder(strings.Replace(toml, `"failures"`, `"file:///etc"`, 1), answers("{}")))
	if all := data[struct{ Streams []admin.Stream }](w, "stream", "ls"); len(all.Streams) != 0 {
		t.Errorf("all the same there are streams: %v", all.Streams)
	}
	dir = w.folder(toml+"[[stream]]\nname = \"failures\"\n", answers("{}"))
	w.ok("diff", dir)
	w.ok("deploy", dir)
	if o := w.run("diff", dir, "--exit-code"); o.status != 0 {
		t.Errorf("a second run has something to change:\n%s%s", o.out, o.err)
	}
}

func TestAGoProgramOfPlainGoBuildIsRefusedWithTheWayOut(t *testing.T) {
	w := newWorld(t)
	o := w.fails(1, admin.CodeCodeRefused, "fn", "create", "f", w.file("f.wasm", module([]byte{}, "x AWS_LAMBDA_RUNTIME_API x _LAMBDA_SERVER_PORT")))
	w.tells(o.err, "built by go build alone", "wasmill build DIR")
	w.ok("fn", "create", "g", w.file("g.wasm", module([]byte{}, "x AWS_LAMBDA_RUNTIME_API x _LAMBDA_SERVER_PORT x wm_json")))
}
