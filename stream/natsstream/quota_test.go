package natsstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
)

const mib = 1 << 20

// fill is an entry of n bytes with its key, in the lower or upper half of the keys.
func fill(n int, upper bool) stream.Entry {
	e := stream.Entry{PartitionKey: "k", ExplicitHashKey: "0", Data: make([]byte, n-1)}
	if upper {
		e.ExplicitHashKey = stream.MaxHashKey.String()
	}
	return e
}

// held is what can be read of a stream, in bytes.
func (h *house) held(ref stream.Ref) (n int64) {
	h.t.Helper()
	all, err := h.Stats(h.t.Context(), ref)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, st := range all {
		n += int64(st.Bytes)
	}
	return n
}

// tryPut is how many of the entries were stored; the others must be refused for
// the quota, behind them.
func (h *house) tryPut(ref stream.Ref, entries ...stream.Entry) (n int) {
	h.t.Helper()
	results, err := h.Put(h.t.Context(), ref, entries)
	if err != nil {
		h.t.Fatalf("put: %v", err)
	}
	for i, r := range results {
		switch {
		case r.Err == nil && n == i:
			n++
		case r.Err == nil:
			h.t.Errorf("entry %d is stored and one before it is not", i)
		default:
			wantErr(h.t, "entry that does not fit", r.Err, stream.ErrQuota)
			wantErr(h.t, "entry that does not fit", r.Err, stream.ErrUnavailable)
		}
	}
	return n
}

func TestAStreamTakesNoMoreThanItsQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := natsdtest.New(t)
		h := open(t, srv, Options{})
		h.create(quakes, stream.Config{Shards: 2, MaxBytes: 2 * mib})
		if n := h.tryPut(quakes, fill(mib, false), fill(mib/2, true)); n != 2 {
			t.Errorf("%d of 2 entries stored in an empty stream", n)
		}
		// The call is taken as far as it fits, whatever shard its entries go to.
		if n := h.tryPut(quakes, fill(mib/4, true), fill(mib/4, false), fill(1, true), fill(1, false)); n != 2 {
			t.Errorf("%d entries stored, want the 2 that fit exactly", n)
		}
		results, _ := h.Put(t.Context(), quakes, []stream.Entry{fill(100, true)})
		full, ok := errors.AsType[*stream.QuotaError](results[0].Err)
		if !ok || *full != (stream.QuotaError{Stream: "quakes", Used: 2 * mib, Limit: 2 * mib}) {
			t.Errorf("error = %+v, %v", full, results[0].Err)
		}
		// Records that have expired make room, though the last frame of a shard stays.
		time.Sleep(day + time.Second)
		if n := h.tryPut(quakes, fill(mib, true), fill(mib, true), fill(1, true)); n != 2 {
			t.Errorf("%d entries stored, want 2 when all else has expired", n)
		}
		h.close()
		h = open(t, srv, Options{})
		if n := h.tryPut(quakes, fill(1, false)); n != 0 {
			t.Error("full no more after opening again")
		}
	})
}

func TestTheQuotaCanBeChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := natsdtest.New(t)
		h := open(t, srv, Options{})
		h.create(quakes, stream.Config{})
		set := func(n int64) {
			t.Helper()
			if d, err := h.Update(t.Context(), quakes, func(c *stream.Config) { c.MaxBytes = n }); err != nil || d.MaxBytes != n {
				t.Fatalf("set a quota of %d: %+v, %v", n, d.Config, err)
			}
		}
		h.put(quakes, fill(mib, false), fill(mib, false))
		set(3 * mib)
		if n := h.tryPut(quakes, fill(mib, false), fill(1, false)); n != 1 {
			t.Errorf("%d stored, want 1: what was there before counts", n)
		}
		set(mib) // deletes nothing
		if n := h.tryPut(quakes, fill(1, false)); n != 0 {
			t.Error("stored above a quota that was lowered")
		}
		if n := h.held(quakes); n != 3*mib {
			t.Errorf("%d bytes left, want all of 3 MiB", n)
		}
		set(0)
		if n := h.tryPut(quakes, fill(mib, false), fill(mib, false)); n != 2 {
			t.Errorf("%d stored without a quota, want 2", n)
		}
		set(6 * mib)
		h.close()
		h = open(t, srv, Options{})
		if d, err := h.Describe(t.Context(), quakes); err != nil || d.MaxBytes != 6*mib || d.Retention != day {
			t.Errorf("after opening again: %+v, %v", d.Config, err)
		}
		if n := h.tryPut(quakes, fill(mib, false), fill(1, false)); n != 1 {
			t.Errorf("%d stored, want 1", n)
		}
		for what, change := range map[string]func(c *stream.Config){
			"too small":   func(c *stream.Config) { c.MaxBytes = mib - 1 },
			"negative":    func(c *stream.Config) { c.MaxBytes = -1 },
			"shards":      func(c *stream.Config) { c.Shards = 2 },
			"record size": func(c *stream.Config) { c.RecordBytes = 7 * mib }, // above the quota
		} {
			_, err := h.Update(t.Context(), quakes, change)
			wantErr(t, what, err, stream.ErrInvalid)
		}
	})
}

// The limit holds whatever is on its way at the same time, and what was refused or
// failed does not count for ever.
func TestConcurrentPutsStayWithinTheQuota(t *testing.T) {
	srv := natsdtest.New(t)
	h := open(t, srv, Options{})
	d := h.create(quakes, stream.Config{Shards: 2, MaxBytes: 4 * mib})
	var wg sync.WaitGroup
	stored := make([]int64, 8)
	for w := range stored {
		wg.Go(func() {
			for i := range 60 {
				ctx, cancel := context.WithCancel(t.Context())
				if i%7 == 0 {
					cancel() // may be stored or not
				}
				results, err := h.Put(ctx, quakes, []stream.Entry{fill(10_000+w, i%2 == 0), fill(5_000, i%2 == 1)})
				if err != nil && ctx.Err() == nil {
					t.Error(err)
				}
				for j, r := range results {
					if r.Err == nil {
						stored[w] += []int64{10_000 + int64(w), 5_000}[j]
					}
				}
				cancel()
			}
		})
	}
	wg.Go(func() {
		for i := 0; ; i++ {
			p, err := h.Progress(t.Context(), d.ID, source1)
			if err != nil {
				t.Error(err)
				return
			}
			err = h.Relay(t.Context(), d.ID, source1, p, log.Mark{Sequence: uint64(i + 1)}, stream.ShardID(i%2), []log.Record{{Data: make([]byte, 9_000)}})
			if errors.Is(err, stream.ErrQuota) {
				return
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
	inc, err := h.incarnation(d.ID)
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{}) // closed below
	var measuring sync.WaitGroup
	measuring.Go(func() { // over and over while others put
		for {
			inc.quota.stale()
			select {
			case <-over:
				return
			default:
				inc.quota.look(t.Context())
			}
		}
	})
	wg.Wait()
	close(over)
	measuring.Wait()
	// What was on its way made others be refused, and may have failed itself: now
	// there is room for that much again, and nothing counts that is not held.
	for h.tryPut(quakes, fill(5_000, false)) == 1 {
	}
	sum := int64(0)
	for _, n := range stored {
		sum += n
	}
	held := h.held(quakes)
	if held > 4*mib || held <= 4*mib-6_000 || sum > held {
		t.Errorf("%d bytes held, %d told as stored, want just below %d", held, sum, 4*mib)
	}
	if q := &inc.quota; q.flying != 0 {
		t.Errorf("%d bytes count as on their way when nothing is", q.flying)
	}
}

func TestWhatIsRefusedElsewhereDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, natsdtest.New(t), Options{})
		d := h.create(quakes, stream.Config{Shards: 2, MaxBytes: mib})
		sh, err := h.Shard(t.Context(), d.ID, stream.ShardID(1))
		if err != nil {
			t.Fatal(err)
		}
		if err := sh.Log().End(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			results, err := h.Put(t.Context(), quakes, []stream.Entry{fill(mib/2, true)})
			if err != nil || !errors.Is(results[0].Err, stream.ErrClosed) {
				t.Fatalf("put to a closed shard: %+v, %v", results, err)
			}
		}
		if n := h.tryPut(quakes, fill(mib, false)); n != 1 {
			t.Error("what a closed shard refused counts towards the quota")
		}
	})
}

func TestRelayingWaitsForTheQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, natsdtest.New(t), Options{})
		d := h.create(quakes, stream.Config{MaxBytes: mib})
		p := h.progress(d, source1)
		h.relay(d, source1, p, log.Mark{Sequence: 1}, 0, "a")
		h.put(quakes, fill(mib-2, false)) // "a" and its key
		relay := func() error {
			return h.Relay(t.Context(), d.ID, source1, p, log.Mark{Sequence: 2}, stream.ShardID(0), outputs("b"))
		}
		wantErr(t, "relay to a full stream", relay(), stream.ErrQuota)
		wantErr(t, "relay to a full stream", relay(), stream.ErrUnavailable)
		if _, err := h.Update(t.Context(), quakes, func(c *stream.Config) { c.MaxBytes = 2 * mib }); err != nil {
			t.Fatal(err)
		}
		if err := relay(); err != nil { // with the same progress
			t.Errorf("relay with room: %v", err)
		}
	})
}

// Issue 3, quotas: a warning at 80 %, said once.
func TestAQuotaIsWarnedOfOnceUntilThereIsRoomAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		h := open(t, natsdtest.New(t), Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
		h.create(quakes, stream.Config{MaxBytes: mib})
		said := func() string {
			var words []string
			for line := range strings.Lines(out.String()) {
				for _, w := range []string{"nearly reached", "well below"} {
					if strings.Contains(line, w) {
						words = append(words, w)
					}
				}
			}
			return fmt.Sprint(words)
		}
		h.put(quakes, fill(mib*79/100, false))
		time.Sleep(time.Hour)
		if got := said(); got != "[]" {
			t.Errorf("at 79 %%: %s", got)
		}
		h.put(quakes, fill(mib/100+1000, false))
		h.put(quakes, fill(1000, false))
		if got := said(); got != "[nearly reached]" {
			t.Errorf("above 80 %%: %s", got)
		}
		for _, most := range []int64{mib * 81 / 78, mib} { // 78 %, and 81 % again
			if _, err := h.Update(t.Context(), quakes, func(c *stream.Config) { c.MaxBytes = most }); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Minute)
		}
		if got := said(); got != "[nearly reached]" {
			t.Errorf("around 80 %%: %s", got)
		}
		time.Sleep(day) // the trimmer notices, though nobody puts
		if got := said(); got != "[nearly reached well below]" {
			t.Errorf("when all has expired: %s", got)
		}
	})
}

func TestAStreamThatCannotBeMeasuredTakesNothing(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	d := h.create(quakes, stream.Config{Shards: 2, MaxBytes: mib})
	if err := h.logs.Delete(t.Context(), logID(d.ID, 1)); err != nil {
		t.Fatal(err)
	}
	results, err := h.Put(t.Context(), quakes, []stream.Entry{fill(10, false)})
	if err != nil || results[0].Err == nil {
		t.Errorf("put = %+v, %v", results, err)
	}
}

// A put that is settled while the stream is being measured may have been seen or
// not: it counts.
func TestWhatIsSettledWhileMeasuringCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, natsdtest.New(t), Options{})
		d := h.create(quakes, stream.Config{MaxBytes: 3 * mib})
		inc, err := h.incarnation(d.ID)
		if err != nil {
			t.Fatal(err)
		}
		inc.quota.look(t.Context())
		inc.quota.held = func(ctx context.Context) (int64, error) {
			n, err := inc.held(ctx)
			h.put(quakes, fill(mib, false))
			return n, err
		}
		time.Sleep(time.Second)
		inc.quota.look(t.Context())
		inc.quota.held = inc.held
		if n := h.tryPut(quakes, fill(mib, false), fill(mib, false), fill(mib, false)); n != 2 {
			t.Errorf("%d entries stored, want 2 beside the one that was put meanwhile", n)
		}
	})
}
