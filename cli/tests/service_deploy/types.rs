//! Grafana's dashboards against the types that Grafana publishes.

use std::fs;
use std::process::Command;

use tidewatch_testkit::{Service, require};

use crate::grafana::dashboards;

/// Words of the types are enumerations in TypeScript and plain texts in JSON.
const HEAD: &str = "import type { Dashboard } from '@grafana/schema';
type Plain<T> = T extends string ? `${T}`
    : T extends (infer U)[] ? readonly Plain<U>[]
    : T extends object ? { readonly [K in keyof T]: Plain<T[K]> }
    : T;
const board = ";
const TAIL: &str = " as const;\nexport const checked: Plain<Partial<Dashboard>> = board;\n";

#[test]
fn dashboards_are_of_the_types_that_grafana_publishes() {
    let Some(installed) = require(Service::GrafanaSchema) else { return };
    let modules = installed.join("node_modules");
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(&modules, folder.path().join("node_modules")).unwrap();
    let compile = |files: &[String]| {
        let mut compiler = Command::new("node");
        compiler.arg(modules.join("typescript/bin/tsc")).current_dir(folder.path());
        compiler.args(["--strict", "--noEmit", "--skipLibCheck", "--target", "es2022"]);
        compiler.args(["--module", "esnext", "--moduleResolution", "bundler"]);
        let output = compiler.args(files).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let mut files = Vec::new();
    for (name, board) in dashboards() {
        let text = serde_json::to_string_pretty(&board).unwrap();
        fs::write(folder.path().join(format!("{name}.ts")), format!("{HEAD}{text}{TAIL}")).unwrap();
        files.push(format!("{name}.ts"));
    }
    let (is_well, told) = compile(&files);
    assert!(is_well, "{told}");
    // A check that cannot fail checks nothing.
    let wrong = format!("{HEAD}{{\"graphTooltip\": \"1\"}}{TAIL}");
    fs::write(folder.path().join("wrong.ts"), wrong).unwrap();
    let (is_well, told) = compile(&["wrong.ts".to_owned()]);
    assert!(!is_well && told.contains("graphTooltip"), "{told}");
}
