// Package module reads WebAssembly binaries, says whether and how they can be
// called here, and rewrites them into what the engine compiles.
//
// [Read] takes a binary apart and refuses what could not run, and what would
// take the compiler longer than its size lets expect. [Module.Grade] holds what
// it imports and exports against docs/abi.md. [Module.Rewrite] builds the binary
// that is compiled: it counts its steps and calls the host when they are used
// up, and everything that makes up the state of an instance can be read and set
// from outside, so that an instance can be copied.
//
// The package is bytes in, bytes out. It starts nothing, knows no engine, and
// does not check types: whether instructions fit together the compiler tells,
// of the rewritten module exactly as it would of the original.
package module

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Version tells rewritten modules of different makes of this package apart. It
// belongs into the key of whatever is kept of them.
const Version = "2"

// Names that a rewritten module has beside its own.
const (
	// Host is the module that wasmill's own functions are imported from.
	Host = "wasmill"
	// YieldName is the function of Host, () -> (i32), that is called when the
	// fuel is used up. What it returns is the new fuel. Only the rewriter may
	// import it.
	YieldName = "yield"
	// FuelName is the exported global, an i32, that counts down.
	FuelName = prefix + "fuel"

	prefix = "__wm_" // of exports that belong to the rewriter
)

// A Module is a WebAssembly binary taken apart.
type Module struct {
	types           []Signature
	funcs           []uint32 // type index of each function, imported ones first
	imports         []imported
	importedFuncs   uint32
	importedGlobals uint32
	tables          []table // imported ones first, as all others
	importedTables  int
	memories        []limits
	importedMemory  bool
	globals         []global
	exports         map[string]exported
	start           *uint32
	elements        int
	dataCount       *uint32
	segments        []segment
	bodies          int

	// Items of sections, for the binary to come: without their count, function
	// indexes already moved on by the one function more that is imported.
	raw struct {
		types, imports, funcs, globals, exports, elements, code, names []byte
		named                                                          int
	}
	declared map[uint32]bool // functions that ref.func may name
	uses     uses
}

// A Signature is a function type: parameters, then results, as value type bytes.
type Signature struct{ Params, Results string }

func (s Signature) String() string {
	return fmt.Sprintf("(%s) -> (%s)", typeNames(s.Params), typeNames(s.Results))
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
		case 0x7b:
			out = append(out, "v128"...)
		case 0x70:
			out = append(out, "funcref"...)
		case 0x6f:
			out = append(out, "externref"...)
		default:
			out = fmt.Appendf(out, "type 0x%x", t)
		}
	}
	return string(out)
}

type imported struct {
	module, name string
	kind         byte
	sig          Signature // of a function
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

type table struct {
	kind byte
	limits
}

type global struct {
	kind    byte
	mutable bool
}

// segment is a data segment.
type segment struct {
	passive bool
	offset  uint32
	global  *uint32 // it begins where this imported global says
	data    []byte
}

// Sections by number.
const (
	sectionCustom = iota
	sectionType
	sectionImport
	sectionFunction
	sectionTable
	sectionMemory
	sectionGlobal
	sectionExport
	sectionStart
	sectionElement
	sectionCode
	sectionData
	sectionDataCount
)

var (
	errNotWASM   = errors.New("not a WebAssembly module: it does not begin with \"\\0asm\"; hand in the .wasm file, for Go the one that `wasmill build` writes")
	errComponent = errors.New("a WebAssembly component (WASI 0.2), which cannot run here; build a core module for WASI preview 1 instead: GOOS=wasip1 for Go, target wasm32-wasip1 for Rust and C, no componentize step for others")
	errCut       = errors.New("not a whole WebAssembly module: it ends or is damaged in the middle; build or copy it again")
)

// Read takes code apart. Its errors say what is wrong with the code and what to
// change. The module refers to code, which must not be changed any more.
func Read(code []byte) (*Module, error) {
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
	m := &Module{exports: map[string]exported{}, declared: map[uint32]bool{}}
	r := &reader{b: code, at: 8}
	last, names := 0, (*reader)(nil)
	for r.len() > 0 {
		id := r.byte()
		s := &reader{b: r.bytes(r.u32())}
		if r.bad {
			return nil, errCut
		}
		if id == sectionCustom {
			// Tools append these at will and no order is given for them.
			if name := s.name(); !s.bad && name == "name" && names == nil {
				names = s // once the imports are known
			} else if s.bad || !utf8.ValidString(name) || name == "name" {
				return nil, errCut
			}
			continue
		}
		place := slices.Index(order, id)
		if place < 0 {
			return nil, fmt.Errorf("it has a section of kind %d, which WebAssembly 2.0 does not have; build it without exception handling and other newer features", id)
		}
		if place <= last {
			return nil, errors.New("its sections are not in order, so whatever wrote it is broken; build it again")
		}
		last = place
		if err := m.section(id, s); err != nil {
			return nil, err
		}
		if s.bad || s.len() > 0 {
			return nil, errCut
		}
	}
	if names != nil {
		m.readNames(names)
	}
	if err := m.whole(); err != nil {
		return nil, err
	}
	return m, nil
}

// order is that of sections in a binary; the first never occurs.
var order = []byte{sectionCustom, sectionType, sectionImport, sectionFunction, sectionTable, sectionMemory, sectionGlobal,
	sectionExport, sectionStart, sectionElement, sectionDataCount, sectionCode, sectionData}

// whole checks what sections say about each other.
func (m *Module) whole() error {
	if n := len(m.funcs) - int(m.importedFuncs); n != m.bodies {
		return fmt.Errorf("it declares %d functions and has code for %d, so whatever wrote it is broken; build it again", n, m.bodies)
	}
	if m.dataCount != nil && int64(*m.dataCount) != int64(len(m.segments)) {
		return fmt.Errorf("it declares %d data segments and has %d, so whatever wrote it is broken; build it again", *m.dataCount, len(m.segments))
	}
	return nil
}

func (m *Module) section(id byte, r *reader) error {
	switch id {
	case sectionType:
		return m.readTypes(r)
	case sectionImport:
		return m.readImports(r)
	case sectionFunction:
		return m.readFunctions(r)
	case sectionTable:
		return m.readTables(r)
	case sectionMemory:
		return m.readMemories(r)
	case sectionGlobal:
		return m.readGlobals(r)
	case sectionExport:
		return m.readExports(r)
	case sectionStart:
		return m.readStart(r)
	case sectionElement:
		return m.readElements(r)
	case sectionDataCount:
		n := r.u32()
		m.dataCount = &n
		return nil
	case sectionCode:
		return m.readCode(r)
	default:
		return m.readData(r)
	}
}

// signature is that of function i.
func (m *Module) signature(i uint32) (Signature, bool) {
	if uint64(i) >= uint64(len(m.funcs)) {
		return Signature{}, false
	}
	return m.types[m.funcs[i]], true
}

// function is the signature of an exported function.
func (m *Module) function(name string) (Signature, bool) {
	e, ok := m.exports[name]
	if !ok || e.kind != kindFunc {
		return Signature{}, false
	}
	return m.signature(e.index)
}

// moved is the index of function i in the rewritten module, where yield is the
// last of the imported ones.
func (m *Module) moved(i uint32) uint32 {
	if i >= m.importedFuncs {
		i++
	}
	return i
}
