package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/wasm/wasmtest"
)

var copying = sync.OnceValues(func() (*Engine, error) {
	return NewEngine(context.Background(), Options{Keep: 16, copying: true})
})

// bothWays runs a test with images that are mapped, where the system has them,
// and with images that are copied.
func bothWays(t *testing.T, f func(t *testing.T, load func(code []byte) runtime.Program)) {
	for name, engine := range map[string]func() (*Engine, error){"mapped": shared, "copied": copying} {
		t.Run(name, func(t *testing.T) {
			f(t, func(code []byte) runtime.Program {
				e, err := engine()
				if err != nil {
					t.Fatal(err)
				}
				p, _, err := e.Load(t.Context(), code, nil)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := p.Close(); err != nil {
						t.Error(err)
					}
				})
				return p
			})
		})
	}
}

func TestIsolatedInvocationFindsMemoryAsAfterStartUp(t *testing.T) {
	bothWays(t, func(t *testing.T, load func([]byte) runtime.Program) {
		e := start(t, load(wasmtest.Guest(t)), version(isolated), nil)
		for range 10 { // resets learn meanwhile
			want(t, e, "calls", "1")
			want(t, e, "keep this", "null")
			want(t, e, "kept", `""`)
		}
		want(t, e, "hold 40", "41943040") // memory grows
		want(t, e, "calls", "1")
		if size := e.(*environment).in.mem.size.Load(); size > 30<<20 {
			t.Errorf("it still has %d MB", size>>20)
		}
	})
}

func TestRestGivesBackWhatWasWritten(t *testing.T) {
	bothWays(t, func(t *testing.T, load func([]byte) runtime.Program) {
		e := start(t, load(wasmtest.Guest(t)), version(), nil)
		want(t, e, "calls", "1")
		want(t, e, "calls", "2")
		e.Rest()
		e.Rest() // twice is once
		want(t, e, "calls", "1")
		want(t, e, "hold 40", "41943040")
		e.Rest()
		if size := e.(*environment).in.mem.size.Load(); size > 30<<20 {
			t.Errorf("it still has %d MB", size>>20)
		}
		want(t, e, "calls", "1")
	})
}

func TestEnvironmentAtRestHasNoMemoryOfItsOwn(t *testing.T) {
	p := load(t, wasmtest.Guest(t))
	start(t, p, version(), nil)
	e := start(t, p, version(), nil).(*environment)
	invoke(t, e, &runtime.Invocation{ID: "i", Batch: batchOf("noop", 100, 1024)})
	if !e.in.mem.mapped {
		t.Skip("images are not mapped here")
	}
	if kb := privateDirty(t, e.in.mem.buf); kb < 100 {
		t.Errorf("%d KB after a batch of 100: nothing is measured", kb)
	}
	e.Rest()
	if kb := privateDirty(t, e.in.mem.buf); kb > 64 {
		t.Errorf("%d KB at rest", kb)
	}
}

// What one environment or invocation had in memory no other finds there: not
// after a reset, not in another environment, not in the image.
func TestNothingOfAnEnvironmentIsReadableByAnother(t *testing.T) {
	secret := []byte("c0ffee-" + strings.Repeat("5ecret", 3))
	bothWays(t, func(t *testing.T, load func([]byte) runtime.Program) {
		p := load(wasmtest.Guest(t))
		for _, isolation := range []functions.Isolation{functions.IsolationEnvironment, functions.IsolationInvocation} {
			first := start(t, p, version(func(c *functions.Config) { c.Isolation = isolation }), nil).(*environment)
			holds := func(e *environment) bool { return bytes.Contains(e.in.mem.buf, secret) }
			for round := range 12 {
				inv := &runtime.Invocation{ID: "i", Payload: fmt.Appendf(nil, `"keep %s"`, secret)}
				r := first.Exchange(t.Context(), requestOf(inv))
				if r.Failure != nil || !holds(first) {
					t.Fatalf("%v: the guest does not have the secret itself, nothing is shown", r.Failure)
				}
				other := start(t, p, version(), nil).(*environment)
				if holds(other) {
					t.Error("another environment has it")
				}
				first.Finish()
				if isolation == functions.IsolationEnvironment {
					first.Rest()
				}
				if holds(first) {
					t.Errorf("round %d: after the reset it is still there", round)
				}
			}
			invoke(t, first, say("keep "+string(secret)))
			invoke(t, first, say("exit 3"))
			if holds(first) {
				t.Error("after an exit it is still there")
			}
			later := start(t, p, version(), nil).(*environment)
			whole := make([]byte, first.image.size)
			first.image.copyTo(whole)
			if holds(later) || bytes.Contains(whole, secret) {
				t.Error("a later environment or the image has it")
			}
		}
	})
}

