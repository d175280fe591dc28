package admin

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// Replayer runs dead letters without any effect on streams, checkpoints or the
// letters themselves.
type Replayer interface {
	// Replay runs letters as one batch with the function's configuration, on that
	// code or, with nil, on the code it has now. text is what it logged. Errors
	// that wrap functions.ErrCode are the code's fault, which res says too.
	//
	// c is the trigger's: whether partial replies count, and aggregates are unpacked.
	Replay(ctx context.Context, function, qualifier string, code []byte, letters []dlq.Letter, c triggers.Config) (v functions.Version, res runtime.Result, text string, err error)
}

// Replay is what dead letters do to the code a function has, and to another.
type Replay struct {
	Letters []Letter `json:"letters"` // those of the batch, as one event
	Current *Run     `json:"current"`
	Against *Run     `json:"against,omitempty"`
}

// Run is how one piece of code took the batch.
type Run struct {
	Function     string    `json:"function"`
	SHA256       string    `json:"sha256"`
	Outcome      string    `json:"outcome"`
	ErrorType    string    `json:"errorType,omitempty"`
	ErrorMessage string    `json:"errorMessage,omitempty"`
	Failures     []string  `json:"failures,omitempty"` // item identifiers of a partial reply
	DurationMS   float64   `json:"durationMs"`
	MaxMemory    int64     `json:"maxMemory"`
	Log          string    `json:"log"`
	Response     string    `json:"response,omitempty"`
	Emits        []RunEmit `json:"emits"`
}

// RunEmit is a record that the function would have given out.
type RunEmit struct {
	Stream string  `json:"stream"`
	Key    string  `json:"key"`
	Text   *string `json:"text,omitempty"`
	Data   []byte  `json:"data,omitempty"`
}

// replayLetter runs the dead letters of the batch that one of them failed in last,
// on the function as it is and on the module in the body, if there is one.
func (h *handler) replayLetter(w http.ResponseWriter, r *http.Request) error {
	ctx, id := r.Context(), r.PathValue("id")
	l, err := h.Letters.Get(ctx, id)
	if err != nil {
		return h.ofLetter(ctx, err, id)
	}
	if l.Kind == dlq.KindOutput {
		e := newError(CodeBadRequest, "dead letter %s is a record on its way to stream %s, not one that a function failed on: there is nothing to replay", id, StreamName(l.Stream))
		e.Actions = []Action{{"take the record out", "wasmill dlq show " + id + " --raw"}}
		return e.With("id", id)
	}
	code, err := io.ReadAll(http.MaxBytesReader(w, r.Body, functions.MaxCode))
	if err != nil {
		return err
	}
	batch, err := h.batchOf(ctx, l)
	if err != nil {
		return err
	}
	var c triggers.Config
	if m, err := h.Triggers.Get(ctx, l.Trigger); err == nil && m.Config.Function == l.Function {
		c = m.Config
	}
	out := Replay{}
	for _, l := range batch {
		out.Letters = append(out.Letters, viewLetter(l, false))
	}
	if len(code) > 0 { // first, for it may be refused
		if out.Against, err = h.run(ctx, l.Function, c.Qualifier, code, batch, c); err != nil {
			return err
		}
	}
	if out.Current, err = h.run(ctx, l.Function, c.Qualifier, nil, batch, c); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// batchOf are the letters that were in the invocation l failed in last, with
// their data, in order.
func (h *handler) batchOf(ctx context.Context, l dlq.Letter) ([]dlq.Letter, error) {
	batch := []dlq.Letter{l}
	if l.Batch.Invocation == "" || l.Batch.Size < 2 {
		return batch, nil
	}
	all, err := h.Letters.List(ctx, LetterFilter{Trigger: l.Trigger})
	if err != nil {
		return nil, err
	}
	for _, other := range all {
		if other.Batch.Invocation != l.Batch.Invocation || other.ID == l.ID {
			continue
		}
		whole, err := h.Letters.Get(ctx, other.ID)
		if errors.Is(err, dlq.ErrNotFound) {
			continue // purged or redriven this moment
		}
		if err != nil {
			return nil, err
		}
		batch = append(batch, whole)
	}
	slices.SortFunc(batch, func(a, b dlq.Letter) int { return cmp.Compare(a.Batch.Position, b.Batch.Position) })
	return batch, nil
}

func (h *handler) run(ctx context.Context, function, qualifier string, code []byte, batch []dlq.Letter, c triggers.Config) (*Run, error) {
	v, res, log, err := h.Replayer.Replay(ctx, function, qualifier, code, batch, c)
	switch {
	case errors.Is(err, functions.ErrCode) && len(code) == 0:
		// What is deployed and cannot run is how it is: an outcome.
	case errors.Is(err, functions.ErrCode):
		return nil, newError(CodeCodeRefused, "%s; want a WebAssembly module, or a folder to build one from", plain(err, functions.ErrCode))
	case err != nil:
		return nil, h.ofFunction(ctx, err, function, qualifier)
	}
	if err := h.checkTargets(ctx, res.Emits); errors.Is(err, runtime.ErrEmit) {
		res.Fail(runtime.FunctionError, runtime.TypeBadEmits, "", "%v", err) // as its trigger would
	} else if err != nil {
		return nil, err
	}
	run := &Run{Function: v.Function, SHA256: v.Code.SHA256, Outcome: res.Outcome.String(), ErrorType: res.ErrorType, ErrorMessage: res.ErrorMessage,
		Failures: res.Failures, DurationMS: milliseconds(res.Duration), MaxMemory: res.MaxMemory, Log: strings.ToValidUTF8(log, "\ufffd"),
		Response: strings.ToValidUTF8(string(res.Response), "\ufffd"), Emits: []RunEmit{}}
	for _, e := range res.Emits {
		v := RunEmit{Stream: e.Stream, Key: e.PartitionKey}
		if v.Text = text(e.Data); v.Text == nil {
			v.Data = e.Data
		}
		run.Emits = append(run.Emits, v)
	}
	return run, nil
}

// checkTargets looks whether the streams of emits are there and take them, as a
// trigger does before it keeps any.
func (h *handler) checkTargets(ctx context.Context, emits []runtime.Emit) error {
	return runtime.CheckTargets(emits, func(name string) (int, error) {
		d, err := h.Streams.Describe(ctx, stream.Local(name))
		if errors.Is(err, stream.ErrNotFound) || err == nil && d.State != stream.Active && d.State != stream.Updating {
			return 0, nil
		}
		return d.RecordBytes, err
	})
}

// ReplayLetter runs the dead letters of a letter's last batch on the function as
// it is, and on code unless that is nil. Nothing comes of it but the answer.
func (c *Client) ReplayLetter(ctx context.Context, id string, code []byte) (v Replay, err error) {
	body, err := c.open(ctx, "POST", path("dead-letters", id, "replay"), http.Header{"Content-Type": {"application/wasm"}}, bytes.NewReader(code))
	if err != nil {
		return v, err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(&v); err != nil {
		return v, c.garbled(ctx, err)
	}
	return v, nil
}
