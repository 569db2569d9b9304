//! Two detectors inside a timely dataflow that is not tidewatch's: its timestamps are plain `u64`
//! milliseconds, its workers and its operators its own.
//!
//! A gateway's log of requests is parsed by the dataflow itself. From one stream of it come the load of each
//! host, watched for staying above 90 %, and the failed requests of each service, watched for bursts. Both
//! kinds of episodes meet again in a stream of plain text.
//!
//! ```text
//! cargo run -p tidewatch-examples --example foreign_dataflow
//! ```

#![allow(clippy::print_stdout, reason = "an example talks to people")]

use std::time::Duration;

use anyhow::{Context, Result};
use tidewatch_dataflow::alert::TransitionKind;
use tidewatch_dataflow::time::{EventTime, PaneSize};
use tidewatch_examples::finish;
use tidewatch_operators::detect::Episode;
use tidewatch_operators::detect::burst::BurstConfig;
use tidewatch_operators::detect::sustained::{Condition, SustainedConfig};
use tidewatch_operators::keyed::{DetectBurst, DetectSustained, Keyed};
use timely::dataflow::operators::vec::{Filter, Map};
use timely::dataflow::operators::{Capture, Concat, ToStream, capture::Extract};

/// One line of the log.
#[derive(Clone, Debug)]
struct Request {
    millis: u64,
    host: &'static str,
    service: &'static str,
    status: u16,
    load: f64,
}

/// The share of the log that one of `workers` workers reads: 20 minutes, one request a second and host.
///
/// Host `web-2` is overloaded from minute 5 to minute 13, host `web-1` only from minute 5 to minute 8. The
/// service `shop` fails in every request of minute 15, and once a minute otherwise.
fn requests(worker: usize, workers: usize) -> impl Iterator<Item = Request> {
    let all = (0..20 * 60u64).flat_map(|second| {
        let minute = second / 60;
        ["web-1", "web-2"].map(move |host| {
            let busy = if host == "web-2" { 5..13 } else { 5..8 };
            let service = if second % 2 == 0 { "shop" } else { "login" };
            let fails = service == "shop" && (minute == 15 || second % 60 == 0);
            Request {
                millis: second * 1_000,
                host,
                service,
                status: if fails { 503 } else { 200 },
                load: if busy.contains(&minute) { 97.0 } else { 40.0 },
            }
        })
    });
    all.enumerate().filter(move |(i, _)| i % workers == worker).map(|(_, request)| request)
}

/// An episode in one line.
fn line(rule: &str, episode: &Episode<String>) -> String {
    let what = if episode.kind == TransitionKind::Opened { "opened" } else { "ended" };
    let second = |time: EventTime| time.as_millis() / 1_000;
    let (at, since) = (second(episode.at), second(episode.started_at));
    format!("{at:>5} s  {rule} of {} {what}, since {since} s", episode.group)
}

fn main() -> Result<()> {
    let pane = PaneSize::new(Duration::from_secs(10)).context("a pane has a length")?;
    let overload = SustainedConfig {
        condition: Condition::Above(90.0),
        clear: 85.0,
        for_: Duration::from_secs(300),
        clear_for: Duration::from_secs(30),
        gap_tolerance: Duration::from_secs(60),
        pane,
    };
    let failures = BurstConfig {
        window: Duration::from_secs(60),
        slide: Duration::from_secs(10),
        above: 20,
        factor: Some(5.0),
        baseline: Duration::from_secs(600),
        clear_for: Duration::from_secs(60),
    };
    let run = timely::execute(timely::Config::process(2), move |worker| {
        let (index, workers) = (worker.index(), worker.peers());
        worker.dataflow::<u64, _, _>(|scope| -> Result<_> {
            let log = requests(index, workers).to_stream(scope).container::<Vec<_>>();
            let loads = log.clone().map(|request| {
                let time = EventTime::from_millis(request.millis);
                Keyed::new(request.host.to_owned(), time, request.load)
            });
            let failed = log.filter(|request| request.status >= 500).map(|request| {
                let time = EventTime::from_millis(request.millis);
                Keyed::new(request.service.to_owned(), time, request.status)
            });
            let overload = loads.sustained("overload", overload)?.episodes;
            let failures = failed.burst("failures", failures)?.episodes;
            let lines = overload
                .map(|episode| line("overload", &episode))
                .concat(failures.map(|episode| line("failures", &episode)));
            Ok(lines.capture())
        })
    });
    let mut told = Vec::new();
    for captured in finish(run)? {
        told.extend(captured?.extract().into_iter().flat_map(|(_, lines)| lines));
    }
    told.sort();

    told.iter().for_each(|line| println!("{line}"));
    assert_eq!(
        told,
        [
            "  600 s  overload of web-2 opened, since 300 s",
            "  780 s  overload of web-2 ended, since 300 s",
            "  930 s  failures of shop opened, since 870 s",
            " 1010 s  failures of shop ended, since 870 s",
        ]
    );
    Ok(())
}
