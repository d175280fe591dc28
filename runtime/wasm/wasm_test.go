package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/wasm/wasmtest"
)

// shared is one engine for all tests that do not need their own: the Go guest
// is compiled once.
var shared = sync.OnceValues(func() (*Engine, error) { return NewEngine(context.Background(), Options{Keep: 16}) })

func engine(t testing.TB) *Engine {
	t.Helper()
	e, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func load(t testing.TB, code []byte) runtime.Program {
	t.Helper()
	p, _, err := engine(t).Load(t.Context(), code, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// log collects what guests write.
type log struct {
	mu    sync.Mutex
	lines []string
	bytes int
}

func (l *log) Line(id string, line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bytes += len(line)
	if len(l.lines) < 1000 {
		l.lines = append(l.lines, id+": "+string(line))
	}
}

func version(change ...func(*functions.Config)) functions.Version {
	v := functions.Version{Function: "f", Version: functions.Unpublished, ID: "x", Config: functions.Config{Timeout: 20 * time.Second, Memory: 128}}
	for _, c := range change {
		c(&v.Config)
	}
	return v
}

func start(t testing.TB, p runtime.Program, v functions.Version, l runtime.LogWriter) runtime.Environment {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e, err := p.New(ctx, v, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func invoke(t testing.TB, e runtime.Environment, inv *runtime.Invocation) runtime.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return e.Invoke(ctx, inv)
}

func say(word string) *runtime.Invocation {
	return &runtime.Invocation{ID: "id-1", Payload: []byte(`"` + word + `"`)}
}

func batchOf(word string, n, size int) *runtime.Batch {
	b := &runtime.Batch{Shard: "shardId-000000000000", ARN: "arn:aws:kinesis:us-east-1:000000000000:stream/s", Region: "us-east-1", Identity: "arn:aws:iam::000000000000:role/r"}
	for i := range n {
		data := append([]byte(word+";"), bytes.Repeat([]byte("d"), max(0, size-len(word)-1))...)
		b.Records = append(b.Records, runtime.Record{Sequence: fmt.Sprintf("4954511524349098501828006771497314458218006259324420%04d", i), PartitionKey: "key", Data: data, Arrival: 1700000000123})
	}
	return b
}

func TestRefusedCode(t *testing.T) {
	ok := []asmFunc{}
	two := func(f ...asmFunc) assembly { return assembly{funcs: f} }
	cut := assembly{}.reactor(returns(16)).bytes()
	tests := []struct {
		name string
		code []byte
		want string // what to change
	}{
		{"nothing", nil, "not a WebAssembly module"},
		{"text", []byte("package main"), "wasmill build"},
		{"component", []byte("\x00asm\x0d\x00\x01\x00\x00"), "GOOS=wasip1"},
		{"cut off", cut[:len(cut)/2], "build or copy it again"},
		{"cut in the header", cut[:6], "build or copy it again"},
		{"none of the grades", two(asmFunc{"add", i32 + i32, i32, i32Const(1)}).bytes(), "wasmill build"},
		{"a part of the ABI", two(asmFunc{"wm_batch", i32, i64, i64Const(0)}).bytes(), "wm_abi_version and wm_alloc and wm_json"},
		{"wrong signature", assembly{funcs: []asmFunc{{"wm_start", "", i64, i64Const(0)}}}.reactor(returns(16)).bytes(), "wm_start is () -> (i64), want () -> (i32)"},
		{"unknown import", assembly{imports: []asmImport{{"env", "abort", i32, ""}}, funcs: ok}.reactor(returns(16)).bytes(), "env.abort"},
		{"built for a browser", assembly{imports: []asmImport{{"gojs", "runtime.wasmExit", i32, ""}}}.reactor(returns(16)).bytes(), "GOOS=wasip1"},
		{"unknown function of WASI", assembly{imports: []asmImport{{wasiModule, "sock_dial", i32, ""}}}.reactor(returns(16)).bytes(), "does not have"},
		{"function of WASI with another signature", assembly{imports: []asmImport{{wasiModule, "proc_exit", i64, ""}}}.reactor(returns(16)).bytes(), "proc_exit as (i64) -> ()"},
		{"memory under another name", assembly{memName: "mem"}.reactor(returns(16)).bytes(), "memory"},
		{"huge table", assembly{table: []byte{0, 0x80, 0x80, 0x80, 0x40}}.reactor(returns(16)).bytes(), "table"},
		{"invalid instructions", assembly{}.reactor([]byte{0xff}).bytes(), "the instruction 0xff"},
		{"instructions that do not fit together", assembly{}.reactor(i32Const(1)).bytes(), "not valid WebAssembly"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := engine(t).Check(t.Context(), tt.code, nil)
			if !errors.Is(err, functions.ErrCode) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Check = %v, want an ErrCode with %q", err, tt.want)
			}
		})
	}
}

func TestGradeIsChosenByExports(t *testing.T) {
	batch := asmFunc{"wm_batch", i32, i64, returns(16)}
	tests := []struct {
		name string
		code []byte
		want functions.ABI
	}{
		{"batch", assembly{funcs: []asmFunc{batch}}.reactor(returns(16)).bytes(), functions.ABIBatch},
		{"json", assembly{}.reactor(returns(16)).bytes(), functions.ABIJSON},
		{"the ABI goes before a command", assembly{funcs: []asmFunc{{"_start", "", "", nil}}}.reactor(returns(16)).bytes(), functions.ABIJSON},
		{"command", assembly{funcs: []asmFunc{{"_start", "", "", nil}}}.bytes(), functions.ABICommand},
	}
	for _, tt := range tests {
		info, err := engine(t).Check(t.Context(), tt.code, nil)
		if err != nil || info.ABI != tt.want || info.Size != int64(len(tt.code)) || len(info.SHA256) != 64 {
			t.Errorf("%s: %+v, %v", tt.name, info, err)
		}
	}
}

// Whatever a guest does wrong is a function error by the name that AWS gives it.
func TestFaultsOfASmallModule(t *testing.T) {
	exit := []asmImport{{wasiModule, "proc_exit", i32, ""}}
	recursion := assembly{}.reactor(slices.Concat(call(3), i64Const(0)))
	recursion.funcs = append(recursion.funcs, asmFunc{"", "", "", slices.Concat(call(3), call(3))})
	alloc := func(code []byte) assembly {
		a := assembly{}.reactor(returns(16))
		a.funcs[1].code = code
		return a
	}
	tests := []struct {
		name    string
		code    []byte
		errType string
		message string
	}{
		{"trap", assembly{}.reactor([]byte{unreachable}).bytes(), runtime.TypeExit, "RequestId: id-1 Error: Runtime exited with error: trap: unreachable"},
		{"exit", assembly{imports: exit}.reactor(slices.Concat(i32Const(7), call(0), returns(16))).bytes(), runtime.TypeExit, "RequestId: id-1 Error: Runtime exited with error: exit status 7"},
		{"exit 0", assembly{imports: exit}.reactor(slices.Concat(i32Const(0), call(0), returns(16))).bytes(), runtime.TypeExit, "RequestId: id-1 Error: Runtime exited without providing a reason"},
		{"exit with the engine's own code for a timeout", assembly{imports: exit}.reactor(slices.Concat(i32Const(-0x10000001), call(0), returns(16))).bytes(), runtime.TypeExit, "exit status -268435457"},
		{"recursion", recursion.bytes(), runtime.TypeExit, "trap: stack overflow"},
		{"memory refused", assembly{}.reactor(slices.Concat(i32Const(60000), []byte{0x40, 0}, []byte{0x1a, unreachable})).bytes(), runtime.TypeOutOfMemory, "out of memory"},
		{"access outside memory", assembly{}.reactor(slices.Concat(i32Const(-8), []byte{0x29, 0, 0})).bytes(), runtime.TypeExit, "out of bounds memory access"},
		{"garbage", assembly{data: []byte("no response at all, just some bytes")}.reactor(returns(35)).bytes(), runtime.TypeMalformed, "WMR1"},
		{"nothing", assembly{}.reactor(i64Const(0)).bytes(), runtime.TypeMalformed, "0 bytes"},
		{"outside memory", assembly{}.reactor(i64Const(0x7fff0000_00000010)).bytes(), runtime.TypeMalformed, "does not lie in memory"},
		{"longer than memory", assembly{}.reactor(i64Const(0x00000010_ffffffff)).bytes(), runtime.TypeMalformed, "does not lie in memory"},
		{"not understood", assembly{data: []byte(notUnderstood)}.reactor(returns(16)).bytes(), runtime.TypeMalformed, "does not understand JSON"},
		{"alloc has nothing", alloc(i32Const(0)).bytes(), runtime.TypeOutOfMemory, "wm_alloc"},
		{"alloc outside memory", alloc(i32Const(-1)).bytes(), runtime.TypeMalformed, "wm_alloc"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := start(t, load(t, tt.code), version(), nil)
			r := invoke(t, e, say("x"))
			if r.Outcome != runtime.FunctionError || r.ErrorType != tt.errType || !strings.Contains(r.ErrorMessage, tt.message) {
				t.Errorf("%v %s: %s, want %s: … %s", r.Outcome, r.ErrorType, r.ErrorMessage, tt.errType, tt.message)
			}
			if !e.Reusable() {
				t.Error("the environment cannot be used again")
			}
			if r := invoke(t, e, say("x")); r.Outcome != runtime.FunctionError || r.ErrorType != tt.errType {
				t.Errorf("used again: %v %s", r.Outcome, r.ErrorMessage)
			}
		})
	}
}

func TestBatchThatIsNotUnderstoodIsAskedAgainAsJSON(t *testing.T) {
	a := assembly{data: []byte(nothingReturned + notUnderstood)}.reactor(returns(16))
	a.funcs = append(a.funcs, asmFunc{"wm_batch", i32, i64, i64Const((dataAt+16)<<32 | 16)})
	e := start(t, load(t, a.bytes()), version(), nil)
	if r := invoke(t, e, &runtime.Invocation{ID: "i", Batch: batchOf("x", 2, 5)}); r.Outcome != runtime.Done || !e.Reusable() {
		t.Errorf("%v %s", r.Outcome, r.ErrorMessage)
	}
	g := start(t, load(t, wasmtest.Guest(t)), version(), nil)
	r := invoke(t, g, &runtime.Invocation{ID: "i", Batch: batchOf("", 0, 0)})
	if !strings.Contains(string(r.Response), "Records") {
		t.Errorf("%v %s %s", r.Outcome, r.Response, r.ErrorMessage)
	}
}

func TestFaultsOfStartUp(t *testing.T) {
	set := func(value string) func(*functions.Config) {
		return func(c *functions.Config) { c.Environment = map[string]string{"START": value} }
	}
	wrong := assembly{}.reactor(returns(16))
	wrong.funcs[0].code = i32Const(2)
	code := wasmtest.Guest(t)
	tests := []struct {
		name    string
		code    []byte
		change  func(*functions.Config)
		outcome runtime.Outcome
		errType string
		message string
	}{
		{"not ready", code, set("fail"), runtime.FunctionError, runtime.TypeInit, "no handler registered"},
		{"panic", code, set("panic"), runtime.FunctionError, runtime.TypeExit, "start-up is broken"},
		{"loop", code, set("loop"), runtime.Timeout, runtime.TypeTimeout, "Task timed out after 0."},
		{"other version of the ABI", wrong.bytes(), set(""), runtime.FunctionError, runtime.TypeInit, "version 2"},
		{"more memory at start than it may have", assembly{memory: []byte{0, 0x81, 0x10}}.reactor(returns(16)).bytes(), set(""), runtime.FunctionError, runtime.TypeOutOfMemory, "raise its memory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := load(t, tt.code)
			allowed := time.Minute
			if tt.outcome == runtime.Timeout {
				allowed = 200 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), allowed)
			defer cancel()
			_, err := p.New(ctx, version(tt.change), nil)
			f, ok := errors.AsType[*runtime.InitError](err)
			if !ok || f.Outcome != tt.outcome || f.Type != tt.errType || !strings.Contains(f.Message, tt.message) {
				t.Errorf("New = %v, want %v %s: … %s", err, tt.outcome, tt.errType, tt.message)
			}
		})
	}
}

