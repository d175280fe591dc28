package kinesis

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
)

const arnOf = "arn:aws:kinesis:us-east-1:000000000000:stream/"

func TestClientCreatesAndDescribesStreams(t *testing.T) {
	e, ctx := emulate(t, 0, nil), t.Context()
	before := time.Now().Truncate(time.Second)
	_, err := e.CreateStream(ctx, &sdk.CreateStreamInput{
		StreamName: aws.String("quakes"), ShardCount: aws.Int32(3), MaxRecordSizeInKiB: aws.Int32(2048),
		StreamModeDetails: &types.StreamModeDetails{StreamMode: types.StreamModeProvisioned}, Tags: map[string]string{"team": "geo"},
	})
	e.check(err)

	out, err := e.DescribeStream(ctx, &sdk.DescribeStreamInput{StreamName: aws.String("quakes")})
	e.check(err)
	d := out.StreamDescription
	if *d.StreamName != "quakes" || *d.StreamARN != arnOf+"quakes" || d.StreamStatus != types.StreamStatusActive || d.StreamModeDetails.StreamMode != types.StreamModeProvisioned ||
		*d.RetentionPeriodHours != 24 || d.EncryptionType != types.EncryptionTypeNone || d.KeyId != nil || *d.HasMoreShards || len(d.Shards) != 3 ||
		len(d.EnhancedMonitoring) != 1 || d.StreamCreationTimestamp.Before(before) || d.StreamCreationTimestamp.After(time.Now()) {
		t.Errorf("description = %+v", d)
	}
	const third = "113427455640312821154458202477256070485"
	sh := d.Shards[1]
	if *sh.ShardId != "shardId-000000000001" || *sh.HashKeyRange.StartingHashKey != third || sh.SequenceNumberRange.EndingSequenceNumber != nil ||
		len(*sh.SequenceNumberRange.StartingSequenceNumber) != 56 || sh.ParentShardId != nil {
		t.Errorf("shard = %+v %+v", *sh.HashKeyRange.StartingHashKey, sh)
	}

	paged, err := e.DescribeStream(ctx, &sdk.DescribeStreamInput{StreamARN: d.StreamARN, Limit: aws.Int32(1), ExclusiveStartShardId: sh.ShardId})
	e.check(err)
	if got := paged.StreamDescription; len(got.Shards) != 1 || *got.Shards[0].ShardId != "shardId-000000000002" || *got.HasMoreShards {
		t.Errorf("page behind %s = %+v", *sh.ShardId, got.Shards)
	}
	paged, err = e.DescribeStream(ctx, &sdk.DescribeStreamInput{StreamName: aws.String("quakes"), Limit: aws.Int32(2)})
	e.check(err)
	if got := paged.StreamDescription; len(got.Shards) != 2 || !*got.HasMoreShards {
		t.Errorf("first page = %+v", got.Shards)
	}

	sum, err := e.DescribeStreamSummary(ctx, &sdk.DescribeStreamSummaryInput{StreamName: aws.String("quakes")})
	e.check(err)
	s := sum.StreamDescriptionSummary
	if *s.OpenShardCount != 3 || *s.ConsumerCount != 0 || *s.MaxRecordSizeInKiB != 2048 || s.WarmThroughput != nil || s.StreamStatus != types.StreamStatusActive || *s.RetentionPeriodHours != 24 {
		t.Errorf("summary = %+v", s)
	}
	for _, by := range []*sdk.DescribeStreamSummaryInput{
		{StreamId: s.StreamId}, {StreamARN: s.StreamARN}, {StreamId: s.StreamId, StreamName: s.StreamName, StreamARN: s.StreamARN},
	} {
		got, err := e.DescribeStreamSummary(ctx, by)
		e.check(err)
		if *got.StreamDescriptionSummary.StreamName != "quakes" {
			t.Errorf("%+v found %s", by, *got.StreamDescriptionSummary.StreamName)
		}
	}
	_, err = e.DescribeStream(ctx, &sdk.DescribeStreamInput{StreamId: s.StreamId})
	e.check(err)

	_, err = e.DeleteStream(ctx, &sdk.DeleteStreamInput{StreamName: aws.String("quakes")})
	e.check(err)
	_, err = e.DescribeStreamSummary(ctx, &sdk.DescribeStreamSummaryInput{StreamName: aws.String("quakes")})
	if _, gone := errors.AsType[*types.ResourceNotFoundException](err); !gone {
		t.Errorf("describing a deleted stream: %v", err)
	}
}

