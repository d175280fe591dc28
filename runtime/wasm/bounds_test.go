package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/wasm/wasmtest"
)

// A call costs a guest one step, whatever it does on our side: so none may go on
// past the deadline.
func TestHostFunctionsEndAGuestPastItsDeadline(t *testing.T) {
	a, all := everything()
	e := start(t, load(t, a.bytes()), version(), nil).(*environment)
	stack := make([]uint64, 16)
	for _, f := range all {
		e.enter(t.Context(), time.Now().Add(-time.Second))
		clear(stack)
		err := e.in.mod.ExportedFunction("call "+f.name).CallWithStack(&e.calls, stack)
		e.leave()
		if stopped := errors.Is(err, errStopped); stopped == (f.name == exitName) {
			t.Errorf("%s: %v", f.name, err)
		}
	}
}

// withDataCount puts in the section that data.drop and memory.init ask for.
func withDataCount(code []byte) []byte {
	for at := 8; at < len(code); {
		size, n := binary.Uvarint(code[at+1:])
		if code[at] == 10 {
			return slices.Concat(code[:at], sectionOf(12, []byte{1}), code[at:])
		}
		at += 1 + n + int(size)
	}
	panic("no code")
}

// Rows 29 to 31 of the list of attacks: what takes long without a loop, in one, and
// by calling itself.
func TestDeadlineStopsWhateverTakesLong(t *testing.T) {
	loop := func(code ...[]byte) []byte {
		return slices.Concat([]byte{0x03, 0x40}, slices.Concat(code...), []byte{0x0c, 0, 0x0b, unreachable})
	}
	large := func(code []byte) assembly { // 64 MB of memory, a table that may have a million elements
		return assembly{memory: []byte{0, 0x80, 0x08}, table: []byte{0, 0x80, 0x80, 0x40}, data: []byte(nothingReturned)}.reactor(code)
	}
	straight := func(n int, code ...[]byte) []byte {
		return slices.Concat(slices.Repeat(slices.Concat(code...), n), returns(16))
	}
	fill := slices.Concat(i32Const(4096), i32Const(1), i32Const(32<<20), []byte{0xfc, 11, 0})
	copying := slices.Concat(i32Const(4096), i32Const(8<<20), i32Const(32<<20), []byte{0xfc, 10, 0, 0})
	tableFill := slices.Concat(i32Const(0), []byte{0xd0, 0x70}, i32Const(1<<20), []byte{0xfc, 17, 0})
	tableCopy := slices.Concat(i32Const(0), i32Const(1), i32Const(1<<20-1), []byte{0xfc, 14, 0, 0})
	tests := map[string]assembly{
		"memory.fill":                large(straight(2000, fill)),
		"memory.copy":                large(straight(2000, copying)),
		"table.fill":                 large(straight(2000, tableFill)),
		"table.copy":                 large(straight(2000, tableCopy)),
		"data.drop in a loop":        large(loop([]byte{0xfc, 9, 0})),
		"memory.init in a loop":      large(loop(i32Const(0), i32Const(0), i32Const(0), []byte{0xfc, 8, 0, 0})),
		"memory.grow in a loop":      large(loop(i32Const(1), []byte{0x40, 0, 0x1a})),
		"memory.grow by nothing":     large(loop(i32Const(0), []byte{0x40, 0, 0x1a})),
		"memory.grow by all":         large(loop(i32Const(-1), []byte{0x40, 0, 0x1a})),
		"table.grow in a loop":       large(loop([]byte{0xd0, 0x70}, i32Const(1), []byte{0xfc, 15, 0, 0x1a})),
		"a loop by br_table":         large(slices.Concat([]byte{0x03, 0x40}, i32Const(5), []byte{0x0e, 2, 0, 0, 0, 0x0b, unreachable})),
		"a loop that calls by table": large(slices.Concat(i32Const(0), []byte{0xd2, 0, 0x26, 0}, loop(i32Const(0), []byte{0x11, 0, 0, 0x1a}))),
		"selects in a loop":          large(loop(bytes.Repeat(slices.Concat(i32Const(1), i32Const(2), i32Const(3), []byte{0x1b, 0x1a}), 5000))),
	}
	for name, a := range tests {
		t.Run(name, func(t *testing.T) {
			e := start(t, load(t, withDataCount(a.bytes())), version(), nil)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			if r := e.Invoke(ctx, say("x")); r.Outcome != runtime.Timeout {
				t.Errorf("%v %s", r.Outcome, r.ErrorMessage)
			}
		})
	}
	t.Run("recursion through a table", func(t *testing.T) {
		a := large(slices.Concat(i32Const(0), []byte{0xd2, 3, 0x26, 0}, i32Const(0), []byte{0x11, 3, 0}, returns(16)))
		a.funcs = append(a.funcs, asmFunc{"f", "", "", slices.Repeat(slices.Concat(i32Const(0), []byte{0x11, 3, 0}), 2)})
		e := start(t, load(t, a.bytes()), version(), nil)
		if r := invoke(t, e, say("x")); r.Outcome != runtime.FunctionError || !strings.Contains(r.ErrorMessage, "stack overflow") {
			t.Errorf("%v %s", r.Outcome, r.ErrorMessage)
		}
	})
	t.Run("start function", func(t *testing.T) {
		a := large(returns(16))
		a.start = 3
		a.funcs = append(a.funcs, asmFunc{"", "", "", []byte{0x03, 0x40, 0x0c, 0, 0x0b}})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		_, err := load(t, a.bytes()).New(ctx, version(), nil)
		if f, its := errors.AsType[*runtime.InitError](err); !its || f.Outcome != runtime.Timeout {
			t.Errorf("%v", err)
		}
	})
}

