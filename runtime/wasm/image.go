package wasm

import (
	"encoding/binary"
	"sync"
)

// page is what an image leaves out when it is all zeros.
const page = 4 << 10

// An image is the memory and the globals of an instance that has started up and
// not yet served anybody. It never changes. Where the system can, memory is a
// sealed file without a name, which instances map copy-on-write: what they do not
// write to they share.
type image struct {
	size    uint64 // bytes of memory
	globals []uint64
	zeros   []bool // which pages are
	file    imageFile
	bytes   []byte // where there is no file

	viewed sync.Once
	seen   []byte // what view gave
}

// capture makes an image of a memory. copying is for systems without sealed files.
func capture(mem []byte, globals []uint64, copying bool) *image {
	i := &image{size: uint64(len(mem)), globals: globals}
	if !copying {
		zeros := make([]bool, len(mem)/page)
		for n := range zeros {
			zeros[n] = zero(mem[n*page:][:page])
		}
		if i.file.write(mem, zeros) == nil {
			i.zeros = zeros
			return i
		}
	}
	// Trailing zeros are what memory has anyway.
	last := len(mem)
	for last > 0 && zero(mem[last-1:last]) {
		last--
	}
	i.bytes = append([]byte(nil), mem[:last]...)
	return i
}

// mapTo puts the image in the place of b, whose length is its size.
func (i *image) mapTo(b []byte) bool { return i.bytes == nil && i.file.mapTo(b) }

// copyTo writes the image to b, whose length is its size.
func (i *image) copyTo(b []byte) {
	if i.bytes == nil {
		clear(b)
		i.file.read(b)
		return
	}
	n := copy(b, i.bytes)
	clear(b[n:])
}

// view is all of an image that is a file, to be read; nil if it cannot be had.
func (i *image) view() []byte {
	i.viewed.Do(func() { i.seen = i.file.mapView(i.size) })
	return i.seen
}

// close frees what the image has of its own; what is mapped lives on.
func (i *image) close() {
	i.viewed.Do(func() {}) // from now on there is none
	if i.seen != nil {
		release(i.seen)
	}
	i.seen = nil
	i.file.close()
}

// written calls f for each run of pages that are not all zeros, with its first byte and
// the first behind it.
func written(zeros []bool, f func(from, to int) error) error {
	for n := 0; n < len(zeros); n++ {
		from := n
		for n < len(zeros) && !zeros[n] {
			n++
		}
		if n > from {
			if err := f(from*page, n*page); err != nil {
				return err
			}
		}
	}
	return nil
}

func zero(b []byte) bool {
	for len(b) >= 32 {
		if binary.LittleEndian.Uint64(b)|binary.LittleEndian.Uint64(b[8:])|binary.LittleEndian.Uint64(b[16:])|binary.LittleEndian.Uint64(b[24:]) != 0 {
			return false
		}
		b = b[32:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
