//! Tumbling windows over a keyed stream: each record belongs to exactly one.

use std::time::Duration;

use tidewatch_dataflow::time::EventTimestamp;
use timely::dataflow::StreamVec;

use super::sliding::windows;
use super::{Key, Keyed, WindowOutput};
use crate::aggregate::{Aggregate, Value};
use crate::window::{WindowConfig, WindowError};

/// How long windows are, and how long they can be corrected.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TumblingConfig {
    /// Length of every window; they follow one another from the epoch on.
    pub size: Duration,
    /// A fired window accepts corrections until the admission pane begins this far past its end.
    pub allowed_lateness: Duration,
}

/// Tumbling windows.
pub trait Tumbling<'scope, T: EventTimestamp, K, V>: Sized {
    /// Aggregates the records of each key over windows that follow one another. See [`crate::window`] for
    /// what fires when, and [`crate::keyed`] for what is late.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewatch_dataflow::{alert::Reading, time::EventTime};
    /// use tidewatch_operators::aggregate::Moments;
    /// use tidewatch_operators::keyed::{Keyed, Tumbling, TumblingConfig};
    /// use timely::dataflow::operators::{Capture, ToStream, capture::Extract, vec::Map};
    /// let fired = timely::execute_directly(|worker| {
    ///     worker.dataflow::<u64, _, _>(|scope| {
    ///         let at = EventTime::from_millis;
    ///         let records = [("a", 1_000, 4.0), ("b", 2_000, 1.0), ("a", 500, 2.0), ("a", 12_000, 9.0)];
    ///         let config = TumblingConfig {
    ///             size: Duration::from_secs(10),
    ///             allowed_lateness: Duration::ZERO,
    ///         };
    ///         records
    ///             .map(|(key, time, value)| Keyed::new(key.to_owned(), at(time), value))
    ///             .to_stream(scope)
    ///             .tumbling::<Moments>("load", config)
    ///             .unwrap()
    ///             .firings
    ///             .map(|f| (f.group, f.window.end.as_millis(), Reading(f.value.mean())))
    ///             .capture()
    ///     })
    /// });
    /// let means: Vec<_> = fired.extract().into_iter().flat_map(|(_, means)| means).collect();
    /// let mean = |key: &str, end, mean| (key.to_owned(), end, Reading(mean));
    /// assert_eq!(means, [mean("a", 10_000, 3.0), mean("b", 10_000, 1.0), mean("a", 20_000, 9.0)]);
    /// ```
    ///
    /// # Errors
    /// [`WindowError`] when the size is under a millisecond or the lateness too long.
    fn tumbling<P: Aggregate<V>>(
        self,
        name: &str,
        config: TumblingConfig,
    ) -> Result<WindowOutput<'scope, T, K, V, P>, WindowError>;
}

impl<'scope, T, K, V> Tumbling<'scope, T, K, V> for StreamVec<'scope, T, Keyed<K, V>>
where
    T: EventTimestamp,
    K: Key,
    V: Value,
{
    fn tumbling<P: Aggregate<V>>(
        self,
        name: &str,
        config: TumblingConfig,
    ) -> Result<WindowOutput<'scope, T, K, V, P>, WindowError> {
        let TumblingConfig { size, allowed_lateness } = config;
        let config = WindowConfig { size, slide: size, allowed_lateness };
        windows(self, format!("tumbling/{name}"), config)
    }
}
