package admin

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/wasmill/wasmill/functions"
)

// Alias is a name for a version of a function, or for two of them.
type Alias struct {
	Name        string `json:"name"`
	Version     string `json:"version"`
	Description string `json:"description,omitempty"`
	// Weights is which share of calls goes to another version, above 0 to 1. One entry at most.
	Weights map[string]float64 `json:"weights,omitempty"`
}

// AliasSpec asks for an alias. It replaces the one there is; a nil Description stays.
type AliasSpec struct {
	Version     string             `json:"version"`
	Description *string            `json:"description,omitempty"`
	Weights     map[string]float64 `json:"weights,omitempty"`
}

func viewAlias(a functions.Alias) Alias {
	return Alias{Name: a.Name, Version: a.Version, Description: a.Description, Weights: a.Weights}
}

func viewAliases(a functions.Attributes) []Alias {
	out := []Alias{}
	for _, name := range slices.Sorted(maps.Keys(a.Aliases)) {
		out = append(out, viewAlias(a.Aliases[name]))
	}
	return out
}

func (h *handler) listAliases(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if err := parameters(r).done(); err != nil {
		return err
	}
	a, err := h.Functions.Attributes(r.Context(), name)
	if err != nil {
		return h.ofFunction(r.Context(), err, name, "")
	}
	writeJSON(w, http.StatusOK, map[string]any{"aliases": viewAliases(a)})
	return nil
}

func (h *handler) setAlias(w http.ResponseWriter, r *http.Request) error {
	name, alias := r.PathValue("name"), r.PathValue("alias")
	var spec AliasSpec
	if err := readJSON(w, r, maxJSON, &spec); err != nil {
		return err
	}
	for version, weight := range spec.Weights {
		if weight == 0 {
			delete(spec.Weights, version)
		}
	}
	// Asked first: of what SetAttributes does not find, nobody knows which version it is.
	for _, version := range slices.AppendSeq([]string{spec.Version}, maps.Keys(spec.Weights)) {
		if _, err := h.Functions.Resolve(r.Context(), name, version); err != nil {
			return h.ofFunction(r.Context(), err, name, version)
		}
	}
	a, err := h.Functions.SetAttributes(r.Context(), name, func(a *functions.Attributes) error {
		is := a.Aliases[alias]
		is.Version, is.Weights = spec.Version, spec.Weights
		if spec.Description != nil {
			is.Description = *spec.Description
		}
		a.Aliases[alias] = is
		return nil
	})
	if err != nil {
		return h.ofFunction(r.Context(), err, name, "")
	}
	writeJSON(w, http.StatusOK, viewAlias(a.Aliases[alias]))
	return nil
}

func (h *handler) deleteAlias(w http.ResponseWriter, r *http.Request) error {
	name, alias := r.PathValue("name"), r.PathValue("alias")
	all, err := h.Triggers.List(r.Context())
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.Config.Function == name && m.Config.Qualifier == alias {
			return newError(CodeFunctionInUse, "alias %s of function %s is called by trigger %s", alias, name, m.Name).Named(m.Name).With("trigger", m.Name)
		}
	}
	_, err = h.Functions.SetAttributes(r.Context(), name, func(a *functions.Attributes) error {
		if _, ok := a.Aliases[alias]; !ok {
			names := slices.Sorted(maps.Keys(a.Aliases))
			return newError(CodeFunctionNotFound, "function %s has no alias %q", name, alias).Named(name).With("aliases", names).suggest(alias, names)
		}
		delete(a.Aliases, alias)
		delete(a.Policies, alias)
		delete(a.Async, alias)
		return nil
	})
	if err != nil {
		return h.ofFunction(r.Context(), err, name, "")
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Aliases lists a function's, by name.
func (c *Client) Aliases(ctx context.Context, function string) ([]Alias, error) {
	var v struct{ Aliases []Alias }
	err := c.call(ctx, "GET", path("functions", function, "aliases"), nil, &v)
	return v.Aliases, err
}

// SetAlias makes or replaces an alias of a function.
func (c *Client) SetAlias(ctx context.Context, function, alias string, spec AliasSpec) (v Alias, err error) {
	err = c.call(ctx, "PUT", path("functions", function, "aliases", alias), spec, &v)
	return v, err
}

// DeleteAlias deletes an alias of a function.
func (c *Client) DeleteAlias(ctx context.Context, function, alias string) error {
	return c.call(ctx, "DELETE", path("functions", function, "aliases", alias), nil, nil)
}
