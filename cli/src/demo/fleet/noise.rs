//! Repeatable randomness: one number for each (seed, stream, subject, index), kept nowhere.
//!
//! A generator with state would make every value depend on all values drawn before it. Here a value
//! depends on its coordinates alone, so the fleet at an instant is the same whoever asks, in any order.

/// What random numbers are for: streams do not influence each other.
#[derive(Copy, Clone, Debug)]
pub(super) enum Stream {
    CpuLevel = 1,
    CpuSlow,
    CpuFast,
    CpuSpike,
    CpuSplit,
    MemoryLevel,
    MemorySlow,
    MemoryFast,
    DiskLevel,
    DiskSlow,
    Phase,
    Delay,
    LogTime,
    LogText,
    ErrorTime,
    BurstTime,
    Shuffle,
    Later,
}

/// The source of all streams.
#[derive(Copy, Clone, Debug)]
pub(super) struct Noise(u64);

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

impl Noise {
    /// All streams of `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Noise(mix(seed))
    }

    /// The numbers of `stream` for `subject`.
    pub(super) fn key(self, stream: Stream, subject: usize) -> Key {
        Key(mix(self.0 ^ mix((stream as u64) << 40 ^ subject as u64)))
    }
}

impl Key {
    /// The number at `index`, all bits random.
    pub(super) fn bits(self, index: u64) -> u64 {
        mix(self.0 ^ mix(index))
    }

    /// The number at `index`, uniform in `[0, 1)`.
    pub(super) fn unit(self, index: u64) -> f64 {
        (self.bits(index) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The number at `index`, uniform in `[-1, 1)`.
    pub(super) fn sign(self, index: u64) -> f64 {
        2.0 * self.unit(index) - 1.0
    }

    /// The number at `index`, out of `0..bound`; 0 when `bound` is 0.
    pub(super) fn below(self, index: u64, bound: usize) -> usize {
        (self.unit(index) * bound as f64) as usize
    }

    /// One of `choices`, which is never empty.
    pub(super) fn pick<'a>(self, index: u64, choices: &[&'a str]) -> &'a str {
        choices.get(self.below(index, choices.len())).copied().unwrap_or_default()
    }

    /// A smooth curve in `[-1, 1]` at time `millis` that turns about once per `period` milliseconds:
    /// random heights at whole periods, joined by half cosines.
    pub(super) fn wave(self, millis: u64, period: u64) -> f64 {
        let period = period.max(1);
        let (left, within) = (millis / period, (millis % period) as f64 / period as f64);
        let blend = (1.0 - (within * std::f64::consts::PI).cos()) / 2.0;
        self.sign(left) * (1.0 - blend) + self.sign(left + 1) * blend
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_stay_in_bounds_and_have_no_jumps() {
        let key = Noise::new(7).key(Stream::CpuSlow, 3);
        let mut last = key.wave(0, 60_000);
        for millis in (0..600_000).step_by(100) {
            let value = key.wave(millis, 60_000);
            assert!((-1.0..=1.0).contains(&value));
            assert!((value - last).abs() < 0.02, "a jump at {millis}");
            last = value;
        }
    }

    #[test]
    fn streams_and_subjects_differ() {
        let noise = Noise::new(1);
        let first = noise.key(Stream::CpuSlow, 0).bits(0);
        assert_ne!(first, noise.key(Stream::CpuFast, 0).bits(0));
        assert_ne!(first, noise.key(Stream::CpuSlow, 1).bits(0));
        assert_ne!(first, Noise::new(2).key(Stream::CpuSlow, 0).bits(0));
    }
}
