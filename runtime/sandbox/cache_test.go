package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"testing"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// compiles counts how often a module is compiled, by how often it is checked.
func compiles(t *testing.T, e *Engine, code []byte) (n int, info functions.Code) {
	t.Helper()
	info, err := e.Check(t.Context(), code, func(p runtime.Progress) {
		if p.Stage == "check" && p.Done == 0 {
			n = 1
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return n, info
}

func TestCacheServesWhatItWroteAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	with := func(o *Options) { o.CacheDir = dir }
	code := writes(1)
	n, info := compiles(t, newEngine(t, with), code)
	if n != 1 || info.ABI != functions.ABIJSON || info.Size != int64(len(code)) {
		t.Fatalf("%d %+v", n, info)
	}
	entry := func(name string) string {
		all, _ := filepath.Glob(filepath.Join(dir, "v1-*", info.SHA256, name))
		if len(all) != 1 {
			t.Fatalf("%s: %v", name, all)
		}
		return all[0]
	}
	again := func(want int, after string) {
		t.Helper()
		n, got := compiles(t, newEngine(t, with), code)
		if n != want || got != info {
			t.Errorf("after %s it was compiled %d times, want %d; %+v", after, n, want, got)
		}
	}
	change := func(name string, f func([]byte) []byte) {
		t.Helper()
		b, err := os.ReadFile(entry(name))
		if err == nil {
			err = os.WriteFile(entry(name), f(b), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	half := func(b []byte) []byte { return b[:len(b)/2] }
	const native = "wazero-*/*"

	again(0, "nothing")
	change(native, flip)
	again(1, "a bit of native code flipped")
	again(0, "that was mended")
	change(native, half)
	again(1, "native code was cut short")
	change("manifest", flip)
	again(1, "a bit of the manifest flipped")
	change("manifest", half)
	again(1, "the manifest was cut short")
	change("code.wasm", flip)
	again(1, "a bit of the module flipped")
	if err := os.WriteFile(filepath.Join(filepath.Dir(entry("manifest")), "more"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again(1, "a file was put beside")
	if err := os.Remove(entry(native)); err != nil {
		t.Fatal(err)
	}
	again(1, "native code was removed")
	if err := os.WriteFile(filepath.Join(dir, "key"), bytes.Repeat([]byte{7}, 32), 0o600); err != nil {
		t.Fatal(err)
	}
	again(1, "the key changed")
	for _, name := range []string{".", "v1-*"} {
		all, _ := filepath.Glob(filepath.Join(dir, name))
		if i, err := os.Stat(all[0]); err != nil || i.Mode().Perm() != 0o700 && goruntime.GOOS != "windows" {
			t.Errorf("%s: %v %v", name, i.Mode(), err)
		}
	}
}

// An entry that is tampered with while a server runs is not executed either.
func TestRunningServerLooksAgainBeforeItStartsAProcess(t *testing.T) {
	e := newEngine(t, func(o *Options) { o.CacheDir = t.TempDir(); o.linger = time.Millisecond })
	p := loaded(t, e, writes(2))
	env := start(t, p, version(), nil)
	env.Close()
	<-env.process.gone
	all, _ := filepath.Glob(filepath.Join(e.cache.path(env.process.code.SHA256), "wazero-*", "*"))
	before, err := os.ReadFile(all[0])
	if err == nil {
		err = os.WriteFile(all[0], before[:100], 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if r := invoke(t, start(t, p, version(), nil), say(""), patient); r.Outcome != runtime.Done {
		t.Errorf("%v %s", r.Outcome, r.ErrorMessage)
	}
	if after, _ := os.ReadFile(all[0]); len(after) != len(before) {
		t.Errorf("the entry has %d bytes, want %d", len(after), len(before))
	}
}

func TestCacheOfOtherVersionsIsSweptInTime(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	make := func(name string, age time.Duration) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(path, 0o700), os.Chtimes(path, now.Add(-age), now.Add(-age))); err != nil {
			t.Fatal(err)
		}
		return path
	}
	old, young, foreign := make("v1-0123456789abcdef", 48*time.Hour), make("v1-0123456789abcdee", time.Hour), make("mine", 48*time.Hour)
	unused, begun := make("v1-"+compiler()+"/aa", 90*24*time.Hour), make("v1-"+compiler()+"/tmp-1", 2*time.Hour)
	newEngine(t, func(o *Options) { o.CacheDir = dir })
	for path, stays := range map[string]bool{old: false, young: true, foreign: true, unused: false, begun: false} {
		if _, err := os.Stat(path); (err == nil) != stays {
			t.Errorf("%s stays: %v", path, err == nil)
		}
	}
}

func TestCacheKeepsWhatWasLoadedLast(t *testing.T) {
	c, err := openCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	add := func(digest string, size int, age time.Duration) {
		dir, err := c.begin(make([]byte, size))
		if err == nil {
			err = c.commit(dir, functions.Code{SHA256: digest})
		}
		if err == nil {
			err = os.Chtimes(c.path(digest), now.Add(-age), now.Add(-age))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add("old", 1000, 3*time.Hour)
	add("older", 1000, 4*time.Hour)
	add("young", 1000, time.Hour)
	add("new", 1000, 5*time.Hour)
	under, err := c.begin(make([]byte, 5000)) // being compiled
	if err != nil {
		t.Fatal(err)
	}
	c.trim(2000, "new")
	for digest, stays := range map[string]bool{"old": false, "older": false, "young": true, "new": true} {
		if _, err := c.lookup(digest); (err == nil) != stays {
			t.Errorf("%s: %v", digest, err)
		}
	}
	if _, err := os.Stat(under); err != nil {
		t.Error(err)
	}
}

func TestCodeThatIsRefusedSaysWhy(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*Options)) {
		e := newEngine(t, with)
		for _, code := range [][]byte{nil, []byte("MZ not wasm"), writes(1)[:50]} {
			_, err := e.Check(t.Context(), code, nil)
			if !errors.Is(err, functions.ErrCode) {
				t.Errorf("%v", err)
			}
		}
		if entries, _ := filepath.Glob(filepath.Join(e.cache.dir, "tmp-*")); len(entries) > 0 {
			t.Errorf("left behind: %v", entries)
		}
	})
}

func TestCompilingEndsWithItsContext(t *testing.T) {
	e := newEngine(t, func(o *Options) { o.CacheDir = t.TempDir() })
	ctx, cancel := context.WithCancelCause(t.Context())
	given := errors.New("given up")
	_, err := e.Check(ctx, chain(20000), func(p runtime.Progress) { cancel(given) })
	if !errors.Is(err, given) {
		t.Errorf("%v", err)
	}
}

func TestCacheWithoutAFolderGoesWithTheEngine(t *testing.T) {
	e := newEngine(t, func(o *Options) { o.CacheDir = "" })
	dir := e.cache.own
	if _, err := e.Check(t.Context(), writes(1), nil); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there", dir)
	}
}
