package wasm

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	goruntime "runtime"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// An instance is a module with a memory of its own.
type instance struct {
	mod     api.Module
	mem     *memory
	console *console
	// ctx is that of the call under way: the sleep of a guest is called back
	// without one, and must end at the deadline. Only the goroutine in the call touches it.
	ctx context.Context
}

// start instantiates a module; none of its exports is called. What the guest
// does wrong is an error for failure to explain. The caller closes the instance,
// whatever the error.
func (p *program) start(ctx context.Context, v functions.Version, console *console, configure func(wazero.ModuleConfig) wazero.ModuleConfig) (*instance, error) {
	in := &instance{mem: newMemory(limit(v)), console: console, ctx: ctx}
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions().
		WithStdout(&console.out).WithStderr(&console.err).
		WithSysWalltime().WithSysNanotime().WithNanosleep(in.sleep).WithOsyield(goruntime.Gosched).
		WithRandSource(rand.Reader)
	for _, kv := range p.variables(v) {
		config = config.WithEnv(kv[0], kv[1])
	}
	if configure != nil {
		config = configure(config)
	}
	ctx = experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(func(capacity, most uint64) experimental.LinearMemory {
		in.mem.allocate(capacity, most)
		return in.mem
	}))
	var err error
	in.mod, err = p.engine.runtime.InstantiateModule(ctx, p.code, config)
	return in, err
}

// limit is the most memory a function may have, in bytes.
func limit(v functions.Version) uint64 {
	c := v.Config
	c.Memory = cmp.Or(c.Memory, functions.MinMemory)
	return uint64(c.MemoryBytes())
}

func timeout(v functions.Version) time.Duration {
	return cmp.Or(v.Config.Timeout, functions.DefaultTimeout)
}

// sleep is the guest's. It never outlasts the call that the guest is in.
func (in *instance) sleep(ns int64) {
	if ns <= 0 {
		return
	}
	t := time.NewTimer(time.Duration(ns))
	defer t.Stop()
	select {
	case <-t.C:
	case <-in.ctx.Done():
	}
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

// failure says what err, from a call into the guest with ctx, means.
func (in *instance) failure(ctx context.Context, err error, allowed time.Duration) *runtime.InitError {
	f := &runtime.InitError{Outcome: runtime.FunctionError, Type: runtime.TypeExit}
	exit, exited := errors.AsType[*sys.ExitError](err)
	switch {
	case exited && exit.ExitCode() == sys.ExitCodeDeadlineExceeded && errors.Is(ctx.Err(), context.DeadlineExceeded):
		f.Outcome, f.Type = runtime.Timeout, runtime.TypeTimeout
		f.Message = fmt.Sprintf("Task timed out after %.2f seconds", allowed.Seconds())
		return f
	case exited && exit.ExitCode() == sys.ExitCodeContextCanceled && ctx.Err() != nil:
		f.Outcome, f.Type = runtime.Infrastructure, runtime.TypeInternal
		f.Message = fmt.Sprintf("the invocation was cancelled: %v", context.Cause(ctx))
		return f
	case exited && exit.ExitCode() == 0:
		f.Message = "Runtime exited without providing a reason"
	case exited:
		f.Message = fmt.Sprintf("Runtime exited with error: exit status %d", int32(exit.ExitCode()))
	default:
		trap, stack, _ := strings.Cut(err.Error(), "\n")
		f.Message = "Runtime exited with error: trap: " + strings.TrimPrefix(trap, "wasm error: ")
		f.Stack = frames(stack)
	}
	if in.mem.refused.Load() && (!exited || exit.ExitCode() != 0) {
		f.Type = runtime.TypeOutOfMemory
		f.Message = fmt.Sprintf("Runtime exited with error: out of memory: it has %d MB and wanted more; raise the function's memory", in.mem.limit>>20)
	}
	if in.console.cry != "" {
		f.Message += " (" + in.console.cry + ")"
	}
	return f
}

// frames turns the engine's stack trace into a JSON array, the innermost 32.
func frames(trace string) []byte {
	var lines []string
	for l := range strings.Lines(trace) {
		if l = strings.TrimSpace(l); l != "" && l != "wasm stack trace:" && len(lines) < 32 {
			lines = append(lines, l)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	out, _ := json.Marshal(lines) // strings cannot fail
	return out
}

// fail makes a result of a failure.
func fail(r *runtime.Result, f *runtime.InitError, requestID string) {
	r.Fail(f.Outcome, f.Type, requestID, "%s", f.Message)
	r.StackTrace = f.Stack
}

// A bounded buffer keeps the first most bytes and remembers that there were more.
type bounded struct {
	b    []byte
	most int
	over bool
}

func (w *bounded) Write(p []byte) (int, error) {
	if n := w.most - len(w.b); len(p) > n {
		w.b, w.over = append(w.b, p[:n]...), true
	} else {
		w.b = append(w.b, p...)
	}
	return len(p), nil
}

var _ io.Writer = (*bounded)(nil)
