//! How to reach the brokers: the `[kafka]` table of the pipeline file, and the client settings made of it.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use serde::Deserialize;
use tidewatch_dataflow::config::{ByteSize, Secret, SecretError};

/// The brokers and the way to them.
///
/// ```
/// use tidewatch_connectors::kafka::KafkaConfig;
/// let config = KafkaConfig::new(["127.0.0.1:9092"]);
/// assert!(config.validate().is_ok());
/// assert!(KafkaConfig::new([""; 0]).validate().is_err(), "no broker");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// Some brokers of the cluster, as `host:port`; the others are learned from them.
    pub brokers: Vec<String>,
    /// Encryption and authentication; none by default.
    #[serde(default)]
    pub security: Security,
    /// How many bytes one worker may hold ready that it has not yet read, over all its partitions.
    /// Default 16 MiB.
    #[serde(default = "default_prefetch")]
    pub prefetch: ByteSize,
    /// Further settings of librdkafka, passed as they are; those that tidewatch depends on are refused.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

/// 16 MiB: what is read soon after it came is still in a processor's last cache, and with four times
/// as much, 12 and 96 partitions were read no faster. At 500 MB/s it covers 30 ms, far more than a broker's answer takes in one data centre.
fn default_prefetch() -> ByteSize {
    ByteSize::from_bytes(16 << 20)
}

/// Encryption and authentication towards the brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Security {
    /// What is spoken on the wire.
    #[serde(default)]
    pub protocol: Protocol,
    /// How the client proves who it is; needed with a `sasl_*` protocol.
    pub mechanism: Option<Mechanism>,
    /// The user, with a mechanism.
    pub username: Option<String>,
    /// The user's password, with a mechanism.
    pub password: Option<Secret>,
    /// File with the certificates to trust (PEM); the system's when absent.
    pub ca: Option<String>,
    /// File with the client's own certificate (PEM), for brokers that ask for one.
    pub certificate: Option<String>,
    /// File with the key of `certificate` (PEM).
    pub key: Option<String>,
    /// The password of `key`, if it has one.
    pub key_password: Option<Secret>,
}

/// What is spoken on the wire.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// No encryption, no authentication.
    #[default]
    Plaintext,
    /// TLS; authentication by certificate, if any.
    Ssl,
    /// Authentication without encryption.
    SaslPlaintext,
    /// Authentication over TLS.
    SaslSsl,
}

impl Protocol {
    fn as_str(self) -> &'static str {
        match self {
            Protocol::Plaintext => "plaintext",
            Protocol::Ssl => "ssl",
            Protocol::SaslPlaintext => "sasl_plaintext",
            Protocol::SaslSsl => "sasl_ssl",
        }
    }

    fn has_sasl(self) -> bool {
        matches!(self, Protocol::SaslPlaintext | Protocol::SaslSsl)
    }

    fn has_tls(self) -> bool {
        matches!(self, Protocol::Ssl | Protocol::SaslSsl)
    }
}

/// How the client proves who it is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Deserialize)]
pub enum Mechanism {
    /// The password itself; only over TLS.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Salted challenge and response with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Salted challenge and response with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Mechanism {
    fn as_str(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// A fault in the `[kafka]` table.
#[derive(Debug, thiserror::Error)]
pub enum KafkaConfigError {
    /// A field is missing, superfluous or wrong.
    #[error("`kafka.{field}` {reason}")]
    Field {
        /// Path of the field inside the table, such as `security.mechanism`.
        field: String,
        /// What is wrong and what to write instead.
        reason: String,
    },
    /// A secret could not be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl KafkaConfigError {
    fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        KafkaConfigError::Field { field: field.into(), reason: reason.into() }
    }
}

/// Settings that must not be overridden, and why.
const RESERVED: [(&str, &str); 16] = [
    ("bootstrap.servers", "write `brokers` instead"),
    ("metadata.broker.list", "write `brokers` instead"),
    ("security.protocol", "write `security.protocol` of the table instead"),
    ("sasl.mechanism", "write `security.mechanism` instead"),
    ("sasl.mechanisms", "write `security.mechanism` instead"),
    ("sasl.username", "write `security.username` instead"),
    ("sasl.password", "write `security.password` instead, which keeps it out of the file"),
    ("ssl.key.password", "write `security.key_password` instead, which keeps it out of the file"),
    ("ssl.keystore.password", "name a PEM file in `security.key` instead"),
    (
        "group.id",
        "is not used: partitions are assigned by tidewatch, offsets kept in its checkpoints",
    ),
    ("enable.auto.commit", "is not used: offsets are kept in checkpoints"),
    ("enable.auto.offset.store", "is not used: offsets are kept in checkpoints"),
    ("auto.offset.reset", "is not used: write `start` in `[time]`"),
    (
        "enable.partition.eof",
        "must stay on: the end of a partition is how idleness is told from an outage",
    ),
    ("statistics.interval.ms", "must stay at 1000: it is how an unreachable broker is noticed"),
    ("queued.max.messages.kbytes", "write `prefetch` instead"),
];

/// The statistics tell once a second which brokers answer.
pub(super) const STATISTICS_INTERVAL_MS: u32 = 1_000;

impl KafkaConfig {
    /// Brokers without encryption or authentication, all else at its default.
    pub fn new<S: Into<String>>(brokers: impl IntoIterator<Item = S>) -> Self {
        KafkaConfig {
            brokers: brokers.into_iter().map(Into::into).collect(),
            security: Security::default(),
            prefetch: default_prefetch(),
            properties: BTreeMap::new(),
        }
    }

