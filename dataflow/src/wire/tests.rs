//! Every codec against equality to the bit, against bytes that are no batch, and in a dataflow of two workers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use timely::bytes::arc::BytesMut;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::ContainerBytes;
use timely::dataflow::channels::pact::ExchangeCore;
use timely::dataflow::operators::{Operator, Probe, core::ToStreamBuilder, probe::Handle};
use timely::worker::Worker;
use timely::{Accountable, CommunicationConfig, WorkerConfig};

#[cfg(feature = "abomonation")]
use super::{Abomonated, AbomonationCodec};
use super::{Batch, Codec, ColumnCodec, Columns, Pod, WireError, undecodable_batches};
use crate::impl_pod;

/// The shape of a window partial: all kinds, narrow columns among wide ones.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Partial {
    hash: u64,
    sender: u32,
    slot: u32,
    pane: u64,
    sum: f64,
}
impl_pod!(Partial { hash: u64, sender: u32, slot: u32, pane: u64, sum: f64 });

/// One narrow column: the most padding that there can be.
#[derive(Copy, Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Narrow {
    slot: u32,
}
impl_pod!(Narrow { slot: u32 });

fn partials() -> impl Strategy<Value = Vec<Partial>> {
    // Any bits of a float: NaNs with a payload, zeros of both signs.
    let partial = any::<(u64, u32, u32, u64, u64)>().prop_map(|(hash, sender, slot, pane, sum)| {
        Partial { hash, sender, slot, pane, sum: f64::from_bits(sum) }
    });
    vec(partial, 0..300)
}

fn narrows() -> impl Strategy<Value = Vec<Narrow>> {
    vec(any::<u32>().prop_map(|slot| Narrow { slot }), 0..300)
}

fn encode<B: ContainerBytes>(batch: &B) -> Vec<u8> {
    let mut bytes = Vec::new();
    batch.into_bytes(&mut bytes);
    bytes
}

fn decode<B: ContainerBytes>(bytes: Vec<u8>) -> B {
    B::from_bytes(BytesMut::from(bytes).freeze())
}

/// Bits, which are equal where the records are the same, NaNs included.
fn bits<R: Pod>(records: &[R]) -> Vec<Vec<u64>> {
    records.iter().map(|record| record.to_words().as_ref().to_vec()).collect()
}

fn round_trip<R: Pod, B: ContainerBytes>(
    records: Vec<R>,
    wrap: impl Fn(Vec<R>) -> B,
    unwrap: impl Fn(B) -> Vec<R>,
) -> Result<(), TestCaseError> {
    let expected = bits(&records);
    let batch = wrap(records);
    let bytes = encode(&batch);
    prop_assert_eq!(bytes.len(), batch.length_in_bytes());
    prop_assert_eq!(bytes.len() % 8, 0);
    prop_assert_eq!(bits(&unwrap(decode(bytes))), expected);
    Ok(())
}

proptest! {
    #[test]
    fn bincode_keeps_records(records in partials()) {
        round_trip(records, |records| records, |records| records)?;
    }

    #[test]
    fn columns_keep_records(wide in partials(), narrow in narrows()) {
        round_trip(wide, Columns::from, Columns::into_records)?;
        round_trip(narrow, Columns::from, Columns::into_records)?;
    }

    #[cfg(feature = "abomonation")]
    #[test]
    fn abomonation_keeps_records(wide in partials(), narrow in narrows()) {
        round_trip(wide, Abomonated::from, Abomonated::into_records)?;
        round_trip(narrow, Abomonated::from, Abomonated::into_records)?;
    }

    #[test]
    fn words_keep_records(records in partials()) {
        let again: Vec<Partial> =
            records.iter().map(|record| Partial::from_words(record.to_words())).collect();
        prop_assert_eq!(bits(&again), bits(&records));
    }

    #[test]
    fn foreign_bytes_are_refused(bytes in vec(any::<u8>(), 0..200)) {
        // The odds that 24 random bits are those of the header are 1 in 16 million a case, and then the
        // count would have to fit the length.
        prop_assert!(Columns::<Partial>::try_from_bytes(&bytes).is_err());
        #[cfg(feature = "abomonation")]
        prop_assert!(Abomonated::<Partial>::try_from_bytes(&bytes).is_err());
    }

    #[test]
    fn a_header_that_lies_is_refused(count in any::<u64>(), body in vec(any::<u8>(), 0..200)) {
        refuses_lies::<ColumnCodec>(count, &body)?;
        #[cfg(feature = "abomonation")]
        refuses_lies::<AbomonationCodec>(count, &body)?;
    }

    #[test]
    fn cut_and_lengthened_batches_are_refused(records in partials(), by in 1_usize..64) {
        refuses_other_lengths::<ColumnCodec>(records.clone(), by)?;
        #[cfg(feature = "abomonation")]
        refuses_other_lengths::<AbomonationCodec>(records, by)?;
    }
}

