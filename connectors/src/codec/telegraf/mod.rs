//! Telegraf's JSON: one metric per record, a batch of them, or several objects one after another.
//!
//! # Grammar
//!
//! ```text
//! record  = object+                              separated by nothing or white space
//! object  = metric | batch
//! batch   = { "metrics": [metric*] }
//! metric  = { "name": text, "fields": fields, ["tags": tags], ["timestamp": time] }
//! fields  = { name: number | true | false | text | null | array | object }
//! tags    = { name: text | number | true | false | null }
//! time    = number | text                        see the module `time`
//! ```
//!
//! in any order and with any further members, which are skipped.
//!
//! # What it means
//!
//! - A metric becomes one point of the series (`name`, `tags`) at `timestamp`, or at Kafka's own
//!   timestamp when there is none.
//! - **Numbers are always floats.** JSON drops the difference between `0` and `0.0`, and Telegraf's
//!   fields do change from one to the other, so a type taken from the text would flip.
//! - `true` and `false` are 1 and 0. Texts, nulls, arrays and objects among the fields are passed over;
//!   a metric without any number (`uptime_format`) makes no point and is no error.
//! - Tags are labels. A tag called `name` is a label like any other. Tags that are empty or null are as
//!   good as absent. `cpu-total` stays beside the single cores: choosing is for the rules.
//! - Of a repeated field the last number counts, of a repeated tag or member the last one.
//!
//! # What is refused
//!
//! Anything that is not such JSON (`unparseable`), a metric without `name` or `fields`
//! (`missing_field`), a number beyond the range of a float (`not_a_number`), a time outside the years
//! 1970 to 9999 (`time_out_of_range`), and whatever passes the bounds of [the codecs](super)
//! (`too_large`, `series_limit`).
//!
//! # How it is read
//!
//! By `serde_json`, which decides all of the above; but a record that is written like earlier ones is recognised
//! by its bytes, and only its numbers are read. See the module `predict`.

mod metric;
mod predict;
mod values;

use serde::de::DeserializeSeed;
use tidewatch_dataflow::dead_letter::Malformed;
use tidewatch_dataflow::record::{Decoded, Record};
use tidewatch_dataflow::series::SeriesTable;

use super::fields::FieldCache;
use super::json::malformed;
use super::{Decode, Input};
use metric::Metric;
use predict::Predictor;

/// The codec; see the module.
#[derive(Default)]
pub(super) struct TelegrafJson {
    /// Reads what looks like earlier records; `None` for the codec that it must agree with.
    predictor: Option<Predictor>,
    names: FieldCache,
    /// For each field number: in which metric it was last seen, and where its value stands. Finds a
    /// repeated field in one step. Grows to the number of field names, 65,536 * 8 bytes at the most.
    seen: Vec<(u32, u32)>,
    /// The number of the present metric.
    metric: u32,
}

impl TelegrafJson {
    /// The codec that learns.
    pub(super) fn predicting() -> Self {
        TelegrafJson { predictor: Some(Predictor::default()), ..TelegrafJson::default() }
    }

    /// Whether it learns.
    pub(super) fn predicts(&self) -> bool {
        self.predictor.is_some()
    }

    /// Reads a record that looks like earlier ones; all others are left to [`parse`](Self::parse).
    #[inline]
    pub(super) fn predict(
        &mut self,
        input: &Input<'_>,
        series: &SeriesTable,
        out: &mut Decoded,
    ) -> bool {
        let predictor = self.predictor.as_mut();
        predictor.is_some_and(|known| known.read(input.value, input.record.offset, series, out))
    }

    /// Reads any record, and learns from it.
    pub(super) fn parse(
        &mut self,
        input: Input<'_>,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        let text = input.text()?;
        let mut json = serde_json::Deserializer::from_str(text);
        let first_point = out.points.len();
        loop {
            let metric =
                Metric { codec: self, series, out, input: &input, first_point, in_batch: false };
            metric.deserialize(&mut json).map_err(|error| malformed(text, &error))?;
            if json.end().is_ok() {
                break;
            }
        }
        if let (Some(predictor), Some([point])) =
            (&mut self.predictor, out.points.get(first_point..))
        {
            predictor.learn(input.value, point, series, out);
        }
        Ok(())
    }
}

impl Decode for TelegrafJson {
    fn look_ahead(&mut self, records: &[Record<'_>]) {
        if let Some(predictor) = &mut self.predictor {
            predictor.look_ahead(records);
        }
    }

    fn record(
        &mut self,
        input: Input<'_>,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        if self.predict(&input, series, out) { Ok(()) } else { self.parse(input, series, out) }
    }
}
