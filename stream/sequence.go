package stream

import (
	"fmt"
	"math/big"
	"math/bits"
	"strings"
)

// SequenceNumber is a record's place, in AWS's layout: 47 hexadecimal digits
// `2 0 EEEEEEEE S CCCCCCCCCCCCCCCC 000 TTTTTTTT 0000000 S 2`, decimal on the
// wire (56 digits). E is the epoch, S the shard index mod 16, C the counter
// (48 bits of frame, 16 bits of index in it), T the arrival. Numbers of a
// shard grow with each record, numbers of a child shard are larger than its
// parents'. The zero value is no number.
type SequenceNumber struct {
	Epoch uint32 // of the shard, Unix seconds
	Shard uint8  // index of the shard mod 16
	Frame uint64 // place of the frame in the shard's log, 48 bits
	Index uint16 // of the record in the frame
	Time  uint32 // arrival, Unix seconds
}

// IsZero says that s is no number.
func (s SequenceNumber) IsZero() bool { return s == SequenceNumber{} }

// words are the 188 bits of s, least significant first.
func (s SequenceNumber) words() [3]uint64 {
	// From the right, in bits: '2' 0-3, shard 4-7, seven zeros 8-35, time
	// 36-67, three zeros 68-79, counter 80-143, shard 144-147, epoch 148-179,
	// '0' 180-183, '2' 184-187.
	counter := s.Frame<<16 | uint64(s.Index)
	shard := uint64(s.Shard & 15)
	return [3]uint64{
		2 | shard<<4 | uint64(s.Time)<<36,
		uint64(s.Time)>>28 | counter<<16,
		counter>>48 | shard<<16 | uint64(s.Epoch)<<20 | 2<<56,
	}
}

const tenTo19 = 10_000_000_000_000_000_000

// Append appends the decimal form to dst; nothing for the zero value.
func (s SequenceNumber) Append(dst []byte) []byte {
	if s.IsZero() {
		return dst
	}
	w := s.words()
	// The number is at least 2^185 and less than 2^186, and so has 56 digits: 18, 19
	// and 19. No quotient has more than 64 bits.
	high, r := bits.Div64(w[2], w[1], tenTo19)
	low, last := bits.Div64(r, w[0], tenTo19)
	first, middle := bits.Div64(high, low, tenTo19)
	var buf [57]byte
	put19(buf[:19], first) // its leading zero is not part of the number
	put19(buf[19:38], middle)
	put19(buf[38:], last)
	return append(dst, buf[1:]...)
}

// put19 writes 19 digits of n, leading zeros included.
func put19(dst []byte, n uint64) {
	put8(dst[11:19], uint32(n%1e8))
	n /= 1e8
	put8(dst[3:11], uint32(n%1e8))
	n /= 1e8
	dst[0], dst[1], dst[2] = byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10)
}

func put8(dst []byte, n uint32) {
	_ = dst[7]
	for i := 6; i >= 0; i -= 2 {
		pair := n % 100
		n /= 100
		dst[i], dst[i+1] = byte('0'+pair/10), byte('0'+pair%10)
	}
}

func (s SequenceNumber) String() string { return string(s.Append(nil)) }

// MarshalText gives the decimal form.
func (s SequenceNumber) MarshalText() ([]byte, error) { return s.Append(nil), nil }

// UnmarshalText reads the decimal form; empty is the zero value.
func (s *SequenceNumber) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*s = SequenceNumber{}
		return nil
	}
	n, err := ParseSequence(string(b))
	if err == nil {
		*s = n
	}
	return err
}

// ParseSequence reads the decimal form. It refuses what no shard of ours gave out.
func ParseSequence(text string) (SequenceNumber, error) {
	bad := func() (SequenceNumber, error) {
		return SequenceNumber{}, fmt.Errorf("%w: sequence number %q: want 56 decimal digits as a put returned them", ErrInvalid, text)
	}
	if len(text) != 56 || strings.Trim(text, "0123456789") != "" {
		return bad()
	}
	n, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return bad()
	}
	var w [3]uint64
	mask := new(big.Int).SetUint64(^uint64(0))
	for i := range w {
		w[i] = new(big.Int).And(n, mask).Uint64()
		n.Rsh(n, 64)
	}
	counter := w[1]>>16 | w[2]<<48
	s := SequenceNumber{
		Epoch: uint32(w[2] >> 20),
		Shard: uint8(w[2]>>16) & 15,
		Frame: counter >> 16,
		Index: uint16(counter),
		Time:  uint32(w[0]>>36 | w[1]<<28),
	}
	if n.Sign() != 0 || s.words() != w {
		return bad()
	}
	return s, nil
}

// Compare orders sequence numbers as the integers they are.
func (s SequenceNumber) Compare(t SequenceNumber) int {
	a, b := s.words(), t.words()
	for i := 2; i >= 0; i-- {
		if a[i] != b[i] {
			if a[i] < b[i] {
				return -1
			}
			return 1
		}
	}
	return 0
}
