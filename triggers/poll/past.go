package poll

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
	"github.com/wasmill/wasmill/triggers/shard"
)

// removal is the reason of a gap: the shard went, its last record having expired,
// before it was finished.
const removal = "the shard was removed"

// watchEvery is how often closed shards are looked at. It is far shorter than the
// least retention, so that a shard is known before it goes.
const watchEvery = 30 * time.Second

// past is what is remembered of a closed shard for one mapping, since the stream
// forgets it when its last record has expired.
type past struct {
	info  stream.Shard
	end   uint64 // the number after its last record
	exact bool   // that is known
	done  bool   // it is finished
	lost  uint64 // records; once it is finished
}

// watch looks at closed shards until ctx ends.
func (m *Manager) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		if err := m.lookBack(ctx); err != nil && ctx.Err() == nil {
			m.d.Logger.Warn("closed shards cannot be looked at; trying again", "err", err, "in", watchEvery)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// lookBack notes where closed shards end that mappings have not finished yet, and
// wakes those of which a shard has gone before that.
func (m *Manager) lookBack(ctx context.Context) error {
	all, err := m.d.Mappings.All(ctx)
	if err != nil {
		return err
	}
	current := map[triggers.Source]bool{} // without a shard
	var errs []error
	for _, mp := range all {
		current[triggers.Source{Mapping: mp.ID, Generation: mp.Generation}] = true
		errs = append(errs, m.lookBackAt(ctx, mp))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.past, func(src triggers.Source, _ past) bool {
		return !current[triggers.Source{Mapping: src.Mapping, Generation: src.Generation}]
	})
	return errors.Join(errs...)
}

func (m *Manager) lookBackAt(ctx context.Context, mp triggers.Mapping) error {
	desc, err := m.d.Streams.ByID(ctx, mp.StreamID)
	if err != nil {
		return nil // deleted; the mapping says so
	}
	// What an earlier life has left unfinished.
	sources, err := m.d.Journals.Sources(ctx, mp.ID)
	if errors.Is(err, journal.ErrNoJournal) {
		return nil // it is being deleted
	}
	errs := []error{err}
	look := func(s stream.Shard, there bool) { // a journal that is damaged hides no other shard
		if err := m.remember(ctx, mp, s, there); !errors.Is(err, journal.ErrNoJournal) {
			errs = append(errs, err)
		}
	}
	for _, s := range desc.Shards {
		if s.State == stream.Closed {
			look(s, true)
		}
	}
	for _, src := range sources {
		if src.Generation == mp.Generation && !has(desc, src.Shard) {
			look(stream.Shard{ID: src.Shard, State: stream.Closed}, false)
		}
	}
	if r := m.runner(mp.Name); r != nil && len(m.removed(mp, desc)) > 0 {
		r.kick()
	}
	return errors.Join(errs...)
}

// remember notes where a closed shard ends, once, and whether it is finished.
func (m *Manager) remember(ctx context.Context, mp triggers.Mapping, s stream.Shard, there bool) error {
	src := triggers.Source{Mapping: mp.ID, Generation: mp.Generation, Shard: s.ID}
	m.mu.Lock()
	was, known := m.past[src]
	m.mu.Unlock()
	if was.done {
		return nil
	}
	cp, err := m.d.Journals.Peek(ctx, src)
	if err != nil {
		return err
	}
	now := past{info: s}
	switch {
	case cp != nil && cp.Ended:
		now.done, now.lost = true, cp.Gaps
	case known:
		return nil
	case there:
		sh, err := m.d.Streams.Shard(ctx, mp.StreamID, s.ID)
		if err != nil {
			return err
		}
		b, err := sh.Log().Bounds(ctx)
		if err != nil {
			return err
		}
		now.end, now.exact = b.NextNumber, true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.past[src] = now
	return nil
}

// removed are the shards of a mapping that have gone before it had finished them.
func (m *Manager) removed(mp triggers.Mapping, desc stream.Description) (gone []stream.Shard) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for src, p := range m.past {
		if src.Mapping == mp.ID && src.Generation == mp.Generation && !p.done && !has(desc, src.Shard) {
			gone = append(gone, p.info)
		}
	}
	slices.SortFunc(gone, func(a, b stream.Shard) int { return cmp.Compare(a.ID, b.ID) })
	return gone
}

func has(desc stream.Description, id string) bool {
	return slices.ContainsFunc(desc.Shards, func(s stream.Shard) bool { return s.ID == id })
}

// vanished says whether the shard is there no more though its stream is.
func (p *poller) vanished(ctx context.Context) bool {
	return p.r.m.expired(ctx, p.mapping.StreamID, p.id)
}

// lose takes in that the shard and its records are there no more: what is not
// resolved of it is lost, and counted.
func (p *poller) lose() {
	m, cp := p.r.m, p.saved
	m.mu.Lock()
	was := m.past[p.source]
	m.mu.Unlock()
	p.removed, p.last, p.guessed = true, was.end, !was.exact
	if !was.exact {
		// Rather one too many than one not told of.
		p.last = cp.Next + 1
		for _, s := range cp.Finished {
			p.last = max(p.last, s.To)
		}
		for _, u := range cp.Units {
			for _, s := range u.Spans {
				p.last = max(p.last, s.To)
			}
		}
	}
	p.log.Warn("the shard was removed before it was finished; what is left of it is lost", "from", cp.Next, "to", p.last, "exact", was.exact)
}

// lost answers a fetch from a shard that is there no more.
func (p *poller) lost(asked shard.Fetch) shard.Event {
	if p.guessed && !asked.Again {
		p.last, p.guessed = max(p.last, asked.From+1), false // more was there when it was read ahead
	}
	switch {
	case asked.Again:
		return shard.Gap{From: asked.From, To: asked.From + uint64(asked.Records), Reason: removal}
	case asked.From < p.last:
		return shard.Gap{From: asked.From, To: p.last, Reason: removal}
	}
	return shard.End{Next: asked.From}
}
