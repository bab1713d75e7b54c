//! Asking others about names outside the cluster.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

const TIMEOUT: Duration = Duration::from_secs(2);
/// Questions to others that may be under way at once.
const CONCURRENT_MAX: usize = 512;
const UDP_BYTES_MAX: usize = 4096;

/// The name servers of a `resolv.conf`, without `own` addresses: those would ask themselves.
#[must_use]
pub fn upstreams(resolv_conf: &str, own: &[IpAddr]) -> Vec<SocketAddr> {
    let servers = resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"));
    servers
        .filter_map(|rest| rest.trim().parse::<IpAddr>().ok())
        .filter(|address| !own.contains(address))
        .map(|address| SocketAddr::new(address, 53))
        .collect()
}

/// Passes questions on as they are.
#[derive(Clone)]
pub struct Forwarder {
    upstreams: Arc<Vec<SocketAddr>>,
    permits: Arc<Semaphore>,
}

impl Forwarder {
    /// To these servers, in this order.
    #[must_use]
    pub fn new(upstreams: Vec<SocketAddr>) -> Self {
        Self {
            upstreams: Arc::new(upstreams),
            permits: Arc::new(Semaphore::new(CONCURRENT_MAX)),
        }
    }

    /// The first answer that any server gives; `None` if none does.
    pub async fn ask(&self, question: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
        // Too many at once are told so at once: the client asks again.
        let _permit = self.permits.try_acquire().ok()?;
        for server in self.upstreams.iter() {
            let answer = if over_tcp {
                tcp(*server, question).await
            } else {
                udp(*server, question).await
            };
            match answer {
                Ok(answer) => return Some(answer),
                Err(error) => tracing::debug!(%server, %error, "a name server gave no answer"),
            }
        }
        None
    }
}

async fn udp(server: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = if server.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0; 8], 0).into()
    };
    // A port of its own for each question makes forged answers improbable (RFC 5452).
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; UDP_BYTES_MAX];
    let receive = async {
        loop {
            let read = socket.recv(&mut buffer).await?;
            if read >= 2 && buffer[..2] == question[..2.min(question.len())] {
                return Ok::<usize, std::io::Error>(read);
            }
        }
    };
    let read = tokio::time::timeout(TIMEOUT, receive).await??;
    buffer.truncate(read);
    Ok(buffer)
}

async fn tcp(server: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(question.len()).map_err(std::io::Error::other)?;
        stream
            .write_all(&[&length.to_be_bytes(), question].concat())
            .await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    };
    tokio::time::timeout(TIMEOUT, exchange).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_address_is_no_upstream() {
        let conf =
            "# x\nsearch a\nnameserver 10.96.0.10\nnameserver 192.0.2.1\nnameserver nonsense\n";
        let own = ["10.96.0.10".parse().expect("an address")];
        assert_eq!(
            upstreams(conf, &own),
            ["192.0.2.1:53".parse().expect("an address")]
        );
    }

    #[tokio::test]
    async fn the_second_server_is_asked_when_the_first_refuses() {
        let gone = UdpSocket::bind("127.0.0.1:0")
            .await
            .expect("binds")
            .local_addr()
            .expect("bound");
        let live = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
        let forwarder = Forwarder::new(vec![gone, live.local_addr().expect("bound")]);
        let server = tokio::spawn(async move {
            let mut buffer = [0; 512];
            let (read, from) = live.recv_from(&mut buffer).await.expect("receives");
            live.send_to(&buffer[..read], from).await.expect("sends");
        });
        assert_eq!(
            forwarder
                .ask(b"\x00\x07question", false)
                .await
                .expect("an answer"),
            b"\x00\x07question"
        );
        server.await.expect("serves");
    }
}
