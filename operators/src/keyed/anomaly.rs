//! Anomalies in a keyed stream.

use tidewatch_dataflow::time::EventTimestamp;
use timely::dataflow::StreamVec;

use super::shell::{Operator, run};
use super::{DetectOutput, Key, Keyed};
use crate::aggregate::{Aggregate, Moments};
use crate::detect::anomaly::{Anomaly, AnomalyConfig, AnomalyError};
use crate::detect::is_late;

/// Anomalies.
pub trait DetectAnomaly<'scope, T: EventTimestamp, K>: Sized {
    /// Says when the samples of a key stay far from their own past, pane by pane. See
    /// [`crate::detect::anomaly`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewatch_dataflow::time::{EventTime, PaneSize};
    /// use tidewatch_operators::detect::anomaly::{AnomalyConfig, Direction};
    /// use tidewatch_operators::keyed::{DetectAnomaly, Keyed};
    /// use timely::dataflow::operators::{Capture, ToStream, capture::Extract};
    /// let config = AnomalyConfig {
    ///     half_life: Duration::from_secs(600),
    ///     warm_up: Duration::from_secs(600),
    ///     score: 6.0,
    ///     min_deviation: 10.0,
    ///     direction: Direction::Both,
    ///     for_: Duration::from_secs(30),
    ///     pane: PaneSize::new(Duration::from_secs(10)).unwrap(),
    /// };
    /// let told = timely::execute_directly(move |worker| {
    ///     worker.dataflow::<u64, _, _>(|scope| {
    ///         (0..100u64)
    ///             .map(|i| (10_000 * i, if i < 90 { 50.0 + (i % 3) as f64 } else { 75.0 }))
    ///             .map(|(time, used)| Keyed::new(1u32, EventTime::from_millis(time), used))
    ///             .to_stream(scope)
    ///             .anomaly("memory", config)
    ///             .unwrap()
    ///             .episodes
    ///             .capture()
    ///     })
    /// });
    /// let told: Vec<_> = told.extract().into_iter().flat_map(|(_, episodes)| episodes).collect();
    /// assert_eq!((told[0].started_at.as_millis(), told[0].at.as_millis()), (900_000, 930_000));
    /// ```
    ///
    /// # Errors
    /// [`AnomalyError`] when the configuration makes no sense.
    fn anomaly(
        self,
        name: &str,
        config: AnomalyConfig,
    ) -> Result<DetectOutput<'scope, T, K, f64>, AnomalyError>;
}

impl<'scope, T, K> DetectAnomaly<'scope, T, K> for StreamVec<'scope, T, Keyed<K, f64>>
where
    T: EventTimestamp,
    K: Key,
{
    fn anomaly(
        self,
        name: &str,
        config: AnomalyConfig,
    ) -> Result<DetectOutput<'scope, T, K, f64>, AnomalyError> {
        let operator = Operator {
            name: format!("anomaly/{name}"),
            machine: Anomaly::try_new(config)?,
            is_too_late: is_late,
            fold: |_, samples: &mut dyn Iterator<Item = (_, f64)>| {
                Some(Moments::of(samples.map(|(_, value)| value)))
            },
        };
        let (episodes, dropped) = run(self, operator);
        Ok(DetectOutput { episodes, dropped })
    }
}
