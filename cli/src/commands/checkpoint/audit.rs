//! What is in a state store, and whether it is whole. Changes nothing, so a pipeline may be at work meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use tidewatch_connectors::delivery::verify_segment;
use tidewatch_dataflow::checkpoint::frame::{Kind, payload, unframe};
use tidewatch_dataflow::checkpoint::{
    CheckpointError, Manifest, ObjectRef, Part, StateStore, StoreError,
};

/// Where the objects lie that a checkpoint is made of.
const FOLDERS: [&str; 3] = ["parts/", "pieces/", "spill/"];

/// Where the objects lie that stand beside all checkpoints.
const BESIDE: [(&str, Kind); 3] =
    [("runs/", Kind::Run), ("journal/", Kind::Journal), ("outbox/", Kind::Outbox)];

/// Something that is wrong with an object of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// Name of the object.
    pub object: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A checkpoint as it lies in the store.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Name of its manifest, `manifests/RUN-NUMBER`.
    pub name: String,
    /// The manifest, if it can be read.
    pub manifest: Option<Manifest>,
    /// Those of its parts that can be read.
    pub parts: Vec<Part>,
    /// What is wrong with it.
    pub damages: BTreeSet<Damage>,
}

/// Bytes of one object that a checkpoint needs, with their checksum.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    offset: u64,
    length: u64,
    checksum: u32,
}

impl Checkpoint {
    /// How it is called: run and number.
    pub fn title(&self) -> &str {
        self.name.strip_prefix("manifests/").unwrap_or(&self.name)
    }

    /// Run and number, by its name.
    pub fn run_and_number(&self) -> Option<(u64, u64)> {
        let (run, number) = self.title().split_once('-')?;
        Some((run.parse().ok()?, number.parse().ok()?))
    }

    /// How many pieces it has.
    pub fn pieces(&self) -> usize {
        self.parts.iter().flat_map(|part| &part.operators).map(|o| o.pieces.len()).sum()
    }

    /// Bytes of all pieces.
    pub fn state_bytes(&self) -> u64 {
        let operators = self.parts.iter().flat_map(|part| &part.operators);
        operators.flat_map(|operator| &operator.pieces).map(|piece| piece.length).sum()
    }

    /// The objects its pieces lie in, and which bytes of them.
    fn needs(&self) -> BTreeMap<&str, BTreeSet<Need>> {
        let mut needs: BTreeMap<&str, BTreeSet<Need>> = BTreeMap::new();
        for part in &self.parts {
            for piece in part.operators.iter().flat_map(|operator| &operator.pieces) {
                let Some(object) = part.objects.get(piece.object as usize) else { continue };
                let (offset, length, checksum) = (piece.offset, piece.length, piece.checksum);
                needs.entry(object).or_default().insert(Need { offset, length, checksum });
            }
        }
        needs
    }

    /// The segments of undelivered items.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().flat_map(|part| &part.others).map(String::as_str)
    }

    fn damage(&mut self, object: &str, reason: impl Into<String>) {
        self.damages.insert(Damage { object: object.to_owned(), reason: reason.into() });
    }
}

/// The checkpoints of a store, newest first, and the sizes of the objects that they may name.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The checkpoints.
    pub checkpoints: Vec<Checkpoint>,
    /// Sizes in bytes.
    pub sizes: BTreeMap<String, u64>,
    /// What is wrong with the journal, the outbox and the claims of runs.
    pub beside: Vec<Damage>,
}

/// How much was read to verify.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Objects.
    pub objects: usize,
    /// Bytes.
    pub bytes: u64,
}

impl Survey {
    /// Looks at every checkpoint: reads manifests and parts, and sees whether what they name is there and large
    /// enough.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be asked.
    pub fn of(store: &dyn StateStore) -> Result<Survey, StoreError> {
        let manifests = store.list("manifests/")?;
        let mut survey = Survey::default();
        for manifest in manifests.into_iter().rev() {
            survey.checkpoints.extend(read(store, manifest.name)?);
        }
        // Listed last: what these checkpoints name was there before them.
        for folder in FOLDERS {
            survey.sizes.extend(store.list(folder)?.into_iter().map(|o| (o.name, o.size)));
        }
        for checkpoint in &mut survey.checkpoints {
            measure(checkpoint, &survey.sizes);
        }
        survey.forget_dropped(store)?;
        Ok(survey)
    }

