package natsstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/stream"
)

// group is the records of one call that go to one shard, in call order.
type group struct {
	shard   *Shard
	index   []int // of each record in the call
	records []log.Record
	bytes   int // of keys and data
	pending *log.Pending
	err     error
}

// Put appends entries, 1 to 500 and 10 MiB of data and keys together, and
// returns a result for each once it is on disk or known not to be. Entries of
// one shard are stored in call order, and if some of them are not, those are the
// last. An error means that the call as a whole is not valid and nothing of it
// is stored. A record whose result is the error of ctx may be stored or not.
//
// In a stream with a quota the first entries of the call are stored as far as
// they fit, and the others' result is [stream.ErrQuota].
//
// Entries whose shard ends while they are on their way go to the one that takes
// over, in call order too. Should that take long their result is
// [stream.ErrUnavailable].
//
// The data of entries must not be changed before Put has returned, and not
// after either if ctx ended it: the records may still be on their way.
func (s *Store) Put(ctx context.Context, ref stream.Ref, entries []stream.Entry) ([]stream.PutResult, error) {
	inc, err := s.active(ref)
	if err != nil {
		return nil, err
	}
	if err := stream.ValidateCall(entries, inc.desc.Load().RecordBytes); err != nil {
		return nil, err
	}
	p := putting{inc: inc}
	taken, bytes, full := inc.quota.take(ctx, entries)
	p.booked = bytes
	defer func() { inc.quota.settle(p.booked, p.gone) }()
	t := inc.table.Load()
	groups, err := t.route(entries[:taken], nil)
	if err != nil {
		p.gone = bytes
		return nil, err
	}
	p.results = make([]stream.PutResult, len(entries))
	for i := taken; i < len(entries); i++ {
		p.results[i].Err = full
	}
	for until := (time.Time{}); ; {
		again := p.append(ctx, entries, groups)
		if len(again) == 0 {
			return p.results, nil
		}
		if until.IsZero() {
			until = time.Now().Add(passing)
		}
		t, err = inc.next(ctx, t, until)
		if err == nil && !live(inc.desc.Load().State) {
			err = fmt.Errorf("%w: stream %s is being deleted", stream.ErrNotFound, ref.Name)
		}
		if err == nil {
			groups, err = t.route(entries, again)
		}
		if err != nil {
			for _, at := range again {
				p.results[at].Err = err
				p.gone += int64(entries[at].Size())
			}
			return p.results, nil
		}
	}
}

// putting is one call of Put.
type putting struct {
	inc     *incarnation
	results []stream.PutResult
	booked  int64 // bytes of the quota that this call settles
	gone    int64 // of those: what is not stored after all
}

// append stores groups of entries and fills in their results, but for the entries that it
// returns, in call order: their shard ended before them.
func (p *putting) append(ctx context.Context, entries []stream.Entry, groups []group) (again []int) {
	// All appenders work at once: first start them all, then wait.
	for i := range groups {
		g := &groups[i]
		l, err := g.shard.open(ctx)
		if err != nil {
			g.err = err
			continue
		}
		g.pending = l.Start(g.records)
	}
	ended := 0
	for i := range groups {
		g := &groups[i]
		var places []log.Place // with an error: of those at the front that are stored
		err := g.err
		if err == nil {
			places, err = g.pending.Wait(ctx)
		}
		missing := err != nil && !uncertain(ctx, err)
		if err != nil && ctx.Err() != nil && g.pending != nil && !g.pending.Done() {
			late := int64(0)
			for _, at := range g.index {
				late += int64(entries[at].Size())
			}
			p.inc.quota.drift(g.pending, late)
			p.booked -= late
		}
		passes := errors.Is(err, log.ErrClosed) && g.shard.passes()
		if err != nil {
			err = g.shard.putError(err)
		}
		for i, at := range g.index {
			if i < len(places) {
				p.results[at] = stream.PutResult{Shard: g.shard.info.ID, Sequence: g.shard.sequence(places[i].Frame, places[i].Index, places[i].Arrival)}
				continue
			}
			p.results[at] = stream.PutResult{Shard: g.shard.info.ID, Err: err}
			switch {
			case passes:
				again = append(again, at)
			case missing:
				p.gone += int64(entries[at].Size())
			}
		}
		if passes {
			ended++
		}
	}
	if ended > 1 {
		slices.Sort(again)
	}
	return again
}

// route groups entries by the shard whose hash range they fall into; those with
// these indexes, or all.
func (t *table) route(entries []stream.Entry, which []int) ([]group, error) {
	n := len(entries)
	if which != nil {
		n = len(which)
	}
	entry := func(k int) int {
		if which != nil {
			return which[k]
		}
		return k
	}
	now := time.Now().Unix()
	at := make([]int32, n)             // by entry: index of its group
	slot := make([]int32, len(t.open)) // by open shard: 1 + index of its group
	count := make([]int, 0, 16)        // by group: its records
	groups := make([]group, 0, min(n, 16))
	for k := range n {
		i := entry(k)
		h, err := entries[i].HashKey()
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", i, err)
		}
		shard := t.owner(h)
		if slot[shard] == 0 {
			groups = append(groups, group{shard: t.open[shard]})
			count = append(count, 0)
			slot[shard] = int32(len(groups))
		}
		g := slot[shard] - 1
		t.open[shard].mark(h)
		groups[g].bytes += entries[i].Size()
		at[k] = g
		count[g]++
	}
	index, records := make([]int, n), make([]log.Record, n) // for all groups, one behind the other
	for g := range groups {
		groups[g].index, index = index[:0:count[g]], index[count[g]:]
		groups[g].records, records = records[:0:count[g]], records[count[g]:]
		groups[g].shard.count(now, count[g], groups[g].bytes)
	}
	for k := range n {
		i := entry(k)
		e, g := &entries[i], &groups[at[k]]
		r := log.Record{Key: e.PartitionKey, HashKey: e.ExplicitHashKey, Data: e.Data}
		if stream.ValidTraceParent(e.TraceParent) {
			r.Trace = e.TraceParent
		}
		g.index = append(g.index, i)
		g.records = append(g.records, r)
	}
	return groups, nil
}

// uncertain says of the error of an append that its records may be stored yet.
func uncertain(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, log.ErrUnknown)
}

// passes says of a shard whose log has ended that others take over from it, or have.
func (sh *Shard) passes() bool {
	state := sh.Info().State
	return state == stream.Closing || state == stream.Closed
}

// putError says in the words of package stream why records were not stored.
func (sh *Shard) putError(err error) error {
	switch {
	case !live(sh.inc.desc.Load().State):
		return fmt.Errorf("%w: stream %s is being deleted", stream.ErrNotFound, sh.inc.desc.Load().Name)
	case errors.Is(err, log.ErrClosed):
		return fmt.Errorf("%w: %s", stream.ErrClosed, sh.info.ID)
	}
	return fmt.Errorf("put to %s: %w", sh.info.ID, unavailable(err))
}