// requestOf is inv as the one request that a guest of grade json gets for a payload.
func requestOf(inv *runtime.Invocation) Request {
	h := runtime.BatchHeader{RequestID: inv.ID}
	return Request{ID: inv.ID, JSON: true, Size: runtime.JSONRequestSize(len(inv.Payload), h), Fill: func(dst []byte) error {
		copy(dst[len(runtime.AppendJSONRequest(dst[:0], len(inv.Payload), h)):], inv.Payload)
		return nil
	}}
}

func TestGuestStartsUpOnceForAllItsEnvironments(t *testing.T) {
	bothWays(t, func(t *testing.T, load func([]byte) runtime.Program) {
		p := load(wasmtest.Guest(t))
		l := &log{}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				e := start(t, p, version(), l)
				want(t, e, "calls", "1")
			})
		}
		wg.Wait()
		if got := strings.Join(l.lines, "\n"); got != ": starting f" {
			t.Errorf("log\n%s", got)
		}
		// Another version, or other variables, is another start-up.
		v := version(func(c *functions.Config) { c.Environment = map[string]string{"WHO": "other"} })
		want(t, start(t, p, v, l), "env WHO", `"other"`)
		v = version()
		v.Revision++
		start(t, p, v, l)
		if len(l.lines) != 3 {
			t.Errorf("%d start-ups, want 3", len(l.lines))
		}
	})
}

func TestFailedStartUpIsToldToAllWhoWaitAndThenForgotten(t *testing.T) {
	p := load(t, wasmtest.Guest(t))
	v := version(func(c *functions.Config) { c.Environment = map[string]string{"START": "fail"} })
	for range 2 {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				_, err := p.New(t.Context(), v, nil)
				if f, ok := errors.AsType[*runtime.InitError](err); !ok || !strings.Contains(f.Message, "no handler registered") {
					t.Errorf("New = %v", err)
				}
			})
		}
		wg.Wait()
	}
	if n := len(p.(*program).images); n != 0 {
		t.Errorf("%d images are kept", n)
	}
}

// A start-up that its asker gave up says nothing about the function: whoever
// waited for it starts up itself.
func TestStartUpGivenUpIsDoneByTheNext(t *testing.T) {
	p := load(t, wasmtest.Guest(t))
	v := version(func(c *functions.Config) { c.Environment = map[string]string{"START": "loop"} })
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := p.New(ctx, v, nil)
		first <- err
	}()
	for p := p.(*program); ; time.Sleep(time.Millisecond) {
		p.mu.Lock()
		n := len(p.images)
		p.mu.Unlock()
		if n == 1 {
			break
		}
	}
	second := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := p.New(ctx, v, nil)
		second <- err
	}()
	time.Sleep(20 * time.Millisecond) // most often it waits by now; either way it must time out
	cancel()
	if err := <-first; err == nil || errors.As(err, new(*runtime.InitError)) {
		t.Errorf("given up: %v, want an error of ours", err)
	}
	if f, ok := errors.AsType[*runtime.InitError](<-second); !ok || f.Outcome != runtime.Timeout {
		t.Errorf("the next: %v, want its own timeout", f)
	}
}

// seeded is a module whose wm_reseed keeps the seed in memory where its response
// carries it, and whose start function and wm_start count into globals.
func seeded() []byte {
	a := assembly{data: []byte(strings.Replace(nothingReturned, "\x10", "\x28", 1) + "\x01\x00\x00\x00\x10\x00\x00\x00................")}.reactor(returns(40))
	a.funcs = append(a.funcs, asmFunc{"wm_reseed", i64, "", slices.Concat(i32Const(dataAt+24), []byte{0x20, 0, 0x37, 3, 0})})
	return a.bytes()
}

func TestClonesAreSeededAnew(t *testing.T) {
	bothWays(t, func(t *testing.T, load func([]byte) runtime.Program) {
		p := load(seeded())
		seen := map[string]bool{}
		draw := func(e runtime.Environment) {
			t.Helper()
			r := invoke(t, e, say("x"))
			if len(r.Response) != 16 || string(r.Response[:8]) == "........" || seen[string(r.Response)] {
				t.Errorf("%v %s: %q, after %d others", r.Outcome, r.ErrorMessage, r.Response, len(seen))
			}
			seen[string(r.Response)] = true
		}
		var all []runtime.Environment
		for range 4 {
			e := start(t, p, version(), nil)
			draw(e)
			all = append(all, e)
		}
		for _, e := range all {
			e.Rest()
			draw(e)
		}
		e := start(t, p, version(isolated), nil)
		for range 5 {
			draw(e)
		}
	})
	a, b := load(t, wasmtest.Guest(t)), map[string]bool{}
	for range 3 {
		b[string(invoke(t, start(t, a, version(), nil), say("random")).Response)] = true
	}
	if len(b) != 3 {
		t.Errorf("three clones of the Go guest draw %v", b)
	}
}

