package module

import (
	"context"
	"testing"

	"github.com/tetratelabs/wazero"
)

// Whatever comes, reading and rewriting it does not panic, and the engine takes
// what was rewritten exactly if it took what came.
func FuzzReadAndRewrite(f *testing.F) {
	for seed := range uint64(20) {
		a, _ := generate(seed)
		if len(a.bytes()) < 4000 {
			f.Add(a.bytes())
		}
	}
	f.Add(json(assembly{}))
	f.Add([]byte("\x00asm\x0d\x00\x01\x00"))
	e := newEngine(f, wazero.NewRuntimeConfigInterpreter().WithMemoryLimitPages(64), 100)
	f.Fuzz(func(t *testing.T, code []byte) {
		takenAlike(t, e, code)
	})
}

// The same for code that is nearly valid: bytes of its instructions are changed,
// three of edits each: function, place, new byte.
func FuzzChangedInstructions(f *testing.F) {
	f.Add(uint64(1), []byte{0, 9, 0x0b})
	e := newEngine(f, wazero.NewRuntimeConfigInterpreter(), 100)
	f.Fuzz(func(t *testing.T, seed uint64, edits []byte) {
		a, _ := generate(seed)
		for ; len(edits) >= 3; edits = edits[3:] {
			if code := a.funcs[int(edits[0])%len(a.funcs)].code; len(code) > 0 {
				code[int(edits[1])*7%len(code)] = edits[2]
			}
		}
		takenAlike(t, e, a.bytes())
	})
}

func takenAlike(t *testing.T, e *engine, code []byte) {
	m, err := Read(code)
	if err != nil {
		return
	}
	m.Grade()
	w, err := m.Rewrite()
	if err != nil {
		return
	}
	compile := func(code []byte) error {
		c, err := e.CompileModule(context.Background(), code)
		if err == nil {
			c.Close(context.Background())
		}
		return err
	}
	if before, after := compile(withoutCustom(code)), compile(w.Code); (before == nil) != (after == nil) {
		t.Errorf("as it came: %v; rewritten: %v", before, after)
	}
}

// withoutCustom drops what says nothing about whether code is valid, and what
// the engine believes without looking: it makes room for as many names as it is
// told.
func withoutCustom(code []byte) []byte {
	out := append([]byte{}, code[:8]...)
	for r := (&reader{b: code, at: 8}); r.len() > 0; {
		at, id := r.at, r.b[r.at]
		r.byte()
		if r.bytes(r.u32()); id != sectionCustom {
			out = append(out, code[at:r.at]...)
		}
	}
	return out
}

// Whatever a generated module does, it does rewritten.
func FuzzGenerated(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		newPair(t, wazero.NewRuntimeConfigInterpreter()).compare(t, seed)
	})
}
