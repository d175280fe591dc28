package poll

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/scaler"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/filter"
	"github.com/wasmill/wasmill/triggers/shard"
)

// mapping is a trigger that runs: its pollers and what they share.
//
// A shard has a poller from when all that is before it is done until its own end:
// its ancestors are finished, and what the function has emitted for them is where
// it belongs. So records of a key are seen in order, and come in order to the
// streams they are emitted to, whatever becomes of the shards on the way. Only the
// end of a shard makes new ones readable, so the mapping looks at the stream when
// it starts and whenever a poller is done.
type mapping struct {
	m      *Manager
	cancel context.CancelFunc // stops everything at once; invocations are cut off
	drain  chan struct{}      // closed by stop: start nothing more
	once   sync.Once
	wg     sync.WaitGroup // of run
	polls  sync.WaitGroup // of pollers
	over   chan struct{}  // one value: look again; kick sends, run receives
	// Only run's goroutine touches these: finished shards all of whose outputs are
	// where they belong, and those of which that is not known yet.
	delivered map[string]bool
	unsure    map[string]stream.Shard

	mu      sync.Mutex // guards what follows
	config  triggers.Mapping
	filters *filter.Set        // of config; nil: none
	pollers map[string]*poller // by shard
	ended   map[string]bool    // shards that are finished
	lately  []stream.Shard     // those that got there since look was through
	waiting map[string]string  // shards that wait, and what for
	unfit   error              // what is wrong with the filters of config
	problem string             // why the mapping as a whole does not run
	halted  bool               // no invocation is started any more
}

func startMapping(ctx context.Context, m *Manager, mp triggers.Mapping) *mapping {
	ctx, cancel := context.WithCancel(ctx)
	r := &mapping{
		m: m, cancel: cancel, drain: make(chan struct{}), over: make(chan struct{}, 1), config: mp,
		pollers: map[string]*poller{}, ended: map[string]bool{}, delivered: map[string]bool{}, unsure: map[string]stream.Shard{},
	}
	r.take(mp)
	m.wg.Add(1)
	r.wg.Go(func() {
		defer m.wg.Done()
		r.run(ctx)
	})
	return r
}

const (
	afterFailure = time.Second // when the stream or a journal is looked at again that could not be read
	// When it is looked again whether outputs have arrived: at first, and doubling up
	// to, for a stream may be full for days.
	afterOutputs, lateOutputs = 5 * time.Millisecond, time.Second
)

// run polls the mapping's shards, each when its turn has come.
func (r *mapping) run(ctx context.Context) {
	defer r.polls.Wait()
	mp, warm := r.mapping(), false
	if r.unfit != nil { // an earlier release has taken them
		r.setProblem(fmt.Sprintf("%v; set others, then pause and resume the trigger", r.unfit))
		return
	}
	for outputs := afterOutputs; ; {
		var again time.Duration
		late, err := r.look(ctx, mp)
		switch {
		case errors.Is(err, stream.ErrNotFound):
			r.setProblem(streamGone(mp))
			return
		case err != nil:
			r.setProblem(err.Error())
			again = afterFailure
		case late:
			again, outputs = outputs, min(2*outputs, lateOutputs)
			r.setProblem("")
		default:
			r.setProblem("")
		}
		if w, ok := r.m.d.Invoker.(warmer); ok && !warm {
			warm = true
			r.polls.Go(func() { w.Prewarm(ctx, mp.Config.Function, mp.Config.Qualifier) })
		}
		var later <-chan time.Time
		if again > 0 {
			later = time.After(again)
		}
		select {
		case <-r.over:
			outputs = afterOutputs
		case <-later:
		case <-r.drain:
			return
		case <-ctx.Done():
			return
		}
	}
}

func streamGone(mp triggers.Mapping) string {
	return fmt.Sprintf("stream %s was deleted; remove the trigger with: wasmill trigger rm %s", mp.Config.Stream, mp.Name)
}

// look starts pollers for the shards whose turn has come. late: some wait for outputs
// only, so that it is to be looked anew though no poller has ended.
func (r *mapping) look(ctx context.Context, mp triggers.Mapping) (late bool, err error) {
	r.mu.Lock()
	waited, lately := r.waiting, r.lately
	r.lately = nil
	r.mu.Unlock()
	defer func() {
		if err != nil { // then the next look is at everything
			r.mu.Lock()
			defer r.mu.Unlock()
			r.waiting = nil
		}
	}()
	desc, err := r.m.d.Streams.ByID(ctx, mp.StreamID)
	if err != nil {
		return false, err
	}
	shards := append(desc.Shards, r.m.removed(mp, desc)...)
	there := len(desc.Shards)
	for id, s := range r.unsure {
		if !has(desc, id) {
			shards = append(shards, s) // the stream has forgotten it; what comes after it has not
		}
	}
	waiting := map[string]string{}
	for i, s := range shards {
		if r.known(s.ID) {
			continue
		}
		why := waited[s.ID]
		if why == "" && s.State != stream.Active { // else it cannot be finished
			// Taken, not only looked at: what ended a shard must be on disk. Its poller
			// will tell of trouble.
			_, cp, err := r.m.d.Journals.Take(ctx, r.source(mp, s.ID), r.m.owner)
			if err == nil && cp != nil && cp.Ended {
				r.end(s)
				r.kick() // for those that were looked at before it
				lately = append(lately, s)
				continue
			}
		}
		// There can be thousands: only those are looked at for which something has changed.
		if why == "" || why == outputsUnderWay || slices.ContainsFunc(lately, func(o stream.Shard) bool { return overlap(o, s) }) {
			if why, err = r.waits(ctx, mp, shards, s); err != nil {
				return false, err
			}
		}
		switch why {
		case "":
			r.start(ctx, s, i >= there)
			continue
		case outputsUnderWay:
			late = true
		}
		waiting[s.ID] = why
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = waiting
	return late, nil
}

func (r *mapping) source(mp triggers.Mapping, shardID string) triggers.Source {
	return triggers.Source{Mapping: mp.ID, Generation: mp.Generation, Shard: shardID}
}

// known says whether a shard is being polled, or finished.
func (r *mapping) known(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pollers[id] != nil || r.ended[id]
}

// end notes that a shard is finished.
func (r *mapping) end(s stream.Shard) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended[s.ID] = true
	r.lately = append(r.lately, s)
	delete(r.pollers, s.ID)
}

