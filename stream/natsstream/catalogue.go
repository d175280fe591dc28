package natsstream

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
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
	// hands is how many logs are made or deleted at once.
	hands = 16
)

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

// entry is what the catalogue has on disk of a stream. The even shards that a
// stream is created with are worked out, not stored: 10,000 of them would not
// fit into one value.
type entry struct {
	Account   string        `json:"account"`
	Region    string        `json:"region"`
	Name      string        `json:"name"`
	ID        string        `json:"id"`
	State     stream.State  `json:"state"`
	Created   time.Time     `json:"created"`
	Shards    int           `json:"shards"`
	Epoch     uint32        `json:"epoch"`     // of all shards, Unix seconds
	Retention time.Duration `json:"retention"` // nanoseconds
	Record    int           `json:"record"`    // bytes
	MaxBytes  int64         `json:"maxBytes,omitempty"`
}

func entryOf(d stream.Description) entry {
	return entry{
		Account: d.Account, Region: d.Region, Name: d.Name, ID: d.ID, State: d.State, Created: d.Created,
		Shards: d.Config.Shards, Epoch: d.Shards[0].Epoch, Retention: d.Retention, Record: d.RecordBytes, MaxBytes: d.MaxBytes,
	}
}

func (e entry) description() stream.Description {
	d := stream.Description{
		Ref: stream.Ref{Account: e.Account, Region: e.Region, Name: e.Name}, ID: e.ID, State: e.State, Created: e.Created,
		Config: stream.Config{Shards: e.Shards, Retention: e.Retention, RecordBytes: e.Record, MaxBytes: e.MaxBytes},
		Shards: make([]stream.Shard, e.Shards),
	}
	for i, r := range stream.EvenRanges(e.Shards) {
		d.Shards[i] = stream.Shard{ID: stream.ShardID(i), Index: i, From: r[0], To: r[1], Epoch: e.Epoch, State: stream.Active}
	}
	return d
}

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
	defer inc.give()
	if err := s.build(ctx, inc); err != nil {
		// The caller's context may be what failed.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
		defer cancel()
		if undo := s.remove(ctx, inc); undo != nil {
			s.opts.Logger.Warn("a stream that could not be created is not cleaned up yet", "stream", ref.Name, "error", undo)
		}
		return stream.Description{}, fmt.Errorf("create stream %s: %w", ref.Name, unavailable(err))
	}
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
	inc := newIncarnation(entry{
		Account: ref.Account, Region: ref.Region, Name: ref.Name, ID: newID(),
		State: stream.Creating, Created: now.UTC().Truncate(time.Millisecond),
		Shards: c.Shards, Epoch: epoch, Retention: c.Retention, Record: c.RecordBytes, MaxBytes: c.MaxBytes,
	}.description(), s.logs, s.opts.Logger)
	inc.turn <- struct{}{}
	s.byRef[ref] = inc
	return inc, nil
}

// build writes down a reserved stream: the entry, its logs, then that they are complete.
func (s *Store) build(ctx context.Context, inc *incarnation) error {
	d := *inc.desc.Load()
	rev, err := s.bucket.Create(ctx, key(d.Ref), entryOf(d))
	if err != nil {
		return err
	}
	if err := each(ctx, len(inc.shards), func(i int) error {
		return s.logs.Create(ctx, logID(d.ID, i), d.Shards[i].Epoch)
	}); err != nil {
		return err
	}
	d.State = stream.Active
	if _, err := s.bucket.Update(ctx, key(d.Ref), entryOf(d), rev); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	inc.desc.Store(&d)
	s.byID[d.ID] = inc
	return nil
}

// Delete removes a stream with all its records. Readers that wait are woken and
// find it gone. When it fails midway the stream stays DELETING: calling again
// goes on, as does the store by itself.
func (s *Store) Delete(ctx context.Context, ref stream.Ref) error {
	s.mu.RLock()
	inc := s.byRef[ref]
	s.mu.RUnlock()
	if inc == nil {
		return fmt.Errorf("%w: no stream %s", stream.ErrNotFound, ref.Name)
	}
	if err := inc.take(ctx); err != nil {
		return err
	}
	defer inc.give()
	if err := s.remove(ctx, inc); err != nil {
		return fmt.Errorf("delete stream %s: %w", ref.Name, unavailable(err))
	}
	return nil
}

