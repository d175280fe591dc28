package natsstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
)

const source1 = "8e0f6a1c-1111-4222-8333-444455556666.1.shardId-000000000000"

func (h *house) progress(d stream.Description, source string) *Progress {
	h.t.Helper()
	p, err := h.Progress(h.t.Context(), d.ID, source)
	if err != nil {
		h.t.Fatalf("progress of %s: %v", source, err)
	}
	return p
}

// outputs are records whose ids are those of their texts.
func outputs(texts ...string) []log.Record {
	recs := make([]log.Record, len(texts))
	for i, text := range texts {
		recs[i] = log.Record{Key: "k", Data: []byte(text), ID: "id-" + text}
	}
	return recs
}

func (h *house) relay(d stream.Description, source string, p *Progress, at log.Mark, shard int, texts ...string) {
	h.t.Helper()
	if err := h.Relay(h.t.Context(), d.ID, source, p, at, stream.ShardID(shard), outputs(texts...)); err != nil {
		h.t.Fatalf("relay %v: %v", texts, err)
	}
}

func TestRelayedRecordsAreReadLikeAnyOther(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	d := h.create(quakes, stream.Config{Shards: 2})
	p := h.progress(d, source1)
	h.relay(d, source1, p, log.Mark{Sequence: 4, Index: 1}, 1, "a", "b")
	h.put(quakes, stream.Entry{PartitionKey: "k", ExplicitHashKey: stream.MaxHashKey.String(), Data: []byte("c")})
	page := h.read(quakes, 1, horizon, 0)
	wantText(t, "relayed and put", page, "a b c")
	for i, want := range []string{"id-a", "id-b", ""} {
		if got := page.Records[i].OutputID; got != want {
			t.Errorf("output id of record %d = %q, want %q", i, got, want)
		}
	}
}

func TestRouteIsTheOpenShardOfTheHashKey(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	d := h.create(quakes, stream.Config{Shards: 5})
	for _, sh := range d.Shards {
		for _, key := range []stream.HashKey{sh.From, sh.To} {
			if got, err := h.Route(d.ID, key); err != nil || got != sh.ID {
				t.Errorf("hash key %s: %s, %v; want %s", key, got, err, sh.ID)
			}
		}
	}
	_, err := h.Route("none", stream.HashKey{})
	wantErr(t, "no such stream", err, stream.ErrNotFound)
}

