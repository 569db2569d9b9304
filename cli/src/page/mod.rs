//! The live page: one page, its data as JSON, and server-sent events.
//!
//! | path | what |
//! | --- | --- |
//! | `/` | the page |
//! | `/static/...` | its style sheet and scripts |
//! | `/api/status` | progress, and the charts there are |
//! | `/api/hosts` | all hosts with their newest values |
//! | `/api/series?host=&minutes=` | the points of one host for every chart |
//! | `/api/alerts` | open and past alerts |
//! | `/api/log-rate` | lines per level over time |
//! | `/api/logs?q=&level=&limit=` | log search |
//! | `/events` | events `tick` (what changed) and `reload` (you were too slow) |
//!
//! Everything the page needs is in the binary, so it works without a network; a content security policy
//! keeps it so. Nothing it shows is ever read as HTML: text from data becomes text nodes.
//!
//! # Why the charts are our own
//!
//! The Rust registry has wrappers of plotly and ECharts, but the one well-kept crate that carries its
//! JavaScript (`plotly`) carries 4.6 MB of it, and 2.1 MB of formula rendering that cannot be left out,
//! with styles that need `unsafe-inline`; the small libraries (uPlot, Chart.js) are there only inside
//! plug-ins of other programs. The page draws lines, stacked bars and nothing else: `chart.js` and
//! `bars.js` are 250 lines of SVG that follow the page's colours, work with keyboard and screen reader,
//! and need no exception from the policy.
//!
//! ```
//! use tidewatch::page::{LiveConfig, LiveState, router};
//! let state = LiveState::new(LiveConfig::default());
//! let router = router(state);
//! # let _: axum::Router = router;
//! ```

mod api;
mod assets;
mod events;
mod sinks;
mod state;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware;
use axum::response::Response;
use axum::routing::get;

pub use sinks::{LiveLogs, LiveMetrics, LiveTransitions};
pub use state::{
    AlertView, AlertsView, HostView, LOG_STEP, LineView, LiveConfig, LiveState, Panel, Phase,
    RateView, SILENT_AFTER, Status, StatusView,
};

/// What the page may do: load from where it came from, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page over `state`. It has no access control: serve it on a loopback or private address, or behind
/// something that asks who is there.
pub fn router(state: Arc<LiveState>) -> Router {
    Router::new()
        .route("/", get(assets::index))
        .route("/static/{name}", get(assets::file))
        .route("/api/status", get(api::status))
        .route("/api/hosts", get(api::hosts))
        .route("/api/series", get(api::series))
        .route("/api/alerts", get(api::alerts))
        .route("/api/log-rate", get(api::log_rate))
        .route("/api/logs", get(api::logs))
        .route("/events", get(events::events))
        .layer(middleware::map_response(guarded))
        .with_state(state)
}

/// Adds the headers that every answer has.
async fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
