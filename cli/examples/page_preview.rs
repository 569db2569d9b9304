//! The live page with the simulated fleet behind it and nothing else: for work on the page.
//!
//! `cargo run --example page_preview -- PORT [HOSTS [SECONDS OF CATCHING UP]]` serves until it is ended;
//! without a port it plays the half hour into the page on any free one, checks it, and ends.

#[path = "../tests/page_support/mod.rs"]
mod page_support;

use std::future::IntoFuture as _;
use std::sync::Arc;
use std::time::Duration;

use page_support::Player;
use tidewatch::demo::fleet::{BACKLOG, Fleet};
use tidewatch::page::{LiveConfig, LiveState, Phase, router};
use tidewatch_dataflow::time::Clock;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let number = |at: usize| std::env::args().nth(at).and_then(|text| text.parse::<u64>().ok());
    let port = u16::try_from(number(1).unwrap_or(0))?;
    let hosts = usize::try_from(number(2).unwrap_or(100))?;
    let catching_up = number(3).unwrap_or(3).max(1);

    let state = LiveState::new(LiveConfig::default());
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let served = tokio::spawn(axum::serve(listener, router(Arc::clone(&state))).into_future());
    let shown = Arc::clone(&state);

    let start = Clock::System.now();
    let mut player = Player::new(Fleet::new(1, hosts, start), state);
    let steps = catching_up * 10;
    for step in 1..=steps {
        let left = BACKLOG.as_secs_f64() * (1.0 - step as f64 / steps as f64);
        let percent = Some(100.0 * step as f64 / steps as f64);
        let until = start.saturating_sub(Duration::from_secs_f64(left));
        player.play(until, Phase::CatchingUp { percent })?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    if number(1).is_none() {
        assert_eq!(shown.hosts().len(), hosts, "every host of the fleet is on the page");
        return Ok(());
    }
    while !served.is_finished() {
        player.play(Clock::System.now(), Phase::Live)?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(served.await??)
}
