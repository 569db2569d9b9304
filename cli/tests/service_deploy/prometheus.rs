//! A real Prometheus with the shipped configuration and rules, and promtool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tidewatch_testkit::free_ports;
use tidewatch_testkit::http::client;

use crate::world::{Program, World, deploy, now, replaced, shipped};

/// The server and its tool.
pub struct Server {
    _program: Program,
    url: String,
    promtool: PathBuf,
}

/// The program whose path is in the file `name` of an artifact.
pub fn named(folder: &Path, name: &str) -> PathBuf {
    PathBuf::from(fs::read_to_string(folder.join(name)).unwrap().trim())
}

impl Server {
    /// Starts it with the shipped configuration; its one target is tidewatch at `port`.
    pub fn start(installed: &Path, port: u16, folder: &Path) -> Self {
        let own = folder.join("prometheus");
        fs::create_dir(&own).unwrap();
        let config = replaced(
            &shipped("prometheus/prometheus.yml"),
            &[
                (r#"["tidewatch-0:9464", "tidewatch-1:9464"]"#, &format!("[\"127.0.0.1:{port}\"]")),
                ("scrape_interval: 10s", "scrape_interval: 1s"),
                ("evaluation_interval: 10s", "evaluation_interval: 1s"),
            ],
        );
        fs::write(own.join("prometheus.yml"), config).unwrap();
        fs::copy(deploy().join("prometheus/rules.yaml"), own.join("rules.yaml")).unwrap();
        let listen = format!("127.0.0.1:{}", free_ports(1));
        let mut command = Command::new(named(installed, "prometheus"));
        command.arg(format!("--config.file={}", own.join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", own.join("data").display()));
        command.arg(format!("--web.listen-address={listen}"));
        let program = Program::start("prometheus", &mut command, folder);
        let promtool = named(installed, "promtool");
        Server { _program: program, url: format!("http://{listen}"), promtool }
    }

    /// The answer to an API request, or `Null` when there is none.
    fn ask(&self, path: &str) -> Value {
        let answer = client::get(&format!("{}/api/v1/{path}", self.url), &[]);
        let answer = answer.map(|answer| serde_json::from_str::<Value>(&answer.body));
        let Ok(Ok(answer)) = answer else { return Value::Null };
        if answer["status"] != "success" {
            return Value::String(answer["error"].to_string());
        }
        answer["data"].clone()
    }

    /// How many times tidewatch was scraped.
    pub fn samples(&self) -> usize {
        let data =
            self.ask("query?query=count_over_time(tidewatch_watermark_delay_seconds%5B5m%5D)");
        let count = data["result"][0]["value"][1].as_str().and_then(|text| text.parse().ok());
        count.unwrap_or(0)
    }

    /// The series that `expression` gave over the last ten seconds, each as its labels and values.
    pub fn range(&self, expression: &str) -> Result<Vec<(Value, Vec<f64>)>, String> {
        let end = now() / 1_000;
        let query = client::encoded(expression);
        let path = format!("query_range?query={query}&start={}&end={end}&step=1", end - 10);
        let data = self.ask(&path);
        if let Value::String(error) = &data {
            return Err(error.clone());
        }
        let numbers = |series: &Value| {
            let values = series["values"].as_array().into_iter().flatten();
            values.filter_map(|pair| pair[1].as_str()?.parse().ok()).collect()
        };
        let series = data["result"].as_array().into_iter().flatten();
        Ok(series.map(|series| (series["metric"].clone(), numbers(series))).collect())
    }

    /// The values of `label` in the series of `metric`.
    pub fn label_values(&self, metric: &str, label: &str) -> Vec<String> {
        let path = format!("label/{label}/values?match%5B%5D={}", client::encoded(metric));
        let data = self.ask(&path);
        let values = data.as_array().into_iter().flatten();
        values.filter_map(|value| value.as_str().map(str::to_owned)).collect()
    }
}

/// The shipped rules as promtool sees them, and as they stand in this run.
pub fn check_rules(world: &World, faults: &mut Vec<String>) {
    let folder = deploy().join("prometheus");
    for arguments in [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "rules.yaml"],
        ["test", "rules", "rules_test.yaml"],
    ] {
        let mut command = Command::new(&world.prometheus.promtool);
        let output = command.args(arguments).current_dir(&folder).output().unwrap();
        if !output.status.success() {
            let told = [output.stdout, output.stderr].concat();
            faults.push(format!("promtool {arguments:?}: {}", String::from_utf8_lossy(&told)));
        }
    }
    let groups = world.prometheus.ask("rules");
    let rules: Vec<&Value> = groups["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|group| group["rules"].as_array().into_iter().flatten())
        .collect();
    if rules.len() < 10 {
        faults.push(format!("Prometheus has loaded {} rules", rules.len()));
    }
    for rule in rules {
        // An expression whose metrics do not exist would be well and silent for ever: each has to name some.
        let query = rule["query"].as_str().unwrap();
        let names = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for name in names.filter(|name| name.starts_with("tidewatch_")) {
            if world.prometheus.range(name).map_or(0, |series| series.len()) == 0 {
                faults.push(format!(
                    "rule {}: no series `{name}` in a running program",
                    rule["name"]
                ));
            }
        }
        if rule["state"] == "firing" || rule["health"] != "ok" {
            faults
                .push(format!("rule {} is {} and {}", rule["name"], rule["state"], rule["health"]));
        }
    }
}
