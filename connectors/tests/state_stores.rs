//! The contract of state stores, on each of them: in memory, in a folder, in a bucket; and what only some of
//! them can do wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use tempfile::TempDir;
use tidewatch_connectors::state::{
    BucketError, BucketLocation, BucketStore, DirectoryStore, Location, open,
};
use tidewatch_dataflow::checkpoint::{StateStore, StoreError};
use tidewatch_dataflow::testing::MemoryStore;
use tidewatch_testkit::http::{Reply, S3Fake};
use tidewatch_testkit::wait_for;
use tokio::runtime::Runtime;

/// A store and what it stands on.
struct Fixture {
    what: &'static str,
    store: Arc<dyn StateStore>,
    _folder: Option<TempDir>,
    _s3: Option<(S3Fake, Runtime)>,
}

fn location(s3: &S3Fake, prefix: &str) -> BucketLocation {
    BucketLocation {
        bucket: S3Fake::BUCKET.to_owned(),
        prefix: prefix.to_owned(),
        endpoint: Some(s3.url()),
        region: None,
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn bucket(s3: &S3Fake, prefix: &str, runtime: &Runtime) -> BucketStore {
    let location = location(s3, prefix);
    BucketStore::with_environment(&location, S3Fake::environment(), runtime.handle()).unwrap()
}

fn in_folder() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(DirectoryStore::open(folder.path().join("deep/state")).unwrap());
    Fixture { what: "folder", store, _folder: Some(folder), _s3: None }
}

fn in_bucket(prefix: &str) -> Fixture {
    let (s3, runtime) = (S3Fake::start().unwrap(), runtime());
    let store = Arc::new(bucket(&s3, prefix, &runtime));
    Fixture { what: "bucket", store, _folder: None, _s3: Some((s3, runtime)) }
}

/// Those that outlive a process.
fn lasting() -> Vec<Fixture> {
    vec![in_folder(), in_bucket("ops/tidewatch"), in_bucket("")]
}

fn all() -> Vec<Fixture> {
    let store = Arc::new(MemoryStore::default());
    let memory = Fixture { what: "memory", store, _folder: None, _s3: None };
    std::iter::once(memory).chain(lasting()).collect()
}

fn names(store: &dyn StateStore, prefix: &str) -> Vec<String> {
    store.list(prefix).unwrap().into_iter().map(|object| object.name).collect()
}

// ------------------------------------------------------------------ the contract

#[test]
fn an_object_is_created_once_and_stays_as_it_is() {
    for Fixture { what, store, .. } in &all() {
        store.create("manifests/00000001-0000000001", b"first").unwrap();
        let again = store.create("manifests/00000001-0000000001", b"second");
        let Err(StoreError::Exists { name }) = again else { panic!("{what}: {again:?}") };
        assert_eq!(name, "manifests/00000001-0000000001", "{what}");
        assert_eq!(store.read(&name).unwrap(), b"first", "{what}");
        assert!(matches!(store.read("manifests/2"), Err(StoreError::Missing { .. })), "{what}");
        assert!(matches!(store.read("other/2"), Err(StoreError::Missing { .. })), "{what}");
    }
}

#[test]
fn content_comes_back_whole_whatever_it_is() {
    for Fixture { what, store, .. } in &all() {
        let large: Vec<u8> =
            (0..3_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for (name, content) in [
            ("pieces/empty", &b""[..]),
            ("pieces/zero", &[0, 13, 10, 255]),
            ("pieces/large", &large),
        ] {
            store.create(name, content).unwrap();
            assert!(store.read(name).unwrap() == content, "{what}: {name}");
        }
        let sizes: Vec<u64> = store.list("pieces/").unwrap().iter().map(|o| o.size).collect();
        assert_eq!(sizes, [0, 3_000_000, 4], "{what}");
    }
}

#[test]
fn what_is_deleted_is_gone_and_its_name_is_free() {
    for Fixture { what, store, .. } in &all() {
        store.delete("runs/1").unwrap();
        store.create("runs/1", b"a").unwrap();
        store.delete("runs/1").unwrap();
        store.delete("runs/1").unwrap();
        assert_eq!(names(store.as_ref(), ""), [""; 0], "{what}");
        store.create("runs/1", b"b").unwrap();
        assert_eq!(store.read("runs/1").unwrap(), b"b", "{what}");
    }
}

#[test]
fn listings_are_in_the_order_of_names_and_below_their_prefix() {
    for Fixture { what, store, .. } in &all() {
        assert_eq!(names(store.as_ref(), "runs/"), [""; 0], "{what}: a prefix that nothing has");
        // More than a page of a bucket's listing, in no order; `-` and `.` come before `/`, `0` after.
        let mut expected: Vec<String> =
            (0..40_u32).map(|i| format!("runs/{:02}", i * 7 % 40)).collect();
        expected.extend(
            [
                "runs-old/1",
                "runs.old/1",
                "runs0",
                "spill/influxdb/1",
                "spill/a/b/c",
                "spill/a-1",
                "spill/a1",
            ]
            .map(str::to_owned),
        );
        for name in &expected {
            store.create(name, name.as_bytes()).unwrap();
        }
        expected.sort();
        assert_eq!(names(store.as_ref(), ""), expected, "{what}");
        let below = |prefix: &str| -> Vec<String> {
            expected.iter().filter(|name| name.starts_with(prefix)).cloned().collect()
        };
        for prefix in ["runs/", "runs-old/", "spill/", "spill/a/", "spill/a/b/"] {
            assert_eq!(names(store.as_ref(), prefix), below(prefix), "{what}: {prefix}");
        }
        for object in store.list("").unwrap() {
            assert_eq!(object.size, object.name.len() as u64, "{what}: {}", object.name);
        }
    }
}

#[test]
fn of_eight_at_once_exactly_one_is_first() {
    for Fixture { what, store, .. } in &all() {
        for round in 0..20 {
            let name = format!("runs/{round}");
            let barrier = Barrier::new(8);
            let won: Vec<u8> = std::thread::scope(|scope| {
                let racers: Vec<_> = (0..8_u8)
                    .map(|racer| {
                        let (name, barrier) = (&name, &barrier);
                        scope.spawn(move || {
                            barrier.wait();
                            match store.create(name, &vec![racer; 1_000]) {
                                Ok(()) => Some(racer),
                                Err(StoreError::Exists { .. }) => None,
                                Err(error) => panic!("{what}: {error:?}"),
                            }
                        })
                    })
                    .collect();
                racers.into_iter().filter_map(|racer| racer.join().unwrap()).collect()
            });
            assert_eq!(won.len(), 1, "{what}: {won:?}");
            assert_eq!(store.read(&name).unwrap(), vec![won[0]; 1_000], "{what}");
        }
        assert_eq!(store.list("").unwrap().len(), 20, "{what}: nothing else is left");
    }
}

#[test]
fn names_that_could_lead_elsewhere_are_refused() {
    for Fixture { what, store, .. } in &lasting() {
        for name in [
            "",
            ".",
            "..",
            "/",
            "/etc/passwd",
            "runs/",
            "runs//1",
            "../1",
            "runs/../../1",
            "runs/..",
            "runs/.tmp-1",
            ".hidden",
            "Runs/1",
            "runs/a b",
            "runs/ä",
            "runs\\1",
            "runs/1\n",
            "runs/%2e%2e",
            "c:/x",
            "runs/1\0",
        ] {
            for (action, failed) in [
                ("create", store.create(name, b"x").unwrap_err()),
                ("read", store.read(name).unwrap_err()),
                ("delete", store.delete(name).unwrap_err()),
            ] {
                let StoreError::Failed { source, .. } = &failed else {
                    panic!("{what}: {name}: {failed:?}")
                };
                assert!(
                    failed.to_string().starts_with(&format!("could not {action} ")),
                    "{what}: {failed}"
                );
                assert!(
                    source.to_string().contains("use parts of lower-case letters"),
                    "{what}: {source}"
                );
            }
        }
        for prefix in ["/", "runs", "../", "runs/../", "/runs/", "Runs/"] {
            assert!(
                matches!(store.list(prefix), Err(StoreError::Failed { .. })),
                "{what}: {prefix}"
            );
        }
        let long = format!("runs/{}", "x".repeat(256));
        assert!(store.create(&long, b"").is_err(), "{what}");
        assert_eq!(names(store.as_ref(), ""), [""; 0], "{what}");
    }
}

// ------------------------------------------------------------------ folders

/// The environment variable that makes the test below its own writer to be killed.
const WRITER: &str = "TIDEWATCH_TEST_WRITES_TO";

/// The length of the killed writer's objects: a write of them takes a while.
const OBJECT_BYTES: usize = 4 << 20;

#[test]
fn a_killed_writer_leaves_nothing_visible() {
    if let Some(folder) = std::env::var_os(WRITER) {
        write_for_ever(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let temporary = || {
        let entries = std::fs::read_dir(folder.path().join("pieces")).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".tmp-")).count()
    };
    let mut left = 0;
    for _ in 0..10 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_writer_leaves_nothing_visible", "--nocapture"])
            .env(WRITER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(writer.stdout.take().unwrap()).lines();
        assert!(told.any(|line| line.unwrap().contains("one is written")));
        // The next write is under way, at some place.
        wait_for(Duration::from_secs(60), || (temporary() > 0).then_some(())).unwrap();
        // Another process opens the store: what a living writer is at stays.
        DirectoryStore::open(folder.path()).unwrap();
        writer.kill().unwrap();
        writer.wait().unwrap();
        left += temporary();
        let store = DirectoryStore::open_existing(folder.path()).unwrap();
        for object in store.list("").unwrap() {
            let content = store.read(&object.name).unwrap();
            assert_eq!(content.len(), OBJECT_BYTES, "{object:?}");
            assert!(content.iter().all(|byte| *byte == content[0]), "{object:?}");
        }
        DirectoryStore::open(folder.path()).unwrap();
        assert_eq!(temporary(), 0);
    }
    assert!(left > 0, "no kill hit a writer at work");
}

fn write_for_ever(folder: &Path) -> ! {
    let store = DirectoryStore::open(folder).unwrap();
    loop {
        let name = format!("pieces/{:016x}", std::process::id());
        store.create(&name, &vec![std::process::id() as u8; OBJECT_BYTES]).unwrap();
        println!("one is written");
        store.delete(&name).unwrap();
    }
}

#[test]
fn opening_leaves_alone_what_another_writer_is_at() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    let path = folder.path().to_path_buf();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || {
                    (0..50).for_each(|i| {
                        store.create(&format!("pieces/{writer}-{i}"), &[7; 2_000]).unwrap()
                    });
                })
            })
            .collect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            DirectoryStore::open(&path).unwrap();
        }
    });
    assert_eq!(store.list("pieces/").unwrap().len(), 200);
    assert_eq!(std::fs::read_dir(folder.path().join("pieces")).unwrap().count(), 200);
}

