package natsstream

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
)

func TestClosedShardLeavesWhenItsRecordsHaveExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := natsdtest.New(t)
		h := open(t, srv, Options{})
		d := h.create(quakes, stream.Config{})
		h.putText(quakes, "a")
		time.Sleep(time.Hour)
		h.split(quakes, 0, half)
		held, err := h.Shard(t.Context(), d.ID, stream.ShardID(0))
		if err != nil {
			t.Fatal(err)
		}
		bell, stop, err := h.Wait(t.Context(), quakes, stream.ShardID(0))
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		h.putText(quakes, "b")
		time.Sleep(day - time.Minute)
		if got := shape(h.describe(quakes)); got != "0:CLOSED 1:ACTIVE<0 2:ACTIVE<0" {
			t.Fatalf("a minute before: %s", got)
		}
		wantText(t, "expired, not gone yet", h.read(quakes, 0, horizon, 0), "")
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if got := shape(h.describe(quakes)); got != "1:ACTIVE<0 2:ACTIVE<0" {
			t.Errorf("after the retention: %s", got)
		}
		select {
		case <-bell:
		default:
			t.Error("who waits for the shard is not woken")
		}
		_, err = h.Read(t.Context(), quakes, stream.ShardID(0), horizon, 0)
		wantErr(t, "read of a shard that is gone", err, stream.ErrNotFound)
		_, _, err = held.Resolve(t.Context(), horizon)
		wantErr(t, "a shard that was opened before", err, stream.ErrNotFound)
		if ids, err := h.logs.IDs(t.Context()); err != nil || len(ids) != 2 {
			t.Errorf("logs: %v, %v; want 2", ids, err)
		}
		if n := len(h.byRef[quakes].doomed); n > 0 {
			t.Errorf("%d shards left to be deleted", n)
		}
		h.close()
		h = open(t, srv, Options{})
		// Indexes go on, though the first shards are gone.
		if got := shape(h.merge(quakes, 2, 1)); got != "1:CLOSED<0 2:CLOSED<0 3:ACTIVE<2<1" {
			t.Errorf("merged after that: %s", got)
		}
		all, err := h.Stats(t.Context(), quakes)
		if err != nil || len(all) != 3 {
			t.Errorf("stats of %d shards, %v", len(all), err)
		}
	})
}

// Lengthening the retention brings back what a closed shard still has.
func TestRetentionIsThatOfClosedShardsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, natsdtest.New(t), Options{TrimEvery: time.Hour})
		h.create(quakes, stream.Config{})
		h.putText(quakes, "a")
		h.split(quakes, 0, half)
		time.Sleep(day - time.Minute)
		if _, err := h.SetRetention(t.Context(), quakes, 2*day); err != nil {
			t.Fatal(err)
		}
		time.Sleep(day - time.Hour)
		wantText(t, "kept longer", h.read(quakes, 0, horizon, 0), "a")
		time.Sleep(3 * time.Hour)
		if got := shape(h.describe(quakes)); got != "1:ACTIVE<0 2:ACTIVE<0" {
			t.Errorf("after the longer retention: %s", got)
		}
	})
}

// MECHANISMS: the closed shard is deleted when its last record has expired and no
// unconfirmed mark needs it.
func TestClosedShardStaysWhileAMarkIsUnconfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var confirmed atomic.Bool
		srv := natsdtest.New(t)
		h := open(t, srv, Options{Keep: func(context.Context, string, log.Mark) (bool, error) { return confirmed.Load(), nil }})
		d := h.create(quakes, stream.Config{})
		p := h.progress(d, source1)
		h.relay(d, source1, p, log.Mark{Sequence: 7}, 0, "a")
		h.split(quakes, 0, half)
		time.Sleep(3 * day)
		if got := shape(h.describe(quakes)); got != "0:CLOSED 1:ACTIVE<0 2:ACTIVE<0" {
			t.Fatalf("unconfirmed: %s", got)
		}
		if at := h.progress(d, source1).At; at != (log.Mark{Sequence: 7}) {
			t.Errorf("progress %s, want 7/0", at)
		}
		confirmed.Store(true)
		time.Sleep(2 * time.Minute)
		if got := shape(h.describe(quakes)); got != "1:ACTIVE<0 2:ACTIVE<0" {
			t.Errorf("confirmed: %s", got)
		}
		if at := h.progress(d, source1).At; at != (log.Mark{}) {
			t.Errorf("progress %s of what nobody needs any more", at)
		}
	})
}

