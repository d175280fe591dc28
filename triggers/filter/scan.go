package filter

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// maxDepth is how deep JSON may nest; encoding/json has the same limit.
const maxDepth = 10_000

// scanner reads JSON. Every method returns false when it is not sound, and leaves
// i anywhere then.
type scanner struct {
	b    []byte
	i    int
	open []byte // brackets that skip has open
	deep int    // brackets that others have open
}

// space goes to the next byte that matters and returns it, or 0 at the end.
func (s *scanner) space() byte {
	if s.i < len(s.b) && s.b[s.i] > ' ' {
		return s.b[s.i]
	}
	return s.past()
}

func (s *scanner) past() byte {
	for ; s.i < len(s.b); s.i++ {
		if c := s.b[s.i]; !blank[c] {
			return c
		}
	}
	return 0
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plain goes over a string's bytes from i on to one that is no plain ASCII text, such
// as a quote, and returns its place, or len(b).
func plain(b []byte, i int) int {
	for i+8 <= len(b) {
		if end := special(binary.LittleEndian.Uint64(b[i:])); end != 0 {
			return i + bits.TrailingZeros64(end)/8
		}
		i += 8
	}
	for i < len(b) && b[i] != '"' && b[i] != '\\' && b[i] >= 0x20 && b[i] < utf8.RuneSelf {
		i++
	}
	return i
}

// special sets the highest bit of the first byte of w that is no plain text, and of no
// byte before it. To flip 2 puts a quote right above the control characters.
func special(w uint64) uint64 {
	quote, slash := w^ones*2-ones*('"'-1), w^ones*'\\'-ones
	return (quote | slash | w) & highs
}

// str reads a string whose opening quote is at i, and returns what is between its
// quotes. clean: it has no escape.
func (s *scanner) str() (raw []byte, clean, ok bool) {
	start := s.i + 1
	end := plain(s.b, start)
	clean = true
	if end == len(s.b) || s.b[end] != '"' {
		if end, clean = fancy(s.b, end); end < 0 {
			return nil, false, false
		}
	}
	s.i = end + 1
	return s.b[start:end], clean, true
}

// fancy goes on from a place within a string to its closing quote, and returns that
// one's place, or -1 if the string is not sound. clean: it has met no escape.
func fancy(b []byte, i int) (end int, clean bool) {
	clean = true
	for ; i < len(b); i = plain(b, i) {
		switch c := b[i]; {
		case c == '"':
			return i, clean
		case c == '\\':
			clean = false
			n := escape(b[i:])
			if n == 0 {
				return -1, false
			}
			i += n
		case c < 0x20:
			return -1, false
		default:
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n == 1 {
				return -1, false
			}
			i += n
		}
	}
	return -1, false
}

// escape is the length of the escape that b begins with, 0 if it is none.
func escape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if hex4(b) >= 0 {
			return 6
		}
	}
	return 0
}

// hex4 is the code of the \uXXXX that b begins with, or -1.
func hex4(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// unescape appends what raw, the inside of a sound string, stands for. Half of a
// surrogate pair becomes U+FFFD.
func unescape(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			dst = append(dst, raw[i])
			i++
			continue
		}
		switch c := raw[i+1]; c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := hex4(raw[i:])
			i += 4
			if 0xD800 <= r && r < 0xDC00 {
				if low := hex4(raw[i+2:]); 0xDC00 <= low && low < 0xE000 {
					r = (r-0xD800)<<10 | (low - 0xDC00) + 0x10000
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
		i += 2
	}
	return dst
}

// number reads a number and returns how it is written.
func (s *scanner) number() (raw []byte, ok bool) {
	b, i := s.b, s.i
	if i < len(b) && b[i] == '-' {
		i++
	}
	n := digits(b, i)
	if n == i || b[i] == '0' && n > i+1 {
		return nil, false
	}
	i = n
	if i < len(b) && b[i] == '.' {
		if n = digits(b, i+1); n == i+1 {
			return nil, false
		}
		i = n
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if n = digits(b, i); n == i {
			return nil, false
		}
		i = n
	}
	raw, s.i = b[s.i:i], i
	return raw, true
}

func digits(b []byte, i int) int {
	for i < len(b) && '0' <= b[i] && b[i] <= '9' {
		i++
	}
	return i
}

// literal reads true, false or null.
func (s *scanner) literal(word string) bool {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return false
	}
	s.i += len(word)
	return true
}