    /// Reads every object that a checkpoint needs, once, and those beside the checkpoints, and checks every checksum.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be asked.
    pub fn verify(&mut self, store: &dyn StateStore) -> Result<Effort, StoreError> {
        let mut effort = Effort::default();
        let mut needs: BTreeMap<String, BTreeSet<Need>> = BTreeMap::new();
        let mut segments = BTreeSet::new();
        for checkpoint in &self.checkpoints {
            for (object, bytes) in checkpoint.needs() {
                needs.entry(object.to_owned()).or_default().extend(bytes);
            }
            segments.extend(checkpoint.segments().map(str::to_owned));
            let manifest = checkpoint.manifest.as_ref();
            effort.objects += 1 + checkpoint.parts.len();
            effort.bytes += manifest.map_or(0, |m| m.parts.iter().map(|part| part.size).sum());
        }
        for (object, needs) in needs {
            let Some(content) = read_if_there(store, &object, &mut effort)? else { continue };
            let wrong: BTreeSet<Need> =
                needs.into_iter().filter(|need| !is_whole(&content, *need)).collect();
            for checkpoint in &mut self.checkpoints {
                let needed = checkpoint.needs().remove(object.as_str()).unwrap_or_default();
                let count = needed.intersection(&wrong).count();
                if count > 0 {
                    let of = needed.len();
                    checkpoint.damage(
                        &object,
                        format!("the checksums of {count} of its {of} pieces are wrong"),
                    );
                }
            }
        }
        for segment in segments {
            let Some(content) = read_if_there(store, &segment, &mut effort)? else { continue };
            let Err(reason) = verify_segment(&content) else { continue };
            for checkpoint in &mut self.checkpoints {
                if checkpoint.segments().any(|name| name == segment) {
                    checkpoint.damage(&segment, reason.clone());
                }
            }
        }
        self.forget_dropped(store)?;
        for (folder, kind) in BESIDE {
            let is_number = |byte: u8| byte.is_ascii_digit() || byte == b'-';
            let is_own = |name: &str| name.bytes().skip(folder.len()).all(is_number);
            for object in store.list(folder)?.into_iter().filter(|o| is_own(&o.name)) {
                // Old ones are dropped by a pipeline at work.
                let Some(content) = read_if_there(store, &object.name, &mut effort)? else {
                    continue;
                };
                if let Err(reason) = payload(kind, &content) {
                    self.beside.push(Damage { object: object.name, reason: reason.to_string() });
                }
            }
        }
        Ok(effort)
    }

    /// A pipeline at work drops old checkpoints: what was dropped meanwhile is not damaged.
    fn forget_dropped(&mut self, store: &dyn StateStore) -> Result<(), StoreError> {
        if self.checkpoints.iter().any(|checkpoint| !checkpoint.damages.is_empty()) {
            let there = store.list("manifests/")?;
            self.checkpoints.retain(|checkpoint| {
                checkpoint.damages.is_empty() || there.iter().any(|o| o.name == checkpoint.name)
            });
        }
        Ok(())
    }

    /// The checkpoint that `wanted` means: its whole name, `RUN-NUMBER` with or without zeros, or `NUMBER`
    /// alone for the newest of that number; the newest without it.
    pub fn find(&self, wanted: Option<&str>) -> Option<usize> {
        let Some(wanted) = wanted else { return (!self.checkpoints.is_empty()).then_some(0) };
        let (run, number) = match wanted.split_once('-') {
            Some((run, number)) => (Some(run.parse::<u64>().ok()?), number),
            None => (None, wanted),
        };
        let number: u64 = number.parse().ok()?;
        self.checkpoints.iter().position(|checkpoint| {
            checkpoint
                .run_and_number()
                .is_some_and(|(r, n)| run.is_none_or(|run| run == r) && n == number)
        })
    }
}

