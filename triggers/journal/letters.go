package journal

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/internal/ledger"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/triggers"
)

// AllConfirmed is the mark of a source whose journal is deleted: that happens
// only when everything is confirmed.
const AllConfirmed = ^uint64(0)

// Pending says up to which commit the letters of src are confirmed, and which
// is the newest commit with letters. Letters are waiting if upTo > mark. A
// commit that this process has sent counts once it is acknowledged: until then
// a store that fails may show it and have lost it after a restart.
func (s *Store) Pending(ctx context.Context, src triggers.Source) (mark, upTo uint64, err error) {
	// The mark is read first: it may then be older than the commit, never newer.
	if mark, err = s.Mark(ctx, src); err != nil {
		return 0, 0, err
	}
	newest, err := s.newest(ctx, src)
	if err != nil || newest == nil {
		if errors.Is(err, ErrNoJournal) {
			err = nil
		}
		return mark, 0, err
	}
	upTo = newest.lettersUpTo()
	if j := s.owner(src); j != nil {
		if upTo > j.sure.Load() {
			if err := j.ascertain(ctx); err != nil {
				return 0, 0, err
			}
		}
		upTo = min(upTo, j.sure.Load())
	}
	return mark, upTo, nil
}

// owner is who may commit for src in this process; nil: nobody.
func (s *Store) owner(src triggers.Source) *Journal {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.handles[src]; j != nil && !j.fenced.Load() {
		return j
	}
	return nil
}

// Unrelayed says whether src has letters that are not confirmed.
func (s *Store) Unrelayed(ctx context.Context, src triggers.Source) (bool, error) {
	mark, upTo, err := s.Pending(ctx, src)
	return upTo > mark, err
}

// Mark is the sequence of the commit up to which all letters of src are
// confirmed; 0: none, [AllConfirmed]: the journal is deleted. It never goes back.
func (s *Store) Mark(ctx context.Context, src triggers.Source) (uint64, error) {
	_, mark, err := s.mark(ctx, src)
	if errors.Is(err, ErrNoJournal) {
		return AllConfirmed, nil
	}
	return mark, err
}

// mark returns the mark's own sequence too; 0: there is none.
func (s *Store) mark(ctx context.Context, src triggers.Source) (sequence, mark uint64, err error) {
	e, found, err := s.ledger(src.Mapping).Last(ctx, subject(kindMark, src))
	if err != nil {
		return 0, 0, s.about(src, err)
	}
	if !found {
		return 0, 0, nil
	}
	mark, err = decodeMark(e.Data)
	if err != nil {
		return 0, 0, s.about(src, err)
	}
	return e.Sequence, mark, nil
}

// Confirm notes that all letters of src in commits up to that sequence are kept
// elsewhere, and returns when the mark is on disk. Only the relay calls it, and
// for one source once at a time.
func (s *Store) Confirm(ctx context.Context, src triggers.Source, upTo uint64) error {
	var last error
	for range rounds {
		sequence, mark, err := s.mark(ctx, src)
		if err != nil {
			return err
		}
		if mark >= upTo {
			return nil
		}
		if err := s.srv.Admit(natsd.Journal, 64); err != nil {
			return s.about(src, err)
		}
		_, last = s.ledger(src.Mapping).Append(ctx, subject(kindMark, src), sequence, encodeMark(upTo))
		switch {
		case last == nil:
			return nil
		case errors.Is(last, ledger.ErrRefused):
			continue
		case errors.Is(last, ledger.ErrNoStream):
			return s.about(src, last)
		}
		s.srv.Failed(last)
		if err := s.srv.Healthy(ctx); err != nil {
			return s.about(src, fmt.Errorf("mark: %w: %w", last, err))
		}
	}
	return s.about(src, fmt.Errorf("mark: %w", last))
}

// Letters hands over the letters of commits in (after, upTo] with their
// positions, ascending, until fn fails. Their payloads may be kept.
func (s *Store) Letters(ctx context.Context, src triggers.Source, after, upTo uint64, fn func(dlq.Position, dlq.Letter) error) error {
	if after >= upTo {
		return nil
	}
	l := s.ledger(src.Mapping)
	err := l.Scan(ctx, subject(kindCommit, src), after+1, upTo, func(e ledger.Entry) error {
		c, err := decodeCommit(e.Sequence, e.Data)
		if err != nil {
			return fmt.Errorf("commit %d: %w", e.Sequence, err)
		}
		if c.count == 0 {
			return nil
		}
		wire := c.letters
		if len(c.blobs.sequences) > 0 {
			if wire, err = s.assemble(ctx, l, c); err != nil {
				return err
			}
		}
		at := dlq.Position{Sequence: c.sequence}
		for ; int(at.Index) < c.count; at.Index++ {
			var letter dlq.Letter
			if letter, wire, err = dlq.ReadWire(wire); err != nil {
				return fmt.Errorf("%w: commit %d: letter %d: %w", ErrCorrupt, c.sequence, at.Index, err)
			}
			if err := fn(at, letter); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return s.about(src, err)
	}
	return nil
}

// assemble reads the blobs that a commit names.
func (s *Store) assemble(ctx context.Context, l *ledger.Ledger, c *commit) ([]byte, error) {
	var wire []byte
	for _, seq := range c.blobs.sequences {
		e, found, err := l.Get(ctx, seq)
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, fmt.Errorf("%w: commit %d: blob %d is gone", ErrCorrupt, c.sequence, seq)
		}
		wire = append(wire, e.Data...)
	}
	if uint64(len(wire)) != c.blobs.size || crc32.Checksum(wire, castagnoli) != c.blobs.sum {
		return nil, fmt.Errorf("%w: commit %d: its blobs hold other data", ErrCorrupt, c.sequence)
	}
	return wire, nil
}

// Trim purges what nobody needs any more: commits older than the newest and
// than the first one whose letters are not confirmed, the blobs they named, and
// old marks. The newest commit always stays. It does nothing when there is
// nothing to do.
func (s *Store) Trim(ctx context.Context, src triggers.Source) error {
	sequence, mark, err := s.mark(ctx, src)
	if err != nil {
		return err
	}
	newest, err := s.newest(ctx, src)
	if err != nil || newest == nil {
		return err
	}
	below := newest.sequence
	if j := s.owner(src); j != nil {
		below = min(below, j.tip.Load()) // one that is not acknowledged may vanish
	}
	if newest.lettersUpTo() > mark {
		below = min(below, mark+1)
	}
	l := s.ledger(src.Mapping)
	// Blobs of an unconfirmed commit lie behind the mark, those of a commit
	// under way behind the newest one: each is written after the commit that
	// its own follows.
	for _, p := range []struct {
		kind  string
		below uint64
	}{{kindBlob, below}, {kindCommit, below}, {kindMark, sequence}} {
		if err := l.Purge(ctx, subject(p.kind, src), p.below); err != nil {
			return s.about(src, fmt.Errorf("purge: %w", err))
		}
	}
	return nil
}
