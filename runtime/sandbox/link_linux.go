package sandbox

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// socketPair makes a connection: one end for us, the other for a child.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	mine, theirs := os.NewFile(uintptr(fds[0]), "sandbox"), os.NewFile(uintptr(fds[1]), "sandbox")
	defer mine.Close() // the connection has one of its own
	conn, err := net.FileConn(mine)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}

// sendFiles writes b and has files come along with its first byte.
func sendFiles(conn net.Conn, b []byte, files []*os.File) error {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return errors.New("sandbox: no descriptor can go this way")
	}
	var fds []int
	var n int
	var send func(left []*os.File) error
	send = func(left []*os.File) (err error) {
		if len(left) == 0 {
			n, _, err = u.WriteMsgUnix(b, unix.UnixRights(fds...), nil)
			return err
		}
		raw, err := left[0].SyscallConn()
		if err != nil {
			return err
		}
		// Fd would make the descriptor, and all that share its state, a blocking one.
		if e := raw.Control(func(fd uintptr) {
			fds = append(fds, int(fd))
			err = send(left[1:])
		}); e != nil {
			return e
		}
		return err
	}
	if err := send(files); err != nil {
		return err
	}
	if n < len(b) {
		_, err := u.Write(b[n:])
		return err
	}
	return nil
}

// maxWaiting is how many descriptors may wait to be taken.
const maxWaiting = 64

// fileReader reads a stream and puts aside the descriptors that come with it. One that
// comes with a frame is there when the frame is: the kernel hands it over with
// the first byte, and never reads on past it in the same call.
type fileReader struct {
	conn *net.UnixConn
	oob  []byte
	fds  []int
}

func newFileReader(conn net.Conn) *fileReader {
	u, _ := conn.(*net.UnixConn)
	return &fileReader{conn: u, oob: make([]byte, unix.CmsgSpace(4*8))}
}

func (r *fileReader) Read(b []byte) (int, error) {
	n, oobn, _, _, err := r.conn.ReadMsgUnix(b, r.oob)
	if oobn > 0 {
		messages, _ := unix.ParseSocketControlMessage(r.oob[:oobn])
		for i := range messages {
			fds, _ := unix.ParseUnixRights(&messages[i])
			for _, fd := range fds {
				if len(r.fds) == maxWaiting {
					_ = unix.Close(fd)
					continue
				}
				r.fds = append(r.fds, fd)
			}
		}
	}
	return max(0, n), err
}

func (r *fileReader) take() *os.File {
	if len(r.fds) == 0 {
		return nil
	}
	fd := r.fds[0]
	r.fds = append(r.fds[:0], r.fds[1:]...)
	return os.NewFile(uintptr(fd), "passed")
}

// kernelConn is a descriptor that stands for conn, if it is a connection of the
// kernel's. The caller closes it.
func kernelConn(conn net.Conn) *os.File {
	f, ok := conn.(interface{ File() (*os.File, error) })
	if !ok {
		return nil
	}
	file, err := f.File()
	if err != nil {
		return nil
	}
	return file
}

// inherited is the connection that a child is started with, as descriptor 3.
func inherited() (net.Conn, error) {
	if kind, err := unix.GetsockoptInt(3, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_STREAM {
		return nil, errors.New("descriptor 3 is no connection")
	}
	unix.CloseOnExec(3)
	f := os.NewFile(3, "control")
	defer f.Close()
	return net.FileConn(f)
}
