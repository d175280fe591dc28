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
	// Problem says what keeps outputs of a mapping from their streams, or nothing.
	Problem(mapping string) string
}

// Observer is told what pollers do, for metrics and traces. Each func may be nil.
type Observer struct {
	Polled   func(m triggers.Mapping, records int)
	Invoked  func(m triggers.Mapping, records int)
	Failed   func(m triggers.Mapping, records int)
	Dropped  func(m triggers.Mapping, records int)
	Iterator func(m triggers.Mapping, age time.Duration)
	Invoking func(ctx context.Context, m triggers.Mapping, inv *runtime.Invocation) (context.Context, func(runtime.Result))
	Lost     func(m triggers.Mapping, records uint64, reason string)
}

// Deps are the parts a Manager works with. All are required but History, Observer and Logger.
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

	mu       sync.Mutex               // guards what follows; never held across a wait
	running  map[string]*mapping      // by name
	changing map[string]bool          // names with a change under way
	past     map[triggers.Source]past // closed shards, since the stream forgets them
	run      context.Context          // of pollers and deletions, from Start to Close
	cancel   context.CancelFunc       // ends it
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
	return &Manager{d: d, budget: newBudget(d.Lookahead), owner: uuid.NewString(), creating: make(chan struct{}, 1), running: map[string]*mapping{}, changing: map[string]bool{}, past: map[triggers.Source]past{}}
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

