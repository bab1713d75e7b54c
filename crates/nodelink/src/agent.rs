//! The node's end of NodeLink.

use crate::proto::{
    AgentMessage, Call, ClusterFacts, Heartbeat, Hello, Reply, ServerMessage, TunnelTarget,
    agent_message::Message as Up, node_link_client::NodeLinkClient,
    server_message::Message as Down, tunnel_target::Target,
};
use crate::tunnel::{Io, Tunnels};
use crate::{NodeView, wire};
use async_trait::async_trait;
use kontiki_client::{Api, ApiRequest, ApiResponse, WatchParams, WatchStream};
use kontiki_object::Status;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

/// How to reach the servers.
#[derive(Clone)]
pub struct AgentConfig {
    /// This node's name; the certificate says the same.
    pub node_name: String,
    /// `host:port` of the servers that are known at the start.
    pub servers: Vec<String>,
    /// The node's client certificate and the cluster's authorities.
    pub tls: Arc<rustls::ClientConfig>,
    /// A server that does not answer a ping for so long is given up.
    pub server_timeout: Duration,
}

/// Serves the connections that servers open into the node.
#[async_trait]
pub trait KubeletEndpoint: Send + Sync + 'static {
    /// Serves one HTTP/1.1 connection to its end.
    async fn serve(&self, io: tokio::io::DuplexStream);
}

/// Which server the node is connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// The server's address; `None` while there is none.
    pub server: Option<String>,
    /// What the cluster told about itself, once it did.
    pub facts: Option<ClusterFacts>,
}

/// Why a stream could not be had or ended.
#[derive(Debug, Error)]
enum LinkError {
    #[error("{server}: cannot connect: {source}")]
    Connect {
        server: String,
        source: tonic::transport::Error,
    },
    #[error("{server}: {message}")]
    Refused { server: String, message: String },
    #[error("{server}: the address is not a host and port: {source}")]
    Address {
        server: String,
        source: tonic::transport::Error,
    },
}

/// The node's link to the control plane. Dropping the last clone does not end
/// it; cancel the token given to [`Agent::start`].
#[derive(Clone)]
pub struct Agent {
    shared: Arc<Shared>,
}

struct Shared {
    config: AgentConfig,
    view: NodeView,
    kubelet: Arc<dyn KubeletEndpoint>,
    connection: watch::Sender<Connection>,
    link: watch::Sender<Option<Link>>,
    servers: Mutex<Vec<String>>,
    next_call: AtomicU64,
}

/// One living stream.
#[derive(Clone)]
struct Link {
    up: mpsc::Sender<Up>,
    calls: Arc<Mutex<HashMap<u64, oneshot::Sender<Reply>>>>,
}

const UP_QUEUE: usize = 256;
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const ROUND_PAUSE_MIN: Duration = Duration::from_millis(100);
const ROUND_PAUSE_MAX: Duration = Duration::from_secs(5);

impl Agent {
    /// Starts to look for a server and keeps a stream to one until `cancel` is cancelled.
    #[must_use]
    pub fn start(
        config: AgentConfig,
        kubelet: Arc<dyn KubeletEndpoint>,
        cancel: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Shared {
            servers: Mutex::new(config.servers.clone()),
            config,
            view: NodeView::new(),
            kubelet,
            connection: watch::channel(Connection::default()).0,
            link: watch::channel(None).0,
            next_call: AtomicU64::new(1),
        });
        let keeper = shared.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = keeper.keep() => {}
            }
            keeper.link.send_replace(None);
        });
        Self { shared }
    }

    /// What the node knows of the cluster.
    #[must_use]
    pub fn view(&self) -> &NodeView {
        &self.shared.view
    }

    /// The node's way to the API. Calls wait for a connection; watches are not
    /// served, the view takes their place.
    #[must_use]
    pub fn api(&self) -> Arc<dyn Api> {
        Arc::new(self.clone())
    }

    /// The present connection; changes are signalled.
    #[must_use]
    pub fn connection(&self) -> watch::Receiver<Connection> {
        self.shared.connection.subscribe()
    }

    /// Tells the server that the node is alive; answers whether there is a server.
    pub async fn heartbeat(&self) -> bool {
        let link = self.shared.link.borrow().clone();
        match link {
            Some(link) => link.up.send(Up::Heartbeat(Heartbeat {})).await.is_ok(),
            None => false,
        }
    }

    /// The addresses of the servers as last told.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        self.shared.servers.lock().clone()
    }
}

