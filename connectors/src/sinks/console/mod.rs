//! Notifications on the console: one line for each, coloured on a terminal.
//!
//! ```text
//! 2026-11-22 19:40:00 UTC  CRITICAL  cpu_sustained  host=web-1  usage_active above 90 for 5m (97.25)  owner=web-team tier=1  tw-00000000000000ab
//! 2026-11-22 19:52:03 UTC  RESOLVED  cpu_sustained  host=web-1  recovered after 17m3s  owner=web-team tier=1  tw-00000000000000ab
//! ```
//! The time is that of the event: when the condition had held long enough, or first failed. Writing
//! blocks the task for as long as the terminal does.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use tidewatch_dataflow::alert::{Notification, Severity, TransitionKind};
use tidewatch_dataflow::sink::{ConnectorError, Receipt, SinkWriter};

use super::channel::{Channel, tell_all};
use super::instant::readable;
use super::message::{clean, ended, lasting, number};
use crate::delivery::DeliveryConfig;

/// No part of a line is longer, in characters.
const PART_CHARS_MAX: usize = 200;

/// Writes lines to a terminal, a file, or anything else.
pub struct ConsoleWriter<W> {
    out: W,
    is_coloured: bool,
}

impl<W> fmt::Debug for ConsoleWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleWriter")
            .field("is_coloured", &self.is_coloured)
            .finish_non_exhaustive()
    }
}

impl ConsoleWriter<io::Stdout> {
    /// Writes to standard output, with colours if that is a terminal and `NO_COLOR` is not set.
    pub fn stdout() -> Self {
        let out = io::stdout();
        let is_coloured =
            out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        ConsoleWriter { out, is_coloured }
    }
}

impl<W: Write + Send + 'static> ConsoleWriter<W> {
    /// Writes to `out`, with or without colours.
    pub fn new(out: W, is_coloured: bool) -> Self {
        ConsoleWriter { out, is_coloured }
    }
}

/// How to queue and retry.
pub fn delivery() -> DeliveryConfig {
    DeliveryConfig::channel()
}

/// The line of `notification`, line break included.
fn line(notification: &Notification, is_coloured: bool) -> String {
    let transition = &notification.transition;
    let part = |text: &str| clean(text, PART_CHARS_MAX);
    let (word, what, colour) = match transition.kind {
        TransitionKind::Opened => {
            let value = number(transition.value.0);
            let colour = match transition.severity {
                Severity::Info => "36",
                Severity::Warning => "33",
                Severity::Critical => "1;31",
            };
            let word = transition.severity.as_str().to_uppercase();
            (word, format!("{} ({value})", part(&transition.summary)), colour)
        }
        TransitionKind::Ended(reason) => {
            let lasted = lasting(transition.lasted());
            ("RESOLVED".to_owned(), format!("{} after {lasted}", ended(reason)), "32")
        }
    };
    let padded = format!("{word:8}");
    let word = if is_coloured { format!("\u{1b}[{colour}m{padded}\u{1b}[0m") } else { padded };
    let inventory = part(&notification.inventory.to_string().replace(',', " "));
    let incident = transition.incident.to_string();
    let parts = [
        readable(transition.at),
        word,
        part(&transition.rule),
        part(&transition.group.to_string()),
        what,
        inventory,
        incident,
    ];
    let mut line =
        parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join("  ");
    line.push('\n');
    line
}

impl<W: Write + Send + 'static> Channel for ConsoleWriter<W> {
    async fn tell(&mut self, notification: &Notification) -> Result<(), ConnectorError> {
        let line = line(notification, self.is_coloured);
        let written = self.out.write_all(line.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(|error| ConnectorError::Transient {
            endpoint: "the console".to_owned(),
            retry_after: None,
            source: error.into(),
        })
    }
}

impl<W: Write + Send + 'static> SinkWriter for ConsoleWriter<W> {
    type Item = Notification;

    async fn write(&mut self, batch: &[Notification]) -> Result<Receipt, ConnectorError> {
        tell_all(self, batch).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::sample;
    use tidewatch_dataflow::series::Labels;

    #[tokio::test]
    async fn one_line_for_each_transition() {
        let mut console = ConsoleWriter::new(Vec::new(), false);
        let receipt = console.write(&[sample::opening(), sample::end()]).await.unwrap();
        assert_eq!(receipt.accepted, 2);
        let text = String::from_utf8(console.out).unwrap();
        assert_eq!(
            text,
            "2026-11-22 19:40:00 UTC  CRITICAL  cpu_sustained  host=web-1  \
             usage_active above 90 for 5m (97.25)  owner=web-team tier=1  tw-00000000000000ab\n\
             2026-11-22 19:52:03 UTC  RESOLVED  cpu_sustained  host=web-1  \
             recovered after 17m3s  owner=web-team tier=1  tw-00000000000000ab\n"
        );
    }

    #[test]
    fn colours_surround_the_word_and_labels_cannot_bring_their_own() {
        let mut notification = sample::opening();
        notification.transition.group = Labels::from_pairs([("host", "\u{1b}[2Jweb\n-1")]);
        notification.inventory = Labels::default();
        let line = line(&notification, true);
        assert!(
            line.contains("\u{1b}[1;31mCRITICAL\u{1b}[0m  cpu_sustained  host= [2Jweb -1  "),
            "{line:?}"
        );
        assert_eq!(line.lines().count(), 1);
    }

    #[tokio::test]
    async fn a_console_that_fails_is_tried_again() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut console = ConsoleWriter::new(Broken, false);
        let failure = console.write(&[sample::opening()]).await.unwrap_err();
        assert!(matches!(failure, ConnectorError::Transient { .. }));
    }
}
