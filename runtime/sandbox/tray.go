package sandbox

import (
	"errors"
	"runtime"
	"runtime/debug"
)

// A tray is memory that the server has in common with one environment in a child. A
// message that is too long for the connection lies in it, from its beginning, and the
// frame on the connection tells how long it is: so it is written once, by whoever makes it, and copied
// once, by whoever reads it. The two sides take turns, but the server does not count
// on that: the child may write what and when it likes. What the server puts in it does not
// read again, and a reply it copies out before it looks at it.
//
// Its size is fixed and sealed, so that no page of it can go away under the server. A
// system without such memory has none, and all goes by the connection.

const (
	// traySize is more than the largest batch. Memory is only taken for what is used.
	traySize = 8 << 20
	// maxInline is the longest message that goes by the connection, where there is a
	// tray: it is there in one piece, and costs no more than to say that it is elsewhere.
	maxInline = 4 << 10
)

// holds says whether a message of n bytes goes by the tray.
func (t *tray) holds(n int) bool { return t != nil && n > maxInline && n <= len(t.b) }

// errTray means that memory for a tray could not be had when it was needed.
var errTray = errors.New("sandbox: no memory for messages")

// use calls f with the first n bytes. That the system has no memory for a page
// of it shows only when it is touched, and is errTray.
func (t *tray) use(n int, f func(b []byte) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		bug := recover()
		if bug == nil {
			return
		}
		if _, fault := bug.(interface{ Addr() uintptr }); !fault {
			panic(bug)
		}
		if _, fault := bug.(runtime.Error); !fault {
			panic(bug)
		}
		err = errTray
	}()
	return f(t.b[:n:n])
}

// take copies the first n bytes to the beginning of dst, which grows if need be.
func (t *tray) take(dst []byte, n int) ([]byte, error) {
	if cap(dst) < n {
		dst = make([]byte, n)
	}
	dst = dst[:n]
	err := t.use(n, func(b []byte) error {
		copy(dst, b)
		return nil
	})
	return dst, err
}
