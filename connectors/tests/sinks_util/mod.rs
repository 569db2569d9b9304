//! What the tests of channels share: notifications, and waiting for a sink.

use std::time::{Duration, Instant};

use tidewatch_connectors::delivery::{DeliveryConfig, DeliverySnapshot, SinkHandle};
use tidewatch_dataflow::alert::{
    EndReason, IncidentId, Notification, Reading, Severity, Transition, TransitionKind,
};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTime;

/// 2026-11-22 19:40:00 UTC.
const OPENED_AT: u64 = 1_795_376_400_000;

/// The beginning of incident `incident` on `host`.
pub(crate) fn opening(incident: u64, host: &str) -> Notification {
    Notification {
        transition: Transition {
            decided_at: EventTime::from_millis(OPENED_AT + 10_000),
            incident: IncidentId(incident),
            sequence: 0,
            kind: TransitionKind::Opened,
            rule: "cpu_sustained".into(),
            group: Labels::from_pairs([("host", host)]),
            severity: Severity::Critical,
            started_at: EventTime::from_millis(OPENED_AT - 300_000),
            at: EventTime::from_millis(OPENED_AT),
            value: Reading(97.25),
            summary: "usage_active above 90 for 5m".into(),
        },
        inventory: Labels::from_pairs([("owner", "web-team"), ("tier", "1")]),
    }
}

/// The end of incident `incident` on `host`, seventeen minutes after its beginning.
pub(crate) fn end(incident: u64, host: &str) -> Notification {
    let mut end = opening(incident, host);
    end.transition.sequence = 1;
    end.transition.kind = TransitionKind::Ended(EndReason::Recovered);
    end.transition.at = EventTime::from_millis(OPENED_AT + 720_000);
    end.transition.decided_at = EventTime::from_millis(OPENED_AT + 730_000);
    end.transition.value = Reading(41.0);
    end
}

/// `config` with short delays between attempts.
pub(crate) fn hasty(config: DeliveryConfig) -> DeliveryConfig {
    DeliveryConfig {
        retry_delay_min: Duration::from_millis(5),
        retry_delay_max: Duration::from_millis(50),
        ..config
    }
}

/// Waits until the counters of `sink` are as `what` says; fails after a minute.
pub(crate) async fn until<Item>(
    sink: &SinkHandle<Item>,
    what: impl Fn(&DeliverySnapshot) -> bool,
) -> DeliverySnapshot {
    let started = Instant::now();
    loop {
        let snapshot = sink.stats().snapshot();
        if what(&snapshot) {
            return snapshot;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{snapshot:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
