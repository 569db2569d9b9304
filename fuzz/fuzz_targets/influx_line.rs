//! The codec of format `influx_line`, with its memory of the heads of lines and without.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewatch_fuzz::codec::Format;

fuzz_target!(|value: &[u8]| {
    tidewatch_fuzz::check(Format::InfluxLine, value);
    tidewatch_fuzz::check_memory(Format::InfluxLine, value);
});
