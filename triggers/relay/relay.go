// Package relay carries the cargo of commits from the journals of mappings to
// where it belongs, dead letters and outputs exactly once, and frees the journals
// of what nobody needs.
//
// For each source, behind its confirmed mark, it appends dead letters to the
// morgue, then removes those that are settled, then appends outputs to their
// streams, each of the three in order of positions; then it notes the mark, and
// lets the journal purge. A crash between any two of these steps repeats the
// step, and repeating one changes nothing: the morgue and each target know by
// positions what they have, and a mark does not go back. It serves every journal
// there is, whether its mapping is enabled, disabled, superseded by a later
// generation or deleted.
//
// A target that is full or unavailable keeps back its own outputs, and the mark;
// letters and other targets go on. So do outputs when the morgue takes no letters.
// Outputs to a stream that was deleted become dead letters, also when a stream of
// that name is there again.
//
// Notices go beside all that, by couriers of their own, in order for each source and
// destination. A destination that cannot be told keeps back its own notices, and the
// mark. What lies behind the mark is delivered again after a crash, since nobody
// asks a destination what it has: at least once.
package relay

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/wasmill/wasmill/dlq/morgue"
	"github.com/wasmill/wasmill/dlq/store"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
)

const (
	// trimEvery is after how many commits a source's journal is purged.
	trimEvery = 1000
	// trimBytes is after how many bytes of commits it is too: the state of a tumbling
	// window is in each of them.
	trimBytes = 16 << 20
	// idle is how long a source has not committed when its journal is purged anyway.
	idle = time.Second
	// expire is how often the morgue drops what is too old.
	expire = time.Hour
	// strideBytes is how much of a source's cargo is moved at most before that is
	// noted, so that a disk that is nearly full does not hold it twice. It is also
	// what a worker has in memory, give or take a commit.
	strideBytes = 4 << 20
	// workers is how many sources are served at a time.
	workers = 4

	firstPause = 100 * time.Millisecond // after a failure, doubling
	lastPause  = 10 * time.Second
	// quotaPause is the longest pause where a stream's quota is in the way: others
	// put there too, and take what becomes free.
	quotaPause = time.Second
)

// Relay serves the journals of one server; there is one, and one Run of it.
type Relay struct {
	srv      *natsd.Server
	journals *journal.Store
	morgue   *morgue.Morgue
	graves   *store.Store
	streams  Targets
	log      *slog.Logger
	sender   Sender
	told     func(Delivery)
	hook     func(point string) error // of tests: an error stops the work as a crash would

	kick chan struct{} // anybody sends without blocking, Run receives

	mu      sync.Mutex // guards what follows; never held across a wait
	sources map[triggers.Source]*source
	// Of sources that nobody serves: those that are due, and those of which
	// something has failed. Every commit may have them looked at, however many
	// sources there are.
	due, failed map[triggers.Source]*source
	mappings    map[string]*family
	mail        map[*box]bool   // boxes with something in, that no courier serves
	couriers    map[string]int  // under way, by destination
	forsaken    map[string]bool // mappings
	settled     chan struct{}   // closed, and made anew, whenever a source was served
	running     bool
}

// family is the sources of a mapping. Guarded by Relay.mu.
type family struct {
	sources map[triggers.Source]*source
	graves  map[string]*grave // by id of the incarnation
}

// grave is an incarnation of a stream that was deleted while outputs were on
// their way to it.
type grave struct {
	arn    string
	buried int // outputs that became dead letters
}

// source is what is known of one.
type source struct {
	// Guarded by Relay.mu.
	due     bool // cargo waits, or it is to be purged; by Relay.rouse
	busy    bool // a worker serves it
	trim    bool // it is to be purged
	commits int  // since it was purged
	bytes   int  // of these
	last    time.Time
	journal retry  // of reading it, and of marks
	letters retry  // of moving letters
	removal retry  // of removing letters
	moved   uint64 // letters of commits up to here are in the morgue, as read says
	targets map[string]*target
	boxes   map[string]*box // by destination
	sent    uint64          // outputs of commits up to here are where they belong

	// Only the worker that serves the source touches what follows, and of targets
	// what is not said to be guarded.
	mark     uint64
	read     uint64 // commits up to here were looked at: letters are moved or wait, the rest is known
	removals []removal
	waits    bool   // letters of commits that were looked at are not moved
	behind   uint64 // a commit before all those
}

// retry is when to try again what failed. Guarded by Relay.mu.
type retry struct {
	err   error
	pause time.Duration
	until time.Time
}

func (t *retry) note(err error, now time.Time) {
	if err == nil {
		*t = retry{}
		return
	}
	longest := lastPause
	if errors.Is(err, stream.ErrQuota) {
		longest = quotaPause
	}
	t.err, t.pause = err, min(max(2*t.pause, firstPause), longest)
	t.until = now.Add(t.pause)
}

