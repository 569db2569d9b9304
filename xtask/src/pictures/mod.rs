//! `cargo xtask pictures`: what the dashboards show, drawn from the answers to their queries.
//!
//! ```text
//!  service_deploy: real stores, every query ─► an album of JSON ─► docs/pictures/*.svg
//! ```
//! Grafana and Kibana are not part of it: the pictures say what is shown, not how it looks there.

mod album;
mod draw;
mod panel;

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

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
    for board in Board::read_all(folder.path())? {
        let path = pictures.join(format!("{}.svg", board.name));
        draw::board(&board, &path)?;
        println!("{}", path.display());
    }
    fs::read_dir(&pictures)
        .with_context(|| format!("nothing was drawn in `{}`", pictures.display()))?;
    Ok(true)
}
