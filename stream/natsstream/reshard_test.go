package natsstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
)

var half = stream.HashKey{Hi: 1 << 63}

func (h *house) split(ref stream.Ref, shard int, at stream.HashKey) stream.Description {
	h.t.Helper()
	d, err := h.Split(h.t.Context(), ref, stream.ShardID(shard), at)
	if err != nil {
		h.t.Fatalf("split %d at %s: %v", shard, at, err)
	}
	return d
}

func (h *house) merge(ref stream.Ref, a, b int) stream.Description {
	h.t.Helper()
	d, err := h.Merge(h.t.Context(), ref, stream.ShardID(a), stream.ShardID(b))
	if err != nil {
		h.t.Fatalf("merge %d and %d: %v", a, b, err)
	}
	return d
}

func (h *house) describe(ref stream.Ref) stream.Description {
	h.t.Helper()
	d, err := h.Describe(h.t.Context(), ref)
	if err != nil {
		h.t.Fatal(err)
	}
	return d
}

// shardOf is the shard of that index in d.
func shardOf(t testing.TB, d stream.Description, index int) stream.Shard {
	t.Helper()
	i := slices.IndexFunc(d.Shards, func(sh stream.Shard) bool { return sh.Index == index })
	if i < 0 {
		t.Fatalf("no shard %d among %d", index, len(d.Shards))
	}
	return d.Shards[i]
}

// shape is the shards of d in a line: index, state, parents.
func shape(d stream.Description) string {
	line := ""
	for _, sh := range d.Shards {
		line += fmt.Sprintf(" %d:%s", sh.Index, sh.State)
		for _, p := range sh.Parents {
			i, _ := shardIndex(p)
			line += fmt.Sprintf("<%d", i)
		}
	}
	return line[1:]
}

// wantWhole checks that the open shards divide the hash range without gap or overlap.
func wantWhole(t testing.TB, d stream.Description) {
	t.Helper()
	var open []stream.Shard
	for _, sh := range d.Shards {
		if sh.State == stream.Active || sh.State == stream.Closing {
			open = append(open, sh)
		}
	}
	slices.SortFunc(open, func(a, b stream.Shard) int { return a.From.Compare(b.From) })
	next := stream.HashKey{}
	for i, sh := range open {
		if sh.From != next {
			t.Errorf("%s begins at %s, want %s", sh.ID, sh.From, next)
			return
		}
		if sh.To == stream.MaxHashKey {
			if i != len(open)-1 {
				t.Errorf("%s ends at the top, but is not the last", sh.ID)
			}
			return
		}
		next = after(sh.To)
	}
	t.Errorf("nothing is open from %s on", next)
}

func TestSplitAndMerge(t *testing.T) {
	srv := natsdtest.New(t)
	h := open(t, srv, Options{})
	h.create(quakes, stream.Config{Shards: 2})
	before := h.putText(quakes, "a", "b")[0]
	parent, _ := shardIndex(before.Shard)
	cut := stream.HashKey{Hi: 1 << 62}
	d := h.split(quakes, 0, cut)
	if got := shape(d); got != "0:CLOSED 1:ACTIVE 2:ACTIVE<0 3:ACTIVE<0" || d.State != stream.Active || d.Config.Shards != 3 {
		t.Fatalf("after a split: %s, %s, %d shards", got, d.State, d.Config.Shards)
	}
	wantWhole(t, d)
	if lower, upper := shardOf(t, d, 2), shardOf(t, d, 3); upper.From != cut || after(lower.To) != cut {
		t.Errorf("cut at %s: %s and %s", cut, lower.To, upper.From)
	}
	d = h.merge(quakes, 1, 3) // given in whatever order
	if got := shape(d); got != "0:CLOSED 1:CLOSED 2:ACTIVE<0 3:CLOSED<0 4:ACTIVE<1<3" {
		t.Fatalf("after a merge: %s", got)
	}
	d = h.merge(quakes, 2, 4)
	wantWhole(t, d)
	if d.Config.Shards != 1 {
		t.Errorf("%d open shards, want 1", d.Config.Shards)
	}
	for _, sh := range d.Shards {
		if sh.Closed.IsZero() != (sh.State == stream.Active) || !sh.Closed.IsZero() && sh.Closed.Nanosecond() != 0 {
			t.Errorf("%s is %s, closed at %s", sh.ID, sh.State, sh.Closed)
		}
		for _, p := range sh.Parents {
			i, _ := shardIndex(p)
			if shardOf(t, d, i).Epoch >= sh.Epoch {
				t.Errorf("epoch of %s is not above that of its parent %s", sh.ID, p)
			}
		}
	}
	// What was put before is read to its end, what comes goes to the child, with larger numbers.
	p := h.read(quakes, parent, horizon, 0)
	wantText(t, "parent", p, "a b")
	if !p.Ended {
		t.Error("the parent has not ended")
	}
	later := h.putText(quakes, "c")[0]
	if later.Shard != stream.ShardID(5) || later.Sequence.Compare(before.Sequence) <= 0 {
		t.Errorf("put to %s %s, want shard 5 and a number above %s", later.Shard, later.Sequence, before.Sequence)
	}
	wantText(t, "child", h.read(quakes, 5, horizon, 0), "c")
	// And so after opening again, from the shards as they were packed.
	want := asJSON(t, h.describe(quakes))
	h.close()
	h = open(t, srv, Options{})
	if got := asJSON(t, h.describe(quakes)); got != want {
		t.Errorf("after opening again\n%s\nwant\n%s", got, want)
	}
	wantText(t, "child after opening again", h.read(quakes, 5, horizon, 0), "c")
	if d := h.split(quakes, 5, half); shape(d) != shape(h.describe(quakes)) || shardOf(t, d, 7).From != half {
		t.Errorf("split after opening again: %s", shape(d))
	}
	if err := h.Delete(t.Context(), quakes); err != nil {
		t.Fatal(err)
	}
	if ids, err := h.logs.IDs(t.Context()); err != nil || len(ids) != 0 {
		t.Errorf("logs left: %v, %v", ids, err)
	}
}

