//! Transitions of incidents as points, so that graphs can show what is open and what was.

use std::sync::Arc;
use std::time::Duration;

use tidewatch_dataflow::alert::Transition;
use tidewatch_dataflow::metric::{FieldNames, Fields, MetricPoint};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::sink::{ConnectorError, Receipt, SinkWriter};

/// The measurement of alerts.
pub const ALERTS_MEASUREMENT: &str = "alerts";

/// Writes one point for each opening and each end of an incident, through a writer of points.
///
/// ```text
/// alerts,host=web-1,rule=cpu_sustained,severity=critical firing=1.0,value=97.25 1795376400000
/// ```
/// The tags are the labels of the group, and `rule` and `severity`, which win over labels of the same names.
/// The fields are `firing` (1 opened, 0 ended), `value` (the number that decided it) and `lasted_seconds` (from
/// the beginning of the episode until this step). The last point of a series says whether it is open now.
#[derive(Debug)]
pub struct AlertPoints<W> {
    writer: W,
    names: FieldNames,
    measurement: Arc<str>,
}

impl<W> AlertPoints<W> {
    /// Alerts through `writer`.
    pub fn new(writer: W) -> Self {
        let names = FieldNames::new(["firing", "value", "lasted_seconds"]);
        AlertPoints { writer, names, measurement: ALERTS_MEASUREMENT.into() }
    }

    fn point(&self, transition: &Transition) -> MetricPoint {
        let own = [("rule", &*transition.rule), ("severity", transition.severity.as_str())];
        let numbers = [
            f64::from(u8::from(transition.is_opening())),
            transition.value.0,
            transition.lasted().as_secs_f64(),
        ];
        MetricPoint {
            measurement: Arc::clone(&self.measurement),
            labels: Labels::from_pairs(transition.group.iter().chain(own)),
            time: transition.at,
            fields: Fields::new(self.names.clone(), numbers),
            is_correction: false,
        }
    }
}

impl<W: SinkWriter<Item = MetricPoint>> SinkWriter for AlertPoints<W> {
    type Item = Transition;

    async fn write(&mut self, batch: &[Transition]) -> Result<Receipt, ConnectorError> {
        let points: Vec<_> = batch.iter().map(|transition| self.point(transition)).collect();
        self.writer.write(&points).await
    }

    async fn upkeep(&mut self) -> Option<Duration> {
        self.writer.upkeep().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::influxdb::line_protocol::encode;
    use crate::sinks::sample;

    #[test]
    fn opening_and_end_are_one_series() {
        let alerts = AlertPoints::new(());
        let mut lines = String::new();
        for notification in [sample::opening(), sample::end()] {
            encode(&alerts.point(&notification.transition), &mut lines).unwrap();
        }
        let series = "alerts,host=web-1,rule=cpu_sustained,severity=critical";
        let expected = format!(
            "{series} firing=1.0,value=97.25,lasted_seconds=300.0 1795376400000\n\
             {series} firing=0.0,value=41.0,lasted_seconds=1023.0 1795377123000\n"
        );
        assert_eq!(lines, expected);
    }
}
