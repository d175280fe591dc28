package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/dlq/morgue"
	"github.com/wasmill/wasmill/dlq/store"
	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
)

// book is what was committed, by incarnation of the target and in order of places.
type book struct {
	next int
	all  map[string][]triggers.Output
}

// emits makes n outputs to each target, of several keys, and books them.
func (b *book) emits(n, size int, targets ...stream.Description) journal.Cargo {
	c := journal.Cargo{Trigger: "quakes"}
	for range n {
		for _, d := range targets {
			c.Outputs = append(c.Outputs, triggers.Output{
				ID: fmt.Sprintf("%032x", b.next), StreamID: d.ID, Stream: d.ARN(), PartitionKey: fmt.Sprint("key", b.next%5),
				Data: bytes.Repeat([]byte{byte(b.next)}, size), TraceParent: fmt.Sprint("00-", b.next),
			})
			b.next++
		}
	}
	b.add(c.Outputs, targets...)
	return c
}

// add books the outputs of a commit.
func (b *book) add(outputs []triggers.Output, targets ...stream.Description) {
	if b.all == nil {
		b.all = map[string][]triggers.Output{}
	}
	for _, d := range targets {
		own := slices.DeleteFunc(slices.Clone(outputs), func(o triggers.Output) bool { return o.StreamID != d.ID })
		slices.SortStableFunc(own, func(x, y triggers.Output) int {
			return stream.HashOf(x.PartitionKey).Compare(stream.HashOf(y.PartitionKey))
		})
		b.all[d.ID] = append(b.all[d.ID], own...)
	}
}

func (p *process) stream(name string, shards int) stream.Description {
	p.t.Helper()
	d, err := p.streams.Create(context.Background(), stream.Local(name), stream.Config{Shards: shards})
	if err != nil {
		p.t.Fatal(err)
	}
	return d
}

// shard reads the outputs in one shard, with everything checked that a reader sees.
func (p *process) shard(d stream.Description, index int, want map[string]triggers.Output) (ids []string) {
	p.t.Helper()
	pos := stream.Position{Kind: stream.TrimHorizon}
	for {
		page, err := p.streams.Read(context.Background(), d.Ref, d.Shards[index].ID, pos, 10_000)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, r := range page.Records {
			o := want[r.OutputID]
			if r.PartitionKey != o.PartitionKey || !bytes.Equal(r.Data, o.Data) || r.TraceParent != o.TraceParent {
				p.t.Errorf("output %s is %q %q in %s", r.OutputID, r.PartitionKey, r.TraceParent, d.Name)
			}
			ids = append(ids, r.OutputID)
		}
		if len(page.Records) == 0 {
			return ids
		}
		pos = page.Next
	}
}

// check wants each output in its target once, and in order of places in each shard.
func (p *process) check(b *book, d stream.Description) {
	p.t.Helper()
	byID := map[string]triggers.Output{}
	for _, o := range b.all[d.ID] {
		byID[o.ID] = o
	}
	for i, sh := range d.Shards {
		var want []string
		for _, o := range b.all[d.ID] {
			if h := stream.HashOf(o.PartitionKey); sh.From.Compare(h) <= 0 && h.Compare(sh.To) <= 0 {
				want = append(want, o.ID)
			}
		}
		if got := p.shard(d, i, byID); !slices.Equal(got, want) {
			p.t.Fatalf("%s of %s has %d outputs, want %d, in this order:\ngot  %s\nwant %s", sh.ID, d.Name, len(got), len(want), got, want)
		}
	}
}

func (p *process) commit(j *journal.Journal, c journal.Cargo) {
	p.t.Helper()
	if err := j.Commit(context.Background(), triggers.Checkpoint{}, c); err != nil {
		p.t.Fatal(err)
	}
}

func TestOutputsReachTheirStreamsOnceAndInOrder(t *testing.T) {
	p := boot(t, natsdtest.New(t), nil)
	p.create(mapping)
	x, y := p.stream("x", 3), p.stream("y", 1)
	var b book
	j := p.take(source0)
	for n := range 10 {
		p.commit(j, b.emits(n, 100, x, y))
	}
	p.drain(mapping)
	p.check(&b, x)
	p.check(&b, y)
	if got := p.relay.Problem(mapping); got != "" {
		t.Errorf("problem: %s", got)
	}
	if n, bytes := p.journals.Backlog(source0); n != 0 || bytes != 0 {
		t.Errorf("backlog = %d, %d", n, bytes)
	}
}

