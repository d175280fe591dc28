package natsstream

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
)

// BenchmarkScale doubles and halves a stream of 1,000 shards, and tells how long
// each took and what the slowest put saw meanwhile.
func BenchmarkScale(b *testing.B) {
	for b.Loop() {
		h := open(b, natsdtest.New(b), Options{})
		h.create(quakes, stream.Config{Shards: 1000})
		for _, n := range []int{2000, 1000} {
			stop := make(chan struct{}) // closed below
			var slowest, puts atomic.Int64
			var wg sync.WaitGroup
			for w := range 4 {
				wg.Go(func() {
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						began := time.Now()
						r, err := h.Put(context.Background(), quakes, []stream.Entry{{PartitionKey: fmt.Sprint(w, i), Data: []byte("x")}})
						if err != nil || r[0].Err != nil {
							b.Errorf("put: %v, %v", r, err)
							return
						}
						puts.Add(1)
						if took := int64(time.Since(began)); took > slowest.Load() {
							slowest.Store(took)
						}
					}
				})
			}
			began := time.Now()
			if _, err := h.Scale(b.Context(), quakes, n); err != nil {
				b.Fatal(err)
			}
			took := time.Since(began)
			close(stop)
			wg.Wait()
			b.ReportMetric(took.Seconds(), fmt.Sprintf("s/to-%d", n))
			b.ReportMetric(time.Duration(slowest.Load()).Seconds(), fmt.Sprintf("s/slowest-put-to-%d", n))
		}
		h.close()
	}
}

// BenchmarkRoute is what finding the shards of a call's records costs.
func BenchmarkRoute(b *testing.B) {
	h := open(b, natsdtest.Memory(b), Options{})
	h.create(quakes, stream.Config{Shards: 4})
	entries := make([]stream.Entry, 500)
	for i := range entries {
		entries[i] = stream.Entry{PartitionKey: fmt.Sprint("key", i), Data: make([]byte, 1000)}
	}
	t := h.byRef[quakes].table.Load()
	for _, n := range []int{1, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := t.route(entries[:n], nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
