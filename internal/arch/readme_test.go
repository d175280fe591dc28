package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCoverageTableIsProved reads the README's table of what works: each row
// has one of three states, and what works or works partly names a test that
// exists.
func TestCoverageTableIsProved(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(b), "| feature | state | proof |\n|---|---|---|\n")
	if !ok {
		t.Fatal("README.md has no coverage table")
	}
	rows := 0
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		rows++
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 {
			t.Errorf("%d cells, want 3: %s", len(cells), line)
			continue
		}
		feature, proof := strings.TrimSpace(cells[0]), strings.TrimSpace(cells[2])
		state, _, _ := strings.Cut(strings.TrimSpace(cells[1]), ":")
		switch state {
		case "works", "partly":
			if proof == "" {
				t.Errorf("%q is said to work and names no proof", feature)
			}
		case "not yet":
		default:
			t.Errorf("%q has the state %q: want works, partly or not yet", feature, state)
		}
		if proof != "" && !testExists(t, proof) {
			t.Errorf("%q names the proof %s, which does not exist", feature, proof)
		}
	}
	if rows < 10 {
		t.Errorf("the coverage table has %d rows", rows)
	}
}

// testExists looks for package/path.TestName.
func testExists(t *testing.T, proof string) bool {
	t.Helper()
	dot := strings.LastIndexByte(proof, '.')
	if dot < 0 {
		return false
	}
	files, err := filepath.Glob(filepath.Join(root(t), filepath.FromSlash(proof[:dot]), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == proof[dot+1:] {
				return true
			}
		}
	}
	return false
}
