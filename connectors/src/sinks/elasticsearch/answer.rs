//! What a bulk answer says about each document, by its position.

use serde::Deserialize;
use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::sink::{ConnectorError, Receipt, RejectedItem};

use crate::http::{Endpoint, may_pass};

/// Only these parts of the answer are asked for: a status for each item, and why it failed.
pub(super) const FILTER: [&str; 2] = ["items.*.status", "items.*.error"];

/// The answer to a bulk request.
#[derive(Debug, Deserialize)]
pub(super) struct Bulk {
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    create: Outcome,
}

#[derive(Debug, Deserialize)]
struct Outcome {
    status: u16,
    error: Option<Fault>,
}

#[derive(Debug, Deserialize)]
struct Fault {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    reason: String,
    caused_by: Option<Box<Fault>>,
}

impl Fault {
    fn text(&self) -> String {
        let Fault { kind, reason, caused_by } = self;
        let cause = caused_by.as_ref().map(|cause| format!(": {}", cause.text()));
        format!("{kind}: {reason}{}", cause.unwrap_or_default())
    }
}

/// What becomes of one document.
enum Verdict {
    /// It is in, now or since an earlier attempt.
    In,
    /// It will never be.
    Never(Reason),
    /// The cluster is overloaded or has a shard missing.
    Later,
    /// A person must act; the document is as good as any.
    Held,
}

/// Statuses 201 and 409 are success; 400 and its like are the document's fault, unless they are about the
/// cluster's limits or the index's name, which the next document would meet as well.
fn verdict(outcome: &Outcome) -> Verdict {
    let kind = outcome.error.as_ref().map_or("", |fault| fault.kind.as_str());
    match (outcome.status, kind) {
        (200 | 201 | 409, _) => Verdict::In,
        (401 | 403 | 404, _) => Verdict::Held,
        (400, "validation_exception" | "invalid_index_name_exception") => Verdict::Held,
        (413, _) => Verdict::Never(Reason::TooLarge),
        (status, _) if may_pass(status) => Verdict::Later,
        _ => Verdict::Never(Reason::Rejected),
    }
}

impl Bulk {
    /// The receipt for the documents that were sent, whose indexes in the batch are `sent`.
    ///
    /// # Errors
    /// When the answer has another number of items than the request, or when none of them is settled;
    /// then the first one's reason is that of all.
    pub(super) fn receipt(
        &self,
        sent: &[usize],
        endpoint: &Endpoint,
    ) -> Result<Receipt, ConnectorError> {
        if self.items.len() != sent.len() {
            let reason =
                format!("the answer has {} items for {} documents", self.items.len(), sent.len());
            return Err(endpoint.transient(&reason, None));
        }
        let mut receipt = Receipt::default();
        let mut unsettled = None;
        for (Item { create }, index) in self.items.iter().zip(sent.iter().copied()) {
            let text = || {
                let fault = create.error.as_ref().map(Fault::text).unwrap_or_default();
                endpoint.redaction.apply(&format!("{}: {fault}", create.status))
            };
            match verdict(create) {
                Verdict::In => receipt.accepted += 1,
                Verdict::Never(reason) => {
                    receipt.rejected.push(RejectedItem { index, reason, detail: text() });
                }
                Verdict::Later => {
                    receipt.retry.push(index);
                    unsettled.get_or_insert_with(|| endpoint.transient(&text(), None));
                }
                Verdict::Held => {
                    receipt.retry.push(index);
                    unsettled.get_or_insert_with(|| endpoint.refused(&text(), ITEM_REMEDY));
                }
            }
        }
        match unsettled {
            Some(failure) if receipt.retry.len() == sent.len() => Err(failure),
            _ => Ok(receipt),
        }
    }
}

/// What to do when a document is refused for a reason that is not its own.
const ITEM_REMEDY: &str =
    "check the rights of the user, the blocks and limits of the cluster, and `index`";
