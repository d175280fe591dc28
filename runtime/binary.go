package runtime

import (
	"encoding/binary"
	"time"
)

// The messages of the guest ABI: docs/abi.md is the specification, with the
// vectors of testdata/vectors.json that both sides are tested against.

// ABIVersion is what wm_abi_version returns and each message carries.
const ABIVersion = 1

const (
	requestMagic  = 0x31514d57 // "WMQ1"
	responseMagic = 0x31524d57 // "WMR1"

	requestHeader  = 32
	responseHeader = 16
	sectionHeader  = 8
	recordEntry    = 32
)

// Kinds of a request. Those of batches are a [Kind] and one.
const (
	kindJSON     = 0
	kindKinesis  = 1
	kindSQS      = 2
	kindDynamoDB = 3
	// kindNone is no kind, now or later: a guest does not understand it, and so gets
	// the batch as JSON. For batches that have no binary form.
	kindNone = 0xffff
)

// Sections of a request.
const (
	tagRequestID = 1 + iota
	tagFunctionARN
	tagShard
	tagSourceARN
	tagRegion
	tagIdentity
	tagWindow
)

const flagPartialReplies = 1 << 0

// Of the section of a window.
const (
	windowHeader = 24
	flagFinal    = 1 << 0
	flagEarly    = 1 << 1
)

// Status of a response.
const (
	statusOK            = 0
	statusError         = 1
	statusNotUnderstood = 2
)

// Sections of a response.
const (
	tagJSON         = 1
	tagFailures     = 2
	tagEmits        = 3
	tagState        = 4
	tagErrorType    = 16
	tagErrorMessage = 17
	tagStackTrace   = 18
)

// sectionMust marks a section whose reader must know the tag.
const sectionMust = 1 << 0

// BatchHeader is what a request says beside its records or payload.
type BatchHeader struct {
	RequestID   string
	FunctionARN string    // invokedFunctionArn of the context
	Deadline    time.Time // zero: none
	// PartialReplies says that failures in the response count.
	PartialReplies bool
}

func (h *BatchHeader) flags() uint32 {
	if h.PartialReplies {
		return flagPartialReplies
	}
	return 0
}

func (h *BatchHeader) deadline() int64 {
	if h.Deadline.IsZero() {
		return 0
	}
	return h.Deadline.UnixMilli()
}

func pad(n, to int) int { return (n + to - 1) &^ (to - 1) }

func sectionSize(s string) int {
	if s == "" {
		return 0
	}
	return sectionHeader + pad(len(s), 8)
}

func appendSection(dst []byte, tag uint16, s string) []byte {
	if s == "" {
		return dst
	}
	dst = binary.LittleEndian.AppendUint16(dst, tag)
	dst = binary.LittleEndian.AppendUint16(dst, 0)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(s)))
	dst = append(dst, s...)
	return append(dst, zeros[:pad(len(s), 8)-len(s)]...)
}

var zeros [8]byte

func appendHeader(dst []byte, kind uint16, length int, h *BatchHeader, count, offset int) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, requestMagic)
	dst = le.AppendUint16(dst, ABIVersion)
	dst = le.AppendUint16(dst, kind)
	dst = le.AppendUint32(dst, uint32(length))
	dst = le.AppendUint32(dst, h.flags())
	dst = le.AppendUint64(dst, uint64(h.deadline()))
	dst = le.AppendUint32(dst, uint32(count))
	return le.AppendUint32(dst, uint32(offset))
}

// BinarySize is the exact number of bytes that [AppendBinary] appends.
func BinarySize(b *Batch, h BatchHeader) int {
	return tableOffset(b, &h) + bodySize(b)
}

func bodySize(b *Batch) int {
	switch b.Kind {
	case KindSQS:
		return messagesSize(b)
	case KindDynamoDB:
		return changesSize(b)
	}
	return kinesisSize(b)
}

func tableOffset(b *Batch, h *BatchHeader) int {
	return requestHeader + sectionSize(h.RequestID) + sectionSize(h.FunctionARN) + sectionSize(b.Shard) +
		sectionSize(b.ARN) + sectionSize(b.Region) + sectionSize(b.Identity) + windowSize(b.Window)
}

func windowSize(w *Window) int {
	if w == nil {
		return 0
	}
	return sectionHeader + pad(windowHeader+len(w.State), 8)
}

