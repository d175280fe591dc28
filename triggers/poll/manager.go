// Package poll carries out what the machine of a shard decides: it fetches
// records, runs functions, commits to the journal, and hands the outcome back.
//
// A [Manager] owns every mapping, a mapping owns one poller for each shard whose
// turn has come, and a poller is one goroutine around one select. No rule of Lambda
// stands here: those are in package triggers/shard.
package poll

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/internal/history"
	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
)

// Functions is what a mapping must know of the registry.
type Functions interface {
	Version(ctx context.Context, name, qualifier string) (functions.Version, error)
}

// Relay carries what commits hold to where it can be seen: dead letters to the
// morgue, outputs to their streams.
type Relay interface {
	Drained(ctx context.Context, mapping string) error
	// Delivered says whether all outputs that a source has committed are where they belong.
	Delivered(ctx context.Context, src triggers.Source) (bool, error)
	// Problem says what keeps outputs and notices of a mapping from where they belong, or
	// nothing.
	Problem(mapping string) string
	// Forsake says that notices of a mapping which cannot be delivered are given up.
	Forsake(mapping string, yes bool)
}

// Observer is told what pollers do, for metrics and traces. Each func may be nil.
type Observer struct {
	Polled   func(m triggers.Mapping, records int) // read, filtered ones too; 0: there was nothing to read (AWS: PolledEventCount)
	Filtered func(m triggers.Mapping, records int) // of those, the ones no filter lets through (FilteredOutEventCount)
	Invoked  func(m triggers.Mapping, records int) // handed to the function, each time again (InvokedEventCount)
	Failed   func(m triggers.Mapping, records int) // of those, the ones of failed invocations (FailedInvokeEventCount)
	Buried   func(m triggers.Mapping, records int) // made dead letters, redriven ones again
	Dropped  func(m triggers.Mapping, records int) // discarded and no destination is told (DroppedEventCount; the relay tells of notices it drops)
	Iterator func(m triggers.Mapping, age time.Duration)
	Invoking func(ctx context.Context, m triggers.Mapping, inv *runtime.Invocation) (context.Context, func(runtime.Result))
	Lost     func(m triggers.Mapping, records uint64, reason string)
}

// Deps are the parts a Manager works with. All are required but History, Observer,
// Destinations and Logger.
type Deps struct {
	Streams   *natsstream.Store
	Journals  *journal.Store
	Mappings  *kv.Bucket[triggers.Mapping] // by name
	Invoker   runtime.Invoker
	Relay     Relay
	Letters   Letters
	Functions Functions
	History   *history.Writer
	Observer  Observer
	Logger    *slog.Logger
	// Destinations checks what Config.OnFailure names; nil: nobody does.
	Destinations interface {
		Check(ctx context.Context, destination string) error
	}
	// Lookahead is how many bytes of records all shards together may hold
	// besides one batch each. Defaults to 256 MiB.
	Lookahead int64
	// Account and Region are those of ARNs. Default as package stream's.
	Account, Region string
}

// Manager owns all mappings. Its methods may be called from any goroutine.
type Manager struct {
	d      Deps
	budget *budget
	owner  string

	// creating holds one token while a pair of stream and function is being
	// taken, so that no two triggers take the same.
	creating chan struct{}
	wg       sync.WaitGroup // of mappings and deletions

	mu       sync.Mutex                 // guards what follows; never held across a wait
	running  map[string]*mapping        // by name
	changing map[string]bool            // names with a change under way
	past     map[triggers.Source]past   // closed shards, since the stream forgets them
	lately   map[string]result          // how the last invocation of a mapping ended, by its id
	passed   map[triggers.Source]uint64 // records that no filter has let through, since the server runs; generation 0
	stuck    map[triggers.Source]string // why the final invocation of a window failed, while it does
	run      context.Context            // of pollers and deletions, from Start to Close
	cancel   context.CancelFunc         // ends it
}

// New builds a Manager and starts nothing.
func New(d Deps) *Manager {
	if d.Logger == nil {
		d.Logger = slog.Default()
	}
	if d.Lookahead == 0 {
		d.Lookahead = 256 << 20
	}
	if d.Account == "" {
		d.Account = stream.DefaultAccount
	}
	if d.Region == "" {
		d.Region = stream.DefaultRegion
	}
	return &Manager{d: d, budget: newBudget(d.Lookahead), owner: uuid.NewString(), creating: make(chan struct{}, 1), running: map[string]*mapping{}, changing: map[string]bool{}, past: map[triggers.Source]past{}, lately: map[string]result{},
		passed: map[triggers.Source]uint64{}, stuck: map[triggers.Source]string{}}
}

