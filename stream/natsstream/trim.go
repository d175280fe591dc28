package natsstream

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/stream"
)

// trim deletes expired records and finishes interrupted deletions until ctx
// ends. Open owns the goroutine, Close waits for it.
func (s *Store) trim(ctx context.Context) {
	tick := time.NewTicker(s.opts.TrimEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		s.tidy(ctx)
		for _, inc := range s.actives() {
			inc.quota.look(ctx)
			var expired []*Shard
			for _, sh := range inc.table.Load().shards {
				if ctx.Err() != nil {
					return
				}
				empty, err := s.trimShard(ctx, sh)
				if empty {
					expired = append(expired, sh)
				}
				if err != nil && ctx.Err() == nil && !sh.removed.Load() && live(inc.desc.Load().State) {
					s.opts.Logger.Warn("expired records are not deleted yet", "stream", inc.desc.Load().Name, "shard", sh.info.ID, "error", err)
				}
			}
			if err := s.dropShards(ctx, inc, expired); err != nil && ctx.Err() == nil && live(inc.desc.Load().State) {
				s.opts.Logger.Warn("closed shards are not deleted yet", "stream", inc.desc.Load().Name, "error", err)
			}
		}
	}
}

func (s *Store) actives() []*incarnation {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]*incarnation, 0, len(s.byID))
	for _, inc := range s.byID {
		list = append(list, inc)
	}
	return list
}

// trimShard deletes what has expired in a shard and remembers when there can
// be more: arrivals never go down, so not before the newest record of what is
// now the first frame expires. Shards in which nothing is due cost nothing.
//
// It says whether the shard is closed, has nothing left to read, and is not needed
// by any source: then it can go.
func (s *Store) trimShard(ctx context.Context, sh *Shard) (expired bool, err error) {
	now := time.Now()
	due := sh.due.Load()
	if now.UnixMilli() < due {
		return false, nil
	}
	d := sh.inc.desc.Load()
	l, err := sh.open(ctx)
	if err != nil {
		return false, err
	}
	horizon := sh.Horizon(now)
	end, err := l.Due(ctx, horizon)
	if err != nil {
		return false, err
	}
	if end > 0 {
		keep, err := s.keep(ctx, sh, l, end)
		if err != nil {
			return false, err
		}
		if err := l.Trim(ctx, horizon, keep); err != nil {
			return false, err
		}
	}
	b, err := l.Bounds(ctx)
	if err != nil {
		return false, err
	}
	if info := sh.Info(); info.State == stream.Closed && b.LastArrival < horizon {
		if gone := expiry(info, d.Retention); now.Before(gone) {
			sh.due.CompareAndSwap(due, gone.UnixMilli())
			return false, nil
		}
		keep, err := s.keep(ctx, sh, l, b.LastFrame+1)
		return keep == 0 && err == nil, err
	}
	// Trim takes arrivals below the horizon, hence one millisecond more than the
	// retention. The first record of an empty shard arrives now at the earliest.
	newest := now.UnixMilli()
	switch {
	case b.LastFrame == 0:
	case b.FirstFrame == b.LastFrame:
		newest = b.LastArrival // the last frame stays until there is another
	default:
		f, err := l.At(ctx, b.FirstFrame)
		if _, ok := errors.AsType[*log.CorruptError](err); ok {
			return false, nil // readers hear of it; look again next time
		}
		if err != nil {
			return false, err
		}
		newest = f.LastArrival()
	}
	// SetRetention may have reset due meanwhile: then leave it so.
	sh.due.CompareAndSwap(due, newest+d.Retention.Milliseconds()+1)
	return false, nil
}

// expiry is when a closed shard has nothing left to read, whatever it holds. A
// moment more than the retention, for the time it was closed at is in whole seconds.
func expiry(sh stream.Shard, retention time.Duration) time.Time {
	return sh.Closed.Add(retention + time.Second)
}

