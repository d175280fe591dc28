package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/server"
)

func TestEnvelope(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "orders")
	tests := []struct {
		args string
		want string
	}{
		{"stream rm orders --yes --json",
			`{"schemaVersion":1,"command":"stream rm","status":"ok","data":{"deleted":true,"name":"orders"},"warnings":[],"error":null}`},
		{"stream ls --json",
			`{"schemaVersion":1,"command":"stream ls","status":"ok","data":{"streams":[]},"warnings":[],"error":null}`},
		{"dlq ls --json",
			`{"schemaVersion":1,"command":"dlq ls","status":"ok","data":{"deadLetters":[],"more":false},"warnings":[],"error":null}`},
		{"fn get nothing --json",
			`{"schemaVersion":1,"command":"fn get","status":"error","data":null,"warnings":[],"error":{"code":"WM3001","category":"not_found",` +
				`"message":"there is no function \"nothing\"","retryable":false,"details":{"function":"nothing"},"actions":[` +
				`{"text":"list the functions","command":"wasmill fn ls"},{"text":"create it","command":"wasmill fn create nothing FILE.wasm|DIR"}]}}`},
		{"stream get --json",
			`{"schemaVersion":1,"command":"stream get","status":"error","data":null,"warnings":[],"error":{"code":"WM1001","category":"usage",` +
				`"message":"wasmill stream get needs NAME","retryable":false,"details":{},"actions":[{"text":"see how it is called","command":"wasmill stream get --help"}]}}`},
	}
	for _, tt := range tests {
		o := w.run(strings.Fields(tt.args)...)
		if strings.TrimSpace(o.out) != tt.want {
			t.Errorf("wasmill %s\n got %s\nwant %s", tt.args, o.out, tt.want)
		}
		if o.err != "" {
			t.Errorf("wasmill %s: a program is told on standard error: %s", tt.args, o.err)
		}
	}
}

// leaves are all commands that do something.
func leaves(cmd *cobra.Command) []*cobra.Command {
	if !cmd.HasSubCommands() {
		return []*cobra.Command{cmd}
	}
	var all []*cobra.Command
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			all = append(all, leaves(sub)...)
		}
	}
	return all
}

func TestEveryCommandSpeaksJSONAndFailsWithoutAServer(t *testing.T) {
	w := nowhere(t)
	args := map[string]string{
		"down": "", "stream create": "x", "stream update": "x --retention 48h", "stream ls": "", "stream get": "x", "stream put": "x --data y", "stream tail": "x", "stream rm": "x --yes",
		"fn create": "x " + w.file("m.wasm", answers("1")), "fn update": "x --timeout 3s", "fn ls": "", "fn get": "x", "fn invoke": "x", "fn logs": "x",
		"fn publish": "x", "fn rm": "x --yes", "fn alias set": "x a 1", "fn alias ls": "x", "fn alias rm": "x a", "fn code": "x", "trigger create": "x --stream s --fn f", "trigger ls": "", "trigger get": "x", "trigger update": "x --bisect",
		"trigger pause": "x", "trigger resume": "x", "trigger wait": "x --drained", "trigger rm": "x --yes", "dlq ls": "", "dlq show": "x", "dlq purge": "x --yes",
		"dlq redrive": "x", "dlq replay": "x", "dlq export": "", "trigger seek": "x --to latest", "trigger explain": "x", "trigger test-filter": "--trigger x --data y",
		"shard ls": "x", "stream split": "x", "stream merge": "x 0 1", "stream scale": "x --shards 2", "stream consumers": "x",
		"fault add": "--op PutRecords --error InternalFailure", "fault ls": "", "fault rm": "1",
	}
	folder := filepath.Dir(w.file("wasmill.toml", "function = \"x\"\nsource = \"x.wasm\"\n"))
	args["deploy"], args["diff"], args["rm"] = folder, folder, folder+" --yes"
	args["dev"] = folder + " --endpoint http://127.0.0.1:1"
	offline := map[string]bool{"init": true, "up": true, "build": true, "env": true, "version": true, "explain": true, "event gen": true}
	c := &cli{env: w.env(io.Discard, io.Discard)}
	for _, cmd := range leaves(c.root()) {
		name := noun(cmd)
		if cmd.Short == "" {
			t.Errorf("%s says nothing of itself", name)
		}
		if offline[name] {
			continue
		}
		line, ok := args[name]
		if !ok {
			t.Errorf("command %s is not tested: add it", name)
			continue
		}
		full := append(append(strings.Fields(name), strings.Fields(line)...), "--json")
		o := w.run(full...)
		var e struct {
			Command, Status string
			Error           *admin.Error
		}
		if err := json.Unmarshal([]byte(o.out), &e); err != nil || o.status != 5 || e.Status != "error" || e.Command != name || e.Error.Code != admin.CodeUnreachable || !e.Error.Retryable {
			t.Errorf("%s: exit status %d, %v\n%s%s", name, o.status, err, o.out, o.err)
		}
	}
	for _, line := range []string{"env --json", "version --json", "event gen kinesis --json", "explain --json", "explain WM2001 --json"} {
		var e envelope
		if o := w.run(strings.Fields(line)...); o.status != 0 || json.Unmarshal([]byte(o.out), &e) != nil || e.Data == nil {
			t.Errorf("%s: %+v", line, o)
		}
	}
}

