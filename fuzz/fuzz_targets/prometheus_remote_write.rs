//! The codec of format `prometheus_remote_write`: the bytes as they are, and packed, since hardly any are a
//! block of Snappy by chance.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewatch_fuzz::codec::Format;

fuzz_target!(|value: &[u8]| {
    tidewatch_fuzz::check(Format::PrometheusRemoteWrite, value);
    if let Ok(packed) = snap::raw::Encoder::new().compress_vec(value) {
        tidewatch_fuzz::check(Format::PrometheusRemoteWrite, &packed);
    }
});
