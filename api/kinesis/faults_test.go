package kinesis

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/wasmill/wasmill/internal/natsd/natsdtest"
	"github.com/wasmill/wasmill/stream"
)

// Where the texts are from. What is ours is said by no source that we know: AWS's
// documentation says what is refused, not in which words.
const (
	actions  = "npm kinesalite 3.3.3, actions: recorded on AWS"
	ours     = "words ours; rule: botocore 1.43.11, documentation of the operation"
	observed = "quoted from AWS in public issues: "
)

// faults are situations that AWS refuses in a stream "s" of four even shards, of which
// 0 was split at 1000 into 4 and 5, beside an on-demand stream "od" and a stream
// "watched" with the consumer "fan".
var faults = []struct {
	op, in, code, text, source string
}{
	// How a stream is named.
	{"DescribeStream", `{}`, "InvalidArgumentException", "Either StreamName or StreamARN should be provided.", ours},
	{"DescribeStream", `{"StreamName":"s","StreamARN":"{arn}other"}`, "InvalidArgumentException", "StreamName s and StreamARN {arn}other do not name the same stream.", ours},
	{"DescribeStream", `{"StreamName":"od","StreamId":"{id}"}`, "InvalidArgumentException", "StreamId {id} is not that of stream od.", ours},
	{"DescribeStream", `{"StreamId":"aaaaaaaaaaaaaaaaaaaa-aaa"}`, "ResourceNotFoundException", "Stream with StreamId aaaaaaaaaaaaaaaaaaaa-aaa under account 000000000000 not found.", ours},
	{"DescribeStream", `{"StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/a b"}`, "ValidationException", "1 validation error detected: Value 'arn:aws:kinesis:us-east-1:000000000000:stream/a b' at 'streamARN' failed to satisfy constraint: Member must satisfy regular expression pattern: arn:aws.*:kinesis:.*:\\d{12}:stream/\\S+", "botocore 1.43.11, StreamARN"},
	{"DescribeStream", `{"StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/a/b"}`, "InvalidArgumentException", "Invalid StreamARN: arn:aws:kinesis:us-east-1:000000000000:stream/a/b", ours},
	{"DescribeStream", `{"StreamARN":"{arn}watched/consumer/fan:1"}`, "InvalidArgumentException", "Invalid StreamARN: {arn}watched/consumer/fan:1", ours},
	{"DescribeStream", `{"StreamARN":"arn:aws:kinesis:eu-west-1:000000000000:stream/s"}`, "ResourceNotFoundException", "Stream s under account 000000000000 not found.", "a region's endpoint knows the streams of its region"},
	{"PutRecord", `{"StreamARN":"arn:aws:kinesis:us-east-1:111122223333:stream/s","Data":"","PartitionKey":"k"}`, "AccessDeniedException", "User: arn:aws:iam::000000000000:root is not authorized to perform: kinesis:PutRecord on resource: arn:aws:kinesis:us-east-1:111122223333:stream/s because no resource-based policy allows the kinesis:PutRecord action", observed + "form of IAM's answers"},
	{"TagResource", `{"ResourceARN":"arn:aws:kinesis:us-east-1:111122223333:stream/s","Tags":{"k":"v"}}`, "AccessDeniedException", "User: arn:aws:iam::000000000000:root is not authorized to perform: kinesis:TagResource on resource: arn:aws:kinesis:us-east-1:111122223333:stream/s because no resource-based policy allows the kinesis:TagResource action", observed + "form of IAM's answers"},

	// Streams.
	{"CreateStream", `{"StreamName":"s","ShardCount":1}`, "ResourceInUseException", "Stream s under account 000000000000 already exists.", actions},
	{"CreateStream", `{"StreamName":"x","ShardCount":100000}`, "LimitExceededException", "This request would exceed the shard limit for the account 000000000000 in us-east-1. Current shard count for the account: 10. Limit: 20000. Number of additional shards that would have resulted from this request: 100000. Refer to the AWS Service Limits page (http://docs.aws.amazon.com/general/latest/gr/aws_service_limits.html) for current limits and how to request higher limits.", actions},
	{"CreateStream", `{"StreamName":"x","ShardCount":10001}`, "LimitExceededException", "This request would exceed the shard limit for stream x under account 000000000000. Current shard count: 0. Limit: 10000. Number of additional shards that would have resulted from this request: 10001.", ours},
	{"CreateStream", `{"StreamName":"x","StreamModeDetails":{"StreamMode":"PROVISIONED"}}`, "InvalidArgumentException", "ShardCount is required when StreamMode=PROVISIONED", ours},
	{"CreateStream", `{"StreamName":"x","StreamModeDetails":{"StreamMode":"ON_DEMAND"},"ShardCount":1}`, "InvalidArgumentException", "ShardCount is not expected when StreamMode=ON_DEMAND", observed + "aws/aws-cdk#18247"},
	{"CreateStream", `{"StreamName":"x","WarmThroughputMiBps":1}`, "ValidationException", "Request is invalid. Account 000000000000 must have MinimumThroughputBillingCommitment enabled to use warm throughput.", ours},
	{"CreateStream", `{"StreamName":"x","ShardCount":1,"WarmThroughputMiBps":1}`, "ValidationException", "Request is invalid. Stream x under account 000000000000 is in Provisioned mode.", ours},
	{"CreateStream", `{"StreamName":"x","ShardCount":1,"Tags":{"k":"!"}}`, "InvalidArgumentException", invalidTags, actions + " of AddTagsToStream"},
	{"DeleteStream", `{"StreamName":"watched"}`, "ResourceInUseException", "DeleteStream can't delete 000000000000:watched because there are consumers associated with this data stream. To delete watched anyway, set the EnforceConsumerDeletion parameter to true to force the deletion of all the consumers that are associated with it.", observed + "hashicorp/terraform-provider-aws#8420"},
	{"DescribeStream", `{"StreamName":"s","ExclusiveStartShardId":"shardId-x"}`, "ResourceNotFoundException", "Could not find shard shardId-x in stream s under account 000000000000.", ours},
	{"ListStreams", `{"NextToken":"x"}`, "InvalidArgumentException", "Invalid NextToken: it was not returned by ListStreams.", ours},
	{"IncreaseStreamRetentionPeriod", `{"StreamName":"s","RetentionPeriodHours":23}`, "InvalidArgumentException", "Minimum allowed retention period is 24 hours. Requested retention period (23 hours) is too short.", actions},
	{"IncreaseStreamRetentionPeriod", `{"StreamName":"s","RetentionPeriodHours":8761}`, "InvalidArgumentException", "Maximum allowed retention period is 8760 hours. Requested retention period (8761 hours) is too long.", "moto, kinesis/exceptions.py, checked against AWS"},
	{"IncreaseStreamRetentionPeriod", `{"StreamName":"s","RetentionPeriodHours":47}`, "InvalidArgumentException", "Requested retention period (47 hours) for stream s can not be shorter than existing retention period (48 hours). Use DecreaseRetentionPeriod API.", actions},
	{"DecreaseStreamRetentionPeriod", `{"StreamName":"s","RetentionPeriodHours":-1}`, "InvalidArgumentException", "Minimum allowed retention period is 24 hours. Requested retention period (-1 hours) is too short.", actions},
	{"DecreaseStreamRetentionPeriod", `{"StreamName":"s","RetentionPeriodHours":9000}`, "InvalidArgumentException", "Maximum allowed retention period is 8760 hours. Requested retention period (9000 hours) is too long.", "moto, kinesis/exceptions.py, checked against AWS"},
	{"DecreaseStreamRetentionPeriod", `{"StreamName":"s","RetentionPeriodHours":49}`, "InvalidArgumentException", "Requested retention period (49 hours) for stream s can not be longer than existing retention period (48 hours). Use IncreaseRetentionPeriod API.", actions},

	// Shards.
	{"ListShards", `{}`, "InvalidArgumentException", "Either NextToken or StreamName should be provided.", actions},
	{"ListShards", `{"NextToken":"x","StreamName":"s"}`, "InvalidArgumentException", "NextToken and StreamName cannot be provided together.", actions},
	{"ListShards", `{"NextToken":"x","StreamARN":"{arn}s"}`, "InvalidArgumentException", "NextToken and StreamARN cannot be provided together.", observed + "aws/aws-cli#9635"},
	{"ListShards", `{"NextToken":"x","StreamId":"{id}"}`, "InvalidArgumentException", "NextToken and StreamId cannot be provided together.", "as for StreamARN"},
	{"ListShards", `{"NextToken":"x","ExclusiveStartShardId":"1"}`, "InvalidArgumentException", "NextToken and ExclusiveStartShardId cannot be provided together.", observed + "awslabs/amazon-kinesis-scaling-utils#82"},
	{"ListShards", `{"NextToken":"x","ShardFilter":{"Type":"AT_LATEST"}}`, "InvalidArgumentException", "NextToken and ShardFilter cannot be provided together.", observed + "awslabs/amazon-kinesis-client#788"},
	{"ListShards", `{"NextToken":"x","StreamCreationTimestamp":1}`, "InvalidArgumentException", "NextToken and StreamCreationTimestamp cannot be provided together.", "as for StreamName; rule: botocore 1.43.11"},
	{"ListShards", `{"NextToken":"x"}`, "InvalidArgumentException", "Invalid NextToken: it was not returned by ListShards.", ours},
	{"ListShards", `{"StreamName":"s","StreamCreationTimestamp":1}`, "ResourceNotFoundException", "Stream s under account 000000000000 not found.", "rule: botocore 1.43.11"},
	{"ListShards", `{"StreamName":"s","ExclusiveStartShardId":"x"}`, "ResourceNotFoundException", "Could not find shard x in stream s under account 000000000000.", ours},
	{"ListShards", `{"StreamName":"s","ShardFilter":{"Type":"AFTER_SHARD_ID"}}`, "InvalidArgumentException", "ShardId must be provided when ShardFilter type is AFTER_SHARD_ID.", ours},
	{"ListShards", `{"StreamName":"s","ShardFilter":{"Type":"AFTER_SHARD_ID","ShardId":"x"}}`, "ResourceNotFoundException", "Could not find shard x in stream s under account 000000000000.", ours},
	{"ListShards", `{"StreamName":"s","ShardFilter":{"Type":"AT_LATEST","ShardId":"1"}}`, "InvalidArgumentException", "ShardId must not be provided when ShardFilter type is AT_LATEST.", ours},
	{"ListShards", `{"StreamName":"s","ShardFilter":{"Type":"AT_TIMESTAMP"}}`, "InvalidArgumentException", "Timestamp must be provided when ShardFilter type is AT_TIMESTAMP.", ours},
	{"ListShards", `{"StreamName":"s","ShardFilter":{"Type":"AT_TRIM_HORIZON","Timestamp":1}}`, "InvalidArgumentException", "Timestamp must not be provided when ShardFilter type is AT_TRIM_HORIZON.", ours},
	{"SplitShard", `{"StreamName":"s","ShardToSplit":"shardId-x","NewStartingHashKey":"5"}`, "ResourceNotFoundException", "Could not find shard shardId-x in stream s under account 000000000000.", actions},
	{"SplitShard", `{"StreamName":"nope","ShardToSplit":"shardId-x","NewStartingHashKey":"5"}`, "ResourceNotFoundException", "Could not find shard shardId-x in stream nope under account 000000000000.", actions},
	{"SplitShard", `{"StreamName":"nope","ShardToSplit":"shardId-1","NewStartingHashKey":"5"}`, "ResourceNotFoundException", "Stream nope under account 000000000000 not found.", actions},
	{"SplitShard", `{"StreamName":"s","ShardToSplit":"6","NewStartingHashKey":"5"}`, "ResourceNotFoundException", "Could not find shard shardId-000000000006 in stream s under account 000000000000.", actions},
	{"SplitShard", `{"StreamName":"s","ShardToSplit":"shardId-4","NewStartingHashKey":"1"}`, "InvalidArgumentException", badSplit("1", 4, "0", "999"), actions},
	{"SplitShard", `{"StreamName":"s","ShardToSplit":"shardId-4","NewStartingHashKey":"999"}`, "InvalidArgumentException", badSplit("999", 4, "0", "999"), actions},
	{"SplitShard", `{"StreamName":"s","ShardToSplit":"shardId-4","NewStartingHashKey":"999999999999999999999999999999999999999"}`, "InvalidArgumentException", badSplit("999999999999999999999999999999999999999", 4, "0", "999"), actions},
	{"SplitShard", `{"StreamName":"s","ShardToSplit":"shardId-0","NewStartingHashKey":"5000"}`, "InvalidArgumentException", "Shard shardId-000000000000 in stream s under account 000000000000 has already been merged or split, and thus is not eligible for merging or splitting.", "moto, kinesis/models.py, checked against AWS"},
	{"SplitShard", `{"StreamName":"od","ShardToSplit":"shardId-0","NewStartingHashKey":"5"}`, "ValidationException", "Request is invalid. Stream od under account 000000000000 is in On-Demand mode.", "moto, kinesis/exceptions.py, checked against AWS"},
	{"MergeShards", `{"StreamName":"s","ShardToMerge":"x","AdjacentShardToMerge":"1"}`, "ResourceNotFoundException", "Could not find shard x in stream s under account 000000000000.", actions},
	{"MergeShards", `{"StreamName":"s","ShardToMerge":"1","AdjacentShardToMerge":"shardId-"}`, "ResourceNotFoundException", "Could not find shard shardId- in stream s under account 000000000000.", actions},
	{"MergeShards", `{"StreamName":"s","ShardToMerge":"1","AdjacentShardToMerge":"99"}`, "ResourceNotFoundException", "Could not find shard shardId-000000000099 in stream s under account 000000000000.", actions},
	{"MergeShards", `{"StreamName":"s","ShardToMerge":"1","AdjacentShardToMerge":"3"}`, "InvalidArgumentException", "Shards shardId-000000000001 and shardId-000000000003 in stream s under account 000000000000 are not an adjacent pair of shards eligible for merging", actions},
	{"MergeShards", `{"StreamName":"s","ShardToMerge":"2","AdjacentShardToMerge":"1"}`, "InvalidArgumentException", "Shards shardId-000000000002 and shardId-000000000001 in stream s under account 000000000000 are not an adjacent pair of shards eligible for merging", actions},
	{"MergeShards", `{"StreamName":"s","ShardToMerge":"3","AdjacentShardToMerge":"0"}`, "InvalidArgumentException", "Shards shardId-000000000003 and shardId-000000000000 in stream s under account 000000000000 are not an adjacent pair of shards eligible for merging", actions},
	{"MergeShards", `{"StreamName":"s","ShardToMerge":"0","AdjacentShardToMerge":"1"}`, "InvalidArgumentException", "Shard shardId-000000000000 in stream s under account 000000000000 has already been merged or split, and thus is not eligible for merging or splitting.", "as for SplitShard"},
	{"MergeShards", `{"StreamName":"od","ShardToMerge":"0","AdjacentShardToMerge":"1"}`, "ValidationException", "Request is invalid. Stream od under account 000000000000 is in On-Demand mode.", "as for SplitShard"},
	{"UpdateShardCount", `{"StreamName":"s","TargetShardCount":11,"ScalingType":"UNIFORM_SCALING"}`, "LimitExceededException", "UpdateShardCount cannot scale up over double your current open shard count. Current open shard count: 5 Target shard count: 11", "quoted from AWS in public code; code: pull request of npm kinesalite"},
	{"UpdateShardCount", `{"StreamName":"s","TargetShardCount":2,"ScalingType":"UNIFORM_SCALING"}`, "LimitExceededException", "UpdateShardCount cannot scale down below half your current open shard count. Current open shard count: 5 Target shard count: 2", "as for scaling up; words: pull request of npm kinesalite"},
	{"UpdateShardCount", `{"StreamName":"od","TargetShardCount":5,"ScalingType":"UNIFORM_SCALING"}`, "ValidationException", "Request is invalid. Stream od under account 000000000000 is in On-Demand mode.", "as for SplitShard"},

	// Tags.
	{"AddTagsToStream", `{"StreamName":"s","Tags":{"a;":"v"}}`, "InvalidArgumentException", invalidTags, actions},
	{"AddTagsToStream", `{"StreamName":"s","Tags":{"k":"\u2028"}}`, "InvalidArgumentException", invalidTags, actions},
	{"AddTagsToStream", `{"StreamName":"s","Tags":{"a%":"v"}}`, "InvalidArgumentException", "Failed to add tags to stream s under account 000000000000 because some tags contained illegal characters. " + allowedTags, actions},
	{"AddTagsToStream", `{"StreamName":"s","Tags":{<51 tags>}}`, "InvalidArgumentException", "Failed to add tags to stream s under account 000000000000 because a given stream cannot have more than 50 tags associated with it.", actions + ", with the number that holds now"},
	{"RemoveTagsFromStream", `{"StreamName":"s","TagKeys":["a;"]}`, "InvalidArgumentException", invalidTags, actions},
	{"RemoveTagsFromStream", `{"StreamName":"s","TagKeys":["a%"]}`, "InvalidArgumentException", "Failed to remove tags from stream s under account 000000000000 because some tags contained illegal characters. " + allowedTags, actions},
	{"TagResource", `{"ResourceARN":"{arn}s","Tags":{"a;":"v"}}`, "InvalidArgumentException", invalidTags, "as for AddTagsToStream"},
	{"UntagResource", `{"ResourceARN":"{arn}s","TagKeys":["a;"]}`, "InvalidArgumentException", invalidTags, "as for RemoveTagsFromStream"},
	{"ListTagsForResource", `{"ResourceARN":"{arn}watched/consumer/fan:1"}`, "ResourceNotFoundException", "Consumer {arn}watched/consumer/fan:1, account 000000000000 not found.", "moto, kinesis/exceptions.py, checked against AWS"},
	{"ListTagsForResource", `{"ResourceARN":"arn:aws:kinesis:us-east-1:000000000000:a stream/s"}`, "InvalidArgumentException", "Invalid ResourceARN: arn:aws:kinesis:us-east-1:000000000000:a stream/s", ours},

	// Consumers.
	{"RegisterStreamConsumer", `{"StreamARN":"{arn}watched","ConsumerName":"fan"}`, "ResourceInUseException", "Consumer fan under stream watched already exists for account 000000000000.", ours},
	{"RegisterStreamConsumer", `{"StreamARN":"{arn}watched","ConsumerName":"new","Tags":{"k":";"}}`, "InvalidArgumentException", invalidTags, "as for AddTagsToStream"},
	{"DescribeStreamConsumer", `{}`, "InvalidArgumentException", "Either ConsumerARN or both StreamARN and ConsumerName should be provided.", ours},
	{"DescribeStreamConsumer", `{"StreamARN":"{arn}watched"}`, "InvalidArgumentException", "Either ConsumerARN or both StreamARN and ConsumerName should be provided.", ours},
	{"DescribeStreamConsumer", `{"ConsumerName":"fan"}`, "InvalidArgumentException", "Either ConsumerARN or both StreamARN and ConsumerName should be provided.", ours},
	{"DescribeStreamConsumer", `{"StreamARN":"{arn}watched","ConsumerName":"nobody"}`, "ResourceNotFoundException", "Consumer nobody, account 000000000000 not found.", "moto, kinesis/exceptions.py, checked against AWS"},
	{"DescribeStreamConsumer", `{"ConsumerARN":"{arn}watched/consumer/fan:1"}`, "ResourceNotFoundException", "Consumer {arn}watched/consumer/fan:1, account 000000000000 not found.", "moto, kinesis/exceptions.py, checked against AWS"},
	{"DescribeStreamConsumer", `{"ConsumerARN":"{arn}nope/consumer/fan:1"}`, "ResourceNotFoundException", "Stream nope under account 000000000000 not found.", actions},
	{"DescribeStreamConsumer", `{"ConsumerARN":"{arn}watched/consumer/fan:1","StreamARN":"{arn}s"}`, "InvalidArgumentException", "ConsumerARN {arn}watched/consumer/fan:1 is not that of the consumer that StreamARN and ConsumerName name.", ours},
	{"DescribeStreamConsumer", `{"ConsumerARN":"arn:aws:kinesis:us-east-1:111122223333:stream/s/consumer/fan:1"}`, "AccessDeniedException", "User: arn:aws:iam::000000000000:root is not authorized to perform: kinesis:DescribeStreamConsumer on resource: arn:aws:kinesis:us-east-1:111122223333:stream/s/consumer/fan:1 because no resource-based policy allows the kinesis:DescribeStreamConsumer action", observed + "form of IAM's answers"},
	{"DeregisterStreamConsumer", `{"ConsumerARN":"{arn}watched/consumer/fan:1","StreamARN":"{arn}watched","ConsumerName":"other"}`, "InvalidArgumentException", "ConsumerARN {arn}watched/consumer/fan:1 is not that of the consumer that StreamARN and ConsumerName name.", ours},
	{"DeregisterStreamConsumer", `{"ConsumerARN":"{arn}watched/consumer/fan:1"}`, "ResourceNotFoundException", "Consumer {arn}watched/consumer/fan:1, account 000000000000 not found.", "moto, kinesis/exceptions.py, checked against AWS"},
	{"ListStreamConsumers", `{"StreamARN":"{arn}s","StreamCreationTimestamp":1}`, "ResourceNotFoundException", "Stream s under account 000000000000 not found.", "rule: botocore 1.43.11"},
	{"ListStreamConsumers", `{"StreamARN":"{arn}s","NextToken":"x"}`, "InvalidArgumentException", "Invalid NextToken: it was not returned by ListStreamConsumers.", ours},
	{"ListStreamConsumers", `{"StreamARN":"{arn}s","NextToken":"x","StreamCreationTimestamp":1}`, "InvalidArgumentException", "NextToken and StreamCreationTimestamp cannot be provided together.", "as for ListShards; rule: botocore 1.43.11"},

	// Policies.
	{"GetResourcePolicy", `{"ResourceARN":"{arn}s"}`, "ResourceNotFoundException", "No resource policy found for resource ARN {arn}s", ours},
	{"DeleteResourcePolicy", `{"ResourceARN":"{arn}s"}`, "ResourceNotFoundException", "No resource policy found for resource ARN {arn}s", ours},
	{"PutResourcePolicy", `{"ResourceARN":"{arn}s","Policy":"{}"}`, "InvalidArgumentException", invalidPolicy, ours},
	{"PutResourcePolicy", `{"ResourceARN":"{arn}s","Policy":"x"}`, "InvalidArgumentException", invalidPolicy, ours},
	{"PutResourcePolicy", `{"ResourceARN":"{arn}s","Policy":"{\"Version\":\"2012-10-17\",\"Statement\":[]}"}`, "InvalidArgumentException", invalidPolicy, ours},
	{"PutResourcePolicy", `{"ResourceARN":"{arn}s","Policy":"{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Maybe\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\"}}"}`, "InvalidArgumentException", invalidPolicy, ours},
	{"PutResourcePolicy", `{"ResourceARN":"{arn}s/consumer/x:1","Policy":"{}"}`, "ResourceNotFoundException", "Consumer {arn}s/consumer/x:1, account 000000000000 not found.", "moto, kinesis/exceptions.py, checked against AWS"},

	// Settings.
	{"StartStreamEncryption", `{"StreamName":"s","EncryptionType":"NONE","KeyId":"k"}`, "InvalidArgumentException", "Invalid EncryptionType: NONE. The only valid value is KMS.", ours},
	{"StopStreamEncryption", `{"StreamName":"s","EncryptionType":"NONE","KeyId":"k"}`, "InvalidArgumentException", "Invalid EncryptionType: NONE. The only valid value is KMS.", ours},
	{"UpdateStreamMode", `{"StreamARN":"{arn}s","StreamModeDetails":{"StreamMode":"PROVISIONED"},"WarmThroughputMiBps":1}`, "ValidationException", "Request is invalid. Stream s under account 000000000000 is in Provisioned mode.", ours},
	{"UpdateStreamWarmThroughput", `{"StreamName":"s","WarmThroughputMiBps":1}`, "ValidationException", "Request is invalid. Stream s under account 000000000000 is in Provisioned mode.", ours},
	{"UpdateStreamWarmThroughput", `{"StreamName":"od","WarmThroughputMiBps":1}`, "ValidationException", "Request is invalid. Account 000000000000 must have MinimumThroughputBillingCommitment enabled to use warm throughput.", ours},
}

