//! A hash that never changes, and the buckets that state is divided into.

/// FNV-1a over length-prefixed parts, with a final mix (splitmix64): stable across builds, which
/// sharding and incident identities need and `std`'s hashers do not promise.
#[derive(Clone, Debug)]
pub struct StableHash(u64);

impl Default for StableHash {
    fn default() -> Self {
        StableHash(0xcbf2_9ce4_8422_2325)
    }
}

impl StableHash {
    /// Adds one part; `("ab", "c")` and `("a", "bc")` differ.
    pub fn write(&mut self, part: &[u8]) {
        for byte in (part.len() as u64).to_le_bytes().iter().chain(part) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// The hash of everything written so far.
    pub fn finish(&self) -> u64 {
        let mut z = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// State is divided into this many buckets by key, so that it can be restored at any worker count.
pub const BUCKETS: u64 = 256;

/// The worker, of `peers`, that owns the key with this stable hash.
pub fn worker_of(stable_hash: u64, peers: usize) -> usize {
    let bucket = usize::try_from(stable_hash % BUCKETS).unwrap_or(0);
    bucket % peers.max(1)
}

#[cfg(test)]
mod tests {
    use crate::series::Labels;

    #[test]
    fn the_stable_hash_never_changes() {
        let labels = Labels::from_pairs([("host", "web-1")]);
        assert_eq!(labels.stable_hash(), 0xb929_b328_895d_98a2);
    }
}
