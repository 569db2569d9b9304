//! How much goes into one bulk request: less once the cluster finds requests too large, more when it does not.

/// A bulk request holds about this many bytes at most, whatever the lines' lengths: well under the 100 MB
/// that a cluster takes, and under the tenth of an ordinary heap that it lends to all requests together.
const BYTES_MAX: usize = 8 << 20;

/// Requests do not become smaller than this, about forty lines: a cluster that is only busy answers like one
/// that finds a request too large for its heap, and many tiny requests would keep it so.
const BYTES_MIN: usize = 16 << 10;

/// The present bound of a request. A request that alone is larger than what a cluster lends to all together is
/// answered with 429 for ever; so each 429 halves the bound, and each success doubles it again.
#[derive(Debug)]
pub(super) struct RequestSize {
    bytes_max: usize,
}

impl Default for RequestSize {
    fn default() -> Self {
        RequestSize { bytes_max: BYTES_MAX }
    }
}

impl RequestSize {
    /// How many of items with these sizes, at least one, go into the next request, and their bytes.
    pub(super) fn fit(&self, sizes: impl Iterator<Item = usize>) -> (usize, usize) {
        let (mut items, mut bytes) = (0, 0);
        for size in sizes {
            if items > 0 && bytes + size > self.bytes_max {
                break;
            }
            (items, bytes) = (items + 1, bytes + size);
        }
        (items, bytes)
    }

    /// A request of `bytes` was too large, or came at a bad time.
    pub(super) fn shrink(&mut self, bytes: usize) {
        self.bytes_max = self.bytes_max.min(bytes / 2).max(BYTES_MIN);
    }

    /// A request was taken.
    pub(super) fn grow(&mut self) {
        self.bytes_max = (self.bytes_max * 2).min(BYTES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_bounded_in_bytes_and_never_empty() {
        let size = RequestSize::default();
        assert_eq!(size.fit([3 << 20, 3 << 20, 3 << 20].into_iter()), (2, 6 << 20));
        assert_eq!(size.fit([9 << 20, 1].into_iter()), (1, 9 << 20));
        assert_eq!(size.fit(std::iter::repeat_n(500, 5_000)), (5_000, 2_500_000));
    }

    #[test]
    fn a_refused_size_is_halved_down_to_a_floor_and_comes_back() {
        let mut size = RequestSize::default();
        size.shrink(1 << 20);
        assert_eq!(size.fit(std::iter::repeat_n(1 << 10, 10_000)).0, 512);
        for _ in 0..20 {
            let (_, bytes) = size.fit(std::iter::repeat_n(1 << 10, 10_000));
            size.shrink(bytes);
        }
        assert_eq!(size.fit(std::iter::repeat_n(1 << 10, 10_000)).0, 16);
        for _ in 0..20 {
            size.grow();
        }
        assert_eq!(size.fit(std::iter::repeat_n(1 << 10, 10_000)).0, 8 << 10);
    }
}
