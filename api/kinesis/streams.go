package kinesis

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
)

func (s *service) streamOps() []*wire.Operation {
	return []*wire.Operation{
		{Name: "CreateStream", Input: createStreamInput, Do: s.createStream},
		{Name: "DeleteStream", Input: deleteStreamInput, Do: s.deleteStream},
		{Name: "DescribeStream", Input: describeStreamInput, Do: s.describeStream},
		{Name: "DescribeStreamSummary", Input: describeStreamSummaryInput, Do: s.describeStreamSummary},
		{Name: "ListStreams", Input: listStreamsInput, Do: s.listStreams},
		{Name: "IncreaseStreamRetentionPeriod", Input: retentionInput, Do: s.increaseRetention},
		{Name: "DecreaseStreamRetentionPeriod", Input: retentionInput, Do: s.decreaseRetention},
	}
}

var createStreamInput = wire.Structure(
	may("ShardCount", wire.Integer(1)),
	must("StreamName", streamNameShape),
	may("StreamModeDetails", modeShape),
	may("Tags", tagsShape),
	may("WarmThroughputMiBps", wire.Integer(0)),
	may("MaxRecordSizeInKiB", wire.Integer(1024, 10240)),
)

// createStream makes a provisioned stream if it is told a number of shards, and an
// on-demand one if it is told neither that nor a mode, as AWS does.
func (s *service) createStream(ctx context.Context, c *wire.Call) (any, error) {
	ref := stream.Ref{Account: c.Account, Region: c.Region, Name: c.In.String("StreamName")}
	config := stream.Config{
		Mode:        stream.Mode(c.In.Map("StreamModeDetails").String("StreamMode")),
		RecordBytes: int(c.In.Int("MaxRecordSizeInKiB")) << 10,
	}
	if config.Mode == "" {
		config.Mode = stream.OnDemand
		if c.In.Has("ShardCount") {
			config.Mode = stream.Provisioned
		}
	}
	count, warm := c.In.Int("ShardCount"), c.In.Int("WarmThroughputMiBps")
	switch {
	case config.Mode == stream.Provisioned && count == 0:
		return nil, invalid("ShardCount is required when StreamMode=PROVISIONED")
	case config.Mode == stream.OnDemand && c.In.Has("ShardCount"):
		return nil, invalid("ShardCount is not expected when StreamMode=ON_DEMAND")
	case config.Mode == stream.OnDemand:
		count = max(stream.OnDemandShards, warmShards(warm))
	}
	tags, err := mergeTags(ref, nil, c.In.Map("Tags"))
	if err != nil {
		return nil, err
	}
	if warm > 0 {
		if err := s.allowWarm(ctx, c, ref, config.Mode, warm); err != nil {
			return nil, err
		}
	}
	if _, err := s.Streams.Describe(ctx, ref); err == nil {
		return nil, s.fault(ctx, ref, stream.ErrExists)
	}
	if err := s.room(ctx, c, ref, config.Mode, 0, count); err != nil {
		return nil, err
	}
	config.Shards = int(count)
	if _, err := s.Streams.Create(ctx, ref, config); err != nil {
		return nil, s.fault(ctx, ref, err)
	}
	if len(tags) > 0 || warm > 0 {
		return nil, s.describeNew(ctx, ref, tags, int(warm))
	}
	return nil, nil
}

