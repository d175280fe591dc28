package module

import (
	"bytes"
	"fmt"
	"math/rand/v2"
)

// A generator makes valid modules at random. Whatever they do ends: every loop
// and every call takes a step off a global and traps when none is left.
type generator struct {
	*rand.Rand
	a        assembly
	sigs     []Signature // of functions, imported one first
	globals  []byte      // kinds; the first is the steps, then a mutable and a fixed one of each kind
	tables   bool        // uses instructions that change tables and segments
	vectors  bool
	f        int // the function being made
	locals   []byte
	labels   []jump
	left     int // instructions to spend
	calls    bool
	segments int
}

// jump is what a branch needs: the type of what it takes along, or 0.
type jump struct{ kind byte }

const kinds = "\x7f\x7e\x7d\x7c"

// generate makes a module by a seed. Its functions f0, f1 … take and give
// numbers.
func generate(seed uint64) (assembly, []Signature) {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 1))}
	g.tables, g.vectors = g.IntN(4) == 0, g.IntN(2) == 0
	a := &g.a
	a.imports = [][]byte{imports("test", "add", kindFunc, a.typ(i32+i32, i32))}
	g.sigs = []Signature{{i32 + i32, i32}}
	for range 2 + g.IntN(5) {
		g.sigs = append(g.sigs, Signature{g.types(3), g.types(1)})
	}
	for range g.IntN(3) { // which a block may have
		a.typ(g.types(2), g.types(2))
	}
	a.memory = []byte{1, 1, 3}
	a.tables = [][]byte{{0x70, 1, 10, 20}}
	a.globals = [][]byte{mutable(0x7f, i32Const(800))}
	g.globals = []byte{0x7f}
	for _, k := range []byte(kinds) {
		for m := range byte(2) {
			a.globals = append(a.globals, cat([]byte{k, m}, g.constant(k), []byte{0x0b}))
			g.globals = append(g.globals, k)
		}
	}
	for i := range g.globals {
		a.exports = append(a.exports, cat(str(fmt.Sprint("g", i)), []byte{kindGlobal, byte(i)}))
	}
	var all []byte
	for i := range g.sigs {
		all = append(all, byte(i))
	}
	a.elements = [][]byte{cat([]byte{0}, i32Const(1), []byte{0x0b}, str(string(all))), cat([]byte{1, 0}, str(string(all)))}
	for range g.IntN(4) {
		a.data = append(a.data, active(int32(g.IntN(65000)), fmt.Sprint("data", g.Uint64())))
	}
	a.data = append(a.data, passive("passive data"))
	g.segments = len(a.data)
	a.count = true
	for g.f = 1; g.f < len(g.sigs); g.f++ {
		a.funcs = append(a.funcs, g.function())
	}
	if g.IntN(3) == 0 {
		g.sigs = append(g.sigs, Signature{})
		a.funcs = append(a.funcs, g.function())
		n := g.f
		a.start = &n
	}
	var names []byte
	for i := range g.sigs {
		names = append(names, cat([]byte{byte(i)}, str(fmt.Sprint("name", i)))...)
	}
	sub := cat(leb(uint64(len(g.sigs))), names)
	a.custom = [][]byte{cat(str("producers"), []byte{0}), cat(str("name"), sectionOf(1, sub))}
	return g.a, g.sigs
}

func (g *generator) types(most int) string {
	b := make([]byte, g.IntN(most+1))
	for i := range b {
		b[i] = kinds[g.IntN(4)]
	}
	return string(b)
}

func (g *generator) function() fn {
	s := g.sigs[g.f]
	f := fn{params: s.Params, results: s.Results}
	if g.f < 100 {
		f.name = fmt.Sprint("f", g.f)
	}
	g.locals = []byte(s.Params)
	extra := kinds + kinds
	if g.vectors {
		extra += "\x7b"
	}
	for _, k := range []byte(extra) {
		n := g.IntN(3)
		g.locals = append(g.locals, bytes.Repeat([]byte{k}, n)...)
	}
	kind := byte(0)
	if len(s.Results) > 0 {
		kind = s.Results[0]
	}
	g.labels = []jump{{kind}}
	g.left = 40 + g.IntN(300)
	g.calls = false
	var head []byte
	if pc := bytes.IndexByte(g.locals, 0x7f); pc >= 0 && g.IntN(3) == 0 {
		head = g.resumed(byte(pc))
	}
	f.code = g.statements(6)
	if kind != 0 {
		f.code = append(f.code, g.value(kind, 4)...)
	}
	if g.calls || g.IntN(4) > 0 { // what does not call ends by itself
		f.code = cat(head, g.step(), f.code)
	} else {
		f.code = cat(head, f.code)
	}
	var groups [][]byte
	for _, k := range g.locals[len(s.Params):] { // some were added for what is in the code
		groups = append(groups, []byte{1, k})
	}
	f.locals = vec(groups...)
	return f
}

