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
	"time"

	"github.com/google/uuid"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/runtime"
)

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
	if err := errors.Join(taken(), s.fits(name, c)); err != nil { // before seconds of compiling
		return functions.Version{}, nil, err
	}
	info, err := s.checked(ctx, code, progress)
	if err != nil {
		return functions.Version{}, nil, err
	}

	if err := s.lock(ctx, name); err != nil {
		return functions.Version{}, nil, err
	}
	defer s.unlock()
	if err := errors.Join(taken(), s.fits(name, c)); err != nil {
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
		s.failed(ctx, name)
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
		if err := s.fits(name, c); err != nil {
			return err
		}
		v.Config = clone(c)
		return nil
	})
	return v, warnings, err
}

// change replaces $LATEST by what edit makes of it.
func (s *Store) change(ctx context.Context, name string, edit func(*functions.Version) error) (functions.Version, []string, error) {
	if err := s.lock(ctx, name); err != nil {
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
	if same(next.Version, f.Version) && next.Version.Config.Description == f.Version.Config.Description && equal(next.Version.Config.Concurrency, f.Version.Config.Concurrency) {
		return f.latest(), nil, nil
	}
	next.Version.Revision++
	next.Version.Modified = now()
	if next.revision, err = s.defs.Update(ctx, name, next.entry, f.revision); err != nil {
		s.failed(ctx, name)
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
	if err := s.lock(ctx, name); err != nil {
		return functions.Version{}, err
	}
	defer s.unlock()
	f, err := s.find(name)
	if err != nil {
		return functions.Version{}, err
	}
	if f.Published > 0 {
		if last := f.versions[f.Published-1]; same(last, f.Version) {
			return f.version(f.Published), nil
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
		s.failed(ctx, name)
		return functions.Version{}, fmt.Errorf("functions: publish %s: %w", name, err)
	}
	s.set(name, &next)
	return copied(v), nil
}

// Delete removes a function with all its versions.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := s.lock(ctx, name); err != nil {
		return err
	}
	defer s.unlock()
	f, err := s.find(name)
	if err != nil {
		return err
	}
	if err := s.defs.Delete(ctx, name, f.revision); err != nil && !errors.Is(err, kv.ErrNotFound) {
		s.failed(ctx, name)
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

// fits says whether a function may reserve the concurrency of c beside what others
// have reserved: enough must stay for those that reserve nothing. Only who holds
// the token can rely on it.
func (s *Store) fits(name string, c functions.Config) error {
	if c.Concurrency == nil || *c.Concurrency == 0 {
		return nil // as on AWS Lambda, any function can be stopped
	}
	others := 0
	s.mu.RLock()
	for _, f := range s.functions {
		if n := f.Version.Config.Concurrency; n != nil && f.Version.Function != name {
			others += *n
		}
	}
	s.mu.RUnlock()
	if most := functions.MaxConcurrency - functions.MinUnreserved - others; *c.Concurrency > most {
		return fmt.Errorf("%w: concurrency %d: at most %d can be reserved: of %d in all, other functions have reserved %d, and %d are left for functions that reserve nothing",
			functions.ErrInvalid, *c.Concurrency, max(0, most), functions.MaxConcurrency, others, functions.MinUnreserved)
	}
	return nil
}

// same says whether two versions run the same code in the same way.
func same(a, b functions.Version) bool {
	x, y := a.Config.WithDefaults(), b.Config.WithDefaults() // what was stored by older servers lacks some
	return a.Code.SHA256 == b.Code.SHA256 && x.Timeout == y.Timeout && x.Memory == y.Memory && x.Isolation == y.Isolation &&
		maps.Equal(x.Environment, y.Environment) && slices.Equal(x.Emits, y.Emits) && slices.Equal(x.Allow, y.Allow)
}

func equal(a, b *int) bool { return a == b || a != nil && b != nil && *a == *b }

func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