func TestReshardingRefuses(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	h.create(quakes, stream.Config{Shards: 4})
	d := h.split(quakes, 3, stream.HashKey{Hi: 0xe << 60})
	ctx, first := t.Context(), d.Shards[0]
	split := func(shard string, at stream.HashKey) error {
		_, err := h.Split(ctx, quakes, shard, at)
		return err
	}
	merge := func(a, b int) error {
		_, err := h.Merge(ctx, quakes, stream.ShardID(a), stream.ShardID(b))
		return err
	}
	scale := func(n int) error {
		_, err := h.Scale(ctx, quakes, n)
		return err
	}
	wantErr(t, "split at the beginning", split(first.ID, first.From), stream.ErrInvalid)
	wantErr(t, "split behind the end", split(first.ID, after(first.To)), stream.ErrInvalid)
	wantErr(t, "split of a closed shard", split(stream.ShardID(3), stream.HashKey{Hi: 0xd << 60}), stream.ErrInvalid)
	wantErr(t, "split of no shard", split(stream.ShardID(9), half), stream.ErrNotFound)
	wantErr(t, "merge of distant shards", merge(0, 2), stream.ErrInvalid)
	wantErr(t, "merge of a shard with itself", merge(0, 0), stream.ErrInvalid)
	wantErr(t, "merge with a closed shard", merge(2, 3), stream.ErrInvalid)
	wantErr(t, "merge with no shard", merge(2, 9), stream.ErrNotFound)
	wantErr(t, "no shards", scale(0), stream.ErrInvalid)
	wantErr(t, "too many shards", scale(stream.MaxShards+1), stream.ErrInvalid)
	_, err := h.Split(ctx, stream.Local("nobody"), first.ID, half)
	wantErr(t, "split of no stream", err, stream.ErrNotFound)
	if got := shape(h.describe(quakes)); got != shape(d) {
		t.Errorf("what was refused has changed the shards: %s", got)
	}
	// At the last hash key it is a shard of one key.
	d = h.split(quakes, 0, first.To)
	if sh := shardOf(t, d, 7); sh.From != sh.To {
		t.Errorf("%s to %s, want one hash key", sh.From, sh.To)
	}
	wantErr(t, "split of one hash key", split(stream.ShardID(7), first.To), stream.ErrInvalid)
}