// enter counts a bracket that the caller has gone into; leave takes it back.
func (s *scanner) enter() bool {
	s.i++
	s.deep++
	return s.deep <= maxDepth
}

func (s *scanner) leave() {
	s.i++
	s.deep--
}

// scalar passes a value that is no object or array, whose first byte is c.
func (s *scanner) scalar(c byte) bool {
	ok := false
	switch c {
	case '"':
		_, _, ok = s.str()
	case 't':
		ok = s.literal("true")
	case 'f':
		ok = s.literal("false")
	case 'n':
		ok = s.literal("null")
	default:
		_, ok = s.number()
	}
	return ok
}

// colon passes what is between a member's name and its value.
func (s *scanner) colon() bool {
	if s.space() != ':' {
		return false
	}
	s.i++
	return true
}

// skip passes a value. It does not recurse, so depth costs it a byte a level. Most of
// a record's time goes here, so that nothing is called for what is common.
func (s *scanner) skip() bool {
	b, i := s.b, s.i
	open := s.open[:0]
	closing := byte(0) // the bracket that ends the innermost value
value:
	for ; i < len(b); i++ {
		switch c := b[i]; c {
		case '"':
			if i = plain(b, i+1); i == len(b) || b[i] != '"' {
				if i, _ = fancy(b, i); i < 0 {
					return false
				}
			}
			i++
			goto after
		case '{', '[':
			closing = c + 2 // } and ] are two after { and [
			if open = append(open, closing); len(open)+s.deep > maxDepth {
				return false
			}
			for i++; i < len(b) && b[i] <= ' '; i++ {
				if !blank[b[i]] {
					return false
				}
			}
			if i < len(b) && b[i] == closing {
				goto after
			}
			if c == '{' {
				goto name
			}
			i--
		case '1', '2', '3', '4', '5', '6', '7', '8', '9':
			n := digits(b, i+1)
			if n < len(b) && b[n] == '.' {
				if n = digits(b, n+1); b[n-1] == '.' {
					return false
				}
			}
			if n < len(b) && b[n]|0x20 != 'e' {
				i = n
				goto after
			}
			s.i = i
			if !s.scalar(c) {
				return false
			}
			i = s.i
			goto after
		case '0', '-', 't', 'f', 'n':
			s.i = i
			if !s.scalar(c) {
				return false
			}
			i = s.i
			goto after
		case ' ', '\n', '\r', '\t':
		default:
			return false
		}
	}
	return false
name:
	for ; i < len(b); i++ {
		if b[i] == '"' {
			if i = plain(b, i+1); i == len(b) || b[i] != '"' {
				if i, _ = fancy(b, i); i < 0 {
					return false
				}
			}
			for i++; i < len(b); i++ {
				if b[i] == ':' {
					i++
					goto value
				}
				if !blank[b[i]] {
					return false
				}
			}
			return false
		}
		if !blank[b[i]] {
			return false
		}
	}
	return false
after:
	if closing == 0 {
		s.i, s.open = i, open
		return true
	}
	for ; i < len(b); i++ {
		switch c := b[i]; {
		case c == ',':
			i++
			if closing == '}' {
				goto name
			}
			goto value
		case c == closing:
			i++
			open = open[:len(open)-1]
			closing = 0
			if len(open) > 0 {
				closing = open[len(open)-1]
			}
			goto after
		case !blank[c]:
			return false
		}
	}
	return false
}

var blank = [256]bool{' ': true, '\n': true, '\r': true, '\t': true}
