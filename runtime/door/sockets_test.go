package door

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	goruntime "runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// dialer dials whatever it is asked for, after what a test wants to happen.
type dialer struct {
	before func(ctx context.Context) error
	roots  string
}

func (d dialer) Dial(ctx context.Context, _ functions.Version, address string) (net.Conn, error) {
	if d.before != nil {
		if err := d.before(ctx); err != nil {
			return nil, err
		}
	}
	return net.Dial("tcp", address)
}

func (d dialer) Resolve(ctx context.Context, _ functions.Version, host string) ([]netip.Addr, error) {
	if d.before != nil {
		if err := d.before(ctx); err != nil {
			return nil, err
		}
	}
	return []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}, nil
}

func (d dialer) Roots() []byte { return []byte(d.roots) }

func sockets(t *testing.T, d runtime.Dialer) *Sockets {
	t.Helper()
	s := NewSockets(d, function())
	t.Cleanup(s.Reset)
	return s
}

func open(t *testing.T, s *Sockets, kind int32, request string) int32 {
	t.Helper()
	fd, e := s.Open(t.Context(), kind, []byte(request))
	if e != OK || fd < firstFD || !s.Is(fd) {
		t.Fatalf("%s: descriptor %d, %v", request, fd, e)
	}
	return fd
}

// until waits until fd is ready, as poll_oneoff does.
func until(t *testing.T, s *Sockets, fd int32, write bool) {
	t.Helper()
	for late := time.After(20 * time.Second); !s.Ready(fd, write); {
		select {
		case <-s.Changed():
		case <-late:
			t.Fatal("it never got ready")
		}
	}
}

// connected opens a connection that must come about.
func connected(t *testing.T, s *Sockets, address string) int32 {
	t.Helper()
	fd := open(t, s, KindDial, address)
	until(t, s, fd, true)
	if text := s.Error(fd); len(text) == 0 || text[0] != Connected {
		t.Fatalf("not connected: %q", text)
	}
	return fd
}

// readAll reads to the end, waiting in between.
func readAll(t *testing.T, s *Sockets, fd int32) ([]byte, Errno) {
	t.Helper()
	var all []byte
	b := make([]byte, 10_000)
	for {
		switch n, e := s.Read(fd, b); {
		case e == EAGAIN:
			until(t, s, fd, false)
		case e != OK || n == 0:
			return all, e
		default:
			all = append(all, b[:n]...)
		}
	}
}

func writeAll(t *testing.T, s *Sockets, fd int32, b []byte) {
	t.Helper()
	for len(b) > 0 {
		switch n, e := s.Write(fd, b); e {
		case OK:
			b = b[n:]
		case EAGAIN:
			until(t, s, fd, true)
		default:
			t.Fatalf("write: %v", e)
		}
	}
}

// peer is a listener, and the connections it has taken.
type peer struct {
	net.Listener
	conns chan net.Conn
}

func listen(t *testing.T) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{l, make(chan net.Conn, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.conns <- c
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		for {
			select {
			case c := <-p.conns:
				c.Close()
			default:
				return
			}
		}
	})
	return p
}