func TestSharedProgramOutlivesItsFirstUser(t *testing.T) {
	e, err := NewEngine(t.Context(), Options{Keep: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(t.Context())
	code := assembly{data: []byte(nothingReturned)}.reactor(returns(16)).bytes()
	one, _, err := e.Load(t.Context(), code, nil)
	if err != nil {
		t.Fatal(err)
	}
	two, _, err := e.Load(t.Context(), code, nil)
	if err != nil {
		t.Fatal(err)
	}
	one.Close()
	one.Close()        // twice is once
	for i := range 3 { // others push out whatever nobody uses
		if _, err := e.Check(t.Context(), assembly{data: []byte{byte(i)}}.reactor(returns(16)).bytes(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(e.modules); n != 2 {
		t.Errorf("%d modules are kept, want the used one and one more", n)
	}
	if err := e.Close(t.Context()); err == nil {
		t.Error("closed under a program")
	}
	defer two.Close()
	env := start(t, two, version(), nil)
	defer env.Close()
	if r := invoke(t, env, say("x")); r.Outcome != runtime.Done {
		t.Errorf("%v %s", r.Outcome, r.ErrorMessage)
	}
}

func TestSameCodeIsCompiledOnce(t *testing.T) {
	e, err := NewEngine(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(t.Context())
	code := assembly{data: []byte("once")}.reactor(returns(16)).bytes()
	var mu sync.Mutex
	compiled := 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, err := e.Check(t.Context(), code, func(p runtime.Progress) {
				mu.Lock()
				defer mu.Unlock()
				if p.Stage == "compile" && p.Done == p.Total {
					compiled++
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if compiled != 1 {
		t.Errorf("compiled %d times", compiled)
	}
}

func TestCacheDirectoryKeepsCompiledCode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	code := assembly{data: []byte(nothingReturned)}.reactor(returns(16)).bytes()
	for range 2 {
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
		files := 0
		filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
			if err == nil && info.Mode().IsRegular() {
				files++
			}
			return err
		})
		if files == 0 {
			t.Error("nothing in the cache")
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 && os.PathSeparator == '/' {
		t.Errorf("cache directory: %v, %v", info.Mode(), err)
	}
}

func TestCodeIsNotToBlameForACallerWhoGivesUp(t *testing.T) {
	e, err := NewEngine(t.Context(), Options{Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	code := assembly{}.reactor(returns(16)).bytes()
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, _, err = e.Load(ctx, code, func(p runtime.Progress) {
		if p.Stage == "compile" {
			cancel(enough)
		}
	})
	if !errors.Is(err, enough) || errors.Is(err, functions.ErrCode) {
		t.Errorf("%v: want the cause, and no ErrCode", err)
	}
	if _, err := e.Check(t.Context(), code, nil); err != nil {
		t.Errorf("the same code for somebody who waits: %v", err)
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
