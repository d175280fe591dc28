package sandbox

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/runtime/wasm"
)

// Arguments of a child.
const (
	argument         = "sandbox"
	argumentCompile  = "compile"
	argumentPortable = "portable"
)

// Child runs the sandbox's other half if args, a process's arguments with its name,
// ask for it, and then ends the process: it returns in no child. It is the first
// thing that main does, and TestMain of a package that uses an [Engine].
func Child(args []string) (isChild bool) {
	asked.Store(true)
	if len(args) < 2 || args[1] != argument {
		return false
	}
	if err := child(args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "wasmill sandbox:", err)
		os.Exit(2)
	}
	os.Exit(0)
	return true
}

// asked says that Child was called: that a child of this binary would be one. A program
// that does not call it would start itself anew for each child, and so would that.
var asked atomic.Bool

// probe is a test's: it tells what is to be seen and done in a child that has just
// started, and in one that is ready to run guests.
var probe func(stage string) []string

func child(args []string) error {
	compile, portable := slices.Contains(args, argumentCompile), slices.Contains(args, argumentPortable)
	l, err := dialParent(portable)
	if err != nil {
		return fmt.Errorf("%w; this is what the server starts to run functions in", err)
	}
	var seen []string
	if probe != nil {
		seen = probe("started")
	}
	os.Clearenv()
	kind, b, err := l.receive()
	if err != nil {
		return ending(err)
	}
	switch {
	case compile && kind == kindCompile:
		return compileIn(l, b)
	case !compile && kind == kindLoad:
		return serve(l, b, seen)
	}
	return broken("it begins with a frame of kind %q", kind)
}

// ending is nil for the way that a child ends when all is well: its server has closed
// the connection, or is no more.
func ending(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// childLink is a child's way to its server.
type childLink struct {
	*control
	socket string // portable: where to dial for more connections
}

func dialParent(portable bool) (*childLink, error) {
	if !portable {
		conn, err := inherited()
		if err != nil {
			return nil, err
		}
		return &childLink{control: newControl(conn, true)}, nil
	}
	// Nothing but standard input is handed over on all systems.
	line, err := bufio.NewReaderSize(io.LimitReader(os.Stdin, 4<<10), 4<<10).ReadString('\n')
	if err != nil {
		return nil, errors.New("standard input does not say where the server is")
	}
	socket, ticket, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	if !ok {
		return nil, errors.New("standard input does not say where the server is")
	}
	// The ticket comes first: a path may have spaces.
	socket, ticket = ticket, socket
	l := &childLink{socket: socket}
	conn, err := l.dial(ticket)
	if err != nil {
		return nil, err
	}
	l.control = newControl(conn, false)
	return l, nil
}

// dial makes a connection that the server waits for under a ticket.
func (l *childLink) dial(ticket string) (net.Conn, error) {
	conn, err := net.DialTimeout("unix", l.socket, patience)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write([]byte(ticket)); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// accept is the connection that came with a frame, or that its ticket stands for.
func (l *childLink) accept(ticket string) (net.Conn, error) {
	if ticket != "" {
		return l.dial(ticket)
	}
	f := l.file()
	if f == nil {
		return nil, broken("a frame without its connection")
	}
	defer f.Close()
	return net.FileConn(f)
}

// admit is the connection of an environment, and its tray if it has one.
func (l *childLink) admit(o openOrder) (io.ReadWriteCloser, *tray, error) {
	if o.Ticket != "" {
		conn, err := l.dial(o.Ticket)
		return conn, nil, err
	}
	f := l.file()
	if f == nil {
		return nil, nil, broken("a frame without its connection")
	}
	conn, err := newLine(f)
	if err != nil || !o.Tray {
		return conn, nil, err
	}
	tray, err := openTray(l.file())
	return conn, tray, err
}

// sandbox is what a child is: one module, and the environments in it.
type sandbox struct {
	link    *childLink
	program runtime.Program
	engine  *wasm.Engine
	dialer  *farDialer

	mu    sync.Mutex
	under map[uint32]*underway // by environment
}

// underway is the call that an environment is in.
type underway struct {
	number uint32
	cancel context.CancelFunc
}

func serve(l *childLink, b []byte, seen []string) error {
	var order loadOrder
	if err := json.Unmarshal(b, &order); err != nil {
		return err
	}
	missing := armour(order.harden, false, order.Dir, "")
	s := &sandbox{link: l, under: map[uint32]*underway{}, dialer: newFarDialer(l)}
	err := s.load(order)
	report := loadReport{Missing: append(missing, seal(order.harden)...)}
	report.Probe = seen
	if probe != nil && !order.Portable {
		report.Probe = append(seen, probe("sealed")...)
	}
	if err != nil {
		report.Error = err.Error()
	}
	if err := l.send(kindLoaded, report, nil); err != nil {
		return ending(err)
	}
	for {
		kind, b, err := l.receive()
		if err != nil {
			return ending(err)
		}
		switch kind {
		case kindOpen:
			var o openOrder
			if err := json.Unmarshal(b, &o); err != nil {
				return err
			}
			if !order.Portable {
				_ = bound(o.Mapped) // the server watches what it really has
			}
			conn, tray, err := l.admit(o)
			if err != nil {
				return err
			}
			go s.environment(o.Environment, conn, tray)
		case kindCancel:
			if len(b) == 8 {
				s.cancel(binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]))
			}
		case kindTold:
			if err := s.dialer.told(b); err != nil {
				return err
			}
		default:
			return broken("a frame of kind %q", kind)
		}
	}
}

