package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/functions/build"
	"github.com/wasmill/wasmill/internal/history"
)

const (
	chainKills   = 300 // while records come in
	redriveKills = 25  // while all dead letters are redriven
)

// TestOutputsAppearExactlyOnceWhenTheServerIsKilled chains two triggers by a
// stream: what the first emits the second reads, and emits once more. A third
// emits what it can by partial replies. While the server is killed at random
// moments producers put and dead letters are redriven; then the function is
// corrected and all of them are redriven, under kills again. In the end every
// acknowledged record is in each stream behind it exactly once, in order per key,
// and no dead letter is left.
func TestOutputsAppearExactlyOnceWhenTheServerIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes; not run with -short")
	}
	c := newChain(t)
	ctx := t.Context()
	const retries, batch = 1, 20
	for _, s := range []admin.StreamSpec{{Name: "in", Shards: 2}, {Name: "mid", Shards: 3}, {Name: "out", Shards: 1}, {Name: "side", Shards: 2}} {
		if _, err := c.v.client.CreateStream(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	type link struct {
		name, from, to string
		parallel       int
		env            map[string]string
	}
	links := []link{
		{"first", "in", "mid", 1, map[string]string{"POISON": "poison"}},
		{"second", "mid", "out", 4, nil},
		{"third", "in", "side", 2, map[string]string{"POISON": "poison", "PARTIAL": "1"}},
	}
	triggers := []history.Trigger{}
	for _, l := range links {
		env := admin.EnvSpec{"TARGET": l.to}
		for k, v := range l.env {
			env[k] = v
		}
		if _, _, err := c.v.client.CreateFunction(ctx, l.name, c.code, admin.FunctionSpec{Environment: &env, Emits: &[]string{l.to}}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := c.v.client.CreateTrigger(ctx, admin.TriggerSpec{
			Name: l.name, Stream: l.from, From: "trim-horizon", Function: &l.name, BatchSize: ptr(batch), Retries: ptr(retries),
			Bisect: ptr(true), PartialReplies: ptr(l.env["PARTIAL"] != ""), Parallel: ptr(l.parallel), Backoff: ptr(admin.Duration(time.Millisecond)),
		}); err != nil {
			t.Fatal(err)
		}
		triggers = append(triggers, history.Trigger{Name: l.name, Stream: l.from})
	}

	var wg sync.WaitGroup
	var acked, redriven atomic.Int64
	producing, enough := context.WithCancel(ctx)
	for p := range 2 {
		wg.Go(func() { produce(producing, c.w, &c.at, p, &acked) })
	}
	wg.Go(func() {
		// Now and then some letters are redriven, and are buried again.
		for producing.Err() == nil {
			time.Sleep(40 * time.Millisecond)
			for _, name := range []string{"first", "third"} {
				some, _, err := c.at.Load().Letters(producing, admin.LetterFilter{Trigger: name, Limit: 4})
				if err != nil || len(some) == 0 {
					continue
				}
				var ids []string
				for _, l := range some {
					ids = append(ids, l.ID)
				}
				end, _ := c.at.Load().Redrive(producing, name, admin.RedriveSpec{IDs: ids, Rate: 1e6}, func(int) {}, func(admin.Redriven) {})
				redriven.Add(int64(end.Buried))
			}
		}
	})
	c.kills(chainKills)
	enough()
	wg.Wait()
	for _, l := range links {
		c.drain(l.name)
	}

	// The cure, and all letters once more, for as long as the kills go on and any is left.
	for _, name := range []string{"first", "third"} {
		env := admin.EnvSpec{"TARGET": map[string]string{"first": "mid", "third": "side"}[name]}
		if name == "third" {
			env["PARTIAL"] = "1"
		}
		if _, _, err := c.v.client.UpdateConfig(ctx, name, admin.FunctionSpec{Environment: &env}); err != nil {
			t.Fatal(err)
		}
	}
	var letters, done int64
	all, _, err := c.v.client.Letters(ctx, admin.LetterFilter{})
	if err != nil {
		t.Fatal(err)
	}
	letters = int64(len(all))
	killing, cured := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(killing)
		c.kills(redriveKills)
	}()
	go func() {
		for {
			over := false
			select {
			case <-killing:
				over = true
			default:
			}
			for _, name := range []string{"first", "third"} {
				_, err := c.at.Load().Redrive(ctx, name, admin.RedriveSpec{Rate: 200}, func(int) {}, func(r admin.Redriven) {
					if r.Outcome == admin.RedriveDone {
						atomic.AddInt64(&done, 1)
					}
				})
				if over && err != nil {
					cured <- fmt.Errorf("redrive of %s: %w", name, err)
					return
				}
			}
			if over {
				cured <- nil
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	if err := <-cured; err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		c.drain(l.name)
	}

	counts := map[string]int{}
	for _, s := range []string{"in", "mid", "out", "side"} {
		counts[s] = c.read(s)
	}
	left, _, err := c.v.client.Letters(ctx, admin.LetterFilter{})
	if err != nil || len(left) > 0 {
		t.Errorf("%d dead letters are left: %v", len(left), err)
	}
	c.check(history.Options{
		Poison: nil, Retries: -1, Complete: true, UniquePayloads: true, Triggers: triggers, Repeats: 2 * 4 * batch,
	})
	for _, s := range []string{"mid", "out", "side"} {
		if counts[s] != counts["in"] {
			t.Errorf("%d records went in and %d came to %s", counts["in"], counts[s], s)
		}
	}
	t.Logf("%d kills, %d records acknowledged, %v stored, %d dead letters at the cure (%d told of as done), %d burials of redriven ones before it",
		chainKills+redriveKills, acked.Load(), counts, letters, atomic.LoadInt64(&done), redriven.Load())
	if acked.Load() < chainKills || letters == 0 || redriven.Load() == 0 {
		t.Error("that is too little to prove anything")
	}
}

// chain is a server that is killed, and the history of it.
type chain struct {
	t      *testing.T
	v      *victim
	at     atomic.Pointer[admin.Client] // of v, for others
	w      *history.Writer
	events string
	dir    string
	code   []byte
	random *rand.Rand
	seed   uint64
}

func newChain(t *testing.T) *chain {
	t.Helper()
	c := &chain{t: t, dir: t.TempDir(), events: filepath.Join(t.TempDir(), "history"), seed: uint64(time.Now().UnixNano())}
	t.Logf("seed %d", c.seed)
	c.random = rand.New(rand.NewPCG(c.seed, 0))
	wasm := filepath.Join(t.TempDir(), "pass.wasm")
	if _, err := build.Go(t.Context(), build.Options{Dir: "testdata/pass", Out: wasm}); err != nil {
		t.Fatal(err)
	}
	var err error
	if c.code, err = os.ReadFile(wasm); err != nil {
		t.Fatal(err)
	}
	if c.w, err = history.Open(c.events); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.w.Close() })
	c.launch()
	return c
}

func (c *chain) launch() {
	c.v = launch(c.t, exec.Command(os.Args[0]), c.dir, "WASMILL_HISTORY="+c.events)
	c.at.Store(c.v.client)
}

func (c *chain) kills(n int) {
	for i := range n {
		// Most lives are short; some are long enough for much to be under way.
		life := time.Duration(20+c.random.IntN(400)) * time.Millisecond
		if i%10 == 9 {
			life += 1500 * time.Millisecond
		}
		time.Sleep(life)
		c.v.kill()
		c.w.Add(history.Event{Kind: history.Fault, Reason: "SIGKILL"})
		c.launch()
	}
}

func (c *chain) drain(trigger string) {
	c.t.Helper()
	if _, err := c.v.client.WaitDrained(c.t.Context(), trigger, 2*time.Minute); err != nil {
		tr, _ := c.v.client.Trigger(c.t.Context(), trigger)
		c.keep()
		c.t.Fatalf("%s is not drained: %v\n%+v\n%s", trigger, err, tr, c.v.stderr)
	}
}

// read writes what a stream holds into the history.
func (c *chain) read(name string) (records int) {
	c.t.Helper()
	err := c.v.client.Tail(c.t.Context(), name, admin.TailOptions{From: "trim-horizon"}, func(l admin.TailLine) error {
		if l.Gap != nil {
			return errors.New("a gap in a stream of an hour")
		}
		if r := l.Record; r != nil {
			records++
			c.w.Add(history.Event{Kind: history.Read, Stream: name, Shard: r.Shard, Seq: r.Sequence, Number: r.Number, Key: r.Key, Hash: history.Hash(r.Payload()), ID: r.OutputID})
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return records
}

// check stops the server and has the history checked.
func (c *chain) check(o history.Options) {
	c.t.Helper()
	_ = c.v.stdin.Close()
	if err := c.v.cmd.Wait(); err != nil {
		c.t.Errorf("the server did not stop well: %v\n%s", err, c.v.stderr)
	}
	f, err := os.Open(c.events)
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	violations, err := history.Check(f, o)
	if err != nil {
		c.t.Fatal(err)
	}
	for i, x := range violations {
		if i == 20 {
			c.t.Errorf("… and %d more", len(violations)-i)
			break
		}
		c.t.Error(x)
	}
	if c.t.Failed() {
		c.keep()
	}
}

func (c *chain) keep() {
	keep := filepath.Join(os.TempDir(), fmt.Sprint("wasmill-history-", c.seed))
	if b, err := os.ReadFile(c.events); err == nil && os.WriteFile(keep, b, 0o600) == nil {
		c.t.Logf("history kept in %s", keep)
	}
}
