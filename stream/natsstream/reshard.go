package natsstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/stream"
)

const (
	// stepTime bounds one try to complete a resharding, so that a stream can be deleted
	// meanwhile: deleting may be what makes room for the others.
	stepTime = time.Minute
	// retryLeast and retryMost are the pauses between such tries.
	retryLeast, retryMost = 100 * time.Millisecond, 5 * time.Second
)

// Split closes a shard and makes two of it; at is the first hash key of the second,
// strictly inside the range of the shard. It returns when the stream is ACTIVE again;
// if ctx ends before, the splitting goes on.
//
// [stream.ErrInvalid]: the shard is closed, at is not inside, or the stream has as
// many shards as it may. [stream.ErrBusy]: the stream is not ACTIVE.
// [stream.ErrNotFound]: there is no such stream or shard. [stream.ErrUnavailable]: it
// can be tried again; the store may be doing it already.
func (s *Store) Split(ctx context.Context, ref stream.Ref, shard string, at stream.HashKey) (stream.Description, error) {
	return s.reshard(ctx, ref, func(p *plan, inc *incarnation) error {
		sh, err := inc.openShard(shard)
		if err != nil {
			return err
		}
		if at.Compare(sh.From) <= 0 || at.Compare(sh.To) > 0 {
			return fmt.Errorf("%w: hash key %s: want one inside the range of %s, above %s and at most %s", stream.ErrInvalid, at, shard, sh.From, sh.To)
		}
		p.split(sh, at)
		return nil
	})
}

// Merge closes two shards that lie beside each other, in either order, and makes one
// of them. It returns and fails as [Store.Split] does.
func (s *Store) Merge(ctx context.Context, ref stream.Ref, shard, adjacent string) (stream.Description, error) {
	return s.reshard(ctx, ref, func(p *plan, inc *incarnation) error {
		a, err := inc.openShard(shard)
		if err != nil {
			return err
		}
		b, err := inc.openShard(adjacent)
		if err != nil {
			return err
		}
		beside := func(lower, upper stream.Shard) bool {
			return lower.To != stream.MaxHashKey && after(lower.To) == upper.From
		}
		switch {
		case beside(a, b):
			// The shard that is named first is the first parent, as on AWS.
			p.child(a.From, b.To, a, b)
		case beside(b, a):
			p.child(b.From, a.To, a, b)
		default:
			return fmt.Errorf("%w: shards %s and %s do not lie beside each other", stream.ErrInvalid, shard, adjacent)
		}
		return nil
	})
}

// Scale splits and merges until the hash range is shared evenly by so many open
// shards, 1 to 10,000, in one step that a crash does not divide. It returns and fails
// as [Store.Split] does. Shards that are as they should be stay open.
func (s *Store) Scale(ctx context.Context, ref stream.Ref, shards int) (stream.Description, error) {
	if shards < 1 || shards > stream.MaxShards {
		return stream.Description{}, fmt.Errorf("%w: %d shards: want 1 to %d", stream.ErrInvalid, shards, stream.MaxShards)
	}
	return s.reshard(ctx, ref, func(p *plan, inc *incarnation) error {
		t := inc.table.Load()
		open := make([]stream.Shard, len(t.open))
		for i, sh := range t.open {
			open[i] = sh.Info()
		}
		p.scale(open, shards)
		return nil
	})
}

// openShard is a shard that can be split or merged.
func (inc *incarnation) openShard(id string) (stream.Shard, error) {
	sh, err := inc.shard(id)
	if err != nil {
		return stream.Shard{}, err
	}
	if info := sh.Info(); info.State == stream.Active {
		return info, nil
	}
	return stream.Shard{}, fmt.Errorf("%w: %s of stream %s is %s", stream.ErrInvalid, id, inc.desc.Load().Name, sh.Info().State)
}

