package wasm

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/door"
)

// loadWith loads code into an engine of its own, whose guests reach one place.
func loadWith(t *testing.T, d runtime.Dialer, code []byte) runtime.Program {
	t.Helper()
	e, err := NewEngine(t.Context(), Options{Dialer: d})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	p, _, err := e.Load(t.Context(), code, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestGuestExchangesHTTP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, b)
	}))
	defer server.Close()
	a, _ := everything()
	e := start(t, loadWith(t, dialer{to: server.Listener.Addr().String()}, a.bytes()), version(), nil).(*environment)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	e.enter(ctx, time.Time{})
	defer e.leave()
	w := wired{t, e}
	read := func() string {
		var all []byte
		for {
			n := w.do("http_read", 30000, 7) // in small pieces
			if n <= 0 {
				return string(all)
			}
			all = append(all, e.in.mem.buf[30000:30000+n]...)
		}
	}
	request := "PUT http://peer:1/there\n\nhello"
	n := w.do("http", w.put([]byte(request)), uint64(len(request)))
	got := read()
	if n != int32(len(got)) || got[:4] != "200\n" || got[len(got)-16:] != "PUT /there hello" {
		t.Errorf("http = %d: %q", n, got)
	}
	request = "GET http://other:1/\n\n"
	if n := w.do("http", w.put([]byte(request)), uint64(len(request))); n != -int32(door.ENOTCAPABLE) {
		t.Errorf("what is not allowed = %d", n)
	}
	if got := read(); got != "\x01not other:1" {
		t.Errorf("why: %q", got)
	}
}

// A peer that takes connections and never answers costs the caller no more than
// the function's timeout, by whatever way the guest waits for it.
func TestDeadlineCutsWaitingForAPeer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, all := everything()
	host := func(name string) int {
		return slices.IndexFunc(all, func(f offered) bool { return f.name == name })
	}
	sub := make([]byte, subscriptionSize)
	sub[8] = eventRead
	request := "GET http://peer:1/\n\n"
	a.data = slices.Concat([]byte(nothingReturned), sub, []byte("peer:1"), []byte(request))
	const subAt, peerAt, requestAt = dataAt + 16, dataAt + 16 + subscriptionSize, dataAt + 16 + subscriptionSize + 6
	store := []byte{0x36, 2, 0}
	tests := map[string][]byte{
		"http": slices.Concat(i32Const(requestAt), i32Const(int32(len(request))), call(host("http")), []byte{0x1a}),
		"read": slices.Concat(
			i32Const(subAt+16), i32Const(int32(door.KindDial)), i32Const(peerAt), i32Const(6), call(host("open")), store,
			i32Const(subAt), i32Const(8192), i32Const(1), i32Const(9000), call(host("poll_oneoff")), []byte{0x1a}),
	}
	for name, code := range tests {
		t.Run(name, func(t *testing.T) {
			b := a
			b.funcs = slices.Clone(a.funcs)
			b.funcs[2].code = append(code, unreachable)
			e := start(t, loadWith(t, dialer{to: l.Addr().String()}, b.bytes()), version(), nil)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if r := e.Invoke(ctx, say("x")); r.Outcome != runtime.Timeout {
				t.Errorf("%v %s", r.Outcome, r.ErrorMessage)
			}
			ctx, cancel = context.WithTimeout(t.Context(), time.Hour)
			time.AfterFunc(50*time.Millisecond, cancel)
			if r := e.Invoke(ctx, say("x")); r.Outcome != runtime.Infrastructure {
				t.Errorf("cancelled: %v %s", r.Outcome, r.ErrorMessage)
			}
			if !e.Reusable() {
				t.Error("the environment cannot be used again")
			}
		})
	}
}