func TestUsage(t *testing.T) {
	w := nowhere(t)
	tests := []struct{ args, says string }{
		{"steam ls", "wasmill has no command \"steam\"; did you mean stream?"},
		{"stream lst", "did you mean ls?"},
		{"stream describe x", "did you mean get?"},
		{"stream create x --shard 4", "has no flag --shard; did you mean --shards?"},
		{"trigger create t --steam s --fn f", "did you mean --stream?"},
		{"trigger create t --stream s", "wasmill trigger create needs --fn"},
		{"trigger create t --stream s --fn f --batch-size many", "--batch-size: \"many\" is no whole number"},
		{"trigger create t --stream s --fn f --batch-size 99999999999999999999", "is too large a number"},
		{"stream ls --endpoint mill:4566", "endpoint \"mill:4566\" is no URL"},
		{"trigger create t --stream s --fn f --window soon", "is no duration"},
		{"stream", "needs a command: consumers, create, get, ls, merge, put, rm, scale, split, tail, update"},
		{"stream get a b", "takes no argument \"b\""},
		{"up --nats nats://x", "a user outgrows one machine by pointing the same binary at a NATS JetStream cluster"},
		{"up --data x --memory", "want one of them"},
		{"up --durability maybe", "want disk or os"},
		{"up --disk-reserve much", "is no size"},
		{"dlq purge x --all", "want one of them"},
		{"env --shell csh", "want sh, fish or powershell"},
	}
	for _, tt := range tests {
		o := w.run(strings.Fields(tt.args)...)
		if o.status != 2 || !strings.Contains(o.err, tt.says) || !strings.Contains(o.err, "\n  - ") || o.out != "" {
			t.Errorf("wasmill %s: exit status %d, want 2, %q and what to do\n%s%s", tt.args, o.status, tt.says, o.out, o.err)
		}
	}
	if o := w.run("explain", "WM0001"); o.status != 3 || !strings.Contains(o.err, "did you mean WM1001") {
		t.Errorf("explain of no code: %+v", o)
	}
	if o := w.run(); o.status != 0 || !strings.Contains(o.out, "A first round") {
		t.Errorf("no command: %+v", o)
	}
}

