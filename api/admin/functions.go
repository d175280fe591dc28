package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/functions/archive"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/door"
	"github.com/wasmill/wasmill/stream"
)

// ConfigHeader carries a [FunctionSpec] as JSON (in ASCII, other characters
// escaped) beside a module in the body.
const ConfigHeader = "Wasmill-Config"

func (h *handler) listFunctions(w http.ResponseWriter, r *http.Request) error {
	all, err := h.Functions.List(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string]any{"functions": viewFunctions(all)})
	return nil
}

func (h *handler) getFunction(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	q := parameters(r)
	qualifier := q.text("qualifier")
	if err := q.done(); err != nil {
		return err
	}
	v, err := h.Functions.Resolve(r.Context(), name, qualifier)
	if err != nil {
		return h.ofFunction(r.Context(), err, name, qualifier)
	}
	versions, err := h.Functions.Versions(r.Context(), name)
	if err != nil {
		return h.ofFunction(r.Context(), err, name, qualifier)
	}
	a, err := h.Functions.Attributes(r.Context(), name)
	if err != nil {
		return h.ofFunction(r.Context(), err, name, qualifier)
	}
	view := viewFunction(v)
	view.Aliases, view.Tags = viewAliases(a), a.Tags
	for _, p := range versions {
		if p.Version != functions.Unpublished {
			view.Versions = append(view.Versions, p.Version)
		}
	}
	writeJSON(w, http.StatusOK, view)
	return nil
}

func (h *handler) listVersions(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	all, err := h.Functions.Versions(r.Context(), name)
	if err != nil {
		return h.ofFunction(r.Context(), err, name, "")
	}
	writeJSON(w, http.StatusOK, map[string]any{"versions": viewFunctions(all)})
	return nil
}

func (h *handler) createFunction(w http.ResponseWriter, r *http.Request) error {
	var spec FunctionSpec
	if header := r.Header.Get(ConfigHeader); header != "" {
		dec := json.NewDecoder(strings.NewReader(header))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&spec); err != nil {
			return newError(CodeBadRequest, "header %s: %s", ConfigHeader, strings.TrimPrefix(err.Error(), "json: "))
		}
	}
	if err := spec.zeros(); err != nil {
		return err
	}
	var c functions.Config
	spec.apply(&c)
	return h.deploy(w, r, func(ctx context.Context, name string, code []byte, progress func(runtime.Progress)) (functions.Version, []string, error) {
		v, warnings, err := h.Functions.Create(ctx, name, code, c, progress)
		return v, h.warnTargets(ctx, append(warnings, doubts(c.Allow)...), v, err), err
	})
}

// getCode gives the module of a version, or of an alias's, as a zip file: as AWS gives code.
func (h *handler) getCode(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	q := parameters(r)
	qualifier := q.text("version")
	if err := q.done(); err != nil {
		return err
	}
	v, err := h.Functions.Resolve(r.Context(), name, qualifier)
	if err != nil {
		return h.ofFunction(r.Context(), err, name, qualifier)
	}
	module, err := h.Functions.Code(r.Context(), v.Code.SHA256)
	if err != nil {
		return err
	}
	packed, err := archive.Pack(module)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/zip")
	w.Header().Set("Content-Disposition", "attachment; filename="+name+".zip")
	w.Header().Set("Content-Length", strconv.Itoa(len(packed)))
	w.Write(packed) // the caller may have gone; nobody is left to tell
	return nil
}

func (h *handler) updateCode(w http.ResponseWriter, r *http.Request) error {
	return h.deploy(w, r, h.Functions.UpdateCode)
}

// deploy reads a module and has it put in place. Progress and the result are
// NDJSON lines of [DeployLine]; what fails before the first is a plain error.
func (h *handler) deploy(w http.ResponseWriter, r *http.Request, put func(context.Context, string, []byte, func(runtime.Progress)) (functions.Version, []string, error)) error {
	name := r.PathValue("name")
	if r.ContentLength > functions.MaxCode {
		return &http.MaxBytesError{Limit: functions.MaxCode}
	}
	upload, err := io.ReadAll(http.MaxBytesReader(w, r.Body, functions.MaxCode))
	if err != nil {
		return err
	}
	code := upload
	if archive.Is(upload) { // what else is no module the compiler says better
		if code, err = archive.Module(upload); err != nil {
			return err
		}
	}
	if err := archive.Startable(code); err != nil {
		return err
	}
	out := newLines(w)
	// Compiling may report from several goroutines, and once the call has
	// returned the writer must not be touched.
	reports := make(chan runtime.Progress, 16) // from put; never closed, left behind when put has returned
	type result struct {
		v        functions.Version
		warnings []string
		err      error
	}
	done := make(chan result, 1)
	go func() {
		v, warnings, err := put(r.Context(), name, code, func(p runtime.Progress) {
			select {
			case reports <- p:
			default: // a caller who reads slowly misses some
			}
		})
		done <- result{v, warnings, err}
	}()
	// At most ten lines a second, and none for what fails at once.
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var latest *Progress
	for {
		select {
		case p := <-reports:
			latest = &Progress{Stage: p.Stage, Done: p.Done, Total: p.Total}
		case <-tick.C:
			if latest != nil {
				out.send(DeployLine{Progress: latest}) // a caller who has gone ends the context, and so put
				latest = nil
			}
		case res := <-done:
			if res.err != nil {
				err := h.ofFunction(r.Context(), res.err, name, "")
				if !out.begun {
					return err
				}
				out.send(DeployLine{Error: h.toError(err)})
				return nil
			}
			view := viewFunction(res.v)
			out.send(DeployLine{Function: &view, Warnings: res.warnings})
			return nil
		}
	}
}

