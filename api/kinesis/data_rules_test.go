package kinesis

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/stream/natsstream"
)

// send is call in a format of choice.
func (e *emulator) send(f wire.Format, op string, body []byte) (status int, answer []byte) {
	e.t.Helper()
	req, err := http.NewRequestWithContext(e.t.Context(), http.MethodPost, e.url, bytes.NewReader(body))
	e.check(err)
	req.Header.Set("X-Amz-Target", "Kinesis_20131202."+op)
	req.Header.Set("Content-Type", f.ContentType())
	req.Header.Set("X-Amz-Date", "20260101T000000Z")
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=00")
	resp, err := http.DefaultClient.Do(req)
	e.check(err)
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	e.check(err)
	return resp.StatusCode, answer
}

// As the SDKs for Java before 2.30 and the KPL do.
func TestRecordsArePutAndReadInCBOR(t *testing.T) {
	e := emulate(t, 0, nil)
	e.create("s", 1)
	data := base64.StdEncoding.EncodeToString([]byte("\x00\xffdata"))
	status, answer := e.send(wire.CBOR11, "PutRecords", toCBOR(t, `{"StreamName":"s","Records":[{"PartitionKey":"k","Data":"`+data+`"}]}`))
	if status != http.StatusOK || !bytes.Contains(answer, []byte("shardId-000000000000")) {
		t.Fatalf("PutRecords: %d %q", status, answer)
	}
	status, answer = e.send(wire.CBOR11, "GetRecords", toCBOR(t, `{"ShardIterator":"`+*e.iterator("s", 0, types.ShardIteratorTypeTrimHorizon)+`"}`))
	if status != http.StatusOK || !bytes.Contains(answer, []byte("\x64Data\x46\x00\xffdata")) {
		t.Fatalf("GetRecords: %d %q", status, answer)
	}
	wantStrings(t, "in JSON", datas(e.get(e.iterator("s", 0, types.ShardIteratorTypeTrimHorizon), 0).Records), "\x00\xffdata")
}

func TestRecordsBeyondTheQuotaFailOneByOne(t *testing.T) {
	e := emulate(t, 0, nil)
	_, err := e.store.Create(t.Context(), stream.Local("small"), stream.Config{Shards: 1, MaxBytes: stream.DefaultRecordBytes})
	e.check(err)
	in := &sdk.PutRecordsInput{StreamName: aws.String("small")}
	for range 3 {
		in.Records = append(in.Records, types.PutRecordsRequestEntry{PartitionKey: aws.String("k"), Data: make([]byte, 500_000)})
	}
	out, err := e.PutRecords(t.Context(), in)
	e.check(err)
	if *out.FailedRecordCount != 1 || out.Records[1].SequenceNumber == nil || out.Records[1].ErrorCode != nil {
		t.Fatalf("%d failed: %+v", *out.FailedRecordCount, out.Records)
	}
	if r := out.Records[2]; aws.ToString(r.ErrorCode) != codeThroughput || !strings.Contains(aws.ToString(r.ErrorMessage), "stream small holds") || r.SequenceNumber != nil || r.ShardId != nil {
		t.Errorf("the third: %+v", r)
	}
	_, err = e.PutRecord(t.Context(), &sdk.PutRecordInput{StreamName: aws.String("small"), PartitionKey: aws.String("k"), Data: make([]byte, 500_000)})
	if code, _ := codeOf(err); code != codeThroughput {
		t.Errorf("PutRecord: %v", err)
	}
	if got := len(e.get(e.iterator("small", 0, types.ShardIteratorTypeTrimHorizon), 0).Records); got != 2 {
		t.Errorf("%d records are stored, want 2", got)
	}
}

func TestAPageHasTenMegabytesAtMost(t *testing.T) {
	e := emulate(t, 0, nil)
	e.create("s", 1)
	for i := range 12 {
		e.put("s", "k", fmt.Sprint(i, " ", strings.Repeat("x", 1<<20-10)))
	}
	page := e.get(e.iterator("s", 0, types.ShardIteratorTypeTrimHorizon), 0)
	if len(page.Records) != 10 || *page.MillisBehindLatest == 0 && page.NextShardIterator == nil {
		t.Errorf("%d records", len(page.Records))
	}
	if rest := e.get(page.NextShardIterator, 0); len(rest.Records) != 2 || !strings.HasPrefix(string(rest.Records[0].Data), "10 ") {
		t.Errorf("then %d records", len(rest.Records))
	}
}

func TestALargeRecordFitsWhereTheStreamTakesIt(t *testing.T) {
	e := emulate(t, 0, nil)
	_, err := e.store.Create(t.Context(), stream.Local("large"), stream.Config{Shards: 1, RecordBytes: stream.MaxRecordBytes})
	e.check(err)
	data := strings.Repeat("x", stream.MaxRecordBytes-1)
	e.put("large", "k", data)
	wantStrings(t, "records", datas(e.get(e.iterator("large", 0, types.ShardIteratorTypeTrimHorizon), 0).Records), data)
	events := subscribeTo(t, e.another(), e.register("large", "app"), 0, types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon})
	wantStrings(t, "an event", datas(nextEvent(t, events).Records), data)
}

