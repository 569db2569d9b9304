//! The index template: how the fields of the daily indexes are stored and searched.

use elasticsearch::indices::{IndicesExistsIndexTemplateParts, IndicesPutIndexTemplateParts};
use serde_json::{Value, json};
use tidewatch_dataflow::sink::ConnectorError;
use tracing::{info, warn};

use super::ElasticsearchWriter;
use super::writer::Whole;

/// The types that hold an object of any shape in one field, so that foreign keys can neither fill the
/// mapping nor disagree about a type: Elasticsearch's, then OpenSearch's.
const OPEN_OBJECT_TYPES: [&str; 2] = ["flattened", "flat_object"];

/// What a server says that does not know a type.
const UNKNOWN_TYPE: &str = "No handler for type";

/// What an index template is for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Log lines.
    Logs,
    /// Transitions of incidents.
    Alerts,
}

/// The template of the indexes that begin with `index`, for one of [`OPEN_OBJECT_TYPES`].
///
/// Its priority lies above 100, that of the templates Elasticsearch brings along: an index called
/// `logs-app-…` would else become a data stream, where an identity is unique per backing index only and
/// a repeated line is stored twice. Alerts lie above log lines, whose pattern may cover theirs.
fn body(purpose: Purpose, index: &str, open_object: &str) -> Value {
    let keyword = json!({"type": "keyword", "ignore_above": 1024});
    // A value longer than 32,766 bytes would be refused with its whole document. OpenSearch does so: its type has
    // nothing that cuts.
    let open = match open_object {
        "flattened" => json!({"type": open_object, "ignore_above": 1024}),
        _ => json!({"type": open_object}),
    };
    let mut properties = json!({
        "@timestamp": {"type": "date"},
        "host": {"properties": {"name": keyword}},
        "service": {"properties": {"name": keyword}},
        "message": {"type": "text"},
    });
    let (priority, description) = match purpose {
        Purpose::Logs => {
            properties["log"] = json!({"properties": {"level": keyword}});
            properties["fields"] = open;
            (200, "log lines written by tidewatch")
        }
        Purpose::Alerts => {
            properties["event"] = json!({"properties": {
                "action": keyword, "reason": keyword, "start": {"type": "date"},
            }});
            properties["rule"] = json!({"properties": {"name": keyword}});
            properties["alert"] = json!({"properties": {
                "incident": keyword, "severity": keyword, "sequence": {"type": "long"},
                "value": {"type": "double"}, "lasted_seconds": {"type": "double"},
            }});
            properties["labels"] = open;
            (201, "openings and ends of incidents, written by tidewatch")
        }
    };
    json!({
        "index_patterns": [format!("{index}-*")],
        "priority": priority,
        "version": 1,
        "_meta": {"description": description},
        "template": {"mappings": {"dynamic": false, "properties": properties}},
    })
}

/// What to do about a refused template.
const TEMPLATE_REMEDY: &str =
    "put an index template of this name by hand, or choose another `index`";

impl ElasticsearchWriter {
    /// Puts the index template unless there is one of its name: then it may have been changed by hand,
    /// and is left alone. Done by the writer itself before its first documents.
    ///
    /// # Errors
    /// [`ConnectorError::Refused`] when the cluster will not have it, since lines stored without it would
    /// be typed by guess for the rest of the day. Missing rights (403) are no error: it may have been put
    /// by somebody else, and is warned of.
    pub async fn ensure_template(&self) -> Result<(), ConnectorError> {
        let name = &self.naming.index;
        let asked = self
            .client
            .indices()
            .exists_index_template(IndicesExistsIndexTemplateParts::Name(name))
            .send()
            .await;
        let answer = self.answer(asked).await?;
        match answer.status {
            200 => return Ok(()),
            404 => {}
            403 => {
                warn!(template = name, "no right to look at index templates, writing all the same");
                return Ok(());
            }
            _ => return Err(self.template_failure(&answer)),
        }
        let mut refusal = None;
        for open_object in OPEN_OBJECT_TYPES {
            // `create` keeps two processes that start together from overwriting each other's.
            let sent = self
                .client
                .indices()
                .put_index_template(IndicesPutIndexTemplateParts::Name(name))
                .create(true)
                .body(body(self.purpose, name, open_object))
                .send()
                .await;
            let answer = self.answer(sent).await?;
            match answer.status {
                200 => {
                    info!(template = name, "index template put");
                    return Ok(());
                }
                400 if answer.body.contains("already exists") => return Ok(()),
                400 if answer.body.contains(UNKNOWN_TYPE) => refusal = Some(answer),
                403 => {
                    warn!(
                        template = name,
                        "no right to put the index template, writing all the same"
                    );
                    return Ok(());
                }
                _ => return Err(self.template_failure(&answer)),
            }
        }
        let text = refusal.map(|answer| answer.text()).unwrap_or_default();
        Err(self.endpoint.refused(&text, TEMPLATE_REMEDY))
    }

    /// An answer about the template: never a reason to give up the documents that wait behind it.
    fn template_failure(&self, answer: &Whole) -> ConnectorError {
        match self.failure(answer) {
            ConnectorError::Permanent { .. } => {
                self.endpoint.refused(&answer.text(), TEMPLATE_REMEDY)
            }
            failure => failure,
        }
    }
}
