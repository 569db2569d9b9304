//! The reference of the pipeline file, `docs/configuration.md`: every field is in it and nothing else is,
//! and every example in it is valid.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use serde::de::value::Error as Stop;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use tidewatch::config::file::{
    AnomalySection, CheckpointSection, DeadLettersSection, ErrorBurstSection, HttpSection,
    InventorySection, LimitsSection, RuleCommon, SinksSection, SourceSection, StatisticSection,
    SustainedSection, TimeSection,
};
use tidewatch::config::{EntrySection, parse, parse_inventory};
use tidewatch_connectors::kafka::KafkaConfig;
use tidewatch_connectors::sinks::ReceiverConfig;

const REFERENCE: &str = include_str!("../../docs/configuration.md");

/// The headings that stand for a section, and the fields that belong there.
fn sections() -> BTreeMap<&'static str, BTreeSet<String>> {
    let sinks = |name: &str| {
        let prefix = format!("{name}.");
        let all = fields::<SinksSection>();
        all.iter().filter_map(|field| field.strip_prefix(&prefix)).map(str::to_owned).collect()
    };
    BTreeMap::from([
        ("## `[kafka]`", fields::<KafkaConfig>()),
        ("## `[[sources]]`", fields::<SourceSection>()),
        ("## `[time]`", fields::<TimeSection>()),
        ("## `[[statistics]]`", fields::<StatisticSection>()),
        ("## `[[rules]]`", fields::<RuleCommon>()),
        ("### `kind = \"sustained\"`", fields::<SustainedSection>()),
        ("### `kind = \"error_burst\"`", fields::<ErrorBurstSection>()),
        ("### `kind = \"anomaly\"`", fields::<AnomalySection>()),
        ("## `[receivers.NAME]`", fields::<ReceiverConfig>()),
        ("## `[sinks.influxdb]`", sinks("influxdb")),
        ("## `[sinks.influxdb1]`", sinks("influxdb1")),
        ("## `[sinks.prometheus]`", sinks("prometheus")),
        ("## `[sinks.elasticsearch]`", sinks("elasticsearch")),
        ("## `[sinks.sqlite]`", sinks("sqlite")),
        ("## `[dead_letters]`", fields::<DeadLettersSection>()),
        ("## `[inventory]`", fields::<InventorySection>()),
        ("### The inventory file", fields::<EntrySection>()),
        ("## `[checkpoint]`", fields::<CheckpointSection>()),
        ("## `[http]`", fields::<HttpSection>()),
        ("## `[limits]`", fields::<LimitsSection>()),
    ])
}

#[test]
fn every_field_is_documented_and_every_documented_field_exists() {
    let documented = documented();
    for (heading, fields) in sections() {
        let rows = documented.get(heading).unwrap_or_else(|| panic!("no heading `{heading}`"));
        assert!(!fields.is_empty(), "{heading}");
        let missing: Vec<_> = fields.difference(rows).collect();
        let stale: Vec<_> = rows.difference(&fields).collect();
        assert!(missing.is_empty(), "{heading}: not documented: {missing:?}");
        assert!(stale.is_empty(), "{heading}: documented, but no fields: {stale:?}");
    }
}

#[test]
fn every_section_of_the_file_has_a_heading() {
    let headings = sections();
    let error = parse("nonsense = 1", "x.toml").unwrap_err().to_string();
    let known = error.split("what may stand here: ").nth(1).and_then(|rest| rest.lines().next());
    let names: Vec<&str> = known.unwrap().split('`').skip(1).step_by(2).collect();
    assert!(names.len() >= 12, "{names:?}");
    for name in names {
        let stands = |heading: &&str| {
            let inside = heading.trim_start_matches(['#', ' ', '`', '[']);
            inside.strip_prefix(name).is_some_and(|rest| rest.starts_with([']', '.']))
        };
        assert!(headings.keys().any(stands), "no heading for `{name}`");
    }
}

/// The first cells of the tables below each heading.
fn documented() -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut heading = "";
    for line in REFERENCE.lines() {
        if line.starts_with('#') {
            heading = line;
        }
        if let Some(row) = line.strip_prefix("| `") {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
            assert_eq!(cells.len(), 4, "{heading}: {line}");
            assert!(cells.iter().all(|cell| !cell.trim().is_empty()), "{heading}: {line}");
            let field = row.split('`').next().unwrap().to_owned();
            assert!(found.entry(heading).or_default().insert(field), "{heading}: twice: {line}");
        }
    }
    found
}

/// Every example is valid by itself, once the sections that a file cannot do without are added.
#[test]
fn every_example_is_valid() {
    let mut examples = 0;
    for block in REFERENCE.split("```toml\n").skip(1) {
        let example = block.split("```").next().unwrap();
        examples += 1;
        if example.contains("[[entry]]") {
            let (inventory, warnings) = parse_inventory(example, "inventory.toml").unwrap();
            assert!(!inventory.entries.is_empty() && warnings.is_empty());
            continue;
        }
        let mut text = example.to_owned();
        for (section, needed) in [
            ("[kafka]", "[kafka]\nbrokers = [\"localhost:9092\"]"),
            ("[[sources]]", "[[sources]]\ntopic = \"all\"\nreplication = 1"),
            ("[receivers.oncall]", "[receivers.oncall]\nconsole = true"),
        ] {
            if !example.contains(section) {
                text.push_str(&format!("\n{needed}\n"));
            }
        }
        if let Err(errors) = parse(&text, "example.toml") {
            panic!("{text}\n{errors}");
        }
    }
    assert!(examples >= 15, "only {examples} examples");
}

