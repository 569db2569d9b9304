//! The compose file and the Kubernetes manifests against their schemas.

use std::path::Path;
use std::process::Command;

use tidewatch_testkit::{Service, require};

use crate::world::deploy;

/// Whether `module` finds nothing wrong with `files`, and what it says.
fn check(installed: &Path, module: &str, arguments: &[&str], files: &[&Path]) -> (bool, String) {
    let python = std::fs::read_to_string(installed.join("python")).unwrap();
    let mut command = Command::new(python.trim());
    command.args(["-m", module]).args(arguments).args(files);
    let output = command.env("PYTHONPATH", installed.join("lib")).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&told).into_owned())
}

const COMPOSE: (&str, &[&str]) = ("check_jsonschema", &["--builtin-schema", "vendor.compose-spec"]);
/// Unknown fields are refused, too.
const KUBERNETES: (&str, &[&str]) = ("kubernetes_validate", &["--strict"]);

/// The manifests of kinds that Kubernetes itself knows: all but the kustomization and the service monitor.
const MANIFESTS: [&str; 6] =
    ["disruption", "networkpolicy", "secret", "service", "statefulset", "topics"];

#[test]
fn compose_and_kubernetes_files_fit_their_schemas() {
    let Some(installed) = require(Service::Schemas) else { return };
    let compose = deploy().join("compose.yaml");
    let (is_well, told) = check(&installed, COMPOSE.0, COMPOSE.1, &[&compose]);
    assert!(is_well, "{told}");
    let manifests = MANIFESTS.map(|name| deploy().join(format!("kubernetes/{name}.yaml")));
    let manifests: Vec<&Path> = manifests.iter().map(AsRef::as_ref).collect();
    let (is_well, told) = check(&installed, KUBERNETES.0, KUBERNETES.1, &manifests);
    assert!(is_well, "{told}");
    for manifest in manifests {
        assert!(
            told.contains(manifest.to_str().unwrap()),
            "{} was not read: {told}",
            manifest.display()
        );
    }
    // A check that cannot fail checks nothing.
    let folder = tempfile::tempdir().unwrap();
    for (path, good, bad, (module, arguments)) in [
        (&compose, "services:", "serviecs:", COMPOSE),
        (&deploy().join("kubernetes/service.yaml"), "ports:", "prots:", KUBERNETES),
    ] {
        let wrong = folder.path().join("wrong.yaml");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains(good), "{}", path.display());
        std::fs::write(&wrong, text.replace(good, bad)).unwrap();
        let (is_well, told) = check(&installed, module, arguments, &[&wrong]);
        assert!(!is_well, "{told}");
    }
}
