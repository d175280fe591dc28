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
	"github.com/wasmill/wasmill/triggers/shard"
)

type letter = dlq.Letter

// deliver runs the function on a batch and says how it went, in the machine's words.
func (m *Manager) deliver(ctx context.Context, mp triggers.Mapping, from origin, e shard.Invoke, batch *runtime.Batch) shard.Settled {
	inv := &runtime.Invocation{ID: uuid.NewString(), Batch: batch, PartialReplies: mp.Config.PartialReplies, Source: mp.Name}
	if m.d.History != nil {
		ev := history.Event{Kind: history.Inv, ID: inv.ID, Stream: mp.Config.Stream, Trigger: mp.Name, Gen: from.Generation, Shard: batch.Shard, Letter: e.Letter}
		for i := range batch.Records {
			ev.Seqs = append(ev.Seqs, batch.Records[i].Sequence)
		}
		m.d.History.Add(ev)
	}
	whole := batch
	var member []int
	if mp.Config.Deaggregate {
		if batch, member = deaggregated(batch); batch != whole {
			inv.Batch = batch
		}
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
	outputs, err := m.outputs(ctx, from, batch, res.Emits, lowest)
	switch {
	case errors.Is(err, runtime.ErrEmit):
		res.Fail(runtime.FunctionError, runtime.TypeBadEmits, "", "%v", err)
		lowest = -1
	case err != nil:
		res.Fail(runtime.Infrastructure, runtime.TypeInternal, inv.ID, "%v", err)
		lowest = -1
	}
	done(res)
	if m.d.History != nil {
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
	s := shard.Settled{Unit: e.Unit, Outcome: res.Outcome, FirstFailed: lowest, Outputs: outputs}
	if res.Outcome != runtime.Done {
		s.Failure = triggers.Failure{
			RequestID: inv.ID, Type: res.ErrorType, Message: res.ErrorMessage, At: time.Now().UTC(),
			BatchSize: len(whole.Records), Digest: res.Version.Code.SHA256, Version: res.Version.Version,
		}
	}
	return s
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
	if o.Iterator != nil && e.Letter == "" { // a dead letter is no sign of how far the shard is
		last := batch.Records[len(batch.Records)-1].Arrival
		o.Iterator(mp, max(0, time.Since(time.UnixMilli(last))))
	}
}

// recordGap makes a loss known: counted, logged, never silent.
func (m *Manager) recordGap(mp triggers.Mapping, src triggers.Source, g shard.Lost) {
	m.d.History.Add(history.Event{Kind: history.Gap, Stream: mp.Config.Stream, Trigger: mp.Name, Gen: src.Generation, Shard: src.Shard, From: g.From, To: g.To, Reason: g.Reason})
	if o := m.d.Observer.Lost; o != nil {
		o(mp, g.Records, g.Reason)
	}
}

// letters makes dead letters of burials: the record as it came, and what it
// went through.
func (p *poller) letters(buried []shard.Burial) []letter {
	if len(buried) == 0 {
		return nil
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
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
	if o := p.r.m.d.Observer.Dropped; o != nil {
		o(p.mapping, len(out))
	}
	return out
}
