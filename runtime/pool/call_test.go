package pool

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

type named struct{}

func TestCallIsAContextLikeOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("the caller has gone")
		for _, tt := range []struct {
			name  string
			end   func(c *call, caller context.CancelCauseFunc)
			is    error
			cause string
			cut   bool
		}{
			{"the function's deadline", func(*call, context.CancelCauseFunc) { time.Sleep(2 * time.Second) }, context.DeadlineExceeded, "context deadline exceeded", false},
			{"the caller's end", func(_ *call, caller context.CancelCauseFunc) { caller(gone) }, context.Canceled, gone.Error(), true},
			{"the caller's deadline", func(_ *call, caller context.CancelCauseFunc) { caller(context.DeadlineExceeded) }, context.Canceled, "context deadline exceeded", true},
			{"the pool's end", func(c *call, _ context.CancelCauseFunc) { c.cut(errClosing) }, context.Canceled, errClosing.Error(), true},
			{"its own", func(c *call, _ context.CancelCauseFunc) { c.end() }, context.Canceled, "context canceled", false},
		} {
			caller, cancel := context.WithCancelCause(context.WithValue(t.Context(), named{}, "value"))
			c := newCall(caller)
			if _, ok := c.Deadline(); ok {
				t.Error("a deadline before it has one")
			}
			now := time.Now()
			c.limit(now, time.Second)
			if d, ok := c.Deadline(); !ok || !d.Equal(now.Add(time.Second)) || c.Err() != nil {
				t.Errorf("deadline %v, %v", d, c.Err())
			}
			derived, stop := context.WithCancel(c)
			ran, stopped := 0, 0
			context.AfterFunc(c, func() { ran++ })
			if !context.AfterFunc(c, func() { stopped++ })() {
				t.Error("what has not run yet cannot be stopped")
			}
			tt.end(c, cancel)
			synctest.Wait()
			for _, ctx := range []context.Context{c, derived} {
				select {
				case <-ctx.Done():
				default:
					t.Errorf("%s: not done", tt.name)
				}
				other := context.DeadlineExceeded
				if tt.is == other {
					other = context.Canceled
				}
				if !errors.Is(ctx.Err(), tt.is) || errors.Is(ctx.Err(), other) || context.Cause(ctx).Error() != tt.cause {
					t.Errorf("%s: %v, cause %v", tt.name, ctx.Err(), context.Cause(ctx))
				}
				if ctx.Value(named{}) != "value" {
					t.Errorf("%s: the caller's values are gone", tt.name)
				}
			}
			late := make(chan struct{})
			if stop := context.AfterFunc(c, func() { close(late) }); stop() {
				t.Errorf("%s: what runs already could be stopped", tt.name)
			}
			<-late
			if cut := c.end(); cut != tt.cut || ran != 1 || stopped != 0 {
				t.Errorf("%s: cut off %v, %d and %d functions run", tt.name, cut, ran, stopped)
			}
			stop()
			cancel(nil)
		}
	})
}
