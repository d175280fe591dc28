package natsd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Pause lies between two tries of [Retry]: what fails at once must not spin.
const Pause = 10 * time.Millisecond

// Retry repeats f until it answers, ctx ends, or f fails in a way that repeating
// cannot mend: with one of final, or with an answer of JetStream that stays what
// it is. A store that failed is restored before the next try. f must do no harm
// when it is repeated, and bound each of its requests by [Server.WriteContext]
// or [Server.ReadContext]. When ctx ends first, the error wraps its cause, and
// [ErrDown] if the store is being restored.
func Retry[R any](ctx context.Context, s *Server, f func() (R, error), final ...error) (r R, err error) {
	for {
		r, err = f()
		if err == nil || stays(err, final) {
			return r, err
		}
		s.Failed(err)
		if herr := s.Healthy(ctx); herr != nil {
			return r, errors.Join(err, herr)
		}
		select {
		case <-ctx.Done():
			return r, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(Pause):
		}
	}
}

// Ask is [Retry] for something that changes nothing, and goes on while a failed
// store takes no writes. It waits no longer than 5 s in all: then the error wraps
// [ErrNoAnswer] or [ErrDown], unless it is ctx that has ended. f is given a
// context that ends with the store which is asked.
func Ask[R any](ctx context.Context, s *Server, f func(context.Context) (R, error)) (R, error) {
	return request(ctx, s, func(in *instance) context.Context { return in.serves }, f)
}

// Change is Ask for something that changes what is stored. f may be called again
// after it has succeeded, when the store has failed at the same time.
func Change[R any](ctx context.Context, s *Server, f func(context.Context) (R, error)) (R, error) {
	return request(ctx, s, func(in *instance) context.Context { return in.writes }, f)
}

func request[R any](ctx context.Context, s *Server, by func(*instance) context.Context, f func(context.Context) (R, error)) (R, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, tryFor, ErrNoAnswer)
	defer cancel()
	return Retry(ctx, s, func() (R, error) {
		s.mu.Lock()
		in := s.cur
		s.mu.Unlock()
		try, cancel := s.bound(ctx, by)
		defer cancel()
		r, err := f(try)
		// A store that is being closed says of what it has that it does not, and
		// a failed one has what never reached the disk: neither is an answer.
		if in == nil || by(in).Err() != nil {
			return r, fmt.Errorf("%w: %v", ErrDown, err)
		}
		return r, err
	})
}

// stays says whether err stays what it is. What JetStream itself answers does,
// unless it is out of order at the moment.
func stays(err error, final []error) bool {
	for _, f := range final {
		if errors.Is(err, f) {
			return true
		}
	}
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrMaxPayload) {
		return true
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.Code < 500
}

// Fail has the store taken for failed and opened again, as after a failed
// write. It is for tests of what has to live through that.
func (s *Server) Fail() {
	s.mu.Lock()
	in := s.cur
	s.mu.Unlock()
	if in != nil {
		in.log.Errorf("critical write error: there is none, but somebody wants to see what follows")
	}
}
