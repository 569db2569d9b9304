//! Tests of crumbs and suspects.

use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tidewatch_dataflow::ingest::Quarantined;
use tidewatch_dataflow::series::Labels;

use super::*;

const CPU: PartitionId = PartitionId { topic: 0, partition: 3 };
const LOGS: PartitionId = PartitionId { topic: 1, partition: 0 };

fn topics() -> Topics {
    Topics::new(["cpu", "logs"])
}

fn open(dir: &Path, worker: usize) -> Crumb {
    let suspects = Arc::new(Suspects::load(dir).unwrap().of(&topics()));
    Crumb::open(dir, (0, worker), &topics(), suspects).unwrap()
}

fn range(topic: &str, partition: i32, first: i64, last: i64) -> Suspect {
    Suspect { process: 0, topic: topic.into(), partition, first, last }
}

/// What the supervisor does after a crash.
fn crash(dir: &Path) -> Vec<(String, i32, i64)> {
    let mut suspects = Suspects::load(dir).unwrap();
    let poison = suspects.after_crash(&read_all(dir).unwrap());
    suspects.save(dir).unwrap();
    poison
}

#[test]
fn what_is_under_way_can_be_read_and_what_is_done_not() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, mut second) = (open(dir.path(), 0), open(dir.path(), 1));
    assert_eq!(read_all(dir.path()).unwrap(), []);
    second.set(LOGS, 7, 7);
    first.set(CPU, 10, 4_000);
    assert_eq!(read_all(dir.path()).unwrap(), [range("cpu", 3, 10, 4_000), range("logs", 0, 7, 7)]);
    first.clear();
    assert_eq!(read_all(dir.path()).unwrap(), [range("logs", 0, 7, 7)]);
    // The next run begins with an empty one.
    open(dir.path(), 1);
    assert_eq!(read_all(dir.path()).unwrap(), []);
}

#[test]
fn other_files_and_damaged_ones_are_no_crumbs() {
    let dir = tempfile::tempdir().unwrap();
    let mut crumb = open(dir.path(), 0);
    crumb.set(CPU, 1, 2);
    let path = dir.path().join("0-0.crumb");
    let good = fs::read(&path).unwrap();
    let backwards = {
        let mut b = good.clone();
        b[24] = 9;
        b
    };
    let topic = {
        let mut b = good.clone();
        b[16] = 9;
        b
    };
    for bad in
        [&good[..39], b"", b"something else that is long enough to be one", &backwards, &topic]
    {
        fs::write(&path, bad).unwrap();
        assert_eq!(read_all(dir.path()).unwrap(), [], "{bad:?}");
    }
    fs::write(&path, &good).unwrap();
    fs::rename(&path, dir.path().join("notes.txt")).unwrap();
    assert_eq!(read_all(dir.path()).unwrap(), []);
    assert_eq!(read_all(&dir.path().join("nowhere")).unwrap(), []);
}

/// A worker that decodes batches of ten and dies at `poison`, again and again.
#[test]
fn a_poison_record_is_found_by_its_third_crash_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let poison = 57;
    let run = |skipped: &[(String, i32, i64)]| {
        let mut crumb = open(dir.path(), 0);
        for first in (0..100).step_by(10) {
            let last = first + 9;
            if crumb.singly(CPU, first, last) {
                for offset in first..=last {
                    if skipped.contains(&("cpu".into(), 3, offset)) {
                        continue;
                    }
                    crumb.set(CPU, offset, offset);
                    if offset == poison {
                        return false;
                    }
                    crumb.clear();
                }
            } else {
                crumb.set(CPU, first, last);
                if (first..=last).contains(&poison) {
                    return false;
                }
                crumb.clear();
            }
        }
        true
    };
    assert!(!run(&[]));
    assert_eq!(crash(dir.path()), []);
    let suspects = Suspects::load(dir.path()).unwrap().of(&topics());
    assert!(suspects.singly(CPU, 50, 50) && suspects.singly(CPU, 40, 50));
    assert!(!suspects.singly(CPU, 40, 49) && !suspects.singly(LOGS, 50, 59));
    assert!(!run(&[]));
    assert_eq!(crash(dir.path()), [], "one crash is no proof");
    assert!(!run(&[]));
    assert_eq!(crash(dir.path()), [("cpu".into(), 3, 57)]);
    let poison = Suspects::load(dir.path()).unwrap().poison();
    assert_eq!(poison, [("cpu".into(), 3, 57)]);
    assert!(run(&poison), "without it all is well");
    Suspects::forget(dir.path()).unwrap();
    Suspects::forget(dir.path()).unwrap();
    assert_eq!(Suspects::load(dir.path()).unwrap().poison(), []);
}

