// Package batch is the arithmetic of batches: when one is full or due, where
// one is halved, how long to wait before it is tried again.
//
// Everything here is a function of its arguments. Who owns records, buckets
// and retries is decided elsewhere (package shard for streams).
package batch

import (
	"time"

	"github.com/wasmill/wasmill/triggers"
)

// envelope is what the JSON event takes around its records: {"Records":[]}.
const envelope = int64(len(`{"Records":[]}`))

// Fits says whether records of together so many bytes make one event of at
// most limit bytes. Each record's bytes include a comma, which the last of an
// event does not need.
func Fits(bytes, limit int64) bool { return bytes == 0 || envelope+bytes-1 <= limit }

// Limits say when records make a batch.
type Limits struct {
	Size   int           // most records
	Bytes  int64         // most bytes of the JSON event
	Window time.Duration // how long a first record waits for company
}

// Full says that of so many waiting records not all, or exactly all, go into
// one batch, so that waiting longer would not make it larger.
func (l Limits) Full(records int, bytes int64) bool {
	return records >= l.Size || !Fits(bytes, l.Bytes)
}

// Deadline is when a batch goes that is not full: the window is that of a free
// slot, and starts when the slot has its first record. Both are offsets on one clock.
func (l Limits) Deadline(slotFree, firstRecord time.Duration) time.Duration {
	return max(slotFree, firstRecord) + l.Window
}

// Halve is how many of n records go into the left half: n/2 rounded down, so
// that the right one is larger by one when n is odd. (AWS does not say.)
func Halve(n int) int { return n / 2 }

// Backoff is how long to wait before a batch is tried again that has failed so
// many times in a row (from 1): first, doubled each time, and up to a quarter
// more by jitter (any 64 bits), at most limit in all. Thus never sooner than the
// doubling says, until the limit cuts it.
func Backoff(first, limit time.Duration, failures int, jitter uint64) time.Duration {
	top := max(first, limit-limit/5) // room for jitter below the limit
	d := first
	for ; failures > 1 && d < top; failures-- {
		d *= 2
	}
	d = min(d, top)
	return min(d+time.Duration(jitter%uint64(d/4+1)), limit)
}

// RetryBackoff is [Backoff] up to triggers.MaxBackoff.
func RetryBackoff(first time.Duration, failures int, jitter uint64) time.Duration {
	return Backoff(first, triggers.MaxBackoff, failures, jitter)
}
