package main

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/api/admin"
)

// session is a `wasmill dev` under way.
type session struct {
	*world
	out, err buffer
	stop     context.CancelFunc
	ended    chan int // from the command, once
}

func (w *world) dev(args ...string) *session {
	ctx, cancel := context.WithCancel(w.Context())
	s := &session{world: w, stop: cancel, ended: make(chan int, 1)}
	go func() { s.ended <- run(ctx, w.env(&s.out, &s.err), append([]string{"dev"}, args...)) }()
	w.Cleanup(cancel)
	return s
}

// end stops it as Ctrl-C does.
func (s *session) end() {
	s.Helper()
	s.stop()
	if status := <-s.ended; status != 0 {
		s.Errorf("exit status %d after Ctrl-C\n%s", status, s.err.String())
	}
}

// next waits for text among what is printed from now on; what came before a
// call of next is never found again.
func (s *session) next(b *buffer, from *int, text string) {
	s.Helper()
	for {
		all := b.String()
		if i := strings.Index(all[*from:], text); i >= 0 {
			*from += i + len(text)
			return
		}
		select {
		case <-s.Context().Done():
		case status := <-s.ended:
			s.Fatalf("it ended with %d and never printed %q; printed\n%s", status, text, all)
		case <-time.After(2 * time.Millisecond):
			continue
		}
		s.Fatalf("never printed %q; printed\n%s", text, all)
	}
}

// endpoint is that of the server it has started.
func (s *session) endpoint() string {
	s.Helper()
	_, rest, ok := strings.Cut(s.err.String(), " is up at ")
	if !ok {
		s.Fatalf("it tells of no server:\n%s", s.err.String())
	}
	at, _, _ := strings.Cut(rest, ",")
	return at
}

func TestDevDeploysAnewWithEachSaveAndKeepsWhatWorks(t *testing.T) {
	w := nowhere(t)
	delete(w.vars, "WASMILL_ENDPOINT")
	dir := w.folder("function = \"x\"\nsource = \"f.wasm\"\n", answers(`1`))
	s := w.dev(dir, "--listen", "127.0.0.1:0")
	at := 0
	s.next(&s.err, &at, "x runs after")
	s.next(&s.err, &at, "export WASMILL_ENDPOINT=")
	s.next(&s.err, &at, "try  wasmill fn invoke x --data '{}'")
	w.vars["WASMILL_ENDPOINT"] = s.endpoint()
	answer := func(want string) {
		t.Helper()
		if v := data[admin.Invocation](w, "fn", "invoke", "x"); string(v.Response) != want {
			t.Errorf("it answers %s, want %s", v.Response, want)
		}
	}
	answer("1")

	s.write(filepath.Join(dir, "f.wasm"), answers(`2`))
	s.next(&s.err, &at, "x answers with the new version ")
	s.next(&s.err, &at, " after the save (build ")
	answer("2")

	s.write(filepath.Join(dir, "f.wasm"), "no module")
	s.next(&s.err, &at, "error["+admin.CodeCodeRefused+"]")
	s.next(&s.err, &at, "x goes on as it was")
	answer("2")

	s.write(filepath.Join(dir, "f.wasm"), answers(`2`)) // as it was
	s.next(&s.err, &at, "nothing has changed (f.wasm)")

	// The file too, with faults and then without.
	s.write(filepath.Join(dir, "wasmill.toml"), "function = \"x\"\nsource = \"f.wasm\"\ntimeout = 5\n")
	s.next(&s.err, &at, "wasmill.toml:3:1: timeout: want a duration in quotes")
	s.write(filepath.Join(dir, "wasmill.toml"), "function = \"x\"\nsource = \"g.wasm\"\n")
	s.next(&s.err, &at, "g.wasm is not there")
	s.write(filepath.Join(dir, "wasmill.toml"), "function = \"x\"\nsource = \"f.wasm\"\ntimeout = \"5s\"\n[[trigger]]\nstream = \"s\"\n")
	s.next(&s.err, &at, "~ function x: timeout 3s -> 5s")
	s.next(&s.err, &at, "+ trigger x: stream s")
	s.next(&s.err, &at, "x answers with the new version")
	// The server is its own, so that the file is right about triggers too.
	s.write(filepath.Join(dir, "wasmill.toml"), "function = \"x\"\nsource = \"f.wasm\"\n[[trigger]]\nname = \"y\"\nstream = \"s\"\n")
	s.next(&s.err, &at, "- trigger x: not in wasmill.toml")
	s.next(&s.err, &at, "+ trigger y: stream s")
	s.write(filepath.Join(dir, "wasmill.toml"), "function = \"x\"\nsource = \"f.wasm\"\n[[trigger]]\nname = \"y\"\nstream = \"u\"\n")
	s.next(&s.err, &at, "- trigger y: replaced: it reads stream s")
	s.next(&s.err, &at, "x answers with the new version")
	s.end()
	w.fails(5, admin.CodeUnreachable, "fn", "ls") // the server went with it
}