#[test]
fn files_are_the_owners_only_and_strangers_are_not_listed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a/state");
    let store = DirectoryStore::open(&root).unwrap();
    store.create("runs/1", b"x").unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&root.join("runs/1")), 0o600);
    for path in [folder.path().join("a"), root.clone(), root.join("runs")] {
        assert_eq!(mode(&path), 0o700, "{}", path.display());
    }
    std::fs::create_dir(root.join("lost+found")).unwrap();
    std::fs::write(root.join("lost+found/#12"), b"").unwrap();
    std::fs::write(root.join("runs/README"), b"").unwrap();
    std::os::unix::fs::symlink("1", root.join("runs/2")).unwrap();
    assert_eq!(names(&store, ""), ["runs/1"]);
}

#[test]
fn a_folder_that_cannot_be_used_is_told_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = DirectoryStore::open(&file).unwrap_err().to_string();
    assert!(error.contains(&format!("`{}`", file.display())), "{error}");
    assert!(error.contains("name a folder of its own for the store"), "{error}");
    let error = DirectoryStore::open_existing(folder.path().join("none")).unwrap_err().to_string();
    assert!(error.contains("name a folder that is there"), "{error}");
    assert!(!folder.path().join("none").exists());
    // A folder where an object should be.
    let store = DirectoryStore::open(folder.path().join("state")).unwrap();
    store.create("runs/1/x", b"").unwrap();
    let Err(StoreError::Failed { source, .. }) = store.read("runs/1") else {
        panic!("it was read")
    };
    assert!(source.to_string().contains("runs/1`: "), "{source}");
}

