//! S3, as far as its documentation says what a state store needs: one bucket, path-style addresses.
//!
//! - Every request carries a SigV4 `Authorization` header of the right key, `x-amz-date` and
//!   `x-amz-content-sha256`; else 403. (Signatures are not computed.)
//! - `PUT /bucket/key`: 200 with an `ETag`; with `If-None-Match: *`, 412 when the key is there, and nothing
//!   changes. `x-amz-meta-*` headers are kept.
//! - `GET` and `HEAD /bucket/key`: 200 with `ETag`, `Last-Modified` and the kept headers, else 404.
//! - `DELETE /bucket/key`: 204, whether it was there or not.
//! - `GET /bucket?list-type=2`: keys in the order of their bytes, by `prefix`, in pages of a few with
//!   `NextContinuationToken`.
//! - Another bucket: 404 `NoSuchBucket`. Anything else: 501.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Fake, Recorded, Reply};
use crate::Result;

/// Keys on a page of a listing: few, so that tests see many pages.
const PAGE_KEYS: usize = 7;
/// As many as S3 has.
const LARGE_PAGE_KEYS: usize = 1_000;

/// What a service is like.
#[derive(Clone, Copy, Debug)]
struct Habits {
    heeds_conditions: bool,
    page_keys: usize,
}

/// A service with one bucket.
///
/// ```
/// # use tidewatch_testkit::http::{S3Fake, client};
/// let s3 = S3Fake::start().unwrap();
/// let answer = client::get(&format!("{}/{}/key", s3.url(), S3Fake::BUCKET), &[]).unwrap();
/// assert_eq!(answer.status, 403, "it is not signed");
/// assert!(s3.keys().is_empty());
/// ```
#[derive(Debug)]
pub struct S3Fake {
    fake: Fake,
    objects: Arc<Mutex<Objects>>,
}

type Objects = BTreeMap<String, Object>;

#[derive(Debug)]
struct Object {
    content: Vec<u8>,
    kept: Vec<(String, String)>,
    etag: String,
}

impl S3Fake {
    /// The bucket that is there.
    pub const BUCKET: &'static str = "tidewatch-test";
    /// The id of the key that has access.
    pub const ACCESS_KEY: &'static str = "AKIDTIDEWATCH";
    /// The key that goes with [`ACCESS_KEY`](Self::ACCESS_KEY).
    pub const SECRET_KEY: &'static str = "s3cret-s3cret-s3cret";

    /// A service that heeds conditions.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if no port can be had.
    pub fn start() -> Result<Self> {
        Self::start_with(Habits { heeds_conditions: true, page_keys: PAGE_KEYS })
    }

    /// A service that heeds conditions, for tests of minutes: with pages as large as those of S3, and without a
    /// record of the requests.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if no port can be had.
    pub fn start_large() -> Result<Self> {
        let s3 = Self::start_with(Habits { heeds_conditions: true, page_keys: LARGE_PAGE_KEYS })?;
        s3.fake.forget();
        Ok(s3)
    }

    /// A service that takes no notice of conditions, as some do: every put overwrites.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if no port can be had.
    pub fn start_overwriting() -> Result<Self> {
        Self::start_with(Habits { heeds_conditions: false, page_keys: PAGE_KEYS })
    }

    fn start_with(habits: Habits) -> Result<Self> {
        let objects = Arc::<Mutex<Objects>>::default();
        let shared = Arc::clone(&objects);
        let fake = Fake::start_with(move |request| answer(request, &shared, habits))?;
        Ok(Self { fake, objects })
    }

    /// The address of the service.
    #[must_use]
    pub fn url(&self) -> String {
        self.fake.url("")
    }

    /// The server below, to script answers with and to see requests.
    #[must_use]
    pub const fn http(&self) -> &Fake {
        &self.fake
    }