// Start takes up every mapping that is enabled, and in the background finishes
// what a stop cut short: deletions, and journals of triggers that were never
// made. Pollers run until Close.
func (m *Manager) Start(ctx context.Context) error {
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	m.mu.Lock()
	m.run, m.cancel = run, cancel
	m.mu.Unlock()
	all, err := m.d.Mappings.All(ctx)
	if err != nil {
		return fmt.Errorf("triggers: list: %w", err)
	}
	journals, err := m.d.Journals.Mappings(ctx)
	if err != nil {
		return fmt.Errorf("triggers: journals: %w", err)
	}
	known := map[string]bool{}
	for _, mp := range all {
		known[mp.ID] = true
		m.d.Relay.Forsake(mp.ID, mp.Config.OnDestinationFailure == triggers.Drop)
		switch {
		case mp.State == triggers.Deleting:
			m.finish(run, mp)
		case mp.Enabled:
			m.start(mp)
		}
	}
	for _, id := range journals {
		if !known[id] {
			m.finish(run, triggers.Mapping{ID: id})
		}
	}
	m.wg.Go(func() { m.watch(run) })
	return nil
}

// finish deletes in the background, however often it takes.
func (m *Manager) finish(ctx context.Context, mp triggers.Mapping) {
	m.wg.Go(func() {
		for wait := time.Second; ; wait = min(2*wait, time.Minute) {
			err := m.finishDelete(ctx, mp)
			if err == nil || ctx.Err() != nil {
				return
			}
			m.d.Logger.Warn("trigger not deleted yet; trying again", "trigger", mp.Name, "id", mp.ID, "err", err, "in", wait)
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
		}
	})
}

// Close stops every poller: no more records are taken, invocations under way
// may end until ctx does, then they are cancelled. What was cut off runs again
// after the next start. When Close has returned nothing of the Manager is left.
func (m *Manager) Close(ctx context.Context) error {
	m.mu.Lock()
	cancel := m.cancel
	m.run = nil // starts nothing more
	all := make([]*mapping, 0, len(m.running))
	for _, mp := range m.running {
		all = append(all, mp)
	}
	clear(m.running)
	m.mu.Unlock()
	var wg sync.WaitGroup
	for _, mp := range all {
		wg.Go(func() { mp.stop(ctx) })
	}
	wg.Wait()
	if cancel != nil {
		cancel()
	}
	m.wg.Wait()
	return nil
}

// CreateOptions are what may be said of a trigger beside its settings.
type CreateOptions struct {
	ID          string // a UUID; empty: one is drawn
	FunctionARN string
	Tags        map[string]string
}

// Create makes a trigger. Its starting place in every shard is committed
// before Create returns, so that LATEST means now and is never asked again.
func (m *Manager) Create(ctx context.Context, name string, c triggers.Config, enabled bool) (triggers.Mapping, error) {
	return m.CreateWith(ctx, name, c, enabled, CreateOptions{})
}

