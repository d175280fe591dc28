package journal

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/internal/ledger"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/triggers"
)

func TestDamagedPayloadsDoNotKeepAShardFromStarting(t *testing.T) {
	for _, damage := range []string{"a blob", "an earlier commit"} {
		t.Run(damage, func(t *testing.T) {
			srv, s := fresh(t)
			l := ledger.At(srv, "J_"+mapping)
			j, _ := take(t, s, source0)
			big := []triggers.Output{output(1, "x", "key", 2<<20)} // blobs 1..5
			if damage == "an earlier commit" {
				if _, err := l.Append(context.Background(), j.subject, ledger.Unfenced, []byte("WJ garbage....")); err != nil {
					t.Fatal(err)
				}
				j.last, j.cargo = 1, 1 // as if it had been whole
			}
			commitCargo(t, j, 3, Cargo{Outputs: big})
			if _, err := l.Delete(context.Background(), 2); err != nil {
				t.Fatal(err)
			}
			commitOK(t, j, triggers.Checkpoint{Next: 7})
			outputs, bytes := s.Backlog(source0)
			s = Open(srv, Options{})
			j, cp := take(t, s, source0)
			if cp.Next != 7 {
				t.Errorf("next = %d, want 7", cp.Next)
			}
			if n, b := s.Backlog(source0); n != 1 || n != outputs || b != bytes {
				t.Errorf("backlog = %d, %d bytes; want %d, %d", n, b, outputs, bytes)
			}
			commitOK(t, j, triggers.Checkpoint{Next: 8})
			// Who asks for what is in there hears of it.
			_, upTo, _ := s.Pending(context.Background(), source0)
			if err := s.Read(context.Background(), source0, 0, upTo, func(uint64, Cargo) error { return nil }); !errors.Is(err, ErrCorrupt) {
				t.Errorf("read = %v, want ErrCorrupt", err)
			}
		})
	}
}

func TestBacklogOfEarlierGenerationsIsKnownOnceASourceIsTaken(t *testing.T) {
	srv, s := fresh(t)
	second := source0
	second.Generation++
	j, _ := take(t, s, source0)
	commitCargo(t, j, 1, Cargo{Outputs: []triggers.Output{output(1, "x", "key", 10)}})
	n, bytes := s.Backlog(source0)
	s = Open(srv, Options{})
	take(t, s, second)
	if got, b := s.Backlog(source0); n != 1 || got != n || b != bytes {
		t.Errorf("backlog = %d, %d bytes; want %d, %d", got, b, n, bytes)
	}
	confirm(t, s, 1)
	if got, b := s.Backlog(source0); got != 0 || b != 0 {
		t.Errorf("confirmed: backlog = %d, %d bytes", got, b)
	}
}

// told counts what watchers hear of that has cargo.
func told(s *Store) *int {
	n := new(int)
	s.Watch(func(_ triggers.Source, cargo, _ int) {
		if cargo > 0 {
			*n++
		}
	})
	return n
}

func TestWatchersHearOfCargoThatALaterCallFinds(t *testing.T) {
	for _, then := range []string{"an empty commit", "a commit that is refused", "a look"} {
		t.Run(then, func(t *testing.T) {
			_, s := fresh(t)
			j, _ := take(t, s, source0)
			var late func() (uint64, error)
			ctx, cancel := context.WithCancel(context.Background())
			s.wrap = func(send func() (uint64, error)) (uint64, error) {
				late = send
				cancel()
				return 0, errLost
			}
			if err := j.Commit(ctx, triggers.Checkpoint{Next: 1}, Cargo{Letters: []dlq.Letter{dead(0, 1)}}); err == nil {
				t.Fatal("commit did not fail")
			}
			// It was looked for in vain, and lands then.
			if _, upTo, err := s.Pending(context.Background(), source0); upTo != 0 || err != nil {
				t.Fatalf("pending up to %d, %v", upTo, err)
			}
			s.wrap = nil
			if _, err := j.ledger.Append(context.Background(), j.subject, 0, j.open[0].ready); err != nil || late == nil {
				t.Fatal(err)
			}
			heard := told(s)
			switch then {
			case "an empty commit":
				commitOK(t, j, triggers.Checkpoint{Next: 2})
			case "a commit that is refused":
				ctx, cancel := context.WithCancel(context.Background())
				s.wrap = func(func() (uint64, error)) (uint64, error) {
					cancel()
					return 0, errLost
				}
				if err := j.Commit(ctx, triggers.Checkpoint{Next: 2}, Cargo{}); err == nil {
					t.Fatal("commit did not fail")
				}
			case "a look":
				if _, upTo, err := s.Pending(context.Background(), source0); upTo != 1 || err != nil {
					t.Fatalf("pending up to %d, %v", upTo, err)
				}
			}
			if *heard == 0 {
				t.Error("nobody was told")
			}
		})
	}
}

