//! Cuts: everything before a mark is settled, or in a segment.

use std::sync::Arc;
use std::time::Duration;

use tidewatch_dataflow::checkpoint::StoreError;
use tokio::time::{Instant, sleep_until};

use super::{SinkState, Want, failed};
use crate::delivery::handle::Shared;
use crate::delivery::stats::DeliveryState;
use crate::delivery::waiting::Waiting;

/// So long the sink's task may deliver before what is left is written: about what one batch takes.
const GRACE: Duration = Duration::from_millis(200);

/// A segment is tried so often, with delays of 0.1, 0.2, 0.4, 0.8 and 1.6 s between: after about three seconds
/// it is for the checkpoint layer to say what becomes of the cut.
const ATTEMPTS: u32 = 6;

/// Resolves once every item before `mark` is settled or in a segment.
pub(in crate::delivery) async fn make_durable<Item: Send + Sync + 'static>(
    shared: Arc<Shared<Item>>,
    mark: u64,
) -> Result<SinkState, StoreError> {
    let queue = &shared.queue;
    queue.flush(mark);
    let Some(spiller) = &shared.spiller else {
        settled(&shared, mark, None).await;
        let name = shared.stats.name();
        return state(&mut queue.lock(), name, mark).unwrap_or_else(|| Err(undelivered(name)));
    };
    settled(&shared, mark, Some(Instant::now() + GRACE)).await;
    let mut serial = spiller.pen.lock().await;
    loop {
        if let Some(state) = state(&mut queue.lock(), &spiller.spill.prefix, mark) {
            return state;
        }
        let want = |shared: &Shared<Item>| {
            let ranges = shared.queue.lock().uncovered(mark, &shared.queue.limits)?;
            Some(Want { ranges, bytes_max: u64::MAX })
        };
        spiller.put(&shared, &mut serial, ATTEMPTS, want).await?;
    }
}

/// Waits until everything before `mark` is settled, or nothing more can be expected: the deadline has passed,
/// the other side is in trouble, or the sink is closed.
async fn settled<Item>(shared: &Shared<Item>, mark: u64, deadline: Option<Instant>) {
    loop {
        let changed = shared.queue.settled.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        {
            let waiting = shared.queue.lock();
            if waiting.floor() >= mark.min(waiting.next()) || !waiting.open {
                return;
            }
        }
        if deadline.is_some() && shared.stats.state() != DeliveryState::Up {
            return;
        }
        tokio::select! {
            () = changed => {}
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => return,
        }
    }
}

/// The state at `mark`; `None` while items before it are in memory only.
fn state<Item>(
    waiting: &mut Waiting<Item>,
    name: &str,
    mark: u64,
) -> Option<Result<SinkState, StoreError>> {
    if let Some((name, reason)) = &waiting.damaged {
        return Some(Err(failed("read", name, reason.as_str())));
    }
    let mark = mark.min(waiting.next());
    let unsettled = waiting.unsettled(mark);
    if waiting.ledger.uncovered(&unsettled).is_empty() {
        return Some(Ok(waiting.ledger.state(&unsettled, mark)));
    }
    (!waiting.open).then(|| Err(undelivered(name)))
}

fn undelivered(name: &str) -> StoreError {
    failed(
        "create",
        name,
        "the sink is closed, and items before the mark were handed back undelivered",
    )
}
