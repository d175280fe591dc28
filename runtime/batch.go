package runtime

import "time"

// Kind says what a batch's records are, and so what event the function gets. The
// zero value is a batch of a Kinesis stream.
type Kind uint8

const (
	KindKinesis  Kind = iota // records of a stream
	KindSQS                  // messages of a queue
	KindDynamoDB             // changes of a table
)

func (k Kind) String() string { return [...]string{"kinesis", "sqs", "dynamodb"}[k] }

// Message is what a message of a queue has beside its body, which is the
// [Record]'s Data, and its id, which is the Record's Sequence: item identifiers of
// replies name it.
type Message struct {
	ReceiptHandle string
	MD5           string // of the body, hex
	AttributesMD5 string // of the message attributes, hex; empty: it has none
	// System are the attributes that the queue gave the message, in the order that
	// the event has them in: ApproximateReceiveCount, AWSTraceHeader,
	// SentTimestamp, SequenceNumber, MessageGroupId, SenderId,
	// MessageDeduplicationId, ApproximateFirstReceiveTimestamp,
	// DeadLetterQueueSourceArn, as far as there are.
	System []SystemAttribute
	// Attributes are the sender's.
	Attributes []MessageAttribute
}

// SystemAttribute is an attribute that a queue gave a message.
type SystemAttribute struct{ Name, Value string }

// MessageAttribute is an attribute that the sender gave a message.
type MessageAttribute struct {
	Name   string
	Type   string // String, Number or Binary, and a label after a dot if there is one
	Value  []byte // text, unless Binary
	Binary bool   // Value goes as binaryValue, not as stringValue
}

// Change is what a change of a table has beside what the [Record]'s Data say. These
// are the event's "dynamodb" member, in JSON: ApproximateCreationDateTime, Keys,
// NewImage, OldImage, SequenceNumber (the Record's), SizeBytes, StreamViewType.
type Change struct {
	EventID   string // 32 hex digits
	EventName string // INSERT, MODIFY, REMOVE
	// Who did it: "Service", "dynamodb.amazonaws.com" when an item's time to live
	// was over, otherwise empty.
	IdentityType, IdentityPrincipal string
}

// Window is the tumbling window that a batch is of (AWS:
// TumblingWindowInSeconds). The event then has it too, and the function answers
// with the window's new state.
type Window struct {
	Start, End time.Time // whole seconds, End exclusive
	// State is what the last invocation of this window returned as "state", a JSON
	// object. Empty stands for {}: there was none.
	State []byte
	// Final: the window is over; there are no records. The last invocation of it.
	Final bool
	// TerminatedEarly: it is over before its End, its state having become too large
	// or its shard having ended.
	TerminatedEarly bool
}
