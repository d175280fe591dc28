package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/door"
	"github.com/wasmill/wasmill/runtime/module"
)

// What may be imported and what is there are told in two places.
func TestHostHasWhatModulesMayImport(t *testing.T) {
	for name, want := range map[string]map[string]module.Signature{wasiModule: module.WASI, module.Host: module.Imports} {
		got := map[string]module.Signature{}
		all := wasiFunctions()
		if name == module.Host {
			all = slices.DeleteFunc(wasmillFunctions(), func(f offered) bool { return f.name == module.YieldName })
		}
		for _, f := range all {
			s := module.Signature{Params: strings.NewReplacer("i", i32, "I", i64).Replace(f.types)}
			if f.returns {
				s.Results = i32
			}
			got[f.name] = s
		}
		if !maps.Equal(got, want) {
			for n := range want {
				if got[n] != want[n] {
					t.Errorf("%s.%s is %v, want %v", name, n, got[n], want[n])
				}
			}
			t.Errorf("%s has %d functions, want %d", name, len(got), len(want))
		}
	}
}

// everything is a module that imports all there is, exporting one function for each
// import that calls it with its own parameters.
func everything() (assembly, []offered) {
	all := slices.Concat(wasiFunctions(), wasmillFunctions())
	all = slices.DeleteFunc(all, func(f offered) bool { return f.name == module.YieldName })
	a := assembly{memory: []byte{0, 2}, data: []byte(nothingReturned)}
	for i, f := range all {
		from, results := wasiModule, ""
		if i >= len(wasiFunctions()) {
			from = module.Host
		}
		if f.returns {
			results = i32
		}
		types := strings.NewReplacer("i", i32, "I", i64).Replace(f.types)
		a.imports = append(a.imports, asmImport{from, f.name, types, results})
		var code []byte
		for n := range f.types {
			code = append(code, 0x20, byte(n))
		}
		a.funcs = append(a.funcs, asmFunc{"call " + f.name, types, results, append(code, call(i)...)})
	}
	return a.reactor(returns(16)), all
}

// Whatever a guest passes to whatever there is, it gets an error number, and we
// go on. WASMILL_HOST_CALLS sets how many random calls are made.
func TestRandomHostCalls(t *testing.T) {
	calls := 1_000_000
	if s := os.Getenv("WASMILL_HOST_CALLS"); s != "" {
		calls, _ = strconv.Atoi(s)
	}
	a, all := everything()
	e := start(t, load(t, a.bytes()), version(), nil).(*environment)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	size := uint64(len(e.in.mem.buf))
	interesting := []uint64{0, 1, 2, 3, 7, 8, 16, 17, 48, 64, 1 << 10, 4 << 10, size - 8, size - 1, size, size + 1, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1<<32 - 8, 1 << 63}
	deadline := func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeout(ctx, 50*time.Millisecond)
	}
	stack := make([]uint64, 16)
	var names []string
	for _, f := range all {
		names = append(names, "call "+f.name)
	}
	functions := make([]interface {
		CallWithStack(context.Context, []uint64) error
	}, len(all))
	for i, n := range names {
		functions[i] = e.in.mod.ExportedFunction(n)
	}
	stops := 0
	ctx, cancel := deadline(t.Context())
	e.enter(ctx, time.Time{})
	for n := range calls {
		i := r.IntN(len(all))
		for k := range all[i].types {
			switch v := r.Uint64(); v % 4 {
			case 0:
				stack[k] = interesting[r.IntN(len(interesting))]
			case 1:
				stack[k] = r.Uint64N(size)
			case 2:
				stack[k] = r.Uint64N(32)
			default:
				stack[k] = r.Uint64()
			}
			if all[i].types[k] == 'i' {
				stack[k] = uint64(uint32(stack[k]))
			}
		}
		if n%64 == 0 { // lists, subscriptions and requests that make sense somewhere
			at := r.Uint64N(size - 512)
			for k := at; k < at+512; k += 4 {
				binary.LittleEndian.PutUint32(e.in.mem.buf[k:], uint32(interesting[r.IntN(len(interesting))]))
			}
		}
		err := functions[i].CallWithStack(&e.calls, stack)
		switch {
		case err == nil:
		case strings.Contains(err.Error(), "runtime error") || strings.Contains(err.Error(), "panic"):
			t.Fatalf("%s: %v", all[i].name, err)
		case strings.Contains(err.Error(), errStopped.Error()):
			stops++
			e.leave()
			cancel()
			ctx, cancel = deadline(t.Context())
			e.enter(ctx, time.Time{})
		case all[i].name != "proc_exit":
			t.Fatalf("%s: %v", all[i].name, err)
		}
	}
	e.leave()
	cancel()
	t.Logf("%d calls, stopped %d times", calls, stops)
	if stops == 0 {
		t.Error("no call has met the deadline: nothing is shown of waiting")
	}
}

