// Package ondemand splits and merges the shards of on-demand streams as their load asks
// for. What to do is decided by [scaler.Elastic]; this is the loop around it.
package ondemand

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wasmill/wasmill/scaler"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
)

// Streams is what is needed of the store; *natsstream.Store has it.
type Streams interface {
	Loads() []natsstream.Load
	Peek(ref stream.Ref) (*stream.Description, error)
	Split(ctx context.Context, ref stream.Ref, shard string, at stream.HashKey) (stream.Description, error)
	Merge(ctx context.Context, ref stream.Ref, shard, adjacent string) (stream.Description, error)
}

// every is how often loads are looked at.
const every = 5 * time.Second

// Loop looks at the on-demand streams of a store.
type Loop struct {
	streams Streams
	logger  *slog.Logger
	rules   map[string]*scaler.Elastic // by stream id; only Run's goroutine touches it

	known map[string]bool // keeps that are logged, by stream id and shard; as rules

	mu   sync.Mutex
	kept map[stream.Ref][]scaler.Change // what should be split and cannot be
}

// New makes a loop.
func New(streams Streams, logger *slog.Logger) *Loop {
	return &Loop{streams: streams, logger: logger, rules: make(map[string]*scaler.Elastic)}
}

// Run goes on until ctx ends. The caller owns the goroutine.
func (l *Loop) Run(ctx context.Context) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.round(ctx, time.Now())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// changeTime is how long one change is waited for.
const changeTime = 30 * time.Second

// Warning says what keeps shards of a stream from being split, or nothing.
func (l *Loop) Warning(ref stream.Ref) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, c := range l.kept[ref] {
		all = append(all, c.Shard+" is not split: "+c.Reason)
	}
	return strings.Join(all, "; ")
}

func (l *Loop) round(ctx context.Context, now time.Time) {
	rules, kept, known := make(map[string]*scaler.Elastic), make(map[stream.Ref][]scaler.Change), make(map[string]bool)
	loads := l.streams.Loads()
	for len(loads) > 0 && ctx.Err() == nil {
		first := loads[0]
		n := slices.IndexFunc(loads, func(o natsstream.Load) bool { return o.StreamID != first.StreamID })
		if n < 0 {
			n = len(loads)
		}
		of := loads[:n]
		loads = loads[n:]
		d, err := l.streams.Peek(first.Ref)
		if first.Mode != stream.OnDemand || err != nil || d.ID != first.StreamID {
			continue
		}
		rule := l.rules[d.ID]
		if rule == nil {
			rule = new(scaler.Elastic)
		}
		rules[d.ID] = rule
		changes := rule.Decide(now, shardLoads(of), shardsAt(d, now.Add(-scaler.DoubleAfter)))
		if d.State != stream.Active {
			continue // somebody else changes it now
		}
		for _, c := range changes {
			if c.Action == scaler.Keep {
				kept[d.Ref] = append(kept[d.Ref], c)
				known[d.ID+c.Shard] = true
				if !l.known[d.ID+c.Shard] { // once for as long as it lasts
					l.logger.Warn("a shard cannot be split", "stream", d.Name, "shard", c.Shard, "reason", c.Reason)
				}
				continue
			}
			if err := l.change(ctx, d, c); err != nil {
				// The next round tries again.
				key := d.ID + c.Shard + string(c.Action)
				if known[key] = true; !l.known[key] {
					l.logger.Error("an on-demand stream could not be changed", "stream", d.Name, "action", string(c.Action), "shard", c.Shard, "reason", c.Reason, "error", err)
				}
				break
			}
		}
	}
	l.rules, l.known = rules, known
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = kept
}

// change carries out a change. That somebody else was first, or the stream is gone, is no
// error.
func (l *Loop) change(ctx context.Context, d *stream.Description, c scaler.Change) (err error) {
	// The store goes on with what takes longer; other streams must not wait for it.
	limited, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	if c.Action == scaler.Split {
		_, err = l.streams.Split(limited, d.Ref, c.Shard, c.At)
	} else {
		_, err = l.streams.Merge(limited, d.Ref, c.Shard, c.With)
	}
	switch {
	case ctx.Err() != nil, errors.Is(err, stream.ErrBusy), errors.Is(err, stream.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	l.logger.Info("an on-demand stream was changed", "stream", d.Name, "action", string(c.Action), "shard", c.Shard, "with", c.With, "reason", c.Reason)
	return nil
}

// shardLoads are the rule's words for loads.
func shardLoads(loads []natsstream.Load) []scaler.ShardLoad {
	out := make([]scaler.ShardLoad, len(loads))
	for i := range loads {
		l := &loads[i]
		out[i] = scaler.ShardLoad{Shard: l.Shard, Share: l.Share(), Above: l.Above, Cells: l.Cells, Cell: l.Cell}
	}
	return out
}

// shardsAt is how many shards were open at a time. It is told from the shards there are, so
// that it survives a restart; those that a stream was made with count as ever open.
func shardsAt(d *stream.Description, at time.Time) (n int) {
	for _, sh := range d.Shards {
		begun := len(sh.Parents) == 0 || !time.Unix(int64(sh.Epoch), 0).After(at)
		if begun && (sh.Closed.IsZero() || sh.Closed.After(at)) {
			n++
		}
	}
	return n
}
