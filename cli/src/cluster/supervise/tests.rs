//! Tests of the supervisor: what it decides, and what it does with shell scripts as members.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use super::watch::{Event, Step, Watch, Why};
use super::*;

const S: Duration = Duration::from_secs(1);

fn limits() -> Limits {
    Limits { hang: Some(30 * S), start: Some(120 * S), stop: 30 * S }
}

fn exited(code: i32) -> ExitStatus {
    ExitStatus::from_raw(code << 8)
}

fn killed(signal: i32) -> ExitStatus {
    ExitStatus::from_raw(signal)
}

mod the_watch {
    use super::*;

    /// Two members, started at the returned instant.
    fn two() -> (Watch, Instant) {
        let now = Instant::now();
        (Watch::new(limits(), 2, now), now)
    }

    fn failed(place: usize, why: Why) -> Step {
        Step::Over(Outcome::Failed(place, why))
    }

    #[test]
    fn members_are_up_once_all_have_beaten() {
        let (mut watch, t) = two();
        assert_eq!(watch.on(Event::Beat(0), t + S), Step::Wait);
        assert_eq!(watch.up(), None);
        watch.on(Event::Beat(1), t + 2 * S);
        watch.on(Event::Beat(0), t + 3 * S);
        assert_eq!(watch.up(), Some(t + 2 * S));
    }

    #[test]
    fn who_does_not_come_up_is_waited_for_longer_than_who_falls_silent() {
        let (mut watch, t) = two();
        assert_eq!(watch.deadline(), Some(t + 120 * S));
        watch.on(Event::Beat(1), t + S);
        assert_eq!(watch.deadline(), Some(t + 31 * S));
        assert_eq!(watch.on(Event::Time, t + 30 * S), Step::Wait, "too early");
        assert_eq!(watch.on(Event::Time, t + 31 * S), failed(1, Why::Silent(30 * S)));
        let (mut watch, t) = two();
        for second in 1..120 {
            watch.on(Event::Beat(0), t + second * S);
            assert_eq!(watch.on(Event::Time, t + second * S), Step::Wait);
        }
        assert_eq!(watch.on(Event::Time, t + 120 * S), failed(1, Why::NotUp(120 * S)));
    }

    #[test]
    fn without_limits_nobody_hangs() {
        let t = Instant::now();
        let mut watch = Watch::new(Limits { hang: None, start: None, ..limits() }, 1, t);
        assert_eq!(watch.deadline(), None);
        watch.on(Event::Beat(0), t);
        assert_eq!(watch.deadline(), None);
        assert_eq!(watch.on(Event::Time, t + 1_000_000 * S), Step::Wait);
    }

    #[test]
    fn a_crash_or_an_error_is_a_failure_at_once() {
        for status in [exited(1), exited(5), exited(130), killed(9), killed(6)] {
            let (mut watch, t) = two();
            assert_eq!(watch.on(Event::Ended(1, status), t), failed(1, Why::Ended(status)));
        }
    }

    #[test]
    fn some_ends_are_for_good_also_during_a_stop() {
        for code in [2, 3, 4] {
            let (mut watch, t) = two();
            let over = Step::Over(Outcome::ForGood(0, u8::try_from(code).unwrap()));
            assert_eq!(watch.on(Event::Ended(0, exited(code)), t), over);
            let (mut watch, t) = two();
            watch.on(Event::Stop, t);
            assert_eq!(watch.on(Event::Ended(0, exited(code)), t), over);
        }
    }

    #[test]
    fn a_stop_waits_for_all_and_no_longer_than_its_limit() {
        let (mut watch, t) = two();
        assert_eq!(watch.on(Event::Stop, t), Step::Terminate);
        assert_eq!(watch.on(Event::Ended(0, exited(0)), t + S), Step::Wait);
        assert_eq!(watch.on(Event::Ended(1, exited(0)), t + 2 * S), Step::Over(Outcome::Stopped));
        let (mut watch, t) = two();
        watch.on(Event::Beat(0), t);
        watch.on(Event::Stop, t);
        // Silence is no hang any more: sinks flush.
        assert_eq!(watch.deadline(), Some(t + 30 * S));
        assert_eq!(watch.on(Event::Time, t + 29 * S), Step::Wait);
        assert_eq!(watch.on(Event::Time, t + 30 * S), Step::Over(Outcome::Unclean));
    }