func (s *sandbox) enter(environment, number uint32, left time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	s.mu.Lock()
	s.under[environment] = &underway{number, cancel}
	s.mu.Unlock()
	return ctx, func() {
		s.mu.Lock()
		delete(s.under, environment)
		s.mu.Unlock()
		cancel()
	}
}

func (s *sandbox) cancel(environment, number uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.under[environment]; u != nil && u.number == number {
		u.cancel()
	}
}

// environment serves one connection to its end.
func (s *sandbox) environment(id uint32, conn io.ReadWriteCloser, tray *tray) {
	defer conn.Close()
	defer tray.close()
	in := newFrameReader(conn)
	out := &lineWriter{conn: conn}
	guest, err := s.start(id, in, out)
	if guest != nil {
		defer guest.Close()
	}
	for err == nil {
		var kind byte
		var b []byte
		if kind, b, err = in.next(toGuest); err != nil {
			break
		}
		switch kind {
		case kindCall:
			err = s.exchange(id, guest, tray, in, out, b)
		case kindRest:
			guest.Rest()
			ok := byte(0)
			if guest.Reusable() {
				ok = 1
			}
			_, err = conn.Write(appendFrame(nil, kindRested, []byte{ok}))
		default:
			err = broken("a frame of kind %q", kind)
		}
	}
	// Whatever it is, the server sees the connection end.
}

// start makes the guest, as the first frame says.
func (s *sandbox) start(id uint32, in *frameReader, out *lineWriter) (wasm.Guest, error) {
	kind, b, err := in.next(toGuest)
	if err != nil {
		return nil, err
	}
	if kind != kindStart || len(b) < 8 {
		return nil, broken("an environment that begins with a frame of kind %q", kind)
	}
	left := time.Duration(binary.LittleEndian.Uint64(b))
	var v functions.Version
	if err := json.Unmarshal(b[8:], &v); err != nil {
		return nil, err
	}
	ctx, leave := s.enter(id, 0, left)
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	out.begin()
	env, err := s.program.New(ctx, v, out)
	var report startReport
	var guest wasm.Guest
	if err == nil {
		guest = env.(wasm.Guest) // all of package wasm are
	} else if its, ok := errors.AsType[*runtime.InitError](err); ok {
		report.Failure, _ = decodeFailure(encodeFailure(its)) // cut to size
	} else {
		report.Error = err.Error()[:min(len(err.Error()), 4<<10)]
	}
	payload, _ := json.Marshal(report) // strings and bytes
	if _, werr := out.conn.Write(appendFrame(nil, kindStarted, payload)); werr != nil {
		err = werr
	}
	return guest, err
}

// exchange has the guest answer a message, which is read into its memory and
// written out of it.
func (s *sandbox) exchange(id uint32, guest wasm.Guest, tray *tray, in *frameReader, out *lineWriter, b []byte) error {
	c, err := decodeCall(b)
	if err != nil {
		return err
	}
	ctx, leave := s.enter(id, c.number, c.left)
	defer leave()
	out.begin()
	if c.inTray && !tray.holds(c.size) {
		return broken("a message of %d bytes in a tray that does not take it", c.size)
	}
	taken := c.inTray // there is nothing to be read
	var lost error    // of the connection
	reply := guest.Exchange(ctx, wasm.Request{ID: c.id, JSON: c.json, Size: c.size, Deadline: time.Now().Add(c.left), Fill: func(dst []byte) error {
		if c.inTray {
			copy(dst, tray.b[:c.size])
			return nil
		}
		taken = true
		_, lost = io.ReadFull(in, dst[:c.size])
		return lost
	}})
	if !taken {
		_, lost = in.Discard(c.size)
	}
	if lost != nil {
		return lost
	}
	body := reply.Body
	if reply.Failure != nil {
		body = encodeFailure(reply.Failure)
	}
	if len(body) > maxBody {
		return broken("a reply of %d bytes", len(body))
	}
	inTray := reply.Failure == nil && tray.holds(len(body))
	if inTray {
		copy(tray.b, body)
		body = binary.LittleEndian.AppendUint32(out.size[:0], uint32(len(body)))
	}
	if err := out.reply(appendReplyHead(out.head[:0], c.number, guest.Reusable(), inTray, &reply, len(body)), body); err != nil {
		return err
	}
	guest.Finish()
	return nil
}

// lineWriter sends what a guest logs to the server, which knows the request.
type lineWriter struct {
	conn io.Writer
	buf  []byte
	left int // of this call
	head []byte
	size [4]byte
}

// reply writes a reply: a short one at once, for each write may wake the server.
func (w *lineWriter) reply(head, body []byte) error {
	w.head = head
	if len(body) <= maxInline {
		w.head = append(head, body...)
		_, err := w.conn.Write(w.head)
		return err
	}
	parts := net.Buffers{head, body}
	_, err := parts.WriteTo(w.conn)
	return err
}

func (w *lineWriter) begin() { w.left = maxLogged }

// Line implements runtime.LogWriter. A connection that has ended shows at the next read.
func (w *lineWriter) Line(_ string, line []byte) {
	line = line[:min(len(line), maxLine)]
	if w.left -= frameHead + len(line); w.left < 0 {
		return // package wasm has said so
	}
	w.buf = appendFrame(w.buf[:0], kindLine, line)
	_, _ = w.conn.Write(w.buf)
}
