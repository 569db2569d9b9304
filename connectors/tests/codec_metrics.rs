//! collectd, OTLP and Prometheus' remote write. Protocol Buffers are written by `prost` from messages declared
//! here, so that the reader is not checked by itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod codec_util;

use codec_util::{KAFKA_TIME, Outcome, decode, decode_bytes, decode_with, point, refusal};
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};
use tidewatch_connectors::codec::{Format, SourceFormat};
use tidewatch_dataflow::dead_letter::Reason;
use tidewatch_dataflow::record::Level;

/// The messages of OTLP and of remote write, as far as they are read, with some of what is skipped.
mod wire {
    use prost::{Message, Oneof};

    #[derive(Clone, PartialEq, Message)]
    pub struct Metrics {
        #[prost(message, repeated, tag = "1")]
        pub resources: Vec<ResourceMetrics>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct ResourceMetrics {
        #[prost(message, optional, tag = "1")]
        pub resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub scopes: Vec<ScopeMetrics>,
        #[prost(string, tag = "3")]
        pub schema_url: String,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct ScopeMetrics {
        #[prost(message, repeated, tag = "2")]
        pub metrics: Vec<Metric>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct Metric {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(string, tag = "3")]
        pub unit: String,
        #[prost(message, optional, tag = "5")]
        pub gauge: Option<Numbers>,
        #[prost(message, optional, tag = "7")]
        pub sum: Option<Numbers>,
        #[prost(message, optional, tag = "9")]
        pub histogram: Option<Histograms>,
        #[prost(message, optional, tag = "11")]
        pub summary: Option<Summaries>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct Numbers {
        #[prost(message, repeated, tag = "1")]
        pub points: Vec<NumberPoint>,
        #[prost(int32, tag = "2")]
        pub temporality: i32,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct NumberPoint {
        #[prost(message, repeated, tag = "7")]
        pub attributes: Vec<KeyValue>,
        #[prost(fixed64, tag = "2")]
        pub start: u64,
        #[prost(fixed64, tag = "3")]
        pub nanos: u64,
        #[prost(double, optional, tag = "4")]
        pub as_double: Option<f64>,
        #[prost(sfixed64, optional, tag = "6")]
        pub as_int: Option<i64>,
        #[prost(uint32, tag = "8")]
        pub flags: u32,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct Histograms {
        #[prost(message, repeated, tag = "1")]
        pub points: Vec<HistogramPoint>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct HistogramPoint {
        #[prost(message, repeated, tag = "9")]
        pub attributes: Vec<KeyValue>,
        #[prost(fixed64, tag = "3")]
        pub nanos: u64,
        #[prost(fixed64, tag = "4")]
        pub count: u64,
        #[prost(double, optional, tag = "5")]
        pub sum: Option<f64>,
        #[prost(fixed64, repeated, tag = "6")]
        pub buckets: Vec<u64>,
        #[prost(double, optional, tag = "11")]
        pub min: Option<f64>,
        #[prost(double, optional, tag = "12")]
        pub max: Option<f64>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct Summaries {
        #[prost(message, repeated, tag = "1")]
        pub points: Vec<SummaryPoint>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct SummaryPoint {
        #[prost(fixed64, tag = "3")]
        pub nanos: u64,
        #[prost(fixed64, tag = "4")]
        pub count: u64,
        #[prost(double, tag = "5")]
        pub sum: f64,
        #[prost(message, repeated, tag = "6")]
        pub quantiles: Vec<Sample>,
    }
    /// A quantile and its value.
    #[derive(Clone, PartialEq, Message)]
    pub struct Sample {
        #[prost(double, tag = "1")]
        pub quantile: f64,
        #[prost(double, tag = "2")]
        pub value: f64,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub attributes: Vec<KeyValue>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct KeyValue {
        #[prost(string, tag = "1")]
        pub key: String,
        #[prost(message, optional, tag = "2")]
        pub value: Option<AnyValue>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct AnyValue {
        #[prost(oneof = "Any", tags = "1, 2, 3, 4, 5, 6, 7")]
        pub value: Option<Any>,
    }
    #[derive(Clone, PartialEq, Oneof)]
    pub enum Any {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(bool, tag = "2")]
        Bool(bool),
        #[prost(int64, tag = "3")]
        Int(i64),
        #[prost(double, tag = "4")]
        Double(f64),
        #[prost(message, tag = "5")]
        List(Values),
        #[prost(message, tag = "6")]
        Map(Members),
        #[prost(bytes, tag = "7")]
        Bytes(Vec<u8>),
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct Values {
        #[prost(message, repeated, tag = "1")]
        pub values: Vec<AnyValue>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct Members {
        #[prost(message, repeated, tag = "1")]
        pub values: Vec<KeyValue>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct Logs {
        #[prost(message, repeated, tag = "1")]
        pub resources: Vec<ResourceLogs>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct ResourceLogs {
        #[prost(message, optional, tag = "1")]
        pub resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub scopes: Vec<ScopeLogs>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct ScopeLogs {
        #[prost(message, repeated, tag = "2")]
        pub records: Vec<LogRecord>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct LogRecord {
        #[prost(fixed64, tag = "1")]
        pub nanos: u64,
        #[prost(fixed64, tag = "11")]
        pub observed_nanos: u64,
        #[prost(int32, tag = "2")]
        pub severity: i32,
        #[prost(string, tag = "3")]
        pub severity_text: String,
        #[prost(message, optional, tag = "5")]
        pub body: Option<AnyValue>,
        #[prost(message, repeated, tag = "6")]
        pub attributes: Vec<KeyValue>,
        #[prost(fixed32, tag = "8")]
        pub flags: u32,
        #[prost(bytes = "vec", tag = "9")]
        pub trace: Vec<u8>,
        #[prost(bytes = "vec", tag = "10")]
        pub span: Vec<u8>,
        #[prost(string, tag = "12")]
        pub event: String,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        pub series: Vec<TimeSeries>,
        #[prost(bytes = "vec", repeated, tag = "3")]
        pub metadata: Vec<Vec<u8>>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        pub labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<Measured>,
        #[prost(message, repeated, tag = "4")]
        pub histograms: Vec<Native>,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct Label {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(string, tag = "2")]
        pub value: String,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct Measured {
        #[prost(double, tag = "1")]
        pub value: f64,
        #[prost(int64, tag = "2")]
        pub millis: i64,
    }
    #[derive(Clone, PartialEq, Message)]
    pub struct Native {
        #[prost(uint64, tag = "1")]
        pub count: u64,
        #[prost(double, tag = "3")]
        pub sum: f64,
        #[prost(sint32, tag = "4")]
        pub schema: i32,
        #[prost(int64, tag = "15")]
        pub millis: i64,
    }
}

use wire::Any;

fn attribute(key: &str, value: Any) -> wire::KeyValue {
    wire::KeyValue { key: key.into(), value: Some(wire::AnyValue { value: Some(value) }) }
}

fn texts(pairs: &[(&str, &str)]) -> Vec<wire::KeyValue> {
    pairs.iter().map(|(key, value)| attribute(key, Any::Text((*value).into()))).collect()
}

fn metrics(resource: &[(&str, &str)], metrics: Vec<wire::Metric>) -> Vec<u8> {
    let resource = Some(wire::Resource { attributes: texts(resource) });
    let scopes = vec![wire::ScopeMetrics { metrics }];
    let schema_url = "s".into();
    wire::Metrics { resources: vec![wire::ResourceMetrics { resource, scopes, schema_url }] }
        .encode_to_vec()
}

fn logs(resource: &[(&str, &str)], records: Vec<wire::LogRecord>) -> Vec<u8> {
    let resource = Some(wire::Resource { attributes: texts(resource) });
    let scopes = vec![wire::ScopeLogs { records }];
    wire::Logs { resources: vec![wire::ResourceLogs { resource, scopes }] }.encode_to_vec()
}

fn refused_bytes(format: Format, value: &[u8]) -> (Reason, String) {
    let mut seen = decode_bytes(format, value);
    assert!(seen.points.is_empty() && seen.logs.is_empty(), "{seen:?}");
    let (_, reason, detail) = seen.rejected.remove(0);
    (reason, detail)
}

const AT: u64 = 1_795_375_196_123;
const NANOS: u64 = AT * 1_000_000;

#[test]
fn collectd_as_it_writes() {
    let load = r#"[{"values":[25.67822265625,23.48583984375,15.6787109375],"dstypes":["gauge","gauge","gauge"],"dsnames":["shortterm","midterm","longterm"],"time":1795376574.095,"interval":2.000,"host":"probe-host-1","plugin":"load","plugin_instance":"","type":"load","type_instance":""}]"#;
    let seen = point(Format::CollectdJson, load);
    assert_eq!((&*seen.measurement, seen.millis), ("load", 1_795_376_574_095));
    assert_eq!(seen.labels, "host=probe-host-1,type=load");
    let expected =
        [("shortterm", 25.67822265625), ("midterm", 23.48583984375), ("longterm", 15.6787109375)];
    assert_eq!(seen.fields, expected.map(|(n, v)| (n.to_owned(), v)));
    let cpu = r#"[{"values":[65.1515151515151],"dstypes":["gauge"],"dsnames":["value"],"time":1795376576.083,"interval":2.000,"host":"probe-host-1","plugin":"cpu","plugin_instance":"0","type":"percent","type_instance":"user","meta":{"network:received":true}}]"#;
    let seen = point(Format::CollectdJson, cpu);
    assert_eq!(seen.labels, "host=probe-host-1,plugin_instance=0,type=percent,type_instance=user");
    // The first sample of a rate is null.
    let nulls = r#"[{"values":[null,null],"dstypes":["derive","derive"],"dsnames":["read","write"],"time":1795376576.083,"interval":2.000,"host":"probe-host-1","plugin":"disk","plugin_instance":"vda","type":"disk_octets","type_instance":""}]"#;
    let nothing = Outcome { no_numbers: 2, ..Outcome::default() };
    assert_eq!(decode(Format::CollectdJson, nulls), nothing);
    let half = nulls.replace("[null,null]", "[null,5]");
    assert_eq!(point(Format::CollectdJson, &half).fields, [("write".to_owned(), 5.0)]);
    // Several lists in one array, several arrays, a list alone; the key is the host of a list without one.
    let lists = format!("[{},{}]", &load[1..load.len() - 1], &cpu[1..cpu.len() - 1]);
    assert_eq!(decode(Format::CollectdJson, &lists).points.len(), 2);
    assert_eq!(
        decode(Format::CollectdJson, &format!("{load}\n{cpu}\n")),
        decode(Format::CollectdJson, &lists)
    );
    let least = point(Format::CollectdJson, r#"{"values":[1],"dsnames":["value"],"plugin":"p"}"#);
    assert_eq!((&*least.labels, least.millis), ("host=web-1", KAFKA_TIME));
}

#[test]
fn collectd_refused() {
    for (text, reason, said) in [
        (r#"[{"dsnames":["value"],"plugin":"p"}]"#, Reason::MissingField, "`values`"),
        (r#"[{"values":[1],"plugin":"p"}]"#, Reason::MissingField, "`dsnames`"),
        (r#"[{"values":[1],"dsnames":["value"]}]"#, Reason::MissingField, "`plugin`"),
        (
            r#"[{"values":[1,2],"dsnames":["value"],"plugin":"p"}]"#,
            Reason::Unparseable,
            "2 values with 1 names",
        ),
        (r#"[{"values":["1"],"dsnames":["value"],"plugin":"p"}]"#, Reason::Unparseable, "at byte"),
        (
            r#"[{"values":[1],"dsnames":["value"],"plugin":"p","time":-1}]"#,
            Reason::TimeOutOfRange,
            "before 1970",
        ),
        (r#"[{"values":[1e999],"dsnames":["value"],"plugin":"p"}]"#, Reason::NotANumber, "range"),
        ("[1]", Reason::Unparseable, "at byte"),
        ("[", Reason::Unparseable, "at byte"),
        ("load 1", Reason::Unparseable, "at byte"),
    ] {
        let (found, detail) = refusal(Format::CollectdJson, text);
        assert_eq!(found, reason, "{text}: {detail}");
        assert!(detail.contains(said), "{text}: {detail}");
    }
    let deep = format!(
        r#"[{{"values":[1],"dsnames":["v"],"plugin":"p","meta":{}{}}}]"#,
        "[".repeat(40),
        "]".repeat(40)
    );
    assert_eq!(refusal(Format::CollectdJson, &deep).0, Reason::TooLarge);
}

#[test]
fn otlp_metrics_in_both_encodings() {
    let text = r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"api"}},{"key":"host.name","value":{"stringValue":"h"}},{"key":"service.instance.id","value":{"intValue":"7"}},{"key":"os.type","value":{"stringValue":"linux"}}]},"scopeMetrics":[{"scope":{"name":"lib"},"metrics":[
        {"name":"up","gauge":{"dataPoints":[{"timeUnixNano":"1795375196123000000","asDouble":0.5,"attributes":[{"key":"cpu","value":{"intValue":0}}]},{"asInt":"-3","flags":0},{"asDouble":1,"flags":1},{"asDouble":"NaN"}]}},
        {"name":"hits","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{"timeUnixNano":1795375196123000000,"asInt":12}]}},
        {"name":"took","histogram":{"dataPoints":[{"timeUnixNano":"1795375196123000000","count":"2","sum":2.5,"min":0,"max":2,"bucketCounts":["1","1"],"explicitBounds":[1]}]}},
        {"name":"old","summary":{"dataPoints":[{"timeUnixNano":"1795375196123000000","count":"2","sum":3,"quantileValues":[{"quantile":0.99,"value":2}]}]}}]}]}]}"#;
    let json = decode(Format::Otlp, text);
    let number = |nanos, as_double, as_int, flags, attributes| wire::NumberPoint {
        attributes,
        start: 5,
        nanos,
        as_double,
        as_int,
        flags,
    };
    let numbers = |points| Some(wire::Numbers { points, temporality: 2 });
    let named =
        |name: &str| wire::Metric { name: name.into(), unit: "1".into(), ..Default::default() };
    let mut request = wire::Metrics::decode(&*metrics(
        &[("service.name", "api"), ("host.name", "h")],
        vec![
            wire::Metric {
                gauge: numbers(vec![
                    number(NANOS, Some(0.5), None, 0, vec![attribute("cpu", Any::Int(0))]),
                    number(0, None, Some(-3), 0, vec![]),
                    number(0, Some(1.0), None, 1, vec![]),
                    number(0, Some(f64::NAN), None, 0, vec![]),
                ]),
                ..named("up")
            },
            wire::Metric {
                sum: numbers(vec![number(NANOS, None, Some(12), 0, vec![])]),
                ..named("hits")
            },
            wire::Metric {
                histogram: Some(wire::Histograms {
                    points: vec![wire::HistogramPoint {
                        attributes: vec![],
                        nanos: NANOS,
                        count: 2,
                        sum: Some(2.5),
                        buckets: vec![1, 1],
                        min: Some(0.0),
                        max: Some(2.0),
                    }],
                }),
                ..named("took")
            },
            wire::Metric {
                summary: Some(wire::Summaries {
                    points: vec![wire::SummaryPoint {
                        nanos: NANOS,
                        count: 2,
                        sum: 3.0,
                        quantiles: vec![wire::Sample { quantile: 0.99, value: 2.0 }],
                    }],
                }),
                ..named("old")
            },
        ],
    ))
    .unwrap();
    let attributes = &mut request.resources[0].resource.as_mut().unwrap().attributes;
    attributes.push(attribute("service.instance.id", Any::Int(7)));
    attributes.push(attribute("os.type", Any::Text("linux".into())));
    let bytes = request.encode_to_vec();
    assert_eq!(decode_bytes(Format::Otlp, &bytes), json);
    let all: Vec<_> = json
        .points
        .iter()
        .map(|p| {
            (
                &*p.measurement,
                &*p.labels,
                p.millis,
                p.fields.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" "),
            )
        })
        .collect();
    let own = "host=h,service=api,service.instance.id=7";
    assert_eq!(
        all,
        [
            ("up", "cpu=0,host=h,service=api,service.instance.id=7", AT, "value=0.5".to_owned()),
            ("up", own, KAFKA_TIME, "value=-3".to_owned()),
            ("hits", own, AT, "value=12".to_owned()),
            ("took", own, AT, "count=2 sum=2.5 min=0 max=2".to_owned()),
            ("old", own, AT, "count=2 sum=3 quantile_0.99=2".to_owned()),
        ]
    );
    // Further attributes of the resource, when the source asks for them.
    let mut source = SourceFormat::new("t", Format::Otlp);
    source.resource_labels = vec!["os.type".into()];
    let seen = decode_with(&source, &bytes);
    assert_eq!(seen.points[2].labels, "host=h,os.type=linux,service=api,service.instance.id=7");
}

#[test]
fn otlp_logs_in_both_encodings() {
    let text = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"api"}},{"key":"os.type","value":{"stringValue":"linux"}}]},"scopeLogs":[{"logRecords":[
        {"timeUnixNano":"1795375196123000000","severityNumber":18,"severityText":"Info","traceId":"5B8EFFF7","spanId":"EEE1","body":{"stringValue":"boom\n\tat x"},"attributes":[{"key":"a","value":{"boolValue":true}},{"key":"os.type","value":{"stringValue":"own"}},{"key":"l","value":{"arrayValue":{"values":[{"intValue":"1"},{"doubleValue":1.5},{}]}}},{"key":"b","value":{"bytesValue":"AQI="}}]},
        {"observedTimeUnixNano":"1795375196123000000","severityText":"WARN","eventName":"e","body":{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"v"}}]}}}]}]}]}"#;
    let json = decode(Format::Otlp, text);
    let body = |value| Some(wire::AnyValue { value: Some(value) });
    let list = vec![
        wire::AnyValue { value: Some(Any::Int(1)) },
        wire::AnyValue { value: Some(Any::Double(1.5)) },
        wire::AnyValue { value: None },
    ];
    let bytes = logs(
        &[("service.name", "api"), ("os.type", "linux")],
        vec![
            wire::LogRecord {
                nanos: NANOS,
                severity: 18,
                severity_text: "Info".into(),
                flags: 1,
                trace: vec![0x5b, 0x8e, 0xff, 0xf7],
                span: vec![0xee, 0xe1],
                body: body(Any::Text("boom\n\tat x".into())),
                attributes: vec![
                    attribute("a", Any::Bool(true)),
                    attribute("os.type", Any::Text("own".into())),
                    attribute("l", Any::List(wire::Values { values: list })),
                    attribute("b", Any::Bytes(vec![1, 2])),
                ],
                ..Default::default()
            },
            wire::LogRecord {
                observed_nanos: NANOS,
                severity_text: "WARN".into(),
                event: "e".into(),
                body: body(Any::Map(wire::Members { values: texts(&[("k", "v")]) })),
                ..Default::default()
            },
        ],
    );
    assert_eq!(decode_bytes(Format::Otlp, &bytes), json);
    let [first, second] = &json.logs[..] else { panic!("{json:?}") };
    assert_eq!(
        (first.level, &*first.host, &*first.service, &*first.message),
        (Level::Error, "unknown", "api", "boom\n\tat x")
    );
    let extra: Value = serde_json::from_str(&first.extra).unwrap();
    assert_eq!(
        extra,
        json!({"a":true,"os.type":"own","l":[1,1.5,null],"b":"AQI=","trace.id":"5b8efff7","span.id":"eee1"})
    );
    assert_eq!((second.level, &*second.message, second.index), (Level::Warn, r#"{"k":"v"}"#, 1));
    assert_eq!((first.event_time, second.event_time.as_millis()), (second.event_time, AT));
    let labels: Vec<_> = json.points.iter().map(|p| &*p.labels).collect();
    assert_eq!(
        labels,
        ["host=unknown,level=ERROR,service=api", "host=unknown,level=WARN,service=api"]
    );
}

#[test]
fn otlp_refused() {
    let spans = r#"{"resourceSpans":[]}"#;
    for (text, reason, said) in [
        (spans, Reason::Unparseable, "spans"),
        ("{}", Reason::MissingField, "neither `resourceMetrics`"),
        (r#"{"resourceMetrics":5}"#, Reason::Unparseable, "at byte"),
        (
            r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{"asInt":1}]}}]}]}]}"#,
            Reason::MissingField,
            "without `name`",
        ),
        (
            r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{"asInt":"x"}]}}]}]}]}"#,
            Reason::Unparseable,
            "a number",
        ),
        (
            r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}"#,
            Reason::MissingField,
            "a log record",
        ),
    ] {
        let (found, detail) = refusal(Format::Otlp, text);
        assert_eq!(found, reason, "{text}: {detail}");
        assert!(detail.contains(said), "{text}: {detail}");
    }
    let deep = format!(r#"{{"resourceLogs":{}{}}}"#, "[".repeat(40), "]".repeat(40));
    assert_eq!(refusal(Format::Otlp, &deep).0, Reason::TooLarge);
    let wide = format!(r#"{{"resourceLogs":[],"x":[{}0]}}"#, "{},".repeat(70_000));
    assert_eq!(refusal(Format::Otlp, &wide).0, Reason::TooLarge);
    // In Protocol Buffers: cut anywhere, it is refused, or what is left is whole.
    let record = wire::LogRecord { nanos: NANOS, severity: 9, ..Default::default() };
    let bytes = logs(&[("service.name", "api")], vec![record]);
    for end in 2..bytes.len() {
        assert_eq!(refused_bytes(Format::Otlp, &bytes[..end]).0, Reason::Unparseable, "{end}");
    }
    assert_eq!(refused_bytes(Format::Otlp, b"\x12\x00").0, Reason::MissingField);
    assert_eq!(refused_bytes(Format::Otlp, b"\x0b\x0c").0, Reason::Unparseable, "a group");
    let mut value = wire::AnyValue { value: Some(Any::Int(1)) };
    for _ in 0..40 {
        value = wire::AnyValue { value: Some(Any::List(wire::Values { values: vec![value] })) };
    }
    let record = wire::LogRecord { nanos: NANOS, body: Some(value), ..Default::default() };
    assert_eq!(refused_bytes(Format::Otlp, &logs(&[], vec![record])).0, Reason::TooLarge);
}

fn remote(series: Vec<wire::TimeSeries>) -> Vec<u8> {
    let request = wire::WriteRequest { series, metadata: vec![b"\x08\x01".to_vec()] };
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> Vec<wire::Label> {
    let label =
        |(name, value): &(&str, &str)| wire::Label { name: (*name).into(), value: (*value).into() };
    pairs.iter().map(label).collect()
}

#[test]
fn remote_write() {
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let at = |value, millis| wire::Measured { value, millis };
    let bytes = remote(vec![
        wire::TimeSeries {
            labels: labels(&[
                ("__name__", "up"),
                ("instance", "a:9100"),
                ("job", ""),
                ("zone", "ä"),
            ]),
            samples: vec![
                at(1.5, AT as i64),
                at(stale, AT as i64),
                at(0.0, AT as i64 + 1),
                at(f64::INFINITY, 0),
            ],
            histograms: vec![],
        },
        wire::TimeSeries { labels: labels(&[("job", "x")]), samples: vec![], histograms: vec![] },
        wire::TimeSeries {
            labels: labels(&[("__name__", "took")]),
            samples: vec![],
            histograms: vec![
                wire::Native { count: 3, sum: 2.5, schema: -1, millis: AT as i64 },
                wire::Native { count: 0, sum: stale, schema: 0, millis: AT as i64 },
            ],
        },
    ]);
    let seen = decode_bytes(Format::PrometheusRemoteWrite, &bytes);
    assert_eq!((seen.rejected, seen.no_numbers), (Vec::new(), 3), "two stale, one infinite");
    let all: Vec<_> = seen
        .points
        .iter()
        .map(|p| (&*p.measurement, &*p.labels, p.millis, p.fields.clone()))
        .collect();
    let value = |value| vec![("value".to_owned(), value)];
    assert_eq!(
        all,
        [
            ("up", "instance=a:9100,zone=ä", AT, value(1.5)),
            ("up", "instance=a:9100,zone=ä", AT + 1, value(0.0)),
            ("took", "", AT, vec![("count".to_owned(), 3.0), ("sum".to_owned(), 2.5)]),
        ]
    );
    let sample = |labels, millis| {
        remote(vec![wire::TimeSeries {
            labels,
            samples: vec![at(1.0, millis)],
            histograms: vec![],
        }])
    };
    let reason = |bytes: &[u8]| refused_bytes(Format::PrometheusRemoteWrite, bytes).0;
    assert_eq!(reason(&sample(labels(&[("job", "x")]), 5)), Reason::MissingField);
    assert_eq!(reason(&sample(labels(&[("__name__", "x")]), -5)), Reason::TimeOutOfRange);
    assert_eq!(reason(b"no snappy"), Reason::Unparseable);
    assert_eq!(reason(b"\xff\xff\xff\x7f"), Reason::TooLarge);
    assert_eq!(reason(&bytes[..bytes.len() - 1]), Reason::Unparseable);
    let many: Vec<_> =
        (0..200).map(|i| wire::Label { name: format!("l{i}"), value: "x".into() }).collect();
    assert_eq!(reason(&sample(many, 5)), Reason::TooLarge);
    let samples = (0..10_001).map(|millis| at(1.0, millis)).collect();
    let series =
        wire::TimeSeries { labels: labels(&[("__name__", "x")]), samples, histograms: vec![] };
    assert_eq!(reason(&remote(vec![series])), Reason::TooLarge);
}

proptest! {
    /// Whatever collectd may write is read as what it was.
    #[test]
    fn collectd_round_trip(
        values in prop::collection::btree_map("[a-z]{1,8}", prop::option::of(prop::num::f64::NORMAL | prop::num::f64::ZERO), 1..6),
        millis in 0_u32..4_000_000_000,
        host in "[a-zä\"\\\\]{1,8}",
    ) {
        let list = json!([{
            "values": values.values().collect::<Vec<_>>(), "dsnames": values.keys().collect::<Vec<_>>(),
            "time": f64::from(millis) / 1e3, "host": host, "plugin": "p", "type": "t",
        }]);
        let seen = decode(Format::CollectdJson, &list.to_string());
        let expected: Vec<_> = values.iter().filter_map(|(n, v)| v.map(|v| (n.clone(), v))).collect();
        prop_assert_eq!(seen.rejected, []);
        prop_assert_eq!(seen.no_numbers as usize, values.len() - expected.len());
        prop_assert_eq!(seen.points.len(), usize::from(!expected.is_empty()));
        for point in seen.points {
            prop_assert_eq!(&point.fields, &expected);
            prop_assert_eq!(point.millis, u64::from(millis));
            prop_assert_eq!(&point.labels, &format!("host={host},type=t"));
        }
    }

    /// What prost writes is read as what it was: points of gauges and samples of remote write.
    #[test]
    fn protocol_buffers_round_trip(
        points in prop::collection::vec((any::<f64>(), 1_u64..9_000_000_000_000, "[a-zä]{1,6}"), 0..20),
    ) {
        let gauge = points.iter().map(|(value, millis, label)| wire::NumberPoint {
            attributes: texts(&[("l", label)]), nanos: millis * 1_000_000, as_double: Some(*value), ..Default::default()
        });
        let metric = wire::Metric {
            name: "m".into(),
            gauge: Some(wire::Numbers { points: gauge.collect(), temporality: 0 }),
            ..Default::default()
        };
        let otlp = decode_bytes(Format::Otlp, &metrics(&[], vec![metric]));
        let series = points.iter().map(|(value, millis, label)| wire::TimeSeries {
            labels: labels(&[("__name__", "m"), ("l", label)]),
            samples: vec![wire::Measured { value: *value, millis: *millis as i64 }],
            histograms: vec![],
        });
        let written = decode_bytes(Format::PrometheusRemoteWrite, &remote(series.collect()));
        prop_assert_eq!(&otlp, &written);
        let seen: Vec<_> = otlp.points.iter().map(|p| (p.fields[0].1, p.millis, p.labels.clone())).collect();
        let expected: Vec<_> = points.iter().filter(|p| p.0.is_finite()).map(|(v, m, l)| (*v, *m, format!("l={l}"))).collect();
        prop_assert_eq!(seen, expected);
    }

    /// No bytes make any of them panic, also when a good message is damaged.
    #[test]
    fn damaged_bytes(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let record = wire::LogRecord { nanos: NANOS, severity: 9, body: Some(wire::AnyValue { value: Some(Any::Int(5)) }), ..Default::default() };
        let point = wire::NumberPoint { attributes: texts(&[("a", "b")]), nanos: NANOS, as_int: Some(5), ..Default::default() };
        let metric = wire::Metric { name: "m".into(), sum: Some(wire::Numbers { points: vec![point], temporality: 1 }), ..Default::default() };
        let series = wire::TimeSeries { labels: labels(&[("__name__", "x")]), samples: vec![wire::Measured { value: 1.0, millis: 5 }], histograms: vec![] };
        for mut bytes in [logs(&[("host.name", "h")], vec![record]), metrics(&[("host.name", "h")], vec![metric]), remote(vec![series])] {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(bytes.len()) + 1);
            for format in [Format::Otlp, Format::PrometheusRemoteWrite, Format::CollectdJson, Format::Auto] {
                decode_bytes(format, &bytes);
            }
        }
    }
}
