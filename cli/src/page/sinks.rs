//! The sinks that feed a [`LiveState`]. They are memory only and never fail, so nothing is ever written
//! twice by a retry.

use std::sync::Arc;

use tidewatch_dataflow::alert::Transition;
use tidewatch_dataflow::metric::MetricPoint;
use tidewatch_dataflow::record::LogLine;
use tidewatch_dataflow::sink::{ConnectorError, Receipt, SinkWriter};

use super::state::LiveState;

/// Feeds metric points to the page.
#[derive(Clone, Debug)]
pub struct LiveMetrics(pub Arc<LiveState>);

/// Feeds log lines to the page.
#[derive(Clone, Debug)]
pub struct LiveLogs(pub Arc<LiveState>);

/// Feeds transitions to the page.
#[derive(Clone, Debug)]
pub struct LiveTransitions(pub Arc<LiveState>);

fn all<T>(batch: &[T]) -> Receipt {
    Receipt { accepted: batch.len(), ..Receipt::default() }
}

impl SinkWriter for LiveMetrics {
    type Item = MetricPoint;

    async fn write(&mut self, batch: &[MetricPoint]) -> Result<Receipt, ConnectorError> {
        self.0.add_points(batch);
        Ok(all(batch))
    }
}

impl SinkWriter for LiveLogs {
    type Item = LogLine;

    async fn write(&mut self, batch: &[LogLine]) -> Result<Receipt, ConnectorError> {
        self.0.add_lines(batch);
        Ok(all(batch))
    }
}

impl SinkWriter for LiveTransitions {
    type Item = Transition;

    async fn write(&mut self, batch: &[Transition]) -> Result<Receipt, ConnectorError> {
        self.0.add_transitions(batch);
        Ok(all(batch))
    }
}
