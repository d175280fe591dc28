package poll

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/scaler"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/shard"
)

// mapping is a trigger that runs: its pollers and what they share.
type mapping struct {
	m      *Manager
	cancel context.CancelFunc // stops everything at once; invocations are cut off
	drain  chan struct{}      // closed by stop: start nothing more
	once   sync.Once
	wg     sync.WaitGroup

	mu      sync.Mutex
	config  triggers.Mapping // guarded by mu
	pollers []*poller        // guarded by mu
	problem string           // why the mapping as a whole does not run; guarded by mu
}

func startMapping(ctx context.Context, m *Manager, mp triggers.Mapping) *mapping {
	ctx, cancel := context.WithCancel(ctx)
	r := &mapping{m: m, cancel: cancel, drain: make(chan struct{}), config: mp}
	m.wg.Add(1)
	r.wg.Go(func() {
		defer m.wg.Done()
		r.run(ctx)
	})
	return r
}

// run finds the mapping's shards and polls each.
func (r *mapping) run(ctx context.Context) {
	mp := r.mapping()
	desc, err := r.m.d.Streams.ByID(ctx, mp.StreamID)
	for err != nil && !errors.Is(err, stream.ErrNotFound) {
		r.setProblem(err.Error())
		select {
		case <-r.drain:
			return
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
		desc, err = r.m.d.Streams.ByID(ctx, mp.StreamID)
	}
	if err != nil {
		r.setProblem(fmt.Sprintf("stream %s was deleted; remove the trigger with: wasmill trigger rm %s", mp.Config.Stream, mp.Name))
		return
	}
	r.setProblem("")
	var wg sync.WaitGroup
	if w, ok := r.m.d.Invoker.(warmer); ok {
		wg.Go(func() { w.Prewarm(ctx, mp.Config.Function, mp.Config.Qualifier) })
	}
	for _, s := range desc.Shards {
		r.mu.Lock() // no update may come between reading the settings and being told of new ones
		p := newPoller(r, r.config, s.ID)
		r.pollers = append(r.pollers, p)
		r.mu.Unlock()
		wg.Go(func() { p.run(ctx) })
	}
	wg.Wait()
}

// warmer is what an Invoker may be besides: told once, when a trigger starts, that
// a function will be needed.
type warmer interface {
	Prewarm(ctx context.Context, function, qualifier string)
}

func (r *mapping) setProblem(text string) {
	r.mu.Lock()
	r.problem = text
	r.mu.Unlock()
}

func (r *mapping) mapping() triggers.Mapping {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.config
}

// configure hands new settings to the pollers; each takes them up at a unit boundary.
func (r *mapping) configure(mp triggers.Mapping) {
	r.mu.Lock()
	r.config = mp
	pollers := r.pollers
	r.mu.Unlock()
	for _, p := range pollers {
		select {
		case p.configured <- struct{}{}:
		default: // one is waiting already, and it reads the newest settings
		}
	}
}

// stop drains the pollers; when ctx ends first, what is under way is cut off.
func (r *mapping) stop(ctx context.Context) {
	r.once.Do(func() { close(r.drain) })
	cut := context.AfterFunc(ctx, r.cancel)
	r.wg.Wait()
	cut()
	r.cancel()
}

// machineConfig are the rules of a shard under these settings.
func machineConfig(c triggers.Config, retention time.Duration) shard.Config {
	return shard.Config{
		Parallel: scaler.Fixed(c.Parallel).Parallel, BatchSize: c.BatchSize, Window: c.Window,
		Retries: *c.Retries, RecordAge: c.RecordAge, Retention: retention, Bisect: c.Bisect, PartialReplies: c.PartialReplies,
		Backoff: c.Backoff, MaxBytes: triggers.MaxPayload,
	}
}

// Identity is the invokeIdentityArn of events: the role functions run as.
func Identity(account string) string { return "arn:aws:iam::" + account + ":role/wasmill" }

// emptyBatch is a batch of a shard without records, to measure events with.
func (m *Manager) emptyBatch(mp triggers.Mapping, shardID string) runtime.Batch {
	return runtime.Batch{Shard: shardID, ARN: mp.StreamARN, Region: m.d.Region, Identity: Identity(m.d.Account)}
}
