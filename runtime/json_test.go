package runtime

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

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
			want += RecordJSONSize(b, r.PartitionKey, len(r.Data))
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
