package relay

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/destination"
	"github.com/wasmill/wasmill/triggers/journal"
)

// desk takes notices, unless fail says that it does not.
type desk struct {
	fail func(ctx context.Context, n triggers.Notice) error // set before use

	mu        sync.Mutex
	all       []string // destination and id of each that was sent
	busy, top int      // under way, at most
}

func (d *desk) Send(ctx context.Context, n triggers.Notice) error {
	d.mu.Lock()
	d.busy++
	d.top = max(d.top, d.busy)
	d.mu.Unlock()
	var err error
	if d.fail != nil {
		err = d.fail(ctx, n)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy--
	if err == nil {
		d.all = append(d.all, n.Destination+n.ID)
	}
	return err
}

// got are the ids of what was sent to a destination, in order.
func (d *desk) got(destination string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for _, id := range d.all {
		if id, ok := strings.CutPrefix(id, destination); ok {
			out = append(out, id)
		}
	}
	return strings.Join(out, " ")
}

// notice is one whose id is its number.
func notice(destination string, n uint64) triggers.Notice {
	return triggers.Notice{ID: fmt.Sprint(n), Destination: destination, Mapping: mapping, Shard: source0.Shard, Records: 2, Body: []byte("{}")}
}

// notices are those from from to to, which is not one.
func notices(destination string, from, to uint64) (out []triggers.Notice) {
	for n := from; n < to; n++ {
		out = append(out, notice(destination, n))
	}
	return out
}

func (p *process) waiting(src triggers.Source) int {
	n, _ := p.journals.NoticeBacklog(src)
	return n
}

func TestNoticesAreDeliveredOnceAndInOrder(t *testing.T) {
	d := &desk{}
	var mu sync.Mutex
	records := 0
	p := bootNotify(t, natsdtest.New(t), d, nil, func(d Delivery) {
		mu.Lock()
		defer mu.Unlock()
		if d.Err != nil || d.Dropped || d.Source != source0 {
			t.Errorf("told of %+v", d)
		}
		records += d.Notice.Records
	})
	p.create(mapping)
	j := p.take(source0)
	for n := uint64(0); n < 30; n += 3 {
		p.commit(j, journal.Cargo{Notices: append(notices("x/", n, n+2), notice("y/", n+2)), Letters: []dlq.Letter{letter(n, 10)}})
	}
	p.drain(mapping)
	var x, y []string
	for n := range 30 {
		if n%3 == 2 {
			y = append(y, fmt.Sprint(n))
		} else {
			x = append(x, fmt.Sprint(n))
		}
	}
	if d.got("x/") != strings.Join(x, " ") || d.got("y/") != strings.Join(y, " ") || records != 60 {
		t.Errorf("x: %s; y: %s; %d records", d.got("x/"), d.got("y/"), records)
	}
	if n := p.waiting(source0); n != 0 {
		t.Errorf("backlog = %d", n)
	}
}

func TestADeadDestinationKeepsBackOnlyItsOwn(t *testing.T) {
	var dead sync.Map
	dead.Store("x/", true)
	d := &desk{fail: func(_ context.Context, n triggers.Notice) error {
		if _, is := dead.Load(n.Destination); is {
			return errors.New("nobody at home")
		}
		return nil
	}}
	p := bootNotify(t, natsdtest.New(t), d, nil, nil)
	p.create(mapping)
	s := p.stream("s", 1)
	j := p.take(source0)
	var b book
	for n := range uint64(10) {
		c := b.emits(2, 10, s)
		c.Notices = append(notices("x/", 2*n, 2*n+2), notice("y/", n))
		c.Letters = []dlq.Letter{letter(n, 10)}
		p.commit(j, c)
	}
	p.commit(j, journal.Cargo{Letters: []dlq.Letter{letter(10, 10)}})
	_, upTo, err := p.journals.Pending(context.Background(), source0)
	if err != nil {
		t.Fatal(err)
	}
	p.until(func() bool {
		there, err := p.relay.Delivered(context.Background(), source0)
		return err != nil || there && p.kept() == between(0, 11) && d.got("y/") == between(0, 10) && p.relay.Problem(mapping) != ""
	})
	p.check(&b, s)
	if got := p.relay.Problem(mapping); !strings.Contains(got, "20 notices of discarded batches wait for x/: nobody at home") {
		t.Errorf("problem = %q", got)
	}
	// A mapping that is deleted meanwhile waits for them, as it does for outputs.
	bounded, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := p.relay.Drained(bounded, mapping); err == nil || !strings.Contains(err.Error(), "nobody at home") {
		t.Errorf("drained = %v", err)
	}
	if err := p.journals.Delete(context.Background(), mapping); !errors.Is(err, journal.ErrUnrelayed) {
		t.Errorf("delete = %v, want ErrUnrelayed", err)
	}
	dead.Delete("x/")
	p.drain(mapping)
	if got := d.got("x/"); got != between(0, 20) {
		t.Errorf("x: %s", got)
	}
	if mark, err := p.journals.Mark(context.Background(), source0); mark != upTo || err != nil || p.waiting(source0) != 0 {
		t.Errorf("mark = %d, %v, %d waiting; want %d, none", mark, err, p.waiting(source0), upTo)
	}
	if got := p.relay.Problem(mapping); got != "" {
		t.Errorf("problem = %q", got)
	}
}

func TestANoticeIsNotSentAgainWhenTheNextOfItsCommitFails(t *testing.T) {
	var once sync.Once
	d := &desk{fail: func(_ context.Context, n triggers.Notice) (err error) {
		if n.ID == "2" {
			once.Do(func() { err = errors.New("not now") })
		}
		return err
	}}
	p := bootNotify(t, natsdtest.New(t), d, nil, nil)
	p.create(mapping)
	p.commit(p.take(source0), journal.Cargo{Notices: notices("x/", 0, 4)})
	p.drain(mapping)
	if got := d.got("x/"); got != between(0, 4) {
		t.Errorf("delivered %s", got)
	}
}

// It would if those who wait for it were the ones who move everything else.
func TestADestinationThatDoesNotAnswerKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{fail: func(ctx context.Context, n triggers.Notice) error {
			if n.Destination == "x/" {
				<-ctx.Done()
				return context.Cause(ctx)
			}
			return nil
		}}
		p := bootNotify(t, natsdtest.Memory(t), d, nil, nil)
		p.create(mapping)
		start := time.Now()
		var last triggers.Source
		for i := range 10 {
			last = triggers.Source{Mapping: mapping, Generation: 1, Shard: stream.ShardID(i)}
			p.commit(p.take(last), journal.Cargo{Notices: append(notices("x/", 0, 2), notice("y/", uint64(i))), Letters: []dlq.Letter{letter(uint64(i), 10)}})
		}
		synctest.Wait()
		if n := len(strings.Fields(d.got("y/"))); n != 10 || len(strings.Fields(p.kept())) != 10 {
			t.Errorf("%d notices are delivered, dead letters: %s", n, p.kept())
		}
		if d.mu.Lock(); d.busy != couriers {
			t.Errorf("%d wait for an answer, want %d", d.busy, couriers)
		}
		d.mu.Unlock()
		// Once each has waited in vain, they do so one at a time.
		time.Sleep(5 * delivery)
		synctest.Wait()
		if d.mu.Lock(); d.busy > 1 {
			t.Errorf("%d wait for an answer of a destination that gives none, want 1", d.busy)
		}
		d.mu.Unlock()
		if got := p.relay.Problem(mapping); !strings.Contains(got, "20 notices of discarded batches wait for x/: context deadline exceeded") {
			t.Errorf("after %s: problem = %q", time.Since(start), got)
		}
		p.stop()
		natsdtest.Close(t, p.srv)
	})
}

