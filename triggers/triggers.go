// Package triggers holds the words of event source mappings, which users call
// triggers: their settings, the state of a shard that a commit writes down,
// and what is wrong with them.
//
// Package triggers/shard decides, triggers/journal remembers, triggers/poll
// carries out.
package triggers

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/wasmill/wasmill/stream"
)

// Limits, as on AWS Lambda event source mappings unless noted.
const (
	MaxBatchSize     = 10_000
	DefaultBatchSize = 100
	MaxWindow        = 300 * time.Second
	MaxParallel      = 10
	MaxRetryAttempts = 10_000
	MinRecordAge     = 60 * time.Second
	MaxRecordAge     = 604_800 * time.Second
	DefaultBackoff   = 500 * time.Millisecond // ours
	MaxBackoff       = 60 * time.Second       // ours
	MaxPayload       = 6 << 20                // bytes of the JSON event
	MaxTumbling      = 900 * time.Second
	MaxFilters       = 10      // AWS: 5, 10 on request
	MaxPattern       = 4096    // characters of a filter's pattern
	MaxDestination   = 350     // characters
	MaxState         = 1 << 20 // bytes of a tumbling window's state; beyond it the window ends early
)

// Forever is no limit on retries or age.
const Forever = -1

// Config is what a user sets of a trigger. Zero values that mean something of
// their own are pointers.
type Config struct {
	Function  string `json:"function"`
	Qualifier string `json:"qualifier,omitempty"` // version, alias or $LATEST; empty: $LATEST
	// Stream is a name, of the server's own account and region, or an ARN. Required.
	Stream string `json:"stream"`
	// Consumer is the ARN of the stream's consumer that a client named as the source; the
	// function's events then bear it (AWS: enhanced fan-out).
	Consumer string `json:"consumer,omitempty"`
	// Position is where the trigger starts in shards that exist when it is made. Required.
	Position stream.Position `json:"position"`
	// BatchSize is the most records of an invocation, 1 to 10,000. Defaults to 100.
	BatchSize int `json:"batchSize"`
	// Window is how long a first record waits for company, 0 to 300 s. Defaults to 0.
	Window time.Duration `json:"window"`
	// Parallel is how many batches of a shard may be out at once
	// (ParallelizationFactor), 1 to 10. Defaults to 1.
	Parallel int `json:"parallel"`
	// Retries is how often a failing batch is tried again
	// (MaximumRetryAttempts), -1 (for ever, the default) to 10,000.
	Retries *int `json:"retries"`
	// RecordAge is the age above which a record is given up
	// (MaximumRecordAgeInSeconds), 60 s to 604,800 s, or 0 for no limit, the default.
	RecordAge time.Duration `json:"recordAge"`
	// Bisect halves a failing batch (BisectBatchOnFunctionError).
	Bisect bool `json:"bisect"`
	// PartialReplies lets the function name failed items (ReportBatchItemFailures).
	PartialReplies bool `json:"partialReplies"`
	// Backoff is the first wait before the same batch is tried again, doubling
	// to 60 s, with jitter. Ours; 1 ms to 60 s. Defaults to 500 ms.
	Backoff time.Duration `json:"backoff"`
	// SkipCorrupt passes records that are damaged on disk as a counted gap
	// instead of stopping their shard. Ours.
	SkipCorrupt bool `json:"skipCorrupt"`
	// Deaggregate hands the function the records that the Kinesis Producer Library
	// has packed into one, in its place. It stays one record in all other respects:
	// of a batch's size, to be retried, halved from its neighbours, and buried. One that
	// is not sound is handed over as it is, and one whose records take more than
	// MaxPayload together is buried. Ours; AWS leaves it to the function.
	Deaggregate bool `json:"deaggregate,omitempty"`
	// Filters are patterns as package triggers/filter has them, MaxFilters at most, as the
	// user wrote them. A record goes to the function if one of them matches it, or if
	// there are none; others are passed, and take no place in a batch (FilterCriteria).
	Filters []string `json:"filters,omitempty"`
	// StrictFilters refuses what AWS refuses in a mapping's patterns: wildcard, cidr and
	// operators within anything-but. Ours.
	StrictFilters bool `json:"strictFilters,omitempty"`
	// Tumbling is the length of tumbling windows, whole seconds, 0 (none, the default) to
	// 900 s. It wants Parallel 1 (TumblingWindowInSeconds).
	Tumbling time.Duration `json:"tumbling,omitempty"`
	// OnFailure is where a notice of each discarded batch goes, beside its dead letters
	// (DestinationConfig.OnFailure): an ARN of a stream of this server or of an S3 bucket,
	// or file:// and a directory; empty: nowhere.
	OnFailure string `json:"onFailure,omitempty"`
	// OnDestinationFailure says what becomes of a notice that cannot be delivered: it is tried
	// for ever (empty, the default), or dropped ([Drop]), as on AWS. Ours.
	OnDestinationFailure string `json:"onDestinationFailure,omitempty"`
	// Metrics are the groups of metrics asked for: EventCount (MetricsConfig). They are
	// counted anyway.
	Metrics []string `json:"metrics,omitempty"`
	// KMSKey is the key that encrypts filters on AWS; stored and shown, not used.
	KMSKey string `json:"kmsKey,omitempty"`
}

