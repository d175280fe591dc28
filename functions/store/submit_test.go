package store

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/runtime"
)

// run runs a store until the test ends, or stop is called.
func run(t *testing.T, s *Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// settled waits until no code of a function is on its way.
func settled(t *testing.T, s *Store, name string) functions.Version {
	t.Helper()
	for range 2000 {
		v, err := s.Get(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if v.State != functions.Pending && v.Update != functions.UpdateInProgress {
			return v
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("function %s was not compiled within 10 s", name)
	panic("unreachable")
}

func upload(code string) functions.Upload { return functions.Upload{Module: []byte(code)} }

func zipped(code, zip string) functions.Upload {
	return functions.Upload{Module: []byte(code), Package: &functions.Package{SHA256: digest([]byte(zip)), Size: int64(len(zip))}}
}

func submit(t *testing.T, s *Store, name, code string) functions.Version {
	t.Helper()
	v, _, err := s.Submit(t.Context(), name, upload(code), functions.Config{}, functions.Attributes{}, functions.Change{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSubmittedFunctionIsPendingUntilItsCodeIsCompiled(t *testing.T) {
	s, c := open(t, natsdtest.Memory(t))
	compiling, compiled := make(chan bool), make(chan bool)
	c.during = func() { compiling <- true; <-compiled }
	run(t, s)
	v, warnings, err := s.Submit(t.Context(), "fn", zipped("code", "zip"), functions.Config{Memory: 8192}, functions.Attributes{Tags: map[string]string{"a": "b"}}, functions.Change{})
	if err != nil || len(warnings) != 1 || v.State != functions.Pending || v.Reason != "The function is being created." || v.Update != "" || v.Code.ABI != "" {
		t.Fatalf("got %+v, %q, %v", v, warnings, err)
	}
	<-compiling
	if got, err := s.Get(t.Context(), "fn"); err != nil || !reflect.DeepEqual(got, v) {
		t.Errorf("while compiling %+v, %v", got, err)
	}
	for what, err := range map[string]error{
		"SubmitCode":   second(s.SubmitCode(t.Context(), "fn", upload("two"), functions.Change{})),
		"UpdateCode":   third(s.UpdateCode(t.Context(), "fn", []byte("two"), nil)),
		"UpdateConfig": third(s.UpdateConfig(t.Context(), "fn", "", to(functions.Config{Memory: 256}))),
		"Publish":      second(s.Publish(t.Context(), "fn", functions.Publication{})),
	} {
		if !errors.Is(err, functions.ErrBusy) {
			t.Errorf("%s while compiling: %v", what, err)
		}
	}
	if v, _, err := s.UpdateConfig(t.Context(), "fn", "", func(c *functions.Config) error { c.Concurrency = new(5); return nil }); err != nil || *v.Config.Concurrency != 5 {
		t.Errorf("concurrency while compiling: %v", err)
	}
	if a, err := s.SetAttributes(t.Context(), "fn", func(a *functions.Attributes) error { a.Tags["c"] = "d"; return nil }); err != nil || len(a.Tags) != 2 {
		t.Errorf("tags while compiling: %v, %v", a, err)
	}
	close(compiled)
	v = settled(t, s, "fn")
	want := functions.Code{SHA256: digest([]byte("code")), Size: 4, ABI: functions.ABIBatch, Package: &functions.Package{SHA256: digest([]byte("zip")), Size: 3}}
	if v.State != functions.Active || v.Reason != "" || v.Update != functions.UpdateSuccessful || !reflect.DeepEqual(v.Code, want) || v.Config.Memory != 8192 {
		t.Errorf("compiled: %+v", v)
	}
	if c.checked != 1 {
		t.Errorf("compiled %d times", c.checked)
	}
}

func third[A, B any](_ A, _ B, err error) error { return err }

func TestSubmitRefusesBeforeAnythingIsStored(t *testing.T) {
	srv := natsdtest.Memory(t)
	s, c := open(t, srv)
	create(t, s, "there", "code")
	checked := c.checked
	tests := []struct {
		name, function string
		config         functions.Config
		attributes     functions.Attributes
		want           error
	}{
		{"a name that is taken", "there", functions.Config{}, functions.Attributes{}, functions.ErrExists},
		{"a wrong name", "a b", functions.Config{}, functions.Attributes{}, functions.ErrInvalid},
		{"a wrong setting", "fn", functions.Config{Memory: 1}, functions.Attributes{}, functions.ErrInvalid},
		{"more places than there are", "fn", functions.Config{Concurrency: new(901)}, functions.Attributes{}, functions.ErrInvalid},
		{"an alias of a version that is not there", "fn", functions.Config{}, functions.Attributes{Aliases: map[string]functions.Alias{"a": {Version: "1"}}}, functions.ErrNotFound},
	}
	for _, tt := range tests {
		if _, _, err := s.Submit(t.Context(), tt.function, upload("other"), tt.config, tt.attributes, functions.Change{}); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	v, _, err := s.Submit(t.Context(), "dry", upload("other"), functions.Config{}, functions.Attributes{}, functions.Change{DryRun: true})
	if err != nil || v.Function != "dry" || v.Code.SHA256 != digest([]byte("other")) {
		t.Errorf("dry: %+v, %v", v, err)
	}
	if all, _ := s.List(t.Context()); len(all) != 1 || len(stored(t, srv)) != 1 || c.checked != checked {
		t.Errorf("%d functions, code %v, %d compiled", len(all), stored(t, srv), c.checked-checked)
	}
}

func TestFunctionWhoseCodeCannotRunFailsUntilItGetsOther(t *testing.T) {
	s, _ := open(t, natsdtest.Memory(t))
	run(t, s)
	v, _, err := s.Submit(t.Context(), "fn", upload("bad"), functions.Config{}, functions.Attributes{}, functions.Change{Publish: true})
	if err != nil || v.Version != "1" || v.State != functions.Pending {
		t.Fatalf("submitted %+v, %v", v, err)
	}
	failed := settled(t, s, "fn")
	if failed.State != functions.Failed || failed.Reason != "no module" {
		t.Errorf("got %+v", failed)
	}
	if v, err := s.Version(t.Context(), "fn", "1"); err != nil || v.State != functions.Failed || v.Reason != "no module" {
		t.Errorf("version 1: %+v, %v", v, err)
	}
	if _, err := s.Publish(t.Context(), "fn", functions.Publication{}); !errors.Is(err, functions.ErrBusy) {
		t.Errorf("published: %v", err)
	}
	v, err = s.SubmitCode(t.Context(), "fn", upload("good"), functions.Change{Publish: true})
	if err != nil || v.Version != "2" || v.State != functions.Pending {
		t.Fatalf("submitted %+v, %v", v, err)
	}
	if v, _ := s.Get(t.Context(), "fn"); v.State == functions.Failed || v.RevisionID == failed.RevisionID {
		t.Errorf("submitted %+v", v)
	}
	v = settled(t, s, "fn")
	if v.State != functions.Active || v.Reason != "" || v.Update != functions.UpdateSuccessful || v.Code.SHA256 != digest([]byte("good")) || v.Code.ABI == "" {
		t.Errorf("got %+v", v)
	}
	for version, want := range map[string]functions.State{"1": functions.Failed, "2": functions.Active} {
		if v, err := s.Version(t.Context(), "fn", version); err != nil || v.State != want {
			t.Errorf("version %s: %+v, %v", version, v, err)
		}
	}
	// The same code as before, once more: compiling may go otherwise today.
	failedAgain, _, err := s.Submit(t.Context(), "again", upload("bad"), functions.Config{}, functions.Attributes{}, functions.Change{Publish: true})
	if err != nil {
		t.Fatal(err)
	}
	settled(t, s, "again")
	if v, err := s.SubmitCode(t.Context(), "again", upload("bad"), functions.Change{Publish: true}); err != nil || v.Version != "2" || v.State != functions.Pending || v.Revision <= failedAgain.Revision {
		t.Errorf("submitted again: %+v, %v", v, err)
	}
	if v, err := s.Get(t.Context(), "again"); err != nil || v.Update == functions.UpdateSuccessful {
		t.Errorf("submitted again: %+v, %v", v, err)
	}
	// And by the way of the command line.
	settled(t, s, "again")
	if v, _, err := s.UpdateCode(t.Context(), "again", []byte("good"), nil); err != nil || v.State != functions.Active || v.Update != functions.UpdateSuccessful || v.Reason+v.UpdateReason != "" {
		t.Errorf("updated: %+v, %v", v, err)
	}
}

func TestOldCodeRunsUntilTheNewIsReady(t *testing.T) {
	s, c := open(t, natsdtest.Memory(t))
	one := create(t, s, "fn", "one")
	compiling, compiled := make(chan bool), make(chan bool)
	c.during = func() { compiling <- true; <-compiled }
	run(t, s)
	v, err := s.SubmitCode(t.Context(), "fn", upload("two"), functions.Change{})
	if err != nil || v.State != functions.Active || v.Update != functions.UpdateInProgress || v.UpdateReason == "" || v.Code.SHA256 != one.Code.SHA256 || v.Revision != one.Revision || v.RevisionID == one.RevisionID {
		t.Fatalf("submitted %+v, %v", v, err)
	}
	revision := v.RevisionID
	<-compiling
	if code, err := s.Code(t.Context(), v.Code.SHA256); err != nil || string(code) != "one" {
		t.Errorf("code %q, %v", code, err)
	}
	compiled <- true
	if v = settled(t, s, "fn"); v.Code.SHA256 != digest([]byte("two")) || v.Update != functions.UpdateSuccessful || v.Revision != one.Revision+1 || v.RevisionID != revision {
		t.Errorf("compiled %+v", v)
	}

	// Code that cannot run changes nothing but what is said of the update.
	if _, err := s.SubmitCode(t.Context(), "fn", upload("bad"), functions.Change{}); err != nil {
		t.Fatal(err)
	}
	<-compiling
	compiled <- true
	v = settled(t, s, "fn")
	if v.State != functions.Active || v.Update != functions.UpdateFailed || v.UpdateReason != "no module" || v.Code.SHA256 != digest([]byte("two")) || v.Revision != one.Revision+1 {
		t.Errorf("failed %+v", v)
	}
	if p, err := s.Publish(t.Context(), "fn", functions.Publication{}); err != nil || p.Update != functions.UpdateSuccessful || p.Code.SHA256 != v.Code.SHA256 {
		t.Errorf("published %+v, %v", p, err)
	}
	// What runs, submitted again, is compiled already.
	if v, err := s.SubmitCode(t.Context(), "fn", upload("two"), functions.Change{}); err != nil || v.Update != functions.UpdateSuccessful || v.UpdateReason != "" {
		t.Errorf("submitted again %+v, %v", v, err)
	}
}

func TestSameCodeSubmittedAgainChangesNothing(t *testing.T) {
	s, c := open(t, natsdtest.Memory(t))
	run(t, s)
	if _, _, err := s.Submit(t.Context(), "fn", zipped("one", "zip"), functions.Config{}, functions.Attributes{}, functions.Change{}); err != nil {
		t.Fatal(err)
	}
	v := settled(t, s, "fn")
	if again, err := s.SubmitCode(t.Context(), "fn", zipped("one", "zip"), functions.Change{}); err != nil || !reflect.DeepEqual(again, v) {
		t.Errorf("got %+v, %v", again, err)
	}
	other, err := s.SubmitCode(t.Context(), "fn", zipped("one", "another zip"), functions.Change{})
	if err != nil || other.Code.Package.Size != 11 || other.Code.ABI != v.Code.ABI || other.RevisionID == v.RevisionID || c.checked != 1 {
		t.Errorf("in another package: %+v, %v, compiled %d times", other, err, c.checked)
	}
	if p, err := s.SubmitCode(t.Context(), "fn", zipped("one", "another zip"), functions.Change{Publish: true}); err != nil || p.Version != "1" || p.State != functions.Active {
		t.Errorf("published: %+v, %v", p, err)
	}
	if p, err := s.SubmitCode(t.Context(), "fn", zipped("one", "another zip"), functions.Change{Publish: true}); err != nil || p.Version != "1" {
		t.Errorf("published again: %+v, %v", p, err)
	}
	if p, err := s.SubmitCode(t.Context(), "fn", zipped("one", "zip"), functions.Change{Publish: true}); err != nil || p.Version != "2" {
		t.Errorf("published in another package, which AWS clients tell apart: %+v, %v", p, err)
	}
}

func TestVersionIsPublishedWithCodeAtOnce(t *testing.T) {
	s, c := open(t, natsdtest.Memory(t))
	compiling, compiled := make(chan bool), make(chan bool)
	c.during = func() { compiling <- true; <-compiled }
	run(t, s)
	v, _, err := s.Submit(t.Context(), "fn", upload("one"), functions.Config{Description: "d"}, functions.Attributes{}, functions.Change{Publish: true})
	if err != nil || v.Version != "1" || v.State != functions.Pending || v.Config.Description != "d" {
		t.Fatalf("submitted %+v, %v", v, err)
	}
	<-compiling
	if err := s.DeleteVersion(t.Context(), "fn", "1"); !errors.Is(err, functions.ErrBusy) {
		t.Errorf("deleted while it is compiled: %v", err)
	}
	compiled <- true
	latest := settled(t, s, "fn")
	one, err := s.Version(t.Context(), "fn", "1")
	if err != nil || one.State != functions.Active || one.Update != functions.UpdateSuccessful || one.Code != latest.Code || one.RevisionID != v.RevisionID || one.RevisionID == latest.RevisionID {
		t.Errorf("version 1: %+v, %v", one, err)
	}
	v, err = s.SubmitCode(t.Context(), "fn", upload("two"), functions.Change{Publish: true})
	if err != nil || v.Version != "2" || v.State != functions.Pending || v.Code.SHA256 != digest([]byte("two")) {
		t.Fatalf("submitted %+v, %v", v, err)
	}
	<-compiling
	if v, _ := s.Version(t.Context(), "fn", "1"); v.State != functions.Active || !reflect.DeepEqual(v, one) {
		t.Errorf("version 1: %+v", v)
	}
	compiled <- true
	settled(t, s, "fn")
	if v, err := s.Version(t.Context(), "fn", "2"); err != nil || v.State != functions.Active || v.Code.ABI == "" {
		t.Errorf("version 2: %+v, %v", v, err)
	}
}

func TestChangeThatExpectsAnotherRevisionIsRefused(t *testing.T) {
	s, _ := open(t, natsdtest.Memory(t))
	ctx := t.Context()
	v := create(t, s, "fn", "one")
	stale := v.RevisionID
	v, _, err := s.UpdateConfig(ctx, "fn", stale, to(functions.Config{Memory: 256}))
	if err != nil || v.RevisionID == stale {
		t.Fatalf("%+v, %v", v, err)
	}
	for what, err := range map[string]error{
		"configuration":         third(s.UpdateConfig(ctx, "fn", stale, to(functions.Config{}))),
		"code":                  second(s.SubmitCode(ctx, "fn", upload("two"), functions.Change{RevisionID: stale})),
		"dry":                   second(s.SubmitCode(ctx, "fn", upload("two"), functions.Change{RevisionID: stale, DryRun: true})),
		"version":               second(s.Publish(ctx, "fn", functions.Publication{RevisionID: stale})),
		"version of other code": second(s.Publish(ctx, "fn", functions.Publication{SHA256: digest([]byte("two"))})),
	} {
		if !errors.Is(err, functions.ErrRevision) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got, _ := s.Get(ctx, "fn"); !reflect.DeepEqual(got, v) {
		t.Errorf("changed all the same: %+v", got)
	}
	dry, err := s.SubmitCode(ctx, "fn", upload("two"), functions.Change{RevisionID: v.RevisionID, DryRun: true})
	if got, _ := s.Get(ctx, "fn"); err != nil || dry.Code.SHA256 != digest([]byte("two")) || !reflect.DeepEqual(got, v) {
		t.Errorf("dry: %+v, %v, and %+v", dry, err, got)
	}
	if p, err := s.Publish(ctx, "fn", functions.Publication{RevisionID: v.RevisionID, SHA256: digest([]byte("one"))}); err != nil || p.Version != "1" {
		t.Errorf("published %+v, %v", p, err)
	}
	edit := errors.New("of the caller")
	if _, _, err := s.UpdateConfig(ctx, "fn", "", func(*functions.Config) error { return edit }); err != edit {
		t.Errorf("error of the edit: %v", err)
	}
}

func TestDeletedFunctionIsNotCompiled(t *testing.T) {
	srv := natsdtest.Memory(t)
	s, _ := open(t, srv)
	begun, cancelled := make(chan bool), make(chan bool)
	s.check = checkerFunc(func(ctx context.Context, code []byte) (functions.Code, error) {
		if string(code) == "slow" {
			close(begun)
			<-ctx.Done()
			close(cancelled)
			return functions.Code{}, context.Cause(ctx)
		}
		return functions.Code{ABI: functions.ABIJSON}, nil
	})
	run(t, s)
	submit(t, s, "fn", "slow")
	<-begun
	if err := s.Delete(t.Context(), "fn"); err != nil {
		t.Fatal(err)
	}
	again := submit(t, s, "fn", "quick")
	<-cancelled
	if v := settled(t, s, "fn"); v.ID != again.ID || v.State != functions.Active || v.Code.SHA256 != digest([]byte("quick")) {
		t.Errorf("got %+v", v)
	}
	submit(t, s, "other", "one") // leaves what faded before
	if err := s.Delete(t.Context(), "other"); err != nil {
		t.Fatal(err)
	}
	if got := stored(t, srv); slices.Contains(got, digest([]byte("slow"))) {
		t.Errorf("stored %v", got)
	}
}

// What was compiled for a function that is another by now is not its code.
func TestCompiledCodeOfADeletedFunctionGoesNowhere(t *testing.T) {
	s, _ := open(t, natsdtest.Memory(t))
	submit(t, s, "fn", "one")
	old := s.jobs()[0]
	if err := s.Delete(t.Context(), "fn"); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{s.finish(t.Context(), old, functions.ABIJSON, nil), second(s.Get(t.Context(), "fn"))} {
		if err != nil && !errors.Is(err, functions.ErrNotFound) {
			t.Error(err)
		}
	}
	v := submit(t, s, "fn", "two")
	if err := s.finish(t.Context(), old, functions.ABIJSON, nil); err != nil {
		t.Error(err)
	}
	if got, err := s.Get(t.Context(), "fn"); err != nil || !reflect.DeepEqual(got, v) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestDeclaredSettingsAreKeptWithEachVersion(t *testing.T) {
	s, _ := open(t, natsdtest.Memory(t))
	ctx := t.Context()
	declare := func(d functions.Declared) functions.Version {
		t.Helper()
		v, _, err := s.UpdateConfig(ctx, "fn", "", func(c *functions.Config) error { c.Declared = d; return nil })
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	create(t, s, "fn", "one")
	subnets := []string{"a"}
	first := declare(functions.Declared{Handler: "main", Subnets: subnets})
	publish(t, s, "fn")
	subnets[0] = "changed by a caller"
	if again := declare(functions.Declared{Handler: "main", Subnets: []string{"a"}, Architectures: []string{}}); again.RevisionID != first.RevisionID {
		t.Errorf("declared as it was: %+v", again)
	}
	if v := declare(functions.Declared{Handler: "other"}); v.RevisionID == first.RevisionID {
		t.Errorf("declared otherwise: %+v", v)
	}
	if v := publish(t, s, "fn"); v.Version != "2" || v.Config.Declared.Handler != "other" {
		t.Errorf("published %+v", v)
	}
	if v, err := s.Version(ctx, "fn", "1"); err != nil || v.Config.Declared.Handler != "main" || v.Config.Declared.Subnets[0] != "a" {
		t.Errorf("version 1 %+v, %v", v, err)
	}
}

type checkerFunc func(ctx context.Context, code []byte) (functions.Code, error)

func (f checkerFunc) Check(ctx context.Context, code []byte, _ func(runtime.Progress)) (functions.Code, error) {
	return f(ctx, code)
}

func TestOnlyAFewAreCompiledAtOnce(t *testing.T) {
	s, c := open(t, natsdtest.Memory(t))
	var mu sync.Mutex
	now, most := 0, 0
	c.during = func() {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		time.Sleep(2 * time.Millisecond) // lets others come too
		mu.Lock()
		now--
		mu.Unlock()
	}
	run(t, s)
	for i := range 20 {
		submit(t, s, fmt.Sprint("fn", i), fmt.Sprint("code", i))
	}
	for i := range 20 {
		if v := settled(t, s, fmt.Sprint("fn", i)); v.State != functions.Active {
			t.Errorf("%+v", v)
		}
	}
	if most > compileAtOnce || c.checked != 20 {
		t.Errorf("%d at once, %d in all", most, c.checked)
	}
}

func TestCompilerThatBreaksIsTriedAgainAndGivenUp(t *testing.T) {
	s, _ := open(t, natsdtest.Memory(t))
	s.pause = time.Millisecond
	var mu sync.Mutex
	calls := map[string]int{}
	s.check = checkerFunc(func(_ context.Context, code []byte) (functions.Code, error) {
		mu.Lock()
		defer mu.Unlock()
		calls[string(code)]++
		if string(code) == "cursed" || calls[string(code)] < tries {
			return functions.Code{}, errors.New("no memory for the compiler")
		}
		return functions.Code{ABI: functions.ABIJSON}, nil
	})
	run(t, s)
	submit(t, s, "lucky", "lucky")
	submit(t, s, "cursed", "cursed")
	if v := settled(t, s, "lucky"); v.State != functions.Active {
		t.Errorf("lucky: %+v", v)
	}
	if v := settled(t, s, "cursed"); v.State != functions.Failed || !strings.Contains(v.Reason, "no memory") {
		t.Errorf("cursed: %+v", v)
	}
	if calls["lucky"] != tries || calls["cursed"] != tries {
		t.Errorf("compiled %v times", calls)
	}
}

// What was submitted goes on after a restart, wherever the process ended.
func TestPendingFunctionsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	start := func() *natsd.Server {
		srv, err := natsd.Start(t.Context(), natsd.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return srv
	}
	srv := start()
	s, _ := open(t, srv)
	old := create(t, s, "changing", "one")
	submit(t, s, "new", "code")
	if _, err := s.SubmitCode(t.Context(), "changing", upload("two"), functions.Change{Publish: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SubmitCode(t.Context(), "changing", upload("three"), functions.Change{}); !errors.Is(err, functions.ErrBusy) {
		t.Errorf("a second change: %v", err)
	}
	natsdtest.Close(t, srv) // before anything was compiled

	srv = start()
	s, _ = open(t, srv)
	compiling := make(chan bool, 4)
	s.check = checkerFunc(func(ctx context.Context, code []byte) (functions.Code, error) {
		compiling <- true
		<-ctx.Done()
		return functions.Code{}, context.Cause(ctx)
	})
	if v, err := s.Get(t.Context(), "new"); err != nil || v.State != functions.Pending {
		t.Errorf("new: %+v, %v", v, err)
	}
	if v, err := s.Get(t.Context(), "changing"); err != nil || v.State != functions.Active || v.Update != functions.UpdateInProgress || v.Code != old.Code {
		t.Errorf("changing: %+v, %v", v, err)
	}
	stop := run(t, s)
	<-compiling
	<-compiling
	stop() // amid compiling
	if v, err := s.Get(t.Context(), "new"); err != nil || v.State != functions.Pending {
		t.Errorf("new: %+v, %v", v, err)
	}
	natsdtest.Close(t, srv)

	s, c := open(t, natsdtest.Start(t, natsd.Options{Dir: dir}))
	run(t, s)
	if v := settled(t, s, "new"); v.State != functions.Active || v.Code.SHA256 != digest([]byte("code")) {
		t.Errorf("new: %+v", v)
	}
	if v := settled(t, s, "changing"); v.Update != functions.UpdateSuccessful || v.Code.SHA256 != digest([]byte("two")) || v.Revision != old.Revision+1 {
		t.Errorf("changing: %+v", v)
	}
	if v, err := s.Version(t.Context(), "changing", "1"); err != nil || v.State != functions.Active || v.Code.SHA256 != digest([]byte("two")) {
		t.Errorf("version: %+v, %v", v, err)
	}
	if c.checked != 2 {
		t.Errorf("compiled %d", c.checked)
	}
}

// What servers before this one stored lacks revisions and states.
func TestOlderDataDirectoriesOpen(t *testing.T) {
	srv := natsdtest.Memory(t)
	s, _ := open(t, srv)
	ctx := t.Context()
	create(t, s, "fn", "one")
	publish(t, s, "fn")
	all, err := s.defs.All(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for key, e := range all {
		_, revision, err := s.defs.Get(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		e.Version.RevisionID, e.Version.State, e.Version.Update = "", "", ""
		e.Version.Config.Isolation = ""
		if _, err := s.defs.Update(ctx, key, e, revision); err != nil {
			t.Fatal(err)
		}
	}
	ids := map[string]bool{}
	for range 2 {
		s, _ = open(t, srv)
		versions, err := s.Versions(ctx, "fn")
		if err != nil || len(versions) != 2 {
			t.Fatalf("%+v, %v", versions, err)
		}
		for _, v := range versions {
			if v.State != functions.Active || v.Update != functions.UpdateSuccessful || len(v.RevisionID) != 36 {
				t.Errorf("%+v", v)
			}
			ids[v.RevisionID] = true
		}
	}
	if len(ids) != 2 {
		t.Errorf("revisions %v: want the same at each start, and one of each version", ids)
	}
	if p, err := s.Publish(ctx, "fn", functions.Publication{}); err != nil || p.Version != "1" {
		t.Errorf("published unchanged: %+v, %v", p, err)
	}
}
