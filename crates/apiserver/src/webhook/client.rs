//! Posts to webhooks, over connections that are kept.

use super::connect::{Connector, Place};
use super::trust;
use crate::custom::WebhookCaller;
use crate::dial::NodeDialer;
use crate::registry::Registry;
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kontiki_object::Value;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// An answer may be as long as an object and a patch of it.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Webhooks whose connections are kept.
const CLIENTS_MAX: usize = 256;
/// How long a connection is kept without a call.
const IDLE: Duration = Duration::from_secs(60);
/// Idle connections to one webhook.
const IDLE_CONNECTIONS_MAX: usize = 8;

type Http = Client<Connector, Full<Bytes>>;

/// What tells one webhook's connections from another's.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    place: Place,
    ca_bundle: String,
}

/// Calls webhooks.
pub struct WebhookClient {
    registry: Weak<Registry>,
    dialer: Arc<dyn NodeDialer>,
    clients: Mutex<HashMap<Key, Http>>,
}

/// A call: where to, and the connections for it.
struct Call {
    url: String,
    client: Http,
}

/// The cause at the bottom says what happened.
fn deepest(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

impl WebhookClient {
    /// For the services of a registry, whose pods are reached by a dialer.
    #[must_use]
    pub fn new(registry: &Arc<Registry>, dialer: Arc<dyn NodeDialer>) -> Self {
        Self {
            registry: Arc::downgrade(registry),
            dialer,
            clients: Mutex::default(),
        }
    }

    fn client(&self, key: Key) -> Result<Http, String> {
        let mut clients = self.clients.lock();
        if let Some(known) = clients.get(&key) {
            return Ok(known.clone());
        }
        let connector = Connector {
            place: key.place.clone(),
            tls: trust::client_config(&key.ca_bundle)?,
            registry: self.registry.clone(),
            dialer: self.dialer.clone(),
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        if clients.len() >= CLIENTS_MAX {
            // Whoever is still called comes back.
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }

    fn call_to(&self, config: &Value, timeout: Duration) -> Result<Call, String> {
        let seconds = timeout.as_millis().div_ceil(1000);
        let ca_bundle = config["caBundle"].as_str().unwrap_or_default().to_owned();
        let service = &config["service"];
        let (place, url) = if service.is_object() {
            let text = |field: &str| service[field].as_str().unwrap_or_default();
            let (namespace, name) = (text("namespace"), text("name"));
            let port = service["port"].as_u64().unwrap_or(443);
            let port = u16::try_from(port).map_err(|_| format!("port {port} is none"))?;
            let path = text("path").trim_start_matches('/');
            let place = Place::Service {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                port,
            };
            (
                place,
                format!("https://{name}.{namespace}.svc:{port}/{path}"),
            )
        } else {
            let url = config["url"].as_str().unwrap_or_default();
            (Place::Url, url.to_owned())
        };
        let url = format!("{url}?timeout={seconds}s");
        let client = self.client(Key { place, ca_bundle })?;
        Ok(Call { url, client })
    }
}

async fn post(call: &Call, body: Bytes) -> Result<(StatusCode, Bytes), String> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(&call.url)
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json, */*")
        .header(USER_AGENT, "kube-apiserver-admission")
        .body(Full::new(body))
        .map_err(|error| error.to_string())?;
    let answer = call.client.request(request).await;
    let answer = answer.map_err(|error| deepest(&error))?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect();
    let body = body.await.map_err(|error| deepest(&*error))?;
    Ok((status, body.to_bytes()))
}

/// What upstream's client says about an answer that is no success.
fn complaint(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    match status.as_u16() {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 => "unknown".to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later"
            .to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => "the server was unable to return a response in the time allotted, but may still be processing the request"
            .to_owned(),
        500..=599 => format!(
            "an error on the server ({text:?}) has prevented the request from succeeding"
        ),
        code => format!(
            "the server responded with the status code {code} but did not return more information"
        ),
    }
}

#[async_trait]
impl WebhookCaller for WebhookClient {
    async fn call(
        &self,
        client_config: &Value,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, String> {
        let call = self.call_to(client_config, timeout)?;
        let told = |why: String| format!("Post {:?}: {why}", call.url);
        let answer = tokio::time::timeout(timeout, post(&call, body)).await;
        let (status, body) = answer
            .map_err(|_| told("context deadline exceeded".to_owned()))?
            .map_err(told)?;
        if status.is_success() {
            return Ok(body);
        }
        Err(complaint(status, &body))
    }
}
