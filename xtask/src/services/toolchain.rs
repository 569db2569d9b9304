//! The programs that fetching, building and running needs, and how to get
//! each: looked for on the `PATH`, installed from the distribution when we are
//! root on a Debian-like system, otherwise named in the error.

use std::{
    env,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    time::Duration,
};

use anyhow::{Result, bail};

use crate::shell::{Job, capture};

/// How long the package manager may take, download and its own lock included.
const INSTALL_LIMIT: Duration = Duration::from_mins(15);

/// One thing that has to be on the machine.
#[derive(Debug)]
pub(crate) struct Tool {
    /// What a person would call it, with the least version.
    name: &'static str,
    /// Looks for it; the error says what is wrong with what was found.
    find: fn() -> Result<PathBuf, String>,
    /// Distribution packages that bring it, most wanted first.
    packages: &'static [&'static str],
}

/// A Java runtime for Kafka and Elasticsearch.
pub(crate) const JAVA: Tool = Tool {
    name: "Java 17 or newer (java)",
    find: || at_least("java", &["-version"], &[17]),
    packages: &["openjdk-17-jre-headless", "default-jre-headless"],
};
/// Fetches jars.
pub(crate) const MAVEN: Tool =
    Tool { name: "Maven (mvn)", find: || on_path("mvn"), packages: &["maven"] };
/// Builds InfluxDB.
pub(crate) const GO: Tool =
    Tool { name: "Go 1.25.10 or newer (go)", find: find_go, packages: &["golang-go"] };
/// Compiles the C parts of InfluxDB, of the Kafka client and of SQLite.
pub(crate) const GCC: Tool =
    Tool { name: "a C compiler (gcc)", find: || on_path("gcc"), packages: &["gcc"] };
/// Builds the Kafka client.
pub(crate) const MAKE: Tool = Tool { name: "make", find: || on_path("make"), packages: &["make"] };
/// Finds C libraries.
pub(crate) const PKG_CONFIG: Tool = Tool {
    name: "pkg-config",
    find: || on_path("pkg-config"),
    packages: &["pkgconf", "pkg-config"],
};
/// The TLS library of the Kafka client.
pub(crate) const OPENSSL_HEADERS: Tool = Tool {
    name: "the OpenSSL headers (libssl-dev)",
    find: find_openssl_headers,
    packages: &["libssl-dev"],
};
/// Makes certificates for the mail server.
pub(crate) const OPENSSL: Tool =
    Tool { name: "openssl", find: || on_path("openssl"), packages: &["openssl"] };
/// Runs the mail server.
pub(crate) const PYTHON: Tool = Tool {
    name: "Python 3.8 or newer (python3)",
    find: || at_least("python3", &["--version"], &[3, 8]),
    packages: &["python3"],
};
/// Runs the page test.
pub(crate) const NODE: Tool = Tool {
    name: "Node.js 20 or newer (node)",
    find: || at_least("node", &["--version"], &[20]),
    packages: &["nodejs"],
};
/// Fetches the browser driver.
pub(crate) const NPM: Tool = Tool { name: "npm", find: || on_path("npm"), packages: &["npm"] };
/// Shows the page.
pub(crate) const CHROMIUM: Tool =
    Tool { name: "Chromium (chromium)", find: find_chromium, packages: &["chromium"] };

/// Writes log lines to Kafka.
pub(crate) const RSYSLOG: Tool = Tool {
    name: "rsyslog with its Kafka output (rsyslogd)",
    find: || system_library("rsyslog/omkafka.so").and_then(|_| system_program("rsyslogd")),
    packages: &["rsyslog-kafka"],
};
/// Writes metrics to Kafka.
pub(crate) const COLLECTD: Tool = Tool {
    name: "collectd with its Kafka output",
    find: || system_library("collectd/write_kafka.so").and_then(|_| system_program("collectd")),
    packages: &["collectd-core"],
};
/// The libraries that collectd's Kafka output wants.
pub(crate) const COLLECTD_KAFKA: Tool = Tool {
    name: "the library that collectd writes JSON with (libyajl2)",
    find: || system_library("libyajl.so.2"),
    packages: &["libyajl2"],
};
/// InfluxDB 1; its program is called as that of InfluxDB 2.
pub(crate) const INFLUXDB1: Tool =
    Tool { name: "InfluxDB 1 (influxd)", find: find_influxdb1, packages: &["influxdb"] };
/// Prometheus.
pub(crate) const PROMETHEUS: Tool = Tool {
    name: "Prometheus and promtool",
    find: || on_path("promtool").and_then(|_| on_path("prometheus")),
    packages: &["prometheus"],
};

/// Finds `tool`, installing it if that is possible.
pub(crate) fn ensure(tool: &Tool, job: &Job) -> Result<PathBuf> {
    let Err(problem) = (tool.find)() else {
        return (tool.find)().map_err(anyhow::Error::msg);
    };
    if may_install() {
        for package in tool.packages {
            job.say(&format!("{problem}; installing `{package}`"));
            if let Err(error) = install(package, job) {
                job.say(&format!("could not install `{package}`: {}", first_line(&error)));
            }
            if let Ok(found) = (tool.find)() {
                return Ok(found);
            }
        }
    }
    bail!("{}: {problem}; install {}, {}", job.label(), tool.name, advice(tool))
}

