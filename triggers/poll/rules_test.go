package poll

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/dlq/morgue"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
)

func ptr(n int) *int { return &n }

// reports names a poison record as the lowest failed one instead of failing.
func reports(poison string) func(*runtime.Invocation) runtime.Result {
	return func(inv *runtime.Invocation) runtime.Result {
		for _, rec := range inv.Batch.Records {
			if string(rec.Data) == poison {
				return runtime.Result{Outcome: runtime.Partial, Failures: []string{rec.Sequence}}
			}
		}
		return runtime.Result{Outcome: runtime.Done}
	}
}

func (r *rig) letters() []dlq.Letter {
	r.t.Helper()
	all, err := r.morgue.List(r.t.Context(), morgue.Filter{Data: true})
	if err != nil {
		r.t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b dlq.Letter) int { return int(a.Number) - int(b.Number) })
	return all
}

// putTo puts records into a shard, whatever their key.
func (r *rig) putTo(shard int, data ...string) {
	r.t.Helper()
	desc, err := r.streams.Describe(r.t.Context(), stream.Local("s"))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, d := range data {
		e := stream.Entry{PartitionKey: d, ExplicitHashKey: desc.Shards[shard].From.String(), Data: []byte(d)}
		res, err := r.streams.Put(r.t.Context(), stream.Local("s"), []stream.Entry{e})
		if err != nil || res[0].Err != nil {
			r.t.Fatal(err, res)
		}
	}
}

func (r *rig) status() Status {
	r.t.Helper()
	st, err := r.m.Status(r.t.Context(), "t")
	if err != nil {
		r.t.Fatal(err)
	}
	return st
}

// until waits for what others bring about; the deadline only ends a test that fails.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("never %s; %+v; delivered %v", what, r.status(), r.fn.seen())
		}
	}
}

// TestCountingRules holds the rules of esm.md 6.1, and the examples of 5 and 6.4,
// over the whole way: stored records, a function that answers by sequence
// numbers, dead letters in the morgue.
func TestCountingRules(t *testing.T) {
	throttled := func(outcome runtime.Outcome) func(*runtime.Invocation) runtime.Result {
		calls := atomic.Int32{}
		return func(inv *runtime.Invocation) runtime.Result {
			if calls.Add(1) <= 2 {
				return runtime.Result{Outcome: outcome, ErrorType: "TooManyRequests"}
			}
			return failOn("r2")(inv)
		}
	}
	unknown := func(*runtime.Invocation) runtime.Result {
		return runtime.Result{Outcome: runtime.Partial, Failures: []string{"49590338271490256608559692538361571095921575989136588898"}}
	}
	tests := []struct {
		name     string
		config   triggers.Config
		handler  func(*runtime.Invocation) runtime.Result
		records  int
		batches  string
		dead     string // records and attempts
		reported int    // batch size in the letters
	}{
		{"1: a batch without progress is invoked 1 + retries times", triggers.Config{BatchSize: 3, Retries: ptr(2)}, failOn("r2"), 3,
			"[[r0 r1 r2] [r0 r1 r2] [r0 r1 r2]]", "r0:3 r1:3 r2:3", 3},
		{"1: without retries it is invoked once", triggers.Config{BatchSize: 3, Retries: ptr(0)}, failOn("r2"), 3,
			"[[r0 r1 r2]]", "r0:1 r1:1 r2:1", 3},
		{"2: a throttle does not count", triggers.Config{BatchSize: 3, Retries: ptr(0)}, throttled(runtime.Throttled), 3,
			"[[r0 r1 r2] [r0 r1 r2] [r0 r1 r2]]", "r0:1 r1:1 r2:1", 3},
		{"2: a fault of the host does not count", triggers.Config{BatchSize: 3, Retries: ptr(0)}, throttled(runtime.Infrastructure), 3,
			"[[r0 r1 r2] [r0 r1 r2] [r0 r1 r2]]", "r0:1 r1:1 r2:1", 3},
		{"3: progress resets the quota", triggers.Config{BatchSize: 3, Retries: ptr(3), PartialReplies: true}, reports("r5"), 6,
			"[[r0 r1 r2] [r3 r4 r5] [r5] [r5] [r5] [r5]]", "r5:4", 1},
		{"4: the first record named is no progress", triggers.Config{BatchSize: 3, Retries: ptr(1), PartialReplies: true}, reports("r0"), 3,
			"[[r0 r1 r2] [r0 r1 r2]]", "r0:2 r1:2 r2:2", 3},
		{"5: a discarded batch is passed", triggers.Config{BatchSize: 2, Retries: ptr(0)}, failOn("r0"), 4,
			"[[r0 r1] [r2 r3]]", "r0:1 r1:1", 2},
		{"6: nothing else is delivered meanwhile", triggers.Config{BatchSize: 1, Retries: ptr(3)}, failOn("r0"), 3,
			"[[r0] [r0] [r0] [r0] [r1] [r2]]", "r0:4", 1},
		{"an unknown failure id fails the whole batch", triggers.Config{BatchSize: 2, Retries: ptr(1), PartialReplies: true}, unknown, 2,
			"[[r0 r1] [r0 r1]]", "r0:2 r1:2", 2},
		{"6.4: eight records, the sixth is poison", triggers.Config{BatchSize: 8, Retries: ptr(1), Bisect: true}, failOn("r5"), 8,
			"[[r0 r1 r2 r3 r4 r5 r6 r7] [r0 r1 r2 r3] [r4 r5 r6 r7] [r4 r5] [r4] [r5] [r5] [r6 r7]]", "r5:2", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, 1)
			r.fn.handler = tt.handler
			r.put("k", numbers("r", tt.records)...) // one frame: the batches are full
			r.create(tt.config)
			r.drain()
			if got := fmt.Sprint(r.fn.seen()); got != tt.batches {
				t.Errorf("invoked\n%s, want\n%s", got, tt.batches)
			}
			var dead []string
			for _, l := range r.letters() {
				dead = append(dead, fmt.Sprintf("%s:%d", l.Data, l.Attempts))
				if l.Reason != dlq.RetryAttemptsExhausted || l.Batch.Size != tt.reported {
					t.Errorf("dead letter %+v, want a batch of %d", l, tt.reported)
				}
			}
			if got := strings.Join(dead, " "); got != tt.dead {
				t.Errorf("dead letters %q, want %q", got, tt.dead)
			}
		})
	}
}

