package poll

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// echo emits each record's data to the stream out, under its key, unless a record
// of the batch is poison: then the batch fails, and emits all the same.
func echo(poison string) func(*runtime.Invocation) runtime.Result {
	return func(inv *runtime.Invocation) runtime.Result {
		res := failOn(poison)(inv)
		for i, rec := range inv.Batch.Records {
			res.Emits = append(res.Emits, runtime.Emit{Stream: "out", PartitionKey: rec.PartitionKey, Data: rec.Data, Item: i})
		}
		return res
	}
}

func (r *rig) stream(name string, c stream.Config) {
	r.t.Helper()
	if _, err := r.streams.Create(r.t.Context(), stream.Local(name), c); err != nil {
		r.t.Fatal(err)
	}
}

// contents is what a stream holds, shard after shard.
func (r *rig) contents(name string) (out []string) {
	r.t.Helper()
	for _, rec := range r.stored(name) {
		out = append(out, string(rec.Data))
	}
	return out
}

func (r *rig) stored(name string) (out []stream.Record) {
	r.t.Helper()
	desc, err := r.streams.Describe(r.t.Context(), stream.Local(name))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range desc.Shards {
		pos := stream.Position{Kind: stream.TrimHorizon}
		for {
			page, err := r.streams.Read(r.t.Context(), stream.Local(name), s.ID, pos, 1000)
			if err != nil {
				r.t.Fatal(err)
			}
			if len(page.Records) == 0 {
				break
			}
			out, pos = append(out, page.Records...), page.Next
		}
	}
	return out
}

func TestOutputsAppearOnceAndOnlyWithTheirCheckpoint(t *testing.T) {
	for _, parallel := range []int{1, 4} {
		t.Run(fmt.Sprint(parallel), func(t *testing.T) {
			r := newRig(t, 2)
			r.stream("out", stream.Config{Shards: 3})
			r.fn.handler = echo("b7")
			var want []string
			for _, key := range []string{"a", "b", "c"} {
				r.put(key, numbers(key, 30)...)
				want = append(want, numbers(key, 30)...)
			}
			r.create(triggers.Config{BatchSize: 8, Bisect: true, Retries: ptr(1), Parallel: parallel})
			r.drain()
			got := r.stored("out")
			next := map[string]int{}
			ids := map[string]bool{}
			for _, rec := range got {
				n := next[rec.PartitionKey]
				if rec.PartitionKey == "b" && n == 7 {
					n++ // the poison
				}
				if string(rec.Data) != fmt.Sprint(rec.PartitionKey, n) {
					t.Fatalf("after %d of key %s comes %s", next[rec.PartitionKey], rec.PartitionKey, rec.Data)
				}
				next[rec.PartitionKey] = n + 1
				if ids[rec.OutputID] || rec.OutputID == "" {
					t.Errorf("output id %q of %s is none, or another's", rec.OutputID, rec.Data)
				}
				ids[rec.OutputID] = true
			}
			if len(got) != len(want)-1 {
				t.Errorf("%d outputs, want %d", len(got), len(want)-1)
			}
		})
	}
}

func TestOutputsOfRecordsThatRunAgainAreDropped(t *testing.T) {
	r := newRig(t, 1)
	r.stream("out", stream.Config{Shards: 1})
	failed := false
	r.fn.handler = func(inv *runtime.Invocation) runtime.Result {
		res := echo("")(inv)
		for _, rec := range inv.Batch.Records {
			if string(rec.Data) == "r4" && !failed {
				failed = true
				res.Outcome, res.Failures = runtime.Partial, []string{rec.Sequence}
			}
		}
		return res
	}
	r.put("k", numbers("r", 10)...)
	r.create(triggers.Config{BatchSize: 10, PartialReplies: true})
	r.drain()
	if got := r.contents("out"); !slices.Equal(got, numbers("r", 10)) || !failed {
		t.Errorf("outputs %v, want r0 to r9 once each", got)
	}
}

func TestAnEmitToNoStreamFailsItsBatchAndSaysWhatToDo(t *testing.T) {
	r := newRig(t, 1)
	r.fn.handler = echo("")
	r.put("k", "1", "2")
	r.create(triggers.Config{Retries: ptr(0)})
	r.drain()
	letters := r.letters()
	if len(letters) != 2 || letters[0].ErrorType != runtime.TypeBadEmits || !strings.HasPrefix(letters[0].ErrorMessage, "emit 0 goes to stream out") || !strings.Contains(letters[0].ErrorMessage, "wasmill stream create out") {
		t.Fatalf("dead letters %+v", letters)
	}
	r.stream("out", stream.Config{Shards: 1})
	r.put("k", "3")
	r.drain()
	if got := r.contents("out"); !slices.Equal(got, []string{"3"}) {
		t.Errorf("outputs %v, want 3 alone", got)
	}
}

