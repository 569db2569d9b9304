//! Elasticsearch from its integration-test archive: a launcher and its server.

use std::{fs, os::unix::process::CommandExt as _, path::Path, process::Command, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};

use super::{cluster_name, java_home};
use crate::{Error, Result, cache, ports::free_ports, process::Process, run_folder::RunFolder};

/// How long the launcher may take to notice that its server has gone.
const LAUNCHER_LIMIT: Duration = Duration::from_secs(20);
/// The user it runs as when we are root, whom it refuses: nobody.
const NOBODY: u32 = 65534;

/// Kills the server: it is a child of the process that we started, and its
/// launcher follows it. Killing only the launcher would leave the server alone
/// for two seconds.
pub(super) fn kill_server(folder: &RunFolder, launcher: &mut Process) {
    if let Some(server) = server_pid(folder) {
        let _ = kill(server, Signal::SIGKILL);
        launcher.ends_within(LAUNCHER_LIMIT);
    }
}

/// The process id that the server wrote about itself.
fn server_pid(folder: &RunFolder) -> Option<Pid> {
    let text = fs::read_to_string(folder.path().join("tmp/pid")).ok()?;
    text.trim().parse().ok().map(Pid::from_raw)
}

/// Writes its configuration; the port it will listen on.
pub(super) fn configure(home: &Path, folder: &RunFolder, settings: &[(&str, &str)]) -> Result<u16> {
    if geteuid().is_root() && !cache::traversable_by_all(home) {
        let reason = "Elasticsearch runs as another user than root, who cannot enter it; \
                      set TIDEWATCH_CACHE to a folder that all users can enter";
        return Err(Error::Cache { path: home.to_owned(), reason: reason.into() });
    }
    let port = free_ports(1);
    let config = folder.folder("config")?;
    let (data, logs) = (folder.folder("data")?, folder.folder("logs")?);
    folder.folder("tmp")?;
    folder.folder("config/jvm.options.d")?;
    let source = home.join("config");
    for entry in fs::read_dir(&source).map_err(Error::io(format!("list `{}`", source.display())))? {
        let entry = entry.map_err(Error::io(format!("list `{}`", source.display())))?;
        if entry.path().is_file() {
            let copied = fs::copy(entry.path(), config.join(entry.file_name()));
            copied.map_err(Error::io(format!("copy `{}`", entry.path().display())))?;
        }
    }
    let mut yaml = format!(
        "cluster.name: {}\n\
         node.name: test\n\
         discovery.type: single-node\n\
         network.host: 127.0.0.1\n\
         http.port: {port}\n\
         transport.port: 0\n\
         path.data: {}\n\
         path.logs: {}\n\
         xpack.security.enabled: false\n\
         cluster.routing.allocation.disk.threshold_enabled: false\n",
        cluster_name(folder),
        data.display(),
        logs.display()
    );
    for (key, value) in settings {
        yaml.push_str(&format!("{key}: {value}\n"));
    }
    folder.write("config/elasticsearch.yml", yaml)?;
    // Quick to start, on two cores and without a garbage collector's log.
    let options = config.join("jvm.options");
    let text =
        fs::read_to_string(&options).map_err(Error::io(format!("read `{}`", options.display())))?;
    let wanted = |line: &&str| !line.starts_with("-Xlog:gc") && !line.contains("UseG1GC");
    let text = text.lines().filter(wanted).collect::<Vec<_>>().join("\n");
    folder.write("config/jvm.options", text)?;
    folder.write(
        "config/jvm.options.d/fast.options",
        "-XX:+UseSerialGC\n-XX:TieredStopAtLevel=1\n-Xms256m\n-Xmx256m\n",
    )?;
    if geteuid().is_root() {
        folder.give_to(NOBODY)?;
    }
    Ok(port)
}

/// Starts it.
pub(super) fn launch(home: &Path, folder: &RunFolder) -> Result<Process> {
    let tmp = folder.path().join("tmp");
    // Left from a server that was killed; a new one writes its own.
    let _ = fs::remove_file(tmp.join("pid"));
    let mut command = Command::new(home.join("bin/elasticsearch"));
    command.arg("-p").arg(tmp.join("pid")).current_dir(folder.path());
    command.env("ES_PATH_CONF", folder.path().join("config"));
    command.env("ES_TMPDIR", &tmp).env("HOME", &tmp);
    command.env("ES_JAVA_HOME", java_home()?).env("CLI_JAVA_OPTS", "-XX:TieredStopAtLevel=1");
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    Process::start("elasticsearch", command, &folder.path().join("log"))
}
