package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

const (
	defaultAccount = stream.DefaultAccount
	defaultRegion  = stream.DefaultRegion
	maxWait        = 24 * time.Hour
)

func (h *handler) listTriggers(w http.ResponseWriter, r *http.Request) error {
	all, err := h.Triggers.List(r.Context())
	if err != nil {
		return err
	}
	out := make([]Trigger, len(all))
	for i, m := range all {
		out[i] = viewTrigger(m)
	}
	writeJSON(w, http.StatusOK, map[string]any{"triggers": out})
	return nil
}

func (h *handler) createTrigger(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	var spec TriggerSpec
	if err := readJSON(w, r, maxJSON, &spec); err != nil {
		return err
	}
	for _, need := range []struct{ field, value string }{{"name", spec.Name}, {"stream", spec.Stream}, {"function", deref(spec.Function)}} {
		if need.value == "" {
			return newError(CodeTriggerInvalid, "a trigger needs a %s", need.field).With("field", need.field)
		}
	}
	if spec.From == "" {
		spec.From = "trim-horizon"
	}
	pos, err := ParseFrom(spec.From, time.Now())
	if err != nil {
		return newError(CodeTriggerInvalid, "%v", err).With("field", "from")
	}
	// Asked here, so that a name that does not exist is answered with its like.
	if _, err := h.Streams.Describe(ctx, stream.Local(spec.Stream)); err != nil {
		return h.ofStream(ctx, err, spec.Stream)
	}
	if _, err := h.Functions.Version(ctx, *spec.Function, deref(spec.Qualifier)); err != nil {
		return h.ofFunction(ctx, err, *spec.Function, deref(spec.Qualifier))
	}
	c := triggers.Config{Stream: spec.Stream, Position: pos}
	spec.apply(&c)
	m, err := h.Triggers.Create(ctx, spec.Name, c, !spec.Paused)
	if err != nil {
		return h.named(err, spec.Name)
	}
	writeJSON(w, http.StatusCreated, viewTrigger(m))
	return nil
}

