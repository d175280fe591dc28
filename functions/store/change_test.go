package store

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

func TestConfigurationThatIsChangedAfterCodeThatFailedIsSuccessful(t *testing.T) {
	s, _ := open(t, natsdtest.Memory(t))
	run(t, s)
	ctx := t.Context()
	fail := func() {
		t.Helper()
		if _, err := s.SubmitCode(ctx, "fn", upload("bad"), functions.Change{}); err != nil {
			t.Fatal(err)
		}
		if v := settled(t, s, "fn"); v.Update != functions.UpdateFailed || v.UpdateReason == "" {
			t.Fatalf("bad code: %+v", v)
		}
	}
	create(t, s, "fn", "good")
	for what, edit := range map[string]func(*functions.Config){
		"memory": func(c *functions.Config) { c.Memory = 512 }, "description": func(c *functions.Config) { c.Description = "d" }, "nothing": func(*functions.Config) {},
	} {
		fail()
		v, _, err := s.UpdateConfig(ctx, "fn", "", func(c *functions.Config) error { edit(c); return nil })
		if err != nil || v.Update != functions.UpdateSuccessful || v.UpdateReason != "" {
			t.Errorf("%s: %v, update %q (%q)", what, err, v.Update, v.UpdateReason)
		}
	}
	// Reserving concurrency and tagging are no updates.
	fail()
	v, _, err := s.UpdateConfig(ctx, "fn", "", func(c *functions.Config) error { c.Concurrency = new(3); return nil })
	if err != nil || v.Update != functions.UpdateFailed || v.UpdateReason == "" {
		t.Errorf("concurrency: %v, update %q (%q)", err, v.Update, v.UpdateReason)
	}
	v, err = s.Edit(ctx, "fn", func(_ *functions.Config, a *functions.Attributes) error { a.Tags["a"] = "b"; return nil })
	if err != nil || v.Update != functions.UpdateFailed {
		t.Errorf("a tag: %v, update %q", err, v.Update)
	}
}

// definitions is how often the bucket was written to.
func definitions(t *testing.T, srv *natsd.Server) uint64 {
	t.Helper()
	st, err := srv.JS().Stream(t.Context(), "KV_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	info, err := st.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.State.LastSeq
}

func TestEditChangesConfigurationAndAttributesInOneWrite(t *testing.T) {
	srv := natsdtest.Memory(t)
	s, _ := open(t, srv)
	ctx := t.Context()
	was := create(t, s, "fn", "code")
	before := definitions(t, srv)
	v, err := s.Edit(ctx, "fn", func(c *functions.Config, a *functions.Attributes) error {
		c.Allow, a.Tags["wasmill:allow"] = []string{"db:1"}, "db:1"
		return nil
	})
	if err != nil || !slices.Equal(v.Config.Allow, []string{"db:1"}) || v.Revision != was.Revision+1 || v.RevisionID == was.RevisionID {
		t.Errorf("%+v, %v", v, err)
	}
	if n := definitions(t, srv) - before; n != 1 {
		t.Errorf("%d writes", n)
	}
	if a, err := s.Attributes(ctx, "fn"); err != nil || a.Tags["wasmill:allow"] != "db:1" {
		t.Errorf("%v, %v", a, err)
	}
	// Attributes alone are no change of $LATEST, and what is refused changes neither.
	tagged, err := s.Edit(ctx, "fn", func(_ *functions.Config, a *functions.Attributes) error { a.Tags["a"] = "b"; return nil })
	if err != nil || !reflect.DeepEqual(tagged, v) {
		t.Errorf("%+v, %v", tagged, err)
	}
	before = definitions(t, srv)
	mine := errors.New("of the caller")
	for what, edit := range map[string]func(*functions.Config, *functions.Attributes) error{
		"a wrong setting": func(c *functions.Config, a *functions.Attributes) error { c.Memory, a.Tags["c"] = 1, "d"; return nil },
		"a wrong alias": func(c *functions.Config, a *functions.Attributes) error {
			c.Memory, a.Aliases["c"] = 512, functions.Alias{Version: "9"}
			return nil
		},
		"its own error": func(c *functions.Config, a *functions.Attributes) error {
			c.Memory, a.Tags["c"] = 512, "d"
			return mine
		},
		"nothing": func(*functions.Config, *functions.Attributes) error { return nil },
	} {
		if _, err := s.Edit(ctx, "fn", edit); (err == nil) != (what == "nothing") || what == "its own error" && err != mine {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got, _ := s.Get(ctx, "fn"); !reflect.DeepEqual(got, v) || definitions(t, srv) != before {
		t.Errorf("changed all the same: %+v", got)
	}
}

func TestArchitecturesComeWithTheCodeThatTheyAreDeclaredFor(t *testing.T) {
	srv := natsdtest.Memory(t)
	s, _ := open(t, srv)
	stop := run(t, s)
	ctx := t.Context()
	arm := []string{"arm64"}
	is := func(what string, v functions.Version, err error, want ...string) {
		t.Helper()
		if err != nil || !slices.Equal(v.Config.Declared.Architectures, want) {
			t.Errorf("%s: %v, %v; want %v", what, v.Config.Declared.Architectures, err, want)
		}
	}
	latest := func(what string, want ...string) {
		t.Helper()
		is(what, settled(t, s, "fn"), nil, want...)
	}
	one := create(t, s, "fn", "one")
	v, err := s.SubmitCode(ctx, "fn", upload("one"), functions.Change{Architectures: arm, DryRun: true})
	is("a dry run", v, err, "arm64")
	latest("after a dry run")
	if _, err := s.SubmitCode(ctx, "fn", upload("bad"), functions.Change{Architectures: arm}); err != nil {
		t.Fatal(err)
	}
	latest("code that cannot run")
	stop()
	before := definitions(t, srv)
	v, err = s.SubmitCode(ctx, "fn", upload("two"), functions.Change{Architectures: arm, Publish: true})
	is("the version that was published", v, err, "arm64")
	if n := definitions(t, srv) - before; n != 2 {
		t.Errorf("%d writes: want the version and the function", n)
	}
	if now, err := s.Get(ctx, "fn"); err != nil || now.Code.SHA256 != one.Code.SHA256 {
		t.Errorf("before it is compiled: %+v, %v", now, err)
	} else {
		is("before it is compiled", now, err)
	}
	s, _ = open(t, srv)
	run(t, s)
	latest("other code", "arm64")
	v, err = s.Version(ctx, "fn", "1")
	is("version 1", v, err, "arm64")
	was := settled(t, s, "fn")
	v, err = s.SubmitCode(ctx, "fn", upload("two"), functions.Change{Architectures: []string{"x86_64"}})
	is("the same code", v, err, "x86_64")
	if v.Revision != was.Revision+1 || v.RevisionID == was.RevisionID {
		t.Errorf("revision %d, was %d", v.Revision, was.Revision)
	}
	v, err = s.SubmitCode(ctx, "fn", upload("three"), functions.Change{})
	is("none declared", v, err, "x86_64")
	latest("none declared", "x86_64")
}
