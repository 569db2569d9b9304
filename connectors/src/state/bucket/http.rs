//! The HTTP client that buckets are spoken to with: the one that all of tidewatch uses, so that there is one
//! TLS with one set of roots.

use std::time::Duration;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use reqwest::{Body, Client, Request, Url, redirect};
use tokio::time::timeout;

/// A connection that is not there after this long counts as failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An answer that does not begin, or stands still, for this long counts as failed.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// A body is sent at this many bytes a second at least: 1 MiB, 8 Mbit/s.
const UPLOAD_BYTES_PER_SECOND: u64 = 1 << 20;

/// Makes clients for object stores.
#[derive(Debug)]
pub(super) struct Connector(Client);

impl Connector {
    /// Clients that trust `roots` (PEM) besides the usual certificates, and go through the proxy of the
    /// environment unless the service is on this machine.
    pub(super) fn new(is_local: bool, roots: Option<&[u8]>) -> Result<Self, reqwest::Error> {
        let mut builder = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            // Lengths are those of what is stored.
            .no_gzip()
            .user_agent(concat!("tidewatch/", env!("CARGO_PKG_VERSION")));
        if is_local {
            builder = builder.no_proxy();
        }
        for root in
            roots.map(reqwest::Certificate::from_pem_bundle).transpose()?.unwrap_or_default()
        {
            builder = builder.add_root_certificate(root);
        }
        Ok(Connector(builder.build()?))
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(self.0.clone())))
    }
}

#[derive(Debug)]
struct Service(Client);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let silent = |_| HttpError::new(HttpErrorKind::Timeout, Silent);
        let (head, body) = request.into_parts();
        let sending =
            u64::try_from(body.content_length()).unwrap_or(u64::MAX) / UPLOAD_BYTES_PER_SECOND;
        let limit = SILENCE_MAX + Duration::from_secs(sending);
        let url = Url::parse(&head.uri.to_string())
            .map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let mut request = Request::new(head.method, url);
        *request.headers_mut() = head.headers;
        *request.body_mut() = Some(Body::wrap(body));
        let answer = timeout(limit, self.0.execute(request)).await.map_err(silent)?;
        let mut answer = answer.map_err(http_error)?;
        let mut content = Vec::new();
        while let Some(chunk) =
            timeout(SILENCE_MAX, answer.chunk()).await.map_err(silent)?.map_err(http_error)?
        {
            content.extend_from_slice(&chunk);
        }
        let mut response = HttpResponse::new(HttpResponseBody::new(HttpRequestBody::from(content)));
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the service is silent")]
struct Silent;

/// What is sure not to have reached the service may be sent again by the layer above; of anything else it
/// decides by the request.
fn http_error(error: reqwest::Error) -> HttpError {
    let kind = if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_timeout() {
        HttpErrorKind::Timeout
    } else {
        HttpErrorKind::Interrupted
    };
    // The address stands in the error around this one.
    HttpError::new(kind, error.without_url())
}
