package kinesis

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/wasmill/wasmill/stream"
)

// cborTokens reads CBOR (RFC 8949) whose strings come in one piece.
type cborTokens struct {
	b     []byte // what is yet to be read
	bad   bool
	left  [3]uint64 // of the open lists and objects, innermost last: what is yet to come
	depth int
}

// The major types, and what else the first byte of an item may be.
const (
	cborUint   = 0
	cborBytes  = 2
	cborText   = 3
	cborArray  = 4
	cborMap    = 5
	cborTime   = 0xc1 // the tag of a time, seconds since 1970
	cborDouble = 0xfb
	cborBreak  = 0xff
	endless    = 1<<64 - 1 // the length of a list or object that ends with a break
)

func (t *cborTokens) refuse() { t.bad = true }

// head reads the first bytes of an item of that type: its value or length.
func (t *cborTokens) head(major byte) uint64 {
	if t.bad || len(t.b) == 0 || t.b[0]>>5 != major {
		t.bad = true
		return 0
	}
	n := uint64(t.b[0] & 31)
	t.b = t.b[1:]
	if n < 24 {
		return n
	}
	size := 1 << (n - 24) // bytes of the number
	switch {
	case n == 31 && (major == cborArray || major == cborMap):
		return endless
	case n > 27 || len(t.b) < size:
		t.bad = true
		return 0
	case n == 24:
		n = uint64(t.b[0])
	case n == 25:
		n = uint64(binary.BigEndian.Uint16(t.b))
	case n == 26:
		n = uint64(binary.BigEndian.Uint32(t.b))
	default:
		n = binary.BigEndian.Uint64(t.b)
	}
	t.b = t.b[size:]
	if n == endless {
		t.bad = true
	}
	return n
}

func (t *cborTokens) open(list bool) {
	major := byte(cborMap)
	if list {
		major = cborArray
	}
	n := t.head(major)
	if t.depth == len(t.left) {
		t.bad = true
		return
	}
	t.left[t.depth] = n
	t.depth++
}

func (t *cborTokens) more() bool {
	if t.bad {
		return false
	}
	switch left := &t.left[t.depth-1]; {
	case *left == endless && len(t.b) > 0 && t.b[0] == cborBreak:
		t.b = t.b[1:]
		t.depth--
		return false
	case *left == endless:
		return true
	case *left == 0:
		t.depth--
		return false
	default:
		*left--
		return true
	}
}

func (t *cborTokens) take(major byte) []byte {
	n := t.head(major)
	if t.bad || n > uint64(len(t.b)) {
		t.bad = true
		return nil
	}
	b := t.b[:n:n]
	t.b = t.b[n:]
	return b
}

func (t *cborTokens) name() []byte { return t.take(cborText) }

func (t *cborTokens) text() string {
	b := t.take(cborText)
	if len(b) == 0 || !utf8.Valid(b) {
		t.bad = true
		return ""
	}
	return string(b)
}

func (t *cborTokens) blob() []byte { return t.take(cborBytes) }

func (t *cborTokens) integer() int {
	n := t.head(cborUint)
	if n > 999_999_999 {
		t.bad = true
		return 0
	}
	return int(n)
}

func (t *cborTokens) end() bool { return !t.bad && t.depth == 0 && len(t.b) == 0 }

func (t *cborTokens) data(entries []stream.Entry) bool {
	for _, e := range entries {
		if len(e.Data) > stream.MaxRecordBytes {
			return false
		}
	}
	return true
}