// MECHANISMS: the outputs of one target shard are one run, one frame.
func TestOneRunIsOneFrameOfAtMost512KiB(t *testing.T) {
	srv := natsdtest.New(t)
	p := boot(t, srv, nil)
	p.create(mapping)
	x := p.stream("x", 1)
	p.stop()
	idle := &process{t: t, srv: srv, journals: journal.Open(srv, journal.Options{})}
	j := idle.take(source0)
	var b book
	idle.commit(j, b.emits(100, 1000, x))   // 100 KiB
	idle.commit(j, b.emits(100, 1000, x))   // another, in the same frame
	idle.commit(j, b.emits(3, 400<<10, x))  // each alone, in blobs
	idle.commit(j, b.emits(1, 1000<<10, x)) // larger than a run
	idle.commit(j, b.emits(70_000, 0, x))   // more than a frame takes, and more than a run
	idle.commit(j, journal.Cargo{})
	p = boot(t, srv, nil)
	p.drain(mapping)
	p.check(&b, x)
	sh, err := p.streams.Shard(context.Background(), x.ID, x.Shards[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	bounds, err := sh.Log().Bounds(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var frames []int
	for at := bounds.FirstFrame; at <= bounds.LastFrame; at++ {
		f, err := sh.Log().At(context.Background(), at)
		if err != nil {
			t.Fatal(err)
		}
		bytes := 0
		for _, r := range f.Records {
			bytes += len(r.Key) + len(r.Data) + len(r.Trace) + len(r.ID)
		}
		if bytes > runBytes && len(f.Records) > 1 {
			t.Errorf("frame of %d records has %d bytes", len(f.Records), bytes)
		}
		frames = append(frames, len(f.Records))
	}
	if len(frames) < 6 || !slices.Equal(frames[:5], []int{200, 1, 1, 1, 1}) {
		t.Errorf("frames of %v records", frames)
	}
}

// TestOutputsSurviveEveryCrash stops the relay dead at each point, again and again,
// and goes on with a new process: every output has to be in its stream once, in
// order, and every letter in the morgue once.
func TestOutputsSurviveEveryCrash(t *testing.T) {
	for _, point := range []string{"after append", "before relay", "after relay", "before mark", "after mark"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			srv := natsdtest.Start(t, natsd.Options{Dir: t.TempDir(), Relaxed: true})
			p := boot(t, srv, nil)
			p.create(mapping)
			x, y := p.stream("x", 2), p.stream("y", 1)
			p.stop()
			var b book
			for round := range uint64(20) {
				idle := &process{t: t, srv: srv, journals: journal.Open(srv, journal.Options{})}
				j := idle.take(source0)
				for n := range 3 {
					c := b.emits(4, 10, x, y)
					c.Letters = []dlq.Letter{letter(3*round+uint64(n), 10)}
					idle.commit(j, c)
				}
				// Another of the appends each round: a commit has a letter, and two
				// shards and a stream at least.
				times := 0
				p, fired := bootCrash(t, srv, func(at string) bool {
					if at != point {
						return false
					}
					times++
					return times > int(round)%3 || !strings.HasSuffix(point, "relay") && !strings.HasSuffix(point, "append")
				})
				p.dead(fired)
				if got, want := p.listed(morgue.Filter{}), upTo(3*round+3); got != want {
					t.Fatalf("round %d: listed after the crash = %s, want %s", round, got, want)
				}
				p = boot(t, srv, nil)
				p.drain(mapping)
				p.check(&b, x)
				p.check(&b, y)
				if got, want := p.kept(), upTo(3*round+3); got != want {
					t.Fatalf("round %d: morgue = %s, want %s", round, got, want)
				}
				p.stop()
			}
		})
	}
}

// bootCrash starts a program that dies where die says so.
func bootCrash(t testing.TB, srv *natsd.Server, die func(point string) bool) (*process, <-chan struct{}) {
	fired := make(chan struct{})
	var once sync.Once
	return boot(t, srv, func(at string) error {
		if !die(at) {
			return nil
		}
		once.Do(func() { close(fired) })
		return errors.New("crash")
	}), fired
}

// TestOutputsToAStreamThatIsGoneAreDeadLettersOnce deletes the target while outputs
// are on their way and makes another of its name, with crashes at each point.
func TestOutputsToAStreamThatIsGoneAreDeadLettersOnce(t *testing.T) {
	for _, point := range []string{"before relay", "after relay", "before bury", "after bury", "before mark", "after mark", "none"} {
		for _, purge := range []bool{false, true} {
			if purge == (point == "none" || strings.HasSuffix(point, "relay")) {
				continue // there are no dead letters yet, or the other way is the harder one
			}
			t.Run(fmt.Sprintf("%s, purge of dead letters %v", point, purge), func(t *testing.T) {
				t.Parallel()
				srv := natsdtest.Start(t, natsd.Options{Dir: t.TempDir(), Relaxed: true})
				p := boot(t, srv, nil)
				p.create(mapping)
				x := p.stream("x", 2)
				y := p.stream("y", 1)
				p.stop()
				var b book
				purged := map[string]bool{}
				for round := range 20 {
					idle := &process{t: t, srv: srv, journals: journal.Open(srv, journal.Options{})}
					j := idle.take(source0)
					for range 2 {
						idle.commit(j, b.emits(3, 10, x, y))
					}
					if strings.HasSuffix(point, "relay") {
						// Some of them get there before the stream is deleted.
						times := 0
						p, fired := bootCrash(t, srv, func(at string) bool {
							if at == point {
								times++
							}
							return times > round%3
						})
						p.dead(fired)
					}
					p := bootStreams(t, srv)
					there := map[string]bool{}
					byID := map[string]triggers.Output{}
					for _, o := range b.all[x.ID] {
						byID[o.ID] = o
					}
					for i := range x.Shards {
						for _, id := range p.shard(x, i, byID) {
							if there[id] {
								t.Fatalf("round %d: output %s is there twice", round, id)
							}
							there[id] = true
						}
					}
					mark, err := p.journals.Mark(context.Background(), source0)
					if err != nil {
						t.Fatal(err)
					}
					if err := p.streams.Delete(context.Background(), x.Ref); err != nil {
						t.Fatal(err)
					}
					old := x
					x = p.stream("x", 2)
					unsure := p.unconfirmed(mark)
					p.stop()

					if point != "none" && !strings.HasSuffix(point, "relay") {
						times := 0
						p, fired := bootCrash(t, srv, func(at string) bool {
							if at == point {
								times++
							}
							return at == point && (times > round%4 || !strings.HasSuffix(point, "bury"))
						})
						p.dead(fired)
						if purge {
							for _, l := range p.outputLetters() {
								purged[l.OutputID] = true
							}
							p.purge(morgue.Filter{})
						}
					}
					p = boot(t, srv, nil)
					p.drain(mapping)
					p.check(&b, y)
					p.check(&b, x)
					found := map[string]int{}
					var order []string
					for _, l := range p.outputLetters() {
						found[l.OutputID]++
						if l.StreamID == old.ID {
							order = append(order, l.OutputID)
						}
						if o := byID[l.OutputID]; l.StreamID == old.ID && (l.PartitionKey != o.PartitionKey || !bytes.Equal(l.Data, o.Data)) {
							t.Errorf("letter = %+v", l)
						}
						if l.Kind != dlq.KindOutput || l.Reason != dlq.TargetGone || l.Trigger != "quakes" || l.Stream != old.ARN() {
							t.Errorf("letter = %+v", l)
						}
						if l.StreamID != old.ID {
							continue
						}
						if got, err := p.morgue.Get(context.Background(), l.ID); err != nil || got.OutputID != l.OutputID {
							t.Errorf("get %s = %+v, %v", l.ID, got, err)
						}
					}
					for _, o := range b.all[old.ID] {
						n := found[o.ID]
						if purged[o.ID] {
							n++
						}
						// What got there may be told twice where no mark knew of it.
						if n > 1 || n == 0 && !there[o.ID] || n == 1 && there[o.ID] && !unsure[o.ID] {
							t.Fatalf("round %d: output %s: %d dead letters, purged %v, in the stream before: %v", round, o.ID, found[o.ID], purged[o.ID], there[o.ID])
						}
					}
					want := b.all[old.ID]
					for _, id := range order {
						at := slices.IndexFunc(want, func(o triggers.Output) bool { return o.ID == id })
						if at < 0 {
							t.Fatalf("round %d: dead letters are out of order: %s", round, order)
						}
						want = want[at+1:]
					}
					p.stop()
				}
			})
		}
	}
}

// bootStreams is a program whose relay does not run.
func bootStreams(t testing.TB, srv *natsd.Server) *process {
	t.Helper()
	p := bootMorgue(t, srv)
	logs := log.New(srv, log.Options{})
	var err error
	if p.streams, err = natsstream.Open(context.Background(), srv, logs, natsstream.Options{}); err != nil {
		t.Fatal(err)
	}
	p.stop = func() {
		if err := errors.Join(p.streams.Close(context.Background()), logs.Close(context.Background())); err != nil {
			t.Errorf("close streams: %v", err)
		}
	}
	return p
}

// bootMorgue is one that has no streams either.
func bootMorgue(t testing.TB, srv *natsd.Server) *process {
	t.Helper()
	p := &process{t: t, srv: srv, journals: journal.Open(srv, journal.Options{})}
	var err error
	if p.morgue, err = morgue.Open(context.Background(), srv, p.journals); err != nil {
		t.Fatal(err)
	}
	return p
}

// unconfirmed are the ids of outputs that no mark knows of.
func (p *process) unconfirmed(mark uint64) map[string]bool {
	p.t.Helper()
	_, upTo, err := p.journals.Pending(context.Background(), source0)
	if err != nil {
		p.t.Fatal(err)
	}
	out := map[string]bool{}
	err = p.journals.Read(context.Background(), source0, mark, upTo, func(_ uint64, c journal.Cargo) error {
		for _, o := range c.Outputs {
			out[o.ID] = true
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

// outputLetters are dead letters as they are stored, in that order.
func (p *process) outputLetters() (out []dlq.Letter) {
	p.t.Helper()
	err := p.morgue.Graves().Scan(context.Background(), nil, func(m store.Message) error {
		if !m.Hidden {
			out = append(out, m.Letter)
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

// obstacle lets some targets fail.
type obstacle struct {
	*natsstream.Store
	full  atomic.Pointer[string] // incarnation that takes nothing
	calls atomic.Int64           // in vain
}

func (o *obstacle) Relay(ctx context.Context, streamID, source string, p *natsstream.Progress, at log.Mark, shard string, recs []log.Record) error {
	if id := o.full.Load(); id != nil && *id == streamID {
		o.calls.Add(1)
		return fmt.Errorf("%w: the stream is full", stream.ErrUnavailable)
	}
	return o.Store.Relay(ctx, streamID, source, p, at, shard, recs)
}

func TestAFullTargetKeepsBackNeitherLettersNorOtherTargets(t *testing.T) {
	front := &obstacle{}
	p := bootWith(t, natsdtest.New(t), func(s *natsstream.Store) Targets { front.Store = s; return front }, nil)
	p.create(mapping)
	x, y := p.stream("x", 2), p.stream("y", 1)
	front.full.Store(&x.ID)
	var b book
	j := p.take(source0)
	for n := range uint64(30) {
		c := b.emits(2, 100<<10, x, y) // 12 MiB, more than a stride
		c.Letters = []dlq.Letter{letter(n, 10)}
		p.commit(j, c)
	}
	p.until(func() bool { return p.kept() == upTo(30) })
	p.until(func() bool {
		got, err := p.streams.Stats(context.Background(), y.Ref)
		return err == nil && got[0].Records == 60
	})
	p.check(&b, y)
	p.until(func() bool { return front.calls.Load() > 2 })
	if got := p.relay.Problem(mapping); !strings.Contains(got, "stream x") || !strings.Contains(got, "full") || strings.Contains(got, "stream y") {
		t.Errorf("problem = %q", got)
	}
	if n, _ := p.journals.Backlog(source0); n == 0 {
		t.Error("no backlog")
	}
	if mark, _ := p.journals.Mark(context.Background(), source0); mark != 0 {
		t.Errorf("mark = %d: outputs to x are not done", mark)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := p.relay.Drained(ctx, mapping); !errors.Is(err, stream.ErrUnavailable) {
		t.Errorf("drained = %v, want what hinders", err)
	}
	if n := p.purge(morgue.Filter{}); n != 30 {
		t.Errorf("purged %d letters, want 30: a full stream must not keep them", n)
	}
	front.full.Store(nil)
	p.drain(mapping)
	p.check(&b, x)
	p.check(&b, y)
	if got := p.relay.Problem(mapping); got != "" {
		t.Errorf("problem = %q", got)
	}
	if n, _ := p.journals.Backlog(source0); n != 0 {
		t.Errorf("backlog = %d", n)
	}
}

// until waits for what other goroutines bring about.
func (p *process) until(ok func() bool) {
	p.t.Helper()
	for !ok() {
		select {
		case <-p.t.Context().Done():
			p.t.Fatal("it never came about")
		default:
		}
	}
}

// TestWhatGotThereIsNoDeadLetter deletes the target in the middle of a backlog.
func TestWhatGotThereIsNoDeadLetter(t *testing.T) {
	front := &deleting{after: 3}
	srv := natsdtest.New(t)
	setUp := bootStreams(t, srv)
	setUp.create(mapping)
	x := setUp.stream("x", 2)
	setUp.stop()
	var b book
	idle := &process{t: t, srv: srv, journals: journal.Open(srv, journal.Options{})}
	j := idle.take(source0)
	for range 10 {
		idle.commit(j, b.emits(5, 10, x))
	}
	p := bootWith(t, srv, func(s *natsstream.Store) Targets { front.Store, front.d = s, x; return front }, nil)
	p.drain(mapping)
	letters := p.outputLetters()
	if front.there == 0 || len(letters) != 50-front.there {
		t.Errorf("%d dead letters, %d of 50 got there", len(letters), front.there)
	}
	if got := p.relay.Problem(mapping); !strings.Contains(got, "stream x was deleted") || !strings.Contains(got, fmt.Sprint(len(letters))) {
		t.Errorf("problem = %q", got)
	}
	all, err := p.morgue.List(context.Background(), morgue.Filter{Trigger: "quakes", Reason: dlq.TargetGone})
	if err != nil || len(all) != len(letters) {
		t.Errorf("listed %d, %v", len(all), err)
	}
	// The problem is over when outputs get to another stream of that name.
	x = p.stream("x", 2)
	p.commit(p.take(source0), b.emits(5, 10, x))
	p.drain(mapping)
	p.check(&b, x)
	if got := p.relay.Problem(mapping); got != "" {
		t.Errorf("problem = %q", got)
	}
	if n := p.purge(morgue.Filter{}); n != len(letters) {
		t.Errorf("purged %d of %d", n, len(letters))
	}
}

// deleting deletes a stream after some runs.
type deleting struct {
	*natsstream.Store
	d            stream.Description
	after, there int
}

func (o *deleting) Relay(ctx context.Context, streamID, source string, p *natsstream.Progress, at log.Mark, shard string, recs []log.Record) error {
	if o.after--; o.after == 0 && streamID == o.d.ID {
		if err := o.Delete(ctx, o.d.Ref); err != nil {
			return err
		}
	}
	err := o.Store.Relay(ctx, streamID, source, p, at, shard, recs)
	if err == nil && streamID == o.d.ID {
		o.there += len(recs)
	}
	return err
}

func TestConfirmedIsUpToTheMark(t *testing.T) {
	p := boot(t, natsdtest.New(t), nil)
	p.create(mapping)
	x := p.stream("x", 1)
	var b book
	j := p.take(source0)
	name := mapping + ".1." + source0.Shard
	confirmed := func(sequence uint64, want bool) {
		t.Helper()
		if got, err := p.relay.Confirmed(context.Background(), name, log.Mark{Sequence: sequence}); got != want || err != nil {
			t.Errorf("confirmed %d: %v, %v; want %v", sequence, got, err, want)
		}
	}
	confirmed(1, false)
	p.commit(j, b.emits(3, 10, x))
	p.drain(mapping)
	confirmed(1, true)
	confirmed(2, false)
	confirmed(math.MaxUint64, false) // of a damaged mark
	for _, bad := range []string{"", "a.b", "a.b.c", "a.1.b.c"} {
		if got, err := p.relay.Confirmed(context.Background(), bad, log.Mark{}); got || err == nil {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
	if err := p.journals.Delete(context.Background(), mapping); err != nil {
		t.Fatal(err)
	}
	confirmed(9, true)
	confirmed(math.MaxUint64, true)
}