/// Reads a checkpoint; `None` when it was dropped since it was listed.
fn read(store: &dyn StateStore, name: String) -> Result<Option<Checkpoint>, StoreError> {
    let mut checkpoint =
        Checkpoint { name, manifest: None, parts: Vec::new(), damages: BTreeSet::new() };
    let manifest = match Manifest::read(store, &checkpoint.name) {
        Ok(manifest) => manifest,
        Err(CheckpointError::Store(StoreError::Missing { .. })) => return Ok(None),
        Err(CheckpointError::Store(error)) => return Err(error),
        Err(CheckpointError::Object { name, reason }) => {
            checkpoint.damage(&name, reason.to_string());
            return Ok(Some(checkpoint));
        }
        Err(other) => {
            let name = checkpoint.name.clone();
            checkpoint.damage(&name, other.to_string());
            return Ok(Some(checkpoint));
        }
    };
    for reference in &manifest.parts {
        match read_part(store, reference)? {
            Ok(part) => checkpoint.parts.push(part),
            Err(reason) => checkpoint.damage(&reference.name, reason),
        }
    }
    checkpoint.manifest = Some(manifest);
    Ok(Some(checkpoint))
}

/// The part, or what is wrong with it.
fn read_part(
    store: &dyn StateStore,
    reference: &ObjectRef,
) -> Result<Result<Part, String>, StoreError> {
    let bytes = match store.read(&reference.name) {
        Ok(bytes) => bytes,
        Err(StoreError::Missing { .. }) => return Ok(Err("it is missing".to_owned())),
        Err(error) => return Err(error),
    };
    if ObjectRef::of(reference.name.clone(), &bytes) != *reference {
        return Ok(Err("its checksum is not the one in the manifest".to_owned()));
    }
    Ok(unframe(Kind::Part, &bytes).map_err(|reason| reason.to_string()))
}

/// Sees whether all objects are there, and as large as what is to be in them.
fn measure(checkpoint: &mut Checkpoint, sizes: &BTreeMap<String, u64>) {
    let mut wrong = Vec::new();
    for (object, needs) in checkpoint.needs() {
        let end = needs.iter().map(|need| need.offset.saturating_add(need.length)).max();
        match sizes.get(object) {
            None => wrong.push((object.to_owned(), "it is missing".to_owned())),
            Some(size) if end > Some(*size) => {
                let end = end.unwrap_or_default();
                wrong.push((
                    object.to_owned(),
                    format!("it has {size} bytes, and pieces up to byte {end}"),
                ));
            }
            Some(_) => {}
        }
    }
    let gone = checkpoint.segments().filter(|segment| !sizes.contains_key(*segment));
    wrong.extend(gone.map(|segment| (segment.to_owned(), "it is missing".to_owned())));
    let nowhere = checkpoint.parts.iter().any(|part| {
        let mut pieces = part.operators.iter().flat_map(|operator| &operator.pieces);
        pieces.any(|piece| part.objects.get(piece.object as usize).is_none())
    });
    if nowhere {
        wrong.push((checkpoint.name.clone(), "a piece lies in no object".to_owned()));
    }
    for (object, reason) in wrong {
        checkpoint.damage(&object, reason);
    }
}

/// What is missing has been told by [`measure`].
fn read_if_there(
    store: &dyn StateStore,
    name: &str,
    effort: &mut Effort,
) -> Result<Option<Vec<u8>>, StoreError> {
    match store.read(name) {
        Ok(bytes) => {
            effort.objects += 1;
            effort.bytes += bytes.len() as u64;
            Ok(Some(bytes))
        }
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_whole(content: &[u8], need: Need) -> bool {
    let from = usize::try_from(need.offset).unwrap_or(usize::MAX);
    let to = from.saturating_add(usize::try_from(need.length).unwrap_or(usize::MAX));
    content
        .get(from..to)
        .is_some_and(|bytes| ObjectRef::of(String::new(), bytes).checksum == need.checksum)
}
