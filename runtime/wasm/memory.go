package wasm

import (
	"sync/atomic"

	"github.com/tetratelabs/wazero/experimental"
)

// memory is the linear memory of one instance. It refuses to grow beyond the
// function's limit, which the guest sees as memory.grow returning -1, and
// remembers that it did.
//
// Where the system can, the whole limit is reserved once and becomes usable as
// the guest grows: growing copies nothing, and the memory is outside the reach of
// our garbage collector. A memory that begins as an image has that mapped
// copy-on-write there, or, elsewhere, a copy of it.
type memory struct {
	limit    uint64
	image    *image // what it begins with, or nil
	heap     bool   // reserve nothing, as where that is not to be had
	buf      []byte // what the guest has; cap is what is reserved
	size     atomic.Uint64
	refused  atomic.Bool
	begun    bool // the instantiation has asked for what the module declares
	reserved bool // buf is to be given back by release
	hot      hot
	mapped   bool // the image is mapped, so that discard brings it back
}

func newMemory(limit uint64, i *image) *memory { return &memory{limit: limit, image: i} }

// Allocate implements experimental.MemoryAllocator: one memory for one instance.
func (m *memory) Allocate(capacity, most uint64) experimental.LinearMemory {
	if m.buf != nil {
		return m
	}
	if !m.heap {
		if b := reserve(min(m.limit, most)); b != nil {
			m.buf, m.reserved = b[:0], true
			return m
		}
	}
	m.buf = make([]byte, 0, min(capacity, m.limit))
	return m
}

// Reallocate implements experimental.LinearMemory. The first call is that of
// the instantiation, for what the module declares; an image may be larger.
func (m *memory) Reallocate(size uint64) []byte {
	first := !m.begun && m.image != nil
	if first {
		size = max(size, m.image.size)
	}
	if size > m.limit || m.reserved && size > uint64(cap(m.buf)) {
		m.refused.Store(true)
		return nil
	}
	have := uint64(len(m.buf))
	switch {
	case size < have: // no guest can ask for it
		return nil
	case m.reserved:
		if size > have && commit(m.buf[have:size:size]) != nil {
			m.refused.Store(true)
			return nil
		}
	case size > uint64(cap(m.buf)):
		grown := make([]byte, size, min(m.limit, size+size/4))
		copy(grown, m.buf)
		m.buf = grown
	}
	m.buf = m.buf[:size]
	m.size.Store(size)
	m.begun = true
	if first {
		m.begin()
	}
	return m.buf
}

// begin puts the image in its place.
func (m *memory) begin() {
	if m.reserved && m.image.mapTo(m.buf) {
		m.mapped = true
		return
	}
	m.image.copyTo(m.buf)
}

// adopt makes i, of which memory is the original, what memory goes back to.
func (m *memory) adopt(i *image) {
	m.image = i
	m.mapped = m.reserved && i.mapTo(m.buf)
}

// reset makes memory what the image says. It cannot where memory has grown
// since: nothing takes pages away from a guest that counts on them. again says
// that much the same will be written again soon.
func (m *memory) reset(again bool) bool {
	if m.image == nil || uint64(len(m.buf)) != m.image.size {
		return false
	}
	switch {
	case m.mapped && again:
		return m.hot.rewrite(m.buf, m.image) == nil
	case m.mapped:
		return discard(m.buf) == nil
	}
	m.image.copyTo(m.buf)
	return true
}

// Free implements experimental.LinearMemory. The engine may call it while the
// guest is still being left, so giving back is left to release.
func (m *memory) Free() {}

// release gives the memory back. Nothing may run in the instance any more.
func (m *memory) release() {
	if m.reserved {
		release(m.buf[:cap(m.buf)])
	}
	m.buf, m.reserved, m.mapped = nil, false, false
}

// at is n bytes at p, nil and false when they do not lie in memory. Their
// capacity is n.
func (m *memory) at(p, n uint32) ([]byte, bool) {
	end := uint64(p) + uint64(n)
	if end > uint64(len(m.buf)) {
		return nil, false
	}
	return m.buf[p:end:end], true
}
