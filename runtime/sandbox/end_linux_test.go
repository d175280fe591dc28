package sandbox

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime"
)

// server is what TestMain is with an argument for it: a server in the middle of an
// invocation that does not end.
func server(dir string, portable bool) {
	o := Options{Portable: portable}
	o.CacheDir = dir
	e, err := New(context.Background(), o)
	if err != nil {
		panic(err)
	}
	p, _, err := e.Load(context.Background(), hostCalls(), nil)
	if err != nil {
		panic(err)
	}
	env, err := p.New(context.Background(), version(), nil)
	if err != nil {
		panic(err)
	}
	go env.Invoke(context.Background(), say(""))
	fmt.Println(env.(*environment).process.cmd.Process.Pid)
	select {}
}

func TestServersDeathLeavesNoChild(t *testing.T) {
	for _, kind := range []string{"linux", "portable"} {
		t.Run(kind, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "server", t.TempDir(), kind)
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(line))
			if err != nil {
				t.Fatal(err)
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			for end := time.Now().Add(patient); running(pid); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("process %d lives on", pid)
				}
			}
		})
	}
}

// running: one that has ended and that nobody has waited for yet is not.
func running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

// A child that talks nonsense, and one that says nothing at all.
func TestChildThatBreaksTheProtocolIsEnded(t *testing.T) {
	good := newEngine(t)
	code := writes(4)
	if _, err := good.Check(t.Context(), code, nil); err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{
		"a frame of 4 GB":   `printf '\377\377\377\377l\0\0\0' >&3; sleep 100`,
		"not JSON":          `printf '\2\0\0\0l\0\0\0xx' >&3; sleep 100`,
		"another kind":      `printf '\2\0\0\0q\0\0\0{}' >&3; sleep 100`,
		"half a frame":      `printf '\377\0\0\0l' >&3`,
		"nothing":           `exit 0`,
		"a refusal to load": `printf '\16\0\0\0l\0\0\0{"error":"no"}' >&3; sleep 100`,
	} {
		t.Run(name, func(t *testing.T) {
			p := loaded(t, newEngine(t, func(o *Options) { o.Command = []string{"/bin/sh", "-c", script} }), code)
			env, err := p.New(t.Context(), version(), nil)
			if _, its := err.(*runtime.InitError); err == nil || its {
				t.Errorf("%v %v", env, err)
			}
		})
	}
}
