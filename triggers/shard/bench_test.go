package shard_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/shard"
)

// BenchmarkMachine is what the machine costs per record when all goes well, with
// as much read ahead as it asks for, frames of 500 records, and a commit answered after each
// round. One operation is one record.
func BenchmarkMachine(b *testing.B) {
	for _, c := range []shard.Config{
		{Parallel: 1, BatchSize: 1},
		{Parallel: 1, BatchSize: 100},
		{Parallel: 1, BatchSize: 1000},
		{Parallel: 2, BatchSize: 100},
		{Parallel: 10, BatchSize: 1},
		{Parallel: 10, BatchSize: 100},
		{Parallel: 10, BatchSize: 1000},
	} {
		c.Retries, c.Retention = -1, 24*time.Hour // as every stream has
		b.Run(fmt.Sprintf("n=%d/batch=%d", c.Parallel, c.BatchSize), func(b *testing.B) {
			b.ReportAllocs()
			m := shard.New(c, triggers.Checkpoint{}, 1)
			now := time.Now()
			frame := make([]shard.Record, 500)
			for i := range frame {
				frame[i] = shard.Record{Bucket: uint8(i * 37 % shard.Buckets), Size: 1500, Pinned: 1100}
			}
			var todo []shard.Event
			done, next := 0, uint64(0)
			do := func(effects []shard.Effect) {
				for _, e := range effects {
					switch e := e.(type) {
					case shard.Fetch:
						r := frame[:min(e.Records, len(frame))]
						for i := range r {
							r[i].Number, r[i].Arrival = next, now.UnixMilli()
							next++
						}
						todo = append(todo, shard.Fetched{From: e.From, Records: r})
					case shard.Invoke:
						done += len(e.Numbers)
						todo = append(todo, shard.Settled{Unit: e.Unit, Outcome: runtime.Done})
					case shard.Commit:
						todo = append(todo, shard.Committed{ID: e.ID})
					}
				}
			}
			b.ResetTimer()
			do(m.Step(now, shard.Woken{}))
			for done < b.N {
				now = now.Add(10 * time.Microsecond)
				ev := todo[0]
				todo = append(todo[:0], todo[1:]...)
				do(m.Step(now, ev))
			}
		})
	}
}
