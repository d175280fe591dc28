package morgue

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/dlq/store"
)

// plot is what a purge takes of one lane.
type plot struct {
	seen int     // messages that were scanned
	goes []grave // ascending
}

// grave is a message that is to go.
type grave struct {
	sequence uint64
	id       string // empty: hidden
	counts   bool   // it is one that people see
}

// Purge deletes the letters f chooses and says how many. Letters that are
// buried while it runs may stay, and those that are delivered again do.
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
	t, unread := m.ties(ctx)
	if unread != nil && !damaged(unread) {
		return 0, unread
	}
	now := time.Now()
	plots := map[store.Lane]*plot{}
	superseded := map[string]bool{}
	err := m.graves.Scan(ctx, nil, func(g store.Message) error {
		p := plots[g.Lane]
		if p == nil {
			p = &plot{}
			plots[g.Lane] = p
		}
		p.seen++
		if g.Hidden {
			p.goes = append(p.goes, grave{sequence: g.Sequence})
			return nil
		}
		for _, id := range g.Letter.Earlier() {
			superseded[id] = true
		}
		if f.match(&g.Letter) && !t.under[g.Letter.ID] {
			p.goes = append(p.goes, grave{g.Sequence, g.Letter.ID, visible(&g.Letter, now) && !t.settled[g.Letter.ID]})
		}
		return nil
	})
	if err != nil && !damaged(err) {
		return 0, err
	}
	// Whatever was taken up meanwhile stays.
	if t, unread = m.ties(ctx); unread != nil && !damaged(unread) {
		return 0, unread
	}
	n := 0
	for lane, p := range plots {
		p.goes = slices.DeleteFunc(p.goes, func(g grave) bool { return t.under[g.id] })
		if len(p.goes) == 0 {
			continue
		}
		if err := m.bury(ctx, lane, p); err != nil {
			return 0, err
		}
		for _, g := range p.goes {
			if g.counts && !superseded[g.id] {
				n++
			}
		}
	}
	return n, cmp.Or(err, unread)
}

// Remove deletes letters that a commit has settled; the relay calls it. Those that
// still wait in a journal of their own are left, and returned: call again when
// they have come.
func (m *Morgue) Remove(ctx context.Context, ids []string) (left []string, err error) {
	at := map[string]place{}
	var unknown []string
	m.mu.Lock()
	for _, id := range ids {
		if p, ok := m.where[id]; ok {
			at[id] = p
		} else {
			unknown = append(unknown, id)
		}
	}
	m.mu.Unlock()
	if len(unknown) > 0 {
		// The journals first: what is moved meanwhile is found by the search.
		h := homeOf(unknown...)
		waiting, err := m.waiting(ctx, h.source)
		if err != nil && !damaged(err) { // letters of a damaged journal come never
			return nil, err
		}
		found, err := m.search(ctx, h, unknown)
		if err != nil && !damaged(err) {
			return nil, err
		}
		maps.Copy(at, found)
		waits := map[string]bool{}
		for _, l := range waiting {
			waits[l.ID] = true
		}
		for _, id := range unknown {
			if _, there := found[id]; !there && waits[id] {
				left = append(left, id)
			}
		}
	}
	plots := map[store.Lane]*plot{}
	for id, p := range at {
		if plots[p.lane] == nil {
			plots[p.lane] = &plot{seen: math.MaxInt} // there may be others
		}
		plots[p.lane].goes = append(plots[p.lane].goes, grave{sequence: p.sequence, id: id})
	}
	for lane, p := range plots {
		slices.SortFunc(p.goes, func(a, b grave) int { return cmp.Compare(a.sequence, b.sequence) })
		if err := m.bury(ctx, lane, p); err != nil {
			return nil, err
		}
	}
	return left, nil
}

