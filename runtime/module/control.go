package module

import (
	"encoding/binary"
	"errors"
)

// block is a control instruction that is open.
type block struct {
	op      byte
	passes  int  // values that a branch to it takes along
	level   int  // which block it is in code
	wrapped bool // a loop in another one, see lap
	resumes bool // the loop that Go wraps a function in
	// What leads to its end: the most instructions since a charge on these ways,
	// the least depth of one, and whether there is one at all.
	since   int
	deep    int
	reached bool
	// Where its else begins, of an if.
	before struct {
		since, deep int
		dead        bool
	}
}

const (
	opBlock = 0x02
	opLoop  = 0x03
	opIf    = 0x04
	opElse  = 0x05
)

// open begins a block. A loop that is counted becomes two, one in the other: the
// outer one's head charges, and jumps back count and lead to the inner one's head
// until a charge is due. So the call for more fuel stands outside of what the
// processor goes round, where it costs neither a jump nor variables put away for
// it. One that takes values is counted at its head, for jumps back could not take
// them along.
func (w *walker) open(op byte) error {
	b, at := block{op: op, level: w.level}, w.at
	params := false
	switch t := w.signed(33); {
	case t >= 0:
		if t >= int64(len(w.m.types)) {
			return errIndex
		}
		sig := w.m.types[t]
		w.passes(sig)
		b.passes = len(sig.Results)
		if op == opLoop {
			b.passes = len(sig.Params)
		}
		params = len(sig.Params) > 0
	case t != -64: // else nothing goes in or out
		if t < -64 || !isValue(byte(t&0x7f)) {
			return errValue
		}
		if op != opLoop {
			b.passes = 1
		}
	}
	if w.bad {
		return errCut
	}
	b.before.since, b.before.deep, b.before.dead = w.since, w.deep, w.dead
	switch op {
	case opIf:
		w.sure = false
		w.basic(w.deep + 1)
	case opLoop:
		w.basic(w.deep + 1)
		w.shape.loops++
		if !w.dead {
			w.flush(w.at)
			b.resumes = !params && w.sure && w.resumes()
			w.free = w.free || b.resumes
			// Where an end may be reached that comes before what was counted, each lap
			// is charged for.
			counts := !w.free || w.tight && !w.heads
			b.wrapped = counts && !w.heads && !params
			switch {
			case !counts:
				w.code = append(w.code, w.one...)
			case b.resumes:
				w.chargeResumed()
			default:
				w.chargeLaps()
				w.charged()
			}
			w.charged()
			if counts && !b.resumes {
				w.since = stride - long
			}
			if b.wrapped {
				w.code = append(append(w.code, opLoop), w.b[at:w.at]...)
				b.level++
				w.level++
				w.basic(w.deep + 1)
			}
		}
	}
	w.level++
	if w.blocks = append(w.blocks, b); len(w.blocks) > maxBasic || w.shape.depth > maxDepth {
		return w.tooLong() // now, for those to come would take memory here too
	}
	return nil
}

func (w *walker) otherwise() error {
	b := &w.blocks[len(w.blocks)-1]
	if b.op != opIf {
		return errors.New("has an else without an if, so whatever wrote it is broken; build it again")
	}
	b.join(w.since, w.deep, w.dead)
	b.op = opElse
	w.since, w.dead = b.before.since, b.before.dead
	w.basic(b.before.deep + 1)
	return nil
}

// close ends a block whose end is at an offset.
func (w *walker) close(at int) {
	b := &w.blocks[len(w.blocks)-1]
	switch {
	case len(w.blocks) == 1 && w.lapped && !w.dead:
		w.flush(at)
		w.settle(false)
	case b.wrapped:
		w.flush(at)
		w.code = append(w.code, 0x0b)
	}
	w.level = b.outer()
	w.resume.end(len(w.blocks)-1, w.at)
	b.join(w.since, w.deep, w.dead)
	if b.op == opIf {
		b.join(b.before.since, b.before.deep, b.before.dead)
	}
	if b.op != opLoop {
		w.since, w.dead = b.since, !b.reached
		w.basic(b.deep + 1)
	}
	w.blocks = w.blocks[:len(w.blocks)-1]
}