func TestAnswersTellOfEncryption(t *testing.T) {
	e := emulate(t, 0, nil)
	e.create("s", 1)
	e.must(`StartStreamEncryption {"StreamName":"s","EncryptionType":"KMS","KeyId":"alias/aws/kinesis"}`)
	one, err := e.PutRecord(t.Context(), &sdk.PutRecordInput{StreamName: aws.String("s"), PartitionKey: aws.String("k"), Data: []byte("x")})
	e.check(err)
	many, err := e.PutRecords(t.Context(), &sdk.PutRecordsInput{StreamName: aws.String("s"), Records: []types.PutRecordsRequestEntry{{PartitionKey: aws.String("k"), Data: []byte("x")}}})
	e.check(err)
	page := e.get(e.iterator("s", 0, types.ShardIteratorTypeTrimHorizon), 0)
	event := nextEvent(t, subscribeTo(t, e.another(), e.register("s", "app"), 0, types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon}))
	for what, got := range map[string]types.EncryptionType{"PutRecord": one.EncryptionType, "PutRecords": many.EncryptionType, "GetRecords": page.Records[1].EncryptionType, "SubscribeToShard": event.Records[0].EncryptionType} {
		if got != types.EncryptionTypeKms {
			t.Errorf("%s: %q", what, got)
		}
	}
}

func TestAConsumerInTheMakingCannotSubscribe(t *testing.T) {
	e := emulate(t, 0, nil)
	e.create("s", 1)
	slow := e.serve(wire.Options{Services: []*wire.Service{New(Deps{Streams: e.store, StateDelay: time.Hour})}})
	arn := e.register("s", "app")
	_, created, _ := strings.Cut(*arn, "/consumer/app:")
	_, err := slow.SubscribeToShard(t.Context(), &sdk.SubscribeToShardInput{ConsumerARN: arn, ShardId: aws.String("shardId-000000000000"), StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeLatest}})
	// As recorded in awslabs/kinesis-hot-shard-advisor#37.
	if code, text := codeOf(err); code != codeInUse || text != "Consumer app with creation timestamp "+created+" under stream: s , account 000000000000 is not in ACTIVE status." {
		t.Errorf("%s %s", code, text)
	}
}

func TestSubscriptionsEndWithTheServer(t *testing.T) {
	e := emulate(t, 0, nil)
	e.create("s", 1)
	closing := make(chan struct{})
	client := e.serve(wire.Options{Services: []*wire.Service{New(Deps{Streams: e.store})}, Closing: closing})
	events := subscribeTo(t, client, e.register("s", "app"), 0, types.StartingPosition{Type: types.ShardIteratorTypeLatest})
	nextEvent(t, events)
	close(closing)
	if event := nextEvent(t, events); event != nil || events.Err() != nil {
		t.Errorf("the end: %+v, %v", event, events.Err())
	}
}

// serve is a client of another service on the same store.
func (e *emulator) serve(o wire.Options) *sdk.Client {
	e.t.Helper()
	h, err := wire.New(o)
	e.check(err)
	server := httptest.NewServer(h)
	e.t.Cleanup(server.Close)
	return clientOf(server.URL, "us-east-1", "AKIDEXAMPLE")
}

// damagedShard is one whose next record is not as it was written.
type damagedShard struct {
	quiet
	next stream.Position
}

func (d *damagedShard) Read(_ context.Context, ref stream.Ref, shard string, at stream.Position, _ int) (natsstream.Page, error) {
	return natsstream.Page{Next: d.next}, &stream.CorruptError{Stream: ref.Name, Shard: shard, Sequence: at.Sequence, Reason: "checksum"}
}

func TestDamageIsToldWithTheWayAroundIt(t *testing.T) {
	d := &damagedShard{next: stream.Position{Kind: stream.At, Sequence: stream.SequenceNumber{Epoch: 1, Frame: 5}}}
	s := &service{Deps: Deps{Streams: d}, seal: newSealer([32]byte{})}
	it := iterator{stream.Local("s"), 0, stream.Position{Kind: stream.At, Sequence: stream.SequenceNumber{Epoch: 1, Frame: 4}}, time.Now().UnixMilli()}
	_, err := s.getRecords(t.Context(), callOf(s.seal.seal(it)))
	code, text := wireError(err)
	if want := " What lies behind can be read from AT_SEQUENCE_NUMBER " + d.next.Sequence.String() + "."; code != "InternalFailureException" || !strings.Contains(text, it.at.Sequence.String()) || !strings.HasSuffix(text, want) {
		t.Errorf("%s %s", code, text)
	}
	// An iterator for the damaged place can be had: reading from it tells.
	d.desc = stream.Description{Ref: stream.Local("s"), State: stream.Active, Shards: []stream.Shard{{ID: stream.ShardID(0), Epoch: 1}}}
	c := &wire.Call{Account: "000000000000", Region: "us-east-1", Operation: &wire.Operation{Name: "GetShardIterator"}, In: wire.Values{"StreamName": "s", "ShardId": "0", "ShardIteratorType": "LATEST"}}
	if _, err := s.getShardIterator(t.Context(), c); err != nil {
		t.Error(err)
	}
}
