package module

import "math"

// A reader takes numbers and bytes off b, from at on. It is bad once anything
// was missing or not a number; from then on it gives nothing but zeros, so that
// loops over what it reads must end when it is bad.
type reader struct {
	b   []byte
	at  int
	bad bool
}

func (r *reader) len() int { return len(r.b) - r.at }

func (r *reader) fail() { r.bad, r.at = true, len(r.b) }

func (r *reader) byte() byte {
	if r.at >= len(r.b) {
		r.fail()
		return 0
	}
	c := r.b[r.at]
	r.at++
	return c
}

func (r *reader) bytes(n uint32) []byte {
	if uint64(n) > uint64(r.len()) {
		r.fail()
		return nil
	}
	b := r.b[r.at : r.at+int(n) : r.at+int(n)]
	r.at += int(n)
	return b
}

// name is a length and that many bytes.
func (r *reader) name() string { return string(r.bytes(r.u32())) }

// u32 takes a LEB128 number of at most 5 bytes.
func (r *reader) u32() uint32 {
	if r.at < len(r.b) && r.b[r.at] < 0x80 { // nearly all are this short
		r.at++
		return uint32(r.b[r.at-1])
	}
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		c := r.byte()
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			if v > math.MaxUint32 {
				break
			}
			return uint32(v)
		}
	}
	r.fail()
	return 0
}

// signed takes a signed LEB128 number of the given bits, 32, 33 or 64.
func (r *reader) signed(bits int) int64 {
	var v int64
	for shift := 0; shift < bits; shift += 7 {
		c := r.byte()
		v |= int64(c&0x7f) << shift
		if c >= 0x80 {
			continue
		}
		if left := bits - shift; left < 7 {
			// The last byte holds more bits than the number has left: they must
			// all be what the sign is.
			if top := int8(c<<1) >> left; top != 0 && top != -1 {
				break
			}
		}
		if shift+7 < 64 {
			v = v << (57 - shift) >> (57 - shift)
		}
		return v
	}
	r.fail()
	return 0
}

// count is the number of items that follow, at least a byte each.
func (r *reader) count() int {
	n := r.u32()
	if uint64(n) > uint64(r.len()) {
		r.fail()
		return 0
	}
	return int(n)
}

// limits are of a memory in pages of 64 KiB, of a table in elements.
type limits struct {
	min, max uint32
	bounded  bool // max was told
	shared   bool
}

func (r *reader) limits() limits {
	flags := r.byte()
	l := limits{bounded: flags&1 != 0, shared: flags&2 != 0}
	if flags > 3 { // 64-bit memories and what may come
		r.fail()
		return l
	}
	l.min = r.u32()
	if l.bounded {
		l.max = r.u32()
	}
	return l
}

// appendSigned appends a signed LEB128 number.
func appendSigned(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}
