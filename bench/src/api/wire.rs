//! Requests over TLS and HTTP/2, made as cheaply as they can be: the load
//! generator runs on the cores that it measures.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kontiki_client::HttpsConfig;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Workers or watchers that share a connection, as client-go programs with one
/// transport for each hundred do.
const STREAMS_PER_CONNECTION: usize = 100;
const WINDOW_BYTES: u32 = 4 << 20;

/// A connection; clones share it.
#[derive(Clone)]
pub struct Connection {
    requests: SendRequest<Full<Bytes>>,
    authority: Arc<str>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The verb.
    pub method: Method,
    /// The path and query.
    pub path: String,
    /// What the body is; empty if there is none.
    pub content_type: &'static str,
    /// What may be answered.
    pub accept: &'static str,
    /// The body.
    pub body: Bytes,
}

impl Ask {
    /// For JSON, without a body.
    pub fn get(path: String) -> Self {
        Self {
            method: Method::GET,
            path,
            content_type: "",
            accept: "application/json",
            body: Bytes::new(),
        }
    }

    /// Likewise, with a body.
    pub fn with(
        method: Method,
        path: String,
        content_type: &'static str,
        body: impl Into<Bytes>,
    ) -> Self {
        Self {
            method,
            content_type,
            body: body.into(),
            ..Self::get(path)
        }
    }
}

impl Connection {
    /// To the first server of a configuration.
    pub async fn open(config: &HttpsConfig) -> Result<Self> {
        let server = config.servers.first().context("no server is given")?;
        let authority = server.trim_start_matches("https://");
        let host = authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host);
        let tcp = TcpStream::connect(authority).await;
        let tcp = tcp.with_context(|| format!("cannot connect to {authority}"))?;
        tcp.set_nodelay(true)?;
        let mut tls = (*config.tls).clone();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from(host.to_owned())?;
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, tcp).await?;
        let (requests, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(4 * WINDOW_BYTES)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::spawn(connection);
        Ok(Self {
            requests,
            authority: authority.into(),
        })
    }

    /// For each of `streams` the connection that it shares.
    pub async fn for_each_of(config: &HttpsConfig, streams: usize) -> Result<Vec<Self>> {
        let mut connections = Vec::new();
        for _ in 0..streams.div_ceil(STREAMS_PER_CONNECTION) {
            connections.push(Self::open(config).await?);
        }
        let shared = (0..streams).map(|at| connections[at % connections.len()].clone());
        Ok(shared.collect())
    }

    /// Sends it; answers the body while it comes.
    pub async fn send(&mut self, ask: &Ask) -> Result<Incoming> {
        let mut request = Request::builder()
            .method(&ask.method)
            .uri(format!("https://{}{}", self.authority, ask.path))
            .header(ACCEPT, ask.accept);
        if !ask.content_type.is_empty() {
            request = request.header(CONTENT_TYPE, ask.content_type);
        }
        let request = request.body(Full::new(ask.body.clone()))?;
        self.requests.ready().await?;
        let response = self.requests.send_request(request).await?;
        let status = response.status();
        let body = response.into_body();
        if !status.is_success() {
            let text = body.collect().await?.to_bytes();
            let text = String::from_utf8_lossy(&text).into_owned();
            bail!("{} {}: {status}: {text}", ask.method, ask.path);
        }
        Ok(body)
    }

    /// Sends it and reads the whole answer; its size.
    pub async fn call(&mut self, ask: &Ask) -> Result<usize> {
        let mut body = self.send(ask).await?;
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame?.data_ref().map_or(0, Bytes::len);
        }
        ensure!(bytes > 0, "{} {}: an empty answer", ask.method, ask.path);
        Ok(bytes)
    }

    /// Sends it and answers the body, whole.
    pub async fn fetch(&mut self, ask: &Ask) -> Result<Bytes> {
        Ok(self.send(ask).await?.collect().await?.to_bytes())
    }
}

/// Whether an error is the answer that something is there already.
pub fn is_conflict(error: &anyhow::Error) -> bool {
    error.to_string().contains(StatusCode::CONFLICT.as_str())
}
