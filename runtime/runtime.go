// Package runtime holds the words of running a function: the invocation, its
// closed set of outcomes, and the contract between the pool and whatever runs
// code.
//
// An [Environment] is WASM today and need not be: the contract asks only that
// it takes one [Invocation] at a time, answers with a [Result], and says
// whether it can be used again.
package runtime

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/wasmill/wasmill/functions"
)

// Outcome is how an invocation ended. The set is closed.
type Outcome uint8

const (
	// Done: the function returned, and reported no failed item.
	Done Outcome = iota
	// Partial: the function returned and named items that failed.
	Partial
	// FunctionError: the function returned an error, trapped, exited, or
	// answered what cannot be understood. Counts as an attempt.
	FunctionError
	// Timeout: the function did not return before its deadline. Counts as an attempt.
	Timeout
	// Throttled: no environment was free. The function saw nothing.
	Throttled
	// Infrastructure: wasmill failed, not the function. Costs no attempt.
	Infrastructure
)

func (o Outcome) String() string {
	return [...]string{"done", "partial", "error", "timeout", "throttled", "infra"}[o]
}

// Attempted says whether an outcome uses up one attempt of a batch. It is the
// only place that knows (AWS Lambda: throttles and service errors that never
// reached the function do not count; partial replies do unless the
// checkpoint moved, which the shard's machine knows).
func Attempted(o Outcome) bool { return o == FunctionError || o == Timeout || o == Partial }

// Record is one record of a batch as the function sees it.
type Record struct {
	Sequence     string // decimal sequence number; of a queue's message its id
	PartitionKey string // of a stream's record
	Data         []byte // of a message the body, of a change its JSON, see [Change]
	Arrival      int64  // Unix milliseconds
	TraceParent  string // of the producer's span, or empty; not shown to the function

	Message *Message // with KindSQS, else nil
	Change  *Change  // with KindDynamoDB, else nil
	// Aggregated: it is the SubSequence-th, from 0, of the records that a producer has
	// packed into the one with this Sequence. Events in JSON show both.
	Aggregated  bool
	SubSequence int
}

// Batch is the records of one shard, or messages of one queue, handed to a function
// in one call. Records and their data are shared with other readers and must not be
// changed.
type Batch struct {
	Kind     Kind
	Shard    string // shardId-000000000000; empty with KindSQS
	ARN      string // of the stream, queue or table's stream
	Region   string
	Identity string // invokeIdentityArn, with KindKinesis
	// Window is the time window, nil without one. Not with KindSQS.
	Window *Window
	// Waited says that the mapping has a batching window. With KindSQS, AWS's events
	// have "md5OfMessageAttributes": null for a message without attributes then, and
	// without a window no such key.
	Waited  bool
	Records []Record
}

// Invocation asks for one run. Exactly one of Batch and Payload is set.
type Invocation struct {
	ID      string // request id, a UUID
	Batch   *Batch
	Payload []byte // JSON
	// PartialReplies says that batchItemFailures in the response count.
	PartialReplies bool
	// Source names who asked, for logs and history: a trigger's name or "invoke".
	Source string
	// Qualifier is the version or alias that was asked for, which the pool fills in;
	// empty: none was.
	Qualifier string
}

// Result is how it went.
type Result struct {
	Outcome  Outcome
	Response []byte // what the function returned, JSON; empty for nothing
	// Failures are the item identifiers of a partial reply, as given.
	Failures []string
	// Emits are the records that the function gives out, in the order it named
	// them. They become visible when the batch's checkpoint does, or never. Only
	// with Done and Partial, and only of batches.
	Emits []Emit
	// State is the new state of the batch's window, a JSON object. Only with Done
	// and Partial, and only of batches with a window that is not Final.
	State []byte
	// ErrorType and ErrorMessage say what went wrong, as AWS names it
	// (Sandbox.Timedout, Runtime.ExitError, …) or as the function did.
	ErrorType, ErrorMessage string
	StackTrace              []byte // JSON array, or empty
	Duration                time.Duration
	Init                    time.Duration // start-up of the environment, if this call paid for it
	MaxMemory               int64         // bytes
	// Work is how many steps the function took (loop rounds and calls, and bulk
	// memory by its size): a measure of CPU that no other load changes. 0 where
	// nobody counts.
	Work     uint64
	Version  functions.Version
	Logs     []byte // the last 4 KB of the invocation's log
	Finished time.Time
}

