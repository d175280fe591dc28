package log

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wasmill/wasmill/internal/natsd"
)

const fullDirVariable = "WASMILL_TEST_LOG_FULL"

func init() {
	children[fullDirVariable] = func(dir string) error {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
		defer cancel()
		if err := fillAndHeal(ctx, dir); err != nil {
			return err
		}
		fmt.Println("PASS")
		return nil
	}
}

// TestFullDisk runs fillAndHeal in a mount namespace of its own, where it may mount
// a small disk.
func TestFullDisk(t *testing.T) {
	if out, err := exec.Command("unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt").CombinedOutput(); err != nil {
		t.Skipf("no small disk can be mounted here: %v: %s", err, out)
	}
	t.Parallel()
	cmd := exec.Command("unshare", "-rm", os.Args[0])
	cmd.Env = append(os.Environ(), fullDirVariable+"="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasSuffix(string(out), "PASS\n") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func troubled(logs []*Log) bool {
	for _, l := range logs {
		l.mu.Lock()
		err := l.trouble
		l.mu.Unlock()
		if err != nil {
			return true
		}
	}
	return false
}

// fillAndHeal appends until the disk is full, makes room, appends again, and
// compares what the logs hold with what was acknowledged.
func fillAndHeal(ctx context.Context, dir string) error {
	if err := unix.Mount("small", dir, "tmpfs", 0, "size=32m"); err != nil {
		return err
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 16<<20), 0o600); err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stdout, nil))
	o := natsd.Options{Dir: filepath.Join(dir, "data"), Reserve: 1, Logger: logger}
	srv, err := natsd.Start(ctx, o)
	if err != nil {
		return err
	}
	s := New(srv, Options{Logger: logger})
	logs := make([]*Log, 2)
	acked := make([]map[uint64]string, 2)
	for i := range logs {
		id := fmt.Sprint("log", i)
		acked[i] = map[uint64]string{}
		if err := s.Create(ctx, id, 7); err != nil {
			return err
		}
		if logs[i], err = s.Open(ctx, id); err != nil {
			return err
		}
	}
	number := 0
	// put appends one record to each log and returns an error if one was refused.
	put := func() error {
		var started []*Pending
		var data []string
		for i, l := range logs {
			data = append(data, fmt.Sprintf("%d-%d-%s", i, number, strings.Repeat("x", 64<<10)))
			p := &Pending{records: []Record{{Data: []byte(data[i])}}, done: make(chan struct{})}
			if err := l.enqueue(p); err != nil { // not by Start: the disk itself shall refuse
				p = finished(err)
			}
			started = append(started, p)
		}
		number++
		var refused error
		for i, p := range started {
			places, err := p.Wait(ctx)
			if err == nil {
				acked[i][places[0].Number] = data[i]
			}
			refused = errors.Join(refused, err)
		}
		return refused
	}
	// What was sent when the disk became full is not answered before its fate is
	// known, and that may be when there is room again: so that is made beside it.
	room := make(chan error, 1)
	go func() {
		for !troubled(logs) && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		room <- os.Remove(ballast)
	}()
	for srv.Restarts() == 0 {
		if err := put(); err != nil && !errors.Is(err, ErrUnavailable) {
			return fmt.Errorf("disk full: %w, want ErrUnavailable", err)
		}
	}
	fmt.Println("full after", number, "puts")
	if err := <-room; err != nil {
		return err
	}
	for again := 0; again < 20; { // callers repeat what was refused
		if err := put(); err == nil {
			again++
		} else if !errors.Is(err, ErrUnavailable) {
			return err
		} else if err := srv.Healthy(ctx); err != nil {
			return err
		}
	}
	check := func(s *Set) error {
		for i := range logs {
			l, err := s.Open(ctx, fmt.Sprint("log", i))
			if err != nil {
				return err
			}
			stored := map[uint64]string{}
			for seq := uint64(1); ; seq++ {
				f, err := l.At(ctx, seq)
				if errors.Is(err, ErrNotYet) {
					break
				}
				if err != nil {
					return err
				}
				for k, r := range f.Records {
					stored[f.First+uint64(k)] = string(r.Data)
				}
			}
			// Exactly: what was refused must not be there either.
			if !maps.Equal(stored, acked[i]) {
				return fmt.Errorf("log %d holds %d records, %d were acknowledged", i, len(stored), len(acked[i]))
			}
		}
		return nil
	}
	if err := check(s); err != nil {
		return fmt.Errorf("healed: %w", err)
	}
	if err := s.Close(ctx); err != nil {
		return err
	}
	if err := srv.Close(ctx); err != nil {
		return err
	}
	if srv, err = natsd.Start(ctx, o); err != nil {
		return err
	}
	defer srv.Close(ctx)
	s = New(srv, Options{})
	defer s.Close(ctx)
	if err := check(s); err != nil {
		return fmt.Errorf("started again: %w", err)
	}
	return nil
}
