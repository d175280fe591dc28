package poll

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/shard"
)

// broken fails every batch with a record that begins with x, until it is fixed.
type broken struct{ fixed atomic.Bool }

func (b *broken) handle(inv *runtime.Invocation) runtime.Result {
	for _, rec := range inv.Batch.Records {
		if strings.HasPrefix(string(rec.Data), "x") && !b.fixed.Load() {
			return runtime.Result{Outcome: runtime.FunctionError, ErrorType: "errorString", ErrorMessage: "cannot digest " + string(rec.Data)}
		}
	}
	return runtime.Result{Outcome: runtime.Done}
}

// redrive redrives letters and returns the outcomes, by the letters' data.
func (r *rig) redrive(letters []dlq.Letter) (map[string]Redriven, error) {
	r.t.Helper()
	data := map[string]string{}
	for _, l := range letters {
		data[l.ID] = string(l.Data)
	}
	out := map[string]Redriven{}
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	err := r.m.Redrive(ctx, "t", letters, 0, func(v Redriven) { out[data[v.ID]] = v })
	return out, err
}

func (r *rig) mustRedrive(letters []dlq.Letter, want string) map[string]Redriven {
	r.t.Helper()
	out, err := r.redrive(letters)
	if err != nil {
		r.t.Fatal(err)
	}
	var got []string
	for data, v := range out {
		got = append(got, data+":"+string(v.Outcome))
	}
	slices.Sort(got)
	if strings.Join(got, " ") != want {
		r.t.Fatalf("outcomes %v, want %s", got, want)
	}
	return out
}

// buried has a trigger with dead letters x1 and x2 of key k and x3 of key m.
func buried(t *testing.T, c triggers.Config) (*rig, *broken) {
	t.Helper()
	r, b := newRig(t, 1), &broken{}
	r.fn.handler = b.handle
	r.put("k", "1", "x1", "2", "x2", "3")
	r.put("m", "4", "x3", "5")
	c.Bisect, c.Retries = true, ptr(0)
	r.create(c)
	r.drain()
	if n := len(r.letters()); n != 3 {
		t.Fatalf("%d dead letters, want 3", n)
	}
	return r, b
}

func TestRedriveDeliversEachAloneInOrderAsItWas(t *testing.T) {
	r, b := buried(t, triggers.Config{BatchSize: 10})
	b.fixed.Store(true)
	var event runtime.Record
	r.fn.handler = func(inv *runtime.Invocation) runtime.Result {
		if rec := inv.Batch.Records[0]; string(rec.Data) == "x1" {
			event = rec
		}
		return b.handle(inv)
	}
	before, letters := len(r.fn.seen()), r.letters()
	r.mustRedrive(letters, "x1:done x2:done x3:done")
	r.drain()
	got := r.fn.seen()[before:]
	if fmt.Sprint(got) != "[[x1] [x2] [x3]]" {
		t.Errorf("delivered %v", got)
	}
	l := letters[0]
	if event.Sequence != l.Sequence || event.PartitionKey != "k" || event.Arrival != l.Arrival.UnixMilli() {
		t.Errorf("delivered %+v, want the record of %+v", event, l)
	}
	if left := r.letters(); len(left) != 0 {
		t.Errorf("dead letters left: %+v", left)
	}
	if st := r.status().Shards[0]; st.Done != 8 || st.Buried != 3 {
		t.Errorf("%d done, %d buried; want 8 and 3", st.Done, st.Buried)
	}
}

func TestRedriveTwiceRunsOnce(t *testing.T) {
	r, b := buried(t, triggers.Config{})
	b.fixed.Store(true)
	letters := r.letters()
	before := len(r.fn.seen())
	// Each letter twice in one command, and the command again, by the old list.
	if out, err := r.redrive(slices.Concat(letters, letters)); err != nil || len(out) != 3 {
		t.Fatal(out, err)
	}
	r.mustRedrive(letters, "x1:gone x2:gone x3:gone")
	r.drain()
	if got := r.fn.seen()[before:]; len(got) != 3 {
		t.Errorf("delivered %v, want each once", got)
	}
}

func TestARedriveThatFailsIsBuriedAgainAndCanBeRedrivenAfterTheFix(t *testing.T) {
	r, b := buried(t, triggers.Config{})
	first := r.letters()
	out := r.mustRedrive(first[:1], "x1:buried")
	r.drain()
	again := r.letters()
	if len(again) != 3 {
		t.Fatalf("dead letters %+v", again)
	}
	l := again[0]
	if l.ID != out["x1"].Letter || l.ID == first[0].ID || l.Burial != 2 || l.Sequence != first[0].Sequence || string(l.Data) != "x1" ||
		l.ErrorMessage != "cannot digest x1" || l.Attempts != 1 || l.Batch.Size != 1 || !l.Arrival.Equal(first[0].Arrival) {
		t.Errorf("buried again as %+v", l)
	}
	b.fixed.Store(true)
	r.mustRedrive(first, "x1:gone x2:done x3:done") // the old list: x1 has another id now
	r.mustRedrive(again[:1], "x1:done")
	r.drain()
	if left := r.letters(); len(left) != 0 {
		t.Errorf("dead letters left: %+v", left)
	}
}

