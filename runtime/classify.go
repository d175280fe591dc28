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
	TypeThrottled    = "Throttled"               // ours
	TypeNotFound     = "Function.NotFound"       // ours
	TypeInternal     = "Wasmill.Internal"        // ours
)

// Fail makes r a failed result. With a request id the message gets AWS's
// prefix, "RequestId: <id> Error: ".
func (r *Result) Fail(o Outcome, errorType, requestID, format string, a ...any) {
	r.Outcome, r.ErrorType = o, errorType
	r.Response, r.Failures = nil, nil
	r.ErrorMessage = fmt.Sprintf(format, a...)
	if requestID != "" {
		r.ErrorMessage = "RequestId: " + requestID + " Error: " + r.ErrorMessage
	}
}

// Classify looks at what a function returned without error: is it JSON, does it
// name failed items. It is the only place that reads a reply. A batch whose
// mapping does not let replies count is done whatever was returned.
//
// A reply that fails the whole batch without an error of the function (an
// identifier of no record, a wrong key) is Partial with ErrorType
// [TypeBadItems], and [LowestFailed] of its Failures is -1 or not valid.
func Classify(inv *Invocation, r *Result) {
	if r.Outcome != Done || inv.Batch != nil && !inv.PartialReplies {
		return
	}
	if len(r.Response) > 0 && !json.Valid(r.Response) {
		r.Fail(FunctionError, TypeMalformed, inv.ID, "the function returned what is not JSON: %.60q", r.Response)
		return
	}
	if inv.Batch == nil {
		return
	}
	failures, valid := ParseReply(r.Response)
	if valid && len(failures) == 0 {
		return
	}
	r.Outcome, r.Failures = Partial, failures
	lowest, known := LowestFailed(inv.Batch, failures)
	switch n := len(inv.Batch.Records); {
	case !valid:
		r.ErrorType = TypeBadItems
		r.ErrorMessage = fmt.Sprintf("batchItemFailures cannot be read, so all %d records count as failed: want {\"batchItemFailures\":[{\"itemIdentifier\":\"<sequence number>\"}]}, got %.200s", n, r.Response)
	case !known:
		r.ErrorType = TypeBadItems
		r.ErrorMessage = fmt.Sprintf("batchItemFailures names an item that the batch has not, so all %d records count as failed: %.200q", n, failures)
	default:
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
