//! What a run leaves behind, in comparable form.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};

use crate::fleet::{Fleet, OUT_OF_ORDERNESS, Topic};
use crate::world::{Channels, Names, Servers};

/// Stores, dead letters and channels after a run.
#[derive(Debug, Default)]
pub struct Left {
    /// Fields, as the store prints them, of each point: measurement, labels and time.
    pub points: BTreeMap<String, BTreeMap<String, String>>,
    /// Documents by day and identity.
    pub documents: BTreeMap<String, String>,
    /// Documents of openings and ends of incidents, by day and identity.
    pub alerts: BTreeMap<String, String>,
    /// Dead letters by what they stand for, each with how often it was written.
    pub letters: BTreeMap<Letter, usize>,
    /// Messages of Slack, events of PagerDuty and mails, in the order of their arrival.
    pub told: [Vec<Told>; 3],
}

/// A dead letter, without its own place in its topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Letter {
    pub origin: String,
    pub reason: String,
    pub value: String,
}

/// A message of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The incident: what opening and end have in common.
    pub incident: String,
    pub is_opening: bool,
    /// The whole message, less what the transport adds.
    pub text: String,
    pub arrived: Instant,
}

impl Told {
    /// What a message and its repetition have in common.
    pub fn id(&self) -> (&str, bool) {
        (&self.incident, self.is_opening)
    }
}

impl Left {
    /// Reads everything that a run wrote. `arrivals` are those of its channels.
    pub fn read(
        servers: &Servers,
        names: &Names,
        channels: &Channels,
        arrivals: &[Vec<Instant>; 3],
        fleet: &Fleet,
        last_second: u64,
    ) -> Self {
        Left {
            points: points(servers, names, fleet, last_second),
            documents: documents(servers, &names.index),
            alerts: documents(servers, &names.alerts),
            letters: letters(servers, &names.letters),
            told: told(channels, arrivals),
        }
    }
}

/// All points of a bucket, hour by hour of event time.
fn points(
    servers: &Servers,
    names: &Names,
    fleet: &Fleet,
    last_second: u64,
) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut points: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let from = fleet.start / 1_000 - 3_600;
    for start in (from..=fleet.start / 1_000 + last_second + 3_600).step_by(3_600) {
        let flux = format!(
            r#"from(bucket: "{}") |> range(start: {start}, stop: {})
               |> keep(columns: ["_time", "_value", "_field", "_measurement", "host", "service", "rule", "window"])
               |> group()"#,
            names.bucket,
            start + 3_600
        );
        let csv = servers.influx.query_csv(&flux).unwrap();
        let mut lines = csv.lines().map(str::trim).filter(|line| !line.is_empty());
        let header: Vec<_> = lines.next().unwrap_or_default().split(',').collect();
        let column = |name: &str| header.iter().position(|column| *column == name);
        for line in lines {
            let row: Vec<_> = line.split(',').collect();
            let cell = |name: &str| column(name).and_then(|index| row.get(index)).unwrap_or(&"");
            let time: jiff::Timestamp = cell("_time").parse().unwrap();
            let second = time.as_millisecond() - fleet.start as i64;
            if second > (last_second - OUT_OF_ORDERNESS) as i64 * 1_000 {
                // It is there once all are silent for long enough, which nobody waits for.
                continue;
            }
            let tags = ["_measurement", "host", "service", "rule", "window"].map(cell);
            let tags: Vec<&str> = tags.into_iter().copied().filter(|tag| !tag.is_empty()).collect();
            let key = format!("{} to second {}", tags.join(" "), second as f64 / 1_000.0);
            let fields = points.entry(key).or_default();
            let twice = fields.insert((*cell("_field")).to_owned(), (*cell("_value")).to_owned());
            assert_eq!(twice, None, "one field twice in one point: {line}");
        }
    }
    points
}

/// All documents of an index and its days; none is no fault here.
fn documents(servers: &Servers, index: &str) -> BTreeMap<String, String> {
    let mut documents = BTreeMap::new();
    let ask = |method: &str, path: &str, body: &str| -> Value {
        let answer = servers.elastic.request(method, path, body).unwrap();
        serde_json::from_str(&answer.body).unwrap()
    };
    ask("POST", &format!("/{index}-*/_refresh"), "");
    let search = json!({"size": 5_000, "sort": ["_doc"], "query": {"match_all": {}}});
    let path = format!("/{index}-*/_search?scroll=1m");
    let mut page = ask("POST", &path, &search.to_string());
    loop {
        let hits = page["hits"]["hits"].as_array().cloned().unwrap_or_default();
        if hits.is_empty() {
            return documents;
        }
        for hit in hits {
            let day = hit["_index"].as_str().unwrap().trim_start_matches(index);
            let key = format!("{} on {}", hit["_id"].as_str().unwrap(), day.trim_matches('-'));
            documents.insert(key, hit["_source"].to_string());
        }
        let next = json!({"scroll": "1m", "scroll_id": page["_scroll_id"]});
        page = ask("POST", "/_search/scroll", &next.to_string());
    }
}

