//! Names that would tie the project to a place: hosts of package registries
//! (package managers know them) and paths of the machine it was written on.

use super::{Finding, Tree};

/// Hosts of package registries. In two parts, so that this file passes.
const HOSTS: [&str; 13] = [
    concat!("registry.", "npmjs.org"),
    concat!("npmjs.", "com"),
    concat!("repo.", "maven.apache.org"),
    concat!("repo1.", "maven.org"),
    concat!("proxy.", "golang.org"),
    concat!("sum.", "golang.org"),
    concat!("pypi.", "org"),
    concat!("files.", "pythonhosted.org"),
    concat!("index.", "crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("//crates", ".io"),
    concat!("deb.", "debian.org"),
    concat!("docker", ".io/"),
];

/// Starts of paths that exist on one machine only.
const PATHS: [&str; 5] = [
    concat!("/wo", "rk/"),
    concat!("/tm", "p/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("../sha", "red"),
];

/// Checks every text file that is ours.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.own_texts() {
        for (index, line) in text.lines().enumerate() {
            let host = HOSTS.iter().find(|host| line.contains(**host));
            let place = PATHS.iter().find(|place| has_path(line, place));
            for word in host.into_iter().chain(place) {
                let message = format!("`{word}` names one registry or machine: say it otherwise");
                findings.push(Finding::at(path, index + 1, message));
            }
        }
    }
    findings
}

/// Whether a path that starts with `start` begins in `line`: it may not go on
/// from something before it.
fn has_path(line: &str, start: &str) -> bool {
    line.match_indices(start).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | ')'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        check(&Tree::of(&[("a.md", text)])).len()
    }

    #[test]
    fn hosts_and_machine_paths_are_found() {
        assert_eq!(count(concat!("see https://registry.", "npmjs.org/x")), 1);
        assert_eq!(count(concat!("cd /wo", "rk/main")), 1);
        assert_eq!(count(concat!("\"/tm", "p/x\" and ../sha", "red/x")), 1, "once a line");
    }

    #[test]
    fn longer_paths_that_contain_one_pass() {
        assert_eq!(count("under /var/tmp/tidewatch-cache"), 0);
        assert_eq!(count("in {folder}/tmp/pid and a/home/b"), 0);
        assert_eq!(count(concat!("github.com/rust-lang/crates", ".io-index")), 0);
    }

    #[test]
    fn generated_files_pass() {
        let text = concat!("https://proxy.", "golang.org");
        assert_eq!(check(&Tree::of(&[("xtask/influxd/go.sum", text)])).len(), 0);
    }
}