// reshard writes down what shards are to come, by design, and sees it done.
func (s *Store) reshard(ctx context.Context, ref stream.Ref, design func(*plan, *incarnation) error) (stream.Description, error) {
	inc, err := s.change(ctx, ref, isActive)
	if err != nil {
		return stream.Description{}, err
	}
	begun, err := s.begin(ctx, inc, design)
	if !begun {
		defer inc.give()
		if err != nil {
			return stream.Description{}, err
		}
		return inc.snapshot(), nil
	}
	seen, done := make(chan struct{}), make(chan struct{}) // closed by the goroutine
	if !s.start(func() {
		defer close(done)
		s.complete(inc, seen)
	}) {
		inc.give() // the next Open completes it
		return stream.Description{}, fmt.Errorf("%w: the store is being closed", stream.ErrUnavailable)
	}
	if err != nil {
		return stream.Description{}, err
	}
	wait := done
	if s.opts.StateDelay > 0 {
		wait = seen
	}
	select {
	case <-wait:
	case <-done: // without having been seen: the store is closed, or the stream deleted
	case <-ctx.Done():
		return stream.Description{}, context.Cause(ctx)
	}
	switch d := inc.snapshot(); {
	case s.opts.StateDelay > 0 && live(d.State), d.State == stream.Active:
		return d, nil
	case d.State == stream.Updating:
		return stream.Description{}, fmt.Errorf("%w: the store is being closed", stream.ErrUnavailable)
	default:
		return stream.Description{}, fmt.Errorf("%w: stream %s is being deleted", stream.ErrNotFound, ref.Name)
	}
}

// begin puts the new shards into the catalogue. With false there are none. With true
// and an error nobody knows: to complete it is to find out.
func (s *Store) begin(ctx context.Context, inc *incarnation, design func(*plan, *incarnation) error) (bool, error) {
	d := *inc.desc.Load()
	p := &plan{next: d.Shards[len(d.Shards)-1].Index + 1, now: uint32(time.Now().Unix())}
	if err := design(p, inc); err != nil || len(p.made) == 0 {
		return false, err
	}
	end := parents(p.made)
	shards := append(slices.Clone(d.Shards), p.made...)
	open := 0
	for i := range shards {
		switch sh := &shards[i]; {
		case sh.State == stream.Active && end[sh.ID]:
			sh.State = stream.Closing
		case sh.State == stream.Active, sh.State == stream.Creating && !end[sh.ID]:
			open++
		}
	}
	if open > stream.MaxShards {
		return false, fmt.Errorf("%w: stream %s would have %d open shards: at most %d", stream.ErrInvalid, d.Name, open, stream.MaxShards)
	}
	s.mu.Lock()
	s.epochs[d.Ref] = max(s.epochs[d.Ref], newest(shards))
	s.mu.Unlock()
	err := s.rewrite(ctx, inc, func(e *entry) {
		e.State = stream.Updating
		e.setShards(shards, inc.doomed)
	})
	if err == nil {
		err = s.step("first entry")
	}
	switch {
	case errors.Is(err, kv.ErrInvalid):
		return false, fmt.Errorf("%w: the catalogue has no room for more shards of stream %s before closed ones have expired: %w", stream.ErrUnavailable, d.Name, err)
	case errors.Is(err, natsd.ErrReserve), errors.Is(err, natsd.ErrClosed):
		return false, err
	}
	s.show(inc, stream.Updating)
	return true, err
}

// parents are the ids of the shards that others come from.
func parents(shards []stream.Shard) map[string]bool {
	all := make(map[string]bool)
	for _, sh := range shards {
		for _, id := range sh.Parents {
			all[id] = true
		}
	}
	return all
}

// complete does what begin has announced, as often as it takes, unless the stream is
// deleted or the store closed. It is called with the turn, and has none when it
// returns. seen is closed when the new shards can be seen and read.
func (s *Store) complete(inc *incarnation, seen chan<- struct{}) {
	for pause := retryLeast; ; pause = min(2*pause, retryMost) {
		ctx, cancel := context.WithTimeout(s.base, stepTime+s.opts.StateDelay)
		err := s.forward(ctx, inc, func() {
			if seen != nil {
				close(seen)
				seen = nil
				s.pause(s.opts.StateDelay)
			}
		})
		cancel()
		inc.give()
		if err == nil || s.base.Err() != nil {
			return
		}
		s.opts.Logger.Warn("shards cannot be split or merged yet", "stream", inc.desc.Load().Name, "error", err)
		s.pause(pause)
		if inc.take(s.base) != nil {
			return
		}
	}
}

