//! The server's end of NodeLink.

use crate::feed::feed;
use crate::hub::{NODE_METADATA, NodeHub};
use crate::proto::node_link_server::{NodeLink, NodeLinkServer};
use crate::proto::{
    AgentMessage, Call, ClusterFacts, Hello, JoinReply, JoinRequest, RenewRequest, ServerMessage,
    Servers, TunnelFrame, Welcome, agent_message::Message as Up, server_message::Message as Down,
};
use crate::tunnel::Tunnels;
use crate::wire;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use kontiki_client::Api;
use kontiki_object::Status;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status as RpcStatus, Streaming};

/// Who is at the other end of a connection, by its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A node, by its name.
    Node(String),
    /// Another server.
    Server,
    /// Nobody that NodeLink knows.
    Other,
}

/// What NodeLink needs from the server it lives in.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Tells from a request's extensions who called.
    fn caller(&self, extensions: &http::Extensions) -> Caller;
    /// The API under a node's own identity.
    fn api(&self, node: &str) -> Arc<dyn Api>;
    /// The API under the service proxies' identity.
    fn network_api(&self) -> Arc<dyn Api>;
    /// Makes a machine with a bootstrap token a node.
    async fn join(&self, request: JoinRequest) -> Result<JoinReply, Status>;
    /// Renews a node's certificates.
    async fn renew(&self, node: &str, request: RenewRequest) -> Result<JoinReply, Status>;
    /// A node is alive.
    async fn heartbeat(&self, node: &str);
    /// What every node has to know.
    fn facts(&self) -> ClusterFacts;
    /// This server's name.
    fn name(&self) -> String;
    /// `host:port` of every server; changes are told to the nodes.
    fn servers(&self) -> watch::Receiver<Vec<String>>;
}

/// Calls of one node that may be under way at once.
const CALLS_MAX: usize = 64;
const DOWN_QUEUE: usize = 256;
/// Objects may be 3 MiB as JSON; a hello of a full node is smaller.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// The gRPC service.
pub struct Service<B> {
    backend: Arc<B>,
    hub: NodeHub,
    streams: AtomicU64,
    cancel: CancellationToken,
}

