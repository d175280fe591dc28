package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	streams, err := h.Streams.List(r.Context())
	if err != nil {
		return err
	}
	there := map[string]bool{} // by incarnation
	for _, d := range streams {
		there[d.ID] = true
	}
	out := make([]Trigger, len(all))
	for i, m := range all {
		out[i] = viewTrigger(m)
		if !there[m.StreamID] {
			out[i].Problem = streamGone(m)
		}
		out[i].Outputs, out[i].Trouble = h.Triggers.OutputProblem(m.ID), h.Triggers.Trouble(r.Context(), m)
	}
	writeJSON(w, http.StatusOK, map[string]any{"triggers": out})
	return nil
}

func streamGone(m triggers.Mapping) string {
	return fmt.Sprintf("stream %s was deleted; remove the trigger with: wasmill trigger rm %s", m.Config.Stream, m.Name)
}

// viewWhole is a trigger with where it stands.
func (h *handler) viewWhole(ctx context.Context, m triggers.Mapping) (Trigger, error) {
	v := viewTrigger(m)
	st, err := h.Triggers.Status(ctx, m.Name)
	v.Problem, v.Outputs, v.LastResult, v.Shards = st.Problem, st.Outputs, st.LastResult, st.Shards
	v.Trouble = h.Triggers.Trouble(ctx, m)
	return v, err
}

