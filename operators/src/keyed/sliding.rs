//! Sliding windows over a keyed stream: each record belongs to several, as they overlap.

use tidewatch_dataflow::time::EventTimestamp;
use timely::dataflow::StreamVec;

use super::shell::{Operator, run};
use super::{Key, Keyed, WindowOutput};
use crate::aggregate::{Aggregate, Value};
use crate::window::{WindowConfig, WindowError, Windows};

/// Sliding windows.
pub trait Sliding<'scope, T: EventTimestamp, K, V>: Sized {
    /// Aggregates the records of each key over windows of a fixed size that begin every slide. See
    /// [`crate::window`] for what fires when, and [`crate::keyed`] for what is late.
    ///
    /// Panes are the greatest common divisor of size and slide; a slide costs about two joins per doubling
    /// of size over pane, not one per pane.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewatch_dataflow::time::EventTime;
    /// use tidewatch_operators::aggregate::Count;
    /// use tidewatch_operators::keyed::{Keyed, Sliding};
    /// use tidewatch_operators::window::WindowConfig;
    /// use timely::dataflow::operators::{Capture, ToStream, capture::Extract};
    /// let fired = timely::execute_directly(|worker| {
    ///     worker.dataflow::<EventTime, _, _>(|scope| {
    ///         let config = WindowConfig {
    ///             size: Duration::from_secs(30),
    ///             slide: Duration::from_secs(10),
    ///             allowed_lateness: Duration::ZERO,
    ///         };
    ///         [61_000, 62_000, 75_000]
    ///             .map(|time| Keyed::new(7u32, EventTime::from_millis(time), ()))
    ///             .to_stream(scope)
    ///             .sliding::<Count>("requests", config)
    ///             .unwrap()
    ///             .firings
    ///             .capture()
    ///     })
    /// });
    /// let counts: Vec<_> = fired
    ///     .extract()
    ///     .into_iter()
    ///     .flat_map(|(_, firings)| firings)
    ///     .map(|firing| (firing.window.end.as_millis(), firing.value.0))
    ///     .collect();
    /// assert_eq!(counts, [(70_000, 2), (80_000, 3), (90_000, 3), (100_000, 1)]);
    /// ```
    ///
    /// # Errors
    /// [`WindowError`] when size, slide and lateness do not fit together.
    fn sliding<P: Aggregate<V>>(
        self,
        name: &str,
        config: WindowConfig,
    ) -> Result<WindowOutput<'scope, T, K, V, P>, WindowError>;
}

impl<'scope, T, K, V> Sliding<'scope, T, K, V> for StreamVec<'scope, T, Keyed<K, V>>
where
    T: EventTimestamp,
    K: Key,
    V: Value,
{
    fn sliding<P: Aggregate<V>>(
        self,
        name: &str,
        config: WindowConfig,
    ) -> Result<WindowOutput<'scope, T, K, V, P>, WindowError> {
        windows(self, format!("sliding/{name}"), config)
    }
}

/// Windows of either kind over `records`.
pub(super) fn windows<'scope, T, K, V, P>(
    records: StreamVec<'scope, T, Keyed<K, V>>,
    name: String,
    config: WindowConfig,
) -> Result<WindowOutput<'scope, T, K, V, P>, WindowError>
where
    T: EventTimestamp,
    K: Key,
    V: Value,
    P: Aggregate<V>,
{
    let plan = config.plan(config.pane()?)?;
    let operator = Operator {
        name,
        machine: Windows::new(plan),
        is_too_late: move |event_pane, admission_pane| plan.is_too_late(event_pane, admission_pane),
        fold: |_, records: &mut dyn Iterator<Item = (_, V)>| {
            Some(P::of(records.map(|(_, value)| value)))
        },
    };
    let (firings, dropped) = run(records, operator);
    Ok(WindowOutput { firings, dropped })
}
