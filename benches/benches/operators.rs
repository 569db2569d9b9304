//! The operators, each alone: what one pane of 1,000 groups with ten samples each costs.
//!
//! ```console
//! cargo bench -p tidewatch-benches --bench operators
//! ```
//!
//! Throughput counts samples, so that an operator's line is its share of the cost of a sample. A machine is
//! given pane after pane, so its state is as full as it gets: the windows hold all their panes.

#![allow(clippy::expect_used, reason = "a benchmark that cannot begin ends")]

use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use tidewatch_benches::panes::{
    GROUPS, SAMPLES, condition, entries, messages, moments, pane_size, samples, sustained_config,
    warm_up, windows,
};
use tidewatch_dataflow::operator::{Entry, PaneMachine};
use tidewatch_dataflow::series::Labels;
use tidewatch_dataflow::time::Pane;
use tidewatch_operators::aggregate::{Aggregate, Moments};
use tidewatch_operators::detect::anomaly::{Anomaly, AnomalyConfig, Direction};
use tidewatch_operators::detect::burst::{Burst, BurstConfig};
use tidewatch_operators::detect::sustained::Sustained;
use tidewatch_operators::feed::{FeedBatch, FeedMessage};
use timely::bytes::arc::BytesMut;
use timely::dataflow::channels::ContainerBytes;

fn main() {
    divan::main();
}

/// Drives `machine` pane by pane; `warm` panes go ahead.
fn drive<M: PaneMachine>(
    bencher: Bencher<'_, '_>,
    mut machine: M,
    warm: u64,
    pane: impl Fn(u64) -> Vec<Entry<M::Partial>>,
) {
    let mut next = warm_up(&mut machine, warm, &pane);
    let mut out = Vec::new();
    bencher
        .counter(ItemsCount::new(u64::from(GROUPS) * SAMPLES))
        .with_inputs(|| {
            next += 1;
            (next - 1, pane(next - 1))
        })
        .bench_local_refs(|(at, entries)| {
            machine.apply(Pane(*at), entries, &mut out);
            black_box(&out);
            out.clear();
        });
}

/// Windows of so many seconds, sliding by ten.
#[divan::bench(args = [10, 300, 3_600])]
fn window(bencher: Bencher<'_, '_>, size: u64) {
    drive(bencher, windows(size).expect("whole panes"), size / 10, moments);
}

#[divan::bench]
fn sustained(bencher: Bencher<'_, '_>) {
    let config = sustained_config().expect("the rule makes sense");
    let machine = Sustained::try_new(config).expect("the rule makes sense");
    let partial = |group, pane| condition(&config, group, pane).expect("there are samples");
    drive(bencher, machine, 1, |pane| entries(pane, |group| partial(group, pane)));
}

#[divan::bench]
fn error_burst(bencher: Bencher<'_, '_>) {
    let config = BurstConfig {
        window: Duration::from_secs(60),
        slide: Duration::from_secs(10),
        above: 1_000,
        factor: Some(3.0),
        baseline: Duration::from_secs(3_600),
        clear_for: Duration::from_secs(60),
    };
    let machine = Burst::try_new(config).expect("the rule makes sense");
    drive(bencher, machine, 360, |pane| entries(pane, |_| SAMPLES));
}

#[divan::bench]
fn anomaly(bencher: Bencher<'_, '_>) {
    let config = AnomalyConfig {
        half_life: Duration::from_secs(3_600),
        warm_up: Duration::from_secs(600),
        score: 30.0,
        min_deviation: 5.0,
        direction: Direction::Both,
        for_: Duration::from_secs(60),
        pane: pane_size().expect("ten seconds are a pane"),
    };
    let machine = Anomaly::try_new(config).expect("the rule makes sense");
    drive(bencher, machine, 60, moments);
}

/// The fold of one group's samples in one pane.
#[divan::bench]
fn moments_of_samples(bencher: Bencher<'_, '_>) {
    let values: Vec<f64> = samples(3, 5).collect();
    bencher
        .counter(ItemsCount::new(SAMPLES))
        .bench_local(|| Moments::of(black_box(&values).iter().copied()));
}

/// Partials for another process, with what a sustained rule needs or without: the codec of the feeds.
#[divan::bench(args = [false, true])]
fn partials_there_and_back(bencher: Bencher<'_, '_>, has_condition: bool) {
    let batch = FeedBatch::from(messages(has_condition).expect("the rule makes sense"));
    let mut bytes = Vec::new();
    bencher.counter(ItemsCount::new(u64::from(GROUPS) * SAMPLES)).bench_local(|| {
        bytes.clear();
        bytes.reserve(black_box(&batch).length_in_bytes());
        batch.into_bytes(&mut bytes);
        FeedBatch::try_from_bytes(black_box(&bytes)).map(|batch| batch.records().len())
    });
}

/// The same as timely does it by itself: a vector with serde and bincode.
#[divan::bench(args = [false, true])]
fn partials_there_and_back_by_bincode(bencher: Bencher<'_, '_>, has_condition: bool) {
    let batch = messages(has_condition).expect("the rule makes sense");
    bencher.counter(ItemsCount::new(u64::from(GROUPS) * SAMPLES)).bench_local(|| {
        let mut bytes = Vec::with_capacity(black_box(&batch).length_in_bytes());
        batch.into_bytes(&mut bytes);
        let bytes = BytesMut::from(bytes).freeze();
        Vec::<FeedMessage>::from_bytes(bytes).len()
    });
}

/// Labels are hashed when a sender announces a group.
#[divan::bench]
fn labels_hash(bencher: Bencher<'_, '_>) {
    let labels = Labels::from_pairs([("host", "web-17"), ("cpu", "cpu-total")]);
    bencher.bench_local(|| black_box(&labels).stable_hash());
}