// A guest that spends its time in host functions is stopped like any other.
func TestDeadlineStopsHostCallLoops(t *testing.T) {
	a, all := everything()
	tests := map[string][]byte{
		"random_get":  slices.Concat(i32Const(0), i32Const(100<<10)),
		"sched_yield": nil,
		"fd_write":    slices.Concat(i32Const(1), i32Const(2048), i32Const(1024), i32Const(16)),
		"fd_read":     slices.Concat(i32Const(0), i32Const(2048), i32Const(1), i32Const(16)),
		"poll_oneoff": slices.Concat(i32Const(8192), i32Const(12288), i32Const(1), i32Const(16)), // memory is zeros: a clock that is due
		"log":         slices.Concat(i32Const(0), i32Const(0), i32Const(100<<10)),
		"open":        slices.Concat(i32Const(1), i32Const(0), i32Const(9)),
		"http":        slices.Concat(i32Const(0), i32Const(100)),
	}
	for name, args := range tests {
		t.Run(name, func(t *testing.T) {
			i := slices.IndexFunc(all, func(f offered) bool { return f.name == name })
			code := slices.Concat([]byte{0x03, 0x40}, args, call(i))
			if all[i].returns {
				code = append(code, 0x1a)
			}
			b := a
			b.funcs = slices.Clone(a.funcs)
			b.funcs[2].code = slices.Concat(code, []byte{0x0c, 0, 0x0b, unreachable})
			e := start(t, load(t, b.bytes()), version(), nil)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			if r := e.Invoke(ctx, say("x")); r.Outcome != runtime.Timeout {
				t.Errorf("%v %s", r.Outcome, r.ErrorMessage)
			}
		})
	}
}