// step takes one off, and traps when none is left.
func (g *generator) step() []byte {
	return cat([]byte{0x23, 0, 0x45, 0x04, 0x40, 0x00, 0x0b, 0x23, 0}, i32Const(1), []byte{0x6b, 0x24, 0})
}

// resumed is a loop as Go wraps a function in: it goes on behind the block that
// pc says, and jumps back to it set pc.
func (g *generator) resumed(pc byte) []byte {
	n := 1 + g.IntN(5)
	g.labels = append(g.labels, jump{}, jump{0xff})
	code := cat([]byte{0x02, 0x40, 0x03, 0x40}, bytes.Repeat([]byte{0x02, 0x40}, n), []byte{0x20, pc, 0x0e}, leb(uint64(n)))
	for i := range n {
		g.labels = append(g.labels, jump{})
		code = append(code, byte(i))
	}
	code = append(code, byte(n+1))
	for i := range n {
		g.labels = g.labels[:len(g.labels)-1]
		code = cat(code, []byte{0x0b}, g.step(), g.statements(4))
		for range g.IntN(3) {
			code = cat(code, g.value(0x7f, 2), []byte{0x04, 0x40}, i32Const(int32(g.IntN(n))), []byte{0x21, pc, 0x0c, byte(n - i), 0x0b})
		}
	}
	g.labels = g.labels[:len(g.labels)-2]
	return append(code, 0x0b, 0x0b)
}

func (g *generator) statements(depth int) (code []byte) {
	for range g.IntN(5) {
		code = append(code, g.statement(depth)...)
	}
	return code
}

func (g *generator) statement(depth int) []byte {
	if g.left--; g.left < 0 || depth == 0 {
		return []byte{0x01}
	}
	d := depth - 1
	switch g.IntN(19) {
	case 0, 1: // a block, the branch out of it in it
		g.labels = append(g.labels, jump{})
		body := g.statements(d)
		g.labels = g.labels[:len(g.labels)-1]
		return cat([]byte{0x02, 0x40}, body, []byte{0x0b})
	case 2, 3: // a loop, which branches in it may go to as well
		g.labels = append(g.labels, jump{})
		body := g.statements(d)
		again := g.value(0x7f, d)
		g.labels = g.labels[:len(g.labels)-1]
		return cat([]byte{0x03, 0x40}, g.step(), body, again, i32Const(int32(g.IntN(16))), []byte{0x71, 0x0d, 0, 0x0b})
	case 4, 5:
		cond := g.value(0x7f, d)
		g.labels = append(g.labels, jump{})
		then, other := g.statements(d), g.statements(d)
		g.labels = g.labels[:len(g.labels)-1]
		if g.IntN(2) == 0 {
			return cat(cond, []byte{0x04, 0x40}, then, []byte{0x0b})
		}
		return cat(cond, []byte{0x04, 0x40}, then, []byte{0x05}, other, []byte{0x0b})
	case 6: // br_if, br, br_table to whatever takes nothing along, a return among them
		to := g.target()
		if to < 0 {
			return []byte{0x01}
		}
		switch g.IntN(3) {
		case 0:
			return cat(g.value(0x7f, d), []byte{0x04, 0x40, 0x0c, byte(to + 1), 0x0b})
		case 1:
			n := g.IntN(6)
			code := cat([]byte{0x02, 0x40}, g.value(0x7f, d), []byte{0x41, 7, 0x71, 0x0e, byte(n + 1), byte(to + 1)})
			for range n {
				code = append(code, byte(max(to, g.target())+1))
			}
			return append(code, byte(g.IntN(2)*(to+1)), 0x0b)
		}
		return cat(g.value(0x7f, d), []byte{0x0d, byte(to)})
	case 7, 8:
		i := g.IntN(len(g.locals) + 1)
		if i == len(g.locals) {
			return []byte{0x01}
		}
		return cat(g.value(g.locals[i], d), []byte{0x21, byte(i)})
	case 9:
		i := 1 + 2*g.IntN(4) + 1 // the mutable ones
		return cat(g.value(g.globals[i], d), []byte{0x24, byte(i)})
	case 10, 11, 12:
		return g.store(d)
	case 13:
		f := g.IntN(len(g.sigs))
		return cat(g.arguments(f, d), []byte{0x10, byte(f)}, bytes.Repeat([]byte{0x1a}, len(g.sigs[f].Results)))
	case 14:
		k := kinds[g.IntN(4)]
		return cat(g.value(k, d), []byte{0x1a})
	case 15, 16:
		return g.bulk(d)
	case 17:
		if g.IntN(20) > 0 {
			return []byte{0x01}
		}
		return cat(g.value(0x7f, d), []byte{0x04, 0x40, 0x00, 0x0b})
	default:
		if l := g.labels[0].kind; l != 0 {
			return cat(g.value(0x7f, d), []byte{0x04, 0x40}, g.value(l, d), []byte{0x0f, 0x0b})
		}
		return cat(g.value(0x7f, d), []byte{0x04, 0x40, 0x0f, 0x0b})
	}
}

