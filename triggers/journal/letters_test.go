package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/internal/ledger"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/triggers"
)

// counts are the messages of source0 by kind.
func counts(t testing.TB, s *Store) [3]uint64 {
	t.Helper()
	all, err := s.ledger(mapping).Subjects(context.Background(), ">")
	if err != nil {
		t.Fatal(err)
	}
	return [3]uint64{all[subject(kindCommit, source0)], all[subject(kindBlob, source0)], all[subject(kindMark, source0)]}
}

func trim(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Trim(context.Background(), source0); err != nil {
		t.Fatal(err)
	}
}

func confirm(t testing.TB, s *Store, upTo uint64) {
	t.Helper()
	if err := s.Confirm(context.Background(), source0, upTo); err != nil {
		t.Fatal(err)
	}
}

func TestPurgeStopsAtUnconfirmedLettersAndTheNewestCommitStays(t *testing.T) {
	srv, s := fresh(t)
	j, _ := take(t, s, source0)
	for i := range 10 {
		commitOK(t, j, triggers.Checkpoint{Next: uint64(i)})
	}
	trim(t, s)
	if got := counts(t, s); got != [3]uint64{1, 0, 0} {
		t.Fatalf("without letters: %v, want the newest commit", got)
	}
	commitOK(t, j, triggers.Checkpoint{Next: 11}, dead(10, 10)) // 11
	commitOK(t, j, triggers.Checkpoint{Next: 12})
	commitOK(t, j, triggers.Checkpoint{Next: 13}, dead(12, 2<<20)) // blobs 13..17, commit 18
	commitOK(t, j, triggers.Checkpoint{Next: 14})
	trim(t, s)
	if got := counts(t, s); got != [3]uint64{5, 5, 0} {
		t.Fatalf("nothing confirmed: %v, want all that has letters and is behind them", got)
	}
	confirm(t, s, 11)
	trim(t, s)
	if got := counts(t, s); got != [3]uint64{3, 5, 1} || numbers(letters(t, s, source0)) != "12" {
		t.Fatalf("first confirmed: %v", got)
	}
	_, upTo, _ := s.Pending(context.Background(), source0)
	confirm(t, s, upTo)
	trim(t, s)
	trim(t, s)
	if got := counts(t, s); got != [3]uint64{1, 0, 1} || len(letters(t, s, source0)) > 0 {
		t.Fatalf("all confirmed: %v, want the newest commit and the newest mark", got)
	}
	if cp, _ := Open(srv, Options{}).Peek(context.Background(), source0); cp.Next != 14 {
		t.Errorf("next = %d, want 14", cp.Next)
	}
	commitOK(t, j, triggers.Checkpoint{Next: 15}) // the fence holds over purges
	j, _ = take(t, s, source0)
	commitOK(t, j, triggers.Checkpoint{Next: 16}, dead(15, 1))
	if got := numbers(letters(t, s, source0)); got != "15" {
		t.Errorf("letters = %s, want 15", got)
	}
}

// A destination that is gone keeps the mark back for days, while the shard goes on.
func TestCommitsWithoutCargoGoThoughCargoBeforeThemWaits(t *testing.T) {
	srv, s := freshWith(t, natsd.Options{Dir: t.TempDir(), Relaxed: true})
	j, _ := take(t, s, source0)
	commits := func() uint64 { return counts(t, s)[0] }
	commitOK(t, j, triggers.Checkpoint{Next: 1})
	commitCargo(t, j, 2, Cargo{Notices: []triggers.Notice{notice(1, "d", 2<<20)}}) // in blobs
	for n := range uint64(thinAfter) {
		if n == thinAfter/2 {
			trim(t, s)
			if got := commits(); got != thinAfter/2+2 {
				t.Errorf("%d commits after a moment, want all behind the mark", got)
			}
			commitCargo(t, j, 3, Cargo{Notices: []triggers.Notice{notice(2, "d", 1)}, Letters: []dlq.Letter{dead(1, 10)}})
		}
		commitOK(t, j, triggers.Checkpoint{Next: 4 + n})
	}
	for range 2 {
		trim(t, s)
		if got := commits(); got != 3 {
			t.Errorf("%d commits, want those with cargo and the newest", got)
		}
	}
	for _, s := range []*Store{s, Open(srv, Options{})} {
		if s.owner(source0) == nil {
			if _, cp := take(t, s, source0); cp.Next != 3+thinAfter {
				t.Errorf("checkpoint = %+v", cp)
			}
		}
		if n, _ := s.NoticeBacklog(source0); n != 2 {
			t.Errorf("backlog = %d, want 2", n)
		}
		if got := notices(t, s, source0, "d"); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("notices = %v", got)
		}
		if got := numbers(letters(t, s, source0)); got != "1" {
			t.Errorf("letters = %s", got)
		}
	}
	j, _ = take(t, s, source0)
	_, upTo, _ := s.Pending(context.Background(), source0)
	confirm(t, s, upTo)
	commitOK(t, j, triggers.Checkpoint{Next: 99_999})
	trim(t, s)
	if got := counts(t, s); got[0] != 1 || got[1] != 0 {
		t.Errorf("%v entries, want the newest commit and no blobs", got)
	}
}

