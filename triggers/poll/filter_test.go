package poll

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
)

// event is a record that the filter below lets through if kind is "a".
func event(kind string, n, size int) string {
	return fmt.Sprintf(`{"kind":%q,"n":%d,"pad":%q}`, kind, n, strings.Repeat("x", size))
}

const onlyA = `{"data":{"kind":["a"]}}`

func (r *rig) delivered() (all []string) {
	for _, b := range r.fn.seen() {
		all = append(all, b...)
	}
	return all
}

// esm.md 4: filters run before a record is counted into the batch.
func TestWhatNoFilterLetsThroughTakesNoPlaceInABatch(t *testing.T) {
	for _, every := range []int{1, 2, 10, 250} {
		t.Run(fmt.Sprint("one in ", every), func(t *testing.T) {
			r := newRig(t, 1)
			var all, want []string
			for i := range 3000 {
				kind := "b"
				if i%every == every-1 {
					kind = "a"
				}
				all = append(all, event(kind, i, 500))
				if kind == "a" {
					want = append(want, all[i])
				}
			}
			r.put("k", all...)
			r.create(triggers.Config{BatchSize: 10, Filters: []string{onlyA}})
			r.drain()
			if got := r.delivered(); !slices.Equal(got, want) {
				t.Errorf("%d records delivered, want %d in order", len(got), len(want))
			}
			batches := r.fn.seen()
			for i, b := range batches[:max(len(batches)-2, 0)] {
				if len(b) != 10 && every <= 10 { // beyond, what a poll gives
					t.Errorf("batch %d of %d has %d records, want 10", i, len(batches), len(b))
				}
			}
		})
	}
}

// An all-filtered poll: no invocation, and the checkpoint moves on, also over a restart.
func TestAPollOfFilteredRecordsMovesTheCheckpoint(t *testing.T) {
	r := newRig(t, 1)
	var polled, filtered, invoked, empty atomic.Int64
	r.observer = Observer{
		Polled: func(_ triggers.Mapping, n int) {
			if polled.Add(int64(n)); n == 0 {
				empty.Add(1)
			}
		},
		Filtered: func(_ triggers.Mapping, n int) { filtered.Add(int64(n)) },
		Invoked:  func(_ triggers.Mapping, n int) { invoked.Add(int64(n)) },
	}
	r.stop()
	r.start()
	for i := range 300 {
		r.put(fmt.Sprint("k", i%7), event("b", i, 10)) // a frame each
	}
	r.create(triggers.Config{BatchSize: 10, Filters: []string{onlyA}, Parallel: 3})
	r.drain()
	if st := r.status().Shards[0]; st.Next != st.Tip || st.Lag != 0 || st.Done != 0 {
		t.Errorf("the checkpoint stands at %d of %d, %d done", st.Next, st.Tip, st.Done)
	}
	if got := r.delivered(); len(got) > 0 {
		t.Errorf("delivered %v", got)
	}
	r.until("was polled in vain", func() bool { return empty.Load() > 0 })
	if polled.Load() != 300 || filtered.Load() != 300 || invoked.Load() != 0 {
		t.Errorf("the observer was told of %d polled, %d filtered, %d invoked", polled.Load(), filtered.Load(), invoked.Load())
	}
	r.stop()
	r.start()
	for i := range 20 {
		r.put("k", event([]string{"a", "b"}[i%2], i, 10))
	}
	r.drain()
	if got := r.delivered(); len(got) != 10 {
		t.Errorf("delivered %d after a restart, want 10", len(got))
	}
	if polled.Load() != 320 || filtered.Load() != 310 || invoked.Load() != 10 {
		t.Errorf("the observer was told of %d polled, %d filtered, %d invoked", polled.Load(), filtered.Load(), invoked.Load())
	}
}

