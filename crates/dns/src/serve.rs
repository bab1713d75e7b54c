//! Serving DNS over UDP and TCP.

use crate::forward::Forwarder;
use crate::wire::{Outcome, handle, reply, udp_bytes};
use crate::zone::Zone;
use hickory_proto::op::ResponseCode;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Where to serve.
#[derive(Clone, Debug)]
pub struct DnsConfig {
    /// Addresses to listen on, UDP and TCP each.
    pub listen: Vec<SocketAddr>,
    /// Servers for names outside the cluster.
    pub upstreams: Vec<SocketAddr>,
}

/// Why DNS could not be served.
#[derive(Debug, Error)]
pub enum DnsError {
    /// An address cannot be listened on.
    #[error("cannot serve DNS on {address}: {source}; is another name server running there?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

const TCP_CONNECTIONS_MAX: usize = 256;
const TCP_IDLE: Duration = Duration::from_secs(10);
/// No question is longer; larger datagrams are cut and thereby malformed.
const DATAGRAM_BYTES_MAX: usize = 4096;

/// The name server of one node.
pub struct Dns {
    zone: Zone,
    forwarder: Forwarder,
    sockets: Vec<(UdpSocket, TcpListener)>,
}

impl Dns {
    /// Takes the addresses.
    ///
    /// # Errors
    /// If one cannot be listened on.
    pub async fn bind(config: DnsConfig, zone: Zone) -> Result<Self, DnsError> {
        let mut sockets = Vec::new();
        for address in config.listen {
            let failed = |source| DnsError::Listen { address, source };
            let udp = UdpSocket::bind(address).await.map_err(failed)?;
            // With port 0, as tests ask for, both must get the same one.
            let tcp = TcpListener::bind(udp.local_addr().map_err(failed)?)
                .await
                .map_err(failed)?;
            sockets.push((udp, tcp));
        }
        Ok(Self {
            zone,
            forwarder: Forwarder::new(config.upstreams),
            sockets,
        })
    }

    /// The addresses that were taken.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets
            .iter()
            .filter_map(|(udp, _)| udp.local_addr().ok())
            .collect()
    }

    /// Serves until `cancel` is cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let server = Arc::new(Server {
            zone: self.zone,
            forwarder: self.forwarder,
        });
        for (udp, tcp) in self.sockets {
            let cancelled = cancel.clone();
            tokio::spawn(
                cancelled.run_until_cancelled_owned(server.clone().serve_udp(Arc::new(udp))),
            );
            let cancelled = cancel.clone();
            tokio::spawn(cancelled.run_until_cancelled_owned(server.clone().serve_tcp(tcp)));
        }
        cancel.cancelled().await;
    }
}

struct Server {
    zone: Zone,
    forwarder: Forwarder,
}

impl Server {
    async fn serve_udp(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let (read, client) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                Err(error) => {
                    // An ICMP error of an earlier answer shows here; it is not ours.
                    tracing::debug!(%error, "receiving a question failed");
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            let question = &buffer[..read];
            match handle(&self.zone, question) {
                Outcome::Ignore => {}
                Outcome::Answer(answer) => {
                    if let Some(bytes) = udp_bytes(question, &answer) {
                        // A client that is gone needs no answer.
                        let _ = socket.send_to(&bytes, client).await;
                    }
                }
                Outcome::Forward(request) => {
                    let (server, socket, question) =
                        (self.clone(), socket.clone(), question.to_vec());
                    tokio::spawn(async move {
                        let answer = match server.forwarder.ask(&question, false).await {
                            Some(answer) => Some(answer),
                            None => reply(&request, ResponseCode::ServFail).to_vec().ok(),
                        };
                        if let Some(answer) = answer {
                            let _ = socket.send_to(&answer, client).await;
                        }
                    });
                }
            }
        }
    }

    async fn serve_tcp(self: Arc<Self>, listener: TcpListener) {
        let permits = Arc::new(Semaphore::new(TCP_CONNECTIONS_MAX));
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = self.clone();
                    tokio::spawn(async move {
                        // A client that breaks off is its own affair.
                        let _ = server.serve_connection(stream).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a DNS connection failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn serve_connection(&self, mut stream: TcpStream) -> std::io::Result<()> {
        loop {
            let length = tokio::time::timeout(TCP_IDLE, stream.read_u16()).await??;
            let mut question = vec![0; usize::from(length)];
            tokio::time::timeout(TCP_IDLE, stream.read_exact(&mut question)).await??;
            let answer = match handle(&self.zone, &question) {
                Outcome::Ignore => return Ok(()),
                Outcome::Answer(answer) => answer.to_vec().map_err(std::io::Error::other)?,
                Outcome::Forward(request) => match self.forwarder.ask(&question, true).await {
                    Some(answer) => answer,
                    None => reply(&request, ResponseCode::ServFail)
                        .to_vec()
                        .map_err(std::io::Error::other)?,
                },
            };
            let length = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
            stream
                .write_all(&[&length.to_be_bytes(), &answer[..]].concat())
                .await?;
        }
    }
}
