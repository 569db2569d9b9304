//! Running other programs: output to a log file, a time limit, a sign of life.
//!
//! A program runs in our own process group, so that Ctrl-C in a terminal
//! reaches everything that was started. On a time-out its whole tree of
//! descendants is ended by process id.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(100);
/// How often a line is printed while a program runs.
const SIGN_OF_LIFE: Duration = Duration::from_secs(60);
/// How many lines of a log are its end.
const TAIL_LINES: usize = 30;

/// A label for progress lines, and the log file of everything run under it.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    label: String,
    log: PathBuf,
}

impl Job {
    /// Starts an empty log.
    pub(crate) fn new(label: &str, log: PathBuf) -> Result<Self> {
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("could not make `{}`", folder.display()))?;
        }
        File::create(&log).with_context(|| format!("could not write `{}`", log.display()))?;
        Ok(Self { label: label.to_owned(), log })
    }

    /// What its progress lines start with.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Prints a progress line.
    pub(crate) fn say(&self, text: &str) {
        println!("     {}: {text}", self.label);
    }

    /// Runs `command` to its end; fails if it fails or takes longer than `limit`.
    pub(crate) fn run(&self, command: &mut Command, limit: Duration) -> Result<()> {
        let shown = describe(command);
        let mut child = self.spawn(command)?;
        let started = Instant::now();
        let mut told = started;
        loop {
            if let Some(status) = child.try_wait().context("could not wait for a program")? {
                if status.success() {
                    return Ok(());
                }
                bail!("`{shown}` failed ({status})");
            }
            if started.elapsed() > limit {
                end_tree(&mut child);
                bail!("`{shown}` took longer than {} s", limit.as_secs());
            }
            if told.elapsed() > SIGN_OF_LIFE {
                told = Instant::now();
                self.say(&format!("still running after {} s", started.elapsed().as_secs()));
            }
            thread::sleep(POLL);
        }
    }

    /// Starts `command` with its output going to the log.
    pub(crate) fn spawn(&self, command: &mut Command) -> Result<Child> {
        let shown = describe(command);
        let mut log = OpenOptions::new()
            .append(true)
            .open(&self.log)
            .with_context(|| format!("could not write `{}`", self.log.display()))?;
        writeln!(log, "$ {shown}").context("could not write the log")?;
        let errors = log.try_clone().context("could not share the log")?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        command.spawn().with_context(|| format!("could not start `{shown}`"))
    }

    /// The end of the log, and where the rest is.
    pub(crate) fn tail(&self) -> String {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(TAIL_LINES);
        format!("{}\n(log: {})", lines[from..].join("\n"), self.log.display())
    }

    /// The whole log, with bytes that are no text replaced.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

/// What `command` prints on standard output, trimmed; an error if it fails.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let shown = describe(command);
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("could not start `{shown}`"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` failed ({}): {}", output.status, errors.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The command as a person would type it, without its environment.
pub(crate) fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program()).to_string_lossy();
    command.get_args().fold(program.into_owned(), |mut text, argument| {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
        text
    })
}

/// Ends a program and everything it started, and waits for the program.
pub(crate) fn end_tree(child: &mut Child) {
    for pid in descendants(child.id()) {
        // It may have ended meanwhile; nothing is to be done about that.
        let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// All processes below `root`, leaves last.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        next += 1;
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    found.split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(folder: &tempfile::TempDir) -> Job {
        Job::new("test", folder.path().join("logs/test.log")).unwrap()
    }

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_goes_to_the_log_and_failures_name_the_command() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(&folder);
        job.run(&mut sh("echo fine"), Duration::from_secs(10)).unwrap();
        assert!(job.text().contains("fine"));
        let error = job.run(&mut sh("echo bad >&2; exit 3"), Duration::from_secs(10)).unwrap_err();
        assert!(job.tail().contains("bad"), "{}", job.tail());
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }

    #[test]
    fn a_time_out_ends_the_whole_tree() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(&folder);
        let started = Instant::now();
        let error = job.run(&mut sh("sleep 60 & echo $!; wait"), Duration::from_millis(500));
        assert!(error.unwrap_err().to_string().contains("took longer"));
        assert!(started.elapsed() < Duration::from_secs(30));
        let text = job.text();
        let pid = text.lines().last().unwrap();
        let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(status.is_empty() || status.contains(") Z"), "{status}");
    }

    #[test]
    fn captured_output_is_trimmed() {
        assert_eq!(capture(&mut sh("echo ' a b '")).unwrap(), "a b");
        assert!(capture(&mut sh("echo why >&2; false")).unwrap_err().to_string().contains("why"));
    }
}
