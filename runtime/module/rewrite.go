package module

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Rewritten is a module as it is compiled, and what was taken out of it.
type Rewritten struct {
	// Code is the binary: no start section, mutable globals exported, charges
	// put in, function names kept, other custom sections dropped. Without active
	// data segments if Cloneable.
	Code []byte
	// Segments are what memory holds at first beside zeros, in the order in which
	// they are to be written. All lie within Min. They share memory with the code
	// that was read. None if not Cloneable: then instantiating writes them.
	Segments []Segment
	// Globals are the export names of all mutable globals but the fuel, in order
	// of their indexes.
	Globals []string
	// Start is the export name of what was the start function, () -> (), or "".
	Start string
	// Min and Max are what memory may have in pages of 64 KiB, 0 to 65536.
	Min, Max uint64
	// Cloneable: memory and globals are all the state that an instance has.
	// Why says why not.
	Cloneable bool
	Why       string
}

// Segment is bytes of memory.
type Segment struct {
	Offset uint32
	Data   []byte
}

// Rewrite builds the binary to compile. Its errors say what is wrong with the
// module and what to change.
func (m *Module) Rewrite() (*Rewritten, error) {
	r := &Rewritten{}
	r.Why = m.whyNot()
	r.Cloneable = r.Why == ""
	for _, l := range m.memories {
		r.Min, r.Max = uint64(l.min), maxPages
		if l.bounded {
			r.Max = uint64(l.max)
		}
	}
	for i, s := range m.segments {
		if s.passive || s.global != nil {
			continue
		}
		if end := uint64(s.offset) + uint64(len(s.data)); end > r.Min<<16 {
			return nil, fmt.Errorf("its data segment %d reaches to %d, beyond the %d bytes that its memory starts with, so it could never start; build it again", i, end, r.Min<<16)
		}
		if r.Cloneable {
			r.Segments = append(r.Segments, Segment{s.offset, s.data})
		}
	}
	b := builder{b: make([]byte, 0, len(m.raw.code)+len(m.raw.elements)+len(m.raw.names)+1<<12)}
	b.b = append(b.b, "\x00asm\x01\x00\x00\x00"...)

	types, raw := len(m.types), m.raw.types
	yield := slices.Index(m.types, Signature{"", i32})
	if yield < 0 {
		yield, types = types, types+1
		raw = append(slices.Clip(raw), 0x60, 0, 1, 0x7f)
	}
	b.section(sectionType, types, raw)

	raw = append(slices.Clip(m.raw.imports), byte(len(Host)))
	raw = append(append(raw, Host...), byte(len(YieldName)))
	raw = append(append(raw, YieldName...), kindFunc)
	b.section(sectionImport, len(m.imports)+1, binary.AppendUvarint(raw, uint64(yield)))

	b.section(sectionFunction, m.bodies, m.raw.funcs)
	m.tableSection(&b)
	m.memorySection(&b)

	// The fuel is there at once, so that whatever runs first has some to ask for
	// more with.
	raw = append(slices.Clip(m.raw.globals), 0x7f, 1, 0x41, 0, 0x0b)
	b.section(sectionGlobal, len(m.globals)-int(m.importedGlobals)+1, raw)

	m.exportSection(&b, r)
	b.section(sectionElement, m.elements, m.raw.elements)
	data, n := m.dataSection(r.Cloneable)
	if m.dataCount != nil && (n > 0 || m.uses.data) {
		b.raw(sectionDataCount, binary.AppendUvarint(nil, uint64(n)))
	}
	b.section(sectionCode, m.bodies, m.raw.code)
	b.section(sectionData, n, data)
	if m.raw.named > 0 {
		sub := append(binary.AppendUvarint(nil, uint64(m.raw.named)), m.raw.names...)
		custom := append([]byte{4}, "name\x01"...)
		custom = binary.AppendUvarint(custom, uint64(len(sub)))
		b.raw(sectionCustom, append(custom, sub...))
	}
	r.Code = b.b
	return r, nil
}

