package pool

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/wasm"
	"github.com/wasmill/wasmill/runtime/wasm/wasmtest"
)

// code is a registry whose code is one module.
type code struct {
	registry
	module []byte
}

func (c *code) Code(context.Context, string) ([]byte, error) { return c.module, nil }

// The whole way with real code: the guest of package wasm, loaded as after a
// restart, behind the door.
func TestPoolRunsWASM(t *testing.T) {
	module := wasmtest.Guest(t)
	engine, err := wasm.NewEngine(t.Context(), wasm.Options{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close(context.Background())
	reg := &code{module: module}
	p := New(reg, engine, Options{})
	defer p.Close(context.Background())
	info, err := p.Check(t.Context(), module, nil)
	if err != nil {
		t.Fatal(err)
	}
	reg.versions = map[string]functions.Version{"f:$LATEST": {Function: "f", Version: functions.Unpublished, Code: info, Config: functions.Config{Timeout: time.Minute}}}

	say := func(word string) runtime.Result {
		return p.Invoke(t.Context(), "f", "", &runtime.Invocation{ID: "i", Payload: []byte(`"` + word + `"`)})
	}
	r := say("calls")
	if r.Outcome != runtime.Done || string(r.Response) != "1" || r.Init == 0 || r.MaxMemory == 0 {
		t.Errorf("cold: %+v", r)
	}
	if r = say("say hello"); r.Init != 0 || !strings.Contains(string(r.Logs), "$LATEST\nout hello\nerr hello\nEND RequestId: i\nREPORT") {
		t.Errorf("warm: init %v, log\n%s", r.Init, r.Logs)
	}
	if r = say("exit 3"); r.Outcome != runtime.FunctionError || r.ErrorType != "Runtime.ExitError" || !strings.Contains(string(r.Logs), "Status: error\tError Type: Runtime.ExitError\t") {
		t.Errorf("exit: %v %s, log\n%s", r.Outcome, r.ErrorType, r.Logs)
	}
	if want := `{"errorMessage":"RequestId: i Error: Runtime exited with error: exit status 3","errorType":"Runtime.ExitError"}`; string(r.ErrorJSON()) != want {
		t.Errorf("body %s", r.ErrorJSON())
	}
	if r = say("calls"); string(r.Response) != "1" {
		t.Errorf("after an exit: %s %s; want an environment as new", r.Response, r.ErrorMessage)
	}
	batch := &runtime.Batch{Records: []runtime.Record{{Sequence: "1", Data: []byte("failures 1;")}, {Sequence: "2"}}}
	r = p.Invoke(t.Context(), "f", "", &runtime.Invocation{Batch: batch, PartialReplies: true})
	if i, ok := runtime.LowestFailed(batch, r.Failures); r.Outcome != runtime.Partial || i != 1 || !ok {
		t.Errorf("partial: %v %q", r.Outcome, r.Failures)
	}
	other := functions.Version{Function: "f", Config: functions.Config{Timeout: time.Minute, Emits: []string{"a"}, Environment: map[string]string{"WHO": "me"}}}
	batch.Records[0].Data = []byte("emit 1,a,k,x;")
	if r, _, _ = p.Try(t.Context(), other, module, &runtime.Invocation{Batch: batch}); r.Outcome != runtime.Done || len(r.Emits) != 1 || string(r.Emits[0].Data) != "x" || r.Version.Code != info {
		t.Errorf("a trial: %v %s, emits %+v, code %+v", r.Outcome, r.ErrorMessage, r.Emits, r.Version.Code)
	}
	batch.Records[0].Data = []byte("flood 100;") // 10 KB
	if _, log, _ := p.Try(t.Context(), other, module, &runtime.Invocation{Batch: batch}); strings.Count(log, "yyyy\n") != 100 || !strings.HasPrefix(log, "starting f\nSTART") {
		t.Errorf("the log of a trial has %d bytes: %.200s", len(log), log)
	}
	if r, _, _ = p.Try(t.Context(), other, module, &runtime.Invocation{Payload: []byte(`"env WHO"`)}); string(r.Response) != `"me"` {
		t.Errorf("a trial's environment: %s %s", r.Response, r.ErrorMessage)
	}
	batch.Records[0].Data = []byte("failures 1;")
	if r = p.Invoke(t.Context(), "f", "", &runtime.Invocation{Batch: batch}); r.Outcome != runtime.Done {
		t.Errorf("replies do not count: %v", r.Outcome)
	}
}
