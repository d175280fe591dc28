package main

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/functions/build"
)

func TestWhatAFunctionMayReachAndShare(t *testing.T) {
	w := newWorld(t)
	code := w.file("f.wasm", answers(`1`))
	v := data[admin.Function](w, "fn", "create", "f", code, "--allow", "opensearch:9200", "--allow", "10.0.0.0/8:*", "--isolation", "invocation", "--concurrency", "4")
	if !slices.Equal(v.Allow, []string{"opensearch:9200", "10.0.0.0/8:*"}) || v.Isolation != functions.IsolationInvocation || v.Concurrency == nil || *v.Concurrency != 4 {
		t.Errorf("%+v", v)
	}
	out := w.ok("fn", "get", "f")
	for _, want := range []string{"opensearch:9200, 10.0.0.0/8:*", "invocation: each call", "4 calls at once"} {
		if !strings.Contains(out, want) {
			t.Errorf("fn get has no %q:\n%s", want, out)
		}
	}
	// Another setting leaves them.
	if v := data[admin.Function](w, "fn", "update", "f", "--timeout", "5s"); len(v.Allow) != 2 || v.Isolation != functions.IsolationInvocation || *v.Concurrency != 4 {
		t.Errorf("%+v", v)
	}
	if v := data[admin.Function](w, "fn", "update", "f", "--allow", "", "--isolation", "environment", "--concurrency", "none"); len(v.Allow) != 0 || v.Isolation != functions.IsolationEnvironment || v.Concurrency != nil {
		t.Errorf("%+v", v)
	}
	if v := data[admin.Function](w, "fn", "update", "f", "--concurrency", "0"); v.Concurrency == nil || *v.Concurrency != 0 {
		t.Errorf("%+v", v)
	}
	// What is replaced is seen, and what is not reached is warned of.
	for _, tt := range []struct{ args, want string }{
		{"--allow a:1", "updated function f: allow a:1"},
		{"--allow b:1 --timeout 7s", "updated function f: timeout 5s -> 7s, allow a:1 -> b:1"},
		{"--allow b:1", "nothing to change: function f is so already"},
		{"--allow 127.0.0.0/8:4790", `warning: allow: "127.0.0.0/8:4790" reaches nothing`},
		{"--allow *:*", `"*:*" reaches public addresses only`},
	} {
		if o := w.run(append([]string{"fn", "update", "f"}, strings.Fields(tt.args)...)...); o.status != 0 || !strings.Contains(o.err, tt.want) {
			t.Errorf("%s: %+v, want %q", tt.args, o, tt.want)
		}
	}
	if o := w.run("fn", "update", "f", "--timeout", "8s"); strings.Contains(o.err, "warning") {
		t.Errorf("warned of what was not changed: %s", o.err)
	}
	if o := w.run("fn", "create", "g", code, "--allow", "169.254.0.0/16:80"); !strings.Contains(o.err, "reaches nothing") {
		t.Errorf("%+v", o)
	}
	for _, bad := range [][]string{{"--allow", "opensearch"}, {"--allow", "", "--allow", "a:1"}, {"--isolation", "process"}, {"--concurrency", "-1"}, {"--concurrency", "many"}} {
		w.fails(2, admin.CodeUsage, append([]string{"fn", "update", "f"}, bad...)...)
	}
}

func TestDeployBringsWhatAFunctionMayReach(t *testing.T) {
	w := newWorld(t)
	const toml = "function = \"x\"\nsource = \"f.wasm\"\n"
	doubted := w.folder("function = \"y\"\nsource = \"f.wasm\"\nallow = [\"*:*\"]\n", answers(`1`))
	if o := w.run("deploy", doubted); o.status != 0 || !strings.Contains(o.err, "public addresses only") {
		t.Errorf("%+v", o)
	}
	dir := w.folder(toml+"allow = [\"db:5432\"]\nisolation = \"invocation\"\nconcurrency = 2\n", answers(`1`))
	if o := w.run("deploy", dir); o.status != 0 || !strings.Contains(o.err, "allow db:5432, isolation invocation, concurrency 2") {
		t.Errorf("%+v", o)
	}
	if o := w.run("deploy", dir); !strings.Contains(o.err, "nothing to change") {
		t.Errorf("again: %+v", o)
	}
	w.write(filepath.Join(dir, "wasmill.toml"), toml)
	if o := w.run("diff", dir); !strings.Contains(o.out, "allow db:5432 -> none, isolation invocation -> environment, concurrency 2 -> none") {
		t.Errorf("%+v", o)
	}
	w.ok("deploy", dir)
	if v := data[admin.Function](w, "fn", "get", "x"); len(v.Allow) != 0 || v.Isolation != functions.IsolationEnvironment || v.Concurrency != nil {
		t.Errorf("%+v", v)
	}
}

