package wasm

import (
	"bytes"
	"errors"
	"fmt"
	"math"
)

// A module is what of a WASM binary must be known before it is compiled, so
// that code that cannot run here is refused in microseconds and in words that
// say what to change. Whether its instructions are valid the compiler tells.
type module struct {
	types    []signature
	funcs    []uint32 // type index of each function, imported ones first
	imports  []imported
	exports  map[string]exported
	memories []limits // imported ones first
	tables   []limits
}

// A signature is a function type: parameters, then results, as value type bytes.
type signature struct{ params, results string }

func (s signature) String() string {
	return fmt.Sprintf("(%s) -> (%s)", typeNames(s.params), typeNames(s.results))
}

func typeNames(types string) string {
	var out []byte
	for i, t := range []byte(types) {
		if i > 0 {
			out = append(out, ", "...)
		}
		switch t {
		case 0x7f:
			out = append(out, "i32"...)
		case 0x7e:
			out = append(out, "i64"...)
		case 0x7d:
			out = append(out, "f32"...)
		case 0x7c:
			out = append(out, "f64"...)
		default:
			out = fmt.Appendf(out, "type 0x%x", t)
		}
	}
	return string(out)
}

type imported struct {
	module, name string
	kind         byte
	sig          signature // of a function
}

type exported struct {
	kind  byte
	index uint32
}

const (
	kindFunc = iota
	kindTable
	kindMemory
	kindGlobal
)

// limits are of a memory in pages of 64 KiB, of a table in elements.
type limits struct {
	min, max uint64
	shared   bool
}

var (
	errNotWASM   = errors.New("not a WebAssembly module: it does not begin with \"\\0asm\"; hand in the .wasm file, for Go the one that `wasmill build` writes")
	errComponent = errors.New("a WebAssembly component (WASI 0.2), which cannot run here; build a core module for WASI preview 1 instead: GOOS=wasip1 for Go, target wasm32-wasip1 for Rust and C, no componentize step for others")
	errCut       = errors.New("not a whole WebAssembly module: it ends or is damaged in the middle; build or copy it again")
)

// parse reads the sections of code that matter before compiling.
func parse(code []byte) (*module, error) {
	if !bytes.HasPrefix(code, []byte("\x00asm")) {
		return nil, errNotWASM
	}
	if len(code) < 8 {
		return nil, errCut
	}
	if code[6] == 1 && code[7] == 0 { // the layer: 0 module, 1 component
		return nil, errComponent
	}
	if !bytes.Equal(code[4:8], []byte{1, 0, 0, 0}) {
		return nil, fmt.Errorf("version %x of WebAssembly, want 1", code[4:8])
	}
	m := &module{exports: map[string]exported{}}
	r := &reader{b: code[8:]}
	for len(r.b) > 0 && !r.bad {
		id := r.byte()
		s := &reader{b: r.bytes(r.u32())}
		switch id {
		case 1:
			m.readTypes(s)
		case 2:
			m.readImports(s)
		case 3:
			for n := s.count(); n > 0; n-- {
				m.funcs = append(m.funcs, s.u32())
			}
		case 4:
			for n := s.count(); n > 0; n-- {
				s.byte() // reference type
				m.tables = append(m.tables, s.limits())
			}
		case 5:
			for n := s.count(); n > 0; n-- {
				m.memories = append(m.memories, s.limits())
			}
		case 7:
			for n := s.count(); n > 0; n-- {
				name := string(s.bytes(s.u32()))
				m.exports[name] = exported{s.byte(), s.u32()}
			}
		}
		r.bad = r.bad || s.bad
	}
	if r.bad {
		return nil, errCut
	}
	return m, nil
}

func (m *module) readTypes(r *reader) {
	for n := r.count(); n > 0; n-- {
		if r.byte() != 0x60 { // a type of a proposal the engine does not have; it will say so
			r.b = nil
			return
		}
		m.types = append(m.types, signature{string(r.bytes(r.u32())), string(r.bytes(r.u32()))})
	}
}

func (m *module) readImports(r *reader) {
	for n := r.count(); n > 0; n-- {
		i := imported{module: string(r.bytes(r.u32())), name: string(r.bytes(r.u32())), kind: r.byte()}
		switch i.kind {
		case kindFunc:
			t := r.u32()
			i.sig = m.typeAt(t)
			m.funcs = append(m.funcs, t)
		case kindTable:
			r.byte()
			m.tables = append(m.tables, r.limits())
		case kindMemory:
			m.memories = append(m.memories, r.limits())
		case kindGlobal:
			r.byte()
			r.byte()
		default:
			r.bad = true
		}
		m.imports = append(m.imports, i)
	}
}

func (m *module) typeAt(i uint32) signature {
	if uint64(i) < uint64(len(m.types)) {
		return m.types[i]
	}
	return signature{}
}

// function is the signature of an exported function.
func (m *module) function(name string) (signature, bool) {
	e, ok := m.exports[name]
	if !ok || e.kind != kindFunc || uint64(e.index) >= uint64(len(m.funcs)) {
		return signature{}, false
	}
	return m.typeAt(m.funcs[e.index]), true
}

// A reader takes LEB128 numbers and bytes off b; bad once anything was missing.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) bytes(n uint32) []byte {
	if uint64(n) > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) u64() (v uint64) {
	for shift := 0; shift < 64; shift += 7 {
		c := r.byte()
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
	r.bad = true
	return 0
}

func (r *reader) u32() uint32 {
	v := r.u64()
	if v > math.MaxUint32 {
		r.bad = true
		return 0
	}
	return uint32(v)
}

// count is the number of items that follow, at least a byte each.
func (r *reader) count() int {
	n := r.u32()
	if uint64(n) > uint64(len(r.b)) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *reader) limits() limits {
	flags := r.byte()
	l := limits{min: r.u64(), max: math.MaxUint64, shared: flags&2 != 0}
	if flags&1 != 0 {
		l.max = r.u64()
	}
	return l
}
