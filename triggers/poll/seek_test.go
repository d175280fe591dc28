package poll

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

var horizon = stream.Position{Kind: stream.TrimHorizon}

func (r *rig) seek(to stream.Position, dry bool) (triggers.Mapping, []Move) {
	r.t.Helper()
	mp, moves, err := r.m.Seek(r.t.Context(), "t", to, dry)
	if err != nil {
		r.t.Fatal(err)
	}
	return mp, moves
}

func TestSeekBackDeliversAgainAsANewGeneration(t *testing.T) {
	r := newRig(t, 1)
	r.put("k", "1", "2", "3")
	r.create(triggers.Config{})
	r.drain()
	mp, moves := r.seek(horizon, true)
	if mp.Generation != 1 || len(moves) != 1 || moves[0] != (Move{Shard: stream.ShardID(0), From: 3, To: 0, Again: 3}) {
		t.Errorf("dry: generation %d, %+v", mp.Generation, moves)
	}
	r.put("k", "4")
	r.drain()
	if got := fmt.Sprint(r.fn.seen()); got != "[[1 2 3] [4]]" {
		t.Fatalf("a dry seek has moved something: delivered %s", got)
	}
	mp, moves = r.seek(horizon, false)
	if mp.Generation != 2 || mp.State != triggers.Enabled || moves[0].Again != 4 {
		t.Errorf("generation %d, %s, %+v", mp.Generation, mp.State, moves)
	}
	r.drain()
	if got := fmt.Sprint(r.fn.seen()); got != "[[1 2 3] [4] [1 2 3 4]]" {
		t.Errorf("delivered %s", got)
	}
	if st := r.status().Shards[0]; st.Done != 8 {
		t.Errorf("%d done, want 8 in all", st.Done)
	}
	// It is the new generation that a restart takes up.
	r.stop()
	r.start()
	r.put("k", "5")
	r.drain()
	if got := r.fn.seen(); fmt.Sprint(got[len(got)-1]) != "[5]" {
		t.Errorf("delivered %v", got)
	}
}