// Poison between filtered records is found as ever, and a dead letter has its payload.
func TestFilteredRecordsDoNotDisturbFailures(t *testing.T) {
	r := newRig(t, 1)
	all := make([]string, 200)
	for i := range all {
		all[i] = event(map[bool]string{true: "a", false: "b"}[i%50 == 7], i, 2000)
	}
	poison := all[107]
	r.fn.handler = failOn(poison)
	r.put("k", all...)
	r.create(triggers.Config{Filters: []string{onlyA}, Bisect: true, Retries: ptr(1)})
	r.drain()
	letters := r.letters()
	if len(letters) != 1 || string(letters[0].Data) != poison || letters[0].Attempts != 2 {
		t.Errorf("dead letters %+v", letters)
	}
	if got := r.fn.seen(); len(got[0]) != 4 {
		t.Errorf("first batch of %d, want the 4 that a filter lets through", len(got[0]))
	}
}

// An update takes effect at a unit boundary, without losing the checkpoint: what is out or retried
// stays as it is, what is read and in no unit is judged anew.
func TestNewFiltersHoldFromTheNextUnitOn(t *testing.T) {
	r := newRig(t, 1)
	var all []string
	for i := range 100 {
		all = append(all, event([]string{"a", "b", "c", "d"}[i%4], i, 10))
	}
	first := make(chan struct{})
	var calls atomic.Int64
	r.fn.handler = func(*runtime.Invocation) runtime.Result {
		if calls.Add(1) == 1 {
			<-first
			return runtime.Result{Outcome: runtime.FunctionError}
		}
		return runtime.Result{}
	}
	r.put("k", all...)
	r.create(triggers.Config{BatchSize: 10, Filters: []string{onlyA, `{"data":{"kind":["b"]}}`}})
	r.until("was invoked", func() bool { return calls.Load() == 1 })
	if _, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.Filters = []string{`{"data":{"kind":["b","c"]}}`} }); err != nil {
		t.Fatal(err)
	}
	close(first)
	r.drain()
	seen := r.fn.seen()
	if len(seen[0]) != 10 || !slices.Equal(seen[0], seen[1]) {
		t.Fatalf("first batches %v and %v: want the same ten again", seen[0], seen[1])
	}
	// Of those that follow, the old filters have let a and b through when they were read.
	var want []string
	for i := 20; i < 100; i++ {
		if i%4 == 1 {
			want = append(want, all[i])
		}
	}
	if got := slices.Concat(seen[2:]...); !slices.Equal(got, want) {
		t.Errorf("then\n%v, want\n%v", got, want)
	}
	r.put("k", all...)
	r.drain()
	var last []string
	for i := range all {
		if i%4 == 1 || i%4 == 2 {
			last = append(last, all[i])
		}
	}
	if got := r.delivered(); !slices.Equal(got[len(got)-len(last):], last) {
		t.Errorf("records put later: %v", got)
	}
}

func TestPatternsMayLookAtMetadata(t *testing.T) {
	r := newRig(t, 1)
	r.put("wanted", "no json", "{}")
	r.put("other", "{}")
	r.put("wanted", `{"x":1}`)
	r.create(triggers.Config{Filters: []string{`{"partitionKey":["wanted"],"eventName":["aws:kinesis:record"],"awsRegion":["us-east-1"]}`}})
	r.drain()
	if got := fmt.Sprint(r.delivered()); got != `[no json {} {"x":1}]` {
		t.Errorf("delivered %s", got)
	}
}

// Of a record that a producer has packed several into, those go that a filter lets through.
func TestFiltersLookIntoAggregates(t *testing.T) {
	r := newRig(t, 1)
	packed := func(kinds ...string) string {
		var pairs []string
		for i, k := range kinds {
			pairs = append(pairs, fmt.Sprint("k", i), event(k, i, 0))
		}
		return pack(pairs...)
	}
	r.put("k", packed("a", "b", "a"), packed("b", "b"), packed("b", "a"))
	r.create(triggers.Config{Filters: []string{onlyA}, Deaggregate: true})
	r.drain()
	if got, want := r.delivered(), []string{event("a", 0, 0), event("a", 2, 0), event("a", 1, 0)}; !slices.Equal(got, want) {
		t.Errorf("delivered %v, want %v", got, want)
	}
}

