//! Where a workload goes: every partition of both topics, two or more at a time, counted on the way.

pub mod files;
pub mod kafka;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::labels::Counted;
use super::{Labels, PARTITIONS, Record, Topic, Workload};

/// How many records are written between two looks at whether to go on: a fraction of a millisecond each.
const STRIDE: u64 = 1_024;

/// Takes the records of one partition.
pub trait Writer {
    /// Why a record could not be written.
    type Error: Send;

    /// Takes one more record.
    ///
    /// # Errors
    /// When it, or one before it, could not be written.
    fn write(&mut self, record: &Record<'_>) -> Result<(), Self::Error>;

    /// After the last record: makes sure that it, and all before it, are on their way.
    ///
    /// # Errors
    /// When one could not be written.
    fn finish(&mut self) -> Result<(), Self::Error>;
}

/// Why a partition stopped.
enum Stop<E> {
    /// It failed.
    Failed(E),
    /// Another one did.
    Abandoned,
}

/// Writes all of `workload` with the writers that `open` makes, on `threads` threads (at least one), each
/// a partition at a time. `progress` hears once a second how many records have been written.
///
/// # Errors
/// The first error of a writer, or of opening one. What was written up to then stays.
pub fn write_all<W: Writer>(
    workload: &Workload,
    threads: usize,
    open: impl Fn(Topic, u32) -> Result<W, W::Error> + Sync,
    mut progress: impl FnMut(u64),
) -> Result<Labels, W::Error> {
    let (next, written, failed) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let counted = Mutex::new([Counted::default(); 2]);
    let one = |topic: Topic, partition: u32| -> Result<(), Stop<W::Error>> {
        let mut writer = open(topic, partition).map_err(Stop::Failed)?;
        let mut here = Counted::default();
        workload.records(topic, partition, |record| {
            writer.write(record).map_err(Stop::Failed)?;
            here.add(Counted {
                records: 1,
                marks: record.is_mark.into(),
                late: record.is_late.into(),
                bytes: record.payload.len() as u64,
            });
            if here.records.is_multiple_of(STRIDE) {
                written.fetch_add(STRIDE, Ordering::Relaxed);
                if failed.load(Ordering::Relaxed) {
                    return Err(Stop::Abandoned);
                }
            }
            Ok(())
        })?;
        written.fetch_add(here.records % STRIDE, Ordering::Relaxed);
        writer.finish().map_err(Stop::Failed)?;
        // A poisoned lock means that another thread panicked, and so will the scope.
        if let Ok(mut counted) = counted.lock() {
            counted[topic as usize].add(here);
        }
        Ok(())
    };
    let all: Vec<(Topic, u32)> =
        Topic::ALL.into_iter().flat_map(|topic| (0..PARTITIONS).map(move |p| (topic, p))).collect();
    let error = thread::scope(|scope| {
        let (sender, ended) = mpsc::channel::<W::Error>();
        for _ in 0..threads.clamp(1, all.len()) {
            let (sender, all, next, failed, one) = (sender.clone(), &all, &next, &failed, &one);
            scope.spawn(move || {
                while let Some((topic, partition)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if failed.load(Ordering::Relaxed) {
                        return;
                    }
                    if let Err(stop) = one(*topic, *partition) {
                        failed.store(true, Ordering::Relaxed);
                        if let Stop::Failed(error) = stop {
                            // Whoever listens waits until all have ended.
                            let _ = sender.send(error);
                        }
                        return;
                    }
                }
            });
        }
        drop(sender);
        loop {
            match ended.recv_timeout(Duration::from_secs(1)) {
                Ok(error) => return Some(error),
                Err(RecvTimeoutError::Timeout) => progress(written.load(Ordering::Relaxed)),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    });
    match error {
        Some(error) => Err(error),
        None => {
            let [metrics, logs] = counted.into_inner().unwrap_or_default();
            Ok(Labels::new(workload, metrics, logs))
        }
    }
}
