//! More events than usual: a service logs errors as it never does.
//!
//! ```text
//! panes    .. 1 0 2 1 1 0 | 2 9 14 11 | 3 1 0 1 ..        window = 4 panes, slide = 1 pane
//!          baseline (past) | window > above and > factor * mean window of the past: over
//! ```
//!
//! # Semantics
//! Events are counted per pane of one `slide`. When admission pane `a` is applied, the window is the last
//! `n` panes, `a` included, and `count` the number of events in it. The window is **over** when
//!
//! ```text
//! count > above   and, with `factor` and a known past,   count > factor * n * (sum of past counts) / (known panes)
//! ```
//!
//! - The **past** is the group's own: its learned panes, at most the last `baseline` of them. A pane is
//!   learned when it leaves the window; panes without events count as zeros. The past begins with the
//!   group's first event; a group with no event left in window and past is forgotten, and begins anew.
//! - **Without any known pane** (the first window of a new or long silent group) `above` alone decides: the
//!   errors of a service that was silent until now are a burst.
//! - A burst **opens** with the first window that is over: `started_at` is the start of that window, `at`
//!   its end, `value` its count.
//! - While a burst is open its panes are **not learned**: those from `started_at` to the last window that
//!   is over are left out of the past for good, as if that time had not been. So a burst lasts as long as
//!   its level is unusual by the standards of before it, however long that is.
//! - Only a burst that opened without any known pane is **learned on trial**, as there is nothing to compare
//!   it with: once a whole `baseline` of its own panes is known, `factor` is applied to them. So a level
//!   over `above` that is normal for its group is told at first sight and ends after `window + baseline +
//!   clear_for`. If the burst ends before that, its panes are left out like those of any other.
//! - It **ends** with the first window whose end lies `clear_for` or more after the end of the first of a
//!   sequence of windows that are not over: `at` is that first end, `value` the count of the last window.
//!
//! # Late records
//! Left out, see [`crate::detect::is_late`].
//!
//! # State
//! For a group with events in its window or its past: 160 bytes, and 16 for each such pane, at most
//! `(window + baseline) / slide`; while a burst is open also for each pane of `clear_for`. Nothing for
//! silent groups.

mod config;
mod history;
mod machine;

#[cfg(test)]
mod tests;

pub use config::{BURST_PANES_MAX, BurstConfig, BurstError};
pub use machine::{Burst, BurstState, GroupSnapshot};
