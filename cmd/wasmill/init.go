package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/internal/project"
)

func (c *cli) initCommand() *cobra.Command {
	var name string
	var handler bool
	cmd := &cobra.Command{
		Use: "init [DIR]", Short: "Write a wasmill.toml, and a handler where there is none", Args: takes("[DIR]"), ValidArgsFunction: folders,
		Long: help("Writes a commented wasmill.toml into a folder, for the Go Lambda handler or the .wasm file that is there.",
			"In a folder without Go files it also writes a small handler in Go that works (main.go, go.mod, go.sum); where",
			"there are sources in another language, only with --go. A folder that does not exist is made; no file is ever",
			"written over."),
		Example: "  wasmill init\n  wasmill init orders && cd orders && wasmill dev",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.initFolder(folder(args), name, handler)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "the function's `name` (default: the folder's)")
	cmd.Flags().BoolVar(&handler, "go", false, "write the handler in Go also beside sources in another language")
	return cmd
}

func (c *cli) initFolder(dir, name string, handler bool) error {
	whole, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if name == "" {
		name = project.Name(filepath.Base(whole))
	} else if name != project.Name(name) {
		return usageError{errors.New("--name: want letters, digits, - and _, at most 64")}
	}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return admin.NewError(admin.CodeInput, "%s is a file; want a folder", dir)
	}
	file := filepath.Join(dir, project.FileName)
	if _, err := os.Lstat(file); err == nil {
		e := admin.NewError(admin.CodeProjectExists, "%s is there already, and stays as it is", file).With("file", file)
		e.Actions = []admin.Action{{Text: "see what it would change on the server", Command: ofFolder("diff", dir)}}
		return e
	}
	found, err := survey(dir)
	if err != nil {
		return err
	}
	files, source, why := map[string]string{}, ".", ""
	switch {
	case found.isGo, isFile(filepath.Join(dir, "go.mod")):
	case len(found.modules) == 1:
		source = found.modules[0]
	case len(found.others) > 0 && !handler:
		return notGo(dir, found.others)
	default:
		files, why = project.Handler(name), "; main.go is a small handler in Go that works, since there was none"
	}
	files[project.FileName] = project.File(name, source)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var written []string
	for _, f := range []string{"go.mod", "go.sum", "main.go", project.FileName} { // the file last: with it the folder is a project
		text, wanted := files[f]
		if !wanted {
			continue
		}
		if err := writeNew(filepath.Join(dir, f), text); err != nil {
			return err
		}
		written = append(written, f)
	}
	c.say("wrote %s into %s%s", strings.Join(written, ", "), dir, why)
	next := "wasmill dev"
	if dir != "." {
		next = "cd " + quoteAll([]string{dir})[0] + " && " + next
	}
	c.say("  next: %s          # a server, and your function on it, anew with each save", next)
	c.say("        wasmill deploy       # or put it on the server that runs")
	return c.done(map[string]any{"directory": dir, "function": name, "files": written}, nil)
}

// notGo says that a folder holds a program that wasmill does not build.
func notGo(dir string, others []string) error {
	names := others[:min(len(others), 3)]
	if len(names) < len(others) {
		names = append(slices.Clone(names), fmt.Sprintf("and %d more", len(others)-len(names)))
	}
	e := admin.NewError(admin.CodeInput, "the sources in %s are not Go (%s), and Go is all that wasmill builds; nothing was written", dir, strings.Join(names, ", "))
	e.Actions = []admin.Action{
		{Text: "build them into a .wasm file in that folder with their own tools, then run it again (docs/abi.md says what it exports)"},
		{Text: "or have a handler in Go written beside them", Command: ofFolder("init --go", dir)},
	}
	return e.With("sources", others)
}

// surveyed is what there is in a folder already.
type surveyed struct {
	isGo    bool     // there are Go files in it or below it
	modules []string // .wasm files in it
	others  []string // sources in other languages in it or below it, sorted; not all where isGo
}

// foreign are how the sources of other languages end, and the files that such
// programs are recognised by.
var foreign = strings.Fields(".c .cc .cjs .cpp .cs .fs .java .js .jsx .kt .lua .mjs .php .py .rb .rs .scala .swift .ts .tsx .wat .zig " +
	"Cargo.toml Gemfile build.gradle package.json pom.xml pyproject.toml requirements.txt")

func survey(dir string) (s surveyed, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path == dir:
			return nil // it will be made
		case err != nil:
			return err
		case d.IsDir() && path != dir && !project.Folder(d.Name()):
			return fs.SkipDir
		case d.IsDir():
		case filepath.Ext(path) == ".go":
			s.isGo = true
			return fs.SkipAll
		case filepath.Ext(path) == ".wasm" && filepath.Dir(path) == filepath.Clean(dir):
			s.modules = append(s.modules, d.Name())
		case slices.Contains(foreign, filepath.Ext(path)), slices.Contains(foreign, d.Name()):
			name, _ := filepath.Rel(dir, path)
			s.others = append(s.others, name)
		}
		return nil
	})
	slices.Sort(s.modules)
	slices.Sort(s.others)
	return s, err
}

// writeNew writes a file that is not there yet.
func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return admin.NewError(admin.CodeProjectExists, "%s is there already, and stays as it is", path) // somebody was quicker
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
