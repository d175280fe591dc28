package morgue

import (
	"context"
	"errors"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/dlq/store"
	"github.com/wasmill/wasmill/triggers"
)

// plot is what a purge takes of one source.
type plot struct {
	seen      int      // messages that were scanned
	sequences []uint64 // of those to go, ascending
}

// Purge deletes the letters f chooses and says how many. Letters that are
// buried while it runs may stay.
func (m *Morgue) Purge(ctx context.Context, f Filter) (int, error) {
	m.mu.Lock()
	flush := m.flush
	m.mu.Unlock()
	if flush != nil {
		// What cannot be moved now can be purged later; a full disk is a reason
		// to purge what there is.
		_ = flush(ctx)
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
	}
	now := time.Now()
	plots := map[triggers.Source]*plot{}
	n := 0
	err := m.graves.Scan(ctx, nil, func(g store.Message) error {
		p := plots[g.Source]
		if p == nil {
			p = &plot{}
			plots[g.Source] = p
		}
		p.seen++
		if g.Hidden {
			p.sequences = append(p.sequences, g.Sequence)
			return nil
		}
		if f.match(&g.Letter) {
			p.sequences = append(p.sequences, g.Sequence)
			if visible(&g.Letter, now) {
				n++
			}
		}
		return nil
	})
	if err != nil && !damaged(err) {
		return 0, err
	}
	for src, p := range plots {
		if len(p.sequences) == 0 {
			continue
		}
		if err := m.bury(ctx, src, p); err != nil {
			return 0, err
		}
	}
	return n, err
}

// bury deletes messages of one source, save that its newest becomes a hidden one
// while the journal has not noted its position.
func (m *Morgue) bury(ctx context.Context, src triggers.Source, p *plot) error {
	last := p.sequences[len(p.sequences)-1]
	kept, err := m.keep(ctx, src, func(t store.Tail) bool { return t.Sequence == last })
	if err != nil {
		return err
	}
	if kept {
		p.sequences = p.sequences[:len(p.sequences)-1]
		p.seen--
	}
	if len(p.sequences) == 0 {
		return nil
	}
	if p.seen == len(p.sequences) {
		return m.graves.DropSource(ctx, src, p.sequences[len(p.sequences)-1]+1)
	}
	for _, seq := range p.sequences {
		if _, err := m.graves.Drop(ctx, seq); err != nil {
			return err
		}
	}
	return nil
}

// keep makes sure that the position of src's newest message survives if that
// message is one that goes: unless the journal has noted the position, a hidden
// message takes its place. kept says that the newest message must not be
// deleted, being hidden already.
func (m *Morgue) keep(ctx context.Context, src triggers.Source, goes func(store.Tail) bool) (kept bool, err error) {
	for {
		// The tail first: a mark read after it cannot be too new.
		tail, err := m.graves.Tail(ctx, src)
		if err != nil {
			return false, err
		}
		if tail.Sequence == 0 || !goes(tail) {
			return false, nil // a newer one bears a higher position
		}
		mark, err := m.journals.Mark(ctx, src)
		if err != nil {
			return false, err
		}
		if mark >= tail.Position.Sequence {
			return false, nil
		}
		g, there, err := m.graves.Get(ctx, tail.Sequence)
		if err != nil {
			return false, err
		}
		if there && g.Hidden {
			return true, nil
		}
		m.crash("before hide")
		_, err = m.graves.Hide(ctx, src, tail)
		m.crash("after hide")
		if !errors.Is(err, store.ErrMoved) {
			return false, err
		}
	}
}

// Trim deletes what has been in the morgue for longer than [dlq.Retention]; the
// relay calls it now and then. Letters disappear from lists at the hour, whenever
// it runs.
func (m *Morgue) Trim(ctx context.Context) error {
	sources, err := m.graves.Sources(ctx)
	if err != nil || len(sources) == 0 {
		return err
	}
	// The tails first: what the relay appends after them is behind newest, or is
	// what Since finds, and stays either way.
	var newest uint64
	for src := range sources {
		tail, err := m.graves.Tail(ctx, src)
		if err != nil {
			return err
		}
		newest = max(newest, tail.Sequence)
	}
	m.crash("between looks")
	first, found, err := m.graves.Since(ctx, time.Now().Add(-dlq.Retention))
	if err != nil {
		return err
	}
	m.crash("after looks")
	if !found {
		first = newest + 1 // everything there was has expired
	}
	if first <= 1 {
		return nil
	}
	for src := range sources {
		kept, err := m.keep(ctx, src, func(t store.Tail) bool { return t.Sequence < first })
		if err != nil {
			return err
		}
		if kept {
			// It is hidden and old: renewed, so that all before first can go.
			if err := m.renew(ctx, src); err != nil {
				return err
			}
		}
	}
	return m.graves.DropBefore(ctx, first)
}

// renew puts the hidden newest message of src behind all others.
func (m *Morgue) renew(ctx context.Context, src triggers.Source) error {
	tail, err := m.graves.Tail(ctx, src)
	if err != nil {
		return err
	}
	_, err = m.graves.Hide(ctx, src, tail)
	if errors.Is(err, store.ErrMoved) {
		return nil // the relay has appended a newer one
	}
	return err
}
