//! Puts the pieces of a cut into one object, and refers to earlier objects for what has not changed.

use std::collections::BTreeMap;

use super::manifest::{OperatorPart, Part, PieceRef, name};
use super::{CheckpointError, Cut, PieceContent, StateStore, StoreError, WorkerPieces};

/// Which piece: operator, worker and name.
type Key = (Box<str>, usize, Box<str>);

/// Where a piece lies.
#[derive(Clone, Debug)]
struct Place {
    object: String,
    offset: u64,
    length: u64,
    checksum: u32,
}

/// What one cut of one process is made of.
pub(super) struct Built {
    /// The object with new pieces; none when nothing changed.
    pub(super) pieces: Option<(String, Vec<u8>)>,
    /// The list of all pieces.
    pub(super) part: Part,
    /// Bytes of all pieces, new and old.
    pub(super) state_bytes: u64,
}

/// Remembers where the pieces of the previous cut lie.
pub(super) struct Assembly {
    run: u64,
    process: usize,
    known: BTreeMap<Key, Place>,
    /// Sizes of the objects that known pieces lie in.
    sizes: BTreeMap<String, u64>,
}

impl Assembly {
    pub(super) fn new(run: u64, process: usize) -> Self {
        Assembly { run, process, known: BTreeMap::new(), sizes: BTreeMap::new() }
    }

    /// Builds the objects of `cut`.
    pub(super) fn build(
        &mut self,
        store: &dyn StateStore,
        cut: Cut,
        shares: Vec<(usize, WorkerPieces)>,
        others: Vec<String>,
    ) -> Result<Built, CheckpointError> {
        let own = name("pieces", self.run, cut.sequence, &format!("-p{:04}", self.process));
        let mut content = Vec::new();
        let mut places = BTreeMap::new();
        for (worker, operators) in shares {
            for (operator, pieces) in operators {
                for piece in pieces {
                    let key = (operator.clone(), worker, piece.name);
                    let place = match piece.content {
                        PieceContent::New(bytes) => append(&mut content, &own, &bytes),
                        // Every piece of a former cut was written: cuts come one after another.
                        PieceContent::Same => match self.known.remove(&key) {
                            Some(place) => place,
                            None => continue,
                        },
                    };
                    places.insert(key, place);
                }
            }
        }
        self.rewrite_the_sparsest(store, &own, &mut content, &mut places)?;
        self.known = places;
        let mut part = Part { others, ..Part::default() };
        let mut indexes = BTreeMap::new();
        let mut state_bytes = 0;
        for ((operator, worker, piece), place) in &self.known {
            state_bytes += place.length;
            let index = *indexes.entry(place.object.clone()).or_insert_with(|| {
                part.objects.push(place.object.clone());
                part.objects.len() - 1
            });
            let piece = PieceRef {
                name: piece.clone(),
                object: u32::try_from(index).unwrap_or(u32::MAX),
                offset: place.offset,
                length: place.length,
                checksum: place.checksum,
            };
            let worker = u32::try_from(*worker).unwrap_or(u32::MAX);
            match part.operators.last_mut() {
                Some(last) if last.operator == *operator && last.worker == worker => {
                    last.pieces.push(piece);
                }
                _ => part.operators.push(OperatorPart {
                    operator: operator.clone(),
                    worker,
                    pieces: vec![piece],
                }),
            }
        }
        self.sizes.insert(own.clone(), content.len() as u64);
        self.sizes.retain(|object, _| indexes.contains_key(object));
        let pieces = (!content.is_empty()).then_some((own, content));
        Ok(Built { pieces, part, state_bytes })
    }

    /// Copies what is still needed of the object that is least of use into the new one, if less than half of it
    /// is: so old objects never hold more than twice what is needed of them for long.
    fn rewrite_the_sparsest(
        &self,
        store: &dyn StateStore,
        own: &str,
        content: &mut Vec<u8>,
        places: &mut BTreeMap<Key, Place>,
    ) -> Result<(), CheckpointError> {
        let mut live: BTreeMap<&str, u64> = BTreeMap::new();
        for place in places.values().filter(|place| place.object != own) {
            *live.entry(&place.object).or_default() += place.length;
        }
        let sparse = live.into_iter().filter_map(|(object, live)| {
            let size = *self.sizes.get(object)?;
            (live * 2 < size).then(|| (live * 1_000 / size.max(1), object.to_owned()))
        });
        let Some((_, object)) = sparse.min() else { return Ok(()) };
        let old = match store.read(&object) {
            Ok(old) => old,
            Err(error @ StoreError::Failed { .. }) => {
                // It can wait until the next cut, or for ever.
                tracing::warn!(object, %error, "could not read an old checkpoint object to copy from it");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        for place in places.values_mut().filter(|place| place.object == object) {
            let from = usize::try_from(place.offset).unwrap_or(usize::MAX);
            let to = from.saturating_add(usize::try_from(place.length).unwrap_or(usize::MAX));
            // Whoever reads the copy checks it against the checksum of the original.
            if let Some(bytes) = old.get(from..to) {
                let checksum = place.checksum;
                *place = Place { checksum, ..append(content, own, bytes) };
            }
        }
        Ok(())
    }
}

fn append(content: &mut Vec<u8>, object: &str, bytes: &[u8]) -> Place {
    let offset = content.len() as u64;
    content.extend_from_slice(bytes);
    Place {
        object: object.to_owned(),
        offset,
        length: bytes.len() as u64,
        checksum: crc32fast::hash(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{ObjectInfo, Piece};
    use crate::time::EventTime;

    /// A store that does not answer.
    struct Silent;

    fn failed<T>(action: &'static str, name: &str) -> Result<T, StoreError> {
        Err(StoreError::Failed { action, name: name.to_owned(), source: "no answer".into() })
    }

    impl StateStore for Silent {
        fn create(&self, name: &str, _: &[u8]) -> Result<(), StoreError> {
            failed("create", name)
        }
        fn read(&self, name: &str) -> Result<Vec<u8>, StoreError> {
            failed("read", name)
        }
        fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
            failed("list", prefix)
        }
        fn delete(&self, name: &str) -> Result<(), StoreError> {
            failed("delete", name)
        }
    }

    #[test]
    fn old_objects_are_left_alone_while_the_store_does_not_answer() {
        let mut assembly = Assembly::new(1, 0);
        let mut build = |sequence, small: PieceContent| {
            let large = PieceContent::New(vec![sequence as u8; 1_000]);
            let piece = |name: &str, content| Piece { name: name.into(), content };
            let pieces = vec![piece("large", large), piece("small", small)];
            let shares = vec![(0, vec![("operator".into(), pieces)])];
            let cut = Cut { sequence, at: EventTime::from_millis(sequence) };
            assembly.build(&Silent, cut, shares, Vec::new()).unwrap()
        };
        let first = build(1, PieceContent::New(vec![7; 10]));
        // Less than half of the first object is in use now: it would be read and copied from.
        let second = build(2, PieceContent::Same);
        let (Some((one, _)), Some((two, content))) = (first.pieces, second.pieces) else {
            panic!("both cuts have something new");
        };
        assert_eq!((second.part.objects, content.len()), (vec![two, one], 1_000));
    }
}
