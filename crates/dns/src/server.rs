//! Sockets, and the view behind them.

use crate::answer::{Outcome, Zone, answer};
use crate::forward::{Upstreams, write_framed};
use crate::view::View;
use arc_swap::ArcSwap;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name};
use kontiki_client::ObjectCache;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// The longest answer over UDP, so that no router has to split it.
const UDP_BYTES_MAX: u16 = 1232;
/// What a client can take that says nothing.
const UDP_BYTES_DEFAULT: u16 = 512;

/// How a node's DNS works.
#[derive(Clone, Debug)]
pub struct DnsConfig {
    /// Where it listens, UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// Who is asked about everything else; see [`crate::upstreams_of`].
    pub upstreams: Vec<SocketAddr>,
    /// How long answers may be kept.
    pub ttl_seconds: u32,
    /// How long one upstream server is waited for.
    pub upstream_timeout: Duration,
    /// How many questions may wait for upstream answers.
    pub upstream_in_flight_max: usize,
    /// How many TCP connections may be open.
    pub connections_max: usize,
    /// How long a silent TCP connection is kept.
    pub idle_timeout: Duration,
    /// How long to wait before trying again to listen.
    pub retry_delay: Duration,
}

impl DnsConfig {
    /// The usual settings.
    #[must_use]
    pub fn new(listen: Vec<SocketAddr>, upstreams: Vec<SocketAddr>) -> Self {
        Self {
            listen,
            cluster_domain: "cluster.local".into(),
            upstreams,
            ttl_seconds: 5,
            upstream_timeout: Duration::from_secs(2),
            upstream_in_flight_max: 512,
            connections_max: 256,
            idle_timeout: Duration::from_secs(10),
            retry_delay: Duration::from_secs(1),
        }
    }
}

/// What the names come from.
#[derive(Clone)]
pub struct Caches {
    /// All Services.
    pub services: Arc<ObjectCache>,
    /// All EndpointSlices.
    pub endpoint_slices: Arc<ObjectCache>,
}

/// The cluster's DNS on one node.
pub struct Dns {
    config: DnsConfig,
    zone: Zone,
    view: ArcSwap<View>,
    upstreams: Upstreams,
    connections: Arc<Semaphore>,
    /// Counts answers, so that their order can go round.
    turn: AtomicUsize,
}

impl Dns {
    /// Serves until `cancel` is cancelled.
    pub async fn run(config: DnsConfig, caches: Caches, cancel: CancellationToken) {
        let listen = config.listen.clone();
        let dns = Arc::new(Self::new(config));
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(dns.clone().follow(caches));
        for address in listen {
            tasks.spawn(dns.clone().listen_udp(address));
            tasks.spawn(dns.clone().listen_tcp(address));
        }
        // Dropping the set ends its tasks.
        cancel.cancelled().await;
    }

    fn new(config: DnsConfig) -> Self {
        Self {
            zone: Zone {
                domain: config.cluster_domain.to_ascii_lowercase(),
                ttl_seconds: config.ttl_seconds,
            },
            view: ArcSwap::default(),
            upstreams: Upstreams::new(
                config.upstreams.clone(),
                config.upstream_timeout,
                config.upstream_in_flight_max,
            ),
            connections: Arc::new(Semaphore::new(config.connections_max)),
            turn: AtomicUsize::new(0),
            config,
        }
    }

    async fn follow(self: Arc<Self>, caches: Caches) {
        let mut services = caches.services.subscribe();
        let mut slices = caches.endpoint_slices.subscribe();
        loop {
            // What has arrived is part of this picture.
            while services.try_recv().is_ok() {}
            while slices.try_recv().is_ok() {}
            let view = View::build(&caches.services.list(), &caches.endpoint_slices.list());
            self.view.store(Arc::new(view));
            let change = tokio::select! {
                change = services.recv() => change,
                change = slices.recv() => change,
            };
            if change.is_none() {
                return;
            }
        }
    }

    async fn listen_udp(self: Arc<Self>, address: SocketAddr) {
        loop {
            match UdpSocket::bind(address).await {
                Ok(socket) => self.clone().serve_udp(Arc::new(socket)).await,
                // The address may come up later, with its interface.
                Err(error) => tracing::warn!(%address, %error, "DNS cannot listen, will try again"),
            }
            tokio::time::sleep(self.config.retry_delay).await;
        }
    }

    async fn serve_udp(self: Arc<Self>, socket: Arc<UdpSocket>) {
        let mut buffer = vec![0; 4096];
        loop {
            // An error is an ICMP message about an earlier answer.
            let Ok((size, client)) = socket.recv_from(&mut buffer).await else {
                tokio::task::yield_now().await;
                continue;
            };
            let Some(asked) = Asked::parse(&buffer[..size], false) else {
                continue;
            };
            match self.local(&asked) {
                Reply::Ready(bytes) => {
                    let _ = socket.send_to(&bytes, client).await;
                }
                Reply::Upstream(wanted) => {
                    // `Upstreams` bounds how many of these wait.
                    let (dns, socket) = (self.clone(), socket.clone());
                    tokio::spawn(async move {
                        let bytes = dns.upstream(&asked, wanted).await;
                        let _ = socket.send_to(&bytes, client).await;
                    });
                }
            }
        }
    }

