//! The pipeline: sources, dataflow and outputs put together.
//!
//! ```text
//!  reader ─► ingest ─► fold ══exchange══► detect ─┬─► points ────────────► stores
//!              │ │       └─► late ─┐              └─► transitions ═► worker 0 ─► log ─► channels
//!              │ └─► dead letters ─┴─► dead letters                            └─► active incidents
//!              └───► log lines, raw points ──────────────────────────────► stores     (differential)
//! ```
//!
//! [`spec`] says what a pipeline is, [`worker`] begins and drives it on one worker, `build` wires it, [`running`] on all
//! workers of a process, [`outputs`] is what it writes to, [`durability`] what survives it.

mod build;
pub mod durability;
pub mod outputs;
mod quarantine;
mod raw;
pub mod running;
pub mod spec;
pub mod worker;

pub use durability::{Durability, DurabilityError, Resumption, StoreDurability};
pub use outputs::{Durable, Outputs};
pub use raw::RawPoints;
pub use running::{PipelineError, Running, start};
pub use spec::{PipelineSpec, TimeSpec};
pub use worker::{PipelineCounters, Shared, Sources};
