package wasm

import (
	"context"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime/module"
)

// An instance is a module with a memory of its own.
type instance struct {
	mod     api.Module
	mem     *memory
	fuel    api.MutableGlobal
	globals []api.MutableGlobal

	alloc, batch, json, reseed, command api.Function // nil: it has none
}

// plainConfig: what a guest reaches we supply ourselves, so the engine has
// nothing to be told.
var plainConfig = wazero.NewModuleConfig().WithName("").WithStartFunctions()

// instantiate makes an instance; nothing of the guest's runs. With an image it
// is a clone. limit is what its memory may grow to.
func (p *program) instantiate(ctx context.Context, limit uint64, from *image) (in *instance, err error) {
	c := p.compiled
	in = &instance{mem: newMemory(limit, from)}
	in.mem.heap = p.engine.opts.copying
	defer func() {
		if r := recover(); r != nil { // the system has no memory for it
			err = fmt.Errorf("instantiate: %v", r)
		}
		if err != nil {
			_ = in.close() // the error is what matters
			in = nil
		}
	}()
	if in.mod, err = p.engine.runtime.InstantiateModule(experimental.WithMemoryAllocator(context.WithoutCancel(ctx), in.mem), c.code, plainConfig); err != nil {
		return in, err
	}
	global := func(name string) api.MutableGlobal {
		g, ok := in.mod.ExportedGlobal(name).(api.MutableGlobal)
		if !ok {
			err = fmt.Errorf("instantiate: no global %s", name)
		}
		return g
	}
	in.fuel = global(module.FuelName)
	in.globals = make([]api.MutableGlobal, len(c.globals))
	for i, name := range c.globals {
		in.globals[i] = global(name)
	}
	if err != nil {
		return in, err
	}
	in.functions()
	switch {
	case from != nil:
		in.rewind(from)
	case c.cloneable:
		for _, s := range c.segments {
			copy(in.mem.buf[s.Offset:], s.Data)
		}
	}
	return in, nil
}

// functions takes the exports anew: each has a stack of its own, which may have
// grown to megabytes when a guest was stopped.
func (in *instance) functions() {
	f := in.mod.ExportedFunction
	in.alloc, in.batch, in.json, in.reseed, in.command = f("wm_alloc"), f("wm_batch"), f("wm_json"), f("wm_reseed"), f("_start")
}

// capture makes an image of an instance in which nothing runs.
func (in *instance) capture(copying bool) *image {
	globals := make([]uint64, len(in.globals))
	for i, g := range in.globals {
		globals[i] = g.Get()
	}
	i := capture(in.mem.buf, globals, copying)
	in.mem.adopt(i)
	return i
}

// rewind sets the globals to what the image has.
func (in *instance) rewind(i *image) {
	for n, g := range in.globals {
		g.Set(i.globals[n])
	}
}

// reset makes the instance what the image says, if its memory has not grown. again
// is for memory.reset.
func (in *instance) reset(again bool) bool {
	if !in.mem.reset(again) {
		return false
	}
	in.mem.refused.Store(false)
	in.rewind(in.mem.image)
	return true
}

// close frees the instance. No call may be under way.
func (in *instance) close() error {
	var err error
	if in.mod != nil {
		err = in.mod.Close(context.Background())
	}
	in.mem.release()
	return err
}

// starts are the functions that are called once, in this order. The first is the
// module's own start function, by the name that the rewriter exports it under.
func (c *compiled) starts() (names []string) {
	if c.start != "" {
		names = append(names, c.start)
	}
	if c.abi != functions.ABICommand {
		names = append(names, "_initialize", "wm_abi_version", "wm_start", "wm_freeze")
	}
	return names
}
