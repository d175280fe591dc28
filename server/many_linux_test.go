package server

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/api/admin"
)

// small is a module of grade command that answers nothing, unlike any with another tag.
func small(tag string) []byte {
	m := []byte("\x00asm\x01\x00\x00\x00" +
		"\x01\x04\x01\x60\x00\x00" + // type 0: func()
		"\x03\x02\x01\x00" + // function 0 of it
		"\x05\x03\x01\x00\x01" + // a page of memory
		"\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x00" +
		"\x0a\x04\x01\x02\x00\x0b") // that does nothing
	custom := append([]byte{byte(len("tag"))}, "tag"+tag...)
	return append(append(m, 0, byte(len(custom))), custom...)
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestDeploysLeaveNothingBehind deploys one function many times while it is invoked:
// each invocation is answered by some version of it, and afterwards no more is left
// of them than of the first.
func TestDeploysLeaveNothingBehind(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds; not run with -short")
	}
	dir := t.TempDir()
	c := client(t, start(t, Config{Data: dir}))
	ctx := t.Context()
	if _, _, err := c.CreateFunction(ctx, "f", small("0"), admin.FunctionSpec{}, nil); err != nil {
		t.Fatal(err)
	}
	invoke := func() {
		if r, err := c.Invoke(ctx, "f", "", []byte(`{}`)); err != nil || r.Outcome != "done" {
			t.Errorf("%+v, %v", r, err)
		}
	}
	invoke()
	files, processes, grown := descriptors(t), len(children(t, os.Getpid())), goruntime.NumGoroutine()
	stop, enough := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for stop.Err() == nil && !t.Failed() {
				invoke()
			}
		})
	}
	for i := range 200 {
		if _, _, err := c.UpdateCode(ctx, "f", small(fmt.Sprint(i+1)), nil); err != nil {
			t.Fatal(err)
		}
	}
	enough()
	wg.Wait()
	until(t, 15*time.Second, func() string {
		return fmt.Sprintf("processes %d, files %d, goroutines %d; before: %d, %d, %d", len(children(t, os.Getpid())), descriptors(t), goruntime.NumGoroutine(), processes, files, grown)
	}, func() bool {
		return len(children(t, os.Getpid())) <= processes+1 && descriptors(t) <= files+8 && goruntime.NumGoroutine() <= grown+16
	})
}

// TestAHundredFunctionsStartAtOnce has them all wanted at the same moment, as when a
// server comes up with records waiting: each start-up has its time, and none is blamed
// on its function.
func TestAHundredFunctionsStartAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute; not run with -short")
	}
	dir := t.TempDir()
	s, err := Start(t.Context(), Config{Data: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, s)
	ctx := t.Context()
	streams(t, c, 1)
	const many = 100
	for i := range many {
		name := fmt.Sprint("f", i)
		if _, _, err := c.CreateFunction(ctx, name, troubleCode(t), admin.FunctionSpec{Emits: &[]string{"out"}}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := c.CreateTrigger(ctx, admin.TriggerSpec{Name: name, Stream: "in", Function: &name, From: "trim-horizon", Retries: ptr(0), Paused: true}); err != nil {
			t.Fatal(err)
		}
	}
	put(t, c, admin.Entry{Key: "a", Text: "good"})
	if n := len(children(t, os.Getpid())); n > 2 {
		t.Errorf("%d processes, though no function has anything to do", n)
	}
	c.Close()
	closeIt(t, s)

	s = start(t, Config{Data: dir})
	c = client(t, s)
	for i := range many {
		if _, err := c.ResumeTrigger(ctx, fmt.Sprint("f", i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range many {
		drained(t, c, fmt.Sprint("f", i))
	}
	if letters, _, err := c.Letters(ctx, admin.LetterFilter{}); err != nil || len(letters) > 0 {
		t.Errorf("%d dead letters, %v", len(letters), err)
	}
	if got := read(t, c, "out"); len(got["a"]) != many {
		t.Errorf("%d functions have answered", len(got["a"]))
	}
	if n := len(children(t, os.Getpid())); n > many+2 {
		t.Errorf("%d processes", n)
	}
	closeIt(t, s)
	if pids := children(t, os.Getpid()); len(pids) > 0 {
		t.Errorf("the server has left processes %v", pids)
	}
}

// busy is a server in a process of its own whose functions spin and sleep.
func busy(t *testing.T) *victim {
	t.Helper()
	v := launch(t, exec.Command(os.Args[0]), t.TempDir(), "WASMILL_TEST_GRACE=3s")
	t.Cleanup(v.kill)
	streams(t, v.client, 1)
	put(t, v.client, admin.Entry{Key: "a", Text: "good"})
	for _, word := range []string{"spin", "sleep"} {
		if _, _, err := v.client.CreateFunction(t.Context(), word, troubleCode(t), admin.FunctionSpec{Timeout: ptr(admin.Duration(10 * time.Minute))}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := v.client.CreateStream(t.Context(), admin.StreamSpec{Name: "in-" + word}); err != nil {
			t.Fatal(err)
		}
		if _, err := v.client.Put(t.Context(), "in-"+word, []admin.Entry{{Key: "a", Text: word}}); err != nil {
			t.Fatal(err)
		}
		if _, err := v.client.CreateTrigger(t.Context(), admin.TriggerSpec{Name: word, Stream: "in-" + word, From: "trim-horizon", Function: &word}); err != nil {
			t.Fatal(err)
		}
		until(t, 30*time.Second, func() string { return word + " does not run" }, func() bool {
			runs := false
			if err := v.client.Logs(t.Context(), word, 10, false, func(l admin.LogLine) error { runs = true; return nil }); err != nil {
				t.Fatal(err)
			}
			return runs
		})
	}
	return v
}

func TestNoProcessOutlivesAServer(t *testing.T) {
	for name, end := range map[string]func(*victim){
		"killed": (*victim).kill,
		"stopped": func(v *victim) {
			_ = v.stdin.Close()
			if err := v.cmd.Wait(); err != nil && !strings.Contains(v.stderr.String(), "cut short") {
				t.Errorf("it did not stop well: %v\n%s", err, v.stderr)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := busy(t)
			pids := children(t, v.cmd.Process.Pid)
			if len(pids) < 2 {
				t.Fatalf("processes %v, want one for each function", pids)
			}
			end(v)
			until(t, 5*time.Second, func() string { return "processes are left" }, func() bool {
				for _, pid := range pids {
					line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
					if strings.Contains(string(line), "sandbox") {
						return false
					}
				}
				return true
			})
		})
	}
}

func TestResetEndsProcesses(t *testing.T) {
	c := client(t, start(t, Config{Memory: true, AllowReset: true}))
	for range 2 {
		streams(t, c, 1)
		mill(t, c, "f", admin.FunctionSpec{}, admin.TriggerSpec{})
		put(t, c, admin.Entry{Key: "a", Text: "good"}, admin.Entry{Key: "a", Text: "spin"})
		until(t, 30*time.Second, func() string { return "no process" }, func() bool { return len(children(t, os.Getpid())) > 0 })
		if err := c.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
		until(t, 5*time.Second, func() string { return fmt.Sprint("left: ", children(t, os.Getpid())) }, func() bool { return len(children(t, os.Getpid())) == 0 })
	}
}