func TestRedriveGoesBeforeNewerRecordsOfItsKeyAndStopsNoOther(t *testing.T) {
	r, b := buried(t, triggers.Config{BatchSize: 1})
	// x1 fails twice more, then the fix comes.
	if _, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.Retries, c.Backoff = ptr(10_000), 20*time.Millisecond }); err != nil {
		t.Fatal(err)
	}
	var runs atomic.Int64
	failing := make(chan struct{})
	r.fn.handler = func(inv *runtime.Invocation) runtime.Result {
		if string(inv.Batch.Records[0].Data) == "x1" && runs.Add(1) == 2 {
			close(failing)
		}
		return b.handle(inv)
	}
	before := len(r.fn.seen())
	done := make(chan error, 1)
	go func() {
		_, err := r.redrive(r.letters()[:1])
		done <- err
	}()
	<-failing
	r.put("k", "6", "7")
	r.put("m", "8")
	r.until("another key went on", func() bool { return strings.Contains(fmt.Sprint(r.fn.seen()[before:]), "[8]") })
	if got := fmt.Sprint(r.fn.seen()[before:]); strings.Contains(got, "[6]") {
		t.Errorf("a newer record of the key went before: %s", got)
	}
	b.fixed.Store(true)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.drain()
	var order []string
	for _, batch := range r.fn.seen()[before:] {
		if len(order) == 0 || order[len(order)-1] != batch[0] {
			order = append(order, batch[0])
		}
	}
	at := func(s string) int { return slices.Index(order, s) }
	if !(at("x1") < at("6") && at("6") < at("7")) || at("8") < 0 {
		t.Errorf("delivered in the order %v", order)
	}
}

func TestARedriveGoesOnAfterARestart(t *testing.T) {
	r, b := buried(t, triggers.Config{})
	if _, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.Retries = ptr(10_000) }); err != nil {
		t.Fatal(err)
	}
	before, letters := len(r.fn.seen()), r.letters()
	stopped := make(chan error, 1)
	go func() {
		_, err := r.redrive(letters)
		stopped <- err
	}()
	r.until("both keys are tried again", func() bool {
		got := fmt.Sprint(r.fn.seen()[before:])
		return strings.Contains(got, "[x1]") && strings.Contains(got, "[x3]")
	})
	r.stop()
	if err := <-stopped; !errors.Is(err, triggers.ErrInvalid) {
		t.Errorf("the command was told %v", err)
	}
	for _, l := range r.letters() {
		if l.Number != letters[1].Number && !l.Redriving {
			t.Errorf("%s is not shown as being redriven", l.Data)
		}
	}
	b.fixed.Store(true)
	r.start()
	var left []dlq.Letter // x2 perhaps: the stop may have come before its turn
	r.until("the letters under way are through", func() bool {
		left = r.letters()
		return len(left) <= 1 && !slices.ContainsFunc(left, func(l dlq.Letter) bool { return l.Redriving })
	})
	r.mustRedrive(letters, map[int]string{0: "x1:gone x2:gone x3:gone", 1: "x1:gone x2:done x3:gone"}[len(left)])
	r.drain()
	if left := r.letters(); len(left) != 0 {
		t.Errorf("dead letters left: %+v", left)
	}
}

