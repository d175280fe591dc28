package runtime

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func testBatch(n, size int) *Batch {
	b := &Batch{Shard: "shardId-000000000003", ARN: "arn:aws:kinesis:us-east-1:000000000000:stream/s", Region: "us-east-1", Identity: "arn:aws:iam::000000000000:role/r"}
	for i := range n {
		b.Records = append(b.Records, Record{Sequence: seqA[:54] + string([]byte{byte('0' + i/10%10), byte('0' + i%10)}), PartitionKey: "key", Data: bytes.Repeat([]byte{byte(i)}, size), Arrival: 1545084650987 + int64(i)})
	}
	return b
}

func TestEventIsAsRecorded(t *testing.T) {
	b := testBatch(1, 0)
	b.Records[0].Data = []byte("Hello, this is a test.")
	b.Records[0].PartitionKey = "1"
	want := `{"Records":[{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"1","sequenceNumber":"` + b.Records[0].Sequence +
		`","data":"SGVsbG8sIHRoaXMgaXMgYSB0ZXN0Lg==","approximateArrivalTimestamp":1545084650.987},"eventSource":"aws:kinesis","eventVersion":"1.0",` +
		`"eventID":"shardId-000000000003:` + b.Records[0].Sequence + `","eventName":"aws:kinesis:record","invokeIdentityArn":"arn:aws:iam::000000000000:role/r",` +
		`"awsRegion":"us-east-1","eventSourceARN":"arn:aws:kinesis:us-east-1:000000000000:stream/s"}]}`
	if got := string(AppendJSON(nil, b)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestArrivalHasAllItsMilliseconds(t *testing.T) {
	b := testBatch(1, 1)
	b.Records[0].Arrival = 1700000000007
	if got := string(AppendJSON(nil, b)); !strings.Contains(got, `"approximateArrivalTimestamp":1700000000.007}`) {
		t.Error(got)
	}
}

// anyString holds what strings go wrong by: control characters, quotes, bytes
// that are no UTF-8, the line ends of JavaScript, long runes.
func anyString(t *rapid.T, name string) string {
	parts := rapid.SliceOf(rapid.OneOf(rapid.String(),
		rapid.SampledFrom([]string{"\x00", "\x7f", "\b\f\n\r\t", `"\/`, "<>&", "\u2028", "\u2029", "\ufffd", "\xff", "\xe2\x80", "𐍈"}))).Draw(t, name)
	return strings.Join(parts, "")
}

func TestStringsAreEscapedAsTheStandardLibraryDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyString(t, "s")
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		if err := e.Encode(s); err != nil {
			t.Fatal(err)
		}
		got := appendString(nil, s)
		if string(got) != strings.TrimSuffix(want.String(), "\n") {
			t.Fatalf("%q: got %s, want %s", s, got, &want)
		}
		if n := stringSize(s); n != len(got) {
			t.Fatalf("%q: stringSize = %d, want %d", s, n, len(got))
		}
	})
}

func TestSizesAddUpToTheEvent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := testBatch(rapid.IntRange(1, 20).Draw(t, "n"), 0)
		b.ARN = anyString(t, "arn")
		want := BatchJSONSize
		for i := range b.Records {
			r := &b.Records[i]
			r.PartitionKey = anyString(t, "key")
			r.Data = rapid.SliceOf(rapid.Byte()).Draw(t, "data")
			if r.Aggregated = rapid.Bool().Draw(t, "aggregated"); r.Aggregated {
				r.SubSequence = rapid.SampledFrom([]int{0, 9, 10, 99, 100, 12345}).Draw(t, "sub")
				want += NewRecordSizer(b).SubSize(r.PartitionKey, len(r.Data), r.SubSequence)
				continue
			}
			want += NewRecordSizer(b).Size(r.PartitionKey, len(r.Data))
		}
		got := AppendJSON(nil, b)
		if len(got) != want {
			t.Fatalf("the event has %d bytes, sizes add up to %d", len(got), want)
		}
		var e struct {
			Records []struct {
				Kinesis struct{ Data string }
			}
		}
		if err := json.Unmarshal(got, &e); err != nil || len(e.Records) != len(b.Records) {
			t.Fatalf("%v: %s", err, got)
		}
		for i, r := range e.Records {
			if data, err := base64.StdEncoding.DecodeString(r.Kinesis.Data); err != nil || !bytes.Equal(data, b.Records[i].Data) {
				t.Fatalf("record %d: %v", i, err)
			}
		}
	})
}

func BenchmarkAppendJSON(b *testing.B) {
	batch := testBatch(100, 1024)
	var dst []byte
	for b.Loop() {
		dst = AppendJSON(dst[:0], batch)
	}
	b.SetBytes(int64(len(dst)))
}

func BenchmarkAppendBinary(b *testing.B) {
	batch := testBatch(100, 1024)
	var dst []byte
	for b.Loop() {
		dst = AppendBinary(dst[:0], batch, BatchHeader{RequestID: "r"})
	}
	b.SetBytes(int64(len(dst)))
}

