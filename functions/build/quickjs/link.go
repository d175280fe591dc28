// Package quickjs makes one WebAssembly module of a JavaScript program and of
// QuickJS, the engine that npm's package quickjs-wasi holds as quickjs.wasm.
//
// The engine expects six functions of its host, which ours does not have, and
// knows nothing of the guest ABI. [Link] adds both: adapter.wat, assembled here,
// is written behind the engine's own functions, takes the place of the six
// imports, and exports the calls of docs/abi.md. The program and prelude.js, what
// it finds as console, process, Buffer and so on, lie in passive data segments
// and are evaluated by wm_start, so that an image taken then has them ready.
//
// The engine is read as far as that needs: its functions are numbered anew
// where they are called, and nothing else of them is changed.
package quickjs

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Engine is the npm package with the engine, and the version tested here.
const (
	Engine        = "quickjs-wasi"
	EngineVersion = "3.6.2"
)

// ErrEngine means that an engine is not one that a program can be linked with.
var ErrEngine = errors.New("this quickjs.wasm cannot be used")

var (
	//go:embed adapter.wat
	adapter string
	//go:embed prelude.js
	prelude []byte
)

// Link makes a module of grade json. Program is the text of an ECMAScript module
// that stands alone and hands its exports to globalThis.wasmill.register. Engine
// is quickjs.wasm; errors that wrap [ErrEngine] are its fault.
func Link(engine, program []byte) ([]byte, error) {
	m, err := parse(engine)
	if err != nil {
		return nil, fmt.Errorf("%w: %w; take %s %s", ErrEngine, err, Engine, EngineVersion)
	}
	p, err := read(adapter)
	if err != nil {
		return nil, err
	}
	l := &linker{module: m, program: p, numbers: map[string]uint32{}}
	if err := l.number(); err != nil {
		return nil, fmt.Errorf("%w: %w; take %s %s", ErrEngine, err, Engine, EngineVersion)
	}
	return l.write(program)
}

// linker gives everything its place in the new module.
type linker struct {
	*module
	program *program
	imports []importing       // of the new module, functions first
	moved   []uint32          // the new number of each of the engine's functions
	numbers map[string]uint32 // of the adapter's functions, own and external
}

// number lays out the new index space: imports, the engine's functions, ours.
func (l *linker) number() error {
	serving := map[string]*function{}
	for _, f := range l.program.functions {
		if f.serves != "" {
			serving[f.serves] = f
		}
	}
	kept := map[int]uint32{} // the engine's imports that stay, and their new numbers
	for i, imp := range l.module.imports {
		if imp.module != "env" {
			kept[i] = uint32(len(l.imports))
			l.imports = append(l.imports, imp)
			continue
		}
		f := serving[imp.name]
		if f == nil {
			return fmt.Errorf("it wants %s.%s of its host", imp.module, imp.name)
		}
		if f.sig != l.types[imp.sig] {
			return fmt.Errorf("it wants %s.%s of its host with other parameters", imp.module, imp.name)
		}
	}
	for _, f := range l.program.functions {
		if f.from[0] == "" {
			continue
		}
		at := slices.IndexFunc(l.imports, func(i importing) bool { return i.module == f.from[0] && i.name == f.from[1] })
		if at < 0 {
			at = len(l.imports)
			l.imports = append(l.imports, importing{f.from[0], f.from[1], l.typed(f.sig)})
		}
		l.numbers[f.name] = uint32(at)
	}
	old, now := len(l.module.imports), len(l.imports)
	next := uint32(now + len(l.functions))
	for _, f := range l.program.functions {
		if !f.external() {
			l.numbers[f.name] = next
			next++
		}
	}
	for i, imp := range l.module.imports {
		if n, ok := kept[i]; ok {
			l.moved = append(l.moved, n)
		} else {
			l.moved = append(l.moved, l.numbers[serving[imp.name].name])
		}
	}
	for i := range l.functions {
		l.moved = append(l.moved, uint32(now+i))
	}
	for _, f := range l.program.functions {
		if f.engine == "" {
			continue
		}
		n, ok := l.exports[f.engine]
		if !ok || int(n) < old || int(n) >= len(l.moved) {
			return fmt.Errorf("it exports no %s", f.engine)
		}
		if l.types[l.functions[int(n)-old]] != f.sig {
			return fmt.Errorf("its %s has other parameters", f.engine)
		}
		l.numbers[f.name] = l.moved[n]
	}
	if _, ok := l.exports["_initialize"]; !ok {
		return errors.New("it exports no _initialize")
	}
	return nil
}

