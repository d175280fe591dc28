package ondemand

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
)

func TestMain(m *testing.M) {
	ats.Register() // else its ticker keeps a bubble's clock from standing still
	code := m.Run()
	ats.Unregister()
	os.Exit(code)
}

var quakes = stream.Local("quakes")

// house is a store whose on-demand streams are looked after.
type house struct {
	*natsstream.Store
	t    *testing.T
	loop *Loop
	said strings.Builder // by the loop
}

func open(t *testing.T, config stream.Config) *house {
	t.Helper()
	srv := natsdtest.Memory(t)
	logs := log.New(srv, log.Options{})
	store, err := natsstream.Open(context.Background(), srv, logs, natsstream.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{Store: store, t: t}
	h.loop = New(store, slog.New(slog.NewTextHandler(&h.said, nil)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}) // closed when Run has returned
	go func() { defer close(done); _ = h.loop.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := errors.Join(store.Close(ctx), logs.Close(ctx)); err != nil {
			t.Errorf("close store: %v", err)
		}
	})
	if _, err := store.Create(t.Context(), quakes, config); err != nil {
		t.Fatal(err)
	}
	return h
}

// put writes for so long, one record of half a MiB and a bit each second to each of the
// hash keys.
func (h *house) put(lasts time.Duration, keys ...stream.HashKey) {
	h.t.Helper()
	data := make([]byte, 600<<10)
	for range int(lasts / time.Second) {
		var entries []stream.Entry
		for _, k := range keys {
			entries = append(entries, stream.Entry{PartitionKey: "k", ExplicitHashKey: k.String(), Data: data})
		}
		results, err := h.Put(h.t.Context(), quakes, entries)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, r := range results {
			if r.Err != nil {
				h.t.Fatal(r.Err)
			}
		}
		time.Sleep(time.Second)
	}
	synctest.Wait()
}

func (h *house) open() (open []stream.Shard) {
	h.t.Helper()
	d, err := h.Describe(h.t.Context(), quakes)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, sh := range d.Shards {
		if sh.State == stream.Active {
			open = append(open, sh)
		}
	}
	return open
}

// at is a hash key in the first quarter of the range.
func at(part uint64) stream.HashKey { return stream.HashKey{Hi: part << 48} }

func TestABusyShardIsSplitWhereItsRecordsAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, stream.Config{Shards: 4, Mode: stream.OnDemand})
		// All in the lowest sixteenth of the shard: its middle would divide nothing.
		h.put(50*time.Second, at(0x100), at(0x300))
		if n := len(h.open()); n != 4 {
			t.Errorf("after 50 s: %d shards, want 4", n)
		}
		h.put(70*time.Second, at(0x100), at(0x300))
		open := h.open()
		if len(open) != 5 || open[3].Parents == nil || open[3].To.Compare(at(0x100)) < 0 || open[4].From.Compare(at(0x300)) > 0 || open[3].To.Compare(at(0x300)) >= 0 {
			t.Fatalf("after two minutes: %+v", open)
		}
		if !strings.Contains(h.said.String(), "action=split shard=shardId-000000000000") || h.loop.Warning(quakes) != "" {
			t.Errorf("said %s, warns %q", h.said.String(), h.loop.Warning(quakes))
		}
	})
}

func TestAHotKeyIsToldAndNotSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, stream.Config{Shards: 4, Mode: stream.OnDemand})
		h.put(3*time.Minute, at(0x100))
		if n := len(h.open()); n != 4 {
			t.Errorf("%d shards, want 4", n)
		}
		warning := h.loop.Warning(quakes)
		if !strings.HasPrefix(warning, "shardId-000000000000 is not split: it takes 59 % of what a shard can, and more than half of its records have hash keys from ") {
			t.Errorf("warns %q", warning)
		}
		if n := strings.Count(h.said.String(), "cannot be split"); n != 1 {
			t.Errorf("told %d times:\n%s", n, h.said.String())
		}
		time.Sleep(2 * time.Minute)
		if warning := h.loop.Warning(quakes); warning != "" {
			t.Errorf("when it is over: %q", warning)
		}
	})
}

func TestProvisionedStreamsStayAsTheyAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, stream.Config{Shards: 6})
		h.put(2*time.Minute, at(0x100), at(0x300))
		time.Sleep(48 * time.Hour)
		if n := len(h.open()); n != 6 || h.said.Len() > 0 {
			t.Errorf("%d shards, want 6; %s", n, h.said.String())
		}
	})
}

// A day and more passes: neighbours are merged two by two, down to what a new stream has.
func TestIdleShardsAreMergedAfterADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, stream.Config{Shards: 12, Mode: stream.OnDemand})
		var got []int
		for range 4 {
			time.Sleep(24*time.Hour + 10*time.Second)
			synctest.Wait()
			got = append(got, len(h.open()))
		}
		if want := [4]int{6, 4, 4, 4}; [4]int(got) != want {
			t.Errorf("open shards day by day: %v, want %v", got, want)
		}
	})
}

// However much is written, a stream has at most twice the shards it had 15 minutes ago. The
// loop knows that from the catalogue, so a restart changes nothing.
func TestShardsDoubleOncePerQuarterOfAnHour(t *testing.T) {
	begun := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	d := &stream.Description{}
	shard := func(opened, closed time.Duration, parents ...string) {
		sh := stream.Shard{ID: stream.ShardID(len(d.Shards)), Parents: parents, Epoch: uint32(begun.Add(opened).Unix())}
		if closed > 0 {
			sh.Closed = begun.Add(closed)
		}
		d.Shards = append(d.Shards, sh)
	}
	shard(0, 0)
	shard(0, 10*time.Minute)
	shard(10*time.Minute, 0, "1")
	shard(10*time.Minute, 20*time.Minute, "1")
	shard(20*time.Minute, 0, "3")
	shard(20*time.Minute, 0, "3")
	for _, tt := range []struct {
		at   time.Duration
		want int
	}{{-time.Hour, 2}, {9 * time.Minute, 2}, {11 * time.Minute, 3}, {21 * time.Minute, 4}} {
		if got := shardsAt(d, begun.Add(tt.at)); got != tt.want {
			t.Errorf("after %s: %d shards, want %d", tt.at, got, tt.want)
		}
	}
}
