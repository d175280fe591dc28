package poll

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wasmill/wasmill/dlq/morgue"
	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
	"github.com/wasmill/wasmill/triggers/relay"
)

// rig is everything around a Manager, real, but for the function: that is a Go
// func of the test.
type rig struct {
	t        *testing.T
	srv      *natsd.Server
	logs     *log.Set
	streams  *natsstream.Store
	targets  atomic.Pointer[natsstream.Store] // the same, for the relay
	journals *journal.Store
	morgue   *morgue.Morgue
	relay    *relay.Relay
	mappings *kv.Bucket[triggers.Mapping]
	fn       *function
	m        *Manager
	close    func()        // everything; it is called when the test is over
	faults   atomic.Int32  // how often the relay will not know what is delivered
	delay    time.Duration // how long a stream is UPDATING, from the next start on
	// lookahead is the node's budget; 0: the default.
	lookahead int64
	observer  Observer // from the next start on
	told      destinations
}

// destinations keep what they are told, unless they are out of order.
type destinations struct {
	mu      sync.Mutex
	broken  bool
	notices []triggers.Notice
}

func (d *destinations) Send(_ context.Context, n triggers.Notice) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken {
		return errors.New("the destination is out of order")
	}
	d.notices = append(d.notices, n)
	return nil
}

func (d *destinations) all() []triggers.Notice {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.notices)
}

// faulty is a relay whose store is down now and then.
type faulty struct {
	*relay.Relay
	faults *atomic.Int32
}

func (f faulty) Delivered(ctx context.Context, src triggers.Source) (bool, error) {
	if f.faults.Add(-1) >= 0 {
		return false, natsd.ErrDown
	}
	return f.Relay.Delivered(ctx, src)
}

// function runs a test's handler and keeps what it saw.
type function struct {
	mu      sync.Mutex
	handler func(*runtime.Invocation) runtime.Result
	batches [][]string // the data of each batch, in order of invocation
	out     int
	most    int
	warmed  []string // what was asked to be started ahead
}

func (f *function) Prewarm(_ context.Context, name, qualifier string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.warmed = append(f.warmed, name+":"+qualifier)
}

func (f *function) Invoke(_ context.Context, name, _ string, inv *runtime.Invocation) runtime.Result {
	var data []string
	for _, r := range inv.Batch.Records {
		data = append(data, string(r.Data))
	}
	f.mu.Lock()
	f.batches = append(f.batches, data)
	f.out++
	f.most = max(f.most, f.out)
	handler := f.handler
	f.mu.Unlock()
	res := runtime.Result{Outcome: runtime.Done}
	if name == "g" {
		// g never succeeds.
		res = runtime.Result{Outcome: runtime.FunctionError, ErrorType: "errorString", ErrorMessage: "g fails"}
	} else if handler != nil {
		res = handler(inv)
	}
	f.mu.Lock()
	f.out--
	f.mu.Unlock()
	res.Version = functions.Version{Function: name, Version: functions.Unpublished, Code: functions.Code{SHA256: "c0de"}}
	return res
}

func (f *function) seen() [][]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.batches)
}

// Version knows the functions f and g.
func (f *function) Version(_ context.Context, name, _ string) (functions.Version, error) {
	if name != "f" && name != "g" {
		return functions.Version{}, fmt.Errorf("%w: function %s", functions.ErrNotFound, name)
	}
	return functions.Version{Function: name, Version: functions.Unpublished}, nil
}

