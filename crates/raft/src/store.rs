//! The replica's front: start, stop, and the store's interface.

use crate::config::{ConfigError, ReplicatedConfig};
use crate::identity::Identity;
use crate::lessor::Lessor;
use crate::log_store::LogStore;
use crate::machine::Machine;
use crate::metrics::Metrics;
use crate::net::{Network, TcpNetwork, accept_peers, with_h2};
use crate::peers::{Lane, Peers};
use crate::position::Position;
use crate::proposer::{self, Proposer};
use crate::raft_network::NetworkFactory;
use crate::reads;
use crate::replica::{RaftT, Replica};
use crate::server::{PeerService, renew_lease};
use crate::status::StatusBoard;
use crate::upkeep::{self, LeaderProposals};
use crate::waiters::Waiters;
use crate::wire::{KeepAliveRequest, TimeToLiveRequest};
use crate::workers::Workers;
use crate::{agreement, formation, loss, members, random, suspicion, watch};
use async_trait::async_trait;
use kontiki_mvcc::{Applied, Command, Engine, EngineError, StateMachine};
use kontiki_store::{
    Header, LeaseGrant, LeaseId, LeaseInfo, Member, RangeRequest, RangeResponse, Revision, Store,
    StoreError, StoreStatus, TxnRequest, TxnResponse, WatchRequest, WatchStream,
};
use kontiki_wal::{Clock, Disk, FsDisk, FullDisk, SystemClock, Wal, WalConfig, WalError};
use openraft::{Config, SnapshotPolicy};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tracing::Instrument;

/// Entries in one replication request; bounds its bytes together with the batch's.
const PAYLOAD_ENTRIES_MAX: u64 = 32;
const READS_WAITING_MAX: usize = 65_536;
const FULL_DISK_PAUSE: Duration = Duration::from_secs(1);

/// Tells the time since 1970. Whoever sets the machine's clock makes it jump.
pub type WallClock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// What a replica stands on; a simulation puts its own there.
#[derive(Clone)]
pub struct Environment {
    /// The disk of the log.
    pub disk: Arc<dyn Disk>,
    /// Time for leases.
    pub clock: Arc<dyn Clock>,
    /// The way to the peers.
    pub network: Arc<dyn Network>,
    /// The time of day.
    pub wall_clock: WallClock,
    /// Who does what may wait for the disk.
    pub workers: Workers,
}

impl Default for Environment {
    fn default() -> Self {
        Self {
            disk: Arc::new(FsDisk),
            clock: Arc::new(SystemClock::default()),
            network: Arc::new(TcpNetwork),
            wall_clock: Arc::new(|| {
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default()
            }),
            workers: Workers::default(),
        }
    }
}

/// Why a replica did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] WalError),
    /// The state machine's data cannot be used.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The data belongs to somebody else.
    #[error(
        "{data_dir} belongs to member {found_name:?} of a cluster with the token {found_token:?}, but the configuration is that of member {name:?} with the token {token:?}; check both, or give this member a data directory of its own"
    )]
    Foreign {
        /// The data directory.
        data_dir: String,
        /// Whose it is.
        found_name: String,
        /// Of which cluster.
        found_token: String,
        /// Who was to be started.
        name: String,
        /// In which cluster.
        token: String,
    },
    /// Log and state machine do not fit together.
    #[error(
        "the state machine's data and the write-ahead log do not belong together ({reason}); move both away and start this member again: it is rebuilt from its peers"
    )]
    Torn {
        /// What does not fit.
        reason: String,
    },
    /// The data is of a newer program.
    #[error(
        "the cluster uses feature level {data}, and this program understands {known}; start the version that the other members run, or a newer one"
    )]
    TooOld {
        /// What the cluster uses.
        data: u32,
        /// What this program knows.
        known: u32,
    },
    /// Another process uses the data directory.
    #[error("{data_dir} is in use by another process; is this member running already?")]
    Locked {
        /// The data directory.
        data_dir: String,
    },
    /// The peers' address cannot be listened on.
    #[error("cannot listen for peers on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The system refused something.
    #[error("cannot start the replica: {0}")]
    Io(#[from] io::Error),
    /// The consensus could not start.
    #[error("cannot start the consensus: {0}")]
    Consensus(String),
}

