package poll

import (
	"context"
	"fmt"
	"testing"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/shard"
)

// newReading is one of 5,000 records of 1 KB that are in memory, in frames of 500.
func newReading(b *testing.B) *reading {
	logs := log.New(natsdtest.Memory(b), log.Options{})
	if err := logs.Create(b.Context(), "l", 1); err != nil {
		b.Fatal(err)
	}
	l, err := logs.Open(b.Context(), "l")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = logs.Close(context.Background()) })
	for f := range 10 {
		recs := make([]log.Record, 500)
		for i := range recs {
			data := fmt.Appendf(nil, `{"kind":%q,"pad":"%0980d"}`, []string{"a", "b"}[i%2], i)
			recs[i] = log.Record{Key: fmt.Sprint("key", f, i%50), Data: data}
		}
		if _, err := l.Append(b.Context(), recs); err != nil {
			b.Fatal(err)
		}
	}
	batch := runtime.Batch{Shard: "shardId-000000000000", ARN: "arn:aws:kinesis:us-east-1:000000000000:stream/s", Region: "us-east-1", Identity: Identity("000000000000")}
	return &reading{asked: shard.Fetch{Records: 5000, Bytes: 1 << 30}, log: l, budget: newBudget(1 << 40), sizer: runtime.NewRecordSizer(&batch), sieve: sieve{facts: newFacts(&batch)}}
}

// BenchmarkRead is what it costs to read a record, without filters, and with one that lets every
// second record through. One operation is one record.
func BenchmarkRead(b *testing.B) {
	for name, filters := range map[string][]string{"all": nil, "filtered": {`{"data":{"kind":["a"]}}`}} {
		b.Run(name, func(b *testing.B) {
			r := newReading(b)
			var err error
			if r.sieve.filters, err = compile(triggers.Config{Filters: filters}); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			for n := 0; n < b.N; n += 5000 {
				if out := r.read(b.Context()); len(out.event.(shard.Fetched).Records) != 5000 {
					b.Fatalf("%+v", out.event)
				}
			}
		})
	}
}