// Emit is one record that a function gives out to a stream of this server.
type Emit struct {
	Stream       string // name
	PartitionKey string
	Data         []byte
	// Item is the index in the batch of the record that it comes from; -1 if
	// the function did not say.
	Item int
}

// Progress tells how far making code ready is. Total is 0 while nobody knows it.
type Progress struct {
	Stage       string // "check", "compile"
	Done, Total int64  // bytes of code
}

// InitError is a start-up that failed by the function's own doing: it counts
// as an attempt of the invocation that needed the environment. Any other error
// of [Program.New] is ours.
type InitError struct {
	Outcome Outcome // FunctionError or Timeout
	Type    string
	Message string // without request id
	Stack   []byte // JSON array, or empty
}

func (e *InitError) Error() string { return e.Type + ": " + e.Message }

// Program is code made ready to run: validated and compiled.
type Program interface {
	// ABI says how it is called.
	ABI() functions.ABI
	// New starts an environment. It may take milliseconds; the deadline of ctx is
	// that of the start-up. An [*InitError] is the function's fault.
	New(ctx context.Context, v functions.Version, logs LogWriter) (Environment, error)
	// Close frees what New needs; environments must be closed before.
	Close() error
}

// Environment runs one invocation at a time.
type Environment interface {
	// Invoke runs the function. The context's deadline is the function's. It
	// fills Outcome, Response, errors, Duration and MaxMemory; the pool the rest.
	// Past its deadline the outcome is Timeout; cancelled, it is Infrastructure.
	// A host call waits only where the guest polls (poll_oneoff), and until then
	// at most.
	Invoke(ctx context.Context, inv *Invocation) Result
	// Reusable says whether another Invoke may follow.
	Reusable() bool
	// Rest is for an environment that has been idle for a while: what memory it can
	// it gives back, and is as after its start-up then. Like Invoke it is called by
	// one at a time.
	Rest()
	Close() error
}

// LogWriter takes what a guest writes, line by line.
type LogWriter interface {
	Line(requestID string, line []byte)
}

// Invoker runs functions; the pool is one. Invoke blocks until the function has
// answered, and never returns an error: what went wrong is an outcome.
type Invoker interface {
	Invoke(ctx context.Context, function, qualifier string, inv *Invocation) Result
}

// Dialer is the way out of a function, for those places that its configuration
// allows. Package runtime/door has one.
type Dialer interface {
	// Dial connects to address, host:port with a name or an address of Resolve. An
	// error that is a [*DialError] is to be told to the function.
	Dial(ctx context.Context, v functions.Version, address string) (net.Conn, error)
	// Resolve gives the addresses of host, if some port of it may be dialled.
	Resolve(ctx context.Context, v functions.Version, host string) ([]netip.Addr, error)
	// Roots are the certificates of authorities that this machine trusts, as PEM.
	Roots() []byte
}

// DialError says why a function did not get through.
type DialError struct {
	Kind    DialFault
	Message string // for people, with what to do next
}

func (e *DialError) Error() string { return e.Message }

// DialFault is the kind of a [DialError]. The values travel in the guest ABI.
type DialFault uint8

const (
	DialFailed      DialFault = iota // for another reason
	DialNotAllowed                   // by the function's allow list, or never
	DialNoSuchHost                   // the name has no address
	DialRefused                      // nobody listens there
	DialUnreachable                  // no way there
	DialTimeout                      // nobody answered in time
	DialTooMany                      // the function has as many connections as it may
)
