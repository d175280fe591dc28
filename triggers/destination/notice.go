package destination

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/triggers"
)

// Discard is a batch that a shard has given up.
type Discard struct {
	// Reason is why. The record's condition is the same word, but for
	// [dlq.PayloadTooLarge]: see [Body].
	Reason dlq.Reason
	// Batch is its records, one at least, as the function got them or would have.
	Batch *runtime.Batch
	// RequestID is that of its last invocation. Empty, if there was none: one is made
	// up, the same whenever the same batch is discarded.
	RequestID string
	// Invocations is how often it was handed over. Less than 1 is told as 1, as on AWS.
	Invocations int
	// Version of the function that ran last. Empty: $LATEST.
	Version string
	// FunctionError: the last invocation ended with an error; if not, it returned and
	// named items that failed.
	FunctionError bool
	At            time.Time
	// Burial is how often its records have been buried, this time included: 1, or more
	// for what was redriven. 0 means 1.
	Burial int
}

// Notice is what a mapping's OnFailure destination is told of a discarded batch. It has
// a payload only if the destination keeps it.
func Notice(m triggers.Mapping, src triggers.Source, d Discard) triggers.Notice {
	d.At = d.At.UTC().Truncate(time.Millisecond)
	id := noticeID(src, d)
	if d.RequestID == "" {
		d.RequestID = uuidOf(id)
	}
	n := triggers.Notice{
		ID: id, Destination: m.Config.OnFailure, Drop: m.Config.OnDestinationFailure == triggers.Drop,
		Mapping: m.ID, Shard: d.Batch.Shard, At: d.At, Records: distinct(d.Batch.Records), Body: Body(m, d),
	}
	if k, _ := kindOf(n.Destination); k == kindBucket || k == kindFile {
		n.Payload = runtime.AppendJSON(nil, d.Batch)
	}
	return n
}

// noticeID is 32 hex digits.
func noticeID(src triggers.Source, d Discard) string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%s\x00%d\x00%s\x00%d\x00", src.Mapping, src.Generation, d.Batch.Shard, max(d.Burial, 1))
	for i := range d.Batch.Records {
		_, _ = fmt.Fprintf(h, "%s\x00", d.Batch.Records[i].Sequence)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// uuidOf makes a notice's id a UUID (version 8: of the maker's own making).
func uuidOf(id string) string {
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != 16 {
		sum := sha256.Sum256([]byte(id))
		b = sum[:16]
	}
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// tooLarge is the condition of a batch that no invocation could take: AWS's word for
// Kafka. AWS lets no record of a stream get that large.
const tooLarge = "MaximumPayloadSizeExceeded"

const millis = "2006-01-02T15:04:05.000Z"

// Body is the JSON that AWS sends of a discarded batch, keys in AWS's order, without
// payload. What was too old has no responseContext, as recorded on AWS; that of what
// was too large to be handed over is null, as it is for Kafka.
func Body(m triggers.Mapping, d Discard) []byte {
	condition := string(d.Reason)
	if d.Reason == dlq.PayloadTooLarge {
		condition = tooLarge
	}
	version := d.Version
	if version == "" {
		version = "$LATEST"
	}
	b := []byte(`{"requestContext":{"requestId":`)
	b = appendString(b, d.RequestID)
	b = appendString(append(b, `,"functionArn":`...), functionARN(m))
	b = appendString(append(b, `,"condition":`...), condition)
	b = strconv.AppendInt(append(b, `,"approximateInvokeCount":`...), int64(max(d.Invocations, 1)), 10)
	b = append(b, '}')
	switch d.Reason {
	case dlq.RecordAgeExceeded:
	case dlq.PayloadTooLarge:
		b = append(b, `,"responseContext":null`...)
	default:
		b = appendString(append(b, `,"responseContext":{"statusCode":200,"executedVersion":`...), version)
		if d.FunctionError {
			b = append(b, `,"functionError":"Unhandled"}`...)
		} else {
			b = append(b, `,"functionError":null}`...)
		}
	}
	b = append(b, `,"version":"1.0","timestamp":`...)
	b = appendString(b, d.At.UTC().Format(millis))
	info, arrival := "KinesisBatchInfo", millis
	if d.Batch.Kind == runtime.KindDynamoDB {
		info, arrival = "DDBStreamBatchInfo", "2006-01-02T15:04:05Z"
	}
	all := d.Batch.Records
	var first, last runtime.Record
	if len(all) > 0 {
		first, last = all[0], all[len(all)-1]
	}
	b = append(b, `,"`+info+`":{"shardId":`...)
	b = appendString(b, d.Batch.Shard)
	b = appendString(append(b, `,"startSequenceNumber":`...), first.Sequence)
	b = appendString(append(b, `,"endSequenceNumber":`...), last.Sequence)
	b = appendString(append(b, `,"approximateArrivalOfFirstRecord":`...), time.UnixMilli(first.Arrival).UTC().Format(arrival))
	b = appendString(append(b, `,"approximateArrivalOfLastRecord":`...), time.UnixMilli(last.Arrival).UTC().Format(arrival))
	b = strconv.AppendInt(append(b, `,"batchSize":`...), int64(distinct(all)), 10)
	b = appendString(append(b, `,"streamArn":`...), m.StreamARN)
	return append(b, "}}"...)
}

// distinct counts records of the stream: several that were packed into one are one.
func distinct(all []runtime.Record) (n int) {
	for i := range all {
		if i == 0 || all[i].Sequence != all[i-1].Sequence {
			n++
		}
	}
	return n
}

// functionARN is how clients of AWS's API named the function, or would have.
func functionARN(m triggers.Mapping) string {
	if m.FunctionARN != "" {
		return m.FunctionARN
	}
	parts := strings.SplitN(m.StreamARN, ":", 6)
	if len(parts) < 6 {
		parts = []string{"arn", "aws", "", "", ""}
	}
	arn := "arn:" + parts[1] + ":lambda:" + parts[3] + ":" + parts[4] + ":function:" + m.Config.Function
	if m.Config.Qualifier != "" {
		arn += ":" + m.Config.Qualifier
	}
	return arn
}

func appendString(dst []byte, s string) []byte {
	text, _ := json.Marshal(s) // a string never fails
	return append(dst, text...)
}

// Object is what destinations get that keep payloads: the record, and as its last
// member the event as a string.
func Object(n triggers.Notice) []byte {
	b := make([]byte, 0, len(n.Body)+len(n.Payload)+len(n.Payload)/8+16)
	b = append(b, n.Body[:len(n.Body)-1]...)
	b = append(b, `,"payload":`...)
	b = appendText(b, n.Payload)
	return append(b, '}')
}

// appendText writes JSON as a string of JSON. It escapes what has to be and no more: a
// payload has megabytes.
func appendText(dst, text []byte) []byte {
	dst = append(dst, '"')
	from := 0
	for i, c := range text {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[from:i]...)
		from = i + 1
		if c == '"' || c == '\\' {
			dst = append(dst, '\\', c)
		} else {
			dst = append(dst, `\u00`...)
			dst = append(dst, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		}
	}
	dst = append(dst, text[from:]...)
	return append(dst, '"')
}

// Key is the name of a notice's object: aws/lambda/<mapping>/<shard>/, the day, the
// time, and a UUID, which comes from the notice's id: to send it again replaces it.
func Key(n triggers.Notice) string {
	at := n.At.UTC()
	return "aws/lambda/" + n.Mapping + "/" + n.Shard + "/" + at.Format("2006/01/02/2006-01-02T15.04.05") + "-" + uuidOf(n.ID)
}
