// Package samples holds the sample functions in languages other than Go. They are
// what `wasmill init -t` begins a project with, so that these are built and run by
// the samples' tests.
package samples

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

//go:embed c/handler.c c/wasmill.h
//go:embed rust/Cargo.toml rust/src/lib.rs rust/src/wasmill.rs
//go:embed assemblyscript/package.json assemblyscript/asconfig.json assemblyscript/assembly/index.ts assemblyscript/assembly/wasmill.ts
//go:embed javascript/package.json javascript/index.mjs
//go:embed events/kinesis.json
var files embed.FS

// name is what the samples call themselves.
const name = "readings"

// Event is a Kinesis event for the samples, in JSON: three readings of which one is
// over the limit and one is no number.
func Event() string { return text("events/kinesis.json") }

// Languages are those that there is a sample of.
func Languages() []string { return []string{"rust", "c", "assemblyscript", "javascript"} }

// Template gives the files of a project in a language, by their paths with slashes,
// and its first one to look at. There is none for other than [Languages].
func Template(language, function string) (project map[string]string, first string) {
	if !slices.Contains(Languages(), language) {
		return nil, ""
	}
	project = map[string]string{}
	err := fs.WalkDir(files, language, func(at string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		t := text(at)
		if base := path.Base(at); base == "package.json" || base == "Cargo.toml" {
			t = strings.Replace(t, fmt.Sprintf("%q", name), fmt.Sprintf("%q", packageName(function)), 1)
		}
		project[strings.TrimPrefix(at, language+"/")] = t
		return nil
	})
	if err != nil {
		panic(err) // the files are part of the program
	}
	return project, map[string]string{"rust": "src/lib.rs", "c": "handler.c", "assemblyscript": "assembly/index.ts", "javascript": "index.mjs"}[language]
}

// packageName makes a name that Cargo and npm take of a function's.
func packageName(function string) string {
	n := strings.Trim(strings.ToLower(function), "-_")
	if n == "" || n[0] >= '0' && n[0] <= '9' {
		n = "fn-" + n
	}
	return strings.Trim(n, "-")
}

func text(at string) string {
	b, err := files.ReadFile(at)
	if err != nil {
		panic(err) // as above
	}
	return string(b)
}
