//! How a client fares: what `/readyz` and the metrics say about Kafka.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::types::RDKafkaErrorCode;

use super::config::KafkaConfig;
use super::statistics::Statistics;

/// How one client fares. Kept up to date by what the client tells about once a second; reading it costs
/// a lock and the count of a reference.
#[derive(Debug, Default)]
pub struct KafkaHealth {
    /// As whom the client speaks to the brokers: user and mechanism, never the password.
    identity: Option<String>,
    snapshot: Mutex<Arc<HealthSnapshot>>,
    refusal: Mutex<Option<(RDKafkaErrorCode, String)>>,
    /// Whether the refusal was not yet told.
    is_news: AtomicBool,
}

/// How a client fared when it was last heard of. Lists are bounded by the brokers of the cluster and by the
/// partitions the client was told to read or watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthSnapshot {
    /// How many brokers the client is connected to, logged in where they ask for it.
    pub brokers_up: usize,
    /// Brokers that were tried and cannot be reached, as `host:port/id`, sorted. Brokers that the client has
    /// no business with are in neither number.
    pub brokers_down: Vec<String>,
    /// Partitions without a leader, as topic and number, sorted: nothing can be read from them for now.
    pub leaderless: Vec<(String, i32)>,
    /// Partitions that the brokers know nothing of, as topic and number, sorted.
    pub unknown: Vec<(String, i32)>,
    /// Topics that the brokers know nothing of, sorted. Told by a topic watch only.
    pub unknown_topics: Vec<String>,
    /// Why the brokers refuse this client (user, password, certificate), until they no longer do.
    pub refusal: Option<String>,
    /// Partitions that are read no further until a person acts, each with the reason, sorted.
    pub stopped: Vec<String>,
    /// How many records retention removed before they were read; see
    /// [`OnRetention`](super::OnRetention).
    pub lost: u64,
}

impl HealthSnapshot {
    /// Whether the client can do its work: it is connected, not refused, and nothing is missing.
    ///
    /// ```
    /// use tidewatch_connectors::kafka::HealthSnapshot;
    /// let mut health = HealthSnapshot { brokers_up: 1, ..HealthSnapshot::default() };
    /// assert!(health.is_ready() && health.problems().is_empty());
    /// health.leaderless.push(("cpu-usage".to_owned(), 3));
    /// assert_eq!(health.problems(), ["no leader: cpu-usage/3"]);
    /// ```
    pub fn is_ready(&self) -> bool {
        self.problems().is_empty()
    }

    /// What is wrong, in words for a person, the gravest first; empty when nothing is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        problems.extend(self.refusal.clone());
        problems.extend(self.stopped.iter().cloned());
        let names = |partitions: &[(String, i32)]| {
            let names: Vec<_> =
                partitions.iter().map(|(topic, p)| format!("{topic}/{p}")).collect();
            names.join(", ")
        };
        let mut list = |what: &str, which: String| {
            if !which.is_empty() {
                problems.push(format!("{what}: {which}"));
            }
        };
        list("no such topic", self.unknown_topics.join(", "));
        list("no such partition", names(&self.unknown));
        list("no leader", names(&self.leaderless));
        if self.brokers_up == 0 && self.refusal.is_none() {
            let which = self.brokers_down.join(", ");
            problems.push(match which.is_empty() {
                true => "not connected yet".to_owned(),
                false => format!("no broker can be reached: {which}"),
            });
        }
        problems
    }
}

impl KafkaHealth {
    /// Of a client that is about to be made.
    pub(super) fn new(config: &KafkaConfig) -> Arc<Self> {
        Arc::new(KafkaHealth { identity: config.security.identity(), ..KafkaHealth::default() })
    }

    /// How the client fared when it was last heard of.
    pub fn snapshot(&self) -> Arc<HealthSnapshot> {
        Arc::clone(&self.snapshot.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the snapshot. Readers keep what they have.
    pub(super) fn update(&self, change: impl FnOnce(&mut HealthSnapshot)) {
        let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut snapshot));
    }

    /// Notes that the brokers refuse the client, and says so in the log.
    pub(super) fn refused(&self, code: RDKafkaErrorCode, reason: &str) {
        let reason = match &self.identity {
            Some(identity) => format!("{reason}; tried as {identity}"),
            None => reason.to_owned(),
        };
        tracing::error!(%code, reason, "kafka refuses this client");
        self.update(|snapshot| snapshot.refusal = Some(format!("{reason} ({code})")));
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some((code, reason));
        self.is_news.store(true, Ordering::Release);
    }

    /// Why the brokers refuse the client, if they do.
    pub(super) fn refusal(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same, once for each time that the client tells.
    pub(super) fn take_refusal(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.is_news.swap(false, Ordering::AcqRel).then(|| self.refusal()).flatten()
    }

    /// Notes that a broker let the client in.
    pub(super) fn admitted(&self) {
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        if refusal.take().is_some() {
            self.is_news.store(false, Ordering::Release);
            drop(refusal);
            self.update(|snapshot| snapshot.refusal = None);
            tracing::info!("kafka admits this client again");
        }
    }

    /// Notes that a broker answered a request.
    pub(super) fn answered(&self) {
        self.admitted();
        // The statistics may not have told yet.
        self.update(|snapshot| snapshot.brokers_up = snapshot.brokers_up.max(1));
    }

    /// Takes over what the client's statistics say about brokers; whether one is up.
    pub(super) fn hear(&self, statistics: &Statistics) -> bool {
        let (up, down) = statistics.brokers();
        if up > 0 {
            self.admitted();
        }
        self.update(|snapshot| {
            snapshot.brokers_up = up;
            snapshot.brokers_down = down;
        });
        up > 0
    }
}

/// Whether an error of this kind is for a person to mend.
pub(super) fn is_refusal(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::Fatal
    )
}
