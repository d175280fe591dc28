package quickjs

import (
	"errors"
	"strings"
	"testing"
)

func TestAnEngineThatCannotBeUsedIsNamedAsSuch(t *testing.T) {
	for name, tt := range map[string]struct{ engine, says string }{
		"no module":    {"MZ", "it is no WebAssembly module"},
		"cut off":      {"\x00asm\x01\x00\x00\x00\x01\x7f", "it ends too early"},
		"another one":  {"\x00asm\x01\x00\x00\x00", "it exports no malloc"},
		"many entries": {"\x00asm\x01\x00\x00\x00\x03\x05\xff\xff\xff\xff\x0f", "it ends too early"},
		"other wishes": {"\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x02\x09\x01\x03env\x01x\x00\x00", "it wants env.x of its host"},
	} {
		_, err := Link([]byte(tt.engine), nil)
		if !errors.Is(err, ErrEngine) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), EngineVersion) {
			t.Errorf("%s: %v, want %q", name, err, tt.says)
		}
	}
}

// TestTheAdaptersTextIsWhole: it is assembled in full only where an engine is at
// hand, so at least what it names must be there.
func TestTheAdaptersTextIsWhole(t *testing.T) {
	p, err := read(adapter)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, f := range p.functions {
		if known[f.name] {
			t.Errorf("%s stands twice", f.name)
		}
		known[f.name] = true
	}
	s := symbols{function: func(name string) (uint32, bool) { return 0, known[name] }, global: func(string) (uint32, bool) { return 0, true },
		constants: map[string]uint32{"@strings": 1, "@prelude": 1, "@program": 1}, segments: map[string]uint32{"@strings": 0, "@prelude": 1, "@program": 2}, offsets: p.offsets}
	for _, f := range p.functions {
		if f.external() {
			continue
		}
		if _, err := f.assemble(s); err != nil {
			t.Error(err)
		}
	}
	for _, faulty := range []string{"(func $a nonsense)", "(func $a br $x)", "(func $a block)", "(func $a end)", "(global $x i64)", "(func $a call $none)"} {
		p, err := read(faulty)
		if err == nil {
			_, err = p.functions[0].assemble(s)
		}
		if err == nil {
			t.Errorf("%s is taken", faulty)
		}
	}
}

func FuzzLink(f *testing.F) {
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x04\x01\x02\x00\x0b"))
	f.Fuzz(func(t *testing.T, engine []byte) {
		if _, err := Link(engine, []byte("x")); err == nil {
			t.Error("such an engine is none")
		}
		l := &linker{module: &module{}}
		l.move(engine)
		l.elements(list{min(len(engine), 100), engine})
	})
}
