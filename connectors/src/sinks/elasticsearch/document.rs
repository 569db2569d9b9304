//! A log line as a document: its index, its identity and its body.

use serde::Serialize;
use serde_json::{Map, Value};
use tidewatch_dataflow::dead_letter::{Malformed, Reason};
use tidewatch_dataflow::record::{LogLine, Topics};

use crate::sinks::instant::{day, rfc3339};

/// What decides index and identity, besides the line itself.
#[derive(Clone, Debug)]
pub(super) struct Naming {
    /// Beginning of the indexes' names.
    pub(super) index: String,
    /// Names of the topics.
    pub(super) topics: Topics,
}

/// One document, ready to be sent.
#[derive(Debug)]
pub(super) struct Document<B> {
    pub(super) index: String,
    pub(super) id: String,
    pub(super) body: B,
}

/// The body, in the field names of the Elastic Common Schema. The order of its keys is fixed, so the same
/// line always gives the same bytes.
#[derive(Debug, Serialize)]
pub(super) struct Body<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: String,
    #[serde(rename = "log")]
    level: Named<'a>,
    host: Named<'a>,
    service: Named<'a>,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Map<String, Value>>,
}

/// An object of one field.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Named<'a> {
    Level(&'a str),
    Name(&'a str),
}

/// A time as text, where it has one.
pub(super) fn in_range(text: Option<String>) -> Result<String, Malformed> {
    let beyond = || Malformed::new(Reason::TimeOutOfRange, "the time lies beyond the year 9999");
    text.ok_or_else(beyond)
}

impl Naming {
    /// The document of `line`.
    ///
    /// The identity is made of the topic's name, so that it does not change when topics are added to the
    /// pipeline, and has at most 10 + 249 + 11 + 20 + 10 bytes and four hyphens: under the 512 that
    /// Elasticsearch takes.
    ///
    /// # Errors
    /// When the time is beyond the year 9999, or the further fields are no JSON object.
    pub(super) fn document<'a>(&self, line: &'a LogLine) -> Result<Document<Body<'a>>, Malformed> {
        let timestamp = in_range(rfc3339(line.event_time))?;
        let day = in_range(day(line.event_time))?;
        let fields = match line.extra.is_empty() {
            true => None,
            // Parsed and written anew: a line break between two tokens would end the document here.
            false => Some(serde_json::from_str(&line.extra).map_err(|error| {
                Malformed::new(
                    Reason::Unparseable,
                    format!("the further fields are no JSON object: {error}"),
                )
            })?),
        };
        let topic = self.topics.name(line.partition.topic);
        let (partition, offset) = (line.partition.partition, line.offset);
        Ok(Document {
            index: format!("{}-{day}", self.index),
            id: format!("{}-{topic}-{partition}-{offset}-{}", line.generation, line.index),
            body: Body {
                timestamp,
                level: Named::Level(line.level.as_str()),
                host: Named::Name(&line.host),
                service: Named::Name(&line.service),
                message: &line.message,
                fields,
            },
        })
    }
}