#[test]
fn a_crash_elsewhere_convicts_nobody() {
    let mut suspects = Suspects::default();
    // Killed three times, each time within another record or batch.
    assert_eq!(suspects.after_crash(&[range("cpu", 3, 10, 19)]), []);
    assert_eq!(suspects.after_crash(&[range("cpu", 3, 12, 12), range("logs", 0, 5, 5)]), []);
    assert_eq!(suspects.after_crash(&[range("cpu", 3, 13, 13), range("logs", 0, 5, 5)]), []);
    assert_eq!(suspects.after_crash(&[]), []);
    assert_eq!(suspects.poison(), []);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut suspects = Suspects::default();
    for batch in 0..3_000 {
        let (first, last) = (batch * 10, batch * 10 + 9);
        suspects.after_crash(&[range("cpu", 3, first, last)]);
        suspects.after_crash(&[range("cpu", 3, first, first)]);
    }
    let suspects = suspects.of(&topics());
    assert!(suspects.singly(CPU, 29_990, 29_999) && !suspects.singly(CPU, 0, 9));
    assert!(serde_json::to_vec(&suspects).unwrap().len() < 200_000);
}

#[test]
fn one_suspected_record_at_a_time_within_a_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut suspects = Suspects::default();
    suspects.after_crash(&[range("cpu", 3, 0, 9), range("logs", 0, 0, 9)]);
    let suspects = Arc::new(suspects.of(&topics()));
    let crumb =
        |worker| Crumb::open(dir.path(), (0, worker), &topics(), Arc::clone(&suspects)).unwrap();
    let (mut first, mut second, mut third) = (crumb(0), crumb(1), crumb(2));
    first.set(CPU, 4, 4);
    // A batch, or a record that nobody suspects, waits for no trial.
    third.set(LOGS, 100, 100);
    third.clear();
    let (sender, began) = mpsc::channel();
    let other = std::thread::spawn(move || {
        second.set(LOGS, 4, 4);
        sender.send(()).unwrap();
    });
    assert!(began.recv_timeout(Duration::from_millis(100)).is_err(), "the second worker waits");
    assert_eq!(read_all(dir.path()).unwrap(), [range("cpu", 3, 4, 4)]);
    first.clear();
    began.recv_timeout(Duration::from_secs(20)).unwrap();
    other.join().unwrap();
    // The second one was dropped in the middle: its trial is over all the same.
    first.set(CPU, 5, 5);
}

/// What the panic hook leaves when `host` crashes the rule.
fn word(dir: &Path, name: &str, host: &str) -> Quarantined {
    let group = Labels::from_pairs([("host", host)]);
    let what = Quarantined { operator: "detect/cpu/rule hot".into(), content: 7, group };
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join(name), serde_json::to_vec(&what).unwrap()).unwrap();
    what
}

#[test]
fn a_group_goes_into_quarantine_with_its_third_panic() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    assert_eq!(take_words(&dir.join("nowhere")).unwrap().len(), 0);
    let crash = || {
        let mut suspects = Suspects::load(dir).unwrap();
        let convicted = suspects.after_panics(take_words(dir).unwrap());
        suspects.save(dir).unwrap();
        convicted
    };
    let web_1 = word(dir, "11-0.panic", "web-1");
    // Torn, and not finished: they say nothing. Two words of one crash count once.
    fs::write(dir.join("11-1.panic"), b"{").unwrap();
    word(dir, "11-2.draft", "web-2");
    word(dir, "11-3.panic", "web-1");
    assert_eq!(crash(), []);
    assert_eq!(crash(), [], "a crash without a word, and no word twice");
    word(dir, "12-0.panic", "web-1");
    let web_2 = word(dir, "13-0.panic", "web-2");
    assert_eq!(crash(), []);
    assert_eq!(Suspects::load(dir).unwrap().quarantined().count(), 0);
    word(dir, "14-0.panic", "web-1");
    word(dir, "15-0.panic", "web-2");
    assert_eq!(crash(), std::slice::from_ref(&web_1));
    word(dir, "16-0.panic", "web-2");
    assert_eq!(crash(), std::slice::from_ref(&web_2));
    word(dir, "17-0.panic", "web-2");
    assert_eq!(crash(), [], "it is there already");
    let suspects = Suspects::load(dir).unwrap();
    assert_eq!(suspects.quarantined().collect::<Vec<_>>(), [&web_1, &web_2]);
}

#[test]
fn a_panic_outside_of_all_groups_leaves_no_word() {
    let dir = tempfile::tempdir().unwrap();
    leave_word(dir.path()).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("suspects.json"), "{\"ranges\": 3}").unwrap();
    let error = Suspects::load(dir.path()).unwrap_err().to_string();
    assert!(error.contains("is no list of suspects") && error.ends_with("remove it"), "{error}");
}

/// A process of its own, killed with SIGKILL in the middle of a batch: this test runs itself as that
/// process, which the variable tells it to be.
#[test]
fn a_crumb_outlives_kill_9() {
    const DIR: &str = "TIDEWATCH_TEST_CRUMBS";
    if let Some(dir) = std::env::var_os(DIR) {
        let mut crumb = open(Path::new(&dir), 4);
        crumb.set(CPU, 10, 19);
        crumb.clear();
        crumb.set(CPU, 20, 29);
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crumb::tests::a_crumb_outlives_kill_9"])
        .env(DIR, dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let under_way = || read_all(dir.path()).unwrap();
    while under_way() != [range("cpu", 3, 20, 29)] && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(under_way(), [range("cpu", 3, 20, 29)]);
}