// target is a label that a branch may go to without a value, or -1.
func (g *generator) target() int {
	for range 4 {
		i := g.IntN(len(g.labels))
		if g.labels[i].kind == 0 {
			return len(g.labels) - 1 - i
		}
	}
	return -1
}

func (g *generator) address(d int) []byte {
	switch g.IntN(30) {
	case 0:
		return g.value(0x7f, d)
	case 1:
		return i32Const(65530 + int32(g.IntN(10)))
	}
	return cat(g.value(0x7f, d), i32Const(0xfff8), []byte{0x71})
}

func (g *generator) store(d int) []byte {
	i := g.IntN(9)
	kind := []byte{0x7f, 0x7e, 0x7d, 0x7c, 0x7f, 0x7f, 0x7e, 0x7e, 0x7e}[i]
	if g.vectors && g.IntN(4) == 0 {
		return cat(g.address(d), g.value(0x7b, d), []byte{0xfd, 11, 0, 0})
	}
	v := g.value(kind, d)
	if kind == 0x7d || kind == 0x7c { // what is not a number has many forms
		v = cat(v, []byte{0xfc, map[byte]byte{0x7d: 4, 0x7c: 6}[kind]})
		i = 1
	}
	return cat(g.address(d), v, []byte{0x36 + byte(i), 0, byte(g.IntN(9))})
}

func (g *generator) length(d int) []byte {
	if g.IntN(12) == 0 {
		return g.value(0x7f, d)
	}
	return i32Const(int32(g.IntN(3000)))
}

func (g *generator) bulk(d int) []byte {
	three := func() []byte { return cat(g.address(d), g.address(d), g.length(d)) }
	small := func() []byte {
		return cat(i32Const(int32(g.IntN(6))), i32Const(int32(g.IntN(3))), i32Const(int32(g.IntN(3))))
	}
	n := 4
	if g.tables {
		n = 12
	}
	switch g.IntN(n) {
	case 0:
		return cat(three(), []byte{0xfc, memoryFill, 0})
	case 1:
		return cat(three(), []byte{0xfc, memoryCopy, 0, 0})
	case 2:
		// Of the passive one alone: the engine leaves active ones to be read
		// again, by the standard they are empty once written.
		return cat(g.address(d), i32Const(int32(g.IntN(12))), i32Const(int32(g.IntN(5))), []byte{0xfc, memoryInit, byte(g.segments - 1), 0})
	case 3:
		return cat(i32Const(int32(g.IntN(2))), []byte{0x40, 0, 0x1a})
	case 4:
		return []byte{0xfc, dataDrop, byte(g.IntN(g.segments))}
	case 5:
		return cat(small(), []byte{0xfc, tableInit, 1, 0})
	case 6:
		return []byte{0xfc, elemDrop, byte(g.IntN(2))}
	case 7:
		return cat(small(), []byte{0xfc, tableCopy, 0, 0})
	case 8:
		return cat([]byte{0xd0, 0x70}, i32Const(int32(g.IntN(3))), []byte{0xfc, tableGrow, 0, 0x1a})
	case 9:
		return cat(i32Const(int32(g.IntN(12))), []byte{0xd2, byte(g.IntN(len(g.sigs)))}, i32Const(int32(g.IntN(3))), []byte{0xfc, tableFill, 0})
	case 10:
		return cat(i32Const(int32(g.IntN(12))), []byte{0xd2, byte(g.IntN(len(g.sigs))), 0x26, 0})
	}
	return cat(i32Const(int32(g.IntN(12))), []byte{0x25, 0, 0xd1, 0x1a})
}

// arguments are for a call.
func (g *generator) arguments(f, d int) (code []byte) {
	g.calls = true
	for _, k := range []byte(g.sigs[f].Params) {
		code = append(code, g.value(k, d)...)
	}
	return code
}