func TestEndpointPrecedence(t *testing.T) {
	w := nowhere(t)
	where := func(args ...string) string {
		t.Helper()
		got, _ := data[map[string]any](w, append([]string{"env"}, args...)...)["WASMILL_ENDPOINT"].(string)
		return got
	}
	w.vars["AWS_ENDPOINT_URL"] = "http://aws"
	if got := where("--endpoint", "http://flag"); got != "http://flag" {
		t.Errorf("a flag gives way to %s", got)
	}
	if got := where(); got != "http://127.0.0.1:1" {
		t.Errorf("WASMILL_ENDPOINT gives way to %s", got)
	}
	delete(w.vars, "WASMILL_ENDPOINT")
	if got := where(); got != "http://aws" {
		t.Errorf("AWS_ENDPOINT_URL gives way to %s", got)
	}
	delete(w.vars, "AWS_ENDPOINT_URL")
	if got := where(); got != defaultEndpoint {
		t.Errorf("nothing said: %s", got)
	}
	w.vars["WASMILL_DATA"] = t.TempDir()
	// Never somebody else's server; and why is no error.
	if o := w.run("env"); o.status != 0 || o.out != "" || !strings.Contains(o.err, "no server runs on "+w.vars["WASMILL_DATA"]+" (WASMILL_DATA)") {
		t.Errorf("env without a server: %+v", o)
	}
	if got := where(); got != "" {
		t.Errorf("env names %s, which no command would use", got)
	}
	if o := w.fails(5, admin.CodeUnreachable, "down"); !strings.Contains(o.err, "no server runs on "+w.vars["WASMILL_DATA"]) {
		t.Errorf("%s", o.err)
	}
	if err := (state{PID: os.Getpid(), Endpoint: "http://running"}).write(w.vars["WASMILL_DATA"]); err != nil {
		t.Fatal(err)
	}
	if got := where(); got != "http://running" {
		t.Errorf("a running server is not found: %s", got)
	}
	w.vars["WASMILL_ENDPOINT"] = "http://127.0.0.1:1"
	if o := w.run("env"); o.status != 0 || !strings.Contains(o.err, "is from WASMILL_ENDPOINT, which outranks WASMILL_DATA; no server answers there now") {
		t.Errorf("env does not say why: %+v", o)
	}
}

func TestColourOnlyWhereItIsWanted(t *testing.T) {
	w := nowhere(t)
	w.tty = true
	if o := w.run("nothing"); !strings.Contains(o.err, "\x1b[") {
		t.Errorf("a terminal gets no colour: %q", o.err)
	}
	for _, v := range []string{"NO_COLOR", "CI"} {
		w.vars[v] = "1"
		if o := w.run("nothing"); strings.Contains(o.err, "\x1b[") {
			t.Errorf("%s: %q", v, o.err)
		}
		delete(w.vars, v)
	}
}

func TestUpServesUntilDown(t *testing.T) {
	w := nowhere(t)
	dir := filepath.Join(t.TempDir(), "data")
	var out, err buffer
	done := make(chan int)
	go func() {
		done <- run(t.Context(), w.env(&out, &err), []string{"up", "--data", dir, "--listen", ":0"})
	}()
	out.until(t, "export WASMILL_ENDPOINT=http://127.0.0.1:")
	if !strings.Contains(err.String(), dir) || !strings.Contains(err.String(), "wasmill stream create") {
		t.Errorf("up says\n%s", err.String())
	}
	o := w.run("up", "--data", dir, "--listen", ":0")
	if o.status != 4 || !strings.Contains(o.err, admin.CodeLocked) || !strings.Contains(o.err, "wasmill down") {
		t.Errorf("a second server: %+v", o)
	}
	endpoint := strings.TrimSpace(strings.TrimPrefix(out.String(), "export WASMILL_ENDPOINT="))
	if o := w.run("up", "--data", dir, "--listen", strings.TrimPrefix(endpoint, "http://")); o.status != 4 || !strings.Contains(o.err, admin.CodeLocked) ||
		!strings.Contains(o.err, fmt.Sprintf("pid %d at %s", os.Getpid(), endpoint)) {
		t.Errorf("the same server again: %+v", o)
	}
	if o := w.run("up", "--memory", "--listen", strings.TrimPrefix(endpoint, "http://")); o.status != 4 || !strings.Contains(o.err, admin.CodeAddressInUse) || !strings.Contains(o.err, "another wasmill server: pid") {
		t.Errorf("an address in use: %+v", o)
	}
	w.vars["WASMILL_ENDPOINT"] = endpoint
	w.ok("stream", "create", "kept")
	res, e := http.Post(endpoint+"/_wasmill/reset", "", nil)
	if e != nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("reset of data on disk: %v %v", res, e)
	}
	w.ok("down")
	if status := <-done; status != 0 {
		t.Errorf("up ends with %d: %s", status, err.String())
	}
	if _, e := os.Stat(stateFile(dir)); e == nil {
		t.Error("a stopped server leaves its state file")
	}
	if o := w.fails(5, admin.CodeUnreachable, "down"); runtime.GOOS != "windows" && !strings.Contains(o.err, "no server answers at "+endpoint+": connection refused\n") {
		t.Errorf("%s", o.err)
	}
	w.fails(5, admin.CodeUnreachable, "down", "--data", dir)

	s, e := server.Start(t.Context(), server.Config{Data: dir, Listen: "127.0.0.1:0"})
	if e != nil {
		t.Fatal(e)
	}
	defer s.Close(context.Background())
	w.vars["WASMILL_ENDPOINT"] = s.Endpoint()
	w.ok("stream", "get", "kept")
}