const (
	invalidTags   = "Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, _ . / = + - % @."
	allowedTags   = "The allowed characters are Unicode letters, white-spaces, '_',',','/','=','+','-','@'."
	invalidPolicy = "Invalid policy document: it must be JSON with Version and one or more statements, each with Effect (Allow or Deny), Principal, Action and Resource."
)

func badSplit(at string, shard int, from, to string) string {
	return fmt.Sprintf("NewStartingHashKey %s used in SplitShard() on shard %s in stream s under account 000000000000 is not both greater than one plus the shard's StartingHashKey %s and less than the shard's EndingHashKey %s.", at, stream.ShardID(shard), from, to)
}

func TestSituationIsRefusedInTheWordsOfAWS(t *testing.T) {
	e := emulate(t, 0, nil)
	d := e.create("s", 4)
	watched := e.create("watched", 1)
	e.must(
		`SplitShard {"StreamName":"s","ShardToSplit":"shardId-0","NewStartingHashKey":"1000"}`,
		`IncreaseStreamRetentionPeriod {"StreamName":"s","RetentionPeriodHours":48}`,
		`CreateStream {"StreamName":"od"}`,
		`RegisterStreamConsumer {"ConsumerName":"fan","StreamARN":"`+watched.ARN()+`"}`,
	)
	var tags []string
	for i := range 51 {
		tags = append(tags, fmt.Sprintf(`"k%d":""`, i))
	}
	fill := strings.NewReplacer("{arn}", arnOf, "{id}", d.ID, "<51 tags>", strings.Join(tags, ",")).Replace
	for _, f := range faults {
		status, answer := e.call(f.op, fill(f.in))
		code, text := faultOf(answer)
		if status != http.StatusBadRequest || code != f.code || text != fill(f.text) {
			t.Errorf("%s %s\n got %d %s: %s\nwant 400 %s: %s\n(%s)", f.op, f.in, status, code, text, f.code, fill(f.text), f.source)
		}
	}
}