func (h *handler) getTrigger(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	m, err := h.Triggers.Get(r.Context(), name)
	if err != nil {
		return h.ofTrigger(r.Context(), err, name)
	}
	v := viewTrigger(m)
	if v.Shards, err = h.Triggers.Status(r.Context(), name); err != nil {
		return h.ofTrigger(r.Context(), err, name)
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

func (h *handler) updateTrigger(w http.ResponseWriter, r *http.Request) error {
	ctx, name := r.Context(), r.PathValue("name")
	var spec TriggerSpec
	if err := readJSON(w, r, maxJSON, &spec); err != nil {
		return err
	}
	for _, fixed := range []struct{ field, value string }{{"name", spec.Name}, {"stream", spec.Stream}, {"from", spec.From}} {
		if fixed.value != "" {
			return newError(CodeTriggerInvalid, "a trigger's %s cannot be changed: delete it and create another", fixed.field).With("field", fixed.field)
		}
	}
	if spec.Paused {
		return newError(CodeTriggerInvalid, "pausing is a call of its own: POST %s/triggers/%s/pause", Prefix, name).With("field", "paused")
	}
	if fn := deref(spec.Function); fn != "" {
		if _, err := h.Functions.Version(ctx, fn, deref(spec.Qualifier)); err != nil {
			return h.ofFunction(ctx, err, fn, deref(spec.Qualifier))
		}
	}
	m, err := h.Triggers.Update(ctx, name, spec.apply)
	if err != nil {
		return h.ofTrigger(ctx, err, name)
	}
	writeJSON(w, http.StatusOK, viewTrigger(m))
	return nil
}

func (h *handler) pauseTrigger(w http.ResponseWriter, r *http.Request) error {
	return h.switchTrigger(w, r, h.Triggers.Pause)
}

func (h *handler) resumeTrigger(w http.ResponseWriter, r *http.Request) error {
	return h.switchTrigger(w, r, h.Triggers.Resume)
}

func (h *handler) switchTrigger(w http.ResponseWriter, r *http.Request, to func(context.Context, string) (triggers.Mapping, error)) error {
	name := r.PathValue("name")
	m, err := to(r.Context(), name)
	if err != nil {
		return h.ofTrigger(r.Context(), err, name)
	}
	writeJSON(w, http.StatusOK, viewTrigger(m))
	return nil
}

func (h *handler) deleteTrigger(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if err := h.Triggers.Delete(r.Context(), name); err != nil {
		return h.ofTrigger(r.Context(), err, name)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// waitTrigger answers once every record acknowledged before the call is
// resolved and its dead letters are visible.
func (h *handler) waitTrigger(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := h.untilClosing(r.Context())
	defer cancel()
	name := r.PathValue("name")
	q := parameters(r)
	drained, timeout := q.flag("drained"), q.duration("timeout", time.Minute, maxWait)
	if err := q.done(); err != nil {
		return err
	}
	if !drained {
		return newError(CodeBadRequest, "what to wait for? want drained=true").With("parameter", "drained")
	}
	m, err := h.Triggers.Get(ctx, name)
	if err != nil {
		return h.ofTrigger(ctx, err, name)
	}
	waiting, cancelWait := context.WithTimeout(ctx, timeout)
	defer cancelWait()
	if err := h.Triggers.WaitDrained(waiting, name); err != nil {
		if errors.Is(err, triggers.ErrInvalid) {
			return newError(CodeTriggerStopped, "%s", plain(err, triggers.ErrInvalid)).Named(name)
		}
		if waiting.Err() == nil || ctx.Err() != nil {
			return h.ofTrigger(ctx, err, name)
		}
		shards, _ := h.Triggers.Status(ctx, name) // a help only
		return notDrained(m, shards, timeout)
	}
	m, err = h.Triggers.Get(ctx, name)
	if err != nil {
		return h.ofTrigger(ctx, err, name)
	}
	v := viewTrigger(m)
	if v.Shards, err = h.Triggers.Status(ctx, name); err != nil {
		return h.ofTrigger(ctx, err, name)
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// notDrained says what was missing when a wait ended.
func notDrained(m triggers.Mapping, shards []ShardProgress, timeout time.Duration) error {
	var lag uint64
	for _, s := range shards {
		lag += s.Lag
	}
	records := "records are"
	if lag == 1 {
		records = "record is"
	}
	e := newError(CodeWaitExpired, "trigger %s was not drained within %s: %d %s left", m.Name, Duration(timeout), lag, records).
		With("lag", lag).Do("see its shards and their problems", "wasmill trigger get "+m.Name)
	for _, s := range shards {
		if s.Problem != "" {
			e.Message += "; " + s.Shard + " has stopped: " + s.Problem
			e.Details["problem"] = s.Problem
			break
		}
	}
	if !m.Enabled {
		e.Message += "; it is paused"
		e.Do("let it run", "wasmill trigger resume "+m.Name)
	}
	return e
}

func viewTrigger(m triggers.Mapping) Trigger {
	c := m.Config
	v := Trigger{Name: m.Name, ID: m.ID, Generation: m.Generation, Stream: StreamName(c.Stream), StreamARN: m.StreamARN,
		Function: c.Function, Qualifier: c.Qualifier, From: formatFrom(c.Position), BatchSize: c.BatchSize, Window: Duration(c.Window),
		Parallel: c.Parallel, Retries: triggers.Forever, RecordAge: Duration(c.RecordAge), Bisect: c.Bisect, PartialReplies: c.PartialReplies,
		Backoff: Duration(c.Backoff), SkipCorrupt: c.SkipCorrupt, Enabled: m.Enabled, State: m.State, Created: m.Created.UTC(), Modified: m.Modified.UTC()}
	if c.Retries != nil {
		v.Retries = *c.Retries
	}
	return v
}

// ofTrigger turns an error about a trigger into one that names its like.
func (h *handler) ofTrigger(ctx context.Context, err error, name string) error {
	if _, done := errors.AsType[*Error](err); done || !errors.Is(err, triggers.ErrNotFound) {
		if errors.Is(err, functions.ErrNotFound) {
			return h.toError(err)
		}
		return h.named(err, name)
	}
	all, _ := h.Triggers.List(ctx) // a suggestion only
	names := make([]string, len(all))
	for i, m := range all {
		names[i] = m.Name
	}
	return newError(CodeTriggerNotFound, "there is no trigger %q", name).Named(name).With("trigger", name).suggest(name, names)
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
