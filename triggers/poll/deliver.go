package poll

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/internal/history"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/destination"
	"github.com/wasmill/wasmill/triggers/shard"
)

type letter = dlq.Letter

// delivery is what the function is to be run on.
type delivery struct {
	shard.Invoke
	mp triggers.Mapping
	lenses
	from  origin
	batch *runtime.Batch
	begin func() bool // asked before the function is run once more: it is no when the trigger stops
	// part: it is one of several invocations that the history has as one.
	part bool
}

// deliver runs the function on a batch and says how it went, in the machine's words.
//
// A letter that is delivered again comes too late for its tumbling window, and no other record
// shall share a window with it: it has one of its own, whose final invocation follows at once.
func (m *Manager) deliver(ctx context.Context, d delivery) shard.Settled {
	if d.Final && d.Invocation == 1 && d.Window != nil && d.Window.Early {
		m.d.Logger.Warn("a tumbling window is ended before its time", "trigger", d.mp.Name, "shard", d.batch.Shard, "window", d.Window.Start,
			"stateBytes", len(d.Window.State), "mostBytes", triggers.MaxState)
	}
	length := d.mp.Config.Tumbling
	if d.Letter == "" || length == 0 {
		return m.call(ctx, d)
	}
	arrival := d.batch.Records[0].Arrival
	start := time.UnixMilli(arrival - arrival%length.Milliseconds()).UTC()
	d.batch.Window, d.part = &runtime.Window{Start: start, End: start.Add(length)}, true
	id := uuid.NewString()
	m.recordInv(&d, id)
	s := m.call(ctx, d)
	if s.Outcome == runtime.Done {
		last, first := *d.batch, s
		last.Records = nil
		last.Window = &runtime.Window{Start: start, End: start.Add(length), State: first.State, Final: true}
		d.Final, d.batch = true, &last
		if !d.begin() {
			s = stopping(d.Unit)
		} else if s = m.call(ctx, d); s.Outcome == runtime.Done {
			s.Outputs = append(first.Outputs, s.Outputs...)
		}
	}
	m.d.History.Add(history.Event{Kind: history.InvEnd, ID: id, Outcome: s.Outcome.String()})
	return s
}

// stopping is what a unit comes to that is not invoked since the trigger is being stopped.
func stopping(unit uint64) shard.Settled {
	return shard.Settled{Unit: unit, Outcome: runtime.Throttled, FirstFailed: -1,
		Failure: triggers.Failure{Type: runtime.TypeThrottled, Message: "the trigger is being stopped", At: time.Now().UTC()}}
}

// recordInv writes into the history that an invocation begins.
func (m *Manager) recordInv(d *delivery, id string) {
	if m.d.History == nil {
		return
	}
	ev := history.Event{Kind: history.Inv, ID: id, Stream: d.mp.Config.StreamName(), Trigger: d.mp.Name, Gen: d.from.Generation, Shard: d.batch.Shard, Letter: d.Letter, Final: d.Final}
	for i := range d.batch.Records {
		ev.Seqs = append(ev.Seqs, d.batch.Records[i].Sequence)
	}
	m.d.History.Add(ev)
}

// call runs the function once.
func (m *Manager) call(ctx context.Context, d delivery) shard.Settled {
	mp, from, e, batch := d.mp, d.from, d.Invoke, d.batch
	inv := &runtime.Invocation{ID: uuid.NewString(), Batch: batch, PartialReplies: mp.Config.PartialReplies, Source: mp.Name}
	if !d.part {
		m.recordInv(&d, inv.ID)
	}
	whole := batch
	var member []int
	if batch, member = deaggregated(batch, d.Numbers, d.lenses); batch != whole {
		inv.Batch = batch
	}
	done := func(runtime.Result) {}
	if o := m.d.Observer.Invoking; o != nil {
		ctx, done = o(ctx, mp, inv)
	}
	res := m.d.Invoker.Invoke(ctx, mp.Config.Function, mp.Config.Qualifier, inv)
	lowest := -1
	if res.Outcome == runtime.Partial {
		// An identifier that is not of the batch fails the whole batch (AWS,
		// recorded); the machine is told by -1.
		if at, ok := runtime.LowestFailed(batch, res.Failures); ok {
			lowest = at
		}
	}
	if lowest >= 0 && member != nil {
		lowest = slices.Index(member, member[lowest]) // an aggregate is done as a whole, or not at all
	}
	outputs, err := m.outputs(ctx, from, batch, d.name(), res.Emits, lowest)
	switch {
	case errors.Is(err, runtime.ErrEmit):
		res.Fail(runtime.FunctionError, runtime.TypeBadEmits, "", "%v", err)
		lowest = -1
	case err != nil:
		res.Fail(runtime.Infrastructure, runtime.TypeInternal, inv.ID, "%v", err)
		lowest = -1
	}
	done(res)
	if m.d.History != nil && !d.part {
		ev := history.Event{Kind: history.InvEnd, ID: inv.ID, Outcome: res.Outcome.String()}
		if lowest >= 0 {
			ev.Seq = batch.Records[lowest].Sequence
		}
		m.d.History.Add(ev)
	}
	if lowest >= 0 && member != nil {
		lowest = member[lowest]
	}
	m.count(mp, e, whole, res)
	m.ended(&d, res)
	s := shard.Settled{Unit: e.Unit, Outcome: res.Outcome, FirstFailed: lowest, Outputs: outputs, State: res.State}
	if res.Outcome != runtime.Done {
		s.Failure = triggers.Failure{
			RequestID: inv.ID, Type: res.ErrorType, Message: res.ErrorMessage, At: time.Now().UTC(),
			BatchSize: len(whole.Records), Digest: res.Version.Code.SHA256, Version: res.Version.Version,
			Partial: res.Outcome == runtime.Partial,
		}
	}
	return s
}

