package module

import (
	"encoding/binary"
	"slices"
)

// An assembly is a module written down by hand, for what no toolchain builds.
type assembly struct {
	types    []Signature
	imports  [][]byte // whole items
	funcs    []fn
	tables   [][]byte
	memory   []byte // limits; nil: one page; empty: none
	globals  [][]byte
	exports  [][]byte // beside those of functions and of memory
	start    *int
	elements [][]byte
	count    bool // of data segments
	data     [][]byte
	custom   [][]byte // behind all others: name, content
	memName  string
}

type fn struct {
	name            string // exported under; empty: not
	params, results string
	locals          []byte // groups; nil: none
	code            []byte // without the final end
}

func cat(parts ...[]byte) []byte            { return slices.Concat(parts...) }
func leb(v uint64) []byte                   { return binary.AppendUvarint(nil, v) }
func i32Const(v int32) []byte               { return appendSigned([]byte{0x41}, int64(v)) }
func i64Const(v int64) []byte               { return appendSigned([]byte{0x42}, v) }
func str(s string) []byte                   { return append(leb(uint64(len(s))), s...) }
func vec(items ...[]byte) []byte            { return cat(leb(uint64(len(items))), cat(items...)) }
func sectionOf(id byte, body []byte) []byte { return cat([]byte{id}, leb(uint64(len(body))), body) }

func imports(module, name string, kind byte, desc []byte) []byte {
	return cat(str(module), str(name), []byte{kind}, desc)
}

// functionsImported counts imports of functions.
func (a *assembly) functionsImported() (n int) {
	for _, i := range a.imports {
		r := &reader{b: i}
		r.name()
		r.name()
		if r.byte() == kindFunc {
			n++
		}
	}
	return n
}

// typ is the index of a type, added if need be.
func (a *assembly) typ(params, results string) []byte {
	s := Signature{params, results}
	i := slices.Index(a.types, s)
	if i < 0 {
		i = len(a.types)
		a.types = append(a.types, s)
	}
	return leb(uint64(i))
}

func (a assembly) bytes() []byte {
	var types, funcs, code [][]byte
	exports := slices.Clone(a.exports)
	first := a.functionsImported()
	for n, f := range a.funcs {
		funcs = append(funcs, a.typ(f.params, f.results))
		locals := f.locals
		if locals == nil {
			locals = []byte{0}
		}
		body := cat(locals, f.code, []byte{0x0b})
		code = append(code, append(leb(uint64(len(body))), body...))
		if f.name != "" {
			exports = append(exports, cat(str(f.name), []byte{kindFunc}, leb(uint64(first+n))))
		}
	}
	for _, s := range a.types {
		types = append(types, cat([]byte{0x60}, str(s.Params), str(s.Results)))
	}
	memory := a.memory
	if memory == nil {
		memory = []byte{0, 1}
	}
	b := []byte("\x00asm\x01\x00\x00\x00")
	add := func(id byte, items [][]byte) {
		if len(items) > 0 {
			b = append(b, sectionOf(id, vec(items...))...)
		}
	}
	add(sectionType, types)
	add(sectionImport, a.imports)
	add(sectionFunction, funcs)
	add(sectionTable, a.tables)
	if len(memory) > 0 {
		add(sectionMemory, [][]byte{memory})
		name := a.memName
		if name == "" {
			name = "memory"
		}
		exports = append(exports, cat(str(name), []byte{kindMemory, 0}))
	}
	add(sectionGlobal, a.globals)
	add(sectionExport, exports)
	if a.start != nil {
		b = append(b, sectionOf(sectionStart, leb(uint64(*a.start)))...)
	}
	add(sectionElement, a.elements)
	if a.count {
		b = append(b, sectionOf(sectionDataCount, leb(uint64(len(a.data))))...)
	}
	add(sectionCode, code)
	add(sectionData, a.data)
	for _, c := range a.custom {
		b = append(b, sectionOf(sectionCustom, c)...)
	}
	return b
}

// reactor is a module of grade json whose wm_json is code.
func (a assembly) reactor(code []byte) assembly {
	a.funcs = append([]fn{
		{name: "wm_abi_version", results: i32, code: i32Const(1)},
		{name: "wm_alloc", params: i32, results: i32, code: i32Const(4096)},
		{name: "wm_json", params: i32, results: i64, code: code},
	}, a.funcs...)
	return a
}

func active(offset int32, data string) []byte {
	return cat([]byte{0}, i32Const(offset), []byte{0x0b}, str(data))
}

func passive(data string) []byte { return cat([]byte{1}, str(data)) }

func mutable(kind byte, value []byte) []byte { return cat([]byte{kind, 1}, value, []byte{0x0b}) }
