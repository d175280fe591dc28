package wasm

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/sys"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// Exchange implements [Guest].
func (e *environment) Exchange(ctx context.Context, q Request) (r Reply) {
	began := time.Now()
	if e.isolated && e.used || e.broken {
		e.renew(e.isolated)
	}
	if e.dead {
		return Reply{Failure: ours("the environment is used up")}
	}
	if err := ctx.Err(); err != nil {
		return Reply{Failure: stopped(ctx, timeout(e.version))}
	}
	e.console.begin(q.ID)
	e.in.mem.refused.Store(false)
	e.enter(ctx, q.Deadline)
	e.used = true
	if e.p.abi == functions.ABICommand {
		r.Body, r.Failure = e.command(ctx, q)
	} else {
		r.Body, r.Failure = e.call(ctx, q)
	}
	r.Work = e.leave()
	e.console.end()
	r.MaxMemory = int64(e.in.mem.size.Load())
	r.Duration = time.Since(began)
	return r
}

// call writes a request straight into the guest's memory, and runs the export
// that it is for.
func (e *environment) call(ctx context.Context, q Request) ([]byte, *runtime.InitError) {
	broke := func(f *runtime.InitError) ([]byte, *runtime.InitError) {
		e.broken = true
		return nil, f
	}
	trapped := func(err error) ([]byte, *runtime.InitError) { return broke(e.failure(ctx, err, timeout(e.version))) }
	if e.seed {
		if err := e.reseed(); err != nil {
			return trapped(err)
		}
	}
	at := uint32(0)
	if uint64(q.Size) <= e.in.mem.limit {
		e.stack[0] = uint64(uint32(q.Size))
		if err := e.in.alloc.CallWithStack(&e.calls, e.stack[:]); err != nil {
			return trapped(err)
		}
		at = uint32(e.stack[0])
	}
	if at == 0 {
		return broke(&runtime.InitError{Outcome: runtime.FunctionError, Type: runtime.TypeOutOfMemory,
			Message: fmt.Sprintf("Runtime exited with error: out of memory: wm_alloc has no %d bytes for the request; raise the function's memory (%d MB)", q.Size, e.in.mem.limit>>20)})
	}
	request, in := e.in.mem.at(at, uint32(q.Size))
	if !in {
		return broke(malformed("wm_alloc(%d) returned %d, which does not lie in memory", q.Size, at))
	}
	if err := q.Fill(request); err != nil {
		return broke(ours("the request could not be handed over: %v", err))
	}

	f := e.in.batch
	if q.JSON || f == nil {
		f = e.in.json
	}
	e.stack[0] = uint64(uint32(q.Size))
	if err := f.CallWithStack(&e.calls, e.stack[:]); err != nil {
		return trapped(err)
	}
	size := uint32(e.stack[0])
	at = uint32(e.stack[0] >> 32)
	response, in := e.in.mem.at(at, size)
	if !in {
		return broke(malformed("the response, %d bytes at %d, does not lie in memory", size, at))
	}
	if size > runtime.MaxResponse+1<<20 {
		return nil, tooLarge()
	}
	if !headed(response) {
		_, err := runtime.DecodeReply(response)
		return broke(malformed("%v", cmp.Or(err, runtime.ErrMalformed)))
	}
	return response, nil
}

// headed says whether the first bytes of a response are as docs/abi.md says. All
// of it is for whoever reads it to judge, who need not be in this process.
func headed(b []byte) bool {
	return len(b) >= 16 && string(b[:4]) == "WMR1" && binary.LittleEndian.Uint16(b[4:]) == runtime.ABIVersion &&
		binary.LittleEndian.Uint16(b[6:]) <= 2 && binary.LittleEndian.Uint32(b[8:]) == uint32(len(b))
}

// command runs a command with the event on its standard input.
func (e *environment) command(ctx context.Context, q Request) ([]byte, *runtime.InitError) {
	if cap(e.event) < q.Size {
		e.event = make([]byte, q.Size)
	}
	e.event = e.event[:q.Size]
	if err := q.Fill(e.event); err != nil {
		return nil, ours("the request could not be handed over: %v", err)
	}
	e.stdin = e.event
	e.stdout.b, e.stdout.over = e.stdout.b[:0], false
	e.environ = append(e.variable[:len(e.variable):len(e.variable)],
		"_X_WASMILL_REQUEST_ID="+strings.ReplaceAll(q.ID, "\x00", ""),
		"_X_WASMILL_FUNCTION_ARN="+e.arn,
		"_X_WASMILL_DEADLINE_MS="+strconv.FormatInt(e.until().UnixMilli(), 10))
	err := e.in.command.CallWithStack(&e.calls, e.stack[:0])
	if exit, ok := errors.AsType[*sys.ExitError](err); ok && exit.ExitCode() == 0 {
		err = nil
	}
	e.stdin, e.broken = nil, true // it has ended; all that may follow is a new one
	switch {
	case err != nil:
		return nil, e.failure(ctx, err, timeout(e.version))
	case e.stdout.over:
		return nil, tooLarge()
	}
	return e.stdout.b, nil
}

// reseed has the guest mix something new into its random numbers, which are else
// those of all clones of its image.
func (e *environment) reseed() error {
	e.seed = false
	if e.in.reseed == nil {
		return nil
	}
	var b [8]byte
	rand.Read(b[:])
	e.stack[0] = binary.LittleEndian.Uint64(b[:])
	return e.in.reseed.CallWithStack(&e.calls, e.stack[:])
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