    /// Checks everything that can be checked without a network and without fetching secrets, the names
    /// and values of `properties` included.
    ///
    /// # Errors
    /// The first [`KafkaConfigError`].
    pub fn validate(&self) -> Result<(), KafkaConfigError> {
        if self.brokers.is_empty() {
            return Err(KafkaConfigError::field(
                "brokers",
                "is empty: name at least one broker as \"host:port\"",
            ));
        }
        for broker in &self.brokers {
            let port = broker.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() || broker.contains([',', ' ', '/']) {
                return Err(KafkaConfigError::field(
                    "brokers",
                    format!("has `{broker}`: write each broker as \"host:port\""),
                ));
            }
        }
        self.security.validate()?;
        for (name, remedy) in RESERVED {
            if self.properties.contains_key(name) {
                return Err(KafkaConfigError::field(format!("properties.{name}"), remedy));
            }
        }
        let mut bare = ClientConfig::new();
        for (name, value) in &self.properties {
            bare.set(name, value);
        }
        bare.create_native_config().map(drop).map_err(property_error)
    }

    /// The settings that every client shares.
    ///
    /// # Errors
    /// What [`KafkaConfig::validate`] finds, and secrets that cannot be had.
    pub fn client_config(&self) -> Result<ClientConfig, KafkaConfigError> {
        self.validate()?;
        let mut config = ClientConfig::new();
        config
            .set_log_level(RDKafkaLogLevel::Info)
            .set("client.id", "tidewatch")
            .set("bootstrap.servers", self.brokers.join(","))
            // A broker that is suspended keeps its connections open; after this it counts as lost.
            .set("socket.timeout.ms", "10000")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.max.ms", "2000")
            // One line for each broker that goes away is enough.
            .set("log.connection.close", "false");
        self.security.apply(&mut config)?;
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        Ok(config)
    }

    /// The settings of a consumer that is to read `partitions` partitions.
    ///
    /// # Errors
    /// As [`KafkaConfig::client_config`].
    pub fn consumer_config(&self, partitions: usize) -> Result<ClientConfig, KafkaConfigError> {
        let mut config = self.client_config()?;
        // The user's properties come last, so these are set only where absent.
        let tuned = [
            // The default of a second cost two thirds of the throughput once the queue was full.
            ("fetch.queue.backoff.ms", "5"),
            // An answer of one or two megabytes is what stays in the cache.
            ("fetch.message.max.bytes", "2000000"),
            ("fetch.max.bytes", "4000000"),
            ("fetch.wait.max.ms", "100"),
            ("queued.min.messages", "100000"),
            ("check.crcs", "true"),
            ("isolation.level", "read_committed"),
            // A topic that is gone is told of after some ten seconds instead of five minutes.
            ("topic.metadata.refresh.interval.ms", "10000"),
            ("topic.metadata.propagation.max.ms", "5000"),
        ];
        for (name, value) in tuned {
            let alias =
                if name == "fetch.message.max.bytes" { "max.partition.fetch.bytes" } else { name };
            if !self.properties.contains_key(name) && !self.properties.contains_key(alias) {
                config.set(name, value);
            }
        }
        // Only so does the client tell that a topic has another id than before; a few lines for each look at the
        // topics.
        let debug = match self.properties.get("debug") {
            Some(wanted) => format!("{wanted},metadata"),
            None => "metadata".to_owned(),
        };
        config
            .set_log_level(RDKafkaLogLevel::Debug)
            .set("queued.max.messages.kbytes", self.prefetch_kbytes(partitions).to_string())
            .set("enable.partition.eof", "true")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("debug", debug)
            .set("statistics.interval.ms", STATISTICS_INTERVAL_MS.to_string());
        Ok(config)
    }

