package kinesis

import (
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/stream"
)

// numberAs is a sequence number that encodes what no shard here has given out.
func numberAs(hex string) string {
	n, ok := new(big.Int).SetString(hex, 16)
	if !ok {
		panic(hex)
	}
	return n.String()
}

// What is wrong with a call though its input is valid, in the words of npm kinesalite 3.3.3
// (actions/<operation>.js, db/index.js), which has recorded AWS's, unless it says otherwise.
func TestTheDataPlaneRefusesInTheWordsOfAWS(t *testing.T) {
	e := emulate(t, 0, nil)
	d := e.create("s", 2)
	e.create("other", 1)
	_, own := e.putTo("s", "0")
	_, foreign := e.putTo("s", "340282366920938463463374607431768211455")
	epoch := fmt.Sprintf("%08x", d.Shards[0].Epoch)
	later := numberAs("20" + epoch + "0" + "0000000000000000" + "000" + "ffffffff" + "0000000" + "0" + "2")
	earlierStream := numberAs("20" + "54bc6300" + "0" + "0000000000000000" + "000" + "54bc6300" + "0000000" + "0" + "2")
	future := `4102444800`
	tests := []struct{ call, code, text string }{
		{`PutRecord {"StreamName":"none","PartitionKey":"k","Data":""}`, codeNotFound, "Stream none under account 000000000000 not found."},
		{`PutRecord {"PartitionKey":"k","Data":""}`, codeInvalid, "Either StreamName or StreamARN should be provided."}, // ours
		{`PutRecord {"StreamName":"s","PartitionKey":"k","Data":"","ExplicitHashKey":"340282366920938463463374607431768211456"}`, codeInvalid,
			"Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was 340282366920938463463374607431768211456"},
		{`PutRecord {"StreamName":"s","PartitionKey":"k","Data":"","SequenceNumberForOrdering":"99999999999999999999999999999999999999999999999999999999999999"}`, codeInvalid,
			"ExclusiveMinimumSequenceNumber 99999999999999999999999999999999999999999999999999999999999999 used in PutRecord on stream s under account 000000000000 is invalid."},
		{`PutRecord {"StreamName":"s","PartitionKey":"k","Data":"","SequenceNumberForOrdering":"` + later + `"}`, codeInvalid,
			"ExclusiveMinimumSequenceNumber " + later + " used in PutRecord on stream s under account 000000000000 is invalid."},
		{`PutRecord {"StreamName":"s","PartitionKey":"k","Data":"` + strings.Repeat("AAAA", 349526) + `"}`, codeValidation, // recorded in awslabs/kinesis-aggregation#30
			"1 validation error detected: Value 'java.nio.HeapByteBuffer[pos=0 lim=1048578 cap=1048578]' at 'data' failed to satisfy constraint: Member must have length less than or equal to 1048576"},
		{`PutRecord {"StreamName":"s","PartitionKey":"kk","Data":"` + strings.Repeat("AAAA", 349525) + `"}`, codeInvalid, // ours
			"Record of 1048577 bytes, data and partition key, exceeds the maximum record size of 1048576 bytes of stream s under account 000000000000."},
		{`PutRecords {"StreamName":"none","Records":[{"PartitionKey":"k","Data":""}]}`, codeNotFound, "Stream none under account 000000000000 not found."},
		{`PutRecords {"StreamName":"s","Records":[{"PartitionKey":"k","Data":""},{"PartitionKey":"k","Data":"","ExplicitHashKey":"340282366920938463463374607431768211456"}]}`, codeInvalid,
			"Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was 340282366920938463463374607431768211456"},
		{`PutRecords {"StreamName":"s","Records":[{"PartitionKey":"k","Data":""},{"PartitionKey":"k","Data":"` + strings.Repeat("AAAA", 349526) + `"}]}`, codeValidation,
			"1 validation error detected: Value 'java.nio.HeapByteBuffer[pos=0 lim=1048578 cap=1048578]' at 'records.2.member.data' failed to satisfy constraint: Member must have length less than or equal to 1048576"},
		{`PutRecords {"StreamName":"s","Records":[` + strings.Repeat(`{"PartitionKey":"k","Data":"`+strings.Repeat("AAAA", 349525)+`"},`, 10) + `{"PartitionKey":"k","Data":""}]}`, codeInvalid,
			"Records size exceeds 10 MB limit"}, // recorded with 5 MB, the limit then, in aws/amazon-kinesis-streams-for-fluent-bit#21

		{`GetShardIterator {"StreamName":"s","ShardId":"shard-x","ShardIteratorType":"LATEST"}`, codeNotFound, "Could not find shard shard-x in stream s under account 000000000000."},
		{`GetShardIterator {"StreamName":"none","ShardId":"shardId-5","ShardIteratorType":"LATEST"}`, codeNotFound, "Shard shardId-000000000005 in stream none under account 000000000000 does not exist"},
		{`GetShardIterator {"StreamName":"s","ShardId":"shardId-000000000002","ShardIteratorType":"LATEST"}`, codeNotFound, "Shard shardId-000000000002 in stream s under account 000000000000 does not exist"},
		{`GetShardIterator {"StreamName":"s","ShardId":"0","ShardIteratorType":"LATEST","StartingSequenceNumber":"1"}`, codeInvalid,
			"Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified LATEST and also a StartingSequenceNumber."},
		{`GetShardIterator {"StreamName":"s","ShardId":"0","ShardIteratorType":"TRIM_HORIZON","StartingSequenceNumber":"1"}`, codeInvalid,
			"Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified TRIM_HORIZON and also a StartingSequenceNumber."},
		{`GetShardIterator {"StreamName":"s","ShardId":"0","ShardIteratorType":"AT_SEQUENCE_NUMBER"}`, codeInvalid,
			"Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified AT_SEQUENCE_NUMBER and no StartingSequenceNumber."},
		{`GetShardIterator {"StreamName":"s","ShardId":"0","ShardIteratorType":"AFTER_SEQUENCE_NUMBER","StartingSequenceNumber":"99999999999999999999999999999999999999999999999999999999999999"}`, codeInvalid,
			"StartingSequenceNumber 99999999999999999999999999999999999999999999999999999999999999 used in GetShardIterator on shard shardId-000000000000 in stream s under account 000000000000 is invalid."},
		{`GetShardIterator {"StreamName":"s","ShardId":"0","ShardIteratorType":"AT_SEQUENCE_NUMBER","StartingSequenceNumber":"` + foreign + `"}`, codeInvalid,
			"Invalid StartingSequenceNumber. It encodes shardId-000000000001, while it was used in a call to a shard with shardId-000000000000"},
		{`GetShardIterator {"StreamName":"s","ShardId":"1","ShardIteratorType":"AT_SEQUENCE_NUMBER","StartingSequenceNumber":"0"}`, codeInvalid,
			"Invalid StartingSequenceNumber. It encodes shardId-000000000000, while it was used in a call to a shard with shardId-000000000001"},
		{`GetShardIterator {"StreamName":"s","ShardId":"0","ShardIteratorType":"AT_SEQUENCE_NUMBER","StartingSequenceNumber":"` + earlierStream + `"}`, codeInvalid,
			"StartingSequenceNumber " + earlierStream + " used in GetShardIterator on shard shardId-000000000000 in stream s under account 000000000000 is invalid because it did not come from this stream."},
		{`GetShardIterator {"StreamName":"s","ShardId":"0","ShardIteratorType":"AT_SEQUENCE_NUMBER","StartingSequenceNumber":"0"}`, codeInvalid, // AWS has recorded 500 here; we are not to blame the server
			"StartingSequenceNumber 0 used in GetShardIterator on shard shardId-000000000000 in stream s under account 000000000000 is invalid because it did not come from this stream."},
		{`GetShardIterator {"StreamName":"s","ShardId":"0","ShardIteratorType":"AT_TIMESTAMP"}`, codeInvalid,
			"Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current request has no timestamp parameter."},
		{`GetShardIterator {"StreamName":"s","ShardId":"0","ShardIteratorType":"AT_TIMESTAMP","Timestamp":` + future + `}`, codeInvalid,
			"The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: 4102444800000, currentTimestampInMillis: <now>"},

		{`GetRecords {"ShardIterator":"x"}`, codeInvalid, "Invalid ShardIterator."},
		{`GetRecords {"ShardIterator":"AAAAAAAAAAE="}`, codeInvalid, "Invalid ShardIterator."},
		{`GetRecords {"ShardIterator":"` + strings.Repeat("A", 512) + `"}`, codeInvalid, "Invalid ShardIterator."},
		{`GetRecords {"ShardIterator":"` + *e.iterator("s", 0, "LATEST") + `","StreamARN":"` + stream.Local("other").ARN() + `"}`, codeInvalid, // ours
			"ShardIterator is not one of stream other under account 000000000000."},

		{`SubscribeToShard {"ConsumerARN":"` + d.ARN() + `/consumer/none:1","ShardId":"0","StartingPosition":{"Type":"LATEST"}}`, codeNotFound, "Consumer " + d.ARN() + "/consumer/none:1, account 000000000000 not found."},
		{`SubscribeToShard {"ConsumerARN":"` + *e.register("s", "app") + `","ShardId":"9","StartingPosition":{"Type":"LATEST"}}`, codeNotFound, "Shard shardId-000000000009 in stream s under account 000000000000 does not exist"},
		{`SubscribeToShard {"ConsumerARN":"` + *e.register("s", "app2") + `","ShardId":"1","StartingPosition":{"Type":"AT_SEQUENCE_NUMBER","SequenceNumber":"` + own + `"}}`, codeInvalid,
			"Invalid StartingSequenceNumber. It encodes shardId-000000000000, while it was used in a call to a shard with shardId-000000000001"},
	}
	for _, tt := range tests {
		op, body, _ := strings.Cut(tt.call, " ")
		status, answer := e.call(op, body)
		code, text := faultOf(answer)
		want := tt.text
		if before, ok := strings.CutSuffix(want, "<now>"); ok {
			text, want = text[:min(len(text), len(before))], before
		}
		if status != http.StatusBadRequest || code != tt.code || text != want {
			t.Errorf("%.200s:\n got %d %s %s\nwant 400 %s %s", tt.call, status, code, text, tt.code, want)
		}
	}
}

