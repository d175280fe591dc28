package poll

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"

	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
	"github.com/wasmill/wasmill/triggers/shard"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(windowDir); dir != "" {
		if err := windowVictim(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	ats.Register() // the server's clock has to start outside of any bubble
	code := m.Run()
	ats.Unregister()
	os.Exit(code)
}

const longAfter = 24*time.Hour + 5*time.Minute

// A shard that goes before a trigger has finished it is a counted gap, and holds up
// none that came from it.
func TestAShardThatIsGoneBeforeItIsFinishedIsACountedGap(t *testing.T) {
	low, _ := halves()
	// show wants the gone shards in the status, and what they have lost.
	show := func(t *testing.T, r *rig, lost ...uint64) {
		t.Helper()
		time.Sleep(time.Minute) // for the Manager to look at what is closed
		var got []uint64
		for _, s := range r.status().Shards {
			if s.Problem != "" {
				t.Errorf("%+v", s)
			}
			if !has(r.describe(), s.Shard) {
				got = append(got, s.Gaps)
			}
		}
		if !slices.Equal(got, lost) {
			t.Errorf("gone shards have lost %v, want %v", got, lost)
		}
	}
	t.Run("of a paused trigger", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 1)
			defer r.close()
			k := watchKeys(r)
			r.put(low, "1")
			r.create(triggers.Config{BatchSize: 1})
			r.drain()
			if _, err := r.m.Pause(t.Context(), "t"); err != nil {
				t.Fatal(err)
			}
			r.put(low, "2", "3", "4")
			r.split(0)
			r.put(low, "5")
			r.merge(1, 2)
			time.Sleep(longAfter)
			if n := len(r.describe().Shards); n != 1 {
				t.Fatalf("%d shards are left, want the open one", n)
			}
			r.put(low, "6")
			if _, err := r.m.Resume(t.Context(), "t"); err != nil {
				t.Fatal(err)
			}
			r.drain()
			k.want(t, "after the resume", "1 6")
			show(t, r, 3, 1)
			// It is told of after a restart too, and counted once.
			r.stop()
			r.start()
			r.put(low, "7")
			r.drain()
			k.want(t, "after a restart", "1 6 7")
			show(t, r, 3, 1)
		})
	})
	t.Run("of a trigger whose function hangs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 1)
			defer r.close()
			k := watchKeys(r)
			release := k.stop("r0")
			defer release()
			r.put(low, numbers("r", 15)...) // of which ten are read ahead
			r.create(triggers.Config{BatchSize: 1})
			r.until("invoked", func() bool { return len(r.fn.seen()) > 0 })
			r.split(0)
			time.Sleep(longAfter)
			r.put(low, "new")
			// The record of that key is out still, and those that come after it wait.
			if got := k.all(); got != "" {
				t.Errorf("%s was delivered before what it comes after", got)
			}
			release()
			r.drain()
			k.want(t, "when it hangs no more", "r0 new")
			show(t, r, 14)
		})
	})
	t.Run("that nobody saw go", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 1)
			defer r.close()
			k := watchKeys(r)
			r.put(low, "1", "2", "3")
			if _, err := r.m.Create(t.Context(), "t", from(triggers.Config{BatchSize: 1}), false); err != nil {
				t.Fatal(err)
			}
			r.split(0)
			if err := r.m.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(longAfter)
			r.stop()
			r.journals = journal.Open(r.srv, journal.Options{})
			r.start()
			time.Sleep(time.Second) // it looks back
			r.put(low, "4")
			if _, err := r.m.Resume(t.Context(), "t"); err != nil {
				t.Fatal(err)
			}
			r.drain()
			k.want(t, "after the resume", "4")
			show(t, r, 1) // at least: how many there were nobody knows
		})
	})
}

// A shard that goes after it was finished, and before anybody noted that it was, holds
// up none that came from it.
func TestAShardThatWentFinishedIsWaitedForByNobody(t *testing.T) {
	low, _ := halves()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		defer r.close()
		k := watchKeys(r)
		r.put(low, "1")
		r.create(triggers.Config{BatchSize: 1})
		mp, err := r.m.Get(t.Context(), "t")
		if err != nil {
			t.Fatal(err)
		}
		r.split(0)
		r.drain()
		parent := r.describe().Shards[0]
		r.until("finished", func() bool { return r.shardOf(0).Ended })
		time.Sleep(longAfter)
		if n := len(r.describe().Shards); n != 2 {
			t.Fatalf("%d shards are left, want the children", n)
		}
		if _, err := r.m.Pause(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		// As the Manager noted it while it was not finished yet.
		r.m.mu.Lock()
		r.m.past[triggers.Source{Mapping: mp.ID, Generation: 1, Shard: parent.ID}] = past{info: parent, end: 1, exact: true}
		r.m.mu.Unlock()
		r.put(low, "2")
		if _, err := r.m.Resume(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		r.drain()
		k.want(t, "after the resume", "1 2")
	})
}