func newRig(t *testing.T, shards int) *rig {
	t.Helper()
	r := &rig{t: t, srv: natsdtest.New(t), fn: &function{}}
	ctx := t.Context()
	r.open()
	var err error
	if _, err := r.streams.Create(ctx, stream.Local("s"), stream.Config{Shards: shards}); err != nil {
		t.Fatal(err)
	}
	r.journals = journal.Open(r.srv, journal.Options{})
	if r.morgue, err = morgue.Open(ctx, r.srv, r.journals); err != nil {
		t.Fatal(err)
	}
	r.relay = relay.New(r.srv, r.journals, r.morgue, targets{r}, nil)
	r.relay.Notify(&r.told, nil)
	if r.mappings, err = kv.Open[triggers.Mapping](ctx, r.srv, "mappings"); err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.relay.Run(running) })
	r.close = sync.OnceFunc(func() {
		r.stop()
		stop()
		wg.Wait()
	})
	t.Cleanup(r.close)
	r.run()
	return r
}

// open opens what is stored of the streams.
func (r *rig) open() {
	r.t.Helper()
	r.logs = log.New(r.srv, log.Options{})
	var err error
	if r.streams, err = natsstream.Open(r.t.Context(), r.srv, r.logs, natsstream.Options{StateDelay: r.delay}); err != nil {
		r.t.Fatal(err)
	}
	r.targets.Store(r.streams)
}

// targets are the streams as the rig has them now, for a relay that outlives
// their reopening.
type targets struct{ r *rig }

func (t targets) Progress(ctx context.Context, streamID, source string) (*natsstream.Progress, error) {
	return t.r.targets.Load().Progress(ctx, streamID, source)
}

func (t targets) Route(streamID string, key stream.HashKey) (string, error) {
	return t.r.targets.Load().Route(streamID, key)
}

func (t targets) Relay(ctx context.Context, streamID, source string, p *natsstream.Progress, at log.Mark, shard string, recs []log.Record) error {
	return t.r.targets.Load().Relay(ctx, streamID, source, p, at, shard, recs)
}

// start makes everything anew on what is stored, as a restart does.
func (r *rig) start() {
	r.t.Helper()
	r.open()
	r.run()
}

func (r *rig) run() {
	r.t.Helper()
	r.m = New(Deps{Streams: r.streams, Journals: r.journals, Mappings: r.mappings, Invoker: r.fn, Relay: faulty{r.relay, &r.faults}, Letters: r.morgue, Functions: r.fn, Lookahead: r.lookahead, Observer: r.observer})
	if err := r.m.Start(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) stop() {
	ctx := context.WithoutCancel(r.t.Context())
	if err := errors.Join(r.m.Close(ctx), r.streams.Close(ctx), r.logs.Close(ctx)); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) put(key string, data ...string) {
	r.t.Helper()
	entries := make([]stream.Entry, len(data))
	for i, d := range data {
		entries[i] = stream.Entry{PartitionKey: key, Data: []byte(d)}
	}
	for len(entries) > 0 {
		n := min(500, len(entries))
		res, err := r.streams.Put(r.t.Context(), stream.Local("s"), entries[:n])
		if err != nil {
			r.t.Fatal(err)
		}
		for _, p := range res {
			if p.Err != nil {
				r.t.Fatal(p.Err)
			}
		}
		entries = entries[n:]
	}
}

func (r *rig) create(c triggers.Config) {
	r.t.Helper()
	if _, err := r.m.Create(r.t.Context(), "t", from(c), true); err != nil {
		r.t.Fatal(err)
	}
}

// from fills in what most tests do not care for.
func from(c triggers.Config) triggers.Config {
	c.Stream = "s"
	if c.Function == "" {
		c.Function = "f"
	}
	if c.Position.Kind == "" {
		c.Position.Kind = stream.TrimHorizon
	}
	c.Backoff = time.Millisecond
	return c
}

func (r *rig) drain() { r.t.Helper(); r.drainFor(20 * time.Second) }

func (r *rig) drainFor(d time.Duration) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), d)
	defer cancel()
	if err := r.m.WaitDrained(ctx, "t"); err != nil {
		st, _ := r.m.Status(r.t.Context(), "t")
		r.t.Fatalf("not drained: %v; %+v", err, st)
	}
}

func numbers(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(prefix, i)
	}
	return out
}

