package natsstream

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/stream"
)

const (
	// undoTime bounds cleaning up after a create whose caller may be gone.
	undoTime = 10 * time.Second
	// hands is how many logs are asked something at once.
	hands = 16
)

// makers is how many logs are made or deleted at once: as many as JetStream works at.
// Were more of them waiting all the time, it would come to no request for what a
// stream holds meanwhile, for they go last: shards could not be opened.
func makers() int { return min(runtime.GOMAXPROCS(0), hands) }

// newID is an id for an incarnation: random, so that none is ever used twice,
// and of the form AWS gives a StreamId, [a-z0-9]{20}-[a-z0-9]{3}.
func newID() string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	id := make([]byte, 0, 24)
	var raw [64]byte
	for len(id) < 24 {
		rand.Read(raw[:]) // never fails
		for _, b := range raw {
			if len(id) == 20 {
				id = append(id, '-')
			}
			if len(id) < 24 && int(b) < 256/len(letters)*len(letters) {
				id = append(id, letters[int(b)%len(letters)])
			}
		}
	}
	return string(id)
}

func logID(streamID string, shard int) string { return streamID + "_" + strconv.Itoa(shard) }

func key(ref stream.Ref) string { return ref.Account + "/" + ref.Region + "/" + ref.Name }

// Create makes a stream whose shards share the hash range evenly, and returns
// once it takes records. [stream.ErrExists] if the name is taken, also by a
// stream that is still being deleted. A create that fails leaves nothing, at
// the latest after the next [Open].
func (s *Store) Create(ctx context.Context, ref stream.Ref, c stream.Config) (stream.Description, error) {
	c = c.WithDefaults()
	if err := errors.Join(ref.Validate(), c.Validate()); err != nil {
		return stream.Description{}, err
	}
	inc, err := s.reserve(ref, c)
	if err != nil {
		return stream.Description{}, err
	}
	if err := s.build(ctx, inc); err != nil {
		defer inc.give()
		// The caller's context may be what failed.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
		defer cancel()
		if undo := s.remove(ctx, inc); undo != nil {
			s.opts.Logger.Warn("a stream that could not be created is not cleaned up yet", "stream", ref.Name, "error", undo)
		}
		return stream.Description{}, fmt.Errorf("create stream %s: %w", ref.Name, unavailable(err))
	}
	if s.opts.StateDelay > 0 {
		d := inc.snapshot()
		if s.start(func() {
			defer inc.give()
			s.pause(s.opts.StateDelay)
			s.activate(inc)
		}) {
			return d, nil
		}
	}
	defer inc.give()
	s.activate(inc)
	return inc.snapshot(), nil
}

// reserve takes the name in memory and returns the incarnation with its turn taken.
func (s *Store) reserve(ref stream.Ref, c stream.Config) (*incarnation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if taken := s.byRef[ref]; taken != nil {
		if d := taken.desc.Load(); d.State != stream.Active {
			return nil, fmt.Errorf("%w: a stream %s is %s", stream.ErrExists, ref.Name, d.State)
		}
		return nil, fmt.Errorf("%w: stream %s", stream.ErrExists, ref.Name)
	}
	now := time.Now()
	epoch := max(uint32(now.Unix()), s.epochs[ref]+1)
	s.epochs[ref] = epoch
	e := entry{
		Account: ref.Account, Region: ref.Region, Name: ref.Name, ID: newID(),
		State: stream.Creating, Created: now.UTC().Truncate(time.Millisecond),
		Shards: c.Shards, Epoch: epoch, Retention: c.Retention, Record: c.RecordBytes, MaxBytes: c.MaxBytes, Mode: c.Mode,
	}
	d, _, _ := e.description() // fails for shards that were packed only
	inc := newIncarnation(d, nil, s.logs, s.opts.Logger)
	inc.turn <- struct{}{}
	s.byRef[ref] = inc
	return inc, nil
}

// build writes down a reserved stream: the entry, its logs, then that they are complete.
func (s *Store) build(ctx context.Context, inc *incarnation) error {
	d := *inc.desc.Load()
	rev, err := s.bucket.Create(ctx, key(d.Ref), entryOf(d, nil))
	if err != nil {
		return err
	}
	if err := each(ctx, makers(), len(d.Shards), func(i int) error {
		return s.logs.Create(ctx, logID(d.ID, i), d.Shards[i].Epoch)
	}); err != nil {
		return err
	}
	d.State = stream.Active
	_, err = s.bucket.Update(ctx, key(d.Ref), entryOf(d, nil), rev)
	return err
}

// activate shows a stream that is complete.
func (s *Store) activate(inc *incarnation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.show(inc, stream.Active)
	s.byID[inc.desc.Load().ID] = inc
}

func (s *Store) deleteLogs(ctx context.Context, streamID string, shards []stream.Shard) error {
	return each(ctx, makers(), len(shards), func(i int) error { return s.logs.Delete(ctx, logID(streamID, shards[i].Index)) })
}

// Delete removes a stream with all its records. Readers that wait are woken and
// find it gone. When it fails midway the stream stays DELETING: calling again
// goes on, as does the store by itself.
func (s *Store) Delete(ctx context.Context, ref stream.Ref) error {
	inc, err := s.find(ref)
	if err != nil {
		return err
	}
	if s.opts.StateDelay > 0 && inc.desc.Load().State == stream.Deleting {
		return nil // it goes when it was to be seen for long enough
	}
	if err := inc.take(ctx); err != nil {
		return err
	}
	if s.opts.StateDelay > 0 {
		if err := s.condemn(ctx, inc); err != nil {
			inc.give()
			return fmt.Errorf("delete stream %s: %w", ref.Name, unavailable(err))
		}
		if s.start(func() {
			s.pause(s.opts.StateDelay)
			inc.give()
			s.tidy(s.base)
		}) {
			return nil
		}
	}
	defer inc.give()
	if err := s.remove(ctx, inc); err != nil {
		return fmt.Errorf("delete stream %s: %w", ref.Name, unavailable(err))
	}
	return nil
}

