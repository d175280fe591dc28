package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

func TestLedgersAreMadeAndRemovedAcrossRestartsOfTheStore(t *testing.T) {
	srv := natsdtest.New(t)
	ctx := context.Background()
	kept := At(srv, "KEPT")
	if err := kept.Create(ctx, "k.kept.>"); err != nil {
		t.Fatal(err)
	}
	natsdtest.Failing(t, srv, 5, func(i int) {
		name := fmt.Sprint("NEW", i)
		l := At(srv, name)
		if err := l.Create(ctx, "k."+name+".>"); err != nil {
			t.Errorf("create: %v", err)
		}
		if err := l.Create(ctx, "k."+name+".>"); err != nil {
			t.Errorf("create again: %v", err)
		}
		if names, err := Streams(ctx, srv, "k.>"); err != nil || !slices.Contains(names, "KEPT") || !slices.Contains(names, name) {
			t.Errorf("streams: %v, %v: want KEPT and %s", names, err, name)
		}
		// Appends and reads may fail, but must not take the stream for gone.
		if _, _, err := kept.Last(ctx, "k.kept.a"); errors.Is(err, ErrNoStream) {
			t.Errorf("read: %v", err)
		}
		if _, err := kept.Append(ctx, "k.kept.a", Unfenced, nil); errors.Is(err, ErrNoStream) {
			t.Errorf("append: %v", err)
		}
		if err := l.Remove(ctx); err != nil {
			t.Errorf("remove: %v", err)
		}
	})
	if _, err := At(srv, "NEW0").Append(ctx, "k.NEW0.a", 0, nil); !errors.Is(err, ErrNoStream) {
		t.Errorf("append to what was removed: %v, want ErrNoStream", err)
	}
}
