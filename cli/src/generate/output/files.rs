//! A folder with one file a partition, and the labels beside them.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::super::{Labels, Record, Topic, Workload};
use super::{Writer, write_all};

/// The name of the file with the labels. It is written last, so where it is, all is.
pub const LABELS: &str = "labels.json";
/// Bytes that are gathered before they are written.
const BUFFER: usize = 1 << 20;

/// What could not be done with which file.
#[derive(Debug, thiserror::Error)]
#[error("could not {what} `{}`", path.display())]
pub struct FileError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The name of the file of a partition, such as `fleet-metrics-07.ndjson`.
pub fn file_name(topic: Topic, partition: u32) -> String {
    format!("{}-{partition:02}.ndjson", topic.name())
}

/// Writes `workload` to files in `folder`, which is made if need be: for each partition of each topic
/// one with a line `key<TAB>message` a record, and [`LABELS`]. What has one of these names is replaced.
///
/// # Errors
/// [`FileError`] when the folder or a file cannot be written.
pub fn write(
    workload: &Workload,
    folder: &Path,
    threads: usize,
    progress: impl FnMut(u64),
) -> Result<Labels, FileError> {
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| FileError { what, path, source }
    };
    fs::create_dir_all(folder).map_err(failed("make the folder", folder))?;
    let path = folder.join(LABELS);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("replace", &path)(error));
        }
        _ => {}
    }
    let open = |topic, partition| {
        let path = folder.join(file_name(topic, partition));
        let file = File::create(&path).map_err(failed("make", &path))?;
        Ok(Lines { path, file, buffer: Vec::with_capacity(BUFFER + BUFFER / 16) })
    };
    let labels = write_all(workload, threads, open, progress)?;
    write_labels(&labels, &path)?;
    Ok(labels)
}

/// Writes `labels` to the file `path`.
///
/// # Errors
/// [`FileError`] when that cannot be done.
pub fn write_labels(labels: &Labels, path: &Path) -> Result<(), FileError> {
    let failed = |source| FileError { what: "write the labels to", path: path.to_owned(), source };
    let mut text = serde_json::to_vec_pretty(labels).map_err(|error| failed(error.into()))?;
    text.push(b'\n');
    fs::write(path, text).map_err(failed)
}

/// The file of one partition.
struct Lines {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
}

impl Writer for Lines {
    type Error = FileError;

    fn write(&mut self, record: &Record<'_>) -> Result<(), FileError> {
        self.buffer.extend_from_slice(record.key.as_bytes());
        self.buffer.push(b'\t');
        self.buffer.extend_from_slice(record.payload);
        self.buffer.push(b'\n');
        if self.buffer.len() >= BUFFER { self.finish() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<(), FileError> {
        let done = self.file.write_all(&self.buffer);
        self.buffer.clear();
        done.map_err(|source| FileError { what: "write to", path: self.path.clone(), source })
    }
}
