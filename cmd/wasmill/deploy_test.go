package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/api/admin"
)

// folder is a project with a module of its own: no toolchain is needed.
func (w *world) folder(toml string, module string) string {
	w.Helper()
	dir := w.TempDir()
	w.write(filepath.Join(dir, "wasmill.toml"), toml)
	w.write(filepath.Join(dir, "f.wasm"), module)
	return dir
}

// write puts a file in place as editors do, whole and by another name first.
func (w *world) write(path, text string) {
	w.Helper()
	if err := os.WriteFile(path+"~", []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
	if err := os.Rename(path+"~", path); err != nil {
		w.Fatal(err)
	}
}

const ordersToml = `function = "orders"
source = "f.wasm"
memory = "256MB"
emits = ["alerts"]

[env]
TABLE = "${TABLE}"

[[trigger]]
stream = "orders"
batch-size = 10
retries = 2

[[stream]]
name = "orders"
shards = 2
`

func TestDeployBringsAServerToWhatTheFileSays(t *testing.T) {
	w := newWorld(t)
	w.vars["TABLE"] = "secret"
	dir := w.folder(ordersToml, answers(`1`))

	first := w.ok("deploy", dir, "--dry-run")
	want := "+ stream orders: shards 2\n+ stream alerts: shards 1\n+ function orders: code " + digest([]byte(answers(`1`)))[:12] +
		", memory 256MB, timeout 3s, emits alerts, env TABLE added\n+ trigger orders: stream orders, from trim-horizon, batch-size 10, retries 2\n"
	if first != want {
		t.Errorf("the plan is\n%swant\n%s", first, want)
	}
	if out := w.ok("diff", dir); out != want {
		t.Errorf("diff is\n%s", out)
	}
	if o := w.run("diff", dir, "--exit-code"); o.status != 1 || strings.Contains(o.err, "error") {
		t.Errorf("--exit-code: %+v", o)
	}
	if all := data[struct{ Streams []admin.Stream }](w, "stream", "ls"); len(all.Streams) != 0 {
		t.Errorf("a dry run made %v", all)
	}

	type result struct {
		Changed  bool
		Function admin.Function
		Triggers []admin.Trigger
	}
	done := data[result](w, "deploy", dir)
	if !done.Changed || done.Function.MemoryMB != 256 || done.Function.Environment["TABLE"] != "secret" || !slices.Equal(done.Function.Emits, []string{"alerts"}) ||
		len(done.Triggers) != 1 || triggerState(done.Triggers[0]) != "Enabled" || done.Triggers[0].BatchSize != 10 || done.Triggers[0].Retries != 2 {
		t.Errorf("deployed %+v", done)
	}
	if v := data[admin.Stream](w, "stream", "get", "orders"); v.ShardCount != 2 {
		t.Errorf("%d shards", v.ShardCount)
	}
	again := data[result](w, "deploy", dir)
	if again.Changed || again.Function.Revision != done.Function.Revision {
		t.Errorf("a second run has changed something: %+v", again)
	}
	if o := w.run("deploy", dir); o.status != 0 || !strings.Contains(o.err, "nothing to change: orders is as wasmill.toml says") {
		t.Errorf("%+v", o)
	}
	if o := w.run("diff", dir, "--exit-code"); o.status != 0 {
		t.Errorf("the same is different: %+v", o)
	}

	// What is left out is the default again, and new code arrives.
	w.write(filepath.Join(dir, "wasmill.toml"), "function = \"orders\"\nsource = \"f.wasm\"\n[[trigger]]\nstream = \"orders\"\nbisect = true\n")
	w.write(filepath.Join(dir, "f.wasm"), answers(`2`))
	o := w.run("deploy", dir)
	for _, line := range []string{"~ function orders: memory 256MB -> 128MB, env TABLE removed\n", "~ function orders: code ", "~ function orders: emits alerts -> none\n",
		"~ trigger orders: batch-size 10 -> 100, retries 2 -> for ever, bisect false -> true\n", "deployed orders in "} {
		if !strings.Contains(o.err, line) {
			t.Errorf("it does not say %q:\n%s", line, o.err)
		}
	}
	if strings.Contains(o.err+o.out, "secret") {
		t.Error("a variable's value is shown")
	}
	if v := data[admin.Invocation](w, "fn", "invoke", "orders"); string(v.Response) != "2" {
		t.Errorf("it answers %s", v.Response)
	}
	if v := data[admin.Function](w, "fn", "get", "orders"); len(v.Emits) != 0 || len(v.Environment) != 0 {
		t.Errorf("%+v", v)
	}
}

func TestDeployTouchesNothingThatIsNotItsOwn(t *testing.T) {
	w := newWorld(t)
	w.vars["TABLE"] = "x"
	dir := w.folder(ordersToml, answers(`1`))
	w.ok("deploy", dir)
	w.ok("stream", "create", "more")
	w.ok("trigger", "create", "byhand", "--stream", "more", "--fn", "orders")

	// A trigger by hand stays, is told of, and goes with --prune.
	if o := w.run("deploy", dir); o.status != 0 || !strings.Contains(o.err, "! trigger byhand calls orders and is not in wasmill.toml; delete it with: wasmill trigger rm byhand") {
		t.Errorf("%+v", o)
	}
	if o := w.fails(4, admin.CodeDeployRefused, "rm", dir, "--yes"); !strings.Contains(o.err, "wasmill rm "+dir+" --prune") {
		t.Errorf("%s", o.err)
	}
	if o := w.run("deploy", dir, "--prune"); o.status != 0 || !strings.Contains(o.err, "- trigger byhand: not in wasmill.toml") {
		t.Errorf("%+v", o)
	}
	w.fails(3, admin.CodeTriggerNotFound, "trigger", "get", "byhand")

	// So does what somebody paused.
	w.ok("trigger", "pause", "orders")
	if o := w.run("deploy", dir); o.status != 0 || !strings.Contains(o.err, "trigger orders is paused, and stays so") {
		t.Errorf("%+v", o)
	}
	w.ok("trigger", "resume", "orders")

	// Another stream or place would lose the checkpoint: not without being told so.
	moved := strings.Replace(ordersToml, `stream = "orders"`, "stream = \"more\"\nfrom = \"latest\"", 1)
	w.write(filepath.Join(dir, "wasmill.toml"), moved)
	o := w.fails(4, admin.CodeDeployRefused, "deploy", dir)
	if !strings.Contains(o.err, "trigger orders: it reads stream orders and wasmill.toml says more") || !strings.Contains(o.err, "wasmill deploy "+dir+" --replace") {
		t.Errorf("%s", o.err)
	}
	if out := w.ok("diff", dir); !strings.Contains(out, "! trigger orders: it reads stream orders") {
		t.Errorf("diff: %s", out)
	}
	w.ok("deploy", dir, "--replace")
	if v := data[admin.Trigger](w, "trigger", "get", "orders"); v.Stream != "more" || v.From != "latest" {
		t.Errorf("%+v", v)
	}

	// A trigger of another function is never taken over.
	w.ok("fn", "create", "other", w.file("o.wasm", answers(`1`)))
	w.ok("trigger", "create", "theirs", "--stream", "orders", "--fn", "other")
	w.write(filepath.Join(dir, "wasmill.toml"), strings.Replace(moved, "[[trigger]]", "[[trigger]]\nname = \"theirs\"", 1))
	w.fails(4, admin.CodeDeployRefused, "deploy", dir, "--replace", "--prune")
	if v := data[admin.Trigger](w, "trigger", "get", "theirs"); v.Function != "other" {
		t.Errorf("%+v", v)
	}
	w.ok("trigger", "get", "orders") // nothing at all was done
}

func TestDeployOnAStreamThatWasMadeAnew(t *testing.T) {
	w := newWorld(t)
	w.vars["TABLE"] = "x"
	dir := w.folder(ordersToml, answers(`1`))
	w.ok("deploy", dir)
	w.ok("stream", "rm", "orders", "--yes", "--force")
	if o := w.fails(4, admin.CodeDeployRefused, "deploy", dir); !strings.Contains(o.err, "the stream orders it reads was deleted") {
		t.Errorf("%s", o.err)
	}
	w.ok("stream", "create", "orders", "--shards", "2")
	if o := w.fails(4, admin.CodeDeployRefused, "deploy", dir); !strings.Contains(o.err, "the one there is now is another") {
		t.Errorf("%s", o.err)
	}
	w.ok("deploy", dir, "--replace")
	w.ok("stream", "put", "orders", "--data", "1", "--key", "1")
	w.ok("trigger", "wait", "orders", "--drained")
	if o := w.run("deploy", dir, "--replace"); !strings.Contains(o.err, "nothing to change") {
		t.Errorf("%+v", o)
	}
}

// failing stands before a server and fails the nth call that changes something.
type failing struct {
	proxy http.Handler
	n     int
}

func (f *failing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		if f.n--; f.n == 0 {
			e := admin.NewError(admin.CodeUnavailable, "the disk is full")
			w.WriteHeader(http.StatusServiceUnavailable)
			json.NewEncoder(w).Encode(e)
			return
		}
	}
	f.proxy.ServeHTTP(w, r)
}