// CreateWith is Create with more to say.
func (m *Manager) CreateWith(ctx context.Context, name string, c triggers.Config, enabled bool, o CreateOptions) (triggers.Mapping, error) {
	c = c.WithDefaults()
	if err := errors.Join(triggers.ValidateName(name), c.Validate()); err != nil {
		return triggers.Mapping{}, err
	}
	unlock, err := m.lock(name)
	if err != nil {
		return triggers.Mapping{}, err
	}
	defer unlock()
	if err := m.check(ctx, triggers.Config{}, c); err != nil {
		return triggers.Mapping{}, err
	}
	ref, err := c.Source(m.d.Account, m.d.Region)
	if err != nil {
		return triggers.Mapping{}, err
	}
	desc, err := m.d.Streams.Describe(ctx, ref)
	if err != nil {
		return triggers.Mapping{}, err
	}
	if err := noLoop(c, desc.ARN()); err != nil {
		return triggers.Mapping{}, err
	}
	release, err := m.claim(ctx, name, desc.ID, c)
	if err != nil {
		return triggers.Mapping{}, err
	}
	defer release()
	now := time.Now().UTC().Truncate(time.Millisecond)
	mp := triggers.Mapping{
		ID: cmp.Or(o.ID, uuid.NewString()), Name: name, Generation: 1, Config: c, StreamID: desc.ID, StreamARN: desc.ARN(),
		Enabled: enabled, State: triggers.Creating, Created: now, Modified: now, FunctionARN: o.FunctionARN, Tags: o.Tags,
	}
	if err := m.d.Journals.Create(ctx, mp.ID); err != nil {
		return triggers.Mapping{}, fmt.Errorf("trigger %s: %w", name, err)
	}
	if err := m.place(ctx, mp, desc); err != nil {
		return triggers.Mapping{}, errors.Join(fmt.Errorf("trigger %s: starting position: %w", name, err), m.d.Journals.Delete(context.WithoutCancel(ctx), mp.ID))
	}
	mp.State = ""
	// Not cut short: what is stored of it must be known.
	if _, err := m.d.Mappings.Create(context.WithoutCancel(ctx), name, mp); err != nil {
		if errors.Is(err, kv.ErrExists) {
			err = fmt.Errorf("%w: a trigger named %s", triggers.ErrExists, name)
		}
		return triggers.Mapping{}, errors.Join(err, m.d.Journals.Delete(context.WithoutCancel(ctx), mp.ID))
	}
	m.d.Relay.Forsake(mp.ID, c.OnDestinationFailure == triggers.Drop)
	if enabled {
		m.start(mp)
	}
	return m.show(mp), nil
}

// noLoop refuses a destination that would feed the trigger with its own failures.
func noLoop(c triggers.Config, streamARN string) error {
	own := triggers.Config{Stream: streamARN}
	to, err := triggers.Config{Stream: c.OnFailure}.Source("", "")
	if from, _ := own.Source("", ""); err == nil && to == from {
		return fmt.Errorf("%w: destination %s is the stream that the trigger reads", triggers.ErrInvalid, c.OnFailure)
	}
	return nil
}

// check asks others about what c names and was does not.
func (m *Manager) check(ctx context.Context, was, c triggers.Config) error {
	if _, err := compile(c); err != nil {
		return err
	}
	if c.Function != was.Function || c.Qualifier != was.Qualifier {
		if _, err := m.d.Functions.Version(ctx, c.Function, c.Qualifier); err != nil {
			return err
		}
	}
	if c.OnFailure != was.OnFailure {
		return m.CheckDestination(ctx, c.OnFailure)
	}
	return nil
}

