// Package kv keeps small definitions (streams, mappings, functions) as JSON, each
// kind in a NATS key-value bucket of its own.
//
// Every change is a compare-and-set on the revision that was read, and is
// exact: a change whose acknowledgement was lost is looked up before it is
// answered, so that a caller never sees a conflict with itself. A key may hold
// any characters. Values are for hundreds of definitions read at start and
// changed by people, not for what changes with every batch.
package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/wasmill/wasmill/internal/natsd"
)

const (
	// MaxKey is the most bytes of a key.
	MaxKey = 1024
	// MaxValue is the most bytes of a value's JSON.
	MaxValue = 1 << 20

	attemptHeader   = "Wasmill-Attempt" // tells our own write from another's
	operationHeader = "KV-Operation"    // of NATS key-value buckets
	deleted         = "DEL"
)

var (
	// ErrNotFound means the bucket has no such key.
	ErrNotFound = errors.New("kv: not found")
	// ErrExists means Create found the key taken.
	ErrExists = errors.New("kv: exists")
	// ErrConflict means the value was changed or deleted since the given
	// revision was read. Read it again.
	ErrConflict = errors.New("kv: changed meanwhile")
	// ErrInvalid means the key or value can never be stored.
	ErrInvalid = errors.New("kv: invalid")
)

// Bucket is one kind of definition.
type Bucket[T any] struct {
	srv    *natsd.Server
	name   string
	prefix string // of subjects
	stream jetstream.Stream
}

// Open opens the bucket, and makes it the first time. The name is of letters,
// digits, _ and -.
func Open[T any](ctx context.Context, srv *natsd.Server, name string) (*Bucket[T], error) {
	b := &Bucket[T]{srv: srv, name: name, prefix: "$KV." + name + "."}
	st, err := natsd.Change(ctx, srv, func(ctx context.Context) (jetstream.Stream, error) {
		st, err := srv.JS().Stream(ctx, "KV_"+name)
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return st, err
		}
		_, err = srv.JS().CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: name, History: 1, Storage: srv.Storage(), MaxValueSize: -1,
		})
		if err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
			return nil, err
		}
		return srv.JS().Stream(ctx, "KV_"+name)
	})
	if err != nil {
		return nil, fmt.Errorf("kv: open bucket %s: %w", name, err)
	}
	b.stream = st
	return b, nil
}

// Get returns the value of key and its revision, or ErrNotFound.
func (b *Bucket[T]) Get(ctx context.Context, key string) (v T, revision uint64, err error) {
	subject, err := b.subject(key)
	if err != nil {
		return v, 0, err
	}
	m, err := b.last(ctx, subject)
	if err != nil {
		return v, 0, fmt.Errorf("kv: get %s %q: %w", b.name, key, err)
	}
	if m == nil || isDeleted(m.Header) {
		return v, 0, fmt.Errorf("%w: %s %q", ErrNotFound, b.name, key)
	}
	if err := json.Unmarshal(m.Data, &v); err != nil {
		return v, 0, fmt.Errorf("kv: read %s %q: %w", b.name, key, err)
	}
	return v, m.Sequence, nil
}

// Create stores v under a key that has no value, and returns its revision, or
// ErrExists.
func (b *Bucket[T]) Create(ctx context.Context, key string, v T) (revision uint64, err error) {
	revision, err = b.put(ctx, key, v, 0)
	if !errors.Is(err, ErrConflict) {
		return revision, err
	}
	// A deleted key may have left a tombstone, whose revision counts.
	subject, err := b.subject(key)
	if err != nil {
		return 0, err
	}
	m, err := b.last(ctx, subject)
	switch {
	case err != nil:
		return 0, fmt.Errorf("kv: create %s %q: %w", b.name, key, err)
	case m == nil:
		revision, err = b.put(ctx, key, v, 0)
	case isDeleted(m.Header):
		revision, err = b.put(ctx, key, v, m.Sequence)
	default:
		err = ErrConflict
	}
	if errors.Is(err, ErrConflict) {
		return 0, fmt.Errorf("%w: %s %q", ErrExists, b.name, key)
	}
	return revision, err
}

// Update replaces the value that has that revision, or returns ErrConflict.
func (b *Bucket[T]) Update(ctx context.Context, key string, v T, revision uint64) (uint64, error) {
	if revision == 0 {
		return 0, fmt.Errorf("%w: update of %q needs the revision that was read", ErrInvalid, key)
	}
	return b.put(ctx, key, v, revision)
}

