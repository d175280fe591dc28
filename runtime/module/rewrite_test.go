package module

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero/api"
)

func TestWhatIsTakenOutOfAModule(t *testing.T) {
	two := 2
	a := assembly{
		imports: [][]byte{},
		memory:  []byte{1, 2, 7},
		globals: [][]byte{mutable(0x7f, i32Const(5)), {0x7e, 0, 0x42, 1, 0x0b}, mutable(0x7c, []byte{0x44, 0, 0, 0, 0, 0, 0, 0, 0})},
		data:    [][]byte{active(70000, "first"), active(0, ""), active(131070, "x")},
		funcs:   []fn{{name: "f", results: i32, code: []byte{0x23, 0}}, {name: "memory size", results: i32, code: []byte{0x3f, 0}}, {code: cat(i32Const(9), []byte{0x24, 0})}},
		start:   &two,
		custom:  [][]byte{cat(str("producers"), []byte("a compiler that is not named again"))},
	}
	code := a.bytes()
	w := rewrite(t, code)
	if w.Min != 2 || w.Max != 7 || !w.Cloneable || w.Why != "" {
		t.Errorf("%d to %d pages, cloneable %v %s", w.Min, w.Max, w.Cloneable, w.Why)
	}
	if !slices.Equal(w.Globals, []string{"__wm_g0", "__wm_g2"}) {
		t.Errorf("globals %v", w.Globals)
	}
	want := []Segment{{70000, []byte("first")}, {0, nil}, {131070, []byte("x")}}
	if fmt.Sprint(w.Segments) != fmt.Sprint(want) {
		t.Errorf("segments %v", w.Segments)
	}
	if bytes.Contains(w.Code, []byte("first")) || bytes.Contains(w.Code, []byte("producers")) {
		t.Error("data or custom sections are left in the code")
	}
	if again := rewrite(t, code); !bytes.Equal(again.Code, w.Code) {
		t.Error("rewritten twice it is not the same")
	}

	e := newEngine(t, compiler(), 100)
	r, err := e.start(w.Code)
	if err != nil {
		t.Fatal(err)
	}
	if out, trap := r.call("f"); trap != "" || out[0] != 5 {
		t.Errorf("before the start function ran: %v %s", out, trap)
	}
	if _, trap := r.call(w.Start); trap != "" {
		t.Error(trap)
	}
	if v := r.ExportedGlobal(w.Globals[0]).Get(); v != 9 {
		t.Errorf("after the start function: %d", v)
	}
	r.ExportedGlobal(w.Globals[0]).(api.MutableGlobal).Set(11) // as a clone does
	if out, _ := r.call("f"); out[0] != 11 {
		t.Errorf("after setting the global: %v", out)
	}
}

func TestStateBesideMemoryAndGlobalsKeepsAModuleFromBeingCloned(t *testing.T) {
	with := func(code ...byte) assembly {
		return assembly{funcs: []fn{{name: "f", code: code}}, tables: [][]byte{{0x70, 0, 1}}, elements: [][]byte{{1, 0, 1, 0}}, count: true, data: [][]byte{active(7, "data"), passive("x")}}
	}
	global := func(kind byte, value ...byte) assembly {
		a := with()
		a.globals = [][]byte{mutable(kind, value)}
		return a
	}
	foreign := with()
	foreign.imports = [][]byte{imports("test", "g", kindGlobal, []byte{0x7f, 0})}
	foreign.data[0] = []byte{0, 0x23, 0, 0x0b, 1, 'd'}
	tests := []struct {
		name string
		a    assembly
		why  string // nothing: it can be cloned
	}{
		{"memory alone", with(0x41, 0, 0x41, 0, 0x41, 1, 0xfc, memoryInit, 1, 0), ""},
		{"table.get and table.size", with(0x41, 0, 0x25, 0, 0x1a, 0xfc, tableSize, 0, 0x1a), ""},
		{"table.set", with(0x41, 0, 0xd0, 0x70, 0x26, 0), `function 0 ("f") changes tables or segments (table.set)`},
		{"table.grow", with(0xd0, 0x70, 0x41, 0, 0xfc, tableGrow, 0, 0x1a), "table.grow"},
		{"table.fill", with(0x41, 0, 0xd0, 0x70, 0x41, 0, 0xfc, tableFill, 0), "table.fill"},
		{"table.copy", with(0x41, 0, 0x41, 0, 0x41, 0, 0xfc, tableCopy, 0, 0), "table.copy"},
		{"table.init", with(0x41, 0, 0x41, 0, 0x41, 0, 0xfc, tableInit, 0, 0), "table.init"},
		{"elem.drop", with(0xfc, elemDrop, 0), "elem.drop"},
		{"data.drop", with(0xfc, dataDrop, 1), "data.drop"},
		{"a reference that changes", global(0x70, 0xd0, 0x70), "global 0 is a funcref that changes"},
		{"a vector that changes", global(0x7b, append([]byte{0xfd, 12}, make([]byte, 16)...)...), "v128"},
		{"a number that changes", global(0x7d, 0x43, 0, 0, 0, 0), ""},
		{"data where another says", foreign, "data segment 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := rewrite(t, tt.a.bytes())
			if w.Cloneable != (tt.why == "") || !strings.Contains(w.Why, tt.why) {
				t.Errorf("cloneable %v: %s", w.Cloneable, w.Why)
			}
			if w.Cloneable != (len(w.Segments) > 0) {
				t.Errorf("%d segments taken out", len(w.Segments))
			}
			if len(tt.a.imports) > 0 {
				return
			}
			r, err := newEngine(t, compiler(), 100).startRewritten(w)
			if err != nil {
				t.Fatal(err)
			}
			if b, _ := r.Memory().Read(7, 4); string(b) != "data" {
				t.Errorf("memory begins with %q", b)
			}
			if _, trap := r.call("f"); trap != "" {
				t.Error(trap)
			}
		})
	}
}

func TestTablesDoNotGrowWithoutBound(t *testing.T) {
	for _, limits := range [][]byte{{0x70, 0, 1}, {0x70, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f}} {
		a := assembly{tables: [][]byte{limits}, funcs: []fn{
			{name: "grow", params: i32, results: i32, code: []byte{0xd0, 0x70, 0x20, 0, 0xfc, tableGrow, 0}},
		}}
		r, err := newEngine(t, compiler(), 100).startRewritten(rewrite(t, a.bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if out, _ := r.call("grow", 1<<28); int32(out[0]) != -1 {
			t.Errorf("grown by 2^28: %d", int32(out[0]))
		}
		if out, _ := r.call("grow", 1<<20-1); out[0] != 1 {
			t.Errorf("grown to 2^20: %d", int32(out[0]))
		}
	}
}

func TestTracesNameTheRightFunctions(t *testing.T) {
	names := cat([]byte{3, 0}, str("test.add"), []byte{1}, str("caller"), []byte{2}, str("culprit"))
	a := assembly{custom: [][]byte{cat(str("name"), sectionOf(0, str("m")), sectionOf(1, names))}}
	a.imports = [][]byte{imports("test", "add", kindFunc, a.typ(i32+i32, i32))}
	a.funcs = []fn{{name: "f", code: []byte{0x10, 2}}, {code: []byte{0x00}}}
	r, err := newEngine(t, compiler(), 100).startRewritten(rewrite(t, a.bytes()))
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.ExportedFunction("f").Call(context.Background())
	if err == nil || !strings.Contains(err.Error(), ".culprit()\n\t.caller()") {
		t.Errorf("%v", err)
	}
}