// forward goes through the steps of a resharding that the catalogue tells of, from
// wherever it has got to. The caller has the turn.
func (s *Store) forward(ctx context.Context, inc *incarnation, seen func()) error {
	ref := inc.desc.Load().Ref
	stored, rev, err := s.bucket.Get(ctx, key(ref))
	switch {
	case errors.Is(err, kv.ErrNotFound), err == nil && (stored.ID != inc.desc.Load().ID || !live(stored.State)):
		return nil // deleted meanwhile
	case err != nil:
		return err
	}
	d, _, err := stored.description()
	if err != nil {
		return err
	}
	if d.State == stream.Active { // the last step was done, and its answer lost
		inc.publish(d, s.logs)
		return nil
	}
	var come, end []stream.Shard
	parents := parents(d.Shards)
	for _, sh := range d.Shards {
		if sh.State == stream.Creating {
			come = append(come, sh)
		}
		if sh.State == stream.Closing || sh.State == stream.Creating && parents[sh.ID] {
			end = append(end, sh)
		}
	}
	slices.SortStableFunc(end, func(a, b stream.Shard) int { return a.From.Compare(b.From) })
	if err := each(ctx, makers(), len(come), func(i int) error {
		if err := s.step("log"); err != nil {
			return err
		}
		return s.logs.Create(ctx, logID(d.ID, come[i].Index), come[i].Epoch)
	}); err != nil {
		return err
	}
	if !slices.ContainsFunc(inc.desc.Load().Shards, func(sh stream.Shard) bool { return sh.State == stream.Creating }) {
		inc.publish(d, s.logs)
	}
	seen()
	for len(end) > 0 {
		n, below := portion(end, come, parents, s.atOnce)
		if err := each(ctx, hands, n, func(i int) error {
			if err := s.step("END"); err != nil {
				return err
			}
			sh, err := inc.use(ctx, end[i].ID)
			if err != nil {
				return err
			}
			return sh.Log().End(ctx)
		}); err != nil {
			return err
		}
		if end = end[n:]; len(end) > 0 {
			inc.turnOver(below, parents)
		}
	}

	done := d
	done.State = stream.Active
	done.Shards = slices.Clone(d.Shards)
	done.Config.Shards = 0
	now := time.Now().UTC().Truncate(time.Second)
	for i := range done.Shards {
		switch sh := &done.Shards[i]; {
		case sh.State == stream.Closing, sh.State == stream.Creating && parents[sh.ID]:
			sh.State, sh.Closed = stream.Closed, now
		case sh.State == stream.Creating:
			sh.State = stream.Active
		}
		if done.Shards[i].State == stream.Active {
			done.Config.Shards++
		}
	}
	stored.State, stored.Shards = done.State, done.Config.Shards
	stored.setShards(done.Shards, inc.doomed)
	if err := s.step("second entry"); err != nil {
		return err
	}
	if _, err := s.bucket.Update(ctx, key(ref), stored, rev); err != nil {
		return err
	}
	if err := s.step("the end"); err != nil {
		return err
	}
	inc.publish(done, s.logs)
	return nil
}

// portion is how many of the shards that end, from the front, are ended before their
// children take over, so that no record waits until thousands have: a few of those
// whose children all lie below a hash key, which it returns too.
func portion(end, come []stream.Shard, parents map[string]bool, atOnce int) (n int, below stream.HashKey) {
	if len(end) <= atOnce {
		return len(end), below
	}
	begins := make(map[stream.HashKey]bool, len(come)) // where children do
	for _, sh := range come {
		if !parents[sh.ID] {
			begins[sh.From] = true
		}
	}
	for n = atOnce; n < len(end); n++ {
		// Where both a shard and a child begin no other one, nor one between, lies
		// on both sides.
		if sh := end[n]; sh.State == stream.Closing && begins[sh.From] && end[n-1].From != sh.From {
			return n, sh.From
		}
	}
	return len(end), below
}

// step is where a crash may come.
func (s *Store) step(name string) error {
	if s.crash == nil {
		return nil
	}
	return s.crash(name)
}

// forwardAll completes what a crash has interrupted. What cannot be done now is
// tried again while the store is open.
func (s *Store) forwardAll(ctx context.Context) {
	s.mu.RLock()
	var left []*incarnation
	for _, inc := range s.byRef {
		if inc.desc.Load().State == stream.Updating {
			left = append(left, inc)
		}
	}
	s.mu.RUnlock()
	for _, inc := range left {
		if err := s.forward(ctx, inc, func() {}); err != nil {
			s.opts.Logger.Warn("shards cannot be split or merged yet", "stream", inc.desc.Load().Name, "error", err)
			inc.turn <- struct{}{} // nobody else has it yet
			s.start(func() { s.complete(inc, nil) })
		}
	}
}