// A shard that was removed may end below where its stream did.
func TestWaitingForAShardThatIsFinishedEnds(t *testing.T) {
	r := newRig(t, 1)
	r.create(triggers.Config{})
	r.put("k", "1")
	r.split(0)
	r.drain()
	mp, err := r.m.Get(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := r.m.waitFor(ctx, mp, stream.ShardID(0), 5); err != nil {
		t.Error(err)
	}
}

// What a parent has emitted is waited for even when the stream has forgotten the
// parent; and for days, so that it is not asked for all the time.
func TestAChildWaitsForOutputsOfAParentThatIsForgotten(t *testing.T) {
	low, _ := halves()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 1)
		defer r.close()
		r.stream("out", stream.Config{Shards: 1, MaxBytes: 1 << 20, Retention: 100 * time.Hour})
		r.fn.handler = echo("")
		fill := strings.Repeat("x", 1<<20-2000)
		if _, err := r.streams.Put(t.Context(), stream.Local("out"), []stream.Entry{{PartitionKey: "fill", Data: []byte(fill)}}); err != nil {
			t.Fatal(err)
		}
		r.put(low, strings.Repeat("a", 4000))
		r.split(0)
		time.Sleep(24*time.Hour - time.Minute)
		r.create(triggers.Config{BatchSize: 1})
		r.until("waiting for outputs", func() bool { return r.shardOf(0).Ended && r.waitsFor(1) == outputsUnderWay })
		const minutes = 5
		time.Sleep(minutes * time.Minute)
		if n := len(r.describe().Shards); n != 2 {
			t.Fatalf("%d shards are left, want the children", n)
		}
		if n := -r.faults.Load(); n > 2*(10+60*minutes) {
			t.Errorf("asked %d times whether outputs have arrived, in %d minutes", n, minutes)
		}
		r.put(low, "b")
		time.Sleep(time.Minute)
		if n := len(r.fn.seen()); n != 1 {
			t.Errorf("%d invocations while outputs of the parent are under way: %v", n, r.waitsFor(1))
		}
		if _, err := r.streams.Update(t.Context(), stream.Local("out"), func(c *stream.Config) { c.MaxBytes = 0 }); err != nil {
			t.Fatal(err)
		}
		r.drain()
		if got := r.contents("out"); len(got) != 3 || got[1][:1] != "a" || got[2] != "b" {
			t.Errorf("%d outputs, or in another order", len(got))
		}
	})
}

func TestWhatWasReadAheadIsNotAllThatAGoneShardMayHaveHad(t *testing.T) {
	p := &poller{removed: true, last: 1, guessed: true}
	if ev := p.lost(shard.Fetch{From: 2, Records: 3, Again: true}); ev != (shard.Gap{From: 2, To: 5, Reason: removal}) {
		t.Errorf("what was read before: %+v", ev)
	}
	if ev := p.lost(shard.Fetch{From: 10, Records: 5}); ev != (shard.Gap{From: 10, To: 11, Reason: removal}) {
		t.Errorf("behind what was read ahead: %+v, want one that is lost", ev)
	}
	if ev := p.lost(shard.Fetch{From: 11, Records: 5}); ev != (shard.End{Next: 11}) {
		t.Errorf("then: %+v, want the end", ev)
	}
}

// A journal that cannot be read hides no other shard from the look back.
func TestADamagedJournalHidesNoOtherShardFromTheLookBack(t *testing.T) {
	r := newRig(t, 2)
	low, high := halves()
	mp, err := r.m.Create(t.Context(), "t", from(triggers.Config{BatchSize: 1}), false)
	if err != nil {
		t.Fatal(err)
	}
	r.put(low, "1")
	r.put(high, "2", "3")
	r.split(0)
	r.split(1)
	subject := fmt.Sprint("j.", mp.ID, ".c.1.", stream.ShardID(0))
	if _, err := r.srv.JS().Publish(t.Context(), subject, []byte("WJ garbage, and then some")); err != nil {
		t.Fatal(err)
	}
	if err := r.m.lookBack(t.Context()); err == nil {
		t.Error("a damaged journal was not told of")
	}
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if p := r.m.past[triggers.Source{Mapping: mp.ID, Generation: 1, Shard: stream.ShardID(1)}]; !p.exact || p.end != 2 {
		t.Errorf("of the other shard is known %+v, want that it ends at 2", p)
	}
}