#[test]
fn a_relative_text_starts_at_the_base_and_a_url_is_a_bucket() {
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let store = open("state", folder.path(), runtime.handle()).unwrap();
    store.create("runs/1", b"").unwrap();
    assert!(folder.path().join("state/runs/1").is_file());
    assert!(open("gs://x/y", folder.path(), runtime.handle()).is_err());
    assert!(matches!(Location::parse("s3://abc", folder.path()), Ok(Location::Bucket(_))));
}

// ------------------------------------------------------------------ buckets

#[test]
fn stores_below_different_prefixes_share_a_bucket() {
    let (s3, runtime) = (S3Fake::start().unwrap(), runtime());
    let stores = ["a", "a/b", "ab", ""].map(|prefix| bucket(&s3, prefix, &runtime));
    for (i, store) in stores.iter().enumerate() {
        store.create(&format!("runs/{i}"), b"").unwrap();
    }
    assert_eq!(s3.keys(), ["a/b/runs/1", "a/runs/0", "ab/runs/2", "runs/3"]);
    assert_eq!(names(&stores[0], "runs/"), ["runs/0"]);
    assert_eq!(names(&stores[2], ""), ["runs/2"]);
}

#[test]
fn a_writer_whose_answer_was_lost_is_first_all_the_same() {
    let (s3, runtime) = (S3Fake::start().unwrap(), runtime());
    let store = bucket(&s3, "x", &runtime);
    for lost in
        [Reply::hang_up(), Reply::status(500), Reply::status(503), Reply::status(200).cut_at(20)]
    {
        s3.http().enqueue_after_effect(lost.clone());
        store.create("runs/1", b"mine").unwrap();
        // Another one with the same content is another one.
        s3.http().enqueue(lost);
        assert!(matches!(store.create("runs/1", b"mine"), Err(StoreError::Exists { .. })));
        store.delete("runs/1").unwrap();
    }
}

