package wasm

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// reactor is the environment of a module with the exports of docs/abi.md.
type reactor struct {
	*instance
	version            functions.Version
	arn                string
	timeout            time.Duration
	alloc, batch, json api.Function
	stack              [1]uint64
	scratch            []byte // JSON events
	dead               bool
}

func newReactor(ctx context.Context, p *program, v functions.Version, logs runtime.LogWriter) (*reactor, error) {
	began := time.Now()
	allowed := func() time.Duration {
		deadline, _ := ctx.Deadline()
		return max(0, deadline.Sub(began).Round(10*time.Millisecond))
	}
	console := newConsole(logs)
	defer console.end()
	in, err := p.start(ctx, v, console, nil)
	r := &reactor{instance: in, version: v, arn: v.ARN(p.engine.opts.Account, p.engine.opts.Region), timeout: timeout(v)}
	broken := func(f *runtime.InitError) (*reactor, error) {
		_ = in.close() // the failure is what matters
		if f.Outcome == runtime.Infrastructure {
			return nil, fmt.Errorf("wasm: start: %s", f.Message)
		}
		return nil, f
	}
	if err != nil {
		return broken(in.failure(ctx, err, allowed()))
	}
	r.alloc, r.batch, r.json = in.mod.ExportedFunction("wm_alloc"), in.mod.ExportedFunction("wm_batch"), in.mod.ExportedFunction("wm_json")
	for _, name := range []string{"_initialize", "wm_abi_version", "wm_start", "wm_freeze"} {
		f := in.mod.ExportedFunction(name)
		if f == nil {
			continue
		}
		if err := f.CallWithStack(ctx, r.stack[:]); err != nil {
			return broken(in.failure(ctx, err, allowed()))
		}
		switch got := int32(r.stack[0]); {
		case name == "wm_abi_version" && got != runtime.ABIVersion:
			return broken(&runtime.InitError{Outcome: runtime.FunctionError, Type: runtime.TypeInit,
				Message: fmt.Sprintf("the module speaks version %d of the guest ABI, this server version %d; build it again", got, runtime.ABIVersion)})
		case name == "wm_start" && got != 0:
			console.end()
			return broken(&runtime.InitError{Outcome: runtime.FunctionError, Type: runtime.TypeInit,
				Message: strings.TrimSpace(fmt.Sprintf("the function did not get ready (wm_start returned %d): %s", got, printable(string(console.last), 500)))})
		}
	}
	return r, nil
}

func (r *reactor) Reusable() bool { return !r.dead && !r.mod.IsClosed() }

func (r *reactor) Close() error { return r.close() }

// Invoke runs the function once.
func (r *reactor) Invoke(ctx context.Context, inv *runtime.Invocation) (res runtime.Result) {
	began := time.Now()
	if !r.Reusable() {
		res.Fail(runtime.Infrastructure, runtime.TypeInternal, inv.ID, "the environment is used up")
		return res
	}
	r.ctx = ctx
	r.console.begin(inv.ID)
	r.mem.refused.Store(false)
	r.invoke(ctx, inv, &res)
	r.console.end()
	res.Duration = time.Since(began)
	res.MaxMemory = int64(r.mem.size.Load())
	return res
}

func (r *reactor) invoke(ctx context.Context, inv *runtime.Invocation, res *runtime.Result) {
	deadline, _ := ctx.Deadline()
	h := runtime.BatchHeader{RequestID: inv.ID, FunctionARN: r.arn, Deadline: deadline, PartialReplies: inv.PartialReplies}
	if inv.Batch != nil && r.batch != nil {
		n := runtime.BinarySize(inv.Batch, h)
		reply, ok := r.call(ctx, inv.ID, res, r.batch, n, func(dst []byte) []byte { return runtime.AppendBinary(dst, inv.Batch, h) })
		if !ok {
			return
		}
		if !reply.NotUnderstood {
			r.answer(inv, res, reply)
			return
		}
	}
	payload := inv.Payload
	if inv.Batch != nil {
		r.scratch = runtime.AppendJSON(r.scratch[:0], inv.Batch)
		payload = r.scratch
	}
	n := runtime.JSONRequestSize(len(payload), h)
	reply, ok := r.call(ctx, inv.ID, res, r.json, n, func(dst []byte) []byte {
		return append(runtime.AppendJSONRequest(dst, len(payload), h), payload...)
	})
	switch {
	case !ok:
	case reply.NotUnderstood:
		r.malformed(res, inv.ID, "wm_json answered that it does not understand JSON")
	default:
		r.answer(inv, res, reply)
	}
}