// dropShards removes shards that have expired, and those that it did not get to
// before: the catalogue says that they go, then nobody sees them, then their logs go,
// then the catalogue forgets them. If the stream is being changed it is not the time.
func (s *Store) dropShards(ctx context.Context, inc *incarnation, expired []*Shard) error {
	select {
	case inc.turn <- struct{}{}:
	default:
		return nil
	}
	defer inc.give()
	d := *inc.desc.Load()
	if d.State != stream.Active {
		return nil
	}
	now := time.Now()
	goes := make(map[int]bool, len(expired))
	for _, sh := range expired {
		goes[sh.info.Index] = true
	}
	var left, gone []stream.Shard
	for _, sh := range d.Shards {
		// The retention may have become longer since they were looked at.
		if goes[sh.Index] && !now.Before(expiry(sh, d.Retention)) {
			sh.State = stream.Deleting
			gone = append(gone, sh)
		} else {
			left = append(left, sh)
		}
	}
	if len(gone)+len(inc.doomed) == 0 {
		return nil
	}
	if len(gone) > 0 {
		d.Shards = left
		doomed := slices.Concat(inc.doomed, gone)
		if err := s.rewrite(ctx, inc, func(e *entry) { e.setShards(left, doomed) }); err != nil {
			return err
		}
		inc.doomed = doomed
		inc.publish(d, s.logs)
	}
	if err := s.deleteLogs(ctx, d.ID, inc.doomed); err != nil {
		return err
	}
	if err := s.rewrite(ctx, inc, func(e *entry) { e.setShards(d.Shards, nil) }); err != nil {
		return err
	}
	inc.doomed = nil
	return nil
}

// keep is the first frame that must stay though the frames before end are due; 0
// if none must. The sources of a shard are looked at only when frames are due
// that may be the newest of one: they only ever get newer ones, so that between
// two looks none can have its newest below the lowest that was seen.
func (s *Store) keep(ctx context.Context, sh *Shard, l *log.Log, end uint64) (uint64, error) {
	if end <= sh.floor {
		s.tell(ctx, sh, l, hold{}, end)
		return 0, nil
	}
	b, err := l.Bounds(ctx)
	if err != nil {
		return 0, err
	}
	all, err := l.LastFroms(ctx)
	if err != nil {
		return 0, err
	}
	floor := b.LastFrame + 1 // a new source begins behind
	var first hold
	for source, f := range all {
		if f.Frame < end {
			h := hold{frame: f.Frame, source: source, damaged: f.Mark == (log.Mark{})}
			mark := f.Mark
			if h.damaged {
				mark.Sequence = math.MaxUint64
			}
			var confirmed bool
			if confirmed, h.err = s.opts.Keep(ctx, source, mark); confirmed && h.err == nil {
				continue
			}
			if first.frame == 0 || h.frame < first.frame || h.frame == first.frame && h.source < first.source {
				first = h
			}
		}
		floor = min(floor, f.Frame)
	}
	sh.floor = floor
	s.tell(ctx, sh, l, first, end)
	return first.frame, nil
}

// hold is why expired frames stay; the zero value: they do not.
type hold struct {
	frame   uint64 // the first of them
	source  string // whose newest frame it is, or may be
	damaged bool   // its mark is, so that all stays until the source is gone
	err     error  // what the source has confirmed is not known
}

// tell has people know, once for a shard and source, why the frames from h.frame to
// end stay though they are expired: they take room, for as long as it lasts.
func (s *Store) tell(ctx context.Context, sh *Shard, l *log.Log, h hold, end uint64) {
	if h.source == sh.told {
		return
	}
	about := []any{"stream", sh.inc.desc.Load().Name, "shard", sh.info.ID}
	if sh.told = h.source; h.source == "" {
		s.opts.Logger.Info("expired records are deleted again", about...)
		return
	}
	about = append(about, "source", h.source)
	if bytes, err := l.Size(ctx, h.frame, end); err == nil {
		about = append(about, "bytes", bytes)
	}
	switch {
	case h.err != nil:
		s.opts.Logger.Warn("expired records are kept: whether their source needs them is not known", append(about, "error", h.err)...)
	case h.damaged:
		s.opts.Logger.Error("expired records are kept: how many outputs of the source have come cannot be read; delete the stream, or the trigger", about...)
	default:
		s.opts.Logger.Warn("expired records are kept: not all outputs of their source are where they belong", about...)
	}
}
