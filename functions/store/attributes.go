package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"

	"github.com/wasmill/wasmill/functions"
)

// Attributes returns what a function has beside its versions.
func (s *Store) Attributes(_ context.Context, name string) (functions.Attributes, error) {
	f, err := s.find(name)
	if err != nil {
		return functions.Attributes{}, err
	}
	return duplicate(f.Attributes)
}

// SetAttributes gives a function what edit makes of its attributes, in one step; the
// maps that edit gets are not nil, and an error of it is returned as it is. Aliases and
// policies that are others now get a new revision. An alias that cannot be one is
// ErrInvalid, and ErrNotFound if it names a version that is not there.
func (s *Store) SetAttributes(ctx context.Context, name string, edit func(*functions.Attributes) error) (functions.Attributes, error) {
	if err := s.lock(ctx, name); err != nil {
		return functions.Attributes{}, err
	}
	defer s.unlock()
	f, err := s.find(name)
	if err != nil {
		return functions.Attributes{}, err
	}
	next := *f
	changed, err := next.describe(f, edit)
	if err != nil {
		return functions.Attributes{}, err
	}
	if changed {
		if err := s.commit(ctx, "change attributes of", f, &next); err != nil {
			return functions.Attributes{}, err
		}
	}
	return duplicate(next.Attributes)
}

// Edit gives a function what edit makes of its configuration and of its attributes, all of
// it or nothing; the rules are those of UpdateConfig and SetAttributes.
func (s *Store) Edit(ctx context.Context, name string, edit func(*functions.Config, *functions.Attributes) error) (functions.Version, error) {
	if err := s.lock(ctx, name); err != nil {
		return functions.Version{}, err
	}
	defer s.unlock()
	f, err := s.find(name)
	if err != nil {
		return functions.Version{}, err
	}
	next, c := *f, clone(f.Version.Config)
	changed, err := next.describe(f, func(a *functions.Attributes) error { return edit(&c, a) })
	if was := f.Version.Config; err == nil && !(alike(was, c) && was.Description == c.Description && equal(was.Concurrency, c.Concurrency)) {
		_, err = s.configure(&next, c)
	}
	if err != nil {
		return functions.Version{}, err
	}
	if !unchanged(next.Version, f.Version) {
		next.touch()
		next.Version.Revision++
		changed = true
	}
	if changed {
		if err := s.commit(ctx, "change", f, &next); err != nil {
			return functions.Version{}, err
		}
	}
	return next.latest(), nil
}

// describe gives f, a copy of was, what edit makes of its attributes.
func (f *function) describe(was *function, edit func(*functions.Attributes) error) (changed bool, err error) {
	if f.Attributes, err = duplicate(was.Attributes); err != nil {
		return false, err
	}
	if err := edit(&f.Attributes); err != nil {
		return false, err
	}
	return f.revise(was.Attributes)
}

// revise checks the function's attributes, and gives revisions to what is not as it was.
func (f *function) revise(was functions.Attributes) (changed bool, err error) {
	a := &f.Attributes
	if *a, err = duplicate(*a); err != nil { // what edit put in stays the caller's
		return false, err
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(a.Aliases)) {
		alias, before := a.Aliases[name], was.Aliases[name]
		alias.Name, alias.Revision = name, before.Revision
		if equalJSON(alias, before) {
			a.Aliases[name] = alias
			continue
		}
		alias.Revision = uuid.NewString()
		a.Aliases[name] = alias
		if err := alias.Validate(); err != nil {
			errs = append(errs, err)
			continue
		}
		for _, version := range slices.AppendSeq([]string{alias.Version}, maps.Keys(alias.Weights)) {
			if _, err := f.named(version); err != nil {
				errs = append(errs, err)
			}
		}
	}
	for qualifier, policy := range a.Policies {
		before := was.Policies[qualifier]
		if policy.Revision = before.Revision; !equalJSON(policy, before) {
			policy.Revision = uuid.NewString()
		}
		a.Policies[qualifier] = policy
	}
	return !equalJSON(*a, was), errors.Join(errs...)
}

// duplicate copies attributes. The copy's maps are not nil.
func duplicate(a functions.Attributes) (functions.Attributes, error) {
	out := functions.Attributes{Tags: map[string]string{}, Aliases: map[string]functions.Alias{}, Policies: map[string]functions.Policy{}, Async: map[string]functions.Async{}}
	b, err := json.Marshal(a)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		return functions.Attributes{}, fmt.Errorf("%w: attributes: %w", functions.ErrInvalid, err)
	}
	return out, nil
}

func equalJSON(a, b any) bool {
	x, err := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err == nil && err2 == nil && bytes.Equal(x, y)
}