impl<B: Backend> Service<B> {
    /// A service to be mounted; streams end when `cancel` is cancelled.
    pub fn server(
        backend: Arc<B>,
        hub: NodeHub,
        cancel: CancellationToken,
    ) -> NodeLinkServer<Self> {
        NodeLinkServer::new(Self {
            backend,
            hub,
            streams: AtomicU64::new(1),
            cancel,
        })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn node<T>(&self, request: &Request<T>) -> Result<String, RpcStatus> {
        match self.backend.caller(request.extensions()) {
            Caller::Node(name) => Ok(name),
            other => Err(RpcStatus::permission_denied(format!(
                "NodeLink is for nodes: a client certificate with the common name system:node:NAME and the organization \
                 system:nodes is needed, the caller is {other:?}"
            ))),
        }
    }
}

fn rpc_status(status: &Status) -> RpcStatus {
    let code = match status.code {
        400 | 422 => tonic::Code::InvalidArgument,
        401 => tonic::Code::Unauthenticated,
        403 => tonic::Code::PermissionDenied,
        404 => tonic::Code::NotFound,
        409 => tonic::Code::AlreadyExists,
        503 | 504 => tonic::Code::Unavailable,
        _ => tonic::Code::Internal,
    };
    RpcStatus::new(code, status.to_string())
}

#[async_trait]
impl<B: Backend> NodeLink for Service<B> {
    type ConnectStream = BoxStream<'static, Result<ServerMessage, RpcStatus>>;
    type RelayStream = BoxStream<'static, Result<TunnelFrame, RpcStatus>>;

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, RpcStatus> {
        let reply = self.backend.join(request.into_inner()).await;
        reply
            .map(Response::new)
            .map_err(|status| rpc_status(&status))
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<JoinReply>, RpcStatus> {
        let node = self.node(&request)?;
        let reply = self.backend.renew(&node, request.into_inner()).await;
        reply
            .map(Response::new)
            .map_err(|status| rpc_status(&status))
    }

    async fn connect(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::ConnectStream>, RpcStatus> {
        let node = self.node(&request)?;
        let mut up = request.into_inner();
        let first = up.message().await?.and_then(|message| message.message);
        let Some(Up::Hello(hello)) = first else {
            return Err(RpcStatus::invalid_argument(
                "the first message of a NodeLink is a hello",
            ));
        };
        if hello.node_name != node {
            return Err(RpcStatus::permission_denied(format!(
                "the certificate is for node {node:?}, the agent calls itself {:?}",
                hello.node_name
            )));
        }
        let (down, queue) = mpsc::channel(DOWN_QUEUE);
        let stream = Stream {
            id: self.streams.fetch_add(1, Ordering::Relaxed),
            api: self.backend.api(&node),
            node,
            backend: self.backend.clone(),
            hub: self.hub.clone(),
            down,
            ended: self.cancel.child_token(),
        };
        tokio::spawn(stream.run(hello, up));
        let messages = ReceiverStream::new(queue).map(|message| {
            Ok(ServerMessage {
                message: Some(message),
            })
        });
        Ok(Response::new(messages.boxed()))
    }

    async fn relay(
        &self,
        request: Request<Streaming<TunnelFrame>>,
    ) -> Result<Response<Self::RelayStream>, RpcStatus> {
        if self.backend.caller(request.extensions()) != Caller::Server {
            return Err(RpcStatus::permission_denied("only servers relay"));
        }
        let node = request
            .metadata()
            .get(NODE_METADATA)
            .and_then(|name| name.to_str().ok())
            .unwrap_or_default();
        let Some(tunnels) = self.hub.local(node) else {
            return Err(RpcStatus::not_found(format!(
                "node {node:?} is not connected here"
            )));
        };
        let (frames, queue) = mpsc::channel(64);
        tokio::spawn(relay(
            node.to_owned(),
            tunnels,
            request.into_inner(),
            frames,
        ));
        Ok(Response::new(ReceiverStream::new(queue).map(Ok).boxed()))
    }
}

/// Joins a peer's tunnels with the node's.
async fn relay(
    node: String,
    to_node: Tunnels,
    mut from_peer: Streaming<TunnelFrame>,
    frames: mpsc::Sender<TunnelFrame>,
) {
    let peer = Tunnels::new(frames);
    while let Ok(Some(frame)) = from_peer.message().await {
        if let Some((id, target)) = peer.deliver(frame) {
            let (peer, to_node, node) = (peer.clone(), to_node.clone(), node.clone());
            tokio::spawn(async move {
                match to_node.open(target).await {
                    Ok(io) => peer.accept(id, io).await,
                    Err(error) => peer.refuse(id, format!("node {node:?}: {error}")).await,
                }
            });
        }
    }
    peer.reset_all();
}

/// One node's stream.
struct Stream<B> {
    id: u64,
    node: String,
    api: Arc<dyn Api>,
    backend: Arc<B>,
    hub: NodeHub,
    down: mpsc::Sender<Down>,
    ended: CancellationToken,
}

impl<B: Backend> Stream<B> {
    async fn run(self, hello: Hello, mut up: Streaming<AgentMessage>) {
        tracing::info!(
            node = self.node,
            agent = hello.agent_version,
            holds = hello.known.len(),
            "node connected"
        );
        let (frames, outgoing) = mpsc::channel(DOWN_QUEUE);
        let tunnels = Tunnels::new(frames);
        self.hub.enter(&self.node, self.id, tunnels.clone());
        let welcome = Welcome {
            server: self.backend.name(),
            facts: Some(self.backend.facts()),
        };
        if self.down.send(Down::Welcome(welcome)).await.is_ok() {
            let ended = self.ended.clone();
            tokio::spawn(
                ended
                    .clone()
                    .run_until_cancelled_owned(forward(outgoing, self.down.clone())),
            );
            tokio::spawn(ended.clone().run_until_cancelled_owned(tell_servers(
                self.backend.servers(),
                self.down.clone(),
            )));
            let feeding = feed(
                self.api.clone(),
                self.backend.network_api(),
                self.node.clone(),
                hello.known,
                self.down.clone(),
            );
            tokio::spawn(ended.clone().run_until_cancelled_owned(feeding));
            tokio::select! {
                () = ended.cancelled() => {}
                () = self.receive(&mut up, &tunnels) => {}
                () = self.down.closed() => {}
            }
        }
        self.ended.cancel();
        self.hub.leave(&self.node, self.id);
        tracing::info!(node = self.node, "node disconnected");
    }

    async fn receive(&self, up: &mut Streaming<AgentMessage>, tunnels: &Tunnels) {
        let calls = Arc::new(Semaphore::new(CALLS_MAX));
        loop {
            let message = match up.message().await {
                Ok(Some(message)) => message.message,
                Ok(None) => return,
                Err(status) => {
                    tracing::debug!(
                        node = self.node,
                        message = status.message(),
                        "the node's stream broke"
                    );
                    return;
                }
            };
            match message {
                Some(Up::Call(call)) => {
                    // Waiting here holds the node back when it asks too much at once.
                    let Ok(permit) = calls.clone().acquire_owned().await else {
                        return;
                    };
                    let (api, down) = (self.api.clone(), self.down.clone());
                    tokio::spawn(async move {
                        answer(api, call, down).await;
                        drop(permit);
                    });
                }
                Some(Up::Heartbeat(_)) => {
                    let (backend, node) = (self.backend.clone(), self.node.clone());
                    tokio::spawn(async move { backend.heartbeat(&node).await });
                }
                Some(Up::Tunnel(frame)) => {
                    if let Some((id, _)) = tunnels.deliver(frame) {
                        tunnels.refuse(id, "nodes do not open tunnels".into()).await;
                    }
                }
                Some(Up::Hello(_)) | None => {}
            }
        }
    }
}

async fn answer(api: Arc<dyn Api>, call: Call, down: mpsc::Sender<Down>) {
    let id = call.id;
    let result = match wire::request(call) {
        Ok(request) => api.call(request).await,
        Err(status) => Err(status),
    };
    // If the stream is gone the agent has told its caller so already.
    let _ = down.send(Down::Reply(wire::reply(id, result))).await;
}

async fn forward(mut frames: mpsc::Receiver<TunnelFrame>, down: mpsc::Sender<Down>) {
    while let Some(frame) = frames.recv().await {
        if down.send(Down::Tunnel(frame)).await.is_err() {
            return;
        }
    }
}

async fn tell_servers(mut servers: watch::Receiver<Vec<String>>, down: mpsc::Sender<Down>) {
    loop {
        let addresses = servers.borrow_and_update().clone();
        if down
            .send(Down::Servers(Servers { addresses }))
            .await
            .is_err()
            || servers.changed().await.is_err()
        {
            return;
        }
    }
}