// taken says which trigger has the name, or the pair of stream and function.
func (h *handler) taken(ctx context.Context, name string, c triggers.Config) error {
	all, _ := h.Triggers.List(ctx) // to say it better
	for _, m := range all {
		if m.Name != name && m.Config.Stream == c.Stream && m.Config.Function == c.Function && m.Config.Qualifier == c.Qualifier {
			return newError(CodeTriggerExists, "trigger %s already calls %s with the records of stream %s", m.Name, c.Function, c.Stream).Named(m.Name).With("trigger", m.Name)
		}
	}
	return newError(CodeTriggerExists, "a trigger named %s exists already", name).Named(name).With("trigger", name)
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
	if err := spec.zeros(); err != nil {
		return err
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
	if _, err := h.Functions.Resolve(ctx, *spec.Function, deref(spec.Qualifier)); err != nil {
		return h.ofFunction(ctx, err, *spec.Function, deref(spec.Qualifier))
	}
	c := triggers.Config{Stream: spec.Stream, Position: pos}
	spec.apply(&c)
	m, err := h.Triggers.Create(ctx, spec.Name, c, !spec.Paused)
	if errors.Is(err, triggers.ErrExists) {
		if _, named := h.Triggers.Get(ctx, spec.Name); named == nil {
			c = triggers.Config{} // the name is what is taken
		}
		return h.taken(ctx, spec.Name, c)
	}
	if err != nil {
		return h.named(err, spec.Name)
	}
	writeJSON(w, http.StatusCreated, viewTrigger(m))
	return nil
}

func (h *handler) getTrigger(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	m, err := h.Triggers.Get(r.Context(), name)
	if errors.Is(err, triggers.ErrNotFound) {
		if byID, found := h.Triggers.Find(r.Context(), name); found == nil {
			m, err = byID, nil
		}
	}
	if err != nil {
		return h.ofTrigger(r.Context(), err, name)
	}
	v, err := h.viewWhole(r.Context(), m)
	if err != nil {
		return h.ofTrigger(r.Context(), err, name)
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// checkDestination says whether a trigger may have a destination, before one is made with it.
func (h *handler) checkDestination(w http.ResponseWriter, r *http.Request) error {
	q := parameters(r)
	name := q.text("name")
	if err := q.done(); err != nil {
		return err
	}
	if err := h.Triggers.CheckDestination(r.Context(), name); err != nil {
		return h.toError(err)
	}
	writeJSON(w, http.StatusOK, map[string]any{"destination": name})
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
		if _, err := h.Functions.Resolve(ctx, fn, deref(spec.Qualifier)); err != nil {
			return h.ofFunction(ctx, err, fn, deref(spec.Qualifier))
		}
	}
	if err := spec.zeros(); err != nil {
		return err
	}
	var wanted triggers.Config
	m, err := h.Triggers.Update(ctx, name, func(c *triggers.Config) {
		spec.apply(c)
		wanted = *c
	})
	if errors.Is(err, triggers.ErrExists) {
		return h.taken(ctx, name, wanted)
	}
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
	ctx, cancel := h.untilClosing(r.Context())
	defer cancel()
	name := r.PathValue("name")
	if err := h.Triggers.Delete(ctx, name); err != nil {
		if h.closing() {
			return newError(CodeStopping, "the server is stopping; trigger %s goes after its next start", name)
		}
		return h.ofTrigger(ctx, err, name)
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
		if h.closing() {
			return newError(CodeStopping, "the server is stopping; trigger %s is not drained", name)
		}
		if errors.Is(err, stream.ErrNotFound) {
			return newError(CodeTriggerStopped, "trigger %s cannot be drained: %s", name, streamGone(m)).Named(name)
		}
		if errors.Is(err, triggers.ErrInvalid) {
			return newError(CodeTriggerStopped, "%s", plain(err, triggers.ErrInvalid)).Named(name)
		}
		if waiting.Err() == nil || ctx.Err() != nil {
			return h.ofTrigger(ctx, err, name)
		}
		st, _ := h.Triggers.Status(ctx, name) // a help only
		st.Problem = cmp.Or(st.Problem, h.Triggers.Trouble(ctx, m))
		return notDrained(m, st, timeout)
	}
	m, err = h.Triggers.Get(ctx, name)
	if err != nil {
		return h.ofTrigger(ctx, err, name)
	}
	v, err := h.viewWhole(ctx, m)
	if err != nil {
		return h.ofTrigger(ctx, err, name)
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// notDrained says what was missing when a wait ended.
func notDrained(m triggers.Mapping, st TriggerStatus, timeout time.Duration) error {
	var lag uint64
	for _, s := range st.Shards {
		lag += s.Lag
	}
	records := "records are"
	if lag == 1 {
		records = "record is"
	}
	e := newError(CodeWaitExpired, "trigger %s was not drained within %s: %d %s left", m.Name, Duration(timeout), lag, records).
		With("lag", lag).Do("see its shards and their problems", "wasmill trigger get "+m.Name)
	if st.Problem != "" {
		e.Message += "; " + st.Problem
		e.Details["problem"] = st.Problem
	} else if s, found := hindered(st.Shards); found {
		e.Message += "; " + s.Hindrance()
		e.Details["shard"] = s
		if s.Problem != "" {
			e.Details["problem"] = s.Problem
		}
	}
	if st.Outputs != "" {
		e.Message += "; " + st.Outputs
		e.Details["outputs"] = st.Outputs
	}
	if !m.Enabled {
		e.Message += "; it is paused"
		e.Do("let it run", "wasmill trigger resume "+m.Name)
	}
	return e
}

// hindered is the shard that most likely keeps a trigger from getting on: one
// that has stopped, else the one with the most attempts.
func hindered(shards []ShardProgress) (worst ShardProgress, found bool) {
	for _, s := range shards {
		if s.Problem != "" {
			return s, true
		}
		if s.Hindrance() != "" && (!found || s.Attempts > worst.Attempts) {
			worst, found = s, true
		}
	}
	return worst, found
}

// Hindrance says what keeps the shard from getting on, or nothing.
func (s *ShardProgress) Hindrance() string {
	switch {
	case s.Problem != "":
		return s.Shard + " has stopped: " + s.Problem
	case s.Waiting == 0 && (s.Attempts == 0 || s.Lag == 0):
		return ""
	}
	attempts := fmt.Sprintf("%d attempts", s.Attempts)
	if s.Attempts == 1 {
		attempts = "1 attempt"
	}
	text := fmt.Sprintf("%s tries again after %s", s.Shard, attempts)
	if s.Waiting > 0 {
		text = fmt.Sprintf("%s is backing off after %s", s.Shard, attempts)
		if in := time.Until(s.RetryAt).Round(100 * time.Millisecond); in > 0 && !s.RetryAt.IsZero() {
			text += ", again in " + Duration(in).String()
		}
	}
	if s.LastError != "" {
		text += "; last error: " + s.LastError
	}
	return text
}

func viewTrigger(m triggers.Mapping) Trigger {
	c := m.Config
	v := Trigger{Name: m.Name, ID: m.ID, Generation: m.Generation, Stream: c.StreamName(), StreamARN: m.StreamARN,
		Function: c.Function, Qualifier: c.Qualifier, From: formatFrom(c.Position), BatchSize: c.BatchSize, Window: Duration(c.Window),
		Parallel: c.Parallel, Retries: triggers.Forever, RecordAge: Duration(c.RecordAge), Bisect: c.Bisect, PartialReplies: c.PartialReplies,
		Backoff: Duration(c.Backoff), SkipCorrupt: c.SkipCorrupt, Deaggregate: c.Deaggregate,
		Filters: c.Filters, StrictFilters: c.StrictFilters, TumblingWindow: Duration(c.Tumbling), OnFailure: c.OnFailure,
		OnDestinationFailure: c.OnDestinationFailure, Tags: m.Tags, Enabled: m.Enabled, State: m.State, Created: m.Created.UTC(), Modified: m.Modified.UTC()}
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