func TestADeploymentThatFailsAnywhereIsCompletedByTheNext(t *testing.T) {
	for n := 1; ; n++ {
		w := newWorld(t)
		w.vars["TABLE"] = "x"
		dir := w.folder(ordersToml, answers(`1`))
		w.ok("deploy", dir) // so that there is something to change, delete and make
		w.write(filepath.Join(dir, "f.wasm"), answers(`2`))
		w.write(filepath.Join(dir, "wasmill.toml"), `function = "orders"
source = "f.wasm"
emits = ["other"]
[[trigger]]
name = "one"
stream = "orders"
from = "latest"
[[trigger]]
name = "two"
stream = "more"
`)
		target, err := url.Parse(w.server.Endpoint())
		if err != nil {
			t.Fatal(err)
		}
		f := &failing{httputil.NewSingleHostReverseProxy(target), n}
		front := httptest.NewServer(f)
		t.Cleanup(front.Close)

		o := w.run("deploy", dir, "--prune", "--endpoint", front.URL)
		if o.status == 0 {
			if n < 7 {
				t.Errorf("only %d calls were made", n-1)
			}
			return
		}
		if o.status != 1 || !strings.Contains(o.err, admin.CodeUnavailable) || !strings.Contains(o.err, "the disk is full") || !strings.Contains(o.err, "run it again: it goes on where it stopped") {
			t.Fatalf("call %d: %+v", n, o)
		}
		_, notDone, _ := strings.Cut(o.err, "not done:\n")
		before, done, _ := strings.Cut(strings.Split(o.err, "not done:\n")[0], "done before:\n")
		if got := strings.Count(done, "\n"); got != n-1 {
			t.Errorf("call %d: it says that %d steps are done:\n%s", n, got, o.err)
		}
		for line := range strings.Lines(done) { // each had been told as it was done
			if !strings.Contains(before, strings.TrimSpace(line)) {
				t.Errorf("call %d: %q is said to be done:\n%s", n, line, o.err)
			}
		}
		// What is left is what it said was not done.
		left := ""
		for line := range strings.Lines(w.ok("diff", dir, "--prune")) {
			left += "  " + line
		}
		if left != notDone {
			t.Errorf("call %d: it says not done\n%sbut left is\n%s", n, notDone, left)
		}
		w.ok("deploy", dir, "--prune")
		if out := w.ok("diff", dir); out != "" {
			t.Errorf("call %d: after the second run there is left\n%s", n, out)
		}
	}
}

