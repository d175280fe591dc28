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

// ErrStale means that a [Progress] is not what is stored any more, or that this
// is not certain. Ask for a new one; nothing of the call is stored.
var ErrStale = errors.New("natsstream: progress is out of date")

// Progress is how far a source has got in a stream: all up to At is in it, and
// nothing behind. It belongs to the one goroutine that relays for the source.
type Progress struct {
	At log.Mark

	stream, source string
	frames         map[int]uint64 // newest frame of the source by index of the shard; not there: none
	stale          bool
}

// Progress finds out how far a source has got: the highest mark in all shards of
// an incarnation, closed ones included. source is as for [log.Log.AppendFrom].
// What an earlier [Store.Relay] of it has left under way is waited for.
//
// [stream.ErrNotFound]: the incarnation is gone or being deleted, for good.
// [stream.ErrUnavailable] can be tried again.
func (s *Store) Progress(ctx context.Context, streamID, source string) (*Progress, error) {
	inc, err := s.incarnation(streamID)
	if err != nil {
		return nil, err
	}
	shards := inc.table.Load().shards
	found := make([]log.From, len(shards))
	err = each(ctx, hands, len(shards), func(i int) error {
		sh := shards[i]
		l, err := sh.open(ctx)
		if err != nil {
			return err
		}
		found[i].Mark, found[i].Frame, err = l.LastFrom(ctx, source)
		if sh.removed.Load() && live(inc.desc.Load().State) {
			found[i] = log.From{} // expired, because all of its marks were confirmed
			return nil
		}
		return sh.Explain(err)
	})
	if err != nil {
		return nil, fmt.Errorf("progress of %s: %w", source, err)
	}
	p := &Progress{stream: streamID, source: source, frames: map[int]uint64{}}
	for i, f := range found {
		if f.Frame == 0 {
			continue
		}
		p.frames[shards[i].info.Index] = f.Frame
		if f.Mark.Compare(p.At) > 0 {
			p.At = f.Mark
		}
	}
	return p, nil
}

// Route is the id of the open shard that a hash key belongs to now.
// [stream.ErrNotFound] as for [Store.Progress].
func (s *Store) Route(streamID string, h stream.HashKey) (shard string, err error) {
	inc, err := s.incarnation(streamID)
	if err != nil {
		return "", err
	}
	t := inc.table.Load()
	return t.open[t.owner(h)].info.ID, nil
}

// Relay appends a run of outputs as one frame, 65,535 at most, and moves p on. All
// of them belong to that shard by [Store.Route]; at is the mark of the last. If p
// is there or beyond already, nothing is done. Runs must come in the order of
// their marks. The stream's limit of record size is not applied.
//
// Nothing of the run is stored with these errors: [stream.ErrClosed], the shard
// was closed meanwhile and its children have taken over, route again; [stream.ErrUnavailable], [stream.ErrQuota]
// among them, try again;
// [stream.ErrNotFound] as for [Store.Progress], although a part of what the stream
// had is lost with it; [ErrStale]. Any other error, that of ctx too, leaves that
// open, and p stale.
func (s *Store) Relay(ctx context.Context, streamID, source string, p *Progress, at log.Mark, shard string, recs []log.Record) error {
	if p.stream != streamID || p.source != source {
		return fmt.Errorf("%w: it is of source %s in stream %s", ErrStale, p.source, p.stream)
	}
	if p.stale {
		return ErrStale
	}
	if at.Compare(p.At) <= 0 {
		return nil
	}
	inc, err := s.incarnation(streamID)
	if err != nil {
		return err
	}
	sh, err := inc.use(ctx, shard)
	if errors.Is(err, stream.ErrNotFound) && live(inc.desc.Load().State) {
		return fmt.Errorf("%w: %s has expired", stream.ErrClosed, shard)
	}
	if err != nil {
		return err
	}
	bytes := int64(0)
	for i := range recs {
		bytes += int64(recs[i].Size())
	}
	if err := inc.quota.takeAll(ctx, bytes); err != nil {
		return err
	}
	frame, err := sh.Log().AppendFrom(ctx, source, at, p.frames[sh.info.Index], recs)
	gone := int64(0)
	if err != nil && !uncertain(ctx, err) {
		gone = bytes
	}
	inc.quota.settle(bytes, gone)
	switch {
	case err == nil:
		p.frames[sh.info.Index], p.At = frame, at
		sh.countRelayed(recs)
		return nil
	case errors.Is(err, log.ErrClosed) && sh.passes():
		if t := inc.table.Load(); slices.Contains(t.open, sh) {
			if _, err := inc.next(ctx, t, time.Now().Add(passing)); err != nil {
				return err
			}
		}
	case errors.Is(err, log.ErrRefused):
		p.stale = true
		return fmt.Errorf("%w: %w", ErrStale, err)
	case !uncertain(ctx, err) && (errors.Is(err, log.ErrClosed) || errors.Is(err, log.ErrUnavailable)):
	default:
		p.stale = true
	}
	return sh.putError(err)
}

// incarnation is the stream with that id, if it takes records.
func (s *Store) incarnation(id string) (*incarnation, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	inc := s.byID[id]
	if inc == nil {
		return nil, fmt.Errorf("%w: no stream with id %s", stream.ErrNotFound, id)
	}
	return inc, nil
}
