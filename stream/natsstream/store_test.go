package natsstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"

	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
)

func TestMain(m *testing.M) {
	ats.Register() // else its ticker keeps a bubble's clock from standing still
	code := m.Run()
	ats.Unregister()
	os.Exit(code)
}

var (
	quakes  = stream.Local("quakes")
	horizon = stream.Position{Kind: stream.TrimHorizon}
	latest  = stream.Position{Kind: stream.Latest}
)

// house is a store with what it stands on.
type house struct {
	*Store
	t    testing.TB
	srv  *natsd.Server
	logs *log.Set
}

// open opens a store on srv, closed with the test unless closed before.
func open(t testing.TB, srv *natsd.Server, o Options) *house {
	t.Helper()
	logs := log.New(srv, log.Options{})
	s, err := Open(context.Background(), srv, logs, o)
	if err != nil {
		t.Fatalf("open store: %v", err)
	}
	h := &house{s, t, srv, logs}
	t.Cleanup(h.close)
	return h
}

func (h *house) close() {
	if h.Store == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := errors.Join(h.Store.Close(ctx), h.logs.Close(ctx)); err != nil {
		h.t.Errorf("close store: %v", err)
	}
	h.Store = nil
}

func (h *house) create(ref stream.Ref, c stream.Config) stream.Description {
	h.t.Helper()
	d, err := h.Create(h.t.Context(), ref, c)
	if err != nil {
		h.t.Fatalf("create %s: %v", ref.Name, err)
	}
	return d
}

// put stores entries and fails the test unless all are.
func (h *house) put(ref stream.Ref, entries ...stream.Entry) []stream.PutResult {
	h.t.Helper()
	results, err := h.Put(h.t.Context(), ref, entries)
	if err != nil {
		h.t.Fatalf("put: %v", err)
	}
	for i, r := range results {
		if r.Err != nil {
			h.t.Fatalf("put: record %d: %v", i, r.Err)
		}
	}
	return results
}

// putText stores a record of key "k" for each text.
func (h *house) putText(ref stream.Ref, texts ...string) []stream.PutResult {
	h.t.Helper()
	var entries []stream.Entry
	for _, text := range texts {
		entries = append(entries, stream.Entry{PartitionKey: "k", Data: []byte(text)})
	}
	return h.put(ref, entries...)
}

func (h *house) read(ref stream.Ref, shard int, pos stream.Position, limit int) Page {
	h.t.Helper()
	p, err := h.Read(h.t.Context(), ref, stream.ShardID(shard), pos, limit)
	if err != nil {
		h.t.Fatalf("read %s from %+v: %v", stream.ShardID(shard), pos, err)
	}
	return p
}

// text is the data of a page's records, with spaces between.
func text(p Page) string {
	var words []string
	for _, r := range p.Records {
		words = append(words, string(r.Data))
	}
	return strings.Join(words, " ")
}

