package module

// resume knows the loop that Go wraps a function in, to go on anywhere in it. It
// begins with blocks in each other and a br_table that leads behind each of them;
// whoever wants to get there sets a local variable and jumps to the loop. Most
// such jumps lead to code that calls, and are charged at the head of the loop. A
// jump back over code that does not is a loop of the source, and a tight one.
type resume struct {
	head     int // which block it is, and 0 if there is none
	variable byte
	places   []int  // the block that each of them is behind
	ends     []int  // where blocks ended, 0 before
	called   int    // where the last call was
	last     [3]int // where this instruction and the two before begin
}

// resumes tells such a loop, whose body begins here.
func (w *walker) resumes() bool {
	b := w.b[w.at:]
	for len(b) > 2 && b[0] == opBlock && b[1] == 0x40 {
		b = b[2:]
	}
	if len(b) <= 3 || b[0] != 0x20 || b[1] >= 0x80 || b[2] != 0x0e {
		return false
	}
	w.resume.head, w.resume.variable = len(w.blocks), b[1]
	return true
}

func (r *resume) begin() { *r = resume{places: r.places[:0], ends: r.ends[:0]} }

// next takes the offset of an instruction.
func (r *resume) next(at int) { r.last = [3]int{at, r.last[0], r.last[1]} }

// table takes a br_table whose n labels and one more are at an offset.
func (r *resume) table(w *walker, labels, n int) {
	if r.head == 0 || len(r.places) > 0 {
		return
	}
	l := &reader{b: w.b, at: labels}
	for range n + 1 {
		r.places = append(r.places, len(w.blocks)-1-int(l.u32()))
	}
	r.ends = append(r.ends, make([]int, len(w.blocks))...)
}

// end takes where a block ended.
func (r *resume) end(block, at int) {
	if block < len(r.ends) && r.ends[block] == 0 {
		r.ends[block] = at
	}
}

// tightLap tells of a jump to the loop that was just read whether it is one back
// over code that does not call.
func (w *walker) tightLap() bool {
	r := &w.resume
	set := reader{b: w.b, at: r.last[2]}
	if set.byte() != 0x41 {
		return false
	}
	k := set.signed(32)
	if set.at != r.last[1] || set.byte() != 0x21 || set.byte() != r.variable || set.at != r.last[0] || k < 0 || k >= int64(len(r.places)) {
		return false
	}
	return r.ends[r.places[k]] > r.called
}
