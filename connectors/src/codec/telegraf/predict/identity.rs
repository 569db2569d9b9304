//! The bytes from the end of the fields to the time, and the series that each of them stands for.
//!
//! A hash table over one array of bytes. A hash decides where to look, never what is equal. It starts from
//! secret random words, so nobody can choose labels that collide.
//!
//! A large fleet has more identities than the caches hold, and a search waits for memory two times: for the place,
//! then for the bytes. [`Identities::touch`] asks for those of many searches at once, so that they wait together.

use std::hash::{BuildHasher, RandomState};

use smallvec::SmallVec;
use tidewatch_dataflow::series::SeriesId;

use super::super::super::AHEAD;

/// The most identities: more than the default of `series_max`, for one series may be written in more than
/// one way. At most half of the places are taken, each of 16 bytes: 32 MiB.
pub(super) const COUNT_MAX: usize = 1 << 20;
/// The most bytes of all identities, 128 for each of [`COUNT_MAX`]: 128 MiB.
pub(super) const BYTES_MAX: usize = 128 << 20;
/// The longest identity: as long as [labels may be](super::super::super::LABEL_BYTES_MAX).
pub(super) const LENGTH_MAX: usize = 4_096;

/// Memory comes in lines of so many bytes; most identities have two or three.
pub(super) const LINE: usize = 64;
/// So many places at first: 16 KiB.
const PLACES_MIN: usize = 1_024;

/// Where the bytes of one identity stand.
#[derive(Copy, Clone)]
struct Place {
    /// The upper half of the hash.
    tag: u32,
    at: u32,
    /// 0 where the place is free: no identity is empty.
    length: u32,
    series: SeriesId,
}

const FREE: Place = Place { tag: 0, at: 0, length: 0, series: SeriesId(0) };

/// See the module. Takes no memory before the first identity.
pub(super) struct Identities {
    /// A power of two, searched from the lower half of the hash on.
    places: Vec<Place>,
    taken: usize,
    bytes: Vec<u8>,
    secrets: [u64; 2],
}

impl Default for Identities {
    fn default() -> Self {
        let random = RandomState::new();
        let secrets = [random.hash_one(1), random.hash_one(2)];
        Identities { places: Vec::new(), taken: 0, bytes: Vec::new(), secrets }
    }
}

impl Identities {
    /// The series that `identity`, whose hash is `hash`, stands for.
    #[inline]
    pub(super) fn find(&self, identity: &[u8], hash: u64) -> Option<SeriesId> {
        let place = self.places.get(self.place_of(identity, hash)?)?;
        (place.length != 0).then_some(place.series)
    }

    /// Brings what searches for identities with `hashes` will look at into the caches.
    pub(super) fn touch(&self, hashes: impl Iterator<Item = u64>) {
        let Some(last) = self.places.len().checked_sub(1) else { return };
        let first = |hash: u64| self.places.get(hash as usize & last);
        let places: SmallVec<[&[u8]; AHEAD]> =
            hashes.filter_map(first).map(|place| self.bytes_of(place)).collect();
        // A processor waits for many lines of memory together where nothing is made of one before the next is asked for.
        let ends =
            |bytes: &&[u8]| [bytes.first(), bytes.get(LINE), bytes.last()].map(|b| b.copied());
        for ends in places.iter().map(ends) {
            // Otherwise nothing would be read, since nobody wants to know it.
            std::hint::black_box(ends);
        }
    }

    /// How many bytes all identities have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Remembers that `identity` stands for `series`. Empties the table if it is full.
    pub(super) fn insert(&mut self, identity: &[u8], series: SeriesId) {
        if identity.is_empty() || identity.len() > LENGTH_MAX {
            return;
        }
        if self.taken >= COUNT_MAX || self.bytes.len() + identity.len() > BYTES_MAX {
            self.clear();
        }
        if self.taken * 2 >= self.places.len() {
            self.grow();
        }
        let hash = self.hash(identity);
        let Some(index) = self.place_of(identity, hash) else { return };
        let Ok(at) = u32::try_from(self.bytes.len()) else { return };
        let Some(place) = self.places.get_mut(index) else { return };
        if place.length == 0 {
            *place = Place { tag: tag(hash), at, length: identity.len() as u32, series };
            self.bytes.extend_from_slice(identity);
            self.taken += 1;
        }
    }

    /// Forgets everything, and gives the memory back.
    pub(super) fn clear(&mut self) {
        (self.places, self.taken, self.bytes) = (Vec::new(), 0, Vec::new());
    }

    /// The place of `identity`, or the free one where it belongs; `None` when there are no places yet.
    #[inline]
    fn place_of(&self, identity: &[u8], hash: u64) -> Option<usize> {
        let last = self.places.len().checked_sub(1)?;
        let tag = tag(hash);
        let mut index = hash as usize & last;
        // Ends, for half of the places are free.
        loop {
            let place = self.places.get(index)?;
            if place.length == 0 {
                return Some(index);
            }
            if place.tag == tag && self.bytes_of(place) == identity {
                return Some(index);
            }
            index = (index + 1) & last;
        }
    }

    #[inline]
    fn bytes_of(&self, place: &Place) -> &[u8] {
        let at = place.at as usize;
        self.bytes.get(at..at + place.length as usize).unwrap_or_default()
    }

