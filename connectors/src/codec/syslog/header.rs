//! Frames and priorities.

use tidewatch_dataflow::dead_letter::{Malformed, Reason};

use super::super::excerpt;

/// The largest priority: 23 facilities above the first, with eight severities each.
const PRIORITY_MAX: u8 = 191;

/// Names of the facilities, as RFC 5424 numbers them.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

/// Facility and severity in one number.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Priority(u8);

impl Priority {
    /// From 0, the most serious, to 7.
    pub(super) fn severity(self) -> u64 {
        u64::from(self.0 % 8)
    }

    /// The part of the system that speaks.
    pub(super) fn facility(self) -> &'static str {
        FACILITIES.get(usize::from(self.0 / 8)).copied().unwrap_or("local7")
    }
}

/// The priority at the front of `bytes`, and what follows; `None` when there is none.
pub(super) fn priority(bytes: &[u8]) -> Option<(Priority, &[u8])> {
    let inside = bytes.strip_prefix(b"<")?;
    let end = inside.iter().take(4).position(|byte| *byte == b'>')?;
    let number = inside.get(..end).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let number: u8 = std::str::from_utf8(number).ok()?.parse().ok()?;
    let rest = inside.get(end + 1..)?;
    (number <= PRIORITY_MAX).then_some((Priority(number), rest))
}

/// The first message of `bytes`, and what follows.
pub(super) fn frame(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let counted = bytes.get(digits..).is_some_and(|rest| rest.starts_with(b" <"));
    if digits > 0 && counted {
        let count = bytes.get(..digits).and_then(|digits| std::str::from_utf8(digits).ok());
        let body = bytes.get(digits + 1..).unwrap_or_default();
        return count
            .and_then(|count| count.parse().ok())
            .and_then(|count| body.split_at_checked(count))
            .filter(|(message, _)| !message.trim_ascii().is_empty())
            .ok_or_else(|| {
                Malformed::new(
                    Reason::Unparseable,
                    format!("the count {} is not that of the message", excerpt(bytes, 0)),
                )
            });
    }
    let next = memchr::memchr_iter(b'\n', bytes).find(|at| {
        let after = bytes.get(at + 1..).unwrap_or_default();
        priority(after).is_some()
    });
    Ok(match next.and_then(|at| bytes.split_at_checked(at)) {
        Some((message, rest)) => (message, rest),
        None => (bytes, &[]),
    })
}
