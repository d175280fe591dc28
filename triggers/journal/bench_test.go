package journal

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/wasmill/wasmill/triggers"
)

// BenchmarkRaw is what JetStream takes of messages of the same size that nothing
// guards: the limit for BenchmarkCommit.
func BenchmarkRaw(b *testing.B) {
	srv, s := fresh(b)
	j, _ := take(b, s, source0)
	commitOK(b, j, triggers.Checkpoint{Next: 1, Frame: 7, Done: 1})
	e, _, err := s.ledger(mapping).Last(context.Background(), j.subject)
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := i; n < b.N; n += 4 {
				if _, err := srv.JS().Publish(context.Background(), fmt.Sprintf("j.%s.x.1.%d", mapping, i), e.Data); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkCommit counts fsynced commits of several shards of one mapping.
func BenchmarkCommit(b *testing.B) {
	for _, shards := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("shards=%d", shards), func(b *testing.B) {
			_, s := fresh(b)
			var all []*Journal
			for i := range shards {
				src := source0
				src.Shard = fmt.Sprintf("shardId-%012d", i)
				j, _ := take(b, s, src)
				all = append(all, j)
			}
			b.ResetTimer()
			var wg sync.WaitGroup
			for i, j := range all {
				wg.Go(func() {
					for n := i; n < b.N; n += shards {
						if err := j.Commit(context.Background(), triggers.Checkpoint{Next: uint64(n), Frame: 7, Done: uint64(n)}, Cargo{}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}
