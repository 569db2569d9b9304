//! Topics as they are wanted: created where missing, compared where present, never changed.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::types::RDKafkaErrorCode;
use tidewatch_dataflow::config::HumanDuration;
use tidewatch_dataflow::sink::ConnectorError;

use super::config::KafkaConfig;
use super::context::LogContext;
use super::error::{classify, from_kafka};
use super::topics::{Layout, TopicWatch};

/// A topic as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// How many copies of each; no more than there are brokers.
    pub replication: i32,
    /// How long records are kept; the broker's default when absent.
    pub retention: Option<Duration>,
    /// Further settings of the topic, by the broker's names (`compression.type`).
    pub extra: BTreeMap<String, String>,
}

/// What was found or done about a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicOutcome {
    /// It was missing and is there now.
    Created,
    /// It was there and is as wanted.
    Matches,
    /// It was there and is otherwise. Nothing was changed: more partitions move keys to other
    /// partitions, and a shorter retention removes records, so that is for a person to decide.
    Differs(Vec<Difference>),
}

/// One way in which a topic is not as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `partitions`, `replication`, or the name of a setting.
    pub what: String,
    /// What was asked for.
    pub wanted: String,
    /// What the broker has.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { what, wanted, found } = self;
        write!(f, "{what} is {found} where {wanted} is wanted")?;
        match (what.as_str(), found.parse::<u64>(), wanted.parse::<u64>()) {
            ("retention.ms", Ok(found), Ok(wanted)) => {
                let human = |ms| HumanDuration::from(Duration::from_millis(ms));
                write!(f, " ({} and {})", human(found), human(wanted))
            }
            _ => Ok(()),
        }
    }
}

/// Makes sure that the topics of `specs` exist; what became of each, in their order.
///
/// A topic that was created is ready for reading and writing when this returns.
///
/// # Errors
/// The first [`ConnectorError`]; topics created before it stay. With a remedy where a person must act,
/// such as more replicas than brokers.
pub fn ensure_topics(
    config: &KafkaConfig,
    specs: &[TopicSpec],
    timeout: Duration,
) -> Result<Vec<TopicOutcome>, ConnectorError> {
    let admin = Admin::new(config, timeout)?;
    specs.iter().map(|spec| admin.ensure(spec)).collect()
}

/// Compares the topics of `specs` and creates none; `None` for one that is missing.
///
/// # Errors
/// As [`ensure_topics`].
pub fn inspect_topics(
    config: &KafkaConfig,
    specs: &[TopicSpec],
    timeout: Duration,
) -> Result<Vec<Option<TopicOutcome>>, ConnectorError> {
    let admin = Admin::new(config, timeout)?;
    specs.iter().map(|spec| admin.inspect(spec)).collect()
}

struct Admin {
    client: AdminClient<LogContext>,
    watch: TopicWatch,
    brokers: String,
    deadline: Instant,
}

impl Admin {
    fn new(config: &KafkaConfig, timeout: Duration) -> Result<Self, ConnectorError> {
        let deadline = Instant::now() + timeout;
        let brokers = config.brokers.join(",");
        let watch = TopicWatch::new(config)?;
        let client: AdminClient<LogContext> = config
            .client_config()?
            .create_with_context(LogContext { health: Arc::clone(watch.health()) })
            .map_err(|error| from_kafka(&format!("kafka at {brokers}"), &error))?;
        Ok(Admin { client, watch, brokers, deadline })
    }

    fn inspect(&self, spec: &TopicSpec) -> Result<Option<TopicOutcome>, ConnectorError> {
        let layout = self.watch.layout(&spec.name, self.deadline)?;
        layout.map(|layout| self.compare(spec, &layout)).transpose()
    }

    fn ensure(&self, spec: &TopicSpec) -> Result<TopicOutcome, ConnectorError> {
        if let Some(layout) = self.watch.layout(&spec.name, self.deadline)? {
            return self.compare(spec, &layout);
        }
        if self.create(spec)? {
            self.wait_until_led(spec)?;
            return Ok(TopicOutcome::Created);
        }
        // Somebody else was quicker.
        match self.watch.layout(&spec.name, self.deadline)? {
            Some(layout) => self.compare(spec, &layout),
            None => Err(classify(
                &self.endpoint(spec),
                RDKafkaErrorCode::LeaderNotAvailable,
                "the topic exists and is not yet known to the brokers",
            )),
        }
    }

