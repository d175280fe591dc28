package stream

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"math/big"
	"math/bits"
)

// HashKey is a 128-bit number, the space in which shards divide keys.
type HashKey struct{ Hi, Lo uint64 }

// MaxHashKey is 2^128-1.
var MaxHashKey = HashKey{^uint64(0), ^uint64(0)}

// HashOf is the hash key of a partition key: its MD5, big endian, as on AWS.
func HashOf(partitionKey string) HashKey {
	sum := md5.Sum([]byte(partitionKey))
	return HashKey{binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:])}
}

// Bucket is which of the 64 buckets of a shard a partition key falls into: the
// low six bits of its MD5. An explicit hash key has no say in it.
func Bucket(partitionKey string) uint8 { return uint8(HashOf(partitionKey).Lo & 63) }

// Compare orders hash keys as numbers.
func (h HashKey) Compare(o HashKey) int {
	switch {
	case h == o:
		return 0
	case h.Hi < o.Hi || h.Hi == o.Hi && h.Lo < o.Lo:
		return -1
	}
	return 1
}

func (h HashKey) big() *big.Int {
	n := new(big.Int).SetUint64(h.Hi)
	return n.Lsh(n, 64).Or(n, new(big.Int).SetUint64(h.Lo))
}

// String is the decimal form.
func (h HashKey) String() string { return h.big().String() }

// MarshalText gives the decimal form.
func (h HashKey) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads the decimal form.
func (h *HashKey) UnmarshalText(b []byte) error {
	k, err := ParseHashKey(string(b))
	if err == nil {
		*h = k
	}
	return err
}

// ParseHashKey reads a decimal number from 0 to 2^128-1 without leading zeros.
func ParseHashKey(text string) (HashKey, error) {
	n, ok := new(big.Int).SetString(text, 10)
	if !ok || n.Sign() < 0 || n.BitLen() > 128 || n.String() != text {
		return HashKey{}, fmt.Errorf("%w: explicit hash key %q: want a decimal number from 0 to 340282366920938463463374607431768211455", ErrInvalid, text)
	}
	lo := new(big.Int).And(n, new(big.Int).SetUint64(^uint64(0))).Uint64()
	return HashKey{n.Rsh(n, 64).Uint64(), lo}, nil
}

// EvenRanges cuts the hash range into n ranges whose sizes differ by one at
// most, as first and last hash key of each, ascending.
func EvenRanges(n int) [][2]HashKey {
	out := make([][2]HashKey, n)
	for i := range out {
		out[i][0] = cut(i, n)
		out[i][1] = MaxHashKey
		if i > 0 {
			lo, borrow := bits.Sub64(out[i][0].Lo, 1, 0)
			out[i-1][1] = HashKey{out[i][0].Hi - borrow, lo}
		}
	}
	return out
}

// cut is floor(i * 2^128 / n) for i < n.
func cut(i, n int) HashKey {
	hi, r := bits.Div64(uint64(i), 0, uint64(n))
	lo, _ := bits.Div64(r, 0, uint64(n))
	return HashKey{hi, lo}
}
