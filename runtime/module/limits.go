package module

import "fmt"

// How large the parts of a module may be.
const (
	maxTypes     = 1 << 16
	maxValues    = 1000 // parameters or results of a function
	maxImports   = 1 << 12
	maxFunctions = 1 << 18
	maxTables    = 16
	maxGlobals   = 1 << 16
	maxExports   = 1 << 16
	maxSegments  = 1 << 20
	maxElements  = 1 << 20
	maxPages     = 1 << 16 // 4 GiB
	maxLocals    = 1 << 14 // of a function, with its parameters
	maxAllLocals = 1 << 22
	maxAllValues = 1 << 20 // parameters and results of all types

	// maxTable bounds the elements of a table: each costs 8 bytes of host memory
	// outside the function's limit. Go needs one an indirect function.
	maxTable = 1 << 20
)

// What one body may be made of, so that it compiles within seconds and in less
// than half a gigabyte. Its length does not matter, for straight code costs the
// compiler what it should; but blocks, variables and values cost more the more
// there are of them. Figures are wazero 1.12's, charges included, on one core of
// a 2023 server, beside the largest function of a Go handler with aws-sdk-go-v2
// (479 KB, 21,000 basic blocks) and of QuickJS:
//
//   - The compiler climbs the tree of dominators for every basic block and every
//     jump, at 30 ns a step. 12,000 ifs in a row, 60 KB, are 4.6 s. The Go function
//     has 430,000 steps in all, as one br_table leads to most of its blocks.
//   - A basic block takes 6 KB, and one that br_table jumps to 15 us to 50 us.
//   - Variables that live across blocks are passed from block to block and held
//     against each other, at about 10 ns a pair and 1 KB a variable and block. Go:
//     1.3 million pairs, QuickJS 6.5 million.
//   - A division or truncation has ways out to its traps: 7 KB and 15 us each.
//   - A value passed in or out of calls and blocks takes 2.5 us and 0.4 KB. Go: 7,000.
const (
	maxDepth  = 30e6    // dominators of all basic blocks and jumps together
	maxBasic  = 1 << 16 // basic blocks
	maxLabels = 1 << 16 // places to jump to in br_table
	maxPairs  = 250e6   // variables x variables x basic blocks
	maxLive   = 1 << 20 // variables x basic blocks
	maxPassed = 1 << 18
	maxTraps  = 1 << 16

	// maxTotal bounds the same of all bodies together, in nanoseconds. The Go
	// module above, 20 MB, has 6e9.
	maxTotal = 60e9
)

// shape is what of a body makes it long to compile.
type shape struct {
	loops  int
	basic  int // basic blocks
	depth  int // by how many others they are dominated, summed up, and jumps from them
	labels int // of br_table
	passed int // values, by calls and blocks
	traps  int // divisions and truncations
}

// values finds the variables that live across basic blocks.
type values struct {
	segment  uint64   // the basic block now; counts on from body to body
	set      []uint64 // where each variable was set last
	crossing []uint64 // in which body each was found to live across blocks
	body     uint64   // segment that it began with
	n        int
}

func (v *values) begin(locals int) {
	v.segment++
	v.body, v.n = v.segment, 0
	for len(v.set) < locals {
		v.set, v.crossing = append(v.set, 0), append(v.crossing, 0)
	}
}

func (v *values) local(i uint32, set bool) {
	if set {
		v.set[i] = v.segment
	} else if v.set[i] != v.segment && v.segment != v.body && v.crossing[i] != v.body {
		v.crossing[i] = v.body
		v.n++
	}
}

// tooLong says why a body would be too long to compile.
func (w *walker) tooLong() error {
	const why = ", which would take too long to compile; split it up, or build it with optimizations and less inlining"
	s, n := w.shape, w.values.n
	switch {
	case s.depth > maxDepth || s.basic > maxBasic || len(w.blocks) > maxBasic:
		return fmt.Errorf("has too many blocks, loops and jumps (%d), one behind or inside the other%s", max(s.basic, len(w.blocks)), why)
	case s.labels > maxLabels:
		return fmt.Errorf("has %d places to jump to in br_table, at most %d are taken%s", s.labels, maxLabels, why)
	case n*n*s.basic > maxPairs || n*s.basic > maxLive:
		return fmt.Errorf("has too many variables (%d) that live across its blocks (%d)%s", n, s.basic, why)
	case s.passed > maxPassed:
		return fmt.Errorf("passes %d values in and out of calls and blocks, at most %d are taken%s", s.passed, maxPassed, why)
	case s.traps > maxTraps:
		return fmt.Errorf("has %d divisions and truncations, at most %d are taken%s", s.traps, maxTraps, why)
	}
	w.total += 30*s.depth + 10*n*n*s.basic + 15_000*s.labels + 2_500*s.passed + 15_000*s.traps
	if w.total > maxTotal {
		return fmt.Errorf("and those before it have too many blocks, jumps and variables in them altogether%s", why)
	}
	return nil
}

func tooMany(what string, n, most int) error {
	return fmt.Errorf("it has %d %s, at most %d are taken; split it up, or have the compiler generate less", n, what, most)
}