/// A replica of the store. Dropping it stops it without handing anything over.
pub struct ReplicatedStore {
    pub(crate) replica: Arc<Replica>,
    proposer: Proposer,
    tasks: Mutex<JoinSet<()>>,
    /// Held for as long as this process uses the data directory.
    _lock: Option<File>,
}

impl ReplicatedStore {
    /// Starts a replica on an engine. Members may be started in any order; the
    /// store serves once a quorum is there.
    pub async fn start(
        config: ReplicatedConfig,
        engine: Arc<dyn Engine>,
        registry: &mut Registry,
    ) -> Result<Self, StartError> {
        let lock = lock_dir(&config.data_dir)?;
        let mut store = Self::start_in(Environment::default(), config, engine, registry).await?;
        store._lock = Some(lock);
        Ok(store)
    }

    /// Like [`Self::start`], in an environment of one's own.
    pub async fn start_in(
        environment: Environment,
        config: ReplicatedConfig,
        engine: Arc<dyn Engine>,
        registry: &mut Registry,
    ) -> Result<Self, StartError> {
        config.validate()?;
        let metrics = Arc::new(Metrics::register(registry));
        let wal = open_log(&environment, &config, metrics.clone())?;
        let (content, background) = StateMachine::open(engine)?;
        if content.feature_level() > agreement::FEATURE_LEVEL {
            return Err(StartError::TooOld {
                data: content.feature_level(),
                known: agreement::FEATURE_LEVEL,
            });
        }
        let position = Position::decode(content.applied_meta())?;
        let identity = open_identity(&environment, &config, &wal, &position).await?;
        environment.workers.start(background)?;

        let status = Arc::new(StatusBoard::new(StoreStatus {
            cluster_id: identity.cluster_id,
            member_id: identity.member_id,
            revision: content.revision(),
            compact_revision: content.compact_revision(),
            applied_index: position.applied.map_or(0, |id| id.index),
            raft_index: position.applied.map_or(0, |id| id.index),
            ..StoreStatus::default()
        }));
        let waiters = Arc::new(Waiters::new(identity.member_id, identity.boot));
        let lessor = Arc::new(Lessor::new(environment.clock.clone()));
        let (applied_sender, applied) = watch::channel(position.applied.map_or(0, |id| id.index));
        let ids = (identity.cluster_id, identity.member_id);
        let peers = Arc::new(Peers::new(&config, environment.network.clone(), ids));
        note_moved(&peers, &config, &identity, &position);
        let machine = Machine {
            content: content.clone(),
            position,
            waiters: waiters.clone(),
            traces: config.traces.clone(),
            lessor: lessor.clone(),
            status: status.clone(),
            metrics: metrics.clone(),
            applied: applied_sender,
            workers: environment.workers.clone(),
        };
        let raft = open_raft(
            &config,
            &identity,
            peers.clone(),
            LogStore::new(wal.clone()),
            machine,
        )
        .await?;

        let (reads, reads_queue) = mpsc::channel(READS_WAITING_MAX);
        let (suspects, suspects_queue) = mpsc::channel(suspicion::WAITING_MAX);
        let (leader_sender, leader) = watch::channel(None);
        let admitted = watch::Sender::new(identity.admitted);
        let own = Arc::new(LeaderProposals::new(identity.boot));
        let replica = Arc::new(Replica {
            identity,
            content,
            raft,
            wal,
            peers,
            waiters,
            lessor,
            status,
            metrics,
            applied,
            leader,
            leaderless_since: Mutex::new(Some(Instant::now())),
            admitted,
            reads,
            suspects,
            readmission: Arc::default(),
            configured_noted: AtomicBool::new(false),
            own,
            workers: environment.workers.clone(),
            config,
        });
        let mut tasks = JoinSet::new();
        serve_peers(&environment, &replica, &mut tasks).await?;
        let limits = replica.config.limits;
        let (queue, requests) = mpsc::channel(limits.queued_requests_max);
        tasks.spawn(upkeep::follow(replica.clone(), leader_sender));
        tasks.spawn(proposer::run(replica.clone(), requests));
        tasks.spawn(reads::run(replica.clone(), reads_queue));
        tasks.spawn(suspicion::run(replica.clone(), suspects_queue));
        tasks.spawn(formation::run(replica.clone()));
        tasks.spawn(upkeep::await_recovery(replica.clone()));
        tasks.spawn(upkeep::shorten_log(replica.clone()));
        tasks.spawn(upkeep::end_leases(replica.clone()));
        tasks.spawn(agreement::raise_features(replica.clone()));
        if let Some(interval) = replica.config.compare_hashes {
            tasks.spawn(agreement::compare_hashes(replica.clone(), interval));
        }
        if let Some(interval) = replica.config.auto_compaction {
            tasks.spawn(upkeep::compact(replica.clone(), interval));
        }
        let proposer = Proposer::new(queue, limits.request_timeout);
        if let Some(quota) = replica.config.quota_bytes {
            tasks.spawn(upkeep::watch_quota(
                replica.clone(),
                proposer.clone(),
                quota,
            ));
        }
        Ok(Self {
            replica,
            proposer,
            tasks: Mutex::new(tasks),
            _lock: None,
        })
    }

