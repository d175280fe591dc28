package natsstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/stream"
)

// SetRetention is Update of the retention alone.
func (s *Store) SetRetention(ctx context.Context, ref stream.Ref, retention time.Duration) (stream.Description, error) {
	return s.Update(ctx, ref, func(c *stream.Config) { c.Retention = retention })
}

// Update changes how long records can be read, how many bytes of them are kept, how
// large one may be and the mode, at once also for those already there. Lengthening
// the retention brings back what was hidden but not yet trimmed; a limit below what
// is there refuses records until enough have expired, and deletes none. The number of
// shards is for [Store.Scale]: [stream.ErrInvalid]. [stream.ErrBusy] unless the
// stream is ACTIVE.
func (s *Store) Update(ctx context.Context, ref stream.Ref, change func(*stream.Config)) (stream.Description, error) {
	inc, err := s.change(ctx, ref, isActive)
	if err != nil {
		return stream.Description{}, err
	}
	d, err := s.update(ctx, inc, change)
	s.linger(inc, err == nil, stream.Active)
	return d, err
}

func (s *Store) update(ctx context.Context, inc *incarnation, change func(*stream.Config)) (stream.Description, error) {
	was := inc.desc.Load()
	d := *was
	change(&d.Config)
	if d.Config.Shards != was.Config.Shards {
		return stream.Description{}, fmt.Errorf("%w: the number of shards of a stream is changed by splitting and merging", stream.ErrInvalid)
	}
	if err := d.Config.Validate(); err != nil {
		return stream.Description{}, err
	}
	err := s.rewrite(ctx, inc, func(e *entry) {
		e.Retention, e.Record, e.MaxBytes, e.Mode = d.Retention, d.RecordBytes, d.MaxBytes, d.Mode
		if e.Mode == stream.Provisioned {
			e.Mode = ""
		}
	})
	if err != nil {
		return stream.Description{}, err
	}
	inc.desc.Store(&d)
	inc.quota.stale()
	for _, sh := range inc.table.Load().shards {
		sh.due.Store(0) // when to trim next has to be worked out anew
	}
	return s.updating(inc), nil
}

// SetAttributes has change alter a copy of what is stored of a stream besides its
// records. An error of it is returned as it is, and nothing is stored, nor of what is too
// large for the catalogue: [stream.ErrInvalid]. Unlike other
// changes it can be made while the stream is UPDATING; [stream.ErrBusy] while it is
// CREATING or DELETING.
func (s *Store) SetAttributes(ctx context.Context, ref stream.Ref, change func(*stream.Attributes) error) (stream.Description, error) {
	inc, err := s.change(ctx, ref, live)
	if err != nil {
		return stream.Description{}, err
	}
	was := inc.desc.Load().State
	d, shows, err := s.setAttributes(ctx, inc, change)
	s.linger(inc, shows, was)
	return d, err
}

// setAttributes also says whether the change makes a stream UPDATING, as on AWS
// that of the encryption does.
func (s *Store) setAttributes(ctx context.Context, inc *incarnation, change func(*stream.Attributes) error) (stream.Description, bool, error) {
	was := inc.desc.Load()
	d := *was
	d.Attributes = cloneAttributes(d.Attributes)
	if err := change(&d.Attributes); err != nil {
		return stream.Description{}, false, err
	}
	err := s.rewrite(ctx, inc, func(e *entry) { e.Attributes = d.Attributes })
	if errors.Is(err, kv.ErrInvalid) {
		err = fmt.Errorf("%w: tags, consumers and policies of stream %s are too large, all together", stream.ErrInvalid, d.Name)
	}
	if err != nil {
		return stream.Description{}, false, err
	}
	inc.desc.Store(&d)
	if d.Attributes.KeyID == was.Attributes.KeyID {
		return inc.snapshot(), false, nil
	}
	return s.updating(inc), true, nil
}

func cloneAttributes(a stream.Attributes) stream.Attributes {
	a.Tags, a.Policies, a.Metrics, a.Consumers = maps.Clone(a.Tags), maps.Clone(a.Policies), slices.Clone(a.Metrics), slices.Clone(a.Consumers)
	for i := range a.Consumers {
		a.Consumers[i].Tags = maps.Clone(a.Consumers[i].Tags)
	}
	return a
}

// rewrite changes what the catalogue has of inc. The caller has the turn. What it does
// not change stays as it is on disk, which may be ahead of what is shown.
func (s *Store) rewrite(ctx context.Context, inc *incarnation, change func(*entry)) error {
	ref := inc.desc.Load().Ref
	stored, rev, err := s.bucket.Get(ctx, key(ref))
	if err == nil {
		change(&stored)
		_, err = s.bucket.Update(ctx, key(ref), stored, rev)
	}
	if err != nil {
		return fmt.Errorf("change stream %s: %w", ref.Name, unavailable(err))
	}
	return nil
}

// updating shows a stream that has been changed as UPDATING, if its state is to be
// seen; linger ends that.
func (s *Store) updating(inc *incarnation) stream.Description {
	if s.opts.StateDelay > 0 {
		s.show(inc, stream.Updating)
	}
	return inc.snapshot()
}

// show sets the state that is seen of a stream, not the one in the catalogue.
func (s *Store) show(inc *incarnation, state stream.State) {
	d := *inc.desc.Load()
	d.State = state
	inc.desc.Store(&d)
}

// linger gives the turn back; if the stream is shown in a passing state, after
// StateDelay and when it is in the former one again.
func (s *Store) linger(inc *incarnation, passing bool, was stream.State) {
	end := func() {
		if passing {
			s.show(inc, was)
		}
		inc.give()
	}
	if !passing || s.opts.StateDelay == 0 || !s.start(func() {
		s.pause(s.opts.StateDelay)
		end()
	}) {
		end()
	}
}

func accountKey(account, region string) string { return account + "/" + region }

// Account is what holds for all streams of an account in a region; the zero value
// before anything was set.
func (s *Store) Account(ctx context.Context, account, region string) (stream.AccountSettings, error) {
	a, _, err := s.accounts.Get(ctx, accountKey(account, region))
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return stream.AccountSettings{}, fmt.Errorf("settings of account %s: %w", account, unavailable(err))
	}
	return a, nil
}

// SetAccount has change alter the settings of an account in a region. An error of it
// is returned as it is, and nothing is stored. It may be called again if somebody
// else changes them at the same time.
func (s *Store) SetAccount(ctx context.Context, account, region string, change func(*stream.AccountSettings) error) (stream.AccountSettings, error) {
	for {
		a, rev, err := s.accounts.Get(ctx, accountKey(account, region))
		there := err == nil
		if !there && !errors.Is(err, kv.ErrNotFound) {
			return stream.AccountSettings{}, fmt.Errorf("settings of account %s: %w", account, unavailable(err))
		}
		if err := change(&a); err != nil {
			return stream.AccountSettings{}, err
		}
		if there {
			_, err = s.accounts.Update(ctx, accountKey(account, region), a, rev)
		} else {
			_, err = s.accounts.Create(ctx, accountKey(account, region), a)
		}
		switch {
		case err == nil:
			return a, nil
		case !errors.Is(err, kv.ErrConflict) && !errors.Is(err, kv.ErrExists):
			return stream.AccountSettings{}, fmt.Errorf("settings of account %s: %w", account, unavailable(err))
		}
	}
}
