package build

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// copyOf copies a folder of testdata to where a test may do with it what it likes.
func copyOf(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", name))); err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func goCommand(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// fingerprint is of all files below a directory: names, modes, times, content.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s %v %v\n", path, info.Mode(), info.ModTime())
		if d.IsDir() {
			return nil
		}
		b, err := os.ReadFile(path)
		fmt.Fprintf(h, "%d %s\n", len(b), b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// build builds dir, which must work, and returns the module too.
func build(t *testing.T, dir string) (Result, []byte) {
	t.Helper()
	before := fingerprint(t, dir)
	res, err := Go(t.Context(), Options{Dir: dir, Out: filepath.Join(t.TempDir(), "out.wasm")})
	if err != nil {
		t.Fatal(err)
	}
	if fingerprint(t, dir) != before {
		t.Error("the project was changed")
	}
	code, err := os.ReadFile(res.Out)
	if err != nil {
		t.Fatal(err)
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256(code)); res.SHA256 != sum || res.Size != int64(len(code)) {
		t.Errorf("result says %s, %d bytes; the file is %s, %d bytes", res.SHA256, res.Size, sum, len(code))
	}
	return res, code
}

func TestGradeFollowsFromWhatTheProjectUses(t *testing.T) {
	tests := []struct {
		project       string
		abi           functions.ABI
		lambda        string
		event, answer string
	}{
		{"plain", functions.ABIJSON, "v1.55.1", `"you"`, `"hello you"`},
		{"command", functions.ABICommand, "", `{"a":1}`, `{"a":1}`},
		{"old", functions.ABIBatch, "v1.13.3", `{"Records":[{},{}]}`, `"2"`},
	}
	for _, tt := range tests {
		t.Run(tt.project, func(t *testing.T) {
			res, code := build(t, filepath.Join("testdata", tt.project))
			if res.ABI != tt.abi || res.Lambda != tt.lambda || len(res.Warnings) != 0 {
				t.Errorf("got %+v", res)
			}
			program, info, err := engine(t).Load(t.Context(), code, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := program.Close(); err != nil || info.ABI != tt.abi {
				t.Errorf("the module is of grade %s, %v", info.ABI, err)
			}
			e, log, err := environment(t, code, nil)
			if err != nil {
				t.Fatal(err)
			}
			answer := invoke(t, e, runtime.Invocation{Payload: []byte(tt.event)})
			if string(answer.Response) != tt.answer {
				t.Errorf("got %v %s %s, want %s\n%s", answer.Outcome, answer.Response, answer.ErrorMessage, tt.answer, log)
			}
			if tt.abi == functions.ABIBatch {
				if res := invoke(t, e, runtime.Invocation{Batch: batch("a", "b", "c")}); string(res.Response) != `"3"` {
					t.Errorf("a batch: %v %s %s", res.Outcome, res.Response, res.ErrorMessage)
				}
			}
		})
	}
}

// Where the project, the cache and the temporary files are must not matter.
func TestSameSourcesGiveTheSameModule(t *testing.T) {
	one, code := build(t, filepath.Join("testdata", "plain"))
	two, _ := build(t, copyOf(t, "plain"))
	if one.SHA256 != two.SHA256 {
		t.Errorf("%s and %s", one.SHA256, two.SHA256)
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{wd, os.TempDir()} {
		if strings.Contains(string(code), path) {
			t.Errorf("the module tells of %s", path)
		}
	}
}

func TestMainPackageIsFound(t *testing.T) {
	t.Run("in the only folder that holds a function", func(t *testing.T) {
		if res, _ := build(t, filepath.Join("testdata", "single")); res.Package != "example.com/single/cmd/fn" {
			t.Errorf("built %s", res.Package)
		}
	})
	t.Run("in the folder that was named", func(t *testing.T) {
		if res, _ := build(t, filepath.Join("testdata", "many", "cmd", "b")); res.Package != "example.com/many/cmd/b" {
			t.Errorf("built %s", res.Package)
		}
	})
	t.Run("out of several none is guessed", func(t *testing.T) {
		_, err := Go(t.Context(), Options{Dir: filepath.Join("testdata", "many"), CacheDir: t.TempDir()})
		if !errors.Is(err, ErrProject) || !strings.Contains(err.Error(), filepath.Join("cmd", "a")) || !strings.Contains(err.Error(), filepath.Join("cmd", "b")) {
			t.Errorf("got %v", err)
		}
	})
}

func TestVendoredProject(t *testing.T) {
	dir := copyOf(t, "plain")
	goCommand(t, dir, "mod", "vendor")
	t.Setenv("GOFLAGS", "-mod=vendor")
	// Nothing but the vendored files is to be had.
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOMODCACHE", t.TempDir())
	res, code := build(t, dir)
	if res.Lambda != "v1.55.1" {
		t.Errorf("built with %s", res.Lambda)
	}
	reseeds(t, code)
}

// reseeds checks that a module was built with what we add to the distribution.
func reseeds(t *testing.T, code []byte) {
	t.Helper()
	if !strings.Contains(string(code), "wm_reseed") {
		t.Error("the module does not export wm_reseed: package runtime was not added to")
	}
}

func TestProjectThatReplacesAWSLambdaGo(t *testing.T) {
	dir := copyOf(t, "plain")
	fork := filepath.Join(filepath.Dir(dir), "fork")
	write(t, filepath.Join(fork, "go.mod"), "module github.com/aws/aws-lambda-go\n\ngo 1.21\n")
	write(t, filepath.Join(fork, "lambda", "lambda.go"), "package lambda\n\nfunc Start(interface{}) {}\n")
	write(t, filepath.Join(fork, "lambda", "messages", "messages.go"), `package messages

type InvokeResponse_Error_StackFrame struct { Path string; Line int32; Label string }
type InvokeResponse_Error struct { Message, Type string; StackTrace []*InvokeResponse_Error_StackFrame }
type PingRequest struct{}
type PingResponse struct{}
type InvokeRequest struct { Payload []byte; RequestId, InvokedFunctionArn string; Deadline struct{ Seconds, Nanos int64 } }
type InvokeResponse struct { Payload []byte; Error *InvokeResponse_Error }
`)
	write(t, filepath.Join(fork, "lambdacontext", "context.go"), `package lambdacontext

import "context"

type LambdaContext struct { AwsRequestID, InvokedFunctionArn string }

func NewContext(ctx context.Context, lc *LambdaContext) context.Context { return ctx }
func Extra() string { return "the fork's own words" }
`)
	goCommand(t, dir, "mod", "edit", "-replace=github.com/aws/aws-lambda-go=../fork")
	write(t, filepath.Join(dir, "fork.go"), `package main

import "github.com/aws/aws-lambda-go/lambdacontext"

func init() { wasmill = lambdacontext.Extra() }
`)
	res, code := build(t, dir)
	if !strings.Contains(string(code), "the fork's own words") {
		t.Error("the module is not made of the fork")
	}
	if res.Lambda != "v1.55.1 from ../fork" {
		t.Errorf("aws-lambda-go is %q", res.Lambda)
	}
}

func TestWorkspace(t *testing.T) {
	dir := copyOf(t, "plain")
	root := filepath.Dir(dir)
	write(t, filepath.Join(root, "greet", "go.mod"), "module example.com/greet\n\ngo 1.26\n")
	write(t, filepath.Join(root, "greet", "greet.go"), "package greet\n\nconst Word = \"servus from the workspace\"\n")
	write(t, filepath.Join(dir, "greet.go"), "package main\n\nimport \"example.com/greet\"\n\nfunc init() { wasmill = greet.Word }\n")
	write(t, filepath.Join(root, "go.work"), "go 1.26\n\nuse (\n\t./greet\n\t./plain\n)\n")
	before := fingerprint(t, root)
	_, code := build(t, dir)
	if fingerprint(t, root) != before {
		t.Error("the workspace was changed")
	}
	if !strings.Contains(string(code), "servus from the workspace") {
		t.Error("the module is not made of the workspace's other module")
	}
	reseeds(t, code)

	// A workspace that the project is not part of has no say.
	write(t, filepath.Join(root, "go.work"), "go 1.26\n\nuse ./greet\n")
	if err := os.Remove(filepath.Join(dir, "greet.go")); err != nil {
		t.Fatal(err)
	}
	build(t, dir)
}

func TestErrorsSayWhatToDo(t *testing.T) {
	toolchain := func(version string) string { // a go command of another age
		dir := t.TempDir()
		write(t, filepath.Join(dir, "go"), "#!/bin/sh\necho '{\"GOVERSION\":\""+version+"\",\"GOMOD\":\"/x/go.mod\"}'\n")
		if err := os.Chmod(filepath.Join(dir, "go"), 0o755); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, "go")
	}
	noModule := t.TempDir()
	write(t, filepath.Join(noModule, "main.go"), "package main\n\nfunc main() {}\n")
	noMain := copyOf(t, "plain")
	write(t, filepath.Join(noMain, "main.go"), "package plain\n")
	noRequire := copyOf(t, "plain")
	write(t, filepath.Join(noRequire, "go.mod"), "module example.com/plain\n\ngo 1.26\n")
	foreign := copyOf(t, "plain")
	write(t, filepath.Join(foreign, "main.go"), "package main\n\nimport (\n\t\"syscall\"\n\n\t\"github.com/aws/aws-lambda-go/lambda\"\n)\n\nfunc main() { lambda.Start(func() { _ = syscall.Fork() }) }\n")
	excluded := copyOf(t, "plain")
	write(t, filepath.Join(excluded, "main.go"), "//go:build plan9\n\npackage main\n\nfunc main() {}\n")

	tests := []struct {
		name string
		o    Options
		kind error
		says []string
	}{
		{"no toolchain", Options{Dir: "testdata/plain", GoCommand: "no-such-go"}, ErrToolchain, []string{`"no-such-go"`, "install Go 1.24 or newer", "https://go.dev/dl/"}},
		{"a toolchain that is too old", Options{Dir: "testdata/plain", GoCommand: toolchain("go1.23.4")}, ErrToolchain, []string{"go1.23.4", "install Go 1.24 or newer"}},
		{"no such directory", Options{Dir: "testdata/nothing"}, ErrProject, []string{"nothing"}},
		{"a file", Options{Dir: "testdata/plain/main.go"}, ErrProject, []string{"is not a directory"}},
		{"no module", Options{Dir: noModule}, ErrProject, []string{"go mod init"}},
		{"no package main", Options{Dir: noMain}, ErrProject, []string{"no package main"}},
		{"a requirement that go.mod lacks", Options{Dir: noRequire}, ErrProject, []string{"aws-lambda-go", "go mod tidy"}},
		{"code that does not compile", Options{Dir: "testdata/broken"}, ErrCompile, []string{"main.go:5:28: undefined: handle"}},
		{"code for another system", Options{Dir: foreign}, ErrCompile, []string{"undefined: syscall.Fork", "GOOS=wasip1"}},
		{"a package for other systems only", Options{Dir: excluded}, ErrProject, []string{"build constraints exclude all Go files", "GOOS=wasip1"}},
		{"a handler that cannot be", Options{Dir: "testdata/plain", Verify: func(context.Context, []byte) error { return errors.New("change it") }}, ErrHandler, []string{"change it"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Out, tt.o.CacheDir = filepath.Join(t.TempDir(), "out.wasm"), t.TempDir()
			_, err := Go(t.Context(), tt.o)
			if !errors.Is(err, tt.kind) {
				t.Fatalf("got %v, want %v", err, tt.kind)
			}
			for _, want := range tt.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not say %q", err, want)
				}
			}
			if entries, _ := os.ReadDir(filepath.Dir(tt.o.Out)); len(entries) != 0 {
				t.Errorf("left %v behind", entries)
			}
		})
	}
}