// describeNew gives a new stream its attributes: as soon as it is ACTIVE, if it is
// shown as CREATING for a while.
func (s *service) describeNew(ctx context.Context, ref stream.Ref, tags map[string]string, warm int) error {
	for {
		_, err := s.Streams.SetAttributes(ctx, ref, func(a *stream.Attributes) error {
			a.Tags, a.WarmMiBps = tags, warm
			return nil
		})
		if !errors.Is(err, stream.ErrBusy) {
			if err != nil {
				return s.fault(ctx, ref, err)
			}
			return nil
		}
		select {
		case <-time.After(stateEvery):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// stateEvery is how often a stream that is not ACTIVE yet is looked at.
const stateEvery = 20 * time.Millisecond

// room says whether the account may have count more shards, the stream having open
// ones already. What one stream can have holds without [Limits] too.
func (s *service) room(ctx context.Context, c *wire.Call, ref stream.Ref, mode stream.Mode, open, count int64) error {
	if open+count > stream.MaxShards && count <= accountShards {
		return wire.Errorf(codeLimit, "This request would exceed the shard limit for stream %s under account %s. Current shard count: %d. Limit: %d. "+
			"Number of additional shards that would have resulted from this request: %d.", ref.Name, ref.Account, open, stream.MaxShards, count)
	}
	if s.Limits == nil && count <= accountShards {
		return nil
	}
	shards, onDemand, err := s.usage(ctx, c)
	switch {
	case err != nil:
		return err
	case shards+count > accountShards:
		return wire.Errorf(codeLimit, "This request would exceed the shard limit for the account %s in %s. Current shard count for the account: %d. Limit: %d. "+
			"Number of additional shards that would have resulted from this request: %d. Refer to the AWS Service Limits page "+
			"(http://docs.aws.amazon.com/general/latest/gr/aws_service_limits.html) for current limits and how to request higher limits.",
			c.Account, c.Region, shards, accountShards, count)
	case open == 0 && mode == stream.OnDemand && onDemand >= accountStreams:
		return wire.Errorf(codeLimit, "This request would exceed the on-demand stream limit for the account %s in %s. Current on-demand stream count for the account: %d. Limit: %d.",
			c.Account, c.Region, onDemand, accountStreams)
	}
	return nil
}

// usage is how many open shards and on-demand streams the account has in the region.
func (s *service) usage(ctx context.Context, c *wire.Call) (shards, onDemand int64, err error) {
	list, err := s.streams(ctx, c)
	for _, d := range list {
		shards += int64(len(openShards(d)))
		if d.Mode == stream.OnDemand {
			onDemand++
		}
	}
	return shards, onDemand, err
}

// streams are those of the account in the region, by name.
func (s *service) streams(ctx context.Context, c *wire.Call) ([]stream.Description, error) {
	list, err := s.Streams.List(ctx)
	return slices.DeleteFunc(list, func(d stream.Description) bool { return d.Account != c.Account || d.Region != c.Region }), err
}

var deleteStreamInput = wire.Structure(byName, may("EnforceConsumerDeletion", wire.Boolean()), byARN, byID)

// deleteStream deletes streams that triggers read from too, as AWS does: the
// triggers then tell that their stream is gone.
func (s *service) deleteStream(ctx context.Context, c *wire.Call) (any, error) {
	d, err := s.find(ctx, c)
	if err != nil {
		return nil, err
	}
	if d.State == stream.Deleting {
		return nil, notActive(d)
	}
	if len(d.Attributes.Consumers) > 0 && !c.In.Bool("EnforceConsumerDeletion") {
		return nil, wire.Errorf(codeInUse, "DeleteStream can't delete %s:%s because there are consumers associated with this data stream. To delete %s anyway, "+
			"set the EnforceConsumerDeletion parameter to true to force the deletion of all the consumers that are associated with it.", d.Account, d.Name, d.Name)
	}
	if err := s.Streams.Delete(ctx, d.Ref); err != nil {
		return nil, s.fault(ctx, d.Ref, err)
	}
	return nil, nil
}

var listStreamsInput = wire.Structure(
	may("Limit", pageShape),
	may("ExclusiveStartStreamName", streamNameShape),
	may("NextToken", nextTokenShape),
)

// listStreamsPage is the most streams in an answer, and the default.
const listStreamsPage = 100

func (s *service) listStreams(ctx context.Context, c *wire.Call) (any, error) {
	last := c.In.String("ExclusiveStartStreamName")
	if c.In.Has("NextToken") {
		t, err := readToken(c, c.In.String("NextToken"))
		if err != nil {
			return nil, err
		}
		last = t.After
	}
	list, err := s.streams(ctx, c)
	if err != nil {
		return nil, err
	}
	i, found := slices.BinarySearchFunc(list, last, func(d stream.Description, name string) int { return strings.Compare(d.Name, name) })
	if found {
		i++
	}
	list = list[i:]
	page := limit(c.In.Int("Limit"), listStreamsPage)
	type summary struct {
		StreamName              string
		StreamARN               string
		StreamStatus            stream.State
		StreamModeDetails       modeDetails
		StreamCreationTimestamp wire.Time
	}
	out := struct {
		StreamNames     []string
		HasMoreStreams  bool
		NextToken       string `json:",omitempty"`
		StreamSummaries []summary
	}{StreamNames: []string{}, StreamSummaries: []summary{}, HasMoreStreams: len(list) > page}
	for _, d := range list[:min(page, len(list))] {
		out.StreamNames = append(out.StreamNames, d.Name)
		out.StreamSummaries = append(out.StreamSummaries, summary{d.Name, d.ARN(), d.State, modeDetails{d.Mode}, created(d)})
	}
	if out.HasMoreStreams {
		out.NextToken = token{After: list[page-1].Name}.write(c)
	}
	return out, nil
}

var retentionInput = wire.Structure(must("RetentionPeriodHours", wire.Integer()), byName, byARN, byID)

const (
	minRetentionHours = int64(stream.MinRetention / time.Hour)
	maxRetentionHours = int64(stream.MaxRetention / time.Hour)
)

func (s *service) increaseRetention(ctx context.Context, c *wire.Call) (any, error) {
	return nil, s.setRetention(ctx, c, func(d stream.Description, is, want int64) error {
		if want < is {
			return invalid("Requested retention period (%d hours) for stream %s can not be shorter than existing retention period (%d hours). Use DecreaseRetentionPeriod API.", want, d.Name, is)
		}
		return nil
	})
}

func (s *service) decreaseRetention(ctx context.Context, c *wire.Call) (any, error) {
	return nil, s.setRetention(ctx, c, func(d stream.Description, is, want int64) error {
		if want > is {
			return invalid("Requested retention period (%d hours) for stream %s can not be longer than existing retention period (%d hours). Use IncreaseRetentionPeriod API.", want, d.Name, is)
		}
		return nil
	})
}

func (s *service) setRetention(ctx context.Context, c *wire.Call, check func(d stream.Description, is, want int64) error) error {
	d, err := s.find(ctx, c)
	if err != nil {
		return err
	}
	want := c.In.Int("RetentionPeriodHours")
	switch {
	case want < minRetentionHours:
		return invalid("Minimum allowed retention period is %d hours. Requested retention period (%d hours) is too short.", minRetentionHours, want)
	case want > maxRetentionHours:
		return invalid("Maximum allowed retention period is %d hours. Requested retention period (%d hours) is too long.", maxRetentionHours, want)
	}
	if err := check(d, int64(d.Retention/time.Hour), want); err != nil {
		return err
	}
	if d.State != stream.Active {
		return notActive(d)
	}
	_, err = s.Streams.Update(ctx, d.Ref, func(c *stream.Config) { c.Retention = time.Duration(want) * time.Hour })
	if err != nil {
		return s.fault(ctx, d.Ref, err)
	}
	return nil
}
