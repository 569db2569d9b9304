//! What the tests of this folder share: notifications, a server that can be broken and mended, waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tidewatch_dataflow::alert::{
    EndReason, IncidentId, Notification, Reading, Severity, Transition, TransitionKind,
};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTime;
use tidewatch_testkit::http::{Fake, Recorded, Reply};

use crate::delivery::{DeliveryConfig, DeliverySnapshot, SinkHandle};

/// 2026-11-22 19:40:00 UTC.
const OPENED_AT: u64 = 1_795_376_400_000;

/// The beginning of an incident on `web-1`.
pub(crate) fn opening() -> Notification {
    opening_of(0xab, "web-1")
}

/// The beginning of incident `incident` on `host`.
pub(crate) fn opening_of(incident: u64, host: &str) -> Notification {
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

/// The end of the incident that [`opening`] begins.
pub(crate) fn end() -> Notification {
    end_of(&opening())
}

/// The end of the incident that `opening` begins.
pub(crate) fn end_of(opening: &Notification) -> Notification {
    let mut end = opening.clone();
    end.transition.sequence = 1;
    end.transition.kind = TransitionKind::Ended(EndReason::Recovered);
    end.transition.at = EventTime::from_millis(OPENED_AT + 723_000);
    end.transition.decided_at = EventTime::from_millis(OPENED_AT + 730_000);
    end.transition.value = Reading(41.0);
    end
}

/// `delivery` in a hurry: what is to be sent again is sent again within milliseconds.
pub(crate) fn hurried(delivery: DeliveryConfig) -> DeliveryConfig {
    DeliveryConfig {
        linger: Duration::ZERO,
        retry_delay_min: Duration::from_millis(1),
        retry_delay_max: Duration::from_millis(5),
        ..delivery
    }
}

/// A server that answers `broken` until it is mended, then `mended`.
pub(crate) struct Breakable {
    pub(crate) fake: Fake,
    is_mended: Arc<AtomicBool>,
}

impl Breakable {
    pub(crate) fn start(
        broken: Reply,
        mended: impl Fn(&Recorded) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let is_mended = Arc::new(AtomicBool::new(false));
        let switch = Arc::clone(&is_mended);
        let fake = Fake::start_with(move |request| match switch.load(Ordering::SeqCst) {
            true => mended(request),
            false => broken.clone(),
        });
        Breakable { fake: fake.unwrap(), is_mended }
    }

    pub(crate) fn mend(&self) {
        self.is_mended.store(true, Ordering::SeqCst);
    }
}

/// Waits until the counters of `sink` are as `what` says; fails after half a minute.
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
        assert!(started.elapsed() < Duration::from_secs(30), "{snapshot:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