func TestACommitUnderWayDoesNotCountWhileItsShardIsTaken(t *testing.T) {
	_, s := fresh(t)
	j, _ := take(t, s, source0)
	commitOK(t, j, triggers.Checkpoint{Next: 1}, dead(0, 1))
	heard := told(s)
	type taken struct {
		cp  *triggers.Checkpoint
		err error
	}
	took := make(chan taken, 1)
	before := 0
	s.wrap = func(send func() (uint64, error)) (uint64, error) {
		_, _ = send()
		s.wrap = nil
		go func() {
			_, cp, err := s.Take(context.Background(), source0, "next")
			took <- taken{cp, err}
		}()
		for !j.fenced.Load() {
			runtime.Gosched()
		}
		if _, upTo, err := s.Pending(context.Background(), source0); upTo != 1 || err != nil {
			t.Errorf("pending up to %d, %v; want 1: the other one is not acknowledged", upTo, err)
		}
		before = *heard
		return 0, errLost
	}
	err := j.Commit(context.Background(), triggers.Checkpoint{Next: 2}, Cargo{Letters: []dlq.Letter{dead(1, 1)}})
	if !errors.Is(err, triggers.ErrFenced) {
		t.Errorf("commit = %v, want ErrFenced", err)
	}
	got := <-took
	if got.err != nil || got.cp.Next != 2 {
		t.Fatalf("take = %+v, %v", got.cp, got.err)
	}
	// Once by who has sent it and knows nothing, once by who has found it.
	if *heard != before+2 {
		t.Errorf("watchers were told %d times, want twice", *heard-before)
	}
	if got := numbers(letters(t, s, source0)); got != "0 1" {
		t.Errorf("letters = %s, want 0 1", got)
	}
}

// quiet fails if f asks the server.
func quiet(t *testing.T, srv *natsd.Server, what string, f func()) {
	t.Helper()
	before := srv.Conn().Stats().OutMsgs
	if f(); srv.Conn().Stats().OutMsgs != before {
		t.Errorf("%s: %d requests, want none", what, srv.Conn().Stats().OutMsgs-before)
	}
}

