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

// outputs makes of what a function emitted what a commit keeps. Emits of records
// from lowest on are left out, since those records run again; -1: none failed.
// A stream that is not there, or does not take a record of that size, fails the
// invocation ([runtime.ErrEmit]): nothing of it may be lost. Any other error is ours.
// whole names the batch, for emits of no record in particular.
func (m *Manager) outputs(ctx context.Context, from origin, batch *runtime.Batch, whole string, emits []runtime.Emit, lowest int) ([]triggers.Output, error) {
	if len(emits) == 0 {
		return nil, nil
	}
	targets := map[string]stream.Description{}
	if err := runtime.CheckTargets(emits, func(name string) (int, error) {
		target, err := m.d.Streams.Describe(ctx, m.ref(name))
		if errors.Is(err, stream.ErrNotFound) || err == nil && (target.State == stream.Creating || target.State == stream.Deleting) {
			return 0, nil
		}
		targets[name] = target
		return target.RecordBytes, err
	}); err != nil {
		return nil, err
	}
	counts := map[string]int{} // outputs so far, by record
	out := make([]triggers.Output, 0, len(emits))
	for _, e := range emits {
		if lowest >= 0 && e.Item >= lowest {
			continue
		}
		target := targets[e.Stream]
		o := triggers.Output{StreamID: target.ID, Stream: target.ARN(), PartitionKey: e.PartitionKey, Data: e.Data}
		sequence := whole + "*"
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

	maxNotices      = 1000 // likewise, of notices to its destination
	maxNoticesBytes = 64 << 20
)

// hold stops the machine while too many outputs or notices wait, and lets it go on below
// half of that. It runs on the poller's goroutine.
func (p *poller) hold(ctx context.Context) {
	// Earlier generations fill the same journal.
	outputs, bytes, notices, noticed := 0, int64(0), 0, int64(0)
	for src := p.source; src.Generation > 0; src.Generation-- {
		n, b := p.r.m.d.Journals.Backlog(src)
		outputs, bytes = outputs+n, bytes+b
		n, b = p.r.m.d.Journals.NoticeBacklog(src)
		notices, noticed = notices+n, noticed+b
	}
	limit, limitBytes := maxBacklog, int64(maxBacklogBytes)
	most, mostBytes := maxNotices, int64(maxNoticesBytes)
	if p.holding != "" {
		limit, limitBytes = limit/2, limitBytes/2
		most, mostBytes = most/2, mostBytes/2
	}
	why := ""
	if notices >= most || noticed >= mostBytes {
		why = fmt.Sprintf("%d notices of discarded batches (%d KiB) wait for their destination: %s", notices, noticed>>10,
			cmp.Or(p.r.m.d.Relay.Problem(p.mapping.ID), "they are being sent"))
	}
	if outputs > limit || bytes > limitBytes {
		why = fmt.Sprintf("%d outputs (%d KiB) are not confirmed by their streams: %s", outputs, bytes>>10,
			cmp.Or(p.r.m.d.Relay.Problem(p.mapping.ID), "they are being written"))
	}
	if (why == "") != (p.holding == "") {
		p.log.Info("backlog of outputs and notices", "held", why != "", "outputs", outputs, "bytes", bytes, "notices", notices)
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
