package sandbox

import (
	"encoding/binary"
	"slices"
)

// Small modules written down by hand, for what no toolchain would build.

func leb(v uint64) []byte { return binary.AppendUvarint(nil, v) }

func sleb(v int64) (b []byte) {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func i32c(v int32) []byte { return append([]byte{0x41}, sleb(int64(v))...) }

func vec(items ...[]byte) []byte {
	return append(leb(uint64(len(items))), slices.Concat(items...)...)
}

func str(s string) []byte { return append(leb(uint64(len(s))), s...) }

func sect(id byte, body []byte) []byte {
	return slices.Concat([]byte{id}, leb(uint64(len(body))), body)
}

type fn struct {
	params, results string
	code            []byte
}

// jsonModule is a module of grade json whose wm_json is code. Functions are: 0 the
// import fd_write, 1 wm_abi_version, 2 wm_alloc, 3 wm_json, 4 and on more. It answers
// with nothing where code returns by answerNothing.
func jsonModule(pages uint64, code []byte, more ...fn) []byte {
	const i32, i64 = "\x7f", "\x7e"
	funcs := append([]fn{{"", i32, i32c(1)}, {i32, i32, i32c(4096)}, {i32, i64, code}}, more...)
	types := [][]byte{slices.Concat([]byte{0x60}, str(i32+i32+i32+i32), str(i32))}
	var indexes, bodies [][]byte
	for i, f := range funcs {
		types = append(types, slices.Concat([]byte{0x60}, str(f.params), str(f.results)))
		indexes = append(indexes, leb(uint64(i+1)))
		body := slices.Concat([]byte{0}, f.code, []byte{0x0b})
		bodies = append(bodies, append(leb(uint64(len(body))), body...))
	}
	return slices.Concat([]byte("\x00asm\x01\x00\x00\x00"),
		sect(1, vec(types...)),
		sect(2, vec(slices.Concat(str("wasi_snapshot_preview1"), str("fd_write"), []byte{0, 0}))),
		sect(3, vec(indexes...)),
		sect(4, vec([]byte{0x70, 0, 1})),
		sect(5, vec(append([]byte{0}, leb(pages)...))),
		sect(7, vec(slices.Concat(str("memory"), []byte{2, 0}), slices.Concat(str("wm_abi_version"), []byte{0, 1}),
			slices.Concat(str("wm_alloc"), []byte{0, 2}), slices.Concat(str("wm_json"), []byte{0, 3}))),
		sect(10, vec(bodies...)),
		sect(11, vec(slices.Concat([]byte{0}, i32c(1024), []byte{0x0b}, str("WMR1\x01\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00")))),
	)
}

// answerNothing returns the message at 1024.
var answerNothing = append([]byte{0x42}, sleb(1024<<32|16)...)

// chain is a function that calls the next twice, and that the next, depth times.
func chain(depth int) []byte {
	var more []fn
	for i := range depth {
		next := leb(uint64(4 + i + 1))
		more = append(more, fn{code: slices.Concat([]byte{0x10}, next, []byte{0x10}, next)})
	}
	more = append(more, fn{code: []byte{0x01}})
	return jsonModule(1, slices.Concat([]byte{0x10}, leb(4), answerNothing), more...)
}

// fills fills 16 MB of memory n times, without a loop.
func fills(n int) []byte {
	one := slices.Concat(i32c(4096<<8), i32c(7), i32c(15<<20), []byte{0xfc, 0x0b, 0})
	return jsonModule(256, slices.Concat(slices.Repeat(one, n), answerNothing))
}

// hostCalls calls the host for ever: an empty write to standard output.
func hostCalls() []byte {
	return jsonModule(1, slices.Concat([]byte{0x03, 0x40}, // loop
		i32c(1), i32c(0), i32c(0), i32c(16), []byte{0x10, 0, 0x1a}, // fd_write, drop
		[]byte{0x0c, 0, 0x0b}, answerNothing)) // br 0, end
}

// writes writes 64 KB n times to standard output.
func writes(n int32) []byte {
	return jsonModule(3, slices.Concat(
		i32c(0), i32c(65536), []byte{0x36, 2, 0}, i32c(4), i32c(65536), []byte{0x36, 2, 0}, // one vector: 64 KB at 64 KB
		i32c(65536), i32c('z'), i32c(65535), []byte{0xfc, 0x0b, 0}, i32c(65536+65535), i32c('\n'), []byte{0x3a, 0, 0},
		[]byte{0x03, 0x40}, // loop
		i32c(1), i32c(0), i32c(1), i32c(16), []byte{0x10, 0, 0x1a},
		i32c(32), i32c(32), []byte{0x28, 2, 0}, i32c(1), []byte{0x6a, 0x36, 2, 0}, // counter at 32
		i32c(32), []byte{0x28, 2, 0}, i32c(n), []byte{0x49, 0x0d, 0, 0x0b}, // br_if less
		answerNothing))
}

// recursion calls itself for ever.
func recursion() []byte {
	return jsonModule(1, slices.Concat([]byte{0x10}, leb(4), answerNothing), fn{code: []byte{0x10, 4, 0x10, 4}})
}

// grownTable grows a table by 2^28 and traps if that works.
func grownTable() []byte {
	return jsonModule(1, slices.Concat([]byte{0xd0, 0x70}, i32c(1<<28), []byte{0xfc, 0x0f, 0}, i32c(-1), []byte{0x47, 0x04, 0x40, 0x00, 0x0b}, answerNothing))
}
