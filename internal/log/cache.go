package log

import (
	"container/list"
	"sync"
)

// cache holds decoded frames of all logs of a set within one budget.
//
// It has two segments, so that a laggard may not evict the tail: frames that an
// appender wrote (first in, first out: whoever follows the tail reads them in
// that order) and frames that were read from disk (least recently used goes).
// Each segment has a share and may use what the other leaves free; when the
// budget is exceeded a segment above its share pays.
type cache struct {
	budget int64
	shares [2]int64

	mu     sync.Mutex
	frames map[frameKey]*list.Element
	lists  [2]list.List // newest in front
	used   [2]int64
}

// segment of the cache.
type segment int

const (
	written segment = iota // by an appender
	fetched                // from disk
)

// frameKey names a frame. It bears the incarnation of the [Log], not its id: a
// log deleted and made again shares no frame with the former.
type frameKey struct {
	log uint64
	seq uint64
}

type cached struct {
	key     frameKey
	frame   *Frame
	segment segment
}

func newCache(budget int64) *cache {
	c := &cache{budget: budget, frames: map[frameKey]*list.Element{}}
	c.shares[fetched] = budget / 4
	c.shares[written] = budget - c.shares[fetched]
	return c
}

// get returns the frame, or nil.
func (c *cache) get(log, seq uint64) *Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.frames[frameKey{log, seq}]
	if e == nil {
		return nil
	}
	it := e.Value.(*cached)
	if it.segment == fetched {
		c.lists[fetched].MoveToFront(e)
	}
	return it.frame
}

// has says whether the frame is cached, without counting as a use of it.
func (c *cache) has(log, seq uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frames[frameKey{log, seq}] != nil
}

// put adds a frame. One that is larger than its segment's share is not kept.
func (c *cache) put(log uint64, f *Frame, s segment) {
	if f.size > c.shares[s] {
		return
	}
	key := frameKey{log, f.Seq}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.frames[key] != nil {
		return
	}
	c.frames[key] = c.lists[s].PushFront(&cached{key, f, s})
	c.used[s] += f.size
	for c.used[written]+c.used[fetched] > c.budget {
		from := written
		if c.used[fetched] > c.shares[fetched] {
			from = fetched
		}
		c.remove(c.lists[from].Back())
	}
}

// drop forgets the frames of a log below a sequence.
func (c *cache) drop(log, below uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.lists {
		for e := c.lists[i].Front(); e != nil; {
			next := e.Next()
			if k := e.Value.(*cached).key; k.log == log && k.seq < below {
				c.remove(e)
			}
			e = next
		}
	}
}

// remove needs mu.
func (c *cache) remove(e *list.Element) {
	it := c.lists[e.Value.(*cached).segment].Remove(e).(*cached)
	c.used[it.segment] -= it.frame.size
	delete(c.frames, it.key)
}
