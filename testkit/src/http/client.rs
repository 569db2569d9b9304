//! A small blocking HTTP client for servers on this machine.

use std::{
    io::{BufReader, Write as _},
    net::TcpStream,
    time::Duration,
};

use super::wire::{Response, read_response};
use crate::{Error, Result};

/// How long a single read or write may take.
const IO_LIMIT: Duration = Duration::from_secs(60);

/// GET `url`, such as `http://127.0.0.1:9200/_cluster/health`.
///
/// # Errors
/// As [`request`].
pub fn get(url: &str, headers: &[(&str, &str)]) -> Result<Response> {
    request("GET", url, headers, b"")
}

/// POST `body` to `url`.
///
/// # Errors
/// As [`request`].
pub fn post(url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response> {
    request("POST", url, headers, body)
}

/// `text` as part of a query or a form.
#[must_use]
pub fn encoded(text: &str) -> String {
    let byte = |b: u8| match b {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Sends one request on a connection of its own. A status outside 2xx is an
/// answer, not an error.
///
/// # Errors
/// [`Error::Io`] if the server can't be reached or its answer is no HTTP.
pub fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Response> {
    let failed = |source| Error::Io { action: format!("{method} `{url}`"), source };
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host).map_err(failed)?;
    stream.set_read_timeout(Some(IO_LIMIT)).map_err(failed)?;
    stream.set_write_timeout(Some(IO_LIMIT)).map_err(failed)?;

    let mut message = format!("{method} /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        message.push_str(&format!("{name}: {value}\r\n"));
    }
    message.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    let message = [message.as_bytes(), body].concat();
    stream.write_all(&message).map_err(failed)?;
    read_response(&mut BufReader::new(stream)).map_err(failed)
}