// Drop is [Config.OnDestinationFailure] as it is on AWS.
const Drop = "drop"

// State of a mapping, in AWS's words.
type State string

const (
	Creating  State = "Creating"
	Enabled   State = "Enabled"
	Disabling State = "Disabling"
	Disabled  State = "Disabled"
	Enabling  State = "Enabling"
	Updating  State = "Updating"
	Deleting  State = "Deleting"
)

// Mapping is one trigger.
type Mapping struct {
	ID         string    `json:"id"`   // UUID, incarnation
	Name       string    `json:"name"` // human name, unique
	Generation int       `json:"generation"`
	Config     Config    `json:"config"`
	StreamID   string    `json:"streamId"` // incarnation of the stream
	StreamARN  string    `json:"streamArn"`
	Enabled    bool      `json:"enabled"` // what the user wants
	State      State     `json:"state"`
	Created    time.Time `json:"created"`
	Modified   time.Time `json:"modified"`
	// FunctionARN is how the function is shown to AWS clients, qualified as it was named;
	// empty: from the stream's account and region.
	FunctionARN string            `json:"functionArn,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
}

// Source is a mapping's place in one shard: who writes one journal.
type Source struct {
	Mapping    string // Mapping.ID
	Generation int
	Shard      string // shard id
}

// Span is the records of [From, To) whose bucket is in Buckets. Numbers are
// running numbers of the shard.
type Span struct {
	Buckets uint64 `json:"b"` // bit i: bucket i
	From    uint64 `json:"f"`
	To      uint64 `json:"t"` // exclusive
}

// Unit is work that is claimed and not resolved: the records of its spans that
// are not finished. Units of one parent (halves of a bisect) share Claim.
type Unit struct {
	ID           uint64    `json:"id"`
	Claim        uint64    `json:"c"` // units with the same claim run one after the other, in order
	Spans        []Span    `json:"s"`
	Attempts     int       `json:"a,omitempty"` // that count against the quota
	Invocations  int       `json:"i,omitempty"` // all of them, for approximateInvokeCount
	FirstFailure time.Time `json:"ff,omitzero"`
	NotBefore    time.Time `json:"nb,omitzero"` // end of its back-off
	LastError    Failure   `json:"e,omitzero"`
}

// Output is a record that a function has emitted, on its way to its stream. It is
// committed with the checkpoint of the batch it comes from, and relayed once.
type Output struct {
	ID           string // see [OutputID]
	StreamID     string // incarnation of the target when it was emitted
	Stream       string // its ARN
	PartitionKey string
	Data         []byte
	TraceParent  string // of the record it comes from, or empty
}

// Redrive is a dead letter that is being delivered again.
type Redrive struct {
	Letter       string    `json:"l"` // id of the dead letter, its burial included
	Bucket       uint8     `json:"b"` // of its key
	Since        time.Time `json:"s"` // its age counts from here
	Attempts     int       `json:"a,omitempty"`
	Invocations  int       `json:"i,omitempty"`
	FirstFailure time.Time `json:"ff,omitzero"`
	NotBefore    time.Time `json:"nb,omitzero"` // end of its back-off
	LastError    Failure   `json:"e,omitzero"`
}

// Window is a tumbling window of one shard.
type Window struct {
	Start time.Time `json:"s"`
	End   time.Time `json:"e"` // exclusive
	// State is the JSON object that the last invocation returned; empty: {}.
	State []byte `json:"st,omitempty"`
	// Closing: its records are done, and what is left is the final invocation. Early: its
	// state got larger than [MaxState], so it ends before its time.
	Closing bool `json:"c,omitempty"`
	Early   bool `json:"x,omitempty"`
	// The final invocation's retry state, as a Unit's.
	Attempts     int       `json:"a,omitempty"`
	Invocations  int       `json:"i,omitempty"`
	FirstFailure time.Time `json:"ff,omitzero"`
	NotBefore    time.Time `json:"nb,omitzero"`
	LastError    Failure   `json:"le,omitzero"`
}

// Notice tells a destination of one discarded batch: what OnFailure gets. It is committed
// with the checkpoint that passes the batch, and sent by the relay, at least once.
type Notice struct {
	ID          string    `json:"id"`          // the same whenever the same batch is discarded; part of an S3 key
	Destination string    `json:"destination"` // Config.OnFailure when it was discarded
	Drop        bool      `json:"drop,omitempty"`
	Mapping     string    `json:"mapping"` // id
	Shard       string    `json:"shard"`
	At          time.Time `json:"at"`                // when it was discarded
	Records     int       `json:"records"`           // of the batch
	Body        []byte    `json:"body"`              // the JSON record of AWS, without payload
	Payload     []byte    `json:"payload,omitempty"` // the JSON event, for destinations that keep it (S3, files)
}

// Failure is what an invocation ended with, as far as a dead letter tells it.
type Failure struct {
	RequestID string    `json:"r,omitempty"`
	Type      string    `json:"t,omitempty"`
	Message   string    `json:"m,omitempty"`
	At        time.Time `json:"at,omitzero"`
	BatchSize int       `json:"n,omitempty"`
	Digest    string    `json:"d,omitempty"` // of the code
	Version   string    `json:"v,omitempty"` // of the function
	// Partial: the function returned, and named failed items.
	Partial bool `json:"p,omitempty"`
}

// Checkpoint is everything a shard needs to go on after a restart.
type Checkpoint struct {
	// Next is the running number of the lowest record that is not finished.
	Next uint64 `json:"next"`
	// Frame is the place of Next in the log, as a hint for finding it; 0: unknown.
	Frame uint64 `json:"frame,omitempty"`
	// Finished are the records above Next that are resolved, as spans of
	// buckets. As a bucket's records are resolved in order, most spans begin at
	// Next: there is one for each distinct place that buckets have got to.
	Finished []Span `json:"finished,omitempty"`
	// Above is how many records Finished covers; fewer, perhaps, after a gap.
	Above uint64 `json:"above,omitempty"`
	// Units are claimed, oldest first, waiting halves included.
	Units []Unit `json:"units,omitempty"`
	// Redrives are dead letters under way again, oldest command first. They stand
	// in every commit until they are done or buried again.
	Redrives []Redrive `json:"redrives,omitempty"`
	// Gaps counts records that were lost to retention or damage, ever. A gap may
	// count records in that were resolved before a restart; it is never too small.
	Gaps uint64 `json:"gaps,omitempty"`
	// Done counts records that were resolved by success, ever, redriven ones too;
	// Buried counts burials, those after a redrive too.
	Done   uint64 `json:"done,omitempty"`
	Buried uint64 `json:"buried,omitempty"`
	// Window is the tumbling window under way; nil: none.
	Window *Window `json:"window,omitempty"`
	// Ended: the shard is closed and everything in it is resolved.
	Ended bool `json:"ended,omitempty"`
}

var (
	// ErrNotFound means no trigger bears that name.
	ErrNotFound = errors.New("triggers: not found")
	// ErrExists means the name, or the pair of stream and function, is taken.
	ErrExists = errors.New("triggers: exists")
	// ErrInvalid means a value is out of range; the text says which.
	ErrInvalid = errors.New("triggers: invalid")
	// ErrBusy means another call is changing the trigger, or redriving its dead
	// letters. Try again.
	ErrBusy = errors.New("triggers: busy")
	// ErrLeaving means the trigger is deleted as far as it can be: it runs no more,
	// and is gone when what it has emitted has arrived.
	ErrLeaving = errors.New("triggers: leaving")
	// ErrFenced means another owner has taken the shard. Stop.
	ErrFenced = errors.New("triggers: fenced")
)

// OutputID names an output: the same each time the same record of the same
// generation emits it, and never another's. index counts the outputs of one
// record, or of one batch for those whose record the function did not name; they
// go by the sequence number of the batch's first record, which is then followed
// by a star.
func OutputID(src Source, sequence string, index int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%s\x00%s\x00%d", src.Mapping, src.Generation, src.Shard, sequence, index))
	return hex.EncodeToString(sum[:16])
}
