package natsstream

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/stream"
)

// evenShards are those a stream is created with.
func evenShards(n int, epoch uint32) []stream.Shard {
	e := entry{Shards: n, Epoch: epoch}
	d, _, _ := e.description()
	return d.Shards
}

// finished is what becomes of shards once those that p has made are there.
func finished(shards []stream.Shard, p *plan) []stream.Shard {
	shards = append(slices.Clone(shards), p.made...)
	end := parents(p.made)
	for i := range shards {
		switch sh := &shards[i]; {
		case end[sh.ID]:
			sh.State, sh.Closed = stream.Closed, time.Unix(int64(p.now)+1, 0).UTC()
		case sh.State == stream.Creating:
			sh.State = stream.Active
		}
	}
	return shards
}

// openOf are the open ones by hash range.
func openOf(shards []stream.Shard) []stream.Shard {
	shards = slices.DeleteFunc(slices.Clone(shards), func(sh stream.Shard) bool { return sh.State != stream.Active })
	slices.SortFunc(shards, func(a, b stream.Shard) int { return a.From.Compare(b.From) })
	return shards
}

// The list of shards is on disk: what it looks like there cannot change by accident.
// The columns are compared as they are before they are compressed, since what flate
// makes of them is for the Go release to choose; the packed form must be read for ever.
func TestLayoutGolden(t *testing.T) {
	shards := []stream.Shard{
		{Index: 1, From: stream.HashKey{}, To: stream.HashKey{Hi: 1<<63 - 1, Lo: ^uint64(0)}, Epoch: 1_700_000_000, State: stream.Closed, Closed: time.Unix(1_700_000_300, 0).UTC()},
		{Index: 2, From: stream.HashKey{Hi: 1 << 63}, To: stream.MaxHashKey, Epoch: 1_700_000_000, State: stream.Closing},
		{Index: 4, From: stream.HashKey{Hi: 1 << 62}, To: stream.HashKey{Hi: 1<<63 - 1, Lo: ^uint64(0)}, Epoch: 1_700_000_300, State: stream.Active, Parents: []string{stream.ShardID(1)}},
		{Index: 300, From: stream.HashKey{}, To: stream.MaxHashKey, Epoch: 1_700_000_301, State: stream.Creating, Parents: []string{stream.ShardID(4), stream.ShardID(2)}},
		{Index: 301, From: stream.HashKey{Lo: 7}, To: stream.HashKey{Lo: 7}, Epoch: 1_700_000_301, State: stream.Deleting, Closed: time.Unix(1_700_000_300, 0).UTC()},
	}
	for i := range shards {
		shards[i].ID = stream.ShardID(shards[i].Index)
	}
	const columns = "0505" +
		"00000000000000000000000000000000" + "00000000000000000000000000000007" + "00000000000000000000000000000001" +
		"3ffffffffffffffffffffffffffffff8" + "40000000000000000000000000000000" +
		"010102a80201" + // indexes
		"0008010502" + // begin
		"0401010501" + // up to
		"80c49fd50c00d8040200" + // epochs
		"0b0200010c" + // states
		"d80401" + // closed
		"0000010302a802aa0200" // parents
	if got := hex.EncodeToString(layoutColumns(shards)); got != columns {
		t.Errorf("columns =\n%s, want\n%s", got, columns)
	}
	const packed = "AWJlZcAP2NH4jPb/UcAPB3QFjEwrmBgZOBhZmVgYGVkZG47Mv8rDcIOFiYGbiYGR5wYLIwMDIzPTCqZVTAyAAAAA//8="
	var want []byte
	if raw, err := base64.StdEncoding.DecodeString(packed); err == nil {
		want = raw
	}
	for _, layout := range [][]byte{want, packShards(shards)} {
		got, err := unpackShards(layout)
		if a, b := asJSON(t, got), asJSON(t, shards); err != nil || a != b {
			t.Errorf("%s reads as %v\n%s, want\n%s", base64.StdEncoding.EncodeToString(layout), err, a, b)
		}
	}
}

