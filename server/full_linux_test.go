package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/runtime/wasm/wasmtest"
)

// TestAFullDiskLosesNothingAcknowledgedAndTheServiceRecovers has a server on a
// small disk of its own. Somebody else fills that to the last byte, in one go and
// past any reserve, while a producer puts and a trigger runs, and makes room again.
func TestAFullDiskLosesNothingAcknowledgedAndTheServiceRecovers(t *testing.T) {
	if out, err := exec.Command("unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt").CombinedOutput(); err != nil {
		t.Skipf("no small disk can be mounted here: %v: %s", err, out)
	}
	disk := t.TempDir()
	data := filepath.Join(disk, "data")
	v := onSmallDisk(t, disk, data)
	defer v.kill()
	// The disk as the server sees it; others see an empty directory.
	seen := fmt.Sprintf("/proc/%d/root%s", v.cmd.Process.Pid, disk)
	if _, err := os.Stat(filepath.Join(seen, "data", "lock")); err != nil {
		t.Skipf("another process's disk cannot be reached here: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // only against hanging
	defer cancel()
	c := v.client
	if _, err := c.CreateStream(ctx, admin.StreamSpec{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.CreateFunction(ctx, "f", wasmtest.Guest(t), admin.FunctionSpec{}, nil); err != nil {
		t.Fatal(err)
	}
	fn := "f"
	if _, err := c.CreateTrigger(ctx, admin.TriggerSpec{Name: "t", Stream: "s", Function: &fn, From: "trim-horizon", Retries: ptr(0), BatchSize: ptr(10)}); err != nil {
		t.Fatal(err)
	}

	var acked []string // sequence numbers
	put := func(patience time.Duration) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		res, err := c.Put(ctx, "s", []admin.Entry{{Key: "k", Text: "noop;" + strings.Repeat("x", 10_000)}})
		if err == nil && res.Failed == 0 {
			acked = append(acked, res.Results[0].Sequence)
			return nil
		}
		if err == nil {
			err = res.Results[0].Error
		}
		return err
	}
	for range 20 {
		if err := put(time.Minute); err != nil {
			t.Fatalf("before the disk is full: %v", err)
		}
	}
	for round := range 3 {
		ballast := filepath.Join(seen, "ballast")
		full := make(chan error, 1)
		go func() { full <- fillUp(ballast) }()
		// What was under way when the disk became full is answered when its fate
		// is known, which may be when there is room again: that one is given up
		// here. What comes later is refused at once.
		for refused := 0; refused < 5; {
			err := put(time.Second)
			e, ok := errors.AsType[*admin.Error](err)
			switch {
			case err == nil, ok && e.Code == admin.CodeWaitExpired:
			case ok && e.Code == admin.CodeUnavailable && e.Retryable:
				refused++
			default:
				t.Fatalf("round %d, full: %v, want %s", round, err, admin.CodeUnavailable)
			}
			if ctx.Err() != nil {
				t.Fatal("no put is ever refused")
			}
		}
		if err := <-full; err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		for recovered := 0; recovered < 10; {
			switch err := put(time.Minute); {
			case err == nil:
				recovered++
			case ctx.Err() != nil:
				t.Fatalf("round %d: no put succeeds again: %v", round, err)
			default:
				time.Sleep(5 * time.Millisecond)
			}
		}
	}
	tr, err := c.WaitDrained(ctx, "t", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var stored []string
	err = c.Tail(ctx, "s", admin.TailOptions{}, func(l admin.TailLine) error {
		if l.Record != nil {
			stored = append(stored, l.Record.Sequence)
		}
		if l.Gap != nil {
			return fmt.Errorf("gap %+v", l.Gap)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for _, sequence := range stored {
		if at < len(acked) && acked[at] == sequence {
			at++
		}
	}
	if at != len(acked) {
		t.Errorf("%d records acknowledged, only %d of them stored in that order, among %d", len(acked), at, len(stored))
	}
	if s := tr.Shards[0]; s.Done != uint64(len(stored)) || s.Buried != 0 || s.Lag != 0 {
		t.Errorf("%d of %d records done, %d buried", s.Done, len(stored), s.Buried)
	}
	t.Logf("%d acknowledged, %d stored", len(acked), len(stored))
}

// onSmallDisk starts a server in a mount namespace of its own, on a disk of 96 MB.
func onSmallDisk(t *testing.T, disk, data string) *victim {
	t.Helper()
	return launch(t, exec.Command("unshare", "-rm", "sh", "-c", `mount -t tmpfs -o size=96m none "$0" && exec "$1"`, disk, os.Args[0]), data)
}

// fillUp writes until there is no byte left.
func fillUp(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	return nil
}
