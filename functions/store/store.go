// Package store keeps functions: their definitions and versions in a key-value
// bucket, their code in a stream, by its digest.
//
// Code is stored before anything names it, and runs nothing before it was checked
// and compiled: while the caller waits (Create, UpdateCode), or by Run (Submit,
// SubmitCode), which a restart only interrupts. Code that nothing names is swept. A
// function that is deleted and created again is another one: it has a new ID and
// inherits neither versions nor revision, aliases nor tags.
//
// The data directory belongs to one process, so that what a Store has in memory is
// the truth: reading asks no disk, but for the code itself.
package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

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

// entry is what the bucket holds: under a function's name its $LATEST and all that the
// function has beside versions, under "<function's id>/<number>" a version of it.
type entry struct {
	Version functions.Version `json:"version"`
	// Published is the number of the newest version; $LATEST only, as what follows. It
	// is what makes a version one: a number above it was never acknowledged.
	Published int `json:"published,omitempty"`
	// Gone are numbers of versions that were deleted. They are not given again.
	Gone []int `json:"gone,omitempty"`
	// Next is code on its way.
	Next       *next                `json:"next,omitempty"`
	Attributes functions.Attributes `json:"attributes,omitzero"`

	revision uint64 // of the bucket
}

// next is code that is stored and has to be compiled before it runs.
type next struct {
	Code functions.Code `json:"code"`
	// Architectures are declared when it runs; none: those that are.
	Architectures []string `json:"architectures,omitempty"`
	// Version is that which was published of it, if one was.
	Version string `json:"version,omitempty"`
}

// function is one function in memory. It is never changed, only replaced.
type function struct {
	entry
	versions []functions.Version // 1, 2, …; zero where one was deleted
}

// Store is the registry of functions.
type Store struct {
	check  Checker
	defs   *kv.Bucket[entry]
	code   *codes
	chance func() float64 // 0 to 1, of an alias's weights
	pause  time.Duration  // before what failed by our own fault is compiled again

	writing chan struct{} // holds one token: changes come one after another
	// Only who holds the token touches these two.
	fading []string        // code that nothing needed after the last change
	unsure map[string]bool // functions whose last change may or may not have been stored

	submitted chan struct{} // from changes to Run: there may be other code to compile; holds one

	mu        sync.RWMutex
	functions map[string]*function // by name
	watchers  []func(name string)
}

// Open reads all definitions, and sweeps what an earlier process left half done. Code
// that it left to compile is for [Store.Run].
func Open(ctx context.Context, srv *natsd.Server, check Checker) (*Store, error) {
	s := &Store{check: check, chance: rand.Float64, pause: time.Second, writing: make(chan struct{}, 1), submitted: make(chan struct{}, 1),
		functions: map[string]*function{}, unsure: map[string]bool{}}
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
		if f := alive[id]; err == nil && f != nil && n >= 1 && n <= f.Published && !slices.Contains(f.Gone, n) {
			f.versions[n-1] = e.Version
			continue
		}
		if err := s.remove(ctx, key); err != nil {
			return nil, fmt.Errorf("functions: sweep version %s: %w", key, err)
		}
	}
	for name, f := range s.functions {
		for i, v := range f.versions {
			if v.Version == "" && !slices.Contains(f.Gone, i+1) {
				return nil, fmt.Errorf("functions: version %d of %s is missing from the data directory", i+1, name)
			}
		}
		f.complete()
		if _, f.revision, err = s.defs.Get(ctx, name); err != nil {
			return nil, fmt.Errorf("functions: %w", err)
		}
	}
	if err := s.sweep(ctx); err != nil {
		return nil, fmt.Errorf("functions: sweep code: %w", err)
	}
	return s, nil
}

// revisions is the name space of what older servers' functions get as RevisionID.
var revisions = uuid.MustParse("6f0a3a5e-5d6b-5b1e-9c53-7a1d0c2f8e41")