    fn endpoint(&self, spec: &TopicSpec) -> String {
        format!("kafka topic {} at {}", spec.name, self.brokers)
    }

    fn options(&self) -> AdminOptions {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let left = left.max(Duration::from_millis(100));
        AdminOptions::new().request_timeout(Some(left)).operation_timeout(Some(left))
    }

    /// Creates the topic; `false` when it was there already.
    fn create(&self, spec: &TopicSpec) -> Result<bool, ConnectorError> {
        let settings = settings(spec);
        let replication = TopicReplication::Fixed(spec.replication);
        let mut topic = NewTopic::new(&spec.name, spec.partitions, replication);
        for (name, value) in &settings {
            topic = topic.set(name, value);
        }
        let answer = block_on(self.client.create_topics([&topic], &self.options()))
            .map_err(|error| from_kafka(&self.endpoint(spec), &error))?;
        match answer.into_iter().next() {
            Some(Ok(_)) => Ok(true),
            Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
            Some(Err((_, RDKafkaErrorCode::InvalidReplicationFactor))) => {
                Err(ConnectorError::Refused {
                    endpoint: self.endpoint(spec),
                    reason: format!(
                        "the cluster has not {} brokers for the copies asked for: lower `replication` of the source",
                        spec.replication
                    ),
                })
            }
            Some(Err((_, code))) => {
                Err(classify(&self.endpoint(spec), code, "the topic cannot be created"))
            }
            None => Err(classify(
                &self.endpoint(spec),
                RDKafkaErrorCode::Fail,
                "the broker did not say whether the topic was created",
            )),
        }
    }

    fn wait_until_led(&self, spec: &TopicSpec) -> Result<(), ConnectorError> {
        let wanted = usize::try_from(spec.partitions).unwrap_or(0);
        loop {
            let layout = self.watch.layout(&spec.name, self.deadline)?;
            if layout.is_some_and(|layout| {
                layout.leaderless.is_empty() && layout.partitions.len() >= wanted
            }) {
                return Ok(());
            }
            if Instant::now() >= self.deadline {
                return Err(classify(
                    &self.endpoint(spec),
                    RDKafkaErrorCode::LeaderNotAvailable,
                    "the topic was created, and not all of its partitions have a leader yet",
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn compare(&self, spec: &TopicSpec, layout: &Layout) -> Result<TopicOutcome, ConnectorError> {
        let mut differences = Vec::new();
        let mut check = |what: &str, wanted: String, found: String| {
            if wanted != found {
                differences.push(Difference { what: what.to_owned(), wanted, found });
            }
        };
        check("partitions", spec.partitions.to_string(), layout.partitions.len().to_string());
        check("replication", spec.replication.to_string(), layout.replication.to_string());
        let settings = settings(spec);
        if !settings.is_empty() {
            let resource = ResourceSpecifier::Topic(&spec.name);
            let answer = block_on(self.client.describe_configs([&resource], &self.options()))
                .map_err(|error| from_kafka(&self.endpoint(spec), &error))?;
            let found = match answer.into_iter().next() {
                Some(Ok(found)) => found,
                Some(Err(code)) => {
                    let text = "the settings of the topic cannot be read";
                    return Err(classify(&self.endpoint(spec), code, text));
                }
                None => {
                    let text = "the broker did not describe the topic";
                    return Err(classify(&self.endpoint(spec), RDKafkaErrorCode::Fail, text));
                }
            };
            for (name, wanted) in settings {
                let value = found.get(&name).and_then(|entry| entry.value.clone());
                check(&name, wanted, value.unwrap_or_else(|| "unset".to_owned()));
            }
        }
        Ok(if differences.is_empty() {
            TopicOutcome::Matches
        } else {
            TopicOutcome::Differs(differences)
        })
    }
}

/// The settings that the topic is to have, by the broker's names.
fn settings(spec: &TopicSpec) -> BTreeMap<String, String> {
    let mut settings = spec.extra.clone();
    if let Some(retention) = spec.retention {
        settings.insert("retention.ms".to_owned(), retention.as_millis().to_string());
    }
    settings
}

/// Waits for an answer of the admin client, which its own thread delivers. Needs no runtime, so this can
/// be called from inside of one too.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
