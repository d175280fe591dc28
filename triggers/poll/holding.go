package poll

import (
	"slices"
	"sort"
	"unsafe"

	"github.com/wasmill/wasmill/internal/log"
)

// holding is the pieces of frames whose records the machine may still ask for.
type holding struct {
	pieces []piece // ascending by from; what was read again may lie in an older one
	long   uint64  // numbers of the longest piece there ever was
}

// piece is what one fetch brought of one frame.
type piece struct {
	frame    *log.Frame
	from, to uint64   // numbers held, exclusive
	took     int64    // bytes of the node's budget
	left     int      // numbers not released
	released []uint64 // bit i: number from+i; made when the first is, or was dropped by filters
}

func (p *piece) isReleased(n uint64) bool {
	return p.released != nil && p.released[(n-p.from)/64]>>((n-p.from)%64)&1 == 1
}

// add takes pieces that follow each other. What is read again may come to lie
// between others.
func (h *holding) add(pieces []piece) {
	for _, p := range pieces {
		h.long = max(h.long, p.to-p.from)
		h.pieces = slices.Insert(h.pieces, h.after(p.from), p)
	}
}

// after is the index of the first piece that begins behind a number.
func (h *holding) after(number uint64) int {
	return sort.Search(len(h.pieces), func(i int) bool { return h.pieces[i].from > number })
}

// each calls fn for every piece that holds a number until fn returns false.
func (h *holding) each(number uint64, fn func(*piece) bool) {
	for i := h.after(number) - 1; i >= 0 && h.pieces[i].from+h.long > number; i-- {
		if p := &h.pieces[i]; number < p.to && !fn(p) {
			return
		}
	}
}

// find returns the frame that holds a number, and the place in it.
func (h *holding) find(number uint64) (f *log.Frame, at int) {
	if p := h.piece(number); p.frame != nil {
		return p.frame, int(number - p.frame.First)
	}
	return nil, 0
}

// piece returns the one that holds a number; a zero one if there is none.
func (h *holding) piece(number uint64) (found piece) {
	h.each(number, func(p *piece) bool {
		found = *p
		return false
	})
	return found
}

// release forgets pieces of which nothing is needed any longer, and gives their
// bytes back.
func (h *holding) release(b *budget, below uint64, numbers []uint64) {
	for _, n := range numbers {
		h.each(n, func(p *piece) bool {
			if p.released == nil {
				p.released = make([]uint64, (p.to-p.from+63)/64)
			}
			word, bit := (n-p.from)/64, uint64(1)<<((n-p.from)%64)
			if p.released[word]&bit == 0 {
				p.released[word] |= bit
				p.left--
			}
			return true
		})
	}
	h.pieces = slices.DeleteFunc(h.pieces, func(p piece) bool {
		if p.to <= below || p.left == 0 {
			b.give(p.took)
			return true
		}
		return false
	})
}

// alias makes a string of bytes that will not change.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