    /// All keys, in order.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        lock(&self.objects).keys().cloned().collect()
    }

    /// The content of an object, if it is there.
    #[must_use]
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        lock(&self.objects).get(key).map(|object| object.content.clone())
    }

    /// The environment that gives access to it.
    #[must_use]
    pub fn environment() -> Vec<(String, String)> {
        let pairs =
            [("AWS_ACCESS_KEY_ID", Self::ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", Self::SECRET_KEY)];
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
    }
}

fn lock(objects: &Mutex<Objects>) -> MutexGuard<'_, Objects> {
    objects.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(request: &Recorded, objects: &Mutex<Objects>, habits: Habits) -> Reply {
    if let Some(reason) = unsigned(request) {
        return error(403, "AccessDenied", reason);
    }
    let path = decoded(request.path());
    let (bucket, key) =
        path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    if bucket != S3Fake::BUCKET {
        return error(404, "NoSuchBucket", "The specified bucket does not exist");
    }
    let mut objects = lock(objects);
    match (request.method.as_str(), key) {
        ("GET", "") => list(request, &objects, habits.page_keys),
        (_, "") => error(501, "NotImplemented", "only listings"),
        ("PUT", key) => {
            let create_only = request.header("if-none-match") == Some("*");
            if create_only && habits.heeds_conditions && objects.contains_key(key) {
                return error(
                    412,
                    "PreconditionFailed",
                    "At least one of the pre-conditions you specified did not hold",
                );
            }
            let kept = request.headers.iter().filter(|(name, _)| name.starts_with("x-amz-meta-"));
            let etag = format!("\"{:032x}\"", request.body.len());
            let object = Object {
                content: request.body.clone(),
                kept: kept.cloned().collect(),
                etag: etag.clone(),
            };
            objects.insert(key.to_owned(), object);
            Reply::status(200).header("etag", &etag)
        }
        ("GET" | "HEAD", key) => match objects.get(key) {
            Some(object) => {
                let mut reply = Reply::status(200)
                    .header("etag", &object.etag)
                    .header("last-modified", "Sun, 01 Mar 2026 00:00:00 GMT");
                for (name, value) in &object.kept {
                    reply = reply.header(name, value);
                }
                if request.method == "GET" { reply.body(object.content.clone()) } else { reply }
            }
            None if request.method == "HEAD" => Reply::status(404),
            None => error(404, "NoSuchKey", "The specified key does not exist."),
        },
        ("DELETE", key) => {
            objects.remove(key);
            Reply::status(204)
        }
        _ => error(
            501,
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
        ),
    }
}

/// What a signed request lacks.
fn unsigned(request: &Recorded) -> Option<&'static str> {
    let signed = request.header("authorization").unwrap_or_default();
    let scope = format!("AWS4-HMAC-SHA256 Credential={}/", S3Fake::ACCESS_KEY);
    if !signed.starts_with(&scope) || !signed.contains("/s3/aws4_request") {
        return Some("no signature of the key that has access");
    }
    if !signed.contains("SignedHeaders=") || !signed.contains("Signature=") {
        return Some("the signature is not whole");
    }
    let dated = request.header("x-amz-date").is_some_and(|date| date.len() == 16);
    let hashed = request.header("x-amz-content-sha256").is_some();
    (!dated || !hashed).then_some("x-amz-date or x-amz-content-sha256 is missing")
}

fn list(request: &Recorded, objects: &Objects, page_keys: usize) -> Reply {
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let parameter = |name: &str| {
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| decoded(&value.replace('+', "%20")))
    };
    if parameter("list-type").as_deref() != Some("2") {
        return error(501, "NotImplemented", "only ListObjectsV2");
    }
    let prefix = parameter("prefix").unwrap_or_default();
    // A token is the last key of the page before.
    let after = parameter("continuation-token").map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest =
        objects.range((after, Bound::Unbounded)).filter(|(key, _)| key.starts_with(&prefix));
    let page: Vec<_> = rest.by_ref().take(page_keys).collect();
    let next = rest.next().and(page.last()).map(|(key, _)| key.as_str());
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">",
    );
    xml.push_str(&format!("<IsTruncated>{}</IsTruncated>", next.is_some()));
    for (key, object) in page {
        xml.push_str(&format!(
            "<Contents><Key>{key}</Key><LastModified>2026-03-01T00:00:00.000Z</LastModified>\
             <ETag>{}</ETag><Size>{}</Size><StorageClass>STANDARD</StorageClass></Contents>",
            object.etag.replace('"', "&quot;"),
            object.content.len()
        ));
    }
    if let Some(next) = next {
        xml.push_str(&format!("<NextContinuationToken>{next}</NextContinuationToken>"));
    }
    xml.push_str("</ListBucketResult>");
    Reply::status(200).header("content-type", "application/xml").body(xml)
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    let xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    Reply::status(status).header("content-type", "application/xml").body(xml)
}

/// `%41` is `A`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = code.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
