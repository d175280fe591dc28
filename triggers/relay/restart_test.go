package relay

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/dlq/morgue"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/triggers"
)

// TestOutputsAndRedrivesSurviveAFailingStore has the store fail and be opened again
// under commits and relay.
func TestOutputsAndRedrivesSurviveAFailingStore(t *testing.T) {
	srv := natsdtest.New(t)
	p := boot(t, srv, nil)
	p.create(mapping)
	x, y := p.stream("x", 2), p.stream("y", 1)
	j := p.take(source0)
	var mu sync.Mutex // commits come one after the other, as a shard's do
	var b book
	var n uint64
	natsdtest.Failing(t, srv, 6, func(int) {
		mu.Lock()
		defer mu.Unlock()
		c := b.emits(3, 100, x, y)
		c.Letters = []dlq.Letter{letter(n, 10)}
		if n%2 == 1 {
			c.Redriven = []string{letterID(n-1, 1)} // every other is done with the next
		}
		n++
		for {
			err := j.Commit(context.Background(), triggers.Checkpoint{Next: n}, c)
			if err == nil {
				return
			}
			if errors.Is(err, triggers.ErrFenced) {
				t.Error(err)
				return
			}
		}
	})
	p.drain(mapping)
	p.check(&b, x)
	p.check(&b, y)
	all, err := p.morgue.List(context.Background(), morgue.Filter{})
	if err != nil || uint64(len(all)) != n-n/2 {
		t.Errorf("%d letters, %v; want %d", len(all), err, n-n/2)
	}
	for _, l := range all {
		if l.Number%2 == 0 && l.Number != n-1 {
			t.Errorf("letter %d is done and shown", l.Number)
		}
	}
	t.Logf("%d commits, %d restarts", n, srv.Restarts())
}
