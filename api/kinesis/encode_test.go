package kinesis

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
)

// answerOf is what the wire makes of an answer.
func answerOf(t *testing.T, f wire.Format, answer any) string {
	t.Helper()
	h, err := wire.New(wire.Options{Services: []*wire.Service{{Name: "kinesis", Target: "Kinesis_20131202", Signing: "kinesis", Ops: []*wire.Operation{{
		Name: "Answer", Do: func(context.Context, *wire.Call) (any, error) { return answer, nil },
	}}}}})
	if err != nil {
		t.Fatal(err)
	}
	body, path := "{}", "/"
	if !f.JSON() {
		body = "\xa0"
	}
	if f == wire.RPCv2CBOR {
		path = "/service/Kinesis_20131202/operation/Answer"
	}
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("X-Amz-Target", "Kinesis_20131202.Answer")
	r.Header.Set("Smithy-Protocol", "rpc-v2-cbor")
	r.Header.Set("Content-Type", f.ContentType())
	r.Header.Set("X-Amz-Date", "20260101T000000Z")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=00")
	if f != wire.RPCv2CBOR {
		r.Header.Del("Smithy-Protocol")
	} else {
		r.Header.Del("X-Amz-Target")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", f.ContentType(), w.Code, w.Body)
	}
	return w.Body.String()
}

// The answers that write themselves are, byte by byte, what reflection writes of structs that
// say the same; but for escapes, of which JSON has several.
func TestAnswersAreWrittenAsReflectionWould(t *testing.T) {
	type result struct {
		SequenceNumber, ShardId, ErrorCode, ErrorMessage string `json:",omitempty"`
	}
	type record struct {
		SequenceNumber              string
		ApproximateArrivalTimestamp wire.Time
		Data                        []byte
		PartitionKey                string
		EncryptionType              string `json:",omitempty"`
	}
	type hashRange struct{ StartingHashKey, EndingHashKey string }
	type child struct {
		ShardId      string
		ParentShards []string
		HashKeyRange hashRange
	}
	number := func(frame uint64) stream.SequenceNumber {
		return stream.SequenceNumber{Epoch: 1790000000, Shard: 3, Frame: frame, Index: 65534, Time: 1790000001}
	}
	put := stream.PutResult{Shard: stream.ShardID(3), Sequence: number(7)}
	var records []stream.Record
	var wrote []record
	for i, size := range []int{0, 1, 23, 24, 255, 256, 65536} {
		at := time.UnixMilli([]int64{1790000000000, 1790000000001, 1790000000120, 1790000123456, 1000000000000, 9999999999999, 1441215410867}[i])
		key := "kéy \u2028\u2029 &<>" + strings.Repeat("k", size%200)
		data := []byte(strings.Repeat("\xfe", size))
		records = append(records, stream.Record{Sequence: number(uint64(i)), Arrival: at, PartitionKey: key, Data: data})
		wrote = append(wrote, record{number(uint64(i)).String(), wire.Time(at), data, key, "KMS"})
	}
	parent := []stream.Shard{{ID: stream.ShardID(4), Parents: []string{stream.ShardID(1), stream.ShardID(2)}, To: stream.MaxHashKey}}
	children := []child{{stream.ShardID(4), parent[0].Parents, hashRange{"0", "340282366920938463463374607431768211455"}}}
	type events struct {
		Records                    []record
		ContinuationSequenceNumber string `json:",omitempty"`
		MillisBehindLatest         int64
		ChildShards                []child `json:",omitempty"`
	}
	tests := []struct {
		name       string
		fast, slow any
	}{
		{"put", &putRecordAnswer{put, ""}, struct{ ShardId, SequenceNumber string }{put.Shard, put.Sequence.String()}},
		{"put, encrypted", &putRecordAnswer{put, "KMS"}, struct{ ShardId, SequenceNumber, EncryptionType string }{put.Shard, put.Sequence.String(), "KMS"}},
		{"put many", &putRecordsAnswer{results: []stream.PutResult{put, put}}, struct {
			FailedRecordCount int
			Records           []result
		}{0, []result{{put.Sequence.String(), put.Shard, "", ""}, {put.Sequence.String(), put.Shard, "", ""}}}},
		{"put many, some failed", &putRecordsAnswer{results: []stream.PutResult{put, {Err: stream.ErrUnavailable}}, refused: []refusal{{}, {"Code", "why"}}, failed: 1, encryption: "KMS"}, struct {
			FailedRecordCount int
			Records           []result
			EncryptionType    string
		}{1, []result{{put.Sequence.String(), put.Shard, "", ""}, {"", "", "Code", "why"}}, "KMS"}},
		{"get", &getRecordsAnswer{records: records, encryption: "KMS", next: "AAA=", behind: 1234567 * time.Microsecond}, struct {
			Records            []record
			NextShardIterator  string
			MillisBehindLatest int64
		}{wrote, "AAA=", 1234}},
		{"get nothing", &getRecordsAnswer{next: "AAA=", behind: math.MaxInt64}, struct {
			Records            []record
			NextShardIterator  string
			MillisBehindLatest int64
		}{[]record{}, "AAA=", math.MaxInt64 / 1_000_000}},
		{"get the end", &getRecordsAnswer{ended: true, children: parent}, struct {
			Records            []record
			MillisBehindLatest int64
			ChildShards        []child
		}{[]record{}, 0, children}},
		{"event", &shardEvent{records, "KMS", number(9), time.Second, nil}, events{wrote, number(9).String(), 1000, nil}},
		{"last event", &shardEvent{children: parent}, events{[]record{}, "", 0, children}},
	}
	for _, tt := range tests {
		for _, f := range []wire.Format{wire.JSON11, wire.CBOR11, wire.RPCv2CBOR} {
			got, want := answerOf(t, f, tt.fast), answerOf(t, f, tt.slow)
			if f.JSON() {
				want = strings.NewReplacer(`\u2028`, "\u2028", `\u2029`, "\u2029").Replace(want)
			}
			if got != want {
				t.Errorf("%s, %s:\n got %.600q\nwant %.600q", tt.name, f.ContentType(), got, want)
			}
		}
	}
}

func FuzzTextIsWrittenAsItIs(f *testing.F) {
	f.Add("a\"b\\c\n\x00\x1f\x7f é\u2028")
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ToValidUTF8(text, "")
		w := writerTo(nil, wire.JSON11)
		w.object(1)
		w.textMember("Key", text)
		w.close('}')
		var got map[string]string
		if err := json.Unmarshal(w.b, &got); err != nil || !reflect.DeepEqual(got, map[string]string{"Key": text}) {
			t.Errorf("%q is written as %s, read as %q, %v", text, w.b, got, err)
		}
	})
}
