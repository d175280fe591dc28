package natsstream

import (
	"context"
	"errors"
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
	if err := l.Trim(ctx, horizon, s.opts.Keep(ctx, d.ID, sh.info.ID)); err != nil {
		return err
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