func wantText(t testing.TB, what string, p Page, want string) {
	t.Helper()
	if got := text(p); got != want {
		t.Errorf("%s: read %q, want %q", what, got, want)
	}
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func TestCreateDescribeListDelete(t *testing.T) {
	h := open(t, natsdtest.New(t), Options{})
	ctx := t.Context()
	before := time.Now().Add(-time.Second)
	d := h.create(quakes, stream.Config{Shards: 4})
	if d.Ref != quakes || d.State != stream.Active || d.Retention != 24*time.Hour || d.RecordBytes != 1<<20 || d.Created.Before(before) {
		t.Errorf("created %+v", d)
	}
	if len(d.Shards) != 4 {
		t.Fatalf("%d shards, want 4", len(d.Shards))
	}
	for i, r := range stream.EvenRanges(4) {
		sh := d.Shards[i]
		if sh.ID != stream.ShardID(i) || sh.Index != i || sh.From != r[0] || sh.To != r[1] || sh.State != stream.Active || sh.Epoch < uint32(before.Unix()) {
			t.Errorf("shard %d = %+v, want range %v", i, sh, r)
		}
	}
	h.create(stream.Local("alpha"), stream.Config{})
	h.create(stream.Ref{Account: "111111111111", Region: "eu-west-1", Name: "quakes"}, stream.Config{})

	list, err := h.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range list {
		names = append(names, d.Region+"/"+d.Name)
	}
	if got := strings.Join(names, " "); got != "us-east-1/alpha eu-west-1/quakes us-east-1/quakes" {
		t.Errorf("list = %s, want it sorted by name", got)
	}
	if got, err := h.ByID(ctx, d.ID); err != nil || got.Ref != quakes {
		t.Errorf("by id: %+v, %v", got, err)
	}
	if err := h.Delete(ctx, quakes); err != nil {
		t.Fatal(err)
	}
	_, err = h.Describe(ctx, quakes)
	wantErr(t, "describe a deleted stream", err, stream.ErrNotFound)
	_, err = h.ByID(ctx, d.ID)
	wantErr(t, "deleted stream by id", err, stream.ErrNotFound)
	_, err = h.Shard(ctx, d.ID, stream.ShardID(0))
	wantErr(t, "shard of a deleted stream", err, stream.ErrNotFound)
	_, err = h.Put(ctx, quakes, []stream.Entry{{PartitionKey: "k"}})
	wantErr(t, "put to a deleted stream", err, stream.ErrNotFound)
	_, err = h.Read(ctx, quakes, stream.ShardID(0), horizon, 0)
	wantErr(t, "read a deleted stream", err, stream.ErrNotFound)
	wantErr(t, "delete twice", h.Delete(ctx, quakes), stream.ErrNotFound)
	if ids, err := h.logs.IDs(ctx); err != nil || len(ids) != 2 {
		t.Errorf("logs left: %v, %v; want the 2 of the other streams", ids, err)
	}
}

func TestCreateRefuses(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	_, err := h.Create(t.Context(), stream.Local("no spaces"), stream.Config{Shards: -1, Retention: time.Hour})
	wantErr(t, "bad values", err, stream.ErrInvalid)
	if n := strings.Count(fmt.Sprint(err), "\n"); n != 2 {
		t.Errorf("%v names %d faults, want 3 at once", err, n+1)
	}
	h.create(quakes, stream.Config{})
	_, err = h.Create(t.Context(), quakes, stream.Config{})
	wantErr(t, "a name that is taken", err, stream.ErrExists)
	for _, id := range []string{"", "0", "shardId-0", "shardId-", "shardId--00000000001", stream.ShardID(1)} {
		_, err = h.Read(t.Context(), quakes, id, horizon, 0)
		wantErr(t, "shard "+id, err, stream.ErrNotFound)
	}
	if list, _ := h.List(t.Context()); len(list) != 1 {
		t.Errorf("%d streams, want 1", len(list))
	}
}

func TestNameGoesToOneOfManyCreates(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	errs := make(chan error)
	for range 8 {
		go func() {
			_, err := h.Create(context.Background(), quakes, stream.Config{Shards: 2})
			errs <- err
		}()
	}
	made := 0
	for range 8 {
		if err := <-errs; err == nil {
			made++
		} else {
			wantErr(t, "create", err, stream.ErrExists)
		}
	}
	if made != 1 {
		t.Errorf("%d creates succeeded, want 1", made)
	}
}

// MECHANISMS, Names: a stream deleted and created again inherits nothing.
func TestStreamCreatedAgainInheritsNothing(t *testing.T) {
	h := open(t, natsdtest.New(t), Options{})
	ids := make(map[string]bool)
	var old []stream.PutResult
	for range 3 { // all within a second or two: the clock alone would not tell their sequence numbers apart
		d := h.create(quakes, stream.Config{})
		if ids[d.ID] {
			t.Fatalf("incarnation %s came twice", d.ID)
		}
		ids[d.ID] = true
		p := h.read(quakes, 0, horizon, 0)
		wantText(t, "new stream", p, "")
		for _, r := range old {
			_, err := h.Read(t.Context(), quakes, r.Shard, stream.Position{Kind: stream.At, Sequence: r.Sequence}, 0)
			wantErr(t, "a sequence number of the stream before", err, stream.ErrInvalid)
			if !strings.Contains(fmt.Sprint(err), "earlier stream") {
				t.Errorf("%v does not say whose the number is", err)
			}
		}
		old = append(old, h.putText(quakes, "a", "b")...)
		if err := h.Delete(t.Context(), quakes); err != nil {
			t.Fatal(err)
		}
	}
}

func TestIncarnationIDHasTheFormOfAnAWSStreamID(t *testing.T) {
	for range 100 {
		id := newID()
		if len(id) != 24 || id[20] != '-' || strings.Trim(id[:20]+id[21:], "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			t.Fatalf("id %q, want [a-z0-9]{20}-[a-z0-9]{3}", id)
		}
	}
}

// Each step is what a crash at one point of create or delete leaves behind.
func TestOpenRemovesWhatACrashLeftHalfDone(t *testing.T) {
	tests := []struct {
		name  string
		state stream.State
		logs  int // of 3
	}{
		{"create: entry written", stream.Creating, 0},
		{"create: some logs made", stream.Creating, 2},
		{"create: all logs made", stream.Creating, 3},
		{"delete: entry marked", stream.Deleting, 3},
		{"delete: some logs gone", stream.Deleting, 1},
		{"delete: all logs gone", stream.Deleting, 0},
	}
	srv := natsdtest.New(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx := t.Context()
			h := open(t, srv, Options{})
			d := h.create(quakes, stream.Config{Shards: 3})
			h.putText(quakes, "a")
			h.close()

			logs := log.New(srv, log.Options{})
			for i := tt.logs; i < 3; i++ {
				if err := logs.Delete(ctx, logID(d.ID, i)); err != nil {
					t.Fatal(err)
				}
			}
			bucket, err := kv.Open[entry](ctx, srv, "streams")
			if err != nil {
				t.Fatal(err)
			}
			stored, rev, err := bucket.Get(ctx, key(quakes))
			if err != nil {
				t.Fatal(err)
			}
			stored.State = tt.state
			if _, err := bucket.Update(ctx, key(quakes), stored, rev); err != nil {
				t.Fatal(err)
			}
			if err := logs.Close(ctx); err != nil {
				t.Fatal(err)
			}

			h = open(t, srv, Options{})
			if list, _ := h.List(ctx); len(list) != 0 {
				t.Errorf("streams after open: %+v, want none", list)
			}
			if ids, err := h.logs.IDs(ctx); err != nil || len(ids) != 0 {
				t.Errorf("logs after open: %v, %v; want none", ids, err)
			}
			if all, err := bucket.All(ctx); err != nil || len(all) != 0 {
				t.Errorf("catalogue after open: %v, %v; want nothing", all, err)
			}
			h.create(quakes, stream.Config{})
			if err := h.Delete(ctx, quakes); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestDeletionThatFailedMidwayGoesOnByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, natsdtest.New(t), Options{})
		h.create(quakes, stream.Config{Shards: 3})
		h.putText(quakes, "a")
		// As Delete leaves it when the logs could not be deleted.
		inc := h.byRef[quakes]
		d := *inc.desc.Load()
		d.State = stream.Deleting
		inc.desc.Store(&d)
		delete(h.byID, d.ID)

		_, err := h.Put(t.Context(), quakes, []stream.Entry{{PartitionKey: "k"}})
		wantErr(t, "put", err, stream.ErrNotFound)
		_, err = h.Create(t.Context(), quakes, stream.Config{})
		wantErr(t, "create", err, stream.ErrExists)
		if d, err := h.Describe(t.Context(), quakes); err != nil || d.State != stream.Deleting {
			t.Errorf("describe: %+v, %v; want it DELETING", d, err)
		}
		time.Sleep(2 * time.Minute)
		if ids, err := h.logs.IDs(t.Context()); err != nil || len(ids) != 0 {
			t.Errorf("logs: %v, %v; want none", ids, err)
		}
		h.create(quakes, stream.Config{})
	})
}

