package poll

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/filter"
)

// The size of an aggregate is that of what goes to the function of it, which may be little.
func TestOnlyWhatPassesCountsForTheSizeOfAnAggregate(t *testing.T) {
	var pairs []string
	for i := range 25_000 { // about 12 MB of event
		pairs = append(pairs, "k", fmt.Sprintf(`{"a":%d}`, i))
	}
	t.Run("as it is read", func(t *testing.T) {
		r := newRig(t, 1)
		r.put("k", pack(pairs...))
		r.create(triggers.Config{BatchSize: 10, Deaggregate: true, Filters: []string{`{"data":{"a":[7]}}`}})
		r.drain()
		if got := r.delivered(); !slices.Equal(got, []string{`{"a":7}`}) || len(r.letters()) > 0 {
			t.Errorf("delivered %.100q, %d dead letters", got, len(r.letters()))
		}
	})
	// It waits behind a batch that is out when the filters change.
	t.Run("as filters change", func(t *testing.T) {
		r := newRig(t, 1)
		first := make(chan struct{})
		r.fn.handler = func(inv *runtime.Invocation) runtime.Result {
			if string(inv.Batch.Records[0].Data) == `{"a":-1}` {
				<-first
			}
			return runtime.Result{}
		}
		r.put("k", `{"a":-1}`, pack(pairs...))
		r.create(triggers.Config{BatchSize: 1, Deaggregate: true, Filters: []string{`{"data":{"a":[{"exists":true}]}}`}})
		r.until("has read on", func() bool { m := r.status().Shards[0].Machine; return m != nil && m.Read == 2 && m.Out == 1 })
		if _, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.Filters = []string{`{"data":{"a":[7]}}`} }); err != nil {
			t.Fatal(err)
		}
		r.m.mu.Lock()
		p := r.m.running["t"].poller("shardId-000000000000")
		r.m.mu.Unlock()
		r.until("knows the filters", func() bool { return len(p.configured) == 0 })
		close(first)
		r.drain()
		if got := r.delivered(); !slices.Equal(got, []string{`{"a":-1}`, `{"a":7}`}) || len(r.letters()) > 0 {
			t.Errorf("delivered %.100q, %d dead letters", got, len(r.letters()))
		}
	})
}

// A unit that is retried is the same to the record, in aggregates too, and so is what its notice tells.
func TestAnAggregateInAUnitStaysAsItWasWhenFiltersChange(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*triggers.Config)
		later  string // of a second aggregate, put after the change
	}{
		{"to one that nothing passes", func(c *triggers.Config) { c.Filters = []string{`{"data":{"a":[9]}}`} }, ""},
		{"to a wider one", func(c *triggers.Config) { c.Filters = []string{`{"data":{"a":[1,2]}}`} }, `[{"a":1} {"a":2}]`},
		{"to none", func(c *triggers.Config) { c.Filters = nil }, `[{"a":1} {"a":2} {"a":3}]`},
		{"no more unpacked", func(c *triggers.Config) { c.Filters, c.Deaggregate = nil, false }, "[packed]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, 1)
				defer r.close()
				whole := pack("k", `{"a":1}`, "k", `{"a":2}`, "k", `{"a":3}`)
				var lines []string
				r.fn.handler = func(inv *runtime.Invocation) runtime.Result {
					lines = append(lines, strings.ReplaceAll(fmt.Sprint(values(inv)), whole, "packed"))
					if len(lines) < 3 {
						return runtime.Result{Outcome: runtime.FunctionError, ErrorMessage: "no"}
					}
					return runtime.Result{Outcome: runtime.Done}
				}
				r.put("k", whole)
				settings := from(triggers.Config{BatchSize: 10, Deaggregate: true, Filters: []string{`{"data":{"a":[1]}}`}})
				settings.Backoff = 10 * time.Second
				if _, err := r.m.Create(t.Context(), "t", settings, true); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				if _, err := r.m.Update(t.Context(), "t", c.change); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				r.put("k", whole)
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				want := `[{"a":1}] [{"a":1}] [{"a":1}]`
				if c.later != "" {
					want += " " + c.later
				}
				if got := strings.Join(lines, " "); got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
			})
		})
	}
}

func values(inv *runtime.Invocation) (out []string) {
	for _, rec := range inv.Batch.Records {
		out = append(out, string(rec.Data))
	}
	return out
}