// naming is what calls that name a stream need beside its name.
var naming = map[string]string{
	"AddTagsToStream": `"Tags":{"k":"v"}`, "RemoveTagsFromStream": `"TagKeys":["k"]`, "ListTagsForStream": "", "DeleteStream": "", "DescribeStream": "",
	"DescribeStreamSummary": "", "IncreaseStreamRetentionPeriod": `"RetentionPeriodHours":48`, "DecreaseStreamRetentionPeriod": `"RetentionPeriodHours":24`,
	"ListShards": "", "SplitShard": `"ShardToSplit":"shardId-0","NewStartingHashKey":"1000"`, "MergeShards": `"ShardToMerge":"shardId-0","AdjacentShardToMerge":"shardId-1"`,
	"UpdateShardCount": `"TargetShardCount":4,"ScalingType":"UNIFORM_SCALING"`, "StartStreamEncryption": `"EncryptionType":"KMS","KeyId":"k"`,
	"StopStreamEncryption": `"EncryptionType":"KMS","KeyId":"k"`, "EnableEnhancedMonitoring": `"ShardLevelMetrics":["ALL"]`, "DisableEnhancedMonitoring": `"ShardLevelMetrics":["ALL"]`,
	"UpdateStreamMode": `"StreamModeDetails":{"StreamMode":"ON_DEMAND"}`, "UpdateMaxRecordSize": `"MaxRecordSizeInKiB":2048`, "UpdateStreamWarmThroughput": `"WarmThroughputMiBps":1`,
	"RegisterStreamConsumer": `"ConsumerName":"c"`, "ListStreamConsumers": "", "DescribeStreamConsumer": `"ConsumerName":"c"`, "DeregisterStreamConsumer": `"ConsumerName":"c"`,
	"TagResource": `"Tags":{"k":"v"}`, "UntagResource": `"TagKeys":["k"]`, "ListTagsForResource": "", "GetResourcePolicy": "", "DeleteResourcePolicy": "",
	"PutResourcePolicy": `"Policy":"{\"Version\":\"2012-10-17\",\"Statement\":{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\"}}"`,
	"PutRecord":         `"Data":"","PartitionKey":"k"`, "PutRecords": `"Records":[{"Data":"","PartitionKey":"k"}]`,
}

