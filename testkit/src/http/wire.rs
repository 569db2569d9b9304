//! Reading HTTP/1.1 messages from a stream.

use std::{
    fmt,
    io::{self, BufRead, Read},
};

use flate2::read::MultiGzDecoder;

/// The greatest head of a message: 64 headers of 1 KiB.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most headers of a message.
const HEADERS_MAX: usize = 64;
/// The greatest body: twice what any sink sends in one request (tests use
/// batches of at most 16 MiB).
const BODY_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Header fields in their order; names in lower case.
pub(super) type Headers = Vec<(String, String)>;

/// The first value of a header field, by its name in lower case.
pub(super) fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// A request that a fake has received.
#[derive(Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The method, such as `POST`.
    pub method: String,
    /// The path with the query, such as `/v2/enqueue?x=1`.
    pub target: String,
    /// Header fields in their order; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as it came, before content decoding.
    pub body: Vec<u8>,
}

impl Recorded {
    /// The first value of a header field; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The path without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The body as text, gunzipped if it says that it is gzip.
    ///
    /// # Errors
    /// If it is not valid gzip, or not UTF-8.
    pub fn text(&self) -> io::Result<String> {
        let mut text = String::new();
        if self.header("content-encoding") == Some("gzip") {
            MultiGzDecoder::new(self.body.as_slice())
                .take(BODY_BYTES_MAX)
                .read_to_string(&mut text)?;
        } else {
            self.body.as_slice().read_to_string(&mut text)?;
        }
        Ok(text)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// If it is not text, or not JSON.
    pub fn json(&self) -> io::Result<serde_json::Value> {
        Ok(serde_json::from_str(&self.text()?)?)
    }
}

impl fmt::Debug for Recorded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = self.text().unwrap_or_else(|_| format!("{} bytes", self.body.len()));
        formatter
            .debug_struct("Recorded")
            .field("method", &self.method)
            .field("target", &self.target)
            .field("headers", &self.headers)
            .field("body", &body)
            .finish()
    }
}

/// An answer to the small client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status, such as 204.
    pub status: u16,
    /// Header fields in their order; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; bytes that are not UTF-8 are replaced.
    pub body: String,
}

impl Response {
    /// The first value of a header field; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// Whether the status is 2xx.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.status / 100 == 2
    }
}

/// The next request of a connection; `None` when the peer has closed it.
pub(super) fn read_request(stream: &mut impl BufRead) -> io::Result<Option<Recorded>> {
    let head = read_head(stream)?;
    if head.is_empty() {
        return Ok(None);
    }
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(&head).map_err(io::Error::other)?;
    let headers = owned(request.headers);
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let (method, target) = (method.to_owned(), target.to_owned());
    // A request without a length has no body; only an answer may end by closing.
    let body = if has_length(&headers) { read_body(stream, &headers)? } else { Vec::new() };
    Ok(Some(Recorded { method, target, headers, body }))
}

/// The answer on a connection.
pub(super) fn read_response(stream: &mut impl BufRead) -> io::Result<Response> {
    let head = read_head(stream)?;
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    response.parse(&head).map_err(io::Error::other)?;
    let headers = owned(response.headers);
    let status = response.code.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    let body = if status == 204 { Vec::new() } else { read_body(stream, &headers)? };
    Ok(Response { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

fn owned(fields: &[httparse::Header<'_>]) -> Headers {
    let field = |field: &httparse::Header<'_>| {
        let value = String::from_utf8_lossy(field.value).into_owned();
        (field.name.to_ascii_lowercase(), value)
    };
    fields.iter().map(field).collect()
}

/// Everything up to and with the empty line; empty at the end of the stream.
fn read_head(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    loop {
        let left = (HEAD_BYTES_MAX - head.len()) as u64;
        let read = stream.take(left).read_until(b'\n', &mut head)?;
        if read == 0 {
            let torn = !head.is_empty();
            return if torn { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(head) };
        }
        if head.ends_with(b"\r\n\r\n") {
            return Ok(head);
        }
    }
}

fn has_length(headers: &Headers) -> bool {
    header(headers, "content-length").is_some() || header(headers, "transfer-encoding").is_some()
}

fn read_body(stream: &mut impl BufRead, headers: &Headers) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if header(headers, "transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        while read_chunk(stream, &mut body)? {}
        return Ok(body);
    }
    match header(headers, "content-length").map(str::parse) {
        Some(Ok(length)) if length <= BODY_BYTES_MAX => {
            stream.take(length).read_to_end(&mut body)?;
            let whole = body.len() as u64 == length;
            if whole { Ok(body) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        }
        Some(_) => Err(io::Error::other("content-length is no number, or too great")),
        None => {
            stream.take(BODY_BYTES_MAX).read_to_end(&mut body)?;
            Ok(body)
        }
    }
}

/// Appends one chunk; whether another one follows.
fn read_chunk(stream: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<bool> {
    let mut line = String::new();
    stream.take(1024).read_line(&mut line)?;
    let digits = line.trim_end().split(';').next().unwrap_or_default();
    let length = u64::from_str_radix(digits, 16).map_err(io::Error::other)?;
    if body.len() as u64 + length > BODY_BYTES_MAX {
        return Err(io::Error::other("the body is too great"));
    }
    let read = stream.take(length).read_to_end(body)? as u64;
    // The line end after the data, or the empty line after the last chunk.
    // Trailer fields, which nobody here sends, are not read.
    let ended = stream.take(2).read_to_end(&mut Vec::new())?;
    if read < length || ended < 2 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(length > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_follow_each_other_on_one_connection() {
        let mut stream: &[u8] = b"POST /a?b=c HTTP/1.1\r\nContent-Length: 2\r\nX-Y: z\r\n\r\nhi\
            GET /next HTTP/1.1\r\n\r\n";
        let first = read_request(&mut stream).unwrap().unwrap();
        assert_eq!((first.path(), first.text().unwrap().as_str()), ("/a", "hi"));
        assert_eq!(first.header("x-y"), Some("z"));
        assert_eq!(read_request(&mut stream).unwrap().unwrap().method, "GET");
        assert_eq!(read_request(&mut stream).unwrap(), None);
    }

    #[test]
    fn chunks_are_joined() {
        let mut stream: &[u8] =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n";
        let response = read_response(&mut stream).unwrap();
        assert_eq!((response.status, response.body.as_str()), (200, "abcde"));
    }

    #[test]
    fn torn_messages_are_errors() {
        for torn in [
            "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhi",
            "POST / HTTP/1.1\r\nContent-Le",
            "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        ] {
            assert!(read_request(&mut torn.as_bytes()).is_err(), "{torn}");
        }
    }
}
