// Package admin is wasmill's own wire: a small, versioned HTTP API under
// /_wasmill/v1, which stays as it is, and the Go client of it that the command
// line uses.
//
// # Shape
//
// Requests and answers are JSON; unknown fields are refused. Whatever lasts or
// has no end (records of a stream, logs, the progress of a deployment) is
// NDJSON, one object a line. Durations are Go's ("3s", "24h"), times RFC 3339.
// Every failure is one [Error], with a stable code of [Codes].
//
//	GET    /_wasmill/v1/info
//	GET    /_wasmill/v1/streams                        POST to create
//	GET    /_wasmill/v1/streams/{name}                 PATCH, DELETE: ?force
//	POST   /_wasmill/v1/streams/{name}/records         GET: ?from&shard&follow&limit
//	POST   /_wasmill/v1/streams/{name}/split|merge|scale
//	GET    /_wasmill/v1/functions
//	POST   /_wasmill/v1/functions/{name}               the module is the body; GET, DELETE
//	PUT    /_wasmill/v1/functions/{name}/code          the module is the body
//	PATCH  /_wasmill/v1/functions/{name}/config
//	GET    /_wasmill/v1/functions/{name}/versions      POST to publish
//	POST   /_wasmill/v1/functions/{name}/invocations   the payload is the body
//	GET    /_wasmill/v1/functions/{name}/logs          ?follow&tail
//	GET    /_wasmill/v1/triggers                       POST to create
//	GET    /_wasmill/v1/triggers/{name}                by name or UUID; PATCH, DELETE
//	POST   /_wasmill/v1/triggers/{name}/pause|resume|wait|seek|redrive
//	GET    /_wasmill/v1/destinations                   ?name: whether a trigger may have it as on-failure
//	GET    /_wasmill/v1/dead-letters                   DELETE to purge: ?trigger&stream&reason&error&since&before&id|all
//	GET    /_wasmill/v1/dead-letters/{id}
//	POST   /_wasmill/v1/dead-letters/{id}/replay       a module may be the body
//	GET    /_wasmill/v1/faults                         POST to add
//	DELETE /_wasmill/v1/faults/{id}
//	POST   /_wasmill/v1/shutdown
//	GET    /_wasmill/health, /_localstack/health, /_wasmill/metrics
//	POST   /_wasmill/reset
//
// The package decides nothing about streams, functions or triggers: it takes
// calls apart, asks [Deps], and puts answers together.
package admin