// ready says that it is time to try again what has failed.
func (t *retry) ready(now time.Time) bool { return t.err != nil && !now.Before(t.until) }

// New connects journals, morgue and streams. It starts nothing; commits made
// before Run are found by it.
func New(srv *natsd.Server, journals *journal.Store, m *morgue.Morgue, targets Targets, log *slog.Logger) *Relay {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	r := &Relay{
		srv: srv, journals: journals, morgue: m, graves: m.Graves(), streams: targets, log: log,
		kick: make(chan struct{}, 1), settled: make(chan struct{}), mappings: map[string]*family{},
		sources: map[triggers.Source]*source{}, due: map[triggers.Source]*source{}, failed: map[triggers.Source]*source{},
		mail: map[*box]bool{}, couriers: map[string]int{}, forsaken: map[string]bool{}, told: func(Delivery) {},
	}
	journals.Watch(r.committed)
	m.OnPurge(r.flush)
	return r
}

// of is the state of src. The caller holds mu.
func (r *Relay) of(src triggers.Source) *source {
	s := r.sources[src]
	if s == nil {
		s = &source{targets: map[string]*target{}, boxes: map[string]*box{}}
		r.sources[src] = s
		r.family(src.Mapping).sources[src] = s
	}
	return s
}

// family is that of a mapping. The caller holds mu.
func (r *Relay) family(mapping string) *family {
	f := r.mappings[mapping]
	if f == nil {
		f = &family{sources: map[triggers.Source]*source{}, graves: map[string]*grave{}}
		r.mappings[mapping] = f
	}
	return f
}

// forget drops what is known of a source whose journal is deleted: that needs
// everything to be confirmed. The caller holds mu.
func (r *Relay) forget(src triggers.Source) {
	if s := r.sources[src]; s != nil {
		for _, b := range s.boxes {
			delete(r.mail, b)
		}
	}
	delete(r.sources, src)
	delete(r.due, src)
	delete(r.failed, src)
	if f := r.mappings[src.Mapping]; f != nil {
		if delete(f.sources, src); len(f.sources) == 0 {
			delete(r.mappings, src.Mapping)
			delete(r.forsaken, src.Mapping)
		}
	}
}

// rouse makes a source due. The caller holds mu.
func (r *Relay) rouse(src triggers.Source, s *source) {
	if s.due = true; !s.busy {
		r.due[src] = s
	}
}

func (r *Relay) committed(src triggers.Source, cargo, bytes int) {
	now := time.Now()
	r.mu.Lock()
	s := r.of(src)
	s.commits++
	s.bytes += bytes
	s.last = now
	if s.commits >= trimEvery || s.bytes >= trimBytes {
		s.trim = true
	}
	if cargo > 0 || s.trim {
		r.rouse(src, s)
	}
	wake := s.due
	r.mu.Unlock()
	if wake {
		r.wake()
	}
}

func (r *Relay) wake() {
	select {
	case r.kick <- struct{}{}:
	default: // one is on its way, and Run looks after receiving it
	}
}

