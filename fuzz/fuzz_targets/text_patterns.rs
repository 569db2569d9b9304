//! The codec of format `text_log` with patterns: the first line is a format of times, the second a regular
//! expression, the rest a record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewatch_fuzz::codec::text_log::{Pattern, TimeFormat};
use tidewatch_fuzz::codec::{Format, SourceFormat};

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.splitn(3, |byte| *byte == b'\n');
    let mut text = || parts.next().and_then(|part| std::str::from_utf8(part).ok());
    let (Some(format), Some(pattern)) = (text(), text()) else { return };
    let Some(value) = parts.next() else { return };
    let mut source = SourceFormat::new("logs", Format::TextLog);
    source.patterns.time_format = TimeFormat::new(format).ok();
    source.patterns.time = Pattern::new(pattern).ok();
    source.patterns.level = source.patterns.time.clone();
    tidewatch_fuzz::check_source(&source, value);
});