// Create makes a trigger. Its starting place in every shard is committed
// before Create returns, so that LATEST means now and is never asked again.
func (m *Manager) Create(ctx context.Context, name string, c triggers.Config, enabled bool) (triggers.Mapping, error) {
	c = c.WithDefaults()
	if err := errors.Join(triggers.ValidateName(name), c.Validate()); err != nil {
		return triggers.Mapping{}, err
	}
	unlock, err := m.lock(name)
	if err != nil {
		return triggers.Mapping{}, err
	}
	defer unlock()
	if _, err := m.d.Functions.Version(ctx, c.Function, c.Qualifier); err != nil {
		return triggers.Mapping{}, err
	}
	desc, err := m.d.Streams.Describe(ctx, m.ref(c.Stream))
	if err != nil {
		return triggers.Mapping{}, err
	}
	release, err := m.claim(ctx, name, desc.ID, c)
	if err != nil {
		return triggers.Mapping{}, err
	}
	defer release()
	now := time.Now().UTC().Truncate(time.Millisecond)
	mp := triggers.Mapping{
		ID: uuid.NewString(), Name: name, Generation: 1, Config: c, StreamID: desc.ID, StreamARN: desc.ARN(),
		Enabled: enabled, State: triggers.Creating, Created: now, Modified: now,
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
	if enabled {
		m.start(mp)
	}
	return m.show(mp), nil
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
		if other.Name != name && other.StreamID == streamID && other.Config.Function == c.Function && other.Config.Qualifier == c.Qualifier {
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

// List returns all triggers, by name.
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

// Update changes a trigger's settings from the next unit of work on. What it
// reads and where it started cannot be changed.
func (m *Manager) Update(ctx context.Context, name string, change func(*triggers.Config)) (triggers.Mapping, error) {
	mp, rev, unlock, err := m.change(ctx, name)
	if err != nil {
		return mp, err
	}
	defer unlock()
	c := mp.Config
	change(&c)
	if c.Stream != mp.Config.Stream || c.Position != mp.Config.Position {
		return mp, fmt.Errorf("%w: a trigger's stream and starting position cannot be changed; remove it and create another", triggers.ErrInvalid)
	}
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return mp, err
	}
	if c.Function != mp.Config.Function || c.Qualifier != mp.Config.Qualifier {
		if _, err := m.d.Functions.Version(ctx, c.Function, c.Qualifier); err != nil {
			return mp, err
		}
		release, err := m.claim(ctx, name, mp.StreamID, c)
		if err != nil {
			return mp, err
		}
		defer release()
	}
	mp.Config, mp.Modified = c, time.Now().UTC().Truncate(time.Millisecond)
	if _, err := m.d.Mappings.Update(ctx, name, mp, rev); err != nil {
		return mp, err
	}
	if r := m.runner(name); r != nil {
		r.configure(mp)
	}
	return m.show(mp), nil
}

// Pause stops a trigger at a batch boundary. When it returns, no invocation of
// it runs or starts.
func (m *Manager) Pause(ctx context.Context, name string) (triggers.Mapping, error) {
	return m.enable(ctx, name, false)
}

// Resume lets a paused trigger go on at its checkpoint.
func (m *Manager) Resume(ctx context.Context, name string) (triggers.Mapping, error) {
	return m.enable(ctx, name, true)
}

func (m *Manager) enable(ctx context.Context, name string, enabled bool) (triggers.Mapping, error) {
	mp, rev, unlock, err := m.change(ctx, name)
	if err != nil {
		return mp, err
	}
	defer unlock()
	if mp.Enabled != enabled {
		mp.Enabled, mp.Modified = enabled, time.Now().UTC().Truncate(time.Millisecond)
		if _, err := m.d.Mappings.Update(ctx, name, mp, rev); err != nil {
			return mp, err
		}
	}
	if !enabled {
		m.drop(ctx, name)
	} else {
		m.start(mp)
	}
	return m.show(mp), nil
}

// leaving is how long Delete waits for what a trigger's function has emitted.
const leaving = 5 * time.Second

// Delete removes a trigger. Its dead letters stay. It returns when everything its
// function has emitted has arrived, or, with [triggers.ErrLeaving], when that
// takes long: the trigger runs no more then, and goes by itself when it has.
func (m *Manager) Delete(ctx context.Context, name string) error {
	unlock, err := m.lock(name)
	if err != nil {
		return err
	}
	defer unlock()
	mp, rev, err := m.get(ctx, name)
	if err != nil {
		return err
	}
	if mp.State != triggers.Deleting {
		mp.State, mp.Enabled = triggers.Deleting, false
		if _, err := m.d.Mappings.Update(ctx, name, mp, rev); err != nil {
			return err
		}
	}
	m.drop(ctx, name)
	bounded, cancel := context.WithTimeout(ctx, leaving)
	err = m.finishDelete(bounded, mp)
	cancel()
	if err != nil {
		if why := m.d.Relay.Problem(mp.ID); ctx.Err() == nil && bounded.Err() != nil {
			err = fmt.Errorf("%w: trigger %s runs no more and goes when what its function has emitted has arrived: %s", triggers.ErrLeaving, name, cmp.Or(why, err.Error()))
		}
		m.mu.Lock()
		if m.run != nil {
			m.finish(m.run, mp) // whoever asked has gone, or something is down: it goes on without them
		}
		m.mu.Unlock()
	}
	return err
}

// finishDelete forgets a mapping once its last dead letters have arrived.
func (m *Manager) finishDelete(ctx context.Context, mp triggers.Mapping) error {
	if err := m.d.Relay.Drained(ctx, mp.ID); err != nil {
		return fmt.Errorf("trigger %s: its dead letters and outputs: %w", mp.Name, err)
	}
	if err := m.d.Journals.Delete(ctx, mp.ID); err != nil {
		return fmt.Errorf("trigger %s: its journal: %w", mp.Name, err)
	}
	if mp.Name == "" {
		return nil // it was never made
	}
	now, rev, err := m.d.Mappings.Get(ctx, mp.Name)
	if errors.Is(err, kv.ErrNotFound) || err == nil && now.ID != mp.ID {
		return nil // another call has done it; the name may be somebody else's by now
	} else if err != nil {
		return err
	}
	return m.d.Mappings.Delete(ctx, mp.Name, rev)
}

// change finds a trigger that may be changed, and keeps other calls from
// changing it until unlock.
func (m *Manager) change(ctx context.Context, name string) (mp triggers.Mapping, rev uint64, unlock func(), err error) {
	if unlock, err = m.lock(name); err != nil {
		return mp, 0, nil, err
	}
	mp, rev, err = m.get(ctx, name)
	if err == nil && mp.State == triggers.Deleting {
		err = fmt.Errorf("%w: trigger %s is being removed", triggers.ErrNotFound, name)
	}
	if err != nil {
		unlock()
	}
	return mp, rev, unlock, err
}

// lock keeps changes of one trigger apart without holding a mutex over them.
func (m *Manager) lock(name string) (unlock func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.changing[name] {
		return nil, fmt.Errorf("%w: trigger %s is being changed by another call; try again", triggers.ErrBusy, name)
	}
	m.changing[name] = true
	return func() {
		m.mu.Lock()
		delete(m.changing, name)
		m.mu.Unlock()
	}, nil
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
