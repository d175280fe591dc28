package module

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

func (m *Module) readTypes(r *reader) error {
	n := r.count()
	if n > maxTypes {
		return tooMany("types", n, maxTypes)
	}
	m.raw.types = r.b[r.at:]
	all := 0
	for ; n > 0 && !r.bad; n-- {
		if kind := r.byte(); kind != 0x60 && !r.bad {
			return fmt.Errorf("it has a type of kind 0x%x: garbage collection or another feature beyond WebAssembly 2.0, which this engine does not have; build it without", kind)
		}
		s := Signature{r.name(), r.name()}
		if k := max(len(s.Params), len(s.Results)); k > maxValues {
			return tooMany("parameters or results of one function", k, maxValues)
		}
		if all += len(s.Params) + len(s.Results); all > maxAllValues {
			return tooMany("parameters and results of functions", all, maxAllValues)
		}
		for _, t := range []byte(s.Params + s.Results) {
			if !isValue(t) {
				return errValue
			}
		}
		m.types = append(m.types, s)
	}
	return nil
}

var errValue = errors.New("it has values of a type that WebAssembly 2.0 does not have (typed references, exceptions); build it without such features")

// isValue tells the value types of WebAssembly 2.0.
func isValue(t byte) bool { return t >= 0x7b && t <= 0x7f || isRef(t) }

func isRef(t byte) bool { return t == 0x70 || t == 0x6f }

func isNumber(t byte) bool { return t >= 0x7c && t <= 0x7f }

func (m *Module) readImports(r *reader) error {
	n := r.count()
	if n > maxImports {
		return tooMany("imports", n, maxImports)
	}
	m.raw.imports = r.b[r.at:]
	for ; n > 0 && !r.bad; n-- {
		i := imported{module: r.name(), name: r.name(), kind: r.byte()}
		switch i.kind {
		case kindFunc:
			t := r.u32()
			if uint64(t) >= uint64(len(m.types)) {
				return errType
			}
			i.sig = m.types[t]
			m.funcs = append(m.funcs, t)
			m.importedFuncs++
		case kindTable:
			if err := m.readTable(r); err != nil {
				return err
			}
			m.importedTables++
		case kindMemory:
			m.memories = append(m.memories, r.limits())
			m.importedMemory = true
		case kindGlobal:
			if err := m.readGlobal(r); err != nil {
				return err
			}
			m.importedGlobals++
		default:
			if !r.bad {
				return fmt.Errorf("it imports %s.%s, which is neither function, table, memory nor global; build it without exception handling", i.module, i.name)
			}
		}
		m.imports = append(m.imports, i)
	}
	return nil
}

var errType = errors.New("it refers to a type that it does not have, so whatever wrote it is broken; build it again")

func (m *Module) readFunctions(r *reader) error {
	n := r.count()
	if n > maxFunctions {
		return tooMany("functions", n, maxFunctions)
	}
	m.raw.funcs = r.b[r.at:]
	for ; n > 0; n-- {
		t := r.u32()
		if r.bad {
			return nil
		}
		if uint64(t) >= uint64(len(m.types)) {
			return errType
		}
		m.funcs = append(m.funcs, t)
	}
	return nil
}

func (m *Module) readTables(r *reader) error {
	n := r.count()
	for ; n > 0 && !r.bad; n-- {
		if err := m.readTable(r); err != nil {
			return err
		}
	}
	if n := len(m.tables); n > maxTables {
		return tooMany("tables", n, maxTables)
	}
	return nil
}

func (m *Module) readTable(r *reader) error {
	t := table{kind: r.byte(), limits: r.limits()}
	if r.bad {
		return nil
	}
	if !isRef(t.kind) {
		return errValue
	}
	if t.shared || t.bounded && t.max < t.min {
		return fmt.Errorf("its table %d is shared, or may have fewer elements than it starts with", len(m.tables))
	}
	if t.min > maxTable {
		return fmt.Errorf("its table %d starts with %d elements, at most %d can be had", len(m.tables), t.min, maxTable)
	}
	m.tables = append(m.tables, t)
	return nil
}

