//! What answers lack, and what they have too much.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewatch::generate::{MEASUREMENTS, PARTITIONS};

use super::rows::{Answer, Statistics};
use super::{Name, Query, Reference, ReferenceError};

/// An engine may name any time this near to a host's span above 90 %, in milliseconds.
const NEAR_MS: u64 = 60_000;
/// As many examples are kept of the faults of a query.
const EXAMPLES: usize = 5;

/// The faults in the answer to one query, in rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// That should be there and are not.
    pub missing: u64,
    /// That are there with other numbers, or more than once and not alike.
    pub wrong: u64,
    /// That should not be there.
    pub extra: u64,
    /// That cannot be read.
    pub malformed: u64,
    /// Some of them, for people.
    pub examples: Vec<String>,
}

impl Faults {
    fn is_none(&self) -> bool {
        self.missing + self.wrong + self.extra + self.malformed == 0
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(text());
        }
    }
}

/// What is to be said of all answers: displays as `ok`, or as `wrong(q1: 12 missing, 3 wrong; q4: 1 extra)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The faults by query, of those queries that have some.
    pub faults: BTreeMap<Query, Faults>,
}

impl Verdict {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.faults.is_empty()
    }

    fn of(faults: impl IntoIterator<Item = (Query, Faults)>) -> Self {
        Verdict { faults: faults.into_iter().filter(|(_, faults)| !faults.is_none()).collect() }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_ok() {
            return f.write_str("ok");
        }
        let queries = self.faults.iter().map(|(query, faults)| {
            let Faults { missing, wrong, extra, malformed, .. } = faults;
            let kinds = [
                (missing, "missing"),
                (wrong, "wrong"),
                (extra, "extra"),
                (malformed, "malformed"),
            ];
            let told = kinds.into_iter().filter(|(count, _)| **count > 0);
            let told: Vec<String> = told.map(|(count, kind)| format!("{count} {kind}")).collect();
            format!("{query}: {}", told.join(", "))
        });
        write!(f, "wrong({})", queries.collect::<Vec<_>>().join("; "))
    }
}

/// Compares the files `q1*.csv` to `q4*.csv` in `folder` with the reference, for each of `queries`.
///
/// Order does not matter. A row that is there twice is right if both are. With `corrects`, only the last row
/// of a key in a file counts: for engines that are known to correct themselves.
///
/// # Errors
/// [`ReferenceError::File`] when a file cannot be read.
pub fn compare(
    folder: &Path,
    reference: &Reference,
    queries: &[Query],
    corrects: bool,
) -> Result<Verdict, ReferenceError> {
    let mut all = Vec::new();
    for query in queries {
        let mut found = Rows { names: HashSet::new(), faults: Faults::default(), corrects };
        let until = |end: u64| (end <= reference.end_ms).then_some(end);
        match query {
            Query::Q1 => found.compare(folder, *query, &reference.q1, |names, fields| {
                let ([end, measurement, host], row) = fields.split_first_chunk()?;
                let known = MEASUREMENTS.into_iter().find(|known| known == measurement)?;
                Some((until(end.parse().ok()?).map(|end| (end, known, intern(names, host))), row))
            })?,
            Query::Q2 => found.compare(folder, *query, &reference.q2, |names, fields| {
                let ([end, host], row) = fields.split_first_chunk()?;
                Some((until(end.parse().ok()?).map(|end| (end, intern(names, host))), row))
            })?,
            Query::Q3 => found.compare_spans(folder, &reference.q3)?,
            Query::Q4 => found.compare(folder, *query, &reference.q4, |names, fields| {
                let ([end, service], row) = fields.split_first_chunk()?;
                Some((until(end.parse().ok()?).map(|end| (end, intern(names, service))), row))
            })?,
        }
        all.push((*query, found.faults));
    }
    Ok(Verdict::of(all))
}

/// Compares only how many samples of each measurement Q1 has counted in all its rows: for engines that know
/// nothing of event time. Late records count; end marks may.
///
/// # Errors
/// [`ReferenceError::File`] when a file cannot be read.
pub fn compare_totals(folder: &Path, reference: &Reference) -> Result<Verdict, ReferenceError> {
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    let mut faults = Faults::default();
    each_line_of_all(folder, Query::Q1, |line| {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let read = || {
            let ([_, measurement, _], row) = fields.split_first_chunk()?;
            let known = MEASUREMENTS.into_iter().find(|known| known == measurement)?;
            Some((known, Statistics::parse(row)?.count))
        };
        match read() {
            Some((measurement, count)) => *totals.entry(measurement).or_default() += count,
            None => {
                faults.malformed += 1;
                faults.example(|| format!("malformed: {line}"));
            }
        }
    })?;
    for (measurement, there) in &reference.metrics {
        let counted = totals.get(measurement).copied().unwrap_or_default();
        faults.missing += there.saturating_sub(counted);
        faults.extra += counted.saturating_sub(there + u64::from(PARTITIONS));
        if !(*there..=there + u64::from(PARTITIONS)).contains(&counted) {
            faults.example(|| format!("{counted} samples of {measurement}, there are {there}"));
        }
    }
    Ok(Verdict::of([(Query::Q1, faults)]))
}

/// Names that have been read, each kept once.
type Names = HashSet<Name>;

fn intern(names: &mut Names, name: &str) -> Name {
    if let Some(known) = names.get(name) {
        return Arc::clone(known);
    }
    let name: Name = name.into();
    names.insert(Arc::clone(&name));
    name
}

