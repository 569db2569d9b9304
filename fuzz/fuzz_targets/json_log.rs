//! The codec of format `json_log`, with its reader of flat objects and without.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewatch_fuzz::codec::Format;

fuzz_target!(|value: &[u8]| {
    tidewatch_fuzz::check(Format::JsonLog, value);
    tidewatch_fuzz::check_memory(Format::JsonLog, value);
});