func TestRmDeletesWhatTheFileDeployedAndNoStream(t *testing.T) {
	w := newWorld(t)
	w.vars["TABLE"] = "x"
	dir := w.folder(ordersToml, answers(`1`))
	w.ok("deploy", dir)
	delete(w.vars, "TABLE") // does not matter to what goes
	if o := w.fails(2, admin.CodeConfirm, "rm", dir); !strings.Contains(o.err, "delete trigger orders with its checkpoint and function orders with its versions for good") || !strings.Contains(o.err, "--yes") {
		t.Errorf("%s", o.err)
	}
	w.ok("trigger", "get", "orders")
	o := w.run("rm", dir, "--yes")
	if o.status != 0 || !strings.Contains(o.err, "streams stay, with their records: alerts, orders") {
		t.Errorf("%+v", o)
	}
	w.fails(3, admin.CodeTriggerNotFound, "trigger", "get", "orders")
	w.fails(3, admin.CodeFunctionNotFound, "fn", "get", "orders")
	w.ok("stream", "get", "orders")
	if o := w.run("rm", dir); o.status != 0 || !strings.Contains(o.err, "nothing to delete") {
		t.Errorf("again: %+v", o)
	}
	w.vars["TABLE"] = "x"
	w.ok("deploy", dir)
}

