//! Records from what a person or a program writes.

use std::io::{BufRead, Read};

use anyhow::{Context as _, ensure};
use tidewatch_connectors::codec::{VALUE_MAX, value};

/// Calls `visit` with each line of `from` that is not empty, without its end.
///
/// # Errors
/// What cannot be read, a line of more than [`VALUE_MAX`] bytes, and the first error of `visit`.
pub(super) fn lines(
    mut from: impl BufRead,
    mut visit: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        // The end of a line has two bytes at the most.
        let most = VALUE_MAX as u64 + 2;
        let read = from.by_ref().take(most).read_until(b'\n', &mut line);
        if read.with_context(|| format!("line {number} could not be read"))? == 0 {
            break;
        }
        let end = line.strip_suffix(b"\n").unwrap_or(&line);
        let record = end.strip_suffix(b"\r").unwrap_or(end);
        ensure!(
            record.len() <= VALUE_MAX,
            "line {number} has more than {VALUE_MAX} bytes, the most that is decoded"
        );
        if !record.is_empty() {
            visit(record)?;
        }
    }
    Ok(())
}

/// All of `from`.
///
/// # Errors
/// What cannot be read, and more than [`VALUE_MAX`] bytes.
pub(super) fn whole(from: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut all = Vec::new();
    from.take(VALUE_MAX as u64 + 1).read_to_end(&mut all)?;
    ensure!(all.len() <= VALUE_MAX, "it has more than {VALUE_MAX} bytes, the most that is decoded");
    Ok(all)
}

/// Key and value of a sample, which is a word and a number: `server-1 85%`.
pub(super) fn sample(record: &[u8]) -> Option<(&[u8], &[u8])> {
    let record = record.trim_ascii();
    let at = record.iter().position(u8::is_ascii_whitespace)?;
    let (key, value) = record.split_at_checked(at)?;
    let value = value.trim_ascii();
    value::is_value(value).then_some((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(text: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut all = Vec::new();
        lines(text, |line| {
            all.push(line.to_vec());
            Ok(())
        })?;
        Ok(all)
    }

    #[test]
    fn lines_are_records_without_their_ends() {
        assert_eq!(lines_of(b"a 1%\r\n\n\r\n b\n\xffc").unwrap(), [&b"a 1%"[..], b" b", b"\xffc"]);
        assert_eq!(lines_of(b"").unwrap(), [b""; 0]);
    }

    #[test]
    fn what_would_not_be_decoded_is_not_sent() {
        let longest = vec![b'x'; VALUE_MAX];
        let text = [b"a\n", &longest[..], b"\r\nb"].concat();
        assert_eq!(lines_of(&text).unwrap().len(), 3);
        assert_eq!(whole(&*longest).unwrap(), longest);
        let text = [b"a\n", &longest[..], b"x\nb"].concat();
        let error = lines_of(&text).unwrap_err().to_string();
        assert!(error.starts_with("line 2 has more than 1048576 bytes"), "{error}");
        assert!(whole(&*text).is_err());
    }

    #[test]
    fn a_word_and_a_number_are_a_sample() {
        let key_and_value =
            |key: &'static str, value: &'static str| Some((key.as_bytes(), value.as_bytes()));
        assert_eq!(sample(b"server-1 85%"), key_and_value("server-1", "85%"));
        assert_eq!(sample(b"  web\t-1.5e3 \n"), key_and_value("web", "-1.5e3"));
        assert_eq!(sample("höst 85 %".as_bytes()), key_and_value("höst", "85 %"));
        for none in ["85%", "server-1", "ERROR at 5", "a 1e999", "a b", "", " ", "{\"a\": 1}"] {
            assert_eq!(sample(none.as_bytes()), None, "{none}");
        }
    }
}
