// Reads a stream with lifion-kinesis while it is written to and its shards split and
// merge: each record must come once, and those of a key in the order of their writing.
// FANOUT=1 has the records pushed.
'use strict';
const assert = require('node:assert/strict');
const { setTimeout: sleep } = require('node:timers/promises');
const { DynamoDB, Kinesis: Client } = require('aws-sdk');
// What is pushed, lifion-kinesis asks of AWS's own hosts whatever endpoint it is given:
// this has the requests go there.
const aws4 = require('aws4');
const { sign } = aws4;
aws4.sign = (request, credentials) => {
  request.headers.host = request.url.host;
  request.hostname = request.url.hostname;
  return sign(request, credentials);
};
const Kinesis = require('lifion-kinesis');

const aws = { endpoint: process.env.ENDPOINT, region: 'us-east-1', accessKeyId: 'key', secretAccessKey: 'secret' };
const fanOut = process.env.FANOUT === '1';
const streamName = fanOut ? 'pushed' : 'polled';
const log = process.env.VERBOSE ? { debug: console.log, warn: console.warn, error: console.error } : { warn: console.warn, error: console.error };
const client = new Client({ ...aws, maxRetries: 0 });
const keys = 12;
const each = 60;

async function main() {
  const reader = new Kinesis({
    ...aws, streamName, shardCount: 2, initialPositionInStream: 'TRIM_HORIZON', consumerGroup: 'group', dynamoDb: { ...aws, tableName: 'state' }, logger: log,
    useEnhancedFanOut: fanOut, maxEnhancedConsumers: 1, leaseAcquisitionInterval: 300, leaseAcquisitionRecoveryInterval: 300, noRecordsPollDelay: 250, pollDelay: 50,
    tags: { team: 'mill' }, statsInterval: 60_000,
  });
  const seen = new Map();
  const shards = new Set();
  let count = 0;
  const done = new Promise((resolve, reject) => {
    reader.on('error', reject);
    reader.on('data', ({ records, shardId }) => {
      shards.add(shardId);
      for (const { data, partitionKey } of records) {
        const next = seen.get(partitionKey) ?? 0;
        if (data.n !== next) reject(new Error(`record ${data.n} of key ${partitionKey} in ${shardId}, want ${next}`));
        seen.set(partitionKey, next + 1);
        if ((count += 1) === keys * each) resolve();
      }
    });
  });
  done.catch(() => {});
  await reader.startConsumer();
  const reshard = {
    15: () => client.splitShard({ StreamName: streamName, ShardToSplit: 'shardId-000000000000', NewStartingHashKey: `${1n << 126n}` }).promise(),
    30: () => client.mergeShards({ StreamName: streamName, ShardToMerge: 'shardId-000000000003', AdjacentShardToMerge: 'shardId-000000000001' }).promise(),
  };
  for (let n = 0; n < each; n += 1) {
    await reshard[n]?.();
    await reader.putRecords({ records: Array.from({ length: keys }, (_, i) => ({ data: { n, text: 'ä'.repeat(i) }, partitionKey: `key ${i}` })) });
    await sleep(20);
  }
  await done;
  await sleep(500); // what comes now comes twice
  assert.equal(count, keys * each);
  assert.deepEqual([...shards].sort(), [0, 1, 2, 3, 4].map((i) => `shardId-00000000000${i}`));
  // The table is where the other service is, and tells what was read to its end.
  const { Item } = await new DynamoDB.DocumentClient(aws).get({ TableName: 'state', Key: { consumerGroup: 'group', streamName } }).promise();
  const depleted = Object.keys(Item.shards).filter((id) => Item.shards[id].depleted);
  assert.deepEqual(depleted.sort(), [0, 1, 3].map((i) => `shardId-00000000000${i}`));
}

const watch = sleep(60_000).then(() => { throw new Error('not done after a minute'); });
Promise.race([main(), watch]).then(() => { console.log('done'); process.exit(0); }, (err) => { console.error(err); process.exit(1); });