    /// The bound of one partition's queue. `prefetch` is shared evenly, so that a partition that leads
    /// cannot take the room of one that lags. The last answer goes beyond the bound by `fetch.message.max.bytes` (2 MB)
    /// at most, one fetch may be under way per broker (`fetch.max.bytes`, 4 MB), and librdkafka needs about as much
    /// again for each message of 300 bytes: 16 MiB here are at most some 32 MiB, 4 MB for each partition and 4 MB
    /// per broker in memory.
    fn prefetch_kbytes(&self, partitions: usize) -> u64 {
        let share = self.prefetch.bytes() / 1024 / u64::try_from(partitions.max(1)).unwrap_or(1);
        share.clamp(16, 2_097_151)
    }
}

impl Security {
    /// As whom the client speaks to the brokers, for messages; nothing where it does not say who it is.
    pub(super) fn identity(&self) -> Option<String> {
        let mechanism = self.mechanism?.as_str();
        let user = self.username.as_deref().unwrap_or_default();
        Some(format!("user `{user}` with {mechanism}"))
    }

    fn validate(&self) -> Result<(), KafkaConfigError> {
        let wrong = |field: &str, reason: &str| {
            Err(KafkaConfigError::field(format!("security.{field}"), reason))
        };
        if self.protocol.has_sasl() {
            if self.mechanism.is_none() {
                return wrong(
                    "mechanism",
                    "is missing: write \"PLAIN\", \"SCRAM-SHA-256\" or \"SCRAM-SHA-512\"",
                );
            }
            if self.username.is_none() {
                return wrong("username", "is missing: the mechanism needs one");
            }
            if self.password.is_none() {
                return wrong(
                    "password",
                    "is missing: name a variable, as in { env = \"KAFKA_PASSWORD\" }",
                );
            }
        } else if self.mechanism.is_some() || self.username.is_some() || self.password.is_some() {
            return wrong(
                "protocol",
                "does not authenticate: write \"sasl_ssl\", or remove `mechanism`, `username` and `password`",
            );
        }
        if !self.protocol.has_tls()
            && (self.ca.is_some() || self.certificate.is_some() || self.key.is_some())
        {
            return wrong(
                "protocol",
                "does not encrypt: write \"ssl\" or \"sasl_ssl\", or remove `ca`, `certificate` and `key`",
            );
        }
        if self.certificate.is_some() != self.key.is_some() {
            return wrong("certificate", "and `key` belong together: give both or neither");
        }
        Ok(())
    }

    fn apply(&self, config: &mut ClientConfig) -> Result<(), SecretError> {
        config.set("security.protocol", self.protocol.as_str());
        if let Some(mechanism) = self.mechanism {
            config.set("sasl.mechanisms", mechanism.as_str());
        }
        let plain = [
            ("sasl.username", &self.username),
            ("ssl.ca.location", &self.ca),
            ("ssl.certificate.location", &self.certificate),
            ("ssl.key.location", &self.key),
        ];
        for (name, value) in plain {
            if let Some(value) = value {
                config.set(name, value);
            }
        }
        let secret = [("sasl.password", &self.password), ("ssl.key.password", &self.key_password)];
        for (name, value) in secret {
            if let Some(value) = value {
                config.set(name, value.reveal()?);
            }
        }
        Ok(())
    }
}

fn property_error(error: KafkaError) -> KafkaConfigError {
    match error {
        KafkaError::ClientConfig(_, reason, name, _) => KafkaConfigError::field(
            format!("properties.{name}"),
            format!("is refused by librdkafka: {reason}"),
        ),
        other => {
            KafkaConfigError::field("properties", format!("are refused by librdkafka: {other}"))
        }
    }
}
