package natsstream

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
)

const day = 24 * time.Hour

func TestRetentionIsExactPerRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// No trimming: what is hidden is hidden by the reader.
		h := open(t, natsdtest.New(t), Options{TrimEvery: 1000 * day})
		h.create(quakes, stream.Config{})
		put := h.putText(quakes, "a")
		time.Sleep(time.Millisecond)
		h.putText(quakes, "b")
		time.Sleep(day - time.Millisecond)
		wantText(t, "at 24 h", h.read(quakes, 0, horizon, 0), "a b")
		time.Sleep(time.Millisecond)
		wantText(t, "a millisecond later", h.read(quakes, 0, horizon, 0), "b")
		wantText(t, "from a time before", h.read(quakes, 0, stream.Position{Kind: stream.AtTimestamp, Time: time.Now().Add(-2 * day)}, 0), "b")
		p := h.read(quakes, 0, stream.Position{Kind: stream.At, Sequence: put[0].Sequence}, 0)
		wantText(t, "from the expired record", p, "b")
		if p.Gap != 1 {
			t.Errorf("gap = %d, want 1", p.Gap)
		}
		time.Sleep(time.Millisecond)
		p = h.read(quakes, 0, horizon, 0)
		wantText(t, "all expired", p, "")
		h.putText(quakes, "c")
		wantText(t, "on from there", h.read(quakes, 0, p.Next, 0), "c")
	})
}

// stored is how many records the log of shard 0 still has.
func (h *house) stored(ref stream.Ref) uint64 {
	h.t.Helper()
	b, err := h.byRef[ref].table.Load().shards[0].Log().Bounds(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return b.NextNumber - b.FirstNumber
}

func TestTrimmerDeletesWhatHasExpiredButTheLastFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, natsdtest.New(t), Options{})
		h.create(quakes, stream.Config{})
		old := h.putText(quakes, "a")
		reader := h.read(quakes, 0, horizon, 0).Next
		h.putText(quakes, "b", "c")
		time.Sleep(12 * time.Hour)
		h.putText(quakes, "d")
		time.Sleep(12*time.Hour - time.Second)
		if n := h.stored(quakes); n != 4 {
			t.Fatalf("%d records on disk before any expired, want 4", n)
		}
		time.Sleep(2 * time.Minute)
		if n := h.stored(quakes); n != 1 {
			t.Errorf("%d records on disk after three expired, want 1", n)
		}
		// A reader that was at b lost two and hears of it; d is still there.
		p := h.read(quakes, 0, reader, 0)
		wantText(t, "a reader that lagged", p, "d")
		if p.Gap != 2 {
			t.Errorf("gap = %d, want 2", p.Gap)
		}
		// The same when the trimmer overtakes a reader in the middle of a page.
		late := pager{sh: h.byRef[quakes].table.Load().shards[0], number: 1, frame: 1, limit: 10}
		p, err := late.read(t.Context())
		if err != nil || text(p) != "d" || p.Gap != 2 {
			t.Errorf("a reader overtaken: %q with gap %d, %v; want d with gap 2", text(p), p.Gap, err)
		}
		// As on AWS a trimmed sequence number stands for the oldest record.
		wantText(t, "at a trimmed number", h.read(quakes, 0, stream.Position{Kind: stream.At, Sequence: old[0].Sequence}, 0), "d")

		time.Sleep(day + time.Hour)
		if n := h.stored(quakes); n != 1 {
			t.Errorf("%d records on disk long after, want the last frame", n)
		}
		p = h.read(quakes, 0, horizon, 0)
		wantText(t, "the expired last frame", p, "")
		h.putText(quakes, "e")
		p = h.read(quakes, 0, p.Next, 0)
		wantText(t, "behind it", p, "e")
		if p.Records[0].Number != 4 {
			t.Errorf("number = %d, want 4", p.Records[0].Number)
		}
	})
}

