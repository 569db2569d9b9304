//! Writing firings of windows as points.

use std::sync::Arc;

use tidewatch_dataflow::config::HumanDuration;
use tidewatch_dataflow::metric::{FieldNames, Fields, MetricPoint};
use tidewatch_dataflow::operator::GroupId;
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTime;

use super::{Aggregate, StatisticSpec};
use crate::aggregate::Moments;
use crate::window::{Firing, Timing, WindowConfig};

/// One window of one statistic.
pub(super) struct WindowConsumer {
    /// This and the names are of this worker's own: all workers would count one another's points.
    measurement: Arc<str>,
    /// `10s`, or `5m/10s` when it slides.
    label: String,
    aggregates: Vec<Aggregate>,
    /// What points call the aggregates.
    names: FieldNames,
    /// Windows that begin before are computed and not put out.
    pub(super) complete_from: EventTime,
    /// For each group the labels of its points, made at its first firing.
    labels: Vec<Option<Labels>>,
}

/// The name of a window in labels: its size, and its slide where that differs.
fn window_label(config: &WindowConfig) -> String {
    let size = HumanDuration::from(config.size);
    if config.slide == config.size {
        size.to_string()
    } else {
        format!("{size}/{}", HumanDuration::from(config.slide))
    }
}

impl WindowConsumer {
    pub(super) fn new(
        statistic: &StatisticSpec,
        config: &WindowConfig,
        complete_from: EventTime,
    ) -> Self {
        WindowConsumer {
            measurement: Arc::from(&*statistic.name),
            label: window_label(config),
            aggregates: statistic.aggregates.clone(),
            names: FieldNames::new(statistic.aggregates.iter().map(|a| a.as_str())),
            complete_from,
            labels: Vec::new(),
        }
    }

    /// What it is called in state and reports: `cpu/5m/10s`.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.measurement, self.label)
    }

    /// Puts the point that `firing` makes into `block`, unless the window is not complete.
    #[inline]
    pub(super) fn put(
        &mut self,
        groups: &[Labels],
        firing: Firing<Moments>,
        block: &mut Vec<MetricPoint>,
    ) {
        if firing.window.start < self.complete_from {
            return;
        }
        let Some(labels) = self.labels(groups, firing.group) else { return };
        let value = firing.value;
        let numbers = self.aggregates.iter().map(|aggregate| match aggregate {
            Aggregate::Count => value.count as f64,
            Aggregate::Sum => value.sum,
            Aggregate::Mean => value.mean(),
            Aggregate::Min => value.min,
            Aggregate::Max => value.max,
            Aggregate::Stddev => value.stddev(),
        });
        block.push(MetricPoint {
            measurement: Arc::clone(&self.measurement),
            labels,
            time: firing.window.end,
            fields: Fields::new(self.names.clone(), numbers),
            is_correction: firing.timing == Timing::Late,
        });
    }

    /// The labels of the points of `group`.
    fn labels(&mut self, groups: &[Labels], group: GroupId) -> Option<Labels> {
        let at = group.0 as usize;
        if self.labels.len() <= at {
            self.labels.resize(at + 1, None);
        }
        let entry = self.labels.get_mut(at)?;
        if entry.is_none() {
            let group = groups.get(at)?;
            let window = std::iter::once(("window", self.label.as_str()));
            *entry = Some(Labels::from_pairs(group.iter().chain(window)));
        }
        entry.clone()
    }
}
