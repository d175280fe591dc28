package pool

import (
	"context"
	"slices"
	"sync"
	"time"
)

// call is the context of one invocation. It has the values of the caller's, and is
// cut off when that ends or the pool does; a deadline of its own is only ever the
// function's, so that one that passes in an environment says just that.
//
// Package context could be told the same with two contexts and two functions to be
// called after others; that would be half of what the pool costs an invocation.
type call struct {
	context.Context // the caller's, for its values

	mu       sync.Mutex
	err      error
	done     chan struct{} // closed when err is set; nil while nobody has asked
	after    []*func()     // to be called then
	deadline time.Time
	timer    *time.Timer
	caller   func() bool // stops waiting for the caller's end
}

// newCall begins a call; end is to follow.
func newCall(ctx context.Context) *call {
	c := &call{Context: ctx}
	if ctx.Done() != nil {
		c.caller = context.AfterFunc(ctx, func() { c.cut(context.Cause(ctx)) })
	}
	return c
}

// limit gives the call its deadline, so long from now.
func (c *call) limit(now time.Time, timeout time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = now.Add(timeout)
	if c.err == nil {
		c.timer = time.AfterFunc(timeout, func() { c.finish(context.DeadlineExceeded) })
	}
}

// cut ends the call for a reason that is not the function's.
func (c *call) cut(cause error) { c.finish(&cutOff{cause}) }

// end frees what the call holds, and says whether it was cut off before.
func (c *call) end() bool {
	if c.caller != nil {
		c.caller()
	}
	c.mu.Lock()
	_, cut := c.err.(*cutOff)
	timer := c.timer
	c.mu.Unlock()
	if timer != nil {
		timer.Stop()
	}
	c.finish(context.Canceled)
	return cut
}

func (c *call) finish(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	if c.done != nil {
		close(c.done)
	}
	after := c.after
	c.after = nil
	c.mu.Unlock()
	for _, f := range after {
		go (*f)()
	}
}

// Deadline implements [context.Context]: the caller's is not the function's.
func (c *call) Deadline() (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deadline, !c.deadline.IsZero()
}

// Done implements [context.Context].
func (c *call) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.err != nil {
			close(c.done)
		}
	}
	return c.done
}

// Err implements [context.Context].
func (c *call) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Value implements [context.Context]. What package context keeps there to find the
// context that cancels is the caller's, which does not cancel this one alone.
func (c *call) Value(key any) any { return context.WithoutCancel(c.Context).Value(key) }

// AfterFunc is how package context has derived contexts cancelled without a
// goroutine for each.
func (c *call) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	entry := &f
	c.after = append(c.after, entry)
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		i := slices.Index(c.after, entry)
		if i < 0 {
			return false
		}
		c.after = slices.Delete(c.after, i, i+1)
		return true
	}
}

// cutOff is why an invocation was cut off: a cancellation that says why, also to
// [context.Cause], which knows only contexts of its own package. It hides that the
// cause may be a deadline, since that was not the function's.
type cutOff struct{ cause error }

func (e *cutOff) Error() string { return e.cause.Error() }

func (e *cutOff) Is(err error) bool { return err == context.Canceled }
