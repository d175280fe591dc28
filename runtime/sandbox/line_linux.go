package sandbox

import (
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A line is the child's end of an environment's connection. It blocks the
// thread of the goroutine that reads it, which is the only one to be woken when something
// comes; by way of the runtime's poller there are two, one after the other.
//
// Where one request follows the other within patience of a core, being woken takes longer
// than the pause, and a core that has slept has cold caches besides. So who was asked
// again at once looks for a while whether there is more, as long as nobody else wants the
// core: it offers it each time, and stops when that was taken.
type line struct {
	file  *os.File
	fd    int
	short bool // the last pause was
}

const (
	// lookFor is how long a line looks for more at most, and what pause is short.
	lookFor = 100 * time.Microsecond
	// A core that was offered and not had back so soon is wanted by others.
	offered = 10 * time.Microsecond
)

// looking is the lines of this process that do. One keeps a core warm; two might keep one from others.
var looking atomic.Int32

func newLine(f *os.File) (io.ReadWriteCloser, error) {
	l := &line{file: f, fd: int(f.Fd())} // which makes it blocking
	return l, nil
}

// Read implements io.Reader.
func (l *line) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	began := time.Now()
	if l.short && looking.CompareAndSwap(0, 1) {
		n, err, done := l.look(b, began)
		looking.Store(0)
		if done {
			return n, err
		}
	}
	for {
		n, err := unix.Read(l.fd, b)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		l.short = time.Since(began) < lookFor
		return n, nil
	}
}

// look reads what comes soon. Not done: nothing did.
func (l *line) look(b []byte, began time.Time) (n int, err error, done bool) {
	for last := began; ; {
		n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(l.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case e == 0 && n == 0:
			return 0, io.EOF, true
		case e == 0:
			return int(n), nil, true
		case e != unix.EAGAIN && e != unix.EINTR:
			return 0, e, true
		}
		_, _, _ = syscall.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		now := time.Now()
		if now.Sub(began) > lookFor || now.Sub(last) > offered {
			l.short = false
			return 0, nil, false
		}
		last = now
	}
}

// Write implements io.Writer.
func (l *line) Write(b []byte) (n int, err error) {
	for n < len(b) {
		m, err := unix.SendmsgN(l.fd, b[n:], nil, nil, unix.MSG_NOSIGNAL)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return n, err
		default:
			n += m
		}
	}
	return n, nil
}

// Close implements io.Closer. Nobody may be reading.
func (l *line) Close() error { return l.file.Close() }