/// How many documents an index and its days have.
pub fn count_documents(servers: &Servers, index: &str) -> usize {
    let refreshed = servers.elastic.request("POST", &format!("/{index}-*/_refresh"), "");
    let counted = servers.elastic.request("GET", &format!("/{index}-*/_count"), "");
    let (Ok(_), Ok(counted)) = (refreshed, counted) else { return 0 };
    let body: Value = serde_json::from_str(&counted.body).unwrap_or_default();
    body["count"].as_u64().unwrap_or_default() as usize
}

/// How many hosts have the processor's short window that ends in a second.
pub fn count_last_windows(servers: &Servers, bucket: &str, fleet: &Fleet, second: u64) -> usize {
    let end = fleet.start / 1_000 + second;
    let flux = format!(
        r#"from(bucket: "{bucket}") |> range(start: {end}, stop: {})
           |> filter(fn: (r) => r._measurement == "cpu" and r._field == "count" and r.window == "10s")
           |> keep(columns: ["host", "_value"]) |> group()"#,
        end + 1
    );
    let csv = servers.influx.query_csv(&flux).unwrap_or_default();
    csv.lines().map(str::trim).filter(|line| !line.is_empty()).count().saturating_sub(1)
}

fn letters(servers: &Servers, topic: &str) -> BTreeMap<Letter, usize> {
    let mut letters = BTreeMap::new();
    let broker = servers.broker.lock().unwrap();
    for record in broker.read_all(topic).unwrap() {
        let header = |name: &str| {
            let found = record.headers.iter().find(|(key, _)| key == &format!("tidewatch.{name}"));
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let (topic, partition, offset) = (header("topic"), header("partition"), header("offset"));
        let letter = Letter {
            origin: format!("{topic}-{partition}-{offset}"),
            reason: format!("{}: {}", header("reason"), header("detail")),
            value: record.value,
        };
        *letters.entry(letter).or_default() += 1;
    }
    letters
}

/// The messages of all channels, in the order of [`Channels::counts`].
fn told(channels: &Channels, arrivals: &[Vec<Instant>; 3]) -> [Vec<Told>; 3] {
    let slack = channels.slack.messages().into_iter().map(|message| {
        let title = message["text"].as_str().unwrap_or_default();
        let incident = title.rsplit(' ').next().unwrap_or_default().to_owned();
        (incident, !title.contains("[RESOLVED]"), message.to_string())
    });
    let pagerduty = channels.pagerduty.events().into_iter().map(|event| {
        let incident = event["dedup_key"].as_str().unwrap_or_default().to_owned();
        (incident, event["event_action"] == "trigger", event.to_string())
    });
    let mail = channels.mail.received().into_iter().map(|mail| {
        // `<incident-sequence@domain>`
        let id = mail.header("message-id").unwrap_or_default().trim_start_matches('<');
        let id = id.split('@').next().unwrap_or_default();
        let incident = id.rsplit_once('-').unwrap_or_default().0.to_owned();
        let text = mail.text.clone().unwrap_or_default();
        (incident, !mail.subject().contains("[RESOLVED]"), format!("{id} {text}"))
    });
    let all: [Vec<_>; 3] = [slack.collect(), pagerduty.collect(), mail.collect()];
    let mut arrivals = arrivals.iter();
    all.map(|messages| {
        let arrivals = arrivals.next().unwrap();
        let told = messages.into_iter().zip(arrivals).map(|((incident, is_opening, text), at)| {
            Told { incident, is_opening, text, arrived: *at }
        });
        told.collect()
    })
}

/// The names of the channels, in their order.
pub const CHANNELS: [&str; 3] = ["Slack", "PagerDuty", "mail"];

/// What identifies a record, as dead letters and documents write it.
pub fn origin(topic: Topic, partition: i32, offset: u64) -> String {
    format!("{}-{partition}-{offset}", topic.name())
}
