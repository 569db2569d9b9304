//! `[checkpoint]`: state that survives a restart.

use std::time::Duration;

use serde::Deserialize;
use tidewatch_dataflow::config::HumanDuration;
use tidewatch_operators::feed::OnChange;

/// `[checkpoint]`: where the state is kept, how often, and how much of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointSection {
    /// Whether state is kept at all. Without it a restart begins as `start` of `[time]` says, and what sinks
    /// have not taken is lost. Default true.
    #[serde(default = "default_enabled")]
    pub enabled: bool,
    /// A folder, or `s3://bucket/prefix`. A relative path starts at the folder of the pipeline file. Default
    /// `tidewatch-state`.
    #[serde(default = "default_store")]
    pub store: String,
    /// Address of a service other than Amazon's that speaks S3. Default: that of the environment.
    pub endpoint: Option<String>,
    /// Region of the bucket. Default: that of the environment, else `us-east-1`.
    pub region: Option<String>,
    /// Whose state it is; state of another name is refused. Default `tidewatch`.
    #[serde(default = "default_pipeline")]
    pub pipeline: String,
    /// How often a checkpoint is written, by the clock on the wall; at least 1 s. Default 10 s: what is read
    /// again after a crash is read in less than a second.
    #[serde(default = "default_interval")]
    pub interval: HumanDuration,
    /// How many checkpoints are kept, from 1 to 1,000. Default 3: one that is read while the next is written,
    /// and one more.
    #[serde(default = "default_keep")]
    pub keep: u32,
    /// What becomes of the state of rules, windows and models that have changed: `"reset"` or `"carry"`.
    /// Default `"reset"`: no alert comes from state that another rule has made.
    #[serde(default)]
    pub on_change: OnChange,
}

fn default_enabled() -> bool {
    true
}

fn default_store() -> String {
    "tidewatch-state".to_owned()
}

fn default_pipeline() -> String {
    "tidewatch".to_owned()
}

fn default_interval() -> HumanDuration {
    Duration::from_secs(10).into()
}

fn default_keep() -> u32 {
    3
}