    async fn listen_tcp(self: Arc<Self>, address: SocketAddr) {
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => self.clone().serve_tcp(listener).await,
                Err(error) => tracing::warn!(%address, %error, "DNS cannot listen, will try again"),
            }
            tokio::time::sleep(self.config.retry_delay).await;
        }
    }

    async fn serve_tcp(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            // One too many is closed at once.
            let Ok(permit) = self.connections.clone().try_acquire_owned() else {
                continue;
            };
            let dns = self.clone();
            tokio::spawn(async move {
                let _permit = permit;
                let _ = dns.serve_connection(stream).await;
            });
        }
    }

    async fn serve_connection(&self, mut stream: TcpStream) -> std::io::Result<()> {
        loop {
            let read = async {
                let size = stream.read_u16().await?;
                let mut bytes = vec![0; usize::from(size)];
                stream.read_exact(&mut bytes).await?;
                Ok::<_, std::io::Error>(bytes)
            };
            let bytes = tokio::time::timeout(self.config.idle_timeout, read).await??;
            let Some(asked) = Asked::parse(&bytes, true) else {
                return Ok(());
            };
            let reply = match self.local(&asked) {
                Reply::Ready(bytes) => bytes,
                Reply::Upstream(wanted) => self.upstream(&asked, wanted).await,
            };
            write_framed(&mut stream, &reply).await?;
        }
    }

    /// The answer, as far as it can be given at once.
    fn local(&self, asked: &Asked) -> Reply {
        let message = &asked.message;
        if message.metadata.op_code != OpCode::Query {
            return Reply::Ready(asked.error(ResponseCode::NotImp));
        }
        let [query] = &message.queries[..] else {
            return Reply::Ready(asked.error(ResponseCode::FormErr));
        };
        let mut found = answer(&query.name, query.query_type, &self.view.load(), &self.zone);
        let is_ours = query.query_class == DNSClass::IN && found.outcome != Outcome::NotOurs;
        if !is_ours {
            if self.upstreams.is_empty() {
                return Reply::Ready(asked.error(ResponseCode::Refused));
            }
            return Reply::Upstream(None);
        }
        let mut response = asked.response();
        response.metadata.authoritative = true;
        if found.outcome == Outcome::NoSuchName {
            response.metadata.response_code = ResponseCode::NXDomain;
        }
        // Many clients take the first address, so each gets its turn.
        if query.query_type.is_ip_addr() && found.alias.is_none() && found.answers.len() > 1 {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % found.answers.len();
            let is_plain = found
                .answers
                .iter()
                .all(|r| r.record_type() == query.query_type);
            found.answers.rotate_left(if is_plain { turn } else { 0 });
        }
        response.add_answers(found.answers);
        response.add_authorities(found.authorities);
        response.add_additionals(found.additionals);
        match found.alias {
            Some(alias) if !self.upstreams.is_empty() => {
                Reply::Upstream(Some((alias, Box::new(response))))
            }
            _ => Reply::Ready(asked.encode(response)),
        }
    }

    /// Asks upstream: the question itself, or what an alias of ours stands for.
    async fn upstream(&self, asked: &Asked, alias: Option<(Name, Box<Message>)>) -> Vec<u8> {
        let Some((name, mut response)) = alias else {
            let answer = self.upstreams.ask(&asked.bytes, asked.over_tcp).await;
            return answer.unwrap_or_else(|| asked.error(ResponseCode::ServFail));
        };
        let mut query = Message::new(asked.message.metadata.id, MessageType::Query, OpCode::Query);
        query.metadata.recursion_desired = true;
        query.add_query(Query::query(name, asked.message.queries[0].query_type));
        let found = match query.to_vec() {
            Ok(bytes) => self.upstreams.ask(&bytes, true).await,
            Err(_) => None,
        };
        // Without an answer, the alias alone is still true.
        if let Some(message) = found.and_then(|bytes| Message::from_vec(&bytes).ok()) {
            response.add_answers(message.answers);
        }
        asked.encode(*response)
    }
}

enum Reply {
    Ready(Vec<u8>),
    Upstream(Option<(Name, Box<Message>)>),
}

/// A question and where it came from.
struct Asked {
    bytes: Vec<u8>,
    message: Message,
    over_tcp: bool,
}

impl Asked {
    /// `None` for what is no question; answering it could start an echo.
    fn parse(bytes: &[u8], over_tcp: bool) -> Option<Self> {
        let message = Message::from_vec(bytes).ok()?;
        (message.metadata.message_type == MessageType::Query).then(|| Self {
            bytes: bytes.to_vec(),
            message,
            over_tcp,
        })
    }

    fn response(&self) -> Message {
        let asked = &self.message.metadata;
        let mut response = Message::response(asked.id, asked.op_code);
        response.metadata.recursion_desired = asked.recursion_desired;
        response.metadata.recursion_available = true;
        response.add_queries(self.message.queries.iter().cloned());
        if self.message.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_BYTES_MAX);
            response.set_edns(edns);
        }
        response
    }

    fn error(&self, code: ResponseCode) -> Vec<u8> {
        let mut response = self.response();
        response.metadata.response_code = code;
        self.encode(response)
    }

    /// The bytes, cut short where the client cannot take all of them.
    fn encode(&self, response: Message) -> Vec<u8> {
        let limit = match &self.message.edns {
            _ if self.over_tcp => usize::from(u16::MAX),
            Some(edns) => usize::from(edns.max_payload().clamp(UDP_BYTES_DEFAULT, UDP_BYTES_MAX)),
            None => usize::from(UDP_BYTES_DEFAULT),
        };
        match response.to_vec() {
            Ok(bytes) if bytes.len() <= limit => bytes,
            Ok(_) => response.truncate().to_vec().unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%error, "an answer cannot be encoded");
                let code = ResponseCode::ServFail;
                let asked = &self.message.metadata;
                let message = Message::error_msg(asked.id, asked.op_code, code);
                message.to_vec().unwrap_or_default()
            }
        }
    }
}

#[cfg(test)]
mod tests;
