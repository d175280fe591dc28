package wasm

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/module"
	"github.com/wasmill/wasmill/runtime/wasm/wasmtest"
)

func digestOf(code []byte) string {
	sum := sha256.Sum256(code)
	return hex.EncodeToString(sum[:])
}

// cached is an engine on a folder.
func cached(t testing.TB, dir string) *Engine {
	t.Helper()
	e, err := NewEngine(t.Context(), Options{CacheDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return e
}

// named gives functions names, in the custom section that stack traces take them from.
func named(code []byte, names ...string) []byte {
	var all [][]byte
	for i, n := range names {
		all = append(all, append(leb(uint64(i)), str(n)...))
	}
	sub := vector(all...)
	return append(slices.Clone(code), sectionOf(0, slices.Concat(str("name"), []byte{1}, leb(uint64(len(sub))), sub))...)
}

// TestRecalledModuleIsTheOneThatWasCompiled runs modules with what an outline must not
// lose, compiled in memory and recalled by another engine than the one that kept them.
func TestRecalledModuleIsTheOneThatWasCompiled(t *testing.T) {
	answers := func(body string) []byte {
		head := []byte(nothingReturned + "\x01\x00\x00\x00" + string(rune(len(body))) + "\x00\x00\x00" + body)
		head[8] = byte(len(head))
		return head
	}
	sized := func(data []byte) assembly { return assembly{data: data}.reactor(returns(len(data))) }
	tabled := sized(answers("table"))
	tabled.table = []byte{0, 4}
	tabled.funcs[2].code = slices.Concat(i32Const(0), []byte{0xd0, 0x70, 0x26, 0}, tabled.funcs[2].code) // table.set 0: it cannot be cloned
	calling := sized(answers("calls"))
	calling.funcs[2].code = slices.Concat(call(3), calling.funcs[2].code)
	calling.funcs = append(calling.funcs, asmFunc{"", "", "", []byte{unreachable}})
	started := sized(answers("start"))
	started.start = 3
	started.funcs = append(started.funcs, asmFunc{"", "", "", slices.Concat(i32Const(dataAt+24), i32Const('S'), []byte{0x3a, 0, 0})})
	tests := map[string]struct {
		code []byte
		want string // in the response or the stack trace
	}{
		"data":         {sized(answers("data")).bytes(), "data"},
		"other bodies": {sized(answers("atad")).bytes(), "atad"},
		"table":        {tabled.bytes(), "table"},
		"start":        {started.bytes(), "Start"},
		"names":        {named(calling.bytes(), "zero", "one", "answer", "trap"), "answer"},
		"global":       {sized(answers("global")).withGlobal().bytes(), "global"},
		"go":           {wasmtest.Guest(t), "1"},
		"seeds":        {seeded(), ""},
		"command":      {wasmtest.Command(t), ""},
	}
	dir := t.TempDir()
	keeping := cached(t, dir)
	for name, tt := range tests {
		if _, err := keeping.Check(t.Context(), tt.code, nil); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	recalling := cached(t, dir)
	for name, tt := range tests {
		word := say(map[bool]string{true: "calls", false: "x"}[name == "go"])
		plain := start(t, load(t, tt.code), version(), nil)
		p, err := recalling.Recall(t.Context(), digestOf(tt.code))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for round := range 2 { // the second is a clone, if it can be
			e, err := p.New(t.Context(), version(), nil)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			a, b := invoke(t, plain, word), invoke(t, e, word)
			plain.Rest()
			if a.Outcome != b.Outcome || a.ErrorMessage != b.ErrorMessage || !bytes.Equal(a.StackTrace, b.StackTrace) || name != "seeds" && !bytes.Equal(a.Response, b.Response) {
				t.Errorf("%s, %d: recalled it answers %+v, want %+v", name, round, b, a)
			}
			if all := string(b.Response) + string(b.StackTrace); !strings.Contains(all, tt.want) {
				t.Errorf("%s, %d: %s, want %s in it", name, round, all, tt.want)
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		}
		if p.ABI() != load(t, tt.code).ABI() {
			t.Errorf("%s: its grade is %s", name, p.ABI())
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestOutlineIsNeverRun: the engine would compile an outline that it finds no native code
// for, and each of its functions traps.
func TestOutlineIsNeverRun(t *testing.T) {
	code := assembly{data: []byte(nothingReturned)}.reactor(returns(16)).bytes()
	for name, change := range map[string]func(native string) error{
		"gone":                    os.Remove,
		"empty":                   func(native string) error { return os.Truncate(native, 0) },
		"cut off":                 func(native string) error { return os.Truncate(native, 100) },
		"under another name":      func(native string) error { return os.Rename(native, native[:len(native)-1]+"x") },
		"of another engine":       func(native string) error { return os.WriteFile(native, []byte("WAZEVO\x03old\x01\x00\x00\x00"), 0o600) },
		"in a folder of its name": func(native string) error { return errors.Join(os.Remove(native), os.Mkdir(native, 0o700)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := cached(t, dir).Check(t.Context(), code, nil); err != nil {
				t.Fatal(err)
			}
			native, _ := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
			if len(native) != 1 {
				t.Fatalf("native code is in %v", native)
			}
			if err := change(native[0]); err != nil {
				t.Fatal(err)
			}
			e := cached(t, dir)
			if p, err := e.Recall(t.Context(), digestOf(code)); err == nil {
				t.Errorf("recalled: %v", p)
			}
			if name == "in a folder of its name" {
				return // nor can it be kept
			}
			p, _, err := e.Load(t.Context(), code, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if r := invoke(t, start(t, p, version(), nil), say("x")); r.Outcome != runtime.Done {
				t.Errorf("%v %s", r.Outcome, r.ErrorMessage)
			}
			again, err := cached(t, dir).Recall(t.Context(), digestOf(code))
			if err != nil {
				t.Fatalf("it was not kept again: %v", err)
			}
			again.Close()
		})
	}
}

func TestNothingIsRecalledThatWasNotKept(t *testing.T) {
	e := cached(t, t.TempDir())
	if _, err := e.Recall(t.Context(), digestOf(nil)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := engine(t).Recall(t.Context(), digestOf(nil)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a folder: %v", err)
	}
}

// TestFolderThatCannotBeWrittenIsNotTheCodesFault, as a full disk is not.
func TestFolderThatCannotBeWrittenIsNotTheCodesFault(t *testing.T) {
	dir := t.TempDir()
	e := cached(t, dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	_, err := e.Check(t.Context(), assembly{data: []byte(nothingReturned)}.reactor(returns(16)).bytes(), nil)
	if err == nil || errors.Is(err, functions.ErrCode) {
		t.Errorf("%v", err)
	}
}

func TestCompilingLeavesNothingBesideWhatIsKept(t *testing.T) {
	dir := t.TempDir()
	code := assembly{data: []byte(nothingReturned)}.reactor(returns(16)).bytes()
	e := cached(t, dir)
	if _, err := e.Check(t.Context(), code, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Check(t.Context(), assembly{}.reactor(i32Const(1)).bytes(), nil); !errors.Is(err, functions.ErrCode) {
		t.Errorf("a body that does not fit its type: %v", err)
	}
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if path != dir {
			files = append(files, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil || len(files) != 3 { // the folder of native code, that, and the outline
		t.Errorf("%v %v", files, err)
	}
}

// TestMergedSegmentsMakeTheSameMemory merges segments as compilers make them and as
// nobody would: overlapping, touching, out of order, empty.
func TestMergedSegmentsMakeTheSameMemory(t *testing.T) {
	const size = 4096
	memory := func(in []module.Segment) []byte {
		b := make([]byte, size)
		for _, s := range in {
			copy(b[s.Offset:], s.Data)
		}
		return b
	}
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		var in []module.Segment
		at := 0
		for range r.IntN(12) {
			if r.IntN(4) == 0 {
				at = r.IntN(size)
			}
			s := module.Segment{Offset: uint32(at), Data: make([]byte, r.IntN(min(300, size-at)+1))}
			for i := range s.Data {
				s.Data[i] = byte(r.IntN(3))
			}
			in = append(in, s)
			at = min(at+len(s.Data)+r.IntN(400)*r.IntN(2), size)
		}
		out := merge(in)
		if !bytes.Equal(memory(in), memory(out)) {
			t.Fatalf("seed %d: %v becomes %v", seed, in, out)
		}
		for _, s := range out {
			if int(s.Offset)+len(s.Data) > size {
				t.Fatalf("seed %d: a segment reaches to %d", seed, int(s.Offset)+len(s.Data))
			}
		}
	}
	var many []module.Segment
	for i := range 1000 {
		many = append(many, module.Segment{Offset: uint32(i * 40), Data: []byte(fmt.Sprint(i))})
	}
	if n := len(merge(many)); n != 1 {
		t.Errorf("1000 segments with a few zeros between become %d", n)
	}
}
