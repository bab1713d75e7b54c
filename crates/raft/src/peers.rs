//! The peers this member talks to, and its standing connections to them.

use crate::config::ReplicatedConfig;
use crate::loss::Acknowledged;
use crate::net::{Network, client_with_h2, connect_peer};
use crate::wire::peer_client::PeerClient;
use hyper_util::rt::TokioIo;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};

/// Larger than any batch of entries can be, see `StoreLimits` and `max_payload_entries`.
pub(crate) const MESSAGE_BYTES_MAX: usize = 128 << 20;

/// How often, and how soon again, a member that may be dying is dialled.
const REFUSAL_TRIES: u32 = 10;
const REFUSAL_PAUSE: Duration = Duration::from_millis(10);

pub(crate) const META_CLUSTER: &str = "kontiki-cluster";
pub(crate) const META_FROM: &str = "kontiki-from";
pub(crate) const META_TO: &str = "kontiki-to";

pub(crate) type Client = PeerClient<InterceptedService<Channel, Identify>>;

/// What a connection is for. Each has one of its own, so that a snapshot does
/// not stand in the way of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    Replication,
    Control,
    Proposals,
    Snapshots,
}

/// Puts the caller's and the callee's identity on every call.
#[derive(Clone)]
pub(crate) struct Identify {
    cluster: MetadataValue<Ascii>,
    from: MetadataValue<Ascii>,
    to: MetadataValue<Ascii>,
}

impl Interceptor for Identify {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert(META_CLUSTER, self.cluster.clone());
        metadata.insert(META_FROM, self.from.clone());
        metadata.insert(META_TO, self.to.clone());
        Ok(request)
    }
}

/// Where members are.
#[derive(Default)]
struct Book {
    /// As the membership says.
    members: BTreeMap<u64, String>,
    /// As the configuration says since this start. It wins until the membership
    /// has news of its own.
    moved: BTreeMap<u64, String>,
}

/// Connections by peer and lane, made when first used.
pub(crate) struct Peers {
    network: Arc<dyn Network>,
    tls: Option<Arc<rustls::ClientConfig>>,
    cluster_id: u64,
    own_id: u64,
    /// The members of the initial cluster; counts until there is a membership.
    configured: BTreeMap<u64, String>,
    book: RwLock<Book>,
    connections: Mutex<BTreeMap<(u64, String, Lane), Channel>>,
    /// What they hold, as far as they told this member when it led.
    pub acknowledged: Acknowledged,
}

impl Peers {
    pub(crate) fn new(
        config: &ReplicatedConfig,
        network: Arc<dyn Network>,
        (cluster_id, own_id): (u64, u64),
    ) -> Self {
        let configured = config.initial_cluster.iter();
        Self {
            network,
            tls: config
                .tls
                .as_ref()
                .map(|tls| client_with_h2((*tls.client).clone())),
            cluster_id,
            own_id,
            book: RwLock::default(),
            configured: configured
                .map(|m| (config.member_id(&m.name), m.peer_address.clone()))
                .collect(),
            connections: Mutex::default(),
            acknowledged: Acknowledged::default(),
        }
    }

    /// The other members' ids; while none is known, the configured ones.
    pub(crate) fn others(&self) -> Vec<u64> {
        let book = self.book.read();
        let known = if book.members.is_empty() {
            &self.configured
        } else {
            &book.members
        };
        let mut ids: Vec<u64> = known
            .keys()
            .copied()
            .filter(|id| *id != self.own_id)
            .collect();
        ids.sort_unstable();
        ids
    }

    /// Whether the initial cluster has that member.
    pub(crate) fn is_configured(&self, id: u64) -> bool {
        self.configured.contains_key(&id)
    }

    pub(crate) fn address(&self, id: u64) -> Option<String> {
        let book = self.book.read();
        let known = book.moved.get(&id).or_else(|| book.members.get(&id));
        known.or_else(|| self.configured.get(&id)).cloned()
    }

    /// Takes over where the membership says that the members are.
    pub(crate) fn learn(&self, members: BTreeMap<u64, String>) {
        let mut book = self.book.write();
        if book.members == members {
            return;
        }
        let Book {
            members: old,
            moved,
        } = &mut *book;
        moved.retain(|id, _| old.get(id).is_none() || old.get(id) == members.get(id));
        *old = members;
        // Connections to where nobody is any more are let go.
        let (members, moved) = (book.members.clone(), book.moved.clone());
        drop(book);
        self.connections.lock().retain(|(id, address, _), _| {
            members.get(id) == Some(address) || moved.get(id) == Some(address)
        });
    }

    /// A member is where the configuration says since this start.
    pub(crate) fn moved(&self, id: u64, address: String) {
        self.book.write().moved.insert(id, address);
    }

    /// A client for a member; `fallback` is its address if nothing newer is known.
    pub(crate) fn client(&self, id: u64, fallback: &str, lane: Lane) -> Client {
        let address = self.address(id).unwrap_or_else(|| fallback.to_owned());
        let key = (id, address, lane);
        let channel = self
            .connections
            .lock()
            .entry(key.clone())
            .or_insert_with(|| self.channel(key.1))
            .clone();
        let number = |value: u64| MetadataValue::from(value);
        let identify = Identify {
            cluster: number(self.cluster_id),
            from: number(self.own_id),
            to: number(id),
        };
        PeerClient::with_interceptor(channel, identify)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn channel(&self, address: String) -> Channel {
        let (network, tls) = (self.network.clone(), self.tls.clone());
        let connect = tower::service_fn(move |_: Uri| {
            let stream = connect_peer(network.clone(), tls.clone(), address.clone());
            async move { stream.await.map(TokioIo::new) }
        });
        // The address is the connector's; the URI only has to be one.
        Endpoint::from_static("http://peer.kontiki")
            .connect_timeout(Duration::from_secs(1))
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(3))
            .keep_alive_while_idle(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .connect_with_connector_lazy(connect)
    }

    /// Whether the member's process is certainly gone: its address refuses. One
    /// that is dying may close its connections before the socket it listens on.
    pub(crate) async fn refuses(&self, id: u64) -> bool {
        let Some(address) = self.address(id) else {
            return false;
        };
        for _ in 0..REFUSAL_TRIES {
            let dial = self.network.dial(&address);
            match tokio::time::timeout(Duration::from_millis(200), dial).await {
                Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => return true,
                // No answer may just be the network: the ordinary timeout decides then.
                Err(_) => return false,
                Ok(_) => tokio::time::sleep(REFUSAL_PAUSE).await,
            }
        }
        false
    }
}