func TestEventOfAQueueIsAsRecorded(t *testing.T) {
	b := &Batch{Kind: KindSQS, ARN: "arn:aws:sqs:us-east-1:000000000000:q", Region: "us-east-1", Records: []Record{
		{Sequence: "m1", Data: []byte(`{"a":"<ü>"}`), Message: &Message{ReceiptHandle: "r1", MD5: "b1", AttributesMD5: "a1",
			System:     []SystemAttribute{{"ApproximateReceiveCount", "1"}, {"SentTimestamp", "1545082649183"}, {"SenderId", "S"}, {"ApproximateFirstReceiveTimestamp", "1545082649185"}},
			Attributes: []MessageAttribute{{"city", "String", []byte("Ulm"), false}, {"blob", "Binary", []byte{0, 255}, true}}}},
		{Sequence: "m2", Message: &Message{ReceiptHandle: "r2", MD5: "b2"}},
	}}
	const want = `{"Records":[{"messageId":"m1","receiptHandle":"r1","body":"{\"a\":\"<ü>\"}",` +
		`"attributes":{"ApproximateReceiveCount":"1","SentTimestamp":"1545082649183","SenderId":"S","ApproximateFirstReceiveTimestamp":"1545082649185"},` +
		`"messageAttributes":{"city":{"stringValue":"Ulm","stringListValues":[],"binaryListValues":[],"dataType":"String"},` +
		`"blob":{"binaryValue":"AP8=","stringListValues":[],"binaryListValues":[],"dataType":"Binary"}},"md5OfMessageAttributes":"a1","md5OfBody":"b1",` +
		`"eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:us-east-1:000000000000:q","awsRegion":"us-east-1"},` +
		`{"messageId":"m2","receiptHandle":"r2","body":"","attributes":{},"messageAttributes":{}%s,"md5OfBody":"b2",` +
		`"eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:us-east-1:000000000000:q","awsRegion":"us-east-1"}]}`
	if got := string(AppendJSON(nil, b)); got != strings.Replace(want, "%s", "", 1) {
		t.Errorf("got  %s", got)
	}
	b.Waited = true
	if got := string(AppendJSON(nil, b)); got != strings.Replace(want, "%s", `,"md5OfMessageAttributes":null`, 1) {
		t.Errorf("with a batching window: got  %s", got)
	}
}

func TestEventOfATableIsAsRecorded(t *testing.T) {
	const data = `{"ApproximateCreationDateTime":1733418659.0,"Keys":{"id":{"S":"1"}},"SequenceNumber":"400000000000000000000000001","SizeBytes":3,"StreamViewType":"KEYS_ONLY"}`
	b := &Batch{Kind: KindDynamoDB, Shard: "shardId-0", ARN: "arn:t", Region: "us-east-1", Records: []Record{
		{Sequence: "400000000000000000000000001", Data: []byte(data), Change: &Change{EventID: "e1", EventName: "INSERT"}},
		{Sequence: "400000000000000000000000002", Data: []byte(data), Change: &Change{EventID: "e2", EventName: "REMOVE", IdentityType: "Service", IdentityPrincipal: "dynamodb.amazonaws.com"}},
	}}
	const first = `{"eventID":"e1","eventName":"INSERT","eventVersion":"1.1","eventSource":"aws:dynamodb","awsRegion":"us-east-1","dynamodb":` + data + `,"eventSourceARN":"arn:t"}`
	const second = `{"eventID":"e2","eventName":"REMOVE","eventVersion":"1.1","eventSource":"aws:dynamodb","awsRegion":"us-east-1","dynamodb":` + data +
		`,"eventSourceARN":"arn:t","userIdentity":{"type":"Service","principalId":"dynamodb.amazonaws.com"}}`
	if got := string(AppendJSON(nil, b)); got != `{"Records":[`+first+`,`+second+`]}` {
		t.Errorf("got  %s", got)
	}
	b.Records = b.Records[:1]
	b.Window = &Window{Start: time.Unix(1607497440, 0), End: time.Unix(1607497560, 0)}
	if got := string(AppendJSON(nil, b)); got != `{"Records":[`+first+`],"window":{"start":"2020-12-09T07:04:00Z","end":"2020-12-09T07:06:00Z"},"state":{},`+
		`"shardId":"shardId-0","eventSourceARN":"arn:t","isFinalInvokeForWindow":false,"isWindowTerminatedEarly":false}` {
		t.Errorf("in a window: got  %s", got)
	}
	b.Records, b.Window.State, b.Window.Final, b.Window.TerminatedEarly = nil, []byte(`{"n":"1"}`), true, true
	if got := string(AppendJSON(nil, b)); got != `{"Records":[],"window":{"start":"2020-12-09T07:04:00Z","end":"2020-12-09T07:06:00Z"},"state":{"n":"1"},`+
		`"shardId":"shardId-0","eventSourceARN":"arn:t","isFinalInvokeForWindow":true,"isWindowTerminatedEarly":true}` {
		t.Errorf("at the end of a window: got  %s", got)
	}
}

// As aws-kinesis-agg shows them: the sequence number of the whole, and the place in it.
func TestAggregatedRecordsShowTheirPlace(t *testing.T) {
	b := &Batch{Records: []Record{{Sequence: "4", PartitionKey: "k", Data: []byte("x"), Arrival: 1, Aggregated: true, SubSequence: 7}, {Sequence: "5", PartitionKey: "k", Arrival: 1}}}
	var e struct {
		Records []struct {
			Kinesis struct {
				SequenceNumber    string
				SubSequenceNumber *int
				Aggregated        bool
			}
		}
	}
	if err := json.Unmarshal(AppendJSON(nil, b), &e); err != nil {
		t.Fatal(err)
	}
	one, two := e.Records[0].Kinesis, e.Records[1].Kinesis
	if one.SequenceNumber != "4" || one.SubSequenceNumber == nil || *one.SubSequenceNumber != 7 || !one.Aggregated || two.SubSequenceNumber != nil || two.Aggregated {
		t.Errorf("%+v", e)
	}
}
