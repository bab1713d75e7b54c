//! A webhook on loopback, with TLS, that notes what it was asked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use kontiki_pki::tls::{ClientAuth, Reloading, server_config};
use kontiki_pki::{Authority, Profile, Usages};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

type Judge = dyn Fn(&Value) -> Value + Send + Sync;

pub struct HookServer {
    pub port: u16,
    /// What a configuration calls `caBundle`.
    pub ca_bundle: String,
    /// The requests, and the paths they came by.
    pub seen: Arc<Mutex<Vec<(String, Value)>>>,
    pub connections: Arc<AtomicUsize>,
}

/// Lets a request pass and changes it.
pub fn patch(operations: &Value) -> Value {
    let patch = STANDARD.encode(operations.to_string());
    json!({"allowed": true, "patchType": "JSONPatch", "patch": patch})
}

impl HookServer {
    /// Answers to these names; `judge` makes a response of a request.
    pub async fn start(
        names: &[&str],
        judge: impl Fn(&Value) -> Value + Send + Sync + 'static,
    ) -> Self {
        let now = Timestamp::now();
        let authority = Authority::create("webhooks", now).expect("an authority");
        let profile = Profile {
            common_name: "webhook".to_owned(),
            dns_names: names.iter().map(|name| (*name).to_owned()).collect(),
            ip_addresses: vec!["127.0.0.1".parse().expect("an address")],
            usages: Usages::SERVER,
            lifetime: SignedDuration::from_hours(1),
            ..Profile::default()
        };
        let credentials = authority.issue(&profile, now).expect("a certificate");
        let reloading = Reloading::new(&credentials).expect("credentials");
        let authorities = [authority.certificate_pem()];
        let alpn: [&[u8]; 1] = [b"http/1.1"];
        let tls = server_config(reloading, &authorities, ClientAuth::Optional, &alpn);
        let acceptor = TlsAcceptor::from(Arc::new(tls.expect("a configuration")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = Self {
            port: listener.local_addr().expect("bound").port(),
            ca_bundle: STANDARD.encode(authority.certificate_pem()),
            seen: Arc::default(),
            connections: Arc::default(),
        };
        let (seen, connections) = (server.seen.clone(), server.connections.clone());
        let judge: Arc<Judge> = Arc::new(judge);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, judge, seen) = (acceptor.clone(), judge.clone(), seen.clone());
                let connections = connections.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    connections.fetch_add(1, Ordering::Relaxed);
                    let service =
                        service_fn(move |request| answer(judge.clone(), seen.clone(), request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        server
    }

    /// A `clientConfig` that names a URL.
    pub fn by_url(&self) -> Value {
        let url = format!("https://127.0.0.1:{}/hook", self.port);
        json!({"url": url, "caBundle": self.ca_bundle})
    }

    /// What it was asked so far.
    pub fn requests(&self) -> Vec<Value> {
        let seen = self.seen.lock();
        seen.iter().map(|(_, request)| request.clone()).collect()
    }
}

async fn answer(
    judge: Arc<Judge>,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().to_string();
    let body = request
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes());
    let review: Value = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
    seen.lock().push((path, review["request"].clone()));
    let mut response = judge(&review["request"]);
    if response == "slow" {
        std::future::pending::<()>().await;
    }
    if let Some(code) = response.as_u64() {
        let mut failed = Response::new(Full::from("went wrong"));
        *failed.status_mut() = u16::try_from(code)
            .ok()
            .and_then(|code| hyper::StatusCode::from_u16(code).ok())
            .expect("a code");
        return Ok(failed);
    }
    if response["uid"].is_null() {
        response["uid"] = review["request"]["uid"].clone();
    }
    let answer = json!({
        "apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response,
    });
    Ok(Response::new(Full::from(answer.to_string())))
}
