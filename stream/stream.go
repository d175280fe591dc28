// Package stream holds the words of the sharded stream: streams, shards, hash
// keys, sequence numbers, positions, and what is wrong with them.
//
// It knows nothing of how records are stored; package natsstream does. The
// rules are those of Amazon Kinesis Data Streams unless a comment says
// otherwise.
package stream

import (
	"errors"
	"fmt"
	"time"
)

// Limits of a stream, as on AWS (Kinesis Data Streams quotas) unless noted.
const (
	MaxShards          = 10_000           // shards of one stream, open and closed
	OnDemandShards     = 4                // of a new on-demand stream
	MaxKeyChars        = 256              // partition key, in Unicode characters; at least 1
	DefaultRecordBytes = 1 << 20          // data and key of one record
	MaxRecordBytes     = 10 << 20         // the most a stream can be configured to take
	MaxPutRecords      = 500              // records of one call
	MaxPutBytes        = 10 << 20         // data and keys of one call
	MinRetention       = 24 * time.Hour   // also the default
	MaxRetention       = 8760 * time.Hour // 365 days
	DefaultAccount     = "000000000000"
	DefaultRegion      = "us-east-1"
	maxNameChars       = 128
	shardIDFormat      = "shardId-%012d"
)

// Ref names a stream in the catalogue.
type Ref struct {
	Account, Region, Name string
}

// Local is the stream of that name under the default account and region.
func Local(name string) Ref { return Ref{DefaultAccount, DefaultRegion, name} }

// ARN is the Amazon resource name, arn:aws:kinesis:<region>:<account>:stream/<name>.
func (r Ref) ARN() string {
	return fmt.Sprintf("arn:aws:kinesis:%s:%s:stream/%s", r.Region, r.Account, r.Name)
}

// Config says how a stream is made. The zero value but for Shards works.
type Config struct {
	// Shards is how many shards share the hash range evenly, 1 to 10,000 (ShardCount). Defaults to 1.
	Shards int `json:"shards"`
	// Retention is how long a record can be read, 24 h to 8,760 h in whole
	// hours (RetentionPeriodHours). Defaults to 24 h.
	Retention time.Duration `json:"retention"`
	// RecordBytes is the most data and key of one record may take together,
	// 1 to 10 MiB in whole KiB (MaxRecordSizeInKiB). Defaults to 1 MiB.
	RecordBytes int `json:"recordBytes"`
	// MaxBytes is the most that the records which can be read may take, data and
	// keys of all shards together: 0 for no limit (the default), else at least
	// RecordBytes. What does not fit is refused with [ErrQuota]. Ours.
	MaxBytes int64 `json:"maxBytes,omitempty"`
	// Mode is whether the stream splits and merges its shards by itself.
	// Defaults to Provisioned (StreamModeDetails).
	Mode Mode `json:"mode,omitempty"`
}

// Mode of a stream.
type Mode string

const (
	Provisioned Mode = "PROVISIONED" // shards are split and merged when somebody asks
	OnDemand    Mode = "ON_DEMAND"   // shards are split and merged by write rate too
)

// State of a stream or shard.
type State string

const (
	Creating State = "CREATING" // shards are being made; takes no records yet
	Active   State = "ACTIVE"
	Updating State = "UPDATING" // takes and gives records while its shards or settings change
	Deleting State = "DELETING" // on its way out; takes and gives no records
	Closing  State = "CLOSING"  // of a shard: about to end; its children are being made
	Closed   State = "CLOSED"   // of a shard: takes no more records
)

// Shard is one hash range of a stream. Immutable but for its state.
type Shard struct {
	ID      string   `json:"id"`                // shardId-000000000000
	Index   int      `json:"index"`             // the number in ID
	From    HashKey  `json:"from"`              // first hash key
	To      HashKey  `json:"to"`                // last hash key, inclusive
	Parents []string `json:"parents,omitempty"` // ids of the shards it came from
	Epoch   uint32   `json:"epoch"`             // Unix seconds; larger than its parents'
	State   State    `json:"state"`
	// Closed is when the shard ended, in whole seconds; zero unless State is Closed.
	Closed time.Time `json:"closed,omitzero"`
}

// Starting is the number below which none of the shard's records has one
// (StartingSequenceNumber). No record bears it.
func (s Shard) Starting() SequenceNumber {
	return SequenceNumber{Epoch: s.Epoch, Shard: uint8(s.Index & 15), Time: s.Epoch}
}

// Ending is the number above which none of the shard's records has one
// (EndingSequenceNumber); zero unless the shard is closed. No record bears it.
// The counter is as recorded on AWS: 7fffffffffffffff.
func (s Shard) Ending() SequenceNumber {
	if s.Closed.IsZero() {
		return SequenceNumber{}
	}
	return SequenceNumber{Epoch: s.Epoch, Shard: uint8(s.Index & 15), Frame: 1<<47 - 1, Index: 1<<16 - 1, Time: uint32(s.Closed.Unix())}
}

// Attributes are what is stored and shown of a stream without a bearing on its
// records, as on AWS.
type Attributes struct {
	Tags      map[string]string `json:"tags,omitempty"`
	KeyID     string            `json:"keyId,omitempty"`    // KMS key; empty: not encrypted
	Metrics   []string          `json:"metrics,omitempty"`  // shard-level metrics that are on, sorted
	Policies  map[string]string `json:"policies,omitempty"` // by resource ARN, of the stream and its consumers
	Consumers []Consumer        `json:"consumers,omitempty"`
	WarmMiBps int               `json:"warmMiBps,omitempty"`
}

