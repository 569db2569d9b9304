//! collectd's JSON, as its plugins `write_kafka` and `write_http` write it.
//!
//! # Grammar
//!
//! ```text
//! record = [ list* ] | list+
//! list   = { "values": [ number | null ... ], "dsnames": [ text ... ], "plugin": text, ["host": text],
//!            ["time": seconds], ["plugin_instance": text], ["type": text], ["type_instance": text] }
//! ```
//!
//! in any order and with any further members (`dstypes`, `interval`, `meta`), which are skipped.
//!
//! # What it means
//!
//! - A list becomes one point of the measurement `plugin` with the labels `host`, `plugin_instance`, `type` and
//!   `type_instance`, those that are not empty, at `time`, seconds with a fraction; or at Kafka's timestamp.
//!   Without a `host` the record's key is the host.
//! - Its fields are the `dsnames`, one for each of `values`: mostly the one `value`; `shortterm`, `midterm` and
//!   `longterm` of `load`. **Nulls are counted** ([`Decoded::no_numbers`]) **and passed over**: the first
//!   sample of a rate has no value yet. A list of nothing but nulls makes no point and is no error.
//! - Counters stay what they are, unless collectd makes rates of them (`StoreRates true`).
//!
//! # What is refused
//!
//! Anything that is not such JSON, and values that are not as many as their names (`unparseable`); a list
//! without `values`, `dsnames` or `plugin` (`missing_field`); a time outside the years 1970 to 9999
//! (`time_out_of_range`), and whatever passes the bounds of [the codecs](super) (`too_large`, `series_limit`).

mod list;

use serde::de::DeserializeSeed;
use tidewatch_dataflow::dead_letter::Malformed;
use tidewatch_dataflow::record::Decoded;
use tidewatch_dataflow::series::SeriesTable;

use super::json::malformed;
use super::point::PointWriter;
use super::{Decode, Input};
use list::Lists;

/// The codec; see the module.
#[derive(Default)]
pub(super) struct CollectdJson {
    points: PointWriter,
}

impl Decode for CollectdJson {
    fn record(
        &mut self,
        input: Input<'_>,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        let text = input.text()?;
        let mut json = serde_json::Deserializer::from_str(text);
        self.points.begin_record();
        loop {
            let lists = Lists { points: &mut self.points, series, out, input: &input };
            lists.deserialize(&mut json).map_err(|error| malformed(text, &error))?;
            if json.end().is_ok() {
                return Ok(());
            }
        }
    }
}
