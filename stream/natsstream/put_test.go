package natsstream

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
)

func TestPutRoutesByMD5OfTheKeyOrByExplicitHashKey(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	d := h.create(quakes, stream.Config{Shards: 3})
	var entries []stream.Entry
	for i := range 200 {
		entries = append(entries, stream.Entry{PartitionKey: fmt.Sprint("key", i)})
	}
	for _, sh := range d.Shards { // both ends of each range
		for _, hash := range []stream.HashKey{sh.From, sh.To} {
			entries = append(entries, stream.Entry{PartitionKey: "k", ExplicitHashKey: hash.String()})
		}
	}
	hit := make(map[string]int)
	for i, r := range h.put(quakes, entries...) {
		hash := stream.HashOf(entries[i].PartitionKey)
		if entries[i].ExplicitHashKey != "" {
			hash, _ = stream.ParseHashKey(entries[i].ExplicitHashKey)
		}
		for _, sh := range d.Shards {
			in := sh.From.Compare(hash) <= 0 && hash.Compare(sh.To) <= 0
			if in != (sh.ID == r.Shard) {
				t.Errorf("record %d with hash %s went to %s; %s has %s to %s", i, hash, r.Shard, sh.ID, sh.From, sh.To)
			}
		}
		hit[r.Shard]++
	}
	if len(hit) != 3 {
		t.Errorf("shards hit: %v, want all 3", hit)
	}
	// What was put comes back.
	p := h.read(quakes, 2, stream.Position{Kind: stream.Latest}, 0)
	wantText(t, "latest", p, "")
	last := h.put(quakes, stream.Entry{PartitionKey: "ké", ExplicitHashKey: stream.MaxHashKey.String(), TraceParent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		stream.Entry{PartitionKey: "k", ExplicitHashKey: stream.MaxHashKey.String(), TraceParent: "rubbish", Data: []byte("x")})
	got := h.read(quakes, 2, p.Next, 0).Records
	if len(got) != 2 {
		t.Fatalf("%d records, want 2", len(got))
	}
	r := got[0]
	if r.PartitionKey != "ké" || r.ExplicitHashKey != stream.MaxHashKey.String() || len(r.Data) != 0 || r.Shard != stream.ShardID(2) ||
		r.Sequence != last[0].Sequence || r.TraceParent != "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" || uint32(r.Arrival.Unix()) != r.Sequence.Time {
		t.Errorf("read %+v", r)
	}
	if got[1].TraceParent != "" {
		t.Errorf("a malformed traceparent was kept: %q", got[1].TraceParent)
	}
	if got[1].Number != r.Number+1 {
		t.Errorf("numbers %d and %d, want one after the other", r.Number, got[1].Number)
	}
}

func TestPutKeepsCallOrderWithinAShard(t *testing.T) {
	h := open(t, natsdtest.New(t), Options{})
	h.create(quakes, stream.Config{Shards: 4})
	want := make(map[string][]string)
	last := make(map[string]stream.SequenceNumber)
	for call := range 3 {
		var entries []stream.Entry
		for i := range 500 {
			// Large enough that a call spans frames.
			data := fmt.Sprintf("%d.%d %s", call, i, strings.Repeat("x", 10_000))
			entries = append(entries, stream.Entry{PartitionKey: fmt.Sprint(i), Data: []byte(data)})
		}
		for i, r := range h.put(quakes, entries...) {
			if r.Sequence.Compare(last[r.Shard]) <= 0 {
				t.Fatalf("record %d.%d: sequence %s is not above %s", call, i, r.Sequence, last[r.Shard])
			}
			last[r.Shard] = r.Sequence
			want[r.Shard] = append(want[r.Shard], fmt.Sprintf("%d.%d %s", call, i, r.Sequence))
		}
	}
	for i := range 4 {
		var got []string
		for pos := horizon; ; {
			p := h.read(quakes, i, pos, 0)
			if len(p.Records) == 0 {
				break
			}
			for _, r := range p.Records {
				if r.Number != uint64(len(got)) {
					t.Fatalf("record has number %d, want %d", r.Number, len(got))
				}
				name, _, _ := strings.Cut(string(r.Data), " ")
				got = append(got, fmt.Sprint(name, " ", r.Sequence))
			}
			pos = p.Next
		}
		if a, b := strings.Join(got, "\n"), strings.Join(want[stream.ShardID(i)], "\n"); a != b {
			t.Errorf("%s holds %d records, want the %d put, in call order with the same sequence numbers", stream.ShardID(i), len(got), len(want[stream.ShardID(i)]))
		}
	}
}

func TestManyCallersLoseNothingAndKeepTheirOrder(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	h.create(quakes, stream.Config{Shards: 2})
	const callers, calls = 8, 20
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range calls {
				results, err := h.Put(context.Background(), quakes, []stream.Entry{
					{PartitionKey: fmt.Sprint(c), Data: fmt.Append(nil, 2*i)}, {PartitionKey: fmt.Sprint(c), Data: fmt.Append(nil, 2*i+1)},
				})
				if err != nil || results[0].Err != nil || results[1].Err != nil {
					t.Errorf("put: %v %v", results, err)
				}
			}
		})
	}
	wg.Wait()
	next := make(map[string]int)
	for i := range 2 {
		for _, r := range h.read(quakes, i, horizon, 0).Records {
			if string(r.Data) != fmt.Sprint(next[r.PartitionKey]) {
				t.Fatalf("caller %s: read %s, want %d", r.PartitionKey, r.Data, next[r.PartitionKey])
			}
			next[r.PartitionKey]++
		}
	}
	for c := range callers {
		if next[fmt.Sprint(c)] != 2*calls {
			t.Errorf("caller %d: %d records, want %d", c, next[fmt.Sprint(c)], 2*calls)
		}
	}
}