func (h *handler) updateConfig(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	var spec FunctionSpec
	if err := readJSON(w, r, maxJSON, &spec); err != nil {
		return err
	}
	if err := spec.zeros(); err != nil {
		return err
	}
	v, warnings, err := h.Functions.UpdateConfig(r.Context(), name, "", func(c *functions.Config) error {
		spec.apply(c)
		return nil
	})
	if err != nil {
		return h.ofFunction(r.Context(), err, name, "")
	}
	if spec.Emits != nil {
		warnings = h.warnTargets(r.Context(), warnings, v, nil)
	}
	if spec.Allow != nil {
		warnings = append(warnings, doubts(v.Config.Allow)...)
	}
	view := viewFunction(v)
	writeJSON(w, http.StatusOK, DeployLine{Function: &view, Warnings: warnings})
	return nil
}

// doubts are warnings of patterns that reach less than they look like.
func doubts(allow []string) (warnings []string) {
	for _, pattern := range allow {
		if text := door.Doubt(pattern); text != "" {
			warnings = append(warnings, "allow: "+text)
		}
	}
	return warnings
}

// warnTargets adds a warning for each stream that v may emit to and that does
// not exist: it may be created later, but emitting to it fails until then.
func (h *handler) warnTargets(ctx context.Context, warnings []string, v functions.Version, err error) []string {
	if err != nil {
		return warnings
	}
	for _, name := range v.Config.Emits {
		if _, err := h.Streams.Describe(ctx, stream.Local(name)); errors.Is(err, stream.ErrNotFound) {
			warnings = append(warnings, fmt.Sprintf("there is no stream %s yet, to which function %s may emit: batches that emit to it fail until there is; create it with: wasmill stream create %s", name, v.Function, name))
		}
	}
	return warnings
}

func (h *handler) publish(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	var spec PublishSpec
	if r.ContentLength != 0 {
		if err := readJSON(w, r, maxJSON, &spec); err != nil {
			return err
		}
	}
	v, err := h.Functions.Publish(r.Context(), name, functions.Publication{Description: spec.Description})
	if err != nil {
		return h.ofFunction(r.Context(), err, name, "")
	}
	writeJSON(w, http.StatusCreated, viewFunction(v))
	return nil
}

