// A stream's whole life with AWS's own client for JavaScript, which speaks HTTP/2 to
// Kinesis even on http://. Ends with an error at the first thing that is not as on AWS.
'use strict';
const assert = require('node:assert/strict');
const { setTimeout: sleep } = require('node:timers/promises');
const {
  CreateStreamCommand, DeleteStreamCommand, DescribeStreamConsumerCommand, DescribeStreamSummaryCommand, GetRecordsCommand, GetShardIteratorCommand,
  KinesisClient, ListShardsCommand, ListStreamConsumersCommand, MergeShardsCommand, PutRecordCommand, PutRecordsCommand, RegisterStreamConsumerCommand, SplitShardCommand,
  SubscribeToShardCommand, UpdateShardCountCommand, paginateListStreams, waitUntilStreamExists, waitUntilStreamNotExists,
} = require('@aws-sdk/client-kinesis');

const client = new KinesisClient({
  endpoint: process.env.ENDPOINT, region: 'eu-west-1', maxAttempts: 1, credentials: { accessKeyId: 'key', secretAccessKey: 'secret' },
});
const StreamName = 'sdk';
const half = 1n << 127n;
const send = (Command, input) => client.send(new Command(input));
const shards = async (ShardFilter) => {
  let page = await send(ListShardsCommand, { StreamName, ShardFilter, MaxResults: 2 });
  const all = page.Shards;
  while (page.NextToken) {
    page = await send(ListShardsCommand, { NextToken: page.NextToken, MaxResults: 2 });
    all.push(...page.Shards);
  }
  return all;
};
const open = async () => (await shards({ Type: 'AT_LATEST' })).sort((a, b) => (BigInt(a.HashKeyRange.StartingHashKey) < BigInt(b.HashKeyRange.StartingHashKey) ? -1 : 1));

// all reads a shard from a place to its tip or its end.
async function all(ShardId, from) {
  let { ShardIterator } = await send(GetShardIteratorCommand, { StreamName, ShardId, ...from });
  const records = [];
  while (ShardIterator) {
    const page = await send(GetRecordsCommand, { ShardIterator, Limit: 7 });
    records.push(...page.Records);
    ({ NextShardIterator: ShardIterator } = page);
    if (page.Records.length === 0 && page.MillisBehindLatest === 0) break;
  }
  return { records, ended: !ShardIterator };
}

