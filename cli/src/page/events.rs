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

#[cfg(test)]
mod tests {
    use axum::body::BodyDataStream;
    use axum::response::IntoResponse as _;

    use super::super::state::{LiveConfig, Phase, Status};
    use super::*;

    async fn stream(state: &Arc<LiveState>) -> BodyDataStream {
        events(State(Arc::clone(state))).await.into_response().into_body().into_data_stream()
    }

    async fn next(stream: &mut BodyDataStream) -> Option<String> {
        let within = tokio::time::timeout(Duration::from_secs(20), stream.next());
        let frame = within.await.expect("an event within 20 s")?.unwrap();
        Some(String::from_utf8(frame.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_client_that_was_too_slow_is_told_to_load_anew() {
        let state = LiveState::new(LiveConfig::default());
        let mut slow = stream(&state).await;
        for _ in 0..100 {
            state.tick();
        }
        let first = next(&mut slow).await.unwrap();
        assert!(first.starts_with("event: reload\n"), "{first}");
        let second = next(&mut slow).await.unwrap();
        assert!(
            second.starts_with("event: tick\ndata: {\"status\":{"),
            "and then goes on: {second}"
        );
    }

    #[tokio::test]
    async fn the_stream_ends_when_the_pipeline_has_stopped() {
        let state = LiveState::new(LiveConfig::default());
        let mut events = stream(&state).await;
        next(&mut events).await.unwrap();
        state.set_status(Status { phase: Phase::Stopped, ..Status::default() });
        let mut last = String::new();
        while let Some(event) = next(&mut events).await {
            last = event;
        }
        assert!(last.contains("\"name\":\"stopped\""), "{last}");
    }
}
