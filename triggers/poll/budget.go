package poll

import "sync/atomic"

// budget bounds the bytes that all shards of a node hold ahead of their
// functions.
type budget struct {
	free atomic.Int64 // may fall below zero by what must be held in any case
}

func newBudget(bytes int64) *budget {
	b := &budget{}
	b.free.Store(bytes)
	return b
}

// take reserves n bytes, if there is room or must says that there is no choice.
func (b *budget) take(n int64, must bool) bool {
	if left := b.free.Add(-n); left >= 0 || must {
		return true
	}
	b.free.Add(n)
	return false
}

// give returns n bytes.
func (b *budget) give(n int64) { b.free.Add(n) }
