package module

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// uses are what the bodies do that matters beyond them.
type uses struct {
	change string // an instruction that changes state outside memory and globals
	data   bool   // data segments are referred to
}

// A charge is due at least every stride instructions on whatever way through a
// body, so that code without loops is stopped too. What takes longer than others
// counts for more.
const (
	stride    = 1024
	perStride = 4
	small     = 64  // a body up to this that neither calls nor loops is free; a call counts as much
	costly    = 100 // memory.grow

	// Loops count their laps in a local variable and are charged for so many at
	// once. With 32 the processor does not foresee when, which costs a tight loop
	// as much as it saves.
	laps = 256
	// A lap as long as this is charged for by itself, so that what can be done
	// without asking is bounded: laps x long instructions, some 10 us. Of the loop
	// that Go wraps a function in it is laps x stride, some 80 us: what calls is in
	// it as well, and need not pay twice.
	long = 128
	// So many jumps back of a body are counted where they are. If it has more, its
	// loops count at their heads, which keeps the largest ones from growing.
	maxBack = 512
)

// readCode walks through all bodies, once, and writes them as they will be
// compiled.
func (m *Module) readCode(r *reader) error {
	m.bodies = r.count()
	if len(m.funcs)-int(m.importedFuncs) != m.bodies {
		return m.whole()
	}
	w := newWalker(m, r.len())
	for i := range m.bodies {
		b := r.bytes(r.u32())
		if r.bad {
			return nil
		}
		f := m.importedFuncs + uint32(i)
		switch err := w.function(b, f); err {
		case nil:
		case errCut:
			return err
		case errValue:
			return fmt.Errorf("its function %d%s: %w", f, m.exportedAs(f), err)
		default:
			return fmt.Errorf("its function %d%s %w", f, m.exportedAs(f), err)
		}
	}
	m.raw.code = w.out
	return nil
}

// exportedAs names a function in messages.
func (m *Module) exportedAs(f uint32) string {
	first := ""
	for name, e := range m.exports {
		if e.kind == kindFunc && e.index == f && (first == "" || name < first) {
			first = name
		}
	}
	if first != "" {
		return fmt.Sprintf(" (%q)", first)
	}
	return ""
}

// A walker goes through bodies and copies them to out with the charges put in.
type walker struct {
	m   *Module
	out []byte
	one []byte // the charge of 1

	reader
	f       uint32
	code    []byte // instructions of this body, so far
	copied  int    // up to here the body is in code
	locals  uint32 // with parameters, as the body has them
	scratch bool   // two more locals are needed
	lapped  bool   // one of them counts laps, and may be more than 0 here
	blocks  []block
	level   int  // blocks that are open in code
	back    int  // jumps back that are counted where they are
	heads   bool // none is
	tight   bool // some of the loop that Go wraps a function in are, too
	resume  resume
	shape   shape
	values  values

	// Of all bodies so far.
	total     int // see maxTotal
	allLocals uint64

	// since is the most instructions that may have run since the last charge
	// when this place is reached; dead, if it never is.
	since int
	dead  bool
	deep  int  // at most so many basic blocks dominate this one
	sure  bool // every run of the function that gets anywhere gets here
	free  bool // no charge is needed at the entry, one comes surely
	calls bool
}

func newWalker(m *Module, size int) *walker {
	w := &walker{m: m, out: make([]byte, 0, size+size/8)}
	w.one = w.charge(nil, 1)
	return w
}

