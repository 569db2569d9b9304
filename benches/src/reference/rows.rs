//! Rows of answers, and their CSV.
//!
//! | file | a line |
//! | --- | --- |
//! | `q1*.csv` | `window_end_ms,measurement,host,count,mean,min,max` |
//! | `q2*.csv` | `window_end_ms,host,mean,max` |
//! | `q3*.csv` | `host,first_ms` |
//! | `q4*.csv` | `window_end_ms,service,count` |

use std::fmt::Write as _;
use std::path::Path;

use super::{Query, Reference, ReferenceError};

/// How far two numbers may be apart, relative to the greater one.
const TOLERANCE: f64 = 1e-9;

/// What Q1 says of a measurement of a host in a window.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Samples.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

/// What Q2 says of a host in a window.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct MeanMax {
    /// The mean of its cpu samples.
    pub mean: f64,
    /// The greatest.
    pub max: f64,
}

/// What Q4 says of a service in a window: ERROR lines.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Count(pub u64);

fn is_near(left: f64, right: f64) -> bool {
    (left - right).abs() <= TOLERANCE * left.abs().max(right.abs())
}

/// A count, also where somebody writes it with a fraction of zero.
fn count(text: &str) -> Option<u64> {
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        let is_count = number.fract() == 0.0 && (0.0..1e15).contains(&number);
        is_count.then_some(number as u64)
    })
}

/// The part of a row that is not its key.
pub(super) trait Answer: Copy {
    /// From the fields behind the key.
    fn parse(fields: &[&str]) -> Option<Self>;
    /// Whether it is the same but for rounding.
    fn agrees(&self, other: &Self) -> bool;
    /// Appends the fields behind the key, each after a comma.
    fn write(&self, out: &mut String);
}

impl Answer for Statistics {
    fn parse(fields: &[&str]) -> Option<Self> {
        let [number, mean, min, max] = fields else { return None };
        let (mean, min, max) = (mean.parse().ok()?, min.parse().ok()?, max.parse().ok()?);
        Some(Statistics { count: count(number)?, mean, min, max })
    }

    fn agrees(&self, other: &Self) -> bool {
        self.count == other.count
            && is_near(self.mean, other.mean)
            && is_near(self.min, other.min)
            && is_near(self.max, other.max)
    }

    fn write(&self, out: &mut String) {
        let Statistics { count, mean, min, max } = self;
        let _ = write!(out, ",{count},{mean},{min},{max}");
    }
}

impl Answer for MeanMax {
    fn parse(fields: &[&str]) -> Option<Self> {
        let [mean, max] = fields else { return None };
        Some(MeanMax { mean: mean.parse().ok()?, max: max.parse().ok()? })
    }

    fn agrees(&self, other: &Self) -> bool {
        is_near(self.mean, other.mean) && is_near(self.max, other.max)
    }

    fn write(&self, out: &mut String) {
        let MeanMax { mean, max } = self;
        let _ = write!(out, ",{mean},{max}");
    }
}

impl Answer for Count {
    fn parse(fields: &[&str]) -> Option<Self> {
        let [number] = fields else { return None };
        count(number).map(Count)
    }

    fn agrees(&self, other: &Self) -> bool {
        self == other
    }

    fn write(&self, out: &mut String) {
        let _ = write!(out, ",{}", self.0);
    }
}

impl Reference {
    /// Writes `q1.csv` to `q4.csv` into `folder`, which must exist: the answers of an engine that makes no fault.
    ///
    /// # Errors
    /// [`ReferenceError::File`] when one cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), ReferenceError> {
        for query in Query::ALL {
            let path = folder.join(format!("{query}.csv"));
            let text = self.csv(query);
            std::fs::write(&path, text).map_err(ReferenceError::file("write", &path))?;
        }
        Ok(())
    }

    /// The answer to `query` as CSV, sorted by its keys.
    pub fn csv(&self, query: Query) -> String {
        let mut out = String::new();
        // Writing to memory does not fail.
        match query {
            Query::Q1 => self.q1.iter().for_each(|((end, measurement, host), row)| {
                let _ = write!(out, "{end},{measurement},{host}");
                row.write(&mut out);
                out.push('\n');
            }),
            Query::Q2 => self.q2.iter().for_each(|((end, host), row)| {
                let _ = write!(out, "{end},{host}");
                row.write(&mut out);
                out.push('\n');
            }),
            Query::Q3 => self.q3.iter().for_each(|(host, spans)| {
                for (first, _) in spans {
                    let _ = writeln!(out, "{host},{first}");
                }
            }),
            Query::Q4 => self.q4.iter().for_each(|((end, service), row)| {
                let _ = write!(out, "{end},{service}");
                row.write(&mut out);
                out.push('\n');
            }),
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_and_compared() {
        let row = Statistics::parse(&["10", "50.25", "1", "99"]).unwrap();
        assert_eq!(row, Statistics { count: 10, mean: 50.25, min: 1.0, max: 99.0 });
        assert!(row.agrees(&Statistics { mean: 50.25 * (1.0 + 5e-10), ..row }));
        assert!(!row.agrees(&Statistics { mean: 50.25 * (1.0 + 2e-9), ..row }));
        assert!(!row.agrees(&Statistics { mean: f64::NAN, ..row }));
        assert!(!row.agrees(&Statistics { count: 9, ..row }));
        assert_eq!(Count::parse(&["21.0"]), Some(Count(21)));
        for wrong in ["21.5", "-1", "many", "", "NaN", "1e300"] {
            assert_eq!(Count::parse(&[wrong]), None, "{wrong}");
        }
        assert_eq!(MeanMax::parse(&["1", "2", "3"]), None);
        assert_eq!(Statistics::parse(&["1", "2", "3"]), None);
    }
}
