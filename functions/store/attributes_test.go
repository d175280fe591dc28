package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

// alias has a store name a version.
func alias(t *testing.T, s *Store, function, name, version string, weights map[string]float64) functions.Alias {
	t.Helper()
	a, err := s.SetAttributes(t.Context(), function, func(a *functions.Attributes) error {
		is := a.Aliases[name]
		is.Version, is.Weights = version, weights
		a.Aliases[name] = is
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return a.Aliases[name]
}

// versions makes a function with n versions, of the code "1", "2", ….
func versions(t *testing.T, s *Store, name string, n int) {
	t.Helper()
	create(t, s, name, "1")
	for i := range n {
		if _, _, err := s.UpdateCode(t.Context(), name, fmt.Append(nil, i+1), nil); err != nil {
			t.Fatal(err)
		}
		publish(t, s, name)
	}
}

func TestAliasChoosesByWeight(t *testing.T) {
	s, _ := open(t, natsdtest.Memory(t))
	s.chance = rand.New(rand.NewPCG(1, 2)).Float64
	versions(t, s, "fn", 2)
	const calls = 20_000
	for _, weight := range []float64{0, 0.1, 0.5, 1} {
		alias(t, s, "fn", "live", "1", map[string]float64{"2": weight})
		got := 0
		for range calls {
			v, err := s.Version(t.Context(), "fn", "live")
			if err != nil {
				t.Fatal(err)
			}
			if v.Version == "2" {
				got++
			}
		}
		// Five times the standard deviation of so many throws.
		off := 5 * math.Sqrt(weight*(1-weight)*calls)
		if math.Abs(float64(got)-weight*calls) > off {
			t.Errorf("weight %v: %d of %d, want that ± %.0f", weight, got, calls, off)
		}
	}
	if v, err := s.Resolve(t.Context(), "fn", "live"); err != nil || v.Version != "1" {
		t.Errorf("resolved to %+v, %v", v, err)
	}
	all, err := s.Targets(t.Context(), "fn", "live")
	if err != nil || len(all) != 2 || all[0].Version != "1" || all[1].Version != "2" {
		t.Errorf("targets %+v, %v", all, err)
	}
	if all, err := s.Targets(t.Context(), "fn", ""); err != nil || len(all) != 1 || all[0].Version != "$LATEST" {
		t.Errorf("targets of no qualifier %+v, %v", all, err)
	}
}

func TestAliasFollowsLatest(t *testing.T) {
	s, _ := open(t, natsdtest.Memory(t))
	versions(t, s, "fn", 1)
	alias(t, s, "fn", "dev", "$LATEST", nil)
	if _, _, err := s.UpdateCode(t.Context(), "fn", []byte("new"), nil); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Version(t.Context(), "fn", "dev"); err != nil || v.Version != "$LATEST" || v.Code.SHA256 != digest([]byte("new")) {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestAliasIsRefused(t *testing.T) {
	s, _ := open(t, natsdtest.Memory(t))
	versions(t, s, "fn", 2)
	tests := []struct {
		name, alias string
		is          functions.Alias
		want        error
		says        string
	}{
		{"digits alone", "12", functions.Alias{Version: "1"}, functions.ErrInvalid, "not digits alone"},
		{"$LATEST as a name", "$LATEST", functions.Alias{Version: "1"}, functions.ErrInvalid, "want 1 to 128"},
		{"no name", "", functions.Alias{Version: "1"}, functions.ErrInvalid, "want 1 to 128"},
		{"a long name", strings.Repeat("a", 129), functions.Alias{Version: "1"}, functions.ErrInvalid, "want 1 to 128"},
		{"a dot", "a.b", functions.Alias{Version: "1"}, functions.ErrInvalid, "letters, digits"},
		{"another alias", "a", functions.Alias{Version: "b"}, functions.ErrInvalid, "want a published version's number"},
		{"no version", "a", functions.Alias{}, functions.ErrInvalid, "want a published version's number"},
		{"a version that is not there", "a", functions.Alias{Version: "3"}, functions.ErrNotFound, "version 3"},
		{"another way to write one", "a", functions.Alias{Version: "01"}, functions.ErrInvalid, "01"},
		{"a long description", "a", functions.Alias{Version: "1", Description: strings.Repeat("ü", 257)}, functions.ErrInvalid, "257 characters"},
		{"more than two versions", "a", functions.Alias{Version: "1", Weights: map[string]float64{"1": 0.1, "2": 0.1}}, functions.ErrInvalid, "one at most"},
		{"weight of itself", "a", functions.Alias{Version: "1", Weights: map[string]float64{"1": 0.1}}, functions.ErrInvalid, "another version"},
		{"weight of $LATEST", "a", functions.Alias{Version: "1", Weights: map[string]float64{"$LATEST": 0.1}}, functions.ErrInvalid, "want a published version's number"},
		{"$LATEST with a weight", "a", functions.Alias{Version: "$LATEST", Weights: map[string]float64{"1": 0.1}}, functions.ErrInvalid, "cannot share"},
		{"weight of what is not there", "a", functions.Alias{Version: "1", Weights: map[string]float64{"7": 0.1}}, functions.ErrNotFound, "version 7"},
		{"a weight above 1", "a", functions.Alias{Version: "1", Weights: map[string]float64{"2": 1.1}}, functions.ErrInvalid, "want 0 to 1"},
		{"a weight below 0", "a", functions.Alias{Version: "1", Weights: map[string]float64{"2": -0.1}}, functions.ErrInvalid, "want 0 to 1"},
		{"a weight that is no number", "a", functions.Alias{Version: "1", Weights: map[string]float64{"2": math.NaN()}}, functions.ErrInvalid, "NaN"},
	}
	for _, tt := range tests {
		_, err := s.SetAttributes(t.Context(), "fn", func(a *functions.Attributes) error {
			a.Aliases[tt.alias] = tt.is
			return nil
		})
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if a, err := s.Attributes(t.Context(), "fn"); err != nil || len(a.Aliases) != 0 {
		t.Errorf("aliases %v, %v", a.Aliases, err)
	}
	if _, err := s.SetAttributes(t.Context(), "none", nil); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("of no function: %v", err)
	}
	if _, err := s.Version(t.Context(), "fn", "a"); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("version of an alias that is not there: %v", err)
	}
}

func TestOnlyWhatChangedGetsARevision(t *testing.T) {
	s, _ := open(t, natsdtest.Memory(t))
	versions(t, s, "fn", 2)
	ctx := t.Context()
	before, _ := s.Get(ctx, "fn")
	told := 0
	s.Watch(func(string) { told++ })
	one, other := alias(t, s, "fn", "one", "1", nil), alias(t, s, "fn", "other", "2", nil)
	if one.Name != "one" || one.Revision == "" || one.Revision == other.Revision {
		t.Errorf("aliases %+v, %+v", one, other)
	}
	if again := alias(t, s, "fn", "one", "1", nil); !reflect.DeepEqual(again, one) || told != 2 {
		t.Errorf("set as it was: %+v, told %d times", again, told)
	}
	a, err := s.SetAttributes(ctx, "fn", func(a *functions.Attributes) error {
		is := a.Aliases["one"]
		is.Revision = "made up"
		a.Aliases["one"] = is
		a.Policies[""] = functions.Policy{Statements: []functions.Statement{{ID: "s", Body: json.RawMessage(`{"Sid":"s"}`)}}}
		a.Async["$LATEST"] = functions.Async{Retries: new(1), Modified: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
		a.Tags["k"] = "v"
		return nil
	})
	if err != nil || a.Aliases["one"].Revision != one.Revision || a.Policies[""].Revision == "" {
		t.Fatalf("%+v, %v", a, err)
	}
	policy := a.Policies[""].Revision
	a, err = s.SetAttributes(ctx, "fn", func(a *functions.Attributes) error { a.Tags["k"] = "w"; return nil })
	if err != nil || a.Policies[""].Revision != policy || a.Aliases["other"].Revision != other.Revision {
		t.Errorf("%+v, %v", a, err)
	}
	if changed := alias(t, s, "fn", "one", "2", nil); changed.Revision == one.Revision {
		t.Errorf("changed %+v", changed)
	}
	if v, _ := s.Get(ctx, "fn"); !reflect.DeepEqual(v, before) {
		t.Errorf("the function itself is %+v", v)
	}
	weights := map[string]float64{"1": 0.5}
	alias(t, s, "fn", "other", "2", weights)
	weights["1"] = 7
	if a, _ := s.Attributes(ctx, "fn"); a.Aliases["other"].Weights["1"] != 0.5 {
		t.Errorf("a caller changed a weight: %+v", a.Aliases["other"])
	}
	edit := errors.New("of the caller")
	if _, err := s.SetAttributes(ctx, "fn", func(a *functions.Attributes) error { clear(a.Tags); return edit }); err != edit {
		t.Errorf("error of the edit: %v", err)
	}
	got, _ := s.Attributes(ctx, "fn")
	got.Tags["k"] = "changed by a caller"
	if got, _ := s.Attributes(ctx, "fn"); got.Tags["k"] != "w" {
		t.Errorf("tags %v", got.Tags)
	}
}

func TestVersionThatAnAliasNamesStays(t *testing.T) {
	srv := natsdtest.Memory(t)
	s, _ := open(t, srv)
	versions(t, s, "fn", 4)
	ctx := t.Context()
	alias(t, s, "fn", "live", "1", map[string]float64{"2": 0.5})
	for version, want := range map[string]error{"1": functions.ErrInUse, "2": functions.ErrInUse, "$LATEST": functions.ErrInvalid, "5": functions.ErrNotFound, "live": functions.ErrNotFound} {
		if err := s.DeleteVersion(ctx, "fn", version); !errors.Is(err, want) {
			t.Errorf("version %s: %v", version, err)
		}
	}
	if _, err := s.SetAttributes(ctx, "fn", func(a *functions.Attributes) error {
		a.Policies["3"], a.Policies[""] = functions.Policy{Statements: []functions.Statement{{ID: "a", Body: json.RawMessage("{}")}}}, functions.Policy{}
		a.Async["3"] = functions.Async{}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.DeleteVersion(ctx, "fn", "3"), s.DeleteVersion(ctx, "fn", "4")); err != nil {
		t.Fatal(err)
	}
	a, _ := s.Attributes(ctx, "fn")
	if _, policy := a.Policies["3"]; policy || len(a.Policies) != 1 || len(a.Async) != 0 {
		t.Errorf("attributes %+v", a)
	}
	if err := s.DeleteVersion(ctx, "fn", "3"); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if v := publish(t, s, "fn"); v.Version != "5" {
		t.Errorf("published as version %s: numbers are never given again", v.Version)
	}
	check := func() {
		t.Helper()
		all, err := s.Versions(ctx, "fn")
		var names []string
		for _, v := range all {
			names = append(names, v.Version)
		}
		if err != nil || !slices.Equal(names, []string{"$LATEST", "1", "2", "5"}) {
			t.Errorf("versions %v, %v", names, err)
		}
		if _, err := s.Version(ctx, "fn", "4"); !errors.Is(err, functions.ErrNotFound) {
			t.Errorf("version 4: %v", err)
		}
	}
	check()
	s, _ = open(t, srv)
	check()
	if got := stored(t, srv); slices.Contains(got, digest([]byte("3"))) {
		t.Errorf("stored %v", got)
	}
}

func TestAttributesSurviveARestartAndNotTheFunction(t *testing.T) {
	dir := t.TempDir()
	srv, err := natsd.Start(t.Context(), natsd.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := open(t, srv)
	versions(t, s, "fn", 1)
	alias(t, s, "fn", "live", "1", nil)
	want, err := s.SetAttributes(t.Context(), "fn", func(a *functions.Attributes) error {
		a.Tags["k"], a.Recursion = "v", "Allow"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	natsdtest.Close(t, srv)

	s, _ = open(t, natsdtest.Start(t, natsd.Options{Dir: dir}))
	if got, err := s.Attributes(t.Context(), "fn"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	if v, err := s.Version(t.Context(), "fn", "live"); err != nil || v.Version != "1" {
		t.Errorf("%+v, %v", v, err)
	}
	if err := s.Delete(t.Context(), "fn"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Attributes(t.Context(), "fn"); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("of no function: %v", err)
	}
	create(t, s, "fn", "1")
	if a, err := s.Attributes(t.Context(), "fn"); err != nil || len(a.Tags)+len(a.Aliases) != 0 || a.Recursion != "" {
		t.Errorf("created again: %+v, %v", a, err)
	}
}

func TestAttributesBeyondWhatAnEntryHoldsAreRefused(t *testing.T) {
	s, _ := open(t, natsdtest.Memory(t))
	create(t, s, "fn", "1")
	_, err := s.SetAttributes(t.Context(), "fn", func(a *functions.Attributes) error {
		a.Tags["k"] = strings.Repeat("x", 1<<20)
		return nil
	})
	if !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if a, err := s.Attributes(t.Context(), "fn"); err != nil || len(a.Tags) != 0 {
		t.Errorf("%v, %v", a, err)
	}
}