// What a crash leaves while expired shards are deleted goes on at the next opening,
// and is not seen meanwhile.
func TestDeletionOfClosedShardsGoesOnAfterACrash(t *testing.T) {
	for _, logs := range []int{2, 1, 0} { // of the shards that go, still there
		t.Run(fmt.Sprint(logs), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := natsdtest.New(t)
				h := open(t, srv, Options{})
				d := h.create(quakes, stream.Config{Shards: 2})
				d = h.merge(quakes, 0, 1)
				h.close()

				ls := log.New(srv, log.Options{})
				for i := logs; i < 2; i++ {
					if err := ls.Delete(t.Context(), logID(d.ID, i)); err != nil {
						t.Fatal(err)
					}
				}
				h = open(t, srv, Options{})
				if err := h.rewrite(t.Context(), h.byRef[quakes], func(e *entry) {
					gone := []stream.Shard{d.Shards[0], d.Shards[1]}
					gone[0].State, gone[1].State = stream.Deleting, stream.Deleting
					e.setShards(d.Shards[2:], gone)
				}); err != nil {
					t.Fatal(err)
				}
				h.close()
				if err := ls.Close(t.Context()); err != nil {
					t.Fatal(err)
				}

				h = open(t, srv, Options{})
				if got := shape(h.describe(quakes)); got != "2:ACTIVE<0<1" {
					t.Errorf("at once: %s", got)
				}
				h.split(quakes, 2, half) // must not forget them
				h.close()
				h = open(t, srv, Options{})
				time.Sleep(2 * time.Minute)
				if ids, err := h.logs.IDs(t.Context()); err != nil || len(ids) != 3 {
					t.Errorf("logs: %v, %v; want 3", ids, err)
				}
				if e, _, err := h.bucket.Get(t.Context(), key(quakes)); err != nil {
					t.Error(err)
				} else if _, doomed, err := e.description(); err != nil || len(doomed) > 0 {
					t.Errorf("still to be deleted: %v, %v", doomed, err)
				}
			})
		})
	}
}

func TestStatesAreSeenForAsLongAsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, natsdtest.New(t), Options{StateDelay: time.Second})
		ctx := t.Context()
		state := func(what string, want stream.State) {
			t.Helper()
			synctest.Wait()
			d, err := h.Describe(ctx, quakes)
			if err != nil || d.State != want {
				t.Errorf("%s: %s, %v; want %s", what, d.State, err, want)
			}
		}
		began := time.Now()
		if d := h.create(quakes, stream.Config{Shards: 2}); d.State != stream.Creating {
			t.Errorf("created as %s", d.State)
		}
		time.Sleep(999 * time.Millisecond)
		state("before the delay is over", stream.Creating)
		_, err := h.Put(ctx, quakes, []stream.Entry{{PartitionKey: "k"}})
		wantErr(t, "put to a stream that is CREATING", err, stream.ErrNotFound)
		_, err = h.Split(ctx, quakes, stream.ShardID(0), stream.HashKey{Hi: 1})
		wantErr(t, "split of a stream that is CREATING", err, stream.ErrBusy)
		time.Sleep(time.Millisecond)
		state("created", stream.Active)
		h.putText(quakes, "a")

		d := h.split(quakes, 0, stream.HashKey{Hi: 1 << 62})
		if got := shape(d); d.State != stream.Updating || got != "0:CLOSING 1:ACTIVE 2:CREATING<0 3:CREATING<0" {
			t.Errorf("split: %s, %s", d.State, got)
		}
		// All shards are written and read meanwhile, and nothing else is changed.
		for i := range 4 {
			h.read(quakes, i, horizon, 0)
		}
		zero := stream.Entry{PartitionKey: "k", ExplicitHashKey: "0"}
		if r := h.put(quakes, zero); r[0].Shard != stream.ShardID(0) {
			t.Errorf("put to %s, want the parent", r[0].Shard)
		}
		_, err = h.Merge(ctx, quakes, stream.ShardID(0), stream.ShardID(1))
		wantErr(t, "merge of a stream that is UPDATING", err, stream.ErrBusy)
		_, err = h.SetRetention(ctx, quakes, 48*time.Hour)
		wantErr(t, "change of a stream that is UPDATING", err, stream.ErrBusy)
		time.Sleep(999 * time.Millisecond)
		state("still splitting", stream.Updating)
		time.Sleep(time.Millisecond)
		state("split", stream.Active)
		if r := h.put(quakes, zero); r[0].Shard != stream.ShardID(2) {
			t.Errorf("put to %s, want the child", r[0].Shard)
		}

		if d, err := h.SetRetention(ctx, quakes, 48*time.Hour); err != nil || d.State != stream.Updating || d.Retention != 48*time.Hour {
			t.Errorf("retention: %+v, %v", d.Config, err)
		}
		time.Sleep(time.Second)
		state("retention set", stream.Active)
		set := func(a *stream.Attributes) error { a.KeyID = "alias/aws/kinesis"; return nil }
		if d, err := h.SetAttributes(ctx, quakes, set); err != nil || d.State != stream.Updating {
			t.Errorf("encryption: %s, %v", d.State, err)
		}
		time.Sleep(time.Second)
		state("encrypted", stream.Active)

		if err := h.Delete(ctx, quakes); err != nil {
			t.Fatal(err)
		}
		time.Sleep(999 * time.Millisecond)
		state("on its way out", stream.Deleting)
		if err := h.Delete(ctx, quakes); err != nil { // makes it no longer
			t.Errorf("delete once more: %v", err)
		}
		_, err = h.Read(ctx, quakes, stream.ShardID(1), horizon, 0)
		wantErr(t, "read of a stream that is DELETING", err, stream.ErrNotFound)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		_, err = h.Describe(ctx, quakes)
		wantErr(t, "deleted", err, stream.ErrNotFound)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("it all took %s, want 5 delays of a second", took)
		}
	})
}

