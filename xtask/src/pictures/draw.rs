//! A dashboard as one SVG: panels in their places.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::{album::Board, panel};

/// Pixels of a column of the grid, and of a row.
const GRID: (u32, u32) = (50, 34);
/// Height of the title.
const TITLE: u32 = 44;
/// Between panels.
const GAP: u32 = 4;

/// Where panels are drawn.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Colours of the pages.
pub(super) const GROUND: RGBColor = RGBColor(244, 245, 247);
pub(super) const INK: RGBColor = RGBColor(31, 35, 40);
pub(super) const SOFT: RGBColor = RGBColor(101, 109, 118);
/// Of series, in turn: told apart also by those who do not see red and green.
pub(super) const SERIES: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 94, 240),
    RGBColor(90, 90, 90),
];

/// Text of `size` pixels.
pub(super) fn font(size: u32, color: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&color)
}

/// Draws `board` into the file `path`.
pub(super) fn board(board: &Board, path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).with_context(|| format!("could not make `{}`", folder.display()))?;
    let mut svg = String::new();
    render(board, &mut svg).map_err(|error| anyhow!("could not draw `{}`: {error}", board.name))?;
    fs::write(path, svg).with_context(|| format!("could not write `{}`", path.display()))
}

/// Draws `board`.
pub(super) fn render(board: &Board, svg: &mut String) -> Result<(), panel::Fault> {
    let size = (GRID.0 * 24 + 2 * GAP, TITLE + GRID.1 * board.height() + GAP);
    let root = SVGBackend::with_string(svg, size).into_drawing_area();
    root.fill(&GROUND)?;
    root.draw_text(&board.title, &font(20, INK), (12, 12))?;
    for panel in &board.panels {
        let left = (GAP + panel.x * GRID.0 + GAP / 2).cast_signed();
        let top = (TITLE + panel.y * GRID.1 + GAP / 2).cast_signed();
        let width = panel.w * GRID.0 - GAP;
        let height = panel.h * GRID.1 - GAP;
        panel::draw(&root.clone().shrink((left, top), (width, height)), panel)?;
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::album::{Panel, Series};
    use super::*;

    fn panel(kind: &str, y: u32, series: Vec<Series>, rows: Vec<Vec<String>>) -> Panel {
        let (title, unit) = (format!("<{kind}>"), "percent".to_owned());
        let columns = vec!["host".to_owned(), "value".to_owned()];
        let kind = kind.to_owned();
        let (reduce, hits, to) = (String::new(), None, 1.7e12 + 2e5);
        Panel { title, kind, unit, x: 0, y, w: 12, h: 8, series, columns, rows, reduce, hits, to }
    }

    #[test]
    fn every_kind_of_panel_is_drawn_with_its_numbers_and_the_svg_is_well_formed() {
        let line = |name: &str, by: f64| Series {
            name: name.to_owned(),
            points: (0..20).map(|i| (1.7e12 + f64::from(i) * 1e4, f64::from(i) * by)).collect(),
        };
        let rows = vec![vec!["web-1".to_owned(), "97.5".to_owned()]];
        let kinds =
            ["timeseries", "stat", "status-history", "heatmap", "bargauge", "table", "logs"];
        let mut panels = Vec::new();
        for (kind, y) in kinds.iter().zip((0..).step_by(8)) {
            panels.push(panel(kind, y, vec![line("web-1", 4.0), line("a<b", 1.0)], rows.clone()));
        }
        panels.push(panel("timeseries", 60, Vec::new(), Vec::new()));
        let board = Board { name: "x".to_owned(), title: "Fleet & all".to_owned(), panels };
        let mut svg = String::new();
        render(&board, &mut svg).unwrap();
        for text in ["Fleet &amp; all", "&lt;bargauge&gt;", "web-1", "97.5", "19 %", "no data"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(!svg.contains("NaN"));
    }
}
