//! What a replica stands on, and how each part of it is opened.

use crate::config::{ConfigError, ReplicatedConfig};
use crate::identity::Identity;
use crate::log_store::LogStore;
use crate::machine::Machine;
use crate::metrics::Metrics;
use crate::net::{Network, TcpNetwork, accept_peers, with_h2};
use crate::peers::Peers;
use crate::position::Position;
use crate::raft_network::NetworkFactory;
use crate::replica::{RaftT, Replica};
use crate::server::PeerService;
use crate::workers::Workers;
use crate::{formation, loss, random};
use kontiki_mvcc::{EngineError, StateMachine};
use kontiki_wal::{Clock, Disk, FsDisk, FullDisk, SystemClock, Wal, WalConfig, WalError};
use openraft::{Config, SnapshotPolicy};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

/// Entries in one replication request; bounds its bytes together with the batch's.
const PAYLOAD_ENTRIES_MAX: u64 = 32;
/// Between two attempts to replicate to a member that is away. Three times the
/// same, because one alone is doubled up to a second, in which a member that is
/// back is of no use to a quorum.
const BACKOFF: &str = "100ms 100ms 100ms";
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

pub(crate) fn lock_dir(dir: &Path) -> Result<File, StartError> {
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

pub(crate) fn open_log(
    environment: &Environment,
    config: &ReplicatedConfig,
    metrics: Arc<Metrics>,
) -> Result<Wal, WalError> {
    let wal = WalConfig {
        segment_bytes_max: config.limits.wal_segment_bytes_max,
        cache_bytes_max: config.limits.wal_cache_bytes_max,
        // A replica whose disk is full waits; the others go on without it.
        full_disk: FullDisk::Wait(FULL_DISK_PAUSE),
        keys: config.keys.clone(),
        ..WalConfig::new(config.data_dir.join("wal"))
    };
    environment.workers.open_log(
        wal,
        environment.disk.clone(),
        environment.clock.clone(),
        metrics,
    )
}

/// Where the state machine stands, from its own data.
pub(crate) fn read_position(content: &StateMachine) -> Result<Position, StartError> {
    let position = Position::decode(content.applied_meta());
    Ok(position.map_err(|error| EngineError::damaged("reading the position", error))?)
}

/// Whoever the configuration places elsewhere than it did when the membership
/// last agreed with it has moved.
pub(crate) fn note_moved(
    peers: &Peers,
    config: &ReplicatedConfig,
    identity: &Identity,
    position: &Position,
) {
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
pub(crate) async fn open_identity(
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

pub(crate) async fn open_raft(
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
        backoff: BACKOFF.to_owned(),
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

pub(crate) async fn serve_peers(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_back_waits_no_longer_the_longer_it_was_away() {
        let config = Config {
            backoff: BACKOFF.to_owned(),
            ..Config::default()
        };
        let mut pauses = config.build_backoff();
        for attempt in 0..50 {
            let pause = pauses.next();
            assert_eq!(pause, Some(Duration::from_millis(100)), "attempt {attempt}");
        }
    }
}
