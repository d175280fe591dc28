package natsstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
)

// drain reads a shard to its end, or to its tip once done is closed, waiting between,
// and returns its records.
func (h *house) drain(ctx context.Context, shard string, done <-chan struct{}) ([]stream.Record, error) {
	bell, stop, err := h.Wait(ctx, quakes, shard)
	if err != nil {
		return nil, err
	}
	defer stop()
	var all []stream.Record
	for pos := horizon; ; {
		last := false
		select {
		case <-done:
			last = true
		default:
		}
		p, err := h.Read(ctx, quakes, shard, pos, 100)
		if err != nil {
			return nil, err
		}
		all, pos = append(all, p.Records...), p.Next
		switch {
		case p.Ended:
			return all, nil
		case len(p.Records) > 0:
		case last:
			return all, nil
		default:
			select {
			case <-bell:
			case <-done:
			}
		}
	}
}

// Splits, merges and scalings amid puts of many callers, and readers that follow the
// shards from parents to children: every record that was acknowledged is read once, at
// its place; each hash key is in one open shard at any time; the records of a key are
// read in the order they were put, with growing numbers; nobody hears of a closed shard.
func TestReshardingAmidTraffic(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	h := open(t, natsdtest.New(t), Options{})
	h.atOnce = 1 // children take over bit by bit
	h.create(quakes, stream.Config{Shards: 2})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const writers = 6

	stop := make(chan struct{}) // closed when there has been enough resharding
	var puts sync.WaitGroup
	placed := make([]map[string]string, writers) // of each writer: text by place
	order := make([]map[string][]string, writers)
	for w := range writers {
		placed[w], order[w] = map[string]string{}, map[string][]string{}
		puts.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(w)))
			for n := 0; ; {
				select {
				case <-stop:
					return
				default:
				}
				entries := make([]stream.Entry, 1+rng.IntN(40))
				for i := range entries {
					entries[i] = stream.Entry{PartitionKey: fmt.Sprintf("%d-%d", w, rng.IntN(8)), Data: fmt.Appendf(nil, "%d-%d", w, n)}
					n++
				}
				results, err := h.Put(ctx, quakes, entries)
				if err != nil {
					t.Errorf("put: %v", err)
					return
				}
				highest := map[string]stream.SequenceNumber{} // of this call, by shard
				for i, r := range results {
					if r.Err != nil {
						t.Errorf("put: %v", r.Err)
						return
					}
					if r.Sequence.Compare(highest[r.Shard]) <= 0 {
						t.Errorf("%s: entries of one call are not stored in call order", r.Shard)
					}
					highest[r.Shard] = r.Sequence
					e := entries[i]
					placed[w][r.Shard+" "+r.Sequence.String()] = string(e.Data)
					order[w][e.PartitionKey] = append(order[w][e.PartitionKey], string(e.Data))
				}
			}
		})
	}
	// Each reader takes one shard; those of the children start when it is at the end.
	done := make(chan struct{}) // closed when the last record is there
	var reads sync.WaitGroup
	var mu sync.Mutex
	got := map[string]string{}
	keys := map[string][]string{}
	last := map[string]stream.SequenceNumber{}
	finished, begun := map[string]bool{}, map[string]bool{}
	var follow func()
	follow = func() { // with mu
		for _, sh := range h.describe(quakes).Shards {
			if begun[sh.ID] || slices.ContainsFunc(sh.Parents, func(id string) bool { return !finished[id] }) {
				continue
			}
			begun[sh.ID] = true
			reads.Go(func() {
				records, err := h.drain(ctx, sh.ID, done)
				if err != nil {
					t.Errorf("read %s: %v", sh.ID, err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				for _, r := range records {
					place := r.Shard + " " + r.Sequence.String()
					if got[place] != "" {
						t.Errorf("%s came twice", place)
					}
					got[place] = string(r.Data)
					keys[r.PartitionKey] = append(keys[r.PartitionKey], string(r.Data))
					if r.Sequence.Compare(last[r.PartitionKey]) <= 0 {
						t.Errorf("key %s: number %s is not above that of the record before", r.PartitionKey, r.Sequence)
					}
					last[r.PartitionKey] = r.Sequence
				}
				finished[sh.ID] = true
				follow()
			})
		}
	}
	mu.Lock()
	follow()
	mu.Unlock()

	puts.Go(func() { // at any time
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				wantWhole(t, h.describe(quakes))
			}
		}
	})
	rng := rand.New(rand.NewPCG(seed, 99))
	for range 60 {
		open := openOf(h.describe(quakes).Shards)
		at := rng.IntN(len(open))
		sh := open[at]
		var err error
		switch kind := rng.IntN(5); {
		case kind < 2 && len(open) < 12:
			_, err = h.Split(ctx, quakes, sh.ID, plus(sh.From, stream.HashKey{Hi: minus(sh.To, sh.From).Hi/2 + 1}))
		case kind < 4 && at > 0:
			_, err = h.Merge(ctx, quakes, open[at-1].ID, sh.ID)
		case kind == 4:
			_, err = h.Scale(ctx, quakes, 1+rng.IntN(8))
		}
		if err != nil {
			t.Fatalf("reshard: %v", err)
		}
	}
	close(stop)
	puts.Wait()
	close(done)
	reads.Wait()
	mu.Lock()
	follow() // nothing is left to be followed
	mu.Unlock()
	reads.Wait()

	total := 0
	for w := range writers {
		total += len(placed[w])
		for place, text := range placed[w] {
			if got[place] != text {
				t.Fatalf("%s at %s: read %q", text, place, got[place])
			}
		}
		for key, want := range order[w] {
			if !slices.Equal(keys[key], want) {
				t.Errorf("key %s: read in the order %v, put in the order %v", key, keys[key], want)
			}
		}
	}
	if len(got) != total || total == 0 {
		t.Errorf("%d records read, %d acknowledged", len(got), total)
	}
	t.Logf("%d records through %d shards", total, len(h.describe(quakes).Shards))
}

