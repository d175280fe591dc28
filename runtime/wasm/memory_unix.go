//go:build unix && !linux

package wasm

import (
	"errors"

	"golang.org/x/sys/unix"
)

// reserve maps n bytes of zeros that are committed as they are touched; nil
// when the system will not.
func reserve(n uint64) []byte {
	if n == 0 {
		return nil
	}
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil
	}
	return b
}

func commit([]byte) error { return nil }

func release(b []byte) { _ = unix.Munmap(b) } // fails only for what was never mapped

// discard is for mappings of images, which there are none of.
func discard([]byte) error { return errors.ErrUnsupported }
