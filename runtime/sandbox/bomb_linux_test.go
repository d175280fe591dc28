package sandbox

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// bomb is small, passes all that is looked at before it is compiled, and takes the compiler
// half a gigabyte: it keeps for each block which addresses are known to lie in memory.
func bomb() []byte {
	var code []byte
	for i := range int32(40_000) {
		code = append(code, 0x41, 0, 0x28, 2, 0) // an address that nobody knows
		code = append(code, i32c(i)...)
		code = append(code, 0x6a, 0x28, 2, 0, 0x1a)
	}
	code = append(code, slices.Repeat(append(i32c(0), 0x28, 2, 0, 0x04, 0x40, 0x0b), 1000)...)
	return jsonModule(1, append(code, answerNothing...))
}

// What the shape of a module does not tell, the limits of the child do: it ends there, and
// nobody else is the worse for it.
func TestCompileBombEndsAtTheLimitsOfItsChild(t *testing.T) {
	e := newEngine(t, func(o *Options) { o.compileMemory = 1600 << 20 })
	env := start(t, loaded(t, e, writes(2)), version(), nil)
	check := flat(t)
	done := make(chan error, 1)
	go func() {
		_, err := e.Check(t.Context(), bomb(), nil)
		done <- err
	}()
	served := 0
	for running := true; running; served++ {
		if r := invoke(t, env, say(""), patient); r.Outcome != runtime.Done {
			t.Fatalf("%v %s", r.Outcome, r.ErrorMessage)
		}
		select {
		case err := <-done:
			if !errors.Is(err, functions.ErrCode) || !strings.Contains(err.Error(), "of memory; make the module or its largest functions smaller") {
				t.Errorf("%v", err)
			}
			running = false
		default:
		}
	}
	check()
	if served < 2 {
		t.Error("nobody was served meanwhile")
	}
	if _, err := e.Check(t.Context(), writes(5), nil); err != nil {
		t.Errorf("the next module: %v", err)
	}
}

func TestModuleThatIsTooLargeIsRefusedBeforeAChildStarts(t *testing.T) {
	e := newEngine(t, func(o *Options) { o.Command = []string{"/bin/false"} })
	_, err := e.Check(t.Context(), make([]byte, functions.MaxCode+1), nil)
	if !errors.Is(err, functions.ErrCode) || !strings.Contains(err.Error(), "strip it") {
		t.Errorf("%v", err)
	}
}
