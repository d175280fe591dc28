// Package build makes a WebAssembly module of a function's project, without
// changing the project. [Project] finds out what it is written in ([Detect]): Go,
// Rust, C, AssemblyScript or JavaScript. The latter four are left to their own
// compilers; package quickjs makes modules of JavaScript.
//
// The code of a Go Lambda function calls lambda.Start of aws-lambda-go, which
// asks the Lambda runtime API for work over HTTP. [Go] has the Go command read
// the user's own version of aws-lambda-go with only its package lambda
// exchanged, for one that exports the calls of the guest ABI (docs/abi.md;
// shim holds it). That is done with an overlay, a list of files that the Go
// command takes to be there, and with a copy of go.mod beside the project: the
// project's files are only read. Of package events one constant of net/http is
// written out as well, which keeps TLS out of modules that do not use it. The same sources, Go version and wasmill
// version give the same module, byte for byte.
//
// A project without aws-lambda-go becomes a WASI command, which gets its event
// on standard input.
package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/wasmill/wasmill/functions"
)

var (
	// ErrToolchain means there is no compiler of the project's language, or not one
	// that can build this project; the text says what to install.
	ErrToolchain = errors.New("no suitable toolchain")
	// ErrProject means the directory is not a project that can be built; the
	// text says what is missing.
	ErrProject = errors.New("cannot build this project")
	// ErrCompile means the compiler refused the code; the text is its own.
	ErrCompile = errors.New("the project does not compile")
	// ErrHandler means the module was built but cannot be started, because of
	// its handler's type for one; the text says what to change.
	ErrHandler = errors.New("the function does not start")
)

// Options say what to build. The zero value builds the current directory.
type Options struct {
	// Dir is a directory with package main, or of a module that holds exactly
	// one package main. Defaults to the current directory.
	Dir string
	// Out is the file to write. Defaults to the package's name with .wasm, in
	// the current directory.
	Out string
	// GoCommand is the go command. Defaults to "go", looked up in PATH.
	GoCommand string
	// CacheDir keeps the exchanged sources between builds. Defaults to a
	// temporary folder: the Go command's cache goes by their content, so that a
	// second build is as fast either way.
	CacheDir string
	// Progress is told what is being done, one line each. Defaults to nobody.
	Progress func(line string)
	// Verify tries a module that was built, by starting it. What it returns is
	// an [ErrHandler], and nothing is written. Defaults to no trial.
	Verify func(ctx context.Context, code []byte) error
}

func (o Options) withDefaults() (Options, error) {
	o.Dir = cmp.Or(o.Dir, ".")
	o.GoCommand = cmp.Or(o.GoCommand, "go")
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, err
	}
	// The Go command resolves links too: overlay and go.mod must speak of the same place.
	if o.Dir, err = filepath.EvalSymlinks(dir); err != nil {
		return o, fmt.Errorf("%w: %w", ErrProject, err)
	}
	if fi, err := os.Stat(o.Dir); err != nil || !fi.IsDir() {
		return o, fmt.Errorf("%w: %s is not a directory: give the directory of the function's package main", ErrProject, o.Dir)
	}
	return o, nil
}

// Result tells what was built.
type Result struct {
	Out    string // the file
	SHA256 string // hex digest of the module
	Size   int64  // bytes
	// ABI is the grade of the module. The Go shim answers all of them by JSON too.
	ABI      functions.ABI
	Package  string // import path of the function's package main
	Lambda   string // version of aws-lambda-go, empty for a WASI command
	Go       string // version of the toolchain
	Warnings []string
	Took     time.Duration
	Language Language
	Compiler string // its name and version, like "go1.26.8" or "clang 14.0.6"
}

// Go builds the Go project in o.Dir. Its errors are of the kinds above, or of the
// file system. The project's directory is not written to, unless Out is there.
func Go(ctx context.Context, o Options) (Result, error) {
	began := time.Now()
	o, err := o.withDefaults()
	if err != nil {
		return Result{}, err
	}
	tmp, err := os.MkdirTemp("", "wasmill-build-*")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(tmp)
	if tmp, err = filepath.EvalSymlinks(tmp); err != nil {
		return Result{}, err
	}

	g, err := newToolchain(ctx, o, tmp)
	if err != nil {
		return Result{}, err
	}
	p, err := g.project(ctx)
	if err != nil {
		return Result{}, err
	}
	res := Result{Package: p.main.ImportPath, Go: g.version, ABI: p.abi(), Language: LanguageGo, Compiler: g.version}
	built := filepath.Join(tmp, "out.wasm")
	args := []string{"build", "-o", built, "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid="}
	if p.lambda == nil {
		o.Progress("this project does not use aws-lambda-go: building a WASI command, which gets its event on standard input")
		more, err := p.doorFlags(tmp)
		if err != nil {
			return res, err
		}
		args = append(append(args, g.mod...), more...)
	} else {
		res.Lambda = p.lambdaVersion()
		more, err := p.exchange(cmp.Or(o.CacheDir, tmp), tmp)
		if err != nil {
			return res, err
		}
		args = append(append(args, "-buildmode=c-shared"), more...)
	}
	o.Progress(strings.TrimRight(fmt.Sprintf("compiling %s with %s %s", res.Package, res.Go, prefixed("and aws-lambda-go ", res.Lambda)), " "))
	if err := doorless(g.compile(ctx, append(args, ".")...), g.version); err != nil {
		return res, err
	}

	return o.finish(ctx, res, built, filepath.Base(p.main.Dir), began)
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// deliver puts a finished file in its place, whole or not at all.
func deliver(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.CreateTemp(filepath.Dir(to), "."+filepath.Base(to)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(dst.Name()) // does nothing once renamed
	_, err = io.Copy(dst, src)
	if err == nil {
		err = dst.Chmod(0o644)
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		return err
	}
	return os.Rename(dst.Name(), to)
}
