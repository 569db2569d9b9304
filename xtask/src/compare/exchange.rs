//! What the processes of a system sent each other, where they leave word of it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// `exchange-PROCESS.json`, written by each process of tidewatch at its end.
#[derive(Debug, Deserialize)]
struct Exchange {
    /// Bytes of the keys and values it read.
    read: u64,
    /// Bytes it sent to other processes.
    sent: u64,
}

/// Bytes sent between processes for each byte read, by the files in `out`; `None` where there are none.
pub(super) fn share(out: &Path) -> Result<Option<f64>> {
    let (mut read, mut sent) = (0, 0);
    let listed = |path: &Path| format!("could not read `{}`", path.display());
    for entry in fs::read_dir(out).with_context(|| listed(out))? {
        let path = entry.with_context(|| listed(out))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("exchange-") && name.ends_with(".json") {
            let text = fs::read_to_string(&path).with_context(|| listed(&path))?;
            let exchange: Exchange = serde_json::from_str(&text).with_context(|| listed(&path))?;
            read += exchange.read;
            sent += exchange.sent;
        }
    }
    Ok((read > 0).then(|| sent as f64 / read as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_summed_over_processes_and_absent_where_none_left_word() -> Result<()> {
        let folder = tempfile::tempdir()?;
        assert_eq!(share(folder.path())?, None);
        fs::write(folder.path().join("q1.csv"), "a,b")?;
        fs::write(folder.path().join("exchange-0.json"), r#"{"read":600,"sent":3}"#)?;
        fs::write(folder.path().join("exchange-1.json"), r#"{"read":400,"sent":5}"#)?;
        assert_eq!(share(folder.path())?, Some(0.008));
        fs::write(folder.path().join("exchange-2.json"), "{}")?;
        assert!(share(folder.path()).unwrap_err().to_string().contains("exchange-2.json"));
        Ok(())
    }
}