/// What to type to get `tool`.
fn advice(tool: &Tool) -> String {
    match tool.packages.first() {
        Some(package) => format!("for example with `apt-get install {package}` on Debian"),
        None => "see its own documentation".to_owned(),
    }
}

/// Whether packages can be installed without asking anybody.
fn may_install() -> bool {
    nix::unistd::geteuid().is_root() && on_path("apt-get").is_ok()
}

/// Installs one distribution package. One at a time: `apt-get` has one lock.
pub(crate) fn install(package: &str, job: &Job) -> Result<()> {
    static INDEX_IS_FRESH: Mutex<bool> = Mutex::new(false);
    let mut fresh = INDEX_IS_FRESH.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !*fresh {
        job.run(apt().args(["update", "-qq"]), INSTALL_LIMIT)?;
        *fresh = true;
    }
    job.run(apt().args(["install", "-y", "-qq", "--no-install-recommends", package]), INSTALL_LIMIT)
}

/// `apt-get` that asks nothing and waits for another one to end.
fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-o", "DPkg::Lock::Timeout=600"]);
    command
}

/// The program's path, from `PATH`.
pub(crate) fn on_path(program: &str) -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| is_executable(candidate))
        .ok_or_else(|| format!("`{program}` is not on the PATH"))
}

/// The path of a program that lies beside those of the system's administrator, who alone has them on the `PATH`.
pub(crate) fn system_program(program: &str) -> Result<PathBuf, String> {
    let found = on_path(program);
    found.or_else(|problem| {
        let path = Path::new("/usr/sbin").join(program);
        if is_executable(&path) { Ok(path) } else { Err(problem) }
    })
}

/// The path of a shared library, from the folders where distributions put them.
fn system_library(file: &str) -> Result<PathBuf, String> {
    let folders =
        ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let paths = folders.iter().map(|folder| Path::new(folder).join(file));
    paths.into_iter().find(|path| path.is_file()).ok_or_else(|| format!("there is no `{file}`"))
}

/// Whether `path` is a file that may be run.
pub(crate) fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The program's path if it says a version of at least `least`.
fn at_least(program: &str, arguments: &[&str], least: &[u32]) -> Result<PathBuf, String> {
    let path = on_path(program)?;
    let output = Command::new(&path).args(arguments).output();
    let output = output.map_err(|error| format!("`{program}` does not start: {error}"))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let found = version_in(&text);
    if found.as_slice() >= least {
        return Ok(path);
    }
    Err(format!("`{program}` is too old ({})", text.lines().next().unwrap_or("no version").trim()))
}

/// The first dotted number in `text`: `openjdk version "17.0.15"` is `[17, 0, 15]`.
fn version_in(text: &str) -> Vec<u32> {
    let number = text
        .split(|character: char| !character.is_ascii_digit() && character != '.')
        .find(|word| word.starts_with(|character: char| character.is_ascii_digit()));
    number.unwrap_or_default().split('.').map_while(|part| part.parse().ok()).collect()
}

/// Go that is new enough, or new enough to fetch a newer one by itself.
fn find_go() -> Result<PathBuf, String> {
    let wanted = at_least("go", &["version"], &[1, 25, 10]);
    let Err(problem) = wanted else { return wanted };
    let path = at_least("go", &["version"], &[1, 21])?;
    let policy = capture(Command::new(&path).args(["env", "GOTOOLCHAIN"])).unwrap_or_default();
    if policy == "local" { Err(problem) } else { Ok(path) }
}

/// An `influxd` of version 1: that of version 2 may come first on the PATH.
fn find_influxdb1() -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join("influxd"));
    let is_first = |path: &PathBuf| {
        let version = capture(Command::new(path).arg("version")).unwrap_or_default();
        is_executable(path) && version_in(&version).first() == Some(&1)
    };
    let mut found = found.chain([PathBuf::from("/usr/bin/influxd")]);
    found.find(is_first).ok_or_else(|| "there is no `influxd` of version 1".to_owned())
}

/// The library's headers, as the build will look for them.
fn find_openssl_headers() -> Result<PathBuf, String> {
    let mut command = Command::new("pkg-config");
    capture(command.args(["--variable=includedir", "openssl"]))
        .map(PathBuf::from)
        .map_err(|_| "the OpenSSL headers are missing".to_owned())
}

/// The browser under any of its names.
fn find_chromium() -> Result<PathBuf, String> {
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find_map(|name| on_path(name).ok())
        .ok_or_else(|| "`chromium` is not on the PATH".to_owned())
}

/// The part of an error that fits on one line.
fn first_line(error: &anyhow::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_programs_say() {
        assert_eq!(version_in("openjdk version \"17.0.15\" 2025-04-15"), [17, 0, 15]);
        assert_eq!(version_in("go version go1.26.8 linux/amd64"), [1, 26, 8]);
        assert_eq!(version_in("Python 3.11.7"), [3, 11, 7]);
        assert_eq!(version_in("v20.20.2"), [20, 20, 2]);
        assert_eq!(version_in("none"), Vec::<u32>::new());
    }

    #[test]
    fn an_old_or_missing_program_is_refused_with_its_name() {
        assert!(at_least("sh", &["-c", "echo 3.9"], &[3, 8]).is_ok());
        let problem = at_least("sh", &["-c", "echo sh 3.7.1"], &[3, 8]).unwrap_err();
        assert!(problem.contains("too old") && problem.contains("3.7.1"), "{problem}");
        assert!(on_path("no-such-program-here").unwrap_err().contains("no-such-program-here"));
    }
}
