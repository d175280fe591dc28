package door

import "sync"

// ring is a buffer of bufferSize bytes between one who fills and one who empties
// it. Each works on a part that the other leaves alone: free and filled may be
// used without the lock that guards the calls.
type ring struct {
	buf   []byte
	start int // of what is there
	n     int
	busy  bool // a part is being used without the lock
	fixed bool // buf is not one of the pool
}

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// full is a ring that holds data, and takes no more.
func full(data []byte) ring { return ring{buf: data, n: len(data), fixed: true} }

func (r *ring) len() int { return r.n }

func (r *ring) room() int {
	if r.buf == nil {
		return bufferSize
	}
	return len(r.buf) - r.n
}

func (r *ring) need() {
	if r.buf == nil {
		r.buf = buffers.Get().(*[bufferSize]byte)[:]
	}
}

// free is room in one piece, to be followed by wrote.
func (r *ring) free() []byte {
	r.need()
	r.busy = true
	end := r.start + r.n
	if end >= len(r.buf) {
		return r.buf[end-len(r.buf) : r.start]
	}
	return r.buf[end:]
}

func (r *ring) wrote(n int) {
	r.busy = false
	r.n += n
}

// filled is what is there in one piece, to be followed by read.
func (r *ring) filled() []byte {
	r.busy = true
	return r.buf[r.start:min(r.start+r.n, len(r.buf))]
}

func (r *ring) read(n int) {
	r.busy = false
	r.skip(n)
}

func (r *ring) skip(n int) {
	r.start = (r.start + n) % len(r.buf)
	r.n -= n
	r.rest()
}

// rest gives an empty buffer back, unless somebody works on it.
func (r *ring) rest() {
	if r.n > 0 || r.busy || r.buf == nil {
		return
	}
	if !r.fixed {
		buffers.Put((*[bufferSize]byte)(r.buf))
	}
	r.buf, r.start = nil, 0
}

// put copies in what there is room for.
func (r *ring) put(src []byte) int {
	r.need()
	done := 0
	for done < len(src) && r.n < len(r.buf) {
		end := (r.start + r.n) % len(r.buf)
		stop := len(r.buf)
		if end < r.start {
			stop = r.start
		}
		n := copy(r.buf[end:stop], src[done:])
		r.n += n
		done += n
	}
	return done
}

// take copies out what fits.
func (r *ring) take(dst []byte) int {
	done := 0
	for done < len(dst) && r.n > 0 {
		n := copy(dst[done:], r.buf[r.start:min(r.start+r.n, len(r.buf))])
		done += n
		r.skip(n)
	}
	return done
}

// drop forgets what is there. A part in use stays in use; what is written to it is
// nobody's.
func (r *ring) drop() {
	if r.busy {
		return // its user ends next, and leaves it to the collector
	}
	r.n = 0
	r.rest()
}
