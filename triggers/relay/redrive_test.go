package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/dlq/morgue"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
)

func letterID(n uint64, burial int) string {
	return dlq.LetterID(mapping, 1, source0.Shard, n, burial)
}

// again is the letter of a record that is buried once more.
func again(n uint64, burial int) dlq.Letter {
	l := letter(n, 10)
	l.Mapping, l.Generation, l.Shard, l.Burial, l.ID = mapping, 1, source0.Shard, burial, letterID(n, burial)
	return l
}

// burials are the letters that users see, with burial, a star for those under way.
func (p *process) burials() string {
	p.t.Helper()
	all, err := p.morgue.List(context.Background(), morgue.Filter{})
	if err != nil {
		p.t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b dlq.Letter) int { return int(a.Number) - int(b.Number) })
	var out []string
	for _, l := range all {
		text := fmt.Sprintf("%d-%d", l.Number, l.Burial)
		if l.Redriving {
			text += "*"
		}
		out = append(out, text)
		got, err := p.morgue.Get(context.Background(), l.ID)
		if err != nil || got.ID != l.ID || got.Redriving != l.Redriving || len(got.Data) != 10 {
			p.t.Errorf("get %s = %+v, %v", l.ID, got, err)
		}
	}
	return strings.Join(out, " ")
}

// gone wants no letter of that id to be found.
func (p *process) gone(ids ...string) {
	p.t.Helper()
	for _, id := range ids {
		if l, err := p.morgue.Get(context.Background(), id); !errors.Is(err, dlq.ErrNotFound) {
			p.t.Errorf("get %s = %+v, %v; want ErrNotFound", id, l, err)
		}
	}
}

func (p *process) redriving(j *journal.Journal, c journal.Cargo, ids ...string) {
	p.t.Helper()
	cp := triggers.Checkpoint{Next: 9}
	for _, id := range ids {
		cp.Redrives = append(cp.Redrives, triggers.Redrive{Letter: id})
	}
	if err := j.Commit(context.Background(), cp, c); err != nil {
		p.t.Fatal(err)
	}
}

// TestRedrivesSurviveEveryCrash stops the relay dead at each point of a redrive,
// with a purge of dead letters in between or not: a letter that is done is never
// seen again, one that was buried again is seen once.
func TestRedrivesSurviveEveryCrash(t *testing.T) {
	for _, point := range []string{"before append", "after append", "before remove", "after remove", "before mark", "after mark", "before purge"} {
		for _, where := range []string{"morgue", "journal"} {
			for _, purge := range []bool{false, true} {
				if telling := []string{"after append", "after remove"}; (purge || where == "morgue") && (purge == (where == "morgue") || !slices.Contains(telling, point)) {
					continue // as without, in all that matters
				}
				t.Run(fmt.Sprintf("%s, letters in the %s, purge of dead letters %v", point, where, purge), func(t *testing.T) {
					t.Parallel()
					srv := natsdtest.Start(t, natsd.Options{Dir: t.TempDir(), Relaxed: true})
					p := boot(t, srv, nil)
					p.create(mapping)
					p.stop()
					for round := range uint64(20) {
						// a is done, b is buried again, c stays under way.
						a, b, c := 3*round, 3*round+1, 3*round+2
						idle := bootMorgue(t, srv)
						j := idle.take(source0)
						idle.commit(j, journal.Cargo{Letters: []dlq.Letter{letter(a, 10), letter(b, 10), letter(c, 10)}})
						if where == "morgue" {
							p := boot(t, srv, nil)
							p.drain(mapping)
							p.stop()
						}
						idle.redriving(j, journal.Cargo{}, letterID(a, 1), letterID(b, 1), letterID(c, 1))
						if got, want := idle.burials(), fmt.Sprintf("%d-1* %d-1* %d-1*", a, b, c); got != want {
							t.Fatalf("round %d: under way: %s, want %s", round, got, want)
						}
						idle.redriving(j, journal.Cargo{Redriven: []string{letterID(a, 1)}}, letterID(b, 1), letterID(c, 1))
						idle.redriving(j, journal.Cargo{Redriven: []string{letterID(b, 1)}, Letters: []dlq.Letter{again(b, 2)}}, letterID(c, 1))
						want := fmt.Sprintf("%d-2 %d-1*", b, c)
						if got := idle.burials(); got != want {
							t.Fatalf("round %d: settled: %s, want %s", round, got, want)
						}
						idle.gone(letterID(a, 1), letterID(b, 1))
						times := 0
						p, fired := bootCrash(t, srv, func(at string) bool {
							if at == point {
								times++
							}
							// Later letters in some rounds, where there are any.
							if strings.HasSuffix(point, "append") {
								return at == "before mark" || times > int(round)%4
							}
							return at == point
						})
						p.dead(fired)
						if got := p.burials(); got != want {
							t.Fatalf("round %d: after the crash: %s, want %s", round, got, want)
						}
						p.gone(letterID(a, 1), letterID(b, 1))
						if purge {
							// What is under way stays, and so does what only the journal has.
							n := p.purge(morgue.Filter{})
							if n > 1 {
								t.Fatalf("round %d: purged %d", round, n)
							}
							if n == 1 {
								want = fmt.Sprintf("%d-1*", c)
							}
							if got := p.burials(); got != want {
								t.Fatalf("round %d: after a purge of %d: %s, want %s", round, n, got, want)
							}
						}
						p = boot(t, srv, nil)
						p.drain(mapping)
						if got := p.burials(); got != want {
							t.Fatalf("round %d: in the end: %s, want %s", round, got, want)
						}
						if n, err := p.morgue.Count(context.Background(), morgue.Filter{}); err != nil || n != strings.Count(want, " ")+1 {
							t.Errorf("round %d: count = %d, %v; want %s", round, n, err, want)
						}
						if got := p.kept(); strings.Count(got, " ") != strings.Count(want, " ") {
							t.Fatalf("round %d: morgue has %s, want %s", round, got, want)
						}
						// Room for the next.
						j = p.take(source0)
						p.redriving(j, journal.Cargo{Redriven: []string{letterID(c, 1)}})
						p.drain(mapping)
						p.purge(morgue.Filter{})
						if got := p.burials() + p.kept(); got != "" {
							t.Fatalf("round %d: left: %s", round, got)
						}
						p.stop()
					}
				})
			}
		}
	}
}

