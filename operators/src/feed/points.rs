//! The points of a pane, in blocks.

use tidewatch_dataflow::metric::MetricPoint;

use super::FeedOutput;

/// Points of one block at most: at 104 bytes each 104 KiB, which the nearest caches of a core still hold when a sink
/// takes the block, and no vector of a large pane is copied to grow.
pub(super) const BLOCK_MAX: usize = 1_024;

/// Puts points into blocks, and full blocks into the outputs.
pub(super) struct Blocks<'a> {
    out: &'a mut Vec<FeedOutput>,
    block: Vec<MetricPoint>,
    /// Points that blocks have been given.
    given: usize,
    /// How many there will be, as far as one knows: room is made for no more.
    expected: usize,
}

impl<'a> Blocks<'a> {
    /// No points yet. `expected` is a guess that may be wrong.
    pub(super) fn new(out: &'a mut Vec<FeedOutput>, expected: usize) -> Self {
        Blocks { out, block: Vec::new(), given: 0, expected }
    }

    /// The block that the next point goes into: it takes one more at least.
    #[inline]
    pub(super) fn block(&mut self) -> &mut Vec<MetricPoint> {
        if self.block.len() >= BLOCK_MAX {
            self.given += self.block.len();
            self.out.push(FeedOutput::Points(std::mem::take(&mut self.block)));
        }
        if self.block.capacity() == 0 {
            self.block.reserve_exact(self.expected.saturating_sub(self.given).min(BLOCK_MAX));
        }
        &mut self.block
    }

    /// Hands the last block on; returns how many points there were.
    pub(super) fn finish(self) -> usize {
        let Blocks { out, block, given, .. } = self;
        let all = given + block.len();
        if !block.is_empty() {
            out.push(FeedOutput::Points(block));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use tidewatch_dataflow::series::Labels;
    use tidewatch_dataflow::time::EventTime;

    use super::*;

    fn point(millis: usize) -> MetricPoint {
        MetricPoint {
            measurement: "cpu".into(),
            labels: Labels::default(),
            time: EventTime::from_millis(millis as u64),
            fields: [("mean", 1.0)].into_iter().collect(),
            is_correction: false,
        }
    }

    #[test]
    fn points_come_in_order_in_blocks_that_are_full_but_for_the_last() {
        for points in [0, 1, 3, BLOCK_MAX - 1, BLOCK_MAX, BLOCK_MAX + 1, 2 * BLOCK_MAX, 2_500] {
            for expected in [0, 2, points, usize::MAX] {
                let mut out = Vec::new();
                let mut blocks = Blocks::new(&mut out, expected);
                (0..points).for_each(|i| blocks.block().push(point(i)));
                assert_eq!(blocks.finish(), points);
                let mut times = 0..points as u64;
                for (index, output) in out.iter().enumerate() {
                    let FeedOutput::Points(block) = output else { panic!("no other is put") };
                    let left = points - index * BLOCK_MAX;
                    assert_eq!(block.len(), left.min(BLOCK_MAX));
                    assert!(block.capacity() <= BLOCK_MAX);
                    assert!(block.iter().all(|p| Some(p.time.as_millis()) == times.next()));
                }
                assert_eq!((out.len(), times.next()), (points.div_ceil(BLOCK_MAX), None));
            }
        }
    }
}