func TestADestinationIsTriedAgainAfterASecondToAMinute(t *testing.T) {
	now := time.Now()
	for range 50 {
		var r retry
		for _, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
			r.slow(errors.New("no"), now)
			if d := r.until.Sub(now); r.pause != want*time.Second || d <= r.pause/2 || d > r.pause {
				t.Fatalf("pause of %s, want a half to the whole of %s", d, want*time.Second)
			}
		}
		if r.slow(nil, now); r.err != nil || r.pause != 0 {
			t.Fatal("there is a pause after success")
		}
	}
}

func TestADestinationIsTriedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		tries, dead := 0, true
		d := &desk{fail: func(context.Context, triggers.Notice) error {
			mu.Lock()
			defer mu.Unlock()
			if tries++; dead {
				return errors.New("nobody at home")
			}
			return nil
		}}
		p := bootNotify(t, natsdtest.Memory(t), d, nil, func(d Delivery) {
			if d.Dropped {
				t.Error("a notice was dropped")
			}
		})
		p.create(mapping)
		p.commit(p.take(source0), journal.Cargo{Notices: notices("x/", 0, 5)})
		time.Sleep(time.Hour)
		mu.Lock()
		if tries < 60 || tries > 130 {
			t.Errorf("%d tries in an hour, want one or two a minute, and a few before", tries)
		}
		dead = false
		mu.Unlock()
		time.Sleep(lastNoticePause)
		synctest.Wait()
		if got := d.got("x/"); got != between(0, 5) || p.waiting(source0) != 0 {
			t.Errorf("delivered %s, %d wait", got, p.waiting(source0))
		}
		p.stop()
		natsdtest.Close(t, p.srv)
	})
}

