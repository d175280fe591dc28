package poll

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/triggers"
)

// Update changes a trigger's settings from the next unit of work on. What it
// reads and where it started cannot be changed.
func (m *Manager) Update(ctx context.Context, name string, change func(*triggers.Config)) (triggers.Mapping, error) {
	return m.Change(ctx, name, func(mp *triggers.Mapping) error {
		change(&mp.Config)
		return nil
	})
}

// SetTags changes a trigger's tags. change gets a copy, and its error is passed on.
func (m *Manager) SetTags(ctx context.Context, name string, change func(map[string]string) (map[string]string, error)) (triggers.Mapping, error) {
	return m.Change(ctx, name, func(mp *triggers.Mapping) (err error) {
		mp.Tags, err = change(mp.Tags)
		return err
	})
}

// Change changes a trigger's Config, FunctionARN, Tags and Enabled in one; all else
// stays. change gets a copy, and its error is passed on. New settings hold from the next unit of
// work on, with no place lost. A trigger that is disabled starts no invocation from
// when Change returns; it is Disabling until those under way have ended, and
// [triggers.ErrBusy] to other changes until then.
func (m *Manager) Change(ctx context.Context, name string, change func(*triggers.Mapping) error) (triggers.Mapping, error) {
	mp, rev, unlock, err := m.change(ctx, name)
	if mp.State == triggers.Deleting && errors.Is(err, triggers.ErrNotFound) {
		return m.forsake(ctx, mp, rev, change)
	}
	if err != nil {
		return mp, err
	}
	defer func() { unlock() }()
	next := mp
	next.Config.Filters, next.Config.Metrics = slices.Clone(mp.Config.Filters), slices.Clone(mp.Config.Metrics)
	if next.Tags = maps.Clone(mp.Tags); next.Tags == nil {
		next.Tags = map[string]string{}
	}
	if err := change(&next); err != nil {
		return mp, err
	}
	c := next.Config
	if c.Stream != mp.Config.Stream || c.Consumer != mp.Config.Consumer || c.Position != mp.Config.Position {
		return mp, fmt.Errorf("%w: a trigger's stream and starting position cannot be changed; remove it and create another", triggers.ErrInvalid)
	}
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return mp, err
	}
	if err := errors.Join(noLoop(c, mp.StreamARN), m.check(ctx, mp.Config, c)); err != nil {
		return mp, err
	}
	if c.Function != mp.Config.Function || c.Qualifier != mp.Config.Qualifier {
		release, err := m.claim(ctx, name, mp.StreamID, c)
		if err != nil {
			return mp, err
		}
		defer release()
	}
	was := mp
	if retargeted := c.Function != mp.Config.Function || c.Qualifier != mp.Config.Qualifier; retargeted && next.FunctionARN == mp.FunctionARN {
		next.FunctionARN = retarget(mp.FunctionARN, c)
	}
	mp.Config, mp.FunctionARN, mp.Tags, mp.Enabled = c, next.FunctionARN, next.Tags, next.Enabled
	mp.Modified = time.Now().UTC().Truncate(time.Millisecond)
	if _, err := m.d.Mappings.Update(ctx, name, mp, rev); err != nil {
		return was, err
	}
	m.d.Relay.Forsake(mp.ID, c.OnDestinationFailure == triggers.Drop) // one that is paused has notices too
	r := m.runner(name)
	switch {
	case r != nil && mp.Enabled:
		r.configure(mp)
	case r != nil:
		r.halt()
		shown, free := m.show(mp), unlock
		unlock = func() {} // until it has stopped
		m.background(func(ctx context.Context) {
			defer free()
			m.drop(ctx, name)
		})
		return shown, nil
	case mp.Enabled:
		m.start(mp)
	}
	return m.show(mp), nil
}

// retarget is the ARN of the function that c names, where arn was of another.
func retarget(arn string, c triggers.Config) string {
	parts := strings.SplitN(arn, ":", 7)
	if len(parts) < 7 {
		return ""
	}
	parts[6] = c.Function
	if c.Qualifier != "" {
		parts[6] += ":" + c.Qualifier
	}
	return strings.Join(parts, ":")
}

// forsake lets a trigger that is on its way out give up notices which cannot be delivered: nothing
// else of it can be changed.
func (m *Manager) forsake(ctx context.Context, mp triggers.Mapping, rev uint64, change func(*triggers.Mapping) error) (triggers.Mapping, error) {
	next := mp
	if err := change(&next); err != nil {
		return mp, err
	}
	if next.Config.OnDestinationFailure != triggers.Drop || mp.Config.OnDestinationFailure == triggers.Drop {
		return mp, removing(mp.Name)
	}
	mp.Config.OnDestinationFailure = triggers.Drop
	if _, err := m.d.Mappings.Update(ctx, mp.Name, mp, rev); err != nil {
		return mp, err
	}
	m.d.Relay.Forsake(mp.ID, true)
	return mp, nil
}

func removing(name string) error {
	return fmt.Errorf("%w: trigger %s is being removed", triggers.ErrNotFound, name)
}

// background runs fn while the Manager does, and at once when it does not.
func (m *Manager) background(fn func(ctx context.Context)) {
	m.mu.Lock()
	run := m.run
	if run != nil {
		m.wg.Add(1)
	}
	m.mu.Unlock()
	if run == nil {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		fn(ctx)
		return
	}
	go func() {
		defer m.wg.Done()
		fn(run)
	}()
}

// Pause stops a trigger at a batch boundary. When it returns, no invocation of
// it runs or starts.
func (m *Manager) Pause(ctx context.Context, name string) (triggers.Mapping, error) {
	return m.enable(ctx, name, false)
}

