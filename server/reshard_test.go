package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/internal/history"
	"github.com/wasmill/wasmill/stream"
)

const (
	// How long shards split and merge, how often, and how often the server is killed
	// meanwhile: the numbers.
	reshardTime  = time.Minute
	reshardEvery = 200 * time.Millisecond
	reshardKills = 20
	// maxOpen is how many open shards a stream has before it is only merged.
	maxOpen = 5
)

// TestNothingIsLostWhileShardsSplitAndMergeUnderKills chains two triggers by a stream
// and has the shards of both streams split and merge all the time, while producers
// put, dead letters are redriven and the server is killed. In the end every record
// that was acknowledged is in each stream behind it exactly once; what the triggers
// did is checked for order per key through splits and merges, and for parents being
// finished before their children are begun.
func TestNothingIsLostWhileShardsSplitAndMergeUnderKills(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute; not run with -short")
	}
	c := newChain(t)
	ctx := t.Context()
	for _, s := range []admin.StreamSpec{{Name: "in", Shards: 2}, {Name: "mid", Shards: 2}, {Name: "out", Shards: 1}} {
		if _, err := c.v.client.CreateStream(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	links := []struct {
		name, from, to, poison string
		parallel               int
	}{{"first", "in", "mid", "poison", 1}, {"second", "mid", "out", "", 4}}
	var triggers []history.Trigger
	for _, l := range links {
		if _, _, err := c.v.client.CreateFunction(ctx, l.name, c.code, admin.FunctionSpec{Environment: &admin.EnvSpec{"TARGET": l.to, "POISON": l.poison}, Emits: &[]string{l.to}}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := c.v.client.CreateTrigger(ctx, admin.TriggerSpec{
			Name: l.name, Stream: l.from, From: "trim-horizon", Function: &l.name, BatchSize: ptr(20), Retries: ptr(1),
			Bisect: ptr(true), Parallel: ptr(l.parallel), Backoff: ptr(admin.Duration(time.Millisecond)),
		}); err != nil {
			t.Fatal(err)
		}
		triggers = append(triggers, history.Trigger{Name: l.name, Stream: l.from})
	}

	began := time.Now()
	load, enough := context.WithTimeout(ctx, reshardTime)
	defer enough()
	var wg sync.WaitGroup
	var acked atomic.Int64
	for p := range 2 {
		wg.Go(func() { produce(load, c.w, &c.at, p, &acked) })
	}
	splits, merges := map[string]int{}, map[string]int{}
	wg.Go(func() {
		random := rand.New(rand.NewPCG(c.seed, 1))
		for i := 0; ; i++ {
			select {
			case <-time.After(reshardEvery):
			case <-load.Done():
				return
			}
			name := []string{"in", "mid"}[i%2]
			switch split, err := reshard(load, c.at.Load(), name, random); {
			case err != nil: // the server is down, or completes what a kill has interrupted
			case split:
				splits[name]++
			default:
				merges[name]++
			}
		}
	})
	redriven := 0
	wg.Go(func() {
		for load.Err() == nil {
			time.Sleep(100 * time.Millisecond)
			some, _, err := c.at.Load().Letters(load, admin.LetterFilter{Limit: 4})
			if err != nil || len(some) == 0 {
				continue
			}
			var ids []string
			for _, l := range some {
				ids = append(ids, l.ID)
			}
			end, _ := c.at.Load().Redrive(load, "first", admin.RedriveSpec{IDs: ids, Rate: 1e6}, func(int) {}, func(admin.Redriven) {})
			redriven += end.Buried
		}
	})
	const each = reshardTime / reshardKills
	for i := range reshardKills {
		time.Sleep(time.Until(began.Add(time.Duration(i)*each + time.Duration(c.random.Int64N(int64(each))))))
		c.v.kill()
		c.w.Add(history.Event{Kind: history.Fault, Reason: "SIGKILL"})
		c.launch()
	}
	wg.Wait()

	// The cure: what could not be digested is delivered again, wherever its key is by now.
	if _, _, err := c.v.client.UpdateConfig(ctx, "first", admin.FunctionSpec{Environment: &admin.EnvSpec{"TARGET": "mid"}}); err != nil {
		t.Fatal(err)
	}
	c.drain("first")
	letters, _, err := c.v.client.Letters(ctx, admin.LetterFilter{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.v.client.Redrive(ctx, "first", admin.RedriveSpec{Rate: 1e6}, func(int) {}, func(admin.Redriven) {}); err != nil {
		c.keep()
		t.Fatal(err)
	}
	for _, l := range links {
		c.drain(l.name)
	}
	counts := map[string]int{}
	for _, s := range []string{"in", "mid", "out"} {
		counts[s] = c.read(s)
		c.family(s)
	}
	if left, _, err := c.v.client.Letters(ctx, admin.LetterFilter{}); err != nil || len(left) > 0 {
		t.Errorf("%d dead letters are left: %v", len(left), err)
	}
	c.check(history.Options{Retries: -1, Complete: true, UniquePayloads: true, Triggers: triggers, Repeats: 2 * 4 * 20})
	if counts["mid"] != counts["in"] || counts["out"] != counts["in"] {
		t.Errorf("%d records went in, %d came to mid and %d to out", counts["in"], counts["mid"], counts["out"])
	}
	t.Logf("%d kills, splits %v, merges %v, %d records acknowledged, %v stored, %d dead letters at the cure, %d burials of redriven ones before it",
		reshardKills, splits, merges, acked.Load(), counts, len(letters), redriven)
	for _, s := range []string{"in", "mid"} {
		if splits[s] < reshardKills/2 || merges[s] < reshardKills/2 {
			t.Errorf("%d splits and %d merges of %s are too few to prove anything", splits[s], merges[s], s)
		}
	}
	if acked.Load() < 10*reshardKills || len(letters) == 0 || redriven == 0 {
		t.Error("that is too little to prove anything")
	}
}

// reshard splits a shard of a stream, or merges two; both as it comes.
func reshard(ctx context.Context, c *admin.Client, name string, random *rand.Rand) (split bool, err error) {
	s, err := c.Stream(ctx, name)
	if err != nil {
		return false, err
	}
	open := slices.DeleteFunc(s.Shards, func(s admin.Shard) bool { return s.State != stream.Active })
	if len(open) == 0 {
		return false, errors.New("no shard is open")
	}
	slices.SortFunc(open, func(a, b admin.Shard) int { return a.From.Compare(b.From) })
	at := random.IntN(len(open))
	if len(open) == 1 || len(open) < maxOpen && random.IntN(2) == 0 {
		_, err := c.SplitShard(ctx, name, open[at].ID, nil)
		return true, err
	}
	at = min(at, len(open)-2)
	_, err = c.MergeShards(ctx, name, open[at].ID, open[at+1].ID)
	return false, err
}

// family writes what became of a stream's shards into the history.
func (c *chain) family(name string) {
	c.t.Helper()
	s, err := c.v.client.Stream(c.t.Context(), name)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, sh := range s.Shards {
		c.w.Add(history.Event{Kind: history.Shard, Stream: name, Shard: sh.ID, Parents: sh.Parents, Low: sh.From.String(), High: sh.To.String()})
	}
}

func TestShardsSplitMergeAndScaleOverTheAPI(t *testing.T) {
	c := client(t, start(t, Config{Memory: true}))
	ctx := t.Context()
	if _, err := c.CreateStream(ctx, admin.StreamSpec{Name: "quakes"}); err != nil {
		t.Fatal(err)
	}
	// want compares the shards that are there, by index: state, first hash key, parents.
	want := func(v admin.Stream, err error, open int, shards ...string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range v.Shards {
			got = append(got, fmt.Sprint(s.State, " ", s.From, " ", s.Parents))
		}
		if !slices.Equal(got, shards) || v.ShardCount != open || v.State != stream.Active {
			t.Errorf("%s with %d open shards %q, want %d and %q", v.State, v.ShardCount, got, open, shards)
		}
	}
	const half, quarter = "170141183460469231731687303715884105728", "85070591730234615865843651857942052864"
	v, err := c.SplitShard(ctx, "quakes", stream.ShardID(0), nil)
	want(v, err, 2, "CLOSED 0 []", "ACTIVE 0 [shardId-000000000000]", "ACTIVE "+half+" [shardId-000000000000]")
	at := stream.HashKey{Hi: 1 << 62}
	v, err = c.SplitShard(ctx, "quakes", stream.ShardID(1), &at)
	want(v, err, 3, "CLOSED 0 []", "CLOSED 0 [shardId-000000000000]", "ACTIVE "+half+" [shardId-000000000000]",
		"ACTIVE 0 [shardId-000000000001]", "ACTIVE "+quarter+" [shardId-000000000001]")
	for name, tt := range map[string]struct {
		call func() (admin.Stream, error)
		code string
	}{
		"no such stream":         {func() (admin.Stream, error) { return c.SplitShard(ctx, "quaks", stream.ShardID(2), nil) }, admin.CodeStreamNotFound},
		"no such shard":          {func() (admin.Stream, error) { return c.SplitShard(ctx, "quakes", stream.ShardID(9), nil) }, admin.CodeShardNotFound},
		"no such shard to merge": {func() (admin.Stream, error) { return c.MergeShards(ctx, "quakes", stream.ShardID(2), "x") }, admin.CodeShardNotFound},
		"a closed shard":         {func() (admin.Stream, error) { return c.SplitShard(ctx, "quakes", stream.ShardID(0), nil) }, admin.CodeStreamInvalid},
		"a key of another shard": {func() (admin.Stream, error) { return c.SplitShard(ctx, "quakes", stream.ShardID(2), &at) }, admin.CodeStreamInvalid},
		"shards that do not meet": {func() (admin.Stream, error) {
			return c.MergeShards(ctx, "quakes", stream.ShardID(3), stream.ShardID(2))
		}, admin.CodeStreamInvalid},
		"no shards at all": {func() (admin.Stream, error) { return c.ScaleStream(ctx, "quakes", 0) }, admin.CodeStreamInvalid},
	} {
		_, err := tt.call()
		if e, ok := errors.AsType[*admin.Error](err); !ok || e.Code != tt.code {
			t.Errorf("%s: %v, want %s", name, err, tt.code)
		}
	}
	v, err = c.MergeShards(ctx, "quakes", stream.ShardID(4), stream.ShardID(2))
	if want := []string{stream.ShardID(4), stream.ShardID(2)}; err != nil || v.ShardCount != 2 || !slices.Equal(v.Shards[5].Parents, want) {
		t.Errorf("merged: %+v, %v", v.Shards, err)
	}
	if v, err = c.ScaleStream(ctx, "quakes", 4); err != nil || v.ShardCount != 4 {
		t.Errorf("scaled: %d open shards, %v", v.ShardCount, err)
	}
}

func TestATailFollowsShardsThroughSplitsAndMerges(t *testing.T) {
	c := client(t, start(t, Config{Memory: true}))
	ctx := t.Context()
	if _, err := c.CreateStream(ctx, admin.StreamSpec{Name: "quakes"}); err != nil {
		t.Fatal(err)
	}
	put := func(text string) {
		t.Helper()
		if res, err := c.Put(ctx, "quakes", []admin.Entry{{Key: "k", Text: text}}); err != nil || res.Failed > 0 {
			t.Fatal(res, err)
		}
	}
	put("1")
	var got []string
	began, tailed := make(chan struct{}), make(chan error, 1)
	go func() {
		tailed <- c.Tail(ctx, "quakes", admin.TailOptions{From: "trim-horizon", Follow: true, Limit: 5}, func(l admin.TailLine) error {
			if l.CaughtUp {
				close(began)
			}
			if l.Record != nil {
				got = append(got, string(l.Record.Payload()))
			}
			return nil
		})
	}()
	<-began
	put("2")
	for i, change := range []func() (admin.Stream, error){
		func() (admin.Stream, error) { return c.SplitShard(ctx, "quakes", stream.ShardID(0), nil) },
		func() (admin.Stream, error) {
			return c.MergeShards(ctx, "quakes", stream.ShardID(1), stream.ShardID(2))
		},
		func() (admin.Stream, error) { return c.ScaleStream(ctx, "quakes", 3) },
	} {
		if _, err := change(); err != nil {
			t.Fatal(err)
		}
		put(fmt.Sprint(i + 3))
	}
	if err := <-tailed; err != nil || !slices.Equal(got, []string{"1", "2", "3", "4", "5"}) {
		t.Errorf("%v, %v; want 1 to 5", got, err)
	}
	// One shard that was asked for has an end.
	got = nil
	if err := c.Tail(ctx, "quakes", admin.TailOptions{From: "trim-horizon", Follow: true, Shard: stream.ShardID(0)}, func(l admin.TailLine) error {
		if l.Record != nil {
			got = append(got, string(l.Record.Payload()))
		}
		return nil
	}); err != nil || !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("the closed shard alone: %v, %v; want 1 and 2", got, err)
	}
}
