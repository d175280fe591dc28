package wasm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/sys"

	"github.com/wasmill/wasmill/runtime"
)

// failure says what err, from a call into the guest with ctx, means.
func (e *environment) failure(ctx context.Context, err error, allowed time.Duration) *runtime.InitError {
	if errors.Is(err, errStopped) {
		return stopped(ctx, allowed)
	}
	f := &runtime.InitError{Outcome: runtime.FunctionError, Type: runtime.TypeExit}
	exit, exited := errors.AsType[*sys.ExitError](err)
	switch {
	case exited && exit.ExitCode() == 0:
		f.Message = "Runtime exited without providing a reason"
	case exited:
		f.Message = fmt.Sprintf("Runtime exited with error: exit status %d", int32(exit.ExitCode()))
	default:
		trap, stack, _ := strings.Cut(err.Error(), "\n")
		f.Message = "Runtime exited with error: trap: " + strings.TrimPrefix(trap, "wasm error: ")
		f.Stack = frames(stack)
	}
	if e.in.mem.refused.Load() && (!exited || exit.ExitCode() != 0) {
		f.Type = runtime.TypeOutOfMemory
		f.Message = fmt.Sprintf("Runtime exited with error: out of memory: it has %d MB and wanted more; raise the function's memory", e.in.mem.limit>>20)
	}
	if e.console.cry != "" {
		f.Message += " (" + e.console.cry + ")"
	}
	return f
}

// stopped is the failure of a guest that was stopped, or is not begun any more.
func stopped(ctx context.Context, allowed time.Duration) *runtime.InitError {
	if err := ctx.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return ours("the invocation was cancelled: %v", context.Cause(ctx))
	}
	return &runtime.InitError{Outcome: runtime.Timeout, Type: runtime.TypeTimeout,
		Message: fmt.Sprintf("Task timed out after %.2f seconds", allowed.Seconds())}
}

// ours is a failure that the function has no part in.
func ours(format string, a ...any) *runtime.InitError {
	return &runtime.InitError{Outcome: runtime.Infrastructure, Type: runtime.TypeInternal, Message: fmt.Sprintf(format, a...)}
}

// malformed: whoever answers so may be broken inside, and starts afresh.
func malformed(format string, a ...any) *runtime.InitError {
	return &runtime.InitError{Outcome: runtime.FunctionError, Type: runtime.TypeMalformed, Message: fmt.Sprintf(format, a...)}
}

func tooLarge() *runtime.InitError {
	return &runtime.InitError{Outcome: runtime.FunctionError, Type: runtime.TypeTooLarge,
		Message: fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", runtime.MaxResponse)}
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
