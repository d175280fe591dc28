package kv_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server/ats"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
)

func TestMain(m *testing.M) {
	ats.Register()
	code := m.Run()
	ats.Unregister()
	os.Exit(code)
}

type thing struct {
	N int `json:"n"`
}

func open(t *testing.T, s *natsd.Server) *kv.Bucket[thing] {
	t.Helper()
	b, err := kv.Open[thing](t.Context(), s, "things")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantErr(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error = %v, want %v", err, target)
	}
}

func TestAChangeNeedsTheRevisionThatWasRead(t *testing.T) {
	ctx := t.Context()
	for name, s := range map[string]*natsd.Server{"file": natsdtest.New(t), "memory": natsdtest.Memory(t)} {
		t.Run(name, func(t *testing.T) {
			b := open(t, s)
			_, _, err := b.Get(ctx, "a")
			wantErr(t, err, kv.ErrNotFound)

			rev := must(b.Create(ctx, "a", thing{1}))(t)
			_, err = b.Create(ctx, "a", thing{2})
			wantErr(t, err, kv.ErrExists)
			v, got, err := b.Get(ctx, "a")
			if err != nil || v.N != 1 || got != rev {
				t.Errorf("get = %v at %d, %v: want 1 at %d", v, got, err, rev)
			}

			rev2 := must(b.Update(ctx, "a", thing{3}, rev))(t)
			_, err = b.Update(ctx, "a", thing{4}, rev)
			wantErr(t, err, kv.ErrConflict)
			_, err = b.Update(ctx, "a", thing{4}, 0)
			wantErr(t, err, kv.ErrInvalid)
			_, err = b.Update(ctx, "never made", thing{4}, 7)
			wantErr(t, err, kv.ErrConflict)

			wantErr(t, b.Delete(ctx, "a", rev), kv.ErrConflict)
			if err := b.Delete(ctx, "a", rev2); err != nil {
				t.Fatal(err)
			}
			wantErr(t, b.Delete(ctx, "a", rev2), kv.ErrNotFound)
			_, _, err = b.Get(ctx, "a")
			wantErr(t, err, kv.ErrNotFound)
			if all := must(b.All(ctx))(t); len(all) != 0 {
				t.Errorf("all = %v after delete", all)
			}
			if rev3 := must(b.Create(ctx, "a", thing{5}))(t); rev3 <= rev2 {
				t.Errorf("revision %d of the new one, %d of the deleted", rev3, rev2)
			}
		})
	}
}

func TestCreateGoesOverATombstone(t *testing.T) {
	ctx := t.Context()
	s := natsdtest.New(t)
	b := open(t, s)
	rev := must(b.Create(ctx, "a", thing{1}))(t)
	// As a kill between the two steps of Delete leaves it.
	m := nats.NewMsg("$KV.things.a")
	m.Header.Set("KV-Operation", "DEL")
	must(s.JS().PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(rev)))(t)

	_, _, err := b.Get(ctx, "a")
	wantErr(t, err, kv.ErrNotFound)
	if all := must(b.All(ctx))(t); len(all) != 0 {
		t.Errorf("all = %v", all)
	}
	must(b.Create(ctx, "a", thing{2}))(t)
}

func TestKeysMayHoldAnything(t *testing.T) {
	ctx := t.Context()
	b := open(t, natsdtest.Memory(t))
	keys := []string{"", "=", "=3D", "a.b", "a", "a.", ".a", "*", ">", "a b", "ä/ö:ü", "$LATEST", "\x00\xff\n", "-_", "A", strings.Repeat("長", 256), strings.Repeat(".", kv.MaxKey)}
	want := map[string]thing{}
	for i, k := range keys {
		must(b.Create(ctx, k, thing{i}))(t)
		want[k] = thing{i}
	}
	for k, v := range want {
		if got, _, err := b.Get(ctx, k); err != nil || got != v {
			t.Errorf("get %q = %v, %v: want %v", k, got, err, v)
		}
	}
	if all := must(b.All(ctx))(t); !maps.Equal(all, want) {
		t.Errorf("all = %v, want %v", all, want)
	}
	_, err := b.Create(ctx, strings.Repeat("x", kv.MaxKey+1), thing{})
	wantErr(t, err, kv.ErrInvalid)
}

