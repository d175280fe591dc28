package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/runtime"
)

// checker takes all code but "bad", in place of a compiler.
type checker struct {
	mu      sync.Mutex
	checked int
	during  func() // called while code is being checked
}

func (c *checker) Check(_ context.Context, code []byte, progress func(runtime.Progress)) (functions.Code, error) {
	c.mu.Lock()
	c.checked++
	during := c.during
	c.mu.Unlock()
	progress(runtime.Progress{Stage: "compile", Done: 1, Total: 1})
	if during != nil {
		during()
	}
	if string(code) == "bad" {
		return functions.Code{}, fmt.Errorf("%w: no module", functions.ErrCode)
	}
	return functions.Code{ABI: functions.ABIBatch}, nil
}

func digest(code []byte) string {
	sum := sha256.Sum256(code)
	return hex.EncodeToString(sum[:])
}

func open(t *testing.T, srv *natsd.Server) (*Store, *checker) {
	t.Helper()
	c := &checker{}
	s, err := Open(t.Context(), srv, c)
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func create(t *testing.T, s *Store, name, code string) functions.Version {
	t.Helper()
	v, _, err := s.Create(t.Context(), name, []byte(code), functions.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// to is an edit that replaces all.
func to(c functions.Config) func(*functions.Config) error {
	return func(was *functions.Config) error { *was = c; return nil }
}

func publish(t *testing.T, s *Store, name string) functions.Version {
	t.Helper()
	v, err := s.Publish(t.Context(), name, functions.Publication{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// stored lists the digests that the stream really has something of.
func stored(t *testing.T, srv *natsd.Server) []string {
	t.Helper()
	st, err := srv.JS().Stream(t.Context(), streamName)
	if err != nil {
		t.Fatal(err)
	}
	info, err := st.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatal(err)
	}
	digests := map[string]bool{}
	for subject := range info.State.Subjects {
		digests[strings.Split(subject, ".")[1]] = true
	}
	return slices.Sorted(maps.Keys(digests))
}

func TestCreateFillsInDefaults(t *testing.T) {
	s, _ := open(t, natsdtest.Memory(t))
	v := create(t, s, "fn", "code")
	want := functions.Version{
		Function: "fn", Version: "$LATEST", ID: v.ID, Revision: 1, Modified: v.Modified, RevisionID: v.RevisionID,
		State: functions.Active, Update: functions.UpdateSuccessful,
		Code:   functions.Code{SHA256: digest([]byte("code")), Size: 4, ABI: functions.ABIBatch},
		Config: functions.Config{Timeout: 3 * time.Second, Memory: 128, Isolation: functions.IsolationEnvironment},
	}
	if !reflect.DeepEqual(v, want) || v.ID == "" || v.Modified.IsZero() {
		t.Errorf("got %+v\nwant %+v", v, want)
	}
}

func TestCreateRefuses(t *testing.T) {
	s, c := open(t, natsdtest.Memory(t))
	create(t, s, "there", "code")
	tests := []struct {
		name, function, code string
		config               functions.Config
		want                 error
		checked              bool
		says                 []string
	}{
		{"a name that is taken, before compiling", "there", "other", functions.Config{}, functions.ErrExists, false, nil},
		{"all faults at once, before compiling", "a b", "code", functions.Config{Timeout: time.Hour, Memory: 1}, functions.ErrInvalid, false, []string{`"a b"`, "timeout", "memory"}},
		{"code that cannot run", "fn", "bad", functions.Config{}, functions.ErrCode, true, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := c.checked
			_, _, err := s.Create(t.Context(), tt.function, []byte(tt.code), tt.config, nil)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			for _, want := range tt.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not name %s", err, want)
				}
			}
			if (c.checked > before) != tt.checked {
				t.Errorf("code checked: %v, want %v", c.checked > before, tt.checked)
			}
		})
	}
	if all, _ := s.List(t.Context()); len(all) != 1 {
		t.Errorf("functions %v, want only the first", all)
	}
}

func TestNothingIsStoredBeforeItsCodeWasChecked(t *testing.T) {
	srv := natsdtest.Memory(t)
	s, c := open(t, srv)
	c.during = func() {
		if got := stored(t, srv); len(got) != 0 {
			t.Errorf("code stored while it is checked: %v", got)
		}
	}
	create(t, s, "fn", "code")
	if got := stored(t, srv); len(got) != 1 {
		t.Errorf("stored %v", got)
	}
}

func TestOfTwoThatCreateTheSameOneWins(t *testing.T) {
	s, c := open(t, natsdtest.Memory(t))
	c.during = func() {
		c.during = nil
		create(t, s, "fn", "faster")
	}
	_, _, err := s.Create(t.Context(), "fn", []byte("slower"), functions.Config{}, nil)
	if !errors.Is(err, functions.ErrExists) {
		t.Errorf("got %v", err)
	}
	if v, _ := s.Get(t.Context(), "fn"); v.Code.SHA256 != digest([]byte("faster")) {
		t.Errorf("code is %s", v.Code.SHA256)
	}
}

func TestMemoryAboveTheCapIsWarnedOf(t *testing.T) {
	s, _ := open(t, natsdtest.Memory(t))
	v, warnings, err := s.Create(t.Context(), "fn", []byte("code"), functions.Config{Memory: 8192}, nil)
	if err != nil || len(warnings) != 1 || v.Config.Memory != 8192 {
		t.Errorf("got %+v, %q, %v", v, warnings, err)
	}
	_, warnings, err = s.UpdateConfig(t.Context(), "fn", "", to(functions.Config{Memory: 5000}))
	if err != nil || len(warnings) != 1 {
		t.Errorf("got %q, %v", warnings, err)
	}
}

func TestRevisionGrowsWithEachChangeOnly(t *testing.T) {
	s, _ := open(t, natsdtest.Memory(t))
	v := create(t, s, "fn", "one")
	var told []string
	s.Watch(func(name string) { told = append(told, name) })
	steps := []struct {
		name   string
		change func() (functions.Version, []string, error)
		want   uint64
	}{
		{"the same code", func() (functions.Version, []string, error) {
			return s.UpdateCode(t.Context(), "fn", []byte("one"), nil)
		}, 1},
		{"other code", func() (functions.Version, []string, error) {
			return s.UpdateCode(t.Context(), "fn", []byte("two"), nil)
		}, 2},
		{"the same configuration", func() (functions.Version, []string, error) {
			return s.UpdateConfig(t.Context(), "fn", "", to(functions.Config{Memory: 128}))
		}, 2},
		{"another configuration", func() (functions.Version, []string, error) {
			return s.UpdateConfig(t.Context(), "fn", "", to(functions.Config{Environment: map[string]string{"AB": "1"}}))
		}, 3},
		{"another description", func() (functions.Version, []string, error) {
			return s.UpdateConfig(t.Context(), "fn", "", to(functions.Config{Environment: map[string]string{"AB": "1"}, Description: "d"}))
		}, 4},
		{"a stream to emit to", func() (functions.Version, []string, error) {
			return s.UpdateConfig(t.Context(), "fn", "", to(functions.Config{Environment: map[string]string{"AB": "1"}, Description: "d", Emits: []string{"a"}}))
		}, 5},
		{"the same streams", func() (functions.Version, []string, error) {
			return s.UpdateConfig(t.Context(), "fn", "", to(functions.Config{Environment: map[string]string{"AB": "1"}, Description: "d", Emits: []string{"a"}}))
		}, 5},
		{"another place to dial", func() (functions.Version, []string, error) {
			return s.UpdateConfig(t.Context(), "fn", "", to(functions.Config{Allow: []string{"a:1"}}))
		}, 6},
		{"the same place and the default isolation", func() (functions.Version, []string, error) {
			return s.UpdateConfig(t.Context(), "fn", "", to(functions.Config{Allow: []string{"a:1"}, Isolation: functions.IsolationEnvironment}))
		}, 6},
		{"another isolation", func() (functions.Version, []string, error) {
			return s.UpdateConfig(t.Context(), "fn", "", to(functions.Config{Allow: []string{"a:1"}, Isolation: functions.IsolationInvocation}))
		}, 7},
		{"a concurrency", func() (functions.Version, []string, error) {
			return s.UpdateConfig(t.Context(), "fn", "", to(functions.Config{Concurrency: new(0)}))
		}, 8},
		{"the same concurrency", func() (functions.Version, []string, error) {
			return s.UpdateConfig(t.Context(), "fn", "", to(functions.Config{Concurrency: new(0)}))
		}, 8},
		{"no concurrency", func() (functions.Version, []string, error) {
			return s.UpdateConfig(t.Context(), "fn", "", to(functions.Config{}))
		}, 9},
	}
	for _, step := range steps {
		got, _, err := step.change()
		if err != nil || got.Revision != step.want || got.ID != v.ID {
			t.Errorf("%s: revision %d, %v, want %d", step.name, got.Revision, err, step.want)
		}
	}
	if len(told) != 8 {
		t.Errorf("watchers were told %v", told)
	}
}

func TestPublishedVersionsDoNotChange(t *testing.T) {
	s, _ := open(t, natsdtest.Memory(t))
	ctx := t.Context()
	create(t, s, "fn", "one")
	one, err := s.Publish(ctx, "fn", functions.Publication{Description: "first"})
	if err != nil || one.Version != "1" || one.Config.Description != "first" {
		t.Fatalf("got %+v, %v", one, err)
	}
	if again, err := s.Publish(ctx, "fn", functions.Publication{Description: "second"}); err != nil || !reflect.DeepEqual(again, one) {
		t.Errorf("published unchanged: %+v, %v, want version 1", again, err)
	}
	if _, _, err := s.UpdateCode(ctx, "fn", []byte("two"), nil); err != nil {
		t.Fatal(err)
	}
	two := publish(t, s, "fn")
	if _, _, err := s.UpdateConfig(ctx, "fn", "", to(functions.Config{Memory: 256})); err != nil {
		t.Fatal(err)
	}
	three := publish(t, s, "fn")
	versions, err := s.Versions(ctx, "fn")
	if err != nil || len(versions) != 4 || versions[0].Version != "$LATEST" {
		t.Fatalf("versions %+v, %v", versions, err)
	}
	if !reflect.DeepEqual(versions[1:], []functions.Version{one, two, three}) {
		t.Errorf("versions %+v", versions[1:])
	}
	for qualifier, want := range map[string]functions.Version{"1": one, "2": two, "3": three, "": versions[0], "$LATEST": versions[0]} {
		if got, err := s.Version(ctx, "fn", qualifier); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("version %q: %+v, %v", qualifier, got, err)
		}
	}
	for _, qualifier := range []string{"0", "4", "01", "-1", "x"} {
		if _, err := s.Version(ctx, "fn", qualifier); !errors.Is(err, functions.ErrNotFound) {
			t.Errorf("version %q: %v", qualifier, err)
		}
	}
	if code, err := s.Code(ctx, one.Code.SHA256); err != nil || string(code) != "one" {
		t.Errorf("code of version 1: %q, %v", code, err)
	}
}

func TestConcurrencyIsTheFunctionsNotTheVersions(t *testing.T) {
	s, _ := open(t, natsdtest.Memory(t))
	ctx := t.Context()
	create(t, s, "fn", "one")
	one := publish(t, s, "fn")
	if _, _, err := s.UpdateConfig(ctx, "fn", "", to(functions.Config{Concurrency: new(5)})); err != nil {
		t.Fatal(err)
	}
	if again := publish(t, s, "fn"); again.Version != one.Version || again.Config.Concurrency == nil || *again.Config.Concurrency != 5 {
		t.Errorf("published with another concurrency only: %+v", again)
	}
	v, err := s.Version(ctx, "fn", "1")
	if err != nil || v.Config.Concurrency == nil || *v.Config.Concurrency != 5 {
		t.Fatalf("version 1: %+v, %v", v.Config, err)
	}
	*v.Config.Concurrency = 7
	if versions, err := s.Versions(ctx, "fn"); err != nil || *versions[0].Config.Concurrency != 5 || *versions[1].Config.Concurrency != 5 {
		t.Errorf("a caller changed it: %v", err)
	}
	if _, _, err := s.UpdateConfig(ctx, "fn", "", to(functions.Config{})); err != nil {
		t.Fatal(err)
	}
	if v, _ := s.Version(ctx, "fn", "1"); v.Config.Concurrency != nil {
		t.Errorf("version 1 has still reserved %d", *v.Config.Concurrency)
	}
}

func TestReservationsLeaveAHundredPlaces(t *testing.T) {
	s, _ := open(t, natsdtest.Memory(t))
	ctx := t.Context()
	reserve := func(name string, n int) error {
		_, _, err := s.Create(ctx, name, []byte("code"), functions.Config{Concurrency: &n}, nil)
		return err
	}
	if err := reserve("a", 901); !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), "concurrency 901: at most 900") {
		t.Errorf("more than all: %v", err)
	}
	if err := reserve("a", 500); err != nil {
		t.Error(err)
	}
	if err := reserve("b", 401); !errors.Is(err, functions.ErrInvalid) || !strings.Contains(err.Error(), "at most 400 can be reserved: of 1000 in all, other functions have reserved 500, and 100 are left") {
		t.Errorf("more than is left: %v", err)
	}
	if err := reserve("b", 400); err != nil {
		t.Error(err)
	}
	if err := reserve("c", 1); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("one more: %v", err)
	}
	if err := reserve("c", 0); err != nil {
		t.Errorf("none at all always fits: %v", err)
	}
	update := func(name string, n int) error {
		_, _, err := s.UpdateConfig(ctx, name, "", to(functions.Config{Concurrency: &n}))
		return err
	}
	if err := update("a", 501); !errors.Is(err, functions.ErrInvalid) {
		t.Errorf("raised beyond what is left: %v", err)
	}
	if err := errors.Join(update("a", 500), update("a", 100), update("c", 400)); err != nil {
		t.Errorf("what another gave back can be had: %v", err)
	}
	if err := s.Delete(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	if err := update("a", 500); err != nil {
		t.Errorf("what a deleted function had can be had: %v", err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken := 0
	if err := update("b", 397); err != nil { // all are taken but three
		t.Fatal(err)
	}
	for i := range 8 {
		wg.Go(func() {
			if reserve(fmt.Sprint("many", i), 1) == nil {
				mu.Lock()
				defer mu.Unlock()
				taken++
			}
		})
	}
	wg.Wait()
	if taken != 3 {
		t.Errorf("%d took one of three places", taken)
	}
}

func TestCallersCannotChangeWhatIsStored(t *testing.T) {
	s, _ := open(t, natsdtest.Memory(t))
	env, emits := map[string]string{"AB": "1"}, []string{"a"}
	if _, _, err := s.Create(t.Context(), "fn", []byte("code"), functions.Config{Environment: env, Emits: emits}, nil); err != nil {
		t.Fatal(err)
	}
	env["AB"], emits[0] = "2", "b"
	v, _ := s.Get(t.Context(), "fn")
	v.Config.Environment["AB"], v.Config.Emits[0] = "3", "c"
	if v, _ := s.Get(t.Context(), "fn"); v.Config.Environment["AB"] != "1" || v.Config.Emits[0] != "a" {
		t.Errorf("environment is %v, emits %v", v.Config.Environment, v.Config.Emits)
	}
}

func TestRecreatedFunctionInheritsNothing(t *testing.T) {
	srv := natsdtest.Memory(t)
	s, _ := open(t, srv)
	ctx := t.Context()
	first := create(t, s, "fn", "one")
	publish(t, s, "fn")
	if err := s.Delete(ctx, "fn"); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{second(s.Get(ctx, "fn")), s.Delete(ctx, "fn"), second(s.Versions(ctx, "fn")), second(s.Publish(ctx, "fn", functions.Publication{}))} {
		if !errors.Is(err, functions.ErrNotFound) {
			t.Errorf("after deletion: %v", err)
		}
	}
	again := create(t, s, "fn", "two")
	if again.ID == first.ID || again.Revision != 1 {
		t.Errorf("created again: %+v", again)
	}
	if versions, _ := s.Versions(ctx, "fn"); len(versions) != 1 {
		t.Errorf("versions %+v", versions)
	}
	if v := publish(t, s, "fn"); v.Version != "1" || v.Code.SHA256 != again.Code.SHA256 {
		t.Errorf("published %+v", v)
	}
}

func second[T any](_ T, err error) error { return err }

func TestEverythingSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	ctx := t.Context()
	srv, err := natsd.Start(ctx, natsd.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := open(t, srv)
	big := bytes.Repeat([]byte("0123456789abcdef"), (2*chunk+chunk/2)/16) // three chunks
	if _, _, err := s.Create(ctx, "big", big, functions.Config{Timeout: 7 * time.Second, Environment: map[string]string{"AB": "1"}, Emits: []string{"b", "a"}}, nil); err != nil {
		t.Fatal(err)
	}
	create(t, s, "small", "small")
	publish(t, s, "big")
	if _, _, err := s.UpdateConfig(ctx, "big", "", to(functions.Config{})); err != nil {
		t.Fatal(err)
	}
	publish(t, s, "big")
	want, _ := s.Versions(ctx, "big")
	natsdtest.Close(t, srv)

	s, _ = open(t, natsdtest.Start(t, natsd.Options{Dir: dir}))
	if got, err := s.Versions(ctx, "big"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v, %v", got, want, err)
	}
	if code, err := s.Code(ctx, digest(big)); err != nil || !bytes.Equal(code, big) {
		t.Errorf("code of %d bytes, %v", len(code), err)
	}
	if v := publish(t, s, "big"); v.Version != "2" {
		t.Errorf("published unchanged after a restart: %s", v.Version)
	}
	if v, _, err := s.UpdateConfig(ctx, "big", "", to(functions.Config{Memory: 256})); err != nil || v.Revision != 3 {
		t.Errorf("changed after a restart: %+v, %v", v, err)
	}
	if all, _ := s.List(ctx); len(all) != 2 || all[0].Function != "big" || all[1].Function != "small" {
		t.Errorf("list %+v", all)
	}
}

func TestCodeIsKeptWhileAVersionNeedsIt(t *testing.T) {
	srv := natsdtest.Memory(t)
	s, _ := open(t, srv)
	ctx := t.Context()
	create(t, s, "fn", "one")
	create(t, s, "other", "two")
	publish(t, s, "fn")
	for _, code := range []string{"two", "three", "four", "five"} {
		if _, _, err := s.UpdateCode(ctx, "fn", []byte(code), nil); err != nil {
			t.Fatal(err)
		}
	}
	// One is version 1, two is the other function, four may be about to be read.
	want := slices.Sorted(slices.Values([]string{digest([]byte("one")), digest([]byte("two")), digest([]byte("four")), digest([]byte("five"))}))
	if got := stored(t, srv); !slices.Equal(got, want) {
		t.Errorf("stored %v, want %v", got, want)
	}
	if err := s.Delete(ctx, "fn"); err != nil {
		t.Fatal(err)
	}
	s, _ = open(t, srv)
	if got := stored(t, srv); !slices.Equal(got, []string{digest([]byte("two"))}) {
		t.Errorf("after the next start stored %v, want what the other function needs", got)
	}
	if code, err := s.Code(ctx, digest([]byte("two"))); err != nil || string(code) != "two" {
		t.Errorf("code %q, %v", code, err)
	}
}

// A crash may come between any two writes of a change.
func TestHalfDoneChangesAreSwept(t *testing.T) {
	srv := natsdtest.Memory(t)
	s, _ := open(t, srv)
	ctx := t.Context()
	v := create(t, s, "fn", "one")

	// Code was stored, the definition not; of other code only the first chunk.
	if err := s.code.put(ctx, digest([]byte("lost")), []byte("lost"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := srv.JS().Publish(ctx, subject(digest([]byte("half")), 0, 2), []byte("ha")); err != nil {
		t.Fatal(err)
	}
	// A version was stored that does not count yet, and one of a function that is gone.
	for _, key := range []string{v.ID + "/1", "gone/1"} {
		if _, err := s.defs.Create(ctx, key, entry{Version: functions.Version{Version: "1", Code: functions.Code{SHA256: "x"}}}); err != nil {
			t.Fatal(err)
		}
	}
	// Without a restart the next publication goes over it.
	if got := publish(t, s, "fn"); got.Version != "1" || got.Code != v.Code {
		t.Errorf("published %+v", got)
	}

	s, _ = open(t, srv)
	if got := stored(t, srv); !slices.Equal(got, []string{v.Code.SHA256}) {
		t.Errorf("stored %v", got)
	}
	all, err := s.defs.All(ctx)
	if err != nil || len(all) != 2 {
		t.Errorf("definitions %v, %v", all, err)
	}
	// Code of which there was only a part is stored whole when it comes again.
	create(t, s, "half", "half")
	if code, err := s.Code(ctx, digest([]byte("half"))); err != nil || string(code) != "half" {
		t.Errorf("code %q, %v", code, err)
	}
}

func TestDamagedCodeIsRefusedUntilDeployedAgain(t *testing.T) {
	srv := natsdtest.Memory(t)
	s, _ := open(t, srv)
	ctx := t.Context()
	v := create(t, s, "fn", "code")
	if _, err := srv.JS().Publish(ctx, subject(v.Code.SHA256, 0, 1), []byte("c0de")); err != nil {
		t.Fatal(err)
	}
	if code, err := s.Code(ctx, v.Code.SHA256); err == nil {
		t.Fatalf("read damaged code %q", code)
	}
	if _, _, err := s.UpdateCode(ctx, "fn", []byte("code"), nil); err != nil {
		t.Fatal(err)
	}
	if code, err := s.Code(ctx, v.Code.SHA256); err != nil || string(code) != "code" {
		t.Errorf("deployed again: %q, %v", code, err)
	}
}

func TestUnknownCodeIsNotFound(t *testing.T) {
	s, _ := open(t, natsdtest.Memory(t))
	for _, sha := range []string{digest([]byte("nothing")), "", "*", ">", strings.ToUpper(digest([]byte("a")))} {
		if _, err := s.Code(t.Context(), sha); !errors.Is(err, functions.ErrNotFound) {
			t.Errorf("%q: %v", sha, err)
		}
	}
}

func TestProgressTellsOfCheckingAndStoring(t *testing.T) {
	s, _ := open(t, natsdtest.Memory(t))
	var stages []string
	_, _, err := s.Create(t.Context(), "fn", make([]byte, chunk+1), functions.Config{}, func(p runtime.Progress) {
		stages = append(stages, fmt.Sprintf("%s %d/%d", p.Stage, p.Done, p.Total))
	})
	want := []string{"compile 1/1", "store 524288/524289", "store 524289/524289"}
	if err != nil || !slices.Equal(stages, want) {
		t.Errorf("got %q, %v, want %q", stages, err, want)
	}
}

// A change whose caller has gone may have been stored, or not.
func TestChangeOfUnknownOutcomeIsReadAgain(t *testing.T) {
	srv := natsdtest.Memory(t)
	s, _ := open(t, srv)
	ctx := t.Context()
	create(t, s, "fn", "one")
	other, _ := open(t, srv) // stands for the change that went unanswered
	if _, _, err := other.UpdateConfig(ctx, "fn", "", to(functions.Config{Memory: 256})); err != nil {
		t.Fatal(err)
	}
	publish(t, other, "fn")
	if _, _, err := s.UpdateConfig(ctx, "fn", "", to(functions.Config{Memory: 512})); err == nil {
		t.Fatal("changed what was changed meanwhile")
	}
	if v, _ := s.Get(ctx, "fn"); v.Config.Memory != 256 {
		t.Errorf("memory is %d, want what is stored", v.Config.Memory)
	}
	if v, err := s.Version(ctx, "fn", "1"); err != nil || v.Config.Memory != 256 {
		t.Errorf("version 1: %+v, %v", v, err)
	}
	if v, _, err := s.UpdateConfig(ctx, "fn", "", to(functions.Config{Memory: 512})); err != nil || v.Revision != 3 {
		t.Errorf("the next change: %+v, %v", v, err)
	}

	if err := s.Delete(ctx, "fn"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := other.UpdateConfig(ctx, "fn", "", to(functions.Config{Memory: 128})); err == nil {
		t.Fatal("changed what is gone")
	}
	if _, err := other.Get(ctx, "fn"); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

// A kill while JetStream writes a stream's settings may damage them.
func TestOpeningAgainWritesNoSettings(t *testing.T) {
	srv := natsdtest.New(t)
	open(t, srv)
	settings := func() map[string]os.FileInfo {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(srv.Dir(), "jetstream", "*", "streams", "*", "meta.*"))
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]os.FileInfo{}
		for _, f := range files {
			if out[f], err = os.Stat(f); err != nil {
				t.Fatal(err)
			}
		}
		return out
	}
	before := settings()
	if len(before) < 4 {
		t.Fatalf("%d files of settings: want two for each stream", len(before))
	}
	open(t, srv)
	for f, was := range settings() {
		if before[f] == nil || !os.SameFile(before[f], was) || !before[f].ModTime().Equal(was.ModTime()) {
			t.Errorf("%s was written again", f)
		}
	}
}