func TestUpDetached(t *testing.T) {
	t.Setenv("WASMILL_TEST_AS_MAIN", "1") // for the process that up starts: this test binary
	for _, storage := range []string{"disk", "memory"} {
		t.Run(storage, func(t *testing.T) {
			w := nowhere(t)
			t.Setenv("TMPDIR", t.TempDir())
			args := []string{"up", "--detach", "--listen", ":0"}
			if storage == "memory" {
				args = append(args, "--memory")
			} else {
				w.vars["WASMILL_DATA"] = filepath.Join(t.TempDir(), "data")
			}
			v := data[struct {
				Endpoint string
				PID      int
			}](w, args...)
			w.vars["WASMILL_ENDPOINT"] = v.Endpoint
			w.ok("stream", "create", "s")
			if storage == "disk" {
				w.fails(4, admin.CodeLocked, args...)
				delete(w.vars, "WASMILL_ENDPOINT") // found by its data directory
			}
			w.ok("down")
			if tmp, _ := os.ReadDir(os.Getenv("TMPDIR")); len(tmp) > 0 {
				t.Errorf("left behind: %v", tmp)
			}
		})
	}
}

func TestUpIsToldOfFurtherNames(t *testing.T) {
	t.Setenv("WASMILL_TEST_AS_MAIN", "1")
	t.Setenv("TMPDIR", t.TempDir())
	tests := []struct {
		name, variable string
		args           []string
	}{
		{"by flags", "", []string{"--allow-host", "mill", "--allow-host", "mill.test"}},
		{"by a variable", "mill,mill.test", nil},
	}
	for _, tt := range tests {
		w := nowhere(t)
		w.vars["WASMILL_ALLOW_HOST"] = tt.variable
		w.vars["WASMILL_ENDPOINT"] = data[struct{ Endpoint string }](w, append([]string{"up", "--detach", "--memory", "--listen", ":0"}, tt.args...)...).Endpoint
		for host, want := range map[string]int{"mill": 200, "mill.test:80": 200, "other": 403} {
			req, err := http.NewRequest("GET", w.vars["WASMILL_ENDPOINT"]+"/_wasmill/v1/info", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = host
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("%s: %s gets %d, want %d", tt.name, host, res.StatusCode, want)
			}
		}
		w.ok("down")
	}
	nowhere(t).fails(2, admin.CodeUsage, "up", "--memory", "--allow-host", "http://mill:80")
}

// TestWhatAKilledServerLeftStopsNoOther: its process id may be that of another
// process, or of one that has ended and that nobody has waited for.
func TestWhatAKilledServerLeftStopsNoOther(t *testing.T) {
	t.Setenv("WASMILL_TEST_AS_MAIN", "1")
	ended := exec.Command(os.Args[0], "-test.run=^$")
	if err := ended.Start(); err != nil {
		t.Fatal(err)
	}
	defer ended.Wait()
	for name, pid := range map[string]int{"of another process": os.Getpid(), "of one that has ended": ended.Process.Pid} {
		w := nowhere(t)
		dir := filepath.Join(t.TempDir(), "data")
		w.vars["WASMILL_DATA"] = dir
		delete(w.vars, "WASMILL_ENDPOINT")
		w.ok("up", "--detach", "--listen", ":0")
		w.ok("down")
		if err := (state{PID: pid, Endpoint: "http://127.0.0.1:1"}).write(dir); err != nil {
			t.Fatal(err)
		}
		if o := w.run("up", "--detach", "--listen", ":0"); o.status != 0 {
			t.Errorf("a state %s: %+v", name, o)
			continue
		}
		w.ok("down")
	}
}

