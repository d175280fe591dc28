package sandbox

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/wasm"
	"github.com/wasmill/wasmill/runtime/wasm/wasmtest"
)

func TestLongMessagesArriveWhole(t *testing.T) {
	everywhere(t, func(t *testing.T, with func(*Options)) {
		e := start(t, loaded(t, newEngine(t, with), wasmtest.Guest(t)), version(), nil)
		if (e.tray == nil) != e.process.engine.opts.Portable {
			t.Fatalf("tray %v", e.tray)
		}
		for _, size := range []int{100, maxInline - 200, maxInline, maxInline + 1, 100_000, 700_000} {
			payload := []byte(`"request `)
			for i := 0; len(payload) < size-1; i++ {
				payload = fmt.Appendf(payload, "%x.", i)
			}
			payload = append(payload[:size-1], '"')
			r := invoke(t, e, &runtime.Invocation{ID: "id", Payload: payload}, patient)
			if r.Outcome != runtime.Done || !bytes.Contains(r.Response, []byte(hex.EncodeToString(payload))) {
				t.Errorf("%d bytes: %v %s, %d bytes in response", size, r.Outcome, r.ErrorMessage, len(r.Response))
			}
		}
		for _, n := range []int{traySize>>20 - 1, traySize >> 20} {
			r := invoke(t, e, &runtime.Invocation{ID: "b", Batch: batchOf("count", n, 1<<20)}, patient)
			if want := fmt.Sprintf(`"records":%d,"bytes":%d`, n, n<<20); r.Outcome != runtime.Done || !strings.Contains(string(r.Response), want) {
				t.Errorf("%d MB: %v %s %s", n, r.Outcome, r.Response, r.ErrorMessage)
			}
		}
	})
}

func TestTrayTakesMemoryOnlyWhileItIsUsed(t *testing.T) {
	e := start(t, loaded(t, newEngine(t), wasmtest.Guest(t)), version(), nil)
	if held := e.tray.held(); held != 0 {
		t.Errorf("%d bytes before the first message", held)
	}
	want(t, e, "large 1000000", `"`+strings.Repeat("x", 1000000-2)+`"`)
	if held := e.tray.held(); held < 1_000_000 || held > 2_000_000 {
		t.Errorf("%d bytes with a message of a million", held)
	}
	e.Rest()
	if held := e.tray.held(); held != 0 || e.body != nil {
		t.Errorf("%d bytes at rest, and %d of a copy", held, cap(e.body))
	}
	want(t, e, "large 10000", `"`+strings.Repeat("x", 10000-2)+`"`)
}

func TestTrayKeepsItsSizeWhoeverHasIt(t *testing.T) {
	mine, err := newTray()
	if err != nil {
		t.Fatal(err)
	}
	defer mine.close()
	theirs, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", mine.file.Fd()), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	for _, size := range []int64{0, traySize - 1, traySize + 1} {
		if err := theirs.Truncate(size); !errors.Is(err, unix.EPERM) {
			t.Errorf("made %d bytes long: %v", size, err)
		}
	}
	if _, err := theirs.WriteAt([]byte("x"), traySize); err == nil {
		t.Error("written behind its end")
	}
	if err := unix.Fallocate(int(theirs.Fd()), unix.FALLOC_FL_COLLAPSE_RANGE, 0, 4096); err == nil {
		t.Error("a page was taken out")
	}
	if _, err := unix.FcntlInt(theirs.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE); !errors.Is(err, unix.EPERM) {
		t.Errorf("sealed against the server: %v", err)
	}
	// What can be done is to make holes, which read as zeros.
	copy(mine.b, "message")
	if err := unix.Fallocate(int(theirs.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, traySize); err != nil {
		t.Fatal(err)
	}
	if b, err := mine.take(nil, 7); err != nil || !bytes.Equal(b, make([]byte, 7)) {
		t.Errorf("%q %v", b, err)
	}
}