// body is that of a call that names a stream as the operation can be told it.
func body(op, name string) string {
	by := `"StreamName":"` + name + `"`
	for _, o := range New(Deps{}).Ops {
		if o.Name != op {
			continue
		}
		for _, m := range o.Input.Members {
			if m.Name == "StreamARN" {
				by = `"StreamARN":"` + arnOf + name + `"`
			}
			if m.Name == "ResourceARN" {
				by = `"ResourceARN":"` + arnOf + name + `"`
			}
		}
	}
	if rest := naming[op]; rest != "" {
		by += "," + rest
	}
	return "{" + by + "}"
}

func TestEveryOperationTellsThatItsStreamIsNotThere(t *testing.T) {
	e := emulate(t, 0, nil)
	for op := range naming {
		status, answer := e.call(op, body(op, "nope"))
		if code, text := faultOf(answer); status != http.StatusBadRequest || code != "ResourceNotFoundException" || text != "Stream nope under account 000000000000 not found." {
			t.Errorf("%s = %d %s", op, status, answer)
		}
	}
}

// changes are calls that AWS refuses while the stream is not ACTIVE: it documents
// ResourceInUseException for each of them.
var changes = []string{"SplitShard", "MergeShards", "UpdateShardCount", "IncreaseStreamRetentionPeriod", "DecreaseStreamRetentionPeriod", "StartStreamEncryption",
	"StopStreamEncryption", "EnableEnhancedMonitoring", "DisableEnhancedMonitoring", "UpdateStreamMode", "UpdateMaxRecordSize", "UpdateStreamWarmThroughput"}