func TestWhatIsWrongWithAProjectIsSaidBeforeAnythingIsDone(t *testing.T) {
	w := newWorld(t)
	dir := w.folder("function = \"x\"\nsource = \"f.wasm\"\nmemry = 1\n[[trigger]]\nbatch-size = 0\n", answers(`1`))
	o := w.fails(1, admin.CodeProjectInvalid, "deploy", dir)
	for _, text := range []string{"has 3 faults", dir + "/wasmill.toml:3:1: wasmill.toml has no setting \"memry\"; did you mean memory?", ":4:3: a trigger needs a stream", ":5:1: batch-size: want"} {
		if !strings.Contains(o.err, filepath.FromSlash(text)) && !strings.Contains(o.err, text) {
			t.Errorf("it does not say %q:\n%s", text, o.err)
		}
	}
	o = w.run("deploy", dir, "--json")
	var e struct {
		Error struct {
			Details struct {
				Faults []struct {
					Line, Column int
					Text         string
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(o.out), &e); err != nil || len(e.Error.Details.Faults) != 3 || e.Error.Details.Faults[2].Line != 5 {
		t.Errorf("%v: %s", err, o.out)
	}
	empty := w.TempDir()
	for _, verb := range []string{"deploy", "diff", "rm", "dev"} {
		if o := w.fails(3, admin.CodeNoProject, verb, empty); !strings.Contains(o.err, "wasmill init "+empty) {
			t.Errorf("%s: %s", verb, o.err)
		}
	}
	w.fails(3, admin.CodeNoProject, "deploy", filepath.Join(empty, "nowhere"))

	tests := []struct{ name, toml, module, code, says string }{
		{"a variable that is not set", "function = \"x\"\nsource = \"f.wasm\"\n[env]\nTOKEN = \"${TOKEN}\"\n", answers(`1`), admin.CodeProjectInvalid, "the variable TOKEN is not set"},
		{"a source that is not there", "function = \"x\"\nsource = \"g.wasm\"\n", answers(`1`), admin.CodeProjectInvalid, "g.wasm is not there"},
		{"a module that cannot run", "function = \"x\"\nsource = \"f.wasm\"\n[[trigger]]\nstream = \"s\"\n", "no module", admin.CodeCodeRefused, "f.wasm: "},
		{"a folder without a program", "function = \"x\"\n", answers(`1`), admin.CodeBuildFailed, "wasmill init -t go"},
	}
	for _, tt := range tests {
		dir := w.folder(tt.toml, tt.module)
		if o := w.fails(1, tt.code, "deploy", dir); !strings.Contains(o.err, tt.says) {
			t.Errorf("%s: %s", tt.name, o.err)
		}
	}
	if all := data[struct{ Streams []admin.Stream }](w, "stream", "ls"); len(all.Streams) != 0 {
		t.Errorf("all the same there are streams: %v", all.Streams)
	}
	for _, name := range []string{"wasmill.toml", "."} { // the file itself may be named
		good := w.folder("function = \"y\"\nsource = \"f.wasm\"\n", answers(`1`))
		w.ok("deploy", filepath.Join(good, name))
	}
}

func TestDeployWaitsUntilTriggersRun(t *testing.T) {
	w := newWorld(t)
	w.vars["TABLE"] = "x"
	dir := w.folder(ordersToml, answers(`1`))
	w.ok("deploy", dir)
	// A server whose trigger never starts.
	target, err := url.Parse(w.server.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == admin.Prefix+"/triggers/orders" {
			json.NewEncoder(rw).Encode(admin.Trigger{Name: "orders", State: "Enabling"})
			return
		}
		proxy.ServeHTTP(rw, r)
	}))
	t.Cleanup(front.Close)
	if o := w.fails(6, admin.CodeWaitExpired, "deploy", dir, "--endpoint", front.URL, "--timeout", "50ms"); !strings.Contains(o.err, "trigger orders does not run after 50ms") {
		t.Errorf("%s", o.err)
	}
}

func TestInitWritesAFileThatDeploys(t *testing.T) {
	w := newWorld(t)
	// In a folder with a module.
	dir := filepath.Join(w.TempDir(), "my orders")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w.write(filepath.Join(dir, "f.wasm"), answers(`1`))
	w.ok("init", dir)
	w.ok("deploy", dir)
	w.ok("trigger", "get", "my-orders")
	w.fails(4, admin.CodeProjectExists, "init", dir)
	if o := w.run("deploy", dir); !strings.Contains(o.err, "nothing to change") {
		t.Errorf("%+v", o)
	}

	// With Go files nothing else is written.
	program := w.TempDir()
	w.write(filepath.Join(program, "main.go"), "package main\n\nfunc main() {}\n")
	got := data[struct {
		Function string
		Files    []string
	}](w, "init", program, "--name", "mine")
	if got.Function != "mine" || !slices.Equal(got.Files, []string{"wasmill.toml"}) {
		t.Errorf("%+v", got)
	}
	w.fails(2, admin.CodeUsage, "init", w.TempDir(), "--name", "a b")
	w.fails(1, admin.CodeInput, "init", w.file("x", ""))

	// In a folder that is not there, a handler that works.
	fresh := filepath.Join(w.TempDir(), "fresh")
	w.ok("init", fresh)
	w.ok("deploy", fresh)
	w.ok("stream", "put", "fresh", "--data", `{"hello":"world"}`, "--key", "me")
	w.ok("trigger", "wait", "fresh", "--drained")
	if out := w.ok("fn", "logs", "fresh"); !strings.Contains(out, `me: {"hello":"world"}`) {
		t.Errorf("it wrote\n%s", out)
	}
	if o := w.run("deploy", fresh); !strings.Contains(o.err, "nothing to change") {
		t.Errorf("the same source is other code the second time: %+v", o)
	}
}

func TestInitWritesNoGoBesideAnotherLanguageUnasked(t *testing.T) {
	w := nowhere(t)
	dir := w.TempDir()
	w.write(filepath.Join(dir, "main.py"), "print()\n")
	w.write(filepath.Join(dir, "package.json"), "{}\n")
	o := w.fails(1, admin.CodeInput, "init", dir)
	if !strings.Contains(o.err, "in no language that wasmill builds (main.py, package.json)") || !strings.Contains(o.err, "wasmill init -t go "+dir) {
		t.Errorf("%s", o.err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("it wrote something: %v", entries)
	}
	if o := w.run("init", "--go", dir); o.status != 0 || !strings.Contains(o.err, "main.go is a small handler in Go that works") {
		t.Errorf("%+v", o)
	}
	// What was built of another language is what is wanted.
	built := w.folder("", answers(`1`))
	os.Remove(filepath.Join(built, "wasmill.toml"))
	w.write(filepath.Join(built, "lib.rs"), "")
	if o := w.run("init", built); o.status != 0 || strings.Contains(o.err, "main.go") {
		t.Errorf("%+v", o)
	}
}

func TestDeployGivesStreamsTheirSizes(t *testing.T) {
	w := newWorld(t)
	const toml = "function = \"x\"\nsource = \"f.wasm\"\n[[stream]]\nname = \"s\"\nrecord-size = \"2MB\"\n"
	dir := w.folder(toml+"max-bytes = \"1GB\"\n", answers(`1`))
	has := func(most int64) {
		t.Helper()
		if s := data[admin.Stream](w, "stream", "get", "s"); s.MaxBytes != most || s.RecordBytes != 2<<20 || s.Retention != admin.Duration(24*time.Hour) {
			t.Errorf("at most %d bytes, records of %d, kept for %s; want at most %d", s.MaxBytes, s.RecordBytes, s.Retention, most)
		}
	}
	w.ok("deploy", dir)
	has(1 << 30)
	for _, tt := range []struct {
		line string
		want int64
	}{{"max-bytes = \"2GB\"\n", 2 << 30}, {"", 2 << 30}, {"max-bytes = 0\n", 0}} {
		w.write(filepath.Join(dir, "wasmill.toml"), toml+tt.line)
		w.ok("deploy", dir)
		has(tt.want)
		if o := w.run("deploy", dir); !strings.Contains(o.err, "nothing to change") {
			t.Errorf("again: %+v", o)
		}
	}
	w.write(filepath.Join(dir, "wasmill.toml"), strings.Replace(toml, "2MB", "4MB", 1))
	if o := w.run("deploy", dir); o.status != 0 || !strings.Contains(o.err, "takes records of up to 2MB and wasmill.toml says 4MB") {
		t.Errorf("%+v", o)
	}
}

func TestDeployShowsColoursOnATerminalOnly(t *testing.T) {
	w := newWorld(t)
	dir := w.folder("function = \"x\"\nsource = \"f.wasm\"\n", answers(`1`))
	w.tty = true
	if o := w.run("deploy", dir); !strings.Contains(o.err, "\x1b["+green+"m+ function x") {
		t.Errorf("%q", o.err)
	}
	w.ok("rm", dir, "--yes")
	w.vars["NO_COLOR"] = "1"
	if o := w.run("deploy", dir); strings.Contains(o.err, "\x1b[") {
		t.Errorf("%q", o.err)
	}
}