func TestMappingsSourcesAndTiesAreKeptInMemory(t *testing.T) {
	srv, s := fresh(t)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	j, _ := take(t, s, source0)
	commitOK(t, j, triggers.Checkpoint{Redrives: []triggers.Redrive{{Letter: "a"}}})
	for range 2 {
		j, _ = take(t, s, source0) // a shard that is taken again has one owner
		for _, s := range []*Store{s, Open(srv, Options{})} {
			under, _, err := s.Ties(ctx) // looks once
			check(err)
			if !under["a"] {
				t.Error("what is delivered again is not known")
			}
			quiet(t, srv, "looks", func() {
				mappings, err := s.Mappings(ctx)
				check(err)
				sources, err := s.Sources(ctx, mapping)
				check(err)
				waiting, err := s.Waiting(ctx)
				check(err)
				_, _, err = s.Ties(ctx, "a")
				check(err)
				if len(mappings) != 1 || len(sources) != 1 || sources[0] != source0 || len(waiting) != 0 {
					t.Errorf("mappings %v, sources %v, waiting %v", mappings, sources, waiting)
				}
			})
		}
	}
	commitOK(t, j, triggers.Checkpoint{}, dead(1, 1))
	other := triggers.Source{Mapping: "other", Generation: 2, Shard: "s"}
	check(s.Create(ctx, other.Mapping))
	k, _ := take(t, s, other)
	commitCargo(t, k, 1, Cargo{Redriven: []string{"b"}})
	check(s.list(ctx))
	_, _, err := s.Ties(ctx) // looks into the new one once
	check(err)
	quiet(t, srv, "looks", func() {
		mappings, _ := s.Mappings(ctx)
		sources, _ := s.Sources(ctx, other.Mapping)
		waiting, _ := s.Waiting(ctx)
		under, settled, _ := s.Ties(ctx)
		if len(mappings) != 2 || len(sources) != 1 || len(waiting) != 2 || len(under) != 0 || len(settled) != 1 || !settled["b"] {
			t.Errorf("mappings %v, sources %v, waiting %v, under %v, settled %v", mappings, sources, waiting, under, settled)
		}
	})
	check(s.Confirm(ctx, other, 1))
	check(s.Delete(ctx, other.Mapping))
	quiet(t, srv, "looks", func() {
		mappings, _ := s.Mappings(ctx)
		waiting, _ := s.Waiting(ctx)
		if _, settled, _ := s.Ties(ctx); len(mappings) != 1 || len(waiting) != 1 || len(settled) != 0 {
			t.Errorf("mappings %v, waiting %v, settled %v", mappings, waiting, settled)
		}
	})
	if _, err := s.Sources(ctx, other.Mapping); !errors.Is(err, ErrNoJournal) {
		t.Errorf("sources of a deleted journal: %v, want ErrNoJournal", err)
	}
}

func TestAnOwnerThatIsFencedLeavesNothingUntold(t *testing.T) {
	srv, s := fresh(t)
	j, _ := take(t, s, source0)
	commitOK(t, j, triggers.Checkpoint{Next: 1})
	other, _ := take(t, Open(srv, Options{}), source0) // against the rules, or late
	commitCargo(t, other, 2, Cargo{Redriven: []string{"a"}})
	if err := j.Commit(context.Background(), triggers.Checkpoint{Next: 2}, Cargo{}); !errors.Is(err, triggers.ErrFenced) {
		t.Fatalf("commit = %v, want ErrFenced", err)
	}
	if _, settled, err := s.Ties(context.Background(), "a"); !settled["a"] || err != nil {
		t.Errorf("settled = %v, %v", settled, err)
	}
	quiet(t, srv, "the next look", func() {
		if _, settled, err := s.Ties(context.Background()); !settled["a"] || err != nil {
			t.Errorf("settled = %v, %v", settled, err)
		}
	})
}

// asked is a context that tells when somebody begins to wait.
type asked struct {
	context.Context
	once sync.Once
	is   chan struct{}
}

func (a *asked) Done() <-chan struct{} {
	a.once.Do(func() { close(a.is) })
	return a.Context.Done()
}

func TestALookThatWasAbandonedFailsNobodyElse(t *testing.T) {
	srv, _ := fresh(t)
	s := Open(srv, Options{})
	w := &sweep{done: make(chan struct{})}
	s.swept[mapping] = w
	took := make(chan error)
	ctx := &asked{Context: context.Background(), is: make(chan struct{})}
	go func() {
		_, _, err := s.Take(ctx, source0, "")
		took <- err
	}()
	<-ctx.is
	s.mu.Lock()
	w.err, w.abandoned = context.Canceled, true
	delete(s.swept, mapping)
	s.mu.Unlock()
	close(w.done)
	if err := <-took; err != nil {
		t.Errorf("take = %v", err)
	}
}
