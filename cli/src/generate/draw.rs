//! Repeatable randomness: one number for each (seed, stream, subject, index), kept nowhere.
//!
//! Whole numbers are mixed with the finaliser of splitmix64. Fractions use the four basic operations on
//! doubles only, which every machine rounds alike: no sine, no power, no fused multiply and add.

/// What random numbers are for: streams do not influence each other. `docs/benchmark.md` lists them.
#[derive(Copy, Clone, Debug)]
pub(super) enum Stream {
    Host = 1,
    CpuSlow = 2,
    CpuFast = 3,
    CpuNoise = 4,
    CpuSpike = 5,
    CpuSplit = 6,
    MemorySlow = 7,
    MemoryFast = 8,
    DiskSlow = 9,
    MetricDelay = 10,
    MetricLate = 11,
    MetricLateBy = 12,
    Log = 13,
    Incident = 14,
    Burst = 15,
}

/// The source of all streams.
#[derive(Copy, Clone, Debug)]
pub(super) struct Draws(u64);

/// One stream for one subject, such as the processor load of host 7.
#[derive(Copy, Clone, Debug)]
pub(super) struct Key(u64);

/// The finaliser of splitmix64: every input bit reaches every output bit.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Draws {
    /// All streams of `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Draws(mix(seed))
    }

    /// The numbers of `stream` for `subject`.
    pub(super) fn key(self, stream: Stream, subject: u64) -> Key {
        Key(mix(mix(self.0 ^ stream as u64) ^ subject))
    }
}

impl Key {
    /// The number at `index`, all bits random.
    pub(super) fn bits(self, index: u64) -> u64 {
        mix(self.0 ^ index)
    }

    /// The number at `index`, at least 0 and less than 1: the upper 53 bits.
    pub(super) fn unit(self, index: u64) -> f64 {
        const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
        (self.bits(index) >> 11) as f64 * STEP
    }

    /// The number at `index`, less than `bound`: the upper half of a product of 128 bits.
    pub(super) fn below(self, index: u64, bound: u64) -> u64 {
        ((u128::from(self.bits(index)) * u128::from(bound)) >> 64) as u64
    }

    /// A smooth curve through a random value every `period` seconds, at least 0 and at most 1.
    pub(super) fn wave(self, second: u64, period: u64) -> f64 {
        let (left, within) = (second / period, (second % period) as f64 / period as f64);
        let (from, to) = (self.unit(left), self.unit(left + 1));
        let blend = within * within * (3.0 - 2.0 * within);
        from + (to - from) * blend
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mixer_is_splitmix64() {
        // The first outputs of the published generator for the seed 0.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(0x9e37_79b9_7f4a_7c15), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn waves_stay_in_bounds_and_have_no_jumps() {
        let key = Draws::new(7).key(Stream::CpuSlow, 3);
        let mut last = key.wave(0, 300);
        for second in 1..10_000 {
            let value = key.wave(second, 300);
            assert!((0.0..=1.0).contains(&value));
            assert!((value - last).abs() <= 1.5 / 300.0 + 1e-12, "a jump at {second}");
            last = value;
        }
    }

    #[test]
    fn streams_subjects_and_seeds_differ() {
        let draws = Draws::new(1);
        let first = draws.key(Stream::CpuSlow, 0).bits(0);
        assert_ne!(first, draws.key(Stream::CpuFast, 0).bits(0));
        assert_ne!(first, draws.key(Stream::CpuSlow, 1).bits(0));
        assert_ne!(first, draws.key(Stream::CpuSlow, 0).bits(1));
        assert_ne!(first, Draws::new(2).key(Stream::CpuSlow, 0).bits(0));
    }
}