func TestWorkCountsStepsAndNotTime(t *testing.T) {
	// rounds of a loop that does nothing else
	rounds := func(n int32) runtime.Environment {
		return start(t, load(t, assembly{data: []byte(nothingReturned)}.reactor(slices.Concat(
			i32Const(n), []byte{0x24, 0}, // global.set 0: the module has none of its own but this
			[]byte{0x03, 0x40, 0x23, 0}, i32Const(1), []byte{0x6b, 0x24, 0, 0x23, 0, 0x0d, 0, 0x0b},
			returns(16))).withGlobal().bytes()), version(), nil)
	}
	few, many := rounds(1000), rounds(1_000_000)
	a, b := invoke(t, few, say("x")).Work, invoke(t, many, say("x")).Work
	const lap = 256 // rounds that are charged at once, for which one more is
	if a < 1000 || a > 1000+1000/lap+100 || b < 1_000_000 || b > 1_000_000+1_000_000/lap+100 {
		t.Errorf("1,000 rounds are %d steps, 1,000,000 are %d", a, b)
	}
	if again := invoke(t, many, say("x")).Work; again != b {
		t.Errorf("the same again is %d steps, was %d", again, b)
	}
	e := goGuest(t, nil)
	invoke(t, e, say("sleep 1"))
	short, long := invoke(t, e, say("sleep 1")), invoke(t, e, say("sleep 60"))
	if long.Duration < 60*time.Millisecond || long.Work > 10*short.Work {
		t.Errorf("sleeping %v is %d steps, %v is %d", long.Duration, long.Work, short.Duration, short.Work)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if r := e.Invoke(ctx, say("loop")); r.Outcome != runtime.Timeout || r.Work < 1_000_000 {
		t.Errorf("%v after %d steps", r.Outcome, r.Work)
	}
}

// A busy guest is not in the way of our garbage collector, which can begin and
// end only when everybody stands still for a moment.
func TestGarbageIsCollectedWhileAGuestIsBusy(t *testing.T) {
	e := goGuest(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	done := make(chan runtime.Result, 1)
	go func() { done <- e.Invoke(ctx, say("loop")) }()
	for n := 0; ; n++ {
		select {
		case r := <-done:
			if r.Outcome != runtime.Timeout || n < 3 {
				t.Errorf("%v, %d collections in half a second", r.Outcome, n)
			}
			return
		default:
			goruntime.GC()
		}
	}
}

func TestEndpointComesWithCredentialsThatNameTheFunction(t *testing.T) {
	p := &program{engine: &Engine{opts: Options{Endpoint: "http://127.0.0.1:4566"}.withDefaults()}}
	v := version(func(c *functions.Config) { c.Environment = map[string]string{"AWS_ACCESS_KEY_ID": "mine"} })
	got := map[string]string{}
	for _, kv := range p.variables(v) {
		got[kv[0]] = kv[1]
	}
	for k, want := range map[string]string{"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", "AWS_ACCESS_KEY_ID": "wasmill-f", "AWS_SECRET_ACCESS_KEY": "wasmill",
		"AWS_SESSION_TOKEN": "arn:aws:lambda:us-east-1:000000000000:function:f"} {
		if got[k] != want {
			t.Errorf("%s = %q, want %q", k, got[k], want)
		}
	}
	v.Config.Environment = map[string]string{"AWS_ENDPOINT_URL": "http://other"}
	for _, kv := range p.variables(v) {
		if kv[0] == "AWS_ENDPOINT_URL" && kv[1] != "http://other" {
			t.Errorf("the function's own endpoint is %s", kv[1])
		}
	}
}

// dialer lets out to one place.
type dialer struct {
	nowhere
	to string
}

func (d dialer) Dial(ctx context.Context, _ functions.Version, address string) (net.Conn, error) {
	if address != "peer:1" {
		return nil, &runtime.DialError{Kind: runtime.DialNotAllowed, Message: "not " + address}
	}
	return new(net.Dialer).DialContext(ctx, "tcp", d.to)
}

func (d dialer) Resolve(context.Context, functions.Version, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("192.0.2.7")}, nil
}

// wired is an environment whose host functions are called by hand.
type wired struct {
	*testing.T
	*environment
}

func (w wired) do(name string, args ...uint64) int32 {
	w.Helper()
	f := w.in.mod.ExportedFunction("call " + name)
	stack := append(args, make([]uint64, 8)...)
	if err := f.CallWithStack(&w.calls, stack); err != nil {
		w.Fatalf("%s: %v", name, err)
	}
	return int32(stack[0])
}

// put writes b to memory at 20000 and answers that.
func (w wired) put(b []byte) uint64 {
	copy(w.in.mem.buf[20000:], b)
	return 20000
}

// await polls for one descriptor until it is ready.
func (w wired) await(fd int32, write bool) {
	w.Helper()
	sub := make([]byte, subscriptionSize)
	sub[8] = eventRead
	if write {
		sub[8] = eventWrite
	}
	binary.LittleEndian.PutUint64(sub, 77)
	binary.LittleEndian.PutUint32(sub[16:], uint32(fd))
	if r := w.do("poll_oneoff", w.put(sub), 21000, 1, 22000); r != 0 || w.in.mem.buf[22000] != 1 || w.in.mem.buf[21000] != 77 {
		w.Fatalf("poll = %d, %d events", r, w.in.mem.buf[22000])
	}
}

// Descriptors are read, written, polled and closed as a guest's library does.
func TestGuestTalksThroughTheDoor(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	engine, err := NewEngine(t.Context(), Options{Dialer: dialer{to: l.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close(context.Background())
	a, _ := everything()
	p, _, err := engine.Load(t.Context(), a.bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	e := start(t, p, version(), nil).(*environment)
	defer e.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	e.enter(ctx, time.Time{})
	defer e.leave()
	w := wired{t, e}
	mem := e.in.mem.buf

	fd := w.do("open", uint64(door.KindDial), w.put([]byte("peer:1")), 6)
	if fd <= 2 {
		t.Fatalf("open = %d", fd)
	}
	w.await(fd, true)
	if r := w.do("fd_fdstat_get", uint64(fd), 23000); r != 0 || mem[23000] != typeSocket || mem[23002] != flagNonBlock {
		t.Errorf("fdstat = %d, type %d, flags %d", r, mem[23000], mem[23002])
	}
	iov := func(p, n uint32) uint64 {
		return w.put(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, p), n))
	}
	if r := w.do("fd_read", uint64(fd), iov(24000, 10), 1, 22000); r != int32(door.EAGAIN) {
		t.Errorf("read before there is anything = %d, want EAGAIN", r)
	}
	copy(mem[24000:], "hello")
	if r := w.do("fd_write", uint64(fd), iov(24000, 5), 1, 22000); r != 0 || mem[22000] != 5 {
		t.Errorf("write = %d, %d bytes", r, mem[22000])
	}
	w.await(fd, false)
	if r := w.do("sock_recv", uint64(fd), iov(25000, 10), 1, 0, 22000, 22010); r != 0 || string(mem[25000:25005]) != "hello" || mem[22000] != 5 {
		t.Errorf("recv = %d, %q", r, mem[25000:25005])
	}
	if r := w.do("sock_shutdown", uint64(fd), 2); r != 0 {
		t.Errorf("shutdown = %d", r)
	}
	w.await(fd, false)
	if r := w.do("fd_read", uint64(fd), iov(25000, 10), 1, 22000); r != 0 || mem[22000] != 0 {
		t.Errorf("read at the end = %d, %d bytes", r, mem[22000])
	}
	if r := w.do("fd_close", uint64(fd)); r != 0 {
		t.Errorf("close = %d", r)
	}
	if r := w.do("fd_read", uint64(fd), iov(25000, 10), 1, 22000); r != int32(errBadf) {
		t.Errorf("read of what is closed = %d", r)
	}

	fd = w.do("open", uint64(door.KindDial), w.put([]byte("other:1")), 7)
	w.await(fd, true)
	n := w.do("error", uint64(fd), 26000, 100)
	if got := string(mem[26000:][:max(n, 0)]); got != "\x01not other:1" {
		t.Errorf("error = %q", got)
	}
	fd = w.do("open", uint64(door.KindResolve), w.put([]byte("peer")), 4)
	w.await(fd, false)
	if w.do("fd_read", uint64(fd), iov(25000, 100), 1, 22000); !bytes.HasPrefix(mem[25000:], []byte("192.0.2.7")) {
		t.Errorf("resolved: %q", mem[25000:25020])
	}
	if e.renew(false); e.sockets.Is(fd) {
		t.Error("a descriptor has outlived a reset")
	}
}

func TestGuestWithoutAWayOutIsTold(t *testing.T) {
	a, _ := everything()
	e := start(t, load(t, a.bytes()), version(), nil).(*environment)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	e.enter(ctx, time.Time{})
	defer e.leave()
	w := wired{t, e}
	fd := w.do("open", uint64(door.KindDial), w.put([]byte("peer:1")), 6)
	w.await(fd, true)
	n := w.do("error", uint64(fd), 26000, 100)
	if got := string(e.in.mem.buf[26000:][:max(n, 0)]); got != "\x01functions cannot reach out here" {
		t.Errorf("error = %q", got)
	}
}

// A poll ends with the first clock, and at the deadline or a cancellation
// whatever it waits for.
func TestPollEndsWithClockDeadlineAndCancellation(t *testing.T) {
	a, _ := everything()
	e := start(t, load(t, a.bytes()), version(), nil).(*environment)
	clock := func(user byte, id uint32, at uint64, flags uint16) []byte {
		b := make([]byte, subscriptionSize)
		b[0] = user
		binary.LittleEndian.PutUint32(b[16:], id)
		binary.LittleEndian.PutUint64(b[24:], at)
		binary.LittleEndian.PutUint16(b[40:], flags)
		return b
	}
	poll := func(ctx context.Context, subs ...[]byte) error {
		e.enter(ctx, time.Time{})
		defer e.leave()
		copy(e.in.mem.buf[20000:], slices.Concat(subs...))
		return e.in.mod.ExportedFunction("call poll_oneoff").CallWithStack(&e.calls, append([]uint64{20000, 30000, uint64(len(subs)), 40000}, 0))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	hour := uint64(time.Hour)
	soon := uint64(time.Now().Add(20 * time.Millisecond).UnixNano())
	if err := poll(ctx, clock(1, clockMonotonic, hour, 0), clock(2, clockReal, soon, clockAbsolute), clock(3, clockMonotonic, 1<<64-1, 0)); err != nil {
		t.Fatal(err)
	}
	if uint64(time.Now().UnixNano()) < soon || e.in.mem.buf[30000] != 2 || e.in.mem.buf[40000] != 1 {
		t.Errorf("event of subscription %d, %d in all; want 2 and 1, when it is time", e.in.mem.buf[30000], e.in.mem.buf[40000])
	}
	if err := poll(ctx, clock(1, clockMonotonic, hour, 0), clock(9, 7, 0, 0)); err != nil || e.in.mem.buf[30000] != 9 || e.in.mem.buf[30008] != byte(errInval) {
		t.Errorf("an unknown clock: %v, event %d, error %d", err, e.in.mem.buf[30000], e.in.mem.buf[30008])
	}
	short, stop := context.WithTimeout(ctx, 20*time.Millisecond)
	defer stop()
	if err := poll(short, clock(1, clockMonotonic, hour, 0)); err == nil || !strings.Contains(err.Error(), errStopped.Error()) {
		t.Errorf("at the deadline: %v", err)
	}
	gone, leave := context.WithCancel(ctx)
	time.AfterFunc(20*time.Millisecond, leave)
	if err := poll(gone, clock(1, clockMonotonic, hour, 0)); err == nil || !strings.Contains(err.Error(), errStopped.Error()) {
		t.Errorf("cancelled: %v", err)
	}
}
