package lambda

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// Guests are modules written down by hand, a few hundred bytes each: what they do the tests
// of the engine show with real ones.

const (
	i32 = "\x7f"
	i64 = "\x7e"

	answerAt = 1024 // address of what a guest answers
)

type guestFunc struct {
	name            string // exported under; empty: not
	params, results string
	code            []byte // without the final end
}

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

func i32Const(v int32) []byte { return append([]byte{0x41}, sleb(int64(v))...) }
func i64Const(v int64) []byte { return append([]byte{0x42}, sleb(v)...) }
func str(s string) []byte     { return append(leb(uint64(len(s))), s...) }

func vector(items ...[]byte) []byte {
	return append(leb(uint64(len(items))), slices.Concat(items...)...)
}

// module has functions of WASI with the given numbers of i32 parameters, then its own, and
// data at answerAt.
func module(pages uint64, wasi map[string]int, data []byte, funcs ...guestFunc) []byte {
	var types, imports, declared, exports, code [][]byte
	typ := func(params, results string) []byte {
		types = append(types, slices.Concat([]byte{0x60}, str(params), str(results)))
		return leb(uint64(len(types) - 1))
	}
	for _, name := range []string{"fd_read", "fd_write", "proc_exit"} { // in this order
		if n, ok := wasi[name]; ok {
			result := i32
			if name == "proc_exit" {
				result = ""
			}
			imports = append(imports, slices.Concat(str("wasi_snapshot_preview1"), str(name), []byte{0}, typ(string(bytes.Repeat([]byte(i32), n)), result)))
		}
	}
	for n, f := range funcs {
		declared = append(declared, typ(f.params, f.results))
		body := slices.Concat([]byte{0}, f.code, []byte{0x0b})
		code = append(code, append(leb(uint64(len(body))), body...))
		if f.name != "" {
			exports = append(exports, slices.Concat(str(f.name), []byte{0}, leb(uint64(len(imports)+n))))
		}
	}
	exports = append(exports, slices.Concat(str("memory"), []byte{2, 0}))
	b := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, body []byte) { b = slices.Concat(b, []byte{id}, leb(uint64(len(body))), body) }
	section(1, vector(types...))
	section(2, vector(imports...))
	section(3, vector(declared...))
	section(5, vector(append([]byte{0}, leb(pages)...)))
	section(7, vector(exports...))
	section(10, vector(code...))
	section(11, vector(slices.Concat([]byte{0}, i32Const(answerAt), []byte{0x0b}, str(string(data)))))
	return b
}

// reactor is a module of grade json that does code when it is invoked.
func reactor(pages uint64, wasi map[string]int, data, code []byte) []byte {
	return module(pages, wasi, data,
		guestFunc{"wm_abi_version", "", i32, i32Const(1)},
		guestFunc{"wm_alloc", i32, i32, i32Const(4096)},
		guestFunc{"wm_json", i32, i64, code})
}

// message is a response with sections, given as pairs of tag and content.
func message(status uint16, sections ...any) []byte {
	b := binary.LittleEndian.AppendUint16(append([]byte("WMR1"), 1, 0), status)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	for i := 0; i < len(sections); i += 2 {
		b = binary.LittleEndian.AppendUint32(b, uint32(sections[i].(int)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(sections[i+1].(string))))
		b = append(b, sections[i+1].(string)...)
		b = append(b, make([]byte, -len(b)&7)...)
	}
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)))
	return b
}

// answering returns a response as it is.
func answering(response []byte) []byte {
	return reactor(2, nil, response, i64Const(answerAt<<32|int64(len(response))))
}

// returning returns JSON.
func returning(json string) []byte { return answering(message(0, 1, json)) }

// failing returns an error.
func failing(kind, text string) []byte { return answering(message(1, 16, kind, 17, text)) }

// looping never returns.
func looping() []byte {
	return reactor(1, nil, nil, slices.Concat([]byte{0x03, 0x40, 0x0c, 0, 0x0b}, i64Const(0))) // loop; br 0; end
}

// exiting ends its process.
func exiting(status int32) []byte {
	return reactor(1, map[string]int{"proc_exit": 1}, nil, slices.Concat(i32Const(status), []byte{0x10, 0}, i64Const(0)))
}

// flooding returns more than a function may: seven million bytes of zeros.
func flooding() []byte {
	const size = 7 << 20
	head := message(0, 1, "")
	binary.LittleEndian.PutUint32(head[8:], uint32(len(head)+size))
	binary.LittleEndian.PutUint32(head[20:], size)
	return reactor(128, nil, head, i64Const(answerAt<<32|int64(len(head)+size)))
}

// echoing is a command that returns its event, and writes a line to its log.
func echoing() []byte {
	const line, event = answerAt + 64, 4096
	data := make([]byte, 64) // two vectors of WASI's: where the event goes, and the line
	binary.LittleEndian.PutUint32(data[0:], event)
	binary.LittleEndian.PutUint32(data[4:], 60_000)
	binary.LittleEndian.PutUint32(data[8:], line)
	binary.LittleEndian.PutUint32(data[12:], uint32(len("hello\n")))
	data = append(data, "hello\n"...)
	call := func(f byte, fd int32, vector, done int32) []byte {
		return slices.Concat(i32Const(fd), i32Const(vector), i32Const(1), i32Const(done), []byte{0x10, f, 0x1a})
	}
	return module(2, map[string]int{"fd_read": 4, "fd_write": 4}, data, guestFunc{"_start", "", "", slices.Concat(
		call(0, 0, answerAt, answerAt+4), // what was read becomes the vector's length
		call(1, 2, answerAt+8, answerAt+16),
		call(1, 1, answerAt, answerAt+16),
	)})
}

// zipped is code as AWS's tools upload it.
func zipped(t testing.TB, name string, code []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create(name)
	if err == nil {
		_, err = f.Write(code)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
