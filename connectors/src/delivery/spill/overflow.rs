//! The background task of a spill: moves the surplus out of memory, and deletes objects that nobody needs.

use std::sync::Arc;

use tidewatch_dataflow::checkpoint::StoreError;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::{DELAY_MAX, DELAY_MIN, Put, Spiller, Want};
use crate::delivery::chain;
use crate::delivery::handle::Shared;
use crate::delivery::waiting::Surplus;

/// Runs until the sink is closed. Store failures are repeated for ever, with growing delays: meanwhile items
/// stay in memory, and the queue fills up.
pub(in crate::delivery) async fn overflow<Item: Send + Sync + 'static>(shared: Arc<Shared<Item>>) {
    let Some(spiller) = &shared.spiller else { return };
    let sink = shared.stats.name();
    let (mut delay, mut failing) = (DELAY_MIN, false);
    loop {
        // Asked first: what was condemned before the sink was closed is deleted still.
        let is_open = shared.queue.lock().open;
        let moved = spill_surplus(&shared, spiller).await;
        let done = match moved {
            Ok(()) => delete_condemned(&shared, spiller).await,
            Err(error) => Err(error),
        };
        match done {
            _ if !is_open => return,
            Ok(()) => {
                if failing {
                    info!(sink, "the spill works again");
                }
                (delay, failing) = (DELAY_MIN, false);
                shared.queue.surplus.notified().await;
            }
            Err(error) => {
                let error = chain(&error);
                match failing {
                    false => warn!(sink, error, "the spill failed, trying again"),
                    true => debug!(sink, error, "the spill failed, trying again"),
                }
                failing = true;
                tokio::select! {
                    () = sleep(delay) => {}
                    () = shared.queue.closed.notified() => {}
                }
                delay = (delay * 2).min(DELAY_MAX);
            }
        }
    }
}

async fn spill_surplus<Item: Send + Sync + 'static>(
    shared: &Arc<Shared<Item>>,
    spiller: &Spiller<Item>,
) -> Result<(), StoreError> {
    let limits = shared.queue.limits;
    let mut serial = spiller.pen.lock().await;
    loop {
        let surplus = shared.queue.lock().surplus(&limits);
        match surplus {
            Surplus::None => return Ok(()),
            Surplus::Drop(count) => shared.queue.drop_tail(count),
            Surplus::Write => {
                let want = |shared: &Shared<Item>| {
                    let (ranges, bytes_max) = shared.queue.lock().to_spill(&limits)?;
                    Some(Want { ranges, bytes_max })
                };
                match spiller.put(shared, &mut serial, 1, want).await? {
                    Put::Written => {}
                    Put::Nothing => return Ok(()),
                    Put::NoRoom => {
                        info!(sink = shared.stats.name(), "the spill is full");
                        shared.queue.update(|waiting| waiting.exhausted = true);
                    }
                }
            }
        }
    }
}

async fn delete_condemned<Item: Send + Sync + 'static>(
    shared: &Shared<Item>,
    spiller: &Spiller<Item>,
) -> Result<(), StoreError> {
    let condemned = shared.queue.lock().ledger.condemned();
    let mut result = Ok(());
    for name in condemned {
        let (store, object) = (Arc::clone(&spiller.spill.store), name.clone());
        let deleted = match &result {
            Ok(()) => spawn_blocking(move || store.delete(&object)).await,
            // One failure is enough to wait before the next attempt.
            Err(_) => {
                shared.queue.lock().ledger.condemn(name);
                continue;
            }
        };
        let deleted =
            deleted.unwrap_or_else(|failure| Err(super::failed("delete", &name, failure)));
        if let Err(error) = deleted {
            shared.queue.lock().ledger.condemn(name);
            result = Err(error);
        }
    }
    result
}
