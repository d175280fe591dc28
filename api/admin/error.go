package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/filter"
)

// Error is how the API and the command line say that something went wrong.
type Error struct {
	Code      string         `json:"code"`     // one of [Codes]
	Category  Category       `json:"category"` // follows from the code
	Message   string         `json:"message"`  // for people; may change
	Retryable bool           `json:"retryable"`
	Details   map[string]any `json:"details"`
	Actions   []Action       `json:"actions"` // what to do next, best first

	cause error // of an internal error
}

func (e *Error) Error() string { return e.Message }

// Unwrap is what an error came from, on the side where it arose.
func (e *Error) Unwrap() error { return e.cause }

// NewError makes an error of a code; what the code says of itself is filled in.
func NewError(code, format string, args ...any) *Error { return newError(code, format, args...) }

func newError(code, format string, args ...any) *Error {
	c, ok := Lookup(code)
	if !ok {
		panic("admin: no such code: " + code)
	}
	return &Error{Code: code, Category: c.Category, Message: fmt.Sprintf(format, args...), Retryable: c.Retryable,
		Details: map[string]any{}, Actions: slices.Clone(c.Actions)}
}

// With adds a detail.
func (e *Error) With(key string, value any) *Error {
	if e.Details == nil { // it came from elsewhere
		e.Details = map[string]any{}
	}
	e.Details[key] = value
	return e
}

// Do puts an action before the others.
func (e *Error) Do(text, command string) *Error {
	e.Actions = slices.Insert(e.Actions, 0, Action{text, command})
	return e
}

// Named puts a resource's name into the actions' commands.
func (e *Error) Named(name string) *Error {
	for i := range e.Actions {
		e.Actions[i].Command = strings.Replace(e.Actions[i].Command, " NAME", " "+name, 1)
	}
	return e
}

// suggest says which of names was probably meant.
func (e *Error) suggest(name string, names []string) *Error {
	near := Nearest(name, names)
	if len(near) == 0 {
		return e
	}
	e.Details["didYouMean"] = near
	e.Message += fmt.Sprintf("; did you mean %s?", strings.Join(near, " or "))
	return e
}

// codes maps the sentinels of the words to codes.
var codes = []struct {
	err  error
	code string
}{
	{stream.ErrNotFound, CodeStreamNotFound},
	{stream.ErrExists, CodeStreamExists},
	{stream.ErrInvalid, CodeStreamInvalid},
	{stream.ErrClosed, CodeShardClosed},
	{stream.ErrBusy, CodeStreamBusy},
	{stream.ErrQuota, CodeStreamFull}, // before what it is a kind of
	{stream.ErrUnavailable, CodeUnavailable},
	{functions.ErrNotFound, CodeFunctionNotFound},
	{functions.ErrExists, CodeFunctionExists},
	{functions.ErrInvalid, CodeFunctionInvalid},
	{functions.ErrCode, CodeCodeRefused},
	{functions.ErrBusy, CodeFunctionBusy},
	{functions.ErrRevision, CodeFunctionBusy},
	{functions.ErrInUse, CodeFunctionInUse},
	{triggers.ErrNotFound, CodeTriggerNotFound},
	{triggers.ErrExists, CodeTriggerExists},
	{triggers.ErrBusy, CodeTriggerBusy}, {triggers.ErrLeaving, CodeTriggerLeaving},
	{triggers.ErrInvalid, CodeTriggerInvalid},
	{dlq.ErrNotFound, CodeLetterNotFound},
}

// toError finds the code of any error. What it does not know is a bug.
func toError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if _, ok := errors.AsType[*stream.CorruptError](err); ok {
		return newError(CodeCorrupt, "%v", err)
	}
	if m, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return newError(CodeTooLarge, "the request's body exceeds %d bytes", m.Limit).With("limit", m.Limit)
	}
	if f, ok := errors.AsType[*filter.Error](err); ok {
		return newError(CodeTriggerInvalid, "%v", f).With("field", "filters").With("filter", f.Pattern).With("offset", f.Offset).With("reason", f.Reason)
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return newError(c.code, "%s", plain(err, c.err))
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return newError(CodeWaitExpired, "the server could not do it in time")
	}
	if errors.Is(err, context.Canceled) {
		return newError(CodeStopping, "the server is stopping")
	}
	e := newError(CodeInternal, "%v", err)
	e.cause = err
	return e
}

// toError also knows what the store says when it cannot write, in whatever a
// part has wrapped it.
func (h *handler) toError(err error) *Error {
	e := toError(err)
	// The end of a wait for the store is no end of what the caller waited for.
	if (e.Code == CodeInternal || e.Code == CodeWaitExpired) && h.NoRoom != nil && h.NoRoom(err) {
		return newError(CodeUnavailable, "%v", err)
	}
	return e
}

// plain takes the sentinel's own words out of an error's text where something
// is left without them: "stream: invalid: 0 shards" is "0 shards" to a person
// who reads the code beside it.
func plain(err, sentinel error) string {
	text := err.Error()
	for _, cut := range []string{sentinel.Error() + ": ", ": " + sentinel.Error()} {
		if rest := strings.Replace(text, cut, "", 1); rest != "" && rest != text {
			return rest
		}
	}
	return text
}

// fail answers a call with an error.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) && !h.closing() {
		return // the caller has gone
	}
	e := h.toError(err)
	if e.Code == CodeInternal {
		h.Logger.Error("admin: call failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	c, _ := Lookup(e.Code)
	status := c.Status
	if status == 0 {
		status = http.StatusInternalServerError
	}
	if e.Retryable && status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, status, e)
}

func (h *handler) closing() bool {
	select {
	case <-h.Closing:
		return true
	default:
		return false
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.Encode(v) // the caller may have gone; nobody is left to tell
}
