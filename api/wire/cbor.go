package wire

import (
	"encoding/binary"
	"math"
	"unicode/utf8"
)

// CBOR, as in RFC 8949. Java's clients write lists, maps and long strings without saying
// their length in advance.

const (
	cborUint, cborNegative, cborBytes, cborText = 0, 1, 2, 3
	cborList, cborMap, cborTag, cborSimple      = 4, 5, 6, 7

	cborBreak   = 0xff
	cborNoLimit = math.MaxUint64 // the argument of indefinite length
	cborDepth   = 64             // lists, maps and tags within each other, at most
)

// cborHead is the beginning of an item: its major type, its argument and where its
// content starts. ok is false if it is not well-formed.
func cborHead(b []byte, at int) (major byte, arg uint64, after int, ok bool) {
	if at >= len(b) {
		return 0, 0, 0, false
	}
	major, info := b[at]>>5, b[at]&31
	at++
	switch {
	case info < 24:
		return major, uint64(info), at, true
	case info <= 27:
		n := 1 << (info - 24)
		if len(b)-at < n {
			return 0, 0, 0, false
		}
		for _, c := range b[at : at+n] {
			arg = arg<<8 | uint64(c)
		}
		return major, arg, at + n, true
	case info == 31 && major >= cborBytes && major <= cborMap:
		return major, cborNoLimit, at, true
	}
	return 0, 0, 0, false
}

// cborEnd is where the item that starts at at ends; -1 if it is not well-formed, nested
// too deeply, or has a map key that is no text.
func cborEnd(b []byte, at, depth int) int {
	major, arg, next, ok := cborHead(b, at)
	if !ok || depth > cborDepth {
		return -1
	}
	indefinite := arg == cborNoLimit && b[at]&31 == 31
	switch major {
	case cborBytes, cborText:
		if !indefinite {
			if uint64(len(b)-next) < arg {
				return -1
			}
			if end := next + int(arg); major == cborBytes || utf8.Valid(b[next:end]) {
				return end
			}
			return -1
		}
		for next < len(b) && b[next] != cborBreak {
			if b[next]>>5 != major || b[next]&31 == 31 { // pieces are of the same type, and whole
				return -1
			}
			if next = cborEnd(b, next, depth+1); next < 0 {
				return -1
			}
		}
		if next >= len(b) {
			return -1
		}
		return next + 1
	case cborList, cborMap:
		for n := uint64(0); indefinite || n < arg; n++ {
			if indefinite && next < len(b) && b[next] == cborBreak {
				return next + 1
			}
			if major == cborMap {
				if next >= len(b) || b[next]>>5 != cborText {
					return -1
				}
				if next = cborEnd(b, next, depth+1); next < 0 {
					return -1
				}
			}
			if next = cborEnd(b, next, depth+1); next < 0 {
				return -1
			}
		}
		return next
	case cborTag:
		return cborEnd(b, next, depth+1)
	case cborSimple:
		if b[at]&31 == 24 && arg < 32 {
			return -1
		}
	}
	return next
}

// cborSource walks through CBOR. cborEnd has found the body well-formed.
type cborSource struct {
	body []byte
	at   int
	left []uint64 // elements to come, of each list and map that is open; cborNoLimit: until the break
}

func (c *cborSource) next() item {
	info := c.body[c.at] & 31
	major, arg, after, _ := cborHead(c.body, c.at)
	switch major {
	case cborUint, cborNegative:
		c.at = after
		whole, num := int64(min(arg, math.MaxInt64)), float64(arg)
		if major == cborNegative {
			whole, num = -1-whole, -1-num
		}
		return item{kind: itemNumber, whole: whole, num: num}
	case cborBytes:
		return item{kind: itemBytes, data: c.bytes()}
	case cborText:
		return item{kind: itemText, text: string(c.bytes())}
	case cborTag: // of a time: the item within says all
		c.at = after
		return c.next()
	case cborSimple:
		c.at = after
		return simple(info, arg)
	}
	c.at = after
	c.left = append(c.left, arg)
	if major == cborList {
		return item{kind: itemList}
	}
	return item{kind: itemMap}
}

// simple is what of CBOR's last major type JSON has too; the rest counts as null.
func simple(info byte, arg uint64) item {
	var f float64
	switch info {
	case 20:
		return item{kind: itemBool}
	case 21:
		return item{kind: itemBool, num: 1}
	case 25:
		f = half(uint16(arg))
	case 26:
		f = float64(math.Float32frombits(uint32(arg)))
	case 27:
		f = math.Float64frombits(arg)
	default:
		return item{}
	}
	return item{kind: itemNumber, num: f, whole: truncate(f)}
}

// half reads a number of 16 bits (RFC 8949, appendix D).
func half(h uint16) float64 {
	exp, mant := int(h>>10&31), float64(h&0x3ff)
	var f float64
	switch exp {
	case 0:
		f = math.Ldexp(mant, -24)
	case 31:
		f = math.Inf(1)
		if mant != 0 {
			f = math.NaN()
		}
	default:
		f = math.Ldexp(mant+1024, exp-25)
	}
	if h>>15 != 0 {
		f = -f
	}
	return f
}

// bytes reads the content of a string, which is part of the body unless it came in
// pieces.
func (c *cborSource) bytes() []byte {
	indefinite := c.body[c.at]&31 == 31
	_, arg, after, _ := cborHead(c.body, c.at)
	if !indefinite {
		c.at = after + int(arg)
		return c.body[after:c.at:c.at]
	}
	out := []byte{}
	for c.at = after; c.body[c.at] != cborBreak; {
		out = append(out, c.bytes()...)
	}
	c.at++
	return out
}

func (c *cborSource) more() bool {
	left := &c.left[len(c.left)-1]
	if *left == 0 || *left == cborNoLimit && c.body[c.at] == cborBreak {
		if *left != 0 {
			c.at++
		}
		c.left = c.left[:len(c.left)-1]
		return false
	}
	if *left != cborNoLimit {
		*left--
	}
	return true
}

func (c *cborSource) key() string { return string(c.bytes()) }

func (c *cborSource) skip() { c.at = cborEnd(c.body, c.at, 0) }

// appendCBORHead writes the beginning of an item.
func appendCBORHead(b []byte, major byte, arg uint64) []byte {
	major <<= 5
	switch {
	case arg < 24:
		return append(b, major|byte(arg))
	case arg <= math.MaxUint8:
		return append(b, major|24, byte(arg))
	case arg <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(arg))
	case arg <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(arg))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), arg)
}