#[async_trait]
impl Api for Agent {
    async fn call(&self, request: ApiRequest) -> Result<ApiResponse, Status> {
        let id = self.shared.next_call.fetch_add(1, Ordering::Relaxed);
        let call = wire::call(id, request);
        match tokio::time::timeout(CALL_TIMEOUT, self.shared.call(call)).await {
            Ok(result) => wire::answer(result?),
            Err(_) => Err(Status::timeout(
                "no server answered the node's request in time",
                1,
            )),
        }
    }

    async fn watch(&self, params: WatchParams) -> Result<WatchStream, Status> {
        Err(Status::method_not_allowed(
            &params.resource.group,
            &params.resource.resource,
            "watch",
        ))
    }
}

impl Shared {
    async fn call(&self, call: Call) -> Result<Reply, Status> {
        let lost =
            || Status::unavailable("the connection to the server was lost before it answered");
        let mut links = self.link.subscribe();
        let link = links
            .wait_for(Option::is_some)
            .await
            .map_err(|_| lost())?
            .clone()
            .expect("waited for");
        let (sender, receiver) = oneshot::channel();
        let id = call.id;
        link.calls.lock().insert(id, sender);
        let forget = scopeguard(link.calls.clone(), id);
        link.up.send(Up::Call(call)).await.map_err(|_| lost())?;
        let reply = receiver.await.map_err(|_| lost());
        drop(forget);
        reply
    }

