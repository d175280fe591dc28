package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/internal/ledger"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/triggers"
)

const mapping = "1f0c1d2e-0000-4000-8000-000000000001"

var source0 = triggers.Source{Mapping: mapping, Generation: 1, Shard: "shardId-000000000000"}

// fresh is a store on an empty server with one journal.
func fresh(t testing.TB) (*natsd.Server, *Store) {
	t.Helper()
	return freshWith(t, natsd.Options{Dir: t.TempDir()})
}

func freshWith(t testing.TB, o natsd.Options) (*natsd.Server, *Store) {
	t.Helper()
	srv := natsdtest.Start(t, o)
	s := Open(srv, Options{})
	if err := s.Create(context.Background(), mapping); err != nil {
		t.Fatal(err)
	}
	return srv, s
}

func take(t testing.TB, s *Store, src triggers.Source) (*Journal, *triggers.Checkpoint) {
	t.Helper()
	j, cp, err := s.Take(context.Background(), src, "test")
	if err != nil {
		t.Fatal(err)
	}
	return j, cp
}

func commitOK(t testing.TB, j *Journal, cp triggers.Checkpoint, letters ...dlq.Letter) {
	t.Helper()
	if err := j.Commit(context.Background(), cp, Cargo{Letters: letters}); err != nil {
		t.Fatalf("commit %d: %v", cp.Next, err)
	}
}

// dead is a letter of record number with a payload of that size.
func dead(number uint64, size int) dlq.Letter {
	return dlq.Letter{Number: number, Trigger: "t", Reason: dlq.RetryAttemptsExhausted, Buried: time.Now().UTC(), Data: bytes.Repeat([]byte{byte(number)}, size)}
}

type placed struct {
	at     dlq.Position
	number uint64
	data   []byte
}