#[test]
fn what_may_pass_is_repeated() {
    let (s3, runtime) = (S3Fake::start().unwrap(), runtime());
    let store = bucket(&s3, "x", &runtime);
    store.create("runs/1", b"content").unwrap();
    for _ in 0..2 {
        s3.http().enqueue(Reply::status(503));
        s3.http().enqueue(Reply::hang_up());
    }
    assert_eq!(store.read("runs/1").unwrap(), b"content");
    s3.http().enqueue(Reply::status(500));
    assert_eq!(names(&store, ""), ["runs/1"]);
    // An answer that ends in the middle is none.
    s3.http().enqueue_after_effect(
        Reply::status(200).header("etag", "\"x\"").body(vec![0; 500]).cut_at(200),
    );
    assert_eq!(store.read("runs/1").unwrap(), b"content");
    // Refused for the sake of another put that came to nothing.
    let conflict = "<Error><Code>ConditionalRequestConflict</Code></Error>";
    s3.http().enqueue(Reply::status(409).body(conflict));
    store.create("runs/2", b"").unwrap();
}

#[test]
fn a_service_that_overwrites_is_refused() {
    let (s3, runtime) = (S3Fake::start_overwriting().unwrap(), runtime());
    let error = bucket(&s3, "x", &runtime).probe().unwrap_err();
    assert!(matches!(error, BucketError::Overwrites { .. }), "{error}");
    let s3 = S3Fake::start().unwrap();
    let store = bucket(&s3, "x", &runtime);
    store.probe().unwrap();
    store.probe().unwrap();
    assert_eq!(s3.keys(), ["x/probe/create-only"]);
}