// MECHANISMS: a target shard is not trimmed past the last frame of a source whose
// mark is unconfirmed.
func TestTrimmerKeepsTheNewestFrameOfAnUnconfirmedSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var confirmed atomic.Uint64 // sequence of the mark
		var asked atomic.Int64
		broken := errors.New("no answer")
		var fault atomic.Bool
		h := open(t, natsdtest.New(t), Options{Keep: func(_ context.Context, source string, m log.Mark) (bool, error) {
			asked.Add(1)
			if source != source1 {
				t.Errorf("asked for source %s", source)
			}
			if fault.Load() {
				return true, broken
			}
			return m.Sequence <= confirmed.Load(), nil
		}})
		d := h.create(quakes, stream.Config{})
		h.putText(quakes, "a")
		p := h.progress(d, source1)
		h.relay(d, source1, p, log.Mark{Sequence: 1}, 0, "b")
		h.relay(d, source1, p, log.Mark{Sequence: 2}, 0, "c")
		h.putText(quakes, "d")
		h.putText(quakes, "e")
		time.Sleep(12 * time.Hour)
		h.putText(quakes, "f")
		if n := asked.Load(); n != 0 {
			t.Errorf("asked %d times before anything was due", n)
		}

		// All but f expire: a and b go, c is the newest frame and not confirmed.
		time.Sleep(12*time.Hour + 10*time.Minute)
		if n := h.stored(quakes); n != 4 {
			t.Errorf("%d records on disk, want c, d, e and f", n)
		}
		wantText(t, "kept but expired", h.read(quakes, 0, horizon, 0), "f")
		if p := h.progress(d, source1); p.At != (log.Mark{Sequence: 2}) {
			t.Errorf("progress after trimming: %s, want 2/0", p.At)
		}
		confirmed.Store(1)
		time.Sleep(2 * time.Minute)
		if n := h.stored(quakes); n != 4 {
			t.Errorf("%d records on disk with an older mark confirmed, want 4", n)
		}
		confirmed.Store(2)
		fault.Store(true)
		time.Sleep(2 * time.Minute)
		if n := h.stored(quakes); n != 4 {
			t.Errorf("%d records on disk with nobody to answer, want 4", n)
		}
		fault.Store(false)
		time.Sleep(2 * time.Minute)
		if n := h.stored(quakes); n != 1 {
			t.Errorf("%d records on disk once the mark is confirmed, want f", n)
		}
		// The source begins anew, at the fence of nothing there.
		p = h.progress(d, source1)
		if p.At != (log.Mark{}) {
			t.Errorf("progress of what is trimmed: %s", p.At)
		}
		h.relay(d, source1, p, log.Mark{Sequence: 3}, 0, "g")

		// Frames of others are trimmed without a look at the sources.
		asked.Store(0)
		time.Sleep(12 * time.Hour) // f expires
		if n, looked := h.stored(quakes), asked.Load(); n != 1 || looked != 0 {
			t.Errorf("%d records on disk, asked %d times; want g alone and nobody asked", n, looked)
		}
	})
}

func TestExpiredRecordsThatAreKeptAreToldOfOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var confirmed atomic.Bool
		var text bytes.Buffer
		h := open(t, natsdtest.Memory(t), Options{
			TrimEvery: 10 * time.Minute,
			Keep:      func(context.Context, string, log.Mark) (bool, error) { return confirmed.Load(), nil },
			Logger:    slog.New(slog.NewTextHandler(&text, nil)),
		})
		d := h.create(quakes, stream.Config{})
		for round := range 2 {
			confirmed.Store(false)
			text.Reset()
			p := h.progress(d, source1)
			h.relay(d, source1, p, log.Mark{Sequence: uint64(round + 1)}, 0, "abc", "d") // 4 bytes of data, 2 of keys
			h.putText(quakes, "abcd")                                                    // and 1 of a key
			h.putText(quakes, "e")
			time.Sleep(day + time.Hour)
			synctest.Wait()
			if n := strings.Count(text.String(), "expired records are kept"); n != 1 || !strings.Contains(text.String(), source1) || !strings.Contains(text.String(), "bytes=11") {
				t.Errorf("round %d: told %d times in an hour: %s", round, n, text.String())
			}
			confirmed.Store(true)
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			if n := h.stored(quakes); n != 1 {
				t.Errorf("round %d: %d records on disk once it is confirmed", round, n)
			}
		}
	})
}

// Nobody knows how far a source has come whose newest frame is damaged: nothing may
// be trimmed that would make it look as if it had never come.
func TestTrimmerKeepsWhatADamagedMarkMayBeIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := natsdtest.Memory(t)
		var gone atomic.Bool // the journal of the source
		o := Options{TrimEvery: time.Hour, Keep: func(_ context.Context, _ string, m log.Mark) (bool, error) {
			return m.Sequence < math.MaxUint64 || gone.Load(), nil
		}}
		h := open(t, srv, o)
		d := h.create(quakes, stream.Config{})
		h.putText(quakes, "a")
		h.relay(d, source1, h.progress(d, source1), log.Mark{Sequence: 1}, 0, "b")
		h.close()
		if err := srv.Conn().Publish("L."+logID(d.ID, 0)+".r."+source1, []byte("garbage")); err != nil {
			t.Fatal(err)
		}
		if err := srv.Conn().Flush(); err != nil {
			t.Fatal(err)
		}
		h = open(t, srv, o)
		h.putText(quakes, "c")
		time.Sleep(2 * day)
		synctest.Wait()
		unknown := func(when string) {
			t.Helper()
			p, err := h.Progress(t.Context(), d.ID, source1)
			if _, ok := errors.AsType[*stream.CorruptError](err); !ok {
				t.Errorf("progress %s: %+v, %v", when, p, err)
			}
		}
		unknown("after retention")
		h.putText(quakes, "d")
		time.Sleep(2 * day)
		synctest.Wait()
		unknown("later")
		gone.Store(true)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if p := h.progress(d, source1); p.At != (log.Mark{}) {
			t.Errorf("progress of a source that is gone: %s", p.At)
		}
	})
}