    /// Stops the replica. A leader hands over first, so that nobody waits for
    /// an election.
    pub async fn shutdown(&self) {
        self.hand_over().await;
        // Bound here: the guard must not be held over an await.
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
        if let Err(error) = self.replica.raft.shutdown().await {
            tracing::warn!(%error, "the consensus did not stop cleanly");
        }
        let wal = self.replica.wal.clone();
        let content = self.replica.content.clone();
        // What was applied becomes durable now instead of being replayed at the next start.
        let close = move || {
            if let Err(error) = content.flush() {
                tracing::warn!(%error, "could not flush the state machine");
            }
            wal.close();
        };
        let _ = self.replica.workers.run(close).await;
    }

    /// The state machine of this replica, for what is not part of the store's
    /// interface: hashes and snapshots.
    #[must_use]
    pub fn state_machine(&self) -> &Arc<StateMachine> {
        &self.replica.content
    }

    async fn hand_over(&self) {
        let replica = &self.replica;
        if !replica.is_leader() {
            return;
        }
        if !members::step_aside(replica).await {
            tracing::warn!("nobody took over in time; the others will elect a leader");
        }
    }

    pub(crate) async fn propose(&self, command: Command) -> Result<Applied, StoreError> {
        let traces = self.replica.config.traces.as_ref();
        let Some(traces) = traces.filter(|traces| traces.current().is_some()) else {
            return self.proposer.propose(command, None).await;
        };
        let span = tracing::info_span!("raft propose");
        // Apply becomes a child of this span, on every replica.
        let trace = span.in_scope(|| traces.current());
        self.proposer.propose(command, trace).instrument(span).await
    }

