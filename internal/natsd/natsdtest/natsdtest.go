// Package natsdtest starts storage for tests: the real one, on a directory of
// the test or in memory.
package natsdtest

import (
	"context"
	"testing"
	"time"

	"github.com/wasmill/wasmill/internal/natsd"
)

// New is storage on files in a directory of the test, closed at its end.
func New(t testing.TB) *natsd.Server {
	t.Helper()
	return Start(t, natsd.Options{Dir: t.TempDir()})
}

// Memory is storage in memory, closed at the end of the test.
func Memory(t testing.TB) *natsd.Server {
	t.Helper()
	return Start(t, natsd.Options{Memory: true})
}

// Start is storage as o says, closed at the end of the test.
func Start(t testing.TB, o natsd.Options) *natsd.Server {
	t.Helper()
	s, err := natsd.Start(context.Background(), o)
	if err != nil {
		t.Fatalf("start storage: %v", err)
	}
	t.Cleanup(func() { Close(t, s) })
	return s
}

// Close closes s, for tests that start again on its directory.
func Close(t testing.TB, s *natsd.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Errorf("close storage: %v", err)
	}
}