    #[test]
    fn a_second_request_ends_it_at_once() {
        let (mut watch, t) = two();
        watch.on(Event::Stop, t);
        assert_eq!(watch.on(Event::Stop, t), Step::Over(Outcome::Forced));
    }

    #[test]
    fn a_death_over_a_stop_is_told_and_not_restarted() {
        let (mut watch, t) = two();
        watch.on(Event::Stop, t);
        assert_eq!(watch.on(Event::Ended(1, killed(6)), t), Step::Wait);
        assert_eq!(watch.on(Event::Ended(0, exited(0)), t), Step::Over(Outcome::Unclean));
    }

    #[test]
    fn a_member_that_is_stopped_before_it_handles_signals_stops_well() {
        let t = Instant::now();
        let mut watch = Watch::new(limits(), 1, t);
        watch.on(Event::Stop, t);
        assert_eq!(watch.on(Event::Ended(0, killed(15)), t), Step::Over(Outcome::Stopped));
        // Whoever sent it meant all of them.
        let (mut watch, t) = two();
        assert_eq!(watch.on(Event::Ended(0, killed(15)), t), Step::Terminate);
        assert_eq!(watch.on(Event::Ended(1, exited(0)), t), Step::Over(Outcome::Stopped));
    }

    #[test]
    fn one_that_was_stopped_by_somebody_else_stops_all() {
        let (mut watch, t) = two();
        assert_eq!(watch.on(Event::Ended(0, exited(0)), t), Step::Terminate);
        assert_eq!(watch.deadline(), Some(t + 30 * S));
        assert_eq!(watch.on(Event::Ended(1, exited(0)), t), Step::Over(Outcome::Stopped));
    }
}

/// Members that are shell scripts; `$0` of a script is the folder in which it leaves traces.
mod the_supervisor {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// One line for each start.
    const TELL: &str = "echo $$ >> \"$0/starts\"; ";
    const BEAT: &str = "while :; do printf . >&0; sleep 0.05; done";

    fn members(folder: &Path, count: usize, script: &str) -> Members {
        let args = ["-c".into(), format!("{TELL}{script}").into(), folder.into()].into();
        Members { program: "sh".into(), args, count, first: 0 }
    }

