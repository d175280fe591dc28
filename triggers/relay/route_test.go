package relay

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/dlq/morgue"
	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/triggers/journal"
)

// resharder splits and merges the shards of a stream under the relay's hands: before
// a run is appended, while it is, or behind it. Now and then the answer to a run is lost.
type resharder struct {
	*natsstream.Store
	t   *testing.T
	ref stream.Ref
	rnd *rand.Rand

	mu             sync.Mutex // guards what follows
	splits, merges int
	wg             sync.WaitGroup
}

func (s *resharder) Relay(ctx context.Context, streamID, source string, p *natsstream.Progress, at log.Mark, shard string, recs []log.Record) error {
	switch s.rnd.IntN(4) {
	case 0:
		s.change()
	case 1:
		s.wg.Go(s.change)
	}
	err := s.Store.Relay(ctx, streamID, source, p, at, shard, recs)
	switch s.rnd.IntN(20) {
	case 0:
		s.change()
	case 1:
		if err == nil {
			err = errors.New("acknowledgement lost")
		}
	}
	return err
}

// change splits an open shard, or merges two.
func (s *resharder) change() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch split, err := reshard(s.Store, s.ref); {
	case errors.Is(err, stream.ErrUnavailable), errors.Is(err, stream.ErrBusy):
		// The store is being closed: the next one completes what has begun.
	case err != nil:
		s.t.Error(err)
	case split:
		s.splits++
	default:
		s.merges++
	}
}

// reshard splits an open shard of a stream, or merges two: at least one is open, and
// five at most.
func reshard(s *natsstream.Store, ref stream.Ref) (split bool, err error) {
	d, err := s.Describe(context.Background(), ref)
	if err == nil && d.State != stream.Active {
		err = stream.ErrBusy
	}
	if err != nil {
		return false, err
	}
	open := slices.DeleteFunc(d.Shards, func(s stream.Shard) bool { return s.State != stream.Active })
	slices.SortFunc(open, func(a, b stream.Shard) int { return a.From.Compare(b.From) })
	at := rand.IntN(len(open))
	if len(open) == 1 || len(open) < 5 && rand.IntN(2) == 0 {
		sh := open[at]
		_, err := s.Split(context.Background(), ref, sh.ID, stream.HashKey{Hi: sh.From.Hi + (sh.To.Hi-sh.From.Hi)/2 + 1})
		return true, err
	}
	at = min(at, len(open)-2)
	_, err = s.Merge(context.Background(), ref, open[at].ID, open[at+1].ID)
	return false, err
}

// checkOrder wants each output in its target once, and those of a key in order of
// places: over all shards, since those that came from others stand behind them.
func (p *process) checkOrder(b *book, ref stream.Ref) {
	p.t.Helper()
	d, err := p.streams.Describe(context.Background(), ref)
	if err != nil {
		p.t.Fatal(err)
	}
	place, last := map[string]int{}, map[string]int{}
	for i, o := range b.all[d.ID] {
		place[o.ID] = i
	}
	seen := map[string]bool{}
	for _, sh := range d.Shards {
		pos := stream.Position{Kind: stream.TrimHorizon}
		for {
			page, err := p.streams.Read(context.Background(), ref, sh.ID, pos, 10_000)
			if err != nil {
				p.t.Fatal(err)
			}
			for _, r := range page.Records {
				i, known := place[r.OutputID]
				if seen[r.OutputID] || !known || i < last[r.PartitionKey] {
					p.t.Fatalf("%s of %s: output %s: known %v, twice %v, behind %d of its key", sh.ID, ref.Name, r.OutputID, known, seen[r.OutputID], last[r.PartitionKey])
				}
				if h := stream.HashOf(r.PartitionKey); h.Compare(sh.From) < 0 || sh.To.Compare(h) < 0 {
					p.t.Errorf("%s of %s: output %s of key %s, which does not belong there", sh.ID, ref.Name, r.OutputID, r.PartitionKey)
				}
				seen[r.OutputID], last[r.PartitionKey] = true, i
			}
			if pos = page.Next; len(page.Records) == 0 {
				break
			}
		}
	}
	if len(seen) != len(place) {
		p.t.Fatalf("%d of %d outputs are in %s", len(seen), len(place), ref.Name)
	}
}

// MECHANISMS, crash points, each across splits and merges of the target, which change
// run boundaries and nothing else.
func TestSplitsAndMergesOfTheTargetChangeRunBoundariesOnly(t *testing.T) {
	points := []string{
		"none", "before append", "after append", "before relay", "after relay", "before mark", "after mark", "before purge", "after purge",
		"after append, and dead letters are purged",
	}
	// Which of them it is, and how many there are, is up to chance: few with some points.
	var allSplits, allMerges atomic.Int64
	t.Cleanup(func() {
		if allSplits.Load() == 0 || allMerges.Load() == 0 {
			t.Errorf("%d splits and %d merges", allSplits.Load(), allMerges.Load())
		}
	})
	for _, name := range points {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			point, _, purge := strings.Cut(name, ", ")
			srv := natsdtest.Start(t, natsd.Options{Dir: t.TempDir(), Relaxed: true})
			idle := boot(t, srv, nil)
			idle.create(mapping)
			d := idle.stream("x", 1)
			idle.stop()
			var b book
			splits, merges := 0, 0
			purged := map[string]bool{}
			start := func(hook func(string) error) *process {
				s := &resharder{t: t, ref: d.Ref, rnd: rand.New(rand.NewPCG(rand.Uint64(), 0))}
				p := bootWith(t, srv, func(store *natsstream.Store) Targets {
					s.Store = store
					return s
				}, hook)
				stop := p.stop
				p.stop = sync.OnceFunc(func() {
					stop() // the relay and the store; what is under way there ends with them
					s.wg.Wait()
					splits, merges = splits+s.splits, merges+s.merges
				})
				t.Cleanup(p.stop)
				return p
			}
			const rounds = 8
			for round := range uint64(rounds) {
				idle := &process{t: t, srv: srv, journals: journal.Open(srv, journal.Options{})}
				j := idle.take(source0)
				for n := range uint64(3) {
					c := b.emits(12, 10, d)
					c.Letters = []dlq.Letter{letter(3*round+n, 10)}
					idle.commit(j, c)
				}
				if point != "none" {
					fired, times := make(chan struct{}), uint64(0)
					once := sync.OnceFunc(func() { close(fired) })
					p := start(func(at string) error {
						if at == point {
							times++
						}
						// Another of the runs each round, or the mark behind the last.
						last := strings.HasSuffix(point, "relay") && at == "before mark"
						if at != point && !last || at == point && strings.HasSuffix(point, "relay") && times <= round%5 {
							return nil
						}
						once()
						return errors.New("crash")
					})
					p.dead(fired)
					if purge {
						// Those that have got there; nobody moves the others any more.
						for _, number := range strings.Fields(p.kept()) {
							purged[number] = true
						}
						p.purge(morgue.Filter{})
					}
				}
				p := start(nil)
				p.drain(mapping)
				p.stop()
			}
			p := boot(t, srv, nil)
			p.checkOrder(&b, d.Ref)
			want := slices.DeleteFunc(strings.Fields(upTo(3*rounds)), func(number string) bool { return purged[number] })
			if got := strings.Fields(p.kept()); !slices.Equal(got, want) || purge && len(purged) < rounds {
				t.Errorf("morgue = %s, want %s, %d being purged", got, want, len(purged))
			}
			t.Logf("%d splits, %d merges", splits, merges)
			allSplits.Add(int64(splits))
			allMerges.Add(int64(merges))
		})
	}
}