// A tray that is not sealed, to see what comes where the system has no page to give.
func TestPageThatCannotBeHadIsAnErrorAndNotTheEnd(t *testing.T) {
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "test")
	defer f.Close()
	if err := f.Truncate(traySize); err != nil {
		t.Fatal(err)
	}
	b, err := mapTray(f)
	if err != nil {
		t.Fatal(err)
	}
	tr := &tray{b: b}
	defer tr.close()
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.take(nil, 100); !errors.Is(err, errTray) {
		t.Errorf("read: %v", err)
	}
	if err := tr.use(100, func(b []byte) error { b[50] = 1; return nil }); !errors.Is(err, errTray) {
		t.Errorf("written: %v", err)
	}
	if err := tr.use(100, func([]byte) error { return io.EOF }); err != io.EOF {
		t.Errorf("another error: %v", err)
	}
	defer func() {
		if bug := recover(); bug == nil || bug == errTray {
			t.Errorf("a bug came out as %v", bug)
		}
	}()
	_ = tr.use(100, func(b []byte) error { b[100] = 1; return nil })
}

// hostile is what TestMain is with an argument for it: a child that knows the protocol, and
// does as kind says when it is called.
func hostile(kind string) {
	l, err := dialParent(false)
	for err == nil {
		var frame byte
		var b []byte
		if frame, b, err = l.receive(); err != nil {
			break
		}
		switch frame {
		case kindLoad:
			err = l.send(kindLoaded, loadReport{}, nil)
		case kindOpen:
			var o openOrder
			_ = json.Unmarshal(b, &o)
			conn, file := l.file(), l.file()
			go misbehave(kind, conn, file)
		}
	}
	os.Exit(0)
}

// answerOK is a response of docs/abi.md with JSON of n bytes, all c.
func answerOK(c byte, n int) []byte {
	b := append([]byte("WMR1\x01\x00\x00\x00"), make([]byte, 8)...)
	b = append(b, 1, 0, 0, 0, byte(n), byte(n>>8), byte(n>>16), 0)
	b = append(b, bytes.Repeat([]byte{c}, n)...)
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	copy(b[8:], []byte{byte(len(b)), byte(len(b) >> 8), byte(len(b) >> 16), 0})
	return b
}

const hostileSize = 64 << 10

func misbehave(kind string, conn, file *os.File) {
	m, err := mapTray(file)
	in := newFrameReader(conn)
	reply := func(number uint32, inTray bool, r wasm.Reply, body ...byte) {
		_, err = conn.Write(append(appendReplyHead(nil, number, true, inTray, &r, len(body)), body...))
	}
	size := func(n uint32) []byte { return []byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)} }
	for err == nil {
		var frame byte
		var b []byte
		if frame, b, err = in.next(toGuest); err != nil {
			break
		}
		if frame == kindStart {
			_, err = conn.Write(appendFrame(nil, kindStarted, []byte("{}")))
			continue
		}
		c, _ := decodeCall(b)
		if !c.inTray {
			_, _ = in.Discard(c.size)
		}
		one, other := answerOK('1', hostileSize), answerOK('2', hostileSize)
		n := uint32(len(one))
		copy(m, one)
		switch kind {
		case "longer than the tray":
			reply(c.number, true, wasm.Reply{}, size(traySize+1)...)
		case "longer than any":
			reply(c.number, true, wasm.Reply{}, size(1<<32-1)...)
		case "too short for the tray":
			reply(c.number, true, wasm.Reply{}, size(maxInline)...)
		case "nothing in the tray":
			reply(c.number, true, wasm.Reply{}, size(0)...)
		case "no length":
			reply(c.number, true, wasm.Reply{})
		case "half a length":
			reply(c.number, true, wasm.Reply{}, 1, 0)
		case "a failure in the tray":
			f := &runtime.InitError{Outcome: runtime.FunctionError}
			reply(c.number, true, wasm.Reply{Failure: f}, size(n)...)
		case "leaves what it was sent":
			clear(m[:n])
			reply(c.number, true, wasm.Reply{}, size(n)...)
		case "cuts the tray":
			if file.Truncate(0) == nil || unix.Ftruncate(int(file.Fd()), 4096) == nil {
				os.Exit(1)
			}
			reply(c.number, true, wasm.Reply{}, size(n)...)
		case "makes holes":
			reply(c.number, true, wasm.Reply{}, size(n)...)
			_ = unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, traySize)
		case "fills the tray":
			for i := 0; i < traySize; i += 4096 {
				m[i] |= 1
			}
			copy(m, one)
			reply(c.number, true, wasm.Reply{}, size(n)...)
		case "scribbles":
			// While the server reads, each reply that it may see in part is whole, but the
			// lengths in them differ, and it never stops.
			go func() {
				short := answerOK('3', 100)
				for {
					copy(m, other)
					copy(m, short)
					copy(m, one)
				}
			}()
			kind = "goes on scribbling"
			fallthrough
		case "goes on scribbling":
			reply(c.number, true, wasm.Reply{}, size(n)...)
		}
	}
}

