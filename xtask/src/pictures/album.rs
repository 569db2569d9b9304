//! The answers to the queries of a dashboard, as the test of the dashboards writes them down.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// One dashboard.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Board {
    /// The file's name, without its ending.
    pub(super) name: String,
    pub(super) title: String,
    pub(super) panels: Vec<Panel>,
}

/// One panel: 24 columns wide is the whole width.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Panel {
    pub(super) title: String,
    /// The word of Grafana or Kibana: `timeseries`, `stat`, `table`.
    pub(super) kind: String,
    /// Grafana's name of the unit, or nothing.
    pub(super) unit: String,
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) w: u32,
    pub(super) h: u32,
    pub(super) series: Vec<Series>,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
    /// How one number is made of many: `sum`, or else the last.
    pub(super) reduce: String,
    /// Documents that were found.
    pub(super) hits: Option<u64>,
    /// The present, in milliseconds since 1970.
    pub(super) to: f64,
}

/// Numbers over time.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Series {
    pub(super) name: String,
    /// Milliseconds since 1970, and the number.
    pub(super) points: Vec<(f64, f64)>,
}

impl Board {
    /// All that were written into `folder`, by name.
    pub(super) fn read_all(folder: &Path) -> Result<Vec<Board>> {
        let mut boards = Vec::new();
        let failed = |path: &Path| format!("could not read `{}`", path.display());
        for entry in fs::read_dir(folder).with_context(|| failed(folder))? {
            let path = entry.with_context(|| failed(folder))?.path();
            let text = fs::read_to_string(&path).with_context(|| failed(&path))?;
            boards.push(serde_json::from_str::<Board>(&text).with_context(|| failed(&path))?);
        }
        boards.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(boards)
    }

    /// Rows of the grid.
    pub(super) fn height(&self) -> u32 {
        self.panels.iter().map(|panel| panel.y + panel.h).max().unwrap_or(1)
    }
}

impl Panel {
    /// A number in the panel's unit.
    pub(super) fn number(&self, value: f64) -> String {
        let plain = match value.abs() {
            0.0 => "0".to_owned(),
            v if v >= 1e9 => format!("{:.1} G", value / 1e9),
            v if v >= 1e6 => format!("{:.1} M", value / 1e6),
            v if v >= 1e4 => format!("{:.1} k", value / 1e3),
            v if v >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
            v if v >= 1.0 => format!("{value:.1}"),
            _ => format!("{value:.3}"),
        };
        match self.unit.as_str() {
            "percent" => format!("{plain} %"),
            "s" => format!("{plain} s"),
            "cps" => format!("{plain}/s"),
            "Bps" => format!("{plain} B/s"),
            "bytes" => format!("{plain} B"),
            _ => plain,
        }
    }

    /// The least and the greatest time of all series.
    pub(super) fn times(&self) -> Option<(f64, f64)> {
        range(self.series.iter().flat_map(|series| &series.points).map(|point| point.0))
    }

    /// The least and the greatest number of all series.
    pub(super) fn values(&self) -> Option<(f64, f64)> {
        range(self.series.iter().flat_map(|series| &series.points).map(|point| point.1))
    }
}

fn range(numbers: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    numbers.fold(None, |range, number| match range {
        None => Some((number, number)),
        Some((least, most)) => Some((least.min(number), most.max(number))),
    })
}
