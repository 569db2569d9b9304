//! A sustained condition over a keyed stream.

use tidewatch_dataflow::time::EventTimestamp;
use timely::dataflow::StreamVec;

use super::shell::{Operator, run};
use super::{DetectOutput, Key, Keyed};
use crate::detect::is_late;
use crate::detect::sustained::{ConditionPartial, Sustained, SustainedConfig, SustainedError};

/// Sustained conditions.
pub trait DetectSustained<'scope, T: EventTimestamp, K>: Sized {
    /// Says when the samples of a key hold a condition without a pause, and when they no longer do. See
    /// [`crate::detect::sustained`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewatch_dataflow::time::{EventTime, PaneSize};
    /// use tidewatch_operators::detect::sustained::{Condition, SustainedConfig};
    /// use tidewatch_operators::keyed::{DetectSustained, Keyed};
    /// use timely::dataflow::operators::{Capture, ToStream, capture::Extract};
    /// let config = SustainedConfig {
    ///     condition: Condition::Above(90.0),
    ///     clear: 85.0,
    ///     for_: Duration::from_secs(60),
    ///     clear_for: Duration::from_secs(10),
    ///     gap_tolerance: Duration::from_secs(30),
    ///     pane: PaneSize::new(Duration::from_secs(10)).unwrap(),
    /// };
    /// let told = timely::execute_directly(move |worker| {
    ///     worker.dataflow::<u64, _, _>(|scope| {
    ///         (0..=100u64)
    ///             .map(|s| (s * 1_000, if s <= 60 { 95.0 } else { 50.0 }))
    ///             .map(|(time, load)| Keyed::new("web-1".to_owned(), EventTime::from_millis(time), load))
    ///             .to_stream(scope)
    ///             .sustained("cpu", config)
    ///             .unwrap()
    ///             .episodes
    ///             .capture()
    ///     })
    /// });
    /// let told: Vec<_> = told.extract().into_iter().flat_map(|(_, episodes)| episodes).collect();
    /// let steps: Vec<_> = told.iter().map(|e| (e.sequence, e.at.as_millis())).collect();
    /// assert_eq!(steps, [(0, 60_000), (1, 61_000)]);
    /// ```
    ///
    /// # Errors
    /// [`SustainedError`] when the configuration makes no sense.
    fn sustained(
        self,
        name: &str,
        config: SustainedConfig,
    ) -> Result<DetectOutput<'scope, T, K, f64>, SustainedError>;
}

impl<'scope, T, K> DetectSustained<'scope, T, K> for StreamVec<'scope, T, Keyed<K, f64>>
where
    T: EventTimestamp,
    K: Key,
{
    fn sustained(
        self,
        name: &str,
        config: SustainedConfig,
    ) -> Result<DetectOutput<'scope, T, K, f64>, SustainedError> {
        let operator = Operator {
            name: format!("sustained/{name}"),
            machine: Sustained::try_new(config)?,
            is_too_late: is_late,
            fold: move |pane, samples: &mut dyn Iterator<Item = (_, f64)>| {
                ConditionPartial::of(&config, pane, samples)
            },
        };
        let (episodes, dropped) = run(self, operator);
        Ok(DetectOutput { episodes, dropped })
    }
}