    /// Tries one server after the other, without a pause inside a round.
    async fn keep(self: &Arc<Self>) {
        let mut pause = ROUND_PAUSE_MIN;
        loop {
            let mut servers = self.servers.lock().clone();
            shuffle(&mut servers);
            for server in servers {
                match self.connect(&server).await {
                    Ok(()) => pause = ROUND_PAUSE_MIN,
                    Err(error) => tracing::info!(%error, "no NodeLink"),
                }
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(ROUND_PAUSE_MAX);
        }
    }

    async fn channel(&self, server: &str) -> Result<Channel, LinkError> {
        let address = |source| LinkError::Address {
            server: server.to_owned(),
            source,
        };
        let endpoint = Endpoint::from_shared(format!("http://{server}"))
            .map_err(address)?
            .connect_timeout(self.config.server_timeout)
            .http2_keep_alive_interval(self.config.server_timeout / 2)
            .keep_alive_timeout(self.config.server_timeout / 2)
            .keep_alive_while_idle(true);
        crate::channel::connect(endpoint, self.config.tls.clone())
            .await
            .map_err(|source| LinkError::Connect {
                server: server.to_owned(),
                source,
            })
    }

    /// Holds a stream to one server until it ends.
    async fn connect(self: &Arc<Self>, server: &str) -> Result<(), LinkError> {
        let refused = |status: tonic::Status| LinkError::Refused {
            server: server.to_owned(),
            message: format!("{:?}: {}", status.code(), status.message()),
        };
        let mut client =
            NodeLinkClient::new(self.channel(server).await?).max_decoding_message_size(64 << 20);
        let (up, queue) = mpsc::channel(UP_QUEUE);
        let hello = Hello {
            node_name: self.config.node_name.clone(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            known: self.view.known(),
        };
        let first = tokio_stream::once(Up::Hello(hello));
        let messages = tokio_stream::StreamExt::chain(
            first,
            tokio_stream::wrappers::ReceiverStream::new(queue),
        );
        let messages = tokio_stream::StreamExt::map(messages, |message| AgentMessage {
            message: Some(message),
        });
        let mut stream = client
            .connect(messages)
            .await
            .map_err(refused)?
            .into_inner();

        let session = Session::new(self.clone(), server, up);
        let ended = session.run(&mut stream).await;
        session.end();
        match ended {
            Ok(()) => tracing::info!(server, "the server ended the NodeLink"),
            Err(status) => tracing::info!(server, message = status.message(), "NodeLink lost"),
        }
        Ok(())
    }
}

/// One stream, from its first message to its end.
struct Session {
    shared: Arc<Shared>,
    server: String,
    link: Link,
    tunnels: Tunnels,
    done: CancellationToken,
}

impl Session {
    fn new(shared: Arc<Shared>, server: &str, up: mpsc::Sender<Up>) -> Self {
        let (frames, mut outgoing) = mpsc::channel(UP_QUEUE);
        let done = CancellationToken::new();
        let forward = up.clone();
        tokio::spawn(done.clone().run_until_cancelled_owned(async move {
            while let Some(frame) = outgoing.recv().await {
                if forward.send(Up::Tunnel(frame)).await.is_err() {
                    break;
                }
            }
        }));
        Self {
            shared,
            server: server.to_owned(),
            link: Link {
                up,
                calls: Arc::default(),
            },
            tunnels: Tunnels::new(frames),
            done,
        }
    }

    async fn run(&self, stream: &mut tonic::Streaming<ServerMessage>) -> Result<(), tonic::Status> {
        while let Some(message) = stream.message().await? {
            match message.message {
                Some(Down::Welcome(welcome)) => self.welcome(welcome.facts),
                Some(Down::Upsert(upsert)) => match wire::received(&upsert.object) {
                    Ok(object) => self.shared.view.upsert(&upsert.resource, object),
                    Err(status) => {
                        tracing::warn!(resource = upsert.resource, %status, "an object was passed over")
                    }
                },
                Some(Down::Delete(delete)) => {
                    self.shared.view.remove(&delete.resource, &delete.key)
                }
                Some(Down::Synced(_)) => self.shared.view.set_synced(),
                Some(Down::Reply(reply)) => {
                    let waiter = self.link.calls.lock().remove(&reply.id);
                    if let Some(waiter) = waiter {
                        // The caller may have given up.
                        let _ = waiter.send(reply);
                    }
                }
                Some(Down::Tunnel(frame)) => {
                    if let Some((id, target)) = self.tunnels.deliver(frame) {
                        tokio::spawn(reach(self.shared.clone(), self.tunnels.clone(), id, target));
                    }
                }
                Some(Down::Servers(servers)) if !servers.addresses.is_empty() => {
                    let mut known = self.shared.config.servers.clone();
                    known.extend(servers.addresses);
                    known.sort();
                    known.dedup();
                    *self.shared.servers.lock() = known;
                }
                Some(Down::Servers(_)) | None => {}
            }
        }
        Ok(())
    }

    /// The stream stands: calls may use it.
    fn welcome(&self, facts: Option<ClusterFacts>) {
        tracing::info!(server = self.server, "NodeLink stands");
        self.shared.connection.send_replace(Connection {
            server: Some(self.server.clone()),
            facts,
        });
        self.shared.link.send_replace(Some(self.link.clone()));
    }

    fn end(&self) {
        self.done.cancel();
        self.tunnels.reset_all();
        self.shared.link.send_replace(None);
        self.shared
            .connection
            .send_modify(|connection| connection.server = None);
        // Callers learn at once that no answer will come.
        self.link.calls.lock().clear();
    }
}

/// Opens what a server asked for. A server reaches the node's kubelet and its
/// pods through the agent, and nothing else that the node could reach.
async fn reach(shared: Arc<Shared>, tunnels: Tunnels, id: u64, target: TunnelTarget) {
    match target.target {
        Some(Target::Kubelet(_)) => {
            let (near, far) = tokio::io::duplex(64 * 1024);
            tunnels.accept(id, near).await;
            shared.kubelet.serve(far).await;
        }
        Some(Target::Tcp(address)) if !shared.view.has_pod_at(&address) => {
            let why = format!("dial tcp {address}: no pod of this node has this address");
            tunnels.refuse(id, why).await;
        }
        Some(Target::Tcp(address)) => match dial(&address).await {
            Ok(io) => tunnels.accept(id, io).await,
            Err(error) => {
                tunnels
                    .refuse(id, format!("dial tcp {address}: {error}"))
                    .await
            }
        },
        None => {
            tunnels
                .refuse(
                    id,
                    "the server asked for a target that this agent does not know".into(),
                )
                .await
        }
    }
}

async fn dial(address: &str) -> std::io::Result<impl Io> {
    let connect = tokio::net::TcpStream::connect(address);
    tokio::time::timeout(Duration::from_secs(10), connect)
        .await
        .unwrap_or_else(|_| {
            Err(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                "i/o timeout",
            ))
        })
}

fn shuffle(servers: &mut [String]) {
    use rand::seq::SliceRandom;
    servers.shuffle(&mut rand::rng());
}

/// Forgets a call when its caller gives up.
fn scopeguard(calls: Arc<Mutex<HashMap<u64, oneshot::Sender<Reply>>>>, id: u64) -> impl Drop {
    struct Guard(Arc<Mutex<HashMap<u64, oneshot::Sender<Reply>>>>, u64);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.lock().remove(&self.1);
        }
    }
    Guard(calls, id)
}
