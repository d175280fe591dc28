package wasm

import (
	"bytes"
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// Guest exchanges messages with a function. The environments of this package
// are Guests, and so is whatever stands for one in another process: a message is
// written once, into the guest's memory, and read where it lies.
//
// Like an environment, it is used by one at a time.
type Guest interface {
	// Exchange has the guest answer one request. Past the deadline of the request
	// or of ctx, whichever is earlier, the reply is a Timeout; with ctx cancelled it
	// is Infrastructure.
	Exchange(ctx context.Context, q Request) Reply
	// Finish follows when the reply's body was read: memory is put back to what it
	// was after start-up if the guest broke, or if each invocation is to find it so.
	Finish()
	// Reusable says whether another Exchange may follow.
	Reusable() bool
	Rest()
	Close() error
}

// Request is one message to a guest.
type Request struct {
	ID string // of the invocation
	// JSON says that it is for wm_json; else it is for wm_batch. A command takes
	// nothing but JSON, and without an envelope.
	JSON bool
	// Size is the length of the message in bytes.
	Size int
	// Fill writes the message into dst, which has Size bytes. An error is ours, not
	// the guest's.
	Fill     func(dst []byte) error
	Deadline time.Time // zero: that of the context
}

// Reply is what came of a request.
type Reply struct {
	// Failure says that there is no message, and why. Its Outcome may be
	// Infrastructure too.
	Failure *runtime.InitError
	// Body is the response message of docs/abi.md; of a command what it wrote to its
	// standard output. It aliases the guest's memory, and is gone with the next call
	// of any method.
	Body      []byte
	MaxMemory int64  // bytes
	Work      uint64 // steps, see runtime.Result
	Duration  time.Duration
}

// scratch are buffers of JSON events.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// invoked is the ARN by which a version was called (AWS: invokedFunctionArn), from its own: that of
// the alias, if it was called by one.
func invoked(arn, qualifier string) string {
	if qualifier == "" {
		return arn
	}
	base := arn
	if parts := strings.SplitN(arn, ":", 8); len(parts) == 8 {
		base = strings.TrimSuffix(arn, ":"+parts[7])
	}
	return base + ":" + qualifier
}

// Converse runs inv on anything that exchanges messages, called by abi: it
// encodes the batch or payload, asks again with JSON when the guest does not
// understand the batch, and makes a result of the reply. arn is the function's.
func Converse(ctx context.Context, abi functions.ABI, arn string, inv *runtime.Invocation, exchange func(context.Context, Request) Reply) (res runtime.Result) {
	deadline, _ := ctx.Deadline()
	h := runtime.BatchHeader{RequestID: inv.ID, FunctionARN: invoked(arn, inv.Qualifier), Deadline: deadline, PartialReplies: inv.PartialReplies}
	ask := func(q Request) (Reply, bool) {
		q.ID, q.Deadline = inv.ID, deadline
		r := exchange(ctx, q)
		res.Duration += r.Duration
		res.Work += r.Work
		res.MaxMemory = max(res.MaxMemory, r.MaxMemory)
		if r.Failure != nil {
			fail(&res, r.Failure, inv.ID)
		}
		return r, r.Failure == nil
	}
	if inv.Batch != nil && abi == functions.ABIBatch {
		r, ok := ask(Request{Size: runtime.BinarySize(inv.Batch, h), Fill: func(dst []byte) error {
			runtime.AppendBinary(dst[:0], inv.Batch, h)
			return nil
		}})
		if !ok || !interpret(&res, inv, r.Body) {
			return res
		}
	}
	payload := inv.Payload
	if inv.Batch != nil {
		buf := scratch.Get().(*[]byte)
		defer scratch.Put(buf)
		*buf = runtime.AppendJSON((*buf)[:0], inv.Batch)
		payload = *buf
	}
	if abi == functions.ABICommand {
		r, ok := ask(Request{JSON: true, Size: len(payload), Fill: func(dst []byte) error {
			copy(dst, payload)
			return nil
		}})
		switch body := bytes.TrimSpace(r.Body); {
		case !ok:
		case len(body) > runtime.MaxResponse:
			fail(&res, tooLarge(), inv.ID)
		default:
			res.Response = bytes.Clone(body)
		}
		return res
	}
	r, ok := ask(Request{JSON: true, Size: runtime.JSONRequestSize(len(payload), h), Fill: func(dst []byte) error {
		copy(dst[len(runtime.AppendJSONRequest(dst[:0], len(payload), h)):], payload)
		return nil
	}})
	if ok && interpret(&res, inv, r.Body) {
		fail(&res, malformed("wm_json answered that it does not understand JSON"), inv.ID)
	}
	return res
}

// interpret fills res by a response message; again asks for JSON instead.
func interpret(res *runtime.Result, inv *runtime.Invocation, body []byte) (again bool) {
	reply, err := runtime.DecodeReply(body)
	switch {
	case err != nil:
		fail(res, malformed("%v", err), inv.ID)
	case reply.NotUnderstood:
		return true
	default:
		answer(res, inv, reply)
	}
	return false
}

// fail makes a result of a failure.
func fail(r *runtime.Result, f *runtime.InitError, requestID string) {
	if f.Type == runtime.TypeTooLarge { // AWS has no request id in this one
		requestID = ""
	}
	r.Fail(f.Outcome, f.Type, requestID, "%s", f.Message)
	r.StackTrace = f.Stack
}

const (
	maxMessage = 8 << 10  // of a function's error; a dead letter keeps it
	maxStack   = 32 << 10 // of its stack trace
)

// answer copies what the function said out of its memory.
func answer(res *runtime.Result, inv *runtime.Invocation, reply runtime.Reply) {
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
		fail(res, tooLarge(), inv.ID)
	default:
		res.Response = bytes.Clone(reply.JSON)
	}
	if reply.HasEmits && inv.Batch != nil && res.Outcome == runtime.Done {
		res.Emits = copyEmits(reply.Emits)
	}
	if reply.HasState && inv.Batch != nil && inv.Batch.Window != nil && res.Outcome == runtime.Done {
		res.State = append([]byte{}, reply.State...)
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
