package poll

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// pack is an aggregate of the Kinesis Producer Library: of keys and data in turn.
func pack(pairs ...string) string {
	text := func(b []byte, field byte, s string) []byte {
		return append(binary.AppendUvarint(append(b, field<<3|2), uint64(len(s))), s...)
	}
	var body []byte
	for i := 0; i < len(pairs); i += 2 {
		body = text(body, 1, pairs[i])
		body = text(body, 3, string(text(binary.AppendUvarint([]byte{1 << 3}, uint64(i/2)), 3, pairs[i+1])))
	}
	sum := md5.Sum(body)
	return "\xf3\x89\x9a\xc2" + string(body) + string(sum[:])
}

func TestAggregatesArriveUnpackedIfATriggerWantsIt(t *testing.T) {
	for _, unpack := range []bool{true, false} {
		t.Run(fmt.Sprint(unpack), func(t *testing.T) {
			r := newRig(t, 1)
			r.fn.handler = func(inv *runtime.Invocation) runtime.Result {
				if !unpack {
					return runtime.Result{Outcome: runtime.Done}
				}
				b := inv.Batch.Records
				if b[0].Aggregated || !b[1].Aggregated || b[1].PartitionKey != "a" || b[2].SubSequence != 1 || b[1].Sequence != b[2].Sequence || b[3].Aggregated || b[4].Aggregated {
					t.Errorf("%+v", b)
				}
				return runtime.Result{Outcome: runtime.Done}
			}
			whole, broken := pack("a", "a0", "b", "b0"), pack("c", "c0")+"?"
			r.put("k", "first", whole, broken, "last")
			r.create(triggers.Config{BatchSize: 4, Deaggregate: unpack})
			r.drain()
			want := []string{"first", "a0", "b0", broken, "last"}
			if !unpack {
				want = []string{"first", whole, broken, "last"}
			}
			if got := r.fn.seen(); len(got) != 1 || !slices.Equal(got[0], want) {
				t.Errorf("got %q, want %q", got, want)
			}
			if st := r.status().Shards[0]; st.Done != 4 {
				t.Errorf("%d done, want 4: an aggregate is one record", st.Done)
			}
		})
	}
}

// An aggregate fails, is halved from its neighbours and is buried as one record, whole.
func TestAPoisonedAggregateIsBuriedAsOne(t *testing.T) {
	r := newRig(t, 1)
	r.fn.handler = failOn("poison")
	whole := pack("a", "a0", "b", "poison", "c", "c0")
	r.put("k", "first", whole, "last")
	r.create(triggers.Config{BatchSize: 10, Deaggregate: true, Bisect: true, Retries: ptr(1)})
	r.drain()
	letters := r.letters()
	if len(letters) != 1 || string(letters[0].Data) != whole || letters[0].PartitionKey != "k" || letters[0].Attempts != 2 || letters[0].Batch.Size != 1 {
		t.Fatalf("%+v", letters)
	}
	for _, batch := range r.fn.seen() {
		if n := slices.Index(batch, "a0"); n >= 0 && (len(batch) < n+3 || batch[n+1] != "poison" || batch[n+2] != "c0") {
			t.Errorf("a batch has a part of the aggregate: %q", batch)
		}
	}
	if st := r.status().Shards[0]; st.Done != 2 || st.Buried != 1 {
		t.Errorf("%+v", st)
	}
}

// A function that names one of an aggregate's records as failed gets all of them again, and
// nothing it has emitted for any of them counts.
func TestAPartialReplyNamesTheWholeAggregate(t *testing.T) {
	r := newRig(t, 1)
	r.stream("out", stream.Config{Shards: 1})
	failed := false
	r.fn.handler = func(inv *runtime.Invocation) runtime.Result {
		res := echo("")(inv)
		for _, rec := range inv.Batch.Records {
			if string(rec.Data) == "b0" && !failed {
				failed = true
				res.Outcome, res.Failures = runtime.Partial, []string{rec.Sequence}
			}
		}
		return res
	}
	r.put("k", "first", pack("a", "a0", "b", "b0"), "last")
	r.create(triggers.Config{BatchSize: 10, Deaggregate: true, PartialReplies: true})
	r.drain()
	want := [][]string{{"first", "a0", "b0", "last"}, {"a0", "b0", "last"}}
	if got := r.fn.seen(); !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %q, want %q", got, want)
	}
	got := r.contents("out")
	slices.Sort(got) // of several keys
	if want := []string{"a0", "b0", "first", "last"}; !slices.Equal(got, want) {
		t.Errorf("emitted %q, want %q", got, want)
	}
}

// Records of a key arrive one after the other and in order, in whatever aggregates they are,
// with many batches under way.
func TestOrderHoldsPerKeyThroughAggregates(t *testing.T) {
	r := newRig(t, 1)
	dice := rand.New(rand.NewPCG(1, 2))
	next, total := map[string]int{}, 0
	one := func() (key, data string) {
		key = fmt.Sprint("k", dice.IntN(20))
		next[key]++
		total++
		return key, fmt.Sprintf("%s %d", key, next[key])
	}
	for range 300 {
		if dice.IntN(3) > 0 {
			key, data := one()
			r.put(key, data)
			continue
		}
		var pairs []string
		for range 1 + dice.IntN(4) {
			key, data := one()
			pairs = append(pairs, key, data)
		}
		r.put(pairs[0], pack(pairs...))
	}
	var mu sync.Mutex
	busy, last := map[string]bool{}, map[string]int{}
	r.fn.handler = func(inv *runtime.Invocation) runtime.Result {
		keys := map[string]bool{}
		for _, rec := range inv.Batch.Records {
			keys[rec.PartitionKey] = true
		}
		mu.Lock()
		for k := range keys {
			if busy[k] {
				t.Errorf("%s is out twice", k)
			}
			busy[k] = true
		}
		mu.Unlock()
		time.Sleep(time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		for _, rec := range inv.Batch.Records {
			var n int
			var key string
			fmt.Sscan(string(rec.Data), &key, &n)
			if key != rec.PartitionKey || n != last[key]+1 {
				t.Errorf("after %d of %s comes %q", last[rec.PartitionKey], rec.PartitionKey, rec.Data)
			}
			last[key] = n
		}
		for k := range keys {
			delete(busy, k)
		}
		return runtime.Result{Outcome: runtime.Done}
	}
	r.create(triggers.Config{BatchSize: 5, Deaggregate: true, Parallel: 8})
	r.drain()
	mu.Lock()
	defer mu.Unlock()
	seen := 0
	for _, n := range last {
		seen += n
	}
	if seen != total || r.fn.most < 2 {
		t.Errorf("%d of %d records arrived, at most %d batches at once", seen, total, r.fn.most)
	}
}
