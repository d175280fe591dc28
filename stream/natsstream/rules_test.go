package natsstream

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
)

// MECHANISMS, Frames: the fields of a sequence number are those of the shard and
// of the place on disk; the digit of shard 16 is 0 again.
func TestSequenceNumbersNameEpochShardAndPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, natsdtest.New(t), Options{})
		d := h.create(quakes, stream.Config{Shards: 33})
		time.Sleep(1234 * time.Millisecond)
		for _, shard := range []int{0, 1, 15, 16, 17, 31, 32} {
			for frame := range 2 {
				e := stream.Entry{PartitionKey: "k", ExplicitHashKey: d.Shards[shard].From.String(), Data: []byte("x")}
				for i, r := range h.put(quakes, e, e, e) {
					want := stream.SequenceNumber{
						Epoch: d.Shards[shard].Epoch, Shard: uint8(shard % 16), Frame: uint64(frame + 1), Index: uint16(i), Time: uint32(time.Now().Unix()),
					}
					if r.Sequence != want || r.Shard != stream.ShardID(shard) {
						t.Errorf("shard %d, frame %d, record %d: %+v in %s, want %+v", shard, frame, i, r.Sequence, r.Shard, want)
					}
					js, err := h.srv.JS().Stream(t.Context(), fmt.Sprintf("L_%s_%d", d.ID, shard))
					if err != nil || js.CachedInfo().State.LastSeq != want.Frame {
						t.Errorf("shard %d: JetStream is at %+v, %v; want %d", shard, js, err, want.Frame)
					}
				}
			}
		}
	})
}

// MECHANISMS, Frames: epochs grow even where the clock does not, so that the
// numbers of what comes later are larger.
func TestEpochsGrowWithinOneSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the clock stands still
		h := open(t, natsdtest.New(t), Options{})
		now := uint32(time.Now().Unix())
		var last stream.SequenceNumber
		for i := range uint32(5) {
			d := h.create(quakes, stream.Config{Shards: 2})
			for _, sh := range d.Shards {
				if sh.Epoch != now+i {
					t.Errorf("%s has epoch %d, want %d", sh.ID, sh.Epoch, now+i)
				}
			}
			first := h.put(quakes, stream.Entry{PartitionKey: "k"})[0].Sequence
			if first.Compare(last) <= 0 {
				t.Errorf("number %s is not above %s", first, last)
			}
			last = first
			if err := h.Delete(t.Context(), quakes); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour) // ahead of all that was given: the time itself
		if d := h.create(quakes, stream.Config{}); d.Shards[0].Epoch != uint32(time.Now().Unix()) {
			t.Errorf("epoch %d, want the time %d", d.Shards[0].Epoch, time.Now().Unix())
		}
	})
}
