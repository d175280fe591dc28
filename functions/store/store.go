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
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
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
	fading  []string      // code that nothing needed after the last change; only who holds the token touches it

	mu        sync.RWMutex
	functions map[string]*function // by name
	watchers  []func(name string)
}

// Open reads all definitions, and sweeps what an earlier process left half done.
func Open(ctx context.Context, srv *natsd.Server, check Checker) (*Store, error) {
	s := &Store{check: check, writing: make(chan struct{}, 1), functions: map[string]*function{}}
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

// Watch has fn called with the name of each function that was changed or
// deleted, after the fact and one at a time. It must be quick.
func (s *Store) Watch(fn func(name string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, fn)
}

// lock waits until no other change is under way.
func (s *Store) lock(ctx context.Context) error {
	select {
	case s.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Store) unlock() { <-s.writing }

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

// Create makes a function. The code is checked first, of which progress, if
// not nil, is told. Errors wrap ErrExists, ErrInvalid or ErrCode where it is the
// caller's fault; all faults of the configuration are named at once. The
// warnings are for people.
func (s *Store) Create(ctx context.Context, name string, code []byte, c functions.Config, progress func(runtime.Progress)) (functions.Version, []string, error) {
	c = c.WithDefaults()
	warnings, err := c.Validate()
	if err := errors.Join(functions.ValidateName(name), err); err != nil {
		return functions.Version{}, nil, err
	}
	taken := func() error {
		if _, err := s.find(name); err == nil {
			return fmt.Errorf("%w: function %s", functions.ErrExists, name)
		}
		return nil
	}
	if err := taken(); err != nil { // before seconds of compiling
		return functions.Version{}, nil, err
	}
	info, err := s.checked(ctx, code, progress)
	if err != nil {
		return functions.Version{}, nil, err
	}

	if err := s.lock(ctx); err != nil {
		return functions.Version{}, nil, err
	}
	defer s.unlock()
	if err := taken(); err != nil {
		return functions.Version{}, nil, err
	}
	if err := s.code.put(ctx, info.SHA256, code, progress); err != nil {
		return functions.Version{}, nil, fmt.Errorf("functions: store the code of %s: %w", name, err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return functions.Version{}, nil, err
	}
	f := &function{entry: entry{Version: functions.Version{
		Function: name, Version: functions.Unpublished, ID: id.String(), Revision: 1,
		Code: info, Config: clone(c), Modified: now(),
	}}}
	if f.revision, err = s.defs.Create(ctx, name, f.entry); err != nil {
		return functions.Version{}, nil, fmt.Errorf("functions: create %s: %w", name, err)
	}
	s.set(name, f)
	return f.latest(), warnings, nil
}

// UpdateCode gives $LATEST other code, as Create does. The same code again
// changes nothing, not even the revision.
func (s *Store) UpdateCode(ctx context.Context, name string, code []byte, progress func(runtime.Progress)) (functions.Version, []string, error) {
	if _, err := s.find(name); err != nil {
		return functions.Version{}, nil, err
	}
	info, err := s.checked(ctx, code, progress)
	if err != nil {
		return functions.Version{}, nil, err
	}
	return s.change(ctx, name, func(v *functions.Version) error {
		if err := s.code.put(ctx, info.SHA256, code, progress); err != nil {
			return fmt.Errorf("functions: store the code of %s: %w", name, err)
		}
		v.Code = info
		return nil
	})
}

// UpdateConfig gives $LATEST another configuration, all of it. The same again
// changes nothing.
func (s *Store) UpdateConfig(ctx context.Context, name string, c functions.Config) (functions.Version, []string, error) {
	c = c.WithDefaults()
	warnings, err := c.Validate()
	if err != nil {
		return functions.Version{}, nil, err
	}
	v, _, err := s.change(ctx, name, func(v *functions.Version) error {
		v.Config = clone(c)
		return nil
	})
	return v, warnings, err
}

// change replaces $LATEST by what edit makes of it.
func (s *Store) change(ctx context.Context, name string, edit func(*functions.Version) error) (functions.Version, []string, error) {
	if err := s.lock(ctx); err != nil {
		return functions.Version{}, nil, err
	}
	defer s.unlock()
	f, err := s.find(name)
	if err != nil {
		return functions.Version{}, nil, err
	}
	next := *f
	if err := edit(&next.Version); err != nil {
		return functions.Version{}, nil, err
	}
	if same(next.Version, f.Version) && next.Version.Config.Description == f.Version.Config.Description {
		return f.latest(), nil, nil
	}
	next.Version.Revision++
	next.Version.Modified = now()
	if next.revision, err = s.defs.Update(ctx, name, next.entry, f.revision); err != nil {
		return functions.Version{}, nil, fmt.Errorf("functions: change %s: %w", name, err)
	}
	s.set(name, &next)
	s.fade(ctx, f.Version.Code.SHA256)
	return next.latest(), nil, nil
}

// Publish makes an immutable version of $LATEST. If neither code nor
// configuration changed since the last one, that one is returned. The
// description, if not empty, becomes the version's.
func (s *Store) Publish(ctx context.Context, name, description string) (functions.Version, error) {
	if err := s.lock(ctx); err != nil {
		return functions.Version{}, err
	}
	defer s.unlock()
	f, err := s.find(name)
	if err != nil {
		return functions.Version{}, err
	}
	if f.Published > 0 {
		if last := f.versions[f.Published-1]; same(last, f.Version) {
			return copied(last), nil
		}
	}
	next := *f
	next.Published++
	v := f.latest()
	v.Version = strconv.Itoa(next.Published)
	v.Modified = now()
	v.Config.Description = cmp.Or(description, v.Config.Description)
	if _, err := v.Config.Validate(); err != nil {
		return functions.Version{}, err
	}

	// First the version, then what makes it count; a crash in between leaves a
	// version that was never acknowledged, in the way of the next one.
	key := f.Version.ID + "/" + v.Version
	_, err = s.defs.Create(ctx, key, entry{Version: v})
	if errors.Is(err, kv.ErrExists) {
		if err = s.remove(ctx, key); err == nil {
			_, err = s.defs.Create(ctx, key, entry{Version: v})
		}
	}
	if err != nil {
		return functions.Version{}, fmt.Errorf("functions: publish %s: %w", name, err)
	}
	next.versions = append(slices.Clone(f.versions), v)
	if next.revision, err = s.defs.Update(ctx, name, next.entry, f.revision); err != nil {
		return functions.Version{}, fmt.Errorf("functions: publish %s: %w", name, err)
	}
	s.set(name, &next)
	return copied(v), nil
}

// Delete removes a function with all its versions.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	f, err := s.find(name)
	if err != nil {
		return err
	}
	if err := s.defs.Delete(ctx, name, f.revision); err != nil && !errors.Is(err, kv.ErrNotFound) {
		return fmt.Errorf("functions: delete %s: %w", name, err)
	}
	s.set(name, nil)
	// It is gone. What stays of it is swept at the next start, should this fail.
	digests := []string{f.Version.Code.SHA256}
	for _, v := range f.versions {
		digests = append(digests, v.Code.SHA256)
		if s.remove(ctx, f.Version.ID+"/"+v.Version) != nil {
			return nil
		}
	}
	s.fade(ctx, digests...)
	return nil
}

// remove deletes a key of the bucket, whatever its revision.
func (s *Store) remove(ctx context.Context, key string) error {
	_, revision, err := s.defs.Get(ctx, key)
	if err == nil {
		err = s.defs.Delete(ctx, key, revision)
	}
	if errors.Is(err, kv.ErrNotFound) {
		return nil
	}
	return err
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
	return copied(f.versions[n-1]), nil
}

// Versions returns $LATEST and then all published versions of a function, oldest first.
func (s *Store) Versions(_ context.Context, name string) ([]functions.Version, error) {
	f, err := s.find(name)
	if err != nil {
		return nil, err
	}
	out := []functions.Version{f.latest()}
	for _, v := range f.versions {
		out = append(out, copied(v))
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

// checked has code checked and compiled.
func (s *Store) checked(ctx context.Context, code []byte, progress func(runtime.Progress)) (functions.Code, error) {
	if len(code) > functions.MaxCode {
		return functions.Code{}, fmt.Errorf("%w: it has %d bytes, at most %d fit", functions.ErrCode, len(code), functions.MaxCode)
	}
	if progress == nil {
		progress = func(runtime.Progress) {}
	}
	info, err := s.check.Check(ctx, code, progress)
	if err != nil {
		return functions.Code{}, err
	}
	// The registry lives by the digest: it does not take it on trust.
	sum := sha256.Sum256(code)
	info.SHA256, info.Size = hex.EncodeToString(sum[:]), int64(len(code))
	return info, nil
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

// copied keeps callers from changing what all share.
func copied(v functions.Version) functions.Version {
	v.Config = clone(v.Config)
	return v
}

func clone(c functions.Config) functions.Config {
	c.Environment = maps.Clone(c.Environment)
	return c
}

// same says whether two versions run the same code in the same way.
func same(a, b functions.Version) bool {
	return a.Code.SHA256 == b.Code.SHA256 && a.Config.Timeout == b.Config.Timeout && a.Config.Memory == b.Config.Memory &&
		maps.Equal(a.Config.Environment, b.Config.Environment)
}

func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
