//! Ticks: what changed, told to all clients at once about twice a second.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::broadcast;

use super::logs::RateView;
use super::series::Fresh;
use super::{LiveState, Phase, StatusView};

/// How often a tick is sent while somebody listens.
const EVERY: Duration = Duration::from_millis(500);

/// The body of a tick.
#[derive(Debug, Serialize)]
struct Tick<'a> {
    status: StatusView,
    #[serde(flatten)]
    fresh: Fresh<'a>,
    rate: Vec<RateView>,
}

impl LiveState {
    /// Everything that changed since the last tick, as JSON; sent to all who listen.
    ///
    /// Called by the task that [`LiveState::subscribe`] starts; a test may call it instead.
    pub fn tick(&self) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let status = self.status_of(inner);
        let rate = inner.logs.take_changed();
        let tick = Tick { status, fresh: inner.hosts.take_fresh(&self.panels), rate };
        // Numbers, names and finite values always serialise.
        let body: Arc<str> = serde_json::to_string(&tick).unwrap_or_default().into();
        drop(guard);
        // Nobody listening is no error.
        let _ = self.ticks.send(body);
    }

    /// The ticks from now on. Starts the task that sends them, on the present runtime, if it does not
    /// run; it ends with the last listener.
    pub fn subscribe(self: &Arc<Self>) -> broadcast::Receiver<Arc<str>> {
        let receiver = self.ticks.subscribe();
        if !self.ticking.swap(true, Ordering::AcqRel) {
            // What changed while nobody listened is in what a client loads first.
            let mut guard = self.lock();
            drop(guard.hosts.take_fresh(&self.panels));
            drop(guard.logs.take_changed());
            drop(guard);
            let state = Arc::downgrade(self);
            tokio::spawn(async move {
                let mut every = tokio::time::interval(EVERY);
                loop {
                    every.tick().await;
                    let Some(state) = state.upgrade() else { return };
                    if state.rests() {
                        return;
                    }
                    state.tick();
                }
            });
        }
        receiver
    }

    /// Whether the ticking task may end: nobody listens. Decided so that a listener who comes at this
    /// moment either is seen here or finds that the task must be started again.
    fn rests(&self) -> bool {
        if self.ticks.receiver_count() > 0 {
            return false;
        }
        self.ticking.swap(false, Ordering::AcqRel);
        self.ticks.receiver_count() == 0 || self.ticking.swap(true, Ordering::AcqRel)
    }

    /// Whether the pipeline has stopped, so that no more ticks are worth waiting for.
    pub fn has_stopped(&self) -> bool {
        self.lock().status.phase == Phase::Stopped
    }
}
