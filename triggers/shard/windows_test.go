package shard_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/shard"
)

// aggregate is what the function makes of tumbling windows: the state of one is the numbers of
// the records that it has been handed in it, and the final invocation gives that out.
type aggregate struct {
	open  bool
	start time.Time
	end   time.Time
	state []byte
	// stateBytes is how much larger the function makes its states.
	stateBytes int
	// finals are those that ended well and stand in no commit, in the outstanding one, and in
	// one that is durable.
	finals, sent, durable []final
}

type final struct {
	start, end time.Time
	numbers    []uint64
}

func (a *aggregate) boot(cp *triggers.Checkpoint) {
	a.open, a.finals, a.sent = cp.Window != nil, nil, nil
	if a.open {
		a.start, a.end, a.state = cp.Window.Start, cp.Window.End, cp.Window.State
	}
}

// within is what a trace tells of an invocation's window.
func (w *world) within(e shard.Invoke) string {
	if e.Window == nil {
		return ""
	}
	early := ""
	if e.Final && e.Window.Early {
		early = ", early"
	}
	return fmt.Sprintf(" in %s to %s, state %s%s", e.Window.Start.Format("15:04:05"), e.Window.End.Format("15:04:05"), bytes.TrimSpace(e.Window.State), early)
}

// arrivedIn says whether a record arrived in a window.
func (w *world) arrivedIn(n uint64, start, end time.Time) bool {
	at := time.UnixMilli(w.log[n-1].Arrival)
	return !at.Before(start) && at.Before(end)
}

// checkWindow holds that records go in the window of their arrival, with the state that the last
// invocation in it has left, and that a window is over before the next one.
func (w *world) checkWindow(e shard.Invoke) {
	w.t.Helper()
	a := &w.aggregate
	if e.Window == nil {
		if e.Final || e.Letter == "" && w.config.Tumbling > 0 {
			w.fatalf("invoked in no window: %+v", e)
		}
		return
	}
	if e.Letter != "" {
		w.fatalf("letter %s in a window", e.Letter)
	}
	if !a.open && !e.Final {
		a.open, a.start, a.end, a.state = true, e.Window.Start, e.Window.End, nil
	}
	if !a.open || !a.start.Equal(e.Window.Start) || string(a.state) != string(e.Window.State) {
		w.fatalf("invoked in window %v with state %s, want %v (open %v) with %s", e.Window.Start, e.Window.State, a.start, a.open, a.state)
	}
	if w.exact && e.Window.End.Sub(e.Window.Start) != w.config.Tumbling {
		w.fatalf("window from %v to %v", e.Window.Start, e.Window.End)
	}
	bytes := int64(0)
	for _, n := range e.Numbers {
		if !w.arrivedIn(n, e.Window.Start, e.Window.End) {
			w.fatalf("record %d of %v in the window from %v to %v", n, time.UnixMilli(w.log[n-1].Arrival), e.Window.Start, e.Window.End)
		}
		bytes += int64(w.log[n-1].Size)
	}
	// A record that has no room even without a state goes with one, alone.
	if most := w.maxBytes() - 525; bytes+int64(len(e.Window.State)) > most && (len(e.Numbers) > 1 || bytes <= most && len(e.Window.State) > 0) {
		w.fatalf("an event of %d bytes beside a state of %d", bytes, len(e.Window.State))
	}
	if !e.Final {
		return
	}
	if len(e.Numbers) > 0 || slices.ContainsFunc(w.out, func(o invocation) bool { return o.Letter == "" }) || !e.Window.Closing {
		w.fatalf("final invocation %+v with %d out", e, len(w.out))
	}
	// Those that are left of it come late, or behind a letter.
	for n := uint64(1); n < e.From; n++ {
		if f := w.fate(n); w.arrivedIn(n, a.start, a.end) && !f.resolved && !f.lost && !f.filtered {
			w.fatalf("window %v is closed, and record %d of it is open", a.start, n)
		}
	}
}

// enter is what the function returns as state.
func (w *world) enter(e invocation, done int) []byte {
	if e.Window == nil {
		return nil
	}
	var numbers []uint64
	if len(w.state) > 0 {
		if err := json.Unmarshal(w.state, &numbers); err != nil {
			w.t.Fatal(err)
		}
	}
	state, _ := json.Marshal(append(numbers, e.Numbers[:done]...))
	return append(state, bytes.Repeat([]byte(" "), w.stateBytes)...)
}

func (w *world) settleFinal(e invocation, outcome runtime.Outcome, ev shard.Settled) {
	if outcome == runtime.Done || outcome == runtime.Partial && !e.config.PartialReplies {
		var numbers []uint64
		_ = json.Unmarshal(w.state, &numbers)
		w.finals = append(w.finals, final{w.start, w.aggregate.end, numbers})
		w.open = false
	}
	w.step(ev)
}

// checkWindowCommit holds that a checkpoint has the window that is under way.
func (w *world) checkWindowCommit(c shard.Commit) {
	w.t.Helper()
	a := &w.aggregate
	in := c.Checkpoint.Window
	if (in != nil) != a.open {
		w.fatalf("checkpoint with window %+v, open is %v %v", in, a.open, a.start)
	}
	if in != nil && (!in.Start.Equal(a.start) || string(in.State) != string(a.state)) {
		w.fatalf("checkpoint with window %+v, want %v with state %s", in, a.start, a.state)
	}
	a.sent, a.finals = a.finals, nil
}

// endWindows holds that each record that was done is in one final result, and nothing else is.
func (w *world) endWindows() {
	w.t.Helper()
	in := map[uint64]int{}
	for _, f := range w.aggregate.durable {
		for _, n := range f.numbers {
			in[n]++
			if !w.arrivedIn(n, f.start, f.end) {
				w.fatalf("record %d is in the result of window %v", n, f.start)
			}
		}
		if w.exact && w.everRedriven == 0 && !slices.IsSorted(f.numbers) {
			w.fatalf("the result of window %v is out of order: %v", f.start, f.numbers)
		}
	}
	for i := range w.fates {
		n, f := uint64(i+1), &w.fates[i]
		switch {
		case in[n] > 1, in[n] == 1 && !(f.done && f.windowed):
			w.fatalf("record %d is in %d results, and %+v", n, in[n], *f)
		case in[n] == 0 && f.done && f.windowed && f.buried == "" && !f.lost && !f.passed:
			w.fatalf("record %d was done and is in no result", n)
		}
	}
}
