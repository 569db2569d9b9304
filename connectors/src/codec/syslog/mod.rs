//! Syslog messages: RFC 5424, RFC 3164 and what daemons make of it.
//!
//! # Grammar
//!
//! ```text
//! record    = frame+
//! frame     = count SP message                      count = bytes of the message, as in RFC 6587
//!           | message                               to the end, or to a line break before "<" PRI ">"
//! message   = "<" PRI ">" (new | old) | stamp SP old-rest
//! new       = version SP time SP host SP app SP procid SP msgid SP data [SP text]       RFC 5424
//! data      = "-" | ("[" id (SP name '="' value '"')* "]")+         in values \", \\ and \] are escapes
//! old       = stamp SP old-rest | text                                                  RFC 3164
//! stamp     = Mmm SP day SP hh:mm:ss ["." digit+] | time of the module `time`
//! old-rest  = [host SP] tag ["[" procid "]"] [":"] [SP] text | text
//! ```
//!
//! PRI is a number to 191; `-` stands for what is not known. All line breaks inside of a message belong to it,
//! so a stack trace is kept whole.
//!
//! # What it means
//!
//! - **Time**: that of the message, else Kafka's timestamp. The old stamp has no year: it is the year that
//!   brings it **nearest to Kafka's timestamp**, so it is right unless the message was on its way for half a
//!   year. It has no zone either: it is taken `utc_offset` from UTC, which is 0 unless the source says
//!   otherwise.
//! - **Level**: the severity, PRI modulo 8: 0 to 2 FATAL, 3 ERROR, 4 WARN, 5 and 6 INFO, 7 DEBUG. Without PRI
//!   it is looked for as in a [text log](super::text_log).
//! - **Host**: the message's, else the record's key, else `unknown`. **Service**: the app or tag, else the topic.
//! - **Text**: what follows, a byte order mark and white space at its end not counted. Bytes that are not UTF-8
//!   become U+FFFD.
//! - `extra` has `log.syslog.facility.name`, `process.pid`, `log.syslog.msgid` and
//!   `log.syslog.structured_data`, where the message has them.
//!
//! Each message also is a point of the measurement `log`, as with [`super::json_log`].
//!
//! # What is refused
//!
//! A message with neither PRI nor time, a PRI above 191, a count that is not that of the message, a header or
//! structured data of RFC 5424 that do not follow it (`unparseable`), a time out of range
//! (`time_out_of_range`), a message without time where Kafka has none either (`missing_field`), more than 10,000
//! messages or 4,096 parameters (`too_large`).

mod header;
mod message;

use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::record::Decoded;
use tidewatch_dataflow::series::SeriesTable;

use super::line::LineWriter;
use super::time::UtcOffset;
use super::{Decode, Input, POINTS_MAX, SourceFormat};

/// The codec; see the module.
pub(super) struct Syslog {
    lines: LineWriter,
    service: Box<str>,
    utc_offset: UtcOffset,
}

impl Syslog {
    pub(super) fn new(source: &SourceFormat) -> Self {
        Syslog {
            lines: LineWriter::new(source),
            service: source.topic.clone(),
            utc_offset: source.utc_offset,
        }
    }
}

impl Decode for Syslog {
    fn record(
        &mut self,
        input: Input<'_>,
        series: &mut SeriesTable,
        out: &mut Decoded,
    ) -> Result<(), Malformed> {
        let mut rest = input.value.trim_ascii_start();
        for index in 0_u32.. {
            if index as usize >= POINTS_MAX {
                return Err(Malformed::new(
                    Reason::TooLarge,
                    format!("more than {POINTS_MAX} messages"),
                ));
            }
            let (message, after) = header::frame(rest)?;
            let line = self.message(message, &input, index)?;
            self.lines.push(line, series, out)?;
            rest = after.trim_ascii_start();
            if rest.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

/// Whether `bytes` begin with a priority.
pub(super) fn has_priority(bytes: &[u8]) -> bool {
    header::priority(bytes).is_some()
}