func (p *peer) accept(t *testing.T) net.Conn {
	t.Helper()
	c := <-p.conns
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

func TestBytesGoBothWays(t *testing.T) {
	s := sockets(t, dialer{})
	port := echoing(t)
	fd := connected(t, s, "127.0.0.1:"+port)
	if text := s.Error(fd); !strings.HasPrefix(text[1:], "127.0.0.1:"+port+" 127.0.0.1:") {
		t.Errorf("addresses %q", text[1:])
	}
	sent := make([]byte, 3<<20+17)
	rand.Read(sent)
	var got []byte
	b := make([]byte, 7777)
	for rest := sent; len(got) < len(sent); {
		n, e := s.Write(fd, rest)
		if e != OK && e != EAGAIN {
			t.Fatal(e)
		}
		rest = rest[n:]
		if len(rest) == 0 && !s.Ready(fd, false) {
			until(t, s, fd, false)
		}
		if n, e = s.Read(fd, b); e != OK && e != EAGAIN {
			t.Fatal(e)
		}
		got = append(got, b[:n]...)
	}
	if !bytes.Equal(got, sent) {
		t.Error("other bytes came back")
	}
	if e := s.Shutdown(fd, 2); e != OK {
		t.Error(e)
	}
	if rest, e := readAll(t, s, fd); e != OK || len(rest) != 0 {
		t.Errorf("%d more bytes, %v", len(rest), e)
	}
	if _, e := s.Write(fd, sent); e != EPIPE {
		t.Errorf("written after the end: %v", e)
	}
	if e := s.Close(fd); e != OK || s.Is(fd) {
		t.Error(e)
	}
	if e := s.Close(fd); e != EBADF {
		t.Error(e)
	}
}

func TestNothingWaits(t *testing.T) {
	released := make(chan struct{})
	s := sockets(t, dialer{before: func(ctx context.Context) error {
		select {
		case <-released:
		case <-ctx.Done():
		}
		return nil
	}})
	p := listen(t)
	fd := open(t, s, KindDial, p.Addr().String())
	b := make([]byte, 100)
	if _, e := s.Read(fd, b); e != EAGAIN {
		t.Errorf("read: %v", e)
	}
	if _, e := s.Write(fd, b); e != EAGAIN {
		t.Errorf("write: %v", e)
	}
	if e := s.Shutdown(fd, 2); e != ENOTCONN {
		t.Errorf("shutdown: %v", e)
	}
	if s.Ready(fd, false) || s.Ready(fd, true) || s.Error(fd) != "" {
		t.Error("ready before it is connected")
	}
	close(released)
	until(t, s, fd, true)
	if s.Ready(fd, false) {
		t.Error("readable without a byte")
	}
	if _, e := s.Read(fd, b); e != EAGAIN {
		t.Errorf("read: %v", e)
	}
	// A peer that does not read stops us when the buffers are full: ours and the system's.
	c := p.accept(t)
	total := 0
	for stuck := 0; stuck < 20; {
		n, e := s.Write(fd, make([]byte, 1<<20))
		if total += n; n > bufferSize {
			t.Fatalf("took %d bytes at once", n)
		}
		if e == EAGAIN {
			stuck++
			time.Sleep(5 * time.Millisecond) // what the system takes, it takes soon
		} else if stuck = 0; e != OK {
			t.Fatal(e)
		}
	}
	if s.Ready(fd, true) {
		t.Error("writable with full buffers")
	}
	if n, err := io.CopyN(io.Discard, c, int64(total)); err != nil {
		t.Errorf("read %d of %d: %v", n, total, err)
	}
	until(t, s, fd, true)
}

func TestReadingIsBounded(t *testing.T) {
	s := sockets(t, dialer{})
	p := listen(t)
	fd := connected(t, s, p.Addr().String())
	c := p.accept(t)
	c.(*net.TCPConn).SetWriteBuffer(1 << 16)
	c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	n, err := c.Write(make([]byte, 64<<20))
	if err == nil {
		t.Fatal("64 MB were taken from a peer of which nobody read")
	}
	s.mu.Lock()
	held := len(s.open[fd].in.buf)
	s.mu.Unlock()
	if held != bufferSize {
		t.Errorf("%d bytes are held", held)
	}
	c.Close()
	got, e := readAll(t, s, fd)
	if e != OK || len(got) != n {
		t.Errorf("read %d of %d bytes, %v", len(got), n, e)
	}
}

func TestFailedDialsAreReadyAndTellWhy(t *testing.T) {
	tests := []struct {
		err   error
		kind  runtime.DialFault
		text  string
		errno Errno
	}{
		{&runtime.DialError{Kind: runtime.DialNotAllowed, Message: "no"}, runtime.DialNotAllowed, "no", ENOTCAPABLE},
		{&runtime.DialError{Kind: runtime.DialNoSuchHost, Message: "no"}, runtime.DialNoSuchHost, "no", EHOSTUNREACH},
		{&runtime.DialError{Kind: runtime.DialRefused, Message: "no"}, runtime.DialRefused, "no", ECONNREFUSED},
		{&runtime.DialError{Kind: runtime.DialUnreachable, Message: "no"}, runtime.DialUnreachable, "no", EHOSTUNREACH},
		{&runtime.DialError{Kind: runtime.DialTimeout, Message: "no"}, runtime.DialTimeout, "no", ETIMEDOUT},
		{&runtime.DialError{Kind: runtime.DialTooMany, Message: "no"}, runtime.DialTooMany, "no", EMFILE},
		{errors.New("the server is gone"), runtime.DialFailed, "the server is gone", EIO},
	}
	for _, tt := range tests {
		s := sockets(t, dialer{before: func(context.Context) error { return tt.err }})
		for _, what := range []int32{KindDial, KindResolve} {
			fd := open(t, s, what, "a:1")
			until(t, s, fd, true)
			until(t, s, fd, false)
			if text := s.Error(fd); text != string([]byte{byte(tt.kind)})+tt.text {
				t.Errorf("%v: %q", tt.err, text)
			}
			b := make([]byte, 10)
			if _, e := s.Read(fd, b); e != tt.errno {
				t.Errorf("%v: read: %v", tt.err, e)
			}
			if _, e := s.Write(fd, b); e != tt.errno {
				t.Errorf("%v: write: %v", tt.err, e)
			}
			if e := s.Close(fd); e != OK {
				t.Error(e)
			}
		}
		if s.conns != 0 || s.others != 0 {
			t.Errorf("%d and %d are still counted", s.conns, s.others)
		}
	}
}

func TestDialsEndWithTheInvocation(t *testing.T) {
	s := sockets(t, dialer{before: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	fd, e := s.Open(ctx, KindDial, []byte("a:1"))
	if e != OK {
		t.Fatal(e)
	}
	until(t, s, fd, true)
	if text := s.Error(fd); text[0] != byte(runtime.DialTimeout) {
		t.Errorf("%q", text)
	}
}

func TestConnectionsOutliveTheInvocation(t *testing.T) {
	s := sockets(t, dialer{})
	ctx, cancel := context.WithCancel(t.Context())
	fd, e := s.Open(ctx, KindDial, []byte("127.0.0.1:"+echoing(t)))
	if e != OK {
		t.Fatal(e)
	}
	until(t, s, fd, true)
	cancel()
	writeAll(t, s, fd, []byte("still here"))
	s.Shutdown(fd, 2)
	if got, e := readAll(t, s, fd); e != OK || string(got) != "still here" {
		t.Errorf("%q, %v", got, e)
	}
}

func TestNamesAndRootsAreRead(t *testing.T) {
	roots := strings.Repeat("certificate\n", 30_000)
	s := sockets(t, dialer{roots: roots})
	fd := open(t, s, KindResolve, "a")
	if got, e := readAll(t, s, fd); e != OK || string(got) != "10.0.0.1\nfd00::1\n" {
		t.Errorf("%q, %v", got, e)
	}
	if _, e := s.Write(fd, []byte("x")); e != ENOTSUP {
		t.Errorf("write: %v", e)
	}
	if e := s.Shutdown(fd, 1); e != ENOTCONN {
		t.Errorf("shutdown: %v", e)
	}
	fd = open(t, s, KindRoots, "")
	if got, e := readAll(t, s, fd); e != OK || string(got) != roots {
		t.Errorf("%d bytes of roots, %v", len(got), e)
	}
	empty := sockets(t, dialer{})
	if got, e := readAll(t, empty, open(t, empty, KindRoots, "")); e != OK || len(got) != 0 {
		t.Errorf("%q, %v", got, e)
	}
}

func TestWithoutADoorNothingIsReached(t *testing.T) {
	s := sockets(t, nil)
	fd := open(t, s, KindDial, "a\n:1")
	until(t, s, fd, true)
	if got, want := s.Error(fd), "\x01dial a\\n:1 refused: functions cannot reach out here"; got != want {
		t.Errorf("%q", got)
	}
}

func TestRequestsThatAreNone(t *testing.T) {
	s := sockets(t, dialer{})
	for _, kind := range []int32{-1, 0, 4, 1 << 30} {
		if fd, e := s.Open(t.Context(), kind, nil); fd != -1 || e != EINVAL {
			t.Errorf("kind %d: %d, %v", kind, fd, e)
		}
	}
	if _, e := s.Open(t.Context(), KindDial, make([]byte, maxRequest+1)); e != EINVAL {
		t.Error(e)
	}
	for _, fd := range []int32{-1, 0, 1, 2, 3, 1 << 30} {
		_, r := s.Read(fd, make([]byte, 1))
		_, w := s.Write(fd, make([]byte, 1))
		if r != EBADF || w != EBADF || s.Shutdown(fd, 3) != EBADF || s.Close(fd) != EBADF || s.Is(fd) || s.Error(fd) != "" {
			t.Errorf("descriptor %d is one", fd)
		}
		if !s.Ready(fd, false) || !s.Ready(fd, true) {
			t.Errorf("who waits for descriptor %d waits for ever", fd)
		}
	}
	fd := connected(t, s, "127.0.0.1:"+echoing(t))
	for _, how := range []uint32{0, 4, 1 << 31} {
		if e := s.Shutdown(fd, how); e != EINVAL {
			t.Errorf("shutdown %d: %v", how, e)
		}
	}
}

func TestDescriptorsAreBounded(t *testing.T) {
	s := sockets(t, dialer{})
	address := "127.0.0.1:" + echoing(t)
	var fds []int32
	for range MaxConnections {
		fds = append(fds, connected(t, s, address))
	}
	if _, e := s.Open(t.Context(), KindDial, []byte(address)); e != EMFILE {
		t.Errorf("one more: %v", e)
	}
	for range maxOthers { // these are counted for themselves
		open(t, s, KindResolve, "a")
	}
	if _, e := s.Open(t.Context(), KindResolve, []byte("a")); e != EMFILE {
		t.Errorf("one more: %v", e)
	}
	s.Close(fds[0])
	for late := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, e := s.Open(t.Context(), KindDial, []byte(address)); e == OK {
			break
		}
		if time.Now().After(late) {
			t.Fatal("a closed connection counts for ever")
		}
	}
}

func TestNumbersAreNotUsedAgain(t *testing.T) {
	s, other := sockets(t, dialer{}), sockets(t, dialer{})
	seen := make(map[int32]bool)
	for range 50 {
		for _, s := range []*Sockets{s, other} {
			fd := open(t, s, KindResolve, "a")
			if seen[fd] {
				t.Fatalf("%d again", fd)
			}
			seen[fd] = true
			s.Close(fd)
		}
		s.Reset()
	}
}

func TestClosedConnectionsSendWhatWasWritten(t *testing.T) {
	s := sockets(t, dialer{})
	p := listen(t)
	fd := connected(t, s, p.Addr().String())
	sent := make([]byte, bufferSize)
	rand.Read(sent)
	writeAll(t, s, fd, sent)
	s.Close(fd)
	if got, err := io.ReadAll(p.accept(t)); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d, %v", len(got), len(sent), err)
	}
}

func TestBrokenConnectionsSaySo(t *testing.T) {
	s := sockets(t, dialer{})
	p := listen(t)
	fd := connected(t, s, p.Addr().String())
	c := p.accept(t)
	c.(*net.TCPConn).SetLinger(0) // closing it is a reset
	c.Close()
	if _, e := readAll(t, s, fd); e != ECONNRESET {
		t.Errorf("read: %v", e)
	}
	for late := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		_, e := s.Write(fd, []byte("x"))
		if e == EPIPE || e == ECONNRESET {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("write: %v", e)
		}
	}
	if !s.Ready(fd, true) || !s.Ready(fd, false) {
		t.Error("who waits for it waits for ever")
	}
}

