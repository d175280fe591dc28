package kinesis

import (
	"context"
	"slices"
	"time"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/stream"
)

// details are the members that both descriptions have.
type details struct {
	StreamName              string
	StreamARN               string
	StreamStatus            stream.State
	StreamModeDetails       modeDetails
	RetentionPeriodHours    int
	StreamCreationTimestamp wire.Time
	EnhancedMonitoring      []enhancedMetrics
	EncryptionType          string
	KeyID                   string `json:"KeyId,omitempty"`
}

type modeDetails struct{ StreamMode stream.Mode }

type enhancedMetrics struct{ ShardLevelMetrics []string }

func detailsOf(d stream.Description) details {
	return details{
		StreamName: d.Name, StreamARN: d.ARN(), StreamStatus: d.State, StreamModeDetails: modeDetails{d.Mode},
		RetentionPeriodHours:    int(d.Retention / time.Hour),
		StreamCreationTimestamp: created(d),
		EnhancedMonitoring:      []enhancedMetrics{{metrics(d.Attributes.Metrics)}},
		EncryptionType:          encryptionType(d), KeyID: d.Attributes.KeyID,
	}
}

// created is shown in whole seconds, as on AWS.
func created(d stream.Description) wire.Time { return wire.Time(d.Created.Truncate(time.Second)) }

// encryptionType is shown of streams; answers about records leave NONE out.
func encryptionType(d stream.Description) string {
	if d.Attributes.KeyID != "" {
		return "KMS"
	}
	return "NONE"
}

type shardInfo struct {
	ShardID               string `json:"ShardId"`
	ParentShardID         string `json:"ParentShardId,omitempty"`
	AdjacentParentShardID string `json:"AdjacentParentShardId,omitempty"`
	HashKeyRange          hashKeyRange
	SequenceNumberRange   sequenceRange
}

type hashKeyRange struct{ StartingHashKey, EndingHashKey string }

type sequenceRange struct {
	StartingSequenceNumber string
	EndingSequenceNumber   string `json:",omitempty"`
}

func shardInfoOf(sh stream.Shard) shardInfo {
	info := shardInfo{
		ShardID:             sh.ID,
		HashKeyRange:        hashKeyRange{sh.From.String(), sh.To.String()},
		SequenceNumberRange: sequenceRange{sh.Starting().String(), sh.Ending().String()},
	}
	if len(sh.Parents) > 0 {
		info.ParentShardID = sh.Parents[0]
	}
	if len(sh.Parents) > 1 {
		info.AdjacentParentShardID = sh.Parents[1]
	}
	return info
}

// shown are the shards of d that clients see: none before the stream is made. Those
// that are being made in a running stream are seen, because who reads the end of their
// parents looks for them.
func shown(d stream.Description) []stream.Shard {
	if d.State == stream.Creating {
		return nil
	}
	return d.Shards
}

// openShards are those that take records.
func openShards(d stream.Description) []stream.Shard {
	return slices.DeleteFunc(slices.Clone(d.Shards), func(sh stream.Shard) bool { return !isOpen(d, sh) })
}

// isOpen is true of one shard for each hash key at any time: the children of a
// shard that is about to end do not count.
func isOpen(d stream.Description, sh stream.Shard) bool {
	return sh.State == stream.Active || sh.State == stream.Closing || d.State == stream.Creating
}

var describeStreamInput = wire.Structure(
	may("Limit", pageShape),
	may("ExclusiveStartShardId", nameShape),
	byName, byARN, byID,
)

// describePage is the most shards in an answer of DescribeStream, and the default.
const describePage = 100

func (s *service) describeStream(ctx context.Context, c *wire.Call) (any, error) {
	d, err := s.find(ctx, c)
	if err != nil {
		return nil, err
	}
	shards, err := after(d, shown(d), c.In.String("ExclusiveStartShardId"))
	if err != nil {
		return nil, err
	}
	page := limit(c.In.Int("Limit"), describePage)
	more := len(shards) > page
	shards = shards[:min(page, len(shards))]
	type description struct {
		details
		Shards        []shardInfo
		HasMoreShards bool
	}
	out := description{details: detailsOf(d), Shards: make([]shardInfo, len(shards)), HasMoreShards: more}
	for i, sh := range shards {
		out.Shards[i] = shardInfoOf(sh)
	}
	return struct{ StreamDescription description }{out}, nil
}

// limit is how many a page holds when n are asked for: 0 for as many as may be.
func limit(n int64, most int) int {
	if n == 0 {
		return most
	}
	return int(min(n, int64(most)))
}

// after are the shards that follow the one with that id, which need not be there any
// more. "" is before all.
func after(d stream.Description, shards []stream.Shard, id string) ([]stream.Shard, error) {
	if id == "" {
		return shards, nil
	}
	_, index, ok := shardID(id)
	if !ok {
		return nil, noShard(d.Ref, id)
	}
	i, _ := slices.BinarySearchFunc(shards, index+1, func(sh stream.Shard, index int) int { return sh.Index - index })
	return shards[i:], nil
}

var describeStreamSummaryInput = wire.Structure(byName, byARN, byID)

type warmThroughput struct{ TargetMiBps, CurrentMiBps int }

func (s *service) describeStreamSummary(ctx context.Context, c *wire.Call) (any, error) {
	d, err := s.find(ctx, c)
	if err != nil {
		return nil, err
	}
	type summary struct {
		details
		StreamID           string `json:"StreamId"`
		OpenShardCount     int
		ConsumerCount      int
		WarmThroughput     *warmThroughput `json:",omitempty"`
		MaxRecordSizeInKiB int
	}
	out := summary{
		details: detailsOf(d), StreamID: d.ID, OpenShardCount: len(openShards(d)),
		ConsumerCount: len(d.Attributes.Consumers), MaxRecordSizeInKiB: d.RecordBytes >> 10,
	}
	if d.State == stream.Creating {
		out.OpenShardCount = 0
	}
	if d.Mode == stream.OnDemand && d.Attributes.WarmMiBps > 0 {
		out.WarmThroughput = &warmThroughput{d.Attributes.WarmMiBps, min(d.Attributes.WarmMiBps, len(openShards(d)))}
	}
	return struct{ StreamDescriptionSummary summary }{out}, nil
}
