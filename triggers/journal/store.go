package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/wasmill/wasmill/internal/ledger"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/triggers"
)

// Options shape a [Store]. The zero value works.
type Options struct {
	// Logger receives what is swept. Defaults to none.
	Logger *slog.Logger
}

var (
	// ErrUnrelayed means that dead letters or outputs of the mapping are kept
	// nowhere else yet. Let the relay run, then try again.
	ErrUnrelayed = errors.New("journal: dead letters or outputs are not relayed yet")
	// ErrNoJournal means that the mapping has no journal: it was never created,
	// or it is deleted.
	ErrNoJournal = errors.New("journal: mapping has no journal")
)

// Store is the journals of all mappings of one server. There is one Store for a
// server at a time: at the first use of a mapping's journal it takes blobs that
// no commit names for leftovers of a process that has died. Safe for concurrent
// use.
type Store struct {
	srv *natsd.Server
	log *slog.Logger

	// Of tests: hook stops the process, so to speak, and wrap loses messages
	// and acknowledgements.
	hook func(point string)
	wrap func(send func() (uint64, error)) (uint64, error)

	mu       sync.Mutex // guards what follows; never held across a wait
	handles  map[triggers.Source]*Journal
	swept    map[string]*sweep // by mapping
	watchers []func(triggers.Source, int)
	accounts map[triggers.Source]*account
	marks    map[triggers.Source]uint64 // written by this process
}

// sweep is the one clearing-up of a mapping's journal in this process.
type sweep struct {
	done chan struct{} // closed by who made it, err is set by then
	err  error
}

// Open gives access to the journals on srv. It reads nothing yet.
func Open(srv *natsd.Server, o Options) *Store {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Store{srv: srv, log: o.Logger, handles: map[triggers.Source]*Journal{}, swept: map[string]*sweep{},
		accounts: map[triggers.Source]*account{}, marks: map[triggers.Source]uint64{}}
}

func (s *Store) crash(point string) {
	if s.hook != nil {
		s.hook(point)
	}
}

// Watch calls fn after each commit, one of unknown outcome too, with its source
// and how many things its cargo has. fn must not block, and not call back into the journal.
func (s *Store) Watch(fn func(src triggers.Source, cargo int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, fn)
}

func (s *Store) committed(src triggers.Source, cargo int) {
	s.mu.Lock()
	watchers := s.watchers
	s.mu.Unlock()
	for _, fn := range watchers {
		fn(src, cargo)
	}
}

const (
	streamPrefix = "J_"
	allSubjects  = "j.>"

	kindCommit = "c"
	kindBlob   = "b"
	kindMark   = "mark"
)

func (s *Store) ledger(mapping string) *ledger.Ledger { return ledger.At(s.srv, streamPrefix+mapping) }

func subject(kind string, src triggers.Source) string {
	return "j." + src.Mapping + "." + kind + "." + strconv.Itoa(src.Generation) + "." + src.Shard
}

// source reads what subject wrote.
func source(mapping, subj string) (triggers.Source, bool) {
	parts := strings.Split(subj, ".")
	if len(parts) != 5 {
		return triggers.Source{}, false
	}
	generation, err := strconv.Atoi(parts[3])
	return triggers.Source{Mapping: mapping, Generation: generation, Shard: parts[4]}, err == nil
}

// check refuses what cannot be a token of a subject.
func check(src triggers.Source) error {
	for _, token := range []string{src.Mapping, src.Shard} {
		if token == "" || strings.ContainsAny(token, ".*> \t\r\n/\\") {
			return fmt.Errorf("%w: %q cannot name a journal", triggers.ErrInvalid, token)
		}
	}
	return nil
}

// Create makes the journal of a mapping. It is there already: no error.
func (s *Store) Create(ctx context.Context, mapping string) error {
	if err := check(triggers.Source{Mapping: mapping, Shard: "any"}); err != nil {
		return err
	}
	if err := s.ledger(mapping).Create(ctx, "j."+mapping+".>"); err != nil {
		return fmt.Errorf("journal of mapping %s: %w", mapping, err)
	}
	return nil
}

