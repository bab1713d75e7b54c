//! Connections between peers, as little of them as the store needs, so that a
//! test can cut them.

use async_trait::async_trait;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A byte stream between two peers.
pub trait PeerStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> PeerStream for T {}

/// Takes connections at one address.
#[async_trait]
pub trait PeerListener: Send + 'static {
    /// The next connection.
    async fn accept(&mut self) -> io::Result<Box<dyn PeerStream>>;
}

/// A network.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// Listens at `address` (`host:port`).
    async fn listen(&self, address: &str) -> io::Result<Box<dyn PeerListener>>;

    /// Connects to `address` (`host:port`).
    async fn dial(&self, address: &str) -> io::Result<Box<dyn PeerStream>>;
}

/// TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpNetwork;

struct Tcp(TcpListener);

#[async_trait]
impl PeerListener for Tcp {
    async fn accept(&mut self) -> io::Result<Box<dyn PeerStream>> {
        let (stream, _) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

#[async_trait]
impl Network for TcpNetwork {
    async fn listen(&self, address: &str) -> io::Result<Box<dyn PeerListener>> {
        Ok(Box::new(Tcp(TcpListener::bind(address).await?)))
    }

    async fn dial(&self, address: &str) -> io::Result<Box<dyn PeerStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

/// A connection that the RPC server can take.
pub(crate) struct Accepted(Box<dyn PeerStream>);

impl tonic::transport::server::Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

const HANDSHAKES_MAX: usize = 64;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes connections, shakes hands beside each other, and hands over those
/// whose certificate holds. Ends when the receiver is dropped.
pub(crate) async fn accept_peers(
    mut listener: Box<dyn PeerListener>,
    tls: Option<Arc<rustls::ServerConfig>>,
    accepted: mpsc::Sender<io::Result<Accepted>>,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let stream = tokio::select! {
            biased;
            () = accepted.closed() => return,
            stream = listener.accept() => stream,
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "could not accept a peer's connection");
                // Out of file descriptors, for instance: do not spin.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(permit) = handshakes.clone().acquire_owned().await else {
            return;
        };
        let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let stream: Box<dyn PeerStream> = match acceptor {
                None => stream,
                Some(acceptor) => {
                    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => Box::new(stream),
                        Ok(Err(error)) => {
                            tracing::warn!(%error, "refused a peer's connection: no TLS from our CA");
                            return;
                        }
                        Err(_) => return,
                    }
                }
            };
            let _ = accepted.send(Ok(Accepted(stream))).await;
        });
    }
}

/// Connects to a peer, over TLS if there is any.
pub(crate) async fn connect_peer(
    network: Arc<dyn Network>,
    tls: Option<Arc<rustls::ClientConfig>>,
    address: String,
) -> io::Result<Box<dyn PeerStream>> {
    let stream = network.dial(&address).await?;
    let Some(tls) = tls else { return Ok(stream) };
    let host = address
        .rsplit_once(':')
        .map_or(address.as_str(), |(host, _)| host);
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let name = rustls::pki_types::ServerName::try_from(host).map_err(io::Error::other)?;
    Ok(Box::new(
        TlsConnector::from(tls).connect(name, stream).await?,
    ))
}

pub(crate) fn with_h2(mut server: rustls::ServerConfig) -> Arc<rustls::ServerConfig> {
    server.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(server)
}

pub(crate) fn client_with_h2(mut client: rustls::ClientConfig) -> Arc<rustls::ClientConfig> {
    client.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(client)
}
