//! Peers: folders of `benches/peers`, each with a `peer.toml`, a `setup.sh` and a `run.sh`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

/// What `peer.toml` says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// As people write it: `Kafka Streams`.
    pub(super) name: String,
    /// Of the engine.
    pub(super) version: String,
    /// Which queries it can answer.
    pub(super) queries: Vec<String>,
    /// It knows no event time, so its answers cannot be compared row by row.
    #[serde(default)]
    pub(super) arrival_time_only: bool,
    /// It is documented to write a row again when it corrects itself.
    #[serde(default)]
    pub(super) corrects: bool,
    /// What a reader of the results should know.
    #[serde(default)]
    pub(super) notes: String,
    /// Of what else it is made of.
    #[serde(default)]
    pub(super) versions: BTreeMap<String, String>,
}

impl Manifest {
    fn parse(text: &str) -> Result<Self> {
        let manifest: Manifest = toml::from_str(text)?;
        for query in &manifest.queries {
            ensure!(
                ["q1", "q2", "q3", "q4"].contains(&query.as_str()),
                "`{query}` is no query: write some of q1, q2, q3, q4"
            );
        }
        Ok(manifest)
    }
}

/// An engine to compare with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Peer {
    /// Name of its folder: what lines begin with.
    pub(super) id: String,
    pub(super) folder: PathBuf,
    pub(super) manifest: Manifest,
}

impl Peer {
    /// The peer in `folder`.
    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("peer.toml");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("could not read `{}`", path.display()))?;
        let manifest = Manifest::parse(&text)
            .with_context(|| format!("could not use `{}`", path.display()))?;
        let id = folder.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(Peer { id: id.unwrap_or_default(), folder: folder.to_path_buf(), manifest })
    }
}

/// The peers in `folder` that `wanted` names: `all`, `none`, or each by the name of its folder, in that order.
pub(super) fn find(folder: &Path, wanted: &[String]) -> Result<Vec<Peer>> {
    if wanted == ["none"] {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut there: Vec<String> = entries
        .filter(|entry| entry.path().join("peer.toml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    there.sort();
    if wanted == ["all"] {
        return there.iter().map(|id| Peer::read(&folder.join(id))).collect();
    }
    let named = wanted.iter().map(|id| {
        if !there.contains(id) {
            bail!("there is no peer `{id}`: write all, none, or some of {}", there.join(","));
        }
        Peer::read(&folder.join(id))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "name = \"Kafka Streams\"\nversion = \"4.3.1\"\nqueries = [\"q1\", \"q4\"]\n";

    fn peers(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("peer.toml"), GOOD).unwrap();
        }
        fs::create_dir(folder.path().join("not-a-peer")).unwrap();
        folder
    }

    #[test]
    fn a_manifest_has_defaults_and_no_typing_errors() {
        let manifest = Manifest::parse(GOOD).unwrap();
        assert_eq!(
            (&*manifest.name, manifest.arrival_time_only, manifest.corrects),
            ("Kafka Streams", false, false)
        );
        assert!(Manifest::parse(&format!("{GOOD}corects = true\n")).is_err());
        let error = Manifest::parse(&GOOD.replace("q4", "q7")).unwrap_err().to_string();
        assert!(error.contains("`q7` is no query"), "{error}");
    }

    #[test]
    fn peers_are_chosen_by_folder() {
        let folder = peers(&["spark", "flink"]);
        let find = |wanted: &[&str]| {
            let wanted: Vec<_> = wanted.iter().map(|name| (*name).to_owned()).collect();
            let found = find(folder.path(), &wanted);
            found.map(|peers| peers.into_iter().map(|peer| peer.id).collect::<Vec<_>>())
        };
        assert_eq!(find(&["all"]).unwrap(), ["flink", "spark"]);
        assert_eq!(find(&["none"]).unwrap(), [""; 0]);
        assert_eq!(find(&["spark"]).unwrap(), ["spark"]);
        let error = find(&["storm"]).unwrap_err().to_string();
        assert_eq!(error, "there is no peer `storm`: write all, none, or some of flink,spark");
    }
}
