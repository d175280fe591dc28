package natsstream

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/stream"
)

// table is where the records of a stream are put and read, at one time. It is
// immutable: another takes its place when shards come or go.
type table struct {
	shards  []*Shard      // by index
	open    []*Shard      // those that take records, by hash range, ascending
	changed chan struct{} // closed when another table is in place

	// turned says, while shards are closing, that below this hash key their children
	// take the records already.
	turned stream.HashKey
}

// publish has d be the description of inc and makes the table of it. The caller has
// the turn, or is alone with inc. Shards that are not in d any more are gone for
// whoever holds them.
func (inc *incarnation) publish(d stream.Description, logs *log.Set) {
	old := inc.table.Load()
	t := &table{shards: make([]*Shard, 0, len(d.Shards)), changed: make(chan struct{})}
	var have []*Shard
	if old != nil {
		have = old.shards
	}
	for i := range d.Shards {
		info := &d.Shards[i]
		for len(have) > 0 && have[0].info.Index < info.Index {
			have[0].removed.Store(true)
			have = have[1:]
		}
		var sh *Shard
		if len(have) > 0 && have[0].info.Index == info.Index {
			sh, have = have[0], have[1:]
		} else {
			sh = &Shard{inc: inc, info: *info, logs: logs}
		}
		if was := sh.now.Swap(info); was != nil && was.State != info.State {
			sh.due.Store(0)
		}
		t.shards = append(t.shards, sh)
		if info.State == stream.Active || info.State == stream.Closing {
			t.open = append(t.open, sh)
		}
	}
	for _, sh := range have {
		sh.removed.Store(true)
	}
	slices.SortFunc(t.open, func(a, b *Shard) int { return a.info.From.Compare(b.info.From) })
	// The description first: whoever finds a shard ended finds its children there.
	inc.desc.Store(&d)
	inc.table.Store(t)
	if old != nil {
		close(old.changed)
	}
}

// turnOver has the children of closing shards take the records below a hash key, before
// the description says so: the shards that they come from have ended. The caller has
// the turn.
func (inc *incarnation) turnOver(below stream.HashKey, parents map[string]bool) {
	old := inc.table.Load()
	if below.Compare(old.turned) <= 0 {
		return
	}
	t := &table{shards: old.shards, changed: make(chan struct{}), turned: below}
	for _, sh := range t.shards {
		done := sh.info.From.Compare(below) < 0
		switch sh.Info().State {
		case stream.Closing:
			done = !done
		case stream.Creating:
			done = done && !parents[sh.info.ID]
		default:
			done = sh.Info().State == stream.Active
		}
		if done {
			t.open = append(t.open, sh)
		}
	}
	slices.SortFunc(t.open, func(a, b *Shard) int { return a.info.From.Compare(b.info.From) })
	inc.table.Store(t)
	close(old.changed)
}

// shard is the shard of that id.
func (inc *incarnation) shard(id string) (*Shard, error) {
	if i, ok := shardIndex(id); ok {
		shards := inc.table.Load().shards
		if at, ok := slices.BinarySearchFunc(shards, i, func(sh *Shard, i int) int { return cmp.Compare(sh.info.Index, i) }); ok {
			return shards[at], nil
		}
	}
	return nil, fmt.Errorf("%w: stream %s has no shard %q", stream.ErrNotFound, inc.desc.Load().Name, id)
}

// owner is the index in open of the shard that a hash key falls into.
func (t *table) owner(h stream.HashKey) int {
	at, found := slices.BinarySearchFunc(t.open, h, func(sh *Shard, h stream.HashKey) int { return sh.info.From.Compare(h) })
	if !found {
		at-- // the last one that begins below h
	}
	return at
}

// passing is how long records wait for the shards that take over from those which
// have ended. That takes a few milliseconds a shard, unless nothing can be written.
const passing = 10 * time.Second

// next is the table that follows t, waited for until some time.
func (inc *incarnation) next(ctx context.Context, t *table, until time.Time) (*table, error) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-t.changed:
		return inc.table.Load(), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-timer.C:
		return nil, fmt.Errorf("%w: shards of stream %s are being split or merged", stream.ErrUnavailable, inc.desc.Load().Name)
	}
}
