//! A state store in a bucket of S3, or of what speaks its protocol.
//!
//! # Create-only
//! An object is put with `If-None-Match: *`, so the service takes one of several with the same name. Each
//! writer marks what it puts with a word of its own: when an answer is lost and the repeated put is refused,
//! the mark on the object says whether it was this very writer who came first.
//!
//! Services that take no notice of the condition would break the fencing between runs, silently; so it is
//! tried once when a store is opened to write.

mod http;

use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::path::Path as ObjectPath;
use object_store::{
    Attribute, Attributes, BackoffConfig, Error as BucketFault, GetOptions, ObjectStore,
    ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
};
use tidewatch_dataflow::checkpoint::{ObjectInfo, StateStore, StoreError};
use tidewatch_dataflow::sink::BoxError;
use tokio::runtime::Handle;

use super::location::BucketLocation;
use super::name::{check, check_prefix, is_name};
use crate::delivery::chain;
use crate::http::is_loopback;
use http::Connector;

/// A request that may pass is repeated this often within [`RETRY_TIMEOUT`], after delays from 100 ms to 2 s.
const RETRIES_MAX: usize = 5;
/// A request is not repeated any more after this long.
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a put is repeated that the service has refused for the sake of another one under way, which
/// then came to nothing.
const CONFLICTS_MAX: u32 = 5;
/// How long is waited before that.
const CONFLICT_DELAY: Duration = Duration::from_millis(200);
/// The object's metadata that says who wrote it.
const WRITER: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("tidewatch-writer"));
/// The object by which the service is tried.
const PROBE: &str = "probe/create-only";

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The settings make no sense.
    #[error("could not set up `{location}`: {reason}")]
    Settings {
        /// The bucket.
        location: String,
        /// What is wrong.
        reason: String,
    },
    /// The service could not be reached, or has refused.
    #[error("`{location}`: {reason}: {remedy}")]
    Refused {
        /// The bucket.
        location: String,
        /// What it said.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// It overwrites what it must not.
    #[error(
        "`{location}` overwrites objects in spite of `If-None-Match: *`, and two runs could not be kept apart: \
         use a service that knows conditional writes, or a folder"
    )]
    Overwrites {
        /// The bucket.
        location: String,
    },
}

/// A state store in a bucket. Blocks on its runtime, so it must not be used on a thread of one.
#[derive(Debug)]
pub struct BucketStore {
    store: AmazonS3,
    location: BucketLocation,
    runtime: Handle,
}

impl BucketStore {
    /// Opens the store to write to it, with credentials and settings of the environment (`AWS_*`), after
    /// trying whether the service keeps two writers apart.
    ///
    /// The runtime has to run on threads of its own, which a `current_thread` one does not.
    ///
    /// # Errors
    /// [`BucketError`].
    pub fn open(location: &BucketLocation, runtime: &Handle) -> Result<Self, BucketError> {
        let store = BucketStore::open_existing(location, runtime)?;
        store.probe()?;
        Ok(store)
    }

    /// Opens the store to read from it. Reaches no service.
    ///
    /// # Errors
    /// [`BucketError::Settings`].
    pub fn open_existing(location: &BucketLocation, runtime: &Handle) -> Result<Self, BucketError> {
        let pairs = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        BucketStore::with_environment(location, pairs, runtime)
    }

