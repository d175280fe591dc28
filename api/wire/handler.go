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
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"runtime/debug"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Handler answers AWS clients.
type Handler struct {
	opts     Options
	ops      map[*Service]map[string]*Operation
	paths    map[*Service]*paths    // of those that are REST
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
	h := &Handler{opts: opts, ops: map[*Service]map[string]*Operation{}, paths: map[*Service]*paths{}, id: uuid.NewString(), room: room{most: opts.MaxMemory}}
	for _, s := range opts.Services {
		h.ops[s] = map[string]*Operation{}
		for _, op := range s.Ops {
			if (op.Do == nil) == (op.Stream == nil) || h.ops[s][op.Name] != nil {
				panic(fmt.Sprintf("wire: operation %s.%s: want it once, with Do or Stream", s.Name, op.Name))
			}
			h.ops[s][op.Name] = op
		}
		if s.REST {
			h.paths[s] = pathsOf(s)
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
			x.fail(x.internal(nil))
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
	x.detect()
	if e := x.misled(query); e != nil {
		x.drain()
		x.fail(e)
		return
	}
	body, err := x.h.readBody(x.w, r, x.mostBody())
	if err != nil {
		x.form = inFormat
		if err.Code == codeTooLarge && x.format == RESTJSON { // npm node-lambda, issue 123
			err.Message = fmt.Sprintf("Request must be smaller than %d bytes for the %s operation", x.mostBody(), x.to.opName)
		}
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

// misled is what is wrong with a request before its body is looked at.
func (x *exchange) misled(query url.Values) *Error {
	if x.to.form && x.r.Method == http.MethodGet {
		x.byForm(nil, query)
	}
	switch {
	case x.format == RESTJSON:
		return x.unrouted()
	case x.format == QueryXML && x.form == inFormat:
		return nil
	case x.r.Method != http.MethodPost:
		x.form = bareXML
		return &Error{Code: codeDenied, Status: http.StatusForbidden, Message: noOperation}
	}
	return nil
}

// mostBody is the largest body that this request may have.
func (x *exchange) mostBody() int64 {
	most := cmp.Or(x.to.service.MaxBody, x.h.opts.MaxBody)
	if op := x.to.operation; op != nil && op.MaxBody > 0 {
		most = op.MaxBody
	}
	return most
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
	if s := x.to.service; s != nil && s.REST {
		x.form, x.format = inFormat, RESTJSON
		return
	}
	if s := x.to.service; s != nil && s.Query != "" && x.to.opName == "" && !x.to.form {
		x.form, x.format = inFormat, QueryXML
		return
	}
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
	if s.Formats == nil && s.Target != "" {
		return []Format{JSON11, CBOR11, RPCv2CBOR}
	}
	return s.Formats
}

// answer answers a request whose body has arrived. The error is the operation's.
//
// The order is AWS's (npm kinesalite, index.js): what is wrong with the body comes before
// what is wrong with the credentials.
func (x *exchange) answer(body []byte, query url.Values, by identity) error {
	if x.to.form {
		x.byForm(body, query)
	}
	switch {
	case x.form == inFormat && x.format == RESTJSON:
		return x.answerREST(body, query, by)
	case x.form == inFormat && x.format == QueryXML:
		return x.answerQuery(body, query, by)
	}
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
	x.h.identify(c, x.r, query, by)
	if !decoded {
		in, err := read(x.format, op.Input, body)
		if err == nil {
			err = x.to.service.check(op, in)
		}
		if err != nil {
			x.fail(err)
			return nil
		}
		c.In = in
	}
	return x.perform(c)
}

// perform has the operation answer a request with which all is well.
func (x *exchange) perform(c *Call) error {
	// Faults come after everything that is wrong with the request itself, as throttling
	// does on AWS: a client under test gets an injected error only where it would have
	// been served, and can rely on nothing having happened.
	op := x.to.operation
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