func letters(t testing.TB, s *Store, src triggers.Source) (out []placed) {
	t.Helper()
	mark, upTo, err := s.Pending(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Letters(context.Background(), src, mark, upTo, func(at dlq.Position, l dlq.Letter) error {
		out = append(out, placed{at, l.Number, l.Data})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func numbers(all []placed) string {
	var b strings.Builder
	for _, p := range all {
		fmt.Fprintf(&b, "%d ", p.number)
	}
	return strings.TrimSpace(b.String())
}

func TestCommitIsTheNewestAfterTake(t *testing.T) {
	_, s := fresh(t)
	j, cp := take(t, s, source0)
	if cp != nil {
		t.Fatalf("checkpoint of a source that never committed = %+v", cp)
	}
	want := triggers.Checkpoint{
		Next: 7, Frame: 3, Gaps: 1, Done: 5, Buried: 1,
		Finished: []triggers.Span{{Buckets: ^uint64(0), From: 9, To: 12}, {Buckets: ^uint64(0), From: 40, To: 41}},
		Units: []triggers.Unit{{ID: 2, Claim: 4, Attempts: 3, Spans: []triggers.Span{{Buckets: 4, From: 7, To: 9}},
			FirstFailure: time.UnixMilli(1700000000000).UTC(), LastError: triggers.Failure{Message: "boom"}}},
	}
	commitOK(t, j, triggers.Checkpoint{Next: 1})
	commitOK(t, j, want)
	for range 2 {
		got, err := s.Peek(context.Background(), source0)
		if err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("peek = %+v, %v; want %+v", got, err, want)
		}
		s = Open(s.srv, Options{}) // as after a restart
	}
	if _, got := take(t, s, source0); !reflect.DeepEqual(*got, want) {
		t.Errorf("take = %+v, want %+v", got, want)
	}
}

func TestOneSubjectPerMappingGenerationAndShard(t *testing.T) {
	srv, s := fresh(t)
	srcs := []triggers.Source{source0, {Mapping: mapping, Generation: 1, Shard: "shardId-000000000001"}, {Mapping: mapping, Generation: 2, Shard: "shardId-000000000000"}}
	for i, src := range srcs {
		j, cp := take(t, s, src)
		if cp != nil {
			t.Errorf("%v inherits %+v", src, cp)
		}
		commitOK(t, j, triggers.Checkpoint{Next: uint64(i)})
	}
	got, err := s.Sources(context.Background(), mapping)
	if err != nil || !reflect.DeepEqual(got, srcs) {
		t.Errorf("sources = %v, %v; want %v", got, err, srcs)
	}
	subjects, err := ledger.At(srv, "J_"+mapping).Subjects(context.Background(), ">")
	if err != nil || len(subjects) != 3 || subjects["j."+mapping+".c.2.shardId-000000000000"] != 1 {
		t.Errorf("subjects = %v, %v", subjects, err)
	}
	for i, src := range srcs {
		if cp, err := s.Peek(context.Background(), src); err != nil || cp.Next != uint64(i) {
			t.Errorf("peek %v = %+v, %v; want next %d", src, cp, err, i)
		}
	}
}

func TestEveryCommitCarriesExpectedLastSequenceAndAUniqueAttempt(t *testing.T) {
	srv, s := fresh(t)
	j, _ := take(t, s, source0)
	seen := map[attempt]bool{}
	err := error(nil)
	for i := range 5 {
		commitOK(t, j, triggers.Checkpoint{Next: uint64(i)})
		c, _ := s.newest(context.Background(), source0)
		if seen[c.attempt] || c.epoch != 1 {
			t.Errorf("attempt %x of epoch %d again", c.attempt, c.epoch)
		}
		seen[c.attempt] = true
		// Anything that follows an older one is refused by the server.
		_, err = ledger.At(srv, "J_"+mapping).Append(context.Background(), j.subject, c.sequence-1, []byte("x"))
		if !errors.Is(err, ledger.ErrRefused) {
			t.Fatalf("append behind an old commit: %v", err)
		}
	}
}

func TestEpochIsOneHigherWithTheFirstCommit(t *testing.T) {
	_, s := fresh(t)
	for want := uint64(1); want <= 4; want++ {
		j, _ := take(t, s, source0)
		if j.Epoch() != want {
			t.Fatalf("epoch = %d, want %d", j.Epoch(), want)
		}
		before, _ := s.newest(context.Background(), source0)
		if before != nil && before.epoch != want-1 {
			t.Errorf("take alone wrote epoch %d", before.epoch)
		}
		commitOK(t, j, triggers.Checkpoint{Next: want})
		commitOK(t, j, triggers.Checkpoint{Next: want})
		if c, _ := s.newest(context.Background(), source0); c.epoch != want {
			t.Errorf("committed epoch %d, want %d", c.epoch, want)
		}
	}
}

func TestZombiesCommitIsRefused(t *testing.T) {
	srv, s := fresh(t)
	zombie, _ := take(t, s, source0)
	commitOK(t, zombie, triggers.Checkpoint{Next: 1})
	for i := range 20 {
		// Another Store: nothing but the journal can tell the zombie.
		owner, _ := take(t, Open(srv, Options{}), source0)
		next := uint64(10 * (i + 1))
		commitOK(t, owner, triggers.Checkpoint{Next: next})
		for range 2 {
			err := zombie.Commit(context.Background(), triggers.Checkpoint{Next: 2}, Cargo{Letters: []dlq.Letter{dead(1, 10)}})
			if !errors.Is(err, triggers.ErrFenced) {
				t.Fatalf("zombie's commit: %v, want ErrFenced", err)
			}
		}
		if cp, _ := s.Peek(context.Background(), source0); cp.Next != next {
			t.Fatalf("checkpoint = %d, want the owner's %d", cp.Next, next)
		}
		if got := letters(t, s, source0); len(got) > 0 {
			t.Fatalf("zombie's letters are there: %v", got)
		}
		zombie = owner
	}
}

func TestTakeEndsTheHandleBeforeItAtOnce(t *testing.T) {
	_, s := fresh(t)
	old, _ := take(t, s, source0)
	commitOK(t, old, triggers.Checkpoint{Next: 1})
	j, _ := take(t, s, source0)
	if err := old.Commit(context.Background(), triggers.Checkpoint{Next: 2}, Cargo{}); !errors.Is(err, triggers.ErrFenced) {
		t.Errorf("commit of the handle before: %v, want ErrFenced", err)
	}
	commitOK(t, j, triggers.Checkpoint{Next: 3})
}

func TestTakerWhoseReadIsOutdatedIsRefused(t *testing.T) {
	srv, s := fresh(t)
	a, _ := take(t, s, source0)
	b, _ := take(t, Open(srv, Options{}), source0)
	commitOK(t, a, triggers.Checkpoint{Next: 5}) // lands behind b's back
	if err := b.Commit(context.Background(), triggers.Checkpoint{Next: 1}, Cargo{}); !errors.Is(err, triggers.ErrFenced) {
		t.Fatalf("commit on an outdated read: %v, want ErrFenced", err)
	}
	b, cp := take(t, s, source0)
	if cp.Next != 5 {
		t.Fatalf("taken again: next %d, want 5", cp.Next)
	}
	commitOK(t, b, triggers.Checkpoint{Next: 6})
}

func TestLettersRideInTheCommit(t *testing.T) {
	_, s := fresh(t)
	j, _ := take(t, s, source0)
	commitOK(t, j, triggers.Checkpoint{Next: 1})
	commitOK(t, j, triggers.Checkpoint{Next: 3}, dead(1, 10), dead(2, 0))
	commitOK(t, j, triggers.Checkpoint{Next: 4})
	commitOK(t, j, triggers.Checkpoint{Next: 5}, dead(4, 100))
	commitOK(t, j, triggers.Checkpoint{Next: 6})
	got := letters(t, s, source0)
	if numbers(got) != "1 2 4" {
		t.Fatalf("letters = %s, want 1 2 4", numbers(got))
	}
	if got[1].at != (dlq.Position{Sequence: got[0].at.Sequence, Index: 1}) || got[2].at.Compare(got[1].at) <= 0 {
		t.Errorf("positions = %v, %v, %v", got[0].at, got[1].at, got[2].at)
	}
	if !bytes.Equal(got[2].data, bytes.Repeat([]byte{4}, 100)) {
		t.Errorf("payload = %q", got[2].data)
	}
	if got[0].at.Sequence != 2 {
		t.Errorf("sequence = %d, want that of the commit", got[0].at.Sequence)
	}
}

func TestLettersGetIDsThatDoNotDependOnTheCommit(t *testing.T) {
	_, s := fresh(t)
	j, _ := take(t, s, source0)
	commitOK(t, j, triggers.Checkpoint{Next: 1}, dead(0, 1))
	err := s.Letters(context.Background(), source0, 0, 9, func(_ dlq.Position, l dlq.Letter) error {
		if want := dlq.LetterID(mapping, 1, source0.Shard, 0, 1); l.ID != want || l.Burial != 1 || l.Mapping != mapping || l.Shard != source0.Shard {
			t.Errorf("letter = %+v, want id %s", l, want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestCommitOfMoreThanOneMiBNamesBlobs(t *testing.T) {
	srv, s := fresh(t)
	l := ledger.At(srv, "J_"+mapping)
	j, _ := take(t, s, source0)
	commitOK(t, j, triggers.Checkpoint{Next: 1}, dead(0, maxCommit-4096))
	if subjects, _ := l.Subjects(context.Background(), "j.*.b.>"); len(subjects) != 0 {
		t.Fatalf("a commit below 1 MiB has blobs: %v", subjects)
	}
	commitOK(t, j, triggers.Checkpoint{Next: 3}, dead(1, 3<<20), dead(2, 700<<10))
	n := 0
	err := l.Scan(context.Background(), "j.*.b.>", 1, 1000, func(e ledger.Entry) error {
		if n++; len(e.Data) > 512<<10 {
			t.Errorf("blob of %d bytes", len(e.Data))
		}
		return nil
	})
	if err != nil || n < 8 {
		t.Errorf("%d blobs, %v; want at least 8", n, err)
	}
	e, _, _ := l.Last(context.Background(), j.subject)
	if len(e.Data) > 4096 {
		t.Errorf("commit of %d bytes beside its blobs", len(e.Data))
	}
	got := letters(t, Open(srv, Options{}), source0)
	if numbers(got) != "0 1 2" || len(got[1].data) != 3<<20 || len(got[2].data) != 700<<10 {
		t.Errorf("letters = %s", numbers(got))
	}
	for _, p := range got {
		if !bytes.Equal(p.data, bytes.Repeat([]byte{byte(p.number)}, len(p.data))) {
			t.Errorf("payload of %d differs", p.number)
		}
	}
}

func TestBlobsThatNobodyNamesAreSweptAtStart(t *testing.T) {
	srv, s := fresh(t)
	l := ledger.At(srv, "J_"+mapping)
	j, _ := take(t, s, source0)
	commitOK(t, j, triggers.Checkpoint{Next: 1}, dead(0, 2<<20))
	named, _ := l.Subjects(context.Background(), "j.*.b.>")
	s.hook = func(point string) {
		if point == "before commit" {
			panic("crash")
		}
	}
	func() {
		defer func() { _ = recover() }()
		_ = j.Commit(context.Background(), triggers.Checkpoint{Next: 2}, Cargo{Letters: []dlq.Letter{dead(1, 2<<20)}})
	}()
	if now, _ := l.Subjects(context.Background(), "j.*.b.>"); reflect.DeepEqual(now, named) {
		t.Fatal("the crash left no blobs: nothing is tested")
	}
	// A source that never committed leaves blobs as well.
	if _, err := l.Append(context.Background(), subject(kindBlob, triggers.Source{Mapping: mapping, Generation: 1, Shard: "other"}), ledger.Unfenced, []byte("x")); err != nil {
		t.Fatal(err)
	}

	s = Open(srv, Options{})
	j, _ = take(t, s, source0)
	if now, _ := l.Subjects(context.Background(), "j.*.b.>"); !reflect.DeepEqual(now, named) {
		t.Errorf("blobs after the start = %v, want those that are named: %v", now, named)
	}
	if got := letters(t, s, source0); numbers(got) != "0" || len(got[0].data) != 2<<20 {
		t.Errorf("letters = %s", numbers(got))
	}
	commitOK(t, j, triggers.Checkpoint{Next: 2}, dead(1, 2<<20))
	if got := letters(t, s, source0); numbers(got) != "0 1" {
		t.Errorf("letters = %s, want 0 1", numbers(got))
	}
}

// full is a commit's cargo of all kinds.
func full(n uint64, size int) Cargo {
	return Cargo{Letters: []dlq.Letter{dead(n, size)}, Outputs: []triggers.Output{output(int(n), "x", "k", size)}, Redriven: []string{fmt.Sprint("r", n)}}
}

func TestCrashBeforeAndAfterCommit(t *testing.T) {
	for _, point := range []string{"after blob", "before commit", "after commit"} {
		t.Run(point, func(t *testing.T) {
			srv, s := fresh(t)
			next, done := uint64(0), ""
			for i := range 20 {
				s.hook = func(at string) {
					if at == point {
						panic("crash")
					}
				}
				j, cp := take(t, s, source0)
				if (cp == nil) != (next == 0) || cp != nil && cp.Next != next {
					t.Fatalf("checkpoint = %+v, want %d", cp, next)
				}
				size := 10
				if point == "after blob" {
					size = 2 << 20
				}
				func() {
					defer func() { _ = recover() }()
					err := j.Commit(context.Background(), triggers.Checkpoint{Next: next + 1}, full(next, size))
					t.Fatalf("commit returned: %v", err)
				}()
				if point == "after commit" {
					done += fmt.Sprint(next, " ")
					next++
				}
				s = Open(srv, Options{})
				if got := numbers(letters(t, s, source0)); got != strings.TrimSpace(done) {
					t.Fatalf("crash %d: letters = %s, want %s", i, got, done)
				}
				// The shard goes on from what it finds.
				j, _ = take(t, s, source0)
				commitCargo(t, j, next+1, full(next, 10))
				done += fmt.Sprint(next, " ")
				next++
				outputs, redriven := cargo(t, s, source0)
				for i := range next {
					if uint64(len(outputs)) != next || uint64(len(redriven)) != next || outputs[i].o.ID != fmt.Sprint("o", i) || redriven[i] != fmt.Sprint("r", i) {
						t.Fatalf("crash %d: outputs %s, redriven %s, want %d of each", i, outputIDs(outputs), redriven, next)
					}
				}
				if got := numbers(letters(t, s, source0)); got != strings.TrimSpace(done) {
					t.Fatalf("crash %d: letters = %s, want %s", i, got, done)
				}
			}
		})
	}
}

func TestNamesThatAreNoTokensAreRefused(t *testing.T) {
	_, s := fresh(t)
	for _, src := range []triggers.Source{{Mapping: "a.b", Shard: "s"}, {Mapping: "a", Shard: "*"}, {Mapping: "", Shard: "s"}, {Mapping: "a", Shard: "x y"}} {
		if _, _, err := s.Take(context.Background(), src, ""); !errors.Is(err, triggers.ErrInvalid) {
			t.Errorf("take %v: %v, want ErrInvalid", src, err)
		}
	}
	if err := s.Create(context.Background(), "a>"); !errors.Is(err, triggers.ErrInvalid) {
		t.Errorf("create: %v, want ErrInvalid", err)
	}
	if _, _, err := s.Take(context.Background(), triggers.Source{Mapping: "none", Shard: "s"}, ""); !errors.Is(err, ErrNoJournal) {
		t.Errorf("take without a journal: %v, want ErrNoJournal", err)
	}
}
