package poll

import (
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// taking makes a stream of which children take records while they are shown as being
// made, as they do where many shards end at once: 0 has ended, 1 and 2 are its
// children.
func taking(t *testing.T, before func(*rig)) *rig {
	r := newRig(t, 1)
	r.delay = time.Hour
	r.stop()
	r.start()
	before(r)
	r.split(0)
	if s := r.describe().Shards; len(s) != 3 || s[1].State != stream.Creating {
		t.Fatalf("%+v", s)
	}
	if err := r.log(0).End(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) log(index int) *log.Log {
	r.t.Helper()
	sh, err := r.streams.Shard(r.t.Context(), r.describe().ID, stream.ShardID(index))
	if err != nil {
		r.t.Fatal(err)
	}
	return sh.Log()
}

// give puts records into a shard that takes none by itself yet.
func (r *rig) give(index int, key string, data ...string) {
	r.t.Helper()
	var recs []log.Record
	for _, d := range data {
		recs = append(recs, log.Record{Key: key, Data: []byte(d)})
	}
	if _, err := r.log(index).Append(r.t.Context(), recs); err != nil {
		r.t.Fatal(err)
	}
}

func TestAShardThatIsShownAsBeingMadeMayHoldRecords(t *testing.T) {
	low, _ := halves()
	t.Run("which count when the trigger is waited for", func(t *testing.T) {
		r := taking(t, func(r *rig) { r.create(triggers.Config{BatchSize: 1}) })
		k := watchKeys(r)
		release := k.stop("1")
		defer release()
		r.give(1, low, "1")
		time.AfterFunc(50*time.Millisecond, release)
		r.drain()
		k.want(t, "when it is drained", "1")
	})
	t.Run("which lie before the newest", func(t *testing.T) {
		r := taking(t, func(*rig) {})
		k := watchKeys(r)
		r.give(1, low, "old")
		r.create(triggers.Config{BatchSize: 1, Position: stream.Position{Kind: stream.Latest}})
		r.give(1, low, "new")
		r.drain()
		k.want(t, "from LATEST", "new")
	})
	t.Run("and stays where it is when another is moved", func(t *testing.T) {
		r := taking(t, func(r *rig) {
			r.put(low, "0")
			r.create(triggers.Config{BatchSize: 1})
		})
		k := watchKeys(r)
		first := r.stored("s")[0].Sequence
		r.give(1, low, "1", "2")
		r.drain()
		r.seek(stream.Position{Kind: stream.At, Sequence: first}, false)
		r.give(1, low, "3")
		r.drain()
		if got := strings.TrimPrefix(k.all(), "0 "); got != "1 2 0 3" {
			t.Errorf("delivered %q, want 1 2 0 3", got)
		}
	})
}
