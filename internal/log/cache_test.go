package log

import "testing"

func cacheFrame(seq uint64, size int64) *Frame { return &Frame{Seq: seq, size: size} }

func TestCacheKeepsWithinItsBudget(t *testing.T) {
	c := newCache(1000)
	for seq := range uint64(100) {
		c.put(1, cacheFrame(seq, 90), segment(seq%2))
		if c.used[written]+c.used[fetched] > 1000 {
			t.Fatalf("uses %v of 1000", c.used)
		}
	}
	var sum int64
	for _, e := range c.frames {
		sum += e.Value.(*cached).frame.size
	}
	if sum != c.used[written]+c.used[fetched] || sum < 900 {
		t.Errorf("%d bytes cached, counted %v", sum, c.used)
	}
}

func TestCacheLaggardDoesNotEvictTheTail(t *testing.T) {
	c := newCache(1000)
	for seq := range uint64(7) {
		c.put(1, cacheFrame(100+seq, 100), written)
	}
	for seq := range uint64(100) { // a laggard reads all that is old
		c.put(1, cacheFrame(seq, 100), fetched)
	}
	for seq := range uint64(7) {
		if c.get(1, 100+seq) == nil {
			t.Errorf("frame %d of the tail was evicted", 100+seq)
		}
	}
	// Nor does the tail take the laggard's share.
	for seq := range uint64(100) {
		c.put(2, cacheFrame(seq, 50), written)
	}
	if c.used[fetched] < 200 {
		t.Errorf("%d bytes left to readers of old frames, want their quarter", c.used[fetched])
	}
}

func TestCacheUsesWhatIsFree(t *testing.T) {
	for _, s := range []segment{written, fetched} {
		c := newCache(1000)
		for seq := range uint64(10) {
			c.put(1, cacheFrame(seq, 100), s)
		}
		if len(c.frames) != 10 {
			t.Errorf("segment %d alone keeps %d of 10 frames", s, len(c.frames))
		}
	}
}

func TestCacheEvictionOrder(t *testing.T) {
	c := newCache(1000)
	for seq := range uint64(10) {
		c.put(1, cacheFrame(seq, 100), fetched)
	}
	c.get(1, 0)
	c.put(1, cacheFrame(10, 100), fetched)
	if !c.has(1, 0) || c.has(1, 1) {
		t.Error("read frames: the one used last was evicted instead of the one not used longest")
	}
	c = newCache(1000)
	for seq := range uint64(10) {
		c.put(1, cacheFrame(seq, 100), written)
	}
	c.get(1, 0)
	c.put(1, cacheFrame(10, 100), written)
	if c.has(1, 0) || !c.has(1, 1) {
		t.Error("written frames: want the oldest to go first, used or not")
	}
}

func TestCacheDropsOneLog(t *testing.T) {
	c := newCache(1000)
	for seq := range uint64(4) {
		c.put(1, cacheFrame(seq, 100), written)
		c.put(2, cacheFrame(seq, 100), fetched)
	}
	c.drop(1, 2)
	for seq := range uint64(4) {
		if c.has(1, seq) != (seq >= 2) || !c.has(2, seq) {
			t.Errorf("frame %d: log 1 %v, log 2 %v", seq, c.has(1, seq), c.has(2, seq))
		}
	}
	c.drop(1, ^uint64(0))
	if c.has(1, 3) || c.used[written] != 0 {
		t.Error("dropped log is still cached")
	}
	c.put(1, cacheFrame(9, 900), fetched) // larger than the share
	if c.has(1, 9) {
		t.Error("kept a frame that would push out all others")
	}
}
