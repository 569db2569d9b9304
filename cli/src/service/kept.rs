//! Sinks whose items survive: what is not delivered at a checkpoint is part of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidewatch_connectors::delivery::{
    Delivery, DeliveryConfig, SegmentRef, SinkHandle, SinkState, Spill, SpillError,
};
use tidewatch_dataflow::checkpoint::{
    Piece, PieceContent, RestoredState, StateStore, StoreError, WorkerPieces, encode,
};
use tidewatch_dataflow::series::StableHash;
use tidewatch_dataflow::sink::{RejectedItem, SinkWriter};
use tokio::runtime;

use crate::pipeline::DurabilityError;

/// Starts sinks, with a spill where the run keeps state.
#[derive(Clone)]
pub(super) struct Starter {
    pub(super) runtime: runtime::Handle,
    /// The state store, with the number of the run and the index of the process.
    pub(super) state: Option<(Arc<dyn StateStore>, u64, usize)>,
    /// Whether this is the first process, which does what is to be done once.
    pub(super) is_first: bool,
}

impl Starter {
    /// Starts a sink of which nothing may be lost.
    pub(super) fn spawn<W: SinkWriter>(
        &self,
        name: &str,
        writer: W,
        queue: DeliveryConfig,
        on_rejected: impl Fn(&W::Item, &RejectedItem) + Send + 'static,
    ) -> SinkHandle<W::Item>
    where
        W::Item: Serialize + DeserializeOwned,
    {
        let spill = self.state.as_ref().map(|(store, run, process)| Spill {
            store: Arc::clone(store),
            prefix: format!("spill/{run:08}-p{process:04}-{}", slug(name)),
            max_bytes: queue.spill,
        });
        Delivery::spawn_with(&self.runtime, name, writer, queue, spill, on_rejected)
    }
}

/// The name of a sink as part of an object's name: receivers may be called anything.
fn slug(name: &str) -> String {
    let plain = name.chars().map(|c| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9') => c,
        _ => '-',
    });
    let mut hash = StableHash::default();
    hash.write(name.as_bytes());
    format!("{}-{:08x}", plain.collect::<String>(), hash.finish() as u32)
}

/// What the checkpoint layer asks of a sink, whatever its items are.
pub(super) trait Kept: Send + Sync {
    fn name(&self) -> String;
    fn mark(&self) -> u64;
    fn make_durable(&self, mark: u64) -> BoxFuture<'static, Result<SinkState, StoreError>>;
    fn restore(&self, segments: Vec<SegmentRef>) -> BoxFuture<'_, Result<(), SpillError>>;
}

impl<T: Send + Sync + 'static> Kept for SinkHandle<T> {
    fn name(&self) -> String {
        self.stats().name().to_owned()
    }

    fn mark(&self) -> u64 {
        SinkHandle::mark(self)
    }

    fn make_durable(&self, mark: u64) -> BoxFuture<'static, Result<SinkState, StoreError>> {
        SinkHandle::make_durable(self, mark).boxed()
    }

    fn restore(&self, segments: Vec<SegmentRef>) -> BoxFuture<'_, Result<(), SpillError>> {
        SinkHandle::restore(self, segments).boxed()
    }
}

/// The name of a sink's state in a checkpoint.
fn operator(sink: &str) -> String {
    format!("sink/{sink}")
}

/// The pause before the store is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Makes everything durable that was offered to `sinks` before their marks, for as long as it takes; adds the
/// pieces and the objects that they speak of.
pub(super) async fn make_durable(
    sinks: Vec<(Arc<dyn Kept>, u64)>,
    pieces: &mut WorkerPieces,
    others: &mut Vec<String>,
) {
    let waiting = sinks.into_iter().map(|(sink, mark)| async move {
        loop {
            match sink.make_durable(mark).await {
                Ok(state) => return (sink.name(), state),
                Err(error) => {
                    let sink = sink.name();
                    tracing::warn!(sink, %error, "could not keep what is not delivered, trying again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    });
    for (name, state) in futures_util::future::join_all(waiting).await {
        others.extend(state.segments.iter().map(|segment| segment.name.clone()));
        let content = PieceContent::New(encode(&state));
        let piece = Piece { name: "state".into(), content };
        pieces.push((operator(&name).into(), vec![piece]));
    }
}

/// Hands each sink what it had not delivered at the cut: each process takes a part of what all had.
pub(super) async fn restore(
    sinks: &[Arc<dyn Kept>],
    state: &RestoredState,
    (process, processes): (usize, usize),
) -> Result<(), DurabilityError> {
    for sink in sinks {
        let Some(restored) = state.operators.get(operator(&sink.name()).as_str()) else { continue };
        let own = restored.shares.iter().enumerate();
        let own = own.filter(|(index, _)| index % processes.max(1) == process);
        let mut segments = Vec::new();
        for (_, share) in own {
            let state: Option<SinkState> = share.get("state")?;
            segments.extend(state.unwrap_or_default().segments);
        }
        sink.restore(segments)
            .await
            .map_err(|error| DurabilityError::Outputs(error.to_string()))?;
    }
    Ok(())
}

/// Says in the log what nobody will ever deliver, since its sink is no longer configured.
pub(super) fn report_dropped(sinks: &[String], state: &RestoredState) {
    for (name, restored) in &state.operators {
        let Some(sink) = name.strip_prefix("sink/") else { continue };
        if sinks.iter().any(|known| known == sink) {
            continue;
        }
        let states = restored.shares.iter().filter_map(|s| s.get::<SinkState>("state").ok()?);
        let dropped: u64 = states.map(|state| state.unsettled()).sum();
        if dropped > 0 {
            tracing::error!(
                sink,
                dropped,
                "the state holds items of a sink that is no longer configured: they are dropped"
            );
        }
    }
}
