package natsstream

import (
	"math"
	"math/big"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
)

func TestLoadsAreTheRatesOfTheLastMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, natsdtest.New(t), Options{})
		d := h.create(quakes, stream.Config{Shards: 2, Mode: stream.OnDemand})
		e := stream.Entry{PartitionKey: "k", ExplicitHashKey: "0", Data: make([]byte, 99)}
		second := func(n int) {
			entries := make([]stream.Entry, n)
			for i := range entries {
				entries[i] = e
			}
			h.put(quakes, entries...)
			time.Sleep(time.Second)
		}
		if l := h.Loads()[0]; l.Cells != nil || l.Share() != 0 || l.Below.IsZero() {
			t.Errorf("before the first record: %+v", l)
		}
		idle := time.Now()
		for range 30 {
			second(20)
		}
		l := h.Loads()
		if len(l) != 2 || l[0].Records != 10 || l[0].Bytes != 1000 || l[1].Records != 0 || l[0].Shard.ID != stream.ShardID(0) || l[0].StreamID != d.ID || l[0].Mode != stream.OnDemand {
			t.Errorf("600 records in half a minute: %+v", l)
		}
		if l[0].Share() != 0.01 || !l[0].Below.Equal(idle.UTC()) || !l[0].Above.IsZero() {
			t.Errorf("share %v, below since %s, above since %s", l[0].Share(), l[0].Below, l[0].Above)
		}
		if l[0].Cells[0] != 600 || l[1].Cells != nil {
			t.Errorf("cells %v", l[0].Cells)
		}
		time.Sleep(45 * time.Second)
		if l := h.Loads(); l[0].Records != 5 { // 15 of the seconds are out of sight
			t.Errorf("after 75 s: %v a second, want 5", l[0].Records)
		}
		time.Sleep(time.Minute)
		l = h.Loads()
		if l[0].Records != 0 || l[0].Cells[0] != 150 {
			t.Errorf("after two minutes: %v a second, %v in the first cell", l[0].Records, l[0].Cells[0])
		}
		// Above half of what a shard takes, and no more.
		e.Data = make([]byte, 1<<20-1)
		var since time.Time
		for range 40 {
			if l := h.Loads()[0]; l.Share() > 0.5 && since.IsZero() {
				since = time.Now()
			}
			second(1)
		}
		if l := h.Loads()[0]; since.IsZero() || !l.Above.Equal(since.UTC()) || !l.Below.IsZero() {
			t.Errorf("share %v: above since %s, below since %s; want above since %s", l.Share(), l.Above, l.Below, since)
		}
		time.Sleep(time.Minute)
		if l := h.Loads()[0]; !l.Above.IsZero() {
			t.Errorf("share %v: above since %s", l.Share(), l.Above)
		}
		// What is relayed is load too.
		before := h.Loads()[1].Records
		p := h.progress(d, source1)
		if err := h.Relay(t.Context(), d.ID, source1, p, log.Mark{Sequence: 1}, stream.ShardID(1), []log.Record{{Key: "k", HashKey: stream.MaxHashKey.String(), Data: []byte("x")}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if l := h.Loads()[1]; l.Records <= before || l.Cells[Cells-1] != 1 {
			t.Errorf("after a relay: %v a second, %v in the last cell", l.Records, l.Cells[Cells-1])
		}
	})
}

// A record falls into the cell that its hash key lies in, whatever the range; next to
// an edge into its neighbour at most.
func TestCellsDivideTheHashRangeEvenly(t *testing.T) {
	number := func(h stream.HashKey) *big.Int {
		n, _ := new(big.Int).SetString(h.String(), 10)
		return n
	}
	rapid.Check(t, func(t *rapid.T) {
		from := stream.HashKey{Hi: rapid.Uint64().Draw(t, "hi"), Lo: rapid.Uint64().Draw(t, "lo")}
		room := minus(stream.MaxHashKey, from)
		width := stream.HashKey{Hi: rapid.Uint64Range(0, room.Hi).Draw(t, "width hi")}
		if width.Hi < room.Hi {
			width.Lo = rapid.Uint64().Draw(t, "width lo")
		}
		if rapid.Bool().Draw(t, "narrow") {
			width = stream.HashKey{Lo: rapid.Uint64Range(0, min(room.Lo, 600)).Draw(t, "narrow width")}
		} else if width.Hi == room.Hi {
			width.Lo = rapid.Uint64Range(0, room.Lo).Draw(t, "width lo")
		}
		l := Load{Shard: stream.Shard{From: from, To: plus(from, width)}}
		counts := newLoad(l.Shard, 0)
		if a, b := counts.cell(l.Shard.From), counts.cell(l.Shard.To); a != 0 || b > Cells-1 || width.Hi > 0 && b != Cells-1 {
			t.Fatalf("the ends of %+v fall into cells %d and %d", l.Shard, a, b)
		}
		i := rapid.IntRange(0, Cells-1).Draw(t, "cell")
		at := l.Cell(i)
		size := new(big.Int).Add(number(width), big.NewInt(1))
		want := new(big.Int).Mul(size, big.NewInt(int64(i)))
		want.Add(want, big.NewInt(Cells-1)).Rsh(want, 8).Add(want, number(from))
		if last := number(l.Shard.To); want.Cmp(last) > 0 {
			want = last
		}
		if number(at).Cmp(want) != 0 {
			t.Fatalf("cell %d of %+v begins at %s, want %s", i, l.Shard, at, want)
		}
		if at.Compare(l.Shard.To) <= 0 && width.Hi > 0 {
			if got := counts.cell(at); math.Abs(float64(got-i)) > 1 {
				t.Fatalf("the beginning of cell %d falls into %d", i, got)
			}
		}
	})
}
