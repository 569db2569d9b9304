//! `tidewatch check`: what it says of files that are wrong, that it says so of every damaged file, and what
//! the program itself prints.

use std::path::{Path, PathBuf};

use tidewatch::config::load;

/// Every file in `tests/check` and its problems, as they are to be shown. With `UPDATE_GOLDEN=1` in the
/// environment what is shown now is written down, to be read and committed.
#[test]
fn every_wrong_file_is_told_as_written_down() {
    let mut files: Vec<PathBuf> = std::fs::read_dir("tests/check")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 10, "the files are gone");
    for file in files {
        let errors = load(&file).map(|_| ()).expect_err(&format!("{} is valid", file.display()));
        let told = format!("{errors}\n");
        compare(&file.with_extension("stderr"), &told);
    }
}

/// Compares `told` with the content of `golden`, or writes it there.
fn compare(golden: &Path, told: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, told).unwrap();
    }
    let written = std::fs::read_to_string(golden).unwrap_or_default();
    assert_eq!(told, written, "{} differs; UPDATE_GOLDEN=1 writes it anew", golden.display());
}
