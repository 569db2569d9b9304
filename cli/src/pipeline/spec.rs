//! What a pipeline is, once its configuration is resolved: plain values, no files, no connections.

use std::sync::Arc;
use std::time::Duration;

use tidewatch_dataflow::ingest::IngestConfig;
use tidewatch_dataflow::record::Topics;
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::{Clock, EventTime, PaneSize};
use tidewatch_operators::feed::{Fault, FeedSpec, OnChange};

use super::raw::RawPoints;

/// Settings of time, as [`PipelineSpec::new`] takes them; see [`IngestConfig`] for their meaning.
#[derive(Clone, Debug)]
pub struct TimeSpec {
    /// How far behind the newest record a partition's watermark stays.
    pub out_of_orderness: Duration,
    /// After how long a silent partition is lifted.
    pub idle_timeout: Duration,
    /// How far in the future a record may lie.
    pub future_tolerance: Duration,
    /// How far a partition may lead the frontier.
    pub max_lead: Duration,
    /// Where the present comes from.
    pub clock: Clock,
}

/// A pipeline.
#[derive(Clone, Debug)]
pub struct PipelineSpec {
    /// The topics it reads.
    pub topics: Topics,
    /// How records are admitted.
    pub ingest: IngestConfig,
    /// What is computed.
    pub feeds: Vec<Arc<FeedSpec>>,
    /// What is known of groups: labels that must match, and the labels they bring.
    pub inventory: Vec<(Labels, Labels)>,
    /// Which points are handed out as they were read; `None`: none.
    pub raw: Option<RawPoints>,
    /// The most series a worker keeps.
    pub series_max: usize,
    /// Windows that begin before this are not written: reading began inside them. Of no meaning when a
    /// checkpoint is gone on from.
    pub complete_from: EventTime,
    /// What becomes of the state of rules and windows whose configuration has changed.
    pub on_change: OnChange,
    /// A defect for tests of what becomes of one; `None` in production.
    pub fault: Option<Fault>,
}

/// 4 million points of 40 bytes and one number of 16 each are 224 MB a worker.
const OPEN_POINTS_MAX: u64 = 4_000_000;

impl PipelineSpec {
    /// A pipeline over `topics` that computes `feeds`, without an inventory.
    pub fn new(topics: Topics, time: TimeSpec, feeds: Vec<FeedSpec>) -> Self {
        let panes = feeds.iter().map(|feed| feed.pane);
        let tick = PaneSize::tick(panes.clone());
        let grid = panes.clone().reduce(PaneSize::lcm).unwrap_or(tick);
        let longest = panes.map(PaneSize::duration).max().unwrap_or_default();
        let ingest = IngestConfig {
            out_of_orderness: time.out_of_orderness,
            idle_timeout: time.idle_timeout,
            future_tolerance: time.future_tolerance,
            // Several panes, or the operators' one pane of delay would hold the sources for ever.
            max_lead: time.max_lead.max(longest * 4),
            open_points_max: OPEN_POINTS_MAX,
            tick,
            grid,
            clock: time.clock,
        };
        let feeds = feeds.into_iter().map(Arc::new).collect();
        PipelineSpec {
            topics,
            ingest,
            feeds,
            inventory: Vec::new(),
            raw: None,
            series_max: 1_000_000,
            complete_from: EventTime::MIN,
            on_change: OnChange::Reset,
            fault: None,
        }
    }
}