    /// Asks whoever leads, again after a change, until the request's time is over.
    async fn of_leader<T, F, Fut>(&self, ask: F) -> Result<T, StoreError>
    where
        F: Fn(u64) -> Fut,
        Fut: Future<Output = Result<T, tonic::Status>>,
    {
        let deadline = Instant::now() + self.replica.config.limits.request_timeout;
        let mut leader = self.replica.leader.clone();
        loop {
            let known = *leader.borrow_and_update();
            if let Some(id) = known {
                let answer = tokio::time::timeout(self.replica.round_trip_max(), ask(id)).await;
                if let Ok(Ok(answer)) = answer {
                    return Ok(answer);
                }
            }
            tokio::select! {
                biased;
                changed = leader.changed() => if changed.is_err() {
                    return Err(StoreError::Stopped);
                },
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
            if Instant::now() >= deadline || self.replica.is_leaderless() {
                return Err(if known.is_none() {
                    StoreError::NoLeader
                } else {
                    StoreError::Timeout
                });
            }
        }
    }

    pub(crate) fn client(&self, id: u64) -> crate::peers::Client {
        self.replica
            .peers
            .client(id, &self.replica.peer_node(id).peer_address, Lane::Control)
    }
}

impl Drop for ReplicatedStore {
    fn drop(&mut self) {
        self.tasks.lock().abort_all();
        let raft = self.replica.raft.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { raft.shutdown().await });
        }
    }
}

fn lock_dir(dir: &Path) -> Result<File, StartError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(dir.join("LOCK"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StartError::Locked {
            data_dir: dir.display().to_string(),
        }),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn open_log(
    environment: &Environment,
    config: &ReplicatedConfig,
    metrics: Arc<Metrics>,
) -> Result<Wal, WalError> {
    let wal = WalConfig {
        segment_bytes_max: config.limits.wal_segment_bytes_max,
        cache_bytes_max: config.limits.wal_cache_bytes_max,
        // A replica whose disk is full waits; the others go on without it.
        full_disk: FullDisk::Wait(FULL_DISK_PAUSE),
        ..WalConfig::new(config.data_dir.join("wal"))
    };
    environment.workers.open_log(
        wal,
        environment.disk.clone(),
        environment.clock.clone(),
        metrics,
    )
}

/// Whoever the configuration places elsewhere than it did when the membership
/// last agreed with it has moved.
fn note_moved(peers: &Peers, config: &ReplicatedConfig, identity: &Identity, position: &Position) {
    let nodes = || position.membership.membership().nodes();
    peers.learn(
        nodes()
            .map(|(id, node)| (*id, node.peer_address.clone()))
            .collect(),
    );
    for (name, address) in config.addresses() {
        if identity.configured.get(&name) == Some(&address) {
            continue;
        }
        for (id, _) in nodes().filter(|(_, node)| node.name == name) {
            peers.moved(*id, address.clone());
        }
    }
}

/// Reads or makes this replica's identity and begins its next life.
async fn open_identity(
    environment: &Environment,
    config: &ReplicatedConfig,
    wal: &Wal,
    position: &Position,
) -> Result<Identity, StartError> {
    let stored = Identity::load(wal)?;
    let foreign = |found: &&Identity| {
        !found.name.is_empty()
            && (&found.name, &found.token) != (&config.name, &config.cluster_token)
    };
    if let Some(found) = stored.as_ref().filter(foreign) {
        return Err(StartError::Foreign {
            data_dir: config.data_dir.display().to_string(),
            found_name: found.name.clone(),
            found_token: found.token.clone(),
            name: config.name.clone(),
            token: config.cluster_token.clone(),
        });
    }
    if stored.as_ref().is_some_and(|found| found.lost) {
        let reason = loss::REASON.to_owned();
        return Err(StartError::Torn { reason });
    }
    let applied = position.applied.map(|id| id.index);
    if stored.is_none() && applied.is_some() {
        let reason = "the log is empty, the state machine is not".to_owned();
        return Err(StartError::Torn { reason });
    }
    let purged = wal.purged().map(|(index, _)| index);
    if let Some(purged) = purged.filter(|purged| applied.is_none_or(|applied| applied < *purged)) {
        let reason =
            format!("the log begins after entry {purged}, the state machine holds {applied:?}");
        return Err(StartError::Torn { reason });
    }
    // A log that holds anything was written after this disk was admitted.
    let admitted = stored.as_ref().is_some_and(|found| found.admitted) || wal.next_index() > 0;
    let (cluster_id, member_id) = match &stored {
        Some(found) if admitted => (found.cluster_id, found.member_id),
        _ => formation::discover(config, environment.network.clone())
            .await
            .unwrap_or_else(|| (config.cluster_id(), config.member_id(&config.name))),
    };
    // Later than any life that this disk or the applied proposals know of; the
    // wall clock helps a disk that was lost.
    let clock = u64::try_from((environment.wall_clock)().as_nanos()).unwrap_or(0);
    let known = stored
        .as_ref()
        .map_or(0, |identity| identity.boot)
        .max(position.window.boot(member_id));
    let disk_id = stored
        .as_ref()
        .map_or_else(random::id, |found| found.disk_id);
    let identity = Identity {
        lost: false,
        cluster_id,
        member_id,
        disk_id,
        boot: clock.max(known + 1),
        admitted,
        name: config.name.clone(),
        token: config.cluster_token.clone(),
        configured: stored.map(|found| found.configured).unwrap_or_default(),
    };
    identity.save(wal).await?;
    Ok(identity)
}

async fn open_raft(
    config: &ReplicatedConfig,
    identity: &Identity,
    peers: Arc<Peers>,
    log: LogStore,
    machine: Machine,
) -> Result<RaftT, StartError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let raft = Config {
        cluster_name: format!("{:x}", identity.cluster_id),
        heartbeat_interval: millis(config.timing.heartbeat),
        election_timeout_min: millis(config.timing.election_min),
        election_timeout_max: millis(config.timing.election_max),
        install_snapshot_timeout: 600_000,
        max_payload_entries: PAYLOAD_ENTRIES_MAX,
        // Snapshots and purges follow bytes as well as entries: see `upkeep`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        enable_pre_vote: Some(true),
        // Until the membership is known to name this disk, see `formation`.
        enable_elect: identity.admitted,
        enable_leader_restore: Some(false),
        backoff: "100ms".to_owned(),
        ..Config::default()
    };
    let raft = raft
        .validate()
        .map_err(|error| StartError::Consensus(error.to_string()))?;
    let network = NetworkFactory { peers };
    RaftT::new(identity.member_id, Arc::new(raft), network, log, machine)
        .await
        .map_err(|error| StartError::Consensus(error.to_string()))
}

