// Package dlq holds the words of the dead-letter queue.
//
// A dead letter keeps its record with payload and metadata, the error, and
// what the record went through, so that it can be looked at, replayed and
// redriven long after its stream has forgotten it. Dead letters outlive their
// trigger and stream.
package dlq

import (
	"cmp"
	"errors"
	"strings"
	"time"
)

// Retention is how long a dead letter is kept.
const Retention = 14 * 24 * time.Hour

// Reason a record was given up. The first two are AWS's conditions.
type Reason string

const (
	RetryAttemptsExhausted Reason = "RetryAttemptsExhausted"
	RecordAgeExceeded      Reason = "RecordAgeExceeded"
	// PayloadTooLarge: the record alone exceeds 6 MB of JSON; the function never saw it.
	PayloadTooLarge Reason = "PayloadTooLarge"
	// TargetGone: an output's stream was deleted before the output got there.
	TargetGone Reason = "TargetGone"
)

// Kind is what a letter holds.
type Kind string

const (
	// KindRecord is a record that a function could not digest.
	KindRecord Kind = ""
	// KindOutput is a record that a function emitted to a stream that is gone.
	// Stream and StreamID are the target's; Shard, Sequence and Number are empty.
	KindOutput Kind = "output"
)

// Letter is one dead letter.
type Letter struct {
	Kind Kind   `json:"kind,omitempty"`
	ID   string `json:"id"` // of the letter; sorts by source and position
	// Where the record came from.
	Trigger         string    `json:"trigger"` // name at the time
	Mapping         string    `json:"mapping"` // id
	Generation      int       `json:"generation"`
	Stream          string    `json:"stream"` // ARN
	StreamID        string    `json:"streamId"`
	Shard           string    `json:"shard"`
	Sequence        string    `json:"sequence"`
	Number          uint64    `json:"number"`
	PartitionKey    string    `json:"partitionKey"`
	ExplicitHashKey string    `json:"explicitHashKey,omitempty"`
	Arrival         time.Time `json:"arrival"`
	TraceParent     string    `json:"traceParent,omitempty"`
	OutputID        string    `json:"outputId,omitempty"` // of an output
	Data            []byte    `json:"data"`
	// What it went through.
	Reason       Reason    `json:"reason"`
	ErrorType    string    `json:"errorType,omitempty"`
	ErrorMessage string    `json:"errorMessage,omitempty"`
	Attempts     int       `json:"attempts"`
	FirstFailure time.Time `json:"firstFailure,omitzero"`
	Buried       time.Time `json:"buried"`
	Burial       int       `json:"burial"` // 1 for the first time
	// Redriving: it is being delivered again. Set when it is shown, never stored.
	Redriving bool   `json:"redriving,omitempty"`
	Function  string `json:"function"`
	Version   string `json:"version"`
	Digest    string `json:"digest"` // SHA-256 of the code
	// Batch is the invocation it failed in last.
	Batch struct {
		Invocation string `json:"invocation,omitempty"`
		Position   int    `json:"position"`
		Size       int    `json:"size"`
	} `json:"batch"`
}

// InOrder compares letters by the order in which they are redriven: of a key the
// earlier record first.
func InOrder(a, b Letter) int {
	return cmp.Or(a.Arrival.Compare(b.Arrival), strings.Compare(a.Shard, b.Shard), cmp.Compare(a.Number, b.Number), cmp.Compare(a.Burial, b.Burial))
}

var (
	// ErrNotFound means no dead letter bears that id.
	ErrNotFound = errors.New("dlq: not found")
)