// Closing the store does not wait for what is to be seen, and opening completes it.
func TestClosingAmidADelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := natsdtest.New(t)
		h := open(t, srv, Options{StateDelay: time.Hour})
		began := time.Now()
		h.create(quakes, stream.Config{})
		h.close()
		h = open(t, srv, Options{StateDelay: time.Hour})
		h.split(quakes, 0, half)
		h.close()
		h = open(t, srv, Options{})
		d := h.describe(quakes)
		if got := shape(d); d.State != stream.Active || got != "0:CLOSED 1:ACTIVE<0 2:ACTIVE<0" {
			t.Errorf("%s, %s", d.State, got)
		}
		if err := h.Delete(t.Context(), quakes); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("took %s", took)
		}
	})
}

func TestAttributesAndSettingsAreKept(t *testing.T) {
	srv := natsdtest.New(t)
	h := open(t, srv, Options{})
	ctx := t.Context()
	h.create(quakes, stream.Config{})
	refusal := errors.New("too many tags")
	_, err := h.SetAttributes(ctx, quakes, func(a *stream.Attributes) error {
		a.Tags = map[string]string{"no": "no"}
		return refusal
	})
	if err != refusal { //nolint:errorlint // it is returned as it is
		t.Errorf("error %v, want the func's own", err)
	}
	add := func(tag string) stream.Description {
		t.Helper()
		d, err := h.SetAttributes(ctx, quakes, func(a *stream.Attributes) error {
			if a.Tags == nil {
				a.Tags = map[string]string{}
			}
			a.Tags[tag] = "x"
			a.Consumers = append(a.Consumers, stream.Consumer{Name: tag, Created: time.Unix(1_700_000_000, 0).UTC(), Tags: map[string]string{"t": tag}})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := add("one")
	add("two")
	if len(first.Attributes.Tags) != 1 || len(first.Attributes.Consumers) != 1 {
		t.Errorf("a description that was given out has changed: %+v", first.Attributes)
	}
	if _, err := h.Update(ctx, quakes, func(c *stream.Config) { c.RecordBytes, c.Mode = 2<<20, stream.OnDemand }); err != nil {
		t.Fatal(err)
	}
	h.put(quakes, stream.Entry{PartitionKey: "k", Data: make([]byte, 1<<20)}) // fits now
	h.split(quakes, 0, half)
	a, err := h.SetAccount(ctx, stream.DefaultAccount, "eu-west-1", func(a *stream.AccountSettings) error {
		a.Commitment, a.Started = true, time.Unix(1_700_000_000, 0).UTC()
		return nil
	})
	if err != nil || !a.Commitment {
		t.Errorf("account: %+v, %v", a, err)
	}
	_, err = h.SetAccount(ctx, stream.DefaultAccount, "eu-west-1", func(*stream.AccountSettings) error { return refusal })
	wantErr(t, "refused", err, refusal)
	want := asJSON(t, h.describe(quakes))
	h.close()
	h = open(t, srv, Options{})
	d := h.describe(quakes)
	if got := asJSON(t, d); got != want {
		t.Errorf("after opening again %s, want %s", got, want)
	}
	if d.Mode != stream.OnDemand || d.RecordBytes != 2<<20 || len(d.Attributes.Tags) != 2 || d.Attributes.Consumers[1].Tags["t"] != "two" {
		t.Errorf("%+v", d)
	}
	if b, err := h.Account(ctx, stream.DefaultAccount, "eu-west-1"); err != nil || asJSON(t, b) != asJSON(t, a) {
		t.Errorf("account after opening again: %+v, %v", b, err)
	}
	if b, err := h.Account(ctx, stream.DefaultAccount, "us-east-1"); err != nil || b != (stream.AccountSettings{}) {
		t.Errorf("another region: %+v, %v", b, err)
	}
}
