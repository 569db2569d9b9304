//! `cargo xtask pictures`: what the dashboards show, drawn from the answers to their queries.
//!
//! ```text
//!  service_deploy: real stores, every query ─► an album of JSON ─► docs/pictures/*.svg
//! ```
//! Grafana and Kibana are not part of it: the pictures say what is shown, not how it looks there.

mod album;
mod draw;
mod panel;

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail, ensure};

use album::Board;

/// Runs the test that executes all queries, and draws what they gave.
pub(crate) fn run(project: &Path) -> Result<bool> {
    let folder = tempfile::tempdir().context("could not make a folder")?;
    let mut test = Command::new("cargo");
    test.args(["test", "--workspace", "--test", "service_deploy"]).current_dir(project);
    test.env("TIDEWATCH_ALBUM", folder.path()).env("TIDEWATCH_REQUIRE_SERVICES", "1");
    if !test.status().context("could not start `cargo test`")?.success() {
        bail!("the test of the dashboards failed: its reason is above");
    }
    let pictures = project.join("docs/pictures");
    let boards = Board::read_all(folder.path())?;
    ensure!(!boards.is_empty(), "the test of the dashboards wrote nothing down");
    for board in boards {
        let path = pictures.join(format!("{}.svg", board.name));
        draw::board(&board, &path)?;
        println!("{}", path.display());
    }
    Ok(true)
}
