//! Where a state store is, as people write it: a folder, or the URL of a bucket.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a text names no state store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// There is no text.
    #[error(
        "the store is empty: write a folder such as `tidewatch-state`, or `s3://bucket/prefix`"
    )]
    Empty,
    /// It is the URL of something that state cannot be kept in.
    #[error(
        "`{url}` is no state store that is known: write a folder such as `tidewatch-state`, or \
         `s3://bucket/prefix` for S3 and what speaks its protocol"
    )]
    Unknown {
        /// The URL.
        url: String,
    },
    /// A part of the bucket's URL cannot be used.
    #[error("{part} `{text}` cannot be used: {remedy}")]
    Unusable {
        /// Which part: `the bucket`, `the prefix`, `the endpoint`.
        part: &'static str,
        /// What it says.
        text: String,
        /// What to write.
        remedy: &'static str,
    },
}

/// A bucket of S3 or of what speaks its protocol, and where in it the state is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketLocation {
    /// Name of the bucket.
    pub bucket: String,
    /// What the names of all objects begin with, without `/` at either end; may be empty.
    pub prefix: String,
    /// Address of the service. `None`: that of the environment (`AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`),
    /// else Amazon's for the region.
    pub endpoint: Option<String>,
    /// The region. `None`: that of the environment (`AWS_REGION`, `AWS_DEFAULT_REGION`), else `us-east-1`.
    pub region: Option<String>,
}

/// Where a state store is.
///
/// ```
/// use std::path::Path;
/// use tidewatch_connectors::state::Location;
/// let folder = Location::parse("tidewatch-state", Path::new("/etc/tidewatch")).unwrap();
/// assert_eq!(folder.to_string(), "/etc/tidewatch/tidewatch-state");
/// let Location::Bucket(bucket) = Location::parse("s3://ops/tidewatch/eu/", Path::new("")).unwrap() else {
///     panic!("no bucket")
/// };
/// assert_eq!((bucket.bucket.as_str(), bucket.prefix.as_str()), ("ops", "tidewatch/eu"));
/// assert!(Location::parse("ftp://ops/tidewatch", Path::new("")).is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder of this machine, or of a file system that all machines of the cluster have mounted.
    Directory(PathBuf),
    /// A bucket.
    Bucket(BucketLocation),
}

impl Location {
    /// The location that `text` names; a relative path starts at `base`.
    ///
    /// # Errors
    /// [`LocationError`], whose text is the fault and, behind a colon, the remedy.
    pub fn parse(text: &str, base: &Path) -> Result<Location, LocationError> {
        if text.trim().is_empty() {
            return Err(LocationError::Empty);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Location::Directory(base.join(text)));
        };
        if scheme != "s3" {
            return Err(LocationError::Unknown { url: text.to_owned() });
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_end_matches('/');
        if !is_bucket(bucket) {
            return Err(LocationError::Unusable {
                part: "the bucket",
                text: bucket.to_owned(),
                remedy: "names of buckets are 3 to 63 lower-case letters, digits, `.` and `-`, and begin and \
                         end with a letter or digit",
            });
        }
        if !prefix.is_empty() && !prefix.split('/').all(is_part) {
            return Err(LocationError::Unusable {
                part: "the prefix",
                text: prefix.to_owned(),
                remedy: "use letters, digits, `.`, `-` and `_`, in parts separated by single `/`",
            });
        }
        Ok(Location::Bucket(BucketLocation {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: None,
            region: None,
        }))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Directory(path) => path.display().fmt(f),
            Location::Bucket(bucket) => bucket.fmt(f),
        }
    }
}

impl fmt::Display for BucketLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        match &self.endpoint {
            Some(endpoint) => write!(f, " at {endpoint}"),
            None => Ok(()),
        }
    }
}

impl BucketLocation {
    /// Checks what was set besides the URL.
    ///
    /// # Errors
    /// [`LocationError::Unusable`] when the endpoint is no HTTP address.
    pub fn validate(&self) -> Result<(), LocationError> {
        let Some(endpoint) = &self.endpoint else { return Ok(()) };
        match reqwest::Url::parse(endpoint) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(()),
            _ => Err(LocationError::Unusable {
                part: "the endpoint",
                text: endpoint.clone(),
                remedy: "write an address that begins with https:// or http://",
            }),
        }
    }
}

fn is_bucket(name: &str) -> bool {
    let ends = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let inside = |b: u8| ends(b) || matches!(b, b'.' | b'-');
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && bytes.iter().all(|b| inside(*b))
        && bytes.first().is_some_and(|b| ends(*b))
        && bytes.last().is_some_and(|b| ends(*b))
        && !name.contains("..")
}

fn is_part(part: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !part.is_empty() && !matches!(part, "." | "..") && part.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_name_no_store_are_refused_with_a_remedy() {
        for (text, told) in [
            ("", "the store is empty: "),
            ("  ", "the store is empty: "),
            ("gs://bucket/x", "`gs://bucket/x` is no state store"),
            ("S3://bucket/x", "`S3://bucket/x` is no state store"),
            ("s3://", "the bucket `` cannot be used: "),
            ("s3://ab", "the bucket `ab`"),
            ("s3://Bucket/x", "the bucket `Bucket`"),
            ("s3://a..b/x", "the bucket `a..b`"),
            ("s3://bucket-/x", "the bucket `bucket-`"),
            ("s3://user:key@bucket/x", "the bucket `user:key@bucket`"),
            ("s3://bucket//x", "the prefix `/x`"),
            ("s3://bucket/../x", "the prefix `../x`"),
            ("s3://bucket/a b", "the prefix `a b`"),
        ] {
            let error = Location::parse(text, Path::new("/base")).unwrap_err().to_string();
            assert!(error.starts_with(told) && error.contains(": "), "{text}: {error}");
        }
    }

    #[test]
    fn locations_show_as_they_are_written() {
        for text in ["/var/lib/tidewatch", "s3://bucket", "s3://bucket/a/b_c.d"] {
            assert_eq!(Location::parse(text, Path::new("/base")).unwrap().to_string(), text);
        }
        let Location::Bucket(mut bucket) = Location::parse("s3://bucket/a", Path::new("")).unwrap()
        else {
            unreachable!()
        };
        for (endpoint, is_right) in [
            ("http://127.0.0.1:9000", true),
            ("https://minio.example.org/", true),
            ("minio:9000", false),
            ("", false),
            ("ftp://minio", false),
        ] {
            bucket.endpoint = Some(endpoint.to_owned());
            assert_eq!(bucket.validate().is_ok(), is_right, "{endpoint}");
        }
    }
}
