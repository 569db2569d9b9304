//! Charts: which points each draws, given by hand or taken from a pipeline's statistics and rules.

use serde::Serialize;
use tidewatch_dataflow::config::HumanDuration;
use tidewatch_operators::detect::sustained::Condition;
use tidewatch_operators::feed::{Aggregate, Detector};
use tidewatch_operators::window::WindowConfig;

use crate::config::{PipelineConfig, Statistic};

/// One chart: which points it draws, and how.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Panel {
    /// Its name in the API: `cpu`.
    pub key: String,
    /// What people read: `CPU`.
    pub title: String,
    /// The unit of its values: `%`.
    pub unit: String,
    /// Name of the statistic whose points it draws.
    pub measurement: String,
    /// The window, as the points' label of that name says: `10s`.
    pub window: String,
    /// The field: `mean`.
    pub field: String,
    /// A line across the chart, such as the bound of its rule.
    pub threshold: Option<f64>,
    /// The rules whose incidents are marked in it.
    pub rules: Vec<String>,
}

impl Panel {
    /// A panel of percentages named `title`: field `mean` of the 10 s windows of `measurement`.
    pub fn percent(title: &str, measurement: &str, rules: &[&str], threshold: Option<f64>) -> Self {
        Panel {
            key: measurement.to_owned(),
            title: title.to_owned(),
            unit: "%".to_owned(),
            measurement: measurement.to_owned(),
            window: "10s".to_owned(),
            field: "mean".to_owned(),
            threshold,
            rules: rules.iter().map(|rule| (*rule).to_owned()).collect(),
        }
    }
}

/// One panel for each statistic of `config` that is grouped by host and nothing else, in its order.
pub(super) fn of(config: &PipelineConfig) -> Vec<Panel> {
    let by_host = |statistic: &&Statistic| statistic.selector.group_by == ["host"];
    config.statistics.iter().filter(by_host).filter_map(|s| panel(config, s)).collect()
}

fn panel(config: &PipelineConfig, statistic: &Statistic) -> Option<Panel> {
    let spec = &statistic.spec;
    // Tumbling windows before sliding ones, short ones before long ones: the closest to the samples.
    let finest = |window: &&WindowConfig| (window.slide != window.size, window.size);
    let window = spec.windows.iter().min_by_key(finest)?;
    let mean = spec.aggregates.iter().find(|aggregate| **aggregate == Aggregate::Mean);
    let field = mean.or(spec.aggregates.first())?;
    let watching = config.rules.iter().filter(|rule| {
        let (rule, shown) = (&rule.selector, &statistic.selector);
        (&rule.measurement, &rule.field, &rule.group_by)
            == (&shown.measurement, &shown.field, &shown.group_by)
    });
    let bounds = watching.clone().filter_map(|rule| match &rule.spec.detector {
        Detector::Sustained(sustained) => Some(match sustained.condition {
            Condition::Above(bound) | Condition::Below(bound) => bound,
        }),
        Detector::Burst(_) | Detector::Anomaly(_) => None,
    });
    Some(Panel {
        key: spec.name.to_string(),
        title: title(&spec.name),
        unit: unit(&statistic.selector.field, *field).to_owned(),
        measurement: spec.name.to_string(),
        window: window_label(window),
        field: field.as_str().to_owned(),
        threshold: bounds.into_iter().next(),
        rules: watching.map(|rule| rule.spec.name.to_string()).collect(),
    })
}

/// The window as the points' label has it.
fn window_label(window: &WindowConfig) -> String {
    let text = |duration| HumanDuration::from(duration).to_string();
    if window.size == window.slide {
        text(window.size)
    } else {
        format!("{}/{}", text(window.size), text(window.slide))
    }
}

/// What people call a statistic of that name.
fn title(name: &str) -> String {
    match name {
        "cpu" => "CPU".to_owned(),
        "mem" => "Memory".to_owned(),
        name => {
            let mut letters = name.chars();
            let first = letters.next().map(|first| first.to_uppercase().to_string());
            first.unwrap_or_default() + &letters.as_str().replace('_', " ")
        }
    }
}

/// Telegraf's names say it: `used_percent`, and `usage_...` of processors.
fn unit(field: &str, aggregate: Aggregate) -> &'static str {
    let percentage = field.ends_with("percent") || field.starts_with("usage_");
    let same_unit = matches!(aggregate, Aggregate::Mean | Aggregate::Min | Aggregate::Max);
    if percentage && same_unit { "%" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pipeline_of_the_demo_has_the_panels_of_the_default() {
        let config = crate::config::parse(crate::demo::config::TEXT, "demo.toml").unwrap();
        assert_eq!(of(&config), super::super::LiveConfig::default().panels);
    }

    #[test]
    fn names_and_units_are_for_people() {
        assert_eq!((title("disk_io"), title("mem")), ("Disk io".to_owned(), "Memory".to_owned()));
        assert_eq!(unit("used_percent", Aggregate::Mean), "%");
        assert_eq!(unit("used_percent", Aggregate::Count), "");
        assert_eq!(unit("load1", Aggregate::Max), "");
    }

    #[test]
    fn windows_are_named_as_in_points() {
        let window = |size, slide| WindowConfig {
            size: std::time::Duration::from_secs(size),
            slide: std::time::Duration::from_secs(slide),
            allowed_lateness: std::time::Duration::ZERO,
        };
        assert_eq!(window_label(&window(10, 10)), "10s");
        assert_eq!(window_label(&window(300, 10)), "5m/10s");
    }
}
