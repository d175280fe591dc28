package poll

import (
	"encoding/base64"
	"encoding/json"
	"strconv"

	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream/natsstream"
	"github.com/wasmill/wasmill/triggers/filter"
)

// facts are what filters may ask of a shard's records beside the data: the members of a record's
// event, those under "kinesis" beside the others, as patterns name them. Each is made when it is
// asked for. Not safe for concurrent use.
type facts struct {
	batch    *runtime.Batch // what all records have in common
	one      runtime.Record // the one that is asked about
	sequence string         // its sequence number; empty: to be taken from the frame
	shard    *natsstream.Shard
	frame    *log.Frame
	at       int

	ask filter.Record
	buf []byte // of the last answer
}

func newFacts(b *runtime.Batch) *facts {
	f := &facts{batch: b}
	f.ask.Meta = f.member
	return f
}

// record turns to record i of a frame.
func (f *facts) record(s *natsstream.Shard, frame *log.Frame, i int) {
	f.shard, f.frame, f.at, f.sequence = s, frame, i, ""
}

// match says whether a record goes to the function, of the frame's record itself or of one in it.
func (f *facts) match(set *filter.Set, one runtime.Record) bool {
	if set == nil {
		return true
	}
	f.one, f.ask.Data = one, one.Data
	return set.Match(&f.ask)
}

// member is the JSON of a member, valid until the next one is asked for.
func (f *facts) member(name string) ([]byte, bool) {
	b := f.buf[:0]
	switch name {
	case "kinesis":
		b = f.kinesis(b)
	case "kinesisSchemaVersion", "eventVersion":
		b = append(b, `"1.0"`...)
	case "partitionKey":
		b = appendText(b, f.one.PartitionKey)
	case "sequenceNumber":
		b = appendText(b, f.number())
	case "approximateArrivalTimestamp":
		b = f.arrival(b)
	case "eventID":
		b = appendText(b, f.batch.Shard+":"+f.number())
	case "eventSource":
		b = append(b, `"aws:kinesis"`...)
	case "eventName":
		b = append(b, `"aws:kinesis:record"`...)
	case "invokeIdentityArn":
		b = appendText(b, f.batch.Identity)
	case "awsRegion":
		b = appendText(b, f.batch.Region)
	case "eventSourceARN":
		b = appendText(b, f.batch.ARN)
	case "subSequenceNumber", "aggregated":
		if !f.one.Aggregated {
			return nil, false
		}
		if name == "aggregated" {
			b = append(b, "true"...)
		} else {
			b = strconv.AppendInt(b, int64(f.one.SubSequence), 10)
		}
	default:
		return nil, false
	}
	f.buf = b
	return b, true
}

// kinesis is all that the event has under that name.
func (f *facts) kinesis(b []byte) []byte {
	b = appendText(append(b, `{"kinesisSchemaVersion":"1.0","partitionKey":`...), f.one.PartitionKey)
	b = appendText(append(b, `,"sequenceNumber":`...), f.number())
	b = base64.StdEncoding.AppendEncode(append(b, `,"data":"`...), f.one.Data)
	b = f.arrival(append(b, `","approximateArrivalTimestamp":`...))
	if f.one.Aggregated {
		b = strconv.AppendInt(append(b, `,"subSequenceNumber":`...), int64(f.one.SubSequence), 10)
		b = append(b, `,"aggregated":true`...)
	}
	return append(b, '}')
}

func (f *facts) number() string {
	if f.sequence == "" {
		f.sequence = f.shard.Sequence(f.frame, f.at).String()
	}
	return f.sequence
}

// arrival appends seconds with milliseconds.
func (f *facts) arrival(b []byte) []byte {
	ms := f.one.Arrival % 1000
	b = strconv.AppendInt(b, f.one.Arrival/1000, 10)
	return append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
}

// appendText appends a JSON string.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string has JSON
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
