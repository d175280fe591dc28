// Package wire is the port that AWS clients talk to: one for all services, over HTTP/1.1
// and HTTP/2.
//
// It finds out which service and operation a request is for, reads its body in whichever
// of AWS's protocols it is, checks it against the operation's [Shape], asks the operation
// for the answer, and writes it in the same protocol. Whatever is wrong before an operation
// is asked is answered here, in the words that have been recorded on AWS, and in AWS's
// order: method, body, target, credentials, types, constraints.
//
// What it leaves to others: every service's own rules ([Operation.Do]), and verifying
// signatures, which nobody does: any well-formed credentials pass.
package wire

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Handler answers AWS clients.
type Handler struct {
	opts     Options
	ops      map[*Service]map[string]*Operation
	upstream *httputil.ReverseProxy // nil: none
	id       string                 // tells this handler from others that forward
	room     room
}

// New makes a handler for every path that is not the server's own. The error says what is
// wrong with the options.
func New(opts Options) (*Handler, error) {
	if opts.Account == "" {
		opts.Account = "000000000000"
	}
	if opts.Region == "" {
		opts.Region = "us-east-1"
	}
	if opts.MaxBody == 0 {
		opts.MaxBody = 16 << 20
	}
	if opts.MaxMemory == 0 {
		opts.MaxMemory = 1 << 30
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	h := &Handler{opts: opts, ops: map[*Service]map[string]*Operation{}, id: uuid.NewString(), room: room{most: opts.MaxMemory}}
	for _, s := range opts.Services {
		h.ops[s] = map[string]*Operation{}
		for _, op := range s.Ops {
			if (op.Do == nil) == (op.Stream == nil) || h.ops[s][op.Name] != nil {
				panic(fmt.Sprintf("wire: operation %s.%s: want it once, with Do or Stream", s.Name, op.Name))
			}
			h.ops[s][op.Name] = op
		}
	}
	if opts.Faults != nil {
		opts.Faults.serve(opts.Services)
	}
	if opts.Upstream != "" {
		u, err := url.Parse(opts.Upstream)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("upstream %q: want a URL like http://localhost:4567", opts.Upstream)
		}
		h.upstream = h.proxy(u)
	}
	return h, nil
}

// Protocols are what a plain port must speak for AWS clients: HTTP/1.1, and HTTP/2 with
// prior knowledge, which some SDKs speak to Kinesis even on http://.
func Protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{h: h, w: w, r: r, id: uuid.NewString()}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { // the proxy's way to break off an answer
				panic(p)
			}
			h.opts.Logger.Error("a request made wasmill panic", "request", x.id, "operation", x.name(), "panic", p, "stack", string(debug.Stack()))
			if x.begun {
				panic(http.ErrAbortHandler) // the client must not take a part for the whole
			}
			x.fail(&Error{Code: codeInternal, Status: http.StatusInternalServerError})
		}
	}()
	x.serve()
}

// exchange is one request and its answer.
type exchange struct {
	h      *Handler
	w      http.ResponseWriter
	r      *http.Request
	id     string
	to     route
	format Format
	form   envelope
	begun  bool // the answer
}

// envelope is what errors look like that come before the format is known, or if there is
// none.
type envelope uint8

const (
	inFormat envelope = iota // the format's own
	bareXML                  // what AWS's front door answers to what it does not understand
	oldJSON                  // of application/json, which no operation takes
)

func (x *exchange) name() string {
	if x.to.service == nil {
		return x.to.foreign
	}
	return x.to.service.Name + "." + x.to.opName
}

func (x *exchange) serve() {
	r := x.r
	query := queryOf(r)
	by := credentialsOf(r, query)
	x.to = x.h.route(r, by)
	if x.to.service == nil && x.h.upstream != nil {
		x.h.forward(x)
		return
	}
	// For every answer: what of a body an answer has not waited for, the server reads
	// after it.
	_ = http.NewResponseController(x.w).SetReadDeadline(time.Now().Add(bodyTime))
	if x.head() {
		return
	}
	if x.to.service == nil {
		x.drain()
		x.unknownService()
		return
	}
	x.form = bareXML
	if r.Method != http.MethodPost {
		x.drain()
		x.fail(&Error{Code: codeDenied, Status: http.StatusForbidden, Message: noOperation})
		return
	}
	x.detect()
	body, err := x.h.readBody(x.w, r)
	if err != nil {
		x.form = inFormat
		if !x.drain() {
			x.w.Header().Set("Connection", "close") // the rest of the body is not worth reading
		}
		x.fail(err)
		return
	}
	defer x.h.room.give(cap(body))
	// Who works for an operation that was given up may still read the body.
	if given := x.answer(body, query, by); r.Context().Err() == nil && !errors.Is(given, context.Canceled) && !errors.Is(given, context.DeadlineExceeded) {
		recycle(body)
	}
}

