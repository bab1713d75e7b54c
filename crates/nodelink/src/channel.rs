//! gRPC channels over TLS with a configuration of our own.

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// Connects an endpoint whose URI has the scheme `http`: TLS is made here, with
/// the caller's configuration, which tonic's own TLS does not accept.
///
/// # Errors
/// If the address cannot be reached or the TLS handshake fails.
pub async fn connect(
    endpoint: Endpoint,
    tls: Arc<ClientConfig>,
) -> Result<Channel, tonic::transport::Error> {
    let connector = service_fn(move |uri| dial(uri, tls.clone()));
    endpoint.connect_with_connector(connector).await
}

/// As [`connect`], but the connection is made when it is needed, and again when
/// it is lost.
#[must_use]
pub fn connect_lazy(endpoint: &Endpoint, tls: Arc<ClientConfig>) -> Channel {
    let connector = service_fn(move |uri| dial(uri, tls.clone()));
    endpoint.connect_with_connector_lazy(connector)
}

async fn dial(uri: http::Uri, tls: Arc<ClientConfig>) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
    let host = uri
        .host()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .to_owned();
    let port = uri.port_u16().unwrap_or(6443);
    let tcp = TcpStream::connect((host.as_str(), port)).await?;
    tcp.set_nodelay(true)?;
    let name =
        ServerName::try_from(host).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    let stream = TlsConnector::from(tls).connect(name, tcp).await?;
    Ok(TokioIo::new(stream))
}
