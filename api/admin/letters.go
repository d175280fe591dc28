package admin

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/dlq"
)

// Reasons are those for which records are given up.
var Reasons = []string{string(dlq.RetryAttemptsExhausted), string(dlq.RecordAgeExceeded), string(dlq.PayloadTooLarge), string(dlq.TargetGone)}

// letterFilter reads which dead letters are meant.
func letterFilter(q *query) LetterFilter {
	now := time.Now()
	if reason := q.text("reason"); reason != "" && !slices.Contains(Reasons, reason) {
		q.bad("reason", reason, "want "+strings.Join(Reasons, ", "))
	}
	return LetterFilter{ID: q.text("id"), Trigger: q.text("trigger"), Stream: q.text("stream"), Reason: dlq.Reason(q.text("reason")),
		Error: q.text("error"), Since: q.time("since", now), Before: q.time("before", now), Limit: q.number("limit", 0, 0, 1<<31-1)}
}

func (h *handler) listLetters(w http.ResponseWriter, r *http.Request) error {
	q := parameters(r)
	f := letterFilter(q)
	if err := q.done(); err != nil {
		return err
	}
	limit := f.Limit
	if f.Limit > 0 {
		f.Limit++ // to know whether there are more
	}
	all, err := h.Letters.List(r.Context(), f)
	if err != nil {
		return err
	}
	more := limit > 0 && len(all) > limit
	if more {
		all = all[len(all)-limit:]
	}
	out := make([]Letter, len(all))
	for i, l := range all {
		l.Data = nil
		out[i] = viewLetter(l, false)
	}
	writeJSON(w, http.StatusOK, map[string]any{"deadLetters": out, "more": more})
	return nil
}

func (h *handler) getLetter(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	l, err := h.Letters.Get(r.Context(), id)
	if err != nil {
		return h.ofLetter(r.Context(), err, id)
	}
	writeJSON(w, http.StatusOK, viewLetter(l, true))
	return nil
}

func (h *handler) purgeLetters(w http.ResponseWriter, r *http.Request) error {
	q := parameters(r)
	f := letterFilter(q)
	all := q.flag("all")
	if err := q.done(); err != nil {
		return err
	}
	if r.URL.Query().Has("limit") {
		return newError(CodeBadRequest, "limit is for listing dead letters: a purge deletes every one that the other parameters choose, or none").With("parameter", "limit")
	}
	// An empty filter means everything; that has to be said.
	if f == (LetterFilter{}) && !all {
		return newError(CodeBadRequest, "which dead letters? want a filter, or all=true for every one")
	}
	n, err := h.Letters.Purge(r.Context(), f)
	if err != nil {
		return err
	}
	if n == 0 && f.ID != "" {
		return h.ofLetter(r.Context(), dlq.ErrNotFound, f.ID)
	}
	writeJSON(w, http.StatusOK, map[string]any{"purged": n})
	return nil
}

// ofLetter names a letter that is not there, and the one that has taken its place
// if a redrive of it failed for good.
func (h *handler) ofLetter(ctx context.Context, err error, id string) error {
	e := h.toError(err)
	if e.Code != CodeLetterNotFound {
		return e
	}
	e.Message = "there is no dead letter " + id
	e.With("id", id)
	if _, ok := dlq.SourceOf(id); !ok {
		return e
	}
	all, _ := h.Letters.List(ctx, LetterFilter{}) // it may be with any mapping; a suggestion only
	for _, l := range all {
		if slices.Contains(l.Earlier(), id) {
			e.Message = "dead letter " + id + " was redriven, failed and was buried again as " + l.ID
			return e.With("buriedAgain", l.ID).Do("look at it", "wasmill dlq show "+l.ID)
		}
	}
	return e
}

func viewLetter(l dlq.Letter, data bool) Letter {
	v := Letter{ID: l.ID, Trigger: l.Trigger, Mapping: l.Mapping, Generation: l.Generation, Stream: StreamName(l.Stream), StreamID: l.StreamID,
		Shard: l.Shard, Sequence: l.Sequence, Number: l.Number, Key: l.PartitionKey, HashKey: l.ExplicitHashKey, Arrival: l.Arrival.UTC(),
		TraceParent: l.TraceParent, Reason: l.Reason, ErrorType: l.ErrorType, ErrorMessage: l.ErrorMessage, Attempts: l.Attempts,
		Buried: l.Buried.UTC(), Burial: l.Burial, Kind: l.Kind, Redriving: l.Redriving, Function: l.Function, Version: l.Version, Digest: l.Digest,
		BatchInvocation: l.Batch.Invocation, BatchPosition: l.Batch.Position, BatchSize: l.Batch.Size}
	if !l.FirstFailure.IsZero() {
		v.FirstFailure = l.FirstFailure.UTC()
	}
	if data {
		if v.Text = text(l.Data); v.Text == nil {
			v.Data = l.Data
		}
	}
	return v
}
