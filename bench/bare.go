package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/wasmill/wasmill/runtime/module"
)

// bare is a guest in the engine alone: the module as it was built, or rewritten,
// with nothing around it that could stop it, start it again or look at its answer.
type bare struct {
	rt           wazero.Runtime
	mod          api.Module
	alloc, batch api.Function
}

// newBare compiles and starts a module with those environment variables.
func newBare(ctx context.Context, code []byte, rewrite bool, env map[string]string) (b *bare, err error) {
	b = &bare{rt: wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, b.rt); err != nil {
		return nil, err
	}
	host := b.rt.NewHostModuleBuilder("wasmill")
	for name, sig := range module.Imports {
		host.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(_ context.Context, stack []uint64) { stack[0] = 0 }),
			[]api.ValueType(sig.Params), []api.ValueType(sig.Results)).Export(name)
	}
	host.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(_ context.Context, stack []uint64) { stack[0] = 10_000 }),
		nil, []api.ValueType{api.ValueTypeI32}).Export("yield")
	if _, err := host.Instantiate(ctx); err != nil {
		return nil, err
	}
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions().WithSysWalltime().WithSysNanotime().WithRandSource(rand.Reader)
	for k, v := range env {
		config = config.WithEnv(k, v)
	}
	var segments []module.Segment
	if rewrite {
		m, err := module.Read(code)
		if err != nil {
			return nil, err
		}
		r, err := m.Rewrite()
		if err != nil {
			return nil, err
		}
		code, segments = r.Code, r.Segments
	}
	if b.mod, err = b.rt.InstantiateWithConfig(ctx, code, config); err != nil {
		return nil, err
	}
	for _, s := range segments {
		if !b.mod.Memory().Write(s.Offset, s.Data) {
			return nil, fmt.Errorf("a data segment at %d does not fit", s.Offset)
		}
	}
	for _, name := range []string{"_initialize", "wm_start", "wm_freeze"} {
		if f := b.mod.ExportedFunction(name); f != nil {
			if _, err := f.Call(ctx); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	b.alloc, b.batch = b.mod.ExportedFunction("wm_alloc"), b.mod.ExportedFunction("wm_batch")
	return b, nil
}

// call hands a request over and says how long the answer took.
func (b *bare) call(ctx context.Context, request []byte) (time.Duration, error) {
	began := time.Now()
	var stack [1]uint64
	stack[0] = uint64(len(request))
	if err := b.alloc.CallWithStack(ctx, stack[:]); err != nil {
		return 0, err
	}
	if !b.mod.Memory().Write(uint32(stack[0]), request) {
		return 0, fmt.Errorf("wm_alloc gave %d", stack[0])
	}
	stack[0] = uint64(len(request))
	if err := b.batch.CallWithStack(ctx, stack[:]); err != nil {
		return 0, err
	}
	return time.Since(began), nil
}

func (b *bare) close() { _ = b.rt.Close(context.Background()) }
