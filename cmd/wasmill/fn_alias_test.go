package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/functions/archive"
)

func TestAliasesNameVersionsByWeight(t *testing.T) {
	w := newWorld(t)
	w.ok("fn", "create", "f", w.file("one.wasm", answers(`1`)))
	w.ok("fn", "publish", "f")
	packed, err := archive.Pack([]byte(answers(`2`)))
	if err != nil {
		t.Fatal(err)
	}
	w.ok("fn", "update", "f", w.file("two.zip", string(packed)))
	w.ok("fn", "publish", "f")

	w.says([]string{"function f has no aliases; next: wasmill fn alias set f ALIAS VERSION"}, "fn", "alias", "ls", "f")
	w.says([]string{"alias live of function f is version 1", "undo: wasmill fn alias rm f live"}, "fn", "alias", "set", "f", "live", "1", "--description", "what runs")
	calls := func(want ...string) {
		t.Helper()
		got := map[string]bool{}
		for range 100 {
			v := data[admin.Invocation](w, "fn", "invoke", "f", "--version", "live", "--data", "{}")
			if string(v.Response) != v.Version {
				t.Fatalf("version %s answers %s", v.Version, v.Response)
			}
			if got[v.Version] = true; len(got) == len(want) {
				break
			}
		}
		for _, v := range want {
			if !got[v] || len(got) != len(want) {
				t.Errorf("versions %v answer, want %v", got, want)
			}
		}
	}
	calls("1")
	w.says([]string{"is version 1, and 2 for 50 % of calls", "undo: wasmill fn alias set f live 1"}, "fn", "alias", "set", "f", "live", "2=50%")
	calls("1", "2")
	out := w.ok("fn", "get", "f")
	for _, row := range []string{`published +1, 2`, `aliases +live is 1, and 2 for 50 % of calls`} {
		if !regexp.MustCompile(row).MatchString(out) {
			t.Errorf("fn get has no %s:\n%s", row, out)
		}
	}
	if v := data[admin.Function](w, "fn", "get", "f", "--version", "live"); v.Version != "1" || len(v.Aliases) != 1 || v.State != "Active" {
		t.Errorf("fn get of an alias: %+v", v)
	}
	w.says([]string{"undo: wasmill fn alias set f live 1 2=50%"}, "fn", "alias", "set", "f", "live", "2")
	calls("2")
	out = w.ok("fn", "alias", "ls", "f")
	if !regexp.MustCompile(`ALIAS +VERSION +SHARES +DESCRIPTION\nlive +2 +- +what runs`).MatchString(out) {
		t.Errorf("fn alias ls:\n%s", out)
	}

	file := filepath.Join(t.TempDir(), "f.wasm")
	w.ok("fn", "code", "f", "--version", "1", "-o", file)
	if code, err := os.ReadFile(file); err != nil || string(code) != answers(`1`) {
		t.Errorf("fn code: %d bytes, %v", len(code), err)
	}
	w.fails(1, admin.CodeInput, "fn", "code", "f", "-o", file)
	w.told(3, "there is no function \"g\"", "fn", "code", "g", "-o", file+"2")

	w.told(3, `function f has no version and no alias "3"`, "fn", "alias", "set", "f", "live", "3")
	w.told(3, `there is no function "g"`, "fn", "alias", "ls", "g")
	w.told(1, "not digits alone", "fn", "alias", "set", "f", "7", "1")
	w.told(2, "has no alias canary yet", "fn", "alias", "set", "f", "canary", "2=0.1")
	w.told(2, `"2=lots": want a version and its share`, "fn", "alias", "set", "f", "live", "2=lots")
	w.told(2, `"2=110%": want a version and its share`, "fn", "alias", "set", "f", "live", "2=110%")
	w.told(2, "want one VERSION", "fn", "alias", "set", "f", "live", "1", "2")
	w.told(3, `function f has no alias "live2"; did you mean live?`, "fn", "alias", "rm", "f", "live2")
	w.says([]string{"deleted alias live"}, "fn", "alias", "rm", "f", "live")
	w.told(3, `function f has no version and no alias "live"`, "fn", "invoke", "f", "--version", "live", "--data", "{}")
	w.fails(1, admin.CodeCodeRefused, "fn", "create", "g", w.file("g.zip", "PK\x03\x04"))
	if o := w.run("fn", "create", "g", w.file("g2.zip", "PK\x05\x06"+strings.Repeat("\x00", 18))); o.status != 1 || !strings.Contains(o.err, "holds no file") {
		t.Errorf("%+v", o)
	}
}
