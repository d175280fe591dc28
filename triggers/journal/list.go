package journal

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/internal/ledger"
	"github.com/wasmill/wasmill/triggers"
)

// ready looks into the mapping's journal before its first use in this process,
// when no commit can be under way.
func (s *Store) ready(ctx context.Context, mapping string) error {
	for {
		s.mu.Lock()
		w, there := s.swept[mapping]
		if !there {
			w = &sweep{done: make(chan struct{})}
			s.swept[mapping] = w
		}
		s.mu.Unlock()
		if !there {
			found, err := s.look(ctx, mapping)
			s.mu.Lock()
			if w.err, w.sources = err, found; err != nil {
				delete(s.swept, mapping) // the next one tries again
			}
			s.mu.Unlock()
			w.abandoned = err != nil && ctx.Err() != nil
			close(w.done)
			return err
		}
		select {
		case <-w.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if w.abandoned {
			continue // whoever looked went away, which is no news of the journal
		}
		return w.err
	}
}

// look lists the sources of a mapping, makes their accounts, and sweeps. What is
// damaged keeps no shard of the mapping from being used.
func (s *Store) look(ctx context.Context, mapping string) ([]triggers.Source, error) {
	subjects, err := s.subjects(ctx, mapping)
	if err != nil {
		return nil, err
	}
	found := sources(mapping, subjects)
	for _, src := range found {
		newest, err := s.newest(ctx, src)
		if err == nil && newest == nil {
			err = s.about(src, errors.New("newest commit cannot be read"))
		}
		var a *account
		if err == nil {
			a, err = s.audit(ctx, src, newest)
		}
		if errors.Is(err, ErrCorrupt) {
			s.log.Error("journal is damaged", "mapping", mapping, "shard", src.Shard, "generation", src.Generation, "err", err)
			s.mu.Lock()
			s.loose[src] = true
			s.mu.Unlock()
			continue
		}
		if err != nil {
			return nil, err
		}
		if a.damage != nil {
			s.log.Error("journal is damaged", "mapping", mapping, "shard", src.Shard, "generation", src.Generation, "err", a.damage)
		}
		s.keep(src, a, nil)
		if subjects[subject(kindBlob, src)] > 0 {
			if err := s.sweep(ctx, src, newest.sequence); err != nil {
				return nil, err
			}
		}
	}
	for subj := range subjects {
		src, ok := source(mapping, subj)
		if ok && subj == subject(kindBlob, src) && subjects[subject(kindCommit, src)] == 0 {
			if err := s.sweep(ctx, src, 0); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// sweep deletes the blobs behind the newest commit of their source: no commit
// names them, since it would come after them. Those before it go with the purge
// of the commits that may name them.
func (s *Store) sweep(ctx context.Context, src triggers.Source, newest uint64) error {
	l := s.ledger(src.Mapping)
	var orphans []uint64
	err := l.Scan(ctx, subject(kindBlob, src), newest+1, math.MaxUint64, func(e ledger.Entry) error {
		orphans = append(orphans, e.Sequence)
		return nil
	})
	if err != nil {
		return s.about(src, err)
	}
	for _, seq := range orphans {
		if _, err := l.Delete(ctx, seq); err != nil {
			return s.about(src, err)
		}
	}
	if len(orphans) > 0 {
		s.log.Info("swept blobs of a commit that never came", "mapping", src.Mapping, "shard", src.Shard, "blobs", len(orphans))
	}
	return nil
}

// forget drops what there is in memory of a mapping.
func (s *Store) forget(mapping string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.swept, mapping)
	delete(s.unread, mapping)
	s.mappings[mapping] = false
	if s.complete {
		delete(s.mappings, mapping)
	}
	for src := range s.accounts {
		if src.Mapping == mapping {
			s.put(src, nil)
		}
	}
	ofIt := func(src triggers.Source) bool { return src.Mapping == mapping }
	maps.DeleteFunc(s.handles, func(src triggers.Source, _ *Journal) bool { return ofIt(src) })
	maps.DeleteFunc(s.unsure, func(src triggers.Source, _ *Journal) bool { return ofIt(src) })
	maps.DeleteFunc(s.marks, func(src triggers.Source, _ uint64) bool { return ofIt(src) })
	maps.DeleteFunc(s.thinned, func(src triggers.Source, _ *thinning) bool { return ofIt(src) })
	maps.DeleteFunc(s.loose, func(src triggers.Source, _ bool) bool { return ofIt(src) })
}

// list finds out which mappings there are, for the first time.
func (s *Store) list(ctx context.Context) error {
	s.mu.Lock()
	done := s.complete
	s.mu.Unlock()
	if done {
		return nil
	}
	names, err := ledger.Streams(ctx, s.srv, allSubjects)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.complete {
		return nil
	}
	for _, name := range names {
		id, ok := strings.CutPrefix(name, streamPrefix)
		if _, known := s.mappings[id]; ok && !known {
			s.mappings[id], s.unread[id] = true, true
		}
	}
	maps.DeleteFunc(s.mappings, func(_ string, there bool) bool { return !there })
	s.complete = true
	return nil
}

// Mappings lists the ids of all mappings that have a journal, sorted: disabled
// and deleted ones too, as long as it is there. It asks the server once.
func (s *Store) Mappings(ctx context.Context) ([]string, error) {
	if err := s.list(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.mappings)), nil
}

// Sources lists who has committed to the mapping's journal, all generations,
// sorted. It asks the server once.
func (s *Store) Sources(ctx context.Context, mapping string) ([]triggers.Source, error) {
	if err := s.ready(ctx, mapping); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.swept[mapping]; w != nil {
		return slices.Clone(w.sources), nil
	}
	return nil, s.about(triggers.Source{Mapping: mapping}, ledger.ErrNoStream) // deleted since
}

// listed notes that src is about to commit.
func (s *Store) listed(src triggers.Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.swept[src.Mapping]; w != nil {
		if i, there := slices.BinarySearchFunc(w.sources, src, compare); !there {
			w.sources = slices.Insert(w.sources, i, src)
		}
	}
}

// subjects counts the messages of each subject of a mapping.
func (s *Store) subjects(ctx context.Context, mapping string) (map[string]uint64, error) {
	subjects, err := s.ledger(mapping).Subjects(ctx, "j."+mapping+".>")
	if err != nil {
		return nil, s.about(triggers.Source{Mapping: mapping}, err)
	}
	return subjects, nil
}

// sources are those that have commits among subjects, sorted.
func sources(mapping string, subjects map[string]uint64) (out []triggers.Source) {
	for subj := range subjects {
		if src, ok := source(mapping, subj); ok && subj == subject(kindCommit, src) {
			out = append(out, src)
		}
	}
	slices.SortFunc(out, compare)
	return out
}
