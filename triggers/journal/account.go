package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/triggers"
)

// account is what this process knows of a source by its newest commit: what is
// not confirmed of its cargo, and what it delivers again.
type account struct {
	tip         uint64 // newest commit that is accounted for
	cargo       uint64 // newest commit with cargo
	mark        uint64 // newest commit that is known to be confirmed
	redriving   []string
	waiting     []load // ascending; not of commits that have letters only
	outputs     int
	bytes       int64
	notices     int
	noticeBytes int64
	damage      error // a commit before the newest cannot be read, nor those before it
}

// load is what one commit adds.
type load struct {
	sequence    uint64
	outputs     int
	bytes       int64
	notices     int
	noticeBytes int64
	redriven    []string
}

// loadOf is what a stored commit adds.
func loadOf(c *commit) load {
	return weigh(load{c.sequence, c.index.outputs(), c.index.bytes(), c.notices.notices(), c.notices.bytes(), c.redriven}, len(windowState(&c.checkpoint)))
}

// weigh adds the state of a window, which stays in the journal for as long as the commit's
// cargo waits.
func weigh(l load, state int) load {
	if l.outputs > 0 {
		l.bytes += int64(state)
	}
	if l.notices > 0 {
		l.noticeBytes += int64(state)
	}
	return l
}

func (a *account) add(l load) {
	if l.outputs+l.notices+len(l.redriven) > 0 {
		a.waiting = append(a.waiting, l)
		a.outputs += l.outputs
		a.bytes += l.bytes
		a.notices += l.notices
		a.noticeBytes += l.noticeBytes
	}
}

// tie counts the sources that deliver a dead letter again, and the commits by
// which it is settled and that are not confirmed.
type tie struct{ under, settled int }

func (s *Store) tie(ids []string, by tie) {
	for _, id := range ids {
		t := s.ties[id]
		if t = (tie{t.under + by.under, t.settled + by.settled}); t == (tie{}) {
			delete(s.ties, id)
		} else {
			s.ties[id] = t
		}
	}
}

// put makes a the account of src; nil: it has none any more. The caller holds mu.
func (s *Store) put(src triggers.Source, a *account) {
	count := func(a *account, n int) {
		s.tie(a.redriving, tie{under: n})
		for _, l := range a.waiting {
			s.tie(l.redriven, tie{settled: n})
		}
	}
	if old := s.accounts[src]; old != nil {
		count(old, -1)
	}
	if a == nil {
		delete(s.accounts, src)
		delete(s.pending, src)
		return
	}
	count(a, 1)
	s.accounts[src] = a
	s.drop(src, a, s.marks[src]) // one that was written since
}

