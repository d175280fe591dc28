package main

import (
	"errors"
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
	cmd := &cobra.Command{
		Use: "init [DIR]", Short: "Write a wasmill.toml, and a handler where there is none", Args: takes("[DIR]"), ValidArgsFunction: folders,
		Long: help("Writes a commented wasmill.toml into a folder, for the Go Lambda handler or the .wasm file that is there.",
			"In a folder without Go files it also writes a small handler that works (main.go, go.mod, go.sum). A folder",
			"that does not exist is made; no file is ever written over."),
		Example: "  wasmill init\n  wasmill init orders && cd orders && wasmill dev",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.initFolder(folder(args), name)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "the function's `name` (default: the folder's)")
	return cmd
}

func (c *cli) initFolder(dir, name string) error {
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
	hasGo, modules, err := survey(dir)
	if err != nil {
		return err
	}
	files, source := map[string]string{}, "."
	switch {
	case hasGo, isFile(filepath.Join(dir, "go.mod")):
	case len(modules) == 1:
		source = modules[0]
	default:
		files = project.Handler(name)
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
	c.say("wrote %s into %s", strings.Join(written, ", "), dir)
	next := "wasmill dev"
	if dir != "." {
		next = "cd " + quoteAll([]string{dir})[0] + " && " + next
	}
	c.say("  next: %s          # a server, and your function on it, anew with each save", next)
	c.say("        wasmill deploy       # or put it on the server that runs")
	return c.done(map[string]any{"directory": dir, "function": name, "files": written}, nil)
}

// survey looks for Go files in a folder or below it, and for modules in it.
func survey(dir string) (hasGo bool, modules []string, err error) {
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
			hasGo = true
			return fs.SkipAll
		case filepath.Ext(path) == ".wasm" && filepath.Dir(path) == filepath.Clean(dir):
			modules = append(modules, d.Name())
		}
		return nil
	})
	slices.Sort(modules)
	return hasGo, modules, err
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
