package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/wasmill/wasmill/dlq/morgue"
	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/functions/build"
	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/pool"
	"github.com/wasmill/wasmill/runtime/sandbox"
	"github.com/wasmill/wasmill/runtime/wasm"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
	"github.com/wasmill/wasmill/triggers/poll"
	"github.com/wasmill/wasmill/triggers/relay"
)

// mill is the way from a stream through one function to the checkpoint.
type mill struct {
	streams  *natsstream.Store
	manager  *poll.Manager
	function *one
}

// one is a registry of one function.
type one struct {
	version functions.Version
	code    []byte
}

func (o *one) Version(context.Context, string, string) (functions.Version, error) {
	return o.version, nil
}
func (o *one) Code(context.Context, string) ([]byte, error) { return o.code, nil }

// ear hears of each invocation before the pool does.
type ear struct {
	runtime.Invoker
	at func(*runtime.Invocation)
}

func (d ear) Invoke(ctx context.Context, function, qualifier string, inv *runtime.Invocation) runtime.Result {
	d.at(inv)
	return d.Invoker.Invoke(ctx, function, qualifier, inv)
}

// mill builds everything around the noop handler, as package server does but
// for the HTTP side.
func (h *host) mill(ctx context.Context, at func(*runtime.Invocation)) (*mill, error) {
	srv, streams, _, err := h.stream(ctx)
	if err != nil {
		return nil, err
	}
	out := filepath.Join(h.dir, "noop.wasm")
	if _, err := build.Go(ctx, build.Options{Dir: "bench/noop", Out: out}); err != nil {
		return nil, err
	}
	code, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	engine, err := sandbox.New(ctx, sandbox.Options{Options: wasm.Options{CacheDir: filepath.Join(h.dir, "cache")}})
	if err != nil {
		return nil, err
	}
	registry := &one{code: code}
	p := pool.New(registry, engine, pool.Options{})
	checked, err := p.Check(ctx, code, nil)
	if err != nil {
		return nil, err
	}
	registry.version = functions.Version{Function: "noop", Version: functions.Unpublished, ID: "noop", Code: checked,
		Config: functions.Config{Timeout: time.Minute, Memory: 256}}
	journals := journal.Open(srv, journal.Options{})
	graves, err := morgue.Open(ctx, srv, journals)
	if err != nil {
		return nil, err
	}
	carrier := relay.New(srv, journals, graves, streams, nil)
	carrying, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = carrier.Run(carrying) })
	mappings, err := kv.Open[triggers.Mapping](ctx, srv, "mappings")
	if err != nil {
		stop()
		return nil, err
	}
	var invoker runtime.Invoker = p
	if at != nil {
		invoker = ear{p, at}
	}
	m := poll.New(poll.Deps{Streams: streams, Journals: journals, Mappings: mappings, Invoker: invoker, Relay: carrier, Letters: graves, Functions: registry})
	if err := m.Start(ctx); err != nil {
		stop()
		return nil, err
	}
	h.undo = append(h.undo, func() {
		ctx := context.Background()
		_ = m.Close(ctx)
		stop()
		wg.Wait()
		_ = errors.Join(p.Close(ctx), engine.Close(ctx))
	})
	return &mill{streams, m, registry}, nil
}

// pipeline: stored 1 KB records of 4 shards through a Go handler to the
// checkpoint; against ordered consumers that read as many unframed messages.
func pipeline(ctx context.Context, h *host) ([]result, error) {
	const records = 600_000
	m, err := h.mill(ctx, nil)
	if err != nil {
		return nil, err
	}
	if err := fill(ctx, func(ctx context.Context, e []stream.Entry) error {
		_, err := m.streams.Put(ctx, benched, e)
		return err
	}, records); err != nil {
		return nil, err
	}
	raw, err := h.raw(ctx, shards, false)
	if err != nil {
		return nil, err
	}
	if _, err := raw.publish(ctx, time.Hour, 200_000); err != nil {
		return nil, err
	}
	var out []result
	runs := 0
	for _, batch := range []struct {
		size int
		name string
		goal string
	}{{1000, "pipeline.go.noop", "ratio >= 1.5"}, {100, "pipeline.go.noop.batch100", ""}} {
		r, err := compare(batch.name, "records/s", batch.goal, 20*time.Second, func() (float64, error) {
			runs++
			name := fmt.Sprint("run", runs)
			began := time.Now()
			if _, err := m.manager.Create(ctx, name, triggers.Config{
				Function: "noop", Stream: benched.Name, BatchSize: batch.size, Position: stream.Position{Kind: stream.TrimHorizon},
			}, true); err != nil {
				return 0, err
			}
			if err := m.manager.WaitDrained(ctx, name); err != nil {
				return 0, err
			}
			took := time.Since(began)
			return records / took.Seconds(), m.manager.Delete(ctx, name)
		}, func() (float64, error) { return raw.consume(ctx) })
		if err != nil {
			return out, err
		}
		out = append(out, r)
	}
	return out, nil
}

