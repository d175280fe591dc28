package build

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/version"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
)

// oldestGo is the first version that can export functions from a WASM library.
const oldestGo = "go1.24"

// newestGo is the last version whose packages overlay was tried with.
const newestGo = "go1.26"

// toolchain is the Go command in the project's directory.
type toolchain struct {
	command  string
	dir      string   // where it runs: the directory that was asked for
	env      []string // of the process
	version  string   // "go1.26.8"
	goMod    string   // of the project
	work     string   // our copy of the user's go.work, or empty
	mod      []string // -mod flag, if one has to be given
	progress func(string)
}

// newToolchain finds the Go command and asks it about the directory.
func newToolchain(ctx context.Context, o Options, tmp string) (*toolchain, error) {
	command, err := exec.LookPath(o.GoCommand)
	if err != nil {
		return nil, fmt.Errorf("%w: the command %q was not found: install Go %s or newer from https://go.dev/dl/, then open a new terminal",
			ErrToolchain, o.GoCommand, strings.TrimPrefix(oldestGo, "go"))
	}
	g := &toolchain{command: command, dir: o.Dir, progress: o.Progress}
	for _, kv := range os.Environ() {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "GOOS", "GOARCH", "GOWASM", "CGO_ENABLED", "PWD":
		default:
			g.env = append(g.env, kv)
		}
	}
	g.env = append(g.env, "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "PWD="+o.Dir)

	out, err := g.run(ctx, "env", "-json", "GOVERSION", "GOMOD", "GOWORK", "GOFLAGS", "GOROOT", "GOMODCACHE")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrToolchain, err)
	}
	var env struct{ GOVERSION, GOMOD, GOWORK, GOFLAGS, GOROOT, GOMODCACHE string }
	if err := json.Unmarshal(out, &env); err != nil {
		return nil, fmt.Errorf("%w: %s env: %w", ErrToolchain, command, err)
	}
	g.version, g.goMod = env.GOVERSION, env.GOMOD
	if version.IsValid(g.version) && version.Compare(g.version, oldestGo) < 0 {
		return nil, fmt.Errorf("%w: %s is %s: install Go %s or newer from https://go.dev/dl/",
			ErrToolchain, command, g.version, strings.TrimPrefix(oldestGo, "go"))
	}
	if g.goMod == "" || g.goMod == os.DevNull {
		return nil, fmt.Errorf("%w: %s is in no Go module: run `go mod init NAME` and `go mod tidy` there", ErrProject, o.Dir)
	}
	for _, f := range strings.Fields(env.GOFLAGS) {
		switch name, value, _ := strings.Cut(strings.TrimLeft(f, "-"), "="); {
		case name == "modfile", name == "overlay":
			return nil, fmt.Errorf("%w: GOFLAGS has -%s, which wasmill needs itself: take it out of `go env GOFLAGS`", ErrProject, name)
		case name == "mod" && value == "mod":
			g.mod = []string{"-mod=readonly"} // the project stays as it is
		}
	}
	if err := g.leaveCache(env.GOROOT, env.GOMODCACHE, tmp); err != nil {
		return nil, fmt.Errorf("%w: %s was downloaded by the go command itself, and cannot be used from its cache: %w; install Go %s from https://go.dev/dl/",
			ErrToolchain, g.version, err, strings.TrimPrefix(g.version, "go"))
	}
	return g, g.copyWorkspace(env.GOWORK, tmp)
}

// root is the directory of the project's module.
func (g *toolchain) root() string { return filepath.Dir(g.goMod) }

