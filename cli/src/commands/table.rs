//! Columns of text.

use std::fmt::{self, Write};

/// Columns, as wide as their widest cell; those whose title begins with a space are right-aligned.
pub(super) fn table(
    out: &mut String,
    indent: &str,
    titles: &[&str],
    rows: &[Vec<String>],
) -> fmt::Result {
    let title = |column: usize| titles.get(column).copied().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([title(column).trim().chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let mut line = |cells: Vec<&str>| {
        let mut text = indent.to_owned();
        for ((column, cell), width) in cells.into_iter().enumerate().zip(&widths) {
            if column > 0 {
                text.push_str("  ");
            }
            match title(column).starts_with(' ') {
                true => write!(text, "{cell:>width$}")?,
                false => write!(text, "{cell:<width$}")?,
            }
        }
        writeln!(out, "{}", text.trim_end())
    };
    line(titles.iter().map(|title| title.trim()).collect())?;
    rows.iter().try_for_each(|row| line(row.iter().map(String::as_str).collect()))
}