func TestStreamWithoutShardCountIsOnDemandWithFourShards(t *testing.T) {
	e, ctx := emulate(t, 0, nil), t.Context()
	for name, mode := range map[string]*types.StreamModeDetails{"a": nil, "b": {StreamMode: types.StreamModeOnDemand}} {
		_, err := e.CreateStream(ctx, &sdk.CreateStreamInput{StreamName: &name, StreamModeDetails: mode})
		e.check(err)
		out, err := e.DescribeStreamSummary(ctx, &sdk.DescribeStreamSummaryInput{StreamName: &name})
		e.check(err)
		if d := out.StreamDescriptionSummary; *d.OpenShardCount != 4 || d.StreamModeDetails.StreamMode != types.StreamModeOnDemand {
			t.Errorf("%s: %d shards, %s", name, *d.OpenShardCount, d.StreamModeDetails.StreamMode)
		}
	}
}

func TestClientDeletesStreams(t *testing.T) {
	e, ctx := emulate(t, 0, nil), t.Context()
	a, b, c := e.create("a", 1), e.create("b", 1), e.create("c", 1)
	_, err := e.RegisterStreamConsumer(ctx, &sdk.RegisterStreamConsumerInput{StreamARN: aws.String(a.ARN()), ConsumerName: aws.String("fan")})
	e.check(err)
	if _, err := e.DeleteStream(ctx, &sdk.DeleteStreamInput{StreamARN: aws.String(a.ARN())}); !strings.Contains(fmt.Sprint(err), "there are consumers associated") {
		t.Errorf("deleting a stream with a consumer: %v", err)
	}
	for _, in := range []*sdk.DeleteStreamInput{
		{StreamARN: aws.String(a.ARN()), EnforceConsumerDeletion: aws.Bool(true)}, {StreamId: &b.ID}, {StreamName: &c.Name, EnforceConsumerDeletion: aws.Bool(false)},
	} {
		_, err := e.DeleteStream(ctx, in)
		e.check(err)
	}
	if left, _ := e.store.List(ctx); len(left) > 0 {
		t.Errorf("%d streams left", len(left))
	}
}

func TestClientListsStreamsPageByPage(t *testing.T) {
	e, ctx := emulate(t, 0, nil), t.Context()
	var names []string
	for _, name := range []string{"delta", "alpha", "charlie", "bravo", "echo"} {
		e.create(name, 1)
		names = append(names, name)
	}
	slices.Sort(names)
	// One of another region and one of another account are not listed.
	for _, c := range []*sdk.Client{clientOf(e.url, "eu-west-1", "AKIDEXAMPLE"), clientOf(e.url, "us-east-1", "111122223333")} {
		_, err := c.CreateStream(ctx, &sdk.CreateStreamInput{StreamName: aws.String("bravo2"), ShardCount: aws.Int32(1)})
		e.check(err)
		out, err := c.ListStreams(ctx, &sdk.ListStreamsInput{})
		e.check(err)
		if !slices.Equal(out.StreamNames, []string{"bravo2"}) || *out.HasMoreStreams {
			t.Errorf("elsewhere: %v", out.StreamNames)
		}
	}
	var got []string
	pages := sdk.NewListStreamsPaginator(e.Client, &sdk.ListStreamsInput{Limit: aws.Int32(2)})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		e.check(err)
		got = append(got, out.StreamNames...)
		for i, s := range out.StreamSummaries {
			if *s.StreamName != out.StreamNames[i] || *s.StreamARN != arnOf+*s.StreamName || s.StreamStatus != types.StreamStatusActive || s.StreamModeDetails == nil || s.StreamCreationTimestamp.IsZero() {
				t.Errorf("summary of %s = %+v", out.StreamNames[i], s)
			}
		}
	}
	if !slices.Equal(got, names) {
		t.Errorf("pages of two give %v, want %v", got, names)
	}
	for after, want := range map[string][]string{"bravo": names[2:], "bz": names[2:], "echo": {}} {
		out, err := e.ListStreams(ctx, &sdk.ListStreamsInput{ExclusiveStartStreamName: &after})
		e.check(err)
		if !slices.Equal(out.StreamNames, want) {
			t.Errorf("behind %s: %v, want %v", after, out.StreamNames, want)
		}
	}
}

