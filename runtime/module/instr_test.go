package module

import (
	"context"
	"fmt"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// Behind unreachable the stack may hold anything, so that an instruction alone
// is a valid body if its operands are right: each is tried with all of some.
func TestInstructionsOfTheEngineAreUnderstoodAndNoOthers(t *testing.T) {
	operands := [][]byte{nil, {0}, {0, 0}, {0x40, 0x0b}, {0x40, 0x05, 0x0b}, {0x7f, 0x00, 0x0b}, {1, 0x7f}, {0x70}, {1},
		make([]byte, 4), make([]byte, 8), make([]byte, 16), {0, 0, 0}, {2, 0, 0, 0}, {0x80, 0}, {0x80, 0, 0x80, 0}}
	var instructions [][]byte
	for i := range 256 {
		switch {
		case i < 0xfc && i != 0x05 && i != 0x0b: // those two end what was not begun
			instructions = append(instructions, []byte{byte(i)})
		case i == 0xfc, i == 0xfe:
			for j := range 128 {
				instructions = append(instructions, []byte{byte(i), byte(j)})
			}
			instructions = append(instructions, []byte{byte(i), 0x8a, 0}, []byte{byte(i), 0x80, 2})
		case i == 0xfd:
			for j := range 128 {
				instructions = append(instructions, []byte{0xfd, byte(j)}, []byte{0xfd, 0x80 | byte(j), 1}, []byte{0xfd, 0x80 | byte(j), 2})
			}
		default:
			instructions = append(instructions, []byte{byte(i)})
		}
	}
	ctx := context.Background()
	e := newEngine(t, wazero.NewRuntimeConfigInterpreter(), 1)
	understood := 0
	for _, in := range instructions {
		taken := false
		for _, o := range operands {
			a := assembly{
				tables:   [][]byte{{0x70, 0, 1}},
				globals:  [][]byte{mutable(0x7f, i32Const(0))},
				elements: [][]byte{{1, 0, 1, 0}},
				count:    true,
				data:     [][]byte{passive("x")},
				// Locals are of no type that could be wrong: there is one of each.
				funcs: []fn{{name: "f", locals: []byte{1, 1, 0x7f}, code: cat([]byte{0}, in, o, []byte{0})}},
			}
			code := a.bytes()
			c, engineErr := e.CompileModule(ctx, code)
			if engineErr == nil {
				c.Close(ctx)
			}
			m, err := Read(code)
			if err != nil {
				if engineErr == nil && !beyond(in) {
					t.Errorf("% x % x: %v; the engine takes it", in, o, err)
				}
				continue
			}
			w, err := m.Rewrite()
			if err != nil {
				t.Errorf("% x % x: %v", in, o, err)
				continue
			}
			c, err = e.CompileModule(ctx, w.Code)
			if (err == nil) != (engineErr == nil) {
				t.Errorf("% x % x: rewritten %v, as it was %v", in, o, err, engineErr)
			}
			if err == nil {
				c.Close(ctx)
				taken = true
			}
		}
		if taken {
			understood++
		}
	}
	// Of one byte without else and end, behind 0xfc, behind 0xfd.
	if understood != 181+18+236 {
		t.Errorf("%d instructions are taken", understood)
	}
}

// beyond are encodings that the engine takes and no compiler writes: a number in
// more bytes than it needs, and relaxed SIMD, whose second byte it takes for an
// instruction of its own.
func beyond(in []byte) bool {
	return len(in) > 2 && (in[0] == 0xfc || in[0] == 0xfd && in[2] == 2)
}

func TestImportsOfWASIAreTheEngines(t *testing.T) {
	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	host, err := wasi_snapshot_preview1.NewBuilder(r).Compile(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range host.ExportedFunctions() {
		if got, want := fmt.Sprint(WASI[name]), (Signature{string(f.ParamTypes()), string(f.ResultTypes())}).String(); got != want {
			t.Errorf("%s is %s, the engine has %s", name, got, want)
		}
	}
	if len(WASI) != len(host.ExportedFunctions()) {
		t.Errorf("%d functions, the engine has %d", len(WASI), len(host.ExportedFunctions()))
	}
}
