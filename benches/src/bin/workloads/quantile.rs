//! Quantiles and a histogram of measured milliseconds, all samples kept.

use std::fmt;

/// Upper ends of the histogram's classes, in milliseconds.
const CLASSES: [f64; 13] =
    [1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0, 200.0, 1_000.0];

/// Samples of one quantity: 8 bytes each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn add(&mut self, millis: f64) {
        self.0.push(millis);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The least sample that a share of `q` of all do not exceed (nearest rank); not a number when there are
    /// none.
    pub(crate) fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let rank = (q * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    /// Lines of `from..to ms  count  bar`, without the empty classes at either end.
    pub(crate) fn histogram(&self) -> String {
        let ends = CLASSES.iter().copied().chain([f64::INFINITY]);
        let mut rows = Vec::new();
        let mut from = 0.0;
        for to in ends {
            let inside = |x: &&f64| **x < to && (**x >= from || rows.is_empty());
            rows.push((from, to, self.0.iter().filter(inside).count()));
            from = to;
        }
        let first = rows.iter().position(|row| row.2 > 0).unwrap_or(0);
        let last = rows.iter().rposition(|row| row.2 > 0).unwrap_or(0);
        let most = rows.iter().map(|row| row.2).max().unwrap_or(1).max(1);
        let lines = rows.iter().take(last + 1).skip(first).map(|(from, to, count)| {
            let bar = "#".repeat((count * 50).div_ceil(most));
            format!("  {from:>6} .. {to:<6} ms {count:>8} {bar}\n")
        });
        lines.collect()
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, p999, most] = [0.5, 0.99, 0.999, 1.0].map(|q| self.quantile(q));
        write!(f, "p50={p50:.1} p99={p99:.1} p999={p999:.1} max={most:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let samples = Samples((1..=1_000).rev().map(f64::from).collect());
        assert_eq!(samples.to_string(), "p50=500.0 p99=990.0 p999=999.0 max=1000.0");
        assert!(Samples::default().quantile(0.5).is_nan());
    }

    #[test]
    fn every_sample_is_in_one_class() {
        let samples = Samples(vec![-0.5, 0.0, 1.0, 60.0, 5_000.0]);
        let histogram = samples.histogram();
        let counts = histogram.lines().map(|line| {
            line.split_whitespace().nth(4).and_then(|count| count.parse::<usize>().ok()).unwrap()
        });
        assert_eq!(counts.sum::<usize>(), samples.len());
    }
}
