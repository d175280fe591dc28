package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
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
	f, warnings, err := s.wanted(name, c)
	if err != nil { // before seconds of compiling
		return functions.Version{}, nil, err
	}
	if f.Version.Code, err = s.checked(ctx, code, progress); err != nil {
		return functions.Version{}, nil, err
	}
	if err := s.create(ctx, f, code, progress); err != nil {
		return functions.Version{}, nil, err
	}
	return f.latest(), warnings, nil
}

// wanted is a new function with a configuration, if it can be one.
func (s *Store) wanted(name string, c functions.Config) (*function, []string, error) {
	c = c.WithDefaults()
	warnings, err := c.Validate()
	if err := errors.Join(functions.ValidateName(name), err); err != nil {
		return nil, nil, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, nil, err
	}
	f := &function{entry: entry{Version: functions.Version{
		Function: name, Version: functions.Unpublished, ID: id.String(), Revision: 1, RevisionID: uuid.NewString(),
		Config: clone(c), Modified: now(), State: functions.Active, Update: functions.UpdateSuccessful,
	}}}
	return f, warnings, s.free(f)
}

// free says whether there is no function of that name, and room for what f reserves.
func (s *Store) free(f *function) error {
	if _, err := s.find(f.Version.Function); err == nil {
		return fmt.Errorf("%w: function %s", functions.ErrExists, f.Version.Function)
	}
	return s.fits(f.Version.Function, f.Version.Config)
}

// create stores a function that is not there yet.
func (s *Store) create(ctx context.Context, f *function, code []byte, progress func(runtime.Progress)) error {
	name := f.Version.Function
	if err := s.lock(ctx, name); err != nil {
		return err
	}
	defer s.unlock()
	if err := s.free(f); err != nil {
		return err
	}
	if err := s.code.put(ctx, f.Version.Code.SHA256, code, progress); err != nil {
		return fmt.Errorf("functions: store the code of %s: %w", name, err)
	}
	return s.commit(ctx, "create", nil, f)
}

// UpdateCode gives $LATEST other code, as Create does. The same code again
// changes nothing, not even the revision.
func (s *Store) UpdateCode(ctx context.Context, name string, code []byte, progress func(runtime.Progress)) (functions.Version, []string, error) {
	f, err := s.find(name)
	if err == nil {
		err = f.idle()
	}
	if err != nil { // before seconds of compiling
		return functions.Version{}, nil, err
	}
	info, err := s.checked(ctx, code, progress)
	if err != nil {
		return functions.Version{}, nil, err
	}
	v, err := s.change(ctx, name, "", func(f *function) error {
		if err := f.idle(); err != nil {
			return err
		}
		if err := s.code.put(ctx, info.SHA256, code, progress); err != nil {
			return fmt.Errorf("functions: store the code of %s: %w", name, err)
		}
		f.Version.Code = info
		f.Version.State, f.Version.Reason = functions.Active, ""
		f.Version.Update, f.Version.UpdateReason = functions.UpdateSuccessful, ""
		return nil
	})
	return v, nil, err
}

// UpdateConfig gives $LATEST the configuration that edit makes of the one it has;
// an error of edit is returned as it is. The same again changes nothing. While code is
// being compiled only concurrency can be changed (ErrBusy). The revision ID is that
// which $LATEST must have, or empty (ErrRevision).
func (s *Store) UpdateConfig(ctx context.Context, name, revisionID string, edit func(*functions.Config) error) (functions.Version, []string, error) {
	var warnings []string
	v, err := s.change(ctx, name, revisionID, func(f *function) error {
		c := clone(f.Version.Config)
		err := edit(&c)
		if err == nil {
			warnings, err = s.configure(f, c)
		}
		return err
	})
	return v, warnings, err
}

// configure gives f a configuration, if it can have it.
func (s *Store) configure(f *function, c functions.Config) (warnings []string, err error) {
	was := f.Version.Config
	c = c.WithDefaults()
	if warnings, err = c.Validate(); err != nil {
		return nil, err
	}
	if err := s.fits(f.Version.Function, c); err != nil {
		return nil, err
	}
	f.Version.Config = clone(c)
	switch {
	case !alike(was, c) || was.Description != c.Description:
		err = f.idle()
	case !equal(was.Concurrency, c.Concurrency):
		return warnings, nil // on AWS that is no update
	}
	if f.Next == nil && f.Version.State == functions.Active {
		// An update of code may have failed before: this one is the last now.
		f.Version.Update, f.Version.UpdateReason = functions.UpdateSuccessful, ""
	}
	return warnings, err
}