// Row 36: what is asked for beyond all measure is refused or ends with the deadline.
func TestProbesOfHostFunctionsAreBounded(t *testing.T) {
	a, _ := everything()
	e := start(t, load(t, a.bytes()), version(), nil).(*environment)
	call := func(name string, args ...uint64) (errno, error) {
		e.enter(t.Context(), time.Now().Add(30*time.Millisecond))
		defer e.leave()
		stack := append(args, 0)
		err := e.in.mod.ExportedFunction("call "+name).CallWithStack(&e.calls, stack)
		return errno(stack[0]), err
	}
	const all = 1<<32 - 1
	for _, tt := range []struct {
		name string
		args []uint64
		want errno
	}{
		{"poll_oneoff", []uint64{0, 0, 10_000_000, 0}, errInval},
		{"poll_oneoff", []uint64{0, 0, 0, 0}, errInval},
		{"poll_oneoff", []uint64{all, all, 1, 0}, errFault},
		{"random_get", []uint64{0, all}, errFault},
		{"random_get", []uint64{all, 1}, errFault},
		{"random_get", []uint64{all, all}, errFault},
		{"fd_write", []uint64{1, 0, 1 << 31, 0}, errInval},
		{"fd_write", []uint64{1, all - 7, 1, 0}, errFault},
		{"fd_read", []uint64{0, 0, 1 << 31, 0}, errInval},
		{"environ_get", []uint64{all, 0}, errFault},
		{"environ_get", []uint64{0, all}, errFault},
		{"clock_time_get", []uint64{0, 0, all - 6}, errFault},
		{"path_open", []uint64{3, 0, 0, 2, 0, 0, 0, 0, 0}, errBadf},
	} {
		if got, err := call(tt.name, tt.args...); err != nil || got != tt.want {
			t.Errorf("%s %v: %v, %v; want %v", tt.name, tt.args, got, err, tt.want)
		}
	}
	// 2^63 ns, by all clocks, from now and absolute
	for flags := range uint64(2) {
		for clock := range uint64(2) {
			b := e.in.mem.buf[20000:][:subscriptionSize]
			clear(b)
			binary.LittleEndian.PutUint32(b[16:], uint32(clock))
			binary.LittleEndian.PutUint64(b[24:], 1<<63)
			binary.LittleEndian.PutUint16(b[40:], uint16(flags))
			if got, err := call("poll_oneoff", 20000, 30000, 1, 40000); !errors.Is(err, errStopped) {
				t.Errorf("clock %d, flags %d: %v, %v; want it to end at the deadline", clock, flags, got, err)
			}
		}
	}
}

