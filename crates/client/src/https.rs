//! [`HttpsApi`]: the API over HTTPS, at any of several servers.
//!
//! A server that cannot be reached is left for the next one at once. Requests
//! that only read are then sent again; a write is sent again only if it never
//! left this process, because the lost server may have carried it out.
//!
//! **Invariant:** a call is tried at most once at each server, so its time is
//! bounded, and a write is never carried out twice.

mod connector;
mod kubeconfig;
mod request;
mod response;

use crate::{Api, ApiRequest, ApiResponse, WatchParams, WatchStream};
use async_trait::async_trait;
use bytes::Bytes;
use connector::Connector;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kontiki_object::Status;
use kontiki_pki::PkiError;
use request::Plan;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The most that an answer may hold.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// The most that a refusal may hold.
const REFUSAL_BYTES_MAX: usize = 1 << 20;
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

/// How long what may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Making a connection, TLS included.
    pub connect: Duration,
    /// One call at one server; for a watch, until it begins.
    pub request: Duration,
    /// A connection in use is probed so often.
    pub probe_interval: Duration,
    /// And given up if a probe is not answered for so long.
    pub probe: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            request: Duration::from_secs(60),
            probe_interval: Duration::from_secs(5),
            probe: Duration::from_secs(5),
        }
    }
}

/// Where the API is and who asks.
#[derive(Clone)]
pub struct HttpsConfig {
    /// `https://host:port` of every server.
    pub servers: Vec<String>,
    /// Whom to trust, and with which certificate to show oneself.
    pub tls: Arc<rustls::ClientConfig>,
    /// A token to show instead of a certificate.
    pub bearer_token: Option<String>,
    /// What to be called in the server's logs.
    pub user_agent: String,
    /// How long what may take.
    pub timeouts: Timeouts,
}

impl HttpsConfig {
    /// At these servers, without a token, with the usual timeouts.
    #[must_use]
    pub fn new(servers: Vec<String>, tls: Arc<rustls::ClientConfig>) -> Self {
        Self {
            servers,
            tls,
            bearer_token: None,
            user_agent: format!("kontiki/{}", env!("CARGO_PKG_VERSION")),
            timeouts: Timeouts::default(),
        }
    }
}

impl fmt::Debug for HttpsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsConfig")
            .field("servers", &self.servers)
            .field("user_agent", &self.user_agent)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

/// Why the API cannot be used over HTTPS.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// There is no server to ask.
    #[error("no server is given; name at least one as https://host:port")]
    NoServer,
    /// A server's address cannot be used.
    #[error("{0:?} is not the address of a server; write https://host:port")]
    Address(String),
    /// A token or user agent cannot stand in an HTTP header.
    #[error("the {0} holds characters that no HTTP header may hold")]
    Header(&'static str),
    /// A kubeconfig file cannot be read.
    #[error("cannot read the kubeconfig {path}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PkiError,
    },
    /// A kubeconfig lacks something.
    #[error("the kubeconfig has no {0}")]
    Incomplete(String),
    /// A certificate or key cannot be used.
    #[error("the kubeconfig's certificates cannot be used")]
    Credentials(#[source] PkiError),
}

/// The API over HTTPS.
pub struct HttpsApi {
    client: Client<Connector, Full<Bytes>>,
    servers: Vec<Authority>,
    /// The one that answered last; the first to be asked.
    preferred: AtomicUsize,
    headers: HeaderMap,
    timeouts: Timeouts,
}

/// A call that got no answer from one server.
struct Failure {
    status: Status,
    /// Whether the server may have got the request.
    sent: bool,
}

/// What a server answered with success.
enum Answer {
    Whole(Bytes),
    Stream(Incoming),
}