func TestScaleEndsWithEvenShards(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	h.create(quakes, stream.Config{Shards: 3})
	for _, n := range []int{6, 4, 4, 1, 5, 2} {
		d, err := h.Scale(t.Context(), quakes, n)
		if err != nil {
			t.Fatal(err)
		}
		wantWhole(t, d)
		i := 0
		ranges := stream.EvenRanges(n)
		var open []stream.Shard
		for _, sh := range d.Shards {
			if sh.State == stream.Active {
				open = append(open, sh)
			}
		}
		slices.SortFunc(open, func(a, b stream.Shard) int { return a.From.Compare(b.From) })
		for ; i < n && len(open) == n; i++ {
			if open[i].From != ranges[i][0] || open[i].To != ranges[i][1] {
				t.Errorf("%d shards: %d has %s to %s", n, i, open[i].From, open[i].To)
			}
		}
		if i != n || d.Config.Shards != n {
			t.Errorf("%d open shards, said to be %d, want %d", len(open), d.Config.Shards, n)
		}
		h.putText(quakes, fmt.Sprint(n))
	}
	// Shards that only lead from one to another are closed and empty, and read to their end.
	for _, sh := range h.describe(quakes).Shards {
		if p := h.read(quakes, sh.Index, horizon, 0); p.Ended != (sh.State == stream.Closed) {
			t.Errorf("%s is %s, and reads as ended: %t", sh.ID, sh.State, p.Ended)
		}
	}
}

// MECHANISMS, Frames: a child's numbers are larger even when shards split several
// times a second. The clock stands still here.
func TestSequenceNumbersGrowThroughGenerationsWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, natsdtest.New(t), Options{})
		h.create(quakes, stream.Config{})
		e := stream.Entry{PartitionKey: "k", ExplicitHashKey: "0", Data: []byte("x")}
		var last stream.SequenceNumber
		for i := range 6 {
			r := h.put(quakes, e, e)
			if r[0].Sequence.Compare(last) <= 0 {
				t.Fatalf("generation %d: %s is not above %s", i, r[0].Sequence, last)
			}
			last = r[1].Sequence
			d := h.describe(quakes)
			index, _ := shardIndex(r[0].Shard)
			if i%3 < 2 {
				sh := shardOf(t, d, index)
				h.split(quakes, index, stream.HashKey{Hi: sh.To.Hi/2 + 1})
			} else {
				h.merge(quakes, index, index+1)
			}
		}
		top := newest(h.describe(quakes).Shards)
		if err := h.Delete(t.Context(), quakes); err != nil {
			t.Fatal(err)
		}
		if d := h.create(quakes, stream.Config{}); d.Shards[0].Epoch != top+1 {
			t.Errorf("created again with epoch %d, want above the largest, %d", d.Shards[0].Epoch, top)
		}
	})
}

var errCrash = errors.New("crash")

// A crash before each step of a resharding, then Open: it is completed, and nothing
// that was put is lost.
func TestACrashAnywhereInAReshardingRollsForward(t *testing.T) {
	reshard := map[string]func(h *house) error{
		"split": func(h *house) error {
			_, err := h.Split(context.Background(), quakes, stream.ShardID(0), stream.HashKey{Hi: 1 << 61})
			return err
		},
		"merge": func(h *house) error {
			_, err := h.Merge(context.Background(), quakes, stream.ShardID(0), stream.ShardID(1))
			return err
		},
		"scale": func(h *house) error { // with shards between
			_, err := h.Scale(context.Background(), quakes, 3)
			return err
		},
	}
	want := map[string]string{}
	srv := natsdtest.New(t)
	for what, run := range reshard {
		for n := 0; ; n++ { // steps that succeed before the crash
			h := open(t, srv, Options{})
			h.atOnce = 1
			h.create(quakes, stream.Config{Shards: 2})
			var entries []stream.Entry
			for i := range 20 {
				entries = append(entries, stream.Entry{PartitionKey: fmt.Sprint(i), Data: fmt.Append(nil, i)})
			}
			put := h.put(quakes, entries...)
			var passed atomic.Int64
			at := "" // the step that crashed
			var once sync.Once
			h.crash = func(step string) error {
				if passed.Add(1) > int64(n) {
					once.Do(func() { at = step })
					h.stop()
					return errCrash
				}
				return nil
			}
			err := run(h)
			h.close()
			done := err == nil
			h = open(t, srv, Options{})
			d := h.describe(quakes)
			if d.State != stream.Active {
				t.Fatalf("%s, crash before step %d (%s): the stream is %s", what, n, at, d.State)
			}
			wantWhole(t, d)
			if want[what] == "" {
				want[what] = shape(d)
			}
			if got := shape(d); got != want[what] {
				t.Errorf("%s, crash before step %d (%s): %s, want %s", what, n, at, got, want[what])
			}
			for i, r := range append(put, h.put(quakes, entries...)...) {
				p, err := h.Read(t.Context(), quakes, r.Shard, stream.Position{Kind: stream.At, Sequence: r.Sequence}, 1)
				if err != nil || text(p) != fmt.Sprint(i%20) {
					t.Fatalf("%s, crash before step %d (%s): record %d: %q, %v", what, n, at, i, text(p), err)
				}
			}
			if ids, err := h.logs.IDs(t.Context()); err != nil || len(ids) != len(d.Shards) {
				t.Errorf("%s, crash before step %d (%s): %d logs, %v; want %d", what, n, at, len(ids), err, len(d.Shards))
			}
			if err := h.Delete(t.Context(), quakes); err != nil {
				t.Fatal(err)
			}
			if ids, err := h.logs.IDs(t.Context()); err != nil || len(ids) != 0 {
				t.Errorf("%s, crash before step %d (%s): logs left: %v, %v", what, n, at, ids, err)
			}
			h.close()
			if done {
				if n < 4 {
					t.Errorf("%s has %d steps", what, n)
				}
				break
			}
		}
	}
}