/// Any count in front of any body is accepted only when the body is as long as that count's.
fn refuses_lies<C: Codec<Partial>>(count: u64, body: &[u8]) -> Result<(), TestCaseError> {
    let count = count & 0xff_ffff_ffff;
    let mut bytes = encode(&Batch::<Partial, C>::new());
    bytes[..5].copy_from_slice(&count.to_le_bytes()[..5]);
    bytes.extend_from_slice(body);
    match Batch::<Partial, C>::try_from_bytes(&bytes) {
        Ok(batch) => prop_assert_eq!(batch.length_in_bytes(), bytes.len()),
        Err(error) => prop_assert!(matches!(error, WireError::Length { .. }), "{error}"),
    }
    Ok(())
}

fn refuses_other_lengths<C: Codec<Partial>>(
    records: Vec<Partial>,
    by: usize,
) -> Result<(), TestCaseError> {
    let mut bytes = encode(&Batch::<Partial, C>::from(records));
    let cut = bytes.len().saturating_sub(by);
    prop_assert!(Batch::<Partial, C>::try_from_bytes(&bytes[..cut]).is_err());
    bytes.extend(std::iter::repeat_n(0, by));
    prop_assert!(Batch::<Partial, C>::try_from_bytes(&bytes).is_err());
    Ok(())
}

#[test]
fn empty_batches_are_a_header() {
    assert_eq!(encode(&Columns::<Partial>::new()).len(), 8);
    assert!(
        Columns::<Partial>::try_from_bytes(&encode(&Columns::<Partial>::new())).unwrap().is_empty()
    );
}

#[test]
fn the_column_format_is_this() {
    let batch = Columns::from(vec![
        Partial { hash: 1, sender: 2, slot: 3, pane: 4, sum: 0.5 },
        Partial { hash: 0x0102_0304_0506_0708, sender: 6, slot: 7, pane: 8, sum: -0.0 },
        Partial { hash: 9, sender: 10, slot: 11, pane: 12, sum: 1.0 },
    ]);
    let bytes = encode(&batch);
    let words: Vec<u64> =
        bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
    // Format 0xc1, and three records. What lies between is a hash of the fields.
    assert_eq!((words[0] >> 56, words[0] & 0xff_ffff_ffff), (0xc1, 3));
    let sums = [0.5_f64, -0.0, 1.0].map(f64::to_bits);
    assert_eq!(words[1..4], [1, 0x0102_0304_0506_0708, 9], "hash");
    assert_eq!(words[4..6], [6 << 32 | 2, 10], "sender, padded");
    assert_eq!(words[6..8], [7 << 32 | 3, 11], "slot, padded");
    assert_eq!(words[8..11], [4, 8, 12], "pane");
    assert_eq!(words[11..], sums, "sum");
}

#[test]
fn other_fields_and_formats_are_told_apart() {
    let narrow = encode(&Columns::from(vec![Narrow { slot: 1 }]));
    let error = Columns::<Partial>::try_from_bytes(&narrow).unwrap_err();
    assert!(matches!(error, WireError::Fields { .. }), "{error}");
    let error = Columns::<Narrow>::try_from_bytes(&narrow[..7]).unwrap_err();
    assert!(matches!(error, WireError::NoHeader { found: 7, .. }), "{error}");
    let mut other = narrow;
    other[7] = 0xa1;
    let error = Columns::<Narrow>::try_from_bytes(&other).unwrap_err();
    assert!(matches!(error, WireError::Format { found: 0xa1, expected: 0xc1, .. }), "{error}");
    assert!(error.to_string().contains("format 0xa1 came instead of 0xc1"), "{error}");
}

#[test]
fn undecodable_bytes_are_counted_and_give_an_empty_batch() {
    let before = undecodable_batches();
    let batch: Columns<Partial> = decode(vec![0xff; 64]);
    assert!(batch.is_empty());
    assert!(undecodable_batches() > before);
}

#[test]
fn batches_are_filled_to_eight_kibibytes() {
    let mut builder = CapacityContainerBuilder::<Columns<Partial>>::default();
    let mut sizes = Vec::new();
    for hash in 0..1_000 {
        use timely::container::{ContainerBuilder, PushInto};
        builder.push_into(Partial { hash, sender: 0, slot: 0, pane: 0, sum: 0.0 });
        while let Some(batch) = builder.extract() {
            sizes.push(batch.record_count());
        }
    }
    assert_eq!(sizes, [256, 256, 256], "8,192 bytes are 256 records of 32");
}

/// Records that each worker makes; of every hash parity as many.
const EACH: u64 = 20_000;

fn made_by(worker: u64) -> impl Iterator<Item = Partial> {
    (0..EACH).map(move |n| {
        let hash = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) & !1) | (n % 2);
        Partial { hash, sender: worker as u32, slot: n as u32, pane: n / 100, sum: n as f64 }
    })
}

fn two_workers() -> timely::Config {
    // Bytes also between the threads of one process.
    let communication = CommunicationConfig::ProcessBinary(2);
    timely::Config { communication, worker: WorkerConfig::default() }
}