async fn serve_peers(
    environment: &Environment,
    replica: &Arc<Replica>,
    tasks: &mut JoinSet<()>,
) -> Result<(), StartError> {
    let address = replica.config.listen_peer.clone();
    let listener = environment.network.listen(&address).await;
    let listener = listener.map_err(|source| StartError::Listen { address, source })?;
    let tls = replica
        .config
        .tls
        .as_ref()
        .map(|tls| with_h2((*tls.server).clone()));
    let (sender, accepted) = mpsc::channel(16);
    tasks.spawn(accept_peers(listener, tls, sender));
    let service = PeerService {
        replica: replica.clone(),
    }
    .into_server();
    let server = tonic::transport::Server::builder()
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .http2_keepalive_interval(Some(Duration::from_secs(2)))
        .http2_keepalive_timeout(Some(Duration::from_secs(3)))
        .add_service(service);
    tasks.spawn(async move {
        if let Err(error) = server
            .serve_with_incoming(ReceiverStream::new(accepted))
            .await
        {
            tracing::error!(%error, "the peers' service ended");
        }
    });
    Ok(())
}

#[async_trait]
impl Store for ReplicatedStore {
    async fn range(&self, req: RangeRequest) -> Result<RangeResponse, StoreError> {
        kontiki_mvcc::check_range(&req)?;
        if !req.serializable {
            self.read_barrier().await?;
        }
        self.replica.content.range(&req)
    }