// MECHANISMS: splits and merges change the boundaries of runs and nothing else. A
// source that relays and is replaced now and then, while its target is resharded:
// each of its outputs is there once, those of a key in order.
func TestRelayAmidResharding(t *testing.T) {
	h := open(t, natsdtest.New(t), Options{})
	h.atOnce = 1
	d := h.create(quakes, stream.Config{Shards: 2})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	const outputs = 600
	key := func(i int) string { return fmt.Sprint("key", i%7) }
	stop := make(chan struct{}) // closed by the relay when it is through
	var reshards sync.WaitGroup
	reshards.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := h.Scale(ctx, quakes, 1+i%5); err != nil {
				t.Errorf("scale: %v", err)
				return
			}
		}
	})
	rerouted := 0
	p := h.progress(d, source1)
	for next := 0; next < outputs; {
		if next%50 == 17 { // as after a restart of the source
			p = h.progress(d, source1)
			if p.At.Sequence != uint64(next) {
				t.Fatalf("progress %s after %d outputs", p.At, next)
			}
		}
		shard, err := h.Route(d.ID, stream.HashOf(key(next)))
		if err != nil {
			t.Fatal(err)
		}
		err = h.Relay(ctx, d.ID, source1, p, log.Mark{Sequence: uint64(next + 1)}, shard, []log.Record{{Key: key(next), Data: fmt.Append(nil, next)}})
		switch {
		case errors.Is(err, stream.ErrClosed):
			if rerouted++; rerouted > 10*outputs {
				t.Fatal("routed to closed shards again and again")
			}
		case err != nil:
			t.Fatalf("relay: %v", err)
		default:
			next++
		}
	}
	close(stop)
	reshards.Wait()
	if at := h.progress(d, source1).At; at.Sequence != outputs {
		t.Errorf("progress %s, want %d", at, outputs)
	}
	var all []stream.Record
	for _, sh := range h.describe(quakes).Shards {
		all = append(all, h.read(quakes, sh.Index, horizon, 0).Records...)
	}
	slices.SortFunc(all, func(a, b stream.Record) int { return a.Sequence.Compare(b.Sequence) })
	seen, last := map[string]bool{}, map[string]int{}
	for _, r := range all {
		var i int
		fmt.Sscan(string(r.Data), &i)
		if seen[string(r.Data)] {
			t.Errorf("output %d is there twice", i)
		}
		if seen[string(r.Data)] = true; i < last[r.PartitionKey] {
			t.Errorf("output %d of %s comes behind %d", i, r.PartitionKey, last[r.PartitionKey])
		}
		last[r.PartitionKey] = i
	}
	if len(seen) != outputs {
		t.Errorf("%d outputs are there, want %d", len(seen), outputs)
	}
	t.Logf("%d times routed again, %d shards", rerouted, len(h.describe(quakes).Shards))
}