async function main() {
  assert.equal(client.config.requestHandler.metadata.handlerProtocol, 'h2');
  await send(CreateStreamCommand, { StreamName, ShardCount: 2, Tags: { team: 'mill' } });
  await waitUntilStreamExists({ client, maxWaitTime: 30, minDelay: 1 }, { StreamName });
  const { StreamDescriptionSummary: summary } = await send(DescribeStreamSummaryCommand, { StreamName });
  const { StreamARN } = summary;
  assert.equal(StreamARN, 'arn:aws:kinesis:eu-west-1:000000000000:stream/sdk');
  assert.ok(Math.abs(summary.StreamCreationTimestamp - Date.now()) < 600_000, summary.StreamCreationTimestamp);
  const names = [];
  for await (const page of paginateListStreams({ client, pageSize: 1 }, {})) names.push(...page.StreamNames);
  assert.deepEqual(names, [StreamName]);

  // Put, and get through each kind of iterator.
  const every = Uint8Array.from({ length: 256 }, (_, i) => i);
  const first = await send(PutRecordCommand, { StreamName, PartitionKey: 'schlüssel ☃', Data: every, ExplicitHashKey: '0' });
  assert.equal(first.ShardId, 'shardId-000000000000');
  const put = await send(PutRecordsCommand, {
    StreamARN, Records: Array.from({ length: 20 }, (_, i) => ({ PartitionKey: `${i}`, Data: Buffer.from(`record ${i}`), ExplicitHashKey: `${i % 2 ? half : 0n}` })),
  });
  assert.equal(put.FailedRecordCount, 0);
  assert.deepEqual(new Set(put.Records.map((r) => r.ShardId)), new Set(['shardId-000000000000', 'shardId-000000000001']));
  const { records } = await all(first.ShardId, { ShardIteratorType: 'TRIM_HORIZON' });
  assert.equal(records.length, 11);
  assert.deepEqual(records[0].Data, every);
  assert.equal(records[0].PartitionKey, 'schlüssel ☃');
  assert.equal(records[0].SequenceNumber, first.SequenceNumber);
  assert.ok(Math.abs(records[0].ApproximateArrivalTimestamp - Date.now()) < 600_000);
  const StartingSequenceNumber = first.SequenceNumber;
  for (const [from, want] of [
    [{ ShardIteratorType: 'AT_SEQUENCE_NUMBER', StartingSequenceNumber }, 11],
    [{ ShardIteratorType: 'AFTER_SEQUENCE_NUMBER', StartingSequenceNumber }, 10],
    [{ ShardIteratorType: 'AT_TIMESTAMP', Timestamp: summary.StreamCreationTimestamp }, 11],
    [{ ShardIteratorType: 'LATEST' }, 0],
  ]) assert.equal((await all(first.ShardId, from)).records.length, want, from.ShardIteratorType);

  // Errors have names and texts.
  await assert.rejects(send(DescribeStreamSummaryCommand, { StreamName: 'none' }), { name: 'ResourceNotFoundException', message: 'Stream none under account 000000000000 not found.' });
  await assert.rejects(send(CreateStreamCommand, { StreamName, ShardCount: 1 }), { name: 'ResourceInUseException' });

  await assert.rejects(send(PutRecordCommand, { StreamName, PartitionKey: 'k', Data: Buffer.alloc(20 << 20) }), { name: 'RequestEntityTooLargeException' });

  // Records are pushed while they are written, until the shard is split.
  await send(RegisterStreamConsumerCommand, { StreamARN, ConsumerName: 'fan' });
  const { ConsumerDescription: consumer } = await send(DescribeStreamConsumerCommand, { StreamARN, ConsumerName: 'fan' });
  assert.equal(consumer.ConsumerStatus, 'ACTIVE');
  assert.equal((await send(ListStreamConsumersCommand, { StreamARN })).Consumers.length, 1);
  const { EventStream } = await send(SubscribeToShardCommand, {
    ConsumerARN: consumer.ConsumerARN, ShardId: first.ShardId, StartingPosition: { Type: 'AFTER_SEQUENCE_NUMBER', SequenceNumber: records.at(-1).SequenceNumber },
  });
  const written = [];
  const writing = (async () => {
    for (let i = 0; i < 100; i += 1) {
      const { SequenceNumber } = await send(PutRecordCommand, { StreamName, PartitionKey: 'k', Data: Buffer.from(`pushed ${i}`), ExplicitHashKey: '1' });
      written.push(SequenceNumber);
    }
    await send(SplitShardCommand, { StreamName, ShardToSplit: first.ShardId, NewStartingHashKey: `${half / 2n}` });
  })();
  const pushed = [];
  let events = 0;
  let last;
  for await (const { SubscribeToShardEvent: event } of EventStream) {
    assert.equal(last?.ChildShards, undefined, 'an event after the last');
    events += 1;
    last = event;
    pushed.push(...event.Records);
    if (!event.ChildShards) assert.ok(event.ContinuationSequenceNumber);
  }
  await writing;
  assert.deepEqual(pushed.map((r) => r.SequenceNumber), written);
  assert.equal(Buffer.from(pushed[99].Data).toString(), 'pushed 99');
  assert.ok(events > 1, 'all in one event: they were not pushed');
  assert.equal(last.ContinuationSequenceNumber, undefined);
  assert.deepEqual(last.ChildShards.map((s) => [s.ShardId, s.ParentShards]), [['shardId-000000000002', [first.ShardId]], ['shardId-000000000003', [first.ShardId]]]);

  // A closed shard has an end, and so have its readers.
  const closed = await all(first.ShardId, { ShardIteratorType: 'AFTER_SEQUENCE_NUMBER', StartingSequenceNumber: written[89] });
  assert.deepEqual([closed.records.length, closed.ended], [10, true]);

  await send(MergeShardsCommand, { StreamARN, ShardToMerge: 'shardId-000000000003', AdjacentShardToMerge: 'shardId-000000000001' });
  const merged = (await shards()).find((s) => s.ShardId === 'shardId-000000000004');
  assert.deepEqual([merged.ParentShardId, merged.AdjacentParentShardId], ['shardId-000000000003', 'shardId-000000000001']);
  assert.deepEqual(merged.HashKeyRange, { StartingHashKey: `${half / 2n}`, EndingHashKey: `${2n * half - 1n}` });
  const scaled = await send(UpdateShardCountCommand, { StreamName, TargetShardCount: 4, ScalingType: 'UNIFORM_SCALING' });
  assert.deepEqual([scaled.CurrentShardCount, scaled.TargetShardCount], [2, 4]);
  await waitUntilStreamExists({ client, maxWaitTime: 30, minDelay: 1 }, { StreamName });
  assert.deepEqual((await open()).map((s) => s.HashKeyRange.StartingHashKey), [0n, half / 2n, half, half + half / 2n].map(String));

  await assert.rejects(send(DeleteStreamCommand, { StreamName }), { name: 'ResourceInUseException' });
  await send(DeleteStreamCommand, { StreamName, EnforceConsumerDeletion: true });
  await waitUntilStreamNotExists({ client, maxWaitTime: 30, minDelay: 1 }, { StreamName });
}

// A promise that nobody settles ends a program of Node's without a word.
const watch = sleep(60_000, undefined, { ref: true }).then(() => { throw new Error('not done after a minute'); });
Promise.race([main(), watch]).then(() => { console.log('done'); process.exit(0); }, (err) => { console.error(err); process.exit(1); });