// copyWorkspace has the Go command use a copy of the user's go.work, so that a
// replacement can be added and the original is not written to. A workspace
// that the module is not part of is switched off.
func (g *toolchain) copyWorkspace(file, tmp string) error {
	if file == "" || file == "off" {
		g.env = append(g.env, "GOWORK=off")
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	work, err := modfile.ParseWork(file, data, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProject, err)
	}
	base := filepath.Dir(file)
	absolute := func(path string) string {
		if filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(base, filepath.FromSlash(path))
	}
	member := false
	for _, u := range slices.Clone(work.Use) {
		dir := absolute(u.Path)
		if real, err := filepath.EvalSymlinks(dir); err == nil && real == g.root() {
			member = true
		}
		if err := errors.Join(work.DropUse(u.Path), work.AddUse(dir, "")); err != nil {
			return err
		}
	}
	if !member {
		g.env = append(g.env, "GOWORK=off")
		return nil
	}
	for _, r := range slices.Clone(work.Replace) {
		if r.New.Version == "" {
			if err := work.AddReplace(r.Old.Path, r.Old.Version, absolute(r.New.Path), ""); err != nil {
				return err
			}
		}
	}
	work.Cleanup()
	g.work = filepath.Join(tmp, "go.work")
	g.env = append(g.env, "GOWORK="+g.work)
	if err := os.WriteFile(g.work, modfile.Format(work.Syntax), 0o600); err != nil {
		return err
	}
	return copyIfThere(file+".sum", g.work+".sum")
}

func copyIfThere(from, to string) error {
	data, err := os.ReadFile(from)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

// run runs the Go command and returns its standard output. Its error is what
// the command said.
func (g *toolchain) run(ctx context.Context, args ...string) ([]byte, error) {
	var stdout bytes.Buffer
	stderr := &talk{progress: g.progress}
	cmd := exec.CommandContext(ctx, g.command, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = g.dir, g.env, &stdout, stderr
	// Interrupted, it ends its compilers; killed, it could not.
	cmd.Cancel = func() error {
		if cmd.Process.Signal(os.Interrupt) != nil {
			return cmd.Process.Kill()
		}
		return nil
	}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if said := stderr.text(); said != "" {
			return stdout.Bytes(), errors.New(said)
		}
		return stdout.Bytes(), fmt.Errorf("go %s: %w", args[0], err)
	}
	return stdout.Bytes(), nil
}

// compile runs a build. What the compiler says is the error, with a hint where
// the reason is that WASM is not the computer the code was written for.
func (g *toolchain) compile(ctx context.Context, args ...string) error {
	_, err := g.run(ctx, args...)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w:\n%w%s", ErrCompile, err, hint(err.Error()))
}

// hint says what to do about errors that only WASM has.
func hint(said string) string {
	switch {
	case strings.Contains(said, "build constraints exclude all Go files"):
		return "\nFunctions are compiled for GOOS=wasip1 GOARCH=wasm without cgo: code for other systems only, or in C, has to be left out by build constraints."
	case strings.Contains(said, "undefined: syscall."), strings.Contains(said, "undefined: unix."):
		return "\nFunctions are compiled for GOOS=wasip1: system calls it lacks have to be left out by build constraints (//go:build !wasip1)."
	case strings.Contains(said, "missing go.sum entry"), strings.Contains(said, "updates to go.mod needed"), strings.Contains(said, "no required module provides"):
		return "\nRun `go mod tidy` in the project and try again."
	}
	return ""
}

// talk takes what the Go command says on standard error: downloads are
// progress, the rest is the reason of a failure.
type talk struct {
	progress func(string)
	partial  []byte
	lines    []string
}

func (t *talk) Write(p []byte) (int, error) {
	t.partial = append(t.partial, p...)
	for {
		line, rest, ok := bytes.Cut(t.partial, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		t.line(string(line))
		t.partial = rest
	}
}

func (t *talk) line(s string) {
	if what, ok := strings.CutPrefix(s, "go: downloading "); ok {
		t.progress("downloading " + what)
		return
	}
	t.lines = append(t.lines, s)
}

func (t *talk) text() string {
	if len(t.partial) > 0 {
		t.line(string(t.partial))
		t.partial = nil
	}
	return strings.TrimSpace(strings.Join(t.lines, "\n"))
}
