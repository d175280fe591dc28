package runtime

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"
)

// AppendJSON appends b as the event that Lambda hands to a function of a mapping
// of its kind, keys in the order recorded from AWS.
func AppendJSON(dst []byte, b *Batch) []byte {
	dst = append(dst, jsonBegin...)
	switch b.Kind {
	case KindSQS:
		dst = appendSQS(dst, b)
	case KindDynamoDB:
		dst = appendDynamoDB(dst, b)
	default:
		dst = appendRecords(dst, b)
	}
	if b.Window != nil {
		dst = appendWindowJSON(dst, b)
	}
	return append(dst, jsonEnd...)
}

func appendRecords(dst []byte, b *Batch) []byte {
	var buf [512]byte
	tail := appendTail(buf[:0], b) // the same for every record
	for i := range b.Records {
		r := &b.Records[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, jsonKey...)
		dst = appendString(dst, r.PartitionKey)
		dst = append(dst, jsonSequence...)
		dst = append(dst, r.Sequence...)
		dst = append(dst, jsonData...)
		dst = base64.StdEncoding.AppendEncode(dst, r.Data)
		dst = append(dst, jsonArrival...)
		dst = strconv.AppendInt(dst, r.Arrival/1000, 10)
		ms := r.Arrival % 1000
		dst = append(dst, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
		if r.Aggregated {
			dst = append(dst, jsonSub...)
			dst = strconv.AppendInt(dst, int64(r.SubSequence), 10)
			dst = append(dst, jsonAggregated...)
		}
		dst = append(dst, jsonEventID...)
		dst = append(dst, b.Shard...)
		dst = append(dst, ':')
		dst = append(dst, r.Sequence...)
		dst = append(dst, tail...)
	}
	return append(dst, ']')
}

const (
	jsonBegin    = `{"Records":[`
	jsonKey      = `{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":`
	jsonSequence = `,"sequenceNumber":"`
	jsonData     = `","data":"`
	jsonArrival  = `","approximateArrivalTimestamp":`
	jsonEventID  = `},"eventSource":"aws:kinesis","eventVersion":"1.0","eventID":"`
	jsonIdentity = `","eventName":"aws:kinesis:record","invokeIdentityArn":`
	jsonRegion   = `,"awsRegion":`
	jsonARN      = `,"eventSourceARN":`
	// As aws-kinesis-agg, AWS's own library for functions, shows them.
	jsonSub        = `,"subSequenceNumber":`
	jsonAggregated = `,"aggregated":true`
	jsonEnd        = `}`
)

func appendTail(dst []byte, b *Batch) []byte {
	dst = append(dst, jsonIdentity...)
	dst = appendString(dst, b.Identity)
	dst = append(dst, jsonRegion...)
	dst = appendString(dst, b.Region)
	dst = append(dst, jsonARN...)
	dst = appendString(dst, b.ARN)
	return append(dst, '}')
}

const (
	sequenceDigits = 56 // of every sequence number that a stream gives out
	arrivalChars   = 14 // 1545084650.987, from 2001 to 2286
)

// BatchJSONSize is what the JSON event of a stream's records, without a window,
// has beside what [RecordSizer] counts: AppendJSON appends BatchJSONSize plus
// the sizes of all its records.
const BatchJSONSize = len(jsonBegin) + len("]") + len(jsonEnd) - 1

// RecordSizer is what records of one batch have in common, in bytes of JSON.
type RecordSizer int

// NewRecordSizer measures the fields of b that are common to all records.
func NewRecordSizer(b *Batch) RecordSizer {
	const fixed = len(jsonKey) + len(jsonSequence) + sequenceDigits + len(jsonData) + len(jsonArrival) + arrivalChars +
		len(jsonEventID) + 1 + sequenceDigits +
		len(jsonIdentity) + len(jsonRegion) + len(jsonARN) + len("},")
	return RecordSizer(fixed + len(b.Shard) + stringSize(b.Identity) + stringSize(b.Region) + stringSize(b.ARN))
}

// Size is the exact number of bytes that a record adds to the event of
// [AppendJSON], the comma that parts it from its neighbour included.
func (s RecordSizer) Size(partitionKey string, dataLen int) int {
	return int(s) + stringSize(partitionKey) + base64.StdEncoding.EncodedLen(dataLen)
}

// SubSize is Size of an aggregated record.
func (s RecordSizer) SubSize(partitionKey string, dataLen, sub int) int {
	digits := 1
	for n := sub; n >= 10; n /= 10 {
		digits++
	}
	return s.Size(partitionKey, dataLen) + len(jsonSub) + digits + len(jsonAggregated)
}

// plain says which bytes stand for themselves in a JSON string.
var plain = func() (t [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// appendString appends s as a JSON string, escaped as encoding/json does with
// SetEscapeHTML(false). (0x7f is plain there too.)
func appendString[T string | []byte](dst []byte, s T) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if plain[c] {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := decodeRune(s[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				dst = append(dst, s[start:i]...)
				dst = append(dst, `\ufffd`...)
			case r == '\u2028' || r == '\u2029': // no JavaScript line ends
				dst = append(dst, s[start:i]...)
				dst = append(dst, `\u202`...)
				dst = append(dst, hex[r&0xf])
			default:
				i += size
				continue
			}
			i += size
			start = i
			continue
		}
		dst = append(dst, s[start:i]...)
		if e := escapes[c]; e != 0 {
			dst = append(dst, '\\', e)
		} else {
			dst = append(dst, `\u00`...)
			dst = append(dst, hex[c>>4], hex[c&0xf])
		}
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

func decodeRune[T string | []byte](s T) (rune, int) {
	return utf8.DecodeRuneInString(string(s[:min(len(s), utf8.UTFMax)])) // so short that nothing is copied to the heap
}

var escapes = [utf8.RuneSelf]byte{'"': '"', '\\': '\\', '\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't'}

// stringSize is what appendString appends.
func stringSize(s string) int {
	n := 2 + len(s)
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case plain[c]:
			i++
		case c < utf8.RuneSelf:
			if escapes[c] != 0 {
				n++
			} else {
				n += 5
			}
			i++
		default:
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 || r == '\u2028' || r == '\u2029' {
				n += 6 - size
			}
			i += size
		}
	}
	return n
}