func TestTrimmerWorksOnShardsNobodyUsesAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := natsdtest.New(t)
		h := open(t, srv, Options{})
		h.create(quakes, stream.Config{})
		h.putText(quakes, "a")
		h.putText(quakes, "b")
		h.close()
		time.Sleep(day + time.Hour)
		h = open(t, srv, Options{})
		time.Sleep(2 * time.Minute)
		if n := h.stored(quakes); n != 1 {
			t.Errorf("%d records on disk, want 1", n)
		}
	})
}

func TestSetRetentionTakesEffectAtOnceAndLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := natsdtest.New(t)
		h := open(t, srv, Options{})
		h.create(quakes, stream.Config{Retention: 2 * day})
		h.putText(quakes, "a")
		time.Sleep(day)
		h.putText(quakes, "b")
		time.Sleep(12 * time.Hour)
		wantText(t, "within two days", h.read(quakes, 0, horizon, 0), "a b")
		d, err := h.SetRetention(t.Context(), quakes, day)
		if err != nil || d.Retention != day {
			t.Fatalf("set retention: %+v, %v", d, err)
		}
		wantText(t, "within one day", h.read(quakes, 0, horizon, 0), "b")
		time.Sleep(2 * time.Minute)
		if n := h.stored(quakes); n != 1 {
			t.Errorf("%d records on disk, want 1", n)
		}
		_, err = h.SetRetention(t.Context(), quakes, time.Hour)
		wantErr(t, "an hour", err, stream.ErrInvalid)
		_, err = h.SetRetention(t.Context(), stream.Local("none"), day)
		wantErr(t, "no such stream", err, stream.ErrNotFound)
		h.close()
		h = open(t, srv, Options{})
		if d, err := h.Describe(t.Context(), quakes); err != nil || d.Retention != day || d.State != stream.Active {
			t.Errorf("after opening again: %+v, %v", d, err)
		}
	})
}

func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, natsdtest.New(t), Options{})
		h.create(quakes, stream.Config{Shards: 2})
		low, high := "0", stream.MaxHashKey.String()
		first := time.Now()
		h.put(quakes, stream.Entry{PartitionKey: "k", ExplicitHashKey: low, Data: []byte("abc")})
		time.Sleep(time.Hour)
		second := time.Now()
		h.put(quakes, stream.Entry{PartitionKey: "ke", ExplicitHashKey: low, Data: []byte("abcde")}, stream.Entry{PartitionKey: "k", ExplicitHashKey: low})

		check := func(what string, shard int, want ShardStats) {
			t.Helper()
			all, err := h.Stats(t.Context(), quakes)
			if err != nil || len(all) != 2 {
				t.Fatalf("%s: %+v, %v", what, all, err)
			}
			got := all[shard]
			if got.Shard.ID != stream.ShardID(shard) {
				t.Errorf("%s: stats %d are of %s", what, shard, got.Shard.ID)
			}
			if got.Shard = (stream.Shard{}); asJSON(t, got) != asJSON(t, want) {
				t.Errorf("%s: %s, want %s", what, asJSON(t, got), asJSON(t, want))
			}
		}
		check("all there", 0, ShardStats{Records: 3, Bytes: 4 + 7 + 1, First: 0, Next: 3, Oldest: first.UTC(), Newest: second.UTC()})
		check("nothing there", 1, ShardStats{})
		time.Sleep(day - time.Minute)
		check("one expired, trimmed or not", 0, ShardStats{Records: 2, Bytes: 7 + 1, First: 1, Next: 3, Oldest: second.UTC(), Newest: second.UTC()})
		time.Sleep(day)
		check("all expired", 0, ShardStats{First: 3, Next: 3})
		h.put(quakes, stream.Entry{PartitionKey: "k", ExplicitHashKey: high})
		now := time.Now().UTC()
		check("one", 1, ShardStats{Records: 1, Bytes: 1, Next: 1, Oldest: now, Newest: now})
	})
}
