package door

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

// Kinds of what a guest opens. The values are part of the guest ABI.
const (
	KindDial    int32 = 1 // a connection; the request is host:port
	KindResolve int32 = 2 // the addresses of a name, one a line; the request is the name
	KindRoots   int32 = 3 // the certificates to trust, as PEM; the request is empty
)

// Limits of one environment's way out.
const (
	// MaxConnections is how many connections may be open at once, those included
	// that still send what was written before they were closed.
	MaxConnections = 64
	// maxOthers is how many names may be being resolved at once.
	maxOthers = 64
	// maxRequest is the size of what a guest may ask for, in bytes.
	maxRequest = 1024
	// bufferSize is what is held each way of a connection, in bytes.
	bufferSize = 64 << 10
	// linger is how long a closed connection may take to send the rest.
	linger = 5 * time.Second
	// Things are opened one every pace, after a burst at once: each is work for the
	// server, where nobody counts the guest's steps, and refusals are the cheapest to
	// ask for.
	pace  = time.Millisecond
	burst = 1000
	// firstFD leaves the numbers below to the standard streams and to folders.
	firstFD = 16
)

// Connected is the first byte of [Sockets.Error] for a connection that stands;
// the addresses of peer and own end follow, separated by a blank.
const Connected = 0xFF

// lastFD is the number given out last, in this process. A number is not given out
// again, not even after [Sockets.Reset] or in another environment: guest memory
// that was frozen or reset may hold on to an old one, and must find it closed
// rather than another's.
var lastFD atomic.Uint32

// Sockets are the descriptors that one environment has beyond its standard
// streams. They have one user at a time, besides Changed; no call waits but Reset
// and HTTP.
type Sockets struct {
	dialer  runtime.Dialer
	v       functions.Version
	changed chan struct{} // cap 1; sent to by whatever makes a descriptor ready
	http    *browser

	wg     sync.WaitGroup // all goroutines
	mu     sync.Mutex
	ctx    context.Context // ended by Reset
	cancel context.CancelFunc
	open   map[int32]*socket
	all    map[*socket]struct{} // with those that linger
	conns  int                  // connections of all
	others int
	next   time.Time // when the next thing may be opened
}

