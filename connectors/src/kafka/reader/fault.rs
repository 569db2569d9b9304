//! Why a partition is read no further: found by comparing where to go on with what the log has.

use std::fmt;

use tidewatch_dataflow::sink::ConnectorError;

use super::options::{OnRecreated, OnRetention};

/// Why a partition is read no further until a person acts.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum PartitionFault {
    /// Retention removed records that were still to be read.
    Expired {
        /// Where reading was to go on.
        wanted: i64,
        /// The first offset that the log has.
        first: i64,
    },
    /// The log ends before the place where reading was to go on.
    Shorter {
        /// Where reading was to go on.
        wanted: i64,
        /// The first offset that the log has.
        first: i64,
        /// Where the log ends: the offset after its newest record.
        end: i64,
    },
    /// The record before the place where reading was to go on is not the one that was read there.
    Different {
        /// The offset of the record that differs.
        offset: i64,
        /// The first offset that the log has.
        first: i64,
    },
    /// The topic has another id than when reading it began.
    Replaced,
}

impl PartitionFault {
    /// How many offsets retention took away: that many records, fewer where the log had gaps.
    pub fn lost(&self) -> u64 {
        match self {
            PartitionFault::Expired { wanted, first } => lost(*wanted, *first),
            _ => 0,
        }
    }

    /// Whether the log is that of a topic that was made anew: it is not the one that was read before, and it
    /// begins with its first record. One that begins later may be the old one, cut short.
    pub fn is_recreated(&self) -> bool {
        match self {
            PartitionFault::Expired { .. } => false,
            PartitionFault::Replaced => true,
            PartitionFault::Shorter { first, .. } | PartitionFault::Different { first, .. } => {
                *first == 0
            }
        }
    }

    /// The error that says so to whom it concerns.
    pub(super) fn error(&self, endpoint: String, policy: OnRecreated) -> ConnectorError {
        ConnectorError::Refused { endpoint, reason: self.said(policy) }
    }

    /// What is wrong, and what comes of it.
    pub(super) fn said(&self, policy: OnRecreated) -> String {
        match (self.is_recreated(), policy) {
            (false, _) => self.to_string(),
            (true, OnRecreated::Restart) => format!(
                "{self}; it is read from its beginning, as a new generation, by the run that begins when a \
                 checkpoint holds what was read"
            ),
            (true, OnRecreated::Error) => format!(
                "{self}; to read what it has now, write `on_recreated = \"restart\"` and keep checkpoints"
            ),
        }
    }
}

impl fmt::Display for PartitionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.is_recreated() {
            true => "the topic was recreated",
            false => {
                "its log was cut short, or the topic was recreated and has lost its first records since; to \
                 begin anew with what it has now, name an empty `store` in `[checkpoint]`"
            }
        };
        match self {
            PartitionFault::Expired { wanted, first } => write!(
                f,
                "retention removed records before they were read: offset {wanted} is wanted, {first} is the \
                 first available, {} records are lost; to go on with what is left, write \
                 `on_retention = \"earliest\"`",
                self.lost()
            ),
            PartitionFault::Shorter { wanted, end, .. } => {
                write!(f, "offset {wanted} is wanted and the log ends at {end}: {what}")
            }
            PartitionFault::Replaced => {
                write!(f, "the topic has another id than when reading it began: {what}")
            }
            PartitionFault::Different { offset, .. } => {
                write!(
                    f,
                    "the record at offset {offset} is not the one that was read there: {what}"
                )
            }
        }
    }
}

fn lost(wanted: i64, first: i64) -> u64 {
    u64::try_from(first.saturating_sub(wanted)).unwrap_or(0)
}

/// What is to be done about a partition whose log did not have the offset that was asked for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The log has the offset now: a new leader may not have had it a moment ago.
    GoOn,
    /// Go on at `first`; so many records are lost.
    Skip { first: i64, lost: u64 },
    /// Stop.
    Stop(PartitionFault),
}

/// Compares `wanted` with a log that begins at `first` and ends at `end`.
pub(super) fn judge(wanted: i64, (first, end): (i64, i64), policy: OnRetention) -> Verdict {
    if wanted < first {
        match policy {
            OnRetention::Earliest => Verdict::Skip { first, lost: lost(wanted, first) },
            OnRetention::Error => Verdict::Stop(PartitionFault::Expired { wanted, first }),
        }
    } else if wanted > end {
        Verdict::Stop(PartitionFault::Shorter { wanted, first, end })
    } else {
        Verdict::GoOn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_in_the_log_before_it_or_behind_it() {
        use OnRetention::{Earliest, Error};
        for policy in [Error, Earliest] {
            // The end itself is where the next record will be.
            for wanted in [10, 15, 20] {
                assert_eq!(judge(wanted, (10, 20), policy), Verdict::GoOn);
            }
            let shorter = PartitionFault::Shorter { wanted: 21, first: 10, end: 20 };
            assert_eq!(judge(21, (10, 20), policy), Verdict::Stop(shorter));
            assert_eq!(judge(0, (0, 0), policy), Verdict::GoOn);
        }
        assert_eq!(judge(3, (10, 20), Earliest), Verdict::Skip { first: 10, lost: 7 });
        let expired = PartitionFault::Expired { wanted: 3, first: 10 };
        assert_eq!(judge(3, (10, 20), Error), Verdict::Stop(expired));
        // Everything was removed.
        assert_eq!(judge(19, (20, 20), Earliest), Verdict::Skip { first: 20, lost: 1 });
    }

    #[test]
    fn what_is_said_names_offsets_and_remedy() {
        let text = PartitionFault::Expired { wanted: 3, first: 10 }.to_string();
        for part in ["offset 3", "10 is the first", "7 records", "`on_retention = \"earliest\"`"] {
            assert!(text.contains(part), "{text}");
        }
        let said = |first: i64, policy: OnRecreated| {
            [
                PartitionFault::Shorter { wanted: 9, first, end: 4 },
                PartitionFault::Different { offset: 8, first },
            ]
            .map(|fault| {
                assert_eq!(fault.is_recreated(), first == 0);
                fault.error("here".to_owned(), policy).to_string()
            })
        };
        for (first, policy, remedy) in [
            (0, OnRecreated::Restart, "new generation"),
            (0, OnRecreated::Error, "`on_recreated = \"restart\"`"),
            (3, OnRecreated::Restart, "an empty `store`"),
            (3, OnRecreated::Error, "an empty `store`"),
        ] {
            for text in said(first, policy) {
                assert!(text.contains("topic was recreated") && text.contains(remedy), "{text}");
            }
        }
    }
}
