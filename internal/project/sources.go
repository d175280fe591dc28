package project

import (
	"path"
	"strconv"
	"strings"
)

// Source says whether a file, by its path with slashes below a Go module, may
// change what is built of it: Go code that is no test, go.mod, go.sum, go.work,
// wasmill.toml, and what embeds, patterns of paths, name.
func Source(name string, embeds []string) bool {
	base := path.Base(name)
	switch base {
	case "go.mod", "go.sum", "go.work", FileName:
		return true
	}
	if scratch(base) {
		return false
	}
	if path.Ext(base) == ".go" {
		return !strings.HasSuffix(base, "_test.go")
	}
	for _, pattern := range embeds {
		// A pattern may name a folder, for all there is below it.
		for at := name; at != "." && at != "/"; at = path.Dir(at) {
			if ok, err := path.Match(pattern, at); ok && err == nil {
				return true
			}
		}
	}
	return false
}

// Plain says that a file, by its path, is none that editors make beside the one
// they write.
func Plain(name string) bool { return !scratch(path.Base(name)) }

// scratch are the files that editors make beside the one they write.
func scratch(base string) bool {
	return strings.HasPrefix(base, ".") || strings.HasPrefix(base, "#") || strings.HasSuffix(base, "~") || base == "4913"
}

// Folder says whether a folder, by its own name, is looked into for sources: a
// hidden one is not, nor what tools fill.
func Folder(name string) bool {
	return !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "_") && name != "node_modules" && name != "testdata"
}

// Embeds finds the patterns of //go:embed lines in the text of a Go file that
// lies in folder, as patterns of paths from where folder counts.
func Embeds(folder, text string) (patterns []string) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "//go:embed ")
		if !ok {
			continue
		}
		for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimSpace(rest) {
			var p string
			if quoted, err := strconv.QuotedPrefix(rest); err == nil {
				p, _ = strconv.Unquote(quoted)
				rest = rest[len(quoted):]
			} else if space := strings.IndexAny(rest, " \t"); space >= 0 {
				p, rest = rest[:space], rest[space:]
			} else {
				p, rest = rest, ""
			}
			patterns = append(patterns, path.Join(folder, strings.TrimPrefix(p, "all:")))
		}
	}
	return patterns
}