// name stands for the whole batch where an output names none of its records: the sequence number of
// the first one, or the window, of which there may be several if records come late.
func (d *delivery) name() string {
	if d.Final {
		return fmt.Sprintf("window %d %d %s", d.batch.Window.Start.Unix(), d.From, d.Letter)
	}
	return d.batch.Records[0].Sequence
}

// count tells the observer.
func (m *Manager) count(mp triggers.Mapping, e shard.Invoke, batch *runtime.Batch, res runtime.Result) {
	o := m.d.Observer
	if res.Outcome == runtime.Throttled || res.Outcome == runtime.Infrastructure {
		return // the function saw nothing of it
	}
	if o.Invoked != nil {
		o.Invoked(mp, len(batch.Records))
	}
	if o.Failed != nil && runtime.Attempted(res.Outcome) {
		o.Failed(mp, len(batch.Records))
	}
	if o.Iterator != nil && e.Letter == "" && len(batch.Records) > 0 { // a dead letter is no sign of how far the shard is
		last := batch.Records[len(batch.Records)-1].Arrival
		o.Iterator(mp, max(0, time.Since(time.UnixMilli(last))))
	}
}

// recordGap makes a loss known: counted, logged, never silent.
func (m *Manager) recordGap(mp triggers.Mapping, src triggers.Source, g shard.Lost) {
	m.d.History.Add(history.Event{Kind: history.Gap, Stream: mp.Config.StreamName(), Trigger: mp.Name, Gen: src.Generation, Shard: src.Shard, From: g.From, To: g.To, Reason: g.Reason})
	if o := m.d.Observer.Lost; o != nil {
		o(mp, g.Records, g.Reason)
	}
}

// letters makes dead letters of burials: the record as it came, and what it
// went through.
func (p *poller) letters(buried []shard.Burial, now time.Time) []letter {
	if len(buried) == 0 {
		return nil
	}
	out := make([]letter, 0, len(buried))
	for _, b := range buried {
		if b.Letter != "" {
			out = append(out, p.buriedAgain(b, now))
			continue
		}
		f, at := p.held.find(b.Number)
		if f == nil {
			panic(fmt.Sprintf("triggers/poll: record %d of %s is to be buried and is not held", b.Number, p.id))
		}
		r := &f.Records[at]
		l := letter{
			ID: dlq.LetterID(p.mapping.ID, p.source.Generation, p.id, b.Number, 1), Trigger: p.mapping.Name, Mapping: p.mapping.ID, Generation: p.source.Generation,
			Stream: p.mapping.StreamARN, StreamID: p.mapping.StreamID, Shard: p.id, Sequence: p.shard.Sequence(f, at).String(), Number: b.Number,
			PartitionKey: r.Key, ExplicitHashKey: r.HashKey, Arrival: time.UnixMilli(r.Arrival).UTC(), TraceParent: r.Trace, Data: r.Data,
			Reason: b.Reason, ErrorType: b.Failure.Type, ErrorMessage: b.Failure.Message, Attempts: b.Attempts,
			FirstFailure: b.FirstFailure, Buried: now, Burial: 1,
			Function: p.mapping.Config.Function, Version: b.Failure.Version, Digest: b.Failure.Digest,
		}
		l.Batch.Invocation, l.Batch.Position, l.Batch.Size = b.Failure.RequestID, b.Position, b.Size
		out = append(out, l)
	}
	if o := p.r.m.d.Observer.Buried; o != nil {
		o(p.mapping, len(out))
	}
	return out
}

// notices tell the destination of what was discarded, if there is one. A redriven letter that is
// buried again is none of these: its batch was told of when it was.
func (p *poller) notices(discards []shard.Discard, now time.Time) []triggers.Notice {
	var out []triggers.Notice
	for _, d := range discards {
		if p.mapping.Config.OnFailure == "" {
			if o := p.r.m.d.Observer.Dropped; o != nil {
				o(p.mapping, len(d.Numbers))
			}
			continue
		}
		batch := p.batch(d.Numbers, d.Window)
		handed := &batch
		if d.Reason != dlq.PayloadTooLarge { // unpacked, that would be too large here too
			handed, _ = deaggregated(&batch, d.Numbers, p.lenses())
		}
		out = append(out, destination.Notice(p.mapping, p.source, destination.Discard{
			Reason: d.Reason, Batch: handed, RequestID: d.Failure.RequestID, Invocations: d.Invocations, Version: d.Failure.Version,
			FunctionError: !d.Failure.Partial, At: now,
		}))
	}
	return out
}
