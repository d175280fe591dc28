package admin

import (
	"fmt"
	"net/http"

	"github.com/wasmill/wasmill/stream"
)

func (h *handler) info(w http.ResponseWriter, r *http.Request) error {
	writeJSON(w, http.StatusOK, h.Info())
	return nil
}

func (h *handler) health(w http.ResponseWriter, r *http.Request) error {
	if h.closing() {
		return newError(CodeStopping, "the server is stopping")
	}
	if h.Healthy != nil {
		if err := h.Healthy(r.Context()); err != nil {
			return newError(CodeUnhealthy, "%v", err)
		}
	}
	info := h.Info()
	writeJSON(w, http.StatusOK, map[string]any{"status": "ok", "version": info.Version, "pid": info.PID,
		"usedBytes": info.Used, "freeBytes": info.Free})
	return nil
}

// localstackHealth answers clients that wait for LocalStack, in its shape.
func (h *handler) localstackHealth(w http.ResponseWriter, r *http.Request) error {
	services := map[string]string{}
	for _, s := range h.Services {
		services[s] = "running"
	}
	writeJSON(w, http.StatusOK, map[string]any{"services": services, "edition": "wasmill", "version": h.Info().Version})
	return nil
}

func (h *handler) shutdown(w http.ResponseWriter, r *http.Request) error {
	if h.Shutdown == nil {
		return newError(CodeNoSuchPath, "this server cannot be stopped from outside")
	}
	writeJSON(w, http.StatusAccepted, map[string]any{"stopping": true})
	h.Shutdown()
	return nil
}

// reset deletes everything a user made, triggers first so that nothing runs
// on what is being deleted.
func (h *handler) reset(w http.ResponseWriter, r *http.Request) error {
	if !h.AllowReset {
		return newError(CodeResetRefused, "this server was started without --memory and --allow-reset: its data is not to be reset")
	}
	ctx := r.Context()
	var deleted struct {
		Triggers    int `json:"triggers"`
		Streams     int `json:"streams"`
		Functions   int `json:"functions"`
		DeadLetters int `json:"deadLetters"`
	}
	mappings, err := h.Triggers.List(ctx)
	if err != nil {
		return err
	}
	for _, m := range mappings {
		if err := h.Triggers.Delete(ctx, m.Name); err != nil {
			return fmt.Errorf("delete trigger %s: %w", m.Name, err)
		}
		deleted.Triggers++
	}
	streams, err := h.Streams.List(ctx)
	if err != nil {
		return err
	}
	for _, d := range streams {
		if err := h.Streams.Delete(ctx, stream.Ref(d.Ref)); err != nil {
			return fmt.Errorf("delete stream %s: %w", d.Name, err)
		}
		deleted.Streams++
	}
	fns, err := h.Functions.List(ctx)
	if err != nil {
		return err
	}
	for _, v := range fns {
		if err := h.Functions.Delete(ctx, v.Function); err != nil {
			return fmt.Errorf("delete function %s: %w", v.Function, err)
		}
		deleted.Functions++
	}
	for _, f := range h.Faults.List() {
		h.Faults.Remove(f.ID)
	}
	if deleted.DeadLetters, err = h.Letters.Purge(ctx, LetterFilter{}); err != nil {
		return fmt.Errorf("purge dead letters: %w", err)
	}
	writeJSON(w, http.StatusOK, map[string]any{"deleted": deleted})
	return nil
}
