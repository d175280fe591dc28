package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/internal/kv"
)

// Publish makes an immutable version of $LATEST. If neither code nor
// configuration changed since the last one, that one is returned. Code that is being
// compiled, or never could be, is not published (ErrBusy).
func (s *Store) Publish(ctx context.Context, name string, p functions.Publication) (functions.Version, error) {
	if err := s.lock(ctx, name); err != nil {
		return functions.Version{}, err
	}
	defer s.unlock()
	f, err := s.find(name)
	if err == nil {
		err = errors.Join(f.expects(p.RevisionID), f.idle())
	}
	if err != nil {
		return functions.Version{}, err
	}
	if have := f.Version.Code.Uploaded().SHA256; p.SHA256 != "" && p.SHA256 != have {
		return functions.Version{}, fmt.Errorf("%w: the code of %s has digest %s, not %s", functions.ErrRevision, name, have, p.SHA256)
	}
	if f.Version.State == functions.Failed {
		return functions.Version{}, fmt.Errorf("%w: code of function %s cannot run: give it other code first", functions.ErrBusy, name)
	}
	next := *f
	n, err := s.publish(ctx, &next, p.Description)
	if err != nil {
		return functions.Version{}, err
	}
	if next.Published != f.Published {
		if err := s.commit(ctx, "publish", f, &next); err != nil {
			return functions.Version{}, err
		}
	}
	return next.version(n), nil
}

// publish gives next a version of what it is, or will be when its code is compiled,
// unless the last one is just so. The version is stored, and counts when next is: a
// crash in between leaves one that was never acknowledged, in the way of the one after.
func (s *Store) publish(ctx context.Context, next *function, description string) (int, error) {
	v := copied(next.Version)
	v.Update, v.UpdateReason = functions.UpdateSuccessful, ""
	if next.Next != nil {
		v.Code = next.Next.Code
		targets(&v, next.Next.Architectures)
		v.State, v.Reason, v.Update = functions.Pending, creating, ""
	}
	if n := next.Published; n > 0 {
		if last := next.versions[n-1]; last.Version != "" && last.State != functions.Failed && same(last, v) {
			return n, nil
		}
	}
	n := next.Published + 1
	v.Version, v.RevisionID, v.Modified = strconv.Itoa(n), uuid.NewString(), now()
	v.Config.Description = cmp.Or(description, v.Config.Description)
	if _, err := v.Config.Validate(); err != nil {
		return 0, err
	}
	if err := s.keep(ctx, v); err != nil {
		return 0, fmt.Errorf("functions: publish %s: %w", v.Function, err)
	}
	next.Published, next.versions = n, append(slices.Clone(next.versions), v)
	if next.Next != nil {
		on := *next.Next
		on.Version = v.Version
		next.Next = &on
	}
	return n, nil
}

// keep stores a published version, over what there may be of it: in one write, for a
// version that counts must not be missing for a moment.
func (s *Store) keep(ctx context.Context, v functions.Version) error {
	key := v.ID + "/" + v.Version
	_, err := s.defs.Create(ctx, key, entry{Version: v})
	if !errors.Is(err, kv.ErrExists) {
		return err
	}
	_, revision, err := s.defs.Get(ctx, key)
	if err == nil {
		_, err = s.defs.Update(ctx, key, entry{Version: v}, revision)
	}
	return err
}

// DeleteVersion removes a published version, with its policy and settings. One that an
// alias names stays (ErrInUse), and so does one being compiled (ErrBusy).
func (s *Store) DeleteVersion(ctx context.Context, name, version string) error {
	if version == functions.Unpublished {
		return fmt.Errorf("%w: %s of function %s goes only with the function", functions.ErrInvalid, version, name)
	}
	if err := s.lock(ctx, name); err != nil {
		return err
	}
	defer s.unlock()
	f, err := s.find(name)
	if err != nil {
		return err
	}
	v, err := f.named(version)
	if err != nil {
		return err
	}
	for _, alias := range slices.Sorted(maps.Keys(f.Attributes.Aliases)) {
		if f.Attributes.Aliases[alias].Names(version) {
			return fmt.Errorf("%w: alias %s names version %s of function %s", functions.ErrInUse, alias, version, name)
		}
	}
	if f.Next != nil && f.Next.Version == version {
		return f.idle()
	}
	n, err := strconv.Atoi(version)
	if err != nil { // it was found
		return err
	}
	next := *f
	next.Gone = append(slices.Clone(f.Gone), n)
	next.versions = slices.Clone(f.versions)
	next.versions[n-1] = functions.Version{}
	if next.Attributes, err = duplicate(f.Attributes); err != nil {
		return err
	}
	delete(next.Attributes.Policies, version)
	delete(next.Attributes.Async, version)
	if err := s.commit(ctx, "delete version "+version+" of", f, &next); err != nil {
		return err
	}
	// It does not count any more. Should this fail, the next start sweeps it.
	if s.remove(ctx, v.ID+"/"+version) == nil {
		s.fade(ctx, v.Code.SHA256)
	}
	return nil
}
