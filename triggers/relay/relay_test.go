package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/dlq/morgue"
	"github.com/wasmill/wasmill/dlq/store"
	"github.com/wasmill/wasmill/internal/ledger"
	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
)

func TestMain(m *testing.M) {
	for name, child := range children {
		if dir := os.Getenv(name); dir != "" {
			if err := child(dir); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	ats.Register() // the server's clock has to start outside of any bubble
	code := m.Run()
	ats.Unregister()
	os.Exit(code)
}

// children are what the test binary does in another process: with an
// environment variable of that name, which bears a directory.
var children = map[string]func(dir string) error{}

const mapping = "1f0c1d2e-0000-4000-8000-000000000001"

var source0 = triggers.Source{Mapping: mapping, Generation: 1, Shard: "shardId-000000000000"}

// process is what one run of the program has in memory.
type process struct {
	t        testing.TB
	srv      *natsd.Server
	journals *journal.Store
	morgue   *morgue.Morgue
	streams  *natsstream.Store
	relay    *Relay
	stop     func()
}

// boot starts a program on srv; its relay stops dead where hook fails.
func boot(t testing.TB, srv *natsd.Server, hook func(point string) error) *process {
	t.Helper()
	return bootWith(t, srv, func(s *natsstream.Store) Targets { return s }, hook)
}

// bootNotify does so with somebody who delivers notices.
func bootNotify(t testing.TB, srv *natsd.Server, s Sender, hook func(point string) error, told func(Delivery)) *process {
	t.Helper()
	return bootWith(t, srv, func(s *natsstream.Store) Targets { return s }, hook, func(r *Relay) { r.Notify(s, told) })
}

// bootWith does so with other targets in front of the streams.
func bootWith(t testing.TB, srv *natsd.Server, front func(*natsstream.Store) Targets, hook func(point string) error, prepare ...func(*Relay)) *process {
	t.Helper()
	p := &process{t: t, srv: srv, journals: journal.Open(srv, journal.Options{})}
	var err error
	if p.morgue, err = morgue.Open(context.Background(), srv, p.journals); err != nil {
		t.Fatal(err)
	}
	logs := log.New(srv, log.Options{})
	if p.streams, err = natsstream.Open(context.Background(), srv, logs, natsstream.Options{}); err != nil {
		t.Fatal(err)
	}
	p.relay = New(srv, p.journals, p.morgue, front(p.streams), nil)
	for _, f := range prepare {
		f(p.relay)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if hook != nil {
		p.relay.hook = func(point string) error {
			err := context.Cause(ctx) // dead already
			if err == nil {
				if err = hook(point); err != nil {
					cancel()
				}
			}
			return err
		}
	}
	done := make(chan struct{})
	go func() {
		_ = p.relay.Run(ctx)
		close(done)
	}()
	var once sync.Once
	p.stop = func() {
		cancel()
		<-done
		once.Do(func() {
			if err := errors.Join(p.streams.Close(context.Background()), logs.Close(context.Background())); err != nil {
				t.Errorf("close streams: %v", err)
			}
		})
	}
	t.Cleanup(p.stop)
	return p
}

// dead waits until the hook has failed, and for all of the relay to stop.
func (p *process) dead(fired <-chan struct{}) {
	<-fired
	p.stop()
}

func (p *process) create(mappings ...string) {
	p.t.Helper()
	for _, m := range mappings {
		if err := p.journals.Create(context.Background(), m); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *process) take(src triggers.Source) *journal.Journal {
	p.t.Helper()
	j, _, err := p.journals.Take(context.Background(), src, "test")
	if err != nil {
		p.t.Fatal(err)
	}
	return j
}

func letter(number uint64, size int) dlq.Letter {
	return dlq.Letter{
		Number: number, Trigger: "quakes", Stream: "arn:aws:kinesis:us-east-1:000000000000:stream/s", Reason: dlq.RetryAttemptsExhausted,
		ErrorMessage: "logarithm of a negative number", Buried: time.Now().UTC(), Data: bytes.Repeat([]byte{byte(number)}, size),
	}
}

// bury commits the letters of records from to to.
func (p *process) bury(j *journal.Journal, from, to uint64, size int) {
	p.t.Helper()
	var all []dlq.Letter
	for n := from; n < to; n++ {
		all = append(all, letter(n, size))
	}
	if err := j.Commit(context.Background(), triggers.Checkpoint{Next: to}, journal.Cargo{Letters: all}); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) drain(mapping string) {
	p.t.Helper()
	if err := p.relay.Drained(context.Background(), mapping); err != nil {
		p.t.Fatal(err)
	}
}

// kept are the numbers of the letters in the morgue, as often as they are there.
func (p *process) kept() string {
	p.t.Helper()
	var out []string
	err := p.morgue.Graves().Scan(context.Background(), nil, func(m store.Message) error {
		if !m.Hidden {
			out = append(out, fmt.Sprint(m.Letter.Number))
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.Join(out, " ")
}

// listed are the numbers that users see, ascending.
func (p *process) listed(f morgue.Filter) string {
	p.t.Helper()
	all, err := p.morgue.List(context.Background(), f)
	if err != nil {
		p.t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b dlq.Letter) int { return int(a.Number) - int(b.Number) })
	return numbers(all)
}

func numbers(all []dlq.Letter) string {
	var out []string
	for _, l := range all {
		out = append(out, fmt.Sprint(l.Number))
	}
	return strings.Join(out, " ")
}

func upTo(n uint64) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprint(i))
	}
	return strings.Join(out, " ")
}

func (p *process) purge(f morgue.Filter) int {
	p.t.Helper()
	n, err := p.morgue.Purge(context.Background(), f)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

func TestRelayMovesLettersInOrderOfTheirPositions(t *testing.T) {
	p := boot(t, natsdtest.New(t), nil)
	p.create(mapping)
	j := p.take(source0)
	for n := uint64(0); n < 30; n += 3 {
		p.bury(j, n, n+3, 100)
	}
	p.drain(mapping)
	if got := p.kept(); got != upTo(30) {
		t.Errorf("morgue = %s", got)
	}
	l, err := p.morgue.Get(context.Background(), dlq.LetterID(mapping, 1, source0.Shard, 7, 1))
	if err != nil || l.Number != 7 || !bytes.Equal(l.Data, bytes.Repeat([]byte{7}, 100)) {
		t.Errorf("get = %+v, %v", l, err)
	}
}

func TestALetterOf10MiBIsOneMessage(t *testing.T) {
	p := boot(t, natsdtest.New(t), nil)
	p.create(mapping)
	p.bury(p.take(source0), 5, 6, 10<<20)
	id := dlq.LetterID(mapping, 1, source0.Shard, 5, 1)
	for range 2 { // from the journal's blobs, perhaps, and from the morgue
		l, err := p.morgue.Get(context.Background(), id)
		if err != nil || !bytes.Equal(l.Data, bytes.Repeat([]byte{5}, 10<<20)) {
			t.Fatalf("get: %d bytes, %v", len(l.Data), err)
		}
		p.drain(mapping)
	}
	if got := p.kept(); got != "5" {
		t.Errorf("morgue = %s", got)
	}
}

// TestCrashPoints stops the relay dead at each point, again and again, and goes
// on with a new process; every letter has to be in the morgue once.
func TestCrashPoints(t *testing.T) {
	for _, point := range []string{"before append", "after append", "before mark", "after mark", "before purge", "after purge"} {
		for _, purge := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, purge of dead letters %v", point, purge), func(t *testing.T) {
				t.Parallel()
				// The relay dies, not the store, so that fsync proves nothing.
				srv := natsdtest.Start(t, natsd.Options{Dir: t.TempDir(), Relaxed: true})
				p := boot(t, srv, nil)
				p.create(mapping)
				p.stop()
				next, gone := uint64(0), uint64(0)
				for round := range 20 {
					fired, times := make(chan struct{}), 0
					// Letters come before the process that moves them, so that
					// every start is one that finds work.
					idle := journal.Open(srv, journal.Options{})
					j, _, err := idle.Take(context.Background(), source0, "test")
					if err != nil {
						t.Fatal(err)
					}
					p.journals = idle
					p.bury(j, next, next+2, 10)
					p.bury(j, next+2, next+4, 10)
					next += 4

					var once sync.Once
					p = boot(t, srv, func(at string) error {
						if at != point {
							return nil
						}
						// Another letter of the four each round.
						if times++; strings.HasSuffix(point, "append") && times <= round%4 {
							return nil
						}
						once.Do(func() { close(fired) })
						return errors.New("crash")
					})
					p.dead(fired)
					if got := p.listed(morgue.Filter{}); got != between(gone, next) {
						t.Fatalf("round %d: listed after the crash = %s, want %s", round, got, between(gone, next))
					}
					if purge {
						// The relay is dead: only what is in the morgue goes.
						n := p.purge(morgue.Filter{})
						gone += uint64(n)
						if got := p.listed(morgue.Filter{}); got != between(gone, next) {
							t.Fatalf("round %d: listed after a purge of %d = %s, want %s", round, n, got, between(gone, next))
						}
					}
					p = boot(t, srv, nil)
					p.drain(mapping)
					if got := p.kept(); got != between(gone, next) {
						t.Fatalf("round %d: morgue = %s, want %s", round, got, between(gone, next))
					}
					p.stop()
				}
			})
		}
	}
}

func between(from, to uint64) string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return strings.Join(out, " ")
}

