//! Errors of Kafka, sorted by who can act.

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;
use tidewatch_dataflow::sink::ConnectorError;

use super::config::KafkaConfigError;

/// The error `code` at `endpoint`, with what the client or the broker said about it.
pub(super) fn classify(endpoint: &str, code: Code, text: &str) -> ConnectorError {
    let endpoint = endpoint.to_owned();
    match remedy(code) {
        Verdict::Transient => ConnectorError::Transient {
            endpoint,
            retry_after: None,
            source: format!("{code}: {text}").into(),
        },
        Verdict::Refused(remedy) => {
            ConnectorError::Refused { endpoint, reason: format!("{text} ({code}): {remedy}") }
        }
        Verdict::Permanent => {
            ConnectorError::Permanent { endpoint, reason: format!("{text} ({code})") }
        }
    }
}

/// The error of a call of the client at `endpoint`.
pub(super) fn from_kafka(endpoint: &str, error: &KafkaError) -> ConnectorError {
    match error {
        KafkaError::ClientConfig(_, reason, name, _) => ConnectorError::Permanent {
            endpoint: endpoint.to_owned(),
            reason: format!("the client refuses the setting `{name}`: {reason}"),
        },
        KafkaError::ClientCreation(reason) => ConnectorError::Permanent {
            endpoint: endpoint.to_owned(),
            reason: format!("the client cannot be made: {reason}"),
        },
        other => match other.rdkafka_error_code() {
            Some(code) => classify(endpoint, code, &other.to_string()),
            None => ConnectorError::Permanent {
                endpoint: endpoint.to_owned(),
                reason: other.to_string(),
            },
        },
    }
}

impl From<KafkaConfigError> for ConnectorError {
    fn from(error: KafkaConfigError) -> Self {
        ConnectorError::Permanent { endpoint: "kafka".to_owned(), reason: error.to_string() }
    }
}

enum Verdict {
    Transient,
    Refused(&'static str),
    Permanent,
}

fn remedy(code: Code) -> Verdict {
    match code {
        Code::TopicAuthorizationFailed => Verdict::Refused(
            "allow this user to read, describe and, for dead letters, write the topic",
        ),
        Code::ClusterAuthorizationFailed => {
            Verdict::Refused("allow this user the operation on the cluster")
        }
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState => {
            Verdict::Refused("check `mechanism`, `username` and `password` in `kafka.security`")
        }
        Code::SSL => Verdict::Refused("check `ca`, `certificate` and `key` in `kafka.security`"),
        Code::AutoOffsetReset | Code::OffsetOutOfRange => Verdict::Refused(
            "the offset asked for is not in the log, since retention removed it or the topic was recreated",
        ),
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            Verdict::Refused(
                "the topic or partition does not exist; create it with `tidewatch topics`",
            )
        }
        Code::PolicyViolation | Code::TopicDeletionDisabled => {
            Verdict::Refused("the cluster's policy forbids it; ask its operators")
        }
        Code::MessageSizeTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidRecord
        | Code::InvalidTopic
        | Code::InvalidArgument
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidConfig
        | Code::InvalidTimestamp
        | Code::BadMessage
        | Code::InvalidMessage
        | Code::BadCompression
        | Code::UnsupportedFeature
        | Code::NotImplemented
        | Code::UnsupportedVersion
        | Code::Fatal => Verdict::Permanent,
        _ => Verdict::Transient,
    }
}
