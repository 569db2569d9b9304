//! A feed's state in checkpoints: written in pieces between two panes, taken over by any number of workers.
//!
//! | piece | holds | changes |
//! |---|---|---|
//! | `consumers` | what each window and rule is, as hashes | never during a run |
//! | `groups/…` | labels of 4,096 groups by local number | while groups come |
//! | `panes/…` | the partial aggregates of one pane, once for all windows | with corrections |
//! | `rule/…` | the state of one detector | with its samples |
//! | `open` | the openings of all open incidents | with transitions |
//! | `meta` | how many of the others there are, so that a missing one is found | every cut |
//!
//! # What is kept when the configuration has changed
//! The **content** of a consumer is everything that its state depends on: selector, pane, sizes, bounds and
//! durations. Names of rules and statistics say which consumer of the new configuration goes on from which of the old;
//! severity, summary and the aggregates that are written belong to neither. An open incident keeps the
//! severity and summary that it was opened with until it ends.
//!
//! - Equal content: **kept**, to the bit.
//! - Other content, [`OnChange::Reset`]: begins anew. Windows that begin before the cut are not put out.
//! - Other content, [`OnChange::Carry`]: goes on where the state fits:
//!   - windows, even of another size, slide or lateness: from the shared panes. Those that begin before the
//!     oldest shared pane are not put out.
//!   - sustained: when condition and clear bound are the same (`for`, `clear_for`, `gap_tolerance` differ).
//!     New durations hold from the cut: what is overdue by them is decided with the first pane or sample after.
//!   - burst: when window, slide, baseline and having a factor are the same (`above`, `clear_for` and the
//!     factor's size differ).
//!   - anomaly: when half-life and direction are the same (score, least deviation, warm-up, `for` differ).
//! - Another selector, grouping or pane makes another feed, with no state; see [`RestoreReport::of_dropped`].
//!
//! Incidents that nothing watches any more end with
//! [`RuleChanged`](tidewatch_dataflow::alert::EndReason::RuleChanged): [`RestoreReport::orphans`].

mod columns;
mod identity;
mod numbers;
mod report;
mod restore;
mod snapshot;
mod stored;

#[cfg(test)]
mod tests;

pub use report::{ConsumerReport, OnChange, Outcome, ResetReason, RestoreReport};

pub(super) use identity::{operators, samples_hash};

/// A cut holds at most about this many pieces of panes: where windows reach back further, complete stretches
/// of panes are put together. At 100 bytes for a piece in a checkpoint's index, 50 kB.
const COLUMN_PIECES: u64 = 512;

/// Groups in one piece: at about 30 bytes for the labels of one, 120 kB are written anew when one comes.
const GROUPS_PER_PIECE: usize = 4_096;

/// Names of pieces.
mod names {
    pub(super) const CONSUMERS: &str = "consumers";
    pub(super) const META: &str = "meta";
    pub(super) const OPEN: &str = "open";
    pub(super) const PANES: &str = "panes/";

    pub(super) fn groups(index: usize) -> String {
        format!("groups/{index}")
    }

    pub(super) fn panes(first: u64, count: u64) -> String {
        format!("{PANES}{first}+{count}")
    }

    pub(super) fn rule(name: &str) -> String {
        format!("rule/{name}")
    }
}
