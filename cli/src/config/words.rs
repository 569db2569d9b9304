//! Saying what is wrong in a user's words: near names, and serde's messages put plainly.

/// What people write, from other tools or by habit, and what it is called here.
const SYNONYMS: [(&str, &str); 39] = [
    ("average", "mean"),
    ("avg", "mean"),
    ("backend", "store"),
    ("bootstrap.servers", "brokers"),
    ("bootstrap_servers", "brokers"),
    ("clear", "clear_below"),
    ("cooldown", "clear_for"),
    ("duration", "for"),
    ("every", "slide"),
    ("filter", "where"),
    ("filters", "where"),
    ("functions", "aggregates"),
    ("group", "group_by"),
    ("hop", "slide"),
    ("host", "relay"),
    ("hysteresis", "clear_below"),
    ("keep_firing_for", "clear_for"),
    ("labels", "where"),
    ("lateness", "allowed_lateness"),
    ("metric", "measurement"),
    ("metrics", "aggregates"),
    ("notify", "receivers"),
    ("pending_for", "for"),
    ("period", "size"),
    ("path", "store"),
    ("receiver", "receivers"),
    ("recipients", "to"),
    ("retention_ms", "retention"),
    ("rule", "rules"),
    ("server", "relay"),
    ("servers", "brokers"),
    ("sink", "sinks"),
    ("smtp", "relay"),
    ("source", "sources"),
    ("state", "checkpoint"),
    ("std", "stddev"),
    ("storage", "checkpoint"),
    ("threshold", "above"),
    ("topics", "sources"),
];

/// Lines to copy for keys that cannot be left out.
const EXAMPLES: [(&str, &str); 27] = [
    ("above", "above = 90.0"),
    ("aggregates", r#"aggregates = ["count", "mean", "max"]"#),
    ("brokers", r#"brokers = ["kafka-1:9092", "kafka-2:9092"]"#),
    ("bucket", r#"bucket = "metrics""#),
    ("field", r#"field = "usage_active""#),
    ("file", r#"file = "inventory.toml""#),
    ("for", r#"for = "5m""#),
    ("from", r#"from = "tidewatch@example.org""#),
    ("group_by", r#"group_by = ["host"], or [] for one group of everything"#),
    ("index", r#"index = "tidewatch-logs""#),
    ("kind", r#"kind = "sustained", or "error_burst", or "anomaly""#),
    ("labels", r#"labels = { owner = "web-team", tier = "1" }"#),
    ("match", r#"match = { host = "web-1" }"#),
    ("measurement", r#"measurement = "cpu""#),
    ("min_deviation", "min_deviation = 10.0, in the unit of the field"),
    ("name", r#"name = "cpu""#),
    ("org", r#"org = "tidewatch""#),
    ("password", r#"password = { env = "NAME" } or { file = "/path" }"#),
    ("relay", r#"relay = "smtp.example.org""#),
    ("routing_key", r#"routing_key = { env = "PAGERDUTY_KEY" }"#),
    ("size", r#"size = "10s""#),
    ("to", r#"to = ["sre@example.org"]"#),
    ("token", r#"token = { env = "INFLUX_TOKEN" }"#),
    ("topic", r#"topic = "cpu-usage""#),
    ("url", r#"url = "http://127.0.0.1:8086""#),
    ("webhook", r#"webhook = { env = "SLACK_WEBHOOK" }"#),
    ("windows", r#"windows = [{ size = "10s" }, { size = "5m", slide = "10s" }]"#),
];

/// The word among `known` that was probably meant by `word`.
///
/// A near one by the number of single-letter changes (a swap of neighbours counts as one), at most
/// one for every three letters; or the name of the same thing in another tool.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let lower = word.to_lowercase().replace('-', "_");
    let near = known
        .iter()
        .map(|k| (distance(&lower, &k.to_lowercase()), *k))
        .filter(|(d, k)| *d <= (word.chars().count().max(k.chars().count()) / 3).max(1))
        // A word of one or two letters is near to everything.
        .filter(|(d, k)| *d == 0 || word.chars().count().min(k.chars().count()) > 2)
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k);
    let synonym = || {
        SYNONYMS
            .iter()
            .filter(|(theirs, _)| *theirs == lower)
            .find_map(|(_, ours)| known.iter().find(|k| *k == ours).copied())
    };
    near.or_else(synonym)
}

/// `did you mean …?`, or the list of what there is.
pub(super) fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    if let Some(near) = nearest(word, known) {
        return Some(format!("did you mean `{near}`?"));
    }
    let list = list(known);
    (!known.is_empty()).then(|| format!("what may stand here: {list}"))
}

/// `` `a`, `b` and `c` ``
pub(super) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// A line to copy for a missing `key`.
pub(super) fn example(key: &str) -> Option<&'static str> {
    EXAMPLES.iter().find(|(name, _)| *name == key).map(|(_, line)| *line)
}

/// Optimal string alignment distance. `O(a * b)` time; words longer than 64 letters are as far as can be.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().max(b.len()) > 64 {
        return usize::MAX;
    }
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for (i, ca) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let at = |back: usize, col: usize| {
                let above = rows.len().checked_sub(back).and_then(|r| rows.get(r));
                above.and_then(|r| r.get(col)).copied().unwrap_or(usize::MAX - 1)
            };
            let replaced = at(1, j) + usize::from(ca != cb);
            let inserted = row.last().copied().unwrap_or(0) + 1;
            let mut best = replaced.min(inserted).min(at(1, j + 1) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(cb) && b.get(j - 1) == Some(ca);
            if swapped {
                best = best.min(at(2, j - 1) + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, d) in [
            ("", "", 0),
            ("for", "for", 0),
            ("abvoe", "above", 1),
            ("ab", "", 2),
            ("clear", "claer_", 2),
        ] {
            assert_eq!((distance(a, b), distance(b, a)), (d, d), "{a} {b}");
        }
    }

    #[test]
    fn near_names_and_habits_are_found_and_far_ones_are_not() {
        let known = ["above", "below", "for", "group_by", "mean"];
        assert_eq!(nearest("abvoe", &known), Some("above"));
        assert_eq!(nearest("group-by", &known), Some("group_by"));
        assert_eq!(nearest("Above", &known), Some("above"));
        assert_eq!(nearest("threshold", &known), Some("above"));
        assert_eq!(nearest("avg", &known), Some("mean"));
        assert_eq!(nearest("partition", &known), None);
        assert_eq!(nearest("x", &known), None);
    }

    #[test]
    fn lists_read_well() {
        assert_eq!(list(&[]), "");
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
