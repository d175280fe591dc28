package module

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// BenchmarkCounting tells what counting costs: x is the time of the rewritten
// module to that of the same module as it is, taken by turns, at p10.
func BenchmarkCounting(b *testing.B) {
	locals := []byte{1, 1, 0x7e}
	next := cat([]byte{0x20, 0}, i32Const(1), []byte{0x6a, 0x22, 0}, i32Const(32768), []byte{0x49, 0x0d, 0, 0x0b, 0x20, 1})
	// Where a tight loop comes to lie in memory makes a third: the sum of many
	// places tells more.
	const places = 16
	a := assembly{}
	calls := func(name string, code []byte) {
		for i := range places {
			f := fn{params: i32, results: i64, locals: locals, code: code}
			a.funcs = append(a.funcs, f, fn{params: i32, code: bytes.Repeat([]byte{0x20, 0, 0x20, 0, 0x36, 0, 0}, 1+i*3%7)})
		}
		var all []byte
		for i := range places {
			all = cat(all, []byte{0x20, 0, 0x10}, leb(uint64(len(a.funcs)-2*(places-i))), []byte{0x1a})
		}
		a.funcs = append(a.funcs, fn{name: name, params: i32, code: all})
	}
	calls("hash a byte", cat([]byte{0x03, 0x40, 0x20, 1, 0x20, 0, 0x31, 0, 0, 0x85}, i64Const(1099511628211), []byte{0x7e, 0x21, 1}, next))
	calls("add a word", cat([]byte{0x03, 0x40, 0x20, 1, 0x20, 0, 0x29, 0, 0, 0x7c, 0x21, 1}, next))
	self := leb(uint64(len(a.funcs)))
	again := func(less int32) []byte { return cat([]byte{0x20, 0}, i32Const(less), []byte{0x6b, 0x10}, self) }
	a.funcs = append(a.funcs, fn{name: "call", params: i32, results: i64, code: cat([]byte{0x20, 0}, i32Const(2), []byte{0x48, 0x04, 0x7e, 0x20, 0, 0xad, 0x05}, again(1), again(2), []byte{0x7c, 0x0b})})
	small := a.bytes()
	b.Run("loop=hash", func(b *testing.B) { byTurns(b, small, "hash a byte", 2, 0) })
	b.Run("loop=add", func(b *testing.B) { byTurns(b, small, "add a word", 2, 0) })
	b.Run("calls=fibonacci", func(b *testing.B) { byTurns(b, small, "call", 1, 20) })
	guest := buildGo(b, "work")
	b.Run("go=hash", func(b *testing.B) { byTurns(b, guest, "hash", 1) })
	b.Run("go=json", func(b *testing.B) { byTurns(b, guest, "decode", 1) })
}

func byTurns(b *testing.B, code []byte, name string, times int, args ...uint64) {
	ctx := context.Background()
	e := newEngine(b, compiler(), 10_000)
	wasi_snapshot_preview1.MustInstantiate(ctx, e.Runtime)
	plain, err := e.start(code)
	if err != nil {
		b.Fatal(err)
	}
	counted, err := e.startRewritten(rewrite(b, code))
	if err != nil {
		b.Fatal(err)
	}
	var took [2][]time.Duration
	for b.Loop() {
		for i, r := range []*running{plain, counted} {
			if f := r.ExportedFunction("_initialize"); f != nil && len(took[i]) == 0 {
				if _, err := f.Call(ctx); err != nil {
					b.Fatal(err)
				}
			}
			f := r.ExportedFunction(name)
			from := time.Now()
			for range times {
				if _, err := f.Call(ctx, args...); err != nil {
					b.Fatal(err)
				}
			}
			took[i] = append(took[i], time.Since(from))
		}
	}
	low := func(d []time.Duration) float64 { slices.Sort(d); return float64(d[len(d)/10]) }
	b.ReportMetric(low(took[1])/low(took[0]), "x")
}

// BenchmarkRewrite takes a Go module apart and builds it anew.
func BenchmarkRewrite(b *testing.B) {
	code := buildGo(b, "work")
	b.SetBytes(int64(len(code)))
	for b.Loop() {
		rewrite(b, code)
	}
}

// buildGo builds a program of testdata as a reactor.
func buildGo(b *testing.B, name string) []byte {
	b.Helper()
	out := filepath.Join(b.TempDir(), name+".wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s", "-o", out, "./testdata/"+name)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, text)
	}
	code, err := os.ReadFile(out)
	if err != nil {
		b.Fatal(err)
	}
	return code
}
