package wire

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// Format is the protocol of a request, and of its answer.
type Format uint8

const (
	JSON11    Format = iota // AWS JSON 1.1: application/x-amz-json-1.1
	JSON10                  // AWS JSON 1.0: application/x-amz-json-1.0
	CBOR11                  // AWS CBOR 1.1: application/x-amz-cbor-1.1
	RPCv2CBOR               // Smithy RPC v2 with CBOR: application/cbor, the operation in the path
	RESTJSON                // paths and methods, with bodies of JSON: AWS Lambda's
	QueryXML                // forms, answered in XML: IAM's
)

// JSON says whether bodies are JSON.
func (f Format) JSON() bool { return f <= JSON10 || f == RESTJSON }

// ContentType of an answer in that format.
func (f Format) ContentType() string {
	return [...]string{"application/x-amz-json-1.1", "application/x-amz-json-1.0", "application/x-amz-cbor-1.1", "application/cbor", "application/json", "text/xml"}[f]
}

// Service is one AWS service: its names on the wire and its operations.
type Service struct {
	Name    string // how we call it: "kinesis"
	Target  string // before the dot of X-Amz-Target, and in RPC v2's paths: "Kinesis_20131202"
	Signing string // its name in the credential scope: "kinesis"
	Ops     []*Operation
	// Formats are what its clients may speak beside Query and REST. Defaults to AWS JSON 1.1,
	// AWS CBOR 1.1 and RPC v2; to none if it has no Target.
	Formats []Format
	// MaxBody is the largest request body, packed or unpacked, in bytes. Defaults to that of
	// the [Options].
	MaxBody int64
	// Checksum puts x-amz-crc32 on answers: DynamoDB's clients look for it.
	Checksum bool
	// Query is the version that clients of the Query protocol send ("2010-05-08"); empty: it is
	// not spoken. Bodies are forms then, and answers XML in the namespace XML. What a request's
	// target or path has for another protocol is answered in that one.
	Query, XML string
	// Invalid is the code of what is said against members' values. Defaults to
	// ValidationException.
	Invalid string
	// Terse leaves values out of what is said against them, as IAM does.
	Terse bool
	// REST has operations with a Method and a Path, and errors in the shape of AWS Lambda's.
	// It is the service's only protocol. What AWS does not do: a request that names no
	// credentials at all is served, for the sake of curl.
	REST bool
}

// Operation is one operation of a service. It has Do, or Stream.
type Operation struct {
	Name string
	// Input is a structure: what AWS checks before it looks at anything else. Nil
	// has no members.
	Input *Shape
	// Decode may read input faster than the table does. It must take only what is
	// well-formed and valid in every respect; at ok = false the table reads the body,
	// and words what is wrong with it. The body may be kept until Do has returned, and
	// for good if Do returns an error of a context that has ended.
	Decode func(f Format, body []byte) (in any, ok bool)
	// Do answers with a struct (or a pointer to one) whose fields have json tags, or
	// with nil for an empty body; with a [Raw] or a pointer to one if the service is REST.
	// Errors that are no *Error become InternalFailure (ServiceException if it is REST), and
	// their text is only logged.
	Do func(ctx context.Context, c *Call) (any, error)
	// Stream answers with an event stream. open sends the head of the answer and the
	// event initial-response, and may be called once. Returning nil ends the stream in good
	// order; an error becomes an exception in it, or the whole answer if open was not
	// called.
	Stream func(ctx context.Context, c *Call, open func() (*Events, error)) error
	// Method and Path are a REST operation's: "PUT" and
	// "/2015-03-31/functions/{FunctionName}/code". A label fills the member of its name, and
	// {Resource+} one that may hold slashes. A query of constants ("?List=ALL") must be there.
	// A slash at a request's end makes no difference.
	Method, Path string
	// Status is that of an answer without error. Defaults to 200.
	Status int
	// MaxBody bounds the body of this REST operation. Defaults to the service's.
	MaxBody int64
}

// Place is where a REST operation's member travels.
type Place uint8

const (
	InBody   Place = iota // a member of the JSON body
	InPath                // a label of the path
	InQuery               // the query's Key; a list is several of them
	InHeader              // the header Key
	// InPayload is the body as a whole: a blob, not there if the body is empty. It is not to
	// be kept after Do has returned, unless Do returns an error of a context that has ended.
	InPayload
)

// Raw is an answer that a REST operation gives byte for byte.
type Raw struct {
	Status int // defaults to the operation's
	Header http.Header
	Body   []byte
}

// Call is one request.
type Call struct {
	Service         *Service
	Operation       *Operation
	Account, Region string // of the credentials, or as in Options
	RequestID       string
	Format          Format
	In              Values // what the table read; nil if Decode did
	Fast            any    // what Decode read
	Function        string // name of the calling function, or ""
	Session         string // the session token that came with the credentials, or ""
	Host            string // host:port that the client called, as it says
}

// Values are the members of a structure, or the entries of a map: string, []byte, int64,
// float64, bool, time.Time, []any and Values, as the shape says. What was null or is not in the
// shape is not in it.
type Values map[string]any

// Each getter gives the zero value for a member that is not there.

func (v Values) Has(name string) bool       { _, ok := v[name]; return ok }
func (v Values) String(name string) string  { s, _ := v[name].(string); return s }
func (v Values) Int(name string) int64      { n, _ := v[name].(int64); return n }
func (v Values) Float(name string) float64  { f, _ := v[name].(float64); return f }
func (v Values) Bool(name string) bool      { b, _ := v[name].(bool); return b }
func (v Values) Bytes(name string) []byte   { b, _ := v[name].([]byte); return b }
func (v Values) Time(name string) time.Time { t, _ := v[name].(time.Time); return t }
func (v Values) List(name string) []any     { l, _ := v[name].([]any); return l }
func (v Values) Map(name string) Values     { m, _ := v[name].(Values); return m }

// Strings is a list of strings.
func (v Values) Strings(name string) []string {
	var out []string
	for _, e := range v.List(name) {
		s, _ := e.(string)
		out = append(out, s)
	}
	return out
}

// Options shape a [Handler].
type Options struct {
	// Services are those that are answered here.
	Services []*Service
	// Upstream is the http(s) URL of another emulator that gets the requests of all
	// other services. Empty (the default) answers them with an error.
	Upstream string
	// Account and Region are those of requests whose credentials name none. They
	// default to 000000000000 and us-east-1.
	Account, Region string
	// Caller is the name of the function that has the connection from a remote address
	// (host:port), or "". Nil: it is what the credentials say.
	Caller func(address string) string
	// Faults are asked before each operation; nil has none.
	Faults *Faults
	// Logger gets what clients are not told. Defaults to slog's default.
	Logger *slog.Logger
	// Closing is closed by its owner when the server stops: event streams end then.
	// May be nil.
	Closing <-chan struct{}
	// MaxBody is the largest request body, packed or unpacked, in bytes, of services that
	// set none. Defaults to 16 MiB.
	MaxBody int64
	// MaxMemory is how many bytes large bodies and answers hold in memory, all together;
	// requests beyond it are answered with an error that is worth another try. Defaults
	// to 1 GiB.
	MaxMemory int64
}
