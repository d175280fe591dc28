// Package store keeps functions: their definitions and versions in a key-value
// bucket, their code in a stream, by its digest.
//
// Code is checked and compiled before anything is stored, and stored before
// anything names it; code that nothing names is swept. A function that is
// deleted and created again is another one: it has a new ID and inherits
// neither versions nor revision.
//
// The data directory belongs to one process, so that what a Store has in memory is
// the truth: reading asks no disk, but for the code itself.
package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/runtime"
)

const bucket = "functions"

// Checker checks and compiles code; the pool is one. What the code lacks is an
// error that wraps functions.ErrCode.
type Checker interface {
	Check(ctx context.Context, code []byte, progress func(runtime.Progress)) (functions.Code, error)
}

// entry is what the bucket holds: under a function's name its $LATEST, under
// "<function's id>/<number>" a version of it.
type entry struct {
	Version functions.Version `json:"version"`
	// Published is the number of the newest version; $LATEST only. It is what
	// makes a version one: a number above it was never acknowledged.
	Published int `json:"published,omitempty"`

	revision uint64 // of the bucket
}

// function is one function in memory. It is never changed, only replaced.
type function struct {
	entry
	versions []functions.Version // 1, 2, …
}

// Store is the registry of functions.
type Store struct {
	check Checker
	defs  *kv.Bucket[entry]
	code  *codes

	writing chan struct{} // holds one token: changes come one after another
	// Only who holds the token touches these two.
	fading []string        // code that nothing needed after the last change
	unsure map[string]bool // functions whose last change may or may not have been stored

	mu        sync.RWMutex
	functions map[string]*function // by name
	watchers  []func(name string)
}

// Open reads all definitions, and sweeps what an earlier process left half done.
func Open(ctx context.Context, srv *natsd.Server, check Checker) (*Store, error) {
	s := &Store{check: check, writing: make(chan struct{}, 1), functions: map[string]*function{}, unsure: map[string]bool{}}
	var err error
	if s.defs, err = kv.Open[entry](ctx, srv, bucket); err != nil {
		return nil, fmt.Errorf("functions: %w", err)
	}
	if s.code, err = openCodes(ctx, srv); err != nil {
		return nil, fmt.Errorf("functions: %w", err)
	}
	all, err := s.defs.All(ctx)
	if err != nil {
		return nil, fmt.Errorf("functions: %w", err)
	}
	alive := map[string]*function{} // by id
	for key, e := range all {
		if !strings.Contains(key, "/") {
			f := &function{entry: e, versions: make([]functions.Version, e.Published)}
			s.functions[key], alive[e.Version.ID] = f, f
		}
	}
	for key, e := range all {
		id, number, isVersion := strings.Cut(key, "/")
		if !isVersion {
			continue
		}
		n, err := strconv.Atoi(number)
		if f := alive[id]; err == nil && f != nil && n >= 1 && n <= f.Published {
			f.versions[n-1] = e.Version
			continue
		}
		if err := s.remove(ctx, key); err != nil {
			return nil, fmt.Errorf("functions: sweep version %s: %w", key, err)
		}
	}
	for name, f := range s.functions {
		if i := slices.IndexFunc(f.versions, func(v functions.Version) bool { return v.Version == "" }); i >= 0 {
			return nil, fmt.Errorf("functions: version %d of %s is missing from the data directory", i+1, name)
		}
		if _, f.revision, err = s.defs.Get(ctx, name); err != nil {
			return nil, fmt.Errorf("functions: %w", err)
		}
	}
	if err := s.sweep(ctx); err != nil {
		return nil, fmt.Errorf("functions: sweep code: %w", err)
	}
	return s, nil
}

// settleFor bounds finding out about a change whose caller has gone.
const settleFor = 5 * time.Second

// Watch has fn called with the name of each function that was changed or
// deleted, after the fact and one at a time. It must be quick.
func (s *Store) Watch(fn func(name string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, fn)
}

// lock waits until no other change is under way, and what is stored of a
// function is known.
func (s *Store) lock(ctx context.Context, name string) error {
	select {
	case s.writing <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := s.settle(ctx, name); err != nil {
		s.unlock()
		return fmt.Errorf("functions: %w", err)
	}
	return nil
}

func (s *Store) unlock() { <-s.writing }

// failed notes that a change may or may not have been stored, since its caller
// has gone or the disk is full, and tries to find out.
func (s *Store) failed(ctx context.Context, name string) {
	s.unsure[name] = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleFor)
	defer cancel()
	_ = s.settle(ctx, name) // else the next change has to
}