func TestCreateThatFailsLeavesNothing(t *testing.T) {
	h := open(t, natsdtest.New(t), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Create(ctx, quakes, stream.Config{Shards: 2}); err == nil {
		t.Fatal("created although its context had ended")
	}
	if list, _ := h.List(t.Context()); len(list) != 0 {
		t.Errorf("streams: %+v, want none", list)
	}
	if ids, err := h.logs.IDs(t.Context()); err != nil || len(ids) != 0 {
		t.Errorf("logs: %v, %v; want none", ids, err)
	}
	h.create(quakes, stream.Config{Shards: 2})
}

func TestRestartFindsEverythingAndOpensNoShard(t *testing.T) {
	dir := t.TempDir()
	srv := natsdtest.Start(t, natsd.Options{Dir: dir})
	h := open(t, srv, Options{})
	want := h.create(quakes, stream.Config{Shards: 100, Retention: 48 * time.Hour, RecordBytes: 2 << 20})
	var entries []stream.Entry
	for i := range 300 {
		entries = append(entries, stream.Entry{PartitionKey: fmt.Sprint(i), Data: []byte(fmt.Sprint(i))})
	}
	put := h.put(quakes, entries...)
	h.close()
	natsdtest.Close(t, srv)

	h = open(t, natsdtest.Start(t, natsd.Options{Dir: dir}), Options{})
	got, err := h.Describe(t.Context(), quakes)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := asJSON(t, got), asJSON(t, want); a != b {
		t.Errorf("after restart %s, want %s", a, b)
	}
	for _, sh := range h.byRef[quakes].table.Load().shards {
		if sh.log.Load() != nil {
			t.Fatalf("%s is open before anybody asked for it", sh.info.ID)
		}
	}
	for i, r := range put {
		p, err := h.Read(t.Context(), quakes, r.Shard, stream.Position{Kind: stream.At, Sequence: r.Sequence}, 1)
		if err != nil || text(p) != fmt.Sprint(i) || p.Records[0].Sequence != r.Sequence {
			t.Fatalf("record %d after restart: %q, %v", i, text(p), err)
		}
	}
	// Numbers go on growing in each shard.
	for i, r := range h.put(quakes, entries...) {
		if r.Shard != put[i].Shard || r.Sequence.Compare(put[i].Sequence) <= 0 {
			t.Fatalf("record %d went to %s %s, before the restart to %s %s", i, r.Shard, r.Sequence, put[i].Shard, put[i].Sequence)
		}
	}
}

func TestBelowTheReserveNothingIsMadeOrPutButDeleted(t *testing.T) {
	dir := t.TempDir()
	srv := natsdtest.Start(t, natsd.Options{Dir: dir})
	h := open(t, srv, Options{})
	h.create(quakes, stream.Config{Shards: 2})
	h.putText(quakes, "a")
	h.close()
	natsdtest.Close(t, srv)

	srv = natsdtest.Start(t, natsd.Options{Dir: dir, Reserve: 1 << 60}) // more than any disk has
	h = open(t, srv, Options{})
	results, err := h.Put(t.Context(), quakes, []stream.Entry{{PartitionKey: "k"}, {PartitionKey: "l"}})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		wantErr(t, fmt.Sprintf("put of record %d", i), r.Err, stream.ErrUnavailable)
	}
	_, err = h.Create(t.Context(), stream.Local("another"), stream.Config{})
	wantErr(t, "create", err, stream.ErrUnavailable)
	if list, _ := h.List(t.Context()); len(list) != 1 {
		t.Errorf("%d streams, want 1", len(list))
	}
	if err := h.Delete(t.Context(), quakes); err != nil {
		t.Errorf("delete: %v; it makes room", err)
	}
	if ids, err := h.logs.IDs(t.Context()); err != nil || len(ids) != 0 {
		t.Errorf("logs: %v, %v; want none", ids, err)
	}
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The catalogue is on disk: what it looks like there cannot change by accident.
func TestCatalogueEntryGolden(t *testing.T) {
	e := entry{
		Account: stream.DefaultAccount, Region: stream.DefaultRegion, Name: "quakes", ID: "aaaaaaaaaaaaaaaaaaaa-bbb", State: stream.Active,
		Created: time.UnixMilli(1_700_000_000_123).UTC(), Shards: 3, Epoch: 1_700_000_000, Retention: day, Record: 1 << 20,
	}
	const want = `{"account":"000000000000","region":"us-east-1","name":"quakes","id":"aaaaaaaaaaaaaaaaaaaa-bbb","state":"ACTIVE",` +
		`"created":"2023-11-14T22:13:20.123Z","shards":3,"epoch":1700000000,"retention":86400000000000,"record":1048576}`
	if got := asJSON(t, e); got != want {
		t.Errorf("entry = %s\nwant    %s", got, want)
	}
	var back entry
	if err := json.Unmarshal([]byte(want), &back); err != nil || asJSON(t, back) != want {
		t.Errorf("reads back as %+v, %v", back, err)
	}
	d, doomed, err := e.description()
	if err != nil || len(doomed) > 0 {
		t.Fatalf("%v doomed, %v", doomed, err)
	}
	if got := asJSON(t, entryOf(d, doomed)); got != want {
		t.Errorf("a description of it gives %s, want %s", got, want)
	}
}