func failOn(poison string) func(*runtime.Invocation) runtime.Result {
	return func(inv *runtime.Invocation) runtime.Result {
		for _, rec := range inv.Batch.Records {
			if string(rec.Data) == poison {
				return runtime.Result{Outcome: runtime.FunctionError, ErrorType: "errorString", ErrorMessage: "cannot digest " + poison}
			}
		}
		return runtime.Result{Outcome: runtime.Done}
	}
}

func TestEveryRecordIsDeliveredOnceInOrder(t *testing.T) {
	r := newRig(t, 1)
	want := numbers("r", 1234)
	r.put("k", want...)
	r.create(triggers.Config{BatchSize: 100})
	r.drain()
	var got []string
	for _, b := range r.fn.seen() {
		if len(b) > 100 {
			t.Errorf("a batch of %d, want 100 at most", len(b))
		}
		got = append(got, b...)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d records delivered, want %d in order", len(got), len(want))
	}
}

func TestPoisonIsBuriedWithAllThatIsKnown(t *testing.T) {
	r := newRig(t, 2)
	r.fn.handler = failOn("bad")
	retries := 1
	r.put("k", "a", "b", "bad", "c")
	r.create(triggers.Config{Bisect: true, Retries: &retries})
	r.drain()
	letters, err := r.morgue.List(t.Context(), morgue.Filter{Data: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(letters) != 1 {
		t.Fatalf("%d dead letters, want 1", len(letters))
	}
	l := letters[0]
	if string(l.Data) != "bad" || l.PartitionKey != "k" || l.Trigger != "t" || l.Reason != "RetryAttemptsExhausted" ||
		l.ErrorMessage != "cannot digest bad" || l.Attempts != 2 || l.Digest != "c0de" || l.Version != "$LATEST" || l.Function != "f" ||
		l.Batch.Size != 1 || l.FirstFailure.IsZero() || l.Buried.IsZero() || l.Arrival.IsZero() || len(l.Sequence) != 56 {
		t.Errorf("dead letter = %+v", l)
	}
	st, err := r.m.Status(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	var done, buried uint64
	for _, s := range st.Shards {
		done, buried = done+s.Done, buried+s.Buried
		if s.Lag != 0 {
			t.Errorf("%s lags by %d when drained", s.Shard, s.Lag)
		}
	}
	if done != 3 || buried != 1 {
		t.Errorf("status says %d done, %d buried; want 3 and 1", done, buried)
	}
}

func TestPauseReturnsWhenNothingRunsAndResumeGoesOnAtTheCheckpoint(t *testing.T) {
	r := newRig(t, 1)
	started := make(chan struct{}, 100)
	r.fn.handler = func(*runtime.Invocation) runtime.Result {
		started <- struct{}{}
		time.Sleep(5 * time.Millisecond)
		return runtime.Result{}
	}
	r.put("k", numbers("r", 50)...)
	r.create(triggers.Config{BatchSize: 1})
	<-started
	mp, err := r.m.Pause(t.Context(), "t")
	if err != nil || mp.State != triggers.Disabled {
		t.Fatalf("Pause = %v, %v", mp.State, err)
	}
	before := len(r.fn.seen())
	if r.fn.out != 0 {
		t.Error("an invocation runs after Pause has returned")
	}
	if err := r.m.WaitDrained(t.Context(), "t"); err == nil || !strings.Contains(err.Error(), "paused") {
		t.Errorf("WaitDrained of a paused trigger = %v, want an error that says so", err)
	}
	if after := len(r.fn.seen()); after != before {
		t.Errorf("%d invocations started after Pause", after-before)
	}
	if mp, err = r.m.Resume(t.Context(), "t"); err != nil || mp.State != triggers.Enabled {
		t.Fatalf("Resume = %v, %v", mp.State, err)
	}
	r.drain()
	if got := len(r.fn.seen()); got != 50 {
		t.Errorf("%d invocations of one record each, want 50: none twice, none lost", got)
	}
}

func TestFunctionIsStartedAheadOnceWhenATriggerStarts(t *testing.T) {
	r := newRig(t, 3)
	warmed := func() string {
		r.fn.mu.Lock()
		defer r.fn.mu.Unlock()
		return strings.Join(r.fn.warmed, " ")
	}
	if _, err := r.m.Create(t.Context(), "t", from(triggers.Config{Qualifier: "7"}), false); err != nil {
		t.Fatal(err)
	}
	if got := warmed(); got != "" {
		t.Errorf("a paused trigger: %s", got)
	}
	for _, want := range []string{"f:7", "f:7 f:7"} {
		if _, err := r.m.Resume(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		r.put("k", want)
		r.drain()
		// It returns when all that the trigger has started has ended.
		if _, err := r.m.Pause(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		if got := warmed(); got != want {
			t.Errorf("started ahead %q, want %q", got, want)
		}
	}
}

func TestLatestIsResolvedOnceWhenTheTriggerIsMade(t *testing.T) {
	r := newRig(t, 3)
	r.put("old", "before")
	if _, err := r.m.Create(t.Context(), "t", from(triggers.Config{Position: stream.Position{Kind: stream.Latest}}), false); err != nil {
		t.Fatal(err)
	}
	r.put("new", "after")
	r.stop()
	r.start()
	if _, err := r.m.Resume(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	r.drain()
	if got := fmt.Sprint(r.fn.seen()); got != "[[after]]" {
		t.Errorf("delivered %s, want [[after]]", got)
	}
}

func TestRestartResumesAtTheCheckpoint(t *testing.T) {
	r := newRig(t, 1)
	r.put("k", "1", "2")
	r.create(triggers.Config{})
	r.drain()
	r.stop()
	r.start()
	r.put("k", "3")
	r.drain()
	if got := fmt.Sprint(r.fn.seen()); got != "[[1 2] [3]]" {
		t.Errorf("delivered %s, want [[1 2] [3]]", got)
	}
}

func TestUpdateHoldsFromTheNextUnitOn(t *testing.T) {
	r := newRig(t, 1)
	r.create(triggers.Config{BatchSize: 10})
	r.put("k", numbers("a", 10)...)
	r.drain()
	if _, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.BatchSize = 2 }); err != nil {
		t.Fatal(err)
	}
	before := len(r.fn.seen())
	r.put("k", numbers("b", 10)...)
	r.drain()
	for _, b := range r.fn.seen()[before:] {
		if len(b) > 2 {
			t.Errorf("a batch of %d after the update to 2", len(b))
		}
	}
	if _, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.Stream = "other" }); !errors.Is(err, triggers.ErrInvalid) {
		t.Errorf("another stream by update: %v, want ErrInvalid", err)
	}
	if _, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.BatchSize = 10_001 }); !errors.Is(err, triggers.ErrInvalid) {
		t.Errorf("a batch of 10001 by update: %v, want ErrInvalid", err)
	}
}