// mostDrained is how much of a body is read only for the client's sake.
const mostDrained = 1 << 30

// drain reads what is left of the body; false if that is too much, or does not come. Not
// every client reads an answer while it still sends: Node's HTTP/2 loses one that comes
// before the body's end, and the JavaScript SDK then waits for ever.
func (x *exchange) drain() bool {
	if x.r.Header.Get("Expect") != "" || x.r.ContentLength > mostDrained {
		return false
	}
	_, err := io.CopyN(io.Discard, x.r.Body, mostDrained)
	return err == io.EOF
}

const noOperation = "Unable to determine service/operation name to be authorized"

// head writes the headers that every answer has; done means that this was all.
func (x *exchange) head() (done bool) {
	head := x.w.Header()
	// Not in Go's spelling: these are AWS's.
	head["x-amzn-RequestId"] = []string{x.id}
	origin := x.r.Header.Get("Origin")
	if x.r.Method != http.MethodOptions || origin == "" {
		var raw [72]byte
		_, _ = rand.Read(raw[:]) // never fails
		head["x-amz-id-2"] = []string{base64.StdEncoding.EncodeToString(raw[:])}
	}
	if origin == "" {
		return false
	}
	head.Set("Access-Control-Allow-Origin", "*")
	if x.r.Method != http.MethodOptions {
		head.Set("Access-Control-Expose-Headers", "x-amzn-RequestId,x-amzn-ErrorType,x-amz-request-id,x-amz-id-2,x-amzn-ErrorMessage,Date")
		return false
	}
	if names := x.r.Header.Get("Access-Control-Request-Headers"); names != "" {
		head.Set("Access-Control-Allow-Headers", names)
	}
	if method := x.r.Header.Get("Access-Control-Request-Method"); method != "" {
		head.Set("Access-Control-Allow-Methods", method)
	}
	head.Set("Access-Control-Max-Age", "172800")
	head.Set("Content-Length", "0")
	head["Content-Type"] = nil
	x.w.WriteHeader(http.StatusOK)
	return true
}

// detect finds out the protocol.
func (x *exchange) detect() {
	known := true
	switch kind := mediaType(x.r); {
	case x.to.rpc:
		x.format = RPCv2CBOR
		known = kind == "application/cbor" || kind == "" // absent if there is no input
	case kind == "application/x-amz-json-1.1":
		x.format = JSON11
	case kind == "application/x-amz-json-1.0":
		x.format = JSON10
	case kind == "application/x-amz-cbor-1.1":
		x.format = CBOR11
	case kind == "application/json":
		x.form = oldJSON
		return
	default:
		known = false
	}
	if known && (x.to.service == nil || slices.Contains(x.to.service.formats(), x.format)) {
		x.form = inFormat
	}
}

func (s *Service) formats() []Format {
	if s.Formats == nil {
		return []Format{JSON11, CBOR11, RPCv2CBOR}
	}
	return s.Formats
}

// answer answers a request whose body has arrived. The error is the operation's.
//
// The order is AWS's (npm kinesalite, index.js): what is wrong with the body comes before
// what is wrong with the credentials.
func (x *exchange) answer(body []byte, query url.Values, by identity) error {
	op := x.to.operation
	rpc := x.to.rpc && x.form == inFormat
	if len(body) == 0 && !rpc {
		if x.form != inFormat {
			x.form, x.format = inFormat, CBOR11 // as recorded, odd as it is
		}
		code := codeUnknown
		if op != nil {
			code = codeSerialization
		}
		x.fail(&Error{Code: code})
		return nil
	}
	if x.form == bareXML {
		if x.to.opName == "" {
			x.fail(&Error{Code: codeDenied, Status: http.StatusForbidden, Message: noOperation})
		} else {
			x.fail(&Error{Code: codeUnknown, Status: http.StatusNotFound})
		}
		return nil
	}
	if rpc && len(body) == 0 {
		body = []byte{cborMap << 5}
	}

	c := &Call{Service: x.to.service, Operation: op, RequestID: x.id, Format: x.format}
	decoded := false
	if op != nil && op.Decode != nil && x.form == inFormat {
		c.Fast, decoded = op.Decode(x.format, body)
	}
	if !decoded {
		c.Fast = nil
		if !x.wellFormed(body) {
			x.fail(&Error{Code: codeSerialization})
			return nil
		}
	}
	if x.form == oldJSON {
		x.fail(&Error{Code: codeUnknown, Status: http.StatusNotFound})
		return nil
	}
	if op == nil {
		if x.to.opName != "" { // AWS does not say it; people who look will find it
			x.w.Header()["x-amzn-ErrorMessage"] = []string{printable(x.to.service.Name + " has no operation " + x.to.opName)}
		}
		x.fail(&Error{Code: codeUnknown})
		return nil
	}
	if err := authenticate(x.r, query); err != nil {
		x.fail(err)
		return nil
	}
	x.h.identify(c, by)
	if !decoded {
		in, err := read(x.format, op.Input, body)
		if err == nil {
			err = check(op.Input, in)
		}
		if err != nil {
			x.fail(err)
			return nil
		}
		c.In = in
	}
	// Faults come after everything that is wrong with the request itself, as throttling
	// does on AWS: a client under test gets an injected error only where it would have
	// been served, and can rely on nothing having happened.
	if err := x.h.opts.Faults.Before(x.r.Context(), x.to.service.Name, op.Name); err != nil {
		x.fail(err)
		return nil
	}
	if op.Stream != nil {
		return x.stream(c)
	}
	out, err := op.Do(x.r.Context(), c)
	if err != nil {
		x.fail(x.known(err))
		return err
	}
	x.succeed(out)
	return nil
}

