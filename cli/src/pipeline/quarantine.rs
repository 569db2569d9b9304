//! Groups in quarantine: which of them still are, and leaving them out.

use std::sync::Arc;

use tidewatch_dataflow::checkpoint::Recovery;
use tidewatch_dataflow::ingest::{IngestState, Quarantined};
use tidewatch_operators::feed::FeedMachine;

use super::durability::DurabilityError;
use super::spec::PipelineSpec;
use super::worker::PipelineCounters;

/// Lifts the quarantines of operators that were changed or taken away. The same on all processes.
///
/// # Errors
/// When too many are left.
pub(super) fn settle(spec: &PipelineSpec, state: &mut IngestState) -> Result<(), DurabilityError> {
    let operators: Vec<_> = spec.feeds.iter().flat_map(|feed| feed.operators()).collect();
    state.facts.lift_quarantines(|what| {
        let is_current = operators.iter().any(|operator| operator.is_of(what));
        if !is_current {
            let Quarantined { operator, group, .. } = what;
            tracing::info!(%operator, %group, "out of quarantine: the operator is another one now");
        }
        is_current
    });
    match state.facts.quarantined().len() {
        count if count > Quarantined::MAX => Err(DurabilityError::Quarantine { count }),
        _ => Ok(()),
    }
}

/// Has `machine` leave out what is in quarantine, and says so.
pub(super) fn leave_out(
    machine: &mut FeedMachine,
    state: &IngestState,
    recovery: &Recovery,
    counters: &PipelineCounters,
) {
    let (shard, at) = (recovery.shard(), recovery.resumed_at());
    let counters = Arc::clone(&counters.feeds);
    for what in machine.leave_out(state.facts.quarantined(), shard, at, counters) {
        let Quarantined { operator, group, .. } = what;
        let remedy = "change or rename it, or start another version";
        tracing::warn!(%operator, %group, remedy, "in quarantine: this group crashed it and is left out");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidewatch_dataflow::ingest::Decision;
    use tidewatch_dataflow::record::Topics;
    use tidewatch_dataflow::series::Labels;
    use tidewatch_dataflow::time::{Clock, EventTime, PaneSize};
    use tidewatch_operators::feed::{FeedSpec, Selector};

    use super::super::spec::TimeSpec;
    use super::*;

    #[test]
    fn those_of_other_operators_are_lifted_and_of_the_rest_there_are_not_too_many() {
        let feed = FeedSpec {
            selector: Selector {
                measurement: "cpu".into(),
                field: "usage".into(),
                filters: Vec::new(),
                group_by: vec!["host".to_owned()],
            },
            pane: PaneSize::new(Duration::from_secs(10)).unwrap(),
            statistics: Vec::new(),
            rules: Vec::new(),
        };
        let windows = feed.operators().remove(0);
        let time = TimeSpec {
            out_of_orderness: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            future_tolerance: Duration::ZERO,
            max_lead: Duration::ZERO,
            clock: Clock::manual(EventTime::MIN),
        };
        let spec = PipelineSpec::new(Topics::new(["cpu"]), time, vec![feed]);
        let with = |count: usize, content| {
            let mut state = IngestState::default();
            for host in 0..count {
                let group = Labels::from_pairs([("host", host.to_string())]);
                let what = Quarantined { operator: windows.name.clone(), content, group };
                let decision = Decision::Quarantined { what, from: EventTime::MIN };
                state.facts.learn(decision);
            }
            let settled = settle(&spec, &mut state);
            (settled.map_err(|error| error.to_string()), state.facts.quarantined().len())
        };
        assert_eq!(with(1_000, windows.content), (Ok(()), 1_000));
        assert_eq!(with(2_000, windows.content ^ 1), (Ok(()), 0), "they were changed");
        let error = with(1_001, windows.content).0.unwrap_err();
        assert!(error.starts_with("1001 groups are in quarantine, more than 1000"), "{error}");
    }
}