// cancelling gives up the invocation at a line, and counts those that come.
type cancelling struct {
	cancel context.CancelFunc
	at, n  int
}

func (l *cancelling) Line(string, []byte) {
	if l.n++; l.n == l.at {
		l.cancel()
	}
}

// flooding writes a megabyte of line ends at once.
func flooding() assembly {
	a := assembly{memory: []byte{0, 20}, imports: []asmImport{{wasiModule, "fd_write", i32 + i32 + i32 + i32, i32}}, data: []byte(nothingReturned)}
	store := func(at, v int32) []byte { return slices.Concat(i32Const(at), i32Const(v), []byte{0x36, 2, 0}) }
	return a.reactor(slices.Concat(
		i32Const(1<<16), i32Const('\n'), i32Const(1<<20), []byte{0xfc, 11, 0}, // memory.fill
		store(0, 1<<16), store(4, 1<<20),
		i32Const(1), i32Const(0), i32Const(1), i32Const(16), call(0), []byte{0x1a},
		returns(16)))
}

func TestFloodOfEmptyLinesIsCutAndEndsWithItsInvocation(t *testing.T) {
	p := load(t, flooding().bytes())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l := &cancelling{cancel: cancel, at: 10}
	if r := start(t, p, version(), l).Invoke(ctx, say("x")); r.Outcome != runtime.Infrastructure || l.n < 10 || l.n > 5000 {
		t.Errorf("%v after %d lines", r.Outcome, l.n)
	}
	l = &cancelling{}
	if r := invoke(t, start(t, p, version(), l), say("x")); r.Outcome != runtime.Done || l.n > maxLog/lineCost+1 {
		t.Errorf("%v, %d lines of 1 MiB", r.Outcome, l.n)
	}
}

// An environment that comes and goes leaves nothing, nor does a reset.
func TestThousandsOfClonesAndResetsLeaveNothing(t *testing.T) {
	if goruntime.GOOS != "linux" {
		t.Skip("what is open is counted in /proc, which only Linux has")
	}
	count := func() (n [3]int) {
		goruntime.GC()
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return [3]int{strings.Count(string(maps), "\n"), len(files), goruntime.NumGoroutine()}
	}
	p := load(t, assembly{data: []byte(nothingReturned)}.reactor(slices.Concat(
		i32Const(1), []byte{0x40, 0, 0x1a}, // memory grows: a reset is a new clone
		returns(16))).bytes())
	round := func(change func(*functions.Config)) {
		e, err := p.New(t.Context(), version(change), nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			if r := invoke(t, e, say("x")); r.Outcome != runtime.Done {
				t.Fatalf("%v %s", r.Outcome, r.ErrorMessage)
			}
		}
		e.Rest()
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	changes := []func(*functions.Config){isolated, func(*functions.Config) {}}
	round(changes[0])
	round(changes[1])
	before := count()
	for i := range 2000 { // 10,000 clones, resets and invocations
		round(changes[i%2])
	}
	after := count()
	for i, what := range []string{"mappings", "files", "goroutines"} {
		if after[i] > before[i]+10 { // of the Go runtime's own
			t.Errorf("%d %s, were %d", after[i], what, before[i])
		}
	}
}

// What the host keeps for a guest is the environment's own: standard output, the
// answer of an exchange, connections, counters.
func TestNothingKeptByTheHostPassesToAClone(t *testing.T) {
	p := load(t, wasmtest.Guest(t))
	a := start(t, p, version(), nil).(*environment)
	a.answer = []byte("secret")
	a.console.out.Write([]byte("half a line"))
	b := start(t, p, version(), nil).(*environment)
	if len(b.answer) != 0 || len(b.console.out.rest) != 0 || b.work != 0 || b.in.mem == a.in.mem {
		t.Error("the clone has what is its sibling's")
	}
	a.renew(false)
	if len(a.answer) != 0 {
		t.Error("the answer of an exchange survived a reset")
	}
	a.answer = []byte("secret")
	a.freeze().close()
	if len(a.answer) != 0 {
		t.Error("the answer of an exchange at start-up is there in the first environment and in no other")
	}
}