func TestClientChangesRetention(t *testing.T) {
	e, ctx := emulate(t, 0, nil), t.Context()
	d := e.create("s", 1)
	hours := func(want int32) {
		t.Helper()
		out, err := e.DescribeStreamSummary(ctx, &sdk.DescribeStreamSummaryInput{StreamName: &d.Name})
		e.check(err)
		if got := *out.StreamDescriptionSummary.RetentionPeriodHours; got != want {
			t.Errorf("retention = %d h, want %d", got, want)
		}
	}
	for i, in := range []*sdk.IncreaseStreamRetentionPeriodInput{{StreamName: &d.Name}, {StreamARN: aws.String(d.ARN())}, {StreamId: &d.ID}} {
		in.RetentionPeriodHours = aws.Int32(int32(48 + i))
		_, err := e.IncreaseStreamRetentionPeriod(ctx, in)
		e.check(err)
		hours(int32(48 + i))
	}
	_, err := e.IncreaseStreamRetentionPeriod(ctx, &sdk.IncreaseStreamRetentionPeriodInput{StreamName: &d.Name, RetentionPeriodHours: aws.Int32(8760)})
	e.check(err)
	hours(8760)
	for i, in := range []*sdk.DecreaseStreamRetentionPeriodInput{{StreamName: &d.Name}, {StreamARN: aws.String(d.ARN())}, {StreamId: &d.ID}} {
		in.RetentionPeriodHours = aws.Int32(int32(26 - i))
		_, err := e.DecreaseStreamRetentionPeriod(ctx, in)
		e.check(err)
		hours(int32(26 - i))
	}
}

func TestClientTagsStreamsAndConsumers(t *testing.T) {
	e, ctx := emulate(t, 0, nil), t.Context()
	d := e.create("s", 1)
	for i, in := range []*sdk.AddTagsToStreamInput{{StreamName: &d.Name}, {StreamARN: aws.String(d.ARN())}, {StreamId: &d.ID}} {
		in.Tags = map[string]string{fmt.Sprint("k", i): "v", "same": fmt.Sprint(i)}
		_, err := e.AddTagsToStream(ctx, in)
		e.check(err)
	}
	tags := func(want string) {
		t.Helper()
		out, err := e.ListTagsForStream(ctx, &sdk.ListTagsForStreamInput{StreamName: &d.Name})
		e.check(err)
		if got := show(out.Tags); got != want || *out.HasMoreTags {
			t.Errorf("tags = %s, want %s", got, want)
		}
	}
	tags("k0=v k1=v k2=v same=2")
	for i, in := range []*sdk.ListTagsForStreamInput{{StreamName: &d.Name}, {StreamARN: aws.String(d.ARN())}, {StreamId: &d.ID}} {
		in.Limit, in.ExclusiveStartTagKey = aws.Int32(int32(1)), aws.String(fmt.Sprint("k", i))
		out, err := e.ListTagsForStream(ctx, in)
		e.check(err)
		if want := []string{"k1=v", "k2=v", "same=2"}[i]; show(out.Tags) != want || *out.HasMoreTags != (i < 2) {
			t.Errorf("behind k%d: %s, more: %t; want %s", i, show(out.Tags), *out.HasMoreTags, want)
		}
	}
	for i, in := range []*sdk.RemoveTagsFromStreamInput{{StreamName: &d.Name}, {StreamARN: aws.String(d.ARN())}, {StreamId: &d.ID}} {
		in.TagKeys = []string{fmt.Sprint("k", i), "unknown"}
		_, err := e.RemoveTagsFromStream(ctx, in)
		e.check(err)
	}
	tags("same=2")

	reg, err := e.RegisterStreamConsumer(ctx, &sdk.RegisterStreamConsumerInput{StreamARN: aws.String(d.ARN()), ConsumerName: aws.String("fan"), Tags: map[string]string{"made": "with"}})
	e.check(err)
	for arn, want := range map[string]string{d.ARN(): "new=1 same=2", *reg.Consumer.ConsumerARN: "made=with new=1"} {
		_, err := e.TagResource(ctx, &sdk.TagResourceInput{ResourceARN: &arn, Tags: map[string]string{"new": "1", "newer": "2"}})
		e.check(err)
		_, err = e.UntagResource(ctx, &sdk.UntagResourceInput{ResourceARN: &arn, TagKeys: []string{"newer"}})
		e.check(err)
		out, err := e.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceARN: &arn})
		e.check(err)
		if got := show(out.Tags); got != want {
			t.Errorf("tags of %s = %s, want %s", arn, got, want)
		}
	}
	_, err = e.TagResource(ctx, &sdk.TagResourceInput{ResourceARN: aws.String(d.ARN()), StreamId: &d.ID, Tags: map[string]string{"x": "y"}})
	e.check(err)
	_, err = e.UntagResource(ctx, &sdk.UntagResourceInput{ResourceARN: aws.String(d.ARN()), StreamId: &d.ID, TagKeys: []string{"x"}})
	e.check(err)
	_, err = e.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceARN: aws.String(d.ARN()), StreamId: &d.ID})
	e.check(err)
	tags("new=1 same=2")
}

