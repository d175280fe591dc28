package relay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/triggers/journal"
)

// splitting is a target whose shards change all the time, as no stream's do yet.
// It keeps what a stream would, over any number of relays. A run's answer may be
// lost.
type splitting struct {
	t      *testing.T
	id     string
	mu     sync.Mutex
	shards []splitShard
	rnd    *rand.Rand
}

type splitShard struct {
	from, to stream.HashKey
	closed   bool
	mark     log.Mark
	ids      []string
}

func (s *splitting) Progress(_ context.Context, streamID, source string) (*natsstream.Progress, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if streamID != s.id || source != mapping+".1."+source0.Shard {
		s.t.Errorf("progress of %s in %s", source, streamID)
	}
	p := &natsstream.Progress{}
	for _, sh := range s.shards {
		if sh.mark.Compare(p.At) > 0 {
			p.At = sh.mark
		}
	}
	return p, nil
}

func (s *splitting) owner(h stream.HashKey) int {
	return slices.IndexFunc(s.shards, func(sh splitShard) bool {
		return !sh.closed && sh.from.Compare(h) <= 0 && h.Compare(sh.to) <= 0
	})
}

func (s *splitting) Route(_ string, h stream.HashKey) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.owner(h)), nil
}

// change splits a shard, or merges two neighbours.
func (s *splitting) change() {
	at := s.owner(stream.HashKey{Hi: s.rnd.Uint64(), Lo: s.rnd.Uint64()})
	sh := s.shards[at]
	if s.rnd.IntN(2) == 0 && sh.from.Hi+1 < sh.to.Hi {
		mid := sh.from.Hi + (sh.to.Hi-sh.from.Hi)/2
		s.shards[at].closed = true
		s.shards = append(s.shards, splitShard{from: sh.from, to: stream.HashKey{Hi: mid, Lo: ^uint64(0)}}, splitShard{from: stream.HashKey{Hi: mid + 1}, to: sh.to})
	} else if sh.to != stream.MaxHashKey {
		next := s.owner(stream.HashKey{Hi: sh.to.Hi + 1})
		s.shards[at].closed, s.shards[next].closed = true, true
		s.shards = append(s.shards, splitShard{from: sh.from, to: s.shards[next].to})
	}
}

func (s *splitting) Relay(_ context.Context, _, _ string, p *natsstream.Progress, at log.Mark, shard string, recs []log.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rnd.IntN(2) == 0 {
		s.change()
	}
	var i int
	if _, err := fmt.Sscan(shard, &i); err != nil {
		return err
	}
	if s.shards[i].closed {
		return stream.ErrClosed
	}
	if at.Compare(p.At) <= 0 {
		s.t.Errorf("run up to %s behind %s", at, p.At)
	}
	for _, r := range recs {
		if s.owner(stream.HashOf(r.Key)) != i {
			s.t.Errorf("key %s does not belong to shard %d", r.Key, i)
		}
		s.shards[i].ids = append(s.shards[i].ids, r.ID)
	}
	s.shards[i].mark = at
	if s.rnd.IntN(30) == 0 {
		return errors.New("acknowledgement lost")
	}
	p.At = at
	return nil
}

// MECHANISMS: splits and merges of the target change run boundaries and nothing else.
func TestSplitsAndMergesOfTheTargetChangeRunBoundariesOnly(t *testing.T) {
	for _, point := range []string{"none", "before relay", "after relay", "before mark", "after mark"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			srv := natsdtest.Start(t, natsd.Options{Dir: t.TempDir(), Relaxed: true})
			d := stream.Description{Ref: stream.Local("x"), ID: "split"}
			s := &splitting{t: t, id: d.ID, shards: []splitShard{{to: stream.MaxHashKey}}, rnd: rand.New(rand.NewPCG(1, uint64(len(point))))}
			front := func(*natsstream.Store) Targets { return s }
			idle := &process{t: t, srv: srv, journals: journal.Open(srv, journal.Options{})}
			idle.create(mapping)
			var b book
			for round := range 20 {
				idle := &process{t: t, srv: srv, journals: journal.Open(srv, journal.Options{})}
				j := idle.take(source0)
				for range 3 {
					idle.commit(j, b.emits(12, 10, d))
				}
				if point != "none" {
					fired, times := make(chan struct{}), 0
					p := bootWith(t, srv, front, func(at string) error {
						if at == point {
							times++
						}
						// Another of the runs each round, or the last if there are not so many.
						if at != "before mark" && (times == 0 || point[len(point)-1] == 'y' && times <= round%5) {
							return nil
						}
						select {
						case <-fired:
						default:
							close(fired)
						}
						return errors.New("crash")
					})
					p.dead(fired)
				}
				p := bootWith(t, srv, front, nil)
				p.drain(mapping)
				p.stop()
			}
			// Every output once; of each key in order, over all shards one after the other.
			place := map[string]int{}
			for i, o := range b.all[d.ID] {
				place[o.ID] = i
			}
			seen := map[string]bool{}
			last := map[string]int{}
			for _, sh := range s.shards { // children come after their parents
				for _, id := range sh.ids {
					i, known := place[id]
					key := b.all[d.ID][i].PartitionKey
					if seen[id] || !known || i < last[key] {
						t.Fatalf("output %s: known %v, twice %v, behind %d of its key", id, known, seen[id], last[key])
					}
					seen[id], last[key] = true, i
				}
			}
			if len(seen) != len(place) || len(s.shards) < 12 {
				t.Errorf("%d of %d outputs, in %d shards", len(seen), len(place), len(s.shards))
			}
		})
	}
}
