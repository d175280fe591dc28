package wasm

import (
	"bytes"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A page that is written to again costs microseconds to get from the image, and
// about 100 ns to be put back to what it was. So memory that is reset after each
// invocation learns which pages these are: they are kept and written over, and
// all others are discarded. Which pages they are is only a guess about speed: all
// of memory is what the image says in either case.
type hot struct {
	spans  []span
	resets int
	learn  bool
}

// span is pages of memory, in bytes.
type span struct{ from, to int }

// maxHot is the most bytes that are kept.
const maxHot = 4 << 20

// rewrite makes b what i says, as discard does, and b is a mapping of i.
func (h *hot) rewrite(b []byte, i *image) error {
	h.resets++
	switch {
	case i.view() == nil:
		return discard(b)
	case h.learn:
		h.learn = false
		h.spans = changed(b, i, h.spans[:0])
	case h.resets&(h.resets-1) == 0: // less and less often
		h.learn, h.spans = true, h.spans[:0]
	}
	at := 0
	for _, s := range h.spans {
		if s.from > at {
			if err := discard(b[at:s.from]); err != nil {
				return err
			}
		}
		for p := s.from; p < s.to; p += page {
			if i.zeros[p/page] {
				clear(b[p:][:page])
			} else {
				copy(b[p:][:page], i.view()[p:])
			}
		}
		at = s.to
	}
	if at < len(b) {
		return discard(b[at:])
	}
	return nil
}

// changed appends the pages of b that are no longer as in the image; none if they
// are too many.
func changed(b []byte, i *image, spans []span) []span {
	if os.Getpagesize() != page || len(b) == 0 {
		return spans
	}
	// A page of zeros that nobody ever wrote to, in any clone, is nowhere yet, and
	// looking at it would make it.
	there := make([]byte, len(b)/page)
	if _, _, e := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(unsafe.Pointer(unsafe.SliceData(there)))); e != 0 {
		return spans
	}
	total := 0
	for at := 0; at < len(b); at += page {
		p := b[at:][:page]
		switch {
		case there[at/page]&1 == 0:
			continue
		case i.zeros[at/page] && zero(p), !i.zeros[at/page] && bytes.Equal(p, i.view()[at:][:page]):
			continue
		}
		if total += page; total > maxHot {
			return spans[:0]
		}
		if n := len(spans); n > 0 && spans[n-1].to == at {
			spans[n-1].to += page
		} else {
			spans = append(spans, span{at, at + page})
		}
	}
	return spans
}

// mapView maps all of an image to be read.
func (i *imageFile) mapView(size uint64) []byte {
	if i.f == nil || size == 0 {
		return nil
	}
	b, err := unix.Mmap(int(i.f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil
	}
	return b
}