func TestStartingAndEndingAreSequenceNumbersOfAShard(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	h.create(quakes, stream.Config{})
	h.putText(quakes, "a", "b")
	parent := h.describe(quakes).Shards[0]
	at := func(kind stream.PositionKind, text string) stream.Position { // as it comes from a client
		n, err := stream.ParseSequence(text)
		if err != nil {
			t.Fatal(err)
		}
		return stream.Position{Kind: kind, Sequence: n}
	}
	for _, kind := range []stream.PositionKind{stream.At, stream.After} {
		wantText(t, "open shard, its beginning", h.read(quakes, 0, at(kind, parent.Starting().String()), 0), "a b")
	}
	parent = h.split(quakes, 0, half).Shards[0]
	for _, kind := range []stream.PositionKind{stream.At, stream.After} {
		wantText(t, "closed shard, its beginning", h.read(quakes, 0, at(kind, parent.Starting().String()), 0), "a b")
		p := h.read(quakes, 0, at(kind, parent.Ending().String()), 0)
		wantText(t, "closed shard, its end", p, "")
		if !p.Ended {
			t.Error("the end of a closed shard has not ended")
		}
	}
	if r := h.read(quakes, 0, horizon, 0).Records; parent.Starting().Compare(r[0].Sequence) >= 0 || parent.Ending().Compare(r[1].Sequence) <= 0 {
		t.Errorf("records from %s to %s do not lie between %s and %s", r[0].Sequence, r[1].Sequence, parent.Starting(), parent.Ending())
	}
	for _, foreign := range []stream.SequenceNumber{parent.Starting(), parent.Ending()} {
		_, err := h.Read(t.Context(), quakes, stream.ShardID(1), stream.Position{Kind: stream.At, Sequence: foreign}, 0)
		wantErr(t, "a number of the parent", err, stream.ErrInvalid)
	}
}

func TestWaitingReaderIsWokenByTheEnd(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	h.create(quakes, stream.Config{})
	bell, stop, err := h.Wait(t.Context(), quakes, stream.ShardID(0))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	pos := h.read(quakes, 0, horizon, 0).Next
	split := make(chan struct{})
	go func() {
		defer close(split)
		h.split(quakes, 0, half)
	}()
	defer func() { <-split }()
	<-bell
	p := h.read(quakes, 0, pos, 0)
	if !p.Ended {
		t.Error("woken, but the shard has not ended")
	}
	// The children are there for whoever knows of the end.
	if got := shape(h.describe(quakes)); got != "0:CLOSING 1:CREATING<0 2:CREATING<0" && got != "0:CLOSED 1:ACTIVE<0 2:ACTIVE<0" {
		t.Errorf("at the end: %s", got)
	}
}

