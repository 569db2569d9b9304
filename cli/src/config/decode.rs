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

/// Says where a key belongs that may not stand here, if it belongs anywhere.
type Misplaced<'h> = &'h dyn Fn(&str) -> Option<String>;

/// What more is known about the keys of a table than its type tells.
#[derive(Default)]
pub(super) struct Hints<'h> {
    /// Keys that may stand here beside those of the type.
    pub(super) also: &'h [&'h str],
    /// What to say of a key that may not stand here.
    pub(super) misplaced: Option<Misplaced<'h>>,
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
        let at_value = find(&node, &span, false);
        if wants_a_word(error.message()) {
            // Which words it knows is told only of a word: ask again with one.
            if let Some(steps) = &at_value {
                let word = report.document().word_at(span);
                replace(&mut node, steps, Some(DeValue::String(word.into())));
                continue;
            }
        }
        let at_key = find(&node, &span, true).filter(|_| at_value.is_none());
        let explained = explain(error.message(), at_key.is_some(), hints);
        let found = match explained.about_key {
            true => find(&node, &span, true),
            // A key that is no variant spoils the table it is in.
            false => at_value.or(at_key.map(|mut steps| {
                steps.pop();
                steps
            })),
        };
        let found = found.unwrap_or_default();
        let below = |steps: &[Step]| steps.iter().cloned().fold(path.clone(), |p, s| p.step(s));
        let at = below(&found);
        let missing = explained.missing.as_deref();
        if !missing.is_some_and(|key| report.is_tainted(&at.key(key))) {
            report.at(span, Level::Error, explained.message, explained.help);
        }
        if let (Some(meant), Some((_, above))) = (explained.meant, found.split_last()) {
            report.taint(below(above).key(meant));
        }
        // Taking an element out shifts those behind it: nothing below the list is sure any more.
        let list = found.iter().position(|step| matches!(step, Step::Index(_)));
        report.taint(below(found.get(..list.unwrap_or(found.len())).unwrap_or_default()));
        if found.is_empty() {
            // The fault is with the whole: there is nothing left to decode.
            return None;
        }
        replace(&mut node, &found, None);
    }
    None
}

/// Whether serde found something else where one of some words should stand.
fn wants_a_word(message: &str) -> bool {
    message.starts_with("wanted string or table") || message.starts_with("wanted exactly 1 element")
}

/// Decodes a table that holds the keys of two types side by side.
///
/// Serde's own way to do this loses the positions and the strictness.
pub(super) fn decode_both<A: DeserializeOwned, B: DeserializeOwned>(
    report: &mut Report<'_, '_>,
    path: &Path,
    node: &Node<'_>,
    misplaced: Option<Misplaced<'_>>,
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

/// Puts `new` in the place of the node at `steps`, or takes the node out.
fn replace<'i>(node: &mut Node<'i>, steps: &[Step], new: Option<DeValue<'i>>) {
    let Some((step, rest)) = steps.split_first() else {
        if let Some(new) = new {
            *node.get_mut() = new;
        }
        return;
    };
    match (node.get_mut(), step) {
        (DeValue::Table(table), Step::Key(key)) if rest.is_empty() && new.is_none() => {
            table.remove(key.as_str());
        }
        (DeValue::Array(array), Step::Index(index))
            if rest.is_empty() && new.is_none() && *index < array.len() =>
        {
            let others = array.iter().enumerate().filter(|(at, _)| at != index);
            *array = others.map(|(_, node)| node.clone()).collect();
        }
        (DeValue::Table(table), Step::Key(key)) => {
            if let Some(child) = table.get_mut(key.as_str()) {
                replace(child, rest, new);
            }
        }
        (DeValue::Array(array), Step::Index(index)) => {
            if let Some(child) = array.get_mut(*index) {
                replace(child, rest, new);
            }
        }
        _ => {}
    }
}