func TestInvokeTypes(t *testing.T) {
	w := newWorld(t)
	w.ok("fn", "create", "f", w.file("f.wasm", answers(`7`)))
	w.ok("fn", "create", "bad", w.file("g.wasm", traps()))
	event := w.file("event.json", `{"a":1}`)
	if out := w.ok("fn", "invoke", "f", "--event", event, "--tail"); strings.TrimSpace(out) != "7" {
		t.Errorf("%q", out)
	}
	// A dry run calls nothing: this one would fail.
	for _, kind := range []string{"dry-run", "DryRun"} {
		if o := w.run("fn", "invoke", "bad", "--type", kind, "--event", event); o.status != 0 || o.out != "" || !strings.Contains(o.err, "nothing was called") {
			t.Errorf("%+v", o)
		}
	}
	w.fails(3, admin.CodeFunctionNotFound, "fn", "invoke", "none", "--type", "dry-run")
	w.fails(1, admin.CodeInput, "fn", "invoke", "f", "--type", "dry-run", "--data", "{")
	if o := w.fails(1, admin.CodeInput, "fn", "invoke", "f", "--type", "event"); !strings.Contains(o.err, "not built yet; nothing was called") {
		t.Errorf("%s", o.err)
	}
	w.fails(2, admin.CodeUsage, "fn", "invoke", "f", "--type", "later")
	w.fails(2, admin.CodeUsage, "fn", "invoke", "f", "--event", event, "--data", "{}")
	// What is given has to be JSON; only what is not given is {}.
	w.ok("fn", "invoke", "f")
	empty := w.file("empty.json", "\n")
	for _, tt := range []struct {
		in   string
		args []string
		want string
	}{
		{"", []string{"--event", "-"}, "standard input is empty"},
		{" \n", []string{"--payload", "-"}, "standard input is empty"},
		{"", []string{"--event", empty}, empty + " is empty"},
		{"", []string{"--data", ""}, "--data is empty"},
		{"hello", []string{"--event", "-"}, "standard input is not JSON: invalid character 'h' looking for beginning of value, at byte 1 of 5"},
		{"", []string{"--data", `{"a":}`}, "--data is not JSON"},
	} {
		w.in = tt.in
		if o := w.fails(1, admin.CodeInput, append([]string{"fn", "invoke", "f"}, tt.args...)...); !strings.Contains(o.err, tt.want) || !strings.Contains(o.err, "wasmill fn invoke f --record TEXT") || !strings.Contains(o.err, "wasmill event gen") {
			t.Errorf("%v: %s, want %q", tt.args, o.err, tt.want)
		}
	}
	// A function that may not run says what lets it.
	w.ok("fn", "update", "f", "--concurrency", "0")
	if o := w.fails(1, admin.CodeThrottled, "fn", "invoke", "f"); !strings.Contains(o.err, "wasmill fn update f --concurrency none") || strings.Contains(o.err, "in a moment") {
		t.Errorf("%s", o.err)
	}
	if o := w.run("fn", "invoke", "f", "--type", "dry-run"); o.status != 0 || !strings.Contains(o.err, "would be throttled: its concurrency is 0") {
		t.Errorf("%+v", o)
	}
}