func ofHostile(t *testing.T, kind string) *environment {
	t.Helper()
	if _, err := newEngine(t).Check(t.Context(), writes(4), nil); err != nil { // the hostile one does not compile
		t.Fatal(err)
	}
	p := loaded(t, newEngine(t, func(o *Options) { o.Command = []string{"/proc/self/exe", "hostile", kind} }), writes(4))
	p.(*program).info.ABI = functions.ABIBatch
	return start(t, p, version(), nil)
}

func TestChildThatLiesAboutItsTrayIsEnded(t *testing.T) {
	for _, kind := range []string{"longer than the tray", "longer than any", "too short for the tray", "no length", "half a length", "a failure in the tray"} {
		t.Run(kind, func(t *testing.T) {
			e := ofHostile(t, kind)
			r := invoke(t, e, say("x"), patient)
			if r.Outcome != runtime.FunctionError || r.ErrorType != runtime.TypeExit || !strings.Contains(r.ErrorMessage, "broke the protocol") || e.Reusable() {
				t.Errorf("%+v", r)
			}
		})
	}
	for _, kind := range []string{"leaves what it was sent", "nothing in the tray"} {
		t.Run(kind, func(t *testing.T) {
			e := ofHostile(t, kind)
			if r := invoke(t, e, &runtime.Invocation{ID: "b", Batch: batchOf("x", 100, 1000)}, patient); r.Outcome != runtime.FunctionError || r.ErrorType != runtime.TypeMalformed || e.Reusable() {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestChildCannotTakeTheTrayAway(t *testing.T) {
	for _, kind := range []string{"cuts the tray", "fills the tray", "makes holes"} {
		t.Run(kind, func(t *testing.T) {
			e := ofHostile(t, kind)
			for range 50 {
				r := invoke(t, e, &runtime.Invocation{ID: "b", Batch: batchOf("x", 100, 1000)}, patient)
				whole := r.Outcome == runtime.Done && len(r.Response) == hostileSize
				if kind == "makes holes" && r.ErrorType == runtime.TypeMalformed {
					break // it came in time
				}
				if !whole {
					t.Fatalf("%v %s: %s", r.Outcome, r.ErrorType, r.ErrorMessage)
				}
			}
			if held := e.tray.held(); kind == "fills the tray" && held != traySize {
				t.Errorf("%d bytes are counted of %d", held, traySize)
			}
		})
	}
}

func TestReplyThatIsJudgedIsTheOneThatIsUsed(t *testing.T) {
	e := ofHostile(t, "scribbles")
	seen := map[byte]int{}
	for i := range 300 {
		r := e.exchange(t.Context(), wasm.Request{ID: "x", Size: 8 << 10, Fill: func([]byte) error { return nil }})
		if r.Failure != nil {
			t.Fatal(r.Failure)
		}
		before := bytes.Clone(r.Body)
		// The child has written much more before this is over.
		for since := time.Now(); time.Since(since) < 50*time.Microsecond; {
			if now := e.tray.b[hostileSize/2]; now != 0 {
				seen[now]++
			}
		}
		if !bytes.Equal(before, r.Body) {
			t.Fatalf("call %d: the reply changed while it was held", i)
		}
		if reply, err := runtime.DecodeReply(r.Body); err == nil && len(reply.JSON) != hostileSize {
			t.Fatalf("call %d: %d bytes", i, len(reply.JSON))
		}
	}
	if len(seen) < 2 {
		t.Errorf("the child did not write while it was looked at: %v", seen)
	}
	// By the way that the server takes, nothing comes of it but an answer or a failure of the function.
	for range 50 {
		r := invoke(t, e, &runtime.Invocation{ID: "b", Batch: batchOf("x", 100, 1000)}, patient)
		switch {
		case r.Outcome == runtime.Done && len(r.Response) == hostileSize:
		case r.Outcome == runtime.FunctionError && r.ErrorType == runtime.TypeMalformed:
			e = ofHostile(t, "scribbles")
		default:
			t.Fatalf("%v %s %s, %d bytes", r.Outcome, r.ErrorType, r.ErrorMessage, len(r.Response))
		}
	}
}
