package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime/sandbox"
	"github.com/wasmill/wasmill/server"
)

// TestMain lets the test binary be wasmill itself, for what starts it as a process.
func TestMain(m *testing.M) {
	if sandbox.Child(os.Args) {
		return
	}
	if os.Getenv("WASMILL_TEST_AS_MAIN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// world is a server in memory and a user at a shell.
type world struct {
	*testing.T
	server *server.Server
	vars   map[string]string
	in     string
	tty    bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := server.Start(t.Context(), server.Config{Memory: true, Listen: "127.0.0.1:0", Version: "test", AllowReset: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &world{T: t, server: s, vars: map[string]string{"WASMILL_ENDPOINT": s.Endpoint(), "HOME": t.TempDir()}}
}

// nowhere is a world without a server.
func nowhere(t *testing.T) *world {
	return &world{T: t, vars: map[string]string{"WASMILL_ENDPOINT": "http://127.0.0.1:1", "HOME": t.TempDir()}}
}

type outcome struct {
	status   int
	out, err string
}

func (w *world) run(args ...string) outcome {
	w.Helper()
	return w.runCtx(w.Context(), args...)
}

func (w *world) runCtx(ctx context.Context, args ...string) outcome {
	w.Helper()
	var out, err buffer
	status := run(ctx, w.env(&out, &err), args)
	return outcome{status, out.String(), err.String()}
}

func (w *world) env(out, err io.Writer) env {
	return env{in: strings.NewReader(w.in), out: out, err: err, getenv: func(k string) string { return w.vars[k] }, inTTY: w.tty, errTTY: w.tty}
}

// ok runs a command that must succeed, and returns what it printed.
func (w *world) ok(args ...string) string {
	w.Helper()
	o := w.run(args...)
	if o.status != 0 {
		w.Fatalf("wasmill %s: exit status %d\n%s%s", strings.Join(args, " "), o.status, o.out, o.err)
	}
	return o.out
}

// fails runs a command that must end with that status and code.
func (w *world) fails(status int, code string, args ...string) outcome {
	w.Helper()
	o := w.run(args...)
	if o.status != status || !strings.Contains(o.out+o.err, code) {
		w.Errorf("wasmill %s: exit status %d, want %d and %s\n%s%s", strings.Join(args, " "), o.status, status, code, o.out, o.err)
	}
	return o
}

// data runs a command with --json and returns its envelope's data.
func data[T any](w *world, args ...string) T {
	w.Helper()
	var e struct {
		Status string
		Data   T
	}
	out := w.ok(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &e); err != nil || e.Status != "ok" {
		w.Fatalf("wasmill %s --json: %v\n%s", strings.Join(args, " "), err, out)
	}
	return e.Data
}

func (w *world) file(name, content string) string {
	w.Helper()
	path := filepath.Join(w.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		w.Fatal(err)
	}
	return path
}

// buffer is written by a command and read by the test meanwhile.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// until waits for something to be printed; the test's own deadline bounds it.
func (b *buffer) until(t *testing.T, text string) {
	t.Helper()
	for !strings.Contains(b.String(), text) {
		select {
		case <-t.Context().Done():
			t.Fatalf("never printed %q; printed\n%s", text, b.String())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// answers is a WASI command that prints text; traps is one that traps.
func answers(text string) string {
	body := []byte{0x41, 1, 0x41, 0, 0x41, 1, 0x41, 8, 0x10, 0, 0x1a} // fd_write(1, 0, 1, 8)
	iovec := binary.LittleEndian.AppendUint32(nil, 16)
	iovec = binary.LittleEndian.AppendUint32(iovec, uint32(len(text)))
	return module(body, string(iovec)+"\x00\x00\x00\x00\x00\x00\x00\x00"+text)
}

func traps() string { return module([]byte{0x00}, "x") }

func module(body []byte, memory string) string {
	section := func(id byte, content string) string { return string([]byte{id}) + leb(len(content)) + content }
	name := func(s string) string { return leb(len(s)) + s }
	code := "\x00" + string(body) + "\x0b"
	return "\x00asm\x01\x00\x00\x00" +
		section(1, "\x02\x60\x00\x00\x60\x04\x7f\x7f\x7f\x7f\x01\x7f") +
		section(2, "\x01"+name("wasi_snapshot_preview1")+name("fd_write")+"\x00\x01") +
		section(3, "\x01\x00") +
		section(5, "\x01\x00\x01") +
		section(7, "\x02"+name("memory")+"\x02\x00"+name("_start")+"\x00\x01") +
		section(10, "\x01"+leb(len(code))+code) +
		section(11, "\x01\x00\x41\x00\x0b"+name(memory))
}

func leb(n int) string {
	var b []byte
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return string(append(b, byte(n)))
}