func TestShutdownOfReading(t *testing.T) {
	s := sockets(t, dialer{})
	p := listen(t)
	fd := connected(t, s, p.Addr().String())
	c := p.accept(t)
	io.WriteString(c, "unread")
	until(t, s, fd, false)
	if e := s.Shutdown(fd, 1); e != OK {
		t.Fatal(e)
	}
	if n, e := s.Read(fd, make([]byte, 10)); n != 0 || e != OK || !s.Ready(fd, false) {
		t.Errorf("%d, %v", n, e)
	}
	writeAll(t, s, fd, []byte("written"))
	s.Shutdown(fd, 2)
	if got, err := io.ReadAll(c); err != nil || string(got) != "written" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestResetLeavesNothing(t *testing.T) {
	before := goruntime.NumGoroutine()
	p := listen(t)
	s := NewSockets(dialer{before: func(ctx context.Context) error {
		if n, _ := rand.Int(rand.Reader, big.NewInt(4)); n.Int64() == 0 {
			<-ctx.Done() // one of four hangs
			return ctx.Err()
		}
		return nil
	}}, function())
	for range 5 {
		for range MaxConnections {
			fd := open(t, s, KindDial, p.Addr().String())
			s.Write(fd, make([]byte, 1000))
		}
		for range maxOthers {
			open(t, s, KindResolve, "a")
		}
		s.Reset()
		if s.conns != 0 || s.others != 0 || len(s.open) != 0 || len(s.all) != 0 {
			t.Fatalf("%d, %d, %d, %d left", s.conns, s.others, len(s.open), len(s.all))
		}
		for len(p.conns) > 0 {
			(<-p.conns).Close()
		}
	}
	fd := open(t, s, KindRoots, "") // it works on
	until(t, s, fd, false)
	s.Reset()
	for late := time.Now().Add(20 * time.Second); goruntime.NumGoroutine() > before+1; time.Sleep(time.Millisecond) { // the listener's
		if time.Now().After(late) {
			t.Fatalf("%d goroutines, before there were %d", goruntime.NumGoroutine(), before)
		}
	}
}

func TestPeersThatDoNotReadDoNotHoldUpAReset(t *testing.T) {
	p := listen(t)
	s := NewSockets(dialer{}, function())
	fd := connected(t, s, p.Addr().String())
	for range 200 {
		s.Write(fd, make([]byte, 1<<20))
		time.Sleep(time.Millisecond)
	}
	s.Close(fd) // lingers
	began := time.Now()
	s.Reset()
	if took := time.Since(began); took >= linger {
		t.Errorf("waited %v", took)
	}
}

// Whoever calls what in which order: nothing panics, nothing is left.
func TestRandomCalls(t *testing.T) {
	address := []byte("127.0.0.1:" + echoing(t))
	s := NewSockets(dialer{roots: "roots"}, function())
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	x := seed
	next := func(n int) int {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		return int(x % uint64(n))
	}
	var fds [16]int32
	b := make([]byte, 100_000)
	for range 60_000 {
		i := next(len(fds))
		fd := fds[i]
		switch next(12) {
		case 0:
			if got, e := s.Open(t.Context(), int32(next(5)), address[:next(len(address)+1)]); e == OK {
				fds[i] = got
			}
		case 1:
			if got, e := s.Open(t.Context(), KindDial, address); e == OK {
				fds[i] = got
			}
		case 2, 3, 4:
			s.Read(fd, b[:next(len(b))])
		case 5, 6, 7:
			s.Write(fd, b[:next(len(b))])
		case 8:
			s.Shutdown(fd, uint32(next(5)))
		case 9:
			s.Close(fd)
		case 10:
			s.Error(fd)
			s.Ready(fd, next(2) == 0)
		case 11:
			if next(100) == 0 {
				s.Reset()
			}
		}
	}
	s.Reset()
	if len(s.all) != 0 || s.conns != 0 {
		t.Errorf("%d left", len(s.all))
	}
}

func FuzzRing(f *testing.F) {
	f.Add([]byte{1, 200, 3, 4, 100, 9, 250, 250, 250, 0, 7})
	f.Fuzz(func(t *testing.T, steps []byte) {
		var r ring
		var want []byte
		next := byte(0)
		fill := func(b []byte) {
			for i := range b {
				b[i] = next
				next++
			}
		}
		for i := 0; i+1 < len(steps); i += 2 {
			n := int(steps[i+1]) * 300
			switch steps[i] % 4 {
			case 0:
				b := make([]byte, n)
				start := next
				fill(b)
				put := r.put(b)
				next = start + byte(put)
				want = append(want, b[:put]...)
			case 1:
				if r.room() > 0 {
					part := r.free()
					part = part[:min(n, len(part))]
					fill(part)
					r.wrote(len(part))
					want = append(want, part...)
				}
			case 2:
				b := make([]byte, n)
				got := r.take(b)
				if !bytes.Equal(b[:got], want[:got]) || got < min(n, len(want)) {
					t.Fatalf("took %d of %d", got, len(want))
				}
				want = want[got:]
			case 3:
				if r.len() > 0 {
					part := r.filled()
					part = part[:min(n, len(part))]
					if !bytes.Equal(part, want[:len(part)]) {
						t.Fatal("other bytes")
					}
					want = want[len(part):]
					r.read(len(part))
				}
			}
			if r.len() != len(want) || r.room() != bufferSize-len(want) {
				t.Fatalf("%d and %d, holding %d", r.len(), r.room(), len(want))
			}
		}
	})
}

// counting refuses everything, and counts what it was asked for.
type counting struct{ n atomic.Int64 }

func (c *counting) Dial(context.Context, functions.Version, string) (net.Conn, error) {
	c.n.Add(1)
	return nil, &runtime.DialError{Kind: runtime.DialNotAllowed, Message: "no"}
}

func (c *counting) Resolve(context.Context, functions.Version, string) ([]netip.Addr, error) {
	c.n.Add(1)
	return nil, &runtime.DialError{Kind: runtime.DialNotAllowed, Message: "no"}
}

func (c *counting) Roots() []byte { return nil }

// A guest that does nothing but ask is work for the server only as often as that.
func TestQuestionsOfAGuestHaveAPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counting{}
		s := NewSockets(c, function())
		began := time.Now()
		for n := 0; time.Since(began) < time.Second; n++ {
			switch n % 3 {
			case 0:
				if fd, e := s.Open(t.Context(), KindDial, []byte("a:1")); e == OK {
					synctest.Wait()
					s.Close(fd)
				}
			case 1:
				if fd, e := s.Open(t.Context(), KindResolve, []byte("a")); e == OK {
					synctest.Wait()
					s.Close(fd)
				}
			default:
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
				s.HTTP(ctx, []byte("GET http://a/\n\n"))
				cancel()
			}
			if c.n.Load() >= burst {
				time.Sleep(100 * time.Microsecond) // far more often than the pace
			}
		}
		if n := c.n.Load(); n < burst || n > burst+1000 {
			t.Errorf("asked %d times in a second; want %d and one every %v", n, burst, pace)
		}
		time.Sleep(time.Second)
		before := c.n.Load()
		fd, e := s.Open(t.Context(), KindDial, []byte("a:1"))
		synctest.Wait()
		if e != OK || c.n.Load() != before+1 {
			t.Errorf("%v: a moment later it is still behind", e)
		}
		s.Close(fd)
		s.Reset()
	})
}
