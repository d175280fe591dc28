package wasm

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// reserve sets n bytes of addresses aside, of which nothing can be used yet and
// nothing counts as used; nil when the system will not.
func reserve(n uint64) []byte {
	if n == 0 {
		return nil
	}
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil
	}
	return b
}

// commit makes reserved bytes usable, whole pages of them.
func commit(b []byte) error { return unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE) }

func release(b []byte) { _ = unix.Munmap(b) } // fails only for what was never mapped

// discard gives back what was written to a mapping: its image, or zeros, is there again.
func discard(b []byte) error { return unix.Madvise(b, unix.MADV_DONTNEED) }

// mapAt puts the first bytes of a file in the place of b, copy-on-write.
func mapAt(b []byte, fd int) error {
	_, err := unix.MmapPtr(fd, 0, unsafe.Pointer(unsafe.SliceData(b)), uintptr(len(b)),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_NORESERVE)
	return err
}
