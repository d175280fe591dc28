package natsd_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"github.com/wasmill/wasmill/internal/natsd"
)

func init() { children["full"] = fullDisk }

// TestAFullDiskLosesNothingAndHeals runs fullDisk in a mount namespace of its
// own, where it may mount a small disk.
func TestAFullDiskLosesNothingAndHeals(t *testing.T) {
	if out, err := exec.Command("unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt").CombinedOutput(); err != nil {
		t.Skipf("no small disk can be mounted here: %v: %s", err, out)
	}
	for _, way := range []string{"ballast", "purge"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			cmd := child(t, "full", "NATSD_TEST_DIR="+t.TempDir(), "NATSD_TEST_WAY="+way)
			cmd.Args = append([]string{"unshare", "-rm"}, cmd.Args...)
			path, err := exec.LookPath("unshare")
			if err != nil {
				t.Fatal(err)
			}
			cmd.Path, cmd.Stderr = path, nil
			if out, err := cmd.CombinedOutput(); err != nil || !strings.HasSuffix(string(out), "PASS\n") {
				t.Fatalf("%v\n%s", err, out)
			} else if testing.Verbose() {
				t.Logf("%s", out)
			}
		})
	}
}

func fullDisk() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute) // only against hanging
	defer cancel()
	if err := fillAndHeal(ctx, os.Getenv("NATSD_TEST_DIR"), os.Getenv("NATSD_TEST_WAY")); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("PASS")
}

// fillAndHeal fills the disk to the last byte several times, and frees it by
// removing another's file, or by purging a stream of our own.
func fillAndHeal(ctx context.Context, dir, way string) error {
	if err := unix.Mount("small", dir, "tmpfs", 0, "size=24m"); err != nil {
		return err
	}
	ballast := filepath.Join(dir, "ballast")
	o := natsd.Options{
		Dir:     filepath.Join(dir, "data"),
		Reserve: 1, // so that only the disk itself refuses
		Logger:  slog.New(slog.NewTextHandler(os.Stdout, nil)),
	}
	s, err := natsd.Start(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close(ctx) }()
	for _, name := range []string{"KEPT", "WASTE"} {
		if err := makeStream(ctx, s, name); err != nil {
			return err
		}
	}
	w := &writer{s: s}
	for round := range 2 {
		if way == "ballast" {
			if err := os.WriteFile(ballast, make([]byte, 6<<20), 0o600); err != nil {
				return err
			}
		} else {
			for range 24 {
				if _, err := s.JS().Publish(ctx, "WASTE", make([]byte, 256<<10)); err != nil {
					return fmt.Errorf("round %d: waste: %w", round, err)
				}
			}
		}
		before := w.acked
		restarts := s.Restarts()
		for n := 0; ; n++ {
			if err := w.publish(ctx); err != nil {
				fmt.Println("round", round, "disk full after", n, "messages:", err)
				break
			}
		}
		if used, free, _ := disk(dir); free > 512<<10 {
			return fmt.Errorf("round %d: refused at %d used, %d free: not a full disk", round, used, free)
		}
		if w.acked == before {
			return fmt.Errorf("round %d: nothing was acknowledged before the disk was full", round)
		}
		s.Failed(errors.New("no acknowledgement"))
		if way == "ballast" {
			// What is stored can be read meanwhile.
			if err := w.check(ctx, before+1); err != nil {
				return fmt.Errorf("round %d: disk full: %w", round, err)
			}
			if err := s.Admit(natsd.Data, 1<<20); !errors.Is(err, natsd.ErrDown) && !errors.Is(err, natsd.ErrReserve) {
				return fmt.Errorf("round %d: admitted with %v to a full disk", round, err)
			}
			if err := os.Remove(ballast); err != nil {
				return err
			}
		}
		if err := s.Healthy(ctx); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		if s.Restarts() == restarts {
			return fmt.Errorf("round %d: healthy without having been opened again", round)
		}
		if way == "purge" {
			st, err := s.JS().Stream(ctx, "WASTE")
			if err != nil {
				return err
			}
			if err := st.Purge(ctx); err != nil {
				return fmt.Errorf("round %d: purge: %w", round, err)
			}
		}
		if err := w.settle(ctx); err != nil {
			return fmt.Errorf("round %d: settle: %w", round, err)
		}
		if err := w.check(ctx, 1); err != nil {
			return fmt.Errorf("round %d: healed: %w", round, err)
		}
		// Make room for the next round.
		st, err := s.JS().Stream(ctx, "KEPT")
		if err != nil {
			return err
		}
		w.first = w.acked - 8
		if err := st.Purge(ctx, jetstream.WithPurgeSequence(w.first)); err != nil {
			return fmt.Errorf("round %d: purge: %w", round, err)
		}
	}
	if err := s.Close(ctx); err != nil {
		return err
	}
	if s, err = natsd.Start(ctx, o); err != nil {
		return err
	}
	w.s = s
	return w.check(ctx, 1)
}