// While something cannot be written records of a shard that ended are not kept for
// ever, and deleting goes.
func TestReshardingThatIsStuckIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, natsdtest.New(t), Options{})
		h.create(quakes, stream.Config{MaxBytes: 4 * mib})
		var failing atomic.Bool
		failing.Store(true)
		h.crash = func(step string) error {
			if step == "second entry" && failing.Load() {
				return errCrash
			}
			return nil
		}
		split := make(chan error, 1)
		go func() {
			_, err := h.Split(context.Background(), quakes, stream.ShardID(0), half)
			split <- err
		}()
		time.Sleep(time.Second)
		began := time.Now()
		r, err := h.Put(t.Context(), quakes, []stream.Entry{fill(mib, false), fill(mib, true)})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range r {
			wantErr(t, "put to a shard whose children are not there", r.Err, stream.ErrUnavailable)
		}
		if took := time.Since(began); took != passing {
			t.Errorf("put gave up after %s, want %s", took, passing)
		}
		if q := h.Quotas(); len(q) != 1 || q[0].Used != 0 {
			t.Errorf("what was not stored counts: %+v", q)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if r, err := h.Put(ctx, quakes, []stream.Entry{{PartitionKey: "k"}}); err != nil || !errors.Is(r[0].Err, context.DeadlineExceeded) {
			t.Errorf("put with a deadline: %v, %v", r, err)
		}
		if _, err := h.SetAttributes(t.Context(), quakes, func(a *stream.Attributes) error { a.WarmMiBps = 3; return nil }); err != nil {
			t.Errorf("attributes meanwhile: %v", err)
		}
		failing.Store(false)
		if err := <-split; err != nil {
			t.Errorf("split: %v", err)
		}
		d := h.describe(quakes)
		if got := shape(d); got != "0:CLOSED 1:ACTIVE<0 2:ACTIVE<0" || d.Attributes.WarmMiBps != 3 {
			t.Errorf("%s, %+v", got, d.Attributes)
		}
		h.putText(quakes, "a")

		failing.Store(true)
		go func() {
			_, err := h.Merge(context.Background(), quakes, stream.ShardID(1), stream.ShardID(2))
			split <- err
		}()
		time.Sleep(time.Second)
		if err := h.Delete(t.Context(), quakes); err != nil {
			t.Errorf("delete: %v", err)
		}
		wantErr(t, "merge in a stream that was deleted", <-split, stream.ErrNotFound)
		if ids, err := h.logs.IDs(t.Context()); err != nil || len(ids) != 0 {
			t.Errorf("logs left: %v, %v", ids, err)
		}
	})
}

// Of a large resharding the first children take records while later shards have not
// ended: nobody waits for thousands.
func TestChildrenTakeOverBitByBit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, natsdtest.New(t), Options{})
		h.atOnce = 2
		h.create(quakes, stream.Config{Shards: 8})
		var ends atomic.Int64
		h.crash = func(step string) error {
			if step == "END" {
				if n := ends.Add(1); n == 5 || n == 6 { // the third two
					time.Sleep(time.Hour)
				}
			}
			return nil
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := h.Scale(context.Background(), quakes, 16); err != nil {
				t.Error(err)
			}
		}()
		time.Sleep(time.Second)
		d := h.describe(quakes)
		for i, r := range stream.EvenRanges(16) {
			began := time.Now()
			res := h.put(quakes, stream.Entry{PartitionKey: "k", ExplicitHashKey: r[0].String()})[0]
			index, _ := shardIndex(res.Shard)
			sh := shardOf(t, d, index)
			if child := len(sh.Parents) > 0; child != (i < 8) || time.Since(began) > 0 {
				t.Errorf("range %d is put to %s, %s, after %s", i, sh.ID, sh.State, time.Since(began))
			}
			if got, err := h.Route(d.ID, r[0]); err != nil || got != sh.ID {
				t.Errorf("range %d is routed to %s, %v; want %s", i, got, err, sh.ID)
			}
			if got := len(h.read(quakes, index, horizon, 0).Records); got == 0 {
				t.Errorf("%s shows nothing of what it took", sh.ID)
			}
		}
		<-done
		wantWhole(t, h.describe(quakes))
	})
}

// An answer that is lost does not lose the step that it was to.
func TestReshardingWhoseLastAnswerIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, natsdtest.New(t), Options{})
		h.create(quakes, stream.Config{})
		var lost atomic.Bool
		h.crash = func(step string) error {
			if step == "the end" && lost.CompareAndSwap(false, true) {
				return errCrash
			}
			return nil
		}
		d := h.split(quakes, 0, half)
		if got := shape(d); d.State != stream.Active || got != "0:CLOSED 1:ACTIVE<0 2:ACTIVE<0" {
			t.Errorf("%s, %s", d.State, got)
		}
		h.putText(quakes, "a")

		// Nor the answer to the first one: whether it was done is found out.
		h.crash = func(step string) error {
			if step == "first entry" {
				return errCrash
			}
			return nil
		}
		_, err := h.Merge(t.Context(), quakes, stream.ShardID(1), stream.ShardID(2))
		wantErr(t, "merge", err, errCrash)
		time.Sleep(time.Second)
		d = h.describe(quakes)
		if got := shape(d); d.State != stream.Active || got != "0:CLOSED 1:CLOSED<0 2:CLOSED<0 3:ACTIVE<1<2" {
			t.Errorf("%s, %s", d.State, got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := h.Split(ctx, quakes, stream.ShardID(3), half); err == nil {
			t.Error("split although its context had ended")
		}
		time.Sleep(time.Second)
		if d := h.describe(quakes); d.State != stream.Active || len(d.Shards) != 4 {
			t.Errorf("%s, %s", d.State, shape(d))
		}
	})
}

