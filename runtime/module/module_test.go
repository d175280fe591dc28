package module

import (
	"strings"
	"testing"

	"github.com/wasmill/wasmill/functions"
)

// check is what a caller does with code before compiling it.
func check(code []byte) (functions.ABI, *Rewritten, error) {
	m, err := Read(code)
	if err != nil {
		return "", nil, err
	}
	abi, err := m.Grade()
	if err != nil {
		return "", nil, err
	}
	w, err := m.Rewrite()
	return abi, w, err
}

func json(a assembly) []byte { return a.reactor(i64Const(0)).bytes() }

// doing is a module of grade json with a function of this code.
func doing(code ...byte) []byte {
	return json(assembly{funcs: []fn{{code: code}}, tables: [][]byte{{0x70, 0, 1}}})
}

func importing(module, name, params, results string) assembly {
	a := assembly{}
	a.imports = [][]byte{imports(module, name, kindFunc, a.typ(params, results))}
	return a
}

func TestCodeIsRefusedInWordsThatSayWhatToChange(t *testing.T) {
	whole := json(assembly{})
	raw := func(sections ...[]byte) []byte {
		return cat([]byte("\x00asm\x01\x00\x00\x00"), cat(sections...))
	}
	one := 1
	tests := []struct {
		name string
		code []byte
		want string
	}{
		{"nothing", nil, "not a WebAssembly module"},
		{"text", []byte("package main"), "wasmill build"},
		{"component", []byte("\x00asm\x0d\x00\x01\x00\x00"), "GOOS=wasip1"},
		{"another version", []byte("\x00asm\x02\x00\x00\x00"), "version 02000000"},
		{"cut off", whole[:len(whole)/2], "build or copy it again"},
		{"cut in the header", whole[:6], "build or copy it again"},
		{"no sections", raw(), "does not export its memory"},
		{"sections out of order", raw(sectionOf(sectionMemory, []byte{1, 0, 1}), sectionOf(sectionTable, []byte{1, 0x70, 0, 1})), "not in order"},
		{"a section twice", raw(sectionOf(sectionMemory, []byte{0}), sectionOf(sectionMemory, []byte{0})), "not in order"},
		{"a section longer than its content", raw(sectionOf(sectionMemory, []byte{1, 0, 1, 0})), "build or copy it again"},
		{"exception handling", raw(sectionOf(13, []byte{1, 0, 0})), "exception handling"},
		{"garbage collection", raw(sectionOf(sectionType, []byte{1, 0x5f, 0})), "garbage collection"},
		{"typed references", raw(sectionOf(sectionType, []byte{1, 0x60, 1, 0x64, 0})), "typed references"},
		{"a function without code", raw(sectionOf(sectionType, []byte{1, 0x60, 0, 0}), sectionOf(sectionFunction, []byte{1, 0})), "declares 1 functions and has code for 0"},
		{"code without a function", raw(sectionOf(sectionCode, []byte{1, 2, 0, 0x0b})), "declares 0 functions and has code for 1"},

		{"none of the grades", assembly{funcs: []fn{{name: "add", results: i32, code: i32Const(1)}}}.bytes(), "wasmill build"},
		{"a part of the ABI", assembly{funcs: []fn{{name: "wm_batch", params: i32, results: i64, code: i64Const(0)}}}.bytes(), "wm_abi_version and wm_alloc and wm_json"},
		{"wrong signature", json(assembly{funcs: []fn{{name: "wm_start", results: i64, code: i64Const(0)}}}), "wm_start is () -> (i64), want () -> (i32)"},
		{"unknown import", json(importing("env", "abort", i32, "")), "env.abort"},
		{"built for a browser", json(importing("gojs", "runtime.wasmExit", i32, "")), "GOOS=wasip1"},
		{"draft of WASI", json(importing("wasi_unstable", "fd_write", i32, i32)), "wasm32-wasip1"},
		{"unknown function of WASI", json(importing(WASIModule, "sock_dial", i32, "")), "does not have"},
		{"function of WASI with another signature", json(importing(WASIModule, "proc_exit", i64, "")), "proc_exit as (i64) -> ()"},
		{"unknown function of ours", json(importing(Host, "shell", i32, i32)), "wasmill does not have"},
		{"function of ours with another signature", json(importing(Host, "open", i32, i32)), "(i32, i32, i32) -> (i32)"},
		{"the rewriter's own import", json(importing(Host, YieldName, "", i32)), "only wasmill itself may"},
		{"imported memory", json(assembly{memory: []byte{}, imports: [][]byte{imports(WASIModule, "memory", kindMemory, []byte{0, 1})}}), "not a function"},
		{"memory not exported", json(assembly{memory: []byte{}}), "does not export its memory"},
		{"memory under another name", json(assembly{memName: "mem"}), "does not export its memory"},
		{"two memories", json(assembly{memory: []byte{0, 1, 0, 1}}), "build or copy it again"},
		{"shared memory", json(assembly{memory: []byte{3, 1, 2}}), "without threads"},
		{"64-bit memory", json(assembly{memory: []byte{4, 1}}), "build or copy it again"},
		{"more than 4 GiB", json(assembly{memory: []byte{0, 0x81, 0x80, 4}}), "at most 65536"},
		{"huge table", json(assembly{tables: [][]byte{{0x70, 0, 0x80, 0x80, 0x80, 0x40}}}), "134217728 elements, at most 1048576"},
		{"the rewriter's own export", json(assembly{funcs: []fn{{name: "__wm_fuel", code: nil}}}), "wasmill's own"},
		{"a name exported twice", json(assembly{funcs: []fn{{name: "a"}, {name: "a"}}}), "twice"},
		{"start function with a result", json(assembly{start: &one}), "start function is (i32) -> (i32)"},
		{"data beyond memory", json(assembly{data: [][]byte{active(65530, "1234567")}}), "beyond the 65536 bytes"},
		{"data far beyond memory", json(assembly{data: [][]byte{active(-1, "1234567")}}), "beyond the 65536 bytes"},
		{"computed constant", json(assembly{globals: [][]byte{{0x7f, 0, 0x41, 1, 0x41, 1, 0x6a, 0x0b}}}), "extended constant"},

		{"atomics", doing(0x41, 0, 0xfe, 0x10, 2, 0, 0x1a), "threads"},
		{"tail call", doing(0x12, 0), "tail calls"},
		{"exceptions", doing(0x08, 0), "exception handling"},
		{"legacy exceptions", doing(0x06, 0x40, 0x19, 0x0b), "exception handling"},
		{"objects", doing(0xfb, 0), "garbage collection"},
		{"call of a reference", doing(0x14, 0), "typed function references"},
		{"relaxed SIMD", doing(0xfd, 0x80, 0x02), "relaxed SIMD"},
		{"unknown instruction", doing(0xff), "0xff of an unknown feature"},
		{"unknown behind 0xfc", doing(0xfc, 0x12), "0xfc 0x12"},
		{"code behind its end", doing(0x0b), "goes on behind its end"},
		{"code without an end", doing(0x02, 0x40), "build or copy it again"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, err := check(tt.code); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want … %s", err, tt.want)
			}
		})
	}
}

