//! OpenSearch in the one process of a runner that was made for tests.
//!
//! The runner takes the port after the one it is told, or the next free one,
//! and none above 9,299. So each process of tests takes ports of that range by
//! a guard, a listener on a port beside that it holds until it ends.

use std::{
    net::TcpListener,
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
};

use super::{cluster_name, java_home};
use crate::{Result, policy::fail, ports::free_ports, process::Process, run_folder::RunFolder};

/// The runner's port for its first node lies this much and one to
/// [`PORTS`] above.
const BASE: u16 = 9_200;
/// How many ports there are up to the runner's greatest.
const PORTS: u16 = 99;
/// The guard of port `BASE + n` is `GUARDS + n`: above the ports of the
/// clusters of tests, below those of the kernel.
const GUARDS: u16 = 31_000;

/// The guards of this process, which are never given up.
static HELD: Mutex<Vec<TcpListener>> = Mutex::new(Vec::new());

/// A port for a runner that no other process of tests takes.
fn port() -> u16 {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    let bind = |port| TcpListener::bind(("127.0.0.1", port)).ok();
    for number in 1..=PORTS {
        let Some(guard) = bind(GUARDS + number) else { continue };
        if bind(BASE + number).is_some() {
            held.push(guard);
            return BASE + number;
        }
    }
    fail(&format!("none of {PORTS} ports from {} on is free", BASE + 1))
}

/// Writes its configuration; the port it will listen on.
pub(super) fn configure(folder: &RunFolder, settings: &[(&str, &str)]) -> Result<u16> {
    folder.folder("config")?;
    let mut yaml = format!(
        "network.host: 127.0.0.1\n\
         discovery.type: single-node\n\
         transport.port: {}\n\
         cluster.routing.allocation.disk.threshold_enabled: false\n",
        free_ports(1)
    );
    for (key, value) in settings {
        yaml.push_str(&format!("{key}: {value}\n"));
    }
    folder.write("config/opensearch.yml", yaml)?;
    Ok(port())
}

/// Starts it.
pub(super) fn launch(home: &Path, folder: &RunFolder, port: u16) -> Result<Process> {
    let mut command = Command::new(java_home()?.join("bin/java"));
    command.args(["-Xms256m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    command.arg(home.join("libs/*")).arg("org.codelibs.opensearch.runner.OpenSearchRunner");
    command.arg("-basePath").arg(folder.path().join("base"));
    command.arg("-confPath").arg(folder.path().join("config"));
    command.args(["-numOfNode", "1", "-clusterName", &cluster_name(folder)]);
    command.arg("-baseHttpPort").arg((port - 1).to_string()).current_dir(folder.path());
    Process::start("opensearch", command, &folder.path().join("log"))
}