func show(tags []types.Tag) string {
	var list []string
	for _, t := range tags {
		list = append(list, *t.Key+"="+aws.ToString(t.Value))
	}
	return strings.Join(list, " ")
}

func TestClientRegistersConsumers(t *testing.T) {
	e, ctx := emulate(t, 0, nil), t.Context()
	d := e.create("s", 1)
	arn := aws.String(d.ARN())
	var arns []string
	for _, name := range []string{"b", "a", "c"} {
		out, err := e.RegisterStreamConsumer(ctx, &sdk.RegisterStreamConsumerInput{StreamARN: arn, StreamId: &d.ID, ConsumerName: &name})
		e.check(err)
		c := out.Consumer
		if want := fmt.Sprintf("%s/consumer/%s:%d", d.ARN(), name, c.ConsumerCreationTimestamp.Unix()); *c.ConsumerARN != want || *c.ConsumerName != name || c.ConsumerStatus != types.ConsumerStatusCreating {
			t.Errorf("registered = %+v, want ARN %s and CREATING", c, want)
		}
		arns = append(arns, *c.ConsumerARN)
	}
	slices.Sort(arns)
	for i, in := range []*sdk.DescribeStreamConsumerInput{
		{ConsumerARN: &arns[0]}, {StreamARN: arn, ConsumerName: aws.String("b")}, {StreamId: &d.ID, ConsumerName: aws.String("c")},
	} {
		out, err := e.DescribeStreamConsumer(ctx, in)
		e.check(err)
		if c := out.ConsumerDescription; *c.ConsumerARN != arns[i] || c.ConsumerStatus != types.ConsumerStatusActive || *c.StreamARN != *arn || c.ConsumerCreationTimestamp.IsZero() {
			t.Errorf("description = %+v, want %s ACTIVE", c, arns[i])
		}
	}
	var got []string
	pages := sdk.NewListStreamConsumersPaginator(e.Client, &sdk.ListStreamConsumersInput{StreamARN: arn, MaxResults: aws.Int32(2)})
	for pages.HasMorePages() {
		out, err := pages.NextPage(ctx)
		e.check(err)
		for _, c := range out.Consumers {
			got = append(got, *c.ConsumerARN)
		}
	}
	if !slices.Equal(got, arns) {
		t.Errorf("pages of two give %v, want %v", got, arns)
	}
	_, err := e.ListStreamConsumers(ctx, &sdk.ListStreamConsumersInput{StreamARN: arn, StreamId: &d.ID, StreamCreationTimestamp: aws.Time(d.Created.Truncate(time.Second))})
	e.check(err)
	sum, err := e.DescribeStreamSummary(ctx, &sdk.DescribeStreamSummaryInput{StreamARN: arn})
	e.check(err)
	if n := *sum.StreamDescriptionSummary.ConsumerCount; n != 3 {
		t.Errorf("ConsumerCount = %d, want 3", n)
	}
	for _, in := range []*sdk.DeregisterStreamConsumerInput{
		{ConsumerARN: &arns[0]}, {StreamARN: arn, ConsumerName: aws.String("b"), ConsumerARN: &arns[1]}, {StreamId: &d.ID, ConsumerName: aws.String("c")},
	} {
		_, err := e.DeregisterStreamConsumer(ctx, in)
		e.check(err)
	}
	list, err := e.ListStreamConsumers(ctx, &sdk.ListStreamConsumersInput{StreamARN: arn})
	e.check(err)
	if len(list.Consumers) != 0 {
		t.Errorf("%d consumers left", len(list.Consumers))
	}
}

