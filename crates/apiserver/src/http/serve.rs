//! The accept loop: one TLS port for REST, watches, streams and gRPC.

use super::handler::LongRunning;
use crate::server::ApiServer;
use axum::Router;
use axum::body::Body;
use futures::StreamExt;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use jiff::Timestamp;
use kontiki_auth::PeerCertificate;
use kontiki_auth::authn::ClientTrust;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the loop waits after an accept that failed (out of file descriptors).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How long connections may take to finish when the server stops.
const FAREWELL: Duration = Duration::from_secs(10);
/// Requests of one HTTP/2 connection at once; upstream's.
const STREAMS_MAX: u32 = 250;

/// The certificate that the client of a connection proved to hold.
pub type Peer = Arc<PeerCertificate>;

/// How to serve.
#[derive(Clone)]
pub struct ServeConfig {
    /// TLS, with client certificates optional.
    pub tls: Arc<rustls::ServerConfig>,
    /// Who may vouch for client certificates.
    pub trust: ClientTrust,
    /// What answers gRPC, if anything.
    pub grpc: Option<Router>,
}

/// Accepts connections until `cancel`, then lets them finish.
///
/// # Errors
/// Only if the listener is unusable from the start.
pub async fn serve(
    server: ApiServer,
    listener: TcpListener,
    config: ServeConfig,
    cancel: CancellationToken,
) -> io::Result<()> {
    listener.local_addr()?;
    let acceptor = TlsAcceptor::from(config.tls.clone());
    let tracker = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let connection = Connection {
            server: server.clone(),
            config: config.clone(),
            cancel: cancel.clone(),
        };
        tracker.spawn(connection.run(acceptor.clone(), stream));
    }
    server.inner().set_stopping();
    tracker.close();
    let _ = tokio::time::timeout(FAREWELL, tracker.wait()).await;
    Ok(())
}

struct Connection {
    server: ApiServer,
    config: ServeConfig,
    cancel: CancellationToken,
}

impl Connection {
    async fn run(self, acceptor: TlsAcceptor, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let tls = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                return;
            }
            Err(_) => return,
        };
        let peer = self.peer(tls.get_ref().1.peer_certificates());
        let cancel = self.cancel.clone();
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            answer(
                self.server.clone(),
                self.config.grpc.clone(),
                peer.clone(),
                request,
                cancel.clone(),
            )
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new());
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .keep_alive_interval(Some(Duration::from_secs(30)))
            .enable_connect_protocol();
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(tls), service);
        tokio::pin!(connection);
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = self.cancel.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a connection ended with an error");
        }
    }

    fn peer(&self, chain: Option<&[rustls::pki_types::CertificateDer<'_>]>) -> Option<Peer> {
        let chain = chain.filter(|chain| !chain.is_empty())?;
        match PeerCertificate::verify(chain, &self.config.trust, Timestamp::now()) {
            Ok(peer) => Some(Arc::new(peer)),
            Err(error) => {
                tracing::debug!(%error, "a client certificate was not accepted");
                None
            }
        }
    }
}

async fn answer(
    server: ApiServer,
    grpc: Option<Router>,
    peer: Option<Peer>,
    request: Request<Incoming>,
    cancel: CancellationToken,
) -> Result<Response<Body>, Infallible> {
    let mut request = request.map(Body::new);
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer);
    }
    let is_grpc = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if is_grpc && let Some(router) = grpc {
        return router.oneshot(request).await;
    }
    let response = server.handle(request).await;
    if response.extensions().get::<LongRunning>().is_none() {
        return Ok(response);
    }
    // A watch would hold the connection, and so the server, until its client goes.
    // Ended like this it is complete: the client watches on from another server.
    let until = cancel.cancelled_owned();
    Ok(response.map(|body| Body::from_stream(body.into_data_stream().take_until(until))))
}
