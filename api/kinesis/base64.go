package kinesis

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
)

// Blobs are most of what goes through the data plane, so base64 is done here, half as
// fast again as encoding/base64: no table is asked twice, nothing is skipped, and nothing
// but the one canonical form is taken.

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// sextets are the values of a character in each place of four, shifted to where they
// belong in 24 bits; foreign for all others.
var sextets [4][256]uint32

const foreign = 1 << 31

// pairs are two characters for twelve bits.
var pairs [1 << 12]uint16

func init() {
	for i := range sextets {
		for c := range sextets[i] {
			sextets[i][c] = foreign
		}
		for v, c := range []byte(alphabet) {
			sextets[i][c] = uint32(v) << (18 - 6*i)
		}
	}
	for i := range pairs {
		pairs[i] = uint16(alphabet[i>>6]) | uint16(alphabet[i&63])<<8
	}
}

// decodeBase64 decodes text over itself. ok = false for whatever is not padded, standard
// base64 in its canonical form: text is then as it was before.
func decodeBase64(text []byte) (data []byte, ok bool) {
	read, n := 0, 0
	// Sixteen characters become twelve bytes, written with two more behind them. They
	// never reach what is yet to be read, and the last four wait for their padding.
	for len(text)-read > 16 {
		s := text[read : read+16 : read+16]
		a := sextets[0][s[0]] | sextets[1][s[1]] | sextets[2][s[2]] | sextets[3][s[3]]
		b := sextets[0][s[4]] | sextets[1][s[5]] | sextets[2][s[6]] | sextets[3][s[7]]
		c := sextets[0][s[8]] | sextets[1][s[9]] | sextets[2][s[10]] | sextets[3][s[11]]
		d := sextets[0][s[12]] | sextets[1][s[13]] | sextets[2][s[14]] | sextets[3][s[15]]
		if (a|b|c|d)&foreign != 0 {
			break
		}
		binary.BigEndian.PutUint64(text[n:], uint64(a)<<40|uint64(b)<<16)
		binary.BigEndian.PutUint64(text[n+6:], uint64(c)<<40|uint64(d)<<16)
		read, n = read+16, n+12
	}
	var buf [12]byte
	rest, ok := text[read:], false
	if len(rest) <= 16 {
		// encoding/base64 skips line ends: what it read is told by what it would write.
		tail, err := strict.AppendDecode(buf[:0], rest)
		ok = err == nil && strict.EncodedLen(len(tail)) == len(rest)
		rest = tail
	}
	if !ok {
		copy(text, appendBase64(make([]byte, 0, read), text[:n]))
		return nil, false
	}
	return text[:n+copy(text[n:], rest)], true
}

var strict = base64.StdEncoding.Strict()

// appendBase64 appends the base64 of data to dst.
func appendBase64(dst, data []byte) []byte {
	at := len(dst)
	dst = slices.Grow(dst, base64.StdEncoding.EncodedLen(len(data)))
	whole := len(data) / 6 * 6
	out := dst[at : at+whole/6*8]
	for len(out) >= 8 {
		s := data[:6:6]
		v := uint64(s[0])<<40 | uint64(s[1])<<32 | uint64(s[2])<<24 | uint64(s[3])<<16 | uint64(s[4])<<8 | uint64(s[5])
		binary.LittleEndian.PutUint64(out, uint64(pairs[v>>36])|uint64(pairs[v>>24&0xfff])<<16|uint64(pairs[v>>12&0xfff])<<32|uint64(pairs[v&0xfff])<<48)
		out, data = out[8:], data[6:]
	}
	return base64.StdEncoding.AppendEncode(dst[:at+whole/6*8], data)
}
