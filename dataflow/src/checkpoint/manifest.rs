//! What a checkpoint consists of, as objects of a state store.
//!
//! ```text
//!  manifests/RUN-CUT ──► parts/RUN-CUT-PROCESS ──► pieces/RUN-CUT-PROCESS   (of this cut or of earlier ones)
//!     written last            one a process    └─► spill/...               items that sinks have not delivered
//! ```
//!
//! All objects are immutable. A checkpoint is complete when its manifest is there: it is written once all its
//! parts, and all they name, are durable.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::frame::{FrameError, Kind, frame, unframe};
use super::piece::{Bytes, Share};
use super::{Cut, Restored, RestoredState, StateStore, StoreError};
use crate::time::EventTime;

/// Why a checkpoint cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object is not what it should be.
    #[error(
        "could not read checkpoint object `{name}`: {reason}; to go on from an older checkpoint, delete the \
         newest object under `manifests/`"
    )]
    Object {
        /// Name of the object.
        name: String,
        /// What is wrong with it.
        reason: FrameError,
    },
    /// An object of the journal is not what it should be.
    #[error(
        "could not read the journal object `{name}`: {reason}; restore it from a copy of the store, or delete it \
         and accept that records of partitions that had been silent may be counted otherwise than they were"
    )]
    Journal {
        /// Name of the object.
        name: String,
        /// What is wrong with it.
        reason: FrameError,
    },
    /// The state belongs to another pipeline.
    #[error(
        "the state in the store belongs to pipeline `{found}` and this is `{expected}`: give each pipeline a \
         `store` of its own, or set `pipeline = \"{found}\"`"
    )]
    Foreign {
        /// The name in the state.
        found: String,
        /// The name in the configuration.
        expected: String,
    },
    /// A newer run has taken over.
    #[error("run {newer} has taken over from this run {own}: two must not write at once")]
    Fenced {
        /// This run.
        own: u64,
        /// The newest run.
        newer: u64,
    },
}

impl CheckpointError {
    /// Whether a newer run has taken over.
    pub fn is_fenced(&self) -> bool {
        matches!(self, CheckpointError::Fenced { .. })
    }
}

/// An object and its checksum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// CRC-32 of its content.
    pub checksum: u32,
}

impl ObjectRef {
    /// The reference to an object with this content.
    pub fn of(name: String, content: &[u8]) -> Self {
        ObjectRef { name, size: content.len() as u64, checksum: crc32fast::hash(content) }
    }
}

/// One piece inside an object of pieces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceRef {
    /// Its name in the operator.
    pub name: Box<str>,
    /// Index into [`Part::objects`].
    pub object: u32,
    /// Where it begins.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// CRC-32 of its bytes.
    pub checksum: u32,
}

/// What one operator put on one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorPart {
    /// The operator.
    pub operator: Box<str>,
    /// Index of the worker over all processes; of the first worker of the process for what the process put.
    pub worker: u32,
    /// The pieces.
    pub pieces: Vec<PieceRef>,
}

/// What one process put.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Objects of pieces.
    pub objects: Vec<String>,
    /// What each operator put on each worker.
    pub operators: Vec<OperatorPart>,
    /// Other objects that the pieces speak of: segments of undelivered items.
    pub others: Vec<String>,
}

/// A checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The pipeline it belongs to.
    pub pipeline: String,
    /// The run that wrote it.
    pub run: u64,
    /// What it holds.
    pub cut: Cut,
    /// When it was written, by the wall clock.
    pub written_at: EventTime,
    /// How many workers there were.
    pub workers: u32,
    /// Topics in the order of their indexes.
    pub topics: Vec<String>,
    /// One part for each process.
    pub parts: Vec<ObjectRef>,
}

/// The name of object `folder` of a cut, with `suffix`. Names sort by run, then by cut.
pub(super) fn name(folder: &str, run: u64, cut: u64, suffix: &str) -> String {
    format!("{folder}/{run:08}-{cut:010}{suffix}")
}

fn read_framed<T: serde::de::DeserializeOwned>(
    store: &dyn StateStore,
    kind: Kind,
    name: &str,
) -> Result<T, CheckpointError> {
    let bytes = store.read(name)?;
    unframe(kind, &bytes)
        .map_err(|reason| CheckpointError::Object { name: name.to_owned(), reason })
}

fn damaged(name: &str, what: &str) -> CheckpointError {
    let reason = FrameError::Damaged(what.to_owned());
    CheckpointError::Object { name: name.to_owned(), reason }
}

