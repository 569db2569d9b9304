//! The data behind the page, as JSON. Every answer is bounded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidewatch_connectors::sinks::sqlite::{LogQuery, SeriesQuery, SqliteError, SqliteStore};
use tidewatch_dataflow::record::Level;
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::EventTime;

use super::state::{
    AlertsView, HostView, LEVEL_NAMES, LOG_STEP, LineView, LiveState, Panel, StatusView,
};

/// The longest time a chart shows: a week.
const MINUTES_MAX: u64 = 7 * 24 * 60;
/// A chart shows this many points at most; more would not be seen.
const POINTS_MAX: usize = 720;
/// A search shows this many lines at most.
const LINES_MAX: usize = 500;
/// A search text is cut at this many bytes.
const QUERY_MAX: usize = 300;

/// A request that cannot be answered.
#[derive(Debug)]
pub(super) struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<SqliteError> for Refusal {
    fn from(error: SqliteError) -> Self {
        tracing::warn!(%error, "the store did not answer the page");
        Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}

/// Asks the store on a thread for blocking work.
async fn ask<T: Send + 'static>(
    store: &SqliteStore,
    question: impl FnOnce(&SqliteStore) -> Result<T, SqliteError> + Send + 'static,
) -> Result<T, Refusal> {
    let store = store.clone();
    match tokio::task::spawn_blocking(move || question(&store)).await {
        Ok(answer) => Ok(answer?),
        Err(error) => Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

/// `GET /api/status`: progress, and the charts there are.
pub(super) async fn status(State(state): State<Arc<LiveState>>) -> Json<impl Serialize> {
    #[derive(Serialize)]
    struct Answer {
        #[serde(flatten)]
        status: StatusView,
        panels: Vec<Panel>,
        /// Whether all logs can be searched, or only the most recent ones.
        stored: bool,
        version: &'static str,
    }
    Json(Answer {
        status: state.status(),
        panels: state.panels().to_vec(),
        stored: state.store().is_some(),
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// `GET /api/hosts`: all hosts with their newest values.
pub(super) async fn hosts(State(state): State<Arc<LiveState>>) -> Json<Vec<HostView>> {
    Json(state.hosts())
}

/// `GET /api/alerts`: open and past alerts.
pub(super) async fn alerts(State(state): State<Arc<LiveState>>) -> Json<AlertsView> {
    Json(state.alerts())
}

/// What `/api/series` is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct SeriesParams {
    host: String,
    /// How far back; 30 unless said.
    minutes: Option<u64>,
}

/// `GET /api/series?host=web-1&minutes=30`: the points of one host for every panel.
pub(super) async fn series(
    State(state): State<Arc<LiveState>>,
    Query(params): Query<SeriesParams>,
) -> Result<Json<impl Serialize>, Refusal> {
    #[derive(Serialize)]
    struct Answer {
        host: String,
        from: u64,
        to: u64,
        series: BTreeMap<String, Vec<(u64, f64)>>,
    }
    let minutes = params.minutes.unwrap_or(30).clamp(1, MINUTES_MAX);
    let to = state.now();
    let from = to.saturating_sub(Duration::from_secs(60 * minutes));
    let host = params.host;
    let Some(mut lines) = state.series(&host, from) else {
        return Err(Refusal(StatusCode::NOT_FOUND, "no host of that name has sent points".into()));
    };
    if let Some(store) = state.store().filter(|_| !state.reaches(&host, from)) {
        for (panel, line) in state.panels().iter().zip(&mut lines) {
            let query = SeriesQuery {
                measurement: panel.measurement.clone(),
                labels: Labels::from_pairs([("host", &host), ("window", &panel.window)]),
                field: panel.field.clone(),
                from,
                // The newest points may not be in the store yet.
                to: line.first().map_or(to, |first| EventTime::from_millis(first.0)),
                points: POINTS_MAX,
            };
            let mut older = ask(store, move |store| store.series(&query)).await?;
            older.append(line);
            *line = older;
        }
    }
    let keys = state.panels().iter().map(|panel| panel.key.clone());
    let series = keys.zip(lines.into_iter().map(thin)).collect();
    Ok(Json(Answer { host, from: from.as_millis(), to: to.as_millis(), series }))
}

/// At most [`POINTS_MAX`] points: neighbours are averaged.
fn thin(points: Vec<(u64, f64)>) -> Vec<(u64, f64)> {
    let step = points.len().div_ceil(POINTS_MAX).max(1);
    if step == 1 {
        return points;
    }
    let mean = |chunk: &[(u64, f64)]| {
        let sum: f64 = chunk.iter().map(|point| point.1).sum();
        Some((chunk.last()?.0, sum / chunk.len() as f64))
    };
    points.chunks(step).filter_map(mean).collect()
}

/// What `/api/logs` is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct LogParams {
    /// The words looked for; any line when absent.
    q: Option<String>,
    /// The least level; any when absent.
    level: Option<String>,
    /// How many lines; 100 unless said.
    limit: Option<usize>,
}

/// `GET /api/logs?q=timed+out&level=WARN&limit=100`: the newest lines that match.
pub(super) async fn logs(
    State(state): State<Arc<LiveState>>,
    Query(params): Query<LogParams>,
) -> Result<Json<Vec<LineView>>, Refusal> {
    let limit = params.limit.unwrap_or(100).min(LINES_MAX);
    let text: String = params.q.unwrap_or_default().chars().take(QUERY_MAX).collect();
    let level = params.level.as_deref().filter(|level| !level.is_empty()).map(named).transpose()?;
    let level = level.unwrap_or(Level::Trace);
    let Some(store) = state.store() else {
        return Ok(Json(state.recent_lines(&text, level, limit)));
    };
    let query = LogQuery::parse(&text).at_least(level);
    let found = ask(store, move |store| store.logs(&query, limit)).await?;
    let lines = found.into_iter().map(|line| LineView {
        time: line.time,
        level: line.level,
        host: line.host,
        service: line.service,
        message: line.message,
    });
    Ok(Json(lines.collect()))
}

/// The level of that name.
fn named(name: &str) -> Result<Level, Refusal> {
    let levels = [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Fatal];
    let found = levels.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(name));
    let refusal = || format!("`level` must be one of {}", LEVEL_NAMES.join(", "));
    found.ok_or_else(|| Refusal(StatusCode::BAD_REQUEST, refusal()))
}

/// `GET /api/log-rate`: lines per level, per step of the last hour.
pub(super) async fn log_rate(State(state): State<Arc<LiveState>>) -> Json<impl Serialize> {
    Json(json!({
        "step": LOG_STEP.as_millis() as u64,
        "levels": LEVEL_NAMES,
        "rate": state.log_rate(),
    }))
}