// Run serves all journals until ctx ends, and leaves nothing running behind it.
// It begins with a look into every journal.
func (r *Relay) Run(ctx context.Context) error {
	r.mu.Lock()
	r.running = true
	r.mu.Unlock()
	var wg sync.WaitGroup
	defer func() {
		wg.Wait()
		r.mu.Lock()
		r.running = false
		r.mu.Unlock()
		r.served() // lets flush see it
	}()

	tick := time.NewTicker(idle)
	defer tick.Stop()
	found, pause := false, firstPause
	var look, expired time.Time
	done := make(chan struct{}, workers) // workers send, Run receives
	active := 0
	retry := time.NewTimer(idle)
	defer retry.Stop()
	for {
		now := time.Now()
		if !found && !now.Before(look) {
			if err := r.findAll(ctx); err != nil {
				r.log.Warn("cannot look for dead letters to move yet", "err", err)
				look, pause = now.Add(pause), min(2*pause, lastPause)
			} else {
				found = true
			}
		}
		for active < workers {
			src, trim, ok := r.next(now)
			if !ok {
				break
			}
			active++
			wg.Go(func() {
				r.settle(ctx, src, trim, r.serve(ctx, src, trim))
				done <- struct{}{}
			})
		}
		for b := r.nextBox(now); b != nil; b = r.nextBox(now) {
			wg.Go(func() { r.courier(ctx, b) })
		}
		retry.Reset(r.soonest(now, active < workers))
		select {
		case <-r.kick:
		case <-retry.C:
		case <-done:
			active--
		case now := <-tick.C:
			r.idlers(now)
			if now.Sub(expired) >= expire && active < workers {
				expired = now
				active++
				wg.Go(func() {
					if err := r.morgue.Trim(ctx); err != nil && ctx.Err() == nil {
						r.log.Warn("cannot drop expired dead letters", "err", err)
					}
					if err := r.sweep(ctx); err != nil && ctx.Err() == nil {
						r.log.Warn("cannot look which triggers were deleted", "err", err)
					}
					done <- struct{}{}
				})
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// findAll makes every source of every journal due.
func (r *Relay) findAll(ctx context.Context) error {
	mappings, err := r.journals.Mappings(ctx)
	if err != nil {
		return err
	}
	for _, mapping := range mappings {
		sources, err := r.journals.Sources(ctx, mapping)
		var excess map[triggers.Source]uint64
		if err == nil {
			excess, err = r.journals.Excess(ctx, mapping)
		}
		if errors.Is(err, journal.ErrNoJournal) {
			continue
		}
		if err != nil {
			return err
		}
		r.mu.Lock()
		for _, src := range sources {
			s := r.of(src)
			r.rouse(src, s)
			s.trim = s.trim || excess[src] > 0
		}
		r.mu.Unlock()
	}
	return nil
}

// sweep forgets the sources of mappings that were deleted, save for those that are
// to be served yet: settle does so.
func (r *Relay) sweep(ctx context.Context) error {
	r.mu.Lock()
	known := slices.Collect(maps.Keys(r.mappings)) // before the look: one that is made meanwhile is none of these
	r.mu.Unlock()
	there, err := r.journals.Mappings(ctx)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, mapping := range known {
		if slices.Contains(there, mapping) || r.mappings[mapping] == nil {
			continue
		}
		for src, s := range r.mappings[mapping].sources {
			if !s.busy && !s.due && s.commits == 0 && r.failed[src] == nil {
				r.forget(src)
			}
		}
	}
	return nil
}

// next picks a source to serve. It is busy until settle.
func (r *Relay) next(now time.Time) (src triggers.Source, trim, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for src, s := range r.due {
		if !now.Before(s.journal.until) {
			return src, r.pick(src, s), true
		}
	}
	for src, s := range r.failed {
		if !now.Before(s.journal.until) && s.again(now) {
			return src, r.pick(src, s), true
		}
	}
	return triggers.Source{}, false, false
}

func (r *Relay) pick(src triggers.Source, s *source) (trim bool) {
	delete(r.due, src)
	delete(r.failed, src)
	trim = s.trim
	s.busy, s.due, s.trim = true, false, false
	if trim {
		s.commits, s.bytes = 0, 0
	}
	return trim
}

// hindrances are all that can fail of the source.
func (s *source) hindrances(yield func(*retry) bool) {
	if !yield(&s.journal) || !yield(&s.letters) || !yield(&s.removal) {
		return
	}
	for _, t := range s.targets {
		if !yield(&t.retry) {
			return
		}
	}
}

// again says whether something of the source that failed is to be tried again.
func (s *source) again(now time.Time) bool {
	for t := range s.hindrances {
		if t != &s.journal && t.ready(now) {
			return true
		}
	}
	return false
}

// soonest is how long to wait until something that failed is to be tried again; idle
// says that a worker is free for it.
func (r *Relay) soonest(now time.Time, idle bool) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	wait := time.Hour
	for _, s := range r.failed { // the worker of one that is busy will tell
		if !idle {
			break // and so will that of any other
		}
		for t := range s.hindrances {
			if t.err != nil {
				wait = min(wait, max(t.until.Sub(now), time.Millisecond))
			}
		}
	}
	for b := range r.mail {
		if now.Before(b.retry.until) { // if not, it waits for a courier
			wait = min(wait, max(b.retry.until.Sub(now), time.Millisecond))
		}
	}
	return wait
}

// idlers makes those due that have stopped committing.
func (r *Relay) idlers(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for src, s := range r.sources {
		if s.commits > 0 && now.Sub(s.last) >= idle {
			s.trim = true
			r.rouse(src, s)
		}
	}
}

// settle notes how serving a source went.
func (r *Relay) settle(ctx context.Context, src triggers.Source, trim bool, err error) {
	r.mu.Lock()
	s := r.of(src)
	s.busy = false
	first := err != nil && s.journal.err == nil
	s.journal.note(err, time.Now())
	if err != nil {
		s.due, s.trim = true, s.trim || trim
	}
	if s.due {
		r.due[src] = s
	}
	for t := range s.hindrances {
		if t.err != nil {
			r.failed[src] = s
			break
		}
	}
	if errors.Is(err, journal.ErrNoJournal) {
		r.forget(src)
	}
	r.mu.Unlock()
	if first && ctx.Err() == nil && !errors.Is(err, journal.ErrNoJournal) {
		r.log.Warn("what a trigger has committed cannot be moved yet", "mapping", src.Mapping, "shard", src.Shard, "err", err)
	}
	r.served()
}

func (r *Relay) served() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.settled)
	r.settled = make(chan struct{})
}

func (r *Relay) crash(point string) error {
	if r.hook != nil {
		return r.hook(point)
	}
	return nil
}
