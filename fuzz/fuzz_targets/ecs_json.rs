//! The codec of format `ecs_json`, with its reader of flat objects and without.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewatch_fuzz::codec::Format;

fuzz_target!(|value: &[u8]| {
    tidewatch_fuzz::check(Format::EcsJson, value);
    tidewatch_fuzz::check_memory(Format::EcsJson, value);
});