    fn starts(folder: &Path) -> Vec<i32> {
        let text = fs::read_to_string(folder.join("starts")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    fn exists(pid: i32) -> bool {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok()
    }

    fn quick() -> BackoffConfig {
        BackoffConfig { first: Duration::from_millis(40), ..BackoffConfig::default() }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// Supervises until the end, or until `when` says that it is time for a stop.
    fn run(members: &Members, limits: &Limits, when: impl Fn() -> bool) -> u8 {
        run_with(members, limits, quick(), when)
    }

    fn run_with(
        members: &Members,
        limits: &Limits,
        backoff: BackoffConfig,
        when: impl Fn() -> bool,
    ) -> u8 {
        runtime().block_on(async {
            let (sender, mut stops) = mpsc::channel(2);
            let stop = async {
                let deadline = Instant::now() + 30 * S;
                while !when() {
                    assert!(Instant::now() < deadline, "it never comes to the stop");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                sender.send(()).await.unwrap();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                code = supervise(members, limits, backoff, &mut stops) => code.unwrap(),
                () = stop => unreachable!("a stop that is asked for waits for ever"),
            }
        })
    }

    fn never() -> bool {
        false
    }

    #[test]
    fn an_end_for_good_is_passed_on_and_not_tried_again() {
        for code in [2, 3, 4] {
            let folder = tempfile::tempdir().unwrap();
            let members = members(folder.path(), 1, &format!("exit {code}"));
            assert_eq!(run(&members, &limits(), never), code);
            assert_eq!(starts(folder.path()).len(), 1);
        }
    }

    #[test]
    fn members_that_stop_by_themselves_end_it_well() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(run(&members(folder.path(), 2, "exit 0"), &limits(), never), exit::STOPPED);
    }

    #[test]
    fn who_is_fenced_is_found_even_if_its_neighbour_is_seen_to_crash_first() {
        let folder = tempfile::tempdir().unwrap();
        let script = "case $2 in 0) kill -ABRT $$;; 1) exit 4;; esac";
        let members = members(folder.path(), 2, script);
        let dead =
            |pid: &i32| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ");
        runtime().block_on(async {
            let run = Run::start(&members, Folder::new(&members).unwrap().as_ref()).unwrap();
            // Both have ended before anybody looks: then they are looked at in order.
            let deadline = Instant::now() + 30 * S;
            while starts(folder.path()).len() < 2 || !starts(folder.path()).iter().all(dead) {
                assert!(Instant::now() < deadline, "they do not end");
                std::thread::sleep(Duration::from_millis(5));
            }
            let (_sender, mut stops) = mpsc::channel(1);
            let ended = run.finish(&limits(), &mut stops).await.unwrap();
            assert_eq!(ended.outcome, Outcome::ForGood(1, exit::FENCED));
            assert_eq!(ended.crashed, [0]);
        });
    }

    #[test]
    fn a_failure_restarts_at_once_and_then_backs_off() {
        let folder = tempfile::tempdir().unwrap();
        let began = Instant::now();
        let enough = || starts(folder.path()).len() >= 6;
        run(&members(folder.path(), 1, "exit 1"), &limits(), enough);
        // 0, 40, 80, 160 and 320 ms, of each at least half.
        assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    }

    #[test]
    fn a_stop_ends_the_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let backoff = BackoffConfig { first: 3_600 * S, max: 3_600 * S, ..quick() };
        // The second start comes at once, the third one in an hour.
        let waits = || {
            let starts = starts(folder.path());
            starts.len() == 2 && !exists(starts[1])
        };
        let members = members(folder.path(), 1, "exit 1");
        assert_eq!(run_with(&members, &limits(), backoff, waits), exit::STOPPED);
    }

    #[test]
    fn when_one_fails_all_are_ended_before_all_are_started_again() {
        let folder = tempfile::tempdir().unwrap();
        // Of the first three the last one fails once the others are there; the next three stay.
        let script = format!(
            "mkdir \"$0/$2\" 2>/dev/null && case $2 in 2) \
             until [ -d \"$0/0\" ] && [ -d \"$0/1\" ]; do sleep 0.01; done; exit 1;; esac; {BEAT}"
        );
        let enough = || starts(folder.path()).len() >= 6;
        let code = run(&members(folder.path(), 3, &script), &limits(), enough);
        assert_eq!(code, exit::STOPPED);
        let starts = starts(folder.path());
        assert_eq!(starts.len(), 6);
        assert!(!starts.iter().any(|pid| exists(*pid)), "nobody is left: {starts:?}");
    }

    #[test]
    fn a_clean_stop_is_asked_for_once() {
        let folder = tempfile::tempdir().unwrap();
        let script = "trap 'echo asked >> \"$0/asked\"; exit 0' TERM; touch \"$0/$2\"; \
                      while :; do sleep 0.02; done";
        let ready = || (0..2).all(|index| folder.path().join(index.to_string()).exists());
        assert_eq!(run(&members(folder.path(), 2, script), &limits(), ready), exit::STOPPED);
        let asked = fs::read_to_string(folder.path().join("asked")).unwrap();
        assert_eq!(asked, "asked\nasked\n");
    }

    #[test]
    fn a_member_that_falls_silent_is_killed_and_started_again() {
        let folder = tempfile::tempdir().unwrap();
        // The first one beats once; the second one goes on.
        let script =
            format!("mkdir \"$0/once\" 2>/dev/null && {{ printf . >&0; exec sleep 60; }}; {BEAT}");
        let limits = Limits { hang: Some(Duration::from_millis(600)), ..limits() };
        let enough = || starts(folder.path()).len() >= 2;
        run(&members(folder.path(), 1, &script), &limits, enough);
        let starts = starts(folder.path());
        assert_eq!(starts.len(), 2);
        assert!(!exists(starts[0]), "the silent one is gone");
    }

    #[test]
    fn a_member_that_never_comes_up_is_killed_and_started_again() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { start: Some(Duration::from_millis(100)), ..limits() };
        let enough = || starts(folder.path()).len() >= 3;
        run(&members(folder.path(), 1, "exec sleep 60"), &limits, enough);
        assert!(!exists(starts(folder.path())[0]));
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let members =
            Members { program: "no such program".into(), args: vec![], count: 1, first: 0 };
        let (_sender, mut stops) = mpsc::channel(1);
        let started = runtime().block_on(supervise(
            &members,
            &limits(),
            BackoffConfig::default(),
            &mut stops,
        ));
        assert_eq!(started.unwrap_err().to_string(), "could not start `no such program`");
    }
}