// Consumer is a registered consumer of a stream (enhanced fan-out).
type Consumer struct {
	Name    string            `json:"name"`
	Created time.Time         `json:"created"` // whole seconds: they stand in its ARN
	Tags    map[string]string `json:"tags,omitempty"`
}

// AccountSettings hold for all streams of an account in a region, as on AWS. They
// are stored and shown.
type AccountSettings struct {
	// Commitment is whether the account has committed itself to a minimum of
	// throughput (MinimumThroughputBillingCommitment).
	Commitment  bool      `json:"commitment,omitempty"`
	Started     time.Time `json:"started,omitzero"`
	EarliestEnd time.Time `json:"earliestEnd,omitzero"`
	Ended       time.Time `json:"ended,omitzero"`
}

// Description is what the catalogue knows of a stream.
type Description struct {
	Ref
	// ID is the incarnation: a stream deleted and created again has another.
	ID string `json:"id"`
	Config
	State   State     `json:"state"`
	Created time.Time `json:"created"`
	// Shards are those that can be read, by index: open ones, closed ones that have
	// not wholly expired, and such as are being made.
	Shards []Shard `json:"shardList"`
	// Attributes must not be changed in place.
	Attributes Attributes `json:"attributes,omitzero"`
}

// ShardID is the id of the shard with that index.
func ShardID(index int) string { return fmt.Sprintf(shardIDFormat, index) }

// Entry is a record to be put.
type Entry struct {
	PartitionKey    string // 1 to 256 characters
	ExplicitHashKey string // decimal, 0 to 2^128-1; empty: MD5 of PartitionKey
	Data            []byte
	TraceParent     string // W3C traceparent of the producer's span, or empty
}

// PutResult says where one entry went, or why it did not.
type PutResult struct {
	Shard    string
	Sequence SequenceNumber
	Err      error
}

// Record is a record as it was put, with the place it got.
type Record struct {
	Shard           string
	Sequence        SequenceNumber
	Number          uint64 // running number in the shard, from 0
	PartitionKey    string
	ExplicitHashKey string
	Arrival         time.Time // millisecond resolution
	Data            []byte
	TraceParent     string
	// OutputID is the id of the output that the record is, 32 hexadecimal digits;
	// empty for one that was put.
	OutputID string
}

// PositionKind is where in a shard reading starts.
type PositionKind string

const (
	TrimHorizon PositionKind = "TRIM_HORIZON"          // the oldest record kept
	Latest      PositionKind = "LATEST"                // the next record to arrive
	AtTimestamp PositionKind = "AT_TIMESTAMP"          // the first record that arrived at or after Time
	At          PositionKind = "AT_SEQUENCE_NUMBER"    // the record with Sequence
	After       PositionKind = "AFTER_SEQUENCE_NUMBER" // the one after it
)

// Position is a place to start reading from.
type Position struct {
	Kind     PositionKind   `json:"kind"`
	Time     time.Time      `json:"time,omitzero"`
	Sequence SequenceNumber `json:"sequence,omitzero"`
	// Number is the running number of the record to read next, if the position
	// came with a page of records: from it a reader can tell how much retention
	// took meanwhile. 0: not known. Nobody needs to set it.
	Number uint64 `json:"number,omitempty"`
}

var (
	// ErrNotFound means no stream or shard bears that name.
	ErrNotFound = errors.New("stream: not found")
	// ErrExists means a stream bears that name already.
	ErrExists = errors.New("stream: exists")
	// ErrInvalid means the call can never succeed as it stands; the text says which value is wrong.
	ErrInvalid = errors.New("stream: invalid")
	// ErrClosed means the shard takes no more records; ask for the shards again.
	ErrClosed = errors.New("stream: shard closed")
	// ErrBusy means that the stream is in a state in which the call cannot be made
	// (UPDATING, say); it can be once the stream is ACTIVE again.
	ErrBusy = errors.New("stream: busy")
	// ErrUnavailable means the store cannot write now (disk reserve reached, no
	// space, restarting). Nothing of the entry is stored; the call can be repeated.
	ErrUnavailable = errors.New("stream: unavailable")
)

// QuotaShare is the share of a quota that is worth a warning.
const QuotaShare = 0.8

// ErrQuota means that the stream has no room for the record by its own limit
// (Config.MaxBytes). It is an [ErrUnavailable] too: nothing of the record is
// stored, and it fits once older ones have expired or the limit is raised.
var ErrQuota = fmt.Errorf("%w: quota reached", ErrUnavailable)

// QuotaError is an [ErrQuota] with its figures.
type QuotaError struct {
	Stream      string
	Used, Limit int64 // bytes; what is on its way counts as used
}

func (e *QuotaError) Error() string {
	return fmt.Sprintf("stream %s holds %d of the %d bytes that it may: there is room again when older records expire, or the limit is raised", e.Stream, e.Used, e.Limit)
}

// Is makes errors.Is true for [ErrQuota] and [ErrUnavailable].
func (e *QuotaError) Is(target error) bool { return target == ErrQuota || target == ErrUnavailable }

// CorruptError is a record that is not as it was written. Reading stops there:
// what lies behind it in the shard is untouched.
type CorruptError struct {
	Stream, Shard string
	Sequence      SequenceNumber // of the first record of the bad frame, as far as can be told
	Reason        string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("stream %s: %s: data at sequence %s is corrupt: %s", e.Stream, e.Shard, e.Sequence, e.Reason)
}