func TestSeekForwardPassesOverWhatIsLeftAndGivesRetriesUp(t *testing.T) {
	r := newRig(t, 1)
	r.fn.handler = failOn("1")
	r.put("k", "1", "2", "3")
	r.create(triggers.Config{BatchSize: 1})
	r.until("failing", func() bool { return len(r.fn.seen()) > 1 })
	_, moves := r.seek(stream.Position{Kind: stream.Latest}, false)
	if moves[0] != (Move{Shard: stream.ShardID(0), From: 0, To: 3, Skipped: 3}) {
		t.Errorf("%+v", moves)
	}
	before := len(r.fn.seen())
	r.put("k", "4")
	r.drain()
	if got := fmt.Sprint(r.fn.seen()[before:]); got != "[[4]]" {
		t.Errorf("delivered %s after the seek", got)
	}
	if n := len(r.letters()); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

func TestSeekToASequenceNumberMovesItsShardAlone(t *testing.T) {
	r := newRig(t, 2)
	r.putTo(0, "a1", "a2", "a3")
	r.putTo(1, "b1", "b2")
	r.create(triggers.Config{})
	r.drain()
	before := len(r.fn.seen())
	var second stream.Record
	for _, rec := range r.stored("s") {
		if string(rec.Data) == "a2" {
			second = rec
		}
	}
	_, moves := r.seek(stream.Position{Kind: stream.At, Sequence: second.Sequence}, false)
	if moves[0].Again != 2 || moves[1] != (Move{Shard: stream.ShardID(1), From: 2, To: 2}) {
		t.Errorf("%+v", moves)
	}
	r.drain()
	if got := fmt.Sprint(r.fn.seen()[before:]); got != "[[a2 a3]]" {
		t.Errorf("delivered %s", got)
	}
}

func TestSeekOfAPausedTriggerHoldsWhenItResumes(t *testing.T) {
	r := newRig(t, 1)
	r.put("k", "1", "2")
	r.create(triggers.Config{})
	r.drain()
	if _, err := r.m.Pause(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	if mp, _ := r.seek(horizon, false); mp.State != triggers.Disabled || len(r.fn.seen()) != 1 {
		t.Errorf("state %s, delivered %v", mp.State, r.fn.seen())
	}
	if _, err := r.m.Resume(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	r.drain()
	if got := fmt.Sprint(r.fn.seen()); got != "[[1 2] [1 2]]" {
		t.Errorf("delivered %s", got)
	}
}

func TestSeekRefusesWhatIsNoPlaceAndLetsTheTriggerGoOn(t *testing.T) {
	r := newRig(t, 1)
	r.put("k", "1")
	r.create(triggers.Config{})
	r.drain()
	foreign := r.stored("s")[0].Sequence
	foreign.Epoch--
	for name, to := range map[string]stream.Position{
		"a time in the future":         {Kind: stream.AtTimestamp, Time: time.Now().Add(time.Hour)},
		"a sequence number of another": {Kind: stream.At, Sequence: foreign},
		"no place":                     {},
	} {
		if _, _, err := r.m.Seek(t.Context(), "t", to, false); !errors.Is(err, stream.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := r.m.Seek(t.Context(), "none", horizon, false); !errors.Is(err, triggers.ErrNotFound) {
		t.Errorf("no trigger: %v", err)
	}
	r.put("k", "2")
	r.drain()
	if got := fmt.Sprint(r.fn.seen()); got != "[[1] [2]]" {
		t.Errorf("delivered %s", got)
	}
}

func TestRedrivesGoOnOverASeek(t *testing.T) {
	r, b := buried(t, triggers.Config{})
	if _, err := r.m.Update(t.Context(), "t", func(c *triggers.Config) { c.Retries = ptr(10_000) }); err != nil {
		t.Fatal(err)
	}
	before := len(r.fn.seen())
	stopped := make(chan error, 1)
	go func() {
		_, err := r.redrive(r.letters()[:1])
		stopped <- err
	}()
	r.until("tried again", func() bool { return strings.Contains(fmt.Sprint(r.fn.seen()[before:]), "[x1] [x1]") })
	r.seek(stream.Position{Kind: stream.Latest}, false)
	b.fixed.Store(true)
	if err := <-stopped; err != nil { // it waits for the new generation
		t.Errorf("the command was told %v", err)
	}
	r.until("the letter is gone", func() bool { return len(r.letters()) == 2 })
}

func TestOutputsAreEmittedAgainAfterASeek(t *testing.T) {
	r := newRig(t, 1)
	r.stream("out", stream.Config{Shards: 1})
	r.fn.handler = func(inv *runtime.Invocation) runtime.Result { return echo("")(inv) }
	r.put("k", "1", "2")
	r.create(triggers.Config{})
	r.drain()
	r.seek(horizon, false)
	r.drain()
	got := r.stored("out")
	ids := map[string]bool{}
	var data []string
	for _, rec := range got {
		ids[rec.OutputID] = true
		data = append(data, string(rec.Data))
	}
	if !slices.Equal(data, []string{"1", "2", "1", "2"}) || len(ids) != 4 {
		t.Errorf("outputs %v with %d ids", data, len(ids))
	}
}

func TestSeekPastPoisonRunsNothingAgainThatIsDone(t *testing.T) {
	r := newRig(t, 1)
	r.fn.handler = failOn("x")
	r.put("m", "x")
	r.put("k", numbers("r", 9)...)
	r.create(triggers.Config{BatchSize: 1, Parallel: 2})
	r.until("all others are done", func() bool { return r.status().Shards[0].Done == 9 })
	before := len(r.fn.seen())
	second := r.stored("s")[1].Sequence
	_, moves := r.seek(stream.Position{Kind: stream.At, Sequence: second}, true)
	if moves[0].Again != 0 || moves[0].Skipped != 1 {
		t.Errorf("%+v", moves)
	}
	r.seek(stream.Position{Kind: stream.At, Sequence: second}, false)
	r.put("k", "new")
	r.drain()
	var got []string
	for _, b := range r.fn.seen()[before:] {
		if b[0] != "x" {
			got = append(got, b...)
		}
	}
	if !slices.Equal(got, []string{"new"}) {
		t.Errorf("delivered %v after the seek", got)
	}
	if st := r.status().Shards[0]; st.Lag != 0 || st.Gaps != 0 {
		t.Errorf("%+v", st)
	}
}
