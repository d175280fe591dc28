package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/internal/ledger"
	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
)

// runs books the outputs of each run that is tried, those refused negative.
type runs struct {
	*natsstream.Store
	mu  sync.Mutex
	all []int
}

func (o *runs) Relay(ctx context.Context, streamID, source string, p *natsstream.Progress, at log.Mark, shard string, recs []log.Record) error {
	err := o.Store.Relay(ctx, streamID, source, p, at, shard, recs)
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := len(recs); err == nil {
		o.all = append(o.all, n)
	} else {
		o.all = append(o.all, -n)
	}
	return err
}

// Others put small records wherever there is room: a run must not wait until there
// is room for all of it.
func TestAStreamThatIsNearlyFullTakesWhatFitsOfARun(t *testing.T) {
	srv := natsdtest.New(t)
	front := &runs{}
	setUp := bootStreams(t, srv)
	setUp.create(mapping)
	x, err := setUp.streams.Create(context.Background(), stream.Local("x"), stream.Config{MaxBytes: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	var b book
	j := setUp.take(source0)
	setUp.commit(j, b.emits(30, 10<<10, x)) // one run of 300 KiB
	results, err := setUp.streams.Put(context.Background(), x.Ref, []stream.Entry{{PartitionKey: "k", Data: make([]byte, 1<<20-1)}, {PartitionKey: "k", Data: make([]byte, 924<<10-1)}})
	if err != nil || results[0].Err != nil || results[1].Err != nil {
		t.Fatal(results, err)
	}
	setUp.stop()
	p := bootWith(t, srv, func(s *natsstream.Store) Targets { front.Store = s; return front }, nil)
	p.until(func() bool { return strings.Contains(p.relay.Problem(mapping), "stream x") })
	front.mu.Lock()
	all := slices.Clone(front.all)
	front.mu.Unlock()
	got := 0
	for _, n := range all {
		got += max(0, n)
	}
	if got != 9 || all[0] != -30 { // 100 KiB are left
		t.Errorf("%d outputs got there, in runs of %v; want 9", got, all)
	}
	if _, err := p.streams.Update(context.Background(), x.Ref, func(c *stream.Config) { c.MaxBytes = 100 << 20 }); err != nil {
		t.Fatal(err)
	}
	p.drain(mapping)
	p.commit(p.take(source0), b.emits(30, 10<<10, x))
	p.commit(p.take(source0), b.emits(30, 10<<10, x))
	p.drain(mapping)
	if n := slices.Max(front.all); n < 28 {
		t.Errorf("runs of %v: still short when there is room", front.all)
	}
}

func TestAQuotaIsTriedAgainWithinASecond(t *testing.T) {
	for _, c := range []struct {
		err  error
		want time.Duration
	}{{&stream.QuotaError{}, quotaPause}, {stream.ErrUnavailable, lastPause}} {
		var r retry
		now := time.Now()
		for range 20 {
			r.note(c.err, now)
		}
		if r.pause != c.want || !r.until.Equal(now.Add(c.want)) {
			t.Errorf("%v: pause of %s, want %s", c.err, r.pause, c.want)
		}
	}
}

// A shard that has nothing waiting does not notice that the stream was deleted.
func TestADeletedStreamIsAProblemThoughAShardHadNothingWaiting(t *testing.T) {
	p := boot(t, natsdtest.New(t), nil)
	p.create(mapping)
	x := p.stream("x", 1)
	other := triggers.Source{Mapping: mapping, Generation: 1, Shard: "shardId-000000000001"}
	var b book
	idle, busy := p.take(other), p.take(source0)
	p.commit(idle, b.emits(1, 10, x))
	p.drain(mapping)
	if err := p.streams.Delete(context.Background(), x.Ref); err != nil {
		t.Fatal(err)
	}
	p.commit(busy, b.emits(3, 10, x))
	p.drain(mapping)
	if got := p.relay.Problem(mapping); !strings.Contains(got, "stream x was deleted, and 3 outputs") {
		t.Errorf("problem = %q", got)
	}
	again := p.stream("x", 1)
	p.commit(idle, b.emits(1, 10, again))
	p.drain(mapping)
	if got := p.relay.Problem(mapping); got != "" {
		t.Errorf("problem = %q, with outputs in another stream of that name", got)
	}
	if err := p.streams.Delete(context.Background(), again.Ref); err != nil {
		t.Fatal(err)
	}
	p.commit(busy, b.emits(2, 10, again))
	p.drain(mapping)
	if got := p.relay.Problem(mapping); !strings.Contains(got, "stream x was deleted, and 2 outputs") {
		t.Errorf("problem = %q, with that one deleted too", got)
	}
}

func TestOutputsGoOnWhenTheMorgueTakesNoLetters(t *testing.T) {
	srv := natsdtest.New(t)
	p := boot(t, srv, nil)
	p.create(mapping)
	x := p.stream("x", 1)
	graves := ledger.At(srv, "MORGUE")
	bad, err := graves.Append(context.Background(), "m."+mapping+".1."+source0.Shard, ledger.Unfenced, []byte("WD garbage...."))
	if err != nil {
		t.Fatal(err)
	}
	var b book
	j := p.take(source0)
	for n := range uint64(6) {
		c := b.emits(2, 1<<20, x) // more than a stride
		c.Letters = []dlq.Letter{letter(n, 10)}
		if n == 5 {
			c.Redriven = []string{letterID(1, 1)}
		}
		p.commit(j, c)
	}
	p.until(func() bool {
		got, err := p.streams.Stats(context.Background(), x.Ref)
		return err == nil && got[0].Records == 12
	})
	p.until(func() bool { return strings.Contains(p.relay.Problem(mapping), "dead letters wait") })
	if mark, err := p.journals.Mark(context.Background(), source0); mark != 0 || err != nil {
		t.Errorf("mark = %d, %v: the letters are not moved", mark, err)
	}
	// Who waits for outputs alone does not wait for letters.
	p.until(func() bool {
		there, err := p.relay.Delivered(context.Background(), source0)
		return there && err == nil
	})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := p.relay.Drained(ctx, mapping); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "garbage") && !strings.Contains(err.Error(), "corrupt") {
		t.Errorf("drained = %v, want what hinders", err)
	}
	if _, err := graves.Delete(context.Background(), bad); err != nil {
		t.Fatal(err)
	}
	p.drain(mapping)
	if got := p.kept(); got != "0 2 3 4 5" {
		t.Errorf("morgue = %s", got)
	}
	p.check(&b, x)
	if got := p.relay.Problem(mapping); got != "" {
		t.Errorf("problem = %q", got)
	}
}

// Room may come only from trimming what a source has to confirm first: its outputs
// must get through when nothing else does.
func TestOutputsGetThroughWhenTheReserveIsReached(t *testing.T) {
	srv := natsdtest.Start(t, natsd.Options{Memory: true, MaxMemory: 64 << 20, Reserve: 80 << 20})
	p := boot(t, srv, nil)
	p.create(mapping)
	x := p.stream("x", 1)
	results, err := p.streams.Put(context.Background(), x.Ref, []stream.Entry{{PartitionKey: "k"}})
	if err != nil || !errors.Is(results[0].Err, stream.ErrUnavailable) {
		t.Fatalf("put into the reserve: %v, %v", results, err)
	}
	var b book
	p.commit(p.take(source0), b.emits(3, 10, x))
	p.drain(mapping)
	p.check(&b, x)
}

// A mark is what makes room: it must not wait for some.
func TestAMarkNeedsNoRoomInTheReserve(t *testing.T) {
	srv := natsdtest.Start(t, natsd.Options{Memory: true, MaxMemory: 64 << 20, Reserve: 40 << 20})
	p := bootStreams(t, srv)
	p.create(mapping)
	x := p.stream("x", 1)
	var b book
	p.commit(p.take(source0), b.emits(1, 10, x))
	_, upTo, err := p.journals.Pending(context.Background(), source0)
	if err != nil {
		t.Fatal(err)
	}
	for range 12 {
		if _, err := ledger.At(srv, "MORGUE").Append(context.Background(), "m.x", ledger.Unfenced, make([]byte, 4<<20)); err != nil {
			t.Fatal(err)
		}
	}
	p.until(func() bool { return srv.Admit(natsd.Journal, 1) != nil }) // as soon as it is measured
	if err := p.journals.Confirm(context.Background(), source0, upTo); err != nil {
		t.Errorf("confirm: %v", err)
	}
}

// What is looked at on every commit does not grow with the number of sources.
func TestOnlySourcesWithWorkAreLookedAt(t *testing.T) {
	front := &obstacle{}
	p := bootWith(t, natsdtest.New(t), func(s *natsstream.Store) Targets { front.Store = s; return front }, nil)
	p.create(mapping)
	x, y := p.stream("x", 1), p.stream("y", 1)
	front.full.Store(&x.ID)
	var b book
	for i := range 5 {
		p.commit(p.take(triggers.Source{Mapping: mapping, Generation: 1, Shard: stream.ShardID(i)}), b.emits(1, 10, y))
	}
	p.drain(mapping)
	stuck := triggers.Source{Mapping: mapping, Generation: 1, Shard: stream.ShardID(2)}
	p.commit(p.take(stuck), b.emits(1, 10, x))
	p.until(func() bool { return p.relay.Problem(mapping) != "" })
	look := func() string {
		p.relay.mu.Lock()
		defer p.relay.mu.Unlock()
		var failed []string
		for src := range p.relay.failed {
			failed = append(failed, src.Shard)
		}
		return fmt.Sprint(len(p.relay.sources), len(p.relay.due), failed)
	}
	p.until(func() bool { return look() == fmt.Sprint(5, 0, []string{stuck.Shard}) })
	front.full.Store(nil)
	p.drain(mapping)
	p.until(func() bool { return look() == "5 0 []" })
}

func BenchmarkKickAmong10000Sources(b *testing.B) {
	srv := natsdtest.Memory(b)
	r := New(srv, journal.Open(srv, journal.Options{}), bootMorgue(b, srv).morgue, nil, slog.New(slog.DiscardHandler))
	for i := range 10_000 {
		s := r.of(triggers.Source{Mapping: mapping, Generation: 1, Shard: stream.ShardID(i)})
		s.targets["x"] = &target{id: "x"}
	}
	now := time.Now()
	for b.Loop() {
		if _, _, ok := r.next(now); ok || r.soonest(now, true) < time.Minute {
			b.Fatal("there is nothing to do")
		}
	}
}

func TestWhatIsGoneIsForgotten(t *testing.T) {
	p := boot(t, natsdtest.New(t), nil)
	other := "1f0c1d2e-0000-4000-8000-000000000002"
	p.create(mapping, other)
	x, y := p.stream("x", 1), p.stream("y", 1)
	var b book
	j := p.take(source0)
	p.commit(j, b.emits(1, 10, x, y))
	p.commit(p.take(triggers.Source{Mapping: other, Generation: 1, Shard: source0.Shard}), b.emits(1, 10, y))
	p.drain(mapping)
	p.drain(other)
	if err := p.streams.Delete(context.Background(), x.Ref); err != nil {
		t.Fatal(err)
	}
	p.commit(j, b.emits(1, 10, x, y))
	p.drain(mapping)
	targets := func() string {
		p.relay.mu.Lock()
		defer p.relay.mu.Unlock()
		var all []string
		for _, t := range p.relay.sources[source0].targets {
			all = append(all, name(t.arn))
		}
		return strings.Join(all, " ")
	}
	p.until(func() bool { return targets() == "y" }) // with the next purge
	if got := p.relay.Problem(mapping); !strings.Contains(got, "stream x was deleted, and 1 outputs") {
		t.Errorf("problem = %q", got)
	}
	p.commit(j, b.emits(1, 10, x)) // an invocation that was under way
	p.drain(mapping)
	if got := p.relay.Problem(mapping); !strings.Contains(got, "stream x was deleted, and 2 outputs") {
		t.Errorf("problem = %q", got)
	}
	if n := len(p.outputLetters()); n != 2 {
		t.Errorf("%d dead letters, want 2", n)
	}
	if err := p.journals.Delete(context.Background(), other); err != nil {
		t.Fatal(err)
	}
	if err := p.relay.sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	p.until(func() bool {
		p.relay.mu.Lock()
		defer p.relay.mu.Unlock()
		return len(p.relay.sources) == 1 && len(p.relay.mappings) == 1 && p.relay.sources[source0] != nil
	})
}
