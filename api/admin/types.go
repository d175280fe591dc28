package admin

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// Duration is a time.Duration that reads and writes "3s", "24h" or "7d".
type Duration time.Duration

func (d Duration) String() string {
	s := time.Duration(d).String()
	for _, zero := range []string{"m0s", "h0m"} { // 24h0m0s reads as 24h
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

// MarshalText writes Go's form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what ParseDuration does.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Info describes a running server.
type Info struct {
	Version    string    `json:"version"`
	PID        int       `json:"pid"`
	Endpoint   string    `json:"endpoint"`
	DataDir    string    `json:"dataDir"` // empty with memory
	StateFile  string    `json:"stateFile"`
	Memory     bool      `json:"memory"`
	Durability string    `json:"durability"` // "disk" or "os"
	AllowReset bool      `json:"allowReset"`
	Used       int64     `json:"usedBytes"`
	Free       int64     `json:"freeBytes"` // until nothing can be written; -1: unknown
	Limit      int64     `json:"limitBytes,omitempty"`
	Warning    string    `json:"warning,omitempty"` // 80 % of the limit are reached, and what to do
	Started    time.Time `json:"started"`
	Missing    []string  `json:"missingProtections,omitempty"` // of functions' sandboxes, that this machine lacks
}

// Stream describes a stream.
type Stream struct {
	Name        string       `json:"name"`
	ARN         string       `json:"arn"`
	ID          string       `json:"id"`
	State       stream.State `json:"state"`
	Created     time.Time    `json:"created"`
	Retention   Duration     `json:"retention"`
	RecordBytes int          `json:"recordBytes"`
	ShardCount  int          `json:"shardCount"` // open ones
	Mode        stream.Mode  `json:"mode"`
	MaxBytes    int64        `json:"maxBytes,omitempty"` // the most Bytes may be; 0: no limit
	// The rest only of a single stream.
	Warning   string     `json:"warning,omitempty"` // 80 % of MaxBytes are reached, and what to do
	Records   uint64     `json:"records,omitempty"`
	Bytes     uint64     `json:"bytes,omitempty"`
	Shards    []Shard    `json:"shards,omitempty"`    // open ones, and closed ones that still hold records
	Consumers []Consumer `json:"consumers,omitempty"` // registered for enhanced fan-out
}

// Consumer is a registered consumer of a stream.
type Consumer struct {
	Name    string    `json:"name"`
	ARN     string    `json:"arn"`
	Created time.Time `json:"created"`
}

// Shard is a shard with what it holds.
type Shard struct {
	ID       string         `json:"id"`
	State    stream.State   `json:"state"`
	From     stream.HashKey `json:"from"`
	To       stream.HashKey `json:"to"`
	Parents  []string       `json:"parents,omitempty"`
	Records  uint64         `json:"records"`
	Bytes    uint64         `json:"bytes"`
	FirstNo  uint64         `json:"firstNumber"`
	NextNo   uint64         `json:"nextNumber"`
	Oldest   time.Time      `json:"oldest,omitzero"`
	Newest   time.Time      `json:"newest,omitzero"`
	KeyShare float64        `json:"keyShare"` // of all hash keys, 0 to 1
	Closed   time.Time      `json:"closed,omitzero"`
	// What came in during the last minute, a second; 0 of a shard that is not open.
	RecordRate float64 `json:"recordsPerSecond"`
	ByteRate   float64 `json:"bytesPerSecond"`
}

// StreamSpec asks for a stream.
type StreamSpec struct {
	Name        string      `json:"name"`
	Shards      int         `json:"shards,omitempty"`      // defaults to 1, on-demand to 4
	Retention   Duration    `json:"retention,omitzero"`    // defaults to 24h
	RecordBytes int         `json:"recordBytes,omitempty"` // defaults to 1 MiB
	MaxBytes    int64       `json:"maxBytes,omitempty"`    // the most it keeps; defaults to no limit
	Mode        stream.Mode `json:"mode,omitempty"`        // defaults to PROVISIONED
}

// StreamChange is what to change of a stream; nil leaves it as it is.
type StreamChange struct {
	Retention *Duration    `json:"retention,omitempty"`
	MaxBytes  *int64       `json:"maxBytes,omitempty"` // 0: no limit
	Mode      *stream.Mode `json:"mode,omitempty"`
}

// Entry is a record to be put: Text as it is, or Data in base64.
type Entry struct {
	Key         string `json:"key"`
	HashKey     string `json:"hashKey,omitempty"`
	Text        string `json:"text,omitempty"`
	Data        []byte `json:"data,omitempty"`
	TraceParent string `json:"traceParent,omitempty"`
}

// PutSpec asks to store records.
type PutSpec struct {
	Records []Entry `json:"records"`
}

// PutResult says where one record went, or why it did not.
type PutResult struct {
	Shard    string `json:"shard,omitempty"`
	Sequence string `json:"sequence,omitempty"`
	Error    *Error `json:"error,omitempty"`
}

// PutAnswer has a result for each record, in their order.
type PutAnswer struct {
	Failed  int         `json:"failed"`
	Results []PutResult `json:"results"`
}

// Record is a record as it lies in the stream. Data that is text comes as
// Text, anything else as Data in base64.
type Record struct {
	Shard       string    `json:"shard"`
	Sequence    string    `json:"sequence"`
	Number      uint64    `json:"number"`
	Key         string    `json:"key"`
	HashKey     string    `json:"hashKey,omitempty"`
	Arrival     time.Time `json:"arrival"`
	Text        *string   `json:"text,omitempty"`
	Data        []byte    `json:"data,omitempty"`
	TraceParent string    `json:"traceParent,omitempty"`
	OutputID    string    `json:"outputId,omitempty"` // of a record that a function emitted
}

// Payload is the record's data, however it travelled.
func (r *Record) Payload() []byte {
	if r.Text != nil {
		return []byte(*r.Text)
	}
	return r.Data
}

// TailLine is one line of a tail: exactly one field is set.
type TailLine struct {
	Record *Record `json:"record,omitempty"`
	// Gap: records of a shard were lost to retention before they could be read.
	Gap *Gap `json:"gap,omitempty"`
	// CaughtUp comes once, when everything stored has been sent; only with follow.
	CaughtUp bool `json:"caughtUp,omitempty"`
	// End is the last line, unless Error is.
	End   *End   `json:"end,omitempty"`
	Error *Error `json:"error,omitempty"`
}

// Gap counts lost records.
type Gap struct {
	Shard   string `json:"shard"`
	Records uint64 `json:"records"`
}

// End sums a tail up.
type End struct {
	Records uint64 `json:"records"`
	// More is true where the limit ended the tail, not the end of the stream.
	More bool `json:"more"`
}

// Function describes a function's version.
type Function struct {
	Name        string            `json:"name"`
	Version     string            `json:"version"`
	ARN         string            `json:"arn"`
	ID          string            `json:"id"`
	Revision    uint64            `json:"revision"`
	SHA256      string            `json:"sha256"`
	CodeBytes   int64             `json:"codeBytes"`
	ABI         functions.ABI     `json:"abi"`
	Timeout     Duration          `json:"timeout"`
	MemoryMB    int               `json:"memoryMB"`
	Environment map[string]string `json:"environment,omitempty"`
	Emits       []string          `json:"emits,omitempty"` // streams it may emit records to
	Allow       []string          `json:"allow,omitempty"` // places it may dial, as host:port patterns
	Description string            `json:"description,omitempty"`
	Modified    time.Time         `json:"modified"`
	// Isolation says what a call shares with those before it: environment or invocation.
	Isolation functions.Isolation `json:"isolation"`
	// Concurrency is how many calls may run at once, kept free for it; nil: no such limit.
	Concurrency *int `json:"concurrency,omitempty"`
	// Versions are the published ones, oldest first; only of a single function.
	Versions []string `json:"versions,omitempty"`
	// State is Active, Pending while the code is being compiled, or Failed; Update is how
	// the last change came out: Successful, InProgress or Failed, after which the code from
	// before goes on running.
	State        functions.State       `json:"state,omitempty"`
	Reason       string                `json:"reason,omitempty"`
	Update       functions.UpdateState `json:"update,omitempty"`
	UpdateReason string                `json:"updateReason,omitempty"`
	Aliases      []Alias               `json:"aliases,omitempty"` // by name; only of a single function
	Tags         map[string]string     `json:"tags,omitempty"`    // as above
}

// FunctionSpec asks for settings; what is nil stays as it is or takes its default.
type FunctionSpec struct {
	Timeout     *Duration `json:"timeout,omitempty"`
	MemoryMB    *int      `json:"memoryMB,omitempty"`
	Environment *EnvSpec  `json:"environment,omitempty"`
	Emits       *[]string `json:"emits,omitempty"` // all of them; none: it may emit nothing
	Description *string   `json:"description,omitempty"`
	Allow       *[]string `json:"allow,omitempty"` // all of them; none: it may dial nothing but this server
	// Isolation is environment or invocation.
	Isolation *functions.Isolation `json:"isolation,omitempty"`
	// Concurrency is how many calls may run at once, kept free for it; 0: none; NoConcurrency: no such limit.
	Concurrency *int `json:"concurrency,omitempty"`
}

// NoConcurrency in a [FunctionSpec] takes a function's limit away.
const NoConcurrency = -1

// EnvSpec is a function's whole environment.
type EnvSpec map[string]string

// zeros is as of [TriggerSpec].
func (s FunctionSpec) zeros() error {
	switch {
	case s.Timeout != nil && *s.Timeout == 0:
		return newError(CodeFunctionInvalid, "timeout 0: want whole seconds, %s to %s", Duration(functions.MinTimeout), Duration(functions.MaxTimeout)).With("field", "timeout")
	case s.MemoryMB != nil && *s.MemoryMB == 0:
		return newError(CodeFunctionInvalid, "memory 0 MB: want %d to %d", functions.MinMemory, functions.MaxMemory).With("field", "memoryMB")
	}
	return nil
}

func (s FunctionSpec) apply(c *functions.Config) {
	if s.Timeout != nil {
		c.Timeout = time.Duration(*s.Timeout)
	}
	if s.MemoryMB != nil {
		c.Memory = *s.MemoryMB
	}
	if s.Environment != nil {
		c.Environment = *s.Environment
	}
	if s.Emits != nil {
		c.Emits = *s.Emits
	}
	if s.Description != nil {
		c.Description = *s.Description
	}
	if s.Allow != nil {
		c.Allow = *s.Allow
	}
	if s.Isolation != nil {
		c.Isolation = *s.Isolation
	}
	if s.Concurrency != nil {
		if c.Concurrency = s.Concurrency; *s.Concurrency == NoConcurrency {
			c.Concurrency = nil
		}
	}
}

// DeployLine is one line of a deployment: progress, then a result or an error.
type DeployLine struct {
	Progress *Progress `json:"progress,omitempty"`
	Function *Function `json:"function,omitempty"`
	Warnings []string  `json:"warnings,omitempty"`
	Error    *Error    `json:"error,omitempty"`
}

// Progress of a deployment; Total 0: unknown.
type Progress struct {
	Stage string `json:"stage"`
	Done  int64  `json:"done"`
	Total int64  `json:"total"`
}

// PublishSpec asks for a version.
type PublishSpec struct {
	Description string `json:"description,omitempty"`
}

// Invocation is what came of an invocation.
type Invocation struct {
	ID       string          `json:"id"`
	Function string          `json:"function"`
	Version  string          `json:"version"`
	Outcome  string          `json:"outcome"`            // done, partial, error, timeout, throttled or infra
	Response json.RawMessage `json:"response,omitempty"` // what the function returned
	// ErrorType and ErrorMessage are set when it did not return.
	ErrorType    string          `json:"errorType,omitempty"`
	ErrorMessage string          `json:"errorMessage,omitempty"`
	StackTrace   json.RawMessage `json:"stackTrace,omitempty"`
	DurationMS   float64         `json:"durationMs"`
	InitMS       float64         `json:"initMs,omitempty"`
	MaxMemory    int64           `json:"maxMemoryBytes"`
	Log          string          `json:"log,omitempty"` // its last 4 KB
	// Emits are the records that the response would emit if it were that of a
	// trigger's batch; an invocation emits nothing. EmitProblem says why such a
	// batch would have failed instead, EmitIgnored how much it lists under "emit"
	// that is taken for another thing of that name.
	Emits       []Emit `json:"emits,omitempty"`
	EmitProblem string `json:"emitProblem,omitempty"`
	EmitIgnored int    `json:"emitIgnored,omitempty"`
}

// Emit is a record that a function gives out.
type Emit struct {
	Stream       string `json:"stream"`
	PartitionKey string `json:"partitionKey"`
	Data         []byte `json:"data"`
}

// LogLine is one line a function wrote, or one of START, END and REPORT.
type LogLine struct {
	Time      time.Time `json:"time"`
	RequestID string    `json:"requestId,omitempty"`
	Line      string    `json:"line"`
}

// LogStreamLine is one line of a log that is followed; exactly one field is set.
type LogStreamLine struct {
	Log   *LogLine `json:"log,omitempty"`
	End   *End     `json:"end,omitempty"`
	Error *Error   `json:"error,omitempty"`
}

// Trigger describes a trigger.
type Trigger struct {
	Name           string   `json:"name"`
	ID             string   `json:"id"`
	Generation     int      `json:"generation"`
	Stream         string   `json:"stream"`
	StreamARN      string   `json:"streamArn"`
	Function       string   `json:"function"`
	Qualifier      string   `json:"qualifier,omitempty"`
	From           string   `json:"from"`
	BatchSize      int      `json:"batchSize"`
	Window         Duration `json:"window"`
	Parallel       int      `json:"parallel"`
	Retries        int      `json:"retries"`   // -1: for ever
	RecordAge      Duration `json:"recordAge"` // 0: no limit
	Bisect         bool     `json:"bisect"`
	PartialReplies bool     `json:"partialReplies"`
	Backoff        Duration `json:"backoff"`
	SkipCorrupt    bool     `json:"skipCorrupt"`
	Deaggregate    bool     `json:"deaggregate"`
	// Filters are patterns of which one has to match a record; empty: all records go to the function.
	Filters       []string `json:"filters,omitempty"`
	StrictFilters bool     `json:"strictFilters,omitempty"`
	// TumblingWindow is 0 without one.
	TumblingWindow Duration `json:"tumblingWindow,omitempty"`
	// OnFailure is where notices of discarded batches go; OnDestinationFailure is drop if one that
	// cannot be delivered is dropped.
	OnFailure            string            `json:"onFailure,omitempty"`
	OnDestinationFailure string            `json:"onDestinationFailure,omitempty"`
	Tags                 map[string]string `json:"tags,omitempty"` // given over AWS's API
	Enabled              bool              `json:"enabled"`
	State                triggers.State    `json:"state"`
	Created              time.Time         `json:"created"`
	Modified             time.Time         `json:"modified"`
	// Problem is why the trigger does not run at all, and what to do.
	Problem string `json:"problem,omitempty"`
	// Trouble is what keeps it from its work though it runs, and what to do: its function is gone, its
	// filters can match nothing, or the final invocation of a window fails.
	Trouble string `json:"trouble,omitempty"`
	// Outputs says what keeps what the function has emitted from its streams.
	Outputs string `json:"outputs,omitempty"`
	// LastResult is how the last batch came out, in AWS's words; only of a single trigger.
	LastResult string `json:"lastResult,omitempty"`
	// Shards only of a single trigger.
	Shards []ShardProgress `json:"shards,omitempty"`
}

// ShardProgress is where a trigger stands in one shard.
type ShardProgress struct {
	Shard string `json:"shard"`
	// Position is the sequence number of the lowest record that is not resolved; empty: there is none.
	Position string `json:"position,omitempty"`
	// Explain says where it stands and what it waits for, in sentences, most important first.
	Explain []string `json:"explain,omitempty"`
	// Next is the running number of the lowest record that is not resolved,
	// End the one the next record to arrive will get.
	Next uint64 `json:"next"`
	End  uint64 `json:"end"`
	// Lag counts records stored and not resolved, LagAge is the age of the oldest of them.
	Lag      uint64   `json:"lag"`
	LagAge   Duration `json:"lagAge"`
	InFlight int      `json:"inFlight"` // invocations
	// Redriving counts dead letters that are under way again. WaitsFor says why
	// nothing new is started, if nothing is.
	Redriving int    `json:"redriving,omitempty"`
	WaitsFor  string `json:"waitsFor,omitempty"`
	// Waiting counts units in back-off; RetryAt is when the first goes again.
	Waiting     int       `json:"waiting,omitempty"`
	RetryAt     time.Time `json:"retryAt,omitzero"`
	Attempts    int       `json:"attempts,omitempty"` // the most any open unit has had
	LastOutcome string    `json:"lastOutcome,omitempty"`
	LastError   string    `json:"lastError,omitempty"`
	Done        uint64    `json:"done"`   // records resolved by success, ever
	Buried      uint64    `json:"buried"` // dead-lettered, ever
	Gaps        uint64    `json:"gaps"`   // lost to retention or damage, ever
	// Filtered were let through by no filter, since the server was started.
	Filtered uint64 `json:"filtered,omitempty"`
	// Window is the tumbling window that is open; nil: none.
	Window  *TriggerWindow `json:"window,omitempty"`
	Ended   bool           `json:"ended,omitempty"`
	Problem string         `json:"problem,omitempty"` // why the shard has stopped
}

// TriggerWindow is a tumbling window of a shard that is open.
type TriggerWindow struct {
	Start      time.Time `json:"start"`
	End        time.Time `json:"end"` // exclusive
	StateBytes int       `json:"stateBytes"`
	// Closing: its records are done, and its final invocation is what is left. Early: it ends before its time.
	Closing bool `json:"closing,omitempty"`
	Early   bool `json:"early,omitempty"`
	// Attempts of the final invocation that failed, how the last one did, and when it is tried again.
	Attempts  int       `json:"attempts,omitempty"`
	LastError string    `json:"lastError,omitempty"`
	RetryAt   time.Time `json:"retryAt,omitzero"`
}

// TriggerSpec asks for a trigger's settings; what is nil stays as it is or takes its default.
type TriggerSpec struct {
	// Name, Stream and From only when it is made; From as [ParseFrom] reads it.
	Name   string `json:"name,omitempty"`
	Stream string `json:"stream,omitempty"`
	From   string `json:"from,omitempty"`
	Paused bool   `json:"paused,omitempty"`

	Function       *string   `json:"function,omitempty"`
	Qualifier      *string   `json:"qualifier,omitempty"`
	BatchSize      *int      `json:"batchSize,omitempty"`
	Window         *Duration `json:"window,omitempty"`
	Parallel       *int      `json:"parallel,omitempty"`
	Retries        *int      `json:"retries,omitempty"`
	RecordAge      *Duration `json:"recordAge,omitempty"`
	Bisect         *bool     `json:"bisect,omitempty"`
	PartialReplies *bool     `json:"partialReplies,omitempty"`
	Backoff        *Duration `json:"backoff,omitempty"`
	SkipCorrupt    *bool     `json:"skipCorrupt,omitempty"`
	Deaggregate    *bool     `json:"deaggregate,omitempty"`
	// Filters are all there are to be; an empty list takes them away, as empty texts do below.
	Filters              *[]string `json:"filters,omitempty"`
	StrictFilters        *bool     `json:"strictFilters,omitempty"`
	TumblingWindow       *Duration `json:"tumblingWindow,omitempty"`
	OnFailure            *string   `json:"onFailure,omitempty"`
	OnDestinationFailure *string   `json:"onDestinationFailure,omitempty"`
}

// zeros says which settings are zero that have no such value. Only the word that
// was not said takes its default.
func (s TriggerSpec) zeros() error {
	bad := func(field, name, want string) error {
		return newError(CodeTriggerInvalid, "%s 0: want %s", name, want).With("field", field)
	}
	switch {
	case s.BatchSize != nil && *s.BatchSize == 0:
		return bad("batchSize", "batch size", fmt.Sprintf("1 to %d", triggers.MaxBatchSize))
	case s.Parallel != nil && *s.Parallel == 0:
		return bad("parallel", "parallel batches per shard", fmt.Sprintf("1 to %d", triggers.MaxParallel))
	case s.Backoff != nil && *s.Backoff == 0:
		return bad("backoff", "back-off", fmt.Sprintf("1ms to %s", Duration(triggers.MaxBackoff)))
	}
	return nil
}

func (s TriggerSpec) apply(c *triggers.Config) {
	set(&c.Function, s.Function)
	set(&c.Qualifier, s.Qualifier)
	set(&c.BatchSize, s.BatchSize)
	set(&c.Parallel, s.Parallel)
	set(&c.Bisect, s.Bisect)
	set(&c.PartialReplies, s.PartialReplies)
	set(&c.SkipCorrupt, s.SkipCorrupt)
	set(&c.Deaggregate, s.Deaggregate)
	set(&c.Filters, s.Filters)
	set(&c.StrictFilters, s.StrictFilters)
	set(&c.Tumbling, (*time.Duration)(s.TumblingWindow))
	set(&c.OnFailure, s.OnFailure)
	set(&c.OnDestinationFailure, s.OnDestinationFailure)
	set(&c.Window, (*time.Duration)(s.Window))
	set(&c.RecordAge, (*time.Duration)(s.RecordAge))
	set(&c.Backoff, (*time.Duration)(s.Backoff))
	if s.Retries != nil {
		n := *s.Retries
		c.Retries = &n
	}
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// Letter is a dead letter. Its record's data comes as Text where it is text,
// in base64 otherwise, and only of a single letter.
type Letter struct {
	ID              string     `json:"id"`
	Trigger         string     `json:"trigger"`
	Mapping         string     `json:"mapping"`
	Generation      int        `json:"generation"`
	Stream          string     `json:"stream"`
	StreamID        string     `json:"streamId"`
	Shard           string     `json:"shard"`
	Sequence        string     `json:"sequence"`
	Number          uint64     `json:"number"`
	Key             string     `json:"key"`
	HashKey         string     `json:"hashKey,omitempty"`
	Arrival         time.Time  `json:"arrival"`
	TraceParent     string     `json:"traceParent,omitempty"`
	Reason          dlq.Reason `json:"reason"`
	ErrorType       string     `json:"errorType,omitempty"`
	ErrorMessage    string     `json:"errorMessage,omitempty"`
	Attempts        int        `json:"attempts"`
	FirstFailure    time.Time  `json:"firstFailure,omitzero"`
	Buried          time.Time  `json:"buried"`
	Burial          int        `json:"burial"`
	Kind            dlq.Kind   `json:"kind,omitempty"` // "output": a record that a function emitted
	Redriving       bool       `json:"redriving,omitempty"`
	Function        string     `json:"function"`
	Version         string     `json:"version"`
	Digest          string     `json:"digest"`
	BatchInvocation string     `json:"batchInvocation,omitempty"`
	BatchPosition   int        `json:"batchPosition"`
	BatchSize       int        `json:"batchSize"`
	Text            *string    `json:"text,omitempty"`
	Data            []byte     `json:"data,omitempty"`
}

// Payload is the record's data, however it travelled.
func (l *Letter) Payload() []byte {
	if l.Text != nil {
		return []byte(*l.Text)
	}
	return l.Data
}

// text returns data as text where JSON carries it unharmed.
func text(data []byte) *string {
	if !utf8.Valid(data) {
		return nil
	}
	s := string(data)
	return &s
}

// StreamName is the name in a stream's ARN, or the text itself.
func StreamName(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// ParseFrom reads a place in a stream: trim-horizon, latest, a time
// ([ParseTime]), at:SEQUENCE or after:SEQUENCE.
func ParseFrom(text string, now time.Time) (stream.Position, error) {
	switch low := strings.ToLower(strings.ReplaceAll(text, "_", "-")); {
	case low == "trim-horizon":
		return stream.Position{Kind: stream.TrimHorizon}, nil
	case low == "latest":
		return stream.Position{Kind: stream.Latest}, nil
	case len(low) > 40 && strings.Trim(low, "0123456789") == "":
		return ParseFrom("at:"+low, now)
	case strings.HasPrefix(low, "at:"), strings.HasPrefix(low, "after:"):
		word, number, _ := strings.Cut(low, ":")
		seq, err := stream.ParseSequence(number)
		if err != nil {
			return stream.Position{}, fmt.Errorf("%q: %w", text, err)
		}
		kind := stream.At
		if word == "after" {
			kind = stream.After
		}
		return stream.Position{Kind: kind, Sequence: seq}, nil
	}
	if text != "" && strings.Trim(text, "0123456789") == "" {
		return stream.Position{}, fmt.Errorf("%q is no sequence number, which has 56 digits; a time in Unix seconds is @%s", text, text)
	}
	t, err := ParseTime(text, now)
	if d, e := ParseDuration(text); err != nil && e == nil && d > 0 {
		return stream.Position{}, fmt.Errorf("%q is no place in a stream; did you mean -%s, that long ago?", text, text)
	}
	if strings.EqualFold(text, "now") {
		return stream.Position{}, fmt.Errorf("%q is no place in a stream; did you mean latest?", text)
	}
	if err != nil {
		return stream.Position{}, fmt.Errorf("%q is no place in a stream: want trim-horizon, latest, a time (2026-01-02T15:04:05Z, -15m, @1767366245), at:SEQUENCE or after:SEQUENCE", text)
	}
	return stream.Position{Kind: stream.AtTimestamp, Time: t}, nil
}

// formatFrom is the reverse.
func formatFrom(p stream.Position) string {
	switch p.Kind {
	case stream.AtTimestamp:
		return p.Time.UTC().Format(time.RFC3339Nano)
	case stream.At:
		return "at:" + p.Sequence.String()
	case stream.After:
		return "after:" + p.Sequence.String()
	}
	return strings.ToLower(strings.ReplaceAll(string(p.Kind), "_", "-"))
}

// ParseTime reads a time: RFC 3339, -15m (that long before now) or @1767366245 (Unix seconds, with a fraction if need be).
func ParseTime(text string, now time.Time) (time.Time, error) {
	if back, ok := strings.CutPrefix(text, "-"); ok {
		d, err := ParseDuration(back)
		if err != nil {
			return time.Time{}, err
		}
		return now.Add(-d), nil
	}
	if epoch, ok := strings.CutPrefix(text, "@"); ok {
		d, err := time.ParseDuration(epoch + "s") // exact, unlike a float
		if err != nil || strings.ContainsAny(epoch, "hmsuµn+-") {
			return time.Time{}, fmt.Errorf("%q is not @ and Unix seconds", text)
		}
		return time.Unix(0, 0).Add(d), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no time: want 2026-01-02T15:04:05Z, -15m or @1767366245", text)
	}
	return t, nil
}

// ParseDuration reads Go's durations, and days: "500ms", "1h30m", "7d".
func ParseDuration(text string) (time.Duration, error) {
	rest, days := text, time.Duration(0)
	if d, after, ok := strings.Cut(text, "d"); ok {
		var n int
		if _, err := fmt.Sscanf(d+"!", "%d!", &n); err != nil || n < 0 || n > 36500 {
			return 0, fmt.Errorf("%q is no duration: want 500ms, 30s, 15m, 24h or 7d", text)
		}
		rest, days = after, time.Duration(n)*24*time.Hour
		if rest == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration: want 500ms, 30s, 15m, 24h or 7d", text)
	}
	return days + d, nil
}