// An entry of a stream whose shards were changed, as it is on disk.
func TestCatalogueEntryOfAReshardedStreamIsRead(t *testing.T) {
	p := &plan{next: 2, now: 1_700_000_100}
	shards := evenShards(2, 1_700_000_000)
	p.split(shards[0], stream.HashKey{Hi: 1 << 62})
	shards = finished(shards, p)
	doomed := []stream.Shard{shards[0]}
	doomed[0].State = stream.Deleting
	d := stream.Description{
		Ref: stream.Local("quakes"), ID: "aaaaaaaaaaaaaaaaaaaa-bbb", State: stream.Active, Created: time.UnixMilli(1_700_000_000_123).UTC(),
		Config: stream.Config{Shards: 3, Retention: day, RecordBytes: 2 << 20, Mode: stream.OnDemand}, Shards: shards[1:],
		Attributes: stream.Attributes{Tags: map[string]string{"a": "b"}, Consumers: []stream.Consumer{{Name: "c", Created: time.Unix(1_700_000_050, 0).UTC()}}},
	}
	e := entryOf(d, doomed)
	layout := e.Layout
	e.Layout = nil
	const want = `{"account":"000000000000","region":"us-east-1","name":"quakes","id":"aaaaaaaaaaaaaaaaaaaa-bbb","state":"ACTIVE",` +
		`"created":"2023-11-14T22:13:20.123Z","shards":3,"epoch":1700000100,"retention":86400000000000,"record":2097152,"mode":"ON_DEMAND",` +
		`"attributes":{"tags":{"a":"b"},"consumers":[{"name":"c","created":"2023-11-14T22:14:10Z"}]}}`
	if got := asJSON(t, e); got != want {
		t.Errorf("entry = %s\nwant    %s", got, want)
	}
	e.Layout = layout
	var back entry
	if err := json.Unmarshal([]byte(asJSON(t, e)), &back); err != nil {
		t.Fatal(err)
	}
	got, gone, err := back.description()
	if a, b := asJSON(t, got), asJSON(t, d); err != nil || a != b {
		t.Errorf("it reads as %v\n%s, want\n%s", err, a, b)
	}
	if a, b := asJSON(t, gone), asJSON(t, doomed); a != b {
		t.Errorf("being deleted: %s, want %s", a, b)
	}
}

func TestLayoutRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shards := evenShards(rapid.IntRange(1, 20).Draw(t, "shards"), 1_700_000_000)
		for range rapid.IntRange(0, 8).Draw(t, "steps") {
			p := &plan{next: shards[len(shards)-1].Index + 1, now: rapid.Uint32Range(1_700_000_000, 1_700_000_100).Draw(t, "now")}
			p.scale(openOf(shards), rapid.IntRange(1, 20).Draw(t, "to"))
			shards = finished(shards, p)
			if rapid.Bool().Draw(t, "drop") { // closed ones expire
				shards = slices.DeleteFunc(shards, func(sh stream.Shard) bool { return sh.State == stream.Closed && sh.Index%2 == 0 })
			}
		}
		got, err := unpackShards(packShards(shards))
		if err != nil {
			t.Fatal(err)
		}
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(shards)
		if string(a) != string(b) {
			t.Fatalf("packed shards read as\n%s, want\n%s", a, b)
		}
	})
}

func FuzzUnpackShards(f *testing.F) {
	f.Add(layoutColumns(evenShards(3, 7)))
	p := &plan{next: 3, now: 9}
	p.scale(evenShards(3, 7), 5)
	f.Add(layoutColumns(finished(evenShards(3, 7), p)))
	f.Add(binary.AppendUvarint(nil, 1<<63))
	f.Fuzz(func(t *testing.T, columns []byte) {
		shards, err := unpackShards(pack(columns))
		if err == nil && len(shards) > len(columns) {
			t.Fatalf("%d shards of %d bytes", len(shards), len(columns))
		}
	})
}

// A value of the catalogue has 1 MiB: 10,000 open shards and twice as many closed
// ones must fit, cut where nobody can foresee it.
func TestTheCatalogueHoldsTheLargestStream(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	cases := map[string]func(p *plan, open []stream.Shard){
		"scaled to and fro": func(p *plan, open []stream.Shard) {
			p.scale(open, map[bool]int{true: 10_000, false: 6_667}[len(open) < 10_000])
		},
		"split anywhere and merged": func(p *plan, open []stream.Shard) {
			for i, sh := range open {
				switch {
				case len(open) < 10_000:
					width := minus(sh.To, sh.From)
					p.split(sh, plus(sh.From, stream.HashKey{Hi: rng.Uint64N(width.Hi-1) + 1, Lo: rng.Uint64()}))
				case i%2 == 1:
					p.merge(open[i-1], sh)
				}
			}
		},
	}
	for name, step := range cases {
		shards := evenShards(5000, 1_700_000_000)
		for now := uint32(1_700_000_100); ; now += 100 {
			p := &plan{next: shards[len(shards)-1].Index + 1, now: now}
			step(p, openOf(shards))
			shards = finished(shards, p)
			open := len(openOf(shards))
			if open > stream.MaxShards {
				t.Fatalf("%s: %d open shards", name, open)
			}
			if len(shards) < 30_000 {
				continue
			}
			e := entryOf(stream.Description{Shards: shards}, nil)
			size := len(asJSON(t, e))
			t.Logf("%s: %d shards, %d of them open, take %d KiB", name, len(shards), open, size>>10)
			if size > kv.MaxValue {
				t.Errorf("%s: %d bytes do not fit", name, size)
			}
			break
		}
	}
}