// emit: stored 1 KB records of 4 shards through a Go handler that hands each on
// to a stream of 4 shards, until all of them can be read there; against as many
// unframed messages published, without fsync. What is relayed is fsynced twice: in
// the journal, and in its stream.
func emit(ctx context.Context, h *host) ([]result, error) {
	const records = 200_000
	m, err := h.mill(ctx, nil)
	if err != nil {
		return nil, err
	}
	if err := fill(ctx, func(ctx context.Context, e []stream.Entry) error {
		_, err := m.streams.Put(ctx, benched, e)
		return err
	}, records); err != nil {
		return nil, err
	}
	target := stream.Local("emitted")
	m.function.version.Config.Environment = map[string]string{"EMIT": target.Name}
	m.function.version.Config.Emits = []string{target.Name}
	raw, err := h.raw(ctx, shards, false)
	if err != nil {
		return nil, err
	}
	runs := 0
	r, err := compare("pipeline.go.emit", "records/s", "", 15*time.Second, func() (float64, error) {
		runs++
		name := fmt.Sprint("emit", runs)
		if _, err := m.streams.Create(ctx, target, stream.Config{Shards: shards}); err != nil {
			return 0, err
		}
		began := time.Now()
		if _, err := m.manager.Create(ctx, name, triggers.Config{
			Function: "noop", Stream: benched.Name, BatchSize: 1000, Position: stream.Position{Kind: stream.TrimHorizon},
		}, true); err != nil {
			return 0, err
		}
		if err := m.manager.WaitDrained(ctx, name); err != nil {
			return 0, err
		}
		took := time.Since(began)
		stats, err := m.streams.Stats(ctx, target)
		if err != nil {
			return 0, err
		}
		var got uint64
		for _, s := range stats {
			got += s.Records
		}
		if got != records {
			return 0, fmt.Errorf("%d records were emitted, want %d", got, records)
		}
		return records / took.Seconds(), errors.Join(m.manager.Delete(ctx, name), m.streams.Delete(ctx, target))
	}, func() (float64, error) { return raw.publish(ctx, time.Hour, records) })
	return []result{r}, err
}

// latency: one record at a time into an idle mill; from before the put until
// the invocation reaches the pool.
func latency(ctx context.Context, h *host) ([]result, error) {
	const puts = 1000
	began := time.Now()
	arrived := make(chan time.Duration, 1)
	m, err := h.mill(ctx, func(inv *runtime.Invocation) {
		at := time.Since(began)
		for _, r := range inv.Batch.Records {
			arrived <- at - time.Duration(binary.LittleEndian.Uint64(r.Data))
		}
	})
	if err != nil {
		return nil, err
	}
	if _, err := m.manager.Create(ctx, "idle", triggers.Config{
		Function: "noop", Stream: benched.Name, Position: stream.Position{Kind: stream.TrimHorizon},
	}, true); err != nil {
		return nil, err
	}
	var took []float64
	for i := range puts {
		data := payload(1000)
		binary.LittleEndian.PutUint64(data, uint64(time.Since(began)))
		res, err := m.streams.Put(ctx, benched, []stream.Entry{{PartitionKey: fmt.Sprint(i), Data: data}})
		if err != nil {
			return nil, err
		}
		if res[0].Err != nil {
			return nil, res[0].Err
		}
		select {
		case d := <-arrived:
			took = append(took, float64(d)/float64(time.Millisecond))
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		time.Sleep(5 * time.Millisecond) // idle again
	}
	slices.Sort(took)
	return []result{
		{Bench: "latency.idle.p50", Value: round(quantile(took, .5)), Unit: "ms", Goal: "<= 2"},
		{Bench: "latency.idle.p99", Value: round(quantile(took, .99)), Unit: "ms", Goal: "<= 10"},
	}, nil
}