// call writes a request of n bytes straight into the guest's memory, runs f on
// it and decodes the response, whose fields alias the guest's memory. If that
// fails it fills res and says so.
func (r *reactor) call(ctx context.Context, id string, res *runtime.Result, f api.Function, n int, write func([]byte) []byte) (reply runtime.Reply, ok bool) {
	broke := func(err error) (runtime.Reply, bool) {
		r.dead = true
		fail(res, r.failure(ctx, err, r.timeout), id)
		return reply, false
	}
	r.stack[0] = uint64(n)
	if err := r.alloc.CallWithStack(ctx, r.stack[:]); err != nil {
		return broke(err)
	}
	at := uint32(r.stack[0])
	if at == 0 {
		r.dead = true
		res.Fail(runtime.FunctionError, runtime.TypeOutOfMemory, id, "Runtime exited with error: out of memory: wm_alloc has no %d bytes for the request; raise the function's memory (%d MB)", n, r.mem.limit>>20)
		return reply, false
	}
	request, in := r.mod.Memory().Read(at, uint32(n))
	if !in {
		r.malformed(res, id, "wm_alloc(%d) returned %d, which does not lie in memory", n, at)
		return reply, false
	}
	write(request[:0])

	r.stack[0] = uint64(n)
	if err := f.CallWithStack(ctx, r.stack[:]); err != nil {
		return broke(err)
	}
	at, size := uint32(r.stack[0]>>32), uint32(r.stack[0])
	response, in := r.mod.Memory().Read(at, size)
	if !in {
		r.malformed(res, id, "the response, %d bytes at %d, does not lie in memory", size, at)
		return reply, false
	}
	if size > runtime.MaxResponse+1<<20 {
		tooLarge(res)
		return reply, false
	}
	reply, err := runtime.DecodeReply(response)
	if err != nil {
		r.malformed(res, id, "%v", err)
		return reply, false
	}
	return reply, true
}

// malformed: whoever answers so may be broken inside, and is not asked again.
func (r *reactor) malformed(res *runtime.Result, id, format string, a ...any) {
	r.dead = true
	res.Fail(runtime.FunctionError, runtime.TypeMalformed, id, format, a...)
}

func tooLarge(res *runtime.Result) {
	res.Fail(runtime.FunctionError, runtime.TypeTooLarge, "", "Response payload size exceeded maximum allowed payload size (%d bytes).", runtime.MaxResponse)
}

const (
	maxMessage = 8 << 10  // of a function's error; a dead letter keeps it
	maxStack   = 32 << 10 // of its stack trace
)

// answer copies what the function said out of its memory.
func (r *reactor) answer(inv *runtime.Invocation, res *runtime.Result, reply runtime.Reply) {
	switch {
	case reply.Failed:
		res.Outcome = runtime.FunctionError
		res.ErrorType = printable(reply.ErrorType, 256)
		if res.ErrorType == "" {
			res.ErrorType = runtime.TypeUnhandled
		}
		res.ErrorMessage = printable(reply.ErrorMessage, maxMessage)
		if len(reply.StackTrace) <= maxStack {
			res.StackTrace = bytes.Clone(reply.StackTrace)
		}
	case reply.HasFailures && inv.Batch != nil:
		res.Response = appendFailures(nil, inv.Batch, reply.Failures)
	case len(reply.JSON) > runtime.MaxResponse:
		tooLarge(res)
	default:
		res.Response = bytes.Clone(reply.JSON)
	}
	if reply.HasEmits && inv.Batch != nil && res.Outcome == runtime.Done {
		res.Emits = copyEmits(reply.Emits)
	}
}

// copyEmits makes the emitted records of a result, never nil. Their data share
// one piece of memory: they live and end together.
func copyEmits(in []runtime.ReplyEmit) []runtime.Emit {
	size := 0
	for i := range in {
		size += len(in[i].Data)
	}
	data := make([]byte, 0, size)
	out := make([]runtime.Emit, len(in))
	for i := range in {
		e := &in[i]
		from := len(data)
		data = append(data, e.Data...)
		out[i] = runtime.Emit{PartitionKey: string(e.Key), Data: data[from:len(data):len(data)], Item: -1}
		if i > 0 && string(e.Stream) == out[i-1].Stream {
			out[i].Stream = out[i-1].Stream // one string for all
		} else {
			out[i].Stream = string(e.Stream)
		}
		if e.Item != runtime.NoItem {
			out[i].Item = int(min(e.Item, math.MaxInt32)) // beyond any batch
		}
	}
	return out
}

func printable(s string, most int) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// appendFailures writes the JSON reply that indexes stand for. An index that no
// record has becomes an identifier that no record has: the whole batch fails,
// as it does for JSON.
func appendFailures(dst []byte, b *runtime.Batch, failures []uint32) []byte {
	dst = slices.Grow(dst, 32+len(failures)*84)
	dst = append(dst, `{"batchItemFailures":[`...)
	for i, f := range failures {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"itemIdentifier":"`...)
		if uint64(f) < uint64(len(b.Records)) {
			dst = append(dst, b.Records[f].Sequence...)
		} else {
			dst = append(dst, "no record "...)
			dst = strconv.AppendUint(dst, uint64(f), 10)
		}
		dst = append(dst, `"}`...)
	}
	return append(dst, `]}`...)
}
