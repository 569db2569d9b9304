//! Writing a feed's state down.

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::checkpoint::{Checkpointed, PieceWriter, Restored, Shard, StateError};
use tidewatch_dataflow::operator::GroupId;
use tidewatch_dataflow::time::{EventTime, Pane};

use super::columns::PackedColumn;
use super::identity::{ConsumerRecord, Kind, detector, window};
use super::{COLUMN_PIECES, GROUPS_PER_PIECE, OnChange, names};
use crate::feed::FeedMachine;
use crate::feed::rule::{Opening, Watcher};

/// How much there is of everything else.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// Groups that have a number.
    pub(super) groups: u32,
    /// Pieces of panes.
    pub(super) column_pieces: u32,
    /// Every sample of this time or later is in the panes; `None` without windows.
    pub(super) columns_from: Option<EventTime>,
}

/// An open incident: index of its rule among the rules, group, and how it was opened.
pub(super) type OpenPiece = Vec<(u32, GroupId, Opening)>;

impl FeedMachine {
    /// All consumers, windows first.
    pub(super) fn records(&self) -> Vec<ConsumerRecord> {
        let configs = self.spec.statistics.iter().flat_map(|statistic| &statistic.windows);
        let windows = configs.zip(&self.consumers).map(|(config, consumer)| {
            let (content, shape) = window(&self.spec, config);
            let (kind, name) = (Kind::Window, consumer.name().into());
            ConsumerRecord { kind, name, content, shape, complete_from: consumer.complete_from }
        });
        let rules = self.spec.rules.iter().map(|rule| {
            let (content, shape) = detector(&self.spec, &rule.detector);
            let (kind, name) = (Kind::Rule, rule.name.clone());
            ConsumerRecord { kind, name, content, shape, complete_from: EventTime::MIN }
        });
        windows.chain(rules).collect()
    }

    /// Puts the panes and returns in how many pieces.
    fn put_columns(&self, pieces: &mut PieceWriter<'_>) -> u32 {
        let stretch = self.windows.panes_max().div_ceil(COLUMN_PIECES).max(1);
        let next = self.windows.last().map_or(0, |last| last.0.saturating_add(1));
        // A stretch that is over is one piece; in the present one each pane is, as it comes.
        let piece_of = |pane: Pane| match pane.0 / stretch {
            over if over < next / stretch => (over * stretch, stretch),
            _ => (pane.0, 1),
        };
        let columns: Vec<_> = self.windows.columns().collect();
        let mut count = 0;
        for same in columns.chunk_by(|a, b| piece_of(a.0) == piece_of(b.0)) {
            let Some((pane, ..)) = same.first() else { continue };
            let (first, panes) = piece_of(*pane);
            // The greatest stamp grows with every change of any of them.
            let version = same.iter().map(|(_, stamp, _)| *stamp).max().unwrap_or_default();
            pieces.put_version(&names::panes(first, panes), version, || {
                let packed = same.iter().map(|(pane, _, rows)| PackedColumn::pack(*pane, rows));
                packed.collect::<Vec<_>>()
            });
            count += 1;
        }
        count
    }

    fn put_rules(&self, pieces: &mut PieceWriter<'_>) {
        for (spec, rule) in self.spec.rules.iter().zip(&self.rules) {
            let (name, version) = (names::rule(&spec.name), rule.changes);
            match &rule.watcher {
                Watcher::Sustained(_, machine) => {
                    pieces.put_version(&name, version, || machine.groups());
                }
                Watcher::Burst(machine) => {
                    pieces.put_version(&name, version, || machine.groups());
                }
                Watcher::Anomaly(machine) => {
                    pieces.put_version(&name, version, || machine.groups());
                }
            }
        }
        let version = self.rules.iter().map(|rule| rule.open_changes).sum();
        pieces.put_version(names::OPEN, version, || {
            let rules = (0u32..).zip(&self.rules);
            let open = rules.flat_map(|(index, rule)| {
                rule.open.iter().map(move |(group, opening)| (index, *group, opening.clone()))
            });
            open.collect::<OpenPiece>()
        });
    }
}

impl Checkpointed for FeedMachine {
    fn snapshot(&mut self, pieces: &mut PieceWriter<'_>) {
        pieces.put_version(names::CONSUMERS, 0, || self.records());
        for (index, groups) in self.groups.chunks(GROUPS_PER_PIECE).enumerate() {
            pieces.put_version(&names::groups(index), groups.len() as u64, || groups);
        }
        let column_pieces = self.put_columns(pieces);
        self.put_rules(pieces);
        let columns_from = (!self.consumers.is_empty()).then(|| {
            let next = self.windows.last().map_or(Pane(0), |last| Pane(last.0.saturating_add(1)));
            let held = self.spec.pane.start(self.windows.horizon_at(next));
            self.columns_from.max(held)
        });
        let groups = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        pieces.put(names::META, &Meta { groups, column_pieces, columns_from });
    }

    /// Takes over the state of a feed with the same consumers. Where they may have changed, use
    /// [`FeedMachine::restore_with`], which says what became of each and which incidents have to be ended.
    fn restore(&mut self, state: &Restored, shard: Shard, at: EventTime) -> Result<(), StateError> {
        if self.restore_with(state, shard, at, OnChange::Reset)?.is_plain() {
            return Ok(());
        }
        Err(StateError::Mismatch {
            operator: self.operator(),
            reason: "windows or rules have changed since: restore with a policy for changes".into(),
        })
    }
}
