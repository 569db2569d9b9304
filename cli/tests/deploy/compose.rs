//! `compose.yaml`, the `Dockerfile` and what they mount.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::{folder, read, secrets, texts, toml_of, understands, variables, yaml};

fn compose() -> Value {
    yaml("compose.yaml").remove(0)
}

fn names(value: &Value) -> BTreeSet<String> {
    value.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

#[test]
fn services_wait_for_services_that_can_say_that_they_are_well() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    for (name, service) in services {
        assert!(service["image"].as_str().unwrap().contains(':'), "{name}: pin the image");
        for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
            let other_service =
                services.get(other).unwrap_or_else(|| panic!("{name}: no `{other}`"));
            match how["condition"].as_str().unwrap() {
                "service_healthy" => {
                    let test = &other_service["healthcheck"]["test"];
                    assert!(!test.is_null(), "{name} waits for the health of `{other}`");
                }
                "service_completed_successfully" => {
                    assert_eq!(
                        other_service["restart"], "no",
                        "{name} waits for the end of `{other}`"
                    );
                }
                condition => assert_eq!(condition, "service_started"),
            }
        }
    }
}

#[test]
fn what_is_mounted_exists() {
    let compose = compose();
    let volumes = names(&compose["volumes"]);
    let mut used = BTreeSet::new();
    for (name, service) in compose["services"].as_object().unwrap() {
        for volume in texts(&service["volumes"]) {
            let source = volume.split(':').next().unwrap();
            match source.strip_prefix("./") {
                Some(path) => assert!(folder().join(path).exists(), "{name}: no `{path}`"),
                None => {
                    assert!(volumes.contains(source), "{name}: no volume `{source}`");
                    used.insert(source.to_owned());
                }
            }
        }
    }
    assert_eq!(used, volumes);
}

#[test]
fn published_ports_are_of_this_machine_only_and_differ() {
    let mut taken = BTreeSet::new();
    for (name, service) in compose()["services"].as_object().unwrap() {
        for port in texts(&service["ports"]) {
            let parts: Vec<_> = port.split(':').collect();
            assert_eq!((parts.len(), parts[0]), (3, "127.0.0.1"), "{name}: {port}");
            assert!(taken.insert(parts[1].to_owned()), "{name}: {port} is taken");
        }
    }
}

#[test]
fn tidewatch_finds_what_it_needs() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    let text = read("compose/tidewatch.toml");
    let pipeline = toml_of("compose/tidewatch.toml");
    // Addresses are those of services.
    let brokers = pipeline["kafka"]["brokers"].as_array().unwrap().iter();
    let mut addresses: Vec<&str> = brokers.map(|broker| broker.as_str().unwrap()).collect();
    for sink in ["influxdb", "elasticsearch"] {
        addresses.push(
            pipeline["sinks"][sink]["url"].as_str().unwrap().strip_prefix("http://").unwrap(),
        );
    }
    let relay = pipeline["receivers"]["team"]["email"]["relay"].as_str().unwrap();
    for host in addresses.iter().map(|a| a.split(':').next().unwrap()).chain([relay]) {
        assert!(services.contains_key(host), "no service `{host}`");
    }
    assert_eq!(addresses.iter().filter(|a| a.starts_with("kafka-")).count(), 3, "three brokers");
    for source in pipeline["sources"].as_array().unwrap() {
        assert_eq!(source["replication"].as_integer(), Some(3));
        assert_eq!(source["retention"].as_str(), Some("7d"));
    }
    // Its commands are understood, and all members are there.
    let hosts = read("compose/hosts");
    let hosts: Vec<_> = hosts.lines().filter(|line| !line.starts_with('#')).collect();
    let listen = pipeline["http"]["listen"].as_str().unwrap();
    let port = listen.rsplit(':').next().unwrap();
    for (member, address) in hosts.iter().enumerate() {
        let name = address.split(':').next().unwrap();
        let service = &services[name];
        let command = texts(&service["command"]);
        understands(&command).unwrap();
        let of = |flag: &str| command.iter().skip_while(|word| *word != flag).nth(1).cloned();
        assert_eq!(of("-p"), Some(member.to_string()), "{name}");
        assert_eq!(of("-n"), Some(hosts.len().to_string()), "{name}");
        let published = &texts(&service["ports"])[0];
        assert!(published.ends_with(&format!(":{port}")), "{name}: {published}, not {listen}");
        for secret in secrets(&text) {
            assert!(service["environment"][&secret].is_string(), "{name}: `{secret}` is not set");
        }
        let target = format!("\"{name}:{port}\"");
        assert!(read("prometheus/prometheus.yml").contains(&target), "Prometheus asks {target}");
    }
    let influx = &services["influxdb"]["environment"];
    for (variable, wanted) in [
        ("DOCKER_INFLUXDB_INIT_ORG", &pipeline["sinks"]["influxdb"]["org"]),
        ("DOCKER_INFLUXDB_INIT_BUCKET", &pipeline["sinks"]["influxdb"]["bucket"]),
    ] {
        assert_eq!(influx[variable].as_str(), wanted.as_str(), "{variable}");
    }
    let token = &influx["DOCKER_INFLUXDB_INIT_ADMIN_TOKEN"];
    assert_eq!(token, &services["tidewatch-0"]["environment"]["INFLUX_TOKEN"]);
    assert_eq!(token, &services["grafana"]["environment"]["INFLUX_TOKEN"]);
}

#[test]
fn variables_of_mounted_files_are_set() {
    let compose = compose();
    for (service, file) in [
        ("grafana", "grafana/provisioning/datasources/tidewatch.yaml"),
        ("telegraf", "telegraf/telegraf.conf"),
        ("logstash", "logstash/pipeline/tidewatch.conf"),
    ] {
        let wanted = variables(&read(file));
        assert!(!wanted.is_empty(), "{file} has no variable");
        let set = names(&compose["services"][service]["environment"]);
        let missing: Vec<_> = wanted.difference(&set).collect();
        assert!(missing.is_empty(), "{service}: {missing:?}");
    }
}

#[test]
fn the_image_has_what_it_copies_and_calls() {
    let file = read("Dockerfile");
    let root = folder().parent().map(Path::to_path_buf).unwrap();
    let copies = file.lines().filter_map(|line| line.strip_prefix("COPY "));
    for copy in copies.filter(|copy| !copy.starts_with("--from")) {
        let words: Vec<_> = copy.split_whitespace().collect();
        for source in &words[..words.len() - 1] {
            assert!(root.join(source).exists(), "no `{source}`");
        }
    }
    // All members of the workspace: cargo wants their manifests.
    let workspace: toml::Table =
        std::fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    for member in workspace["workspace"]["members"].as_array().unwrap() {
        let member = member.as_str().unwrap();
        assert!(file.contains(&format!("COPY {member} {member}")), "`{member}` is not copied");
    }
    let version = workspace["workspace"]["package"]["rust-version"].as_str().unwrap();
    assert!(file.contains(&format!("FROM rust:{version}-")), "the compiler is {version}");
    assert!(file.contains("USER 10001:10001"));
    let command = file.lines().find_map(|line| line.strip_prefix("CMD ")).unwrap();
    let arguments: Value = serde_json::from_str(command).unwrap();
    understands(&texts(&arguments)).unwrap();
}