#[test]
fn a_bucket_that_cannot_be_used_is_told_with_a_remedy() {
    let (s3, runtime) = (S3Fake::start().unwrap(), runtime());
    let told = |location: &BucketLocation, environment: Vec<(String, String)>| {
        let store = BucketStore::with_environment(location, environment, runtime.handle()).unwrap();
        let error = store.probe().unwrap_err().to_string();
        assert!(!error.contains(S3Fake::SECRET_KEY), "{error}");
        let Err(StoreError::Failed { source, .. }) = store.list("") else {
            panic!("it was listed")
        };
        assert!(source.to_string().contains(&location.to_string()), "{source}");
        error
    };
    let absent = BucketLocation { bucket: "not-there".to_owned(), ..location(&s3, "x") };
    let error = told(&absent, S3Fake::environment());
    assert!(error.contains("make the bucket, or correct its name"), "{error}");
    let mut stranger = S3Fake::environment();
    stranger[0].1 = "AKIDSTRANGER".to_owned();
    let error = told(&location(&s3, "x"), stranger);
    assert!(error.contains("set AWS_ACCESS_KEY_ID"), "{error}");
    let nobody =
        BucketLocation { endpoint: Some("http://127.0.0.1:1".into()), ..location(&s3, "x") };
    let error = told(&nobody, S3Fake::environment());
    assert!(error.contains("see whether the service is up"), "{error}");
    let half = S3Fake::environment().split_off(1);
    let error =
        BucketStore::with_environment(&location(&s3, "x"), half, runtime.handle()).unwrap_err();
    assert!(matches!(error, BucketError::Settings { .. }), "{error}");
}

#[test]
fn the_environment_says_where_the_service_is_unless_the_file_does() {
    let (s3, runtime) = (S3Fake::start().unwrap(), runtime());
    let mut environment = S3Fake::environment();
    environment.push(("AWS_ENDPOINT_URL".to_owned(), s3.url()));
    let unsaid = BucketLocation { endpoint: None, ..location(&s3, "x") };
    let store =
        BucketStore::with_environment(&unsaid, environment.clone(), runtime.handle()).unwrap();
    store.create("runs/1", b"").unwrap();
    // The file wins over both variables.
    environment.push(("AWS_ENDPOINT_URL_S3".to_owned(), "http://127.0.0.1:1".to_owned()));
    environment.push(("AWS_REGION".to_owned(), "eu-west-1".to_owned()));
    let said = BucketLocation { region: Some("eu-central-1".into()), ..location(&s3, "x") };
    let store = BucketStore::with_environment(&said, environment, runtime.handle()).unwrap();
    assert_eq!(names(&store, ""), ["runs/1"]);
    let requests = s3.http().requests();
    let scope = |at: usize| requests[at].header("authorization").unwrap().to_owned();
    assert!(scope(0).contains("/us-east-1/s3/"), "{}", scope(0));
    assert!(scope(requests.len() - 1).contains("/eu-central-1/s3/"));
}

#[test]
fn a_put_that_is_cut_off_leaves_nothing() {
    let (s3, runtime) = (S3Fake::start().unwrap(), runtime());
    let address = s3.url().replace("http://", "");
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let head =
        format!("PUT /{}/x/runs/1 HTTP/1.1\r\ncontent-length: 100\r\n\r\nhalf", S3Fake::BUCKET);
    stream.write_all(head.as_bytes()).unwrap();
    drop(stream);
    assert_eq!(names(&bucket(&s3, "x", &runtime), ""), [""; 0]);
}
