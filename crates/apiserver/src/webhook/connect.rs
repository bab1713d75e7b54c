//! Connections to webhooks.

use super::endpoint::{Endpoint, find};
use crate::dial::{AsyncReadWrite, NodeDialer};
use crate::registry::Registry;
use futures::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// Wherever its URL says.
    Url,
    /// Behind a Service.
    Service {
        namespace: String,
        name: String,
        port: u16,
    },
}

/// Opens connections to one webhook.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) place: Place,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) registry: Weak<Registry>,
    pub(super) dialer: Arc<dyn NodeDialer>,
}

/// An open connection.
pub(super) struct Link {
    io: TokioIo<TlsStream<Box<dyn AsyncReadWrite>>>,
    is_h2: bool,
}

impl Connector {
    async fn connect(self, uri: Uri) -> io::Result<Link> {
        let host = uri.host().unwrap_or_default();
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = uri.port_u16().unwrap_or(443);
        let endpoint = match &self.place {
            Place::Url => Endpoint::Direct(match host.contains(':') {
                true => format!("[{host}]:{port}"),
                false => format!("{host}:{port}"),
            }),
            Place::Service {
                namespace,
                name,
                port,
            } => {
                let registry = self.registry.upgrade();
                let registry =
                    registry.ok_or_else(|| io::Error::other("the server is stopping"))?;
                find(&registry, namespace, name, *port).map_err(io::Error::other)?
            }
        };
        let stream: Box<dyn AsyncReadWrite> = match endpoint {
            Endpoint::Direct(address) => Box::new(dial(&address).await?),
            Endpoint::OnNode { node, target } => {
                let dialed = self.dialer.dial(&node, target).await;
                dialed
                    .map_err(|error| io::Error::other(format!("error dialing backend: {error}")))?
            }
        };
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let stream = TlsConnector::from(self.tls.clone())
            .connect(name, stream)
            .await
            .map_err(|error| {
                io::Error::other(format!("tls: failed to verify certificate: {error}"))
            })?;
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Link {
            io: TokioIo::new(stream),
            is_h2,
        })
    }
}

/// Dials as Go's dialer tells of it.
async fn dial(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await.map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
            io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
            io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
            _ => error.to_string(),
        };
        io::Error::new(error.kind(), format!("dial tcp {address}: {why}"))
    })?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl tower::Service<Uri> for Connector {
    type Response = Link;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Link>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if self.is_h2 {
            connected.negotiated_h2()
        } else {
            connected
        }
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
