//! Relative paths start at the folder of the pipeline file, wherever the process was started.

use std::path::{Path as FilePath, PathBuf};

use tidewatch_dataflow::config::Secret;

use crate::config::resolved::PipelineConfig;

/// Lets all paths in `config` start at `folder`, those of secrets too. Absolute ones stay as they are.
pub(super) fn anchor(config: &mut PipelineConfig, folder: &FilePath) {
    let security = &mut config.kafka.security;
    for text in [&mut security.ca, &mut security.certificate, &mut security.key] {
        text.iter_mut().for_each(|text| anchor_text(text, folder));
    }
    let mut paths: Vec<&mut PathBuf> = Vec::new();
    paths.extend(&mut config.inventory_file);
    let mut secrets: Vec<&mut Secret> = Vec::new();
    secrets.extend(&mut security.password);
    secrets.extend(&mut security.key_password);
    if let Some(influx) = &mut config.sinks.influxdb {
        secrets.push(&mut influx.token);
    }
    if let Some(influx) = &mut config.sinks.influxdb1 {
        secrets.extend(&mut influx.password);
    }
    if let Some(prometheus) = &mut config.sinks.prometheus {
        secrets.extend(&mut prometheus.password);
        secrets.extend(&mut prometheus.token);
    }
    if let Some(elastic) = &mut config.sinks.elasticsearch {
        secrets.extend(&mut elastic.password);
        secrets.extend(&mut elastic.api_key);
    }
    if let Some(sqlite) = &mut config.sinks.sqlite {
        paths.push(&mut sqlite.path);
    }
    for receiver in config.receivers.values_mut() {
        if let Some(slack) = &mut receiver.slack {
            secrets.push(&mut slack.webhook);
        }
        if let Some(pagerduty) = &mut receiver.pagerduty {
            secrets.push(&mut pagerduty.routing_key);
        }
        if let Some(email) = &mut receiver.email {
            secrets.extend(&mut email.password);
            paths.extend(&mut email.ca);
        }
    }
    secrets.extend(&mut config.secrets);
    for path in paths {
        *path = folder.join(&*path);
    }
    for secret in secrets {
        if let Secret::File(path) = secret {
            anchor_text(path, folder);
        }
    }
}

/// A path that is kept as text. One that cannot be text with its folder stays relative.
fn anchor_text(text: &mut String, folder: &FilePath) {
    if let Some(anchored) = folder.join(&*text).to_str() {
        *text = anchored.to_owned();
    }
}
