package module

import (
	"bytes"
	"testing"

	"github.com/tetratelabs/wazero/api"
)

// used is how much fuel a call takes.
func used(t *testing.T, a assembly, name string, args ...uint64) int {
	t.Helper()
	const full = 1 << 30
	e := newEngine(t, compiler(), full)
	r, err := e.startRewritten(rewrite(t, a.bytes()))
	if err != nil {
		t.Fatal(err)
	}
	fuel := r.ExportedGlobal(FuelName).(api.MutableGlobal)
	fuel.Set(full)
	if _, trap := r.call(name, args...); trap != "" {
		t.Fatal(trap)
	}
	return full - int(int32(fuel.Get()))
}

func TestWhatIsCharged(t *testing.T) {
	nop := func(n int) []byte { return bytes.Repeat([]byte{0x01}, n) }
	countdown := func(body ...byte) []byte { // as often as the parameter says
		return cat([]byte{0x03, 0x40}, body, []byte{0x20, 0}, i32Const(1), []byte{0x6b, 0x22, 0, 0x0d, 0, 0x0b})
	}
	// resumed is what Go makes of a function that goes round behind the first place
	// that it can resume at. It falls through to its end when it has.
	resumed := func(body []byte, again ...byte) []byte {
		return cat([]byte{0x02, 0x40, 0x03, 0x40, 0x02, 0x40, 0x02, 0x40, 0x20, 1, 0x0e, 1, 0, 1, 0x0b, 0x0b}, body,
			[]byte{0x20, 0}, i32Const(1), []byte{0x6b, 0x22, 0, 0x04, 0x40}, i32Const(1), []byte{0x21, 1}, again, []byte{0x0b, 0x0b, 0x0b})
	}
	bulk := func(op ...byte) []byte { return cat(i32Const(0), i32Const(0), []byte{0x20, 0, 0xfc}, op) }
	// A way through straight code that jumps over most of it, in blocks that end
	// just where a charge might stand.
	hurdles := bytes.Repeat(cat([]byte{0x02, 0x40}, nop(500), []byte{0x41, 1, 0x0d, 0}, nop(1000), []byte{0x0b}), 100)
	tests := []struct {
		name     string
		code     []byte
		arg      uint64
		from, to int
	}{
		{"a few instructions are free", nop(60), 0, 0, 0},
		{"more cost one at the entry", nop(100), 0, 1, 1},
		{"straight code costs by its length", nop(100 * 1024), 0, 100 * perStride, 101*perStride + 1},
		{"a call costs one at the entry", []byte{0x10, 1}, 0, 1, 1},
		{"a loop costs as many as laps", countdown(), 3, 3, 3},
		{"and one more each time that they are charged", countdown(), 1000, 1003, 1003},
		{"a loop that is left costs the laps it had", countdown(cat([]byte{0x20, 0}, i32Const(10), []byte{0x46, 0x04, 0x40, 0x0f, 0x0b})...), 300, 292, 292},
		{"a loop that is left by br_if, too", countdown(cat([]byte{0x20, 0}, i32Const(10), []byte{0x46, 0x0d, 1})...), 300, 292, 292},
		{"and by br", countdown(cat([]byte{0x20, 0}, i32Const(10), []byte{0x46, 0x04, 0x40, 0x0c, 2, 0x0b})...), 300, 292, 292},
		{"and by br_table, which goes on by it as well", cat([]byte{0x03, 0x40, 0x20, 0}, i32Const(1), []byte{0x6b, 0x22, 0, 0x0e, 1, 1, 0, 0x0b}), 300, 300, 300},
		{"a loop behind a branch", cat([]byte{0x02, 0x40, 0x41, 0, 0x0d, 0}, countdown(), []byte{0x0b}), laps, laps + 1, laps + 1},
		{"loops one behind the other", bytes.Repeat(cat([]byte{0x20, 0, 0x21, 1}, countdown(), []byte{0x20, 1, 0x21, 0}), 16), laps / 4, 4*laps + 5, 4*laps + 5},
		{"a loop that calls what charges itself", countdown(0x10, 2), laps, 2 + laps + laps, 2 + laps + laps},
		{"a loop that takes a value", cat([]byte{0x20, 0, 0x03}, leb(1), i32Const(1), []byte{0x6b, 0x22, 0, 0x20, 0, 0x0d, 0, 0x0b, 0x1a}), 1000, 1000, 1000},
		{"long laps are charged for themselves", countdown(nop(150)...), 100, 101 + 100*perStride, 101 + 100*perStride},
		{"more jumps back than are counted where they are", cat([]byte{0x03, 0x40}, countdown(), bytes.Repeat([]byte{0x41, 0, 0x0d, 0}, maxBack), []byte{0x0b}), 1000, 1000, 1100 + maxBack*perStride},
		{"a loop as Go has it costs one each time, and no other at the entry", resumed([]byte{0x10, 1}, 0x0c, 1), 10, 10, 10},
		{"and each lap of a loop in it", resumed([]byte{0x10, 1, 0x03, 0x40, 0x41, 0, 0x0d, 0, 0x0b}, 0x0c, 1), 10, 20, 20},
		{"one that takes a value", cat(i32Const(0), []byte{0x03, 0, 0x02, 0x40, 0x20, 1, 0x0e, 0, 0, 0x0b, 0x20, 0}, i32Const(1), []byte{0x6b, 0x22, 0}, i32Const(0), []byte{0x21, 1, 0x0d, 0, 0x1a, 0x0b}), 1000, 1000, 1000},
		{"one that goes back over what does not call", resumed(nil, 0x0c, 1), 1000, 1003, 1003},
		{"filling nothing", bulk(memoryFill, 0), 0, 1, 1},
		{"filling 60,000 bytes", bulk(memoryFill, 0), 60000, 1 + 60000>>8, 1 + 60000>>8},
		{"copying 60,000 bytes", bulk(memoryCopy, 0, 0), 60000, 1 + 60000>>8, 1 + 60000>>8},
		{"many calls of what is free", bytes.Repeat([]byte{0x10, 1}, 16*1000), 0, 1000*perStride + 1, 1100 * perStride},
		{"growing memory costs more", bytes.Repeat([]byte{0x41, 0, 0x40, 0, 0x1a}, 1000), 0, 95 * perStride, 120 * perStride},
		{"branches do not lead round a charge", hurdles, 0, 45 * perStride, 160 * perStride},
	}
	for _, tt := range tests {
		a := assembly{types: []Signature{{i32, ""}, {i32, i32}}, funcs: []fn{{name: "f", params: i32, locals: []byte{1, 1, 0x7f}, code: tt.code}, {code: nop(10)}, {code: nop(100)}}}
		if n := used(t, a, "f", tt.arg); n < tt.from || n > tt.to {
			t.Errorf("%s: %d, want %d to %d", tt.name, n, tt.from, tt.to)
		}
	}
}

