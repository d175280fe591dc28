package wasm

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/sys"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// command is the environment of a WASI command. Each invocation is an instance
// of its own, so it can always be used again.
type command struct {
	p       *program
	version functions.Version
	logs    runtime.LogWriter
	event   []byte
}

func (c *command) Reusable() bool { return true }

func (c *command) Close() error { return nil }

// Invoke runs the command with the event on its standard input.
func (c *command) Invoke(ctx context.Context, inv *runtime.Invocation) (res runtime.Result) {
	began := time.Now()
	event := inv.Payload
	if inv.Batch != nil {
		c.event = runtime.AppendJSON(c.event[:0], inv.Batch)
		event = c.event
	}
	console := newConsole(c.logs)
	console.begin(inv.ID)
	out := &bounded{most: runtime.MaxResponse + 1}
	o := c.p.engine.opts
	deadline, _ := ctx.Deadline()
	in, err := c.p.start(ctx, c.version, console, func(m wazero.ModuleConfig) wazero.ModuleConfig {
		return m.WithStdin(bytes.NewReader(event)).WithStdout(out).WithArgs("bootstrap").
			WithEnv("_X_WASMILL_REQUEST_ID", inv.ID).
			WithEnv("_X_WASMILL_FUNCTION_ARN", c.version.ARN(o.Account, o.Region)).
			WithEnv("_X_WASMILL_DEADLINE_MS", strconv.FormatInt(deadline.UnixMilli(), 10))
	})
	if err == nil {
		_, err = in.mod.ExportedFunction("_start").Call(ctx)
	}
	if exit, ok := errors.AsType[*sys.ExitError](err); ok && exit.ExitCode() == 0 {
		err = nil
	}
	console.end()
	switch {
	case err != nil:
		fail(&res, in.failure(ctx, err, timeout(c.version)), inv.ID)
	case out.over || len(bytes.TrimSpace(out.b)) > runtime.MaxResponse:
		tooLarge(&res)
	default:
		res.Response = bytes.TrimSpace(out.b)
	}
	res.MaxMemory = int64(in.mem.size.Load())
	if err := in.close(); err != nil && res.Outcome == runtime.Done {
		res.Fail(runtime.Infrastructure, runtime.TypeInternal, inv.ID, "closing the instance: %v", err)
	}
	res.Duration = time.Since(began)
	return res
}