func TestOtherTriggersSeeNothingOfARedrive(t *testing.T) {
	r, b := buried(t, triggers.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := r.m.Create(ctx, "u", from(triggers.Config{Function: "g", BatchSize: 100, Retries: ptr(0)}), true); err != nil {
		t.Fatal(err)
	}
	if err := r.m.WaitDrained(ctx, "u"); err != nil {
		t.Fatal(err)
	}
	b.fixed.Store(true)
	before := len(r.fn.seen())
	var mine []dlq.Letter
	for _, l := range r.letters() {
		if l.Trigger == "t" {
			mine = append(mine, l)
		}
	}
	r.mustRedrive(mine, "x1:done x2:done x3:done")
	r.drain()
	if got := r.fn.seen()[before:]; len(got) != 3 {
		t.Errorf("delivered %v, want the three letters to t alone", got)
	}
}

func TestRedrivenRecordsEmitOnce(t *testing.T) {
	r, b := buried(t, triggers.Config{})
	r.stream("out", stream.Config{Shards: 1})
	r.fn.handler = func(inv *runtime.Invocation) runtime.Result {
		res := b.handle(inv)
		res.Emits = echo("")(inv).Emits
		return res
	}
	letters := r.letters()
	r.mustRedrive(letters[:1], "x1:buried")
	b.fixed.Store(true)
	r.mustRedrive(r.letters(), "x1:done x2:done x3:done")
	r.drain()
	got := r.contents("out")
	slices.Sort(got)
	if !slices.Equal(got, []string{"x1", "x2", "x3"}) {
		t.Errorf("outputs %v", got)
	}
}

// A command whose letters all fail for ever ends when it is told to, and lets the
// next one in.
func TestARedriveThatIsCutShortLeavesNothingLocked(t *testing.T) {
	r := newRig(t, 1)
	b := &broken{}
	r.fn.handler = b.handle
	r.put("k", numbers("x", 150)...)
	r.create(triggers.Config{BatchSize: 150, Bisect: true, Retries: ptr(0)})
	r.drain()
	letters := r.letters()
	if _, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.Retries = ptr(-1) }); err != nil {
		t.Fatal(err)
	}
	for range 40 {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		err := r.m.Redrive(ctx, "t", letters, 5000, func(Redriven) {})
		if cancel(); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	}
	b.fixed.Store(true)
	if _, err := r.redrive(letters); err != nil {
		t.Fatal(err)
	}
	r.drain()
	if n := len(r.letters()); n > 0 {
		t.Errorf("%d letters are left", n)
	}
}

func TestALetterThatIsNotTriedAgainKeepsWhatItWentThrough(t *testing.T) {
	r, _ := buried(t, triggers.Config{})
	old := r.letters()[0]
	p := &poller{mapping: r.status().Mapping}
	p.redriving.letters = map[string]*dlq.Letter{old.ID: &old}
	l := p.buriedAgain(shard.Burial{Letter: old.ID, Reason: dlq.RecordAgeExceeded}, time.Now())
	if l.Burial != 2 || l.Reason != dlq.RecordAgeExceeded || l.ErrorMessage != old.ErrorMessage || l.Batch != old.Batch || l.Attempts != old.Attempts || l.Digest != old.Digest {
		t.Errorf("buried again as %+v, was %+v", l, old)
	}
}

func TestARedriveDoesNotGoOnInAnotherTriggerOfTheName(t *testing.T) {
	r, b := buried(t, triggers.Config{})
	b.fixed.Store(true)
	letters := r.letters()
	if err := r.m.Redrive(t.Context(), "t", letters, 0, func(v Redriven) {
		if v.ID != letters[0].ID && v.ID != letters[1].ID && v.ID != letters[2].ID {
			t.Errorf("%+v", v)
		}
	}); err != nil {
		t.Fatal(err)
	}
	mp, err := r.m.Get(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.m.Delete(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	r.create(triggers.Config{Function: "g"})
	if _, err := r.m.keeper(t.Context(), mp, letters[0]); !errors.Is(err, triggers.ErrNotFound) {
		t.Errorf("the next trigger of the name is taken for the one before: %v", err)
	}
}

func TestRedriveIsRefusedWhereNothingRuns(t *testing.T) {
	r, _ := buried(t, triggers.Config{})
	letters := r.letters()
	if _, err := r.m.Pause(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.redrive(letters); !errors.Is(err, triggers.ErrInvalid) || !strings.Contains(err.Error(), "wasmill trigger resume t") {
		t.Errorf("paused: %v", err)
	}
	if err := r.m.Redrive(t.Context(), "none", letters, 0, func(Redriven) {}); !errors.Is(err, triggers.ErrNotFound) {
		t.Errorf("no trigger: %v", err)
	}
	if len(r.letters()) != 3 {
		t.Error("a letter is gone")
	}
}

// Letters of a key keep their order when the poller that has them goes.
func TestLettersOfAKeyKeepTheirOrderThroughASeek(t *testing.T) {
	r := newRig(t, 1)
	k := watchKeys(r)
	const n = 60
	for i := range n {
		k.fail[fmt.Sprint("x", i)] = true
	}
	r.put("k", numbers("x", n)...)
	r.create(triggers.Config{BatchSize: 10, Bisect: true, Retries: ptr(0)})
	r.drain()
	k.mu.Lock()
	clear(k.fail)
	k.mu.Unlock()
	r.fn.mu.Lock()
	r.fn.handler = func(inv *runtime.Invocation) runtime.Result {
		time.Sleep(time.Millisecond)
		return k.handle(inv)
	}
	r.fn.mu.Unlock()
	letters := r.letters()
	over := make(chan error, 1)
	go func() { over <- r.m.Redrive(t.Context(), "t", letters, 0, func(Redriven) {}) }()
	for range 4 {
		time.Sleep(5 * time.Millisecond)
		r.seek(stream.Position{Kind: stream.Latest}, false)
	}
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if got := k.seen["k"]; !slices.Equal(got, numbers("x", n)) {
		t.Errorf("redriven in the order %v", got)
	}
}
