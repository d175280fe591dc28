package log

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

func TestLogsAreMadeAndDeletedAcrossRestartsOfTheStore(t *testing.T) {
	srv := natsdtest.New(t)
	s := New(srv, Options{})
	defer s.Close(context.Background())
	if err := s.Create(t.Context(), "kept", 1); err != nil {
		t.Fatal(err)
	}
	natsdtest.Failing(t, srv, 5, func(i int) {
		id := fmt.Sprint("log", i)
		if err := s.Create(t.Context(), id, 1); err != nil {
			t.Errorf("create: %v", err)
		}
		if ids, err := s.IDs(t.Context()); err != nil || !slices.Contains(ids, "kept") || !slices.Contains(ids, id) {
			t.Errorf("list: %v, %v: want kept and %s", ids, err, id)
		}
		if err := s.Create(t.Context(), id, 2); !errors.Is(err, ErrExists) {
			t.Errorf("create with another epoch: %v", err)
		}
		if err := s.Delete(t.Context(), id); err != nil {
			t.Errorf("delete: %v", err)
		}
	})
	if ids, err := s.IDs(t.Context()); err != nil || !slices.Equal(ids, []string{"kept"}) {
		t.Errorf("in the end %v, %v: want kept", ids, err)
	}
}

// A store that stays away is told of as one, whichever way the wait for it ended.
func TestLogsOfAStoreThatIsAwayAreUnavailable(t *testing.T) {
	ctx := t.Context()
	for _, err := range []error{
		fmt.Errorf("%w: %w", natsd.ErrDown, context.DeadlineExceeded),
		fmt.Errorf("%w: %w", natsd.ErrNoAnswer, context.DeadlineExceeded),
	} {
		if got := unavailable(ctx, err); !errors.Is(got, ErrUnavailable) {
			t.Errorf("%v is no ErrUnavailable", got)
		}
	}
}