func TestPutOfAnInvalidCallStoresNothing(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	h.create(quakes, stream.Config{})
	h.create(stream.Local("large"), stream.Config{RecordBytes: 10 << 20})
	good := stream.Entry{PartitionKey: "k", Data: []byte("x")}
	big := func(size int) stream.Entry { return stream.Entry{PartitionKey: "k", Data: make([]byte, size-1)} }
	many := make([]stream.Entry, 501)
	for i := range many {
		many[i] = good
	}
	for name, tt := range map[string]struct {
		entries []stream.Entry
		says    string
	}{
		"no record":             {nil, "0 records"},
		"501 records":           {many, "501 records"},
		"a record too large":    {[]stream.Entry{good, big(1<<20 + 1)}, "record 1: "},
		"no key":                {[]stream.Entry{good, good, {}}, "record 2: "},
		"a bad hash key":        {[]stream.Entry{{PartitionKey: "k", ExplicitHashKey: "-1"}, good}, "record 0: "},
		"more than 10 MiB":      {[]stream.Entry{big(1 << 20), big(1 << 20), big(1 << 20), big(1 << 20), big(1 << 20), big(1 << 20), big(1 << 20), big(1 << 20), big(1 << 20), big(1 << 20), good}, "at most 10485760"},
		"257 characters of key": {[]stream.Entry{{PartitionKey: strings.Repeat("é", 257)}}, "257 characters"},
	} {
		results, err := h.Put(t.Context(), quakes, tt.entries)
		wantErr(t, name, err, stream.ErrInvalid)
		if results != nil || !strings.Contains(fmt.Sprint(err), tt.says) {
			t.Errorf("%s: %v, %v; want no results and an error with %q", name, results, err, tt.says)
		}
	}
	wantText(t, "after invalid calls", h.read(quakes, 0, horizon, 0), "")

	h.put(quakes, big(1<<20))
	h.put(stream.Local("large"), big(10<<20))
	if p := h.read(stream.Local("large"), 0, horizon, 0); len(p.Records) != 1 || len(p.Records[0].Data) != 10<<20-1 {
		t.Errorf("a 10 MiB record did not come back")
	}
}

func TestPutHasAResultForEachRecord(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	d := h.create(quakes, stream.Config{Shards: 2})
	sh, err := h.Shard(t.Context(), d.ID, stream.ShardID(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := sh.Log().End(t.Context()); err != nil {
		t.Fatal(err)
	}
	low, high := d.Shards[0].From.String(), d.Shards[1].From.String()
	results, err := h.Put(t.Context(), quakes, []stream.Entry{
		{PartitionKey: "k", ExplicitHashKey: high, Data: []byte("a")},
		{PartitionKey: "k", ExplicitHashKey: low, Data: []byte("b")},
		{PartitionKey: "k", ExplicitHashKey: high, Data: []byte("c")},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if i == 1 {
			wantErr(t, "record of a closed shard", r.Err, stream.ErrClosed)
			if r.Shard != stream.ShardID(0) || !r.Sequence.IsZero() {
				t.Errorf("record 1: %+v", r)
			}
		} else if r.Err != nil || r.Sequence.IsZero() || r.Shard != stream.ShardID(1) {
			t.Errorf("record %d: %+v, want it stored", i, r)
		}
	}
	wantText(t, "the open shard", h.read(quakes, 1, horizon, 0), "a c")
	if p := h.read(quakes, 0, horizon, 0); !p.Ended {
		t.Errorf("a closed shard read to its end: %+v, want Ended", p)
	}
	if p := h.read(quakes, 1, horizon, 0); p.Ended {
		t.Errorf("an open shard ended")
	}
}