// MECHANISMS: a position is done exactly when the highest position over all shards
// of the target is at or above it.
func TestProgressIsTheHighestMarkOfAllShards(t *testing.T) {
	srv := natsdtest.New(t)
	h := open(t, srv, Options{})
	d := h.create(quakes, stream.Config{Shards: 3})
	p := h.progress(d, source1)
	h.relay(d, source1, p, log.Mark{Sequence: 1, Index: 9}, 2, "a")
	h.relay(d, source1, p, log.Mark{Sequence: 2, Index: 1}, 0, "b")
	h.relay(d, source1, p, log.Mark{Sequence: 2, Index: 5}, 1, "c")
	h.relay(d, "another.1.shardId-000000000007", h.progress(d, "another.1.shardId-000000000007"), log.Mark{Sequence: 99}, 0, "x")
	// A closed shard counts too.
	sh, err := h.Shard(t.Context(), d.ID, stream.ShardID(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := sh.Log().End(t.Context()); err != nil {
		t.Fatal(err)
	}
	check := func(what string) {
		t.Helper()
		p := h.progress(d, source1)
		if p.At != (log.Mark{Sequence: 2, Index: 5}) || fmt.Sprint(p.frames) != "map[0:1 1:1 2:1]" {
			t.Errorf("%s: progress %s, frames %v", what, p.At, p.frames)
		}
	}
	check("at once")
	h.close()
	h = open(t, srv, Options{})
	check("after opening again")
	if err := h.Relay(t.Context(), d.ID, source1, h.progress(d, source1), log.Mark{Sequence: 3}, stream.ShardID(1), outputs("d")); !errors.Is(err, stream.ErrClosed) {
		t.Errorf("relay to a closed shard: %v, want ErrClosed", err)
	}
}

func TestRelayToAClosedShardMayBeRoutedElsewhere(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	d := h.create(quakes, stream.Config{Shards: 2})
	sh, err := h.Shard(t.Context(), d.ID, stream.ShardID(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := sh.Log().End(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := h.progress(d, source1)
	err = h.Relay(t.Context(), d.ID, source1, p, log.Mark{Sequence: 1}, stream.ShardID(0), outputs("a"))
	wantErr(t, "closed shard", err, stream.ErrClosed)
	h.relay(d, source1, p, log.Mark{Sequence: 1}, 1, "a") // the same progress is good
	wantText(t, "routed elsewhere", h.read(quakes, 1, horizon, 0), "a")
}

func TestRelayedTwiceIsStoredOnce(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	d := h.create(quakes, stream.Config{Shards: 2})
	stale := h.progress(d, source1)
	p := h.progress(d, source1)
	one, two := log.Mark{Sequence: 1, Index: 3}, log.Mark{Sequence: 1, Index: 4}
	h.relay(d, source1, p, one, 0, "a")
	h.relay(d, source1, p, one, 0, "a") // p knows
	h.relay(d, source1, p, one, 1, "a") // wherever it is routed now

	err := h.Relay(t.Context(), d.ID, source1, stale, one, stream.ShardID(0), outputs("a"))
	wantErr(t, "progress from before", err, ErrStale)
	wantErr(t, "progress from before", err, log.ErrRefused)
	err = h.Relay(t.Context(), d.ID, source1, stale, two, stream.ShardID(1), outputs("b"))
	wantErr(t, "progress that was refused", err, ErrStale) // though that shard would take it

	p = h.progress(d, source1)
	if p.At != one {
		t.Errorf("progress %s, want %s", p.At, one)
	}
	h.relay(d, source1, p, two, 1, "b")
	wantText(t, "shard 0", h.read(quakes, 0, horizon, 0), "a")
	wantText(t, "shard 1", h.read(quakes, 1, horizon, 0), "b")

	err = h.Relay(t.Context(), d.ID, "other", p, log.Mark{Sequence: 9}, stream.ShardID(1), outputs("z"))
	wantErr(t, "progress of another source", err, ErrStale)
}

func TestRelayThatWasGivenUpIsFoundByProgress(t *testing.T) {
	h := open(t, natsdtest.New(t), Options{})
	d := h.create(quakes, stream.Config{Shards: 2})
	done := 0
	for n := range 60 {
		p := h.progress(d, source1)
		done = int(p.At.Sequence)
		ctx, cancel := context.WithCancel(t.Context())
		if n%2 == 0 {
			cancel()
		}
		err := h.Relay(ctx, d.ID, source1, p, log.Mark{Sequence: uint64(done + 1)}, stream.ShardID(0), outputs(fmt.Sprint(done)))
		if err != nil { // also where the fence would let it pass
			wantErr(t, "after giving up", h.Relay(t.Context(), d.ID, source1, p, log.Mark{Sequence: uint64(done + 1)}, stream.ShardID(1), outputs("twice")), ErrStale)
		}
		cancel()
	}
	var want []string
	for i := range int(h.progress(d, source1).At.Sequence) {
		want = append(want, fmt.Sprint(i))
	}
	wantText(t, "each once, in order", h.read(quakes, 0, horizon, 0), strings.Join(want, " "))
	if len(want) < 30 {
		t.Errorf("%d records, want at least those that were not given up", len(want))
	}
}

// A process ends between the append and its caller learning of it: what is on disk
// tells the next.
func TestRelayBeforeACrashIsFoundAfterIt(t *testing.T) {
	srv := natsdtest.New(t)
	h := open(t, srv, Options{})
	d := h.create(quakes, stream.Config{Shards: 2})
	h.relay(d, source1, h.progress(d, source1), log.Mark{Sequence: 1}, 1, "a") // and p is lost
	h.close()
	h = open(t, srv, Options{})
	p := h.progress(d, source1)
	if p.At != (log.Mark{Sequence: 1}) {
		t.Errorf("progress %s, want 1/0", p.At)
	}
	h.relay(d, source1, p, log.Mark{Sequence: 1}, 1, "a")
	h.relay(d, source1, p, log.Mark{Sequence: 2}, 1, "b")
	wantText(t, "each once", h.read(quakes, 1, horizon, 0), "a b")
}

func TestAStreamMadeAgainHasNoProgress(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	d := h.create(quakes, stream.Config{})
	p := h.progress(d, source1)
	h.relay(d, source1, p, log.Mark{Sequence: 1}, 0, "a")
	if err := h.Delete(t.Context(), quakes); err != nil {
		t.Fatal(err)
	}
	gone := func(what string) {
		t.Helper()
		_, err := h.Progress(t.Context(), d.ID, source1)
		wantErr(t, what, err, stream.ErrNotFound)
		_, err = h.Route(d.ID, stream.HashKey{})
		wantErr(t, what, err, stream.ErrNotFound)
		err = h.Relay(t.Context(), d.ID, source1, p, log.Mark{Sequence: 2}, stream.ShardID(0), outputs("b"))
		wantErr(t, what, err, stream.ErrNotFound)
	}
	gone("deleted")
	again := h.create(quakes, stream.Config{})
	gone("made again")
	if p := h.progress(again, source1); p.At != (log.Mark{}) {
		t.Errorf("progress in the new stream: %s", p.At)
	}
	wantText(t, "the new stream", h.read(quakes, 0, horizon, 0), "")
}

func TestAStreamBeingDeletedIsGoneToARelay(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	d := h.create(quakes, stream.Config{})
	p := h.progress(d, source1)
	inc, err := h.incarnation(d.ID)
	if err != nil {
		t.Fatal(err)
	}
	// The log is gone, and the entry says DELETING, while the relay has looked already.
	deleting := *inc.desc.Load()
	deleting.State = stream.Deleting
	inc.desc.Store(&deleting)
	if err := h.logs.Delete(t.Context(), logID(d.ID, 0)); err != nil {
		t.Fatal(err)
	}
	err = h.Relay(t.Context(), d.ID, source1, p, log.Mark{Sequence: 1}, stream.ShardID(0), outputs("a"))
	wantErr(t, "relay", err, stream.ErrNotFound)
	_, err = h.Progress(t.Context(), d.ID, source1)
	wantErr(t, "progress", err, stream.ErrNotFound)
}

// A log that is lost is no stream that was deleted: its outputs must not go to the
// dead letters.
func TestALostShardIsNotADeletedStream(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	d := h.create(quakes, stream.Config{})
	p := h.progress(d, source1)
	if err := h.logs.Delete(t.Context(), logID(d.ID, 0)); err != nil {
		t.Fatal(err)
	}
	if err := h.Relay(t.Context(), d.ID, source1, p, log.Mark{Sequence: 1}, stream.ShardID(0), outputs("a")); err == nil || errors.Is(err, stream.ErrNotFound) {
		t.Errorf("relay: %v", err)
	}
	if _, err := h.Progress(t.Context(), d.ID, source1); err == nil || errors.Is(err, stream.ErrNotFound) {
		t.Errorf("progress: %v", err)
	}
}

// Several sources relay to several shards while the store fails again and again and
// everybody puts: each output is there once, those of a source and shard in order.
func TestEveryOutputIsStoredOnceAcrossRestartsOfTheStore(t *testing.T) {
	srv := natsdtest.New(t)
	h := open(t, srv, Options{})
	d := h.create(quakes, stream.Config{Shards: 2})
	const sources = 3
	var counts [sources]int
	var wg sync.WaitGroup
	stop := make(chan struct{}) // closed below
	for n := range sources {
		source := fmt.Sprintf("m.%d.shardId-000000000000", n)
		wg.Go(func() {
			for i := 0; ; i++ {
				p, err := h.Progress(t.Context(), d.ID, source)
				if err != nil {
					continue
				}
				counts[n] = int(p.At.Sequence)
				select {
				case <-stop:
					return
				default:
				}
				for err == nil {
					ctx, cancel := context.WithCancel(t.Context())
					if rand.IntN(4) == 0 {
						cancel()
					}
					next := int(p.At.Sequence) + 1
					err = h.Relay(ctx, d.ID, source, p, log.Mark{Sequence: uint64(next)}, stream.ShardID(next%2), outputs(fmt.Sprintf("%d-%d", n, next)))
					cancel()
				}
			}
		})
	}
	natsdtest.Failing(t, srv, 3, func(i int) {
		_, _ = h.Put(t.Context(), quakes, []stream.Entry{{PartitionKey: fmt.Sprint(i), Data: []byte("put")}})
	})
	close(stop)
	wg.Wait()

	seen := map[string]int{}
	for shard := range 2 {
		var last [sources]int
		for pos, more := horizon, true; more; {
			page := h.read(quakes, shard, pos, 0)
			pos, more = page.Next, len(page.Records) > 0
			for _, r := range page.Records {
				var n, i int
				if r.OutputID == "" {
					continue
				}
				if _, err := fmt.Sscanf(string(r.Data), "%d-%d", &n, &i); err != nil {
					t.Fatal(err)
				}
				if i <= last[n] {
					t.Errorf("source %d, shard %d: %d behind %d", n, shard, i, last[n])
				}
				last[n] = i
				seen[string(r.Data)]++
			}
		}
	}
	total := 0
	for n, count := range counts {
		total += count
		for i := 1; i <= count; i++ {
			if got := seen[fmt.Sprintf("%d-%d", n, i)]; got != 1 {
				t.Errorf("output %d of source %d is there %d times", i, n, got)
			}
		}
	}
	if len(seen) != total || total < sources {
		t.Errorf("%d outputs, want %d", len(seen), total)
	}
}