func (g *generator) constant(kind byte) []byte {
	switch kind {
	case 0x7f:
		return i32Const([]int32{0, 1, -1, 7, 1 << 30, -1 << 31, int32(g.Uint32())}[g.IntN(7)])
	case 0x7e:
		return i64Const([]int64{0, 1, -1, 1 << 40, -1 << 63, int64(g.Uint64())}[g.IntN(6)])
	case 0x7d:
		return []byte{0x43, 0, 0, byte(g.IntN(256)), byte(0x3e + g.IntN(5))}
	case 0x7c:
		return []byte{0x44, 0, 0, 0, 0, 0, 0, byte(g.IntN(256)), byte(0x3e + g.IntN(3))}
	}
	out := []byte{0xfd, 12}
	for range 16 {
		out = append(out, byte(g.Uint32()))
	}
	return out
}

// value is code that leaves one.
func (g *generator) value(kind byte, depth int) []byte {
	if g.left--; g.left < 0 || depth <= 0 {
		return g.constant(kind)
	}
	d := depth - 1
	switch g.IntN(10) {
	case 0:
		return g.constant(kind)
	case 1, 2:
		for range 4 {
			if i := g.IntN(len(g.locals) + 1); i < len(g.locals) && g.locals[i] == kind {
				if g.IntN(4) == 0 {
					return cat(g.value(kind, d), []byte{0x22, byte(i)})
				}
				return []byte{0x20, byte(i)}
			}
		}
		return g.constant(kind)
	case 3:
		if i := bytes.IndexByte([]byte(kinds), kind); i >= 0 {
			return []byte{0x23, byte(1 + 2*i + g.IntN(2))}
		}
	case 4: // a call
		for range 3 {
			if f := g.IntN(len(g.sigs)); g.sigs[f].Results == string(kind) {
				if g.IntN(2) == 0 {
					return cat(g.arguments(f, d), i32Const(int32(1+f)), []byte{0x11}, g.a.typ(g.sigs[f].Params, g.sigs[f].Results), []byte{0})
				}
				return cat(g.arguments(f, d), []byte{0x10, byte(f)})
			}
		}
	case 5: // a block that has a value, which branches to it take along
		op := byte(0x02)
		if g.IntN(2) == 0 {
			op = 0x04
		}
		cond := g.value(0x7f, d)
		g.labels = append(g.labels, jump{kind})
		body := cat(g.statements(d), g.value(kind, d))
		if g.IntN(2) == 0 {
			body = cat(body, g.value(0x7f, d), []byte{0x0d, 0})
		}
		other := g.value(kind, d)
		g.labels = g.labels[:len(g.labels)-1]
		if op == 0x04 {
			return cat(cond, []byte{op, kind}, body, []byte{0x05}, other, []byte{0x0b})
		}
		return cat([]byte{op, kind}, body, []byte{0x0b})
	case 6: // a loop that takes values
		if kind != 0x7b {
			more := "" // below it, all the while
			if len(g.locals) < 100 {
				more = g.types(2)
			}
			t := g.a.typ(more+string(kind), more+string(kind))
			var below []byte
			for _, k := range []byte(more) {
				below = append(below, g.value(k, d)...)
			}
			g.labels = append(g.labels, jump{0xff})
			body := g.statements(d)
			again := g.value(0x7f, d)
			g.labels = g.labels[:len(g.labels)-1]
			code := cat(below, g.value(kind, d), []byte{0x03}, t, g.step(), body, again, i32Const(7), []byte{0x71, 0x0d, 0, 0x0b})
			if more == "" {
				return code
			}
			g.locals = append(g.locals, kind) // for the value, while those below it go
			code = cat(code, []byte{0x21}, leb(uint64(len(g.locals)-1)), bytes.Repeat([]byte{0x1a}, len(more)))
			return cat(code, []byte{0x20}, leb(uint64(len(g.locals)-1)))
		}
	}
	return g.operation(kind, d)
}

