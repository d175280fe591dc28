package morgue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/dlq/store"
	"github.com/wasmill/wasmill/triggers"
)

func (m *Morgue) remember(g *store.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.where) >= remembered {
		clear(m.where)
	}
	m.where[g.Letter.ID] = place{g.Lane, g.Sequence}
}

// home says which lanes and journals a letter can rest in: those of its source, or
// any, since one that was buried again is with whoever has redriven it.
type home struct {
	codes    map[string]bool
	anywhere bool
}

func homeOf(ids ...string) home {
	h := home{codes: map[string]bool{}}
	for _, id := range ids {
		code, ok := dlq.SourceOf(id)
		h.codes[code] = ok
		h.anywhere = h.anywhere || dlq.Reburied(id)
	}
	return h
}

func (h home) lane(l store.Lane) bool { return h.anywhere || h.codes[l.Code()] }

func (h home) source(src triggers.Source) bool { return h.lane(store.Lane{Source: src}) }

// Get returns one letter with its payload, or [dlq.ErrNotFound]: also of one that
// a commit has settled before the call.
func (m *Morgue) Get(ctx context.Context, id string) (dlq.Letter, error) {
	if _, ok := dlq.SourceOf(id); !ok {
		return dlq.Letter{}, fmt.Errorf("%w: %q is no id of a dead letter", dlq.ErrNotFound, id)
	}
	t, unread := m.ties(ctx, id)
	if unread != nil && !damaged(unread) {
		return dlq.Letter{}, unread
	}
	if t.settled[id] {
		return dlq.Letter{}, fmt.Errorf("%w: %s", dlq.ErrNotFound, id)
	}
	shown := func(l dlq.Letter) (dlq.Letter, error) {
		if l.Redriving = t.under[id]; !l.Redriving && !visible(&l, time.Now()) {
			return dlq.Letter{}, fmt.Errorf("%w: %s", dlq.ErrNotFound, id)
		}
		return l, nil
	}
	h := homeOf(id)
	l, err := m.dig(ctx, h, id)
	if err == nil {
		return shown(l)
	}
	if !errors.Is(err, dlq.ErrNotFound) {
		return dlq.Letter{}, err
	}
	waiting, unread := m.waiting(ctx, h.source)
	if unread != nil && !damaged(unread) {
		return dlq.Letter{}, unread
	}
	for _, l := range waiting {
		if l.ID == id {
			return shown(l)
		}
	}
	// It may have been moved between the two looks.
	l, err = m.dig(ctx, h, id)
	if err == nil {
		return shown(l)
	}
	if unread != nil && errors.Is(err, dlq.ErrNotFound) {
		err = unread
	}
	return dlq.Letter{}, err
}

// dig looks for a letter in the morgue.
func (m *Morgue) dig(ctx context.Context, h home, id string) (dlq.Letter, error) {
	for range 2 { // by memory, and after a search
		m.mu.Lock()
		at := m.where[id]
		m.mu.Unlock()
		if at.sequence > 0 {
			g, there, err := m.graves.Get(ctx, at.sequence)
			if err != nil {
				return dlq.Letter{}, err
			}
			if there && !g.Hidden && g.Letter.ID == id {
				return g.Letter, nil
			}
		}
		if found, err := m.search(ctx, h, []string{id}); err != nil {
			return dlq.Letter{}, err
		} else if len(found) == 0 {
			break
		}
	}
	return dlq.Letter{}, fmt.Errorf("%w: %s", dlq.ErrNotFound, id)
}

// search finds out where letters rest, by looking through the lanes of h until
// all are found. What it comes by is remembered.
func (m *Morgue) search(ctx context.Context, h home, ids []string) (map[string]place, error) {
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	found := map[string]place{}
	lanes, err := m.graves.Lanes(ctx)
	if err != nil {
		return nil, err
	}
	var damage error
	for lane := range lanes {
		if !h.lane(lane) || len(found) == len(wanted) {
			continue
		}
		err := m.graves.Scan(ctx, &lane, func(g store.Message) error {
			if g.Hidden {
				return nil
			}
			m.remember(&g)
			if wanted[g.Letter.ID] {
				if found[g.Letter.ID] = (place{lane, g.Sequence}); len(found) == len(wanted) {
					return errStop
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			if !damaged(err) {
				return nil, err
			}
			damage = cmp.Or(damage, err)
		}
	}
	if len(found) == len(wanted) {
		return found, nil
	}
	return found, damage
}

var errStop = errors.New("found")