// passing runs f on a service where passing states last for an hour. Streams "s" of two
// shards, with the consumer c, and "t" were made before.
func passing(t *testing.T, f func(t *testing.T, e *emulator)) {
	t.Helper()
	srv := natsdtest.Memory(t)
	t.Run("before", func(t *testing.T) {
		e := emulateOn(t, srv, 0, nil)
		e.create("s", 2)
		e.create("t", 1)
		e.must("RegisterStreamConsumer " + body("RegisterStreamConsumer", "s"))
	})
	// Consumers are new for as long as their creation is no hour ago.
	f(t, emulateOn(t, srv, time.Hour, nil))
}

func (e *emulator) state(name string) string {
	e.t.Helper()
	out, err := e.DescribeStreamSummary(e.t.Context(), &sdk.DescribeStreamSummaryInput{StreamName: &name})
	e.check(err)
	return string(out.StreamDescriptionSummary.StreamStatus)
}

// refuses checks that calls are refused because the stream is in that state.
func (e *emulator) refuses(name, state string, ops ...string) {
	e.t.Helper()
	if got := e.state(name); got != state {
		e.t.Errorf("stream %s is %s, want %s", name, got, state)
	}
	for _, op := range ops {
		_, answer := e.call(op, body(op, name))
		if code, text := faultOf(answer); code != "ResourceInUseException" || text != "Stream "+name+" under account 000000000000 not ACTIVE, instead in state "+state {
			e.t.Errorf("%s while %s: %s", op, state, answer)
		}
	}
}

