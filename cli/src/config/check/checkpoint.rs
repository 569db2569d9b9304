//! Checks of `[checkpoint]`.

use std::path::Path as FilePath;
use std::time::Duration;

use tidewatch_connectors::state::Location;

use super::common::{found_wrong, name};
use super::sink::in_the_clear;
use crate::config::file::CheckpointSection;
use crate::config::report::Scope;
use crate::config::resolved::CheckpointConfig;

/// The shortest interval: cuts lie at ends of panes, and those are a second apart at least.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// With a longer interval than this a crash costs more reading again than checkpoints do.
const INTERVAL_USUAL: Duration = Duration::from_secs(600);

/// More checkpoints than this are no safety, only space and long listings.
const KEEP_MAX: u32 = 1_000;

/// Checks `[checkpoint]`, and resolves it; a relative store starts at `folder`. `None` when the store is none.
pub(super) fn checkpoint(
    scope: &mut Scope<'_, '_, '_>,
    section: &CheckpointSection,
    folder: &FilePath,
) -> Option<CheckpointConfig> {
    name(scope, "pipeline", &section.pipeline);
    if section.interval.get() < INTERVAL_MIN {
        scope.error(
            &["interval"],
            format!("checkpoints every {} are more often than time moves", section.interval),
            "write \"1s\" or more; \"10s\" is usual",
        );
    } else if section.interval.get() > INTERVAL_USUAL {
        scope.warning(
            &["interval"],
            format!("after a crash, up to {} of records is read again", section.interval),
            "a checkpoint of little change costs little: write \"10s\", say",
        );
    }
    if !(1..=KEEP_MAX).contains(&section.keep) {
        scope.error(
            &["keep"],
            format!("{} checkpoints cannot be kept", section.keep),
            format!("write a number from 1 to {KEEP_MAX}; 3 is usual"),
        );
    }
    let store = store(scope, section, folder)?;
    Some(CheckpointConfig {
        enabled: section.enabled,
        store,
        pipeline: section.pipeline.clone(),
        interval: section.interval.get(),
        keep: usize::try_from(section.keep).unwrap_or(usize::MAX),
        on_change: section.on_change,
    })
}

fn store(
    scope: &mut Scope<'_, '_, '_>,
    section: &CheckpointSection,
    folder: &FilePath,
) -> Option<Location> {
    let mut location = match Location::parse(&section.store, folder) {
        Ok(location) => location,
        Err(error) => {
            found_wrong(scope, "store", &error.to_string());
            return None;
        }
    };
    match &mut location {
        Location::Directory(_) => {
            for (key, value) in [("endpoint", &section.endpoint), ("region", &section.region)] {
                if value.is_some() {
                    scope.warning(
                        &[key, "store"],
                        format!("`{key}` has no effect: the store is a folder"),
                        format!("remove `{key}`, or write `store = \"s3://bucket/prefix\"`"),
                    );
                }
            }
        }
        Location::Bucket(bucket) => {
            bucket.endpoint.clone_from(&section.endpoint);
            bucket.region.clone_from(&section.region);
            if let Err(error) = bucket.validate() {
                found_wrong(scope, "endpoint", &error.to_string());
                return None;
            }
            if let Some(endpoint) = &bucket.endpoint {
                in_the_clear(scope, "endpoint", endpoint, "the state");
            }
        }
    }
    Some(location)
}
