//! The channels of a service: for each receiver those it names, each behind its own delivery.

use std::collections::BTreeMap;

use anyhow::Context;
use std::sync::Arc;

use super::kept::Starter;
use crate::config::PipelineConfig;
use tidewatch_connectors::delivery::{DeliveryConfig, SinkHandle};
use tidewatch_connectors::outbox::{Outbox, Outboxed};
use tidewatch_connectors::sinks::console::{self, ConsoleWriter};
use tidewatch_dataflow::alert::Notification;
use tidewatch_dataflow::sink::SinkWriter;

/// Opens the channels of every receiver, by the receiver's name.
pub(super) fn open(
    config: &PipelineConfig,
    starter: &Starter,
    outbox: Option<&Arc<Outbox>>,
) -> anyhow::Result<BTreeMap<String, Vec<SinkHandle<Notification>>>> {
    let starting = Starting { starter, outbox };
    let mut receivers = BTreeMap::new();
    for (name, receiver) in &config.receivers {
        let mut channels = Vec::new();
        let failed = |channel: &str| format!("could not open `{channel}` of `[receivers.{name}]`");
        if receiver.console {
            let writer = ConsoleWriter::stdout();
            channels.push(starting.spawn(&format!("console/{name}"), writer, console::delivery()));
        }
        if let Some(slack) = &receiver.slack {
            let writer = slack.open().with_context(|| failed("slack"))?;
            channels.push(starting.spawn(&format!("slack/{name}"), writer, slack.delivery()));
        }
        if let Some(email) = &receiver.email {
            let writer = email.open().with_context(|| failed("email"))?;
            channels.push(starting.spawn(&format!("email/{name}"), writer, email.delivery()));
        }
        if let Some(pagerduty) = &receiver.pagerduty {
            let writer = pagerduty.open().with_context(|| failed("pagerduty"))?;
            channels.push(starting.spawn(
                &format!("pagerduty/{name}"),
                writer,
                pagerduty.delivery(),
            ));
        }
        receivers.insert(name.clone(), channels);
    }
    Ok(receivers)
}

struct Starting<'a> {
    starter: &'a Starter,
    outbox: Option<&'a Arc<Outbox>>,
}

impl Starting<'_> {
    /// Starts a channel, behind the outbox where there is one.
    fn spawn<W: SinkWriter<Item = Notification>>(
        &self,
        name: &str,
        writer: W,
        queue: DeliveryConfig,
    ) -> SinkHandle<Notification> {
        // The delivery has counted and logged what a channel will never take.
        match self.outbox {
            Some(outbox) => {
                let writer = Outboxed::new(outbox, name, writer);
                self.starter.spawn(name, writer, queue, |_, _| {})
            }
            None => self.starter.spawn(name, writer, queue, |_, _| {}),
        }
    }
}