func TestWhatIsSaidOfAFailure(t *testing.T) {
	v := admin.Invocation{ErrorType: "TypeError", ErrorMessage: "no"}
	tests := []struct {
		name, log, want string
	}{
		{"nothing", "", ""},
		{"the server's line is told already", "one\nTypeError: no\ntwo\n", "it wrote:\n  one\n  two\n"},
		{"of JavaScript's there is the stack", "ERROR\tInvoke Error \t{\"errorType\":\"TypeError\",\"errorMessage\":\"no\",\"stack\":[\"TypeError: no\",\"    at f (index.mjs:1)\"]}\n", "it wrote:\n      at f (index.mjs:1)\n"},
		{"Go's without a stack has nothing more", "2026/01/01 {\"errorMessage\":\"no\",\"errorType\":\"TypeError\"}\n", ""},
		{"another error's stays", "{\"errorMessage\":\"yes\",\"errorType\":\"TypeError\"}\n", "it wrote:\n  {\"errorMessage\":\"yes\",\"errorType\":\"TypeError\"}\n"},
	}
	for _, tt := range tests {
		v.Log = tt.log
		if got := logEnd(v); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestARefusedDialSaysWhatAllowsIt(t *testing.T) {
	fn := admin.Function{Name: "f", Allow: []string{"old:1", "*.b:2"}}
	place := placeToAllow("Get \"http://x\": dial opensearch:9200 refused: not in the function's allow list; fn update --allow opensearch:9200")
	got := allowActions(fn, place)
	if len(got) != 2 || got[0].Command != "wasmill fn update f --allow old:1 --allow '*.b:2' --allow opensearch:9200" || !strings.Contains(got[1].Text, `allow = ["old:1", "*.b:2", "opensearch:9200"]`) {
		t.Errorf("%+v", got)
	}
	if place := placeToAllow("another failure"); place != "" {
		t.Errorf("%q", place)
	}
}

// TestGeneratedEventsAreThoseOfAWS: the same members as the events that AWS documents.
func TestGeneratedEventsAreThoseOfAWS(t *testing.T) {
	w := nowhere(t)
	tests := []struct {
		args    []string
		records int
		members string // of a record, and of what is in it
		inner   string
		members2,
		arn string
	}{
		{[]string{"kinesis", "--data", "hello", "--key", "k", "--stream", "orders", "--count", "3"}, 3,
			"awsRegion eventID eventName eventSource eventSourceARN eventVersion invokeIdentityArn kinesis",
			"kinesis", "approximateArrivalTimestamp data kinesisSchemaVersion partitionKey sequenceNumber", "arn:aws:kinesis:us-east-1:000000000000:stream/orders"},
		{[]string{"sqs", "--data", "a", "--data", "b", "--queue", "jobs"}, 2,
			"attributes awsRegion body eventSource eventSourceARN md5OfBody messageAttributes messageId receiptHandle",
			"attributes", "ApproximateFirstReceiveTimestamp ApproximateReceiveCount SenderId SentTimestamp", "arn:aws:sqs:us-east-1:000000000000:jobs"},
		{[]string{"dynamodb", "--table", "orders", "--item", `{"n":12.50,"ok":true,"list":["x",null]}`}, 1,
			"awsRegion dynamodb eventID eventName eventSource eventSourceARN eventVersion",
			"dynamodb", "ApproximateCreationDateTime Keys NewImage SequenceNumber SizeBytes StreamViewType", "arn:aws:dynamodb:us-east-1:000000000000:table/orders/stream/"},
	}
	members := func(m map[string]any) string {
		var names []string
		for n := range m {
			names = append(names, n)
		}
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	for _, tt := range tests {
		t.Run(tt.args[0], func(t *testing.T) {
			file := filepath.Join(w.TempDir(), "event.json")
			w.ok(append([]string{"event", "gen", "-o", file}, tt.args...)...)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var event struct{ Records []map[string]any }
			if err := json.Unmarshal(text, &event); err != nil || len(event.Records) != tt.records {
				t.Fatalf("%v: %s", err, text)
			}
			for _, r := range event.Records {
				inner, _ := r[tt.inner].(map[string]any)
				if members(r) != tt.members || members(inner) != tt.members2 || !strings.HasPrefix(r["eventSourceARN"].(string), tt.arn) {
					t.Errorf("%s\n%s\n%v", members(r), members(inner), r)
				}
			}
			switch tt.args[0] {
			case "kinesis":
				k := event.Records[2]["kinesis"].(map[string]any)
				if b, _ := base64.StdEncoding.DecodeString(k["data"].(string)); string(b) != "hello" || k["partitionKey"] != "k" {
					t.Errorf("%v", k)
				}
			case "sqs":
				if event.Records[1]["body"] != "b" || event.Records[1]["md5OfBody"] != "92eb5ffee6ae2fec3ad71c777531578f" {
					t.Errorf("%v", event.Records[1])
				}
			case "dynamodb":
				if !strings.Contains(strings.Join(strings.Fields(string(text)), ""), `"NewImage":{"id":{"S":"1"},"list":{"L":[{"S":"x"},{"NULL":true}]},"n":{"N":"12.50"},"ok":{"BOOL":true}}`) {
					t.Errorf("%s", text)
				}
			}
		})
	}
	mine := w.file("mine.json", "mine")
	w.fails(1, admin.CodeInput, "event", "gen", "sqs", "-o", mine)
	if text, _ := os.ReadFile(mine); string(text) != "mine" {
		t.Errorf("written over: %s", text)
	}
	if out := w.ok("event", "gen", "sqs"); !strings.HasPrefix(out, "{\n  \"Records\"") {
		t.Errorf("%q", out)
	}
	for _, bad := range [][]string{{"kinesis", "--count", "0"}, {"kinesis", "--item", "{}"}, {"dynamodb", "--item", "[]"}, {"s3"}, {"kinesis", "--count", "1", "--data", "a", "--data", "b"}} {
		w.fails(2, admin.CodeUsage, append([]string{"event", "gen"}, bad...)...)
	}
}

func TestInitWritesAProjectInEachLanguage(t *testing.T) {
	w := nowhere(t)
	for _, l := range build.Languages() {
		t.Run(string(l), func(t *testing.T) {
			dir := filepath.Join(w.TempDir(), "my-"+string(l))
			o := w.run("init", "-t", string(l), dir)
			if o.status != 0 || !strings.Contains(o.err, "small handler in "+l.Title()+" that works") || !strings.Contains(o.err, "wasmill fn invoke my-"+string(l)+" --event events/kinesis.json") {
				t.Fatalf("%+v", o)
			}
			if got, err := build.Detect(dir); got != l {
				t.Errorf("it is found to be %q: %v", got, err)
			}
			if _, err := os.Stat(filepath.Join(dir, "events", "kinesis.json")); err != nil {
				t.Error(err)
			}
			// Its test event has data that it takes.
			record, key := "", ""
			if !testRecord(filepath.Join(dir, "events", "kinesis.json"), &record, &key) || record != "21.5" || key != "kitchen" {
				t.Errorf("record %q, key %q", record, key)
			}
			// Without its wasmill.toml the project is recognised, and nothing else is written.
			os.Remove(filepath.Join(dir, "wasmill.toml"))
			got := data[struct{ Files []string }](w, "init", dir)
			if !slices.Equal(got.Files, []string{"wasmill.toml"}) {
				t.Errorf("%v", got.Files)
			}
			os.Remove(filepath.Join(dir, "wasmill.toml"))
			w.fails(4, admin.CodeProjectExists, "init", "-t", string(l), dir)
			if _, err := os.Stat(filepath.Join(dir, "wasmill.toml")); err == nil {
				t.Error("a refused init wrote a file")
			}
		})
	}
	w.fails(2, admin.CodeUsage, "init", "-t", "cobol", w.TempDir())
	w.fails(2, admin.CodeUsage, "init", "-t", "c", "--go", w.TempDir())
}

// TestWatchGoesByTheLanguage: what a project's language reads counts, and what it
// makes does not.
func TestWatchGoesByTheLanguage(t *testing.T) {
	tests := map[string]struct{ yes, no string }{
		"rust":       {"src/lib.rs Cargo.toml src/new.rs wasmill.toml", "target/release/lib.rs out.wasm README.md main.js src/.#lib.rs"},
		"c":          {"handler.c wasmill.h sub/x.c wasmill.toml", "handler.o main.go out.wasm"},
		"javascript": {"index.mjs lib/a.ts data.json package.json wasmill.toml", "node_modules/x/index.js README.md"},
	}
	for language, tt := range tests {
		t.Run(language, func(t *testing.T) {
			w := nowhere(t)
			dir := filepath.Join(w.TempDir(), "p")
			w.ok("init", "-t", language, dir)
			watch, err := newWatcher()
			if err != nil {
				t.Fatal(err)
			}
			defer watch.Close()
			roots, files := sources(dir)
			if !slices.Equal(roots, []string{dir}) || len(files) != 0 {
				t.Errorf("roots %v, files %v", roots, files)
			}
			if err := watch.Follow(roots, files); err != nil {
				t.Fatal(err)
			}
			for _, f := range strings.Fields(tt.yes) {
				if !watch.source(filepath.Join(dir, f), dir) {
					t.Errorf("%s does not count", f)
				}
			}
			for _, f := range strings.Fields(tt.no) {
				folder := strings.Split(f, "/")[0]
				if watch.source(filepath.Join(dir, f), dir) && (folder == f || watch.folder(dir, folder)) {
					t.Errorf("%s counts", f)
				}
			}
		})
	}
}
