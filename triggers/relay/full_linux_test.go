package relay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/dlq/morgue"
	"github.com/wasmill/wasmill/dlq/store"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
)

const fullDir = "WASMILL_TEST_FULL"

// TestAFullDiskLosesNoCommitAndDoublesNoLetter commits dead letters until the
// disk has no byte left, frees some, and goes on, in a mount namespace of its own.
func TestAFullDiskLosesNoCommitAndDoublesNoLetter(t *testing.T) {
	unshare, err := exec.LookPath("unshare")
	if err == nil {
		err = exec.Command(unshare, "-rm", "mount", "-t", "tmpfs", "none", "/mnt").Run()
	}
	if err != nil {
		t.Skipf("no small disk can be mounted here: %v", err)
	}
	cmd := exec.Command(unshare, "-rm", os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), fullDir+"="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "PASS\n") {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func init() {
	children[fullDir] = func(dir string) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := fill(ctx, dir); err != nil {
			return err
		}
		fmt.Println("PASS")
		return nil
	}
}

func fill(ctx context.Context, dir string) error {
	if err := syscall.Mount("small", dir, "tmpfs", 0, "size=32m"); err != nil {
		return err
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 16<<20), 0o600); err != nil {
		return err
	}
	// A reserve of one byte: only the disk itself refuses.
	srv, err := natsd.Start(ctx, natsd.Options{Dir: filepath.Join(dir, "data"), Reserve: 1})
	if err != nil {
		return err
	}
	defer func() { _ = srv.Close(ctx) }()
	journals := journal.Open(srv, journal.Options{})
	if err := journals.Create(ctx, mapping); err != nil {
		return err
	}
	m, err := morgue.Open(ctx, srv, journals)
	if err != nil {
		return err
	}
	r := New(srv, journals, m, nil, nil)
	running, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		_ = r.Run(running)
		close(done)
	}()
	defer func() {
		stop()
		<-done
	}()

	j, _, err := journals.Take(ctx, source0, "full")
	if err != nil {
		return err
	}
	var freed atomic.Bool
	go func() {
		// Space returns once nothing can be written for want of it.
		for srv.Admit(natsd.Journal, 128<<10) == nil && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		_ = os.Remove(ballast)
		freed.Store(true)
	}()
	failed, after := 0, 0
	var n uint64
	for ; after < 10; n++ {
		size := 100 << 10
		if freed.Load() {
			size, after = 100, after+1
		}
		l := letter(n, size)
		for {
			err := j.Commit(ctx, triggers.Checkpoint{Next: n + 1}, journal.Cargo{Letters: []dlq.Letter{l}})
			if err == nil {
				break
			}
			if errors.Is(err, triggers.ErrFenced) || ctx.Err() != nil {
				return err
			}
			failed++
			time.Sleep(time.Millisecond) // the reserve may be what refuses
		}
	}
	if err := r.Drained(ctx, mapping); err != nil {
		return err
	}
	var want uint64
	err = m.Graves().Scan(ctx, nil, func(msg store.Message) error {
		if msg.Letter.Number != want {
			return fmt.Errorf("letter %d where %d should be", msg.Letter.Number, want)
		}
		want++
		return nil
	})
	if err != nil {
		return err
	}
	cp, err := journals.Peek(ctx, source0)
	if err != nil {
		return err
	}
	if cp.Next != n || want != n {
		return fmt.Errorf("checkpoint %d and %d letters, %d were acknowledged", cp.Next, want, n)
	}
	fmt.Println(n, "commits,", failed, "calls failed,", srv.Restarts(), "restarts of the store")
	return nil
}