// typed is the number of a signature, which is added where it is new.
func (l *linker) typed(s signature) uint32 {
	at := slices.Index(l.types, s)
	if at < 0 {
		at = len(l.types)
		l.types = append(l.types, s)
	}
	return uint32(at)
}

// write puts the new module together.
func (l *linker) write(program []byte) ([]byte, error) {
	segments := []struct {
		name string
		data []byte
	}{{"@strings", l.program.strings}, {"@prelude", prelude}, {"@program", program}}
	s := symbols{
		function:  func(name string) (uint32, bool) { n, ok := l.numbers[name]; return n, ok },
		constants: map[string]uint32{}, segments: map[string]uint32{}, offsets: l.program.offsets,
		global: func(name string) (uint32, bool) {
			at := slices.Index(l.program.globals, name)
			return uint32(l.globals.count + at), at >= 0
		},
	}
	data := slices.Clone(l.data.body)
	for i, seg := range segments {
		s.constants[seg.name], s.segments[seg.name] = uint32(len(seg.data)), uint32(l.data.count+i)
		data = append(data, 1) // passive
		data = append(binary.AppendUvarint(data, uint64(len(seg.data))), seg.data...)
	}

	var functions, bodies []byte
	added := 0
	for _, n := range l.functions {
		functions = binary.AppendUvarint(functions, uint64(n))
	}
	for i, b := range l.bodies {
		moved, err := l.move(b)
		if err != nil {
			return nil, fmt.Errorf("%w: function %d: %w; take %s %s", ErrEngine, i, err, Engine, EngineVersion)
		}
		bodies = append(binary.AppendUvarint(bodies, uint64(len(moved))), moved...)
	}
	exports := [][]byte{exported("memory", 2, 0), exported("_initialize", 0, l.moved[l.exports["_initialize"]])}
	for _, f := range l.program.functions {
		if f.external() {
			continue
		}
		body, err := f.assemble(s)
		if err != nil {
			return nil, err
		}
		functions = binary.AppendUvarint(functions, uint64(l.typed(f.sig)))
		bodies = append(binary.AppendUvarint(bodies, uint64(len(body))), body...)
		added++
		if f.export != "" {
			exports = append(exports, exported(f.export, 0, l.numbers[f.name]))
		}
	}
	globals := slices.Clone(l.globals.body)
	for range l.program.globals {
		globals = append(globals, 0x7f, 1, 0x41, 0, 0x0b)
	}
	elements, err := l.elements(l.module.elements)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEngine, err)
	}

	out := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, count int, body []byte) {
		if count == 0 {
			return
		}
		content := append(binary.AppendUvarint(nil, uint64(count)), body...)
		out = append(out, id)
		out = append(binary.AppendUvarint(out, uint64(len(content))), content...)
	}
	var types, imports []byte
	for _, t := range l.types {
		types = append(types, 0x60)
		for _, list := range []string{t.params, t.results} {
			types = append(binary.AppendUvarint(types, uint64(len(list))), list...)
		}
	}
	for _, i := range l.imports {
		imports = append(appendText(appendText(imports, i.module), i.name), 0)
		imports = binary.AppendUvarint(imports, uint64(i.sig))
	}
	section(1, len(l.types), types)
	section(2, len(l.imports), imports)
	section(3, len(l.functions)+added, functions)
	section(4, l.tables.count, l.tables.body)
	section(5, l.memories.count, l.memories.body)
	section(6, l.globals.count+len(l.program.globals), globals)
	section(7, len(exports), slices.Concat(exports...))
	section(9, l.module.elements.count, elements)
	out = append(out, 12)
	count := binary.AppendUvarint(nil, uint64(l.data.count+len(segments)))
	out = append(append(out, byte(len(count))), count...)
	section(10, len(l.functions)+added, bodies)
	section(11, l.data.count+len(segments), data)
	return out, nil
}

