package runtime

import (
	"encoding/json"
	"fmt"
)

// MaxResponse is the most bytes a function may return.
const MaxResponse = 6_291_556

// Error types of results, as AWS Lambda names them where it has them.
const (
	TypeTimeout      = "Sandbox.Timedout"
	TypeExit         = "Runtime.ExitError"
	TypeOutOfMemory  = "Runtime.OutOfMemory"
	TypeMalformed    = "Runtime.MalformedResponse"
	TypeInit         = "Runtime.InitError"
	TypeTooLarge     = "Function.ResponseSizeTooLarge"
	TypeUnhandled    = "Unhandled"               // the function gave its error no type
	TypeItemFailures = "BatchItemFailures"       // ours: it named failed items
	TypeBadItems     = "BatchItemFailures.Wrong" // ours: it named items that the batch has not
	TypeBadEmits     = "Emit.Invalid"            // ours: it emitted what it may not, or nobody can read
	TypeThrottled    = "Throttled"               // ours
	TypeNotFound     = "Function.NotFound"       // ours
	TypePending      = "Function.Pending"        // ours: its code is being compiled
	TypeFailed       = "Function.Failed"         // ours: its code cannot run here
	TypeInternal     = "Wasmill.Internal"        // ours
)

// Fail makes r a failed result. With a request id the message gets AWS's
// prefix, "RequestId: <id> Error: ".
func (r *Result) Fail(o Outcome, errorType, requestID, format string, a ...any) {
	r.Outcome, r.ErrorType = o, errorType
	r.Response, r.Failures, r.Emits, r.State = nil, nil, nil, nil
	r.ErrorMessage = fmt.Sprintf(format, a...)
	if requestID != "" {
		r.ErrorMessage = "RequestId: " + requestID + " Error: " + r.ErrorMessage
	}
}

// Classify looks at what a function returned without error: is it JSON, does it
// name failed items, does it emit records, and only to the streams allowed. It is
// the only place that reads a reply. A batch whose mapping does not let replies
// count, and whose function may emit nothing, is done whatever was returned, but
// for records to emit, which must not get lost unseen.
//
// A reply that fails the whole batch without an error of the function (an
// identifier of no record, a wrong key) is Partial with ErrorType
// [TypeBadItems], and [LowestFailed] of its Failures is -1 or not valid. One
// whose emitted records cannot be taken is a FunctionError of [TypeBadEmits].
//
// Records that a batch's reply emits are then in Emits, all of them, and no more
// in Response; a window's new state is in State, and one that is missing or no object
// a FunctionError of [TypeBadState]. A caller's reply is left as it is.
func Classify(inv *Invocation, allowed []string, r *Result) {
	if r.Outcome != Done {
		r.Emits, r.State = nil, nil
		return
	}
	window := inv.Batch != nil && inv.Batch.Window != nil
	if !window {
		r.State = nil
	}
	emits := r.Emits != nil || len(allowed) > 0 || mentionsEmit(r.Response)
	if inv.Batch != nil && !inv.PartialReplies && !emits && !window {
		return
	}
	if len(r.Response) > 0 && !json.Valid(r.Response) {
		if inv.Batch != nil && !inv.PartialReplies && len(allowed) == 0 && len(r.Emits) == 0 && !window {
			r.Emits = nil
			return
		}
		r.Fail(FunctionError, TypeMalformed, inv.ID, "the function returned what is not JSON: %.60q", r.Response)
		return
	}
	if inv.Batch == nil {
		r.Emits = nil
		return
	}
	if emits {
		if err := takeEmits(inv.Batch, allowed, r); err != nil {
			r.Fail(FunctionError, TypeBadEmits, "", "%v", err)
			return
		}
	}
	if window {
		if err := takeState(inv, r); err != nil {
			r.Fail(FunctionError, TypeBadState, "", "%v", err)
			return
		}
	}
	if inv.PartialReplies {
		classifyFailures(inv, r)
	}
}

// classifyFailures reads batchItemFailures.
func classifyFailures(inv *Invocation, r *Result) {
	failures, valid := ParseReply(r.Response)
	if valid && len(failures) == 0 {
		return
	}
	r.Outcome, r.Failures = Partial, failures
	lowest, known := LowestFailed(inv.Batch, failures)
	switch n := len(inv.Batch.Records); {
	case !valid:
		r.ErrorType, r.Emits, r.State = TypeBadItems, nil, nil
		r.ErrorMessage = fmt.Sprintf("batchItemFailures cannot be read, so all %d records count as failed: want {\"batchItemFailures\":[{\"itemIdentifier\":\"<sequence number>\"}]}, got %.200s", n, r.Response)
	case !known:
		r.ErrorType, r.Emits, r.State = TypeBadItems, nil, nil
		r.ErrorMessage = fmt.Sprintf("batchItemFailures names an item that the batch has not, so all %d records count as failed: %.200q", n, failures)
	default:
		if err := needItems(r.Emits); err != nil {
			r.Fail(FunctionError, TypeBadEmits, "", "%v", err)
			return
		}
		r.ErrorType = TypeItemFailures
		r.ErrorMessage = fmt.Sprintf("the function reported %d of %d records as failed, the first at position %d", len(failures), n, lowest)
	}
}

// ErrorJSON is the body that Lambda answers with when a function failed.
func (r *Result) ErrorJSON() []byte {
	body := struct {
		Message string          `json:"errorMessage"`
		Type    string          `json:"errorType"`
		Stack   json.RawMessage `json:"stackTrace,omitempty"`
	}{r.ErrorMessage, r.ErrorType, nil}
	if json.Valid(r.StackTrace) {
		body.Stack = r.StackTrace
	}
	out, _ := json.Marshal(body) // strings and valid JSON cannot fail
	return out
}
