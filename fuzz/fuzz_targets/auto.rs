//! The codec of format `auto`, with its short ways and without.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewatch_fuzz::codec::Format;

fuzz_target!(|value: &[u8]| {
    tidewatch_fuzz::check(Format::Auto, value);
    tidewatch_fuzz::check_memory(Format::Auto, value);
});