func TestMarkIsAMessageOfItsOwnAndNeverGoesBack(t *testing.T) {
	srv, s := fresh(t)
	j, _ := take(t, s, source0)
	commitOK(t, j, triggers.Checkpoint{Next: 1}, dead(0, 1))
	commitOK(t, j, triggers.Checkpoint{Next: 2}, dead(1, 1))
	for _, step := range [][2]uint64{{1, 1}, {2, 2}, {1, 2}, {0, 2}} {
		confirm(t, s, step[0])
		if mark, err := Open(srv, Options{}).Mark(context.Background(), source0); err != nil || mark != step[1] {
			t.Errorf("confirm %d: mark = %d, %v; want %d", step[0], mark, err, step[1])
		}
	}
	if got := counts(t, s); got[2] != 2 {
		t.Errorf("%d marks, want 2", got[2])
	}
	// It does not disturb the fence of the commits.
	commitOK(t, j, triggers.Checkpoint{Next: 3})
}

func TestDeleteWaitsForTheRelay(t *testing.T) {
	_, s := fresh(t)
	j, _ := take(t, s, source0)
	commitOK(t, j, triggers.Checkpoint{Next: 1}, dead(0, 1))
	if err := s.Delete(context.Background(), mapping); !errors.Is(err, ErrUnrelayed) {
		t.Fatalf("delete = %v, want ErrUnrelayed", err)
	}
	confirm(t, s, 1)
	for range 2 {
		if err := s.Delete(context.Background(), mapping); err != nil {
			t.Fatalf("delete: %v", err)
		}
	}
	if err := j.Commit(context.Background(), triggers.Checkpoint{}, Cargo{}); !errors.Is(err, triggers.ErrFenced) {
		t.Errorf("commit to a deleted journal: %v, want ErrFenced", err)
	}
	if mark, err := s.Mark(context.Background(), source0); err != nil || mark != AllConfirmed {
		t.Errorf("mark = %d, %v; want all confirmed", mark, err)
	}
	if all, err := s.Mappings(context.Background()); err != nil || len(all) != 0 {
		t.Errorf("mappings = %v, %v", all, err)
	}
	// A mapping made anew inherits nothing, even under the same id.
	if err := s.Create(context.Background(), mapping); err != nil {
		t.Fatal(err)
	}
	if _, cp := take(t, s, source0); cp != nil {
		t.Errorf("inherited %+v", cp)
	}
}

func TestCommitToAJournalDeletedBehindItsBackIsFenced(t *testing.T) {
	srv, s := fresh(t)
	j, _ := take(t, s, source0)
	if err := Open(srv, Options{}).Delete(context.Background(), mapping); err != nil {
		t.Fatal(err)
	}
	if err := j.Commit(context.Background(), triggers.Checkpoint{}, Cargo{}); !errors.Is(err, triggers.ErrFenced) {
		t.Errorf("commit: %v, want ErrFenced", err)
	}
}

func TestCreateIsIdempotentAndMappingsAreListed(t *testing.T) {
	_, s := fresh(t)
	for _, m := range []string{"b", "a", mapping, "a"} {
		if err := s.Create(context.Background(), m); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Mappings(context.Background())
	if err != nil || len(got) != 3 || got[0] != mapping || got[1] != "a" || got[2] != "b" {
		t.Errorf("mappings = %v, %v", got, err)
	}
}

func TestDamagedCommitIsAnErrorNamingShardAndSequence(t *testing.T) {
	srv, s := fresh(t)
	j, _ := take(t, s, source0)
	commitOK(t, j, triggers.Checkpoint{Next: 1})
	e, _, _ := s.ledger(mapping).Last(context.Background(), j.subject)
	for i := range e.Data {
		e.Data[i] ^= 1
		if _, err := decodeCommit(1, e.Data); !errors.Is(err, ErrCorrupt) {
			t.Errorf("byte %d changed: %v, want ErrCorrupt", i, err)
		}
		e.Data[i] ^= 1
	}
	if _, err := ledger.At(srv, "J_"+mapping).Append(context.Background(), j.subject, ledger.Unfenced, []byte("WJ\x02")); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.Take(context.Background(), source0, "")
	if !errors.Is(err, ErrCorrupt) {
		t.Fatalf("take: %v, want ErrCorrupt", err)
	}
	for _, want := range []string{source0.Mapping, source0.Shard, fmt.Sprintf("commit %d", e.Sequence+1)} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not named in: %v", want, err)
		}
	}
}

func TestWatchersHearOfEveryCommit(t *testing.T) {
	_, s := fresh(t)
	var heard []int
	s.Watch(func(src triggers.Source, n, _ int) {
		if src != source0 {
			t.Errorf("source %v", src)
		}
		heard = append(heard, n)
	})
	j, _ := take(t, s, source0)
	commitOK(t, j, triggers.Checkpoint{Next: 1})
	commitOK(t, j, triggers.Checkpoint{Next: 3}, dead(1, 1), dead(2, 1))
	if len(heard) != 2 || heard[0] != 0 || heard[1] != 2 {
		t.Errorf("heard %v, want [0 2]", heard)
	}
}