// Delete removes the value that has that revision. A key that is not there is
// ErrNotFound, another revision ErrConflict.
func (b *Bucket[T]) Delete(ctx context.Context, key string, revision uint64) error {
	subject, err := b.subject(key)
	if err != nil {
		return err
	}
	if revision == 0 {
		return fmt.Errorf("%w: delete of %q needs the revision that was read", ErrInvalid, key)
	}
	m := nats.NewMsg(subject)
	m.Header.Set(operationHeader, deleted)
	grave, err := b.write(ctx, m, revision)
	if errors.Is(err, ErrConflict) {
		if last, lerr := b.last(ctx, subject); lerr == nil && (last == nil || isDeleted(last.Header)) {
			err = ErrNotFound
		}
	}
	if err != nil {
		return fmt.Errorf("kv: delete %s %q: %w", b.name, key, err)
	}
	// The tombstone was needed for the comparison only. Should it stay, it
	// counts as nothing, and Create goes over it.
	ctx, cancel := b.srv.WriteContext(ctx)
	defer cancel()
	_ = b.stream.DeleteMsg(ctx, grave)
	return nil
}

// All returns every value by its key. What changes meanwhile is in the map as
// it was or as it became.
func (b *Bucket[T]) All(ctx context.Context) (map[string]T, error) {
	all := map[string]T{}
	for seq := uint64(1); ; {
		m, err := natsd.Retry(ctx, b.srv, func() (*jetstream.RawStreamMsg, error) {
			ctx, cancel := b.srv.ReadContext(ctx)
			defer cancel()
			m, err := b.stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(b.prefix+">"))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return nil, nil
			}
			return m, err
		})
		if err != nil {
			return nil, fmt.Errorf("kv: list %s: %w", b.name, err)
		}
		if m == nil {
			return all, nil
		}
		seq = m.Sequence + 1
		key, err := decodeKey(strings.TrimPrefix(m.Subject, b.prefix))
		if err != nil {
			return nil, fmt.Errorf("kv: list %s: %w", b.name, err)
		}
		if isDeleted(m.Header) {
			delete(all, key)
			continue
		}
		var v T
		if err := json.Unmarshal(m.Data, &v); err != nil {
			return nil, fmt.Errorf("kv: read %s %q: %w", b.name, key, err)
		}
		all[key] = v
	}
}

// put stores v if the key's last revision is the given one, 0 for none.
func (b *Bucket[T]) put(ctx context.Context, key string, v T, revision uint64) (uint64, error) {
	subject, err := b.subject(key)
	if err != nil {
		return 0, err
	}
	data, err := json.Marshal(v)
	if err != nil {
		return 0, fmt.Errorf("%w: %s %q: %w", ErrInvalid, b.name, key, err)
	}
	if len(data) > MaxValue {
		return 0, fmt.Errorf("%w: %s %q has %d bytes, at most %d fit", ErrInvalid, b.name, key, len(data), MaxValue)
	}
	if err := b.srv.Admit(natsd.Journal, len(data)); err != nil {
		return 0, fmt.Errorf("kv: store %s %q: %w", b.name, key, err)
	}
	m := nats.NewMsg(subject)
	m.Data = data
	seq, err := b.write(ctx, m, revision)
	if err != nil {
		return 0, fmt.Errorf("kv: store %s %q: %w", b.name, key, err)
	}
	return seq, nil
}

// write publishes m once, whatever happens on the way: the expected revision
// fences a repetition, and the attempt's id tells whether it was ours that won.
func (b *Bucket[T]) write(ctx context.Context, m *nats.Msg, revision uint64) (uint64, error) {
	attempt := nuid.Next()
	m.Header.Set(attemptHeader, attempt)
	unsure := false // an earlier try may have been stored
	return natsd.Retry(ctx, b.srv, func() (uint64, error) {
		if unsure {
			last, err := b.get(ctx, m.Subject)
			if err != nil {
				return 0, err
			}
			if last != nil && last.Header.Get(attemptHeader) == attempt {
				return last.Sequence, nil
			}
		}
		try, cancel := b.srv.WriteContext(ctx)
		defer cancel()
		ack, err := b.srv.JS().PublishMsg(try, m, jetstream.WithExpectLastSequencePerSubject(revision))
		if err == nil {
			return ack.Sequence, nil
		}
		if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
			if !unsure {
				return 0, ErrConflict
			}
			last, err := b.get(ctx, m.Subject)
			if err != nil {
				return 0, err
			}
			if last != nil && last.Header.Get(attemptHeader) == attempt {
				return last.Sequence, nil
			}
			return 0, ErrConflict
		}
		unsure = true
		return 0, err
	}, ErrConflict)
}

// last is the newest message of a subject, nil if there is none.
func (b *Bucket[T]) last(ctx context.Context, subject string) (*jetstream.RawStreamMsg, error) {
	return natsd.Retry(ctx, b.srv, func() (*jetstream.RawStreamMsg, error) {
		return b.get(ctx, subject)
	})
}

func (b *Bucket[T]) get(ctx context.Context, subject string) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := b.srv.ReadContext(ctx)
	defer cancel()
	m, err := b.stream.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	return m, err
}

func isDeleted(h nats.Header) bool { return h.Get(operationHeader) != "" }
