package poll

import (
	"hash/maphash"
	"sync"

	"github.com/wasmill/wasmill/stream"
)

// buckets remembers the buckets of keys seen lately: an MD5 costs as much as all else that
// is done to read a record, and keys come again. It compares whole keys, so that it never
// errs.
type buckets struct {
	seed  maphash.Seed
	lines [4096]struct {
		key    [38]byte
		length uint8 // 0: nothing here yet
		bucket uint8
	}
}

// lately are buckets not in use: a reading borrows one.
var lately = sync.Pool{New: func() any { return &buckets{seed: maphash.MakeSeed()} }}

// of is the bucket of a key.
func (b *buckets) of(key string) uint8 {
	if key == "" || len(key) > len(b.lines[0].key) {
		return stream.Bucket(key)
	}
	line := &b.lines[maphash.String(b.seed, key)%uint64(len(b.lines))]
	if int(line.length) != len(key) || string(line.key[:len(key)]) != key {
		line.bucket, line.length = stream.Bucket(key), uint8(len(key))
		copy(line.key[:], key)
	}
	return line.bucket
}