func (w *walker) function(b []byte, f uint32) error {
	sig, _ := w.m.signature(f)
	w.reader, w.f = reader{b: b}, f
	groups := w.count()
	first := w.at
	locals := uint64(len(sig.Params))
	for range groups {
		locals += uint64(w.u32())
		if t := w.byte(); !isValue(t) && !w.bad {
			return errValue
		}
	}
	if w.bad {
		return errCut
	}
	if w.allLocals += locals; locals > maxLocals || w.allLocals > maxAllLocals {
		return fmt.Errorf("has %d local variables (all up to it %d), at most %d (%d) are taken; split it up, or build it with optimizations", locals, w.allLocals, maxLocals, maxAllLocals)
	}
	header := w.at
	w.locals, w.heads, w.tight = uint32(locals), false, false
	weight, err := w.body(sig)
	for err == errAgain {
		w.at = header
		weight, err = w.body(sig)
	}
	if err != nil {
		return err
	}
	if w.len() > 0 {
		return errors.New("goes on behind its end, so whatever wrote it is broken; build it again")
	}
	if err := w.tooLong(); err != nil {
		return err
	}

	var entry []byte
	if !w.free && (w.calls || weight > small) {
		entry = w.one
	}
	if !w.scratch {
		w.out = binary.AppendUvarint(w.out, uint64(header+len(entry)+len(w.code)))
		w.out = append(w.out, b[:header]...)
	} else {
		var n [binary.MaxVarintLen32]byte
		count := binary.AppendUvarint(n[:0], uint64(groups)+1)
		w.out = binary.AppendUvarint(w.out, uint64(len(count)+header-first+2+len(entry)+len(w.code)))
		w.out = append(w.out, count...)
		w.out = append(w.out, b[first:header]...)
		w.out = append(w.out, 2, 0x7f) // length and laps
	}
	w.out = append(w.out, entry...)
	w.out = append(w.out, w.code...)
	return nil
}

// errAgain begins a body anew, as what was found in it changes how it is written.
var errAgain = errors.New("again")

// body goes through the instructions from here on, and says how many there are.
func (w *walker) body(sig Signature) (n int, err error) {
	w.scratch, w.lapped, w.shape = false, false, shape{}
	w.values.begin(int(w.locals))
	w.code, w.copied = w.code[:0], w.at
	w.since, w.dead, w.deep, w.sure, w.free, w.calls = 0, false, 1, true, false, false
	w.blocks = append(w.blocks[:0], block{op: opBlock, passes: len(sig.Results)})
	w.level, w.back = 1, 0
	w.resume.begin()
	w.passes(sig)
	for len(w.blocks) > 0 {
		w.resume.next(w.at)
		if err := w.instruction(); err != nil {
			return 0, err
		}
		if w.bad {
			return 0, errCut
		}
		n++
		w.since++
		if w.since >= stride && !w.dead && len(w.blocks) > 0 {
			w.flush(w.at)
			w.code = w.charge(w.code, perStride)
			w.charged()
		}
	}
	w.flush(w.at)
	return n, nil
}

// flush copies the body up to an offset.
func (w *walker) flush(to int) {
	w.code = append(w.code, w.b[w.copied:to]...)
	w.copied = to
}

var errIndex = errors.New("refers to something that does not exist, so whatever wrote it is broken; build it again")

// instruction takes one.
func (w *walker) instruction() error {
	at := w.at
	op := w.byte()
	switch operands[op] {
	case none:
		if mayTrap(op) {
			w.shape.traps++
		}
	case blockType:
		return w.open(op)
	case elseMark:
		return w.otherwise()
	case endMark:
		w.close(at)
	case label:
		w.sure = false
		return w.jump(op)
	case labels:
		w.sure = false
		return w.jumps()
	case leave:
		if op == 0x0f {
			w.branch(uint32(len(w.blocks) - 1))
			if w.lapped && !w.dead {
				w.flush(at)
				w.settle(false)
			}
		}
		w.sure, w.dead = false, true
	case function:
		w.called()
		return w.target()
	case indirect:
		w.called()
		t := w.u32()
		if uint64(t) >= uint64(len(w.m.types)) {
			return errIndex
		}
		w.passes(w.m.types[t])
		return w.table()
	case local:
		i := w.u32()
		if i >= w.locals {
			return errIndex
		}
		w.values.local(i, op != 0x20)
	case globalIndex:
		if uint64(w.u32()) >= uint64(len(w.m.globals)) {
			return errIndex
		}
	case tableIndex:
		if op == 0x26 {
			w.changes("table.set")
		}
		return w.table()
	case address:
		w.u32()
		w.u32()
	case memory:
		if op == 0x40 {
			w.since += costly
			w.calls = true // as much as one that leaves the module
		}
		if w.byte() != 0 {
			return errIndex
		}
	case int32Const:
		w.signed(32)
	case int64Const:
		w.signed(64)
	case bytes4:
		w.bytes(4)
	case bytes8:
		w.bytes(8)
	case selectType:
		if n, t := w.u32(), w.byte(); !w.bad && (n != 1 || !isValue(t)) {
			return errValue
		}
	case refType:
		if !isRef(w.byte()) && !w.bad {
			return errValue
		}
	case refFunc:
		return w.reference()
	case prefixFC:
		return w.bulk(at)
	case prefixFD:
		return w.vector()
	default:
		if !w.bad {
			return fmt.Errorf("has the instruction 0x%02x of %s, which this engine does not have; build it for WebAssembly 2.0 without it", op, feature(op))
		}
	}
	return nil
}