// putTo puts a record by its hash key.
func (e *emulator) putTo(name, hash string) (shard, number string) {
	e.t.Helper()
	status, answer := e.call("PutRecord", `{"StreamName":"`+name+`","PartitionKey":"k","Data":"eA==","ExplicitHashKey":"`+hash+`"}`)
	if status != http.StatusOK {
		e.t.Fatal(answer)
	}
	v := unmarshal(e.t, answer).(map[string]any)
	return v["ShardId"].(string), v["SequenceNumber"].(string)
}

func TestTheDataPlaneFindsStreamsByARNAndID(t *testing.T) {
	e := emulate(t, 0, nil)
	d := e.create("s", 1)
	_, number := e.putTo("s", "0")
	for _, by := range []string{`"StreamARN":"` + d.ARN() + `"`, `"StreamId":"` + d.ID + `"`, `"StreamId":"` + d.ID + `","StreamARN":"` + d.ARN() + `"`} {
		e.must(
			`PutRecord {`+by+`,"PartitionKey":"k","Data":"","SequenceNumberForOrdering":"`+number+`"}`,
			`PutRecords {`+by+`,"Records":[{"PartitionKey":"k","Data":""}]}`,
			`GetShardIterator {`+by+`,"ShardId":"0","ShardIteratorType":"LATEST"}`,
			`GetRecords {`+by+`,"ShardIterator":"`+*e.iterator("s", 0, "TRIM_HORIZON")+`"}`,
		)
	}
	arn := e.register("s", "app")
	// A shard that has ended ends the subscription.
	_, err := e.store.Split(t.Context(), d.Ref, stream.ShardID(0), stream.HashKey{Hi: 1 << 63})
	e.check(err)
	e.must(`SubscribeToShard {"ConsumerARN":"` + *arn + `","StreamId":"` + d.ID + `","ShardId":"0","StartingPosition":{"Type":"LATEST"}}`)
}
