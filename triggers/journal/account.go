package journal

import (
	"context"
	"fmt"
	"slices"

	"github.com/wasmill/wasmill/triggers"
)

// account is what this process knows of a source by its newest commit: what is
// not confirmed of its cargo, letters aside, and what it delivers again.
type account struct {
	tip       uint64 // newest commit that is accounted for
	redriving []string
	waiting   []load // ascending
	outputs   int
	bytes     int64
}

// load is what one commit adds.
type load struct {
	sequence uint64
	outputs  int
	bytes    int64
	redriven []string
}

func (a *account) add(l load, redriving []string) {
	if l.sequence <= a.tip {
		return // heard of before
	}
	a.tip, a.redriving = l.sequence, redriving
	if l.outputs+len(l.redriven) > 0 {
		a.waiting = append(a.waiting, l)
		a.outputs += l.outputs
		a.bytes += l.bytes
	}
}

// confirmed drops what a mark is about.
func (a *account) confirmed(mark uint64) {
	for len(a.waiting) > 0 && a.waiting[0].sequence <= mark {
		a.outputs -= a.waiting[0].outputs
		a.bytes -= a.waiting[0].bytes
		a.waiting = a.waiting[1:]
	}
	if len(a.waiting) == 0 {
		a.waiting = nil
	}
}

func redriving(cp *triggers.Checkpoint) []string {
	var ids []string
	for _, r := range cp.Redrives {
		ids = append(ids, r.Letter)
	}
	return ids
}

// audit makes the account of a source from what is stored. Commits with cargo
// name each other, so that only those are read.
func (s *Store) audit(ctx context.Context, src triggers.Source, newest *commit) (*account, error) {
	a := &account{}
	if newest == nil {
		return a, nil
	}
	_, mark, err := s.mark(ctx, src)
	if err != nil {
		return nil, err
	}
	l := s.ledger(src.Mapping)
	for c := newest; ; {
		if c.laden() && c.sequence > mark {
			w := load{sequence: c.sequence, redriven: c.redriven, outputs: c.index.outputs()}
			outputs, err := s.outputsOf(ctx, l, c)
			if err != nil {
				return nil, s.about(src, err)
			}
			for i := range outputs {
				w.bytes += weight(&outputs[i])
			}
			if w.outputs+len(w.redriven) > 0 {
				a.waiting = append(a.waiting, w)
				a.outputs += w.outputs
				a.bytes += w.bytes
			}
		}
		if c.prev <= mark {
			break
		}
		prev := c.prev
		e, found, err := l.Get(ctx, prev)
		if err != nil {
			return nil, s.about(src, err)
		}
		if !found {
			if _, mark, err = s.mark(ctx, src); err != nil {
				return nil, err
			}
			if mark >= prev {
				break // purged meanwhile
			}
			return nil, s.about(src, fmt.Errorf("%w: commit %d is gone", ErrCorrupt, prev))
		}
		if c, err = decodeCommit(e.Sequence, e.Data); err != nil {
			return nil, s.about(src, err)
		}
	}
	slices.Reverse(a.waiting)
	a.tip, a.redriving = newest.sequence, redriving(&newest.checkpoint)
	return a, nil
}

// keep takes an account for that of src.
func (s *Store) keep(src triggers.Source, a *account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.confirmed(s.marks[src]) // one that was written since
	s.accounts[src] = a
}

// keepUnowned does so unless somebody commits for src, who has one that moves.
func (s *Store) keepUnowned(src triggers.Source, a *account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.handles[src]; j == nil || j.fenced.Load() {
		a.confirmed(s.marks[src])
		s.accounts[src] = a
	}
}

// book adds a commit to the account of src.
func (s *Store) book(src triggers.Source, sequence uint64, d *decision) {
	l := load{sequence: sequence, outputs: len(d.outputs), redriven: d.redriven}
	for i := range d.outputs {
		l.bytes += weight(&d.outputs[i])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.accounts[src]; a != nil {
		a.add(l, d.redriving)
	}
}

// confirmed notes a mark.
func (s *Store) confirmed(src triggers.Source, mark uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marks[src] = max(s.marks[src], mark)
	if a := s.accounts[src]; a != nil {
		a.confirmed(mark)
	}
}

// Backlog says how many outputs of src are committed and not confirmed, and how
// many bytes of data and keys they have. It is exact for a source that was taken
// in this process, and 0 for any other. It asks nobody.
func (s *Store) Backlog(src triggers.Source) (outputs int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.accounts[src]; a != nil {
		return a.outputs, a.bytes
	}
	return 0, 0
}

// Redrives says which dead letters src delivers again by its newest commit, and
// which are settled by commits that are not confirmed: the letters of these ids
// may still be kept elsewhere, and are no more.
func (s *Store) Redrives(ctx context.Context, src triggers.Source) (under, settled []string, err error) {
	a := (*account)(nil)
	if j := s.owner(src); j != nil {
		// Nobody else commits, so that memory tells; save of what nobody has
		// come back for.
		if err := j.ascertain(ctx); err != nil {
			return nil, nil, err
		}
		s.mu.Lock()
		a = s.accounts[src]
		s.mu.Unlock()
	}
	if a == nil {
		newest, err := s.newest(ctx, src)
		if err != nil {
			return nil, nil, err
		}
		s.mu.Lock()
		a = s.accounts[src]
		s.mu.Unlock()
		if a == nil || newest != nil && a.tip != newest.sequence {
			if a, err = s.audit(ctx, src, newest); err != nil {
				return nil, nil, err
			}
			s.keepUnowned(src, a)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range a.waiting {
		settled = append(settled, l.redriven...)
	}
	return slices.Clone(a.redriving), settled, nil
}

// Confirmed is the [Store.Mark] of src as far as it is certain to survive a
// failure of the disk.
func (s *Store) Confirmed(ctx context.Context, src triggers.Source) (uint64, error) {
	mark, err := s.Mark(ctx, src)
	if err != nil || mark == AllConfirmed {
		return mark, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sure, ours := s.marks[src]; ours {
		mark = min(mark, sure) // a newer one is being written
	}
	return mark, nil
}
