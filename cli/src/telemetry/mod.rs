//! What tidewatch says of itself: metrics, health and readiness over HTTP.

mod collector;
mod names;
mod server;

pub use collector::{Opened, Telemetry};
pub use names::METRICS;
pub use server::{Health, admin_router};
