package wasm

import "sync/atomic"

// memory is the linear memory of one instance. It refuses to grow beyond the
// function's limit, which the guest sees as memory.grow returning -1, and
// remembers that it did.
//
// Where the system can, the whole limit is reserved once and pages are
// committed as they are touched: growing copies nothing, and the memory is
// outside the reach of our garbage collector.
type memory struct {
	limit    uint64
	buf      []byte // cap is what is reserved
	size     atomic.Uint64
	refused  atomic.Bool
	reserved bool // buf is to be given back by release
}

func newMemory(limit uint64) *memory { return &memory{limit: limit} }

// Allocate implements experimental.MemoryAllocator: one memory for one instance.
func (m *memory) allocate(capacity, most uint64) {
	if m.buf != nil {
		return
	}
	if b := reserve(min(m.limit, most)); b != nil {
		m.buf, m.reserved = b[:0], true
		return
	}
	m.buf = make([]byte, 0, min(capacity, m.limit))
}

// Reallocate implements experimental.LinearMemory.
func (m *memory) Reallocate(size uint64) []byte {
	if size > m.limit || m.reserved && size > uint64(cap(m.buf)) {
		m.refused.Store(true)
		return nil
	}
	if size > uint64(cap(m.buf)) {
		grown := make([]byte, size, min(m.limit, size+size/4))
		copy(grown, m.buf)
		m.buf = grown
	}
	m.buf = m.buf[:size]
	m.size.Store(size)
	return m.buf
}

// Free implements experimental.LinearMemory. The engine may call it while the
// guest is still being left (exit, timeout), so giving back is left to release.
func (m *memory) Free() {}

// release gives the memory back. Nothing may run in the instance any more.
func (m *memory) release() {
	if m.reserved {
		release(m.buf[:cap(m.buf)])
	}
	m.buf, m.reserved = nil, false
}