// TestDevSaysHowOtherCommandsFindIt has shells in which a server at the usual
// address is found, and others.
func TestDevSaysHowOtherCommandsFindIt(t *testing.T) {
	const line = "export WASMILL_ENDPOINT=" + defaultEndpoint
	for _, tt := range []struct {
		name string
		vars map[string]string
		want bool
	}{
		{"nothing said", nil, false},
		{"it itself", map[string]string{"WASMILL_ENDPOINT": defaultEndpoint + "/"}, false},
		{"another server", map[string]string{"WASMILL_ENDPOINT": "http://127.0.0.1:1"}, true},
		{"another server for all programs", map[string]string{"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, true},
		{"a data directory", map[string]string{"WASMILL_DATA": t.TempDir()}, true},
	} {
		w := nowhere(t)
		delete(w.vars, "WASMILL_ENDPOINT")
		maps.Copy(w.vars, tt.vars)
		var out buffer
		c := &cli{env: w.env(&out, &out), endpoint: defaultEndpoint}
		(&dev{cli: c, own: true}).hints(&job{})
		if got := strings.Contains(out.String(), line); got != tt.want {
			t.Errorf("%s: the line is there: %v, want %v\n%s", tt.name, got, tt.want, out.String())
		}
	}
}

func TestDevSaysWhichEndpointItDoesNotUse(t *testing.T) {
	w := nowhere(t)
	dir := w.folder("function = \"x\"\nsource = \"f.wasm\"\n[[trigger]]\nstream = \"x\"\n", answers(`1`))
	s := w.dev(dir, "--listen", "127.0.0.1:0")
	at := 0
	s.next(&s.err, &at, "WASMILL_ENDPOINT is not used")
	s.next(&s.err, &at, "wasmill dev --endpoint http://127.0.0.1:1")
	s.next(&s.err, &at, "export WASMILL_ENDPOINT=")
	s.next(&s.err, &at, "try  wasmill stream put x ")
	s.end()
}

func TestDevShowsWhatIsEmitted(t *testing.T) {
	w := nowhere(t)
	delete(w.vars, "WASMILL_ENDPOINT")
	dir := w.folder("function = \"x\"\nsource = \"f.wasm\"\nemits = [\"alerts\"]\n[[trigger]]\nstream = \"s\"\n",
		answers(`{"emit":[{"stream":"alerts","partitionKey":"k","data":"aGVsbG8="}]}`))
	s := w.dev(dir, "--listen", "127.0.0.1:0")
	errAt, outAt := 0, 0
	s.next(&s.err, &errAt, "try  wasmill stream put s ")
	w.vars["WASMILL_ENDPOINT"] = s.endpoint()
	w.ok("stream", "put", "s", "--data", "1", "--key", "k")
	s.next(&s.out, &outAt, "  -> alerts  k  hello\n")
	// More than one can read are counted.
	w.in = strings.Repeat("{\"a\":1}\n", 400)
	w.ok("stream", "put", "alerts", "--file", "-", "--key", "$.a")
	s.next(&s.out, &outAt, "  -> alerts  and ")
	s.end()
}

func TestDevShowsLogsDeadLettersAndProblems(t *testing.T) {
	w := nowhere(t)
	delete(w.vars, "WASMILL_ENDPOINT")
	const toml = "function = \"x\"\nsource = \"f.wasm\"\n[[trigger]]\nstream = \"s\"\nretries = 0\n"
	dir := w.folder(toml, traps())
	s := w.dev(dir, "--listen", "127.0.0.1:0")
	errAt, outAt := 0, 0
	s.next(&s.err, &errAt, "try  wasmill stream put s ")
	w.vars["WASMILL_ENDPOINT"] = s.endpoint()
	w.ok("stream", "put", "s", "--data", "poison", "--key", "k")
	s.next(&s.out, &outAt, "dead letter  ")
	s.next(&s.out, &outAt, "look at it with: wasmill dlq show ")
	id, _, _ := strings.Cut(s.out.String()[outAt:], "\n")
	w.ok("dlq", "show", id)

	// With retries for ever what fails is a problem, told once.
	s.write(filepath.Join(dir, "wasmill.toml"), strings.Replace(toml, "retries = 0", "backoff = \"1ms\"", 1))
	s.next(&s.err, &errAt, "x answers with the new version")
	w.ok("stream", "put", "s", "--data", "poison", "--key", "k")
	s.next(&s.out, &outAt, "problem  trigger x, shard 0: a batch fails and is tried again; last error: ")
	// New code ends it without another word to anybody.
	s.write(filepath.Join(dir, "f.wasm"), answers(`{}`))
	s.next(&s.err, &errAt, "x answers with the new version")
	w.ok("trigger", "wait", "x", "--drained")
	s.end()
}

func TestDevSpeaksJSON(t *testing.T) {
	w := newWorld(t)
	dir := w.folder("function = \"x\"\nsource = \"f.wasm\"\n", answers(`1`))
	s := w.dev(dir, "--json", "--endpoint", w.server.Endpoint())
	at := 0
	s.next(&s.out, &at, `"event":"deployed"`)
	s.write(filepath.Join(dir, "f.wasm"), "no module")
	s.next(&s.out, &at, `"event":"failed"`)
	s.write(filepath.Join(dir, "f.wasm"), answers(`2`))
	s.next(&s.out, &at, `"event":"deployed"`)
	s.end()
	lines := strings.Split(strings.TrimSpace(s.out.String()), "\n")
	for _, line := range lines[:len(lines)-1] {
		var e struct{ Event, Time string }
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Event == "" || e.Time == "" {
			t.Errorf("no event: %s", line)
		}
	}
	var e envelope
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &e); err != nil || e.Status != "ok" || e.Command != "dev" {
		t.Errorf("the last line is no envelope: %s", lines[len(lines)-1])
	}
	if s.err.String() != "" {
		t.Errorf("a program is told on standard error: %s", s.err.String())
	}
	w.ok("fn", "get", "x") // on a server that is not its own everything stays
}

func TestDevSaysWhoHasTheAddress(t *testing.T) {
	w := newWorld(t)
	dir := w.folder("function = \"x\"\nsource = \"f.wasm\"\n", answers(`1`))
	listen := strings.TrimPrefix(w.server.Endpoint(), "http://")
	o := w.fails(4, admin.CodeAddressInUse, "dev", dir, "--listen", listen)
	if !strings.Contains(o.err, "wasmill dev --listen :0") || !strings.Contains(o.err, "wasmill dev --endpoint http://"+listen) {
		t.Errorf("%s", o.err)
	}
	w.fails(2, admin.CodeUsage, "dev", dir, "--listen", ":0", "--endpoint", w.server.Endpoint())
}

// TestDevBuildsGo has the whole way: a Go program from init, a save, one that
// does not compile, one that cannot start, and one that does again.
func TestDevBuildsGo(t *testing.T) {
	w := nowhere(t)
	delete(w.vars, "WASMILL_ENDPOINT")
	dir := filepath.Join(w.TempDir(), "hello")
	w.ok("init", dir)
	s := w.dev(dir, "--listen", "127.0.0.1:0")
	at := 0
	s.next(&s.err, &at, "hello runs after")
	w.vars["WASMILL_ENDPOINT"] = s.endpoint()
	file := filepath.Join(dir, "main.go")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(from, to string) {
		t.Helper()
		out := strings.Replace(string(text), from, to, 1)
		if out == string(text) {
			t.Fatalf("there is no %q", from)
		}
		s.write(file, out)
	}
	edit(`log.Printf("%s: %s"`, `log.Printf("%s says: %s"`)
	s.next(&s.err, &at, "hello answers with the new version")
	edit("return nil", "return nil +")
	s.next(&s.err, &at, "error["+admin.CodeBuildFailed+"]")
	s.next(&s.err, &at, "main.go:")
	edit("lambda.Start(handle)", "lambda.Start(func(a, b, c int) {})")
	s.next(&s.err, &at, "error["+admin.CodeBuildFailed+"]: the function does not start")
	out := 0
	w.ok("stream", "put", "hello", "--data", "hi", "--key", "me")
	s.next(&s.out, &out, "me says: hi")
	if strings.Contains(s.out.String(), "RequestId") {
		t.Errorf("Lambda's own lines are shown:\n%s", s.out.String())
	}
	s.end()
}

func TestWatcher(t *testing.T) {
	w := nowhere(t)
	root, err := filepath.EvalSymlinks(w.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	lib, beside := filepath.Join(root, "lib"), filepath.Join(root, "beside")
	for _, d := range []string{"app/inner", "app/.git", "app/testdata", "app/nested", "lib", "beside"} {
		if err := os.MkdirAll(filepath.Join(root, filepath.FromSlash(d)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	app := filepath.Join(root, "app")
	w.write(filepath.Join(app, "go.mod"), "module app\n\ngo 1.26\n\nreplace lib => ../lib\n")
	w.write(filepath.Join(app, "nested", "go.mod"), "module nested\n")
	w.write(filepath.Join(app, "main.go"), "package main\n\n//go:embed page.html\nvar page string\n")
	w.write(filepath.Join(beside, "wasmill.toml"), "")
	roots, files := sources(filepath.Join(app, "inner"))
	if !slices.Equal(roots, []string{app, lib}) || files != nil {
		t.Fatalf("sources are in %q, %q", roots, files)
	}
	watch, err := newWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	if err := watch.Follow(roots, []string{filepath.Join(beside, "wasmill.toml")}); err != nil {
		t.Fatal(err)
	}
	// Each is preceded by what must not be told of.
	noise := func() {
		for _, f := range []string{"README.md", "main_test.go", ".main.go.swp", "main.go~", ".git/index.go", "testdata/x.go", "nested/main.go"} {
			if err := os.WriteFile(filepath.Join(app, filepath.FromSlash(f)), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name string
		do   func()
		want []string
	}{
		{"a file that is written", func() {
			os.WriteFile(filepath.Join(app, "main.go"), []byte("package main\n\n//go:embed page.html\nvar p string\n"), 0o600)
		}, []string{"app/main.go"}},
		{"a file that is put in place", func() { w.write(filepath.Join(app, "inner", "inner.go"), "package inner\n") }, []string{"app/inner/inner.go"}},
		{"what is embedded", func() { w.write(filepath.Join(app, "page.html"), "x") }, []string{"app/page.html"}},
		{"a module it is replaced by", func() { w.write(filepath.Join(lib, "lib.go"), "package lib\n") }, []string{"lib/lib.go"}},
		{"the project's file in another folder", func() { w.write(filepath.Join(beside, "wasmill.toml"), "#") }, []string{"beside/wasmill.toml"}},
		{"a folder that comes with files", func() {
			os.Mkdir(filepath.Join(beside, "new"), 0o700)
			w.write(filepath.Join(beside, "new", "a.go"), "package new\n")
			if err := os.Rename(filepath.Join(beside, "new"), filepath.Join(app, "new")); err != nil {
				t.Fatal(err)
			}
		}, []string{"app/new/a.go"}},
		{"a file in a folder that came", func() { w.write(filepath.Join(app, "new", "b.go"), "package new\n") }, []string{"app/new/b.go"}},
		{"a file that goes", func() { os.Remove(filepath.Join(app, "new", "a.go")) }, []string{"app/new/a.go"}},
		{"a folder that goes", func() { os.Rename(filepath.Join(app, "new"), filepath.Join(root, "away")) }, []string{"app/new"}},
	}
	for _, tt := range tests {
		noise()
		tt.do()
		var got []string
		for !slices.Equal(got, tt.want) {
			select {
			case ch := <-watch.changes:
				for _, f := range ch.files {
					rel, _ := filepath.Rel(root, f)
					if rel = filepath.ToSlash(rel); !slices.Contains(tt.want, rel) {
						t.Fatalf("%s: told of %s", tt.name, rel)
					}
					if !slices.Contains(got, rel) {
						got = append(got, rel)
					}
				}
				if ch.since.IsZero() || len(ch.files) == 0 {
					t.Errorf("%s: %+v", tt.name, ch)
				}
			case <-t.Context().Done():
				t.Fatalf("%s: never told; so far %q", tt.name, got)
			}
		}
	}
}