// jump takes br and br_if.
func (w *walker) jump(op byte) error {
	at := w.at - 1
	l := w.u32()
	if !w.branch(l) {
		return errIndex
	}
	b := &w.blocks[len(w.blocks)-1-int(l)]
	back := !w.dead && b.op == opLoop && (!b.resumes || w.tightLap())
	leaves := !w.dead && w.lapped && int(l) == len(w.blocks)-1
	if back && b.resumes && !w.tight {
		w.tight = true
		return errAgain
	}
	w.flush(at)
	w.copied = w.at
	switch {
	case leaves && op == 0x0d && b.passes > 0: // they lie below the condition
		w.settle(true)
		w.code = w.label(append(w.code, op), b.level)
	case leaves || back && b.wrapped:
		if op == 0x0d {
			w.code = append(w.code, 0x04, 0x40) // if
			w.level++
		}
		w.away(b)
		if op == 0x0d {
			w.code = append(w.code, 0x0b) // end
			w.level--
		}
		w.basic(w.deep + 1)
		w.basic(w.deep)
	default:
		w.code = w.label(append(w.code, op), b.outer())
	}
	if back && b.wrapped {
		w.shape.depth += w.deep
		if w.back++; w.back > maxBack {
			w.heads = true
			return errAgain
		}
	}
	if op == 0x0c {
		w.dead = true
	} else {
		w.basic(w.deep + 1)
	}
	return nil
}

// away appends a jump back or out of the function.
func (w *walker) away(b *block) {
	if b.wrapped {
		w.lap(b)
		return
	}
	w.settle(false)
	w.code = w.label(append(w.code, 0x0c), b.level)
}

// jumps takes br_table. To a loop it leads to where a charge is due, for it may
// lead elsewhere as well.
func (w *walker) jumps() error {
	at := w.at - 1
	n := w.count()
	w.shape.labels += n
	first := w.at
	leaves := false
	for range n + 1 {
		l := w.u32()
		if !w.branch(l) {
			return errIndex
		}
		leaves = leaves || int(l) == len(w.blocks)-1
	}
	if w.bad {
		return errCut
	}
	w.flush(at)
	if leaves && w.lapped && !w.dead {
		w.settle(true)
	}
	w.code = binary.AppendUvarint(append(w.code, 0x0e), uint64(n))
	w.at = first
	for range n + 1 {
		b := &w.blocks[len(w.blocks)-1-int(w.u32())]
		w.code = w.label(w.code, b.outer())
	}
	w.copied, w.dead = w.at, true
	w.resume.table(w, first, n)
	return nil
}

// outer is the level of a block, or of the loop around it.
func (b *block) outer() int {
	if b.wrapped {
		return b.level - 1
	}
	return b.level
}

// branch is a jump from here to a label.
func (w *walker) branch(l uint32) bool {
	if uint64(l) >= uint64(len(w.blocks)) {
		return false
	}
	b := &w.blocks[len(w.blocks)-1-int(l)]
	if b.op != opLoop {
		b.join(w.since, w.deep, w.dead)
	}
	if !w.dead {
		w.shape.depth += w.deep
	}
	w.shape.passed += b.passes
	return true
}

func (b *block) join(since, deep int, dead bool) {
	switch {
	case dead:
	case b.reached:
		b.since, b.deep = max(b.since, since), min(b.deep, deep)
	default:
		b.since, b.deep, b.reached = since, deep, true
	}
}

// basic begins a basic block at a depth.
func (w *walker) basic(deep int) {
	w.deep = deep
	w.values.segment++
	if !w.dead {
		w.shape.basic++
		w.shape.depth += deep
	}
}

// charged is what a charge does that was put in here.
func (w *walker) charged() {
	w.since = 0
	w.basic(w.deep + 1)
	w.basic(w.deep)
	w.basic(w.deep)
}
