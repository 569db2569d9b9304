//! The codec of format `telegraf_json`, compared with a slow reading of the same text.
#![no_main]

use std::fmt;

use libfuzzer_sys::fuzz_target;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use tidewatch_fuzz::codec::Format;

/// JSON with the members of objects in their order, repetitions and all.
enum Tree {
    Number(f64),
    Array(Vec<Tree>),
    Object(Vec<(String, Tree)>),
    Other,
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Tree;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_bool<E>(self, yes: bool) -> Result<Tree, E> {
                Ok(Tree::Number(f64::from(u8::from(yes))))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Tree, E> {
                Ok(Tree::Number(number as f64))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Tree, E> {
                Ok(Tree::Number(number as f64))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Tree, E> {
                Ok(Tree::Number(number))
            }
            fn visit_str<E>(self, _: &str) -> Result<Tree, E> {
                Ok(Tree::Other)
            }
            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Other)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Tree::Array(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Tree::Object(members))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

type Row = Vec<(String, u64)>;

/// The numbers of all metrics of `tree`: of a repeated member the last, of a repeated field the last number.
fn numbers(tree: &Tree, in_batch: bool, rows: &mut Vec<Row>) {
    let Tree::Object(members) = tree else { panic!("accepted, so it is an object") };
    let last =
        |name: &str| members.iter().rfind(|(known, _)| known == name).map(|(_, value)| value);
    if let (false, Some(Tree::Array(metrics))) = (in_batch, last("metrics")) {
        metrics.iter().for_each(|metric| numbers(metric, true, rows));
        return;
    }
    let Some(Tree::Object(fields)) = last("fields") else { panic!("accepted, so it has fields") };
    let mut row = Row::new();
    for (name, value) in fields {
        let Tree::Number(number) = value else { continue };
        match row.iter_mut().find(|(known, _)| known == name) {
            Some(known) => known.1 = number.to_bits(),
            None => row.push((name.clone(), number.to_bits())),
        }
    }
    if !row.is_empty() {
        rows.push(row);
    }
}

fuzz_target!(|value: &[u8]| {
    let (out, series) = tidewatch_fuzz::check(Format::TelegrafJson, value);
    if !out.rejected.is_empty() {
        return;
    }
    let mut expected = Vec::new();
    for tree in serde_json::Deserializer::from_slice(value).into_iter::<Tree>() {
        numbers(&tree.expect("accepted, so it is JSON"), false, &mut expected);
    }
    let name = |id| series.field(id).expect("the field was interned").to_owned();
    let found: Vec<Row> = out.points[..out.points.len() / 2]
        .iter()
        .map(|point| out.values_of(point).iter().map(|(id, v)| (name(*id), v.to_bits())).collect())
        .collect();
    assert_eq!(found, expected);
});
