//! `/metrics`, `/healthz` and `/readyz`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Telemetry;

/// What the health endpoints know.
#[derive(Clone, Debug)]
pub struct Health {
    /// The numbers.
    pub telemetry: Telemetry,
    /// Set once the process was asked to stop.
    pub stopping: Arc<AtomicBool>,
}

/// The endpoints for machines: `/metrics` in Prometheus text, `/healthz` 200 while the process lives,
/// `/readyz` 200 once every partition was read to its end, while nothing is wrong with Kafka, and until a stop
/// is requested; otherwise 503 and why. Groups in quarantine are no reason not to be ready, and are told beside.
pub fn admin_router(health: Health) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(health)
}

const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

async fn metrics(State(health): State<Health>) -> Response {
    match health.telemetry.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn ready(State(health): State<Health>) -> (StatusCode, String) {
    let problems = health.telemetry.kafka_problems();
    let (is_ready, said) = if health.stopping.load(Ordering::Relaxed) {
        (false, "stopping\n".to_owned())
    } else if !health.telemetry.caught_up() {
        let what = if problems.is_empty() { "catching up" } else { "catching up, with faults:" };
        (false, std::iter::once(what.to_owned()).chain(problems).fold(String::new(), line))
    } else if problems.is_empty() {
        let ready = std::iter::once("ready".to_owned());
        (true, ready.chain(quarantine(&health.telemetry)).fold(String::new(), line))
    } else {
        (false, problems.into_iter().fold(String::new(), line))
    };
    let code = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, said)
}

/// What is left out, where anything is: no reason not to be ready.
fn quarantine(telemetry: &Telemetry) -> Option<String> {
    let count = telemetry.quarantined();
    let text = format!("groups in quarantine: {count}; the log of the start names them");
    (count > 0).then_some(text)
}

fn line(text: String, line: String) -> String {
    text + &line + "\n"
}
