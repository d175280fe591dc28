package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
)

// host gives benchmarks a place on disk and a duration.
type host struct {
	dir  string
	last time.Duration
	n    int
	undo []func()
}

func newHost(last time.Duration) (*host, error) {
	dir, err := os.MkdirTemp("", "wasmill-bench-")
	return &host{dir: dir, last: last}, err
}

func (h *host) close() {
	for i := len(h.undo) - 1; i >= 0; i-- {
		h.undo[i]()
	}
	_ = os.RemoveAll(h.dir)
}

func (h *host) sub(name string) string {
	h.n++
	return filepath.Join(h.dir, fmt.Sprint(name, h.n))
}

// benched is the stream that benchmarks use.
var benched = stream.Local("bench")

// stream is our store on a fresh data directory, fsynced, with one stream of
// four shards in it.
func (h *host) stream(ctx context.Context) (*natsd.Server, *natsstream.Store, stream.Description, error) {
	srv, err := natsd.Start(ctx, natsd.Options{Dir: h.sub("ours")})
	if err != nil {
		return nil, nil, stream.Description{}, err
	}
	h.undo = append(h.undo, func() { _ = srv.Close(context.Background()) })
	logs := log.New(srv, log.Options{})
	h.undo = append(h.undo, func() { _ = logs.Close(context.Background()) })
	store, err := natsstream.Open(ctx, srv, logs, natsstream.Options{})
	if err != nil {
		return nil, nil, stream.Description{}, err
	}
	h.undo = append(h.undo, func() { _ = store.Close(context.Background()) })
	desc, err := store.Create(ctx, benched, stream.Config{Shards: shards})
	return srv, store, desc, err
}

// raw is a bare embedded JetStream with n streams, a connection each.
type raw struct {
	names []string
	conns []*nats.Conn
	js    []jetstream.JetStream
}

func (h *host) raw(ctx context.Context, streams int, sync bool) (*raw, error) {
	srv, err := server.NewServer(&server.Options{
		DontListen: true, JetStream: true, StoreDir: h.sub("raw"), NoSigs: true, NoLog: true, SyncAlways: sync,
		JetStreamMaxStore: 1 << 40, JetStreamMaxMemory: 1 << 30,
	})
	if err != nil {
		return nil, err
	}
	go srv.Start()
	h.undo = append(h.undo, func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(10 * time.Second) {
		return nil, errors.New("raw server is not ready")
	}
	r := &raw{}
	for i := range streams {
		nc, err := nats.Connect("", nats.InProcessServer(srv))
		if err != nil {
			return nil, err
		}
		h.undo = append(h.undo, nc.Close)
		js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(256))
		if err != nil {
			return nil, err
		}
		name := fmt.Sprint("RAW", i)
		if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name}, AllowDirect: true}); err != nil {
			return nil, err
		}
		r.names, r.conns, r.js = append(r.names, name), append(r.conns, nc), append(r.js, js)
	}
	return r, nil
}

// publish fills the streams with messages by windowed PublishAsync until total
// are acknowledged or the time is over, and gives the rate.
func (r *raw) publish(ctx context.Context, last time.Duration, total int64) (float64, error) {
	data := payload(1000)
	var acked atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, len(r.js))
	began := time.Now()
	for i, js := range r.js {
		wg.Go(func() {
			window := make(chan jetstream.PubAckFuture, 256)
			var drain sync.WaitGroup
			drain.Go(func() {
				for f := range window {
					select {
					case <-f.Ok():
						acked.Add(1)
					case err := <-f.Err():
						errs[i] = err
					}
				}
			})
			for time.Since(began) < last && (total == 0 || acked.Load() < total) && ctx.Err() == nil {
				f, err := js.PublishAsync(r.names[i], data, jetstream.WithStallWait(10*time.Second))
				if err != nil {
					errs[i] = err
					break
				}
				window <- f
			}
			close(window)
			drain.Wait()
		})
	}
	wg.Wait()
	return float64(acked.Load()) / time.Since(began).Seconds(), errors.Join(append(errs, ctx.Err())...)
}

// payload is n random bytes.
func payload(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// callers runs n callers for a while and gives the rate of what they count.
func callers(ctx context.Context, n int, last time.Duration, call func(ctx context.Context, caller, round int) (int, error)) (float64, error) {
	var done atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, n)
	began := time.Now()
	for i := range n {
		wg.Go(func() {
			for round := 0; time.Since(began) < last && ctx.Err() == nil; round++ {
				got, err := call(ctx, i, round)
				if err != nil {
					errs[i] = err
					return
				}
				done.Add(int64(got))
			}
		})
	}
	wg.Wait()
	return float64(done.Load()) / time.Since(began).Seconds(), errors.Join(append(errs, ctx.Err())...)
}

// entries are n records of 1 KB with keys that spread over all shards.
func entries(n int) []stream.Entry {
	out := make([]stream.Entry, n)
	for i := range out {
		out[i] = stream.Entry{PartitionKey: fmt.Sprintf("key-%d", i), Data: payload(1000)}
	}
	return out
}