// complete fills in what older servers did not store.
func (f *function) complete() {
	fill := func(v *functions.Version) {
		if v.Version == "" {
			return // it was deleted
		}
		if v.State == "" {
			v.State, v.Update = functions.Active, functions.UpdateSuccessful
		}
		if v.RevisionID == "" {
			v.RevisionID = uuid.NewSHA1(revisions, fmt.Appendf(nil, "%s/%s/%d", v.ID, v.Version, v.Revision)).String()
		}
	}
	fill(&f.Version)
	for i := range f.versions {
		fill(&f.versions[i])
	}
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
			var v entry
			if !slices.Contains(e.Gone, n+1) {
				if v, _, err = s.defs.Get(ctx, fmt.Sprintf("%s/%d", e.Version.ID, n+1)); err != nil {
					return err
				}
			}
			f.versions = append(f.versions, v.Version)
		}
		f.complete()
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

// Version returns what is to be invoked by a qualifier: a version by its number,
// $LATEST, which none means too, or of an alias the version that chance and its weights
// choose, at each call anew. It may be ErrNotFound.
func (s *Store) Version(_ context.Context, name, qualifier string) (functions.Version, error) {
	f, err := s.find(name)
	if err != nil {
		return functions.Version{}, err
	}
	if a, ok := f.Attributes.Aliases[qualifier]; ok {
		qualifier = a.Version
		for other, weight := range a.Weights {
			if s.chance() < weight {
				qualifier = other
			}
		}
	}
	return f.named(qualifier)
}

// Resolve is Version without chance: of an alias it returns the main version.
func (s *Store) Resolve(ctx context.Context, name, qualifier string) (functions.Version, error) {
	all, err := s.Targets(ctx, name, qualifier)
	if err != nil {
		return functions.Version{}, err
	}
	return all[0], nil
}

// Targets returns all that Version may, an alias's main version first.
func (s *Store) Targets(_ context.Context, name, qualifier string) ([]functions.Version, error) {
	f, err := s.find(name)
	if err != nil {
		return nil, err
	}
	names := []string{qualifier}
	if a, ok := f.Attributes.Aliases[qualifier]; ok {
		names = slices.AppendSeq([]string{a.Version}, maps.Keys(a.Weights))
	}
	var out []functions.Version
	for _, n := range names {
		v, err := f.named(n)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// Versions returns $LATEST and then all published versions of a function, oldest first.
func (s *Store) Versions(_ context.Context, name string) ([]functions.Version, error) {
	f, err := s.find(name)
	if err != nil {
		return nil, err
	}
	out := []functions.Version{f.latest()}
	for n, v := range f.versions {
		if v.Version != "" {
			out = append(out, f.version(n+1))
		}
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
		if f.Next != nil {
			digests[f.Next.Code.SHA256] = true
		}
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

// named is $LATEST, which no name means too, or the version of a number.
func (f *function) named(version string) (functions.Version, error) {
	if version == "" || version == functions.Unpublished {
		return f.latest(), nil
	}
	n, err := strconv.Atoi(version)
	if err != nil || n < 1 || n > len(f.versions) || strconv.Itoa(n) != version || f.versions[n-1].Version == "" {
		return functions.Version{}, fmt.Errorf("%w: version %s of function %s", functions.ErrNotFound, version, f.Version.Function)
	}
	return f.version(n), nil
}

func (f *function) latest() functions.Version { return copied(f.Version) }

// version is version n, 1 to f.Published, which was not deleted. Concurrency is the
// function's, not the version's: it is that of $LATEST at any time (as on AWS Lambda,
// where versions share what is reserved).
func (f *function) version(n int) functions.Version {
	v := copied(f.versions[n-1])
	v.Config.Concurrency = clone(f.Version.Config).Concurrency
	return v
}

// copied keeps callers from changing what all share.
func copied(v functions.Version) functions.Version {
	v.Config = clone(v.Config)
	if p := v.Code.Package; p != nil {
		v.Code.Package = new(*p)
	}
	return v
}

func clone(c functions.Config) functions.Config {
	c.Environment = maps.Clone(c.Environment)
	c.Emits = slices.Clone(c.Emits)
	c.Allow = slices.Clone(c.Allow)
	c.Declared.Architectures = slices.Clone(c.Declared.Architectures)
	c.Declared.Subnets = slices.Clone(c.Declared.Subnets)
	c.Declared.SecurityGroups = slices.Clone(c.Declared.SecurityGroups)
	if c.Concurrency != nil {
		c.Concurrency = new(*c.Concurrency)
	}
	return c
}