func TestALongWayIsMarkedAndPurgedInStrides(t *testing.T) {
	srv := natsdtest.New(t)
	p := &process{t: t, srv: srv, journals: journal.Open(srv, journal.Options{})}
	p.create(mapping)
	j := p.take(source0)
	for n := range uint64(12) {
		p.bury(j, n, n+1, 1<<20)
	}
	marks := 0
	p = boot(t, srv, func(at string) error {
		if at == "after mark" {
			marks++ // one worker serves a source
			if n := p.commits(); marks == 2 && n > 8 {
				t.Errorf("%d commits are left half way", n)
			}
		}
		return nil
	})
	p.drain(mapping)
	p.stop()
	if marks != 3 || p.kept() != upTo(12) {
		t.Errorf("%d marks, want 3; morgue = %s", marks, p.kept())
	}
}

func TestRelayRunsForMappingsThatNobodyPolls(t *testing.T) {
	srv := natsdtest.New(t)
	j := journal.Open(srv, journal.Options{})
	p := &process{t: t, srv: srv, journals: j}
	other := "1f0c1d2e-0000-4000-8000-000000000002"
	p.create(mapping, other)
	superseded := triggers.Source{Mapping: mapping, Generation: 1, Shard: "shardId-000000000000"}
	current := triggers.Source{Mapping: mapping, Generation: 2, Shard: "shardId-000000000000"}
	disabled := triggers.Source{Mapping: other, Generation: 1, Shard: "shardId-000000000001"}
	for i, src := range []triggers.Source{superseded, current, disabled} {
		p.bury(p.take(src), uint64(i), uint64(i+1), 10)
	}
	// Nobody takes these again; a new process finds them by itself.
	p = boot(t, srv, nil)
	p.drain(mapping)
	p.drain(other)
	if got := p.listed(morgue.Filter{}); got != "0 1 2" {
		t.Errorf("listed = %s", got)
	}
	if got := p.kept(); len(got) != 5 {
		t.Errorf("morgue = %s", got)
	}
	// A deleted mapping's letters outlive it.
	for _, m := range []string{mapping, other} {
		if err := p.journals.Delete(context.Background(), m); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.listed(morgue.Filter{}); got != "0 1 2" {
		t.Errorf("listed after the mappings are deleted = %s", got)
	}
	if n := p.purge(morgue.Filter{}); n != 3 || p.listed(morgue.Filter{}) != "" {
		t.Errorf("purged %d", n)
	}
	if n, err := p.morgue.Graves().Lanes(context.Background()); err != nil || len(n) != 0 {
		t.Errorf("left behind: %v, %v", n, err)
	}
}

// commits counts the messages of source0's commits.
func (p *process) commits() uint64 {
	p.t.Helper()
	subjects, err := ledger.At(p.srv, "J_"+mapping).Subjects(context.Background(), "j.*.c.>")
	if err != nil {
		p.t.Fatal(err)
	}
	var n uint64
	for _, c := range subjects {
		n += c
	}
	return n
}

func TestJournalIsPurgedEvery1000Commits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		purged := make(chan struct{}, 100)
		p := boot(t, natsdtest.Memory(t), func(at string) error {
			if at == "after purge" {
				purged <- struct{}{}
			}
			return nil
		})
		p.create(mapping)
		j := p.take(source0)
		synctest.Wait() // its first look is over
		start := time.Now()
		commit := func(n uint64) {
			if err := j.Commit(context.Background(), triggers.Checkpoint{Next: n}, journal.Cargo{}); err != nil {
				t.Fatal(err)
			}
		}
		for n := range uint64(trimEvery - 1) {
			commit(n)
		}
		if n := p.commits(); n != trimEvery-1 {
			t.Errorf("%d commits, want %d", n, trimEvery-1)
		}
		commit(trimEvery - 1)
		<-purged
		if n := p.commits(); n != 1 {
			t.Errorf("%d commits are left, want the newest", n)
		}
		if d := time.Since(start); d >= idle {
			t.Errorf("it took %s: that was for idleness", d)
		}
		if cp, err := p.journals.Peek(context.Background(), source0); err != nil || cp.Next != trimEvery-1 {
			t.Errorf("newest = %+v, %v", cp, err)
		}
		p.stop()
		natsdtest.Close(t, p.srv)
	})
}

