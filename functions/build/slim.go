package build

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
)

// withoutHTTP returns a file of the user's package events, or a copy of it in
// tmp that means the same and does not import net/http. The package has taken
// nothing from there but http.StatusOK, which is 200; yet with net/http comes
// crypto/tls with all its cryptography: nearly a third of a small function's module,
// and of the time it takes to link, send, compile and start it.
//
// A file that takes anything else from net/http stays as it is.
func withoutHTTP(path, tmp string) (string, error) {
	src, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(src, []byte("http.StatusOK")) {
		return path, err
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, src, 0)
	if err != nil {
		return path, nil // the compiler tells of it better
	}
	var spans [][2]int // of http.StatusOK, in order
	others := false
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "http" {
				others = others || s.Sel.Name != "StatusOK"
				spans = append(spans, [2]int{fset.Position(s.Pos()).Offset, fset.Position(s.End()).Offset})
				return false
			}
		}
		if x, ok := n.(*ast.Ident); ok && x.Name == "http" {
			others = true // somebody's own http
		}
		return true
	})
	var at *ast.ImportSpec
	for _, i := range file.Imports {
		if p, _ := strconv.Unquote(i.Path.Value); p == "net/http" && i.Name == nil {
			at = i
		}
	}
	if at == nil || others || len(spans) == 0 {
		return path, nil
	}
	// Every line stays in its place, for what a compiler or a panic says of it.
	var out []byte
	last := 0
	put := func(from, to int, text string) {
		out = append(append(out, src[last:from]...), text...)
		last = to
	}
	begin, end := fset.Position(at.Pos()).Offset, fset.Position(at.End()).Offset
	put(begin, end, `_ "errors"`)
	for _, s := range spans {
		put(s[0], s[1], "200")
	}
	out = append(out, src[last:]...)
	to := filepath.Join(tmp, "events-"+filepath.Base(path))
	return to, os.WriteFile(to, out, 0o600)
}
