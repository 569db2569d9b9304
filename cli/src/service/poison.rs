//! A hook for tests: a record that ends the process that decodes it, as a fault in a codec would.

use tidewatch_dataflow::record::{Decoded, RecordBatch};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::source::Codec;

/// The environment variable with the bytes that make a record poison. Not set in production.
const VARIABLE: &str = "TIDEWATCH_TEST_POISON";

struct Hooked {
    inner: Box<dyn Codec>,
    poison: Vec<u8>,
}

/// `codec`, ending the process at poison if the variable is set.
pub(super) fn hooked(codec: Box<dyn Codec>) -> Box<dyn Codec> {
    match std::env::var(VARIABLE) {
        Ok(poison) if !poison.is_empty() => {
            tracing::warn!(variable = VARIABLE, "records with poison end this process: a test");
            Box::new(Hooked { inner: codec, poison: poison.into_bytes() })
        }
        _ => codec,
    }
}

impl Codec for Hooked {
    fn decode(&mut self, batch: &RecordBatch<'_>, series: &mut SeriesTable, out: &mut Decoded) {
        let holds = |value: &[u8]| value.windows(self.poison.len()).any(|part| part == self.poison);
        if batch.records.iter().any(|record| record.value.is_some_and(holds)) {
            std::process::abort();
        }
        self.inner.decode(batch, series, out);
    }
}
