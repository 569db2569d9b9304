//! The suspects: records that were being decoded, and groups that were being evaluated, when a run crashed; kept
//! over the runs of a supervisor.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidewatch_dataflow::ingest::Quarantined;
use tidewatch_dataflow::record::{PartitionId, Topics};

use super::Suspect;

/// The file in the folder of the crumbs.
const FILE: &str = "suspects.json";
/// This many crashes at a record that was read by itself make it poison.
const POISON_AFTER: u32 = 2;
/// This many panics of an operator at a group put the group in quarantine: as many crashes as poison takes.
const QUARANTINE_AFTER: u32 = 3;
/// Ranges, single records and groups remembered, each: beyond that the oldest are acquitted. A crash adds one for
/// each worker of a process; with names of 249 characters at most, 3 times 1,024 of them are 900 KB.
const KEPT: usize = 1_024;
/// How long a worker sleeps between looks at whether another one's trial is over. Decoding one record
/// takes microseconds.
const TRIAL_LOOK: Duration = Duration::from_micros(50);

/// The file of suspects cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SuspectsError {
    /// It cannot be read or written.
    #[error("could not {action} the suspects `{}`: {source}", path.display())]
    Io {
        /// What was attempted: `read`, `write`, `remove`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what we wrote.
    #[error("`{}` is no list of suspects: {source}; remove it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// A range of records of which one may have crashed a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    topic: String,
    partition: i32,
    first: i64,
    last: i64,
}

/// A record that was under way by itself when runs crashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Single {
    topic: String,
    partition: i32,
    offset: i64,
    crashes: u32,
}

/// A group that an operator was evaluating when it panicked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    what: Quarantined,
    crashes: u32,
}

/// Which records and groups are suspected, and which are convicted.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suspects {
    ranges: Vec<Range>,
    singles: Vec<Single>,
    groups: Vec<Group>,
    /// The topics of this run, by which members ask.
    #[serde(skip)]
    topics: Option<Topics>,
    /// Whether a worker of this process decodes a suspected record.
    #[serde(skip)]
    trial: AtomicBool,
}