func (g *generator) operation(kind byte, d int) []byte {
	v := func(k byte) []byte { return g.value(k, d) }
	pick := func(from, to byte) byte { return from + byte(g.IntN(int(to-from)+1)) }
	two := func(k, op byte) []byte { return cat(v(k), v(k), []byte{op}) }
	load := func(ops string) []byte { return cat(g.address(d), []byte{ops[g.IntN(len(ops))], 0, byte(g.IntN(5))}) }
	if g.IntN(12) == 0 {
		if kind != 0x7b && g.IntN(2) == 0 {
			return cat(v(kind), v(kind), v(0x7f), []byte{0x1b})
		}
		return cat(v(kind), v(kind), v(0x7f), []byte{0x1c, 1, kind})
	}
	switch kind {
	case 0x7f:
		switch g.IntN(12) {
		case 0:
			return load("\x28\x2c\x2d\x2e\x2f")
		case 1:
			return cat(v(0x7f), []byte{[]byte{0x45, 0x67, 0x68, 0x69, 0xc0, 0xc1}[g.IntN(6)]})
		case 2:
			return two(0x7e, pick(0x51, 0x5a))
		case 3:
			return two(0x7d, pick(0x5b, 0x60))
		case 4:
			return two(0x7c, pick(0x61, 0x66))
		case 5:
			return cat(v(0x7e), []byte{[]byte{0x50, 0xa7}[g.IntN(2)]})
		case 6:
			if g.IntN(3) == 0 {
				return cat(v(0x7c), []byte{pick(0xaa, 0xab)}) // may trap
			}
			return cat(v(0x7d), []byte{0xfc, pick(0, 1)})
		case 7:
			return []byte{0x3f, 0}
		case 8:
			if g.vectors {
				return cat(v(0x7b), [][]byte{{0xfd, 0x53}, {0xfd, 0x63}, {0xfd, 0x64}, {0xfd, 0x15, 3}, {0xfd, 0x19, 7}, {0xfd, 0x1b, 1}, {0xfd, 0xc3, 1}}[g.IntN(7)])
			}
		}
		return two(0x7f, []byte{pick(0x46, 0x4f), pick(0x6a, 0x6c), pick(0x71, 0x78), pick(0x6d, 0x78)}[g.IntN(4)])
	case 0x7e:
		switch g.IntN(8) {
		case 0:
			return load("\x29\x30\x31\x32\x33\x34\x35")
		case 1:
			return cat(v(0x7e), []byte{[]byte{0x79, 0x7a, 0x7b, 0xc2, 0xc3, 0xc4}[g.IntN(6)]})
		case 2:
			return cat(v(0x7f), []byte{pick(0xac, 0xad)})
		case 3:
			return cat(v(0x7c), []byte{0xfc, pick(6, 7)})
		case 4:
			if g.vectors {
				return cat(v(0x7b), []byte{0xfd, 0x1d, 1})
			}
		}
		return two(0x7e, []byte{pick(0x7c, 0x7e), pick(0x83, 0x8a), pick(0x7f, 0x8a)}[g.IntN(3)])
	case 0x7d:
		switch g.IntN(4) {
		case 0:
			return cat(v(0x7f), []byte{pick(0xb2, 0xb3)})
		case 1:
			return cat(v(0x7d), []byte{pick(0x8b, 0x91)})
		}
		return two(0x7d, pick(0x92, 0x97))
	case 0x7c:
		switch g.IntN(4) {
		case 0:
			return cat(v(0x7e), []byte{pick(0xb9, 0xba)})
		case 1:
			return cat(v(0x7c), []byte{pick(0x99, 0x9f)})
		case 2:
			return cat(v(0x7d), []byte{0xbb})
		}
		return two(0x7c, pick(0xa0, 0xa5))
	}
	switch g.IntN(8) { // vectors, of whole numbers
	case 0:
		return cat(g.address(d), []byte{0xfd, pick(0, 10), 0, 1})
	case 1:
		return cat(v(0x7f), []byte{0xfd, pick(0x0f, 0x11)})
	case 2:
		return cat(v(0x7b), v(0x7b), []byte{0xfd, 13}, bytes.Repeat([]byte{byte(g.IntN(32))}, 16))
	case 3:
		return cat(g.address(d), v(0x7b), []byte{0xfd, 0x54, 0, 0, byte(g.IntN(16))})
	case 4:
		return cat(v(0x7b), v(0x7f), []byte{0xfd, []byte{0x6b, 0x6c, 0x6d}[g.IntN(3)]})
	case 5:
		return cat(v(0x7b), v(0x7f), []byte{0xfd, 0x1c, byte(g.IntN(4))})
	case 6:
		return cat(v(0x7b), [][]byte{{0xfd, 0x4d}, {0xfd, 0x60}, {0xfd, 0x61}, {0xfd, 0x62}, {0xfd, 0x80, 1}, {0xfd, 0x81, 1}, {0xfd, 0xa0, 1}, {0xfd, 0xc1, 1}}[g.IntN(8)])
	}
	return cat(v(0x7b), v(0x7b), [][]byte{{0xfd, pick(0x23, 0x2c)}, {0xfd, pick(0x4e, 0x51)}, {0xfd, pick(0x6e, 0x73)}, {0xfd, 0x8e, 1}, {0xfd, 0xae, 1}, {0xfd, 0xb5, 1}, {0xfd, 0xce, 1}, {0xfd, 0xba, 1}}[g.IntN(8)])
}
