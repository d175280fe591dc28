package runtime

import (
	"encoding/binary"
	"errors"
	"fmt"
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

// Kinds of a request.
const (
	kindJSON    = 0
	kindKinesis = 1
)

// Sections of a request.
const (
	tagRequestID = 1 + iota
	tagFunctionARN
	tagShard
	tagSourceARN
	tagRegion
	tagIdentity
)

const flagPartialReplies = 1 << 0

// Status of a response.
const (
	statusOK            = 0
	statusError         = 1
	statusNotUnderstood = 2
)

// Sections of a response. 4 is kept for window state.
const (
	tagJSON         = 1
	tagFailures     = 2
	tagEmits        = 3
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
	n := tableOffset(b, &h) + recordEntry*len(b.Records)
	for i := range b.Records {
		r := &b.Records[i]
		n += len(b.Shard) + 1 + len(r.Sequence) + len(r.PartitionKey) + len(r.Data)
	}
	return n
}

func tableOffset(b *Batch, h *BatchHeader) int {
	return requestHeader + sectionSize(h.RequestID) + sectionSize(h.FunctionARN) + sectionSize(b.Shard) +
		sectionSize(b.ARN) + sectionSize(b.Region) + sectionSize(b.Identity)
}

// AppendBinary appends the request that wm_batch takes. All of it is below 4 GiB.
func AppendBinary(dst []byte, b *Batch, h BatchHeader) []byte {
	le := binary.LittleEndian
	base, table := len(dst), tableOffset(b, &h)
	dst = appendHeader(dst, kindKinesis, BinarySize(b, h), &h, len(b.Records), table)
	dst = appendSection(dst, tagRequestID, h.RequestID)
	dst = appendSection(dst, tagFunctionARN, h.FunctionARN)
	dst = appendSection(dst, tagShard, b.Shard)
	dst = appendSection(dst, tagSourceARN, b.ARN)
	dst = appendSection(dst, tagRegion, b.Region)
	dst = appendSection(dst, tagIdentity, b.Identity)

	// The blobs follow the table, `shard:sequence`, key, data, so that event
	// id and sequence number are substrings of one another and cost no copy.
	at := table + recordEntry*len(b.Records)
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
	if len(dst)-base != at {
		panic("runtime: binary batch of another size than computed")
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

// Reply is a decoded response. Its fields alias the message.
type Reply struct {
	// NotUnderstood: the guest knows this kind of batch not; ask wm_json.
	NotUnderstood bool
	// Failed: the function returned an error, which the Error fields tell.
	Failed bool
	// JSON is what the function returned; empty for nothing.
	JSON []byte
	// HasFailures says that Failures, indexes into the batch, stand for the
	// reply's batchItemFailures.
	HasFailures bool
	Failures    []uint32
	// HasEmits says that Emits stand for the reply's emit.
	HasEmits                bool
	Emits                   []ReplyEmit
	ErrorType, ErrorMessage string
	StackTrace              []byte // JSON array, or empty
}

// ReplyEmit is one emitted record of a response.
type ReplyEmit struct {
	Item              uint32 // index into the batch, or NoItem
	Stream, Key, Data []byte
}

// NoItem is the Item of a record that the function names no origin of.
const NoItem = 1<<32 - 1

const emitHeader = 16

// decodeEmits reads section 3. One record follows the other, each padded to 8
// bytes, so that no byte of a message can count twice.
func decodeEmits(b []byte) ([]ReplyEmit, error) {
	le := binary.LittleEndian
	var out []ReplyEmit
	for at := 0; at < len(b); {
		if len(b)-at < emitHeader {
			return nil, malformed("emit %d is cut off", len(out))
		}
		e := ReplyEmit{Item: le.Uint32(b[at:])}
		sizes := [...]uint32{le.Uint32(b[at+4:]), le.Uint32(b[at+8:]), le.Uint32(b[at+12:])}
		at += emitHeader
		for i, to := range []*[]byte{&e.Stream, &e.Key, &e.Data} {
			if uint64(sizes[i]) > uint64(len(b)-at) {
				return nil, malformed("emit %d is longer than its section", len(out))
			}
			end := at + int(sizes[i])
			*to, at = b[at:end:end], end
		}
		if out = append(out, e); len(out) > MaxEmits {
			break // too many, whatever else follows
		}
		// The last one may leave its padding out.
		at = min(pad(at, 8), len(b))
	}
	return out, nil
}

// ErrMalformed means a response is not as docs/abi.md says; the text says where.
var ErrMalformed = errors.New("malformed response")

func malformed(format string, a ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, a...))
}

// DecodeReply reads a response message of a guest. It trusts nothing in it.
func DecodeReply(b []byte) (Reply, error) {
	le := binary.LittleEndian
	var r Reply
	if len(b) < responseHeader {
		return r, malformed("%d bytes, want at least %d", len(b), responseHeader)
	}
	if m := le.Uint32(b); m != responseMagic {
		return r, malformed("begins with %q, want %q", b[:4], "WMR1")
	}
	if v := le.Uint16(b[4:]); v != ABIVersion {
		return r, malformed("version %d, want %d", v, ABIVersion)
	}
	if n := le.Uint32(b[8:]); uint64(n) != uint64(len(b)) {
		return r, malformed("says it has %d bytes, has %d", n, len(b))
	}
	switch status := le.Uint16(b[6:]); status {
	case statusOK:
	case statusError:
		r.Failed = true
	case statusNotUnderstood:
		r.NotUnderstood = true
	default:
		return r, malformed("status %d is not known", status)
	}
	for at := responseHeader; at < len(b); {
		if len(b)-at < sectionHeader {
			return r, malformed("section at byte %d is cut off", at)
		}
		tag, flags, n := le.Uint16(b[at:]), le.Uint16(b[at+2:]), uint64(le.Uint32(b[at+4:]))
		body := b[at+sectionHeader:]
		if n > uint64(len(body)) {
			return r, malformed("section %d at byte %d has %d bytes, only %d follow", tag, at, n, len(body))
		}
		body = body[:n:n]
		switch tag {
		case tagJSON:
			r.JSON = body
		case tagFailures:
			if n%4 != 0 {
				return r, malformed("%d bytes of failure indexes, want a multiple of 4", n)
			}
			r.HasFailures = true
			r.Failures = make([]uint32, n/4)
			for i := range r.Failures {
				r.Failures[i] = le.Uint32(body[4*i:])
			}
		case tagEmits:
			if r.HasEmits {
				return r, malformed("section %d is there twice", tag)
			}
			var err error
			if r.Emits, err = decodeEmits(body); err != nil {
				return r, err
			}
			r.HasEmits = true
		case tagErrorType:
			r.ErrorType = string(body)
		case tagErrorMessage:
			r.ErrorMessage = string(body)
		case tagStackTrace:
			r.StackTrace = body
		default:
			if flags&sectionMust != 0 {
				return r, malformed("section %d is not known and must be", tag)
			}
		}
		// The last section may leave its padding out.
		at = min(at+sectionHeader+pad(int(n), 8), len(b))
	}
	return r, nil
}