// appendWindow appends section 7. A guest that does not know it must not take the
// batch for one without a window.
func appendWindow(dst []byte, w *Window) []byte {
	if w == nil {
		return dst
	}
	le := binary.LittleEndian
	n := windowHeader + len(w.State)
	flags := uint64(0)
	if w.Final {
		flags |= flagFinal
	}
	if w.TerminatedEarly {
		flags |= flagEarly
	}
	dst = le.AppendUint16(dst, tagWindow)
	dst = le.AppendUint16(dst, sectionMust)
	dst = le.AppendUint32(dst, uint32(n))
	dst = le.AppendUint64(dst, uint64(w.Start.UnixMilli()))
	dst = le.AppendUint64(dst, uint64(w.End.UnixMilli()))
	dst = le.AppendUint64(dst, flags)
	dst = append(dst, w.State...)
	return append(dst, zeros[:pad(n, 8)-n]...)
}

// AppendBinary appends the request that wm_batch takes. All of it is below 4 GiB.
// What has no binary form, a change whose JSON is not as DynamoDB has it, makes a
// request that no guest understands, so that the batch goes as JSON.
func AppendBinary(dst []byte, b *Batch, h BatchHeader) []byte {
	base, table := len(dst), tableOffset(b, &h)
	size := table + bodySize(b)
	dst = appendHeader(dst, uint16(b.Kind)+kindKinesis, size, &h, len(b.Records), table)
	dst = appendSection(dst, tagRequestID, h.RequestID)
	dst = appendSection(dst, tagFunctionARN, h.FunctionARN)
	dst = appendSection(dst, tagShard, b.Shard)
	dst = appendSection(dst, tagSourceARN, b.ARN)
	dst = appendSection(dst, tagRegion, b.Region)
	dst = appendSection(dst, tagIdentity, b.Identity)
	dst = appendWindow(dst, b.Window)
	switch b.Kind {
	case KindSQS:
		dst = appendMessages(dst, base, b)
	case KindDynamoDB:
		var ok bool
		if dst, ok = appendChanges(dst, base, b); !ok {
			le := binary.LittleEndian
			le.PutUint16(dst[base+6:], kindNone)
			le.PutUint32(dst[base+24:], 0)
		}
	default:
		dst = appendKinesis(dst, base, b)
	}
	if len(dst)-base != size {
		panic("runtime: binary batch of another size than computed")
	}
	return dst
}

func kinesisSize(b *Batch) int {
	n := recordEntry * len(b.Records)
	for i := range b.Records {
		r := &b.Records[i]
		n += len(b.Shard) + 1 + len(r.Sequence) + len(r.PartitionKey) + len(r.Data)
	}
	return n
}

// appendKinesis appends table and blobs of kind 1 to a message that begins at base.
func appendKinesis(dst []byte, base int, b *Batch) []byte {
	le := binary.LittleEndian
	// The blobs follow the table, `shard:sequence`, key, data, so that event
	// id and sequence number are substrings of one another and cost no copy.
	at := len(dst) - base + recordEntry*len(b.Records)
	for i := range b.Records {
		r := &b.Records[i]
		seq := at + len(b.Shard) + 1
		key := seq + len(r.Sequence)
		data := key + len(r.PartitionKey)
		dst = le.AppendUint32(dst, uint32(at))
		dst = le.AppendUint32(dst, uint32(seq))
		dst = le.AppendUint32(dst, uint32(key))
		dst = le.AppendUint32(dst, uint32(data))
		dst = le.AppendUint32(dst, uint32(len(r.Data)))
		dst = le.AppendUint32(dst, 0)
		dst = le.AppendUint64(dst, uint64(r.Arrival))
		at = data + len(r.Data)
	}
	for i := range b.Records {
		r := &b.Records[i]
		dst = append(dst, b.Shard...)
		dst = append(dst, ':')
		dst = append(dst, r.Sequence...)
		dst = append(dst, r.PartitionKey...)
		dst = append(dst, r.Data...)
	}
	return dst
}

// JSONRequestSize is the exact number of bytes that [AppendJSONRequest]
// appends for a payload of that many bytes.
func JSONRequestSize(payload int, h BatchHeader) int {
	return requestHeader + sectionSize(h.RequestID) + sectionSize(h.FunctionARN) + payload
}

// AppendJSONRequest appends the request that wm_json takes up to its payload,
// which the caller appends: exactly that many bytes of JSON.
func AppendJSONRequest(dst []byte, payload int, h BatchHeader) []byte {
	size := JSONRequestSize(payload, h)
	dst = appendHeader(dst, kindJSON, size, &h, payload, size-payload)
	dst = appendSection(dst, tagRequestID, h.RequestID)
	return appendSection(dst, tagFunctionARN, h.FunctionARN)
}
