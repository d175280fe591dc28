package journal

import (
	"context"
	"errors"
	"testing"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/internal/ledger"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/triggers"
)

var errLost = errors.New("acknowledgement lost")

// network decides the fate of each message: 's' stored and acknowledged, 'a'
// stored but the acknowledgement lost, 'm' message lost, 'l' lost but delivered
// late, right after the next message, '2' stored before the next and refused.
func network(s *Store, fates string) (left func() string) {
	var late func() (uint64, error)
	s.wrap = func(send func() (uint64, error)) (uint64, error) {
		fate := byte('s')
		if fates != "" {
			fate, fates = fates[0], fates[1:]
		}
		switch fate {
		case 'a':
			_, _ = send()
			return 0, errLost
		case 'm':
			return 0, errLost
		case 'l':
			late = send
			return 0, errLost
		}
		if late != nil {
			_, _ = late()
			late = nil
		}
		return send()
	}
	return func() string { return fates }
}

func TestUnknownOutcomeIsSettledByReading(t *testing.T) {
	for _, fates := range []string{"a", "m", "l", "ma", "mm", "ml", "aa"} {
		t.Run(fates, func(t *testing.T) {
			srv, s := fresh(t)
			j, _ := take(t, s, source0)
			commitOK(t, j, triggers.Checkpoint{Next: 1})
			left := network(s, fates)
			commitOK(t, j, triggers.Checkpoint{Next: 2}, dead(1, 10))
			if l := left(); len(l) > 0 && fates != "aa" {
				t.Fatalf("fates %q were not reached", l)
			}
			network(s, "")
			commitOK(t, j, triggers.Checkpoint{Next: 3}, dead(2, 10))
			if got := numbers(letters(t, s, source0)); got != "1 2" {
				t.Errorf("letters = %s, want each once", got)
			}
			n, err := ledger.At(srv, "J_"+mapping).Subjects(context.Background(), j.subject)
			if err != nil || n[j.subject] != 3 {
				t.Errorf("commits = %v, %v; want 3", n, err)
			}
		})
	}
}

func TestCommitGivesUpKnowingNothingAndIsSettledByTheNextCall(t *testing.T) {
	for name, tt := range map[string]struct {
		fates string
		again func() (triggers.Checkpoint, []dlq.Letter)
		want  string
		next  uint64
	}{
		"lost, same arguments": {"mmm", func() (triggers.Checkpoint, []dlq.Letter) { return triggers.Checkpoint{Next: 2}, nil }, "1", 2},
		"late, same arguments": {"mml", func() (triggers.Checkpoint, []dlq.Letter) { return triggers.Checkpoint{Next: 2}, nil }, "1", 2},
		"lost, progress was added": {"mmm", func() (triggers.Checkpoint, []dlq.Letter) {
			return triggers.Checkpoint{Next: 4}, []dlq.Letter{dead(3, 9)}
		}, "1 3", 4},
		"late, progress was added": {"mml", func() (triggers.Checkpoint, []dlq.Letter) {
			return triggers.Checkpoint{Next: 4}, []dlq.Letter{dead(3, 9)}
		}, "1 3", 4},
		"late twice, progress later": {"mllll", func() (triggers.Checkpoint, []dlq.Letter) {
			return triggers.Checkpoint{Next: 4}, []dlq.Letter{dead(3, 9)}
		}, "1 3", 4},
		"stored, the context is over": {"c", func() (triggers.Checkpoint, []dlq.Letter) { return triggers.Checkpoint{Next: 2}, nil }, "1", 2},
		"stored, over, and progress": {"c", func() (triggers.Checkpoint, []dlq.Letter) {
			return triggers.Checkpoint{Next: 4}, []dlq.Letter{dead(3, 9)}
		}, "1 3", 4},
	} {
		t.Run(name, func(t *testing.T) {
			srv, s := fresh(t)
			j, _ := take(t, s, source0)
			first := dead(1, 10)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if tt.fates == "c" {
				s.wrap = func(send func() (uint64, error)) (uint64, error) {
					_, _ = send()
					cancel()
					return 0, errLost
				}
			} else {
				network(s, tt.fates)
			}
			err := j.Commit(ctx, triggers.Checkpoint{Next: 2}, Cargo{Letters: []dlq.Letter{first}})
			if err == nil || errors.Is(err, triggers.ErrFenced) {
				t.Fatalf("commit = %v, want an unknown outcome", err)
			}
			if tt.fates == "c" {
				network(s, "")
			}
			cp, more := tt.again()
			for range 3 {
				if err = j.Commit(context.Background(), cp, Cargo{Letters: append([]dlq.Letter{first}, more...)}); err == nil {
					break
				}
			}
			if err != nil {
				t.Fatalf("again: %v", err)
			}
			if got := numbers(letters(t, s, source0)); got != tt.want {
				t.Errorf("letters = %s, want %s", got, tt.want)
			}
			if got, _ := Open(srv, Options{}).Peek(context.Background(), source0); got.Next != tt.next {
				t.Errorf("next = %d, want %d", got.Next, tt.next)
			}
		})
	}
}

