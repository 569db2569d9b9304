//! Panics while a feed applies a pane: who evaluated which group, left by the panic hook, read by the supervisor.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidewatch_dataflow::ingest::Quarantined;
use tidewatch_operators::evaluation;

/// How the name of a word about a panic ends.
const SUFFIX: &str = ".panic";

/// Leaves word in `dir` of what the calling thread evaluates, if it evaluates a group: for a panic hook.
///
/// # Errors
/// When the file cannot be written.
pub fn leave_word(dir: &Path) -> io::Result<()> {
    // Several workers of a process may panic, and the first of them to get so far ends it.
    static WORDS: AtomicUsize = AtomicUsize::new(0);
    let Some(under_way) = evaluation::under_way() else { return Ok(()) };
    let content = serde_json::to_vec(&under_way.what).map_err(io::Error::other)?;
    let (process, word) = (std::process::id(), WORDS.fetch_add(1, Ordering::Relaxed));
    fs::create_dir_all(dir)?;
    let draft = dir.join(format!("{process}-{word}.draft"));
    fs::write(&draft, content)?;
    fs::rename(draft, dir.join(format!("{process}-{word}{SUFFIX}")))
}

/// What was evaluated when threads panicked, and was not taken before. Call it while no member runs. A file that
/// is no such word says nothing.
///
/// # Errors
/// When the folder or a file in it cannot be read or removed; a folder that is not there holds none.
pub fn take_words(dir: &Path) -> io::Result<BTreeSet<Quarantined>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    let mut found = BTreeSet::new();
    for entry in entries {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(SUFFIX) {
            found.extend(serde_json::from_slice::<Quarantined>(&fs::read(&path)?).ok());
            fs::remove_file(&path)?;
        }
    }
    Ok(found)
}