// With the state of a tumbling window in each, few commits fill a disk.
func TestJournalIsPurgedOnceItsCommitsAreLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		purged := make(chan struct{}, 100)
		p := boot(t, natsdtest.Memory(t), func(at string) error {
			if at == "after purge" {
				purged <- struct{}{}
			}
			return nil
		})
		p.create(mapping)
		j := p.take(source0)
		synctest.Wait() // its first look is over
		start := time.Now()
		window := &triggers.Window{State: bytes.Repeat([]byte("s"), 1<<20)}
		for n := range uint64(trimBytes >> 20) {
			if err := j.Commit(context.Background(), triggers.Checkpoint{Next: n, Window: window}, journal.Cargo{}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if len(purged) != 1 || time.Since(start) >= idle {
			t.Errorf("purged %d times within %s, want once and before it is idle", len(purged), time.Since(start))
		}
		if n := p.commits(); n != 1 {
			t.Errorf("%d commits are left, want the newest", n)
		}
		p.stop()
		natsdtest.Close(t, p.srv)
	})
}

func TestJournalIsPurgedWhenIdleAndTheNewestCommitStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := boot(t, natsdtest.Memory(t), nil)
		p.create(mapping)
		j := p.take(source0)
		synctest.Wait() // its first look is over
		for n := range uint64(20) {
			if err := j.Commit(context.Background(), triggers.Checkpoint{Next: n}, journal.Cargo{}); err != nil {
				t.Fatal(err)
			}
		}
		if n := p.commits(); n != 20 {
			t.Fatalf("%d commits, want 20", n)
		}
		time.Sleep(2*idle + time.Millisecond)
		synctest.Wait()
		if n := p.commits(); n != 1 {
			t.Errorf("%d commits after a while, want 1", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if cp, err := p.journals.Peek(context.Background(), source0); err != nil || cp.Next != 19 {
			t.Errorf("newest = %+v, %v", cp, err)
		}
		p.stop()
		natsdtest.Close(t, p.srv)
	})
}