func TestStreamThatIsBeingMadeTakesNoChanges(t *testing.T) {
	passing(t, func(t *testing.T, e *emulator) {
		e.must(`CreateStream {"StreamName":"new","ShardCount":2}`)
		e.refuses("new", "CREATING", append(changes, "ListShards", "RegisterStreamConsumer", "AddTagsToStream", "TagResource", "PutResourcePolicy")...)
		_, err := e.CreateStream(t.Context(), &sdk.CreateStreamInput{StreamName: aws.String("new"), ShardCount: aws.Int32(1)})
		if !fails(err, "ResourceInUseException", "Stream new under account 000000000000 already exists.") {
			t.Errorf("creating it again: %v", err)
		}
		if out, err := e.DescribeStream(t.Context(), &sdk.DescribeStreamInput{StreamName: aws.String("new")}); err != nil || len(out.StreamDescription.Shards) != 0 {
			t.Errorf("shards while CREATING: %v, %v", out, err)
		}
	})
}

func TestStreamThatIsUpdatedTakesNoFurtherChanges(t *testing.T) {
	for _, op := range changes[:7] {
		if op == "DecreaseStreamRetentionPeriod" || op == "StopStreamEncryption" {
			continue // changes nothing in a new stream
		}
		t.Run(op, func(t *testing.T) {
			passing(t, func(t *testing.T, e *emulator) {
				e.must(op + " " + body(op, "s"))
				e.refuses("s", "UPDATING", changes...)
				e.must("ListShards "+body("ListShards", "s"), "ListTagsForStream "+body("ListTagsForStream", "s"))
			})
		})
	}
}