// mayTrap tells divisions, and truncations of numbers that need not fit.
func mayTrap(op byte) bool {
	return op >= 0x6d && op <= 0x70 || op >= 0x7f && op <= 0x82 || op >= 0xa8 && op <= 0xab || op >= 0xae && op <= 0xb1
}

// passes counts values that a call or block takes and gives.
func (w *walker) passes(s Signature) { w.shape.passed += len(s.Params) + len(s.Results) }

func (w *walker) called() {
	w.sure, w.calls, w.resume.called = false, true, w.at
	w.since += small
}

// target is the function of a call, moved.
func (w *walker) target() error {
	w.flush(w.at)
	f := w.u32()
	sig, ok := w.m.signature(f)
	if !ok {
		return errIndex
	}
	w.passes(sig)
	w.code = binary.AppendUvarint(w.code, uint64(w.m.moved(f)))
	w.copied = w.at
	return nil
}

// reference is the function of ref.func, moved. It must be declared, and as the
// start function is exported later it is checked here.
func (w *walker) reference() error {
	at := w.at
	if f := w.u32(); !w.m.declared[f] && !w.bad {
		return errors.New("takes the reference of a function that is not declared for it, so whatever wrote it is broken; build it again")
	}
	w.at = at
	return w.target()
}

func (w *walker) table() error {
	if t := w.u32(); uint64(t) >= uint64(len(w.m.tables)) {
		return errIndex
	}
	return nil
}

// changes notes an instruction that changes what is neither memory nor a global.
func (w *walker) changes(name string) {
	if w.m.uses.change == "" {
		w.m.uses.change = fmt.Sprintf("function %d%s changes tables or segments (%s)", w.f, w.m.exportedAs(w.f), name)
	}
}

// bulk takes an instruction behind 0xfc that began at an offset. What works on
// a length is charged for it before.
func (w *walker) bulk(at int) error {
	op := w.byte()
	if int(op) >= len(bulkNames) {
		return fmt.Errorf("has the instruction 0xfc 0x%02x, which WebAssembly 2.0 does not have; build it without newer features", op)
	}
	length := true
	var err error
	switch op {
	case memoryInit, dataDrop:
		w.m.uses.data = true
		w.u32()
		if op == dataDrop {
			length = false
			w.changes(bulkNames[op])
		} else if w.byte() != 0 {
			err = errIndex
		}
	case memoryCopy:
		if to, from := w.byte(), w.byte(); to|from != 0 {
			err = errIndex
		}
	case memoryFill:
		if w.byte() != 0 {
			err = errIndex
		}
	case tableInit:
		w.changes(bulkNames[op])
		w.u32()
		err = w.table()
	case elemDrop:
		w.changes(bulkNames[op])
		length = false
		w.u32()
	case tableCopy:
		w.changes(bulkNames[op])
		if err = w.table(); err == nil {
			err = w.table()
		}
	case tableGrow, tableFill:
		w.changes(bulkNames[op])
		err = w.table()
	case tableSize:
		length = false
		err = w.table()
	default: // a conversion
		length = false
	}
	if err == nil && length && !w.dead {
		w.flush(at)
		w.chargeLength()
		w.charged()
	}
	return err
}

func (w *walker) vector() error {
	// The number of such an instruction has one way to be written, for the engine
	// takes its second byte to be 1 or nothing.
	op := uint32(w.byte())
	if op >= 0x80 {
		if next := w.byte(); next != 1 && !w.bad {
			return errors.New("has an instruction of relaxed SIMD, which this engine does not have; build it for WebAssembly 2.0 without it")
		}
	}
	hasAddress, n, known := vector(op)
	if !known {
		return fmt.Errorf("has the instruction 0xfd 0x%02x, which WebAssembly 2.0 does not have; build it without newer features", op)
	}
	if hasAddress {
		w.u32()
		w.u32()
	}
	w.bytes(n)
	return nil
}