// remove deletes a stream, from wherever a create or delete of it has got to:
// first the entry says so, then the logs go, then the entry. The caller has
// the turn.
func (s *Store) remove(ctx context.Context, inc *incarnation) error {
	d := *inc.desc.Load()
	ref := d.Ref
	s.mu.RLock()
	gone := s.byRef[ref] != inc
	s.mu.RUnlock()
	if gone { // somebody had the turn before us
		return fmt.Errorf("%w: no stream %s", stream.ErrNotFound, ref.Name)
	}

	stored, rev, err := s.bucket.Get(ctx, key(ref))
	there := err == nil && stored.ID == d.ID
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	d.State = stream.Deleting
	if there && stored.State != stream.Deleting {
		marked, err := s.bucket.Update(ctx, key(ref), entryOf(d), rev)
		switch {
		case err == nil:
			rev = marked
		case errors.Is(err, natsd.ErrReserve):
			// Deleting is what makes room again. Unmarked, a crash below leaves a
			// stream that lacks logs: to be deleted once more.
		default:
			return err
		}
	}
	// From here on it will go, whatever happens.
	s.mu.Lock()
	inc.desc.Store(&d)
	delete(s.byID, d.ID)
	s.mu.Unlock()
	// Deleting a log wakes who watches it.
	if err := each(ctx, len(inc.shards), func(i int) error { return s.logs.Delete(ctx, logID(d.ID, i)) }); err != nil {
		return err
	}
	if there {
		if err := s.bucket.Delete(ctx, key(ref), rev); err != nil && !errors.Is(err, kv.ErrNotFound) {
			return err
		}
	}
	s.mu.Lock()
	delete(s.byRef, ref)
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
		if inc.desc.Load().State != stream.Active {
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
		if inc.desc.Load().State != stream.Active {
			if err := s.remove(ctx, inc); err != nil && !errors.Is(err, stream.ErrNotFound) {
				s.opts.Logger.Warn("a stream half made or half deleted is not cleaned up yet", "stream", inc.desc.Load().Name, "error", err)
			}
		}
		inc.give()
	}
}

// SetRetention is Update of the retention alone.
func (s *Store) SetRetention(ctx context.Context, ref stream.Ref, retention time.Duration) (stream.Description, error) {
	return s.Update(ctx, ref, func(c *stream.Config) { c.Retention = retention })
}

// Update changes how long records can be read and how many bytes of them are
// kept, at once also for those already there. Lengthening the retention brings
// back what was hidden but not yet trimmed; a limit below what is there refuses
// records until enough have expired, and deletes none. Shards and RecordBytes
// cannot be changed: [stream.ErrInvalid].
func (s *Store) Update(ctx context.Context, ref stream.Ref, change func(*stream.Config)) (stream.Description, error) {
	inc, err := s.active(ref)
	if err != nil {
		return stream.Description{}, err
	}
	if err := inc.take(ctx); err != nil {
		return stream.Description{}, err
	}
	defer inc.give()
	if _, err := s.active(ref); err != nil { // deleted while we waited
		return stream.Description{}, err
	}
	was := *inc.desc.Load()
	d := was
	change(&d.Config)
	if d.Config.Shards != was.Config.Shards || d.RecordBytes != was.RecordBytes {
		return stream.Description{}, fmt.Errorf("%w: the number of shards and the record size of a stream stay as they are", stream.ErrInvalid)
	}
	if err := d.Config.Validate(); err != nil {
		return stream.Description{}, err
	}
	_, rev, err := s.bucket.Get(ctx, key(ref))
	if err == nil {
		_, err = s.bucket.Update(ctx, key(ref), entryOf(d), rev)
	}
	if err != nil {
		return stream.Description{}, fmt.Errorf("update stream %s: %w", ref.Name, unavailable(err))
	}
	inc.desc.Store(&d)
	inc.quota.stale()
	for _, sh := range inc.shards {
		sh.due.Store(0) // when to trim next has to be worked out anew
	}
	return inc.snapshot(), nil
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

// each calls f for 0 to n-1, a few at a time, and returns what went wrong
// first. After a fault or the end of ctx it starts no more.
func each(ctx context.Context, n int, f func(i int) error) error {
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