func TestUnknownOutcomeWithAnotherOwnersCommitIsFenced(t *testing.T) {
	for _, fate := range []string{"a", "m"} {
		srv, s := fresh(t)
		j, _ := take(t, s, source0)
		commitOK(t, j, triggers.Checkpoint{Next: 1})
		s.wrap = func(send func() (uint64, error)) (uint64, error) {
			if fate == "a" {
				_, _ = send()
			}
			other, _ := take(t, Open(srv, Options{}), source0)
			commitOK(t, other, triggers.Checkpoint{Next: 9})
			return 0, errLost
		}
		if err := j.Commit(context.Background(), triggers.Checkpoint{Next: 2}, Cargo{}); !errors.Is(err, triggers.ErrFenced) {
			t.Errorf("fate %s: %v, want ErrFenced", fate, err)
		}
	}
}

func TestLettersCountOnceTheirCommitIsAcknowledged(t *testing.T) {
	_, s := fresh(t)
	j, _ := take(t, s, source0)
	commitOK(t, j, triggers.Checkpoint{Next: 1}, dead(0, 1))
	asked := 0
	s.wrap = func(send func() (uint64, error)) (uint64, error) {
		_, _ = send()
		asked++
		if got := numbers(letters(t, s, source0)); got != "0" {
			t.Errorf("letters before the acknowledgement = %s, want 0", got)
		}
		confirm(t, s, 1)
		trim(t, s)
		if got := counts(t, s); got[0] != 2 {
			t.Errorf("%d commits after a purge before the acknowledgement, want 2", got[0])
		}
		return 0, errLost
	}
	commitOK(t, j, triggers.Checkpoint{Next: 2}, dead(1, 1))
	if got := numbers(letters(t, s, source0)); asked != 1 || got != "1" {
		t.Errorf("letters = %s, want 1", got)
	}
	// Who takes over finds what is stored.
	s.wrap = nil
	j, _ = take(t, s, source0)
	if got := numbers(letters(t, s, source0)); got != "1" {
		t.Errorf("letters after a take = %s, want 1", got)
	}
	commitOK(t, j, triggers.Checkpoint{Next: 3}, dead(2, 1))
	if got := numbers(letters(t, s, source0)); got != "1 2" {
		t.Errorf("letters = %s, want 1 2", got)
	}
}

func TestLettersOfACommitWhoseCallerHasGoneAreFound(t *testing.T) {
	for fate, want := range map[string]string{"stored": "0", "lost": ""} {
		t.Run(fate, func(t *testing.T) {
			_, s := fresh(t)
			j, _ := take(t, s, source0)
			told := 0
			s.Watch(func(triggers.Source, int, int) { told++ })
			ctx, cancel := context.WithCancel(context.Background())
			s.wrap = func(send func() (uint64, error)) (uint64, error) {
				if fate == "stored" {
					_, _ = send()
				}
				cancel()
				return 0, errLost
			}
			if err := j.Commit(ctx, triggers.Checkpoint{Next: 1}, Cargo{Letters: []dlq.Letter{dead(0, 1)}}); err == nil {
				t.Fatal("commit did not fail")
			}
			if told != 1 {
				t.Errorf("watchers were told %d times, want once", told)
			}
			if got := numbers(letters(t, s, source0)); got != want {
				t.Errorf("letters = %q, want %q", got, want)
			}
			s.wrap = nil
			commitOK(t, j, triggers.Checkpoint{Next: 1}, dead(0, 1)) // the caller comes back
			commitOK(t, j, triggers.Checkpoint{Next: 2}, dead(1, 1))
			if got := numbers(letters(t, s, source0)); got != "0 1" {
				t.Errorf("letters = %s, want each once", got)
			}
		})
	}
}

func TestReserveIsAskedBeforeAnythingIsSent(t *testing.T) {
	srv, s := freshWith(t, natsd.Options{Memory: true, MaxMemory: 16 << 20, Reserve: 15 << 20})
	j, _ := take(t, s, source0)
	commitOK(t, j, triggers.Checkpoint{Next: 1})
	// 1 MiB is for records, 7.5 MiB more for journals.
	err := j.Commit(context.Background(), triggers.Checkpoint{Next: 2}, Cargo{Letters: []dlq.Letter{dead(1, 10<<20)}})
	if !errors.Is(err, natsd.ErrReserve) {
		t.Fatalf("commit = %v, want ErrReserve", err)
	}
	commitOK(t, j, triggers.Checkpoint{Next: 3}, dead(1, 4<<20))
	if cp, _ := s.Peek(context.Background(), source0); cp.Next != 3 {
		t.Errorf("next = %d, want 3", cp.Next)
	}
	if err := srv.Admit(natsd.Data, 1<<20); !errors.Is(err, natsd.ErrReserve) {
		t.Errorf("records are still admitted: %v", err)
	}
}
