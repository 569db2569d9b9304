//! The HTTP server of a service: page, API, metrics and health on one address.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::runtime;

use crate::page::{self, LiveState};
use crate::telemetry::{Health, admin_router};

/// Serves on `listen` until the process ends; returns the address, which tells the port when it was 0.
pub(super) fn serve(
    listen: SocketAddr,
    health: Health,
    live: &Arc<LiveState>,
    runtime: &runtime::Handle,
) -> anyhow::Result<SocketAddr> {
    let attempt = || format!("could not listen on `{listen}`: choose another `[http] listen`");
    let listener = runtime.block_on(TcpListener::bind(listen)).with_context(attempt)?;
    let address = listener.local_addr().with_context(attempt)?;
    let router = admin_router(health).merge(page::router(Arc::clone(live)));
    runtime.spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the HTTP server ended");
        }
    });
    tracing::info!(%address, "serving page, API and metrics");
    Ok(address)
}