func TestClientStoresPolicies(t *testing.T) {
	e, ctx := emulate(t, 0, nil), t.Context()
	d := e.create("s", 1)
	reg, err := e.RegisterStreamConsumer(ctx, &sdk.RegisterStreamConsumerInput{StreamARN: aws.String(d.ARN()), ConsumerName: aws.String("fan")})
	e.check(err)
	policy := func(arn string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"kinesis:SubscribeToShard","Resource":"` + arn + `"}]}`
	}
	arns := []string{d.ARN(), *reg.Consumer.ConsumerARN}
	for _, arn := range arns {
		_, err := e.PutResourcePolicy(ctx, &sdk.PutResourcePolicyInput{ResourceARN: &arn, StreamId: &d.ID, Policy: aws.String(policy(arn))})
		e.check(err)
	}
	for _, arn := range arns {
		out, err := e.GetResourcePolicy(ctx, &sdk.GetResourcePolicyInput{ResourceARN: &arn, StreamId: &d.ID})
		e.check(err)
		if *out.Policy != policy(arn) {
			t.Errorf("policy of %s = %s", arn, *out.Policy)
		}
		_, err = e.DeleteResourcePolicy(ctx, &sdk.DeleteResourcePolicyInput{ResourceARN: &arn, StreamId: &d.ID})
		e.check(err)
		_, err = e.GetResourcePolicy(ctx, &sdk.GetResourcePolicyInput{ResourceARN: &arn})
		if _, gone := errors.AsType[*types.ResourceNotFoundException](err); !gone {
			t.Errorf("deleted policy of %s: %v", arn, err)
		}
	}
}

// fails tells whether err is an error with AWS's code, and a text that has the words.
func fails(err error, code, words string) bool {
	if own, ok := errors.AsType[*wire.Error](err); ok {
		return own.Code == code && strings.Contains(own.Message, words)
	}
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && api.ErrorCode() == code && strings.Contains(api.ErrorMessage(), words)
}

func opCall(op string) *wire.Call {
	return &wire.Call{Operation: &wire.Operation{Name: op}, Account: stream.DefaultAccount, Region: stream.DefaultRegion}
}

func TestRecordsAreReachedByNameARNAndID(t *testing.T) {
	e, ctx := emulate(t, 0, nil), t.Context()
	d := e.create("s", 1)
	name, arn, id, shard := &d.Name, aws.String(d.ARN()), &d.ID, aws.String("shardId-000000000000")
	reg, err := e.RegisterStreamConsumer(ctx, &sdk.RegisterStreamConsumerInput{StreamARN: arn, ConsumerName: aws.String("fan")})
	e.check(err)
	for i, by := range [][3]*string{{name, nil, nil}, {nil, arn, nil}, {nil, nil, id}, {name, arn, id}} {
		put, err := e.PutRecord(ctx, &sdk.PutRecordInput{StreamName: by[0], StreamARN: by[1], StreamId: by[2], PartitionKey: aws.String("k"), Data: []byte{1}, SequenceNumberForOrdering: aws.String("0")})
		e.check(err)
		_, err = e.PutRecords(ctx, &sdk.PutRecordsInput{StreamName: by[0], StreamARN: by[1], StreamId: by[2], Records: []types.PutRecordsRequestEntry{{PartitionKey: aws.String("k"), Data: []byte{2}, ExplicitHashKey: aws.String("7")}}})
		e.check(err)
		it, err := e.GetShardIterator(ctx, &sdk.GetShardIteratorInput{StreamName: by[0], StreamARN: by[1], StreamId: by[2], ShardId: shard, ShardIteratorType: types.ShardIteratorTypeAtSequenceNumber, StartingSequenceNumber: put.SequenceNumber})
		e.check(err)
		got, err := e.GetRecords(ctx, &sdk.GetRecordsInput{StreamARN: by[1], StreamId: by[2], ShardIterator: it.ShardIterator, Limit: aws.Int32(10)})
		e.check(err)
		if len(got.Records) != 2 || !slices.Equal(got.Records[1].Data, []byte{2}) {
			t.Errorf("way %d: %d records", i, len(got.Records))
		}
	}
	sub, err := e.SubscribeToShard(ctx, &sdk.SubscribeToShardInput{ConsumerARN: reg.Consumer.ConsumerARN, StreamId: id, ShardId: shard, StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeTrimHorizon}})
	e.check(err)
	defer sub.GetStream().Close()
	event, ok := (<-sub.GetStream().Events()).(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent)
	if !ok || len(event.Value.Records) != 8 {
		t.Errorf("pushed: %+v, %v", event, sub.GetStream().Err())
	}
}