// claim holds a stream and function for a trigger until it is stored: the
// exact pair may have one trigger only (AWS: ResourceConflictException).
func (m *Manager) claim(ctx context.Context, name, streamID string, c triggers.Config) (release func(), err error) {
	select {
	case m.creating <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	release = func() { <-m.creating }
	all, err := m.d.Mappings.All(ctx)
	for _, other := range all {
		if other.Name != name && other.StreamID == streamID && other.Config.Consumer == c.Consumer &&
			other.Config.Function == c.Function && other.Config.Qualifier == c.Qualifier {
			err = fmt.Errorf("%w: trigger %s already runs %s on stream %s", triggers.ErrExists, other.Name, c.Function, c.Stream)
		}
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// place writes the first commit of every shard: where the mapping starts. Those that
// are not made yet are left to be found.
func (m *Manager) place(ctx context.Context, mp triggers.Mapping, desc stream.Description) error {
	for _, s := range desc.Shards {
		sh, err := m.d.Streams.Shard(ctx, desc.ID, s.ID)
		var cp triggers.Checkpoint
		if err == nil {
			cp, err = start(ctx, sh, mp.Config.Position)
		}
		if unmade(s, err) || errors.Is(err, stream.ErrNotFound) && m.expired(ctx, desc.ID, s.ID) {
			continue
		}
		if err != nil {
			return err
		}
		if err := m.begin(ctx, mp, s.ID, cp); err != nil {
			return err
		}
	}
	return nil
}

// start is the checkpoint of a shard that is read from a position on. A closed
// shard with nothing behind that is finished at once.
func start(ctx context.Context, sh *natsstream.Shard, at stream.Position) (cp triggers.Checkpoint, err error) {
	if cp.Next, cp.Frame, err = sh.Resolve(ctx, at); err != nil {
		return cp, err
	}
	b, err := sh.Log().Bounds(ctx)
	cp.Ended = b.Ended && cp.Next >= b.NextNumber
	return cp, err
}

// unmade says that a shard which cannot be read was not made yet. One that is shown
// as being made may hold records all the same: where many take over at once, some do
// so before the others.
func unmade(s stream.Shard, err error) bool {
	return s.State == stream.Creating && errors.Is(err, log.ErrNotFound)
}

// expired says whether a shard of a stream is there no more, all its records being
// beyond retention.
func (m *Manager) expired(ctx context.Context, streamID, shardID string) bool {
	desc, err := m.d.Streams.ByID(ctx, streamID)
	return err == nil && !has(desc, shardID)
}

// begin writes the first commit of a mapping's generation in one shard.
func (m *Manager) begin(ctx context.Context, mp triggers.Mapping, shardID string, cp triggers.Checkpoint) error {
	j, _, err := m.d.Journals.Take(ctx, triggers.Source{Mapping: mp.ID, Generation: mp.Generation, Shard: shardID}, m.owner)
	if err != nil {
		return err
	}
	if err := j.Commit(ctx, cp, journal.Cargo{}); err != nil {
		return err
	}
	if cp.Ended {
		m.recordCommit(mp, j.Source(), j.Epoch(), &commit{cp: cp}, "ok")
	}
	return nil
}

// Get finds a trigger by name.
func (m *Manager) Get(ctx context.Context, name string) (triggers.Mapping, error) {
	mp, _, err := m.get(ctx, name)
	if err != nil {
		return mp, err
	}
	return m.show(mp), nil
}

func (m *Manager) get(ctx context.Context, name string) (triggers.Mapping, uint64, error) {
	mp, rev, err := m.d.Mappings.Get(ctx, name)
	if errors.Is(err, kv.ErrNotFound) {
		return mp, 0, fmt.Errorf("%w: trigger %s", triggers.ErrNotFound, name)
	}
	return mp, rev, err
}

// Find finds a trigger by its id.
func (m *Manager) Find(ctx context.Context, id string) (triggers.Mapping, error) {
	all, err := m.d.Mappings.All(ctx)
	if err != nil {
		return triggers.Mapping{}, err
	}
	for _, mp := range all {
		if mp.ID == id {
			return m.show(mp), nil
		}
	}
	return triggers.Mapping{}, fmt.Errorf("%w: trigger with id %s", triggers.ErrNotFound, id)
}

// List returns all triggers, by name, those that are being deleted too.
func (m *Manager) List(ctx context.Context) ([]triggers.Mapping, error) {
	all, err := m.d.Mappings.All(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]triggers.Mapping, 0, len(all))
	for _, mp := range all {
		out = append(out, m.show(mp))
	}
	slices.SortFunc(out, func(a, b triggers.Mapping) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// show adds the state in AWS's words, which is never stored but for Deleting.
func (m *Manager) show(mp triggers.Mapping) triggers.Mapping {
	if mp.State == triggers.Deleting {
		return mp
	}
	running := m.runner(mp.Name) != nil
	switch {
	case mp.Enabled && running:
		mp.State = triggers.Enabled
	case mp.Enabled:
		mp.State = triggers.Enabling
	case running:
		mp.State = triggers.Disabling
	default:
		mp.State = triggers.Disabled
	}
	return mp
}

// start takes up a mapping, unless it runs or the Manager does not.
func (m *Manager) start(mp triggers.Mapping) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running[mp.Name] == nil && m.run != nil {
		m.running[mp.Name] = startMapping(m.run, m, mp)
	}
}

// drop stops a mapping's pollers and waits for them.
func (m *Manager) drop(ctx context.Context, name string) {
	r := m.runner(name)
	if r == nil {
		return
	}
	r.stop(ctx)
	m.mu.Lock()
	if m.running[name] == r {
		delete(m.running, name)
	}
	m.mu.Unlock()
}

// runner is a mapping that runs, or nil.
func (m *Manager) runner(name string) *mapping {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.running[name]
}

func (m *Manager) ref(name string) stream.Ref {
	return stream.Ref{Account: m.d.Account, Region: m.d.Region, Name: name}
}