func TestDefinitionsSurviveARestart(t *testing.T) {
	ctx := t.Context()
	dir := filepath.Join(t.TempDir(), "data")
	s := natsdtest.Start(t, natsd.Options{Dir: dir})
	rev := must(open(t, s).Create(ctx, "a", thing{1}))(t)
	natsdtest.Close(t, s)
	b := open(t, natsdtest.Start(t, natsd.Options{Dir: dir}))
	if v, got, err := b.Get(ctx, "a"); err != nil || v.N != 1 || got != rev {
		t.Errorf("get = %v at %d, %v: want 1 at %d", v, got, err, rev)
	}
}

func TestOneOfManyWritersWinsEachRevision(t *testing.T) {
	ctx := t.Context()
	b := open(t, natsdtest.Memory(t))
	must(b.Create(ctx, "counter", thing{0}))(t)
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for range cap(errs) {
		wg.Go(func() {
			for done := 0; done < 20; {
				v, rev, err := b.Get(ctx, "counter")
				if err == nil {
					_, err = b.Update(ctx, "counter", thing{v.N + 1}, rev)
				}
				switch {
				case err == nil:
					done++
				case !errors.Is(err, kv.ErrConflict):
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	if v, _, err := b.Get(ctx, "counter"); err != nil || v.N != 160 {
		t.Errorf("counter = %v, %v: want 160", v, err)
	}
}

func TestAWriteWhoseAnswerWasLostIsNoConflictWithItself(t *testing.T) {
	ctx := t.Context()
	s := natsdtest.New(t)
	b := open(t, s)
	rev := must(b.Create(ctx, "a", thing{0}))(t)

	// A listener hangs up the writer's connection once its message has
	// passed, so that most answers are lost.
	ear := must(s.Dial("ear"))(t)
	must(ear.Subscribe("$KV.things.a", func(*nats.Msg) { _ = s.Conn().ForceReconnect() }))(t)
	if err := ear.Flush(); err != nil {
		t.Fatal(err)
	}
	n, lost := 0, false
	for ; n < 20; n++ {
		begin := time.Now()
		var err error
		if rev, err = b.Update(ctx, "a", thing{n + 1}, rev); err != nil {
			t.Fatalf("update %d: %v", n+1, err)
		}
		lost = lost || time.Since(begin) >= natsd.Pause // it was tried again
	}
	if !lost {
		t.Error("no answer was lost: the test has shown nothing")
	}
	if v, got, err := b.Get(ctx, "a"); err != nil || v.N != n || got != rev {
		t.Errorf("get = %v at %d, %v: want %d at %d", v, got, err, n, rev)
	}
}

func FuzzKey(f *testing.F) {
	f.Add("a.b=c")
	f.Fuzz(func(t *testing.T, key string) {
		token := kv.EncodeKey(key)
		if token == "" || strings.ContainsAny(token, ".*> \t\r\n\x00") {
			t.Errorf("%q is encoded as %q", key, token)
		}
		if got, err := kv.DecodeKey(token); err != nil || got != key {
			t.Errorf("%q came back as %q, %v", key, got, err)
		}
	})
}

func TestBucketsAreOpenedAcrossRestartsOfTheStore(t *testing.T) {
	ctx := t.Context()
	s := natsdtest.New(t)
	natsdtest.Failing(t, s, 5, func(i int) {
		if _, err := kv.Open[thing](ctx, s, fmt.Sprint("bucket", i)); err != nil {
			t.Errorf("make: %v", err)
		}
		if _, err := kv.Open[thing](ctx, s, fmt.Sprint("bucket", i)); err != nil {
			t.Errorf("open: %v", err)
		}
	})
}
