// Package wasmtest builds modules for tests that want real code behind an
// engine or a pool.
package wasmtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

const testdata = "github.com/wasmill/wasmill/runtime/wasm/wasmtest/testdata/"

// Guest is a module of grade batch in Go. What it does is the first word of the
// payload, a JSON string, or of the first record's data up to a semicolon: see
// testdata/guest.
func Guest(t testing.TB) []byte { return build(t, "guest", "-buildmode=c-shared") }

// Command is a module of grade command in Go: see testdata/command.
func Command(t testing.TB) []byte { return build(t, "command") }

var built = struct {
	sync.Mutex
	code map[string][]byte
}{code: map[string][]byte{}}

// build builds a program of testdata, once a process.
func build(t testing.TB, name string, flags ...string) []byte {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if code := built.code[name]; code != nil {
		return code
	}
	out := filepath.Join(t.TempDir(), name+".wasm")
	args := append([]string{"build", "-ldflags=-s", "-o", out}, flags...)
	cmd := exec.Command("go", append(args, testdata+name)...)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", name, err, b)
	}
	code, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	built.code[name] = code
	return code
}
