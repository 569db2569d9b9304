//! What README.md shows works: its pipeline files are valid, and its commands are understood.

use clap::Parser;
use tidewatch::commands::Cli;
use tidewatch::config::parse;

const README: &str = include_str!("../../README.md");

/// The code blocks of README.md in `language`.
fn blocks(language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in README.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => {
                let found = info.split(',').next() == Some(language);
                open = Some(if found { String::new() } else { "\0".to_owned() });
            }
            (Some(block), None) => {
                block.push_str(line);
                block.push('\n');
            }
            (Some(_), Some(_)) => {
                blocks.extend(open.take().filter(|block| !block.starts_with('\0')))
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block of README.md is not closed");
    blocks
}

#[test]
fn every_pipeline_file_is_complete_and_without_warnings() {
    let files = blocks("toml");
    assert!(!files.is_empty(), "README.md shows no pipeline file");
    for file in files {
        let config = parse(&file, "README.md").unwrap_or_else(|errors| panic!("{errors}\n{file}"));
        assert_eq!(config.warnings, [], "{file}");
    }
}

#[test]
fn every_command_is_understood() {
    let mut understood = 0;
    for line in blocks("sh").iter().flat_map(|block| block.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        let arguments = line
            .strip_prefix("cargo run --release -- ")
            .or_else(|| line.strip_prefix("tidewatch "));
        if let Some(arguments) = arguments {
            let words = ["tidewatch"].into_iter().chain(arguments.split_whitespace());
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("README.md: `{line}`: {error}");
            }
            understood += 1;
        }
    }
    assert!(understood >= 4, "README.md shows only {understood} commands");
}

#[test]
fn the_two_commands_stand_in_front() {
    let first = blocks("sh").into_iter().next().unwrap_or_default();
    for command in ["cargo run --release -- demo", "cargo xtask test"] {
        assert!(first.contains(command), "the first block of README.md lacks `{command}`");
    }
}
