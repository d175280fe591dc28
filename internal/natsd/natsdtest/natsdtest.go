// Package natsdtest starts storage for tests: the real one, on a directory of
// the test or in memory.
package natsdtest

import (
	"context"
	"sync"
	"sync/atomic"
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

// Failing has the store of s, which is on files, fail and be opened again n times,
// one after the other, while f is called over and over by several goroutines: at
// least once after the last time. f gets numbers from 0 on.
func Failing(t testing.TB, s *natsd.Server, n int, f func(i int)) {
	t.Helper()
	var count atomic.Int64
	var wg sync.WaitGroup
	over := make(chan struct{}) // closed here
	for range 4 {
		wg.Go(func() {
			for last := false; !last; {
				select {
				case <-over:
					last = true
				default:
				}
				f(int(count.Add(1) - 1))
			}
		})
	}
	for range n {
		before, calls := s.Restarts(), count.Load()
		for count.Load() < calls+8 {
			time.Sleep(time.Millisecond)
		}
		s.Fail()
		for s.Restarts() == before {
			time.Sleep(time.Millisecond)
		}
	}
	close(over)
	wg.Wait()
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
