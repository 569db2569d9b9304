//! Server-sent events: a tick about twice a second, and a word to clients that were too slow.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::state::LiveState;

/// Sends the ticks: event `tick` with what changed, event `reload` when ticks were missed. Ends after the
/// tick that says that the pipeline has stopped.
pub(super) async fn events(
    State(state): State<Arc<LiveState>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = BroadcastStream::new(state.subscribe());
    // The state is not kept alive by its listeners, so that dropping it ends them.
    let state = Arc::downgrade(&state);
    let mut last = false;
    let ticks = ticks.take_while(move |_| {
        let more = !last;
        last = state.upgrade().is_none_or(|state| state.has_stopped());
        std::future::ready(more)
    });
    let events = ticks.map(|tick| {
        Ok(match tick {
            Ok(body) => Event::default().event("tick").data(body),
            Err(BroadcastStreamRecvError::Lagged(missed)) => {
                Event::default().event("reload").data(missed.to_string())
            }
        })
    });
    // A comment now and then, so that a client that is gone is noticed while nothing happens.
    Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
}