// A module that changes a table has state that no image holds.
func TestModuleThatCannotBeClonedIsStartedUpEachTime(t *testing.T) {
	a := assembly{table: []byte{0, 4}, data: []byte(nothingReturned)}.reactor(returns(16))
	a.funcs[2].code = slices.Concat(i32Const(0), []byte{0xd0, 0x70, 0x26, 0}, returns(16)) // table.set 0
	p := load(t, a.bytes())
	if p.(*program).cloneable {
		t.Fatal("it counts as cloneable")
	}
	for range 2 {
		e := start(t, p, version(), nil)
		for range 2 {
			if r := invoke(t, e, say("x")); r.Outcome != runtime.Done || !e.Reusable() {
				t.Errorf("%v %s", r.Outcome, r.ErrorMessage)
			}
		}
		e.Rest()
	}
	a.funcs[2].code = append(a.funcs[2].code, unreachable)
	e := start(t, load(t, a.bytes()), version(), nil)
	if r := invoke(t, e, say("x")); r.Outcome != runtime.FunctionError || e.Reusable() {
		t.Errorf("%v, reusable %v: want an environment that is used up", r.Outcome, e.Reusable())
	}
	if r := invoke(t, e, say("x")); r.Outcome != runtime.Infrastructure {
		t.Errorf("used again: %v", r.Outcome)
	}
}

func TestCommandThatCannotBeClonedRunsAgainAndAgain(t *testing.T) {
	a := assembly{table: []byte{0, 4}, funcs: []asmFunc{{"_start", "", "", slices.Concat(i32Const(0), []byte{0xd0, 0x70, 0x26, 0})}}}
	e := start(t, load(t, a.bytes()), version(), nil)
	for range 3 {
		if r := invoke(t, e, say("x")); r.Outcome != runtime.Done || !e.Reusable() {
			t.Errorf("%v %s", r.Outcome, r.ErrorMessage)
		}
	}
}

// The module's own start function runs first, and once for all clones.
func TestStartFunctionRunsOnce(t *testing.T) {
	counts := func(at int32) []byte {
		return slices.Concat(i32Const(at), i32Const(at), []byte{0x2d, 0, 0}, i32Const(1), []byte{0x6a, 0x3a, 0, 0}) // i32.load8_u, add, i32.store8
	}
	bothWays(t, func(t *testing.T, load func([]byte) runtime.Program) {
		a := assembly{data: []byte(strings.Replace(nothingReturned, "\x10", "\x19", 1) + "\x01\x00\x00\x00\x01\x00\x00\x000"), start: 3}.reactor(returns(25))
		a.funcs = append(a.funcs, asmFunc{"", "", "", counts(dataAt + 24)})
		p := load(a.bytes())
		for range 3 {
			e := start(t, p, version(isolated), nil)
			for range 2 {
				if r := invoke(t, e, say("x")); string(r.Response) != "1" {
					t.Errorf("%v %s, it counted to %q", r.Outcome, r.ErrorMessage, r.Response)
				}
			}
		}
		// A command that answers what the start function and it have counted to.
		c := assembly{data: []byte("0\x00\x00\x00\x00\x04\x00\x00\x01\x00\x00\x00"), start: 1, imports: []asmImport{{wasiModule, "fd_write", i32 + i32 + i32 + i32, i32}}}
		c.funcs = []asmFunc{{"", "", "", counts(dataAt)}, {"_start", "", "", slices.Concat(call(1),
			i32Const(1), i32Const(dataAt+4), i32Const(1), i32Const(2048), call(0), []byte{0x1a})}}
		e := start(t, load(c.bytes()), version(), nil)
		for range 3 {
			if r := invoke(t, e, say("x")); string(r.Response) != "2" {
				t.Errorf("command: %v %s %q", r.Outcome, r.ErrorMessage, r.Response)
			}
		}
	})
}

func TestClosedProgramStartsNothing(t *testing.T) {
	p, _, err := engine(t).Load(t.Context(), assembly{data: []byte(nothingReturned)}.reactor(returns(16)).bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.New(t.Context(), version(), nil); err == nil {
		t.Error("a closed program starts an environment")
	}
}
