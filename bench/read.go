package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/stream"
)

// readStored: read 4 shards of stored 1 KB records from their beginning, all
// fields decoded, nothing cached; against ordered consumers that read as many
// unframed messages.
func readStored(ctx context.Context, h *host) ([]result, error) {
	const records = 200_000
	srv, store, desc, err := h.stream(ctx)
	if err != nil {
		return nil, err
	}
	if err := fill(ctx, func(ctx context.Context, e []stream.Entry) error {
		_, err := store.Put(ctx, benched, e)
		return err
	}, records); err != nil {
		return nil, err
	}
	raw, err := h.raw(ctx, shards, false)
	if err != nil {
		return nil, err
	}
	if _, err := raw.publish(ctx, time.Hour, records); err != nil {
		return nil, err
	}
	r, err := compare("read.1KB", "records/s", "ratio >= 2", 0, func() (float64, error) {
		// A set of its own, with a cache too small to help a second reading.
		logs := log.New(srv, log.Options{CacheBytes: 8 << 20})
		defer func() { _ = logs.Close(ctx) }()
		var read, bytes atomic.Int64
		var wg sync.WaitGroup
		errs := make([]error, shards)
		began := time.Now()
		for i := range shards {
			wg.Go(func() {
				sh, err := store.Shard(ctx, desc.ID, stream.ShardID(i))
				if err != nil {
					errs[i] = err
					return
				}
				l, err := logs.Open(ctx, sh.Log().ID())
				if err != nil {
					errs[i] = err
					return
				}
				for number, hint := uint64(0), uint64(0); ; {
					f, err := l.Find(ctx, number, hint)
					if errors.Is(err, log.ErrNotYet) {
						return
					} else if err != nil {
						errs[i] = err
						return
					}
					n := 0
					for j := range f.Records {
						n += len(f.Records[j].Data) + len(f.Records[j].Key)
					}
					read.Add(int64(len(f.Records)))
					bytes.Add(int64(n))
					number, hint = f.Next(), f.Seq+1
				}
			})
		}
		wg.Wait()
		return float64(read.Load()) / time.Since(began).Seconds(), errors.Join(errs...)
	}, func() (float64, error) { return raw.consume(ctx) })
	return []result{r}, err
}

// consume reads all messages of all streams by ordered consumers and gives the rate.
func (r *raw) consume(ctx context.Context) (float64, error) {
	var read, bytes atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, len(r.js))
	began := time.Now()
	for i, js := range r.js {
		wg.Go(func() {
			st, err := js.Stream(ctx, r.names[i])
			if err != nil {
				errs[i] = err
				return
			}
			left := int64(st.CachedInfo().State.Msgs)
			cons, err := js.OrderedConsumer(ctx, r.names[i], jetstream.OrderedConsumerConfig{})
			if err != nil {
				errs[i] = err
				return
			}
			done := make(chan struct{})
			cc, err := cons.Consume(func(m jetstream.Msg) {
				bytes.Add(int64(len(m.Data())))
				read.Add(1)
				if left--; left == 0 {
					close(done)
				}
			})
			if err != nil {
				errs[i] = err
				return
			}
			select {
			case <-done:
			case <-ctx.Done():
				errs[i] = ctx.Err()
			}
			cc.Stop()
		})
	}
	wg.Wait()
	return float64(read.Load()) / time.Since(began).Seconds(), errors.Join(errs...)
}