    /// Twice as many places.
    fn grow(&mut self) {
        let more = (self.places.len() * 2).max(PLACES_MIN);
        let old = std::mem::replace(&mut self.places, vec![FREE; more]);
        for place in old.into_iter().filter(|place| place.length != 0) {
            let hash = self.hash(self.bytes_of(&place));
            let mut index = hash as usize & (more - 1);
            while let Some(found) = self.places.get_mut(index) {
                if found.length == 0 {
                    *found = place;
                    break;
                }
                index = (index + 1) & (more - 1);
            }
        }
    }

    /// The hash of `bytes`. Folds 32 a step in two strands, then the last 32 or fewer.
    #[inline]
    pub(super) fn hash(&self, bytes: &[u8]) -> u64 {
        let [mut a, mut b] = self.secrets;
        let (chunks, rest) = bytes.as_chunks::<32>();
        for chunk in chunks {
            let (words, _) = chunk.as_chunks::<8>();
            let [w, x, y, z] = [words[0], words[1], words[2], words[3]].map(u64::from_le_bytes);
            a = fold(w ^ a, x ^ self.secrets[1]);
            b = fold(y ^ b, z ^ self.secrets[0]);
        }
        let (words, last) = rest.as_chunks::<8>();
        for word in words {
            a = fold(u64::from_le_bytes(*word) ^ a, self.secrets[1]);
        }
        let last = last.iter().fold(1, |sum, byte| (sum << 8) | u64::from(*byte));
        fold(fold(a ^ last, b ^ self.secrets[0]), bytes.len() as u64 ^ self.secrets[1])
    }
}

/// The upper half of a hash; the lower one chooses the place.
#[inline]
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// Both halves of a product, folded: each bit of the factors reaches each bit of it.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Identities {
        fn look_up(&self, identity: &[u8]) -> Option<SeriesId> {
            self.touch([identity, b"other"].iter().map(|bytes| self.hash(bytes)));
            self.find(identity, self.hash(identity))
        }
    }

    fn identity(number: u32) -> Vec<u8> {
        format!("}},\"name\":\"m\",\"tags\":{{\"host\":\"{number}\"}},\"timestamp\":").into_bytes()
    }

    #[test]
    fn what_was_put_in_is_found_and_nothing_else() {
        let mut identities = Identities::default();
        assert_eq!(identities.look_up(b"x"), None);
        for number in 0..20_000 {
            identities.insert(&identity(number), SeriesId(number));
        }
        identities.insert(b"", SeriesId(1));
        identities.insert(&[b'x'; LENGTH_MAX + 1], SeriesId(1));
        assert_eq!(identities.taken, 20_000);
        assert!(identities.places.len() >= 40_000 && identities.places.len() < 80_000);
        for number in 0..20_000 {
            assert_eq!(identities.look_up(&identity(number)), Some(SeriesId(number)));
            assert_eq!(identities.look_up(&identity(number + 20_000)), None);
        }
        assert_eq!(
            (identities.look_up(b""), identities.look_up(&[b'x'; LENGTH_MAX + 1])),
            (None, None)
        );
    }

    #[test]
    fn every_length_and_every_byte_counts() {
        let mut identities = Identities::default();
        let text: Vec<u8> = (0..200).collect();
        for length in 1..=200_u32 {
            identities.insert(&text[..length as usize], SeriesId(length));
        }
        for length in 1..=200_usize {
            let mut bytes = text[..length].to_vec();
            assert_eq!(identities.look_up(&bytes), Some(SeriesId(length as u32)));
            let hash = identities.hash(&bytes);
            for at in 0..length {
                bytes[at] ^= 0x10;
                assert_eq!(identities.look_up(&bytes), None);
                assert_ne!(identities.hash(&bytes), hash);
                bytes[at] ^= 0x10;
            }
        }
    }

    #[test]
    fn equal_hashes_do_not_suffice() {
        let mut identities = Identities::default();
        identities.insert(b"identity", SeriesId(1));
        identities.bytes[7] ^= 1;
        assert_eq!(identities.look_up(b"identity"), None);
    }

    #[test]
    fn a_full_table_is_emptied_and_learns_anew() {
        let mut identities = Identities::default();
        // 33,554 of these fill the bytes.
        let long = |number: u32| [identity(number), vec![b'x'; 3_900]].concat();
        for number in 0..70_000 {
            identities.insert(&long(number), SeriesId(number));
            assert!(identities.bytes.len() <= BYTES_MAX && identities.taken <= COUNT_MAX);
            assert_eq!(identities.look_up(&long(number)), Some(SeriesId(number)));
        }
        assert_eq!(identities.look_up(&long(0)), None);
        assert!(identities.bytes.capacity() <= BYTES_MAX);
    }

    #[test]
    fn a_flood_of_labels_stops_at_the_count() {
        let mut identities = Identities::default();
        for number in 0..=COUNT_MAX as u32 {
            identities.insert(&number.to_le_bytes(), SeriesId(number));
        }
        assert_eq!((identities.taken, identities.places.len()), (1, PLACES_MIN));
        assert_eq!(identities.look_up(&0_u32.to_le_bytes()), None);
    }
}