// Patterns see each member of the event as the function does.
func TestMetadataAreThoseOfTheEvent(t *testing.T) {
	b := &runtime.Batch{Shard: "shardId-000000000003", ARN: "arn:aws:kinesis:us-east-1:000000000000:stream/s", Region: "us-east-1", Identity: Identity("000000000000")}
	for _, one := range []runtime.Record{
		{Sequence: "495", PartitionKey: "key", Data: []byte("data"), Arrival: 1545084650987},
		{Sequence: "496", PartitionKey: "a\"b\\c\n\u2028<é\xff\x7f", Data: []byte{0, 255}, Arrival: 1545084650007},
		{Sequence: "497", PartitionKey: "", Arrival: 1, Aggregated: true, SubSequence: 12},
	} {
		b.Records = []runtime.Record{one}
		f := newFacts(b)
		f.one, f.sequence = one, one.Sequence
		var event struct{ Records []map[string]json.RawMessage }
		if err := json.Unmarshal(runtime.AppendJSON(nil, b), &event); err != nil {
			t.Fatal(err)
		}
		want := event.Records[0]
		if err := json.Unmarshal(want["kinesis"], &want); err != nil {
			t.Fatal(err)
		}
		delete(want, "data") // which is what patterns name the data by
		for name, value := range want {
			got, ok := f.member(name)
			var a, b any
			if !ok || json.Unmarshal(got, &a) != nil || json.Unmarshal(value, &b) != nil || fmt.Sprint(a) != fmt.Sprint(b) {
				t.Errorf("%s of record %s: %s, want %s", name, one.Sequence, got, value)
			}
		}
		for _, name := range []string{"data", "body", "subSequenceNumber", "aggregated"} {
			if got, ok := f.member(name); ok && want[name] == nil {
				t.Errorf("%s of record %s: %s, which the event does not have", name, one.Sequence, got)
			}
		}
	}
}

// What filters ask of a record costs no memory, and no more for a large one.
func TestAskingForMetadataDoesNotTouchTheData(t *testing.T) {
	set, err := filter.Compile([]string{`{"partitionKey":["zz"],"eventName":["aws:kinesis:record"],"eventID":["x"]}`}, filter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f := newFacts(&runtime.Batch{Shard: "shardId-000000000000"})
	f.sequence = "495"
	one := runtime.Record{PartitionKey: "k", Data: make([]byte, 1<<20)}
	f.match(set, one)
	if n := testing.AllocsPerRun(100, func() { f.match(set, one) }); n > 1 { // the id
		t.Errorf("%v allocations for a record", n)
	}
}

// A record that filters cannot decide goes to the function, rather than being lost in silence.
func TestAnUndecidedRecordGoesToTheFunction(t *testing.T) {
	r := newRig(t, 1)
	var operators []string
	for i := range 180 {
		operators = append(operators, fmt.Sprintf(`{"wildcard":"*%d*x"}`, i))
	}
	heavy := `{"a":[` + strings.TrimSuffix(strings.Repeat(`"012345",`, 30_000), ",") + `]}`
	r.put("k", `{"a":["no"]}`, heavy, `{"a":["1x"]}`)
	r.create(triggers.Config{Filters: []string{`{"data":{"a":[` + strings.Join(operators, ",") + `]}}`}})
	r.drain()
	if got := r.delivered(); !slices.Equal(got, []string{heavy, `{"a":["1x"]}`}) {
		t.Errorf("%d delivered: %.60q", len(got), got)
	}
}

// BenchmarkJudge is what a filter on metadata costs, of a record of 1 KB and of each of 50,000 in an
// aggregate.
func BenchmarkJudge(b *testing.B) {
	set, err := filter.Compile([]string{`{"partitionKey":["zz"],"data":{"a":[7]}}`}, filter.Options{})
	if err != nil {
		b.Fatal(err)
	}
	batch := &runtime.Batch{Shard: "shardId-000000000000", ARN: "arn:aws:kinesis:us-east-1:000000000000:stream/s"}
	b.Run("record", func(b *testing.B) {
		f, data := newFacts(batch), fmt.Appendf(nil, `{"a":8,"pad":%q}`, strings.Repeat("x", 1000))
		for b.Loop() {
			f.match(set, runtime.Record{PartitionKey: "k", Data: data})
		}
	})
	b.Run("aggregate", func(b *testing.B) {
		var pairs []string
		for i := range 50_000 {
			pairs = append(pairs, "k", fmt.Sprintf(`{"a":%d}`, i+10))
		}
		whole := *batch
		whole.Records = []runtime.Record{{PartitionKey: "k", Sequence: "495", Data: []byte(pack(pairs...))}}
		for b.Loop() {
			deaggregated(&whole, nil, lenses{lens: lens{set, true}})
		}
	})
}
