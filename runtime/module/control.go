package module

import "errors"

// block is a control instruction that is open.
type block struct {
	op     byte
	passes int // values that a branch to it takes along
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

// open begins a block. Loops are counted at their head: the one that Go wraps a
// function in, which is passed once a call mostly, directly and for the entry as
// well; others by laps, see chargeLaps.
func (w *walker) open(op byte) error {
	b := block{op: op}
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
			if w.sure && w.resumes() {
				w.free = true
				w.code = append(w.code, w.one...)
				w.charged()
			} else {
				w.chargeLaps()
				w.charged()
				w.charged()
				w.since = stride - long
			}
		}
	}
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

func (w *walker) close() {
	b := &w.blocks[len(w.blocks)-1]
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

// resumes tells the loop that Go wraps a function in, to go on anywhere in it:
// blocks, a local variable, br_table.
func (w *walker) resumes() bool {
	b := w.b[w.at:]
	for len(b) > 2 && b[0] == opBlock && b[1] == 0x40 {
		b = b[2:]
	}
	return len(b) > 3 && b[0] == 0x20 && b[1] < 0x80 && b[2] == 0x0e
}

// charged is what a charge does that was put in here.
func (w *walker) charged() {
	w.since = 0
	w.basic(w.deep + 1)
	w.basic(w.deep)
	w.basic(w.deep)
}
