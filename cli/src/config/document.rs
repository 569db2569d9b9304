//! The text of a configuration file as a tree whose every node knows where it stands.

use std::ops::Range;

use tidewatch_dataflow::config::Secret;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mask::{is_secret, masked};
use super::path::{Path, Step};
use super::problem::Position;

/// Longer lines are shown in part: at most this many characters, half of them before the column.
const EXCERPT_MAX: usize = 120;

/// A value of the file with the bytes it stands on.
pub(super) type Node<'i> = Spanned<DeValue<'i>>;

/// A parsed file.
pub(super) struct Document<'i> {
    /// Name of the file, as it was given.
    pub(super) name: &'i str,
    text: &'i str,
    /// Where each line begins.
    line_starts: Vec<usize>,
    root: Node<'i>,
}

impl<'i> Document<'i> {
    /// Parses `text`, going on after errors; what lies outside of them is in the tree.
    pub(super) fn parse(name: &'i str, text: &'i str) -> (Self, Vec<toml::de::Error>) {
        let (table, errors) = DeTable::parse_recoverable(text);
        let span = table.span();
        let root = Spanned::new(span, DeValue::Table(table.into_inner()));
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(after_breaks).collect();
        (Document { name, text, line_starts, root }, errors)
    }

    /// The top of the file: always a table.
    pub(super) fn root(&self) -> &Node<'i> {
        &self.root
    }

    /// The node at `path`.
    pub(super) fn get(&self, path: &Path) -> Option<&Node<'i>> {
        path.steps().iter().try_fold(&self.root, |node, step| child(node, step))
    }

    /// Bytes of the value at `path`, or of the nearest node above it that is in the file.
    pub(super) fn span_of_value(&self, path: &Path) -> Range<usize> {
        let mut node = &self.root;
        for step in path.steps() {
            match child(node, step) {
                Some(below) => node = below,
                None => break,
            }
        }
        node.span()
    }

    /// Line, column and excerpt of `span`.
    pub(super) fn position(&self, span: Range<usize>) -> Position {
        let start = self.boundary(span.start);
        let line = self.line_starts.partition_point(|at| *at <= start).max(1);
        let line_start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let rest = self.text.get(line_start..).unwrap_or_default();
        let content = rest.split(['\n', '\r']).next().unwrap_or_default();
        let before = self.text.get(line_start..start).unwrap_or_default().chars().count();
        let marked = self.text.get(start..self.boundary(span.end)).unwrap_or_default();
        let marked = marked.split(['\n', '\r']).next().unwrap_or_default().chars().count();

        let shown: Vec<char> = masked(content)
            .chars()
            .map(|c| if c == '\t' { ' ' } else { c })
            .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
            .collect();
        let skip =
            if shown.len() > EXCERPT_MAX { before.saturating_sub(EXCERPT_MAX / 2) } else { 0 };
        let caret_start = before.min(shown.len()).saturating_sub(skip);
        let more = shown.len() > skip + EXCERPT_MAX;
        let mut shown: Vec<char> = shown.into_iter().skip(skip).take(EXCERPT_MAX).collect();
        if let Some(first) = shown.first_mut().filter(|_| skip > 0) {
            *first = '…';
        }
        if let Some(last) = shown.last_mut().filter(|_| more) {
            *last = '…';
        }
        let excerpt: String = shown.into_iter().collect();
        let room = excerpt.chars().count().saturating_sub(caret_start);
        Position {
            line,
            column: before + 1,
            excerpt,
            caret_start,
            caret_len: marked.min(room).max(1),
        }
    }

    /// The text at `span` in one word: a table or list, or what is long, only in form.
    pub(super) fn word_at(&self, span: Range<usize>) -> String {
        match self.text.get(span).unwrap_or_default() {
            table if table.starts_with(['{', '[']) => "{ ... }".to_owned(),
            word if word.len() > 40 => "...".to_owned(),
            word => word.to_owned(),
        }
    }

    /// Every secret that is named: tables such as `{ env = "NAME" }` under the key of a secret.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        let mut secrets = Vec::new();
        collect_secrets(&self.root, &mut secrets);
        secrets
    }

    /// The nearest byte at or before `at` where a character begins.
    fn boundary(&self, at: usize) -> usize {
        let at = at.min(self.text.len());
        (0..=at).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0)
    }
}

/// The node one step below.
fn child<'n, 'i>(node: &'n Node<'i>, step: &Step) -> Option<&'n Node<'i>> {
    match (node.get_ref(), step) {
        (DeValue::Table(table), Step::Key(key)) => table.get(key.as_str()),
        (DeValue::Array(array), Step::Index(index)) => array.get(*index),
        _ => None,
    }
}

/// Adds the secrets named below `node`. As deep as the TOML reader lets tables nest.
fn collect_secrets(node: &Node<'_>, secrets: &mut Vec<Secret>) {
    match node.get_ref() {
        DeValue::Table(table) => {
            for (key, value) in table {
                let named = value.get_ref().as_table().filter(|_| is_secret(key.get_ref()));
                match named.and_then(secret_of) {
                    Some(secret) => secrets.push(secret),
                    None => collect_secrets(value, secrets),
                }
            }
        }
        DeValue::Array(array) => array.iter().for_each(|node| collect_secrets(node, secrets)),
        _ => {}
    }
}

/// The secret that `table` names, if it names one and nothing else.
fn secret_of(table: &DeTable<'_>) -> Option<Secret> {
    let (key, value) = table.iter().next().filter(|_| table.len() == 1)?;
    let text = value.get_ref().as_str()?.to_owned();
    match key.get_ref().as_ref() {
        "env" => Some(Secret::Env(text)),
        "file" => Some(Secret::File(text)),
        _ => None,
    }
}
