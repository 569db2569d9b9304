//! Words and numbers for how serious a log line is.
//!
//! Words are compared without regard to case:
//!
//! | level | words |
//! | --- | --- |
//! | TRACE | trace, trc, verbose, finest |
//! | DEBUG | debug, dbg, fine, finer |
//! | INFO | info, inf, information, informational, notice, note, config, success |
//! | WARN | warn, wrn, warning |
//! | ERROR | error, err, severe, failure |
//! | FATAL | fatal, ftl, crit, critical, alert, emerg, emergency, panic |
//!
//! Numbers from 0 to 7 are those of syslog (0 to 2 FATAL, 3 ERROR, 4 WARN, 5 and 6 INFO, 7 DEBUG),
//! numbers from 10 to 60 those of pino and bunyan (10 TRACE to 60 FATAL, in steps of 10).

use tidewatch_dataflow::record::Level;

/// The level that a word means, in any case.
///
/// ```
/// use tidewatch_connectors::codec::level;
/// use tidewatch_dataflow::record::Level;
/// assert_eq!(level::from_word("Warning"), Some(Level::Warn));
/// assert_eq!(level::from_word("CRIT"), Some(Level::Fatal));
/// assert_eq!(level::from_word("warmth"), None);
/// ```
pub fn from_word(word: &str) -> Option<Level> {
    // The longest word has 13 letters.
    let mut lower = [0_u8; 13];
    let lower = lower.get_mut(..word.len())?;
    lower.copy_from_slice(word.as_bytes());
    lower.make_ascii_lowercase();
    Some(match &*lower {
        b"trace" | b"trc" | b"verbose" | b"finest" => Level::Trace,
        b"debug" | b"dbg" | b"fine" | b"finer" => Level::Debug,
        b"info" | b"inf" | b"information" | b"informational" | b"notice" | b"note" | b"config"
        | b"success" => Level::Info,
        b"warn" | b"wrn" | b"warning" => Level::Warn,
        b"error" | b"err" | b"severe" | b"failure" => Level::Error,
        b"fatal" | b"ftl" | b"crit" | b"critical" | b"alert" | b"emerg" | b"emergency"
        | b"panic" => Level::Fatal,
        _ => return None,
    })
}

/// The level that a number means.
pub fn from_number(number: u64) -> Option<Level> {
    Some(match number {
        0..=2 | 60 => Level::Fatal,
        3 | 50 => Level::Error,
        4 | 40 => Level::Warn,
        5 | 6 | 30 => Level::Info,
        7 | 20 => Level::Debug,
        10 => Level::Trace,
        _ => return None,
    })
}

/// The level that a single letter means: the first of its name, `C` for critical, `A` for alert.
pub(super) fn from_letter(text: &str) -> Option<Level> {
    Some(match text {
        "T" | "t" | "V" | "v" => Level::Trace,
        "D" | "d" => Level::Debug,
        "I" | "i" | "N" | "n" => Level::Info,
        "W" | "w" => Level::Warn,
        "E" | "e" => Level::Error,
        "F" | "f" | "C" | "c" | "A" | "a" => Level::Fatal,
        _ => return None,
    })
}
