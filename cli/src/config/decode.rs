//! From nodes of the document to the types of the file, reporting every misfit and not only the first.
//!
//! Serde stops at the first error. Here its error is noted, the node it points at is taken out of a
//! copy, and decoding starts again, until it succeeds or the error is with the whole. What was taken out
//! is *tainted*: later checks say nothing about it.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::document::Node;
use super::explain::explain;
use super::fields::fields_of;
use super::path::{Path, Step};
use super::problem::Level;
use super::report::Report;

/// What more is known about the keys of a table than its type tells.
#[derive(Default)]
pub(super) struct Hints<'h> {
    /// Keys that may stand here beside those of the type.
    pub(super) also: &'h [&'h str],
    /// What to say of a key that may not stand here.
    pub(super) misplaced: Option<&'h dyn Fn(&str) -> Option<String>>,
}

/// Decodes `node`, which stands at `path`. `None` when it cannot be: the problems are in `report`.
pub(super) fn decode<T: DeserializeOwned>(
    report: &mut Report<'_, '_>,
    path: &Path,
    node: &Node<'_>,
    hints: &Hints<'_>,
) -> Option<T> {
    let mut node = node.clone();
    while !report.is_full() {
        let error = match T::deserialize(ValueDeserializer::from(node.clone())) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let span = error.span().unwrap_or_else(|| node.span());
        let explained = explain(error.message(), hints);
        let Some(found) = find(&node, &span, explained.about_key) else {
            // With the whole, or with nothing that could be taken out.
            let missing = explained.missing.as_deref();
            if !missing.is_some_and(|key| report.is_tainted(&path.key(key))) {
                report.at(span, Level::Error, explained.message, explained.help);
            }
            report.taint(path.clone());
            return None;
        };
        let at = found.iter().fold(path.clone(), |path, step| path.step(step.clone()));
        let missing = explained.missing.as_deref();
        if !missing.is_some_and(|key| report.is_tainted(&at.key(key))) {
            report.at(span, Level::Error, explained.message, explained.help);
        }
        if let Some(meant) = explained.meant {
            let above = found.iter().take(found.len().saturating_sub(1));
            let table = above.fold(path.clone(), |path, step| path.step(step.clone()));
            report.taint(table.key(meant));
        }
        // Taking an element out shifts those behind it: nothing below the list is sure any more.
        let list = at.steps().iter().position(|step| matches!(step, Step::Index(_)));
        let own = path.steps().len();
        match list.filter(|index| *index >= own) {
            Some(index) => {
                let steps = at.steps().iter().take(index);
                report.taint(steps.fold(Path::root(), |path, step| path.step(step.clone())));
            }
            None => report.taint(at),
        }
        remove(&mut node, &found);
    }
    None
}

/// Decodes a table that holds the keys of two types side by side.
///
/// Serde's own way to do this loses the positions and the strictness.
pub(super) fn decode_both<A: DeserializeOwned, B: DeserializeOwned>(
    report: &mut Report<'_, '_>,
    path: &Path,
    node: &Node<'_>,
    misplaced: Option<&dyn Fn(&str) -> Option<String>>,
) -> (Option<A>, Option<B>) {
    let DeValue::Table(table) = node.get_ref() else {
        return (decode(report, path, node, &Hints::default()), None);
    };
    let (keys_a, keys_b) = (fields_of::<A>(), fields_of::<B>());
    let part = |wanted: &dyn Fn(&str) -> bool| {
        let part = only(table, wanted);
        Spanned::new(node.span(), DeValue::Table(part))
    };
    let (a, b) = (part(&|key| keys_a.contains(&key)), part(&|key| !keys_a.contains(&key)));
    let value_a = decode(report, path, &a, &Hints { also: keys_b, misplaced: None });
    let value_b = decode(report, path, &b, &Hints { also: keys_a, misplaced });
    (value_a, value_b)
}

/// The entries of `table` whose keys are wanted.
pub(super) fn only<'i>(table: &DeTable<'i>, wanted: impl Fn(&str) -> bool) -> DeTable<'i> {
    let kept = table.iter().filter(|(key, _)| wanted(key.get_ref().as_ref()));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// An empty table that stands at the top of the file: for sections that were left out.
pub(super) fn empty_table<'i>() -> Node<'i> {
    Spanned::new(0..0, DeValue::Table(DeTable::new()))
}

/// The steps to the node whose key or value stands at `span`, without the top itself.
fn find(node: &Node<'_>, span: &Range<usize>, by_key: bool) -> Option<Vec<Step>> {
    let below = |step: Step, hit: bool, child: &Node<'_>| {
        if hit {
            return Some(vec![step]);
        }
        let mut steps = find(child, span, by_key)?;
        steps.insert(0, step);
        Some(steps)
    };
    match node.get_ref() {
        DeValue::Table(table) => table.iter().find_map(|(key, child)| {
            let hit = if by_key { key.span() == *span } else { child.span() == *span };
            below(Step::Key(key.get_ref().to_string()), hit, child)
        }),
        DeValue::Array(array) => array.iter().enumerate().find_map(|(index, child)| {
            below(Step::Index(index), !by_key && child.span() == *span, child)
        }),
        _ => None,
    }
}

/// Takes the node at `steps` out.
fn remove(node: &mut Node<'_>, steps: &[Step]) {
    match (node.get_mut(), steps) {
        (DeValue::Table(table), [Step::Key(key)]) => {
            table.remove(key.as_str());
        }
        (DeValue::Array(array), [Step::Index(index)]) if *index < array.len() => {
            let kept = array.iter().enumerate().filter(|(at, _)| at != index);
            *array = kept.map(|(_, element)| element.clone()).collect();
        }
        (DeValue::Table(table), [Step::Key(key), rest @ ..]) => {
            if let Some(child) = table.get_mut(key.as_str()) {
                remove(child, rest);
            }
        }
        (DeValue::Array(array), [Step::Index(index), rest @ ..]) => {
            if let Some(child) = array.get_mut(*index) {
                remove(child, rest);
            }
        }
        _ => {}
    }
}