impl HttpsApi {
    /// Nothing is connected before the first call.
    ///
    /// # Errors
    /// If an address, the token or the user agent is malformed.
    pub fn new(config: HttpsConfig) -> Result<Self, HttpsError> {
        if config.servers.is_empty() {
            return Err(HttpsError::NoServer);
        }
        let servers = config
            .servers
            .iter()
            .map(|server| authority(server))
            .collect::<Result<_, _>>()?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let agent = HeaderValue::from_str(&config.user_agent)
            .map_err(|_| HttpsError::Header("user agent"))?;
        headers.insert(USER_AGENT, agent);
        if let Some(token) = &config.bearer_token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| HttpsError::Header("token"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let timeouts = config.timeouts;
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_keep_alive_interval(timeouts.probe_interval)
            .http2_keep_alive_timeout(timeouts.probe)
            .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .build(Connector::new(&config.tls, timeouts.connect));
        Ok(Self {
            client,
            servers,
            preferred: AtomicUsize::new(0),
            headers,
            timeouts,
        })
    }

    /// Asks one server after the other until one answers.
    async fn send(&self, plan: &Plan, whole: bool) -> Result<Answer, Status> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut last = None;
        for offset in 0..self.servers.len() {
            let index = (first + offset) % self.servers.len();
            let exchange = self.exchange(plan, index, whole);
            let failure = match tokio::time::timeout(self.timeouts.request, exchange).await {
                Ok(Ok(answered)) => return answered,
                Ok(Err(failure)) => failure,
                Err(_) => Failure {
                    status: self.unreachable(index, "no answer in time"),
                    sent: true,
                },
            };
            // Others may have moved on meanwhile: only who still points here does.
            let next = (index + 1) % self.servers.len();
            let _ =
                self.preferred
                    .compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
            if failure.sent && !plan.only_reads {
                return Err(Status::timeout(
                    format!(
                        "{}; whether it was carried out is not known",
                        failure.status.message
                    ),
                    0,
                ));
            }
            last = Some(failure.status);
        }
        Err(last.expect("there is at least one server, and it failed"))
    }

    /// The outer error is a reason to ask another server, the inner one is not.
    async fn exchange(
        &self,
        plan: &Plan,
        index: usize,
        whole: bool,
    ) -> Result<Result<Answer, Status>, Failure> {
        let response = self
            .client
            .request(self.request(plan, index))
            .await
            .map_err(|error| Failure {
                status: self.unreachable(index, &reasons(&error)),
                sent: !error.is_connect(),
            })?;
        let code = response.status();
        if !code.is_success() {
            let status =
                response::refusal(code, &self.body(response, index, REFUSAL_BYTES_MAX).await?);
            if code == StatusCode::SERVICE_UNAVAILABLE && plan.only_reads {
                return Err(Failure { status, sent: true });
            }
            return Ok(Err(status));
        }
        if whole {
            return Ok(Ok(Answer::Whole(
                self.body(response, index, ANSWER_BYTES_MAX).await?,
            )));
        }
        Ok(Ok(Answer::Stream(response.into_body())))
    }

    fn request(&self, plan: &Plan, index: usize) -> Request<Full<Bytes>> {
        let uri = Uri::builder()
            .scheme(Scheme::HTTPS)
            .authority(self.servers[index].clone())
            .path_and_query(plan.path_and_query.clone())
            .build()
            .expect("all three parts are there and well-formed");
        let mut request = Request::new(Full::new(plan.body.clone()));
        *request.method_mut() = plan.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        if let Some(content_type) = plan.content_type {
            request
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        request
    }

    async fn body(
        &self,
        response: Response<Incoming>,
        index: usize,
        bytes_max: usize,
    ) -> Result<Bytes, Failure> {
        let body = Limited::new(response.into_body(), bytes_max);
        let whole = body.collect().await.map_err(|error| Failure {
            status: self.unreachable(index, &format!("the answer broke off: {error}")),
            sent: true,
        })?;
        Ok(whole.to_bytes())
    }

    fn unreachable(&self, index: usize, why: &str) -> Status {
        Status::unavailable(format!("https://{}: {why}", self.servers[index]))
    }
}

#[async_trait]
impl Api for HttpsApi {
    async fn call(&self, request: ApiRequest) -> Result<ApiResponse, Status> {
        let plan = request::plan(&request)?;
        match self.send(&plan, true).await? {
            Answer::Whole(bytes) => response::decode(&bytes),
            Answer::Stream(_) => Err(Status::internal("a call was answered with a stream")),
        }
    }

    async fn watch(&self, params: WatchParams) -> Result<WatchStream, Status> {
        let plan = request::watch_plan(&params)?;
        match self.send(&plan, false).await? {
            Answer::Stream(body) => Ok(response::events(body)),
            Answer::Whole(_) => Err(Status::internal("a watch was answered at once")),
        }
    }
}

fn authority(server: &str) -> Result<Authority, HttpsError> {
    let wrong = || HttpsError::Address(server.to_owned());
    let uri: Uri = server.parse().map_err(|_| wrong())?;
    if uri.scheme() != Some(&Scheme::HTTPS)
        || !matches!(uri.path(), "" | "/")
        || uri.query().is_some()
    {
        return Err(wrong());
    }
    uri.authority().cloned().ok_or_else(wrong)
}

/// An error with all its causes: the client's own text names only the outermost.
fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
