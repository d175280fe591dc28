// Readings of sensors: the partition key is a sensor's name, the data its
// temperature as text. Readings over LIMIT, 30 unless the environment says
// otherwise, are given out to the stream alerts; what is no number fails alone.
const limit = Number(process.env.LIMIT ?? 30);

export const handler = async (event, context) => {
  const batchItemFailures = [], emit = [];
  for (const { kinesis } of event.Records) {
    const { partitionKey, data, sequenceNumber } = kinesis;
    const text = Buffer.from(data, 'base64').toString();
    const celsius = text.trim() === '' ? NaN : Number(text);
    if (Number.isNaN(celsius)) {
      console.log(`${partitionKey} sent ${text}, which is no number`);
      batchItemFailures.push({ itemIdentifier: sequenceNumber });
    } else if (celsius > limit) {
      emit.push({ stream: 'alerts', partitionKey, data, itemIdentifier: sequenceNumber });
    }
  }
  return emit.length > 0 ? { batchItemFailures, emit } : { batchItemFailures };
};