func TestStreamThatIsBeingDeletedTakesNoChanges(t *testing.T) {
	passing(t, func(t *testing.T, e *emulator) {
		e.must(`DeleteStream {"StreamName":"t"}`)
		e.refuses("t", "DELETING", append(changes, "DeleteStream", "ListShards", "RegisterStreamConsumer", "AddTagsToStream")...)
	})
}

func TestConsumerIsCreatingAndDeletingForAWhile(t *testing.T) {
	passing(t, func(t *testing.T, e *emulator) {
		ctx, in := t.Context(), &sdk.DescribeStreamConsumerInput{StreamARN: aws.String(arnOf + "s"), ConsumerName: aws.String("c")}
		out, err := e.DescribeStreamConsumer(ctx, in)
		e.check(err)
		c := out.ConsumerDescription
		_, err = e.DeregisterStreamConsumer(ctx, &sdk.DeregisterStreamConsumerInput{ConsumerARN: c.ConsumerARN})
		want := fmt.Sprintf("Consumer c with creation timestamp %d under stream s and account 000000000000 is not in ACTIVE status.", c.ConsumerCreationTimestamp.Unix())
		if c.ConsumerStatus != "CREATING" || !fails(err, "ResourceInUseException", want) {
			t.Errorf("deregistering a consumer that is %s: %v", c.ConsumerStatus, err)
		}
		// Made two hours ago, it is ACTIVE.
		_, err = e.store.SetAttributes(ctx, stream.Local("s"), func(a *stream.Attributes) error {
			a.Consumers[0].Created = a.Consumers[0].Created.Add(-2 * time.Hour)
			return nil
		})
		e.check(err)
		out, err = e.DescribeStreamConsumer(ctx, in)
		e.check(err)
		c = out.ConsumerDescription
		if c.ConsumerStatus != "ACTIVE" {
			t.Errorf("a consumer made two hours ago is %s", c.ConsumerStatus)
		}
		_, err = e.DeregisterStreamConsumer(ctx, &sdk.DeregisterStreamConsumerInput{ConsumerARN: c.ConsumerARN})
		e.check(err)
		out, err = e.DescribeStreamConsumer(ctx, in)
		e.check(err)
		if out.ConsumerDescription.ConsumerStatus != "DELETING" {
			t.Errorf("a consumer just deregistered is %s", out.ConsumerDescription.ConsumerStatus)
		}
		if _, err := e.RegisterStreamConsumer(ctx, &sdk.RegisterStreamConsumerInput{StreamARN: in.StreamARN, ConsumerName: in.ConsumerName}); !fails(err, "ResourceInUseException", "already exists") {
			t.Errorf("registering it again: %v", err)
		}
		if d, err := e.store.Describe(ctx, stream.Local("s")); err != nil || len(d.Attributes.Consumers) != 0 {
			t.Errorf("stored consumers: %v, %v", d.Attributes.Consumers, err)
		}
	})
}

func TestConsumerThatLeavesIsForgottenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l leaving
		l.add(departure{"id", stream.Consumer{Name: "c"}, time.Now().Add(time.Second)})
		if len(l.of("id")) != 1 || len(l.of("other")) != 0 {
			t.Error("not shown, or of another stream")
		}
		time.Sleep(time.Second)
		if len(l.of("id")) != 0 || len(l.list) != 0 {
			t.Error("still there")
		}
	})
}