import (
	"context"
	"iter"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// Streams is what the API asks of the streams.
type Streams interface {
	Create(ctx context.Context, ref stream.Ref, c stream.Config) (stream.Description, error)
	// Update changes retention and MaxBytes.
	Update(ctx context.Context, ref stream.Ref, change func(*stream.Config)) (stream.Description, error)
	Delete(ctx context.Context, ref stream.Ref) error
	List(ctx context.Context) ([]stream.Description, error)
	Describe(ctx context.Context, ref stream.Ref) (stream.Description, error)
	Put(ctx context.Context, ref stream.Ref, entries []stream.Entry) ([]stream.PutResult, error)
	Read(ctx context.Context, ref stream.Ref, shard string, pos stream.Position, limit int) (Page, error)
	Wait(ctx context.Context, ref stream.Ref, shard string) (<-chan struct{}, func(), error)
	Stats(ctx context.Context, ref stream.Ref) ([]ShardStats, error)
	Resharder
}

// Page is some records of a shard, and where to go on.
type Page struct {
	Records []stream.Record
	Next    stream.Position
	Ended   bool   // the shard is closed and read to its end
	Gap     uint64 // records lost to retention before the first of Records
}

// ShardStats is how much a shard holds.
type ShardStats struct {
	Shard          string
	Records, Bytes uint64
	First, Next    uint64 // running numbers
	Oldest, Newest time.Time
	// RecordRate and ByteRate are what came in during the last minute, a second.
	RecordRate, ByteRate float64
}

// Functions is what the API asks of the registry.
type Functions interface {
	Create(ctx context.Context, name string, code []byte, c functions.Config, progress func(runtime.Progress)) (functions.Version, []string, error)
	UpdateCode(ctx context.Context, name string, code []byte, progress func(runtime.Progress)) (functions.Version, []string, error)
	UpdateConfig(ctx context.Context, name, revisionID string, edit func(*functions.Config) error) (functions.Version, []string, error)
	Publish(ctx context.Context, name string, p functions.Publication) (functions.Version, error)
	Attributes(ctx context.Context, name string) (functions.Attributes, error)
	SetAttributes(ctx context.Context, name string, edit func(*functions.Attributes) error) (functions.Attributes, error)
	// Resolve finds a version by its number or an alias, whose main version it is.
	Resolve(ctx context.Context, name, qualifier string) (functions.Version, error)
	Versions(ctx context.Context, name string) ([]functions.Version, error)
	List(ctx context.Context) ([]functions.Version, error)
	Code(ctx context.Context, sha256 string) ([]byte, error)
	Delete(ctx context.Context, name string) error
}

// Logs is what functions have written.
type Logs interface {
	// Tail gives the last n lines.
	Tail(function string, n int) iter.Seq[LogLine]
	// Follow sends the last n lines and every one after them; the channel
	// closes when ctx ends.
	Follow(ctx context.Context, function string, n int) <-chan LogLine
}

// Triggers is what the API asks of the triggers.
type Triggers interface {
	Create(ctx context.Context, name string, c triggers.Config, enabled bool) (triggers.Mapping, error)
	Update(ctx context.Context, name string, change func(*triggers.Config)) (triggers.Mapping, error)
	Pause(ctx context.Context, name string) (triggers.Mapping, error)
	Resume(ctx context.Context, name string) (triggers.Mapping, error)
	Delete(ctx context.Context, name string) error
	Get(ctx context.Context, name string) (triggers.Mapping, error)
	List(ctx context.Context) ([]triggers.Mapping, error)
	Status(ctx context.Context, name string) (TriggerStatus, error)
	WaitDrained(ctx context.Context, name string) error
	// Find finds a trigger by its UUID.
	Find(ctx context.Context, id string) (triggers.Mapping, error)
	// Trouble says what keeps a mapping from its work though it runs, or nothing.
	Trouble(ctx context.Context, m triggers.Mapping) string
	// CheckDestination says whether a trigger may have that destination now.
	CheckDestination(ctx context.Context, destination string) error
	// OutputProblem says what keeps outputs of a mapping from their streams, or nothing.
	OutputProblem(mapping string) string
	// Redrive reports from one goroutine at a time.
	Redrive(ctx context.Context, name string, letters []dlq.Letter, rate float64, report func(Redriven)) error
	Seek(ctx context.Context, name string, to stream.Position, dry bool) (triggers.Mapping, []SeekShard, error)
}

// TriggerStatus is where a trigger stands.
type TriggerStatus struct {
	Problem string // why it does not run at all, and what to do
	Outputs string // what keeps what the function has emitted from its streams
	// LastResult is how the last batch came out, in AWS's words.
	LastResult string
	Shards     []ShardProgress
}

// Letters is what the API asks of the dead-letter queue.
type Letters interface {
	// List returns letters without their data, oldest first.
	List(ctx context.Context, f LetterFilter) ([]dlq.Letter, error)
	Get(ctx context.Context, id string) (dlq.Letter, error)
	Purge(ctx context.Context, f LetterFilter) (int, error)
}

// LetterFilter picks dead letters; empty fields pick all.
type LetterFilter struct {
	ID, Trigger, Stream string
	Reason              dlq.Reason
	Error               string    // is part of the error's type or message
	Since, Before       time.Time // of the burial
	Limit               int       // list only the newest so many; 0: all
}

// Deps is what the API stands on. All but Logs, Faults, StreamWarning, Metrics, Healthy, NoRoom, Hosts and Shutdown are required.
type Deps struct {
	Streams   Streams
	Functions Functions
	Invoker   runtime.Invoker
	Logs      Logs
	Triggers  Triggers
	Letters   Letters
	Replayer  Replayer
	// Faults are those of AWS's face. Defaults to some that nobody asks.
	Faults *wire.Faults
	// StreamWarning says what is wrong with a stream, or nothing; may be nil.
	StreamWarning func(ref stream.Ref) string
	// Metrics answers /_wasmill/metrics.
	Metrics http.Handler
	// Healthy says why the server cannot serve, or nil.
	Healthy func(ctx context.Context) error
	// NoRoom says of an error of the parts that the store cannot write now.
	NoRoom func(error) bool
	// Info describes the server.
	Info func() Info
	// Services are the AWS services answered on AWS's own wire ("kinesis", …),
	// as /_localstack/health lists them. A service is there only if its calls are.
	Services []string
	// Hosts are the names by which the API may be called. The zero value takes
	// those of this machine.
	Hosts Hosts
	// AllowReset opens POST /_wasmill/reset.
	AllowReset bool
	// Shutdown asks the server to stop; it returns at once.
	Shutdown func()
	// Closing is closed when answers without an end must end.
	Closing <-chan struct{}
	Logger  *slog.Logger
}

// Prefix is where the API begins.
const Prefix = "/_wasmill/v1"

const (
	pathHealth           = "/_wasmill/health"
	pathLocalstackHealth = "/_localstack/health"
)

// Limits of requests, in bytes.
const (
	maxJSON    = 1 << 20
	maxPut     = 64 << 20 // 10 MiB of data, escaped at worst sixfold
	maxPayload = triggers.MaxPayload
)

type handler struct {
	Deps
	guard *http.CrossOriginProtection
}

// New returns the API's handler. It also answers for paths nobody serves.
func New(d Deps) http.Handler {
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.Faults == nil {
		d.Faults = new(wire.Faults)
	}
	h := &handler{Deps: d, guard: http.NewCrossOriginProtection()}
	mux := http.NewServeMux()
	route := func(method, path string, f func(w http.ResponseWriter, r *http.Request) error) {
		mux.HandleFunc(method+" "+path, func(w http.ResponseWriter, r *http.Request) {
			if err := f(w, r); err != nil {
				h.fail(w, r, err)
			}
		})
	}
	route("GET", Prefix+"/info", h.info)
	route("POST", Prefix+"/shutdown", h.shutdown)

	route("GET", Prefix+"/streams", h.listStreams)
	route("POST", Prefix+"/streams", h.createStream)
	route("GET", Prefix+"/streams/{name}", h.getStream)
	route("PATCH", Prefix+"/streams/{name}", h.updateStream)
	route("DELETE", Prefix+"/streams/{name}", h.deleteStream)
	route("POST", Prefix+"/streams/{name}/records", h.putRecords)
	route("GET", Prefix+"/streams/{name}/records", h.tailRecords)
	route("POST", Prefix+"/streams/{name}/split", h.splitShard)
	route("POST", Prefix+"/streams/{name}/merge", h.mergeShards)
	route("POST", Prefix+"/streams/{name}/scale", h.scaleStream)

	route("GET", Prefix+"/functions", h.listFunctions)
	route("GET", Prefix+"/functions/{name}", h.getFunction)
	route("POST", Prefix+"/functions/{name}", h.createFunction)
	route("DELETE", Prefix+"/functions/{name}", h.deleteFunction)
	route("GET", Prefix+"/functions/{name}/code", h.getCode)
	route("PUT", Prefix+"/functions/{name}/code", h.updateCode)
	route("PATCH", Prefix+"/functions/{name}/config", h.updateConfig)
	route("GET", Prefix+"/functions/{name}/versions", h.listVersions)
	route("POST", Prefix+"/functions/{name}/versions", h.publish)
	route("GET", Prefix+"/functions/{name}/aliases", h.listAliases)
	route("PUT", Prefix+"/functions/{name}/aliases/{alias}", h.setAlias)
	route("DELETE", Prefix+"/functions/{name}/aliases/{alias}", h.deleteAlias)
	route("POST", Prefix+"/functions/{name}/invocations", h.invoke)
	route("GET", Prefix+"/functions/{name}/logs", h.functionLogs)

	route("GET", Prefix+"/triggers", h.listTriggers)
	route("POST", Prefix+"/triggers", h.createTrigger)
	route("GET", Prefix+"/triggers/{name}", h.getTrigger)
	route("PATCH", Prefix+"/triggers/{name}", h.updateTrigger)
	route("DELETE", Prefix+"/triggers/{name}", h.deleteTrigger)
	route("POST", Prefix+"/triggers/{name}/pause", h.pauseTrigger)
	route("POST", Prefix+"/triggers/{name}/resume", h.resumeTrigger)
	route("POST", Prefix+"/triggers/{name}/wait", h.waitTrigger)
	route("POST", Prefix+"/triggers/{name}/seek", h.seekTrigger)
	route("POST", Prefix+"/triggers/{name}/redrive", h.redrive)

	route("GET", Prefix+"/destinations", h.checkDestination)

	route("GET", Prefix+"/dead-letters", h.listLetters)
	route("DELETE", Prefix+"/dead-letters", h.purgeLetters)
	route("GET", Prefix+"/dead-letters/{id}", h.getLetter)
	route("POST", Prefix+"/dead-letters/{id}/replay", h.replayLetter)

	route("GET", Prefix+"/faults", h.listFaults)
	route("POST", Prefix+"/faults", h.addFault)
	route("DELETE", Prefix+"/faults/{id}", h.removeFault)

	route("GET", pathHealth, h.health)
	route("GET", pathLocalstackHealth, h.localstackHealth)
	route("POST", "/_wasmill/reset", h.reset)
	if d.Metrics != nil {
		mux.Handle("GET /_wasmill/metrics", d.Metrics)
	}
	route("", "/", h.nothingHere)
	return h.guarded(mux)
}

// ForFunctions returns what answers in place of the API to functions: it may not be
// theirs, and only whether the server is healthy may be asked.
func ForFunctions(d Deps) http.Handler {
	h := &handler{Deps: d, guard: http.NewCrossOriginProtection()}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathHealth, func(w http.ResponseWriter, r *http.Request) {
		if err := h.health(w, r); err != nil {
			h.fail(w, r, err)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.fail(w, r, newError(CodeForPeople, "%s %s: functions may not call this", r.Method, r.URL.Path))
	})
	return h.guarded(mux)
}

// caught turns a panic into an answer and a line of the log; the server goes on.
func (h *handler) caught(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	h.Logger.Error("admin: panic", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	h.fail(w, r, newError(CodeInternal, "a bug of wasmill: %v", p))
}

func (h *handler) nothingHere(w http.ResponseWriter, r *http.Request) error {
	err := newError(CodeNoSuchPath, "%s %s: nothing is served here", r.Method, r.URL.Path)
	err.Details = map[string]any{"method": r.Method, "path": r.URL.Path}
	return err
}