// wellFormed says whether the body can be walked through at all, to its end.
func (x *exchange) wellFormed(body []byte) bool {
	if x.form == oldJSON || x.format.JSON() {
		if !json.Valid(body) {
			return false
		}
		first := (&jsonSource{body: body}).peek()
		return first == '{' || first == '['
	}
	major := body[0] >> 5
	return (major == cborMap || major == cborList) && cborEnd(body, 0, 0) == len(body)
}

// known is an error that can be shown. All others are wasmill's own trouble.
func (x *exchange) known(err error) *Error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = &Error{Code: codeInternal, Status: http.StatusInternalServerError, Cause: err}
	}
	switch {
	case x.r.Context().Err() != nil: // nobody is there to read the answer
	case !ok:
		x.h.opts.Logger.Error("a request failed", "request", x.id, "operation", x.name(), "error", err)
	case e.status() >= http.StatusInternalServerError:
		x.h.opts.Logger.Warn("a request could not be served", "request", x.id, "operation", x.name(), "error", err, "cause", e.Cause)
	case e.Cause != nil:
		x.h.opts.Logger.Debug("a request was refused", "request", x.id, "operation", x.name(), "error", err, "cause", e.Cause)
	}
	return e
}

// succeed sends an answer.
func (x *exchange) succeed(out any) {
	var b []byte
	if out != nil {
		size := roomFor(sizeOf(out))
		if !x.h.room.take(size) {
			x.fail(x.known(busy()))
			return
		}
		defer x.h.room.give(size)
		var err error
		if b, err = appendAnswer(buffer(size), x.format, out); err != nil {
			x.fail(x.known(err))
			return
		}
	}
	x.w.Header().Set("Content-Type", x.format.ContentType())
	if x.send(http.StatusOK, b) == nil {
		recycle(b) // else HTTP/2 may be about to write it yet, though its stream is closed
	}
}

// fail sends an error.
func (x *exchange) fail(e *Error) {
	head := x.w.Header()
	var b []byte
	switch x.form {
	case bareXML:
		b = bareError(e)
		head["Content-Type"] = nil // nor does AWS
	case oldJSON:
		b, _ = json.Marshal(map[string]any{"Output": map[string]string{"__type": "com.amazon.coral.service#" + e.Code}, "Version": "1.0"})
		head.Set("Content-Type", "application/json")
	default:
		var err error
		if b, err = e.append(nil, x.format); err != nil {
			x.h.opts.Logger.Error("an error could not be written", "request", x.id, "operation", x.name(), "error", err)
			b, _ = (&Error{Code: e.Code, Message: e.Message}).append(nil, x.format)
		}
		head.Set("Content-Type", x.format.ContentType())
		if x.format != RPCv2CBOR {
			head["x-amzn-ErrorType"] = []string{e.Code}
		}
	}
	_ = x.send(e.status(), b)
}

// sendTime is how long a client may take to fetch a large answer, or over HTTP/2 any.
const sendTime = time.Minute

func (x *exchange) send(status int, b []byte) error {
	head := x.w.Header()
	head.Set("Content-Length", strconv.Itoa(len(b)))
	if x.format == RPCv2CBOR && x.form == inFormat {
		head.Set("Smithy-Protocol", "rpc-v2-cbor")
	}
	if s := x.to.service; s != nil && s.Checksum {
		head.Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(b)), 10))
	}
	x.begun = true
	ctl := http.NewResponseController(x.w)
	if x.r.ProtoMajor >= 2 {
		// The stream's own, and of small answers too: a client that opens no window has
		// hundreds of them wait on a connection, without anything that fills up.
		_ = ctl.SetWriteDeadline(time.Now().Add(sendTime))
	} else if len(b) > firstRead && ctl.SetWriteDeadline(time.Now().Add(sendTime)) == nil {
		defer func() {
			_ = ctl.Flush()                       // what waits in buffers still counts
			_ = ctl.SetWriteDeadline(time.Time{}) // whatever comes next on the connection
		}()
	}
	x.w.WriteHeader(status)
	_, err := x.w.Write(b)
	return err // a client that is gone needs no answer
}
