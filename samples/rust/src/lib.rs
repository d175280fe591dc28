//! Readings of sensors: the partition key is a sensor's name, the data its
//! temperature as text. Readings over LIMIT, 30 unless the environment says
//! otherwise, are given out to the stream alerts; what is no number fails alone.

mod wasmill;

use wasmill::{Batch, Error, Reply};

wasmill::function!(handle);

fn handle(batch: &Batch, reply: &mut Reply) -> Result<(), Error> {
    let limit: f64 = match std::env::var("LIMIT") {
        Ok(text) => text.parse()?,
        Err(_) => 30.0,
    };
    for (i, record) in batch.iter() {
        let text = String::from_utf8_lossy(record.data);
        match text.parse::<f64>() {
            Ok(celsius) if celsius > limit => reply.emit(i, "alerts", record.key, record.data),
            Ok(_) => {}
            Err(e) => {
                println!("{} sent {:?}: {}", record.key, text, e);
                reply.fail(i);
            }
        }
    }
    Ok(())
}
