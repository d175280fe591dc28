package build

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/functions"
)

// Language is what a project is written in.
type Language string

const (
	LanguageGo             Language = "go"
	LanguageRust           Language = "rust"
	LanguageC              Language = "c"
	LanguageAssemblyScript Language = "assemblyscript"
	LanguageJavaScript     Language = "javascript" // or TypeScript
)

// Languages are all that [Project] builds.
func Languages() []Language {
	return []Language{LanguageGo, LanguageRust, LanguageC, LanguageAssemblyScript, LanguageJavaScript}
}

// Title is the language's name for people.
func (l Language) Title() string {
	return map[Language]string{LanguageGo: "Go", LanguageRust: "Rust", LanguageC: "C", LanguageAssemblyScript: "AssemblyScript", LanguageJavaScript: "JavaScript"}[l]
}

// Source says whether a file of that name is one that a build of the language
// reads. Go projects say that by other means: see internal/project.
func (l Language) Source(name string) bool {
	of := map[Language][]string{
		LanguageRust:           {".rs", "Cargo.toml", "Cargo.lock"},
		LanguageC:              {".c", ".h"},
		LanguageAssemblyScript: {".ts", "asconfig.json", "package.json"},
		LanguageJavaScript:     {".mjs", ".js", ".cjs", ".ts", ".mts", ".json"},
	}[l]
	return slices.Contains(of, filepath.Ext(name)) || slices.Contains(of, name)
}

// Detect says what a directory's project is written in, by its files: go.mod or
// *.go, Cargo.toml, asconfig.json, package.json (AssemblyScript if it names that
// package), then *.rs, *.c, *.mjs or *.js, and *.ts, which stands for
// AssemblyScript then. An error wraps [ErrProject].
func Detect(dir string) (Language, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrProject, err)
	}
	has := map[string]bool{}
	for _, e := range entries {
		if !e.IsDir() {
			has[e.Name()], has["*"+filepath.Ext(e.Name())] = true, true
		}
	}
	switch {
	case has["go.mod"], has["*.go"]:
		return LanguageGo, nil
	case has["Cargo.toml"]:
		return LanguageRust, nil
	case has["asconfig.json"]:
		return LanguageAssemblyScript, nil
	case has["package.json"]:
		p, err := readPackage(dir)
		if err != nil {
			return "", err
		}
		if p.names("assemblyscript") {
			return LanguageAssemblyScript, nil
		}
		return LanguageJavaScript, nil
	case has["*.rs"]:
		return LanguageRust, nil
	case has["*.c"]:
		return LanguageC, nil
	case has["*.mjs"], has["*.js"]:
		return LanguageJavaScript, nil
	case has["*.ts"]:
		return LanguageAssemblyScript, nil
	}
	if below(dir, ".go") { // of a module further up, or with package main further down
		return LanguageGo, nil
	}
	if below(dir, ".c") {
		return LanguageC, nil
	}
	return "", fmt.Errorf("%w: %s holds no go.mod, Cargo.toml, asconfig.json, package.json, or source file in Go, Rust, C, AssemblyScript or JavaScript; write a project with: wasmill init -t go",
		ErrProject, dir)
}

// below says whether there is a file of an extension in a directory's folders.
func below(dir, ext string) (found bool) {
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch name := filepath.Base(path); {
		case err != nil, path == dir:
		case d.IsDir() && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "target" || name == "testdata"):
			return fs.SkipDir
		case !d.IsDir() && filepath.Ext(name) == ext:
			found = true
			return fs.SkipAll
		}
		return nil
	})
	return found
}

// packageJSON is what of npm's package.json is looked at.
type packageJSON struct {
	Name, Version, Main, Type     string
	Dependencies, DevDependencies map[string]string
}

func (p packageJSON) names(dependency string) bool {
	return p.Dependencies[dependency] != "" || p.DevDependencies[dependency] != ""
}

func readPackage(dir string) (p packageJSON, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		return p, fmt.Errorf("%w: %s: %w", ErrProject, filepath.Join(dir, "package.json"), err)
	}
	return p, nil
}

// Project builds the project in o.Dir, whatever it is written in: see [Detect].
// Its errors are those of [Go].
func Project(ctx context.Context, o Options) (Result, error) {
	began := time.Now()
	abs, err := o.withDefaults()
	if err != nil {
		return Result{}, err
	}
	language, err := Detect(abs.Dir)
	if err != nil {
		return Result{}, err
	}
	if language == LanguageGo {
		return Go(ctx, o)
	}
	o = abs
	tmp, err := os.MkdirTemp("", "wasmill-build-*")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(tmp)
	built := filepath.Join(tmp, "out.wasm")
	compile := map[Language]func(context.Context, Options, string, string) (Result, error){
		LanguageRust: rust, LanguageC: c, LanguageAssemblyScript: assemblyScript, LanguageJavaScript: javaScript,
	}[language]
	res, err := compile(ctx, o, tmp, built)
	if res.Language = language; err != nil {
		return res, err
	}
	return o.finish(ctx, res, built, path.Base(cmp.Or(res.Package, filepath.ToSlash(o.Dir))), began)
}

// finish tries what was built and puts it into its place. Name is what the file
// is called where nothing else is wanted.
func (o Options) finish(ctx context.Context, res Result, built, name string, began time.Time) (Result, error) {
	code, err := os.ReadFile(built)
	if err != nil {
		return res, err
	}
	sum := sha256.Sum256(code)
	res.SHA256, res.Size = hex.EncodeToString(sum[:]), int64(len(code))
	if o.Verify != nil {
		o.Progress("trying to start it")
		if err := o.Verify(ctx, code); err != nil {
			return res, fmt.Errorf("%w: %w", ErrHandler, err)
		}
	}
	res.Out = cmp.Or(o.Out, name+".wasm")
	if err := deliver(built, res.Out); err != nil {
		return res, err
	}
	res.Took = time.Since(began)
	return res, nil
}

// tool runs a compiler in a directory. Its error holds what the tool printed.
func tool(ctx context.Context, dir string, env []string, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		text := strings.TrimSpace(errs.String())
		if text == "" {
			text = strings.TrimSpace(out.String())
		}
		if text == "" {
			text = fmt.Sprintf("%s: %v", filepath.Base(name), err)
		}
		return nil, errors.New(text)
	}
	return out.Bytes(), nil
}

// grade reads off a module's exports how it will be called; the engine judges it
// in full.
func grade(path string) functions.ABI {
	code, err := os.ReadFile(path)
	switch {
	case err != nil:
		return ""
	case bytes.Contains(code, []byte("\x08wm_batch\x00")):
		return functions.ABIBatch
	case bytes.Contains(code, []byte("\x07wm_json\x00")):
		return functions.ABIJSON
	}
	return functions.ABICommand
}
