//! Hooks for tests: a record that ends the process that decodes it, as a fault in a codec would, and a group that
//! an operator panics at.

use tidewatch_dataflow::record::{Decoded, RecordBatch};
use tidewatch_dataflow::series::SeriesTable;
use tidewatch_dataflow::source::Codec;
use tidewatch_operators::feed::Fault;

/// The environment variable with the bytes that make a record poison. Not set in production.
const VARIABLE: &str = "TIDEWATCH_TEST_POISON";

/// The environment variable with the end of an operator's name and what the labels of a group contain, as
/// `rule cpu_high@host=web-1`: there it panics. Not set in production.
const FAULT: &str = "TIDEWATCH_TEST_FAULT";

/// The fault that the variable asks for, if it is set.
pub(super) fn fault() -> Option<Fault> {
    let fault = std::env::var(FAULT).ok()?;
    let (operator, group) = fault.split_once('@')?;
    tracing::warn!(variable = FAULT, operator, group, "an operator panics at these groups: a test");
    Some(Fault { operator: operator.to_owned(), group: group.to_owned() })
}

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