func TestModuleThatIsCutAnywhereIsRefused(t *testing.T) {
	a, _ := generate(1)
	code := a.bytes()
	whole := map[int]bool{} // cut behind a section it may be a module
	for r := (&reader{b: code, at: 8}); r.len() > 0; r.bytes(r.u32()) {
		whole[r.at] = true
		r.byte()
	}
	refused := 0
	for n := range code {
		if _, err := Read(code[:n]); err == nil && !whole[n] {
			t.Fatalf("cut at %d of %d it is taken", n, len(code))
		} else if err != nil {
			refused++
		}
	}
	if refused < len(code)-len(whole) {
		t.Errorf("%d of %d cuts are refused", refused, len(code))
	}
}

// What a binary refers to beyond its end would be there once it is rewritten.
func TestIndexesBeyondTheEndStayThere(t *testing.T) {
	base := func(code ...byte) assembly {
		a := assembly{types: []Signature{{"", ""}, {i32, i32}}, tables: [][]byte{{0x70, 0, 1}}, globals: [][]byte{mutable(0x7f, i32Const(0))},
			funcs: []fn{{name: "f", code: code}, {name: "g"}}}
		return a
	}
	if _, err := Read(base(0x23, 0, 0x1a, 0x10, 1, 0x41, 0, 0x11, 0, 0).bytes()); err != nil {
		t.Fatal(err) // the last that are there
	}
	declared := base()
	declared.elements = [][]byte{{1, 0, 1, 2}}
	exported := base()
	exported.exports = [][]byte{cat(str("x"), []byte{kindGlobal, 1})}
	constant := base()
	constant.globals = append(constant.globals, []byte{0x7f, 0, 0x23, 1, 0x0b})
	local := base()
	local.funcs[0].code = cat(i32Const(0), i32Const(0), i32Const(1), []byte{0xfc, memoryFill, 0, 0x20, 0, 0x1a})
	undeclared := base(0xd2, 2, 0x1a)
	two := 2
	undeclared.funcs = append(undeclared.funcs, fn{})
	undeclared.start = &two
	for name, a := range map[string]assembly{
		"global":                   base(0x23, 1, 0x1a),
		"function":                 base(0x10, 2),
		"type of a call":           base(0x41, 0, 0x11, 2, 0),
		"type of a block":          base(0x02, 2, 0x0b),
		"local beside the scratch": local,
		"element":                  declared,
		"exported global":          exported,
		"constant":                 constant,
		"label":                    base(0x0c, 1),
		"label of br_table":        base(0x41, 0, 0x0e, 1, 0, 1),
		"table":                    base(0x41, 0, 0x25, 1, 0x1a),
		"reference of start alone": undeclared,
	} {
		if _, err := Read(a.bytes()); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestGradeIsChosenByExports(t *testing.T) {
	batch := fn{name: "wm_batch", params: i32, results: i64, code: i64Const(0)}
	tests := []struct {
		name string
		code []byte
		want functions.ABI
	}{
		{"batch", json(assembly{funcs: []fn{batch}}), functions.ABIBatch},
		{"json", json(assembly{}), functions.ABIJSON},
		{"the ABI goes before a command", json(assembly{funcs: []fn{{name: "_start"}}}), functions.ABIJSON},
		{"command", assembly{funcs: []fn{{name: "_start"}}}.bytes(), functions.ABICommand},
	}
	for _, tt := range tests {
		if abi, w, err := check(tt.code); err != nil || abi != tt.want || !w.Cloneable {
			t.Errorf("%s: %s, %v", tt.name, abi, err)
		}
	}
}

func TestEverythingThatIsOfferedMayBeImported(t *testing.T) {
	a := assembly{}
	for name, s := range WASI {
		a.imports = append(a.imports, imports(WASIModule, name, kindFunc, a.typ(s.Params, s.Results)))
	}
	for name, s := range Imports {
		a.imports = append(a.imports, imports(Host, name, kindFunc, a.typ(s.Params, s.Results)))
	}
	if _, _, err := check(json(a)); err != nil {
		t.Error(err)
	}
}
