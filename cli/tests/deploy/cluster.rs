//! The Kubernetes manifests and the systemd units.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{folder, read, secrets, texts, toml_of, understands, yaml};

/// All resources that the kustomization names, by kind and name.
fn resources() -> BTreeMap<(String, String), Value> {
    let kustomization = &yaml("kubernetes/kustomization.yaml")[0];
    let mut found = BTreeMap::new();
    for file in texts(&kustomization["resources"]) {
        for resource in yaml(&format!("kubernetes/{file}")) {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            assert!(resource["apiVersion"].is_string(), "{file}");
            let key = (text(&resource["kind"]), text(&resource["metadata"]["name"]));
            assert!(found.insert(key.clone(), resource).is_none(), "{key:?} is there twice");
        }
    }
    found
}

fn of(kind: &str, name: &str) -> Value {
    resources()
        .remove(&(kind.to_owned(), name.to_owned()))
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn all_files_are_named_by_the_kustomization() {
    let kustomization = &yaml("kubernetes/kustomization.yaml")[0];
    let mut named: BTreeSet<String> = texts(&kustomization["resources"]).into_iter().collect();
    named.extend(texts(&kustomization["configMapGenerator"][0]["files"]));
    named.insert("kustomization.yaml".to_owned());
    let entries = std::fs::read_dir(folder().join("kubernetes")).unwrap();
    let there: BTreeSet<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(named, there);
}

#[test]
fn members_are_as_many_as_lines_and_find_each_other() {
    let set = of("StatefulSet", "tidewatch");
    let hosts = read("kubernetes/hosts");
    let hosts: Vec<_> = hosts.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(set["spec"]["replicas"].as_u64(), Some(hosts.len() as u64));
    assert_eq!(set["spec"]["podManagementPolicy"], "Parallel", "they wait for each other");
    let service = set["spec"]["serviceName"].as_str().unwrap();
    let peers = of("Service", service);
    assert_eq!(peers["spec"]["clusterIP"], "None");
    assert_eq!(peers["spec"]["publishNotReadyAddresses"], true);
    let port = peers["spec"]["ports"][0]["port"].as_u64().unwrap();
    for (index, host) in hosts.iter().enumerate() {
        assert_eq!(*host, format!("tidewatch-{index}.{service}:{port}"));
    }
    // The command, with the shell's part put in.
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let command = texts(&container["args"]).remove(0);
    let command =
        command.strip_prefix("exec tidewatch ").unwrap().replace("\"${HOSTNAME##*-}\"", "1");
    let arguments: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
    understands(&arguments).unwrap();
    let members = arguments.iter().skip_while(|word| *word != "-n").nth(1).unwrap();
    assert_eq!(*members, hosts.len().to_string());
}

#[test]
fn ports_probes_and_policies_speak_of_the_same() {
    let set = of("StatefulSet", "tidewatch");
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let listen =
        toml_of("kubernetes/tidewatch.toml")["http"]["listen"].as_str().unwrap().to_owned();
    let ports: BTreeMap<&str, u64> = container["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| (port["name"].as_str().unwrap(), port["containerPort"].as_u64().unwrap()))
        .collect();
    assert!(listen.ends_with(&format!(":{}", ports["http"])), "{listen}");
    for (probe, path) in
        [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
    {
        let get = &container[probe]["httpGet"];
        assert_eq!((&get["path"], &get["port"]), (&path.into(), &"http".into()), "{probe}");
    }
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    for service in ["tidewatch", "tidewatch-peers"] {
        let service = of("Service", service);
        assert_eq!(&service["spec"]["selector"], labels);
        let target = service["spec"]["ports"][0]["targetPort"].as_str().unwrap();
        assert!(ports.contains_key(target), "{target}");
    }
    let policy = of("NetworkPolicy", "tidewatch");
    assert_eq!(&policy["spec"]["podSelector"]["matchLabels"], labels);
    let allowed: BTreeSet<u64> = policy["spec"]["ingress"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|rule| rule["ports"].as_array().unwrap())
        .map(|port| port["port"].as_u64().unwrap())
        .collect();
    assert_eq!(allowed, ports.values().copied().collect());
    let monitor = of("ServiceMonitor", "tidewatch");
    assert_eq!(
        monitor["spec"]["endpoints"][0]["port"],
        of("Service", "tidewatch")["spec"]["ports"][0]["name"]
    );
    // Both services have its label; the peers' must not be scraped.
    let excluded = &monitor["spec"]["selector"]["matchExpressions"][0]["key"];
    let peers = of("Service", "tidewatch-peers");
    assert!(peers["metadata"]["labels"][excluded.as_str().unwrap()].is_string());
}

#[test]
fn pods_are_confined_and_get_their_secrets() {
    let file = read("Dockerfile");
    let secret = of("Secret", "tidewatch");
    for name in secrets(&read("kubernetes/tidewatch.toml")) {
        assert!(secret["stringData"][&name].is_string(), "`{name}` is no part of the secret");
    }
    for (kind, name) in [("StatefulSet", "tidewatch"), ("Job", "tidewatch-topics")] {
        let pod = of(kind, name)["spec"]["template"]["spec"].clone();
        let user = pod["securityContext"]["runAsUser"].as_u64().unwrap();
        assert!(file.contains(&format!("USER {user}:")), "{kind}: user {user}");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        let container = &pod["containers"][0];
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
        assert_eq!(container["envFrom"][0]["secretRef"]["name"], "tidewatch");
        let volumes: BTreeSet<_> =
            pod["volumes"].as_array().unwrap().iter().map(|v| v["name"].to_string()).collect();
        for mount in container["volumeMounts"].as_array().unwrap() {
            assert!(volumes.contains(&mount["name"].to_string()), "{mount}");
        }
    }
    let job = of("Job", "tidewatch-topics");
    understands(&texts(&job["spec"]["template"]["spec"]["containers"][0]["args"])).unwrap();
    let store = toml_of("kubernetes/tidewatch.toml")["checkpoint"]["store"].clone();
    assert!(store.as_str().unwrap().starts_with("s3://"), "pods share no folder: {store}");
}

#[test]
fn units_call_what_the_program_understands() {
    for file in ["systemd/tidewatch.service", "systemd/tidewatch@.service"] {
        let text = read(file);
        let of = |key: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            found.unwrap_or_else(|| panic!("{file}: no {key}")).to_owned()
        };
        for key in ["ExecStart", "ExecStartPre"] {
            let command = of(key).replace("%i", "1");
            let arguments = command.strip_prefix("/usr/local/bin/tidewatch ").unwrap();
            let arguments: Vec<_> = arguments.split_whitespace().map(str::to_owned).collect();
            understands(&arguments).unwrap();
        }
        assert_eq!(of("RestartPreventExitStatus"), "2 3 4", "{file}");
        assert_eq!(of("DynamicUser"), "yes", "{file}");
        // Sections are those that systemd knows, each once.
        let sections: Vec<_> = text.lines().filter(|line| line.starts_with('[')).collect();
        assert_eq!(sections, ["[Unit]", "[Service]", "[Install]"], "{file}");
    }
}
