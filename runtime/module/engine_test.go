package module

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// engine is wazero with what modules of tests import. fuel is what yield gives;
// it counts how often it was asked.
type engine struct {
	t testing.TB
	wazero.Runtime
	fuel   int32
	yields int
}

func newEngine(t testing.TB, config wazero.RuntimeConfig, fuel int32) *engine {
	t.Helper()
	ctx := context.Background()
	e := &engine{t: t, Runtime: wazero.NewRuntimeWithConfig(ctx, config), fuel: fuel}
	t.Cleanup(func() { e.Close(ctx) })
	build := func(module string, functions map[string]any) {
		b := e.NewHostModuleBuilder(module)
		for name, f := range functions {
			b.NewFunctionBuilder().WithFunc(f).Export(name)
		}
		if _, err := b.Instantiate(ctx); err != nil {
			t.Fatal(err)
		}
	}
	build(Host, map[string]any{YieldName: func() int32 { e.yields++; return e.fuel }})
	build("test", map[string]any{"add": func(a, b int32) int32 { return a*31 + b }})
	return e
}

// running is an instance, of a module as it is or rewritten.
type running struct {
	api.Module
	e    *engine
	code wazero.CompiledModule
}

// start instantiates code as it is.
func (e *engine) start(code []byte) (*running, error) {
	ctx := context.Background()
	c, err := e.CompileModule(ctx, code)
	if err != nil {
		return nil, err
	}
	i, err := e.InstantiateModule(ctx, c, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		c.Close(ctx)
		return nil, err
	}
	return &running{i, e, c}, nil
}

// startRewritten does what the engine has to do for a rewritten module.
func (e *engine) startRewritten(w *Rewritten) (*running, error) {
	ctx := context.Background()
	r, err := e.start(w.Code)
	if err != nil {
		return nil, err
	}
	for _, s := range w.Segments {
		if !r.Memory().Write(s.Offset, s.Data) {
			e.t.Errorf("segment at %d does not lie in memory", s.Offset)
		}
	}
	if w.Start != "" {
		if _, err := r.ExportedFunction(w.Start).Call(ctx); err != nil {
			r.close()
			return nil, err
		}
	}
	return r, nil
}

func (r *running) close() {
	r.Close(context.Background())
	r.code.Close(context.Background())
}

// call gives results and the trap, its trace left out.
func (r *running) call(name string, args ...uint64) ([]uint64, string) {
	out, err := r.ExportedFunction(name).Call(context.Background(), args...)
	return out, trap(err)
}

func trap(err error) string {
	if err == nil {
		return ""
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return first
}

// same compares values; all that are not numbers are one.
func same(kind byte, a, b uint64) bool {
	switch kind {
	case 0x7f:
		return uint32(a) == uint32(b)
	case 0x7d:
		x, y := math.Float32frombits(uint32(a)), math.Float32frombits(uint32(b))
		return uint32(a) == uint32(b) || x != x && y != y
	case 0x7c:
		x, y := math.Float64frombits(a), math.Float64frombits(b)
		return a == b || x != x && y != y
	}
	return a == b
}

func rewrite(t testing.TB, code []byte) *Rewritten {
	t.Helper()
	m, err := Read(code)
	if err != nil {
		t.Fatal(err)
	}
	w, err := m.Rewrite()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func compiler() wazero.RuntimeConfig { return wazero.NewRuntimeConfig() }