/// The default in the text of a field is the one that is used.
#[test]
fn documented_defaults_are_the_real_ones() {
    let least = "[kafka]\nbrokers = [\"localhost:9092\"]\n[[sources]]\ntopic = \"all\"\n";
    let defaults = [
        ("[kafka]", "prefetch"),
        ("[[sources]]", "format"),
        ("[[sources]]", "partitions"),
        ("[[sources]]", "replication"),
        ("[[sources]]", "retention"),
        ("[time]", "out_of_orderness"),
        ("[time]", "allowed_lateness"),
        ("[time]", "idle_timeout"),
        ("[time]", "future_tolerance"),
        ("[time]", "start"),
        ("[time]", "on_retention"),
        ("[time]", "on_recreated"),
        ("[time]", "stale_after"),
        ("[time]", "max_lead"),
        ("[checkpoint]", "enabled"),
        ("[checkpoint]", "store"),
        ("[checkpoint]", "pipeline"),
        ("[checkpoint]", "interval"),
        ("[checkpoint]", "keep"),
        ("[checkpoint]", "on_change"),
        ("[http]", "listen"),
        ("[limits]", "series"),
    ];
    let plain = |text: &str| {
        let config = parse(text, "x.toml").unwrap_or_else(|errors| panic!("{text}\n{errors}"));
        format!("{:?}", tidewatch::config::PipelineConfig { warnings: Vec::new(), ..config })
    };
    for (section, field) in defaults {
        let value = default_of(&format!("## `{section}`"), field);
        // Written out, the documented default changes nothing.
        let written = match least.contains(section) {
            true => least.replace(section, &format!("{section}\n{field} = {value}")),
            false => format!("{least}{section}\n{field} = {value}\n"),
        };
        assert_eq!(plain(&written), plain(least), "{section} {field} = {value}");
    }
}

/// What the third cell of the row of `field` below `heading` says.
fn default_of(heading: &str, field: &str) -> String {
    let section = REFERENCE.split(&format!("{heading}\n")).nth(1).unwrap();
    let section = section.split("\n#").next().unwrap();
    let row = section.lines().find(|line| line.starts_with(&format!("| `{field}` |"))).unwrap();
    row.split(" | ").nth(2).unwrap().trim_matches('`').to_owned()
}

// ------------------------------------------------------------------ asking types for their fields

/// Every field that `T` is read from, as a path: `windows[].size`, `email.relay`.
fn fields<T: DeserializeOwned>() -> BTreeSet<String> {
    let mut leaves = BTreeSet::new();
    let mut open = vec![Vec::new()];
    while let Some(path) = open.pop() {
        let found = Cell::new(Found::Leaf);
        let _refused = T::deserialize(Asking { path: &path, found: &found });
        let below = |step: &str| path.iter().cloned().chain([step.to_owned()]).collect();
        match found.take() {
            Found::Struct(fields) => open.extend(fields.iter().map(|field| below(field))),
            Found::List => {
                // The list itself is a field, and so is what its elements consist of.
                leaves.insert(shown(&path));
                open.push(below("[]"));
            }
            Found::Leaf => {
                leaves.insert(shown(&path));
            }
        }
    }
    // An element that is no table is no field of its own.
    leaves.into_iter().filter(|leaf| !leaf.ends_with("[]")).collect()
}

fn shown(path: &[String]) -> String {
    path.join(".").replace(".[]", "[]")
}

#[derive(Default)]
enum Found {
    Struct(&'static [&'static str]),
    List,
    #[default]
    Leaf,
}

/// Follows `path` through a type, says what is at its end, and refuses to give a value.
struct Asking<'a> {
    path: &'a [String],
    found: &'a Cell<Found>,
}

impl<'a> Asking<'a> {
    fn refuse<T>(&self, found: Found) -> Result<T, Stop> {
        self.found.set(found);
        Err(Stop::custom("only the fields were wanted"))
    }

    fn next(&self) -> Asking<'a> {
        Asking { path: self.path.get(1..).unwrap_or_default(), found: self.found }
    }
}

impl<'de> Deserializer<'de> for Asking<'_> {
    type Error = Stop;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        self.refuse(Found::Leaf)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        if self.path.is_empty() {
            self.refuse(Found::Struct(fields))
        } else {
            visitor.visit_map(self)
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        if self.path.is_empty() { self.refuse(Found::List) } else { visitor.visit_seq(self) }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Asking<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Stop> {
        let key: serde::de::value::StrDeserializer<'_, Stop> =
            self.path[0].as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        seed.deserialize(self.next())
    }
}

impl<'de> SeqAccess<'de> for Asking<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Stop> {
        seed.deserialize(self.next()).map(Some)
    }
}
