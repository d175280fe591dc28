package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/wasmill/wasmill/api/wire"
)

// FaultSpec asks for calls of AWS clients to fail, or to be slow.
type FaultSpec struct {
	// Service and Op name the operation ("kinesis", "PutRecords"). An empty Service is
	// the one that has it.
	Service string `json:"service,omitempty"`
	Op      string `json:"op"`
	// Rate is which share of calls, or with Records of records, is hit: above 0, to 1.
	// Left out: all.
	Rate *float64 `json:"rate,omitempty"`
	// Error is the code of AWS's that is answered, in place of doing anything.
	Error   string   `json:"error,omitempty"`
	Latency Duration `json:"latency,omitempty"`
	// Records fails single records of PutRecords, and not the call.
	Records bool `json:"records,omitempty"`
	// Seed has the same calls be hit each time. Left out: one is made up.
	Seed *uint64 `json:"seed,omitempty"`
}

// Fault is one that is injected. It lasts until it is removed, or the server stops.
type Fault struct {
	ID      string   `json:"id"`
	Service string   `json:"service"`
	Op      string   `json:"op"`
	Rate    float64  `json:"rate"`
	Error   string   `json:"error,omitempty"`
	Latency Duration `json:"latency,omitempty"`
	Records bool     `json:"records,omitempty"`
	Seed    uint64   `json:"seed"`
	Seen    int64    `json:"seen"` // calls or records since it began
	Hits    int64    `json:"hits"` // of those
}

func viewFault(f wire.Fault) Fault {
	return Fault{ID: f.ID, Service: f.Service, Op: f.Op, Rate: f.Rate, Error: f.Error, Latency: Duration(f.Latency), Records: f.Records, Seed: *f.Seed, Seen: f.Seen, Hits: f.Hits}
}

func (h *handler) addFault(w http.ResponseWriter, r *http.Request) error {
	var spec FaultSpec
	if err := readJSON(w, r, maxJSON, &spec); err != nil {
		return err
	}
	if spec.Op == "" {
		return newError(CodeFaultInvalid, "a fault needs an operation").With("field", "op")
	}
	rate := 1.0
	if spec.Rate != nil {
		rate = *spec.Rate
	}
	f, err := h.Faults.Add(wire.Fault{Service: spec.Service, Op: spec.Op, Rate: rate, Error: spec.Error, Latency: time.Duration(spec.Latency), Records: spec.Records, Seed: spec.Seed})
	if unknown, ok := errors.AsType[*wire.UnknownOperation](err); ok {
		return newError(CodeFaultInvalid, "%v", unknown).With(unknown.What, unknown.Name).suggest(unknown.Name, unknown.Known)
	}
	if err != nil {
		return newError(CodeFaultInvalid, "%s", strings.ReplaceAll(err.Error(), wire.ErrFault.Error()+": ", ""))
	}
	writeJSON(w, http.StatusCreated, viewFault(f))
	return nil
}

func (h *handler) listFaults(w http.ResponseWriter, r *http.Request) error {
	if err := parameters(r).done(); err != nil {
		return err
	}
	out := []Fault{}
	for _, f := range h.Faults.List() {
		out = append(out, viewFault(f))
	}
	writeJSON(w, http.StatusOK, map[string]any{"faults": out})
	return nil
}

func (h *handler) removeFault(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if !h.Faults.Remove(id) {
		var ids []string
		for _, f := range h.Faults.List() {
			ids = append(ids, f.ID)
		}
		return newError(CodeFaultNotFound, "there is no fault %q", id).With("fault", id).suggest(id, ids)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// AddFault begins a fault.
func (c *Client) AddFault(ctx context.Context, spec FaultSpec) (v Fault, err error) {
	err = c.call(ctx, "POST", path("faults"), spec, &v)
	return v, err
}

// Faults lists them, the oldest first.
func (c *Client) Faults(ctx context.Context) ([]Fault, error) {
	var v struct{ Faults []Fault }
	err := c.call(ctx, "GET", path("faults"), nil, &v)
	return v.Faults, err
}

// RemoveFault ends a fault.
func (c *Client) RemoveFault(ctx context.Context, id string) error {
	return c.call(ctx, "DELETE", path("faults", id), nil, nil)
}