func TestParallelKeepsOrderPerKeyAndItsBound(t *testing.T) {
	r := newRig(t, 1)
	r.fn.handler = func(*runtime.Invocation) runtime.Result {
		time.Sleep(time.Millisecond)
		return runtime.Result{}
	}
	for i := range 40 {
		for k := range 20 {
			r.put(fmt.Sprint("key", k), fmt.Sprintf("%d:%d", k, i))
		}
	}
	r.create(triggers.Config{BatchSize: 5, Parallel: 4})
	r.drain()
	next := map[string]int{}
	for _, b := range r.fn.seen() {
		for _, d := range b {
			key, at, _ := strings.Cut(d, ":")
			if at != fmt.Sprint(next[key]) {
				t.Fatalf("key %s: %s comes when %d is due", key, at, next[key])
			}
			next[key]++
		}
	}
	if r.fn.most > 4 {
		t.Errorf("%d invocations at once, want 4 at most", r.fn.most)
	}
	if r.fn.most < 2 {
		t.Error("never two invocations at once")
	}
}

func TestDeleteKeepsDeadLetters(t *testing.T) {
	r := newRig(t, 1)
	r.fn.handler = failOn("bad")
	retries := 0
	r.put("k", "bad")
	r.create(triggers.Config{Retries: &retries})
	r.drain()
	if err := r.m.Delete(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.m.Get(t.Context(), "t"); !errors.Is(err, triggers.ErrNotFound) {
		t.Errorf("Get after Delete = %v", err)
	}
	if letters, err := r.morgue.List(t.Context(), morgue.Filter{}); err != nil || len(letters) != 1 {
		t.Errorf("%d dead letters after Delete (%v), want 1", len(letters), err)
	}
	// The same name again inherits nothing.
	r.fn.handler = nil
	r.create(triggers.Config{})
	r.drain()
	if got := r.fn.seen(); fmt.Sprint(got[len(got)-1]) != "[bad]" {
		t.Errorf("a new trigger of the old name started at %v, want the stream's beginning", got)
	}
}

func TestWrongTriggersAreRefused(t *testing.T) {
	r := newRig(t, 1)
	r.create(triggers.Config{})
	tests := []struct {
		name, trigger string
		change        func(*triggers.Config)
		want          error
	}{
		{"a stream that is not there", "u", func(c *triggers.Config) { c.Stream = "nowhere" }, stream.ErrNotFound},
		{"a function that is not there", "u", func(c *triggers.Config) { c.Function = "nobody" }, functions.ErrNotFound},
		{"a name that is taken", "t", func(c *triggers.Config) { c.Function = "g" }, triggers.ErrExists},
		{"the same function on the same stream", "u", func(*triggers.Config) {}, triggers.ErrExists},
		{"a bad name", "a b", func(*triggers.Config) {}, triggers.ErrInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := from(triggers.Config{})
			tt.change(&c)
			if _, err := r.m.Create(t.Context(), tt.trigger, c, true); !errors.Is(err, tt.want) {
				t.Errorf("Create = %v, want %v", err, tt.want)
			}
		})
	}
	if all, err := r.m.List(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%d triggers (%v), want the one that was right", len(all), err)
	}
}

