package kinesis

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/wasmill/wasmill/stream"
)

// The calls before are only counted, not made: those of a second are limited too.
func TestShardCountIsUpdatedTenTimesADayIfLimited(t *testing.T) {
	limits := new(Limits)
	for _, e := range []*emulator{emulate(t, 0, limits), emulate(t, 0, nil)} {
		d := e.create("s", 1)
		for range 9 {
			limits.daily("UpdateShardCount", d.ID, scalesADay)
		}
		scale := func() error {
			_, err := e.UpdateShardCount(t.Context(), &sdk.UpdateShardCountInput{StreamName: aws.String("s"), TargetShardCount: aws.Int32(1), ScalingType: "UNIFORM_SCALING"})
			return err
		}
		e.check(scale())
		if err := scale(); fails(err, "LimitExceededException", "10 times per rolling 24-hour period") != (e.limited) {
			t.Errorf("the eleventh time, limited: %t: %v", e.limited, err)
		}
	}
}

func TestModeIsUpdatedTwiceADayIfLimited(t *testing.T) {
	limits := new(Limits)
	e := emulate(t, 0, limits)
	d := e.create("s", 1)
	limits.daily("UpdateStreamMode", d.ID, modesADay)
	change := func(mode string) string {
		status, answer := e.call("UpdateStreamMode", `{"StreamARN":"`+d.ARN()+`","StreamModeDetails":{"StreamMode":"`+mode+`"}}`)
		if status == http.StatusOK {
			return "done"
		}
		code, _ := faultOf(answer)
		return code
	}
	var got []string
	for _, mode := range []string{"PROVISIONED", "ON_DEMAND", "PROVISIONED"} {
		got = append(got, change(mode))
	}
	if fmt.Sprint(got) != "[done done LimitExceededException]" {
		t.Errorf("changes: %q, want the last one refused: one to the mode that is does not count", got)
	}
}

func TestAccountHasSoManyShardsAndOnDemandStreamsIfLimited(t *testing.T) {
	e := emulate(t, 0, new(Limits))
	for i := range 50 {
		_, err := e.store.Create(t.Context(), stream.Local(fmt.Sprint("od", i)), stream.Config{Shards: 1, Mode: stream.OnDemand})
		e.check(err)
	}
	for in, want := range map[string]string{
		`{"StreamName":"x"}`:                      "Current on-demand stream count for the account: 50. Limit: 50.",
		`{"StreamName":"x","ShardCount":20000}`:   "Current shard count: 0. Limit: 10000.",
		`{"StreamName":"x","ShardCount":1000000}`: "Current shard count for the account: 50. Limit: 20000.",
	} {
		_, answer := e.call("CreateStream", in)
		if code, text := faultOf(answer); code != "LimitExceededException" || !strings.Contains(text, want) {
			t.Errorf("%s: %s, want %s", in, answer, want)
		}
	}
}

func TestStreamHasTwentyConsumersOrFiftyWithTheAdvantage(t *testing.T) {
	e := emulate(t, 0, nil)
	provisioned := e.create("s", 1).ARN()
	e.must(`CreateStream {"StreamName":"od"}`)
	fill := func(arn string, n int) {
		t.Helper()
		for i := range n + 1 {
			_, err := e.RegisterStreamConsumer(t.Context(), &sdk.RegisterStreamConsumerInput{StreamARN: &arn, ConsumerName: aws.String(fmt.Sprint("c", i, "-", n))})
			if refused := fails(err, "LimitExceededException", "registered consumers"); refused != (i == n) {
				t.Fatalf("consumer %d of %s: %v", i, arn, err)
			}
		}
	}
	fill(provisioned, 20)
	fill(arnOf+"od", 20)
	e.must(`UpdateAccountSettings {"MinimumThroughputBillingCommitment":{"Status":"ENABLED"}}`)
	fill(arnOf+"od", 30)
	fill(provisioned, 0)
}

func TestWarmThroughputHasALimit(t *testing.T) {
	e := emulate(t, 0, nil)
	e.must(`UpdateAccountSettings {"MinimumThroughputBillingCommitment":{"Status":"ENABLED"}}`, `CreateStream {"StreamName":"od"}`)
	_, answer := e.call("UpdateStreamWarmThroughput", `{"StreamName":"od","WarmThroughputMiBps":10241}`)
	if code, text := faultOf(answer); code != "LimitExceededException" || !strings.Contains(text, "exceeds the limit of 10240 MiBps") {
		t.Error(answer)
	}
}

func TestPolicyHasTwentyKilobytesAtMost(t *testing.T) {
	e := emulate(t, 0, nil)
	arn := e.create("s", 1).ARN()
	policy := func(size int) string {
		text := `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Sid":"`
		return text + strings.Repeat("x", size-len(text)-3) + `"}}`
	}
	put := func(size int) error {
		_, err := e.PutResourcePolicy(t.Context(), &sdk.PutResourcePolicyInput{ResourceARN: &arn, Policy: aws.String(policy(size))})
		return err
	}
	if err := put(20 << 10); err != nil {
		t.Error(err)
	}
	if err := put(20<<10 + 1); !fails(err, "InvalidArgumentException", "larger than 20480 bytes") {
		t.Error(err)
	}
}

