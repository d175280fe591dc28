package poll

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
)

func (r *rig) describe() stream.Description {
	r.t.Helper()
	desc, err := r.streams.Describe(r.t.Context(), stream.Local("s"))
	if err != nil {
		r.t.Fatal(err)
	}
	return desc
}

// split cuts a shard at the key that the shard's upper half of a whole stream would begin with.
func (r *rig) split(index int) {
	r.t.Helper()
	s := r.describe().Shards[index]
	at := stream.HashKey{Hi: s.From.Hi + (s.To.Hi-s.From.Hi)/2 + 1}
	if _, err := r.streams.Split(r.t.Context(), stream.Local("s"), s.ID, at); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) merge(a, b int) {
	r.t.Helper()
	if _, err := r.streams.Merge(r.t.Context(), stream.Local("s"), stream.ShardID(a), stream.ShardID(b)); err != nil {
		r.t.Fatal(err)
	}
}

// halves are a key of the lower half of all hash keys, and one of the upper half.
func halves() (low, high string) {
	for i := 0; low == "" || high == ""; i++ {
		if key := fmt.Sprint("k", i); stream.HashOf(key).Hi>>63 == 0 {
			low = key
		} else {
			high = key
		}
	}
	return low, high
}

// keyed is a function that keeps what it saw of each key, and may be held up.
type keyed struct {
	mu    sync.Mutex
	seen  map[string][]string
	after []string                 // in order of invocation, of all keys
	hold  map[string]chan struct{} // by data: closed to let it go on
	fail  map[string]bool
}

func watchKeys(r *rig) *keyed {
	k := &keyed{seen: map[string][]string{}, hold: map[string]chan struct{}{}, fail: map[string]bool{}}
	r.fn.handler = k.handle
	return k
}