func (h *handler) deleteFunction(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	all, err := h.Triggers.List(r.Context())
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.Config.Function == name {
			return newError(CodeFunctionInUse, "function %s is called by trigger %s", name, m.Name).Named(m.Name).With("trigger", m.Name)
		}
	}
	if err := h.Functions.Delete(r.Context(), name); err != nil {
		return h.ofFunction(r.Context(), err, name, "")
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *handler) invoke(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	q := parameters(r)
	qualifier := q.text("qualifier")
	if err := q.done(); err != nil {
		return err
	}
	payload, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPayload))
	if err != nil {
		return err
	}
	if len(payload) == 0 {
		payload = []byte("{}")
	}
	if !json.Valid(payload) {
		return newError(CodeBadRequest, "the payload is not JSON")
	}
	// Asked first, so that a name that does not exist is not found rather than an outcome.
	if _, err := h.Functions.Resolve(r.Context(), name, qualifier); err != nil {
		return h.ofFunction(r.Context(), err, name, qualifier)
	}
	inv := runtime.Invocation{ID: uuid.NewString(), Payload: payload, Source: "invoke"}
	res := h.Invoker.Invoke(r.Context(), name, qualifier, &inv)
	out := Invocation{ID: inv.ID, Function: name, Version: res.Version.Version, Outcome: res.Outcome.String(),
		ErrorType: res.ErrorType, ErrorMessage: res.ErrorMessage, DurationMS: milliseconds(res.Duration), InitMS: milliseconds(res.Init),
		MaxMemory: res.MaxMemory, Log: strings.ToValidUTF8(string(res.Logs), "\ufffd")}
	if json.Valid(res.Response) {
		out.Response = res.Response
	}
	if json.Valid(res.StackTrace) {
		out.StackTrace = res.StackTrace
	}
	if res.Outcome == runtime.Done {
		emits, problem := runtime.PreviewEmits(name, payload, res.Response, res.Version.Config.Emits)
		if problem == nil {
			if problem = h.checkTargets(r.Context(), emits); problem != nil && !errors.Is(problem, runtime.ErrEmit) {
				return problem
			}
		}
		switch {
		case problem != nil:
			out.EmitProblem = problem.Error()
		case len(emits) == 0:
			out.EmitIgnored = runtime.IgnoredEmits(&runtime.Invocation{Batch: &runtime.Batch{}}, &res)
		default:
			for _, e := range emits {
				out.Emits = append(out.Emits, Emit{e.Stream, e.PartitionKey, e.Data})
			}
		}
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (h *handler) functionLogs(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := h.untilClosing(r.Context())
	defer cancel()
	name := r.PathValue("name")
	q := parameters(r)
	follow, n := q.flag("follow"), q.number("tail", 100, 0, 1<<20)
	if err := q.done(); err != nil {
		return err
	}
	if _, err := h.Functions.Resolve(ctx, name, functions.Unpublished); err != nil && (follow || !h.wrote(name)) {
		return h.ofFunction(ctx, err, name, "")
	}
	out, sent := newLines(w), uint64(0)
	if err := out.begin(); err != nil {
		return nil // the caller has gone
	}
	if h.Logs != nil && !follow {
		for line := range h.Logs.Tail(name, n) {
			sent++
			out.write(LogStreamLine{Log: &line})
		}
	}
	if h.Logs != nil && follow {
		for line := range h.Logs.Follow(ctx, name, n) {
			sent++
			if out.send(LogStreamLine{Log: &line}) != nil {
				return nil
			}
		}
	}
	if h.closing() {
		out.send(LogStreamLine{Error: newError(CodeStopping, "the server is stopping")})
		return nil
	}
	out.send(LogStreamLine{End: &End{Records: sent}})
	return nil
}

// wrote says whether something is kept that a function has written, which may be gone.
func (h *handler) wrote(name string) bool {
	if h.Logs != nil {
		for range h.Logs.Tail(name, 1) {
			return true
		}
	}
	return false
}

func viewFunction(v functions.Version) Function {
	version := v.Version
	if version == "" {
		version = functions.Unpublished
	}
	return Function{Name: v.Function, Version: version, ARN: v.ARN(defaultAccount, defaultRegion), ID: v.ID, Revision: v.Revision,
		SHA256: v.Code.SHA256, CodeBytes: v.Code.Size, ABI: v.Code.ABI, Timeout: Duration(v.Config.Timeout), MemoryMB: v.Config.Memory,
		Environment: v.Config.Environment, Emits: v.Config.Emits, Description: v.Config.Description, Modified: v.Modified.UTC(),
		Allow: v.Config.Allow, Isolation: cmp.Or(v.Config.Isolation, functions.IsolationEnvironment), Concurrency: v.Config.Concurrency,
		State: v.State, Reason: v.Reason, Update: v.Update, UpdateReason: v.UpdateReason}
}

func viewFunctions(all []functions.Version) []Function {
	out := make([]Function, len(all))
	for i, v := range all {
		out[i] = viewFunction(v)
	}
	return out
}

// ofFunction turns an error about a function into one that names its like.
func (h *handler) ofFunction(ctx context.Context, err error, name, qualifier string) error {
	if errors.Is(err, functions.ErrExists) {
		return newError(CodeFunctionExists, "a function named %s exists already", name).Named(name).With("function", name)
	}
	if _, done := errors.AsType[*Error](err); done || !errors.Is(err, functions.ErrNotFound) {
		return h.named(err, name)
	}
	if versions, known := h.Functions.Versions(ctx, name); known == nil && qualifier != "" {
		var have []string
		for _, v := range versions {
			have = append(have, v.Version)
		}
		return newError(CodeFunctionNotFound, "function %s has no version and no alias %q", name, qualifier).Named(name).With("versions", have).
			Do("list its versions", "wasmill fn get "+name)
	}
	all, _ := h.Functions.List(ctx) // a suggestion only
	names := make([]string, len(all))
	for i, v := range all {
		names[i] = v.Function
	}
	return newError(CodeFunctionNotFound, "there is no function %q", name).Named(name).With("function", name).suggest(name, names)
}
