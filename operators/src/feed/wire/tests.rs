//! Every batch arrives as it was sent, nothing else is taken for one, and a partial is as small as promised.

use std::time::Duration;

use proptest::prelude::*;
use smallvec::SmallVec;
use tidewatch_dataflow::time::{EventTime, PaneSize};

use super::*;
use crate::detect::sustained::{Condition, SustainedConfig};

const PANE: u64 = 180_000_000;

fn config() -> SustainedConfig {
    SustainedConfig {
        pane: PaneSize::new(Duration::from_secs(10)).unwrap(),
        condition: Condition::Above(90.0),
        clear: 80.0,
        for_: Duration::from_secs(300),
        clear_for: Duration::ZERO,
        gap_tolerance: Duration::from_secs(60),
    }
}

/// The partial of samples at these milliseconds of the pane.
fn partial(samples: &[(u64, f64)], has_condition: bool) -> FeedPartial {
    let config = config();
    let start = config.pane.start(Pane(PANE));
    let at = |millis| EventTime::from_millis(start.as_millis() + millis);
    let condition = || {
        let samples = samples.iter().map(|(millis, value)| (at(*millis), *value));
        ConditionPartial::of(&config, Pane(PANE), samples)
    };
    let moments = Moments::of(samples.iter().map(|(_, value)| *value));
    let conditions =
        if has_condition { [condition()].into_iter().collect() } else { SmallVec::new() };
    FeedPartial { moments, conditions }
}

fn bits(records: &[FeedMessage]) -> Vec<u8> {
    format!("{records:?}").into_bytes()
}

fn message() -> impl Strategy<Value = FeedMessage> {
    let number = prop_oneof![
        4 => 0.0..100.0f64,
        1 => prop::num::f64::ANY.prop_filter("finite", |n| n.is_finite()),
        1 => Just(-0.0),
    ];
    let samples = prop::collection::vec((0..10_000u64, number), 1..12);
    let word = prop_oneof![2 => 0..4u64, 1 => any::<u64>()];
    let slot = prop_oneof![4 => 0..5u32, 1 => any::<u32>()];
    let partial = (any::<u8>(), 0..3u32, slot, word, 0..3u64, 0..3u64, samples, any::<bool>())
        .prop_map(|(bucket, sender, slot, order, pane, late, mut samples, has_condition)| {
            samples.sort_by_key(|(at, _)| *at);
            let admission_pane = Pane(PANE + pane);
            let event_pane = Pane(admission_pane.0 - late);
            let partial = partial(&samples, has_condition);
            FeedMessage::Partial {
                bucket,
                sender,
                slot,
                order,
                event_pane,
                admission_pane,
                partial,
            }
        });
    let pairs = prop::collection::vec(("[a-z]{1,8}", ".{0,12}"), 0..4);
    let group =
        (any::<u64>(), 0..3u32, any::<u32>(), pairs).prop_map(|(hash, sender, slot, pairs)| {
            FeedMessage::Group { hash, sender, slot, labels: Labels::from_pairs(pairs) }
        });
    prop_oneof![5 => partial, 1 => group]
}

proptest! {
    #[test]
    fn oracle_a_batch_arrives_as_it_was_sent(records in prop::collection::vec(message(), 0..40)) {
        let bytes = encode(&records);
        prop_assert!(bytes.len().is_multiple_of(8));
        prop_assert_eq!(bytes.len(), FeedCodec::encoded_bytes(&records));
        let read = FeedCodec::decode(&bytes).unwrap();
        prop_assert_eq!(bits(&read), bits(&records));
    }

    #[test]
    fn a_damaged_batch_is_refused_or_read_but_never_panics(
        records in prop::collection::vec(message(), 1..6),
        cut in any::<prop::sample::Index>(),
        flip in any::<prop::sample::Index>(),
        mask in 1..=255u8,
    ) {
        let mut bytes = encode(&records);
        let short = &bytes[..cut.index(bytes.len())];
        if short.len() + 8 <= bytes.len() {
            prop_assert!(FeedCodec::decode(short).is_err());
        }
        let at = flip.index(bytes.len());
        bytes[at] ^= mask;
        let _ = FeedCodec::decode(&bytes);
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = FeedCodec::decode(&bytes);
        let mut framed = vec![FORMAT, 0, 0, 0, 3, 0, 0, 0];
        framed.extend(bytes);
        let _ = FeedCodec::decode(&framed);
    }
}

#[test]
fn a_partial_takes_few_bytes() {
    // 1,000 hosts, ten samples to a pane, in slots one after another.
    let batch = |samples: usize, has_condition| {
        let record = |n: usize| {
            let value = |i: usize| 20.0 + ((n * 31 + i * 7) % 97) as f64 / 1.7;
            let samples: Vec<_> =
                (0..samples).map(|i| (i as u64 * 1_000 + 137, value(i))).collect();
            let pane = Pane(PANE);
            FeedMessage::Partial {
                bucket: n as u8,
                sender: 1,
                slot: n as u32,
                order: 3,
                event_pane: pane,
                admission_pane: pane,
                partial: partial(&samples, has_condition),
            }
        };
        let records: Vec<_> = (0..1_000).map(record).collect();
        encode(&records).len() as f64 / 1_000.0
    };
    let sizes = [batch(1, false), batch(10, false), batch(10, true)].map(f64::round);
    assert_eq!(sizes, [11.0, 36.0, 87.0], "bytes: one sample, ten, ten with a condition");
}
