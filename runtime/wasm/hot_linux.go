package wasm

import (
	"bytes"
	"os"
	goruntime "runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A page that is written to again costs microseconds to get from the image, and
// about 100 ns to be put back to what it was. So memory that is reset after each
// invocation learns which pages these are: they are kept and written over, and
// all others are discarded. Which pages they are is only a guess about speed: all
// of memory is what the image says in either case.
//
// What is not kept is as a rule not written to either, and to discard it costs more
// than all else: pages that were only read go too, and come back one fault after the other. So it is
// mapped once, read-only as the system has it for a page that is shared; from then on nothing
// can be written there without a fault, and those of a thread are counted. No fault, and
// nothing is to be discarded.
type hot struct {
	spans  []span
	resets int
	learn  bool

	settled bool  // what is not in spans was mapped clean
	still   int   // resets since then that found no fault
	faults  int64 // since the last reset, of threads that were in the guest
	entered int64 // count of this thread when it entered
}

// enoughStill resets without a fault pay for mapping all again after one.
const enoughStill = 16

// enter is called by the thread that goes into the guest, and leave when it comes out: in
// between it is the only one that writes to memory.
func (h *hot) enter() {
	goruntime.LockOSThread()
	h.entered = faultsOfThread()
}

func (h *hot) leave() {
	h.faults += faultsOfThread() - h.entered
	goruntime.UnlockOSThread()
}

// faultsOfThread counts page faults of this thread so far; where that is not to be had, no two
// are the same.
func faultsOfThread() int64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &u) != nil {
		return time.Now().UnixNano()
	}
	return u.Minflt + u.Majflt
}

// span is pages of memory, in bytes.
type span struct{ from, to int }

// maxHot is the most bytes that are kept.
const maxHot = 4 << 20

// rewrite makes b what i says, as discard does, and b is a mapping of i.
func (h *hot) rewrite(b []byte, i *image) error {
	h.resets++
	clean := h.settled && h.faults == 0
	h.faults = 0
	settle := false
	switch {
	case i.view() == nil:
		return discard(b)
	case h.learn:
		h.learn, settle = false, true
		h.spans = changed(b, i, h.spans[:0])
	case h.resets&(h.resets-1) == 0: // less and less often
		h.learn, h.spans = true, h.spans[:0]
	case clean:
		h.still++
		h.refresh(b, i)
		return nil
	case h.settled:
		settle = h.still >= enoughStill
	}
	h.settled, h.still = false, 0
	if err := h.gaps(len(b), func(from, to int) error { return discard(b[from:to]) }); err != nil {
		return err
	}
	h.refresh(b, i)
	if settle {
		h.settled = h.gaps(len(b), func(from, to int) error { return present(b, i, from, to) }) == nil
	}
	return nil
}

// present maps what the image has there. What it has not, zeros, is left: to look at it would
// make it.
func present(b []byte, i *image, from, to int) error {
	for at := from; at < to; {
		end := at
		for end < to && !i.zeros[end/page] {
			end += page
		}
		if end > at {
			if err := unix.Madvise(b[at:end], unix.MADV_POPULATE_READ); err != nil {
				return err
			}
		}
		at = end + page
	}
	return nil
}

// gaps calls f for what lies between the spans.
func (h *hot) gaps(size int, f func(from, to int) error) error {
	at := 0
	for _, s := range h.spans {
		if s.from > at {
			if err := f(at, s.from); err != nil {
				return err
			}
		}
		at = s.to
	}
	if at < size {
		return f(at, size)
	}
	return nil
}

// refresh writes what the image says over the pages that are kept.
func (h *hot) refresh(b []byte, i *image) {
	for _, s := range h.spans {
		for p := s.from; p < s.to; p += page {
			if i.zeros[p/page] {
				clear(b[p:][:page])
			} else {
				copy(b[p:][:page], i.view()[p:])
			}
		}
	}
}

// maxSame is how many pages are kept that are there and all zeros, as in the image: zeros were written
// to them, as to memory that is taken. One that was only read looks the same.
const maxSame = 64

// changed appends the pages of b that are no longer as in the image, or may be that and are the
// same again; none if they are too many.
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
	total, same := 0, 0
	for at := 0; at < len(b); at += page {
		p := b[at:][:page]
		switch {
		case there[at/page]&1 == 0:
			continue
		case !i.zeros[at/page] && bytes.Equal(p, i.view()[at:][:page]):
			continue
		case i.zeros[at/page] && zero(p):
			if same++; same > maxSame {
				continue
			}
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
