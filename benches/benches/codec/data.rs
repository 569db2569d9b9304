//! What is decoded: records of a fleet of hosts in each format, the same in every run.

pub(super) const HOSTS: u64 = 1_000;
pub(super) const START: u64 = 1_700_000_000_000;

/// A hash as a source of numbers that look random and are always the same.
pub(super) fn mix(seed: u64) -> u64 {
    let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A share of 100, with all its digits.
pub(super) fn percent(seed: u64) -> f64 {
    (mix(seed) >> 11) as f64 / (1_u64 << 53) as f64 * 100.0
}

/// Messages of Telegraf; with `flood` each has a label of its own.
pub(super) fn telegraf(flood: bool) -> Vec<String> {
    let mut lines: Vec<(u64, String)> = (0..HOSTS * 3 * 10)
        .map(|i| {
            let (host, kind, time) = (i / 3 % HOSTS, i % 3, START + mix(i) % 10_000);
            let (a, b) = (percent(i * 7), percent(i * 7 + 1));
            let (fields, name, more) = match kind {
                0 => {
                    let fields = format!(
                        r#""usage_active":{a},"usage_idle":{},"usage_iowait":{b},"usage_system":{},"usage_user":{}"#,
                        100.0 - a,
                        a / 3.0,
                        a / 1.5
                    );
                    (fields, "cpu", r#""cpu":"cpu-total","#)
                }
                1 => {
                    let available = mix(i) % 68_719_476_736;
                    let fields = format!(
                        r#""available":{available},"available_percent":{a},"total":68719476736,"used":{},"used_percent":{b}"#,
                        68_719_476_736 - available
                    );
                    (fields, "mem", "")
                }
                _ => {
                    let free = mix(i) % 107_374_182_400;
                    let fields =
                        format!(r#""free":{free},"total":107374182400,"used_percent":{a}"#);
                    (fields, "disk", r#""device":"vda","fstype":"ext4","path":"/","#)
                }
            };
            let more = if flood { format!(r#"{more}"container":"{:016x}","#, mix(i)) } else { more.into() };
            let line = format!(
                r#"{{"fields":{{{fields}}},"name":"{name}","tags":{{{more}"dc":"eu-1","host":"web-{host:04}","rack":"r{}","role":"web"}},"timestamp":{time}}}{}"#,
                host % 40,
                '\n'
            );
            (mix(i * 31), line)
        })
        .collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}

pub(super) fn json_logs() -> Vec<String> {
    (0..HOSTS * 3)
        .map(|i| {
            format!(
                r#"{{"@timestamp":"2026-11-22T19:{:02}:{:02}.{:03}Z","level":"{}","host":"web-{:04}","service":"svc-{:02}","message":"request {i} handled in {} ms","trace_id":"{:016x}","status":{}}}"#,
                i % 60,
                i / 60 % 60,
                i % 1_000,
                ["INFO", "info", "WARN", "error"][(mix(i) % 4) as usize],
                mix(i) % HOSTS,
                mix(i) % 50,
                mix(i) % 900,
                mix(i),
                200 + mix(i) % 4 * 100
            )
        })
        .collect()
}

/// Lines as the benchmark of the fleet has them: nearly each of a host and service of its own.
pub(super) fn fleet_logs() -> Vec<String> {
    (0..HOSTS * 30)
        .map(|i| {
            format!(
                r#"{{"@timestamp":"2023-11-14T22:13:{:02}.{:03}Z","level":"{}","service":"{}","host":"web-{:04}","message":"GET /api/v1/items/{} 200 {} ms, request_id={:016x}"}}"#,
                i / 1_000 % 60,
                i % 1_000,
                ["INFO", "WARN", "ERROR"][usize::from(mix(i) % 10 > 7) + usize::from(mix(i) % 10 > 8)],
                ["checkout", "catalog", "search", "payment", "gateway", "session"][(mix(i + 1) % 6) as usize],
                mix(i + 2) % 10_000,
                mix(i + 3) % 100_000,
                mix(i + 4) % 90,
                mix(i)
            )
        })
        .collect()
}

pub(super) fn text_logs() -> Vec<String> {
    (0..HOSTS * 3)
        .map(|i| {
            format!(
                "2026-11-22 19:{:02}:{:02},{:03} {} [worker-{}] com.example.Service - request {i} handled in {} ms",
                i % 60,
                i / 60 % 60,
                i % 1_000,
                ["INFO ", "DEBUG", "WARN ", "ERROR"][(mix(i) % 4) as usize],
                i % 8,
                mix(i) % 900
            )
        })
        .collect()
}

pub(super) fn values() -> Vec<String> {
    (0..HOSTS * 3).map(|i| format!("{:.1}%", percent(i))).collect()
}

/// The metrics of [`telegraf`] in line protocol.
pub(super) fn lines() -> Vec<String> {
    let line = |json: &String| {
        let metric: serde_json::Value = serde_json::from_str(json).expect("it is JSON");
        let pairs = |name: &str| {
            let members = metric[name].as_object().expect("it is an object");
            let text = |value: &serde_json::Value| match value {
                serde_json::Value::String(text) => text.clone(),
                whole if whole.is_u64() => format!("{whole}i"),
                number => number.to_string(),
            };
            members
                .iter()
                .map(|(name, value)| format!("{name}={}", text(value)))
                .collect::<Vec<_>>()
                .join(",")
        };
        let name = metric["name"].as_str().expect("it has a name");
        format!("{name},{} {} {}000000\n", pairs("tags"), pairs("fields"), metric["timestamp"])
    };
    telegraf(false).iter().map(line).collect()
}

pub(super) fn collectd() -> Vec<String> {
    (0..HOSTS * 3)
        .map(|i| {
            format!(
                r#"[{{"values":[{}],"dstypes":["gauge"],"dsnames":["value"],"time":1795376576.083,"interval":10.000,"host":"web-{:04}","plugin":"cpu","plugin_instance":"{}","type":"percent","type_instance":"user"}}]"#,
                percent(i), i % HOSTS, i / HOSTS
            )
        })
        .collect()
}

pub(super) fn syslogs() -> Vec<String> {
    (0..HOSTS * 3)
        .map(|i| {
            format!(
                r#"<{}>1 2026-11-22T19:{:02}:{:02}.{:03}Z web-{:04} svc-{:02} {} - [origin ip="10.0.0.{}"] request {i} handled in {} ms"#,
                128 + mix(i) % 8, i % 60, i / 60 % 60, i % 1_000, mix(i) % HOSTS, mix(i) % 50, i % 9_999, i % 256, mix(i) % 900
            )
        })
        .collect()
}

pub(super) fn old_syslogs() -> Vec<String> {
    (0..HOSTS * 3)
        .map(|i| {
            format!(
                "<{}>Nov 14 22:{:02}:{:02} web-{:04} svc-{:02}[{}]: request {i} handled in {} ms",
                128 + mix(i) % 8,
                i % 60,
                i / 60 % 60,
                mix(i) % HOSTS,
                mix(i) % 50,
                i % 9_999,
                mix(i) % 900
            )
        })
        .collect()
}

pub(super) fn logfmts() -> Vec<String> {
    (0..HOSTS * 3)
        .map(|i| {
            format!(
                r#"ts=2026-11-22T19:{:02}:{:02}.{:03}Z level={} host=web-{:04} service=svc-{:02} msg="request {i} handled" took={}ms trace_id={:016x}"#,
                i % 60, i / 60 % 60, i % 1_000, ["info", "warn", "error"][(mix(i) % 3) as usize], mix(i) % HOSTS, mix(i) % 50, mix(i) % 900, mix(i)
            )
        })
        .collect()
}

pub(super) fn ecs_logs() -> Vec<String> {
    (0..HOSTS * 3)
        .map(|i| {
            format!(
                r#"{{"@timestamp":"2026-11-22T19:{:02}:{:02}.{:03}Z","@metadata":{{"beat":"filebeat","version":"8.11.0"}},"ecs":{{"version":"8.0.0"}},"host":{{"name":"web-{:04}","os":{{"type":"linux"}}}},"log":{{"offset":{i},"file":{{"path":"/var/log/app.log"}}}},"message":"2026-11-22 19:19:56 {} [worker-{}] request {i} handled","agent":{{"type":"filebeat","version":"8.11.0"}}}}"#,
                i % 60, i / 60 % 60, i % 1_000, mix(i) % HOSTS, ["INFO", "WARN", "ERROR"][(mix(i) % 3) as usize], i % 8
            )
        })
        .collect()
}

/// Messages of Protocol Buffers, written by hand.
mod wire {
    fn varint(mut number: u64, out: &mut Vec<u8>) {
        while number > 0x7f {
            out.push(number as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
    }
    pub fn number(field: u64, value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        varint(field << 3, &mut out);
        varint(value, &mut out);
        out
    }
    pub fn fixed(field: u64, bits: u64) -> Vec<u8> {
        let mut out = Vec::new();
        varint(field << 3 | 1, &mut out);
        out.extend(bits.to_le_bytes());
        out
    }
    pub fn bytes(field: u64, parts: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        varint(field << 3 | 2, &mut out);
        varint(parts.iter().map(|part| part.len() as u64).sum(), &mut out);
        parts.iter().for_each(|part| out.extend_from_slice(part));
        out
    }
    pub fn attribute(field: u64, key: &str, value: &str) -> Vec<u8> {
        let value = bytes(1, &[value.as_bytes()]);
        bytes(field, &[&bytes(1, &[key.as_bytes()]), &bytes(2, &[&value])])
    }
}

pub(super) fn resource(i: u64) -> Vec<u8> {
    let service = wire::attribute(1, "service.name", &format!("svc-{:02}", i % 50));
    let host = wire::attribute(1, "host.name", &format!("web-{:04}", i % HOSTS));
    wire::bytes(1, &[&service, &host, &wire::attribute(1, "os.type", "linux")])
}

/// One resource with ten gauges each.
pub(super) fn otlp_metrics() -> Vec<Vec<u8>> {
    (0..HOSTS * 3)
        .map(|i| {
            let metrics: Vec<u8> = (0..10)
                .flat_map(|at| {
                    let point = [
                        wire::fixed(3, START * 1_000_000),
                        wire::fixed(4, percent(i * 10 + at).to_bits()),
                        wire::attribute(7, "cpu", &at.to_string()),
                    ]
                    .concat();
                    let gauge = wire::bytes(5, &[&wire::bytes(1, &[&point])]);
                    wire::bytes(2, &[&wire::bytes(1, &[b"system.cpu.utilization"]), &gauge])
                })
                .collect();
            wire::bytes(1, &[&resource(i), &wire::bytes(2, &[&metrics])])
        })
        .collect()
}

/// One resource with ten log records each.
pub(super) fn otlp_logs() -> Vec<Vec<u8>> {
    (0..HOSTS * 3)
        .map(|i| {
            let logs: Vec<u8> = (0..10)
                .flat_map(|at| {
                    let body = format!("request {} handled in {} ms", i * 10 + at, mix(i) % 900);
                    wire::bytes(
                        2,
                        &[
                            &wire::fixed(1, START * 1_000_000),
                            &wire::number(2, 9 + mix(i) % 9),
                            &wire::bytes(5, &[&wire::bytes(1, &[body.as_bytes()])]),
                            &wire::attribute(6, "http.route", "/orders"),
                            &wire::bytes(9, &[&mix(i).to_le_bytes(), &mix(at).to_le_bytes()]),
                        ],
                    )
                })
                .collect();
            wire::bytes(1, &[&resource(i), &wire::bytes(2, &[&logs])])
        })
        .collect()
}

/// The same ten gauges in JSON.
pub(super) fn otlp_json() -> Vec<String> {
    (0..HOSTS * 3)
        .map(|i| {
            let points: Vec<String> = (0..10)
                .map(|at| {
                    format!(
                        r#"{{"timeUnixNano":"{START}000000","asDouble":{},"attributes":[{{"key":"cpu","value":{{"stringValue":"{at}"}}}}]}}"#,
                        percent(i * 10 + at)
                    )
                })
                .collect();
            format!(
                r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"svc-{:02}"}}}},{{"key":"host.name","value":{{"stringValue":"web-{:04}"}}}}]}},"scopeMetrics":[{{"metrics":[{{"name":"system.cpu.utilization","gauge":{{"dataPoints":[{}]}}}}]}}]}}]}}"#,
                i % 50, i % HOSTS, points.join(",")
            )
        })
        .collect()
}

/// A hundred series of one sample each.
pub(super) fn remote_write() -> Vec<Vec<u8>> {
    let label = |name: &str, value: &str| {
        wire::bytes(1, &[&wire::bytes(1, &[name.as_bytes()]), &wire::bytes(2, &[value.as_bytes()])])
    };
    (0..300)
        .map(|i| {
            let request: Vec<u8> = (0..100)
                .flat_map(|at| {
                    let sample =
                        [wire::fixed(1, percent(i * 100 + at).to_bits()), wire::number(2, START)]
                            .concat();
                    wire::bytes(
                        1,
                        &[
                            &label("__name__", "node_cpu_seconds_total"),
                            &label("cpu", &at.to_string()),
                            &label("instance", &format!("web-{:04}:9100", i % HOSTS)),
                            &label("job", "node"),
                            &label("mode", "user"),
                            &wire::bytes(2, &[&sample]),
                        ],
                    )
                })
                .collect();
            snap::raw::Encoder::new().compress_vec(&request).expect("it is short enough")
        })
        .collect()
}
