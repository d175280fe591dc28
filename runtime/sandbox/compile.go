package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	goruntime "runtime"
	"strings"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// compile has a child compile a module into the cache, one at a time.
func (e *Engine) compile(ctx context.Context, info functions.Code, code []byte, progress func(runtime.Progress)) (functions.Code, error) {
	gaveUp := func() error { return fmt.Errorf("sandbox: load: %w", context.Cause(ctx)) }
	select {
	case e.compiling <- struct{}{}:
	case <-ctx.Done():
		return info, gaveUp()
	case <-e.life.Done():
		return info, errClosed
	}
	defer func() { <-e.compiling }()
	dir, err := e.cache.begin(code)
	if err != nil {
		return info, err
	}
	defer os.RemoveAll(dir) // gone by then if it went well
	c := &compilation{engine: e, dir: dir, progress: make(chan runtime.Progress, 1), done: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(e.life, func() { cancel(errClosed) })
	defer stop()
	go func() {
		goruntime.LockOSThread() // see process.run
		defer close(c.done)
		c.run(ctx)
	}()
	progress(runtime.Progress{Stage: "check", Total: info.Size})
	for running := true; running; {
		select {
		case p := <-c.progress:
			progress(p)
		case <-c.done:
			running = false
		}
	}
	switch {
	case c.report != nil && c.report.Error == "":
		info.ABI = functions.ABI(c.report.ABI)
		e.lacks(c.report.Missing)
	case ctx.Err() != nil:
		return info, gaveUp() // who gave up, not the code
	case c.report != nil && c.report.Refused:
		return info, fmt.Errorf("%w: %s", functions.ErrCode, strings.TrimPrefix(c.report.Error, functions.ErrCode.Error()+": "))
	case c.report != nil:
		return info, errors.New("sandbox: compile: " + c.report.Error)
	default:
		return info, c.end
	}
	switch info.ABI {
	case functions.ABIBatch, functions.ABIJSON, functions.ABICommand:
	default:
		return info, errors.New("sandbox: compile: the child named no grade")
	}
	progress(runtime.Progress{Stage: "compile", Done: info.Size, Total: info.Size})
	return info, e.cache.commit(dir, info)
}

// compilation is a compile child.
type compilation struct {
	engine   *Engine
	dir      string
	progress chan runtime.Progress
	done     chan struct{}
	report   *compileReport // nil: it ended before it had one
	end      error          // how, then
}

// run starts the child and waits for its end. It owns its thread.
func (c *compilation) run(ctx context.Context) {
	var said head
	cmd, connect, err := c.engine.starter.start(true, &said)
	if err != nil {
		c.end = fmt.Errorf("sandbox: compile: %w", err)
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() }) // it may have ended
	defer stop()
	talked := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		conn, err := connect(ctx)
		if err == nil {
			err = c.talk(conn)
			conn.Close()
		}
		_ = cmd.Process.Kill() // it has said what it had to, or will not
		talked <- err
	}()
	_ = cmd.Wait() // the state tells
	err = <-talked
	if c.report == nil {
		c.end = c.died(cmd.ProcessState, said.String(), err)
	}
}

func (c *compilation) talk(conn net.Conn) error {
	ctl := newControl(conn, false)
	o := c.engine.opts
	if err := ctl.send(kindCompile, compileOrder{Dir: c.dir, Workers: o.Workers, harden: harden{Portable: o.Portable, NoLandlock: o.NoLandlock, Memory: o.compileMemory}}, nil); err != nil {
		return err
	}
	for {
		kind, b, err := ctl.receive()
		if err != nil {
			return err
		}
		switch kind {
		case kindStage:
			var p runtime.Progress
			if json.Unmarshal(b, &p) != nil || p.Stage != "check" && p.Stage != "compile" {
				return broken("progress that cannot be read")
			}
			select {
			case c.progress <- p:
			default: // the next one says more
			}
		case kindDone:
			var r compileReport
			if json.Unmarshal(b, &r) != nil {
				return broken("a report that cannot be read")
			}
			c.report = &r
			return nil
		default:
			return broken("a frame of kind %q", kind)
		}
	}
}

// died says why a compile child ended without a report.
func (c *compilation) died(state *os.ProcessState, said string, talk error) error {
	how := "it did not start"
	if state != nil {
		how = state.String()
		if cpu := state.UserTime() + state.SystemTime(); cpu > (compileCPU-1)*time.Second {
			return fmt.Errorf("%w: compiling it took more than %d s of processor time; make the module or its largest functions smaller", functions.ErrCode, compileCPU)
		}
	}
	if strings.Contains(said, "out of memory") || strings.Contains(said, "cannot allocate memory") {
		return fmt.Errorf("%w: compiling it takes more than %d GB of memory; make the module or its largest functions smaller", functions.ErrCode, compileMemory>>30)
	}
	return fmt.Errorf("sandbox: compile: the child ended early: %s (%v): %s", how, talk, said)
}
