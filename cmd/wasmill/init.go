package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/functions/build"
	"github.com/wasmill/wasmill/internal/project"
	"github.com/wasmill/wasmill/samples"
)

func (c *cli) initCommand() *cobra.Command {
	var name, template string
	var handler bool
	cmd := &cobra.Command{
		Use: "init [DIR]", Short: "Write a wasmill.toml, and a function where there is none", Args: takes("[DIR]"), ValidArgsFunction: folders,
		Long: help("Writes a commented wasmill.toml into a folder, for the project or the .wasm file that is there. Into a folder",
			"without sources it also writes a small function that works, in Go or in what --template says: go, rust, c,",
			"assemblyscript or javascript, with an event to call it with. A folder that does not exist is made; no file is",
			"ever written over."),
		Example: "  wasmill init\n  wasmill init -t rust orders && cd orders && wasmill dev",
		RunE: func(cmd *cobra.Command, args []string) error {
			if handler {
				if template != "" && template != string(build.LanguageGo) {
					return usageError{errors.New("--go and --template: want one of them")}
				}
				template = string(build.LanguageGo)
			}
			if template != "" && !slices.Contains(build.Languages(), build.Language(template)) {
				return usageError{fmt.Errorf("--template %q: want %s", template, languageList(" or ", func(l build.Language) string { return string(l) }))}
			}
			return c.initFolder(folder(args), name, build.Language(template))
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "the function's `name` (default: the folder's)")
	cmd.Flags().StringVarP(&template, "template", "t", "", "write a function in this `language`, also beside other sources")
	cmd.Flags().BoolVar(&handler, "go", false, "the same as --template go")
	cmd.RegisterFlagCompletionFunc("template", cobra.FixedCompletions(strings.Fields(languageList(" ", func(l build.Language) string { return string(l) })), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// languageList are the languages that are built, in words.
func languageList(last string, name func(build.Language) string) string {
	var names []string
	for _, l := range build.Languages() {
		names = append(names, name(l))
	}
	if last == " " {
		return strings.Join(names, last)
	}
	return strings.Join(names[:len(names)-1], ", ") + last + names[len(names)-1]
}

func (c *cli) initFolder(dir, name string, template build.Language) error {
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
	var emits []string
	switch {
	case template != "":
		files, emits, why = begin(template, name)
	case found.language != "":
		why = fmt.Sprintf("; the function is built of the %s project that is there", found.language.Title())
		if found.language == build.LanguageGo {
			why = ""
		}
	case len(found.modules) == 1:
		source = found.modules[0]
	case len(found.others) > 0:
		return notBuilt(dir, found.others)
	default:
		files, emits, why = begin(build.LanguageGo, name)
		why += ", since there was none"
	}
	files[project.FileName] = project.File(name, source, emits...)
	written := slices.SortedFunc(maps.Keys(files), func(a, b string) int { // the file last: with it the folder is a project
		return cmp.Or(cmp.Compare(indexOf(a), indexOf(b)), strings.Compare(a, b))
	})
	for _, f := range written { // all or nothing, as far as one can see
		if _, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(f))); err == nil {
			return admin.NewError(admin.CodeProjectExists, "%s is there already, and stays as it is; nothing was written", filepath.Join(dir, filepath.FromSlash(f)))
		}
	}
	for _, f := range written {
		path := filepath.Join(dir, filepath.FromSlash(f))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := writeNew(path, files[f]); err != nil {
			return err
		}
	}
	c.say("wrote %s into %s%s", strings.Join(written, ", "), dir, why)
	next := "wasmill dev"
	if dir != "." {
		next = "cd " + quoteAll([]string{dir})[0] + " && " + next
	}
	c.say("  next: %s          # a server, and your function on it, anew with each save", next)
	c.say("        wasmill deploy       # or put it on the server that runs")
	if _, ok := files[eventFile]; ok {
		c.say("        wasmill fn invoke %s --event %s --tail   # then call it with a test event", name, eventFile)
	}
	return c.done(map[string]any{"directory": dir, "function": name, "files": written}, nil)
}

// eventFile is the test event of a new project.
const eventFile = "events/kinesis.json"

func indexOf(file string) int {
	if file == project.FileName {
		return 1
	}
	return 0
}

// begin are the files of a new project, the streams it emits to, and what to say of it.
func begin(l build.Language, name string) (files map[string]string, emits []string, why string) {
	files, first := samples.Template(string(l), name)
	if files != nil {
		emits = []string{"alerts"}
	} else {
		files, first = project.Handler(name), "main.go"
	}
	files[eventFile] = samples.Event()
	return files, emits, fmt.Sprintf("; %s is a small handler in %s that works", first, l.Title())
}

// notBuilt says that a folder holds a program that wasmill does not build.
func notBuilt(dir string, others []string) error {
	names := others[:min(len(others), 3)]
	if len(names) < len(others) {
		names = append(slices.Clone(names), fmt.Sprintf("and %d more", len(others)-len(names)))
	}
	e := admin.NewError(admin.CodeInput, "the sources in %s are in no language that wasmill builds (%s): there are %s; nothing was written", dir, strings.Join(names, ", "),
		languageList(" and ", build.Language.Title))
	e.Actions = []admin.Action{
		{Text: "build them into a .wasm file in that folder with their own tools, then run it again (docs/abi.md says what it exports)"},
		{Text: "or have a handler in Go written beside them", Command: ofFolder("init -t go", dir)},
	}
	return e.With("sources", others)
}

// surveyed is what there is in a folder already.
type surveyed struct {
	language build.Language // of the project in it; empty: there is none that is built
	modules  []string       // .wasm files in it
	others   []string       // sources in other languages than Go in it or below it, sorted; not all of them of a Go project
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
			s.language = build.LanguageGo
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
	if s.language == "" && err == nil {
		// One whose sources are there: a package.json alone may be of anybody's tools.
		if l, none := build.Detect(dir); none == nil && (l == build.LanguageGo || slices.ContainsFunc(s.others, func(f string) bool {
			return l.Source(filepath.Base(f)) && filepath.Ext(f) != ".json" && filepath.Ext(f) != ".toml"
		})) {
			s.language = l
		}
	}
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