// MECHANISMS: OnDestinationFailure drop gives AWS's behaviour.
func TestNoticesThatMayBeDroppedAreTriedThreeTimes(t *testing.T) {
	for _, forsaken := range []bool{false, true} {
		t.Run(fmt.Sprintf("forsaken %v", forsaken), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				tries, failed, dropped, dead := 0, 0, 0, true
				d := &desk{fail: func(context.Context, triggers.Notice) error {
					mu.Lock()
					defer mu.Unlock()
					if dead {
						tries++
						return errors.New("nobody at home")
					}
					return nil
				}}
				p := bootNotify(t, natsdtest.Memory(t), d, nil, func(d Delivery) {
					mu.Lock()
					defer mu.Unlock()
					if d.Dropped {
						dropped++
					}
					if d.Err != nil {
						failed++
					}
				})
				p.create(mapping)
				all := notices("x/", 0, 100)
				for i := range all {
					all[i].Drop = !forsaken
				}
				j := p.take(source0)
				p.commit(j, journal.Cargo{Notices: all[:90]})
				if forsaken {
					time.Sleep(time.Hour)
					if p.waiting(source0) != 90 {
						t.Errorf("%d wait, want all that are tried for ever", p.waiting(source0))
					}
					p.relay.Forsake(mapping, true)
					mu.Lock()
					tries = 2
					mu.Unlock()
				}
				time.Sleep(3*time.Second + time.Millisecond)
				synctest.Wait()
				mu.Lock()
				if tries != dropTries || dropped != 90 || failed < 92 || p.waiting(source0) != 0 {
					t.Errorf("%d tries, %d dropped, %d failed, %d wait; want %d, 90", tries, dropped, failed, p.waiting(source0), dropTries)
				}
				mu.Unlock()
				if mark, upTo, err := p.journals.Pending(context.Background(), source0); mark != upTo || err != nil {
					t.Errorf("mark = %d of %d, %v", mark, upTo, err)
				}
				// One at a time finds out whether it is alive again.
				time.Sleep(lastNoticePause)
				p.commit(j, journal.Cargo{Notices: all[90:95]})
				synctest.Wait()
				mu.Lock()
				if tries != dropTries+1 || dropped != 95 {
					t.Errorf("%d tries, %d dropped; want %d, 95", tries, dropped, dropTries+1)
				}
				dead = false
				mu.Unlock()
				time.Sleep(lastNoticePause)
				p.commit(j, journal.Cargo{Notices: all[95:]})
				synctest.Wait()
				if got := d.got("x/"); got != between(95, 100) {
					t.Errorf("delivered %s", got)
				}
				p.stop()
				natsdtest.Close(t, p.srv)
			})
		})
	}
}

func TestWithoutASenderNoticesWait(t *testing.T) {
	p := boot(t, natsdtest.New(t), nil)
	p.create(mapping)
	p.commit(p.take(source0), journal.Cargo{Notices: notices("x/", 0, 1)})
	p.until(func() bool {
		return strings.Contains(p.relay.Problem(mapping), "1 notice of a discarded batch waits for x/")
	})
}

