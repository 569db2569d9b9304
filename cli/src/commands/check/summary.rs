//! What a pipeline file would do, in a screenful.

use std::fmt;

use tidewatch_connectors::sinks::ReceiverConfig;
use tidewatch_dataflow::config::{HumanDuration, Secret};
use tidewatch_dataflow::time::PaneSize;
use tidewatch_operators::feed::Selector;

use crate::config::{CheckpointConfig, PipelineConfig};

/// A summary for people: titles at the left, one line for each thing.
#[derive(Clone, Debug)]
pub struct Summary(Vec<(&'static str, String)>);

impl Summary {
    /// The summary of `config`.
    pub fn of(config: &PipelineConfig) -> Self {
        let mut lines = Vec::new();
        lines.push(("kafka", config.kafka.brokers.join(", ")));
        lines.extend(sources(config));
        lines.extend(statistics(config));
        lines.extend(rules(config));
        lines.extend(
            config
                .receivers
                .iter()
                .map(|(name, receiver)| ("receivers", format!("{name}: {}", channels(receiver)))),
        );
        lines.extend(sinks(config));
        lines.push((
            "dead letters",
            match &config.dead_letters {
                Some(topic) => format!("topic {topic}"),
                None => "counted and logged only".to_owned(),
            },
        ));
        if let Some(file) = &config.inventory_file {
            let entries = config.inventory.entries.len();
            lines.push(("inventory", format!("{} ({entries} entries)", file.display())));
        }
        lines.extend(config.secrets.iter().map(|secret| ("secrets", place(secret))));
        lines.push(("state", state(&config.checkpoint)));
        lines.push(("page", format!("http://{}", config.listen)));
        lines.push(("work", work(config)));
        Summary(lines)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = "";
        for (title, line) in &self.0 {
            // A title stands once before all its lines.
            writeln!(f, "{:<13} {line}", if *title == last { "" } else { title })?;
            last = title;
        }
        Ok(())
    }
}

fn duration(duration: std::time::Duration) -> HumanDuration {
    HumanDuration::from(duration)
}

fn sources(config: &PipelineConfig) -> impl Iterator<Item = (&'static str, String)> {
    config.sources.iter().map(|source| {
        let format = format!("{:?}", source.format.format);
        (
            "sources",
            format!("{} ({}, {} partitions)", source.topic, snake(&format), source.partitions),
        )
    })
}

/// `TelegrafJson` as the file writes it: `telegraf_json`.
fn snake(camel: &str) -> String {
    let mut snake = String::new();
    for c in camel.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

fn statistics(config: &PipelineConfig) -> impl Iterator<Item = (&'static str, String)> {
    config.statistics.iter().map(|statistic| {
        let windows: Vec<String> = statistic
            .spec
            .windows
            .iter()
            .map(|window| match window.slide == window.size {
                true => duration(window.size).to_string(),
                false => format!("{} every {}", duration(window.size), duration(window.slide)),
            })
            .collect();
        let aggregates: Vec<&str> = statistic.spec.aggregates.iter().map(|a| a.as_str()).collect();
        let line = format!(
            "{}: {} of {} over {}, in panes of {}",
            statistic.spec.name,
            aggregates.join(", "),
            selected(&statistic.selector),
            windows.join(", "),
            duration(statistic.pane.duration()),
        );
        ("statistics", line)
    })
}

fn rules(config: &PipelineConfig) -> impl Iterator<Item = (&'static str, String)> {
    config.rules.iter().map(|rule| {
        let told = match rule.receivers.as_slice() {
            [] => "nobody".to_owned(),
            receivers => receivers.join(", "),
        };
        let line = format!(
            "{} ({}): {}{}; tells {told}",
            rule.spec.name,
            rule.spec.severity.as_str(),
            rule.spec.summary,
            grouped(&rule.selector),
        );
        ("rules", line)
    })
}

/// `cpu.usage_active where cpu = cpu-total by host`
fn selected(selector: &Selector) -> String {
    let filters: Vec<String> = selector
        .filters
        .iter()
        .map(|(label, values)| format!("{label} = {}", values.join(" or ")))
        .collect();
    let filters = match filters.as_slice() {
        [] => String::new(),
        filters => format!(" where {}", filters.join(" and ")),
    };
    format!("{}.{}{filters}{}", selector.measurement, selector.field, grouped(selector))
}

fn grouped(selector: &Selector) -> String {
    match selector.group_by.as_slice() {
        [] => ", all together".to_owned(),
        labels => format!(" by {}", labels.join(", ")),
    }
}

fn channels(receiver: &ReceiverConfig) -> String {
    let ReceiverConfig { console, slack, email, pagerduty } = receiver;
    let mut channels = Vec::new();
    channels.extend(console.then(|| "console".to_owned()));
    channels.extend(slack.as_ref().map(|_| "Slack".to_owned()));
    channels.extend(email.as_ref().map(|email| format!("mail to {}", email.to.join(", "))));
    channels.extend(pagerduty.as_ref().map(|_| "PagerDuty".to_owned()));
    if channels.is_empty() { "nobody".to_owned() } else { channels.join("; ") }
}

fn sinks(config: &PipelineConfig) -> Vec<(&'static str, String)> {
    let sinks = &config.sinks;
    let mut lines = Vec::new();
    lines.extend(sinks.influxdb.as_ref().map(|influx| {
        format!("metrics to InfluxDB {}, bucket {}/{}", influx.url, influx.org, influx.bucket)
    }));
    lines.extend(
        sinks.influxdb1.as_ref().map(|influx| {
            format!("metrics to InfluxDB {}, database {}", influx.url, influx.database)
        }),
    );
    lines.extend(
        sinks
            .prometheus
            .as_ref()
            .map(|prometheus| format!("metrics by remote write to {}", prometheus.url)),
    );
    lines.extend(sinks.elasticsearch.as_ref().map(|elastic| {
        let kept = match elastic.retention.get() {
            kept if kept.is_zero() => "never deleted".to_owned(),
            _ => format!("kept for {}", elastic.retention),
        };
        let (url, index) = (&elastic.url, &elastic.index);
        format!("logs to Elasticsearch {url}, indices {index}-YYYY.MM.DD, {kept}")
    }));
    lines.extend(
        sinks
            .sqlite
            .as_ref()
            .map(|sqlite| format!("metrics and logs to SQLite {}", sqlite.path.display())),
    );
    if lines.is_empty() {
        lines.push("none".to_owned());
    }
    lines.into_iter().map(|line| ("sinks", line)).collect()
}

/// Where a secret comes from, and whether it is there now: a hint only, since the pipeline may run
/// elsewhere.
fn place(secret: &Secret) -> String {
    let absent = if secret.reveal().is_ok() { "" } else { " (not here now)" };
    match secret {
        Secret::Env(name) => format!("variable {name}{absent}"),
        Secret::File(path) => format!("file {path}{absent}"),
        Secret::Given(_) => "given by the program".to_owned(),
    }
}

/// `state of tidewatch in /var/lib/tidewatch, every 10s, 3 kept`
fn state(checkpoint: &CheckpointConfig) -> String {
    let CheckpointConfig { enabled, store, pipeline, interval, keep, .. } = checkpoint;
    match enabled {
        true => format!("{pipeline} in {store}, every {}, {keep} kept", duration(*interval)),
        false => "not kept: a restart begins anew".to_owned(),
    }
}

/// How much is computed, for each group of a feed, whatever the traffic.
fn work(config: &PipelineConfig) -> String {
    let mut feeds: Vec<(&Selector, PaneSize)> = Vec::new();
    let statistics = config.statistics.iter().map(|s| (&s.selector, s.pane));
    for feed in statistics.chain(config.rules.iter().map(|r| (&r.selector, r.pane))) {
        if !feeds.contains(&feed) {
            feeds.push(feed);
        }
    }
    let per_minute = |size: std::time::Duration| 60.0 / size.as_secs_f64();
    let panes: f64 = feeds.iter().map(|(_, pane)| per_minute(pane.duration())).sum();
    let windows = config.statistics.iter().flat_map(|statistic| &statistic.spec.windows);
    let windows: f64 = windows.map(|window| per_minute(window.slide)).sum();
    format!(
        "{} feeds close {} panes a minute for each of their groups, {} windows fire; time moves in ticks of {}",
        feeds.len(),
        rounded(panes),
        rounded(windows),
        duration(config.tick().duration()),
    )
}

/// With at most two decimals, and none where there are none.
fn rounded(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
