package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/functions/archive"
	"github.com/wasmill/wasmill/functions/build"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/sandbox"
	"github.com/wasmill/wasmill/runtime/wasm"
)

func (c *cli) build() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "build DIR", Short: "Build a project into a module, its files unchanged", Args: takes("[DIR]"),
		Long: help("Builds a folder into a WebAssembly module that runs here. Nothing in the folder is changed, and no server is",
			"needed. What it is written in is told by its files:",
			"",
			"  Go              go.mod, *.go       handlers with aws-lambda-go as they are, or a WASI command; needs Go",
			"  Rust            Cargo.toml, *.rs   a library crate (cdylib); needs rustc with the wasm32-wasip1 target",
			"  C               *.c                needs clang, lld and wasi-libc",
			"  AssemblyScript  asconfig.json      needs node and npm",
			"  JavaScript      package.json       export const handler = async (event, context) => …; needs node and npm",
			"",
			"Begin a project in one of them with: wasmill init -t LANGUAGE NAME"),
		Example: "  wasmill build ./handler\n  wasmill build ./handler -o enrich.wasm && wasmill fn create enrich enrich.wasm",
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			r, err := c.buildDir(cmd.Context(), dir, out)
			if err != nil {
				return err
			}
			c.say("built %s: %s in %s", r.Out, size(r.Size), span(r.Took))
			c.say("  next: wasmill fn create NAME %s", r.Out)
			return c.done(map[string]any{"file": r.Out, "sha256": r.SHA256, "bytes": r.Size, "abi": r.ABI, "package": r.Package, "language": r.Language, "compiler": r.Compiler, "go": r.Go,
				"lambda": r.Lambda, "seconds": r.Took.Seconds()}, nil)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "the `file` to write (default: the project's name with .wasm, in this folder)")
	return cmd
}

func (c *cli) buildDir(ctx context.Context, dir, out string) (build.Result, error) {
	return c.buildWith(ctx, dir, out, c.verify, func(line string) { c.say("%s", line) })
}

// buildWith is buildDir with another trial of what was built, and something
// else to be told what is being done.
func (c *cli) buildWith(ctx context.Context, dir, out string, verify func(context.Context, []byte) error, progress func(string)) (build.Result, error) {
	if info, err := os.Stat(dir); err != nil {
		return build.Result{}, err
	} else if !info.IsDir() {
		return build.Result{}, admin.NewError(admin.CodeBuildFailed, "%s is a file; want the folder of a project", dir)
	}
	if out != "" {
		// Now, and by the name that was given, not after a long build.
		if info, err := os.Stat(out); err == nil && info.IsDir() {
			return build.Result{}, admin.NewError(admin.CodeInput, "%s is a folder; want the file to write", out)
		}
		if info, err := os.Stat(filepath.Dir(out)); err != nil || !info.IsDir() {
			return build.Result{}, admin.NewError(admin.CodeInput, "%s cannot be written: there is no folder %s", out, filepath.Dir(out))
		}
	}
	r, err := build.Project(ctx, build.Options{Dir: dir, Out: out, CacheDir: c.getenv("WASMILL_BUILD_CACHE"), Verify: verify, Progress: progress})
	if err != nil {
		if ctx.Err() != nil {
			return r, admin.NewError(admin.CodeInterrupted, "interrupted")
		}
		for _, known := range []error{build.ErrToolchain, build.ErrProject, build.ErrCompile, build.ErrHandler} {
			if errors.Is(err, known) {
				e := admin.NewError(admin.CodeBuildFailed, "%v", err)
				e.Actions = []admin.Action{{Text: "correct what the message names, then build again", Command: "wasmill build " + quoteAll([]string{dir})[0]}}
				return r, e
			}
		}
		return r, fmt.Errorf("build %s: %w", dir, err)
	}
	for _, w := range r.Warnings {
		c.warn(w)
	}
	return r, nil
}

// verify starts a module once, as the server would. A handler that can never
// run is refused. One that exits by itself may only miss its environment
// variables, so that is a warning.
func (c *cli) verify(ctx context.Context, code []byte) error {
	err := trial(ctx, code, functions.Config{Timeout: functions.DefaultTimeout, Memory: 1024}, c.compileCache(ctx))
	if f, ok := errors.AsType[*runtime.InitError](err); ok && f.Type != runtime.TypeInit {
		c.warn("the function ended while it was starting, which may be for want of its environment variables: " + f.Message)
		return nil
	}
	return err
}

// trial starts a module once, in a process as the server does, and keeps what it
// compiled in a folder, where the server finds it, unless
// that is empty.
func trial(ctx context.Context, code []byte, config functions.Config, cache string) (err error) {
	engine, err := sandbox.New(ctx, sandbox.Options{Options: wasm.Options{CacheDir: cache}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close(ctx)) }()
	program, info, err := engine.Load(ctx, code, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, program.Close()) }()
	starting, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	started, err := program.New(starting, functions.Version{Function: "function", Version: functions.Unpublished, Code: info, Config: config}, silent{})
	if err != nil {
		return err
	}
	return started.Close()
}

// compileCache is the running server's, where it is on this machine and has
// one: what is compiled here need not be compiled there again.
func (c *cli) compileCache(ctx context.Context) string {
	if c.cache != "" {
		return c.cache
	}
	ctx, cancel := quick(ctx)
	defer cancel()
	info, err := c.server().Info(ctx)
	if err != nil || info.DataDir == "" {
		return ""
	}
	if s, err := readState(info.DataDir); err != nil || s.PID != info.PID {
		return "" // a directory of that name on another machine
	}
	return filepath.Join(info.DataDir, "cache")
}

// silent takes no log.
type silent struct{}

func (silent) Line(string, []byte) {}

// module reads the code of a function: a file, standard input, or a folder
// that is built first.
func (c *cli) module(ctx context.Context, from string) ([]byte, error) {
	if from == "-" {
		upload, err := readAll(c.in)
		return unzipped(upload, err)
	}
	info, err := os.Stat(from)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		upload, err := os.ReadFile(from)
		return unzipped(upload, err)
	}
	tmp, err := os.MkdirTemp("", "wasmill-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	r, err := c.buildDir(ctx, from, filepath.Join(tmp, "function.wasm"))
	if err != nil {
		return nil, err
	}
	c.say("built %s: %s in %s", from, size(r.Size), span(r.Took))
	return os.ReadFile(r.Out)
}

// unzipped is the module in a zip file; whatever else is left as it is.
func unzipped(upload []byte, err error) ([]byte, error) {
	if err != nil || !archive.Is(upload) {
		return upload, err
	}
	module, err := archive.Module(upload)
	if err != nil {
		return nil, admin.NewError(admin.CodeCodeRefused, "%s", strings.TrimPrefix(err.Error(), functions.ErrCode.Error()+": "))
	}
	return module, nil
}
