package poll

import "sync"

// budget bounds the bytes that all shards of a node hold ahead of their
// functions. A shard that holds nothing is always let through, so that each
// can have one batch.
type budget struct {
	mu      sync.Mutex
	free    int64                  // may fall below zero by what was always let through
	waiting map[chan struct{}]bool // closed when something is given back
}

func newBudget(bytes int64) *budget {
	return &budget{free: bytes, waiting: map[chan struct{}]bool{}}
}

// take reserves n bytes. When the budget is spent it takes nothing, and returns
// a channel that closes when it is worth asking again.
func (b *budget) take(n int64, always bool) (retry <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.free >= n || always {
		b.free -= n
		return nil
	}
	ch := make(chan struct{})
	b.waiting[ch] = true
	return ch
}

// give returns n bytes.
func (b *budget) give(n int64) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += n
	if b.free > 0 {
		for ch := range b.waiting {
			close(ch)
		}
		clear(b.waiting)
	}
}