// NewSockets returns the descriptors of an environment of v: none yet.
// Without a dialer nothing can be reached.
func NewSockets(d runtime.Dialer, v functions.Version) *Sockets {
	if d == nil {
		d = wall{}
	}
	s := &Sockets{dialer: d, v: v, changed: make(chan struct{}, 1),
		open: make(map[int32]*socket), all: make(map[*socket]struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.http = newBrowser(s)
	return s
}

// wall is where there is no door.
type wall struct{}

func (wall) Dial(_ context.Context, _ functions.Version, address string) (net.Conn, error) {
	return nil, wallError(address)
}

func (wall) Resolve(_ context.Context, _ functions.Version, host string) ([]netip.Addr, error) {
	return nil, wallError(host)
}

func (wall) Roots() []byte { return nil }

func wallError(what string) error {
	return &runtime.DialError{Kind: runtime.DialNotAllowed, Message: fmt.Sprintf("dial %s refused: functions cannot reach out here", printable(what))}
}

// socket is one descriptor. All fields are guarded by the mutex of its Sockets,
// but for the parts of the buffers that one pump works on.
type socket struct {
	s      *Sockets
	kind   int32
	cancel context.CancelFunc // ends the work of opening it

	fault *runtime.DialError // why it could not be opened
	ready bool               // opened, or failed
	conn  net.Conn
	where string // the addresses of both ends

	in, out  ring
	canRead  sync.Cond // of the reading pump: there is room, or an end
	canWrite sync.Cond // of the writing pump: there is something, or an end
	readErr  error     // after what is in the buffer; io.EOF at its end
	writeErr error
	closed   bool // by the guest
	noRead   bool // shut down
	noWrite  bool
}

// Open begins to open what kind says and returns its descriptor at once. It can be
// written to when it is connected or has failed; [Sockets.Error] tells which. The
// end of ctx cuts the opening short, not what was opened.
func (s *Sockets) Open(ctx context.Context, kind int32, request []byte) (int32, Errno) {
	if len(request) > maxRequest || kind < KindDial || kind > KindRoots {
		return -1, EINVAL
	}
	what := string(request)
	s.mu.Lock()
	defer s.mu.Unlock()
	k := &socket{s: s, kind: kind}
	k.canRead.L, k.canWrite.L = &s.mu, &s.mu
	if kind == KindDial {
		if s.conns >= MaxConnections {
			return -1, EMFILE
		}
		s.conns++
	} else {
		if s.others >= maxOthers {
			return -1, EMFILE
		}
		s.others++
	}
	fd := s.number()
	s.open[fd] = k
	s.all[k] = struct{}{}

	ctx, k.cancel = context.WithCancel(ctx)
	undo := context.AfterFunc(s.ctx, k.cancel)
	s.wg.Go(func() {
		defer undo()
		defer k.cancel()
		switch err := s.turn(ctx); {
		case err != nil:
			k.answer(nil, err)
		case kind == KindDial:
			k.connect(ctx, what)
		case kind == KindResolve:
			k.resolve(ctx, what)
		case kind == KindRoots:
			k.answer(s.dialer.Roots(), nil)
		}
	})
	return fd, OK
}

// turn waits until something may be opened, or for the end of ctx.
func (s *Sockets) turn(ctx context.Context) error {
	s.mu.Lock()
	now := time.Now()
	if s.next.Before(now.Add(-burst * pace)) {
		s.next = now.Add(-burst * pace)
	}
	wait := s.next.Sub(now)
	// Who gave up its turn is not waited for by all that come later.
	if wait < (MaxConnections+maxOthers)*pace {
		s.next = s.next.Add(pace)
	}
	s.mu.Unlock()
	if wait <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// number returns a descriptor's number that is new.
func (s *Sockets) number() int32 {
	for {
		fd := int32(lastFD.Add(1) & 0x7FFF_FFFF)
		if _, used := s.open[fd]; fd >= firstFD && !used {
			return fd
		}
	}
}

// connect dials and starts the pumps.
func (k *socket) connect(ctx context.Context, address string) {
	conn, err := k.s.dialer.Dial(ctx, k.s.v, address)
	s := k.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && k.closed {
		conn.Close()
		k.gone()
		return
	}
	if err != nil {
		k.failed(err)
		if k.closed {
			k.gone()
		}
		return
	}
	k.conn, k.ready = conn, true
	k.where = addresses(conn)
	s.wg.Go(k.readPump)
	s.wg.Go(k.writePump)
	s.notify()
}

func (k *socket) resolve(ctx context.Context, host string) {
	addrs, err := k.s.dialer.Resolve(ctx, k.s.v, host)
	var b strings.Builder
	for _, a := range addrs {
		b.WriteString(a.String())
		b.WriteByte('\n')
	}
	k.answer([]byte(b.String()), err)
}

// answer makes what was asked for readable, whatever its size.
func (k *socket) answer(data []byte, err error) {
	k.s.mu.Lock()
	defer k.s.mu.Unlock()
	if err != nil {
		k.failed(err)
	} else {
		k.in, k.readErr, k.ready = full(data), io.EOF, true
		k.s.notify()
	}
	if k.closed {
		k.gone()
	}
}

// failed keeps why it could not be opened.
func (k *socket) failed(err error) {
	k.fault = dialError(err)
	k.ready = true
	k.s.notify()
}

// dialError makes one of any error that a dialer returns.
func dialError(err error) *runtime.DialError {
	if e, ok := errors.AsType[*runtime.DialError](err); ok {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &runtime.DialError{Kind: runtime.DialTimeout, Message: "dial: the invocation ended before there was an answer"}
	}
	return &runtime.DialError{Kind: runtime.DialFailed, Message: err.Error()}
}

// gone forgets a socket of which nothing is left.
func (k *socket) gone() {
	s := k.s
	if _, there := s.all[k]; !there {
		return
	}
	delete(s.all, k)
	if k.kind == KindDial {
		s.conns--
	} else {
		s.others--
	}
}

func addresses(conn net.Conn) string {
	name := func(a net.Addr) string {
		if t, ok := a.(*net.TCPAddr); ok && t != nil {
			return t.AddrPort().String()
		}
		return ""
	}
	return name(conn.RemoteAddr()) + " " + name(conn.LocalAddr())
}

// notify tells whoever waits for Changed.
func (s *Sockets) notify() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// readPump fills the buffer from the connection until it ends or is closed.
func (k *socket) readPump() {
	s := k.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for k.in.room() == 0 && !k.closed && !k.noRead {
			k.canRead.Wait()
		}
		if k.closed || k.noRead {
			break
		}
		part := k.in.free()
		s.mu.Unlock()
		n, err := k.conn.Read(part)
		s.mu.Lock()
		k.in.wrote(n)
		s.notify()
		if err != nil {
			k.readErr = err
			break
		}
	}
	if k.closed || k.noRead {
		k.in.drop()
	}
}

// writePump sends what is in the buffer, then what closing asks for.
func (k *socket) writePump() {
	s := k.s
	s.mu.Lock()
	defer s.mu.Unlock()
	defer k.gone()
	shut := false
	for {
		for k.out.len() == 0 && !k.closed && (!k.noWrite || shut) && k.writeErr == nil {
			k.canWrite.Wait()
		}
		if k.writeErr != nil && !k.closed {
			k.out.drop()
			k.canWrite.Wait() // for it to be closed
			continue
		}
		if k.out.len() > 0 && k.writeErr == nil {
			part := k.out.filled()
			s.mu.Unlock()
			n, err := k.conn.Write(part)
			s.mu.Lock()
			k.out.read(n)
			if err != nil {
				k.writeErr = err
			}
			s.notify()
			continue
		}
		if k.closed {
			break
		}
		shut = true
		s.mu.Unlock()
		if c, ok := k.conn.(interface{ CloseWrite() error }); ok {
			c.CloseWrite()
		}
		s.mu.Lock()
	}
	k.out.drop()
	s.mu.Unlock()
	k.conn.Close() // wakes the reading pump too
	s.mu.Lock()
}

// Is says whether fd is a descriptor of these.
func (s *Sockets) Is(fd int32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[fd] != nil
}

// Error tells how opening fd went: nothing while it goes on. The first byte is
// the [runtime.DialFault], a text follows; or [Connected], and the addresses
// follow.
func (s *Sockets) Error(fd int32) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.open[fd]
	switch {
	case k == nil || !k.ready:
		return ""
	case k.fault != nil:
		return tell(k.fault)
	}
	return string([]byte{Connected}) + k.where
}

// tell writes a fault as guests read it.
func tell(f *runtime.DialError) string { return string([]byte{byte(f.Kind)}) + f.Message }

// faultErrno is the number for a fault; the text says more.
func faultErrno(f *runtime.DialError) Errno {
	switch f.Kind {
	case runtime.DialNotAllowed:
		return ENOTCAPABLE
	case runtime.DialNoSuchHost, runtime.DialUnreachable:
		return EHOSTUNREACH
	case runtime.DialRefused:
		return ECONNREFUSED
	case runtime.DialTimeout:
		return ETIMEDOUT
	case runtime.DialTooMany:
		return EMFILE
	}
	return EIO
}

// Read takes what is there: EAGAIN if nothing is, 0 bytes at the end.
func (s *Sockets) Read(fd int32, dst []byte) (int, Errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.open[fd]
	switch {
	case k == nil:
		return 0, EBADF
	case k.fault != nil:
		return 0, faultErrno(k.fault)
	case !k.ready:
		return 0, EAGAIN
	case k.noRead || len(dst) == 0:
		return 0, OK
	}
	n := k.in.take(dst)
	if n > 0 {
		k.canRead.Signal()
		return n, OK
	}
	switch {
	case k.readErr == nil:
		return 0, EAGAIN
	case k.readErr == io.EOF:
		return 0, OK
	}
	return 0, connErrno(k.readErr)
}

// Write gives what there is room for: EAGAIN if there is none.
func (s *Sockets) Write(fd int32, src []byte) (int, Errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.open[fd]
	switch {
	case k == nil:
		return 0, EBADF
	case k.fault != nil:
		return 0, faultErrno(k.fault)
	case !k.ready:
		return 0, EAGAIN
	case k.conn == nil:
		return 0, ENOTSUP
	case k.noWrite:
		return 0, EPIPE
	case k.writeErr != nil:
		return 0, connErrno(k.writeErr)
	case len(src) == 0:
		return 0, OK
	}
	n := k.out.put(src)
	if n == 0 {
		return 0, EAGAIN
	}
	k.canWrite.Signal()
	return n, OK
}

// connErrno is the number for what broke a connection.
func connErrno(err error) Errno {
	switch {
	case errors.Is(err, syscall.EPIPE):
		return EPIPE
	case errors.Is(err, syscall.ETIMEDOUT):
		return ETIMEDOUT
	}
	return ECONNRESET
}

// Shutdown ends reading (how & 1) and writing (how & 2), the latter when what was
// written has been sent.
func (s *Sockets) Shutdown(fd int32, how uint32) Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.open[fd]
	switch {
	case k == nil:
		return EBADF
	case how == 0 || how > 3:
		return EINVAL
	case k.conn == nil:
		return ENOTCONN
	}
	if _, ok := k.conn.(interface{ CloseWrite() error }); !ok && how&2 != 0 {
		return ENOTSUP
	}
	k.noRead = k.noRead || how&1 != 0
	k.noWrite = k.noWrite || how&2 != 0
	if k.noRead {
		k.in.drop()
	}
	k.canRead.Broadcast()
	k.canWrite.Broadcast()
	s.notify()
	return OK
}