/// The rows of one query while they are read.
struct Rows {
    names: Names,
    faults: Faults,
    corrects: bool,
}

impl Rows {
    /// `split` gives the key and the fields behind it; no key where the window is not compared, nothing where
    /// the line cannot be read.
    fn compare<K: Ord + Clone + fmt::Debug, A: Answer + fmt::Debug>(
        &mut self,
        folder: &Path,
        query: Query,
        wanted: &BTreeMap<K, A>,
        split: impl for<'f, 's> Fn(&mut Names, &'s [&'f str]) -> Option<(Option<K>, &'s [&'f str])>,
    ) -> Result<(), ReferenceError> {
        let Rows { names, faults, corrects } = self;
        let mut rows: BTreeMap<K, A> = BTreeMap::new();
        let mut conflicts: BTreeSet<K> = BTreeSet::new();
        let mut join = |rows: &mut BTreeMap<K, A>, key: K, row: A| match rows.entry(key) {
            Entry::Vacant(free) => {
                free.insert(row);
            }
            Entry::Occupied(taken) => {
                if !taken.get().agrees(&row) {
                    conflicts.insert(taken.key().clone());
                }
            }
        };
        for path in files(folder, query)? {
            let mut in_file: BTreeMap<K, A> = BTreeMap::new();
            each_line(&path, |line| {
                let fields: Vec<&str> = line.split(',').map(str::trim).collect();
                let read = split(names, &fields).and_then(|(key, row)| Some((key, A::parse(row)?)));
                match read {
                    None => {
                        faults.malformed += 1;
                        faults.example(|| format!("malformed: {line}"));
                    }
                    Some((None, _)) => {}
                    Some((Some(key), row)) if *corrects => {
                        in_file.insert(key, row);
                    }
                    Some((Some(key), row)) => join(&mut rows, key, row),
                }
            })?;
            for (key, row) in in_file {
                join(&mut rows, key, row);
            }
        }
        for (key, row) in wanted {
            match rows.remove(key) {
                None => {
                    faults.missing += 1;
                    faults.example(|| format!("missing: {key:?} {row:?}"));
                }
                Some(found) if conflicts.contains(key) => {
                    faults.wrong += 1;
                    faults.example(|| format!("not alike: {key:?} {found:?} and others"));
                }
                Some(found) if !found.agrees(row) => {
                    faults.wrong += 1;
                    faults.example(|| format!("wrong: {key:?} {found:?}, not {row:?}"));
                }
                Some(_) => {}
            }
        }
        faults.extra += rows.len() as u64;
        for (key, row) in rows {
            faults.example(|| format!("extra: {key:?} {row:?}"));
        }
        Ok(())
    }

    /// Every span of a host needs a row with a time in or near it, and every row a span.
    fn compare_spans(
        &mut self,
        folder: &Path,
        wanted: &BTreeMap<Name, Vec<(u64, u64)>>,
    ) -> Result<(), ReferenceError> {
        let mut rows: BTreeMap<Name, BTreeSet<u64>> = BTreeMap::new();
        let Rows { names, faults, .. } = self;
        let read = |line: &str| match line.split_once(',') {
            Some((host, time)) if time.trim().parse::<u64>().is_ok() => {
                let times = rows.entry(intern(names, host.trim())).or_default();
                times.extend(time.trim().parse::<u64>());
            }
            _ => {
                faults.malformed += 1;
                faults.example(|| format!("malformed: {line}"));
            }
        };
        each_line_of_all(folder, Query::Q3, read)?;
        let is_near = |(first, last): &(u64, u64), time: &u64| {
            (first.saturating_sub(NEAR_MS)..=last + NEAR_MS).contains(time)
        };
        for (host, spans) in wanted {
            let times = rows.remove(host).unwrap_or_default();
            let found = spans.iter().filter(|span| times.iter().any(|t| is_near(span, t))).count();
            let stray = times.iter().filter(|t| !spans.iter().any(|span| is_near(span, t))).count();
            // A row at another time stands for a span that has none: that is one fault and not two.
            let lacking = spans.len() - found;
            let wrong = stray.min(lacking);
            faults.wrong += wrong as u64;
            faults.missing += (lacking - wrong) as u64;
            faults.extra += (stray - wrong) as u64;
            if lacking + stray > 0 {
                faults.example(|| format!("{host} is above in {spans:?}, not at {times:?}"));
            }
        }
        for (host, times) in rows {
            faults.extra += times.len() as u64;
            faults.example(|| format!("extra: {host} at {times:?}"));
        }
        Ok(())
    }
}

/// The files with answers to `query`, sorted by name.
fn files(folder: &Path, query: Query) -> Result<Vec<PathBuf>, ReferenceError> {
    let failed = |error| ReferenceError::file("list the answers in", folder)(error);
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(query.as_str()) && name.ends_with(".csv") {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Hands every line of a file that is not empty to `visit`.
fn each_line(path: &Path, mut visit: impl FnMut(&str)) -> Result<(), ReferenceError> {
    let failed = |error| ReferenceError::file("read answers from", path)(error);
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).map_err(failed)? > 0 {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        if !text.is_empty() {
            visit(text);
        }
        line.clear();
    }
    Ok(())
}

/// Hands every line of all files with answers to `query` to `visit`.
fn each_line_of_all(
    folder: &Path,
    query: Query,
    mut visit: impl FnMut(&str),
) -> Result<(), ReferenceError> {
    files(folder, query)?.iter().try_for_each(|path| each_line(path, &mut visit))
}