func (k *keyed) handle(inv *runtime.Invocation) runtime.Result {
	for _, rec := range inv.Batch.Records {
		k.mu.Lock()
		wait, fail := k.hold[string(rec.Data)], k.fail[string(rec.Data)]
		k.mu.Unlock()
		if wait != nil {
			<-wait
		}
		if fail {
			return runtime.Result{Outcome: runtime.FunctionError, ErrorType: "errorString", ErrorMessage: "cannot digest " + string(rec.Data)}
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, rec := range inv.Batch.Records {
		k.seen[rec.PartitionKey] = append(k.seen[rec.PartitionKey], string(rec.Data))
		k.after = append(k.after, string(rec.Data))
	}
	return runtime.Result{Outcome: runtime.Done}
}

// stop holds up whatever batch holds that data, until the func returned is called.
func (k *keyed) stop(data string) (release func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	wait := make(chan struct{})
	k.hold[data] = wait
	return sync.OnceFunc(func() { close(wait) })
}

func (k *keyed) all() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return strings.Join(k.after, " ")
}

func (k *keyed) want(t *testing.T, what, want string) {
	t.Helper()
	if got := k.all(); got != want {
		t.Errorf("%s: delivered %q, want %q", what, got, want)
	}
}

// shardOf is the status of one shard.
func (r *rig) shardOf(index int) ShardStatus {
	r.t.Helper()
	for _, s := range r.status().Shards {
		if s.Shard == stream.ShardID(index) {
			return s
		}
	}
	r.t.Fatalf("no status of shard %d: %+v", index, r.status())
	return ShardStatus{}
}

func (r *rig) waitsFor(index int) string {
	r.t.Helper()
	if m := r.shardOf(index).Machine; m != nil {
		return m.WaitsFor
	}
	return ""
}

func TestAChildIsReadWhenItsParentIsFinishedAndFromItsBeginning(t *testing.T) {
	for _, parallel := range []int{1, 4} {
		for _, kind := range []stream.PositionKind{stream.TrimHorizon, stream.Latest} {
			t.Run(fmt.Sprint(parallel, kind), func(t *testing.T) {
				r := newRig(t, 1)
				k := watchKeys(r)
				low, high := halves()
				r.create(triggers.Config{BatchSize: 1, Parallel: parallel, Position: stream.Position{Kind: kind}})
				release := k.stop("1")
				defer release()
				r.put(low, "1", "2")
				r.until("invoked", func() bool { return len(r.fn.seen()) > 0 })
				r.split(0)
				r.put(low, "3")
				r.put(high, "4")
				want := "waits for its parent " + stream.ShardID(0) + " to be finished"
				r.until("waiting", func() bool { return r.waitsFor(1) == want && r.waitsFor(2) == want })
				r.merge(1, 2)
				r.put(low, "5")
				if got := k.all(); got != "" {
					t.Errorf("%q ran before the parent was finished", got)
				}
				release()
				r.drain()
				if got := strings.Join(k.seen[low], " "); got != "1 2 3 5" {
					t.Errorf("%q delivered of %s, want 1 2 3 5", got, low)
				}
				if got := strings.Join(k.seen[high], " "); got != "4" {
					t.Errorf("%q delivered of %s, want 4", got, high)
				}
				for i, s := range r.status().Shards {
					if s.Ended != (i < 3) || s.Lag != 0 || s.Problem != "" {
						t.Errorf("%+v", s)
					}
				}
			})
		}
	}
}

func TestGrandchildrenWaitForTheirGrandparent(t *testing.T) {
	r := newRig(t, 1)
	k := watchKeys(r)
	low, _ := halves()
	r.create(triggers.Config{BatchSize: 1})
	release := k.stop("a")
	defer release()
	r.put(low, "a")
	r.until("invoked", func() bool { return len(r.fn.seen()) > 0 })
	r.split(0)
	r.put(low, "b")
	r.split(1)
	r.put(low, "c")
	owner := 3
	if !covers(r.describe().Shards[3], stream.HashOf(low)) {
		owner = 4
	}
	r.split(owner)
	r.put(low, "d")
	r.until("seen", func() bool { return len(r.status().Shards) == 7 })
	// Nobody knows more than that the shards before are open.
	release()
	r.stop()
	r.start()
	r.drain()
	k.want(t, "after a restart", "a b c d")
}

func TestAMergedShardWaitsForTheLaterOfItsParents(t *testing.T) {
	r := newRig(t, 2)
	k := watchKeys(r)
	low, high := halves()
	k.fail["x"] = true
	r.put(low, "x")
	r.put(high, "1")
	r.create(triggers.Config{BatchSize: 1})
	r.merge(0, 1)
	r.put(low, "2")
	r.put(high, "3")
	want := "waits for its parent " + stream.ShardID(0) + " to be finished"
	r.until("waiting for one of two", func() bool { return r.shardOf(1).Ended && r.waitsFor(2) == want })
	if s := r.shardOf(0); s.Machine == nil || len(s.Machine.Units) != 1 || s.Machine.Units[0].Attempts == 0 {
		t.Errorf("the parent with poison: %+v", s.Machine)
	}
	k.want(t, "while a parent fails", "1")
	// A pause and a restart are no way around it.
	if _, err := r.m.Pause(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	if s := r.shardOf(2); s.Machine != nil || s.Lag != 2 {
		t.Errorf("paused: %+v", s)
	}
	r.stop()
	r.start()
	if _, err := r.m.Resume(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	r.until("waiting again", func() bool { return r.waitsFor(2) == want })
	k.mu.Lock()
	k.fail["x"] = false
	k.mu.Unlock()
	r.drain()
	if got := k.all(); got != "1 x 2 3" && got != "1 x 3 2" {
		t.Errorf("delivered %q", got)
	}
}

func TestATriggerMadeOnAStreamThatWasSplitBefore(t *testing.T) {
	low, _ := halves()
	prepare := func(t *testing.T) (*rig, *keyed, time.Time) {
		r := newRig(t, 1)
		r.put(low, "1", "2")
		r.split(0)
		r.put(low, "3")
		time.Sleep(2 * time.Millisecond)
		at := time.Now()
		time.Sleep(2 * time.Millisecond)
		r.put(low, "4")
		r.merge(1, 2)
		r.put(low, "5")
		return r, watchKeys(r), at
	}
	tests := []struct {
		kind  stream.PositionKind
		want  string
		ended string // indexes of shards that are finished before anything has run
	}{
		{stream.TrimHorizon, "1 2 3 4 5 6", "2"}, // nothing was ever put to the upper half
		{stream.AtTimestamp, "4 5 6", "0 2"},
		{stream.Latest, "6", "0 1 2"},
	}
	for _, tt := range tests {
		t.Run(string(tt.kind), func(t *testing.T) {
			r, k, at := prepare(t)
			pos := stream.Position{Kind: tt.kind}
			if tt.kind == stream.AtTimestamp {
				pos.Time = at
			}
			if _, err := r.m.Create(t.Context(), "t", from(triggers.Config{Position: pos, BatchSize: 1}), false); err != nil {
				t.Fatal(err)
			}
			var ended []string
			for i, s := range r.status().Shards {
				if s.Ended {
					ended = append(ended, fmt.Sprint(i))
				}
			}
			if got := strings.Join(ended, " "); got != tt.ended {
				t.Errorf("finished at once: %q, want %q", got, tt.ended)
			}
			r.put(low, "6")
			if _, err := r.m.Resume(t.Context(), "t"); err != nil {
				t.Fatal(err)
			}
			r.drain()
			k.want(t, "from "+string(tt.kind), tt.want)
		})
	}
}

func TestAPausedTriggerGoesOnThroughAllThatHappenedToItsStream(t *testing.T) {
	r := newRig(t, 1)
	k := watchKeys(r)
	low, high := halves()
	r.create(triggers.Config{BatchSize: 1})
	r.put(low, "1")
	r.drain()
	if _, err := r.m.Pause(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	r.put(low, "2")
	r.split(0)
	r.put(low, "3")
	r.merge(1, 2)
	r.put(low, "4")
	r.split(3)
	r.put(low, "5")
	r.put(high, "6")
	r.stop()
	r.start()
	if _, err := r.m.Resume(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	r.drain()
	if got := strings.Join(k.seen[low], " "); got != "1 2 3 4 5" || len(k.seen[high]) != 1 {
		t.Errorf("delivered %v", k.seen)
	}
}

// TestOrderPerKeyHoldsThroughSplitsAndMerges puts, splits, merges, pauses and restarts
// at once, and has every record delivered once and in order of its key.
func TestOrderPerKeyHoldsThroughSplitsAndMerges(t *testing.T) {
	for _, parallel := range []int{1, 3} {
		t.Run(fmt.Sprint(parallel), func(t *testing.T) {
			r := newRig(t, 2)
			k := watchKeys(r)
			r.create(triggers.Config{BatchSize: 7, Parallel: parallel})
			done := make(chan struct{})
			var wg sync.WaitGroup
			var mu sync.Mutex // the store is another one after a restart
			counts := make([]int, 9)
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-done:
						return
					default:
					}
					mu.Lock()
					n := i % len(counts)
					r.put(fmt.Sprint("key", n), fmt.Sprint(counts[n]), fmt.Sprint(counts[n]+1))
					counts[n] += 2
					mu.Unlock()
				}
			})
			for i := range 40 {
				open := slices.DeleteFunc(r.describe().Shards, func(s stream.Shard) bool { return s.State != stream.Active })
				slices.SortFunc(open, func(a, b stream.Shard) int { return a.From.Compare(b.From) })
				at := rand.IntN(len(open))
				if len(open) > 1 && (len(open) > 4 || rand.IntN(2) == 0) {
					at = min(at, len(open)-2)
					r.merge(open[at].Index, open[at+1].Index)
				} else {
					r.split(open[at].Index)
				}
				switch i % 10 {
				case 4:
					if _, err := r.m.Pause(t.Context(), "t"); err != nil {
						t.Error(err)
					}
				case 6:
					if _, err := r.m.Resume(t.Context(), "t"); err != nil {
						t.Error(err)
					}
				case 9:
					mu.Lock()
					r.stop()
					r.start()
					mu.Unlock()
				}
			}
			close(done)
			wg.Wait()
			r.drain()
			for n, count := range counts {
				got := k.seen[fmt.Sprint("key", n)]
				for i := range max(count, len(got)) {
					if i >= count || i >= len(got) || got[i] != fmt.Sprint(i) {
						t.Fatalf("key%d: record %d of %d is missing, twice or out of order: %v", n, i, count, got)
					}
				}
			}
			for _, s := range r.status().Shards[:40] {
				if s.Problem != "" || s.Gaps > 0 {
					t.Errorf("%+v", s)
				}
			}
		})
	}
}

func TestSeekAcrossSplitsCountsAndDelivers(t *testing.T) {
	r := newRig(t, 1)
	k := watchKeys(r)
	low, high := halves()
	r.put(low, "1", "2", "3")
	r.create(triggers.Config{BatchSize: 1})
	r.split(0)
	r.put(low, "4")
	r.put(high, "5", "6")
	r.drain()
	first := k.all()
	check := func(what string, moves []Move, want ...Move) {
		t.Helper()
		for i, w := range want {
			w.Shard = stream.ShardID(i)
			if i >= len(moves) || moves[i] != w {
				t.Errorf("%s: %+v, want %+v", what, moves, want)
				return
			}
		}
	}
	all := []Move{{From: 3, Again: 3}, {From: 1, Again: 1}, {From: 2, Again: 2}}
	if covers(r.describe().Shards[1], stream.HashOf(high)) {
		all[1], all[2] = all[2], all[1]
	}
	_, moves := r.seek(horizon, true)
	check("dry", moves, all...)
	k.want(t, "a dry seek", first)

	// Back to the beginning: children wait once more, where they are.
	release := k.stop("1")
	defer release()
	_, moves = r.seek(horizon, false)
	check("to the beginning", moves, all...)
	r.until("waiting", func() bool { return r.waitsFor(1) != "" && r.waitsFor(2) != "" })
	release()
	r.drain()
	if again := strings.TrimPrefix(k.all(), first+" "); !strings.HasPrefix(again, "1 2 3 ") || len(again) != len(first) {
		t.Errorf("again: %q", again)
	}

	// To a sequence number of the closed shard: the children stay where they are.
	var second stream.SequenceNumber
	for _, rec := range r.stored("s") {
		if string(rec.Data) == "2" {
			second = rec.Sequence
		}
	}
	before := k.all()
	_, moves = r.seek(stream.Position{Kind: stream.At, Sequence: second}, false)
	if len(moves) != 3 || moves[0].Again != 2 || moves[1].Again+moves[2].Again+moves[1].Skipped+moves[2].Skipped != 0 {
		t.Errorf("to a number: %+v", moves)
	}
	r.put(low, "7")
	r.drain()
	k.want(t, "to a number", before+" 2 3 7")

	// To the end: what is closed is finished at once.
	if _, err := r.m.Pause(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	r.seek(horizon, false)
	r.put(low, "8")
	_, moves = r.seek(stream.Position{Kind: stream.Latest}, true)
	var skipped uint64
	for _, m := range moves {
		skipped += m.Skipped
	}
	if skipped != 8 {
		t.Errorf("a seek to the end skips %d records, want 8: %+v", skipped, moves)
	}
	r.seek(stream.Position{Kind: stream.Latest}, false)
	if !r.shardOf(0).Ended {
		t.Error("the closed shard is not finished by a seek to its end")
	}
	before = k.all()
	if _, err := r.m.Resume(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	r.put(low, "9")
	r.drain()
	k.want(t, "from the end", before+" 9")
}

func TestALetterOfAClosedShardIsRedrivenByTheShardThatOwnsItsKeyNow(t *testing.T) {
	r := newRig(t, 1)
	b := &broken{}
	r.fn.handler = b.handle
	low, high := halves()
	r.put(low, "1", "x1", "2")
	r.put(high, "x2")
	r.create(triggers.Config{BatchSize: 1, Retries: ptr(0)})
	r.split(0)
	r.put(low, "3")
	r.put(high, "4", "x3")
	r.drain()
	letters := r.letters()
	if len(letters) != 3 || !r.shardOf(0).Ended {
		t.Fatalf("%d dead letters, want 3; %+v", len(letters), r.shardOf(0))
	}
	out := r.mustRedrive(letters, "x1:buried x2:buried x3:buried")
	if out["x1"].Attempts != 1 {
		t.Errorf("%+v", out["x1"])
	}
	r.merge(1, 2)
	b.fixed.Store(true)
	r.mustRedrive(r.letters(), "x1:done x2:done x3:done")
	r.drain()
	if n := len(r.letters()); n != 0 {
		t.Errorf("%d dead letters are left", n)
	}
	// The letter tells of its own shard to the last.
	if letters[0].Shard != stream.ShardID(0) {
		t.Errorf("a letter of shard %s", letters[0].Shard)
	}
}

// While the shard that owns its key waits for others, a letter goes to the one of
// those that has the key and is not finished; if there is none it waits as well, and
// holds up no letter of another key.
func TestALetterWhoseOwnerWaitsHoldsUpNoOther(t *testing.T) {
	r := newRig(t, 2)
	k := watchKeys(r)
	low, high := halves()
	other := "" // a key of the upper half in another bucket
	for i := 0; other == "" || stream.HashOf(other).Hi>>63 == 0 || stream.Bucket(other) == stream.Bucket(high); i++ {
		other = fmt.Sprint("o", i)
	}
	k.fail["x"], k.fail["y"] = true, true
	r.put(low, "x")
	r.put(other, "y")
	r.create(triggers.Config{BatchSize: 1, Retries: ptr(0), Parallel: 2})
	r.drain()
	release := k.stop("hold")
	defer release()
	r.put(high, "hold")
	r.merge(0, 1)
	r.put(low, "2")
	r.until("waiting for one", func() bool { return r.shardOf(0).Ended && r.waitsFor(2) != "" })
	k.mu.Lock()
	clear(k.fail)
	k.mu.Unlock()
	letters := r.letters()
	slices.SortFunc(letters, func(a, b dlq.Letter) int { return strings.Compare(string(a.Data), string(b.Data)) })
	done := make(chan string, 2)
	over := make(chan error, 1)
	go func() {
		over <- r.m.Redrive(t.Context(), "t", letters, 0, func(v Redriven) { done <- v.PartitionKey + " " + string(v.Outcome) })
	}()
	if got := <-done; got != other+" done" {
		t.Errorf("first %q, want that of the shard that is read", got)
	}
	release()
	if got := <-done; got != low+" done" {
		t.Errorf("then %q", got)
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
	r.drain()
	if n := len(r.letters()); n != 0 {
		t.Errorf("%d letters are left", n)
	}
}

// A letter that is being redriven keeps its shard from its end.
func TestAShardIsNotFinishedBeforeItsRedrivesAre(t *testing.T) {
	r := newRig(t, 1)
	b := &broken{}
	r.fn.handler = b.handle
	low, _ := halves()
	r.put(low, "x1")
	c := from(triggers.Config{BatchSize: 1, Retries: ptr(0)})
	if _, err := r.m.Create(t.Context(), "t", c, true); err != nil {
		t.Fatal(err)
	}
	r.drain()
	if _, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.Retries, c.Backoff = ptr(-1), time.Millisecond }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = r.m.Redrive(ctx, "t", r.letters(), 0, func(Redriven) {}) }()
	r.until("redriving", func() bool {
		return len(r.shardOf(0).Machine.Redrives) == 1 && r.shardOf(0).Machine.Redrives[0].Attempts > 1
	})
	r.split(0)
	r.put(low, "2")
	r.stop()
	r.start()
	r.until("waiting", func() bool { return r.waitsFor(1) != "" })
	before := len(r.fn.seen())
	r.until("trying", func() bool { return len(r.fn.seen()) > before+2 })
	if slices.ContainsFunc(r.fn.seen(), func(b []string) bool { return b[0] == "2" }) {
		t.Error("a newer record of the key ran before the letter was at its end")
	}
	b.fixed.Store(true)
	r.drain()
	if got := r.fn.seen(); got[len(got)-1][0] != "2" || got[len(got)-2][0] != "x1" {
		t.Errorf("delivered %v", got)
	}
	if n := len(r.letters()); n != 0 {
		t.Errorf("%d letters are left", n)
	}
}

func TestAChildWaitsUntilWhatItsParentHasEmittedIsThere(t *testing.T) {
	r := newRig(t, 1)
	low, _ := halves()
	r.stream("out", stream.Config{Shards: 1, MaxBytes: 1 << 20})
	r.fn.handler = echo("")
	fill := strings.Repeat("x", 1<<20-2000)
	if _, err := r.streams.Put(t.Context(), stream.Local("out"), []stream.Entry{{PartitionKey: "fill", Data: []byte(fill)}}); err != nil {
		t.Fatal(err)
	}
	r.put(low, strings.Repeat("a", 4000))
	r.create(triggers.Config{BatchSize: 1})
	r.until("done", func() bool { return r.shardOf(0).Done == 1 })
	r.split(0)
	r.put(low, "b")
	r.until("waiting for outputs", func() bool { return r.shardOf(0).Ended && r.waitsFor(1) == outputsUnderWay })
	r.stop()
	r.start()
	r.until("waiting for outputs after a restart", func() bool { return r.waitsFor(1) == outputsUnderWay })
	if n := len(r.fn.seen()); n != 1 {
		t.Errorf("%d invocations while outputs of the parent were under way", n)
	}
	if _, err := r.streams.Update(t.Context(), stream.Local("out"), func(c *stream.Config) { c.MaxBytes = 0 }); err != nil {
		t.Fatal(err)
	}
	r.drain()
	if got := r.contents("out"); len(got) != 3 || got[1][:1] != "a" || got[2] != "b" {
		t.Errorf("%d outputs, in another order", len(got))
	}
}

func TestChildrenAreReadThoughTheStoreWasDownWhenTheirTurnCame(t *testing.T) {
	r := newRig(t, 2)
	k := watchKeys(r)
	low, high := halves()
	r.create(triggers.Config{BatchSize: 1})
	releaseLow, releaseHigh := k.stop("1"), k.stop("2")
	defer releaseLow()
	defer releaseHigh()
	r.put(low, "1")
	r.put(high, "2")
	r.until("invoked", func() bool { return len(r.fn.seen()) == 2 })
	r.split(0)
	r.split(1)
	r.put(low, "3")
	r.put(high, "4")
	r.faults.Store(1)
	releaseLow()
	r.until("in vain", func() bool { return r.faults.Load() < 1 && r.shardOf(0).Ended })
	releaseHigh()
	r.drain()
	if st := r.status(); st.Problem != "" {
		t.Errorf("problem %q when all is well", st.Problem)
	}
}

// A journal that is damaged in one shard keeps no other shard from going on.
func TestADamagedJournalOfAClosedShardStopsItsChildrenOnly(t *testing.T) {
	r := newRig(t, 2)
	k := watchKeys(r)
	low, high := halves()
	mp, err := r.m.Create(t.Context(), "t", from(triggers.Config{BatchSize: 1}), false)
	if err != nil {
		t.Fatal(err)
	}
	r.put(low, "1")
	r.put(high, "2")
	r.split(0)
	r.split(1)
	r.put(low, "3")
	r.put(high, "4")
	js, err := r.srv.JS().Stream(t.Context(), "J_"+mp.ID)
	if err != nil {
		t.Fatal(err)
	}
	subject := "j." + mp.ID + ".c.1." + stream.ShardID(0)
	if err := js.Purge(t.Context(), jetstream.WithPurgeSubject(subject)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.srv.JS().Publish(t.Context(), subject, []byte("WJ garbage, and then some")); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r.journals = journal.Open(r.srv, journal.Options{})
	r.start()
	if _, err := r.m.Resume(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	r.until("the others are through", func() bool { return k.all() == "2 4" })
	r.until("waiting for the damaged one", func() bool {
		return strings.Contains(r.shardOf(0).Problem, "corrupt") && r.waitsFor(2) == waitsFor([]string{stream.ShardID(0)})
	})
}
