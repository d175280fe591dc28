package natsstream

import (
	"context"
	"errors"
	"math"
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
			for _, sh := range inc.shards {
				if ctx.Err() != nil {
					return
				}
				err := s.trimShard(ctx, sh)
				if err != nil && ctx.Err() == nil && inc.desc.Load().State == stream.Active {
					s.opts.Logger.Warn("expired records are not deleted yet", "stream", inc.desc.Load().Name, "shard", sh.info.ID, "error", err)
				}
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
func (s *Store) trimShard(ctx context.Context, sh *Shard) error {
	now := time.Now()
	due := sh.due.Load()
	if now.UnixMilli() < due {
		return nil
	}
	d := sh.inc.desc.Load()
	l, err := sh.open(ctx)
	if err != nil {
		return err
	}
	horizon := sh.Horizon(now)
	end, err := l.Due(ctx, horizon)
	if err != nil {
		return err
	}
	if end > 0 {
		keep, err := s.keep(ctx, sh, l, end)
		if err != nil {
			return err
		}
		if err := l.Trim(ctx, horizon, keep); err != nil {
			return err
		}
	}
	b, err := l.Bounds(ctx)
	if err != nil {
		return err
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
			return nil // readers hear of it; look again next time
		}
		if err != nil {
			return err
		}
		newest = f.LastArrival()
	}
	// SetRetention may have reset due meanwhile: then leave it so.
	sh.due.CompareAndSwap(due, newest+d.Retention.Milliseconds()+1)
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