// Resume lets a paused trigger go on at its checkpoint.
func (m *Manager) Resume(ctx context.Context, name string) (triggers.Mapping, error) {
	return m.enable(ctx, name, true)
}

func (m *Manager) enable(ctx context.Context, name string, enabled bool) (triggers.Mapping, error) {
	mp, rev, unlock, err := m.change(ctx, name)
	if err != nil {
		return mp, err
	}
	defer unlock()
	if mp.Enabled != enabled {
		mp.Enabled, mp.Modified = enabled, time.Now().UTC().Truncate(time.Millisecond)
		if _, err := m.d.Mappings.Update(ctx, name, mp, rev); err != nil {
			return mp, err
		}
	}
	if !enabled {
		m.drop(ctx, name)
	} else {
		m.start(mp)
	}
	return m.show(mp), nil
}

// leaving is how long Delete waits for what a trigger's function has emitted.
const leaving = 5 * time.Second

// Delete removes a trigger. Its dead letters stay. It returns when everything its
// function has emitted has arrived, or, with [triggers.ErrLeaving], when that
// takes long: the trigger runs no more then, and goes by itself when it has.
func (m *Manager) Delete(ctx context.Context, name string) error {
	mp, unlock, err := m.leave(ctx, name, "")
	if err != nil {
		return err
	}
	defer unlock()
	return m.gone(ctx, mp)
}

// Remove is Delete that does not wait: from when it returns the trigger starts no
// invocation. It is Deleting until it is gone. If another trigger than that with the id bears
// the name by now, it is ErrNotFound.
func (m *Manager) Remove(ctx context.Context, name, id string) (triggers.Mapping, error) {
	mp, unlock, err := m.leave(ctx, name, id)
	if err != nil {
		return mp, err
	}
	m.background(func(ctx context.Context) {
		defer unlock()
		_ = m.gone(ctx, mp) // what is left to do goes on, and is logged
	})
	return mp, nil
}

// leave writes down that a trigger goes, and has it start nothing more. An empty id is any.
func (m *Manager) leave(ctx context.Context, name, id string) (mp triggers.Mapping, unlock func(), err error) {
	if unlock, err = m.lock(name); err != nil {
		return mp, nil, err
	}
	mp, rev, err := m.get(ctx, name)
	if err == nil && id != "" && mp.ID != id {
		err = fmt.Errorf("%w: trigger %s with id %s", triggers.ErrNotFound, name, id)
	}
	if err == nil && mp.State != triggers.Deleting {
		mp.State, mp.Enabled = triggers.Deleting, false
		_, err = m.d.Mappings.Update(ctx, name, mp, rev)
	}
	if err != nil {
		unlock()
		return mp, nil, err
	}
	if r := m.runner(name); r != nil {
		r.halt()
	}
	return mp, unlock, nil
}

// gone stops a trigger that goes, and forgets it.
func (m *Manager) gone(ctx context.Context, mp triggers.Mapping) error {
	m.drop(ctx, mp.Name)
	bounded, cancel := context.WithTimeout(ctx, leaving)
	err := m.finishDelete(bounded, mp)
	cancel()
	if err != nil {
		if why := m.d.Relay.Problem(mp.ID); ctx.Err() == nil && bounded.Err() != nil {
			err = fmt.Errorf("%w: trigger %s runs no more and goes when what its function has emitted has arrived: %s", triggers.ErrLeaving, mp.Name, cmp.Or(why, err.Error()))
		}
		m.mu.Lock()
		if m.run != nil {
			m.finish(m.run, mp) // whoever asked has gone, or something is down: it goes on without them
		}
		m.mu.Unlock()
	}
	return err
}

// finishDelete forgets a mapping once its last dead letters have arrived.
func (m *Manager) finishDelete(ctx context.Context, mp triggers.Mapping) error {
	if err := m.d.Relay.Drained(ctx, mp.ID); err != nil {
		return fmt.Errorf("trigger %s: its dead letters and outputs: %w", mp.Name, err)
	}
	if err := m.d.Journals.Delete(ctx, mp.ID); err != nil {
		return fmt.Errorf("trigger %s: its journal: %w", mp.Name, err)
	}
	if mp.Name == "" {
		return nil // it was never made
	}
	m.forget(mp.ID)
	now, rev, err := m.d.Mappings.Get(ctx, mp.Name)
	if errors.Is(err, kv.ErrNotFound) || err == nil && now.ID != mp.ID {
		return nil // another call has done it; the name may be somebody else's by now
	} else if err != nil {
		return err
	}
	return m.d.Mappings.Delete(ctx, mp.Name, rev)
}

// change finds a trigger that may be changed, and keeps other calls from
// changing it until unlock.
func (m *Manager) change(ctx context.Context, name string) (mp triggers.Mapping, rev uint64, unlock func(), err error) {
	if unlock, err = m.lock(name); err != nil {
		return mp, 0, nil, err
	}
	mp, rev, err = m.get(ctx, name)
	if err == nil && mp.State == triggers.Deleting {
		err = removing(name)
	}
	if err != nil {
		unlock()
	}
	return mp, rev, unlock, err
}

// lock keeps changes of one trigger apart without holding a mutex over them.
func (m *Manager) lock(name string) (unlock func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.changing[name] {
		return nil, fmt.Errorf("%w: trigger %s is being changed by another call; try again", triggers.ErrBusy, name)
	}
	m.changing[name] = true
	return func() {
		m.mu.Lock()
		delete(m.changing, name)
		m.mu.Unlock()
	}, nil
}
