//! Crumbs: finding the record, or the group, that crashes the process, over its crashes.
//!
//! ```text
//!  worker    set(first..last)   work   clear()      the crumb: 40 bytes in the page cache, which
//!    │             │              ✕                 outlives the process, however that ends
//!    ▼             ▼
//!  1st crash   a range of records was under way ──► its records are read one at a time from now on
//!  2nd crash   a single record was under way    ──► one crash against that record
//!  3rd crash   the same single record           ──► poison: the run journals it as skipped
//! ```
//!
//! The work is to decode and admit records, and then to fold their points.
//!
//! A **group** that crashes a rule or window needs no such search: the panic hook of the thread that evaluates it
//! leaves word of the group itself ([`leave_word`]). Three such panics put the group in quarantine.
//!
//! Workers write, each its own [`Crumb`]; the supervisor reads ([`read_all`]) once all members have
//! ended, and [`take_words`]; and keeps the [`Suspects`], which the members of the next run load and never write.
//!
//! # What keeps an innocent record from being skipped
//! Within a process only one worker at a time takes in a suspected record by itself, so a crash finds at
//! most one single record under way; members that the supervisor had to kill bring no suspects at all;
//! and a record has to be found there twice.

mod panics;
mod suspects;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use tidewatch_dataflow::ingest::Breadcrumb;
use tidewatch_dataflow::record::{PartitionId, Topics};

pub use panics::{leave_word, take_words};
pub use suspects::{Suspects, SuspectsError};

/// Length of the record at the head of a crumb's file; the names of the topics follow it.
const RECORD: usize = 40;
/// The first bytes of a crumb's file: what it is, and its version.
const MAGIC: [u8; 8] = *b"twcrumb1";
/// How the name of a crumb's file ends.
const SUFFIX: &str = ".crumb";

/// Records that were being taken in when a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Index of the process that left the crumb.
    pub process: usize,
    /// The topic's name.
    pub topic: String,
    /// The partition, as the broker counts.
    pub partition: i32,
    /// Offset of the first record.
    pub first: i64,
    /// Offset of the last record; not before the first.
    pub last: i64,
}

/// One worker's crumb.
pub struct Crumb {
    file: File,
    suspects: Arc<Suspects>,
    on_trial: bool,
    told: bool,
}

impl Crumb {
    /// Lays an empty crumb for the worker with this index within its process, over one that is left from
    /// an earlier run. Makes the folder when there is none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn open(
        dir: &Path,
        (process, worker): (usize, usize),
        topics: &Topics,
        suspects: Arc<Suspects>,
    ) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let names: Vec<&str> = topics.iter().collect();
        let mut content = encode(None).to_vec();
        content.extend_from_slice(names.join("\n").as_bytes());
        let path = dir.join(format!("{process}-{worker}{SUFFIX}"));
        fs::write(&path, content)?;
        let file = File::options().write(true).open(&path)?;
        Ok(Crumb { file, suspects, on_trial: false, told: false })
    }

    /// One write of a fixed length at a fixed place: into the page cache, not to the disk.
    fn write(&mut self, under_way: Option<(PartitionId, i64, i64)>) {
        if let Err(error) = self.file.write_all_at(&encode(under_way), 0)
            && !std::mem::replace(&mut self.told, true)
        {
            tracing::warn!(%error, "crumbs cannot be written: a record that crashes us stays unknown");
        }
    }
}

impl Breadcrumb for Crumb {
    fn singly(&self, partition: PartitionId, first: i64, last: i64) -> bool {
        self.suspects.singly(partition, first, last)
    }

    fn set(&mut self, partition: PartitionId, first: i64, last: i64) {
        if first == last && !self.on_trial && self.suspects.singly(partition, first, last) {
            self.suspects.begin_trial();
            self.on_trial = true;
        }
        self.write(Some((partition, first, last)));
    }

    fn clear(&mut self) {
        self.write(None);
        if std::mem::take(&mut self.on_trial) {
            self.suspects.end_trial();
        }
    }
}

impl Drop for Crumb {
    fn drop(&mut self) {
        if std::mem::take(&mut self.on_trial) {
            self.suspects.end_trial();
        }
    }
}

/// What the crumbs in `dir` say was under way, in order of process and worker. Call it while no member
/// runs. A file that is no crumb, or a torn one, counts as an empty crumb.
///
/// # Errors
/// When the folder or a file in it cannot be read; a folder that is not there holds none.
pub fn read_all(dir: &Path) -> io::Result<Vec<Suspect>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some((process, worker)) = name.strip_suffix(SUFFIX).and_then(|n| n.split_once('-'))
        else {
            continue;
        };
        if let (Ok(process), Ok(worker)) = (process.parse(), worker.parse::<usize>())
            && let Some(suspect) = decode(process, &fs::read(&path)?)
        {
            found.push((worker, suspect));
        }
    }
    found.sort_by_key(|(worker, suspect)| (suspect.process, *worker));
    Ok(found.into_iter().map(|(_, suspect)| suspect).collect())
}

/// The record: magic, whether something is under way, topic, partition, first and last offset.
fn encode(under_way: Option<(PartitionId, i64, i64)>) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    let (flag, (id, first, last)) = match under_way {
        Some(range) => (1_u64, range),
        None => (0, (PartitionId { topic: 0, partition: 0 }, 0, 0)),
    };
    let fields = MAGIC.into_iter().chain(flag.to_le_bytes());
    let fields = fields.chain(id.topic.to_le_bytes()).chain(id.partition.to_le_bytes());
    let fields = fields.chain(first.to_le_bytes()).chain(last.to_le_bytes());
    for (byte, value) in record.iter_mut().zip(fields) {
        *byte = value;
    }
    record
}

fn decode(process: usize, content: &[u8]) -> Option<Suspect> {
    let (record, names) = content.split_at_checked(RECORD)?;
    let word = |at: usize| record.get(at..at + 8)?.try_into().ok();
    let half = |at: usize| record.get(at..at + 4)?.try_into().ok();
    if word(0)? != MAGIC || u64::from_le_bytes(word(8)?) != 1 {
        return None;
    }
    let topic = usize::try_from(u32::from_le_bytes(half(16)?)).ok()?;
    let topic = std::str::from_utf8(names).ok()?.lines().nth(topic)?.to_owned();
    let partition = i32::from_le_bytes(half(20)?);
    let (first, last) = (i64::from_le_bytes(word(24)?), i64::from_le_bytes(word(32)?));
    (first <= last).then_some(Suspect { process, topic, partition, first, last })
}
