//! Looks at every record and keeps nothing.

mod wasmill;

use std::sync::atomic::{AtomicUsize, Ordering};
use wasmill::{Batch, Error, Reply};

wasmill::function!(handle);

static BYTES: AtomicUsize = AtomicUsize::new(0);

fn handle(batch: &Batch, _: &mut Reply) -> Result<(), Error> {
    for (_, record) in batch.iter() {
        let first = record.data.first().copied().unwrap_or(0) as usize;
        BYTES.fetch_add(record.data.len() + first, Ordering::Relaxed);
    }
    Ok(())
}
