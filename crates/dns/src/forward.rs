//! Questions that somebody else answers.

use hickory_proto::op::{Message, MessageType};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

/// The servers of a `resolv.conf`, without `own` addresses: asking oneself
/// would never end.
#[must_use]
pub fn upstreams_of(resolv_conf: &str, own: &[SocketAddr]) -> Vec<SocketAddr> {
    resolv_conf
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let is_server = words.next() == Some("nameserver");
            words.next().filter(|_| is_server)?.parse::<IpAddr>().ok()
        })
        .filter(|address| !own.iter().any(|own| own.ip() == *address))
        .map(|address| SocketAddr::new(address, 53))
        .collect()
}

/// The servers that are asked about names outside of the cluster.
pub struct Upstreams {
    servers: Vec<SocketAddr>,
    timeout: Duration,
    in_flight: Arc<Semaphore>,
}

impl Upstreams {
    /// At most `in_flight_max` questions wait at a time; each server gets `timeout`.
    #[must_use]
    pub fn new(servers: Vec<SocketAddr>, timeout: Duration, in_flight_max: usize) -> Self {
        Self {
            servers,
            timeout,
            in_flight: Arc::new(Semaphore::new(in_flight_max)),
        }
    }

    /// Whether there is nobody to ask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Asks one server after the other; `None` if none answers or too many
    /// questions are waiting already.
    pub async fn ask(&self, query: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
        let _permit = self.in_flight.try_acquire().ok()?;
        let asked = Message::from_vec(query).ok()?;
        for server in &self.servers {
            let one = async {
                if over_tcp {
                    ask_tcp(*server, query).await
                } else {
                    ask_udp(*server, query, &asked).await
                }
            };
            match tokio::time::timeout(self.timeout, one).await {
                Ok(Ok(answer)) if is_answer(&answer, &asked) => return Some(answer),
                Ok(Ok(_)) => tracing::debug!(%server, "upstream answered something else"),
                Ok(Err(error)) => tracing::debug!(%server, %error, "upstream cannot be asked"),
                Err(_) => tracing::debug!(%server, "upstream does not answer"),
            }
        }
        None
    }
}

fn is_answer(bytes: &[u8], asked: &Message) -> bool {
    Message::from_vec(bytes).is_ok_and(|message| {
        message.metadata.id == asked.metadata.id
            && message.metadata.message_type == MessageType::Response
            && message.queries == asked.queries
    })
}

async fn ask_udp(server: SocketAddr, query: &[u8], asked: &Message) -> std::io::Result<Vec<u8>> {
    // A fresh socket has a port that nobody can guess.
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let size = socket.recv(&mut buffer).await?;
        // Something forged must not end the wait for the real answer.
        if is_answer(&buffer[..size], asked) {
            buffer.truncate(size);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(server: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_framed(&mut stream, query).await?;
    let size = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(size)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Writes a message with its length before it, in one packet.
pub(crate) async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(message.len())
        .map_err(|_| std::io::Error::other("the message is longer than 64 KiB"))?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}
