//! The codec of format `telegraf_json`, compared with a slow reading of the same text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tidewatch_fuzz::codec::Format;

/// The numbers of all metrics of `value`, by the names of fields; of a repeated name the last value.
fn numbers(value: &Value, in_batch: bool, all: &mut Vec<Vec<(String, u64)>>) {
    if let (false, Some(metrics)) = (in_batch, value.get("metrics").and_then(Value::as_array)) {
        metrics.iter().for_each(|metric| numbers(metric, true, all));
        return;
    }
    let fields = value.get("fields").and_then(Value::as_object);
    let mut row: Vec<(String, u64)> = fields
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| {
            let number = value.as_f64().or_else(|| value.as_bool().map(|b| f64::from(u8::from(b))));
            Some((name.clone(), number?.to_bits()))
        })
        .collect();
    row.sort();
    if !row.is_empty() {
        all.push(row);
    }
}

/// Whether the text says some name of an object twice, where the slow reading forgets the first.
fn repeats(text: &str) -> bool {
    let mut strings: Vec<&str> = text.split('"').collect();
    strings.sort_unstable();
    text.contains('\\') || strings.windows(2).any(|pair| pair[0] == pair[1] && pair[0].len() > 1)
}

fuzz_target!(|value: &[u8]| {
    let (out, series) = tidewatch_fuzz::check(Format::TelegrafJson, value);
    if !out.rejected.is_empty() {
        return;
    }
    let text = std::str::from_utf8(value).expect("accepted, so it is UTF-8");
    let objects: Vec<Value> = serde_json::Deserializer::from_str(text)
        .into_iter()
        .collect::<Result<_, _>>()
        .expect("accepted, so it is JSON");
    if repeats(text) {
        return;
    }
    let mut expected = Vec::new();
    objects.iter().for_each(|object| numbers(object, false, &mut expected));
    let found: Vec<Vec<(String, u64)>> = out.points[..out.points.len() / 2]
        .iter()
        .map(|point| {
            let mut row: Vec<_> = out
                .values_of(point)
                .iter()
                .map(|(id, v)| (series.field(*id).unwrap().to_owned(), v.to_bits()))
                .collect();
            row.sort();
            row
        })
        .collect();
    assert_eq!(found, expected);
});
