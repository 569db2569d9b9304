//! The codecs side by side: a batch of 4,096 window partials becomes bytes and comes back.
//!
//! `encode` is what timely does with a batch for another process: ask for its length, then write it to
//! memory that is reserved. `decode` is the way back, up to a vector of records, and the dropping of it.
//! Throughput counts the records as they are in memory, 88 bytes each, so that the codecs compare.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use serde::{Deserialize, Serialize};
use tidewatch_dataflow::impl_pod;
#[cfg(feature = "abomonation")]
use tidewatch_dataflow::wire::Abomonated;
use tidewatch_dataflow::wire::Columns;
use timely::bytes::arc::{Bytes, BytesMut};
use timely::dataflow::channels::ContainerBytes;

fn main() {
    divan::main();
}

/// Records of a batch.
const RECORDS: usize = 4096;

/// What a worker ships of one group, pane and partition.
#[derive(Copy, Clone, Debug, Serialize, Deserialize)]
struct Partial {
    hash: u64,
    sender: u32,
    slot: u32,
    statistic: u64,
    order: u64,
    event_pane: u64,
    admission_pane: u64,
    count: u64,
    sum: f64,
    m2: f64,
    min: f64,
    max: f64,
}
impl_pod!(Partial {
    hash: u64,
    sender: u32,
    slot: u32,
    statistic: u64,
    order: u64,
    event_pane: u64,
    admission_pane: u64,
    count: u64,
    sum: f64,
    m2: f64,
    min: f64,
    max: f64,
});
const _: () = assert!(size_of::<Partial>() == 88);

fn partials() -> Vec<Partial> {
    let partial = |n: usize| {
        let n = n as u64;
        let mean = 50.0 + (n % 97) as f64 / 7.0;
        Partial {
            hash: n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            sender: (n % 2) as u32,
            slot: n as u32,
            statistic: n % 3,
            order: n % 16,
            event_pane: 170_000_000 + n / 1024,
            admission_pane: 170_000_000 + n / 512,
            count: 10,
            sum: mean * 10.0,
            m2: mean / 3.0,
            min: mean - 5.0,
            max: mean + 5.0,
        }
    };
    (0..RECORDS).map(partial).collect()
}

fn counters<'a, 'b>(bencher: Bencher<'a, 'b>) -> Bencher<'a, 'b> {
    bencher
        .counter(BytesCount::new(RECORDS * size_of::<Partial>()))
        .counter(ItemsCount::new(RECORDS))
}

fn bench_encode<B: ContainerBytes>(bencher: Bencher<'_, '_>, batch: &B) {
    let mut reserved = vec![0; batch.length_in_bytes()];
    counters(bencher).bench_local(|| {
        let length = black_box(batch).length_in_bytes();
        let mut writer = reserved.get_mut(..length).unwrap_or_default();
        batch.into_bytes(&mut writer);
        black_box(&reserved);
    });
}

fn bench_decode<B: ContainerBytes>(bencher: Bencher<'_, '_>, batch: &B) {
    let mut bytes = Vec::new();
    batch.into_bytes(&mut bytes);
    let bytes: Bytes = BytesMut::from(bytes).freeze();
    counters(bencher).bench_local(|| drop(black_box(B::from_bytes(black_box(bytes.clone())))));
}

#[divan::bench_group]
mod encode {
    use super::*;

    #[divan::bench]
    fn bincode(bencher: Bencher<'_, '_>) {
        bench_encode(bencher, &partials());
    }

    #[divan::bench]
    fn columns(bencher: Bencher<'_, '_>) {
        bench_encode(bencher, &Columns::from(partials()));
    }

    #[cfg(feature = "abomonation")]
    #[divan::bench]
    fn abomonation(bencher: Bencher<'_, '_>) {
        bench_encode(bencher, &Abomonated::from(partials()));
    }
}

#[divan::bench_group]
mod decode {
    use super::*;

    #[divan::bench]
    fn bincode(bencher: Bencher<'_, '_>) {
        bench_decode(bencher, &partials());
    }

    #[divan::bench]
    fn columns(bencher: Bencher<'_, '_>) {
        bench_decode(bencher, &Columns::from(partials()));
    }

    #[cfg(feature = "abomonation")]
    #[divan::bench]
    fn abomonation(bencher: Bencher<'_, '_>) {
        bench_decode(bencher, &Abomonated::from(partials()));
    }
}