func TestTagsOfAStreamInTheMakingAreKept(t *testing.T) {
	e, ctx := emulate(t, 50*time.Millisecond, nil), t.Context()
	_, err := e.CreateStream(ctx, &sdk.CreateStreamInput{StreamName: aws.String("s"), ShardCount: aws.Int32(1), Tags: map[string]string{"k": "v"}})
	e.check(err)
	d, err := e.store.Describe(ctx, stream.Local("s"))
	if err != nil || d.Attributes.Tags["k"] != "v" {
		t.Errorf("tags = %v, %v", d.Attributes.Tags, err)
	}
}

// The answers of the control plane are the same in CBOR.
func TestAnswersAreTheSameInCBOR(t *testing.T) {
	e := emulate(t, 0, nil)
	d := e.create("s", 2)
	e.must(`SplitShard {"StreamName":"s","ShardToSplit":"0","NewStartingHashKey":"1000"}`)
	in := cbor.Map{"StreamName": cbor.String("s")}
	for op, look := range map[string]func(out cbor.Map) string{
		"ListShards": func(out cbor.Map) string {
			sh := out["Shards"].(cbor.List)[2].(cbor.Map)
			return fmt.Sprint(sh["ParentShardId"], sh["HashKeyRange"].(cbor.Map)["EndingHashKey"], len(out["Shards"].(cbor.List)))
		},
		"DescribeStreamSummary": func(out cbor.Map) string {
			s := out["StreamDescriptionSummary"].(cbor.Map)
			made := s["StreamCreationTimestamp"].(*cbor.Tag)
			return fmt.Sprint(s["StreamId"], s["OpenShardCount"], s["StreamModeDetails"].(cbor.Map)["StreamMode"], made.ID)
		},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.url, bytes.NewReader(cbor.Encode(in)))
		e.check(err)
		req.Header.Set("X-Amz-Target", "Kinesis_20131202."+op)
		req.Header.Set("Content-Type", "application/x-amz-cbor-1.1")
		req.Header.Set("X-Amz-Date", "20260101T000000Z")
		req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=00")
		resp, err := http.DefaultClient.Do(req)
		e.check(err)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		e.check(err)
		v, err := cbor.Decode(body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s = %d %q: %v", op, resp.StatusCode, body, err)
		}
		want := map[string]string{"ListShards": "shardId-000000000000" + "999" + "4", "DescribeStreamSummary": d.ID + "3" + "PROVISIONED" + "1"}[op]
		if got := strings.ReplaceAll(look(v.(cbor.Map)), " ", ""); got != want {
			t.Errorf("%s gives %s, want %s", op, got, want)
		}
	}
}

func TestACommitmentThatHasEndedAllowsNothing(t *testing.T) {
	e := emulate(t, 0, nil)
	ended := func(at time.Time) {
		t.Helper()
		_, err := e.store.SetAccount(t.Context(), "000000000000", "us-east-1", func(a *stream.AccountSettings) error {
			*a = stream.AccountSettings{Commitment: true, Started: at.Add(-minCommitment), EarliestEnd: at, Ended: at}
			return nil
		})
		e.check(err)
	}
	ended(time.Now().Add(time.Hour))
	e.must(`CreateStream {"StreamName":"before","WarmThroughputMiBps":1}`)
	ended(time.Now().Add(-time.Hour))
	if status, answer := e.call("CreateStream", `{"StreamName":"after","WarmThroughputMiBps":1}`); status != 400 || !strings.Contains(answer, "MinimumThroughputBillingCommitment") {
		t.Errorf("warm throughput: %d %s", status, answer)
	}
	d, err := e.store.Describe(t.Context(), stream.Local("before"))
	e.check(err)
	for i := range maxConsumers + 1 {
		status, answer := e.call("RegisterStreamConsumer", fmt.Sprintf(`{"StreamARN":%q,"ConsumerName":"c%d"}`, d.ARN(), i))
		if (status == 200) != (i < maxConsumers) {
			t.Errorf("consumer %d: %d %s", i+1, status, answer)
		}
	}
}

func TestWhatTheCatalogueHasNoRoomForIsNoInternalError(t *testing.T) {
	e := emulate(t, 0, nil)
	d := e.create("s", 1)
	tags := make(map[string]string)
	for i := range maxTags {
		tags[fmt.Sprintf("%02d", i)+strings.Repeat("\u1234", 126)] = strings.Repeat("\u1234", 256)
	}
	list, err := json.Marshal(tags)
	e.check(err)
	status, answer := 200, ""
	for i := 0; i < maxConsumers && status == 200; i++ {
		status, answer = e.call("RegisterStreamConsumer", fmt.Sprintf(`{"StreamARN":%q,"ConsumerName":"c%d","Tags":%s}`, d.ARN(), i, list))
	}
	if status != 400 || !strings.Contains(answer, "too large") {
		t.Errorf("%d %.300s", status, answer)
	}
}