func TestUpDetachedSaysWhyItDidNotStart(t *testing.T) {
	t.Setenv("WASMILL_TEST_AS_MAIN", "1")
	w := nowhere(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine.txt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := w.run("up", "--detach", "--data", dir, "--listen", ":0")
	if o.status != 1 || !strings.Contains(o.err, admin.CodeDataDir) || !strings.Contains(o.err, "mine.txt") {
		t.Errorf("%+v", o)
	}
}

func TestBuildIsRefusedWithoutAToolchain(t *testing.T) {
	w := nowhere(t)
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go command to hide")
	}
	w.vars["WASMILL_BUILD_CACHE"] = t.TempDir()
	t.Setenv("PATH", t.TempDir())
	if o := w.fails(1, admin.CodeBuildFailed, "build", t.TempDir()); !strings.Contains(o.err, "Go") {
		t.Errorf("%s", o.err)
	}
	w.fails(1, admin.CodeInput, "build", "/does/not/exist")
}

func TestCompletionKnowsTheServersNames(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "orders")
	if out := w.ok("__complete", "stream", "get", ""); !strings.Contains(out, "orders\n") {
		t.Errorf("stream get: %s", out)
	}
	if out := w.ok("__complete", "trigger", "create", "t", "--stream", ""); !strings.Contains(out, "orders\n") {
		t.Errorf("trigger create --stream: %s", out)
	}
	if out := w.ok("completion", "bash"); !strings.Contains(out, "wasmill") {
		t.Errorf("completion bash: %s", out)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"5MB": 5 << 20, "64KB": 64 << 10, "1.5GiB": 3 << 29, "1048576": 1 << 20, "2g": 2 << 30, "100 B": 100, "0": 0} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, bad := range []string{"", "MB", "-1MB", "5XB", "NaN", "1e99TB"} {
		if got, err := parseSize(bad); err == nil {
			t.Errorf("parseSize(%q) = %d, want an error", bad, got)
		}
	}
}

func TestKeyPaths(t *testing.T) {
	doc := []byte(`{"a":{"b c":[{"d":"x"},7]},"n":1e3,"t":true,"z":null,"e":"","a.b":"dotted"}`)
	for path, want := range map[string]string{"$.a['b c'][0].d": "x", `$["a"]["b c"][1]`: "7", "$.n": "1e3", "$.t": "true", "$['a.b']": "dotted"} {
		p, err := parsePath(path)
		if err != nil {
			t.Errorf("parsePath(%q): %v", path, err)
			continue
		}
		if got, err := p.find(doc); err != nil || got != want {
			t.Errorf("%s = %q, %v, want %q", path, got, err, want)
		}
	}
	for _, path := range []string{"$.z", "$.e", "$.a", "$.missing", "$.a.x", "$.n.x", "$.a['b c'][9]"} {
		p, err := parsePath(path)
		if err != nil {
			t.Errorf("parsePath(%q): %v", path, err)
			continue
		}
		if got, err := p.find(doc); err == nil {
			t.Errorf("%s = %q, want an error", path, got)
		}
	}
	for _, bad := range []string{"", "$", "a.b", "$..a", "$.*", "$[", "$[x]", "$['a", "$a", "$[-1]"} {
		if _, err := parsePath(bad); err == nil {
			t.Errorf("parsePath(%q): want an error", bad)
		}
	}
}

func TestPictures(t *testing.T) {
	c := &cli{env: nowhere(t).env(io.Discard, io.Discard)}
	for share, want := range map[float64]string{0: "░░░░", 0.001: "█░░░", 0.5: "██░░", 1: "████", 7: "████"} {
		if got := c.bar(share, 4); got != want {
			t.Errorf("bar(%v) = %s, want %s", share, got, want)
		}
	}
	if got := span(90 * time.Second); got != "1m30s" {
		t.Errorf("span = %s", got)
	}
	if got := count(1234567); got != "1,234,567" {
		t.Errorf("count = %s", got)
	}
	if got := size(1536); got != "1.50 KiB" {
		t.Errorf("size = %s", got)
	}
}