// TestDamageStopsTheShardUntilItMayBePassed damages a frame on its way to disk.
func TestDamageStopsTheShardUntilItMayBePassed(t *testing.T) {
	r := newRig(t, 1)
	r.put("k", "good")
	r.damage("k", "bad0", "bad1")
	r.put("k", "more")
	r.stop()
	r.start() // nothing is remembered of what was written
	r.create(triggers.Config{})
	var problem string
	for deadline := time.Now().Add(10 * time.Second); problem == "" && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		st, err := r.m.Status(t.Context(), "t")
		if err != nil {
			t.Fatal(err)
		}
		problem = st.Shards[0].Problem
	}
	for _, want := range []string{"corrupt", "shardId-000000000000", "--skip-corrupt"} {
		if !strings.Contains(problem, want) {
			t.Errorf("problem %q does not name %q", problem, want)
		}
	}
	if _, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.SkipCorrupt = true }); err != nil {
		t.Fatal(err)
	}
	r.drain()
	st, err := r.m.Status(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	if s := st.Shards[0]; s.Gaps != 2 || s.Done != 2 || s.Problem != "" {
		t.Errorf("status = %+v, want 2 lost, 2 done, no problem", s)
	}
	if got := fmt.Sprint(r.fn.seen()); got != "[[good] [more]]" {
		t.Errorf("delivered %s, want [[good] [more]]", got)
	}
}

