//! Where a run keeps its state: nowhere, in a folder, or in a bucket of a fake of S3 behind a proxy.

use std::path::{Path, PathBuf};

use tidewatch_connectors::state::DirectoryStore;
use tidewatch_dataflow::checkpoint::StateStore as _;
use tidewatch_dataflow::ingest::{Facts, StoreJournal};
use tidewatch_testkit::http::S3Fake;

use crate::fleet::Topic;
use crate::proxy::Proxy;

/// What the names of all objects begin with in the bucket.
const PREFIX: &str = "chaos";

/// What a run decided about time, and which runs there were: with the log, all that its results follow from.
const DECISIONS: [&str; 2] = ["journal/", "runs/"];

/// A state store.
pub enum State {
    Nowhere,
    Folder(PathBuf),
    Bucket(Box<Bucket>),
}

/// A bucket, and the way to it.
pub struct Bucket {
    s3: S3Fake,
    pub proxy: Proxy,
}

impl State {
    /// A bucket that is empty.
    pub fn bucket() -> Self {
        let s3 = S3Fake::start_large().unwrap();
        let proxy = Proxy::start(&s3.url());
        State::Bucket(Box::new(Bucket { s3, proxy }))
    }

    /// The part of `[checkpoint]` that says where it is.
    pub fn setting(&self) -> String {
        match self {
            State::Nowhere => "enabled = false".to_owned(),
            State::Folder(path) => format!("store = \"{}\"", path.display()),
            State::Bucket(bucket) => format!(
                "store = \"s3://{}/{PREFIX}\"\nendpoint = \"{}\"",
                S3Fake::BUCKET,
                bucket.proxy.url()
            ),
        }
    }

    /// What gives access to it.
    pub fn environment(&self) -> Vec<(String, String)> {
        match self {
            State::Bucket(_) => S3Fake::environment(),
            _ => Vec::new(),
        }
    }

    /// Names and sizes of all objects.
    fn objects(&self) -> Vec<(String, u64)> {
        match self {
            State::Nowhere => Vec::new(),
            State::Folder(path) => {
                // Before its first run there is none.
                let store = DirectoryStore::open_existing(path);
                let listed = store.ok().and_then(|store| store.list("").ok());
                listed.into_iter().flatten().map(|object| (object.name, object.size)).collect()
            }
            State::Bucket(bucket) => {
                let objects = bucket.s3.keys().into_iter().filter_map(|key| {
                    let size = bucket.s3.object(&key)?.len() as u64;
                    Some((key.strip_prefix(PREFIX)?.strip_prefix('/')?.to_owned(), size))
                });
                objects.collect()
            }
        }
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        match self {
            State::Nowhere => None,
            State::Folder(path) => DirectoryStore::open_existing(path).ok()?.read(name).ok(),
            State::Bucket(bucket) => bucket.s3.object(&format!("{PREFIX}/{name}")),
        }
    }

    /// The newest checkpoint there is.
    pub fn newest(&self) -> Option<String> {
        match self {
            State::Nowhere => None,
            State::Folder(path) => {
                let files = std::fs::read_dir(path.join("manifests")).ok()?.flatten();
                files.map(|file| file.file_name().to_string_lossy().into_owned()).max()
            }
            State::Bucket(bucket) => {
                let keys = bucket.s3.keys().into_iter();
                keys.filter(|key| key.starts_with(&format!("{PREFIX}/manifests/"))).max()
            }
        }
    }

    /// How much of what it holds.
    pub fn contents(&self) -> String {
        let mut folders: Vec<(String, usize, u64)> = Vec::new();
        for (name, size) in self.objects() {
            let folder = name.split('/').next().unwrap_or_default();
            match folders.iter_mut().find(|(known, ..)| known == folder) {
                Some((_, count, bytes)) => (*count, *bytes) = (*count + 1, *bytes + size),
                None => folders.push((folder.to_owned(), 1, size)),
            }
        }
        let texts = folders
            .iter()
            .map(|(folder, count, bytes)| format!("{folder} {count} ({} KiB);", bytes / 1_024));
        texts.collect::<Vec<_>>().join(" ")
    }

    /// A folder of state with nothing but the decisions of this one: who begins from it computes the same.
    pub fn decisions(&self, folder: PathBuf) -> State {
        let store = DirectoryStore::open(&folder).unwrap();
        for (name, _) in self.objects() {
            if DECISIONS.iter().any(|folder| name.starts_with(folder)) {
                store.create(&name, &self.read(&name).unwrap()).unwrap();
            }
        }
        State::Folder(folder)
    }

    /// What was decided, about the topics of the fleet by their places.
    pub fn facts(&self, folder: &Path) -> Facts {
        let copy = folder.join("facts");
        // Of another look.
        let _ = std::fs::remove_dir_all(&copy);
        let State::Folder(path) = self.decisions(copy) else { return Facts::default() };
        let store = DirectoryStore::open_existing(&path).unwrap();
        let mut facts = Facts::default();
        let place = |name: &str| Topic::ALL.iter().position(|topic| topic.name() == name);
        let place = |name: &str| u32::try_from(place(name)?).ok();
        StoreJournal::load(&store, 0, place, &mut facts).unwrap();
        facts
    }
}