// Delete removes the journal of a mapping with all generations and ends every
// [Journal] of it. It fails with [ErrUnrelayed] as long as cargo would be
// lost. Deleting what is not there is no error.
func (s *Store) Delete(ctx context.Context, mapping string) error {
	s.mu.Lock()
	handles := maps.Clone(s.handles)
	s.mu.Unlock()
	for src, j := range handles {
		if src.Mapping == mapping {
			if err := j.end(ctx); err != nil {
				return err
			}
		}
	}
	sources, err := s.Sources(ctx, mapping)
	if errors.Is(err, ErrNoJournal) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, src := range sources {
		if rest, err := s.Unrelayed(ctx, src); err != nil {
			return err
		} else if rest {
			return fmt.Errorf("delete journal of mapping %s: %s of generation %d: %w", mapping, src.Shard, src.Generation, ErrUnrelayed)
		}
	}
	if err := s.ledger(mapping).Remove(ctx); err != nil {
		return fmt.Errorf("journal of mapping %s: %w", mapping, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.swept, mapping)
	maps.DeleteFunc(s.handles, func(src triggers.Source, _ *Journal) bool { return src.Mapping == mapping })
	maps.DeleteFunc(s.accounts, func(src triggers.Source, _ *account) bool { return src.Mapping == mapping })
	maps.DeleteFunc(s.marks, func(src triggers.Source, _ uint64) bool { return src.Mapping == mapping })
	return nil
}

// Mappings lists the ids of all mappings that have a journal, sorted: disabled
// and deleted ones too, as long as it is there.
func (s *Store) Mappings(ctx context.Context) ([]string, error) {
	names, err := ledger.Streams(ctx, s.srv, allSubjects)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		if id, ok := strings.CutPrefix(name, streamPrefix); ok {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out, nil
}

// Sources lists who has committed to the mapping's journal, all generations,
// sorted.
func (s *Store) Sources(ctx context.Context, mapping string) ([]triggers.Source, error) {
	if err := s.ready(ctx, mapping); err != nil {
		return nil, err
	}
	subjects, err := s.ledger(mapping).Subjects(ctx, "j."+mapping+"."+kindCommit+".>")
	if err != nil {
		return nil, s.about(triggers.Source{Mapping: mapping}, err)
	}
	var out []triggers.Source
	for subj := range subjects {
		if src, ok := source(mapping, subj); ok {
			out = append(out, src)
		}
	}
	slices.SortFunc(out, func(a, b triggers.Source) int {
		if a.Generation != b.Generation {
			return a.Generation - b.Generation
		}
		return strings.Compare(a.Shard, b.Shard)
	})
	return out, nil
}

// Excess counts the messages of each source beside its newest commit and mark:
// what [Store.Trim] can purge at most. Sources without any are left out.
func (s *Store) Excess(ctx context.Context, mapping string) (map[triggers.Source]uint64, error) {
	subjects, err := s.ledger(mapping).Subjects(ctx, "j."+mapping+".>")
	if err != nil {
		return nil, s.about(triggers.Source{Mapping: mapping}, err)
	}
	out := map[triggers.Source]uint64{}
	for subj, n := range subjects {
		src, ok := source(mapping, subj)
		if !ok {
			continue
		}
		if subj != subject(kindBlob, src) {
			n--
		}
		if n > 0 {
			out[src] += n
		}
	}
	return out, nil
}

// about says which journal it was about.
func (s *Store) about(src triggers.Source, err error) error {
	if errors.Is(err, ledger.ErrNoStream) {
		return fmt.Errorf("%w: %s", ErrNoJournal, src.Mapping)
	}
	if src.Shard == "" {
		return fmt.Errorf("journal of mapping %s: %w", src.Mapping, err)
	}
	return fmt.Errorf("journal of mapping %s, %s: %w", src.Mapping, src.Shard, err)
}

// newest is the newest commit of src; nil: it never committed.
func (s *Store) newest(ctx context.Context, src triggers.Source) (*commit, error) {
	e, found, err := s.ledger(src.Mapping).Last(ctx, subject(kindCommit, src))
	if err != nil {
		return nil, s.about(src, err)
	}
	if !found {
		return nil, nil
	}
	c, err := decodeCommit(e.Sequence, e.Data)
	if err != nil {
		return nil, s.about(src, fmt.Errorf("commit %d: %w", e.Sequence, err))
	}
	return c, nil
}

// Peek is the newest checkpoint of src; nil: it never committed.
func (s *Store) Peek(ctx context.Context, src triggers.Source) (*triggers.Checkpoint, error) {
	if err := check(src); err != nil {
		return nil, err
	}
	c, err := s.newest(ctx, src)
	if c == nil || err != nil {
		return nil, err
	}
	return &c.checkpoint, nil
}

// Take makes the caller the one who commits for src: it returns the newest
// checkpoint, nil if there is none, and the handle whose first commit ends every
// other owner's. owner is for people who look into the journal.
//
// On one machine the lock of the data directory is the lease: an owner before
// this one is dead, or a handle of this Store, which gets [triggers.ErrFenced]
// from now on. Should a commit of it still land behind the caller's back, the
// caller's first commit is refused as well, and it has to take again.
func (s *Store) Take(ctx context.Context, src triggers.Source, owner string) (*Journal, *triggers.Checkpoint, error) {
	if err := check(src); err != nil {
		return nil, nil, err
	}
	if err := s.ready(ctx, src.Mapping); err != nil {
		return nil, nil, err
	}
	j := &Journal{store: s, src: src, owner: owner, ledger: s.ledger(src.Mapping), subject: subject(kindCommit, src), turn: make(chan struct{}, 1)}
	j.tip.Store(AllConfirmed) // nothing is sent before it is read
	j.sure.Store(AllConfirmed)
	j.turn <- struct{}{} // nobody commits, or takes from j, before it is read
	defer func() { <-j.turn }()
	s.mu.Lock()
	old := s.handles[src]
	s.handles[src] = j
	s.mu.Unlock()
	if old != nil {
		if err := old.end(ctx); err != nil {
			return nil, nil, err
		}
	}
	if err := s.srv.Healthy(ctx); err != nil {
		return nil, nil, s.about(src, err)
	}
	c, err := s.newest(ctx, src)
	if err != nil {
		return nil, nil, err
	}
	// What a failing store shows need not be on disk.
	if err := s.srv.Admit(natsd.Journal, 0); err != nil && !errors.Is(err, natsd.ErrReserve) {
		return nil, nil, s.about(src, err)
	}
	a, err := s.audit(ctx, src, c)
	if err != nil {
		return nil, nil, err
	}
	s.keep(src, a)
	if c == nil {
		j.epoch = 1
		j.tip.Store(0)
		j.sure.Store(0)
		return j, nil, nil
	}
	j.epoch, j.last, j.cargo = c.epoch+1, c.sequence, c.cargoUpTo()
	j.tip.Store(j.last)
	j.sure.Store(j.cargo)
	return j, &c.checkpoint, nil
}

// ready sweeps the mapping's journal before its first use in this process, when
// no commit can be under way.
func (s *Store) ready(ctx context.Context, mapping string) error {
	s.mu.Lock()
	w, there := s.swept[mapping]
	if !there {
		w = &sweep{done: make(chan struct{})}
		s.swept[mapping] = w
	}
	s.mu.Unlock()
	if there {
		select {
		case <-w.done:
			return w.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	w.err = s.sweep(ctx, mapping)
	if w.err != nil {
		s.mu.Lock()
		delete(s.swept, mapping) // the next one tries again
		s.mu.Unlock()
	}
	close(w.done)
	return w.err
}

// sweep deletes the blobs behind the newest commit of their source: no commit
// names them, since it would come after them. Those before it go with the purge
// of the commits that may name them.
func (s *Store) sweep(ctx context.Context, mapping string) error {
	l := s.ledger(mapping)
	subjects, err := l.Subjects(ctx, "j."+mapping+".>")
	if err != nil {
		return s.about(triggers.Source{Mapping: mapping}, err)
	}
	for subj := range subjects {
		src, ok := source(mapping, subj)
		if !ok || subj != subject(kindBlob, src) {
			continue
		}
		newest, err := s.newest(ctx, src)
		if err != nil {
			return err
		}
		if newest == nil && subjects[subject(kindCommit, src)] > 0 {
			return s.about(src, errors.New("newest commit cannot be read"))
		}
		from := uint64(1)
		if newest != nil {
			from = newest.sequence + 1
		}
		var orphans []uint64
		err = l.Scan(ctx, subj, from, math.MaxUint64, func(e ledger.Entry) error {
			orphans = append(orphans, e.Sequence)
			return nil
		})
		if err != nil {
			return s.about(src, err)
		}
		for _, seq := range orphans {
			if _, err := l.Delete(ctx, seq); err != nil {
				return s.about(src, err)
			}
		}
		if len(orphans) > 0 {
			s.log.Info("swept blobs of a commit that never came", "mapping", mapping, "shard", src.Shard, "blobs", len(orphans))
		}
	}
	return nil
}
