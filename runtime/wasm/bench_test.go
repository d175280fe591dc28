package wasm

import (
	"context"
	"fmt"
	"os"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/wasm/wasmtest"
)

func benchContext(b *testing.B) context.Context {
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	b.Cleanup(cancel)
	return ctx
}

func isolated(c *functions.Config) { c.Isolation = functions.IsolationInvocation }

// BenchmarkInvoke is a whole invocation; bare is nothing but the two calls into
// the guest, with the message already there.
func BenchmarkInvoke(b *testing.B) {
	code := wasmtest.Guest(b)
	for _, bb := range []struct {
		name    string
		n, size int
		change  func(*functions.Config)
	}{
		{"1x200B", 1, 200, nil}, {"100x1KB", 100, 1024, nil}, {"1000x1KB", 1000, 1024, nil},
		{"isolated/1x200B", 1, 200, isolated}, {"isolated/100x1KB", 100, 1024, isolated},
	} {
		b.Run(bb.name, func(b *testing.B) {
			v := version()
			if bb.change != nil {
				bb.change(&v.Config)
			}
			e := start(b, load(b, code), v, nil)
			inv := &runtime.Invocation{ID: "i", Batch: batchOf("noop", bb.n, bb.size)}
			ctx := benchContext(b)
			for b.Loop() {
				if r := e.Invoke(ctx, inv); r.Outcome != runtime.Done {
					b.Fatal(r.ErrorMessage)
				}
			}
		})
	}
	b.Run("bare", func(b *testing.B) {
		e := start(b, load(b, code), version(), nil).(*environment)
		e.enter(benchContext(b), time.Time{})
		defer e.leave()
		batch := batchOf("noop", 100, 1024)
		h := runtime.BatchHeader{RequestID: "i", FunctionARN: e.arn}
		n := runtime.BinarySize(batch, h)
		message := runtime.AppendBinary(nil, batch, h)
		for b.Loop() {
			e.stack[0] = uint64(n)
			if err := e.in.alloc.CallWithStack(&e.calls, e.stack[:]); err != nil {
				b.Fatal(err)
			}
			to, _ := e.in.mem.at(uint32(e.stack[0]), uint32(n))
			copy(to, message)
			e.stack[0] = uint64(n)
			if err := e.in.batch.CallWithStack(&e.calls, e.stack[:]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkClone is a second environment of a version, and its end.
func BenchmarkClone(b *testing.B) {
	for name, code := range map[string][]byte{"go": wasmtest.Guest(b), "small": assembly{data: []byte(nothingReturned)}.reactor(returns(16)).bytes()} {
		b.Run(name, func(b *testing.B) {
			p := load(b, code)
			start(b, p, version(), nil)
			ctx := benchContext(b)
			var took []time.Duration
			for b.Loop() {
				began := time.Now()
				e, err := p.New(ctx, version(), nil)
				if err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
				e.Close()
			}
			report(b, took)
		})
	}
}

// report adds the median and the tenth percentile, which a busy machine changes less.
func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/10].Nanoseconds())/1000, "us-p10")
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1000, "us-p50")
}

// BenchmarkReset is going back to the image, without what the next call costs more.
func BenchmarkReset(b *testing.B) {
	p := load(b, wasmtest.Guest(b))
	for _, bb := range []struct {
		name  string
		n     int
		again bool
	}{{"1x200B", 1, false}, {"100x1KB", 100, false}, {"100x1KB/again", 100, true}} {
		b.Run(bb.name, func(b *testing.B) {
			e := start(b, p, version(), nil).(*environment)
			inv := &runtime.Invocation{ID: "i", Batch: batchOf("noop", bb.n, 1000)}
			ctx := benchContext(b)
			var took []time.Duration
			for b.Loop() {
				if r := e.Invoke(ctx, inv); r.Outcome != runtime.Done {
					b.Fatal(r.ErrorMessage)
				}
				began := time.Now()
				e.renew(bb.again)
				took = append(took, time.Since(began))
			}
			report(b, took)
		})
	}
}

// BenchmarkIdle tells what memory of its own an idle environment has that has
// served a batch and been at rest.
func BenchmarkIdle(b *testing.B) {
	p := load(b, wasmtest.Guest(b))
	start(b, p, version(), nil)
	inv := &runtime.Invocation{ID: "i", Batch: batchOf("noop", 100, 1024)}
	ctx := benchContext(b)
	var busy, rest int
	for b.Loop() {
		v, err := p.New(ctx, version(), nil)
		if err != nil {
			b.Fatal(err)
		}
		e := v.(*environment)
		e.Invoke(ctx, inv)
		busy = privateDirty(b, e.in.mem.buf)
		e.Rest()
		rest = privateDirty(b, e.in.mem.buf)
		e.Close()
	}
	b.ReportMetric(float64(busy), "KB-after-a-batch")
	b.ReportMetric(float64(rest), "KB-at-rest")
}

// privateDirty is what of a piece of memory no other process or mapping shares, in KB.
func privateDirty(t testing.TB, b []byte) (kb int) {
	t.Helper()
	if goruntime.GOOS != "linux" {
		t.Skip("there is no /proc/self/smaps to ask on " + goruntime.GOOS)
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	from := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
	to := from + uint64(len(b))
	inside := false
	for l := range strings.Lines(string(smaps)) {
		var lo, hi uint64
		var n int
		if k, _ := fmt.Sscanf(l, "%x-%x ", &lo, &hi); k == 2 {
			inside = lo < to && hi > from
		} else if k, _ := fmt.Sscanf(l, "Private_Dirty: %d kB", &n); k == 1 && inside {
			kb += n
		}
	}
	return kb
}
