//! Blotting out secrets that somebody wrote into a configuration file after all.
//!
//! Such a file is refused, and the refusal shows the line: without the secret.

/// A key that contains one of these words holds a secret, or a table with one.
const SECRET_WORDS: [&str; 8] =
    ["password", "token", "secret", "webhook", "routing_key", "api_key", "slack", "pagerduty"];

/// Whether a key of this name holds a secret.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// `line` with the text of every plain value under a secret's key replaced by stars, one for each
/// character, so that columns stay true.
///
/// Works on the text and not on the tree, since a line that cannot be parsed must be masked as well. A
/// string that is not closed is masked to the end of the line.
///
/// ```text
/// password = "hunter2", port = 587      becomes      password = "*******", port = 587
/// ```
pub(super) fn masked(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut key = String::new();
    // Whether the value that comes next belongs to a secret's key.
    let mut armed = false;
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        match c {
            '=' => armed = is_secret(&key),
            '{' | '[' | ',' => armed = false,
            _ if c.is_whitespace() => {}
            _ if armed => {
                let (value, after) = rest.split_at(value_end(rest));
                let plain = matches!(value.trim(), "true" | "false");
                let edge = value.len() - value.trim_start_matches(['"', '\'']).len();
                let inner = edge..value.trim_end_matches(['"', '\'']).len();
                let star = |(at, c)| if plain || !inner.contains(&at) { c } else { '*' };
                shown.extend(value.char_indices().map(star));
                armed = false;
                rest = after;
                continue;
            }
            _ => {}
        }
        match c {
            '=' | '{' | '[' | ',' => key.clear(),
            _ if c.is_whitespace() => {}
            _ => key.push(c),
        }
        shown.push(c);
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    shown
}

/// Where the plain value that `text` begins with ends: behind its closing quotes, or before the next
/// comma or bracket when it has none.
fn value_end(text: &str) -> usize {
    for quotes in ["\"\"\"", "'''"] {
        if let Some(rest) = text.strip_prefix(quotes) {
            return rest.find(quotes).map_or(text.len(), |at| at + 2 * quotes.len());
        }
    }
    let mut chars = text.char_indices();
    match chars.next() {
        Some((_, quote @ ('"' | '\''))) => {
            let mut escaped = false;
            for (at, c) in chars {
                if c == quote && !escaped {
                    return at + c.len_utf8();
                }
                escaped = quote == '"' && c == '\\' && !escaped;
            }
            text.len()
        }
        _ => text.find([',', '}', ']']).filter(|at| *at > 0).unwrap_or(text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_of_secrets_are_starred() {
        for (line, shown) in [
            (r#"password = "hunter2", port = 587"#, r#"password = "*******", port = 587"#),
            (r#"password = { env = "NAME" }"#, r#"password = { env = "NAME" }"#),
            (r#""sasl.password"='a\b' # x"#, r#""sasl.password"='***' # x"#),
            (r#"token = "not closed"#, r#"token = "**********"#),
            (r#"token = "a\"b" x"#, r#"token = "****" x"#),
            ("api_key = bare, b = 1", "api_key = ****, b = 1"),
            (r#"username = "tw", webhook="#, r#"username = "tw", webhook="#),
            (r#"slack = true"#, "slack = true"),
            ("token = two words # why", "token = ***************"),
            (r#"token = """a"b""", c = 1"#, r#"token = """***""", c = 1"#),
            (r#"token = "", c = "d""#, r#"token = "", c = "d""#),
            (r#"x = { token = "ä" }"#, r#"x = { token = "*" }"#),
        ] {
            assert_eq!(masked(line), shown);
        }
    }
}
