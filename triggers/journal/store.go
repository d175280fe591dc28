package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
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
	// ErrUnrelayed means that dead letters, outputs or notices of the mapping are kept
	// nowhere else yet. Let the relay run, then try again.
	ErrUnrelayed = errors.New("journal: dead letters, outputs or notices are not relayed yet")
	// ErrNoJournal means that the mapping has no journal: it was never created,
	// or it is deleted.
	ErrNoJournal = errors.New("journal: mapping has no journal")
)

// Store is the journals of all mappings of one server. There is one Store for a
// server at a time: what it has read of a mapping's journal it keeps in memory, and
// at the first look it takes blobs that no commit names for leftovers of a process
// that has died. Safe for concurrent use.
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
	watchers []func(src triggers.Source, cargo, bytes int)
	marks    map[triggers.Source]uint64 // written by this process
	// mappings have a journal, or had one until it was deleted while they were
	// listed: false. They are all there are once complete is set.
	mappings map[string]bool
	complete bool
	unread   map[string]bool // of these, the ones that nobody has looked into
	accounts map[triggers.Source]*account
	ties     map[string]tie                // of dead letters by id, as accounts have it
	pending  map[triggers.Source]bool      // have cargo that is not confirmed, by their accounts
	loose    map[triggers.Source]bool      // accounts are missing, or may be outdated
	thinned  map[triggers.Source]*thinning // none: nobody knows how large its commits are
	unsure   map[triggers.Source]*Journal  // have a commit whose caller has gone away
}

// sweep is the one look into a mapping's journal when this process begins to use
// it.
type sweep struct {
	done      chan struct{} // closed by who made it, err and abandoned are set by then
	err       error
	abandoned bool              // for the context of who made it was over
	sources   []triggers.Source // sorted; guarded by Store.mu
}

// Open gives access to the journals on srv. It reads nothing yet.
func Open(srv *natsd.Server, o Options) *Store {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Store{srv: srv, log: o.Logger, handles: map[triggers.Source]*Journal{}, swept: map[string]*sweep{},
		marks: map[triggers.Source]uint64{}, mappings: map[string]bool{}, unread: map[string]bool{},
		accounts: map[triggers.Source]*account{}, ties: map[string]tie{}, pending: map[triggers.Source]bool{},
		loose: map[triggers.Source]bool{}, thinned: map[triggers.Source]*thinning{}, unsure: map[triggers.Source]*Journal{}}
}

func (s *Store) crash(point string) {
	if s.hook != nil {
		s.hook(point)
	}
}

// Watch calls fn after each commit, one of unknown outcome too, with its source
// how many things its cargo has, and how many bytes were written. One that is found to be there later is told
// of again. fn must not block, and not call back into the journal.
func (s *Store) Watch(fn func(src triggers.Source, cargo, bytes int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, fn)
}

func (s *Store) committed(src triggers.Source, cargo, bytes int) {
	s.mu.Lock()
	if t := s.thinned[src]; t != nil {
		t.bytes += bytes
	}
	watchers := s.watchers
	s.mu.Unlock()
	for _, fn := range watchers {
		fn(src, cargo, bytes)
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
	err := s.ledger(mapping).Create(ctx, "j."+mapping+".>")
	s.mu.Lock()
	s.mappings[mapping], s.unread[mapping] = true, true // after an error it may be there
	s.mu.Unlock()
	if err != nil {
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
	// What is stored decides here, not what this process knows of it.
	err := s.ready(ctx, mapping)
	var subjects map[string]uint64
	if err == nil {
		subjects, err = s.subjects(ctx, mapping)
	}
	if err != nil && !errors.Is(err, ErrNoJournal) {
		return err
	}
	for _, src := range sources(mapping, subjects) {
		if rest, err := s.Unrelayed(ctx, src); err != nil {
			return err
		} else if rest {
			return fmt.Errorf("delete journal of mapping %s: %s of generation %d: %w", mapping, src.Shard, src.Generation, ErrUnrelayed)
		}
	}
	if err == nil {
		if err := s.ledger(mapping).Remove(ctx); err != nil {
			return fmt.Errorf("journal of mapping %s: %w", mapping, err)
		}
	}
	s.forget(mapping)
	return nil
}

// Excess counts the messages of each source beside its newest commit and mark:
// what [Store.Trim] can purge at most. Sources without any are left out.
func (s *Store) Excess(ctx context.Context, mapping string) (map[triggers.Source]uint64, error) {
	subjects, err := s.subjects(ctx, mapping)
	if err != nil {
		return nil, err
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
	j.turn <- struct{}{} // nobody commits, or takes from j, before it is read
	defer func() { <-j.turn }()
	sure := AllConfirmed // of this process's commits
	s.mu.Lock()
	old := s.handles[src]
	if j.tip.Store(sure); old != nil {
		// It may have a commit under way, which does not count before it is read.
		sure = old.sure.Load()
		j.tip.Store(old.tip.Load())
	}
	j.sure.Store(sure)
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
	s.keep(src, a, j)
	if c == nil {
		j.epoch = 1
		j.tip.Store(0)
		j.sure.Store(0)
		s.mu.Lock()
		s.thinned[src] = &thinning{} // all that will be there comes from this process
		s.mu.Unlock()
		return j, nil, nil
	}
	j.epoch, j.last, j.cargo = c.epoch+1, c.sequence, c.cargoUpTo()
	j.tip.Store(j.last)
	j.sure.Store(j.cargo)
	j.listed = true
	if j.cargo > sure {
		s.committed(src, max(c.size(), 1), 0) // nobody was sure of it
	}
	return j, &c.checkpoint, nil
}