// drop takes off an account what a mark is about. The caller holds mu.
func (s *Store) drop(src triggers.Source, a *account, mark uint64) {
	a.mark = max(a.mark, mark)
	for len(a.waiting) > 0 && a.waiting[0].sequence <= mark {
		a.outputs -= a.waiting[0].outputs
		a.bytes -= a.waiting[0].bytes
		a.notices -= a.waiting[0].notices
		a.noticeBytes -= a.waiting[0].noticeBytes
		s.tie(a.waiting[0].redriven, tie{settled: -1})
		a.waiting = a.waiting[1:]
	}
	if len(a.waiting) == 0 {
		a.waiting = nil
	}
	if a.cargo > a.mark {
		s.pending[src] = true
	} else {
		delete(s.pending, src)
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
// name each other, so that only those are read, and no blobs: a shard that
// starts shall not depend on payloads.
func (s *Store) audit(ctx context.Context, src triggers.Source, newest *commit) (*account, error) {
	a := &account{}
	if newest == nil {
		return a, nil
	}
	a.tip, a.cargo, a.redriving = newest.sequence, newest.cargoUpTo(), redriving(&newest.checkpoint)
	if a.cargo == 0 {
		return a, nil
	}
	_, mark, err := s.mark(ctx, src)
	if err != nil {
		return nil, err
	}
	a.mark = mark
	l := s.ledger(src.Mapping)
	for c := newest; ; {
		if c.sequence > mark {
			a.add(loadOf(c))
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
			a.damage = s.about(src, fmt.Errorf("%w: commit %d is gone", ErrCorrupt, prev))
			break
		}
		if c, err = decodeCommit(e.Sequence, e.Data); err != nil {
			a.damage = s.about(src, fmt.Errorf("commit %d: %w", prev, err))
			break
		}
	}
	slices.Reverse(a.waiting)
	return a, nil
}

// keep takes an account for that of src and says whether it did: not if another
// than by commits for src, who has one that moves; by may be nil.
func (s *Store) keep(src triggers.Source, a *account, by *Journal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.handles[src]; j != by && j != nil && !j.fenced.Load() {
		return false
	}
	if s.swept[src.Mapping] == nil {
		return false // deleted meanwhile
	}
	if old := s.accounts[src]; by == nil && old != nil && old.tip > a.tip {
		return false // somebody has committed meanwhile
	}
	s.put(src, a)
	delete(s.loose, src)
	if by != nil {
		delete(s.unsure, src)
	}
	return true
}

// book adds a commit to the account of src.
func (s *Store) book(src triggers.Source, sequence uint64, d *decision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[src]
	if a == nil || sequence <= a.tip {
		return // heard of before
	}
	a.tip = sequence
	if !slices.Equal(a.redriving, d.redriving) {
		s.tie(a.redriving, tie{under: -1})
		s.tie(d.redriving, tie{under: 1})
		a.redriving = d.redriving
	}
	if d.laden() {
		a.cargo = sequence
		a.add(weigh(load{sequence, len(d.cargo.Outputs), int64(len(d.outWire)), len(d.cargo.Notices), int64(len(d.noteWire)), d.cargo.Redriven}, d.state))
		s.tie(d.cargo.Redriven, tie{settled: 1})
		s.drop(src, a, s.marks[src])
	}
}

// confirmed notes a mark.
func (s *Store) confirmed(src triggers.Source, mark uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marks[src] = max(s.marks[src], mark)
	if a := s.accounts[src]; a != nil {
		s.drop(src, a, mark)
	}
}

// left notes how sure the newest commit of j is when a call ends, or j does.
func (s *Store) left(j *Journal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.handles[j.src] != j: // another one cares
	case j.fenced.Load():
		delete(s.unsure, j.src)
		s.loose[j.src] = true
	case len(j.open) > 0:
		s.unsure[j.src] = j
	default:
		delete(s.unsure, j.src)
	}
}

// learn makes sure that the accounts tell everything: it reads what this process
// has not looked at, which is nothing but for the first time, and finds out what
// became of commits whose callers have gone away. beside are accounts that could
// not be kept. Sources that are damaged are told of by unread.
func (s *Store) learn(ctx context.Context) (beside []*account, unread, err error) {
	if err := s.list(ctx); err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	var mappings []string
	for mapping := range s.unread {
		mappings = append(mappings, mapping)
	}
	s.mu.Unlock()
	for _, mapping := range mappings {
		if err := s.ready(ctx, mapping); err != nil && !errors.Is(err, ErrNoJournal) {
			return nil, nil, err
		}
		s.mu.Lock()
		delete(s.unread, mapping)
		s.mu.Unlock()
	}
	s.mu.Lock()
	var unsure []*Journal
	for _, j := range s.unsure {
		unsure = append(unsure, j)
	}
	var loose []triggers.Source
	for src := range s.loose {
		loose = append(loose, src)
	}
	s.mu.Unlock()
	pass := func(err error) bool {
		if errors.Is(err, ErrCorrupt) {
			unread = cmp.Or(unread, err)
		}
		return errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNoJournal)
	}
	for _, j := range unsure {
		if err := j.ascertain(ctx); err != nil && !pass(err) {
			return nil, nil, err
		}
	}
	for _, src := range loose {
		newest, err := s.newest(ctx, src)
		var a *account
		if err == nil {
			a, err = s.audit(ctx, src, newest)
		}
		if err != nil {
			if !pass(err) {
				return nil, nil, err
			}
		} else if !s.keep(src, a, nil) {
			beside = append(beside, a)
		}
	}
	return beside, unread, nil
}

// Ties says which of these dead letters, of all if there are no ids, are
// delivered again by the newest commit of some source, and which are settled by
// commits that are not confirmed: letters that are settled may still be kept
// elsewhere, and are no more. Every commit that was acknowledged before the call
// is heeded. It asks nobody as a rule, save for the first time. With an error
// that is [ErrCorrupt] it returns what the other sources say.
func (s *Store) Ties(ctx context.Context, ids ...string) (under, settled map[string]bool, err error) {
	beside, unread, err := s.learn(ctx)
	if err != nil {
		return nil, nil, err
	}
	under, settled = map[string]bool{}, map[string]bool{}
	note := func(id string, t tie) {
		if t.under > 0 {
			under[id] = true
		}
		if t.settled > 0 {
			settled[id] = true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		note(id, s.ties[id])
	}
	if len(ids) == 0 {
		for id, t := range s.ties {
			note(id, t)
		}
	}
	for src := range s.pending {
		unread = cmp.Or(unread, s.accounts[src].damage)
	}
	for _, a := range beside {
		for _, id := range a.redriving {
			note(id, tie{under: 1})
		}
		for _, l := range a.waiting {
			for _, id := range l.redriven {
				note(id, tie{settled: 1})
			}
		}
	}
	return under, settled, unread
}

// Waiting lists the sources that may have cargo that is not confirmed, sorted;
// all cargo of any other source is kept elsewhere. As to commits it heeds and
// whom it asks, it is like [Store.Ties].
func (s *Store) Waiting(ctx context.Context) ([]triggers.Source, error) {
	if _, _, err := s.learn(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []triggers.Source
	for src := range s.pending {
		out = append(out, src)
	}
	for src := range s.loose {
		if !s.pending[src] {
			out = append(out, src)
		}
	}
	slices.SortFunc(out, compare)
	return out, nil
}

func compare(a, b triggers.Source) int {
	return cmp.Or(strings.Compare(a.Mapping, b.Mapping), cmp.Compare(a.Generation, b.Generation), strings.Compare(a.Shard, b.Shard))
}

// Backlog says how many outputs of src are committed and not confirmed, and how
// many bytes they take in commits, states of windows there included. It is exact once any source of the mapping was
// taken in this process, save for a damaged one, and 0 before. It asks nobody.
func (s *Store) Backlog(src triggers.Source) (outputs int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.accounts[src]; a != nil {
		return a.outputs, a.bytes
	}
	return 0, 0
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
