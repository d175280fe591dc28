package natsstream

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/stream"
)

// group is the records of one call that go to one shard, in call order.
type group struct {
	shard   *Shard
	index   []int // of each record in the call
	records []log.Record
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
	taken, bytes, full := inc.quota.take(ctx, entries)
	gone := int64(0) // of bytes: those that are not stored after all
	defer func() { inc.quota.settle(bytes, gone) }()
	groups, err := inc.route(entries[:taken])
	if err != nil {
		gone = bytes
		return nil, err
	}
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
	results := make([]stream.PutResult, len(entries))
	for i := taken; i < len(entries); i++ {
		results[i].Err = full
	}
	for _, g := range groups {
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
			inc.quota.drift(g.pending, late)
			bytes -= late
		}
		if err != nil {
			err = g.shard.putError(err)
		}
		for i, at := range g.index {
			if i < len(places) {
				results[at] = stream.PutResult{Shard: g.shard.info.ID, Sequence: g.shard.sequence(places[i].Frame, places[i].Index, places[i].Arrival)}
			} else {
				results[at] = stream.PutResult{Shard: g.shard.info.ID, Err: err}
				if missing {
					gone += int64(entries[at].Size())
				}
			}
		}
	}
	return results, nil
}

// route groups entries by the shard whose hash range they fall into.
func (inc *incarnation) route(entries []stream.Entry) ([]group, error) {
	n := len(entries)
	at := make([]int32, n)               // by entry: index of its group
	slot := make([]int32, len(inc.open)) // by open shard: 1 + index of its group
	count := make([]int, 0, 16)          // by group: its records
	groups := make([]group, 0, 16)
	for i := range entries {
		h, err := entries[i].HashKey()
		if err != nil {
			return nil, fmt.Errorf("record %d: %w", i, err)
		}
		shard := inc.owner(h)
		if slot[shard] == 0 {
			groups = append(groups, group{shard: inc.open[shard]})
			count = append(count, 0)
			slot[shard] = int32(len(groups))
		}
		at[i] = slot[shard] - 1
		count[at[i]]++
	}
	index, records := make([]int, n), make([]log.Record, n) // for all groups, one behind the other
	for g := range groups {
		groups[g].index, index = index[:0:count[g]], index[count[g]:]
		groups[g].records, records = records[:0:count[g]], records[count[g]:]
	}
	for i := range entries {
		e, g := &entries[i], &groups[at[i]]
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

// owner is the index in open of the shard that a hash key falls into.
func (inc *incarnation) owner(h stream.HashKey) int {
	at, found := slices.BinarySearchFunc(inc.open, h, func(sh *Shard, h stream.HashKey) int { return sh.info.From.Compare(h) })
	if !found {
		at-- // the last one that begins below h
	}
	return at
}

// putError says in the words of package stream why records were not stored.
func (sh *Shard) putError(err error) error {
	switch {
	case sh.inc.desc.Load().State != stream.Active:
		return fmt.Errorf("%w: stream %s is being deleted", stream.ErrNotFound, sh.inc.desc.Load().Name)
	case errors.Is(err, log.ErrClosed):
		return fmt.Errorf("%w: %s", stream.ErrClosed, sh.info.ID)
	}
	return fmt.Errorf("put to %s: %w", sh.info.ID, unavailable(err))
}