func (m *Module) readMemories(r *reader) error {
	for n := r.count(); n > 0 && !r.bad; n-- {
		m.memories = append(m.memories, r.limits())
	}
	if n := len(m.memories); n > 1 {
		return fmt.Errorf("it has %d memories, which this engine does not do; build it with one", n)
	}
	for _, l := range m.memories {
		if l.shared {
			return errors.New("its memory is shared; build it without threads")
		}
		if l.min > maxPages || l.max > maxPages || l.bounded && l.max < l.min {
			return fmt.Errorf("its memory starts with %d pages of 64 KiB and may have %d; at most %d (4 GiB) can be had", l.min, l.max, maxPages)
		}
	}
	return nil
}

func (m *Module) readGlobal(r *reader) error {
	g := global{kind: r.byte()}
	mutable := r.byte()
	if r.bad {
		return nil
	}
	if !isValue(g.kind) || mutable > 1 {
		return errValue
	}
	g.mutable = mutable == 1
	m.globals = append(m.globals, g)
	return nil
}

func (m *Module) readGlobals(r *reader) error {
	n := r.count()
	if n > maxGlobals {
		return tooMany("globals", n, maxGlobals)
	}
	out := make([]byte, 0, r.len())
	for ; n > 0 && !r.bad; n-- {
		at := r.at
		if err := m.readGlobal(r); err != nil {
			return err
		}
		out = append(out, r.b[at:r.at]...)
		var err error
		if out, _, err = m.constant(r, out); err != nil {
			return err
		}
	}
	m.raw.globals = out
	return nil
}

// fixed is a constant expression of one instruction.
type fixed struct {
	op    byte
	value int64 // of i32.const and i64.const, or the index of global.get
}

// constant copies a constant expression to out, functions moved.
func (m *Module) constant(r *reader, out []byte) ([]byte, fixed, error) {
	at := r.at
	c := fixed{op: r.byte()}
	switch c.op {
	case 0x41:
		c.value = r.signed(32)
	case 0x42:
		c.value = r.signed(64)
	case 0x43:
		r.bytes(4)
	case 0x44:
		r.bytes(8)
	case 0x23:
		i := r.u32()
		if i >= m.importedGlobals && !r.bad {
			return nil, c, errors.New("a constant of it takes the value of a global that is not imported, which WebAssembly 2.0 does not allow; build it without extended constant expressions")
		}
		c.value = int64(i)
	case 0xd0:
		if !isRef(r.byte()) && !r.bad {
			return nil, c, errValue
		}
	case 0xd2:
		i := r.u32()
		if uint64(i) >= uint64(len(m.funcs)) {
			return nil, c, errFunction
		}
		m.declared[i] = true
		out = append(out, 0xd2)
		out = binary.AppendUvarint(out, uint64(m.moved(i)))
		at = r.at
	case 0xfd:
		if r.byte() != 0x0c {
			return nil, c, errConstant
		}
		r.bytes(16)
	default:
		return nil, c, errConstant
	}
	if end := r.byte(); end != 0x0b && !r.bad {
		return nil, c, errConstant
	}
	if r.bad {
		return nil, c, errCut
	}
	return append(out, r.b[at:r.at]...), c, nil
}

var (
	errConstant = errors.New("a constant of it is computed, which WebAssembly 2.0 does not allow; build it without extended constant expressions")
	errFunction = errors.New("it refers to a function that it does not have, so whatever wrote it is broken; build it again")
)

func (m *Module) readExports(r *reader) error {
	n := r.count()
	if n > maxExports {
		return tooMany("exports", n, maxExports)
	}
	out := make([]byte, 0, r.len()+n)
	for ; n > 0; n-- {
		at := r.at
		name := r.name()
		e := exported{kind: r.byte()}
		out = append(out, r.b[at:r.at]...)
		e.index = r.u32()
		if r.bad {
			return nil
		}
		if _, twice := m.exports[name]; twice {
			return fmt.Errorf("it exports %q twice, so whatever wrote it is broken; build it again", name)
		}
		if strings.HasPrefix(name, prefix) {
			return fmt.Errorf("it exports %q; names that begin with %s are wasmill's own: give it another, and hand in what your compiler wrote", name, prefix)
		}
		have := 0
		index := e.index
		switch e.kind {
		case kindFunc:
			have = len(m.funcs)
			m.declared[e.index] = true
			index = m.moved(index)
		case kindTable:
			have = len(m.tables)
		case kindMemory:
			have = len(m.memories)
		case kindGlobal:
			have = len(m.globals)
		}
		if uint64(e.index) >= uint64(have) {
			return fmt.Errorf("it exports as %q something that it does not have; build it again, without newer features", name)
		}
		out = binary.AppendUvarint(out, uint64(index))
		m.exports[name] = e
	}
	m.raw.exports = out
	return nil
}

