package server

import (
	"context"
	"iter"
	"strings"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/functions/logs"
	"github.com/wasmill/wasmill/runtime/pool"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/telemetry"
	"github.com/wasmill/wasmill/triggers/poll"
	"github.com/wasmill/wasmill/triggers/relay"
)

type logFace struct{ pool *pool.Pool }

func (f logFace) Tail(function string, n int) iter.Seq[admin.LogLine] {
	return func(yield func(admin.LogLine) bool) {
		for l := range f.pool.Logs(function).Lines(n) {
			if !yield(viewLine(l)) {
				return
			}
		}
	}
}

func (f logFace) Follow(ctx context.Context, function string, n int) <-chan admin.LogLine {
	out := make(chan admin.LogLine) // this goroutine sends and closes
	go func() {
		defer close(out)
		for l := range f.pool.Logs(function).FollowTail(ctx, n) {
			select {
			case out <- viewLine(l):
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

func viewLine(l logs.Line) admin.LogLine {
	return admin.LogLine{Time: l.Time.UTC(), RequestID: l.RequestID, Line: strings.ToValidUTF8(l.Text, "\ufffd")}
}

func observeInvocations(t *telemetry.Telemetry) pool.Observer {
	return pool.Observer{Started: t.Started, Ended: t.Ended}
}

func observeTriggers(t *telemetry.Telemetry) poll.Observer {
	return poll.Observer{Polled: t.Polled, Filtered: t.Filtered, Invoked: t.Delivered, Failed: t.Failed, Buried: t.Buried, Dropped: t.Dropped, Iterator: t.Iterator, Invoking: t.Batch, Lost: t.Lost}
}

// observeNotices counts what destinations were told of.
func observeNotices(t *telemetry.Telemetry) func(relay.Delivery) {
	return func(d relay.Delivery) {
		t.Noticed(d.Notice.Mapping, d.Notice.Records, d.Err == nil, d.Dropped)
	}
}

// Read counts what clients read; triggers read from the store itself.
func (f meteredStreams) Read(ctx context.Context, ref stream.Ref, shard string, pos stream.Position, limit int) (natsstream.Page, error) {
	p, err := f.Store.Read(ctx, ref, shard, pos, limit)
	if err == nil {
		bytes := 0
		for _, r := range p.Records {
			bytes += len(r.Data)
		}
		f.meters.Got(ref.Name, len(p.Records), bytes, p.Behind)
	}
	return p, err
}