func TestVerifyTriesTheModule(t *testing.T) {
	var tried []byte
	out := filepath.Join(t.TempDir(), "out.wasm")
	_, err := Go(t.Context(), Options{Dir: "testdata/plain", Out: out, CacheDir: t.TempDir(), Verify: func(_ context.Context, code []byte) error {
		tried = code
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if code, err := os.ReadFile(out); err != nil || !slices.Equal(code, tried) {
		t.Errorf("tried %d bytes, wrote %d, %v", len(tried), len(code), err)
	}
}

func TestCancelledBuildEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Go(ctx, Options{Dir: "testdata/plain", Out: filepath.Join(t.TempDir(), "out.wasm"), CacheDir: t.TempDir()})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestSweptCacheIsFilledAgain(t *testing.T) {
	cache := t.TempDir()
	dir, err := materialize(cache)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "lambda.go"), "package broken")
	if err := os.Remove(filepath.Join(dir, "export.go")); err != nil {
		t.Fatal(err)
	}
	again, err := materialize(cache)
	if err != nil || again != dir {
		t.Fatalf("%s, %v", again, err)
	}
	for _, name := range []string{"lambda.go", "export.go"} {
		want, _ := shim.ReadFile("shim/" + name + ".txt")
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != string(want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No tool looks at the shim's files, so this does.
func TestShimIsFormatted(t *testing.T) {
	entries, err := shim.ReadDir("shim")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := shim.ReadFile("shim/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		if want, err := format.Source(b); err != nil || string(want) != string(b) {
			t.Errorf("%s: %v", e.Name(), err)
		}
	}
}