func (m *Module) readStart(r *reader) error {
	i := r.u32()
	if sig, ok := m.signature(i); !ok || sig != (Signature{}) {
		return fmt.Errorf("its start function is %v, want () -> ()", sig)
	}
	m.start = &i
	return nil
}

// readElements copies the segments, functions moved. The bits of a segment's
// first byte: 1 not active; 2 with the table's index, or only declared; 4 with
// expressions instead of function indexes.
func (m *Module) readElements(r *reader) error {
	n := r.count()
	if n > maxSegments {
		return tooMany("element segments", n, maxSegments)
	}
	out := make([]byte, 0, r.len()+r.len()/8)
	m.elements = n
	total := 0
	for ; n > 0 && !r.bad; n-- {
		at := r.at
		flags := r.u32()
		if flags > 7 {
			return errCut
		}
		active := flags&1 == 0
		if active && flags&2 != 0 {
			r.u32()
		}
		out = append(out, r.b[at:r.at]...)
		var err error
		if active {
			if out, _, err = m.constant(r, out); err != nil {
				return err
			}
		}
		at = r.at
		if flags&3 != 0 {
			if kind := r.byte(); flags&4 != 0 && !isRef(kind) || flags&4 == 0 && kind != 0 {
				return errValue
			}
		}
		items := r.count()
		if total += items; total > maxElements {
			return tooMany("elements", total, maxElements)
		}
		out = append(out, r.b[at:r.at]...)
		for ; items > 0; items-- {
			if flags&4 != 0 {
				if out, _, err = m.constant(r, out); err != nil {
					return err
				}
				continue
			}
			i := r.u32()
			if uint64(i) >= uint64(len(m.funcs)) {
				return errFunction
			}
			m.declared[i] = true
			out = binary.AppendUvarint(out, uint64(m.moved(i)))
		}
	}
	m.raw.elements = out
	return nil
}

func (m *Module) readData(r *reader) error {
	n := r.count()
	if n > maxSegments {
		return tooMany("data segments", n, maxSegments)
	}
	m.segments = make([]segment, 0, n)
	for ; n > 0 && !r.bad; n-- {
		var s segment
		switch flags := r.u32(); {
		case flags == 1:
			s.passive = true
		case flags == 2 && r.u32() != 0, flags > 2, len(m.memories) == 0:
			return fmt.Errorf("its data segment %d is for a memory that it does not have", len(m.segments))
		}
		if !s.passive {
			_, c, err := m.constant(r, nil)
			if err != nil {
				return err
			}
			switch {
			case c.op == 0x41:
				s.offset = uint32(c.value)
			case c.op == 0x23 && m.globals[c.value].kind == 0x7f:
				i := uint32(c.value)
				s.global = &i
			default:
				return fmt.Errorf("its data segment %d begins at something that is no address", len(m.segments))
			}
		}
		s.data = r.bytes(r.u32())
		m.segments = append(m.segments, s)
	}
	return nil
}

// readNames keeps the names of functions, for traces.
func (m *Module) readNames(r *reader) {
	for r.len() > 0 {
		id := r.byte()
		s := &reader{b: r.bytes(r.u32())}
		if id != 1 || m.raw.named > 0 {
			continue
		}
		var out []byte
		n := s.count()
		for i := 0; i < n; i++ {
			index := s.u32()
			at := s.at
			if name := s.bytes(s.u32()); s.bad || !utf8.Valid(name) {
				return // wrong names are worse than none
			}
			out = binary.AppendUvarint(out, uint64(m.moved(index)))
			out = append(out, s.b[at:s.at]...)
		}
		m.raw.names, m.raw.named = out, n
	}
}
