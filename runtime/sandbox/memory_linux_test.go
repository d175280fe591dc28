package sandbox

import (
	"errors"
	"os"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/wasm/wasmtest"
)

// flat fails if this process, which stands for the server, has grown by more than a few
// buffers.
func flat(t *testing.T) (check func()) {
	t.Helper()
	debug.FreeOSMemory()
	before, err := resident(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		debug.FreeOSMemory()
		after, _ := resident(os.Getpid())
		if grown := after - before; grown > 32<<20 {
			t.Errorf("the server has %d MB more", grown>>20)
		}
	}
}

func TestGuestThatWantsMemoryTakesNoneOfTheServers(t *testing.T) {
	tests := []struct {
		name, word string
		code       []byte
		types      string // error types it may end with; empty: it is done
	}{
		{"hoarding", "hog", wasmtest.Guest(t), runtime.TypeOutOfMemory},
		{"Go's recursion", "recurse", wasmtest.Guest(t), runtime.TypeOutOfMemory + " " + runtime.TypeExit},
		{"recursion", "", recursion(), runtime.TypeExit + " " + runtime.TypeOutOfMemory},
		{"a table that grows", "", grownTable(), ""},
	}
	e := newEngine(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := loaded(t, e, tt.code)
			env, sibling := start(t, p, version(), nil), start(t, p, version(), nil)
			check := flat(t)
			r := invoke(t, env, say(tt.word), patient)
			if tt.types == "" {
				if r.Outcome != runtime.Done {
					t.Errorf("%v %s %s", r.Outcome, r.ErrorType, r.ErrorMessage)
				}
			} else if r.Outcome != runtime.FunctionError || !strings.Contains(tt.types, r.ErrorType) {
				t.Errorf("%v %s %s", r.Outcome, r.ErrorType, r.ErrorMessage)
			}
			check()
			if !sibling.Reusable() {
				t.Error("the process was to live on")
			}
		})
	}
}

func TestFourGigabytesDeclaredAreRefused(t *testing.T) {
	p := loaded(t, newEngine(t), jsonModule(65536, answerNothing))
	check := flat(t)
	_, err := p.New(t.Context(), version(), nil)
	if f, ok := errors.AsType[*runtime.InitError](err); !ok || f.Type != runtime.TypeOutOfMemory {
		t.Errorf("%v", err)
	}
	check()
}

// A gigabyte of log lines costs the server nothing but the lines it keeps.
func TestFloodOfLogLeavesTheServerAsItWas(t *testing.T) {
	p := loaded(t, newEngine(t), writes(16<<10))
	l := &lines{}
	env := start(t, p, version(), l)
	check := flat(t)
	if r := invoke(t, env, say(""), patient); r.Outcome != runtime.Done {
		t.Errorf("%v %s %s", r.Outcome, r.ErrorType, r.ErrorMessage)
	}
	check()
	if l.bytes > maxLogged || l.bytes < 1<<19 {
		t.Errorf("%d bytes of it arrived", l.bytes)
	}
}
