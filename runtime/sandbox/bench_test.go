package sandbox

import (
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/wasm"
	"github.com/wasmill/wasmill/runtime/wasm/wasmtest"
)

// What the process boundary costs: the same calls with and without it.
func BenchmarkInvoke(b *testing.B) {
	code := wasmtest.Guest(b)
	near, err := wasm.NewEngine(b.Context(), wasm.Options{CacheDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	here, _, err := near.Load(b.Context(), code, nil)
	if err != nil {
		b.Fatal(err)
	}
	inside, err := here.New(b.Context(), version(), nil)
	if err != nil {
		b.Fatal(err)
	}
	p := loaded(b, newEngine(b), code)
	for _, size := range []struct {
		name    string
		records int
	}{{"1x1KB", 1}, {"100x1KB", 100}} {
		for _, side := range []struct {
			name string
			env  runtime.Environment
		}{{"in process", inside}, {"in a child", start(b, p, version(), nil)}} {
			b.Run(size.name+" "+side.name, func(b *testing.B) {
				inv := &runtime.Invocation{ID: "i", Batch: batchOf("noop", size.records, 1000)}
				for b.Loop() {
					if r := invoke(b, side.env, inv, 10*time.Second); r.Outcome != runtime.Done {
						b.Fatal(r)
					}
				}
			})
		}
	}
}

// How long it takes to have an environment: with a process that stands ready, and
// with one that is to be started.
func BenchmarkNew(b *testing.B) {
	code := wasmtest.Guest(b)
	e := newEngine(b)
	b.Run("started ahead", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			p, _, err := e.Load(b.Context(), code, nil)
			if err != nil {
				b.Fatal(err)
			}
			<-p.(*program).spare.ready
			b.StartTimer()
			env, err := p.New(b.Context(), version(), nil)
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			env.Close()
			p.Close()
			b.StartTimer()
		}
	})
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			p, _, err := e.Load(b.Context(), code, nil)
			if err != nil {
				b.Fatal(err)
			}
			env, err := p.New(b.Context(), version(), nil)
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			env.Close()
			p.Close()
			b.StartTimer()
		}
	})
	b.Run("clone", func(b *testing.B) {
		p, _, err := e.Load(b.Context(), code, nil)
		if err != nil {
			b.Fatal(err)
		}
		start(b, p, version(), nil)
		for b.Loop() {
			env, err := p.New(b.Context(), version(), nil)
			if err != nil {
				b.Fatal(err)
			}
			env.Close()
		}
	})
}