func exported(name string, kind byte, n uint32) []byte {
	return binary.AppendUvarint(append(appendText(nil, name), kind), uint64(n))
}

func appendText(out []byte, s string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(s))), s...)
}

// signature holds the types of parameters and results, a byte each.
type signature struct{ params, results string }

type importing struct {
	module, name string
	sig          uint32
}

// list is a section: how many entries it has, and these.
type list struct {
	count int
	body  []byte
}

// module is a binary, read as far as linking needs it.
type module struct {
	types                                     []signature
	imports                                   []importing // functions alone
	functions                                 []uint32    // types of its own
	tables, memories, globals, elements, data list
	exports                                   map[string]uint32 // functions alone
	bodies                                    [][]byte
}

var errShort = errors.New("it ends too early")

// parse reads a binary.
func parse(code []byte) (*module, error) {
	if !strings.HasPrefix(string(code), "\x00asm\x01\x00\x00\x00") {
		return nil, errors.New("it is no WebAssembly module")
	}
	m := &module{exports: map[string]uint32{}}
	r := &reader{code[8:], nil}
	for len(r.rest) > 0 && r.err == nil {
		id := r.byte()
		body := &reader{r.take(r.number()), nil}
		if err := m.section(id, body); err != nil {
			return nil, err
		}
	}
	return m, r.err
}

func (m *module) section(id byte, r *reader) error {
	if id == 0 || id == 12 { // custom sections hold nothing that runs; the data count is written anew
		return nil
	}
	if id == 8 {
		return errors.New("it has a start function")
	}
	count := int(r.number())
	if count > len(r.rest) { // an entry has a byte at least
		return errShort
	}
	rest := list{count, r.rest}
	switch id {
	case 1:
		for range count {
			if r.byte() != 0x60 {
				return errors.New("it has types that are not functions")
			}
			m.types = append(m.types, signature{string(r.take(r.number())), string(r.take(r.number()))})
		}
	case 2:
		for range count {
			i := importing{module: r.text(), name: r.text()}
			if r.byte() != 0 {
				return fmt.Errorf("it imports %s.%s, which is not a function", i.module, i.name)
			}
			if i.sig = r.number(); int(i.sig) >= len(m.types) {
				return errShort
			}
			m.imports = append(m.imports, i)
		}
	case 3:
		for range count {
			t := r.number()
			if int(t) >= len(m.types) {
				return errShort
			}
			m.functions = append(m.functions, t)
		}
	case 4:
		m.tables = rest
	case 5:
		m.memories = rest
	case 6:
		m.globals = rest
	case 7:
		for range count {
			name, kind, n := r.text(), r.byte(), r.number()
			if kind == 0 {
				m.exports[name] = n
			}
		}
	case 9:
		m.elements = rest
	case 10:
		for range count {
			m.bodies = append(m.bodies, r.take(r.number()))
		}
	case 11:
		m.data = rest
	default:
		return fmt.Errorf("it has a section %d", id)
	}
	return r.err
}

// reader takes numbers and texts off a binary; after a first error all are zero.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.err = errShort
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) number() uint32 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 || n > 1<<32-1 {
		r.err, r.rest = errShort, nil
		return 0
	}
	r.rest = r.rest[size:]
	return uint32(n)
}

// skip passes over a LEB128 number of any kind.
func (r *reader) skip() {
	for r.byte() >= 0x80 && r.err == nil {
	}
}

func (r *reader) take(n uint32) []byte {
	if uint64(n) > uint64(len(r.rest)) {
		r.err, r.rest = errShort, nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) text() string { return string(r.take(r.number())) }