// whyNot says why memory and globals are not all the state that there is.
func (m *Module) whyNot() string {
	if m.uses.change != "" {
		return m.uses.change
	}
	for i, g := range m.globals {
		switch {
		case !g.mutable:
		case i < int(m.importedGlobals):
			return fmt.Sprintf("global %d is another module's", i)
		case !isNumber(g.kind):
			return fmt.Sprintf("global %d is a %s that changes", i, typeNames(string(g.kind)))
		}
	}
	if m.importedMemory || m.importedTables > 0 {
		return "its memory or table is another module's"
	}
	for i, s := range m.segments {
		if s.global != nil {
			return fmt.Sprintf("data segment %d begins where another module says", i)
		}
	}
	return ""
}

func (m *Module) tableSection(b *builder) {
	var out []byte
	for _, t := range m.tables[m.importedTables:] {
		most := uint32(maxTable)
		if t.bounded {
			most = min(most, t.max)
		}
		out = append(out, t.kind, 1)
		out = binary.AppendUvarint(out, uint64(t.min))
		out = binary.AppendUvarint(out, uint64(most))
	}
	b.section(sectionTable, len(m.tables)-m.importedTables, out)
}

func (m *Module) memorySection(b *builder) {
	if m.importedMemory || len(m.memories) == 0 {
		return
	}
	l := m.memories[0]
	out := binary.AppendUvarint([]byte{0}, uint64(l.min))
	if l.bounded {
		out[0] = 1
		out = binary.AppendUvarint(out, uint64(l.max))
	}
	b.section(sectionMemory, 1, out)
}

func (m *Module) exportSection(b *builder, r *Rewritten) {
	n, out := len(m.exports), slices.Clip(m.raw.exports)
	export := func(name string, kind byte, index uint32) {
		n++
		out = append(binary.AppendUvarint(out, uint64(len(name))), name...)
		out = binary.AppendUvarint(append(out, kind), uint64(index))
	}
	for i, g := range m.globals {
		if g.mutable {
			name := fmt.Sprintf("%sg%d", prefix, i)
			export(name, kindGlobal, uint32(i))
			r.Globals = append(r.Globals, name)
		}
	}
	export(FuelName, kindGlobal, uint32(len(m.globals)))
	if m.start != nil {
		r.Start = prefix + "start"
		export(r.Start, kindFunc, m.moved(*m.start))
	}
	b.section(sectionExport, n, out)
}

// dataSection holds what instantiating is to write, and what instructions refer
// to: a segment that was written is empty for them, as the one that takes its
// place is.
func (m *Module) dataSection(cloneable bool) (out []byte, n int) {
	if cloneable && !m.uses.data {
		return nil, 0
	}
	for _, s := range m.segments {
		switch {
		case s.passive:
			out = append(out, 1)
		case cloneable:
			out = append(out, 1, 0)
			continue
		case s.global != nil:
			out = append(binary.AppendUvarint(append(out, 0, 0x23), uint64(*s.global)), 0x0b)
		default:
			out = append(appendSigned(append(out, 0, 0x41), int64(int32(s.offset))), 0x0b)
		}
		out = append(binary.AppendUvarint(out, uint64(len(s.data))), s.data...)
	}
	return out, len(m.segments)
}

// A builder writes a binary, sections in order.
type builder struct{ b []byte }

// section appends one of n items, or none.
func (b *builder) section(id byte, n int, items []byte) {
	if n == 0 {
		return
	}
	var count [binary.MaxVarintLen32]byte
	c := binary.AppendUvarint(count[:0], uint64(n))
	b.b = binary.AppendUvarint(append(b.b, id), uint64(len(c)+len(items)))
	b.b = append(append(b.b, c...), items...)
}

func (b *builder) raw(id byte, body []byte) {
	b.b = binary.AppendUvarint(append(b.b, id), uint64(len(body)))
	b.b = append(b.b, body...)
}