// MECHANISMS, shard machine: no kill resets a budget.
func TestRestartKeepsTheBudgetOfRetries(t *testing.T) {
	r := newRig(t, 1)
	r.fn.handler = failOn("bad")
	r.put("k", "bad", "good")
	c := from(triggers.Config{BatchSize: 2, Retries: ptr(2)})
	c.Backoff = 100 * time.Millisecond
	if _, err := r.m.Create(t.Context(), "t", c, true); err != nil {
		t.Fatal(err)
	}
	r.until("invoked", func() bool { return len(r.fn.seen()) > 0 })
	r.stop()
	r.start()
	r.drain()
	if n := len(r.fn.seen()); n != 3 {
		t.Errorf("%d invocations, want 3 in both lives together", n)
	}
	for _, l := range r.letters() {
		if l.Attempts != 3 {
			t.Errorf("%s was given up after %d attempts, want 3", l.Data, l.Attempts)
		}
	}
}

// MECHANISMS, Names: a name is in the catalogue and, as what dead letters tell
// of their origin, in their content; nothing on disk is called by it.
func TestNamesStandOnlyInTheCatalogue(t *testing.T) {
	r := newRig(t, 1)
	const name = "unmistakable"
	if _, err := r.streams.Create(t.Context(), stream.Local(name), stream.Config{}); err != nil {
		t.Fatal(err)
	}
	if res, err := r.streams.Put(t.Context(), stream.Local(name), []stream.Entry{{PartitionKey: "k", Data: []byte("bad")}}); err != nil || res[0].Err != nil {
		t.Fatal(res, err)
	}
	r.fn.handler = failOn("bad")
	c := from(triggers.Config{Retries: ptr(0)})
	c.Stream = name
	if _, err := r.m.Create(t.Context(), name, c, true); err != nil {
		t.Fatal(err)
	}
	if err := r.m.WaitDrained(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if n := len(r.letters()); n != 1 {
		t.Fatalf("%d dead letters, want 1", n)
	}
	names := r.srv.JS().StreamNames(t.Context())
	kinds := map[string]int{}
	for n := range names.Name() {
		kind, _, _ := strings.Cut(n, "_")
		kinds[kind]++
		if strings.Contains(n, name) {
			t.Errorf("%s bears the name", n)
		}
		if kind == "KV" {
			continue // the catalogue
		}
		js, err := r.srv.JS().Stream(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		info, err := js.Info(t.Context(), jetstream.WithSubjectFilter(">"))
		if err != nil {
			t.Fatal(err)
		}
		for subject := range info.State.Subjects {
			if strings.Contains(subject, name) {
				t.Errorf("subject %s of %s bears the name", subject, n)
			}
		}
		for seq := info.State.FirstSeq; kind == "L" && seq <= info.State.LastSeq; seq++ {
			if m, err := js.GetMsg(t.Context(), seq); err == nil && strings.Contains(string(m.Data), name) {
				t.Errorf("frame %d of %s holds the name", seq, n)
			}
		}
	}
	if names.Err() != nil || kinds["L"] != 2 || kinds["J"] != 1 || kinds["KV"] == 0 {
		t.Errorf("looked at %v, %v", kinds, names.Err())
	}
}

// MECHANISMS, Names: a stream made again is another one for its triggers.
func TestAStreamMadeAgainHasNoCheckpoint(t *testing.T) {
	r := newRig(t, 1)
	r.put("k", "a", "b", "c")
	r.create(triggers.Config{})
	r.drain()
	if err := r.streams.Delete(t.Context(), stream.Local("s")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.streams.Create(t.Context(), stream.Local("s"), stream.Config{}); err != nil {
		t.Fatal(err)
	}
	r.put("k", "new")
	// The one of the old stream reads nothing of it, not after a restart either.
	r.stop()
	r.start()
	if st := r.status(); !strings.Contains(st.Problem, "was deleted") {
		t.Errorf("problem = %q, want it to say that the stream was deleted", st.Problem)
	}
	// Another one starts at the beginning, though c's checkpoint was behind it.
	if _, err := r.m.Create(t.Context(), "u", from(triggers.Config{}), true); err != nil {
		t.Fatal(err)
	}
	if err := r.m.WaitDrained(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(r.fn.seen()); got != "[[a b c] [new]]" {
		t.Errorf("delivered %s, want [[a b c] [new]]", got)
	}
}

func TestDeadLettersOutliveTheirTriggerAndStream(t *testing.T) {
	r := newRig(t, 1)
	r.fn.handler = failOn("bad")
	r.put("k", "bad")
	r.create(triggers.Config{Retries: ptr(0)})
	r.drain()
	if err := r.streams.Delete(t.Context(), stream.Local("s")); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"without its stream", "without its trigger", "after a restart"} {
		switch when {
		case "without its trigger":
			if err := r.m.Delete(t.Context(), "t"); err != nil {
				t.Fatal(err)
			}
		case "after a restart":
			r.stop()
			r.start()
		}
		if all := r.letters(); len(all) != 1 || string(all[0].Data) != "bad" || all[0].Trigger != "t" {
			t.Errorf("%s: %+v, want the letter with its record", when, all)
		}
	}
}

// MECHANISMS, shard machine: LATEST and AT_TIMESTAMP are resolved in the first
// commit, before the trigger can be seen, and never again.
func TestPositionsAreCommittedBeforeATriggerShows(t *testing.T) {
	for _, kind := range []stream.PositionKind{stream.TrimHorizon, stream.Latest, stream.AtTimestamp} {
		t.Run(string(kind), func(t *testing.T) {
			r := newRig(t, 2)
			r.putTo(0, "before")
			time.Sleep(2 * time.Millisecond)
			at := time.Now()
			time.Sleep(2 * time.Millisecond)
			r.putTo(0, "between")
			want := map[stream.PositionKind]uint64{stream.TrimHorizon: 0, stream.AtTimestamp: 1, stream.Latest: 2}[kind]
			pos := stream.Position{Kind: kind}
			if kind == stream.AtTimestamp {
				pos.Time = at
			}
			mp, err := r.m.Create(t.Context(), "t", from(triggers.Config{Position: pos}), false)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []uint64{want, 0} {
				cp, err := r.journals.Peek(t.Context(), triggers.Source{Mapping: mp.ID, Generation: 1, Shard: stream.ShardID(i)})
				if err != nil || cp == nil || cp.Next != want {
					t.Errorf("shard %d is committed to start at %+v, %v; want %d", i, cp, err, want)
				}
			}
			r.putTo(0, "after")
			r.putTo(1, "other")
			for range 2 { // a restart after all was delivered delivers nothing again
				r.stop()
				r.start()
				if _, err := r.m.Resume(t.Context(), "t"); err != nil {
					t.Fatal(err)
				}
				r.drain()
			}
			got := slices.Sorted(slices.Values(slices.Concat(r.fn.seen()...)))
			all := []string{"before", "between", "after"}[want:]
			if w := slices.Sorted(slices.Values(append([]string{"other"}, all...))); !slices.Equal(got, w) {
				t.Errorf("delivered %v, want %v", got, w)
			}
			if _, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.Position.Kind = "TRIM_HORIZON"; c.Position.Time = at.Add(-1) }); err == nil {
				t.Error("an update moved the position without a new generation")
			}
		})
	}
}

// MECHANISMS, shard machine: a shard without a first commit was found later than
// the trigger was made, and starts at its beginning, even with LATEST.
func TestAShardFoundLaterStartsAtItsBeginning(t *testing.T) {
	r := newRig(t, 2)
	r.putTo(0, "zero")
	r.putTo(1, "one")
	mp, err := r.m.Create(t.Context(), "t", from(triggers.Config{Position: stream.Position{Kind: stream.Latest}}), false)
	if err != nil {
		t.Fatal(err)
	}
	js, err := r.srv.JS().Stream(t.Context(), "J_"+mp.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.Purge(t.Context(), jetstream.WithPurgeSubject("j."+mp.ID+".*.1."+stream.ShardID(1))); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r.journals = journal.Open(r.srv, journal.Options{})
	r.start()
	if _, err := r.m.Resume(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	r.drain()
	if got := fmt.Sprint(r.fn.seen()); got != "[[one]]" {
		t.Errorf("delivered %s, want [[one]]", got)
	}
}

// MECHANISMS, shard machine: trimmed data beyond the checkpoint is a gap with
// its count.
func TestTrimmedRecordsAreACountedGap(t *testing.T) {
	r := newRig(t, 1)
	r.put("k", "a", "b")
	r.put("k", "c", "d", "e")
	r.put("k", "f")
	mp, err := r.m.Create(t.Context(), "t", from(triggers.Config{}), false)
	if err != nil {
		t.Fatal(err)
	}
	sh, err := r.streams.Shard(t.Context(), mp.StreamID, stream.ShardID(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := sh.Log().Trim(t.Context(), 1<<60, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := r.m.Resume(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	r.drain()
	if s := r.status().Shards[0]; s.Gaps != 5 || s.Done != 1 || s.Lag != 0 {
		t.Errorf("status = %+v, want 5 lost, 1 done, no lag", s)
	}
	if got := fmt.Sprint(r.fn.seen()); got != "[[f]]" {
		t.Errorf("delivered %s, want [[f]]", got)
	}
}

// MECHANISMS, Frames: a reader finishes a shard only at END.
func TestAShardIsFinishedOnlyAtItsEND(t *testing.T) {
	r := newRig(t, 2)
	r.putTo(0, "a", "b")
	r.create(triggers.Config{})
	r.drain()
	if st := r.status(); st.Shards[0].Ended || st.Shards[1].Ended {
		t.Errorf("a shard that is read to its tip is finished: %+v", st.Shards)
	}
	desc, err := r.streams.Describe(t.Context(), stream.Local("s"))
	if err != nil {
		t.Fatal(err)
	}
	sh, err := r.streams.Shard(t.Context(), desc.ID, stream.ShardID(0))
	if err != nil {
		t.Fatal(err)
	}
	r.putTo(0, "c")
	if err := sh.Log().End(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.until("finished", func() bool { return r.status().Shards[0].Ended })
	if st := r.status(); st.Shards[0].Done != 3 || st.Shards[1].Ended {
		t.Errorf("%+v, want three records done and the other shard open", st.Shards)
	}
	r.putTo(1, "other") // which goes on
	r.drain()
	if n := len(slices.Concat(r.fn.seen()...)); n != 4 {
		t.Errorf("%d records delivered, want 4", n)
	}
}

// MECHANISMS, Frames: damage stops its shard, and only that, and names shard and
// sequence number.
func TestDamageStopsItsShardAndNoOther(t *testing.T) {
	r := newRig(t, 2)
	r.putTo(0, "good", "bad")
	desc, err := r.streams.Describe(t.Context(), stream.Local("s"))
	if err != nil {
		t.Fatal(err)
	}
	js, err := r.srv.JS().Stream(t.Context(), "L_"+desc.ID+"_0")
	if err != nil {
		t.Fatal(err)
	}
	if err := js.SecureDeleteMsg(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	r.putTo(0, "behind")
	r.putTo(1, "other", "more")
	r.stop()
	r.start()
	r.create(triggers.Config{})
	r.until("told of the damage", func() bool { return r.status().Shards[0].Problem != "" })
	r.until("done with the other shard", func() bool { return r.status().Shards[1].Done == 2 })
	problem := r.status().Shards[0].Problem
	if !strings.Contains(problem, stream.ShardID(0)) || !regexp.MustCompile(`\b\d{56}\b`).MatchString(problem) {
		t.Errorf("problem %q does not name shard and sequence number", problem)
	}
	if s := r.status().Shards[1]; s.Problem != "" {
		t.Errorf("the other shard: %q", s.Problem)
	}
	if got := slices.Concat(r.fn.seen()...); slices.Contains(got, "behind") {
		t.Errorf("delivered %v: what is behind the damage came without leave", got)
	}
}

// MECHANISMS, shard machine: the claim is of the partition key, never of the
// explicit hash key.
func TestOrderIsByPartitionKeyWhateverTheExplicitHashKey(t *testing.T) {
	r := newRig(t, 1)
	var running, most atomic.Int32
	r.fn.handler = func(*runtime.Invocation) runtime.Result {
		n := running.Add(1)
		defer running.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		time.Sleep(time.Millisecond)
		return runtime.Result{}
	}
	var entries []stream.Entry
	for i := range 40 {
		hash := stream.HashOf(fmt.Sprint(i)).String() // of as many buckets as there are
		entries = append(entries, stream.Entry{PartitionKey: "k", ExplicitHashKey: hash, Data: fmt.Append(nil, i)})
	}
	if _, err := r.streams.Put(t.Context(), stream.Local("s"), entries); err != nil {
		t.Fatal(err)
	}
	r.create(triggers.Config{BatchSize: 1, Parallel: 10})
	r.drain()
	for i, b := range r.fn.seen() {
		if b[0] != fmt.Sprint(i) {
			t.Fatalf("invocation %d has %v: order within a key is lost", i, b)
		}
	}
	if most.Load() != 1 {
		t.Errorf("%d records of one key at once", most.Load())
	}
}

// MECHANISMS, shard machine: the 6 MB are those of the JSON event, whatever the
// function reads.
func TestABatchIsAsLargeAsItsJSONEventMayBe(t *testing.T) {
	r := newRig(t, 1)
	var sizes, next []int // of the events, and with one record more
	r.fn.handler = func(inv *runtime.Invocation) runtime.Result {
		size := len(runtime.AppendJSON(nil, inv.Batch))
		more := *inv.Batch
		more.Records = append(slices.Clone(more.Records), more.Records[0])
		sizes, next = append(sizes, size), append(next, len(runtime.AppendJSON(nil, &more))) // one invocation at a time
		return runtime.Result{}
	}
	data := strings.Repeat("x", 300_000)
	for range 40 {
		r.put("k", data)
	}
	r.create(triggers.Config{BatchSize: 1000})
	r.drain()
	if len(sizes) < 3 {
		t.Fatalf("%d batches of 40 records prove nothing", len(sizes))
	}
	for i := range sizes {
		if sizes[i] > triggers.MaxPayload || i < len(sizes)-1 && next[i] <= triggers.MaxPayload {
			t.Errorf("batch %d: an event of %d bytes, with one record more %d; the most is %d", i, sizes[i], next[i], triggers.MaxPayload)
		}
	}
}

// MECHANISMS, shard machine: a record that no event can hold is buried at once.
func TestARecordThatNoEventCanHoldIsBuriedWithoutAnAttempt(t *testing.T) {
	r := newRig(t, 1)
	if _, err := r.streams.Create(t.Context(), stream.Local("large"), stream.Config{RecordBytes: 10 << 20}); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("x", 5<<20) // below 6 MB, but not as base64
	for _, d := range []string{"before", large, "after"} {
		if res, err := r.streams.Put(t.Context(), stream.Local("large"), []stream.Entry{{PartitionKey: "k", Data: []byte(d)}}); err != nil || res[0].Err != nil {
			t.Fatal(res, err)
		}
	}
	c := from(triggers.Config{})
	c.Stream = "large"
	if _, err := r.m.Create(t.Context(), "t", c, true); err != nil {
		t.Fatal(err)
	}
	r.drain()
	if got := fmt.Sprint(slices.Concat(r.fn.seen()...)); got != "[before after]" {
		t.Errorf("delivered %.100s, want [before after]", got)
	}
	all := r.letters()
	if len(all) != 1 || all[0].Reason != dlq.PayloadTooLarge || all[0].Attempts != 0 || string(all[0].Data) != large {
		t.Errorf("%d dead letters, want the large record with reason PayloadTooLarge and no attempt", len(all))
	}
}

func TestTheNodesLookAheadIs256MiB(t *testing.T) {
	if left := New(Deps{}).budget.free.Load(); left != 256<<20 {
		t.Errorf("%d bytes, want 256 MiB", left)
	}
}

// MECHANISMS, Cache: each mapping has its own cursor.
func TestTriggersOfAStreamGoTheirOwnWays(t *testing.T) {
	r := newRig(t, 1)
	block := make(chan struct{})
	r.fn.handler = func(*runtime.Invocation) runtime.Result { <-block; return runtime.Result{} }
	r.put("k", numbers("r", 10)...)
	r.create(triggers.Config{BatchSize: 1})
	r.until("invoked", func() bool { return len(r.fn.seen()) == 1 })
	// g always fails, and is through while f stands at its first record.
	if _, err := r.m.Create(t.Context(), "u", from(triggers.Config{Function: "g", BatchSize: 3, Retries: ptr(0)}), true); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := r.m.WaitDrained(ctx, "u"); err != nil {
		t.Error(err)
	}
	if st := r.status(); st.Shards[0].Next != 0 {
		t.Errorf("the one that stands has moved to %d", st.Shards[0].Next)
	}
	close(block)
	r.drain()
}

// A pause, update or seek that is cut short may leave a commit under way. It may land
// when the shard has been taken again, by the same server.
func TestACommitOfOursThatLandsLateStopsNothing(t *testing.T) {
	r := newRig(t, 1)
	r.put("k", "a")
	r.create(triggers.Config{BatchSize: 1})
	r.drain()
	mp, err := r.m.Get(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	src := triggers.Source{Mapping: mp.ID, Generation: 1, Shard: stream.ShardID(0)}
	late, cp, err := journal.Open(r.srv, journal.Options{}).Take(t.Context(), src, r.m.owner)
	if err != nil {
		t.Fatal(err)
	}
	if err := late.Commit(t.Context(), *cp, journal.Cargo{}); err != nil {
		t.Fatal(err)
	}
	r.put("k", numbers("r", 20)...)
	r.drain()
	if p := r.status().Shards[0].Problem; p != "" {
		t.Errorf("problem: %s", p)
	}
}

// MECHANISMS, Journal: a commit of another epoch fences: the shard stops and
// says so.
func TestAShardThatAnotherHasTakenStops(t *testing.T) {
	r := newRig(t, 1)
	r.put("k", "a")
	r.create(triggers.Config{BatchSize: 1})
	r.drain()
	mp, err := r.m.Get(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	src := triggers.Source{Mapping: mp.ID, Generation: 1, Shard: stream.ShardID(0)}
	other, cp, err := journal.Open(r.srv, journal.Options{}).Take(t.Context(), src, "other")
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Commit(t.Context(), *cp, journal.Cargo{}); err != nil {
		t.Fatal(err)
	}
	r.put("k", numbers("r", 20)...)
	r.until("fenced", func() bool { return strings.Contains(r.status().Shards[0].Problem, "another server") })
	invoked := len(r.fn.seen())
	r.put("k", "more")
	if got, err := r.journals.Peek(t.Context(), src); err != nil || got.Next != cp.Next {
		t.Errorf("checkpoint %+v, %v; want the other's %d", got, err, cp.Next)
	}
	if n := len(r.fn.seen()); n != invoked {
		t.Errorf("%d invocations after the shard was fenced", n-invoked)
	}
}