// A letter may be redriven by another shard or generation than it was buried by.
func TestALetterIsNotRemovedBeforeItHasCome(t *testing.T) {
	srv := natsdtest.New(t)
	other := triggers.Source{Mapping: mapping, Generation: 2, Shard: source0.Shard}
	idle := bootMorgue(t, srv)
	idle.create(mapping)
	j := idle.take(source0)
	idle.commit(j, journal.Cargo{Letters: []dlq.Letter{letter(0, 10), letter(1, 10)}})
	k := idle.take(other)
	idle.commit(k, journal.Cargo{Redriven: []string{letterID(0, 1), letterID(1, 1)}, Letters: []dlq.Letter{again(1, 2)}})
	if got := idle.burials(); got != "1-2" {
		t.Errorf("settled: %s", got)
	}
	// The letters of the first source cannot be moved for a while.
	held := make(chan struct{})
	var first atomic.Bool
	p := boot(t, srv, func(at string) error {
		if at == "before append" && first.CompareAndSwap(false, true) {
			<-held
		}
		return nil
	})
	if got := p.burials(); got != "1-2" {
		t.Errorf("held: %s", got)
	}
	close(held)
	p.drain(mapping)
	if got := p.burials(); got != "1-2" || p.kept() != "1" {
		t.Errorf("in the end: %s, morgue %s", got, p.kept())
	}
	p.gone(letterID(0, 1), letterID(1, 1))
	p.redriving(p.take(other), journal.Cargo{Redriven: []string{letterID(1, 2)}})
	p.drain(mapping)
	if got := p.burials() + p.kept(); got != "" {
		t.Errorf("left: %s", got)
	}
}

func TestLettersAreShownOnceWhileARedriveIsSettled(t *testing.T) {
	p := boot(t, natsdtest.New(t), nil)
	p.create(mapping)
	j := p.take(source0)
	p.commit(j, journal.Cargo{Letters: []dlq.Letter{letter(0, 10)}})
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			all, err := p.morgue.List(context.Background(), morgue.Filter{})
			if err != nil || len(all) != 1 {
				t.Errorf("listed %d letters, %v; want 1", len(all), err)
				return
			}
		}
	}()
	for burial := 1; burial < 60; burial++ {
		p.redriving(j, journal.Cargo{}, letterID(0, burial))
		p.redriving(j, journal.Cargo{Redriven: []string{letterID(0, burial)}, Letters: []dlq.Letter{again(0, burial+1)}})
		p.gone(letterID(0, burial)) // at once, wherever the relay is
		if burial%4 == 0 {
			p.drain(mapping)
		}
	}
	close(stop)
	<-done
	p.drain(mapping)
	if got := p.burials(); got != "0-60" || p.kept() != "0" {
		t.Errorf("in the end: %s, morgue %s", got, p.kept())
	}
}