// Logs of shards that nobody has seen yet are deleted with their stream.
func TestDeletingWhileShardsAreMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, natsdtest.New(t), Options{})
		h.create(quakes, stream.Config{})
		var logs atomic.Int64
		h.crash = func(step string) error {
			if step == "log" && logs.Add(1) > 3 {
				return errCrash
			}
			return nil
		}
		done := make(chan error)
		go func() {
			_, err := h.Scale(context.Background(), quakes, 5)
			done <- err
		}()
		time.Sleep(time.Second)
		if d := h.describe(quakes); d.State != stream.Updating || len(d.Shards) != 1 {
			t.Errorf("%s with %d shards; want none seen before they can be read", d.State, len(d.Shards))
		}
		if ids, err := h.logs.IDs(t.Context()); err != nil || len(ids) != 4 {
			t.Errorf("%d logs, %v; want 4", len(ids), err)
		}
		if err := h.Delete(t.Context(), quakes); err != nil {
			t.Fatal(err)
		}
		wantErr(t, "scaling a stream that was deleted", <-done, stream.ErrNotFound)
		if ids, err := h.logs.IDs(t.Context()); err != nil || len(ids) != 0 {
			t.Errorf("logs left: %v, %v", ids, err)
		}
	})
}

// A caller who has gone does not stop what it began.
func TestReshardingGoesOnWithoutItsCaller(t *testing.T) {
	h := open(t, natsdtest.Memory(t), Options{})
	h.create(quakes, stream.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	reached, on := make(chan struct{}), make(chan struct{})
	h.crash = func(step string) error {
		if step == "END" {
			close(reached)
			<-on
		}
		return nil
	}
	done := make(chan error)
	go func() {
		_, err := h.Split(ctx, quakes, stream.ShardID(0), half)
		done <- err
	}()
	<-reached
	if d := h.describe(quakes); d.State != stream.Updating || shape(d) != "0:CLOSING 1:CREATING<0 2:CREATING<0" {
		t.Errorf("%s, %s", d.State, shape(d))
	}
	cancel()
	wantErr(t, "split", <-done, context.Canceled)
	close(on)
	h.putText(quakes, "a") // goes wherever it belongs by then
	for h.describe(quakes).State != stream.Active {
		h.putText(quakes, "b")
	}
	if got := shape(h.describe(quakes)); got != "0:CLOSED 1:ACTIVE<0 2:ACTIVE<0" {
		t.Errorf("%s", got)
	}
}

// A quota counts what closed shards hold, and no record twice that had to go to
// another shard.
func TestQuotaOverSplitsAndMerges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := open(t, natsdtest.New(t), Options{})
		h.create(quakes, stream.Config{MaxBytes: 4 * mib})
		h.put(quakes, fill(mib, true))
		h.split(quakes, 0, half)
		h.put(quakes, fill(mib, true))
		h.merge(quakes, 1, 2)
		h.put(quakes, fill(mib, true))
		if n := h.tryPut(quakes, fill(mib, true), fill(1, false)); n != 1 {
			t.Errorf("%d stored, want the 1 that fits", n)
		}
		time.Sleep(day + 5*time.Minute)
		if got := shape(h.describe(quakes)); got != "3:ACTIVE<1<2" {
			t.Errorf("%s", got)
		}
		// On its way while its shard ends.
		var once sync.Once
		h.crash = func(step string) error {
			if step == "second entry" {
				once.Do(func() {
					go h.put(quakes, fill(mib, true), fill(mib, false))
					time.Sleep(time.Second)
				})
			}
			return nil
		}
		h.split(quakes, 3, half)
		synctest.Wait()
		h.byRef[quakes].quota.stale()
		if n := h.tryPut(quakes, fill(mib, false), fill(mib, true), fill(1, true)); n != 2 {
			t.Errorf("%d stored, want the 2 that fit", n)
		}
		if got := h.Quotas(); got[0].Used != 4*mib || h.held(quakes) != 4*mib {
			t.Errorf("%d bytes count, %d are there", got[0].Used, h.held(quakes))
		}
	})
}