// Close gives fd up. What was written is still sent, for a few seconds.
func (s *Sockets) Close(fd int32) Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.open[fd]
	if k == nil {
		return EBADF
	}
	delete(s.open, fd)
	k.close()
	return OK
}

func (k *socket) close() {
	k.closed = true
	k.cancel()
	switch {
	case k.conn != nil: // the writing pump does the rest
		k.conn.SetWriteDeadline(time.Now().Add(linger))
		k.canRead.Broadcast()
		k.canWrite.Broadcast()
		k.in.drop()
	case k.ready:
		k.gone()
	}
}

// Ready says whether reading or writing fd would not have to wait. It is true of
// what has failed, hung up, or is no descriptor, since there is an answer then.
func (s *Sockets) Ready(fd int32, write bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.open[fd]
	switch {
	case k == nil || k.fault != nil:
		return true
	case !k.ready:
		return false
	case write:
		return k.conn == nil || k.noWrite || k.writeErr != nil || k.out.room() > 0
	}
	return k.noRead || k.readErr != nil || k.in.len() > 0
}

// Changed receives when something may have become ready since it received last.
func (s *Sockets) Changed() <-chan struct{} { return s.changed }

// Reset closes everything at once, what was not sent is lost, and waits until
// nothing of it runs. The Sockets can be used again then.
func (s *Sockets) Reset() {
	s.mu.Lock()
	s.cancel()
	for k := range s.all {
		k.closed = true
		k.cancel()
		k.out.drop()
		if k.conn != nil {
			k.conn.SetDeadline(time.Unix(1, 0))
		}
		k.canRead.Broadcast()
		k.canWrite.Broadcast()
	}
	clear(s.open)
	s.mu.Unlock()
	s.http.close()
	s.wg.Wait()

	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.all)
	s.conns, s.others = 0, 0
	s.ctx, s.cancel = context.WithCancel(context.Background())
	select {
	case <-s.changed:
	default:
	}
}
