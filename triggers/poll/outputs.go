package poll

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/shard"
)

// origin is whom the records of a batch belong to: the mapping's generation and
// shard that read them, also when they come back as dead letters.
type origin = triggers.Source

// errWrongEmit means the function has emitted what cannot be taken.
var errWrongEmit = errors.New("emit")

// outputs makes of what a function emitted what a commit keeps. Emits of records
// from lowest on are left out, since those records run again; -1: none failed.
// A stream that is not there, or does not take a record of that size, fails the
// invocation ([errWrongEmit]): nothing of it may be lost. Any other error is ours.
func (m *Manager) outputs(ctx context.Context, from origin, batch *runtime.Batch, emits []runtime.Emit, lowest int) ([]triggers.Output, error) {
	if len(emits) == 0 {
		return nil, nil
	}
	targets := map[string]stream.Description{}
	counts := map[string]int{} // outputs so far, by record
	out := make([]triggers.Output, 0, len(emits))
	for i, e := range emits {
		target, known := targets[e.Stream]
		if !known {
			var err error
			target, err = m.d.Streams.Describe(ctx, m.ref(e.Stream))
			if errors.Is(err, stream.ErrNotFound) || err == nil && target.State != stream.Active {
				return nil, fmt.Errorf("%w %d goes to stream %s, which does not exist; create it with: wasmill stream create %s", errWrongEmit, i, e.Stream, e.Stream)
			} else if err != nil {
				return nil, err
			}
			targets[e.Stream] = target
		}
		if n := len(e.Data) + len(e.PartitionKey); n > target.RecordBytes {
			return nil, fmt.Errorf("%w %d has %d bytes of data and key; stream %s takes records of at most %d", errWrongEmit, i, n, e.Stream, target.RecordBytes)
		}
		if lowest >= 0 && e.Item >= lowest {
			continue
		}
		o := triggers.Output{StreamID: target.ID, Stream: target.ARN(), PartitionKey: e.PartitionKey, Data: e.Data}
		sequence := batch.Records[0].Sequence + "*"
		if e.Item >= 0 {
			sequence, o.TraceParent = batch.Records[e.Item].Sequence, batch.Records[e.Item].TraceParent
		}
		o.ID = triggers.OutputID(from, sequence, counts[sequence])
		counts[sequence]++
		out = append(out, o)
	}
	return out, nil
}

const (
	// A shard starts nothing more while this much of what it has emitted waits
	// to be relayed, so that a target that is full fills no journal.
	maxBacklog      = 10_000 // outputs
	maxBacklogBytes = 64 << 20
	backlogEvery    = 50 * time.Millisecond
)

// hold stops the machine while too many outputs wait, and lets it go on below
// half of that. It runs on the poller's goroutine.
func (p *poller) hold(ctx context.Context) {
	// Earlier generations fill the same journal.
	outputs, bytes := 0, int64(0)
	for src := p.source; src.Generation > 0; src.Generation-- {
		n, b := p.r.m.d.Journals.Backlog(src)
		outputs, bytes = outputs+n, bytes+b
	}
	limit, limitBytes := maxBacklog, int64(maxBacklogBytes)
	if p.holding != "" {
		limit, limitBytes = limit/2, limitBytes/2
	}
	why := ""
	if outputs > limit || bytes > limitBytes {
		why = fmt.Sprintf("%d outputs (%d KiB) are not confirmed by their streams: %s", outputs, bytes>>10,
			cmp.Or(p.r.m.d.Relay.Problem(p.mapping.ID), "they are being written"))
	}
	if (why == "") != (p.holding == "") {
		p.log.Info("backlog of outputs", "held", why != "", "outputs", outputs, "bytes", bytes)
	}
	if why != p.holding {
		p.holding = why
		p.step(ctx, shard.Held{Why: why})
	}
	p.recheck = nil
	if why != "" {
		p.recheck = time.After(backlogEvery)
	}
}
