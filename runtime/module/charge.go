package module

import "encoding/binary"

// charge appends the instructions that take n off the fuel and, if that is used
// up, ask the host for more.
func (w *walker) charge(b []byte, n int64) []byte {
	fuel := uint64(len(w.m.globals))
	b = binary.AppendUvarint(append(b, 0x23), fuel) // global.get
	b = appendSigned(append(b, 0x41), n)            // i32.const
	b = append(b, 0x6b)                             // i32.sub
	b = binary.AppendUvarint(append(b, 0x24), fuel) // global.set
	return w.check(b)
}

// chargeLength appends the same for an instruction that works on as many bytes
// or elements as the top of the stack says: 1, and 1 for each 256 of them.
func (w *walker) chargeLength() {
	w.scratch = true
	fuel, length := uint64(len(w.m.globals)), uint64(w.locals)
	b := binary.AppendUvarint(append(w.code, 0x22), length) // local.tee
	b = binary.AppendUvarint(append(b, 0x23), fuel)         // global.get
	b = binary.AppendUvarint(append(b, 0x20), length)       // local.get
	b = append(b, 0x41, 8, 0x76, 0x6b)                      // i32.const 8, i32.shr_u, i32.sub
	b = append(b, 0x41, 1, 0x6b)                            // i32.const 1, i32.sub
	b = binary.AppendUvarint(append(b, 0x24), fuel)         // global.set
	w.code = w.check(b)
}

// chargeLaps appends the charge of a loop, for its head: a local variable counts
// the laps of all loops of a call up, and each time that there are enough they are
// taken off the fuel.
func (w *walker) chargeLaps() {
	w.scratch, w.lapped = true, true
	w.countLap(0x22)                                            // local.tee
	b := append(appendSigned(append(w.code, 0x41), laps), 0x4f) // i32.const, i32.ge_u
	w.code = append(b, 0x04, 0x40)                              // if
	w.settle(true)
	w.code = append(w.check(w.code), 0x0b) // end
}

// chargeResumed appends the same for the head of the loop that Go wraps a
// function in: what was counted and one more are taken off. Whoever calls comes
// by here as well, so that it is also the charge of the entry.
func (w *walker) chargeResumed() {
	w.scratch, w.lapped = true, true
	fuel, count := uint64(len(w.m.globals)), uint64(w.locals)+1
	b := binary.AppendUvarint(append(w.code, 0x23), fuel)     // global.get
	b = binary.AppendUvarint(append(b, 0x20), count)          // local.get
	b = append(b, 0x6b, 0x41, 1, 0x6b)                        // i32.sub, i32.const 1, i32.sub
	b = binary.AppendUvarint(append(b, 0x24), fuel)           // global.set
	b = binary.AppendUvarint(append(b, 0x41, 0, 0x21), count) // i32.const 0, local.set
	w.code = w.check(b)
}

// countLap appends what counts one and sets it.
func (w *walker) countLap(set byte) {
	count := uint64(w.locals) + 1
	b := binary.AppendUvarint(append(w.code, 0x20), count)              // local.get
	w.code = binary.AppendUvarint(append(b, 0x41, 1, 0x6a, set), count) // i32.const 1, i32.add
}

// settle appends what takes laps off the fuel that were counted, with nothing
// asked: a function that ends pays so what it ran up. again says that it may go on.
func (w *walker) settle(again bool) {
	fuel, count := uint64(len(w.m.globals)), uint64(w.locals)+1
	b := binary.AppendUvarint(append(w.code, 0x23), fuel) // global.get
	b = binary.AppendUvarint(append(b, 0x20), count)      // local.get
	b = binary.AppendUvarint(append(b, 0x6b, 0x24), fuel) // i32.sub, global.set
	if again {
		b = binary.AppendUvarint(append(b, 0x41, 0, 0x21), count) // i32.const 0, local.set
	}
	w.code = b
}

// lap appends a jump from here back to a loop that is wrapped in another: it
// counts one and leads to its own head, or, if a charge is due, to the head of the
// other, which counts one more.
func (w *walker) lap(b *block) {
	w.countLap(0x22)                                               // local.tee
	code := append(appendSigned(append(w.code, 0x41), laps), 0x49) // i32.const, i32.lt_u
	w.code = append(code, 0x04, 0x40)                              // if
	w.level++
	w.code = append(w.label(append(w.code, 0x0c), b.level), 0x0b) // br, end
	w.level--
	w.code = w.label(append(w.code, 0x0c), b.outer()) // br
}

// label appends the label of a block that is open in code.
func (w *walker) label(b []byte, level int) []byte {
	return binary.AppendUvarint(b, uint64(w.level-1-level))
}

// check appends the call for more fuel, in the else of an empty if, which the
// engine lays out best.
func (w *walker) check(b []byte) []byte {
	fuel := uint64(len(w.m.globals))
	b = binary.AppendUvarint(append(b, 0x23), fuel)                      // global.get
	b = append(b, 0x41, 0, 0x4e, 0x04, 0x40, 0x05)                       // i32.const 0, i32.ge_s, if, else
	b = binary.AppendUvarint(append(b, 0x10), uint64(w.m.importedFuncs)) // call yield
	return append(binary.AppendUvarint(append(b, 0x24), fuel), 0x0b)     // global.set, end
}
