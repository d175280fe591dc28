package build

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/wasmill/wasmill/runtime"
)

// raw is a guest in a bare wazero, whose random numbers and clock are the same for
// each instance: two of them are copies of one another.
func raw(t *testing.T, name string) (call func(export string, args ...uint64) uint64, exchange func(export string, request []byte) runtime.Reply, pages func() uint32) {
	t.Helper()
	engine(t)
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	t.Cleanup(func() { _ = r.Close(ctx) })
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	m, err := r.InstantiateWithConfig(ctx, guests.code, wazero.NewModuleConfig().WithStartFunctions("_initialize").WithEnv("CASE", name))
	if err != nil {
		t.Fatal(err)
	}
	call = func(export string, args ...uint64) uint64 {
		t.Helper()
		out, err := m.ExportedFunction(export).Call(ctx, args...)
		if err != nil {
			t.Fatalf("%s: %v", export, err)
		}
		if len(out) == 0 {
			return 0
		}
		return out[0]
	}
	if call("wm_start") != 0 {
		t.Fatal("it does not start")
	}
	return call, func(export string, request []byte) runtime.Reply {
		t.Helper()
		at := call("wm_alloc", uint64(len(request)))
		m.Memory().Write(uint32(at), request)
		packed := call(export, uint64(len(request)))
		response, ok := m.Memory().Read(uint32(packed>>32), uint32(packed))
		if !ok {
			t.Fatalf("%s returned %#x, which does not lie in memory", export, packed)
		}
		reply, err := runtime.DecodeReply(append([]byte(nil), response...))
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}, func() uint32 { return m.Memory().Size() >> 16 }
}

func TestReseededCopiesDrawOtherRandomNumbers(t *testing.T) {
	draw := func(seed uint64) (out []string) {
		call, exchange, _ := raw(t, "random")
		call("wm_freeze")
		if seed != 0 {
			call("wm_reseed", seed)
		}
		reply := exchange("wm_json", append(runtime.AppendJSONRequest(nil, 2, runtime.BatchHeader{}), "{}"...))
		if err := json.Unmarshal(reply.JSON, &out); err != nil || len(out) != 4 {
			t.Fatalf("%v: %+v", err, reply)
		}
		return out
	}
	one, same, two, three := draw(0), draw(0), draw(1), draw(2)
	for i, name := range []string{"math/rand", "math/rand/v2", "hash/maphash", "order of a map"} {
		if one[i] != same[i] {
			t.Errorf("%s: copies that were not reseeded differ, so this test tells nothing", name)
		}
		if one[i] == two[i] || two[i] == three[i] {
			t.Errorf("%s: copies draw the same: %s, %s, %s", name, one[i], two[i], three[i])
		}
	}
}

// TestFrozenMemoryHasRoomForABatch runs batches of 100 and of 1,000 records on fresh
// instances: none grows.
func TestFrozenMemoryHasRoomForABatch(t *testing.T) {
	for _, n := range []int{100, 1000} {
		call, exchange, pages := raw(t, "kinesis-reply")
		call("wm_freeze")
		before := pages()
		data := make([]string, n)
		for i := range data {
			data[i] = strings.Repeat("x", 1<<10)
		}
		if reply := exchange("wm_batch", runtime.AppendBinary(nil, batch(data...), runtime.BatchHeader{})); reply.Failed || reply.NotUnderstood {
			t.Fatalf("%+v", reply)
		}
		if after := pages(); after != before {
			t.Errorf("%d records of 1 KB: memory grew from %d to %d pages", n, before, after)
		}
	}
}

// TestGoroutinesStandStillBetweenInvocations has a goroutine that counts as fast as it
// can: it gets on while an invocation runs, and not at all while none does.
func TestGoroutinesStandStillBetweenInvocations(t *testing.T) {
	e, _ := start(t, "ticking")
	count := func() (n int64) {
		t.Helper()
		res := invoke(t, e, runtime.Invocation{Payload: []byte(`{}`)})
		if err := json.Unmarshal(res.Response, &n); err != nil {
			t.Fatalf("%v: %+v", err, res)
		}
		return n
	}
	first := count()
	began := time.Now()
	for time.Since(began) < 30*time.Millisecond {
	}
	second := count()
	if first < 100 {
		t.Errorf("it counted to %d while the first invocation waited a millisecond", first)
	}
	// It may have had a few turns while the first ended and the second began.
	if second-first > first {
		t.Errorf("it counted on between invocations, from %d to %d", first, second)
	}
}

func TestFatalLogTellsTheLogAndEndsTheInvocation(t *testing.T) {
	e, log := start(t, "fatal")
	res := invoke(t, e, runtime.Invocation{Payload: []byte(`{}`)})
	if res.Outcome != runtime.FunctionError || res.ErrorType != runtime.TypeExit || !strings.Contains(res.ErrorMessage, "exit status 1") {
		t.Errorf("got %v %s: %s", res.Outcome, res.ErrorType, res.ErrorMessage)
	}
	if !strings.Contains(log.String(), "it is over") {
		t.Errorf("the log does not tell: %s", log)
	}
}

// TestEventsOfAnOldVersionHaveABinaryForm is of a version of aws-lambda-go without
// time windows and replies: its events still have a binary form.
func TestEventsOfAnOldVersionHaveABinaryForm(t *testing.T) {
	_, code := build(t, "testdata/old")
	e, _, err := environment(t, code, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*runtime.Batch{"kinesis": batch("a", "b"), "window": in(batch("a", "b"), `{}`, false)} {
		if res := invoke(t, e, runtime.Invocation{Batch: b}); string(res.Response) != `"2"` {
			t.Errorf("%s: %v %s %s", name, res.Outcome, res.Response, res.ErrorMessage)
		}
	}
	if res := invoke(t, e, runtime.Invocation{Batch: messages("a")}); res.Outcome != runtime.Done || fmt.Sprint(string(res.Response)) != `"1"` {
		t.Errorf("messages, which its handler reads as something else: %v %s %s", res.Outcome, res.Response, res.ErrorMessage)
	}
}