const outputsUnderWay = "waits for outputs of the shards before it to be where they belong"

// waits says in words what a shard waits for; nothing: its turn has come.
func (r *mapping) waits(ctx context.Context, mp triggers.Mapping, shards []stream.Shard, s stream.Shard) (string, error) {
	before := ancestors(shards, s)
	if open := r.open(before); len(open) > 0 {
		return waitsFor(open), nil
	}
	for i, o := range before {
		if r.delivered[o.ID] {
			continue
		}
		there, err := r.m.d.Relay.Delivered(ctx, r.source(mp, o.ID))
		if err != nil {
			return "", err
		}
		if !there {
			for _, o := range before[i:] {
				if !r.delivered[o.ID] {
					r.unsure[o.ID] = o
				}
			}
			return outputsUnderWay, nil
		}
		r.delivered[o.ID] = true
		delete(r.unsure, o.ID)
	}
	return "", nil
}

// open are the ids of those shards that are not finished.
func (r *mapping) open(shards []stream.Shard) (ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range shards {
		if !r.ended[s.ID] {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// standing is the poller of a shard, or what the shard waits for; neither: it is
// finished, or about to be taken up.
func (r *mapping) standing(shards []stream.Shard, s stream.Shard) (*poller, string) {
	if r.known(s.ID) {
		return r.poller(s.ID), ""
	}
	// Those that were made since the last look are not known to wait yet.
	if open := r.open(ancestors(shards, s)); len(open) > 0 {
		return nil, waitsFor(open)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return nil, r.waiting[s.ID]
}

// start begins to poll a shard; gone: its records are there no more.
func (r *mapping) start(ctx context.Context, s stream.Shard, gone bool) {
	r.mu.Lock() // no update may come between reading the settings and being told of new ones
	p := newPoller(r, r.config, s)
	p.removed = gone
	r.pollers[s.ID] = p
	r.mu.Unlock()
	r.polls.Go(func() {
		p.run(ctx)
		switch {
		case p.over:
			r.end(s)
		case p.retake:
			r.start(ctx, s, p.removed)
		}
		close(p.gone)
		r.kick()
	})
}

// kick has run look again.
func (r *mapping) kick() {
	select {
	case r.over <- struct{}{}:
	default: // run has not taken the last one yet, and looks after it has
	}
}

// poller is the one that has a shard now, or nil.
func (r *mapping) poller(id string) *poller {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pollers[id]
}

// keeper is the poller that decides about a key now: that of the oldest shard
// with it that is not finished, if it runs.
func (r *mapping) keeper(key stream.HashKey) *poller {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pollers {
		if covers(p.info, key) && !p.ended() {
			return p
		}
	}
	return nil
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

// settings are the mapping and its filters.
func (r *mapping) settings() (triggers.Mapping, *filter.Set) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.config, r.filters
}

// take takes over settings.
func (r *mapping) take(mp triggers.Mapping) {
	if r.filters == nil || !alike(r.config.Config, mp.Config) {
		r.filters, r.unfit = compile(mp.Config)
	}
	r.config = mp
}

// configure hands new settings to the pollers; each takes them up at a unit boundary.
func (r *mapping) configure(mp triggers.Mapping) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.take(mp)
	for _, p := range r.pollers {
		select {
		case p.configured <- struct{}{}:
		default: // one is waiting already, and it reads the newest settings
		}
	}
}

// halt has no invocation start from when it returns. Those under way go on.
func (r *mapping) halt() {
	r.mu.Lock()
	r.halted = true
	r.mu.Unlock()
	r.once.Do(func() { close(r.drain) })
}

// begin says whether an invocation may start, which then has before halt returns.
func (r *mapping) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.halted
}

// stop drains the pollers; when ctx ends first, what is under way is cut off.
func (r *mapping) stop(ctx context.Context) {
	r.halt()
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
		Backoff: c.Backoff, MaxBytes: triggers.MaxPayload, Tumbling: c.Tumbling,
	}
}

// Identity is the invokeIdentityArn of events: the role functions run as.
func Identity(account string) string { return "arn:aws:iam::" + account + ":role/wasmill" }

// emptyBatch is a batch of a shard without records, to measure events with. Account and
// region are the stream's.
func (m *Manager) emptyBatch(mp triggers.Mapping, shardID string) runtime.Batch {
	account, region := m.d.Account, m.d.Region
	if parts := strings.SplitN(mp.StreamARN, ":", 6); len(parts) == 6 {
		region, account = parts[3], parts[4]
	}
	return runtime.Batch{Shard: shardID, ARN: cmp.Or(mp.Config.Consumer, mp.StreamARN), Region: region, Identity: Identity(account), Waited: mp.Config.Window > 0}
}