// change replaces a function by what edit makes of a copy of it.
func (s *Store) change(ctx context.Context, name, revisionID string, edit func(*function) error) (functions.Version, error) {
	if err := s.lock(ctx, name); err != nil {
		return functions.Version{}, err
	}
	defer s.unlock()
	f, err := s.find(name)
	if err == nil {
		err = f.expects(revisionID)
	}
	if err != nil {
		return functions.Version{}, err
	}
	next := *f
	if err := edit(&next); err != nil {
		return functions.Version{}, err
	}
	if unchanged(next.Version, f.Version) {
		return f.latest(), nil
	}
	next.touch()
	next.Version.Revision++
	if err := s.commit(ctx, "change", f, &next); err != nil {
		return functions.Version{}, err
	}
	s.fade(ctx, f.Version.Code.SHA256)
	return next.latest(), nil
}

// commit stores what becomes of f, nil for nothing yet, and shows it. The caller holds
// the token.
func (s *Store) commit(ctx context.Context, what string, f, next *function) (err error) {
	name := next.Version.Function
	if f == nil {
		next.revision, err = s.defs.Create(ctx, name, next.entry)
	} else {
		next.revision, err = s.defs.Update(ctx, name, next.entry, f.revision)
	}
	if errors.Is(err, kv.ErrInvalid) {
		return fmt.Errorf("%w: %s %s: %w", functions.ErrInvalid, what, name, err)
	}
	if err != nil {
		s.failed(ctx, name)
		return fmt.Errorf("functions: %s %s: %w", what, name, err)
	}
	s.set(name, next)
	return nil
}

// touch notes that $LATEST is another.
func (f *function) touch() {
	f.Version.RevisionID, f.Version.Modified = uuid.NewString(), now()
}

// expects says whether the function has a revision ID, which any has that is empty.
func (f *function) expects(revisionID string) error {
	if revisionID != "" && revisionID != f.Version.RevisionID {
		return fmt.Errorf("%w: function %s has revision %s, not %s", functions.ErrRevision, f.Version.Function, f.Version.RevisionID, revisionID)
	}
	return nil
}

// idle says whether no code is on its way.
func (f *function) idle() error {
	if f.Next != nil {
		return fmt.Errorf("%w: code of function %s is being compiled; try again when it is done", functions.ErrBusy, f.Version.Function)
	}
	return nil
}

// Delete removes a function with all that it has.
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
	s.wake() // nobody needs what may be compiled for it
	// It is gone. What stays of it is swept at the next start, should this fail.
	digests := []string{f.Version.Code.SHA256}
	if f.Next != nil {
		digests = append(digests, f.Next.Code.SHA256)
	}
	for _, v := range f.versions {
		if v.Version == "" {
			continue
		}
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
	c, err := described(functions.Upload{Module: code})
	if err != nil {
		return functions.Code{}, err
	}
	if progress == nil {
		progress = func(runtime.Progress) {}
	}
	info, err := s.check.Check(ctx, code, progress)
	c.ABI = info.ABI
	return c, err
}

// described is what can be said of code that nobody has looked at. The registry lives
// by the digest: it takes no other's word for it.
func described(up functions.Upload) (functions.Code, error) {
	if len(up.Module) > functions.MaxCode {
		return functions.Code{}, fmt.Errorf("%w: it has %d bytes, at most %d fit", functions.ErrCode, len(up.Module), functions.MaxCode)
	}
	sum := sha256.Sum256(up.Module)
	c := functions.Code{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(up.Module))}
	if up.Package != nil {
		c.Package = new(*up.Package)
	}
	return c, nil
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

// unchanged says whether two states of $LATEST are one, however they came about.
func unchanged(a, b functions.Version) bool {
	return same(a, b) && a.Config.Description == b.Config.Description && equal(a.Config.Concurrency, b.Config.Concurrency) &&
		a.State == b.State && a.Reason == b.Reason && a.Update == b.Update && a.UpdateReason == b.UpdateReason
}

// same says whether two versions run the same code in the same way.
func same(a, b functions.Version) bool {
	return a.Code.SHA256 == b.Code.SHA256 && a.Code.Uploaded() == b.Code.Uploaded() && alike(a.Config, b.Config)
}

// alike says whether two configurations differ in description and concurrency only.
func alike(a, b functions.Config) bool {
	x, y := a.WithDefaults(), b.WithDefaults() // what was stored by older servers lacks some
	return x.Timeout == y.Timeout && x.Memory == y.Memory && x.Isolation == y.Isolation &&
		maps.Equal(x.Environment, y.Environment) && slices.Equal(x.Emits, y.Emits) && slices.Equal(x.Allow, y.Allow) &&
		reflect.DeepEqual(plain(x.Declared), plain(y.Declared))
}

// plain has no lists that are empty and not nil.
func plain(d functions.Declared) functions.Declared {
	for _, list := range []*[]string{&d.Architectures, &d.Subnets, &d.SecurityGroups} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	return d
}

func equal(a, b *int) bool { return a == b || a != nil && b != nil && *a == *b }

func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