impl Manifest {
    /// Its name in the store.
    pub fn name(&self) -> String {
        name("manifests", self.run, self.cut.sequence, "")
    }

    /// Its content.
    pub fn encode(&self) -> Vec<u8> {
        frame(Kind::Manifest, self)
    }

    /// Names of all checkpoints, oldest first.
    ///
    /// # Errors
    /// [`CheckpointError::Store`].
    pub fn list(store: &dyn StateStore) -> Result<Vec<String>, CheckpointError> {
        Ok(store.list("manifests/")?.into_iter().map(|object| object.name).collect())
    }

    /// Reads the checkpoint `name`.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn read(store: &dyn StateStore, name: &str) -> Result<Manifest, CheckpointError> {
        read_framed(store, Kind::Manifest, name)
    }

    /// The newest checkpoint, or `None` when there is none.
    ///
    /// # Errors
    /// [`CheckpointError`]; one that is damaged is never passed over in silence.
    pub fn newest(
        store: &dyn StateStore,
        pipeline: &str,
    ) -> Result<Option<Manifest>, CheckpointError> {
        let Some(name) = Manifest::list(store)?.pop() else { return Ok(None) };
        let manifest = Manifest::read(store, &name)?;
        if manifest.pipeline != pipeline {
            return Err(CheckpointError::Foreign {
                found: manifest.pipeline,
                expected: pipeline.to_owned(),
            });
        }
        Ok(Some(manifest))
    }

    /// Its parts, checked.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn parts(&self, store: &dyn StateStore) -> Result<Vec<Part>, CheckpointError> {
        self.parts.iter().map(|part| read_part(store, part)).collect()
    }

    /// The names of all objects it needs besides itself.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn objects(&self, store: &dyn StateStore) -> Result<BTreeSet<String>, CheckpointError> {
        let mut names: BTreeSet<_> = self.parts.iter().map(|part| part.name.clone()).collect();
        for part in self.parts(store)? {
            names.extend(part.objects);
            names.extend(part.others);
        }
        Ok(names)
    }

    /// Reads the whole state and checks every checksum.
    ///
    /// # Errors
    /// [`CheckpointError`], with the object at fault.
    pub fn load(&self, store: &dyn StateStore) -> Result<RestoredState, CheckpointError> {
        let mut state = RestoredState { at: self.cut.at, operators: BTreeMap::new() };
        for part in self.parts(store)? {
            let objects = part.objects.iter();
            let objects = objects
                .map(|name| Ok((name, Arc::<[u8]>::from(store.read(name)?))))
                .collect::<Result<Vec<_>, StoreError>>()?;
            for operator in part.operators {
                let mut share =
                    Share { operator: operator.operator.as_ref().into(), ..Share::default() };
                for piece in operator.pieces {
                    let Some((object, content)) = objects.get(piece.object as usize) else {
                        return Err(damaged(&self.name(), "a piece lies in no object"));
                    };
                    let bytes = piece_bytes(object, content, &piece)?;
                    share.pieces.insert(piece.name, bytes);
                }
                let restored: &mut Restored = state.operators.entry(operator.operator).or_default();
                restored.shares.push(share);
            }
        }
        Ok(state)
    }
}

fn read_part(store: &dyn StateStore, part: &ObjectRef) -> Result<Part, CheckpointError> {
    let bytes = store.read(&part.name)?;
    if ObjectRef::of(part.name.clone(), &bytes) != *part {
        return Err(damaged(&part.name, "its checksum is not the one in the manifest"));
    }
    unframe(Kind::Part, &bytes)
        .map_err(|reason| CheckpointError::Object { name: part.name.clone(), reason })
}

fn piece_bytes(
    object: &str,
    content: &Arc<[u8]>,
    piece: &PieceRef,
) -> Result<Bytes, CheckpointError> {
    let range = usize::try_from(piece.offset).ok().and_then(|from| {
        let to = from.checked_add(usize::try_from(piece.length).ok()?)?;
        Some(from..to)
    });
    let bytes = range.clone().and_then(|range| content.get(range));
    match (range, bytes) {
        (Some(range), Some(bytes)) if crc32fast::hash(bytes) == piece.checksum => {
            Ok(Bytes { object: Arc::clone(content), range })
        }
        (_, Some(_)) => {
            Err(damaged(object, &format!("the checksum of piece `{}` is wrong", piece.name)))
        }
        _ => Err(damaged(object, &format!("piece `{}` lies outside", piece.name))),
    }
}