// settle reads a function again, if what is stored of it is not known.
func (s *Store) settle(ctx context.Context, name string) error {
	if !s.unsure[name] {
		return nil
	}
	known, _ := s.find(name)
	e, revision, err := s.defs.Get(ctx, name)
	switch {
	case errors.Is(err, kv.ErrNotFound):
		if known != nil {
			s.set(name, nil)
		}
	case err != nil:
		return err
	case known == nil || known.revision != revision:
		f := &function{entry: e}
		f.revision = revision
		for n := range e.Published {
			v, _, err := s.defs.Get(ctx, fmt.Sprintf("%s/%d", e.Version.ID, n+1))
			if err != nil {
				return err
			}
			f.versions = append(f.versions, v.Version)
		}
		s.set(name, f)
	}
	delete(s.unsure, name)
	return nil
}

// set replaces a function in memory, nil for none, and tells the watchers.
func (s *Store) set(name string, f *function) {
	s.mu.Lock()
	if f == nil {
		delete(s.functions, name)
	} else {
		s.functions[name] = f
	}
	watchers := s.watchers
	s.mu.Unlock()
	for _, fn := range watchers {
		fn(name)
	}
}

func (s *Store) find(name string) (*function, error) {
	s.mu.RLock()
	f := s.functions[name]
	s.mu.RUnlock()
	if f == nil {
		return nil, fmt.Errorf("%w: function %s", functions.ErrNotFound, name)
	}
	return f, nil
}

// Get returns $LATEST of a function, or ErrNotFound.
func (s *Store) Get(ctx context.Context, name string) (functions.Version, error) {
	return s.Version(ctx, name, functions.Unpublished)
}

// Version returns a version of a function, or ErrNotFound. No qualifier means $LATEST.
func (s *Store) Version(_ context.Context, name, qualifier string) (functions.Version, error) {
	f, err := s.find(name)
	if err != nil {
		return functions.Version{}, err
	}
	if qualifier == "" || qualifier == functions.Unpublished {
		return f.latest(), nil
	}
	n, err := strconv.Atoi(qualifier)
	if err != nil || n < 1 || n > len(f.versions) || strconv.Itoa(n) != qualifier {
		return functions.Version{}, fmt.Errorf("%w: version %s of function %s", functions.ErrNotFound, qualifier, name)
	}
	return f.version(n), nil
}

// Versions returns $LATEST and then all published versions of a function, oldest first.
func (s *Store) Versions(_ context.Context, name string) ([]functions.Version, error) {
	f, err := s.find(name)
	if err != nil {
		return nil, err
	}
	out := []functions.Version{f.latest()}
	for n := range f.versions {
		out = append(out, f.version(n+1))
	}
	return out, nil
}

// List returns $LATEST of all functions, by name.
func (s *Store) List(context.Context) ([]functions.Version, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]functions.Version, 0, len(s.functions))
	for _, name := range slices.Sorted(maps.Keys(s.functions)) {
		out = append(out, s.functions[name].latest())
	}
	return out, nil
}

// Code reads a module by the hex digest of its bytes, which it verifies.
func (s *Store) Code(ctx context.Context, sha256 string) ([]byte, error) {
	code, err := s.code.get(ctx, sha256)
	if err != nil {
		return nil, fmt.Errorf("functions: %w", err)
	}
	return code, nil
}

// named says which code the functions need. The caller may have a change under way.
func (s *Store) named() map[string]bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	digests := map[string]bool{}
	for _, f := range s.functions {
		digests[f.Version.Code.SHA256] = true
		for _, v := range f.versions {
			digests[v.Code.SHA256] = true
		}
	}
	return digests
}

// sweep drops code that nothing names.
func (s *Store) sweep(ctx context.Context) error {
	named := s.named()
	for _, digest := range s.code.stored() {
		if !named[digest] {
			if err := s.code.drop(ctx, digest); err != nil {
				return err
			}
		}
	}
	return nil
}

// fade drops the code that an earlier change left without a name, and keeps that
// of these digests for the next time: an invocation that began before this
// change may be about to read it. A failure costs only space, until the next
// start. The caller holds the token.
func (s *Store) fade(ctx context.Context, digests ...string) {
	named := s.named()
	for _, digest := range s.fading {
		if !named[digest] && !slices.Contains(digests, digest) {
			_ = s.code.drop(ctx, digest)
		}
	}
	s.fading = digests
}

func (f *function) latest() functions.Version { return copied(f.Version) }

// version is version n, 1 to f.Published. Concurrency is the function's, not the
// version's: it is that of $LATEST at any time (as on AWS Lambda, where versions
// share what is reserved).
func (f *function) version(n int) functions.Version {
	v := copied(f.versions[n-1])
	v.Config.Concurrency = clone(f.Version.Config).Concurrency
	return v
}

// copied keeps callers from changing what all share.
func copied(v functions.Version) functions.Version {
	v.Config = clone(v.Config)
	return v
}

func clone(c functions.Config) functions.Config {
	c.Environment = maps.Clone(c.Environment)
	c.Emits = slices.Clone(c.Emits)
	c.Allow = slices.Clone(c.Allow)
	if c.Concurrency != nil {
		n := *c.Concurrency
		c.Concurrency = &n
	}
	return c
}