    /// As [`open_existing`](Self::open_existing), with these variables instead of the environment's.
    ///
    /// # Errors
    /// [`BucketError::Settings`].
    pub fn with_environment(
        location: &BucketLocation,
        variables: impl IntoIterator<Item = (String, String)>,
        runtime: &Handle,
    ) -> Result<Self, BucketError> {
        let invalid = |reason: String| {
            let location = location.to_string();
            BucketError::Settings { location, reason }
        };
        let mut builder = AmazonS3Builder::new();
        let mut roots = None;
        for (key, value) in variables.into_iter().filter(|(key, _)| key.starts_with("AWS_")) {
            if key == "AWS_CA_BUNDLE" {
                let content = std::fs::read(&value).map_err(|error| {
                    invalid(format!("could not read AWS_CA_BUNDLE `{value}`: {error}"))
                })?;
                roots = Some(content);
            } else if let Ok(key) = key.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        if let Some(endpoint) = &location.endpoint {
            builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
        }
        if let Some(region) = &location.region {
            builder = builder.with_region(region);
        }
        let endpoint = builder
            .get_config_value(&AmazonS3ConfigKey::S3Endpoint)
            .or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Endpoint))
            .and_then(|endpoint| reqwest::Url::parse(&endpoint).ok());
        let is_local = endpoint.as_ref().is_some_and(is_loopback);
        let connector =
            Connector::new(is_local, roots.as_deref()).map_err(|error| invalid(chain(&error)))?;
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            ..BackoffConfig::default()
        };
        let store = builder
            .with_bucket_name(&location.bucket)
            .with_allow_http(endpoint.is_some_and(|endpoint| endpoint.scheme() == "http"))
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            // Not all services know how to delete many at once.
            .with_disable_bulk_delete(true)
            .with_retry(RetryConfig {
                backoff,
                max_retries: RETRIES_MAX,
                retry_timeout: RETRY_TIMEOUT,
            })
            .with_http_connector(connector)
            .build()
            .map_err(|error| invalid(chain(&error)))?;
        Ok(BucketStore { store, location: location.clone(), runtime: runtime.clone() })
    }

    /// Tries whether an object that is there is refused. There is one after the first time ever, so this
    /// costs a request or two.
    ///
    /// # Errors
    /// [`BucketError::Overwrites`] if it is not; [`BucketError::Refused`] when that cannot be found out.
    pub fn probe(&self) -> Result<(), BucketError> {
        let location = self.location.to_string();
        for _ in 0..2 {
            match self.runtime.block_on(self.put(PROBE, b"")) {
                Ok(()) => {}
                Err(PutFault::Exists) => return Ok(()),
                Err(PutFault::Other(fault)) => return Err(self.refused(&fault)),
            }
        }
        Err(BucketError::Overwrites { location })
    }

    fn path(&self, name: &str) -> ObjectPath {
        let parts = self.location.prefix.split('/').chain(name.split('/'));
        ObjectPath::from_iter(parts.filter(|part| !part.is_empty()))
    }

    async fn put(&self, name: &str, content: &[u8]) -> Result<(), PutFault> {
        let path = self.path(name);
        let writer = format!("{:032x}", fastrand::u128(..));
        let payload = PutPayload::from(content.to_vec());
        let attributes = Attributes::from_iter([(WRITER, writer.clone())]);
        let options = PutOptions { mode: PutMode::Create, attributes, ..PutOptions::default() };
        for attempt in 1.. {
            let put = self.store.put_opts(&path, payload.clone(), options.clone()).await;
            let Err(fault) = put else { return Ok(()) };
            match (self.writer_of(&path).await, fault) {
                (Ok(found), _) if found.as_deref() == Some(&writer) => return Ok(()),
                (Ok(_), _) => return Err(PutFault::Exists),
                // Refused, and yet not there: another put has lost its race against this one's.
                (Err(BucketFault::NotFound { .. }), BucketFault::AlreadyExists { .. })
                    if attempt < CONFLICTS_MAX =>
                {
                    tokio::time::sleep(CONFLICT_DELAY).await;
                }
                (Err(_), fault) => return Err(PutFault::Other(fault)),
            }
        }
        Err(PutFault::Exists)
    }

    /// The mark of the writer of the object at `path`.
    async fn writer_of(&self, path: &ObjectPath) -> Result<Option<String>, BucketFault> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        let found = self.store.get_opts(path, options).await?;
        Ok(found.attributes.get(&WRITER).map(|writer| writer.to_string()))
    }

    fn refused(&self, fault: &BucketFault) -> BucketError {
        let remedy = match fault {
            BucketFault::NotFound { .. } => {
                "make the bucket, or correct its name, `endpoint` and `region`"
            }
            BucketFault::PermissionDenied { .. } | BucketFault::Unauthenticated { .. } => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to a key that may list, read, write and \
                 delete below the prefix"
            }
            _ => "see whether the service is up, and `endpoint` and `region` are right",
        };
        BucketError::Refused { location: self.location.to_string(), reason: chain(fault), remedy }
    }

    fn failed(&self, action: &'static str, name: &str, fault: &BucketFault) -> StoreError {
        let source: BoxError = Box::new(self.refused(fault));
        StoreError::Failed { action, name: name.to_owned(), source }
    }
}

/// Why a put came to nothing.
enum PutFault {
    Exists,
    Other(BucketFault),
}

impl StateStore for BucketStore {
    fn create(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        check("create", name)?;
        self.runtime.block_on(self.put(name, content)).map_err(|fault| match fault {
            PutFault::Exists => StoreError::Exists { name: name.to_owned() },
            PutFault::Other(fault) => self.failed("create", name, &fault),
        })
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        check("read", name)?;
        let path = self.path(name);
        let read = async { self.store.get(&path).await?.bytes().await };
        match self.runtime.block_on(read) {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(BucketFault::NotFound { .. }) => Err(StoreError::Missing { name: name.to_owned() }),
            Err(fault) => Err(self.failed("read", name, &fault)),
        }
    }

    fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let folder = self.path(check_prefix(prefix)?);
        let root = self.path("");
        let listed = self.runtime.block_on(self.store.list(Some(&folder)).try_collect::<Vec<_>>());
        let listed = listed.map_err(|fault| self.failed("list", prefix, &fault))?;
        let info = |object: object_store::ObjectMeta| {
            let parts: Vec<_> = object.location.prefix_match(&root)?.collect();
            let name = parts.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join("/");
            is_name(&name).then_some(ObjectInfo { name, size: object.size })
        };
        let mut found: Vec<ObjectInfo> = listed.into_iter().filter_map(info).collect();
        found.sort();
        Ok(found)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        check("delete", name)?;
        match self.runtime.block_on(self.store.delete(&self.path(name))) {
            Ok(()) | Err(BucketFault::NotFound { .. }) => Ok(()),
            Err(fault) => Err(self.failed("delete", name, &fault)),
        }
    }
}