/// Exchanges the records of two workers by hash; returns what each worker received.
fn exchange<C: Codec<Partial>>() -> [Vec<Partial>; 2] {
    let guards = timely::execute(two_workers(), |worker| {
        let received = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let index = worker.index() as u64;
        worker.dataflow::<u64, _, _>(|scope| {
            let by_hash = ExchangeCore::<CapacityContainerBuilder<Batch<Partial, C>>, _>::new_core(
                |record: &Partial| record.hash,
            );
            let received = received.clone();
            made_by(index)
                .to_stream_with_builder::<_, CapacityContainerBuilder<Batch<Partial, C>>>(scope)
                .sink(by_hash, "receive", move |(input, _frontier)| {
                    input.for_each(|_, batch| {
                        received.borrow_mut().extend_from_slice(batch.records());
                    });
                });
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        while worker.step_or_park(Some(Duration::from_millis(10))) && Instant::now() < deadline {}
        received.take()
    });
    let results = guards.unwrap().join().into_iter().map(Result::unwrap);
    results.collect::<Vec<_>>().try_into().unwrap()
}

fn check_exchanged(received: [Vec<Partial>; 2]) {
    for (parity, records) in received.iter().enumerate() {
        assert!(records.iter().all(|record| record.hash % 2 == parity as u64));
    }
    let sum: f64 = received.iter().flatten().map(|record| record.sum).sum();
    // Twice 0 + 1 + … + 19,999: exact in a float.
    assert_eq!(sum, (EACH * (EACH - 1)) as f64);
    let mut got = bits(&received.concat());
    let mut made = bits(&made_by(0).chain(made_by(1)).collect::<Vec<_>>());
    got.sort_unstable();
    made.sort_unstable();
    assert!(got == made, "every record arrived once, to the bit");
}

#[test]
fn columns_travel_between_workers() {
    check_exchanged(exchange::<ColumnCodec>());
}

#[cfg(feature = "abomonation")]
#[test]
fn abomonated_batches_travel_between_workers() {
    check_exchanged(exchange::<AbomonationCodec>());
}

/// [`ColumnCodec`], counting the records that it really read.
struct Witness;

static READ: AtomicU64 = AtomicU64::new(0);

impl Codec<Partial> for Witness {
    fn encoded_bytes(records: &[Partial]) -> usize {
        ColumnCodec::encoded_bytes(records)
    }

    fn encode<W: std::io::Write>(records: &[Partial], writer: &mut W) -> std::io::Result<()> {
        ColumnCodec::encode(records, writer)
    }

    fn decode(bytes: &[u8]) -> Result<Vec<Partial>, WireError> {
        let records = ColumnCodec::decode(bytes)?;
        READ.fetch_add(records.len() as u64, Ordering::Relaxed);
        Ok(records)
    }
}

#[test]
fn the_exchange_is_by_bytes() {
    check_exchanged(exchange::<Witness>());
    // Half of each worker's records are the other's; its own may go as bytes as well.
    assert!(READ.load(Ordering::Relaxed) >= EACH);
}

/// Refuses what it wrote itself.
struct Refusing;

static REFUSED: AtomicU64 = AtomicU64::new(0);

impl Codec<Partial> for Refusing {
    fn encoded_bytes(records: &[Partial]) -> usize {
        ColumnCodec::encoded_bytes(records)
    }

    fn encode<W: std::io::Write>(records: &[Partial], writer: &mut W) -> std::io::Result<()> {
        ColumnCodec::encode(records, writer)
    }

    fn decode(_bytes: &[u8]) -> Result<Vec<Partial>, WireError> {
        REFUSED.fetch_add(1, Ordering::Relaxed);
        Err(WireError::Fields { record: "Partial" })
    }
}

/// Exchanges records of `C` and ignores them; the probe tells when all of them were accounted for.
fn ignore_exchanged<C: Codec<Partial>>(worker: &mut Worker) -> Handle<u64> {
    let index = worker.index() as u64;
    worker.dataflow::<u64, _, _>(|scope| {
        let by_hash = ExchangeCore::<CapacityContainerBuilder<Batch<Partial, C>>, _>::new_core(
            |record: &Partial| record.hash,
        );
        made_by(index)
            .to_stream_with_builder::<_, CapacityContainerBuilder<Batch<Partial, C>>>(scope)
            .unary::<CapacityContainerBuilder<Vec<u64>>, _, _, _>(by_hash, "ignore", |_, _| {
                |input, _output| input.for_each(|_, _| {})
            })
            .probe()
            .0
    })
}

#[test]
fn the_frontier_cannot_pass_a_refused_batch() {
    let guards = timely::execute(two_workers(), |worker| {
        let refused_dataflow = worker.next_dataflow_index();
        let refused = ignore_exchanged::<Refusing>(worker);
        // The same with a codec that reads, to know when there was time enough.
        let read = ignore_exchanged::<ColumnCodec>(worker);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !read.done() && Instant::now() < deadline {
            worker.step();
        }
        for _ in 0..1_000 {
            worker.step();
        }
        let done = [read.done(), refused.done()];
        worker.drop_dataflow(refused_dataflow);
        done
    });
    let done: Vec<[bool; 2]> = guards.unwrap().join().into_iter().map(Result::unwrap).collect();
    assert!(REFUSED.load(Ordering::Relaxed) > 0);
    assert_eq!(done, [[true, false]; 2]);
}