func TestWrongFiltersAreRefused(t *testing.T) {
	r := newRig(t, 1)
	for _, c := range []triggers.Config{
		{Filters: []string{`{"data":"a"}`}}, {Filters: []string{onlyA, ``}}, {Filters: []string{`null`}}, {Filters: slices.Repeat([]string{onlyA}, 11)},
		{Filters: []string{`{"data":{"a":[{"wildcard":"x*"}]}}`}, StrictFilters: true}, {Filters: []string{strings.Repeat(" ", 4097)}},
	} {
		if _, err := r.m.Create(t.Context(), "t", from(c), true); !errors.Is(err, triggers.ErrInvalid) {
			t.Errorf("%.60q: %v", c.Filters, err)
		}
	}
	r.create(triggers.Config{Filters: []string{`{"data":{"a":[{"wildcard":"x*"}]}}`}})
	if _, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.StrictFilters = true }); !errors.Is(err, triggers.ErrInvalid) {
		t.Errorf("made strict: %v", err)
	}
}

// A shard with filters holds, of the node's budget, about what it delivers.
func TestFilteredPayloadsAreNotHeld(t *testing.T) {
	r := newRig(t, 1)
	r.lookahead = 1 << 20
	r.stop()
	r.start()
	all := make([]string, 2000)
	var want []string
	for i := range all {
		kind := "b"
		if i%100 == 99 {
			kind = "a"
		}
		if all[i] = event(kind, i, 5000); kind == "a" {
			want = append(want, all[i])
		}
	}
	r.put("k", all...)
	release := make(chan struct{})
	r.fn.handler = func(*runtime.Invocation) runtime.Result { <-release; return runtime.Result{} }
	r.create(triggers.Config{BatchSize: 5, Filters: []string{onlyA}})
	r.until("was invoked", func() bool { return len(r.fn.seen()) == 1 })
	r.until("has read on", func() bool { return r.status().Shards[0].Machine.Read == uint64(len(all)) })
	if free := r.m.budget.free.Load(); free < 0 {
		t.Errorf("the budget is overdrawn by %d bytes", -free)
	}
	close(release)
	r.drain()
	if got := r.delivered(); !slices.Equal(got, want) {
		t.Errorf("%d delivered, want %d", len(got), len(want))
	}
	r.stop()
	if free := r.m.budget.free.Load(); free != 1<<20 {
		t.Errorf("%d bytes of the budget were not given back", 1<<20-free)
	}
	r.start()
}

// What passes the filters early in a backlog does not wait for its end.
func TestAFetchEndsAfterSoMuchThatIsDropped(t *testing.T) {
	r := newRig(t, 1)
	r.stop()
	var mu sync.Mutex
	var polled []int
	r.observer.Polled = func(_ triggers.Mapping, n int) {
		mu.Lock()
		defer mu.Unlock()
		polled = append(polled, n)
	}
	r.start()
	early := -1 // polls before the first invocation
	r.fn.handler = func(*runtime.Invocation) runtime.Result {
		mu.Lock()
		defer mu.Unlock()
		if early < 0 {
			early = len(polled)
		}
		return runtime.Result{Outcome: runtime.Done}
	}
	r.put("k", event("a", 0, 0))
	const frames, each, size = 12, 400, 5000 // 24 MB
	for f := range frames {
		data := make([]string, each)
		for i := range data {
			data[i] = event("b", f*each+i, size)
		}
		r.put("k", data...)
	}
	r.create(triggers.Config{BatchSize: 10000, Filters: []string{onlyA}})
	r.drain()
	mu.Lock()
	defer mu.Unlock()
	if most := maxScan/size + each; slices.Max(polled) > most || early != 1 {
		t.Errorf("polls of %v records, want %d at most; %d before the first invocation", polled, most, early)
	}
}
