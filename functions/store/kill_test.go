package store

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

// A kill may come between any two writes of what Submit, finish and DeleteVersion do.
func TestKillBetweenTwoWritesLeavesSense(t *testing.T) {
	srv := natsdtest.Memory(t)
	ctx := t.Context()
	s, _ := open(t, srv)

	// Submit: the version, which is the first thing stored, and then the code, of functions
	// that never came to be.
	f, _, err := s.wanted("never", functions.Config{})
	if err != nil {
		t.Fatal(err)
	}
	f.Version.Code, _ = described(upload("never"))
	f.Next = &next{Code: f.Version.Code}
	if _, err := s.publish(ctx, f, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.code.put(ctx, f.Version.Code.SHA256, []byte("never"), nil); err != nil {
		t.Fatal(err)
	}

	// finish: the version is stored as compiled, or as failed, and $LATEST is not.
	for name, state := range map[string]functions.State{"half": functions.Active, "bad": functions.Failed} {
		if _, _, err := s.Submit(ctx, name, upload(name), functions.Config{}, functions.Attributes{}, functions.Change{Publish: true}); err != nil {
			t.Fatal(err)
		}
		v, err := s.Version(ctx, name, "1")
		if err != nil {
			t.Fatal(err)
		}
		v.State, v.Reason = state, "because"
		if err := s.keep(ctx, v); err != nil {
			t.Fatal(err)
		}
	}

	// DeleteVersion: the version does not count any more, and is there.
	create(t, s, "fn", "one")
	one := publish(t, s, "fn")
	if err := s.DeleteVersion(ctx, "fn", "1"); err != nil {
		t.Fatal(err)
	}
	if err := s.keep(ctx, one); err != nil {
		t.Fatal(err)
	}

	s, _ = open(t, srv)
	if all, _ := s.List(ctx); len(all) != 3 {
		t.Errorf("functions %+v", all)
	}
	if got := stored(t, srv); slices.Contains(got, digest([]byte("never"))) {
		t.Errorf("stored %v", got)
	}
	if _, err := s.Version(ctx, "fn", "1"); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("deleted version: %v", err)
	}
	run(t, s)
	for name, want := range map[string]functions.State{"half": functions.Active, "bad": functions.Failed} {
		if v := settled(t, s, name); v.State != want {
			t.Errorf("%s: %+v", name, v)
		}
		if v, err := s.Version(ctx, name, "1"); err != nil || v.State != want || v.Reason == "because" {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
	keys, err := s.defs.All(ctx)
	if err != nil || len(keys) != 5 {
		t.Errorf("%d definitions, %v: want three functions and two versions", len(keys), err)
	}
	s, _ = open(t, srv) // and all of it opens
	if all, _ := s.List(ctx); len(all) != 3 {
		t.Errorf("functions %+v", all)
	}
}

// A kill may come after any write of any change: the next start opens what there is then, and
// no version that was acknowledged is missing.
func TestKillAfterAnyWriteLeavesSense(t *testing.T) {
	srv := natsdtest.Memory(t)
	ctx := t.Context()
	s, _ := open(t, srv)
	conn := srv.JS().Conn()
	written, err := conn.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	// What each write is followed by must be there, whatever comes after: name/version.
	acknowledged := map[int][]string{}
	var writes []*nats.Msg
	done := func(versions ...string) {
		t.Helper()
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		for {
			m, err := written.NextMsg(50 * time.Millisecond)
			if errors.Is(err, nats.ErrTimeout) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(m.Subject, "$KV."+bucket+".") || strings.HasPrefix(m.Subject, subjects) {
				writes = append(writes, m)
			}
		}
		acknowledged[len(writes)] = versions
	}
	check := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	stop := run(t, s)
	_, _, err = s.Submit(ctx, "fn", upload("one"), functions.Config{}, functions.Attributes{}, functions.Change{Publish: true})
	check(nil, err)
	settled(t, s, "fn")
	done("fn/1")
	check(s.SubmitCode(ctx, "fn", upload("two"), functions.Change{Publish: true, Architectures: []string{"arm64"}}))
	settled(t, s, "fn")
	done("fn/1", "fn/2")
	check(s.SubmitCode(ctx, "fn", upload("bad"), functions.Change{Publish: true}))
	settled(t, s, "fn")
	check(s.Edit(ctx, "fn", func(c *functions.Config, a *functions.Attributes) error { c.Memory, a.Tags["a"] = 256, "b"; return nil }))
	done("fn/1", "fn/2", "fn/3")
	check(s.Publish(ctx, "fn", functions.Publication{}))
	done("fn/1", "fn/2", "fn/3", "fn/4")
	check(nil, s.DeleteVersion(ctx, "fn", "2"))
	done("fn/1", "fn/3", "fn/4")
	create(t, s, "other", "one")
	check(nil, s.Delete(ctx, "fn"))
	done("other/$LATEST")
	stop()
	if len(writes) < 15 {
		t.Fatalf("only %d writes were seen", len(writes))
	}

	var must []string
	for n := range len(writes) + 1 {
		srv := natsdtest.Memory(t)
		open(t, srv)
		for _, m := range writes[:n] {
			again := nats.NewMsg(m.Subject)
			again.Data = m.Data
			if op := m.Header.Get("KV-Operation"); op != "" {
				again.Header.Set("KV-Operation", op)
			}
			if _, err := srv.JS().PublishMsg(ctx, again); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Open(ctx, srv, &checker{})
		if err != nil {
			t.Errorf("killed after write %d of %d, to %s: %v", n, len(writes), writes[max(n, 1)-1].Subject, err)
			continue
		}
		stop := run(t, s)
		all, _ := s.List(ctx)
		for _, v := range all {
			settled(t, s, v.Function)
		}
		if told, ok := acknowledged[n]; ok {
			must = told
			for _, version := range must {
				name, number, _ := strings.Cut(version, "/")
				if v, err := s.Version(ctx, name, number); err != nil || v.State == functions.Pending {
					t.Errorf("killed after write %d: %s: %+v, %v", n, version, v, err)
				}
			}
		}
		stop()
	}
}
