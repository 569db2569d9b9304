//! The types of the pipeline file as it is written: what serde reads, before anything is checked.
//!
//! Every field says what it means, its unit, its default and why that is the default; the reference in
//! `docs/configuration.md` is kept complete by a test. What a running pipeline uses is resolved from
//! these: see [`super::PipelineConfig`].

mod checkpoint;
mod filters;
mod other;
mod rule;
mod sink;
mod source;
mod start;
mod statistic;
mod time;

pub use checkpoint::CheckpointSection;
pub use filters::{Filters, OneOrMore};
pub use other::{DeadLettersSection, HttpSection, InventorySection, LimitsSection};
pub use rule::{AnomalySection, ErrorBurstSection, RuleCommon, RuleKind, SustainedSection};
pub use sink::SinksSection;
pub use source::{LabelsFrom, SourceSection};
pub use start::Start;
pub use statistic::{StatisticSection, WindowSection};
pub use time::TimeSection;
