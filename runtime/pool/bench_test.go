package pool

import (
	"context"
	"testing"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// idler is an engine whose functions do nothing: what is left is the pool.
type idler struct{}

func (idler) Load(_ context.Context, code []byte, _ func(runtime.Progress)) (runtime.Program, functions.Code, error) {
	return idler{}, functions.Code{SHA256: string(code)}, nil
}
func (idler) ABI() functions.ABI { return functions.ABIBatch }
func (idler) New(context.Context, functions.Version, runtime.LogWriter) (runtime.Environment, error) {
	return &idler{}, nil
}
func (idler) Invoke(context.Context, *runtime.Invocation) runtime.Result {
	return runtime.Result{MaxMemory: 10 << 20, Work: 1234, Duration: 1234567}
}
func (idler) Reusable() bool { return true }
func (idler) Rest()          {}
func (idler) Close() error   { return nil }

// BenchmarkInvoke is what an invocation costs beside the function: in one
// environment, and in as many as there are processors.
func BenchmarkInvoke(b *testing.B) {
	r := &registry{}
	r.set(functions.Version{Function: "f", Revision: 1})
	batch := &runtime.Batch{ARN: "arn:aws:kinesis:us-east-1:000000000000:stream/orders", Shard: "shardId-000000000000", Records: make([]runtime.Record, 100)}
	p := New(r, idler{}, Options{})
	defer p.Close(b.Context())
	ctx, cancel := context.WithCancel(b.Context()) // as a poller's, which can end
	defer cancel()
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p.Invoke(ctx, "f", "", &runtime.Invocation{ID: "01a2018c-90a8-76df-8b41-c286e472f617", Batch: batch, Source: "t"})
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				p.Invoke(ctx, "f", "", &runtime.Invocation{ID: "01a2018c-90a8-76df-8b41-c286e472f617", Batch: batch, Source: "t"})
			}
		})
	})
}