// Two calls in each of 20 functions are a million, and each is charged.
func TestChainOfCallsIsCharged(t *testing.T) {
	a := assembly{}
	for i := range 20 {
		a.funcs = append(a.funcs, fn{code: []byte{0x10, byte(i + 1), 0x10, byte(i + 1)}})
	}
	a.funcs = append(a.funcs, fn{})
	a.funcs[0].name = "f"
	if n := used(t, a, "f"); n != 1<<20-1 {
		t.Errorf("%d", n)
	}
}

func TestHostIsAskedWheneverFuelIsUsedUp(t *testing.T) {
	loop := cat([]byte{0x03, 0x40, 0x20, 0}, i32Const(1), []byte{0x6b, 0x22, 0, 0x0d, 0, 0x0b})
	a := assembly{funcs: []fn{{name: "f", params: i32, code: loop}}}
	for _, tt := range []struct {
		fuel   int32
		yields int
	}{
		{0, 1000 / laps}, // at each charge
		{2*laps - 1, 2},  // at every other; the first does, for fuel begins at 0
		{2000, 1},
	} {
		e := newEngine(t, compiler(), tt.fuel)
		r, err := e.startRewritten(rewrite(t, a.bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if _, trap := r.call("f", 1000); trap != "" || e.yields != tt.yields {
			t.Errorf("with %d at a time the host is asked %d times, want %d %s", tt.fuel, e.yields, tt.yields, trap)
		}
	}
}