impl Suspects {
    /// The suspects in `dir`; none when there is no such file.
    ///
    /// # Errors
    /// [`SuspectsError`] when there is one that cannot be read.
    pub fn load(dir: &Path) -> Result<Self, SuspectsError> {
        let path = dir.join(FILE);
        let content = match fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Suspects::default()),
            Err(source) => return Err(SuspectsError::Io { action: "read", path, source }),
        };
        serde_json::from_slice(&content).map_err(|source| SuspectsError::Damaged { path, source })
    }

    /// For the members of a run: from now on partitions are meant by their index in `topics`.
    #[must_use]
    pub fn of(mut self, topics: &Topics) -> Self {
        self.topics = Some(topics.clone());
        self
    }

    /// Notes what was under way in processes that crashed. Returns the records that are poison by that.
    pub fn after_crash(&mut self, under_way: &[Suspect]) -> Vec<(String, i32, i64)> {
        let before: BTreeSet<_> = self.poison().into_iter().collect();
        // All by what was suspected before: one crash is never both the suspicion and the proof.
        let known: Vec<bool> =
            under_way.iter().map(|s| self.holds(&s.topic, s.partition, s.first, s.last)).collect();
        for (suspect, known) in under_way.iter().zip(known) {
            if known && suspect.first == suspect.last {
                self.accuse(suspect);
            } else {
                self.suspect(suspect);
            }
        }
        self.poison().into_iter().filter(|record| !before.contains(record)).collect()
    }

    /// Notes the groups that were being evaluated when a run crashed by panics. Returns those that go into
    /// quarantine by that.
    pub fn after_panics(
        &mut self,
        evaluated: impl IntoIterator<Item = Quarantined>,
    ) -> Vec<Quarantined> {
        let mut convicted = Vec::new();
        for what in evaluated {
            let known = self.groups.iter_mut().find(|group| group.what == what);
            let crashes = known.map(|group| {
                group.crashes = group.crashes.saturating_add(1);
                group.crashes
            });
            match crashes {
                Some(QUARANTINE_AFTER) => convicted.push(what),
                Some(_) => {}
                None => {
                    self.groups.push(Group { what, crashes: 1 });
                    keep_newest(&mut self.groups);
                }
            }
        }
        convicted
    }

    /// The groups that go into quarantine: to be journaled before anything is computed.
    pub fn quarantined(&self) -> impl Iterator<Item = &Quarantined> {
        let convicted = self.groups.iter().filter(|group| group.crashes >= QUARANTINE_AFTER);
        convicted.map(|group| &group.what)
    }

    /// Replaces the file in `dir`, whole or not at all.
    ///
    /// # Errors
    /// [`SuspectsError::Io`].
    pub fn save(&self, dir: &Path) -> Result<(), SuspectsError> {
        let path = dir.join(FILE);
        let write = || {
            let content = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
            fs::create_dir_all(dir)?;
            let draft = dir.join("suspects.draft");
            fs::write(&draft, content)?;
            fs::rename(&draft, &path)
        };
        write().map_err(|source| SuspectsError::Io { action: "write", path: path.clone(), source })
    }

    /// Acquits all: after a clean stop.
    ///
    /// # Errors
    /// [`SuspectsError::Io`] when there is a file that cannot be removed.
    pub fn forget(dir: &Path) -> Result<(), SuspectsError> {
        let path = dir.join(FILE);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(SuspectsError::Io { action: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    /// Whether one of the records from `first` to `last`, both included, is suspected, so that each has
    /// to be read by itself. Convicted ones are, too: whoever does not skip them is in for a crash.
    pub fn singly(&self, partition: PartitionId, first: i64, last: i64) -> bool {
        // Almost always: nothing has ever crashed.
        if self.ranges.is_empty() {
            return false;
        }
        let topic = self.topics.as_ref().map(|topics| topics.name(partition.topic));
        topic.is_some_and(|topic| self.holds(topic, partition.partition, first, last))
    }

    /// The convicted records, as topic, partition and offset: to be journaled as skipped before anything
    /// is read.
    pub fn poison(&self) -> Vec<(String, i32, i64)> {
        let convicted = self.singles.iter().filter(|single| single.crashes >= POISON_AFTER);
        convicted.map(|s| (s.topic.clone(), s.partition, s.offset)).collect()
    }

    /// Waits until no other worker of this process decodes a suspected record.
    pub(super) fn begin_trial(&self) {
        while self.trial.swap(true, Ordering::Acquire) {
            std::thread::sleep(TRIAL_LOOK);
        }
    }

    pub(super) fn end_trial(&self) {
        self.trial.store(false, Ordering::Release);
    }

    fn holds(&self, topic: &str, partition: i32, first: i64, last: i64) -> bool {
        self.ranges.iter().any(|range| {
            range.topic == topic
                && range.partition == partition
                && range.first <= last
                && first <= range.last
        })
    }

    fn suspect(&mut self, suspect: &Suspect) {
        let Suspect { topic, partition, first, last, .. } = suspect.clone();
        let range = Range { topic, partition, first, last };
        if !self.ranges.contains(&range) {
            self.ranges.push(range);
            keep_newest(&mut self.ranges);
        }
    }

    fn accuse(&mut self, suspect: &Suspect) {
        let found = self.singles.iter_mut().find(|single| {
            single.topic == suspect.topic
                && single.partition == suspect.partition
                && single.offset == suspect.first
        });
        if let Some(single) = found {
            single.crashes = single.crashes.saturating_add(1);
            return;
        }
        let Suspect { topic, partition, first: offset, .. } = suspect.clone();
        self.singles.push(Single { topic, partition, offset, crashes: 1 });
        keep_newest(&mut self.singles);
    }
}

fn keep_newest<T>(list: &mut Vec<T>) {
    let surplus = list.len().saturating_sub(KEPT);
    list.drain(..surplus);
}
