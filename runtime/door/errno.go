package door

import "fmt"

// Errno is an error number of WASI preview 1. Zero is success.
type Errno uint16

// The numbers that [Sockets] answer with.
const (
	OK           Errno = 0
	EAGAIN       Errno = 6  // nothing to read, or no room to write, yet
	EBADF        Errno = 8  // no such descriptor
	ECONNREFUSED Errno = 14 // nobody listens there
	ECONNRESET   Errno = 15 // the peer is gone
	EHOSTUNREACH Errno = 23 // no way there, or no such host
	EINVAL       Errno = 28 // not a request
	EIO          Errno = 29 // failed for another reason
	EMFILE       Errno = 33 // as many descriptors as there may be
	ENOTCONN     Errno = 53 // not connected yet
	ENOTSUP      Errno = 58 // not with this descriptor
	EPIPE        Errno = 64 // writing was shut down
	ETIMEDOUT    Errno = 73 // nobody answered in time
	ENOTCAPABLE  Errno = 76 // not allowed
)

var errnos = map[Errno]string{
	OK: "success", EAGAIN: "again", EBADF: "badf", ECONNREFUSED: "connrefused", ECONNRESET: "connreset",
	EHOSTUNREACH: "hostunreach", EINVAL: "inval", EIO: "io", EMFILE: "mfile", ENOTCONN: "notconn",
	ENOTSUP: "notsup", EPIPE: "pipe", ETIMEDOUT: "timedout", ENOTCAPABLE: "notcapable",
}

func (e Errno) String() string {
	if s, ok := errnos[e]; ok {
		return s
	}
	return fmt.Sprintf("errno %d", uint16(e))
}
