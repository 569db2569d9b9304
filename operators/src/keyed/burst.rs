//! Bursts of events in a keyed stream.

use tidewatch_dataflow::time::EventTimestamp;
use timely::dataflow::StreamVec;

use super::shell::{Operator, run};
use super::{DetectOutput, Key, Keyed};
use crate::aggregate::Value;
use crate::detect::burst::{Burst, BurstConfig, BurstError};
use crate::detect::is_late;

/// Bursts of events.
pub trait DetectBurst<'scope, T: EventTimestamp, K, V>: Sized {
    /// Says when more records of a key than usual come in a sliding window; each record is one event,
    /// whatever its value. See [`crate::detect::burst`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewatch_dataflow::time::EventTime;
    /// use tidewatch_operators::detect::burst::BurstConfig;
    /// use tidewatch_operators::keyed::{DetectBurst, Keyed};
    /// use timely::dataflow::operators::{Capture, ToStream, capture::Extract};
    /// let config = BurstConfig {
    ///     window: Duration::from_secs(60),
    ///     slide: Duration::from_secs(10),
    ///     above: 20,
    ///     factor: Some(5.0),
    ///     baseline: Duration::from_secs(600),
    ///     clear_for: Duration::from_secs(60),
    /// };
    /// let told = timely::execute_directly(move |worker| {
    ///     worker.dataflow::<u64, _, _>(|scope| {
    ///         // One error every ten seconds, and thirty within three.
    ///         let usual = (0..180u64).map(|i| 10_000 * i);
    ///         let burst = (0..30u64).map(|i| 1_200_000 + 100 * i);
    ///         usual
    ///             .chain(burst)
    ///             .map(|time| Keyed::new("shop".to_owned(), EventTime::from_millis(time), ()))
    ///             .to_stream(scope)
    ///             .burst("errors", config)
    ///             .unwrap()
    ///             .episodes
    ///             .capture()
    ///     })
    /// });
    /// let told: Vec<_> = told.extract().into_iter().flat_map(|(_, episodes)| episodes).collect();
    /// let steps: Vec<_> = told.iter().map(|e| (e.sequence, e.at.as_millis(), e.value.0)).collect();
    /// assert_eq!(steps[0], (0, 1_210_000, 36.0));
    /// assert_eq!(steps[1].1, 1_270_000);
    /// ```
    ///
    /// # Errors
    /// [`BurstError`] when the configuration makes no sense.
    fn burst(
        self,
        name: &str,
        config: BurstConfig,
    ) -> Result<DetectOutput<'scope, T, K, V>, BurstError>;
}

impl<'scope, T, K, V> DetectBurst<'scope, T, K, V> for StreamVec<'scope, T, Keyed<K, V>>
where
    T: EventTimestamp,
    K: Key,
    V: Value,
{
    fn burst(
        self,
        name: &str,
        config: BurstConfig,
    ) -> Result<DetectOutput<'scope, T, K, V>, BurstError> {
        let operator = Operator {
            name: format!("burst/{name}"),
            machine: Burst::try_new(config)?,
            is_too_late: is_late,
            fold: |_, events: &mut dyn Iterator<Item = (_, V)>| {
                Some(events.fold(0u64, |count, _| count + 1))
            },
        };
        let (episodes, dropped) = run(self, operator);
        Ok(DetectOutput { episodes, dropped })
    }
}