    async fn txn(&self, req: TxnRequest) -> Result<TxnResponse, StoreError> {
        kontiki_mvcc::check(&req, &self.replica.config.limits.request)?;
        if req.is_read_only() {
            self.read_barrier().await?;
            return self.replica.content.read_txn(&req);
        }
        self.replica.content.check_alarms(&req)?;
        match self.propose(Command::Txn(req)).await? {
            Applied::Txn(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn read_barrier(&self) -> Result<Revision, StoreError> {
        reads::barrier(&self.replica).await
    }

    async fn compact(&self, revision: Revision, physical: bool) -> Result<Header, StoreError> {
        let applied = self.propose(Command::Compact { revision }).await?;
        if physical {
            self.replica.content.wait_swept(revision).await;
        }
        header(&applied)
    }

    async fn watch(&self, req: WatchRequest) -> Result<WatchStream, StoreError> {
        Ok(self.replica.content.watch(req))
    }

    async fn lease_grant(&self, id: LeaseId, ttl_seconds: i64) -> Result<LeaseGrant, StoreError> {
        let ttl_seconds = kontiki_mvcc::lease_ttl(
            ttl_seconds,
            self.replica.config.limits.lease_ttl_seconds_min,
        )?;
        let id = if id == 0 { random::lease_id() } else { id };
        match self
            .propose(Command::LeaseGrant { id, ttl_seconds })
            .await?
        {
            Applied::Lease(grant) => Ok(grant),
            other => Err(unexpected(&other)),
        }
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Header, StoreError> {
        header(&self.propose(Command::LeaseRevoke { id }).await?)
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<LeaseGrant, StoreError> {
        let own = self.replica.id();
        let ask = async |leader: u64| {
            if leader == own {
                return renew_lease(&self.replica, id).await;
            }
            let answer = self
                .client(leader)
                .keep_alive(KeepAliveRequest { lease: id })
                .await?;
            Ok(answer.into_inner().ttl_seconds)
        };
        let ttl_seconds = self.of_leader(ask).await?;
        Ok(LeaseGrant {
            header: self.replica.content.header(),
            id,
            ttl_seconds,
        })
    }

    async fn lease_info(&self, id: LeaseId, keys: bool) -> Result<LeaseInfo, StoreError> {
        self.read_barrier().await?;
        let header = self.replica.content.header();
        let Some(lease) = self.replica.content.lease(id, keys) else {
            return Ok(LeaseInfo {
                header,
                id,
                ttl_seconds: -1,
                ..LeaseInfo::default()
            });
        };
        let own = self.replica.id();
        let ask = async |leader: u64| {
            if leader == own {
                let remaining = self.replica.lessor.remaining(id);
                return remaining.map_err(|_| tonic::Status::unavailable("not the leader"));
            }
            let answer = self
                .client(leader)
                .time_to_live(TimeToLiveRequest { lease: id })
                .await?;
            Ok(answer.into_inner().ttl_seconds)
        };
        let ttl_seconds = self.of_leader(ask).await?;
        Ok(LeaseInfo {
            header,
            id,
            ttl_seconds,
            granted_ttl_seconds: lease.ttl_seconds,
            keys: lease.keys,
        })
    }

    async fn leases(&self) -> Result<Vec<LeaseId>, StoreError> {
        self.read_barrier().await?;
        Ok(self
            .replica
            .content
            .leases()
            .into_iter()
            .map(|lease| lease.id)
            .collect())
    }

    fn status(&self) -> tokio::sync::watch::Receiver<StoreStatus> {
        self.replica.status.subscribe()
    }

    async fn members(&self) -> Result<Vec<Member>, StoreError> {
        Ok(self
            .replica
            .members()
            .into_iter()
            .map(members::shown)
            .collect())
    }
}

pub(crate) fn header(applied: &Applied) -> Result<Header, StoreError> {
    match applied {
        Applied::Header(header) => Ok(*header),
        Applied::Lease(grant) => Ok(grant.header),
        Applied::Txn(response) => Ok(response.header),
    }
}

pub(crate) fn unexpected(applied: &Applied) -> StoreError {
    StoreError::Internal(format!(
        "the state machine answered something else: {applied:?}"
    ))
}