func disk(dir string) (used, free uint64, err error) {
	var st syscall.Statfs_t
	err = syscall.Statfs(dir, &st)
	return (st.Blocks - st.Bfree) * uint64(st.Bsize), st.Bavail * uint64(st.Bsize), err
}

// writer publishes one message after the other, as an appender does: each
// expects the one before it to be the last, and none is sent before the one
// before it is settled.
type writer struct {
	s     *natsd.Server
	first uint64 // oldest that was not purged
	acked uint64 // sequence of the last acknowledged message
}

// get reads one message; the store may be opened again meanwhile.
func (w *writer) get(ctx context.Context, seq uint64) (*jetstream.RawStreamMsg, error) {
	for {
		try, cancel := w.s.ReadContext(ctx)
		st, err := w.s.JS().Stream(try, "KEPT")
		var m *jetstream.RawStreamMsg
		if err == nil {
			m, err = st.GetMsg(try, seq)
		}
		cancel()
		if _, answered := errors.AsType[*jetstream.APIError](err); err == nil || answered {
			return m, err
		}
		fmt.Println("read:", err)
		w.s.Failed(err)
		if err := w.s.Healthy(ctx); err != nil {
			return nil, err
		}
	}
}

func message(seq uint64) []byte {
	b := make([]byte, 0, 128<<10)
	for sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, seq)); len(b) < cap(b); sum = sha256.Sum256(sum[:]) {
		b = append(b, sum[:]...)
	}
	return b
}

func (w *writer) publish(ctx context.Context) error {
	ctx, cancel := w.s.WriteContext(ctx)
	defer cancel()
	ack, err := w.s.JS().Publish(ctx, "KEPT", message(w.acked+1), jetstream.WithExpectLastSequence(w.acked))
	if err == nil {
		w.acked = ack.Sequence
	}
	return err
}

// settle finds out about the message whose acknowledgement did not come, or
// sends it again.
func (w *writer) settle(ctx context.Context) error {
	for {
		m, err := w.get(ctx, w.acked+1)
		switch {
		case err == nil && bytes.Equal(m.Data, message(w.acked+1)):
			w.acked++
			return nil
		case err == nil:
			return fmt.Errorf("message %d is somebody else's", w.acked+1)
		case !errors.Is(err, jetstream.ErrMsgNotFound):
			return err
		}
		if err = w.publish(ctx); err == nil {
			return nil
		}
		fmt.Println("settle:", err)
		w.s.Failed(err)
		if err := w.s.Healthy(ctx); err != nil {
			return err
		}
	}
}

// check reads everything acknowledged from seq on.
func (w *writer) check(ctx context.Context, seq uint64) error {
	for seq = max(seq, w.first); seq <= w.acked; seq++ {
		m, err := w.get(ctx, seq)
		if err != nil {
			return fmt.Errorf("acknowledged message %d of %d: %w", seq, w.acked, err)
		}
		if !bytes.Equal(m.Data, message(seq)) {
			return fmt.Errorf("acknowledged message %d is not as it was written", seq)
		}
	}
	return nil
}