// condemn has a stream be DELETING, from whatever state: first the entry says so,
// then it is seen. The caller has the turn.
func (s *Store) condemn(ctx context.Context, inc *incarnation) error {
	d := *inc.desc.Load()
	if current, err := s.find(d.Ref); err != nil || current != inc { // somebody had the turn before us
		return fmt.Errorf("%w: no stream %s", stream.ErrNotFound, d.Name)
	}
	stored, rev, err := s.bucket.Get(ctx, key(d.Ref))
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	if err == nil && stored.ID == d.ID && stored.State != stream.Deleting {
		stored.State = stream.Deleting
		_, err := s.bucket.Update(ctx, key(d.Ref), stored, rev)
		// Deleting is what makes room again. Unmarked, a crash below leaves a
		// stream that lacks logs: to be deleted once more.
		if err != nil && !errors.Is(err, natsd.ErrReserve) {
			return err
		}
	}
	// From here on it will go, whatever happens.
	d.State = stream.Deleting
	s.mu.Lock()
	inc.publish(d, s.logs) // wakes the records that wait for another shard
	delete(s.byID, d.ID)
	s.mu.Unlock()
	return nil
}

// remove deletes a stream, from wherever a create or delete of it has got to:
// once it is condemned the logs go, then the entry. The caller has the turn.
func (s *Store) remove(ctx context.Context, inc *incarnation) error {
	if err := s.condemn(ctx, inc); err != nil {
		return err
	}
	d := inc.desc.Load()
	shards := slices.Concat(d.Shards, inc.doomed)
	stored, rev, err := s.bucket.Get(ctx, key(d.Ref))
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	there := err == nil && stored.ID == d.ID
	if there { // it may name shards that are not seen yet
		listed, doomed, err := stored.description()
		if err != nil {
			return err
		}
		shards = append(listed.Shards, doomed...)
	}
	// Deleting a log wakes who watches it.
	if err := s.deleteLogs(ctx, d.ID, shards); err != nil {
		return err
	}
	if there {
		if err := s.bucket.Delete(ctx, key(d.Ref), rev); err != nil && !errors.Is(err, kv.ErrNotFound) {
			return err
		}
	}
	s.mu.Lock()
	delete(s.byRef, d.Ref)
	s.mu.Unlock()
	return nil
}

// unavailable marks what is worth another try later.
func unavailable(err error) error {
	if errors.Is(err, natsd.ErrReserve) || errors.Is(err, natsd.ErrDown) || errors.Is(err, natsd.ErrNoAnswer) || errors.Is(err, log.ErrUnavailable) {
		return fmt.Errorf("%w: %w", stream.ErrUnavailable, err)
	}
	return err
}

// tidy removes streams that a crash or a failed call left half made or half deleted.
func (s *Store) tidy(ctx context.Context) {
	s.mu.RLock()
	var left []*incarnation
	for _, inc := range s.byRef {
		if !live(inc.desc.Load().State) {
			left = append(left, inc)
		}
	}
	s.mu.RUnlock()
	for _, inc := range left {
		select {
		case inc.turn <- struct{}{}:
		default: // being worked on
			continue
		}
		// It may have become active or gone while we looked.
		if !live(inc.desc.Load().State) {
			if err := s.remove(ctx, inc); err != nil && !errors.Is(err, stream.ErrNotFound) {
				s.opts.Logger.Warn("a stream half made or half deleted is not cleaned up yet", "stream", inc.desc.Load().Name, "error", err)
			}
		}
		inc.give()
	}
}

// List is all streams of all accounts and regions, sorted by name.
func (s *Store) List(context.Context) ([]stream.Description, error) {
	s.mu.RLock()
	list := make([]stream.Description, 0, len(s.byRef))
	for _, inc := range s.byRef {
		list = append(list, inc.snapshot())
	}
	s.mu.RUnlock()
	slices.SortFunc(list, func(a, b stream.Description) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Region, b.Region), cmp.Compare(a.Account, b.Account))
	})
	return list, nil
}

// Describe tells of a stream, also of one that is being created or deleted.
func (s *Store) Describe(_ context.Context, ref stream.Ref) (stream.Description, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	inc := s.byRef[ref]
	if inc == nil {
		return stream.Description{}, fmt.Errorf("%w: no stream %s", stream.ErrNotFound, ref.Name)
	}
	return inc.snapshot(), nil
}

// ByID tells of an incarnation. [stream.ErrNotFound] as soon as it is being deleted.
func (s *Store) ByID(_ context.Context, id string) (stream.Description, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	inc := s.byID[id]
	if inc == nil {
		return stream.Description{}, fmt.Errorf("%w: no stream with id %s", stream.ErrNotFound, id)
	}
	return inc.snapshot(), nil
}

// each calls f for 0 to n-1, as many at a time as there are hands, and returns what went wrong
// first. After a fault or the end of ctx it starts no more.
func each(ctx context.Context, hands, n int, f func(i int) error) error {
	work := make(chan int) // closed below, once all is handed out
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for range min(hands, n) {
		wg.Go(func() {
			for i := range work {
				if err := f(i); err != nil {
					cancel(err) // the first one stays the cause
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		select {
		case work <- i:
		case <-ctx.Done():
		}
	}
	close(work)
	wg.Wait()
	return context.Cause(ctx)
}
