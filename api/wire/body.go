package wire

import (
	"compress/gzip"
	"errors"
	"io"
	"math/bits"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	bodyTime  = time.Minute // for a request's body to arrive
	firstRead = 64 << 10    // what a body gets before any of it has come
	growth    = 16          // times what has come of a body is what it gets at most
)

// Bodies are read into buffers that are used again, of sizes smallest << 0 to 15: at
// hundreds of megabytes a second the collector would otherwise have most to do with
// bodies.
const smallest = 4 << 10

var buffers [16]sync.Pool // of *[]byte

// buffer gives an empty buffer for at least n bytes, with the capacity that roomFor tells.
func buffer(n int) []byte {
	class := sizeClass(n)
	if class >= len(buffers) {
		return make([]byte, 0, n)
	}
	if b, ok := buffers[class].Get().(*[]byte); ok {
		return (*b)[:0:roomFor(n)]
	}
	return make([]byte, 0, roomFor(n))
}

// roomFor is what a buffer for n bytes takes.
func roomFor(n int) int {
	if class := sizeClass(n); class < len(buffers) {
		return smallest << class
	}
	return n
}

func sizeClass(n int) int { return bits.Len(uint(max(n, 1)-1) / smallest) }

// recycle takes a buffer back. Nobody may hold a part of it any more.
func recycle(b []byte) {
	// One that has grown may be larger than its class.
	if class := bits.Len(uint(cap(b)/smallest)) - 1; class >= 0 && class < len(buffers) {
		buffers[class].Put(&b)
	}
}

// errTooLarge is a body over the limit.
var errTooLarge = errors.New("wire: body too large")

// fill reads src to its end. expected is how much that will be, or negative. The buffer,
// whatever the error, has taken its size of the room.
func (r *room) fill(src io.Reader, expected, most int64) ([]byte, error) {
	// A body that only claims to be large must not cost a large buffer.
	b := buffer(int(min(max(expected, 0)+1, firstRead)))
	r.held.Add(weight(cap(b))) // as a rule nothing
	for {
		n, err := src.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case int64(len(b)) > most:
			return b, errTooLarge
		case err == io.EOF:
			return b, nil
		case err != nil:
			return b, err
		case len(b) == cap(b):
			size := int(min(max(int64(2*cap(b)), min(expected+1, int64(growth*cap(b)))), most+1))
			if !r.take(roomFor(size)) {
				return b, errNoRoom
			}
			larger := append(buffer(size), b...)
			r.give(cap(b))
			recycle(b)
			b = larger
		}
	}
}

var unzippers sync.Pool // of *gzip.Reader

// readBody reads a request's body, unpacked. The caller recycles it, and gives its room
// back.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, *Error) {
	tooLarge := &Error{Code: codeTooLarge, Status: http.StatusRequestEntityTooLarge, Message: "The request body is larger than " + size(most) + "."}
	if r.ContentLength > most {
		return nil, tooLarge
	}
	var src io.Reader = http.MaxBytesReader(w, r.Body, most)
	expected := r.ContentLength
	var body []byte
	var err error
	switch strings.ToLower(r.Header.Get("Content-Encoding")) {
	case "", "identity":
		body, err = h.room.fill(src, expected, most)
	case "gzip":
		body, err = h.room.unzip(src, most)
	default:
		return nil, &Error{Code: codeSerialization, Status: http.StatusUnsupportedMediaType,
			Message: "Content-Encoding " + bounded(r.Header.Get("Content-Encoding")) + " is not supported: want gzip or none"}
	}
	if err == nil {
		// From here on, reading only waits for the client to go.
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		return body, nil
	}
	h.room.give(cap(body))
	recycle(body)
	if errors.Is(err, errNoRoom) {
		return nil, busy()
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok || errors.Is(err, errTooLarge) {
		return nil, tooLarge
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, &Error{Code: codeTimeout, Status: http.StatusRequestTimeout, Message: "The request body did not arrive in time."}
	}
	return nil, &Error{Code: codeSerialization, Cause: err}
}

func (r *room) unzip(src io.Reader, most int64) ([]byte, error) {
	z, _ := unzippers.Get().(*gzip.Reader)
	if z == nil {
		z = new(gzip.Reader)
	}
	defer func() {
		_ = z.Reset(strings.NewReader("")) // it must not keep the body alive
		unzippers.Put(z)
	}()
	if err := z.Reset(src); err != nil {
		return nil, err
	}
	return r.fill(z, -1, most)
}
