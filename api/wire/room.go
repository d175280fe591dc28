package wire

import (
	"errors"
	"net/http"
	"sync/atomic"
)

// room bounds what bodies and answers hold in memory, all together. A client that sends or
// fetches slowly makes them last, and one connection of HTTP/2 has hundreds of requests:
// without a bound a few kilobytes of them held gigabytes.
type room struct {
	most int64
	held atomic.Int64
}

// errNoRoom means that other requests hold all there is.
var errNoRoom = errors.New("wire: no room for a large body")

// weight is what a buffer counts: nothing if it is as small as most are.
func weight(size int) int64 {
	if size <= 2*firstRead {
		return 0
	}
	return int64(size)
}

// take makes room for a buffer; false if there is none. Whoever took it gives it back.
func (r *room) take(size int) bool {
	if n := weight(size); r.held.Add(n) > r.most && n > 0 {
		r.held.Add(-n)
		return false
	}
	return true
}

func (r *room) give(size int) { r.held.Add(-weight(size)) }

// busy is the answer where there is no room. Clients try again.
func busy() *Error {
	return &Error{Code: codeUnavailable, Status: http.StatusServiceUnavailable, Message: "Too many large requests are under way. Try again."}
}
