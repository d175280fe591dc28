package runtime

import (
	"encoding/binary"
	"errors"
	"fmt"
)

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
	HasEmits bool
	Emits    []ReplyEmit
	// HasState says that State stands for the reply's state: what ought to be a JSON
	// object, which [Classify] looks at.
	HasState                bool
	State                   []byte
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
		case tagState:
			r.HasState, r.State = true, body
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