// bury deletes messages of one lane, save that its newest becomes a hidden one
// while the journal has not noted its position.
func (m *Morgue) bury(ctx context.Context, lane store.Lane, p *plot) error {
	last := p.goes[len(p.goes)-1].sequence
	kept, err := m.keep(ctx, lane, func(t store.Tail) bool { return t.Sequence == last })
	if err != nil {
		return err
	}
	goes, seen := p.goes, p.seen
	if kept {
		goes = goes[:len(goes)-1]
		seen--
	}
	if len(goes) == 0 {
		return nil
	}
	if seen == len(goes) {
		return m.graves.DropLane(ctx, lane, goes[len(goes)-1].sequence+1)
	}
	for _, g := range goes {
		if _, err := m.graves.Drop(ctx, g.sequence); err != nil {
			return err
		}
	}
	return nil
}

// keep makes sure that the position of a lane's newest message survives if that
// message is one that goes: unless the journal has noted the position, a hidden
// message takes its place. kept says that the newest message must not be
// deleted, being hidden already.
func (m *Morgue) keep(ctx context.Context, lane store.Lane, goes func(store.Tail) bool) (kept bool, err error) {
	for {
		// The tail first: a mark read after it cannot be too new.
		tail, err := m.graves.Tail(ctx, lane)
		if damaged(err) {
			return false, nil // it tells no position, and what is to go are others
		}
		if err != nil {
			return false, err
		}
		if tail.Sequence == 0 || !goes(tail) {
			return false, nil // a newer one bears a higher position
		}
		mark, err := m.journals.Mark(ctx, lane.Source)
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
		_, err = m.graves.Hide(ctx, lane, tail)
		m.crash("after hide")
		if !errors.Is(err, store.ErrMoved) {
			return false, err
		}
	}
}

// Trim deletes what has been in the morgue for longer than [dlq.Retention]; the
// relay calls it now and then. Letters disappear from lists at the hour, whenever
// it runs. A message that is damaged goes at its time like the others: what comes
// into its lane again for want of a position has expired as well.
func (m *Morgue) Trim(ctx context.Context) error {
	lanes, err := m.graves.Lanes(ctx)
	if err != nil || len(lanes) == 0 {
		return err
	}
	// The tails first: what the relay appends after them is behind newest, or is
	// what Since finds, and stays either way.
	var newest uint64
	for lane := range lanes {
		tail, err := m.graves.Tail(ctx, lane)
		if err != nil && !damaged(err) {
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
	spared, err := m.spared(ctx, first)
	if err != nil {
		return err
	}
	for lane := range lanes {
		kept, err := m.keep(ctx, lane, func(t store.Tail) bool { return t.Sequence < first && !spared[t.Sequence] })
		if err != nil {
			return err
		}
		if kept {
			// It is hidden and old: renewed, so that all before first can go.
			if err := m.renew(ctx, lane); err != nil {
				return err
			}
		}
	}
	if len(spared) == 0 {
		return m.graves.DropBefore(ctx, first)
	}
	return m.before(ctx, first, func(g store.Message) error {
		if spared[g.Sequence] {
			return nil
		}
		_, err := m.graves.Drop(ctx, g.Sequence)
		return err
	})
}

// spared are the letters before a sequence that are delivered again.
func (m *Morgue) spared(ctx context.Context, first uint64) (map[uint64]bool, error) {
	t, err := m.ties(ctx)
	if err != nil && !damaged(err) {
		return nil, err
	}
	if len(t.under) == 0 {
		return nil, nil
	}
	spared := map[uint64]bool{}
	return spared, m.before(ctx, first, func(g store.Message) error {
		if !g.Hidden && t.under[g.Letter.ID] {
			spared[g.Sequence] = true
		}
		return nil
	})
}

// before hands over the messages before a sequence.
func (m *Morgue) before(ctx context.Context, first uint64, fn func(store.Message) error) error {
	err := m.graves.Scan(ctx, nil, func(g store.Message) error {
		if g.Sequence >= first {
			return errStop
		}
		return fn(g)
	})
	if errors.Is(err, errStop) || damaged(err) {
		return nil
	}
	return err
}

// renew puts the hidden newest message of a lane behind all others.
func (m *Morgue) renew(ctx context.Context, lane store.Lane) error {
	tail, err := m.graves.Tail(ctx, lane)
	if err != nil {
		return err
	}
	_, err = m.graves.Hide(ctx, lane, tail)
	if errors.Is(err, store.ErrMoved) {
		return nil // the relay has appended a newer one
	}
	return err
}
