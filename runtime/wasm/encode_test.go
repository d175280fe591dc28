package wasm

import (
	"encoding/binary"
	"slices"
)

// An assembly is a small module written down by hand, for what no toolchain
// would build.
type assembly struct {
	imports []asmImport
	funcs   []asmFunc
	memory  []byte // limits; nil: one page, no most
	memName string // "memory" unless told
	table   []byte // limits, or nil
	data    []byte // at address 1024
	global  bool   // it has one, a mutable i32
	start   int    // index of its start function; 0: none
}

func (a assembly) withGlobal() assembly {
	a.global = true
	return a
}

type asmImport struct {
	module, name    string
	params, results string
}

type asmFunc struct {
	name            string // exported under; empty: not
	params, results string
	code            []byte // without the final end
}

const (
	i32 = "\x7f"
	i64 = "\x7e"

	kindFunc, kindMemory = 0, 2

	dataAt      = 1024
	unreachable = 0x00
)

func leb(v uint64) []byte { return binary.AppendUvarint(nil, v) }

func sleb(v int64) (b []byte) {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func i32Const(v int32) []byte { return append([]byte{0x41}, sleb(int64(v))...) }
func i64Const(v int64) []byte { return append([]byte{0x42}, sleb(v)...) }
func call(f int) []byte       { return append([]byte{0x10}, leb(uint64(f))...) }

func str(s string) []byte { return append(leb(uint64(len(s))), s...) }

func vector(items ...[]byte) []byte {
	return append(leb(uint64(len(items))), slices.Concat(items...)...)
}

func sectionOf(id byte, body []byte) []byte {
	return slices.Concat([]byte{id}, leb(uint64(len(body))), body)
}

func (a assembly) bytes() []byte {
	var types, imports, funcs, exports, code [][]byte
	typ := func(params, results string) []byte {
		types = append(types, slices.Concat([]byte{0x60}, str(params), str(results)))
		return leb(uint64(len(types) - 1))
	}
	for _, i := range a.imports {
		imports = append(imports, slices.Concat(str(i.module), str(i.name), []byte{kindFunc}, typ(i.params, i.results)))
	}
	for n, f := range a.funcs {
		funcs = append(funcs, typ(f.params, f.results))
		body := slices.Concat([]byte{0}, f.code, []byte{0x0b})
		code = append(code, append(leb(uint64(len(body))), body...))
		if f.name != "" {
			exports = append(exports, slices.Concat(str(f.name), []byte{kindFunc}, leb(uint64(len(a.imports)+n))))
		}
	}
	memory := a.memory
	if memory == nil {
		memory = []byte{0, 1}
	}
	name := a.memName
	if name == "" {
		name = "memory"
	}
	exports = append(exports, slices.Concat(str(name), []byte{kindMemory, 0}))
	b := []byte("\x00asm\x01\x00\x00\x00")
	b = append(b, sectionOf(1, vector(types...))...)
	b = append(b, sectionOf(2, vector(imports...))...)
	b = append(b, sectionOf(3, vector(funcs...))...)
	if a.table != nil {
		b = append(b, sectionOf(4, vector(append([]byte{0x70}, a.table...)))...)
	}
	b = append(b, sectionOf(5, vector(memory))...)
	if a.global {
		b = append(b, sectionOf(6, vector([]byte{0x7f, 1, 0x41, 0, 0x0b}))...)
	}
	b = append(b, sectionOf(7, vector(exports...))...)
	if a.start > 0 {
		b = append(b, sectionOf(8, leb(uint64(a.start)))...)
	}
	b = append(b, sectionOf(10, vector(code...))...)
	if a.data != nil {
		b = append(b, sectionOf(11, vector(slices.Concat([]byte{0}, i32Const(dataAt), []byte{0x0b}, str(string(a.data)))))...)
	}
	return b
}

const (
	nothingReturned = "WMR1\x01\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00"
	notUnderstood   = "WMR1\x01\x00\x02\x00\x10\x00\x00\x00\x00\x00\x00\x00"
)

// returns is code that returns the data as response.
func returns(n int) []byte { return i64Const(dataAt<<32 | int64(n)) }

// reactor is a module of grade json whose wm_json is code.
func (a assembly) reactor(code []byte) assembly {
	a.funcs = append([]asmFunc{
		{"wm_abi_version", "", i32, i32Const(1)},
		{"wm_alloc", i32, i32, i32Const(4096)},
		{"wm_json", i32, i64, code},
	}, a.funcs...)
	return a
}