func TestAnEmitTooLargeForItsStreamFailsItsBatch(t *testing.T) {
	r := newRig(t, 1)
	r.stream("out", stream.Config{Shards: 1})
	r.fn.handler = func(inv *runtime.Invocation) runtime.Result {
		n := 1<<20 - len("k")
		if string(inv.Batch.Records[0].Data) == "large" {
			n++
		}
		return runtime.Result{Emits: []runtime.Emit{{Stream: "out", PartitionKey: "k", Data: make([]byte, n), Item: -1}}}
	}
	r.put("k", "fits", "large")
	r.create(triggers.Config{BatchSize: 1, Retries: ptr(0)})
	r.drain()
	letters := r.letters()
	if len(letters) != 1 || string(letters[0].Data) != "large" || !strings.HasPrefix(letters[0].ErrorMessage, "emit 0 has 1048577 bytes") {
		t.Errorf("dead letters %+v", letters)
	}
	if got := r.stored("out"); len(got) != 1 || len(got[0].Data) != 1<<20-1 {
		t.Errorf("%d outputs, want the one that fits", len(got))
	}
}

// MECHANISMS, Journal: a target deleted or recreated: its outputs go to the morgue
// as kind output and the mapping shows a problem.
func TestOutputsOfADeletedTargetAreDeadLettersAndNeverInItsSuccessor(t *testing.T) {
	r := newRig(t, 1)
	r.stream("out", stream.Config{Shards: 1})
	ready, goOn := make(chan struct{}), make(chan struct{})
	r.fn.handler = echo("")
	r.put("k", "1")
	r.create(triggers.Config{})
	r.drain()
	// The second output is made while the stream is there, and committed when it
	// is another one.
	r.m.d.Observer.Invoking = func(ctx context.Context, _ triggers.Mapping, _ *runtime.Invocation) (context.Context, func(runtime.Result)) {
		return ctx, func(runtime.Result) {
			close(ready)
			<-goOn
		}
	}
	r.put("k", "2")
	<-ready
	if err := r.streams.Delete(t.Context(), stream.Local("out")); err != nil {
		t.Fatal(err)
	}
	r.stream("out", stream.Config{Shards: 1})
	close(goOn)
	r.drain()
	if got := r.contents("out"); len(got) != 0 {
		t.Errorf("the new stream holds %v", got)
	}
	letters := r.letters()
	if len(letters) != 1 || letters[0].Kind != dlq.KindOutput || letters[0].Reason != dlq.TargetGone || string(letters[0].Data) != "2" || letters[0].PartitionKey != "k" {
		t.Errorf("dead letters %+v", letters)
	}
	if st := r.status(); !strings.Contains(st.Outputs, "out") {
		t.Errorf("the trigger says of its outputs %q", st.Outputs)
	}
}

func TestAShardIsHeldWhileItsTargetIsFullAndNothingIsLost(t *testing.T) {
	r := newRig(t, 1)
	r.stream("out", stream.Config{Shards: 1, MaxBytes: 1 << 20})
	const records, each = 12, 4000
	r.fn.handler = func(inv *runtime.Invocation) (res runtime.Result) {
		for i := range each {
			res.Emits = append(res.Emits, runtime.Emit{Stream: "out", PartitionKey: "k", Data: fmt.Appendf(nil, "%s-%0100d", inv.Batch.Records[0].Data, i), Item: 0})
		}
		return res
	}
	r.put("k", numbers("r", records)...)
	r.create(triggers.Config{BatchSize: 1})
	r.until("held", func() bool {
		st := r.status()
		m := st.Shards[0].Machine
		return m != nil && strings.Contains(m.WaitsFor, "outputs") && strings.Contains(st.Outputs, "out")
	})
	if n := len(r.fn.seen()); n == records {
		t.Fatalf("all %d batches ran into a full stream", n)
	}
	if _, err := r.streams.Update(t.Context(), stream.Local("out"), func(c *stream.Config) { c.MaxBytes = 0 }); err != nil {
		t.Fatal(err)
	}
	r.drain()
	got := r.contents("out")
	if len(got) != records*each {
		t.Fatalf("%d outputs, want %d", len(got), records*each)
	}
	for i, data := range got {
		if want := fmt.Sprintf("r%d-%0100d", i/each, i%each); data != want {
			t.Fatalf("output %d is %s, want %s", i, data, want)
		}
	}
}

func TestATriggerIsDeletedThoughItsTargetIsFull(t *testing.T) {
	r := newRig(t, 1)
	r.stream("out", stream.Config{Shards: 1, MaxBytes: 1 << 20})
	r.fn.handler = func(inv *runtime.Invocation) runtime.Result {
		return runtime.Result{Emits: []runtime.Emit{{Stream: "out", PartitionKey: "k", Data: make([]byte, 700<<10), Item: -1}}}
	}
	r.put("k", "1", "2")
	r.create(triggers.Config{BatchSize: 1})
	r.until("the target is full", func() bool { return strings.Contains(r.status().Outputs, "out") })
	err := r.m.Delete(t.Context(), "t")
	if !errors.Is(err, triggers.ErrLeaving) || !strings.Contains(err.Error(), "out") {
		t.Fatalf("deleted: %v", err)
	}
	// Its outputs become dead letters when the target goes, and it goes too.
	if err := r.streams.Delete(t.Context(), stream.Local("out")); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := r.m.Get(t.Context(), "t"); errors.Is(err, triggers.ErrNotFound) {
			break
		} else if time.Now().After(deadline) {
			t.Fatal("it is still there", err)
		}
	}
	if l := r.letters(); len(l) != 1 || l[0].Kind != dlq.KindOutput || l[0].Trigger != "t" {
		t.Errorf("dead letters %+v", l)
	}
}