// TestNoticesSurviveEveryCrash stops the relay dead at each point, again and again, and
// goes on with a new process: every notice has to be delivered, in order, and only what
// was not behind the mark twice.
func TestNoticesSurviveEveryCrash(t *testing.T) {
	for _, point := range []string{"before send", "after send", "before mark", "after mark", "before purge", "after purge"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			srv := natsdtest.Start(t, natsd.Options{Dir: t.TempDir(), Relaxed: true})
			p := boot(t, srv, nil)
			p.create(mapping)
			p.stop()
			for round := range uint64(8) {
				first := 9 * round
				idle := &process{t: t, srv: srv, journals: journal.Open(srv, journal.Options{})}
				j := idle.take(source0)
				for n := range uint64(3) {
					from := first + 3*n
					idle.commit(j, journal.Cargo{Notices: append(notices("x/", from, from+2), notice("y/", from+2)), Letters: []dlq.Letter{letter(3*round+n, 10)}})
				}
				d := &desk{}
				fired := make(chan struct{})
				var mu sync.Mutex
				var once sync.Once
				times := 0
				p = bootNotify(t, srv, d, func(at string) error {
					mu.Lock()
					defer mu.Unlock()
					// Another of the notices each round.
					if at != point {
						return nil
					}
					if times++; strings.HasSuffix(point, "send") && times <= int(round) {
						return nil
					}
					once.Do(func() { close(fired) })
					return errors.New("crash")
				}, nil)
				p.dead(fired)
				before := d.got("x/") + " " + d.got("y/")
				mark, upTo, err := p.journals.Pending(context.Background(), source0)
				if err != nil {
					t.Fatal(err)
				}
				sent := map[string]bool{}
				err = p.journals.Read(context.Background(), source0, mark, upTo, func(_ uint64, c journal.Cargo) error {
					for _, n := range c.Notices {
						sent[n.ID] = true // perhaps; not confirmed
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				again := &desk{}
				p = bootNotify(t, srv, again, nil, nil)
				p.drain(mapping)
				p.stop()
				for id := range sent {
					if !slices.Contains(strings.Fields(again.got("x/")+" "+again.got("y/")), id) {
						t.Errorf("round %d: notice %s was not confirmed, and is not sent", round, id)
					}
				}
				for n := first; n < first+9; n++ {
					id := fmt.Sprint(n)
					if !sent[id] && !slices.Contains(strings.Fields(before), id) {
						t.Errorf("round %d: notice %s was confirmed, and never sent", round, id)
					}
					if !sent[id] && slices.Contains(strings.Fields(again.got("x/")+" "+again.got("y/")), id) {
						t.Errorf("round %d: notice %s was confirmed, and is sent again", round, id)
					}
				}
				for _, got := range []string{d.got("x/"), d.got("y/"), again.got("x/"), again.got("y/")} {
					if all := strings.Fields(got); !slices.IsSortedFunc(all, func(a, b string) int { return len(a)*1000 - len(b)*1000 + strings.Compare(a, b) }) {
						t.Errorf("round %d: %v: out of order", round, all)
					}
				}
			}
		})
	}
}

func BenchmarkNotices(b *testing.B) {
	for _, to := range []string{"nowhere", "file", "stream"} {
		b.Run(to, func(b *testing.B) {
			dir := b.TempDir()
			name := map[string]string{"nowhere": "x/", "file": "file://" + filepath.ToSlash(dir), "stream": stream.Local("told").ARN()}[to]
			var sender Sender = &desk{}
			p := bootWith(b, natsdtest.New(b), func(s *natsstream.Store) Targets {
				if to != "nowhere" {
					real, err := destination.New(destination.Options{Streams: s, Directories: []string{dir}})
					if err != nil {
						b.Fatal(err)
					}
					sender = real
				}
				return s
			}, nil, func(r *Relay) { r.Notify(sender, nil) })
			p.create(mapping)
			p.stream("told", 1)
			j := p.take(source0)
			n := uint64(0)
			for b.Loop() { // a commit of its own each
				p.commit(j, journal.Cargo{Notices: notices(name, n, n+1)})
				n++
			}
			p.drain(mapping)
		})
	}
}
