package kinesis

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/wasmill/wasmill/api/wire"
)

func TestFunctionsPutAndReadRecordsAndChangeNoStream(t *testing.T) {
	e, ctx := emulate(t, 0, nil), t.Context()
	service := New(Deps{Streams: e.store})
	inner := ForFunctions(service)
	h, err := wire.New(wire.Options{Services: []*wire.Service{inner}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	defer server.Close()
	function := clientOf(server.URL, "us-east-1", "wasmill-f")

	if _, err := e.CreateStream(ctx, &sdk.CreateStreamInput{StreamName: aws.String("s"), ShardCount: aws.Int32(1)}); err != nil {
		t.Fatal(err)
	}
	put, err := function.PutRecord(ctx, &sdk.PutRecordInput{StreamName: aws.String("s"), PartitionKey: aws.String("k"), Data: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	it, err := function.GetShardIterator(ctx, &sdk.GetShardIteratorInput{StreamName: aws.String("s"), ShardId: put.ShardId, ShardIteratorType: types.ShardIteratorTypeTrimHorizon})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := function.GetRecords(ctx, &sdk.GetRecordsInput{ShardIterator: it.ShardIterator}); err != nil || len(got.Records) != 1 {
		t.Errorf("%v, %v", got, err)
	}

	// By name, so that an operation that comes later is looked at.
	may := " DescribeAccountSettings DescribeLimits DescribeStream DescribeStreamConsumer DescribeStreamSummary GetRecords GetResourcePolicy GetShardIterator" +
		" ListShards ListStreamConsumers ListStreams ListTagsForResource ListTagsForStream PutRecord PutRecords SubscribeToShard "
	head := map[string]string{"Content-Type": "application/x-amz-json-1.1", "X-Amz-Date": "20260101T000000Z",
		"Authorization": "AWS4-HMAC-SHA256 Credential=wasmill-f/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=00"}
	for _, op := range service.Ops {
		r := httptest.NewRequest("POST", "/", strings.NewReader(`{"StreamName":"s"}`))
		for name, value := range head {
			r.Header.Set(name, value)
		}
		r.Header.Set("X-Amz-Target", "Kinesis_20131202."+op.Name)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		denied := w.Code == 403 && strings.Contains(w.Body.String(), `"AccessDeniedException"`) && strings.Contains(w.Body.String(), op.Name)
		if want := !strings.Contains(may, " "+op.Name+" "); denied != want {
			t.Errorf("%s: %d %s", op.Name, w.Code, w.Body)
		}
	}
	if list, err := e.ListStreams(ctx, &sdk.ListStreamsInput{}); err != nil || len(list.StreamNames) != 1 {
		t.Errorf("afterwards there are %v, %v", list, err)
	}
}
