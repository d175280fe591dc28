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

// chargeLaps appends the charge of a loop: a local variable counts down the laps
// of all loops of a call, and each time that it is at its end as many are taken
// off the fuel. What a call leaves uncounted is less than that; its entry was
// charged.
func (w *walker) chargeLaps() {
	w.scratch, w.lapped = true, true
	count := uint64(w.locals) + 1
	b := binary.AppendUvarint(append(w.code, 0x20), count)          // local.get
	b = binary.AppendUvarint(append(b, 0x41, 1, 0x6b, 0x22), count) // i32.const 1, i32.sub, local.tee
	b = w.startLaps(append(b, 0x04, 0x40, 0x05))                    // if, else
	w.code = append(w.charge(b, laps), 0x0b)                        // end
}

// startLaps appends what begins to count laps.
func (w *walker) startLaps(b []byte) []byte {
	b = append(appendSigned(append(b, 0x41), laps), 0x21) // i32.const, local.set
	return binary.AppendUvarint(b, uint64(w.locals)+1)
}

// check appends the call for more fuel. That it stands in the else of an empty
// if makes the engine put it out of the way, which saves a jump.
func (w *walker) check(b []byte) []byte {
	fuel := uint64(len(w.m.globals))
	b = binary.AppendUvarint(append(b, 0x23), fuel)                      // global.get
	b = append(b, 0x41, 0, 0x4e, 0x04, 0x40, 0x05)                       // i32.const 0, i32.ge_s, if, else
	b = binary.AppendUvarint(append(b, 0x10), uint64(w.m.importedFuncs)) // call yield
	return append(binary.AppendUvarint(append(b, 0x24), fuel), 0x0b)     // global.set, end
}
