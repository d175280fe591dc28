package natsd_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

func TestWhatCannotBeMendedIsNotRepeated(t *testing.T) {
	s := natsdtest.Memory(t)
	refused := errors.New("refused")
	passing := errors.New("passing")
	for _, tt := range []struct {
		name  string
		errs  []error // of one try after the other, then nil
		final []error
		tries int
		want  error
	}{
		{"an answer", nil, nil, 1, nil},
		{"a failure that passes", []error{passing, passing}, nil, 3, nil},
		{"an error of the caller's", []error{fmt.Errorf("put: %w", refused)}, []error{refused}, 1, refused},
		{"another one", []error{refused}, []error{passing}, 2, nil},
		{"a refusal of JetStream", []error{jetstream.ErrStreamNotFound}, nil, 1, jetstream.ErrStreamNotFound},
		{"JetStream out of order", []error{&jetstream.APIError{Code: 503}}, nil, 2, nil},
	} {
		tries := 0
		_, err := natsd.Retry(t.Context(), s, func() (int, error) {
			if tries++; tries <= len(tt.errs) {
				return 0, tt.errs[tries-1]
			}
			return 0, nil
		}, tt.final...)
		if tries != tt.tries || !errors.Is(err, tt.want) {
			t.Errorf("%s: %d tries, %v: want %d, %v", tt.name, tries, err, tt.tries, tt.want)
		}
	}
}

func TestTheEndOfARetryTellsWhy(t *testing.T) {
	s := natsdtest.Memory(t)
	enough, broken := errors.New("enough"), errors.New("broken")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := natsd.Retry(ctx, s, func() (int, error) {
		cancel(enough)
		return 0, broken
	})
	if !errors.Is(err, enough) || !errors.Is(err, broken) {
		t.Errorf("%v: want what failed, and the context's cause", err)
	}
}

// A store that is being closed says that it has nothing, and a failed one shows
// what it has not written.
func TestAnAnswerOfAStoreThatFailedMeanwhileIsNotBelieved(t *testing.T) {
	s := natsdtest.New(t)
	calls := 0
	got, err := natsd.Change(t.Context(), s, func(ctx context.Context) (int, error) {
		if calls++; calls == 1 {
			s.Fail()
			<-ctx.Done()
			return calls, jetstream.ErrStreamNotFound
		}
		return calls, nil
	})
	if err != nil || got != 2 || s.Restarts() != 1 {
		t.Errorf("change: answer of call %d, %v, after %d restarts: want the second one's after one", got, err, s.Restarts())
	}
	calls = 0
	got, err = natsd.Ask(t.Context(), s, func(ctx context.Context) (int, error) {
		if calls++; calls == 1 {
			s.Fail()
			<-ctx.Done() // the store goes on answering until it is closed
		}
		return calls, nil
	})
	if err != nil || got != 2 || s.Restarts() != 2 {
		t.Errorf("ask: answer of call %d, %v, after %d restarts: want the second one's after two", got, err, s.Restarts())
	}
}
