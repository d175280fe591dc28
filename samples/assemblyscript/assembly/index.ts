// Readings of sensors: the partition key is a sensor's name, the data its
// temperature as text. Readings over LIMIT, 30 unless the environment says
// otherwise, are given out to the stream alerts; what is no number fails alone.
import { Batch, Reply, env, log, serve } from "./wasmill";
export { wm_abi_version, wm_alloc, wm_batch, wm_json } from "./wasmill";

serve((batch: Batch, reply: Reply): void => {
  const setting = env("LIMIT");
  const limit = setting === null ? 30 : parseFloat(setting);
  for (let i = 0; i < batch.length; i++) {
    const record = batch.get(i);
    const celsius = parseFloat(record.text);
    if (isNaN(celsius)) {
      log(record.key + " sent " + record.text + ", which is no number");
      reply.fail(i);
    } else if (celsius > limit) {
      reply.emit(i, "alerts", record.key, record.data.buffer);
    }
  }
});
