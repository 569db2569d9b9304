//! The whole service in a process of its own, from a pipeline file: what `tidewatch run` starts and watches. Here
//! the workload watches it, through its page for machines and through what the kernel knows of it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use tidewatch::cluster::{Membership, abort_on_panic, stop_on_signal};
use tidewatch::config;
use tidewatch::service::{Service, ServiceOptions};
use tidewatch_testkit::http::client;

use super::process::again;

/// Arguments of the process that is a service.
#[derive(Debug, Args)]
pub(crate) struct MemberArgs {
    #[arg(long)]
    config: PathBuf,
}

/// Runs the service until it is stopped or killed; says first where its page is.
pub(crate) fn run(args: &MemberArgs) -> anyhow::Result<()> {
    abort_on_panic();
    let config = config::load(&args.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let options = ServiceOptions {
        membership: Membership::alone(NonZeroUsize::MIN),
        stop: stop_on_signal(runtime.handle())?,
        serve: true,
        observer: None,
    };
    let service = Service::start(&config, options, runtime.handle())?;
    println!("{}", service.address.context("the service has no page")?);
    std::io::stdout().flush()?;
    service.wait()
}

/// The pipeline file of the workloads, without its sinks: Q1, Q2 and Q3 of the benchmark.
pub(crate) fn pipeline(brokers: &str, topic: &str, folder: &Path) -> String {
    let state = folder.join("state");
    let statistic = |measurement: &str, field: &str, windows: &str| {
        format!(
            "[[statistics]]\nname = \"{measurement}\"\nmeasurement = \"{measurement}\"\nfield = \"{field}\"\n\
             group_by = [\"host\"]\nwindows = [{windows}]\naggregates = [\"count\", \"mean\", \"min\", \"max\"]\n"
        )
    };
    let tumbling = "{ size = \"10s\" }";
    let both = format!("{tumbling}, {{ size = \"5m\", slide = \"10s\" }}");
    [
        format!("[kafka]\nbrokers = [\"{brokers}\"]\n"),
        format!("[[sources]]\ntopic = \"{topic}\"\nformat = \"telegraf_json\"\n"),
        "[time]\nout_of_orderness = \"5s\"\nidle_timeout = \"5s\"\nstart = \"earliest\"\n"
            .to_owned(),
        format!("[checkpoint]\nstore = \"{}\"\n", state.display()),
        "[http]\nlisten = \"127.0.0.1:0\"\n".to_owned(),
        "[limits]\nseries = 2000000\n".to_owned(),
        statistic("cpu", "usage_active", &both),
        statistic("mem", "used_percent", tumbling),
        statistic("disk", "used_percent", tumbling),
        "[[rules]]\nname = \"cpu_sustained\"\nkind = \"sustained\"\nmeasurement = \"cpu\"\n\
         field = \"usage_active\"\ngroup_by = [\"host\"]\nabove = 90.0\nfor = \"5m\"\n"
            .to_owned(),
    ]
    .join("\n")
}

/// A service that runs; killed when dropped.
pub(crate) struct Member {
    child: Child,
    address: String,
}

impl Member {
    /// Starts one on the pipeline file at `config`, and waits until it says where its page is.
    pub(crate) fn start(config: &Path) -> anyhow::Result<Self> {
        let arguments = ["member".to_owned(), format!("--config={}", config.display())];
        let mut child = again(&arguments)?.spawn().context("could not start the service")?;
        let stdout = child.stdout.take().context("the service has no output")?;
        let mut address = String::new();
        BufReader::new(stdout).read_line(&mut address)?;
        let address = address.trim().to_owned();
        anyhow::ensure!(!address.is_empty(), "the service could not start");
        Ok(Member { child, address })
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = client::get(&format!("http://{}{path}", self.address), &[]).ok()?;
        Some((answer.status, answer.body))
    }

    /// Whether every partition was read to its end. To be ready needs the Kafka client's statistics besides,
    /// which come a second after its start.
    pub(crate) fn has_caught_up(&self) -> bool {
        self.get("/readyz").is_some_and(|(_, said)| !said.starts_with("catching up"))
    }

    /// Whether it says that it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        self.get("/readyz").is_some_and(|(status, _)| status == 200)
    }

    /// All its metrics as they are now.
    pub(crate) fn metrics(&self) -> Option<Metrics> {
        Some(Metrics(self.get("/metrics")?.1))
    }

    /// Memory that it holds now, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
    }

    /// Waits until `is` says so.
    pub(crate) fn wait(&mut self, what: &str, is: impl Fn(&Member) -> bool) -> anyhow::Result<()> {
        let began = Instant::now();
        while !is(self) {
            anyhow::ensure!(self.child.try_wait()?.is_none(), "the service has ended by itself");
            anyhow::ensure!(
                began.elapsed() < Duration::from_secs(600),
                "it was not {what} in time"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // SIGKILL: what a crash is to it. It has ended already where this fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `/metrics` said.
pub(crate) struct Metrics(String);

impl Metrics {
    /// The sum of `name` over all labels; 0 where there is none.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.sum_where(name, "")
    }

    /// The sum of `name` over all labels that `label`, such as `sink="influxdb"`, is among.
    pub(crate) fn sum_where(&self, name: &str, label: &str) -> f64 {
        let values = self.0.lines().filter(|line| line.contains(label)).filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let rest = rest
                .strip_prefix(' ')
                .or_else(|| rest.strip_prefix('{')?.split_once("} ").map(|r| r.1))?;
            rest.split_whitespace().next()?.parse::<f64>().ok()
        });
        values.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_summed_over() {
        let text =
            "# HELP a_total x\na_total{w=\"1\"} 2\na_total{w=\"2\"} 3.5\na_total_more 9\nb 4\n";
        let metrics = Metrics(text.to_owned());
        assert_eq!((metrics.sum("a_total"), metrics.sum("b"), metrics.sum("c")), (5.5, 4.0, 0.0));
        assert_eq!(metrics.sum_where("a_total", "w=\"2\""), 3.5);
    }

    #[test]
    fn the_pipeline_file_is_valid() {
        let text = pipeline("127.0.0.1:9092", "fleet", Path::new("here"));
        assert!(config::parse(&text, "workload.toml").is_ok());
    }
}