func TestDrainedWaitsForLettersCommittedBeforeIt(t *testing.T) {
	srv := natsdtest.New(t)
	hold := make(chan struct{})
	p := boot(t, srv, func(at string) error {
		if at == "before append" {
			<-hold
		}
		return nil
	})
	p.create(mapping)
	j := p.take(source0)
	p.bury(j, 0, 3, 10)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := p.relay.Drained(ctx, mapping); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drained while the relay is held: %v", err)
	}
	if got := p.listed(morgue.Filter{}); got != "0 1 2" {
		t.Errorf("listed while the relay is held = %s: a list is the morgue plus what waits", got)
	}
	close(hold)
	p.drain(mapping)
	if got := p.kept(); got != "0 1 2" {
		t.Errorf("morgue = %s", got)
	}
	p.drain("unknown")
}

func TestPurgeTakesWhatWaitsToo(t *testing.T) {
	p := boot(t, natsdtest.New(t), nil)
	p.create(mapping)
	j := p.take(source0)
	for round := range uint64(10) {
		p.bury(j, 4*round, 4*round+4, 10)
		if n := p.purge(morgue.Filter{}); n != 4 {
			t.Fatalf("purged %d, want 4", n)
		}
		if got := p.listed(morgue.Filter{}); got != "" {
			t.Fatalf("listed = %s", got)
		}
	}
}
