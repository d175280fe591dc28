package wasm

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/wasmill/wasmill/runtime"
)

func TestPreparedModuleIsReadBackWholeOrNotAtAll(t *testing.T) {
	code := assembly{data: []byte(nothingReturned)}.reactor(returns(16)).bytes()
	p, err := prepare(code, "digest")
	if err != nil {
		t.Fatal(err)
	}
	whole := p.encode()
	p.code = nil
	if got := decodePrepared(whole); !reflect.DeepEqual(got, p) {
		t.Errorf("read back %+v, want %+v", got, p)
	}
	for n := range whole {
		if got := decodePrepared(whole[:n:n]); got != nil {
			t.Fatalf("%d of %d bytes are read as %+v", n, len(whole), got)
		}
	}
}

func TestPreparedModuleIsUsedAndMadeAgainIfItIsDamaged(t *testing.T) {
	dir := t.TempDir()
	code := assembly{data: []byte(nothingReturned)}.reactor(returns(16)).bytes()
	sum := sha256.Sum256(code)
	run := func() (file string) {
		e, err := NewEngine(t.Context(), Options{CacheDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		p, _, err := e.Load(t.Context(), code, nil)
		if err != nil {
			t.Fatal(err)
		}
		env, err := p.New(t.Context(), version(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if r := invoke(t, env, say("x")); r.Outcome != runtime.Done {
			t.Error(r.ErrorMessage)
		}
		if err := errors.Join(env.Close(), p.Close(), e.Close(t.Context())); err != nil {
			t.Error(err)
		}
		return e.preparedFile(hex.EncodeToString(sum[:]))
	}
	file := run()
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, whole[:len(whole)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	run()
	if again, err := os.ReadFile(file); err != nil || string(again) != string(whole) {
		t.Errorf("a damaged file was not made again: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "new-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
