//! The channels of a service: for each receiver those it names, each behind its own delivery.

use std::collections::BTreeMap;

use anyhow::Context;
use tidewatch_connectors::delivery::{Delivery, DeliveryConfig, SinkHandle};
use tidewatch_connectors::sinks::console::{self, ConsoleWriter};
use tidewatch_dataflow::alert::Notification;
use tidewatch_dataflow::sink::SinkWriter;
use tokio::runtime;

use crate::config::PipelineConfig;

/// Opens the channels of every receiver, by the receiver's name.
pub(super) fn open(
    config: &PipelineConfig,
    runtime: &runtime::Handle,
) -> anyhow::Result<BTreeMap<String, Vec<SinkHandle<Notification>>>> {
    let mut receivers = BTreeMap::new();
    for (name, receiver) in &config.receivers {
        let mut channels = Vec::new();
        let failed = |channel: &str| format!("could not open `{channel}` of `[receivers.{name}]`");
        if receiver.console {
            let writer = ConsoleWriter::stdout();
            channels.push(spawn(runtime, &format!("console/{name}"), writer, console::delivery()));
        }
        if let Some(slack) = &receiver.slack {
            let writer = slack.open().with_context(|| failed("slack"))?;
            channels.push(spawn(runtime, &format!("slack/{name}"), writer, slack.delivery()));
        }
        if let Some(email) = &receiver.email {
            let writer = email.open().with_context(|| failed("email"))?;
            channels.push(spawn(runtime, &format!("email/{name}"), writer, email.delivery()));
        }
        if let Some(pagerduty) = &receiver.pagerduty {
            let writer = pagerduty.open().with_context(|| failed("pagerduty"))?;
            channels.push(spawn(
                runtime,
                &format!("pagerduty/{name}"),
                writer,
                pagerduty.delivery(),
            ));
        }
        receivers.insert(name.clone(), channels);
    }
    Ok(receivers)
}

fn spawn<W: SinkWriter<Item = Notification>>(
    runtime: &runtime::Handle,
    name: &str,
    writer: W,
    queue: DeliveryConfig,
) -> SinkHandle<Notification> {
    // The delivery has counted and logged what a channel will never take.
    Delivery::spawn(runtime, name, writer, queue, |_, _| {})
}