// damage appends records and loses the frame that holds them.
func (r *rig) damage(key string, data ...string) {
	r.t.Helper()
	ctx := r.t.Context()
	r.put(key, data...)
	desc, err := r.streams.Describe(ctx, stream.Local("s"))
	if err != nil {
		r.t.Fatal(err)
	}
	js, err := r.srv.JS().Stream(ctx, "L_"+desc.ID+"_0")
	if err != nil {
		r.t.Fatal(err)
	}
	info, err := js.Info(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := js.SecureDeleteMsg(ctx, info.State.LastSeq); err != nil {
		r.t.Fatal(err)
	}
}

// TestASpentBudgetDoesNotStopOthers has a trigger that retries for ever hold
// the whole look-ahead of the node.
func TestASpentBudgetDoesNotStopOthers(t *testing.T) {
	r := newRig(t, 1)
	r.stop()
	r.lookahead = 64 << 10
	r.start()
	r.put("k", numbers(strings.Repeat("x", 1000), 3000)...)
	if _, err := r.m.Create(t.Context(), "bad", from(triggers.Config{Function: "g", BatchSize: 1000}), true); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); r.m.budget.free.Load() >= 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if r.m.budget.free.Load() >= 0 {
		t.Fatal("the failing trigger never spent the budget")
	}
	r.create(triggers.Config{BatchSize: 100})
	r.drain()
	if err := r.m.Delete(t.Context(), "bad"); err != nil {
		t.Fatal(err)
	}
	if err := r.m.Delete(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	if left := r.m.budget.free.Load(); left != r.lookahead {
		t.Errorf("%d bytes of the budget are free when nothing runs, want all %d", left, r.lookahead)
	}
}

func TestADeletionCutShortIsFinishedAndTakesNoOtherTrigger(t *testing.T) {
	r := newRig(t, 1)
	r.create(triggers.Config{})
	mp, rev, err := r.mappings.Get(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	// A stop in the middle of Delete, and in the middle of a Create.
	r.stop()
	mp.State, mp.Enabled = triggers.Deleting, false
	if _, err := r.mappings.Update(t.Context(), "t", mp, rev); err != nil {
		t.Fatal(err)
	}
	if err := r.journals.Create(t.Context(), "orphan"); err != nil {
		t.Fatal(err)
	}
	r.start()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		left, err := r.journals.Mappings(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.m.Get(t.Context(), "t"); len(left) == 0 && errors.Is(err, triggers.ErrNotFound) {
			break
		}
	}
	r.create(triggers.Config{})
	// The one who was late finds another trigger under the name.
	if err := r.m.finishDelete(t.Context(), mp); err != nil {
		t.Fatal(err)
	}
	if _, err := r.m.Get(t.Context(), "t"); err != nil {
		t.Errorf("the new trigger of the name is gone: %v", err)
	}
	r.drain()
}

// TestWaitersOfAPausedShardAreTold pauses while somebody waits for the end.
func TestWaitersOfAPausedShardAreTold(t *testing.T) {
	r := newRig(t, 1)
	block := make(chan struct{})
	r.fn.handler = func(*runtime.Invocation) runtime.Result { <-block; return runtime.Result{} }
	r.put("k", "1", "2")
	r.create(triggers.Config{BatchSize: 1})
	waited := make(chan error, 1)
	go func() { waited <- r.m.WaitDrained(t.Context(), "t") }()
	for len(r.fn.seen()) == 0 {
		time.Sleep(time.Millisecond)
	}
	paused := make(chan error, 1)
	go func() { _, err := r.m.Pause(t.Context(), "t"); paused <- err }()
	// Let go only when the pause has been ordered: the second record must not run.
	r.m.mu.Lock()
	running := r.m.running["t"]
	r.m.mu.Unlock()
	<-running.drain
	close(block)
	if err := <-paused; err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err == nil || !strings.Contains(err.Error(), "paused") {
		t.Errorf("WaitDrained = %v, want an error that says the trigger is paused", err)
	}
}
