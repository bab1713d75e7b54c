//! What a replica is told at start. Parsed elsewhere; defaults live here.

use kontiki_mvcc::Limits;
use kontiki_seal::Keyring;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Carries a request's trace through the log, as a W3C trace parent.
pub trait TraceContext: Send + Sync {
    /// The trace parent of the current span, if that is being traced.
    fn current(&self) -> Option<String>;

    /// Makes `span` a child of the span that a trace parent names.
    fn join(&self, span: &tracing::Span, parent: &str);
}

/// What operators are told about this member beyond its status.
pub type Remarks = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// A member of the cluster's first configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialMember {
    /// Its name, unique in the cluster.
    pub name: String,
    /// Where its peers reach it, as `host:port`.
    pub peer_address: String,
}

/// Whether there is a cluster already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitialState {
    /// The members of the initial cluster make one, once. A member that finds
    /// that they have belongs to it, or comes back to it.
    #[default]
    New,
    /// This member was added to a running cluster; the initial cluster tells
    /// where to find it.
    Existing,
}

/// Mutual TLS between peers, from a CA that signs nothing else.
#[derive(Clone)]
pub struct PeerTls {
    /// Must demand client certificates.
    pub server: Arc<rustls::ServerConfig>,
    /// Must present a client certificate.
    pub client: Arc<rustls::ClientConfig>,
}

impl fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerTls")
    }
}

/// Raft's clockwork. Defaults are meant for servers in one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often a leader shows that it lives.
    pub heartbeat: Duration,
    /// A follower that heard nothing for `election_max` waits at least this
    /// long more before it tries to lead.
    pub election_min: Duration,
    /// See `election_min`; also how long a leader may accept proposals after a
    /// quorum last answered it.
    pub election_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        // A paused leader is replaced after election_max + election_min..max.
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(300),
            election_max: Duration::from_millis(500),
        }
    }
}

/// Bounds of a replica. Each is a number of what its name ends with.
#[derive(Clone, Copy, Debug)]
pub struct StoreLimits {
    /// Of a single request.
    pub request: Limits,
    /// Requests that wait to be proposed; more are refused.
    pub queued_requests_max: usize,
    /// Requests in one log entry.
    pub batch_requests_max: usize,
    /// Bytes of keys and values in one log entry, unless one request is larger.
    pub batch_bytes_max: usize,
    /// Log entries of this replica under way at a time.
    pub batches_in_flight_max: usize,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// The shortest time to live of a lease.
    pub lease_ttl_seconds_min: i64,
    /// Bytes of the log's segments.
    pub wal_segment_bytes_max: u64,
    /// Bytes of newest log entries in memory.
    pub wal_cache_bytes_max: usize,
    /// The log is purged once it holds this many bytes …
    pub log_bytes_max: u64,
    /// … or this many entries that are not in the state machine on disk.
    pub log_entries_max: u64,
    /// Entries that stay for members that lag behind.
    pub log_entries_kept: u64,
    /// How often the log's length and the sizes in the status are looked at.
    pub log_check_every: Duration,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            request: Limits::default(),
            queued_requests_max: 8192,
            batch_requests_max: 512,
            batch_bytes_max: 1 << 20,
            batches_in_flight_max: 16,
            request_timeout: Duration::from_secs(7),
            lease_ttl_seconds_min: 2,
            wal_segment_bytes_max: 64 << 20,
            wal_cache_bytes_max: 16 << 20,
            log_bytes_max: 256 << 20,
            log_entries_max: 20_000,
            log_entries_kept: 5_000,
            log_check_every: Duration::from_secs(2),
        }
    }
}

/// Everything a replica is told at start.
#[derive(Clone)]
pub struct ReplicatedConfig {
    /// Where the log lies. The engine's data is the caller's affair.
    pub data_dir: PathBuf,
    /// This member's name, one of `initial_cluster`.
    pub name: String,
    /// Tells clusters apart that have members of the same names.
    pub cluster_token: String,
    /// Every member, the same list on each. Only a member without a past of its
    /// own reads more from it than that somebody has moved.
    pub initial_cluster: Vec<InitialMember>,
    /// Whether there is a cluster already.
    pub initial_state: InitialState,
    /// Where to listen for peers, as `host:port`.
    pub listen_peer: String,
    /// Where etcd clients reach this member, as URLs; told to other members.
    pub client_urls: Vec<String>,
    /// TLS between peers; `None` is for tests on one machine.
    pub tls: Option<PeerTls>,
    /// Raft's clockwork.
    pub timing: Timing,
    /// Bounds.
    pub limits: StoreLimits,
    /// Compact what is older than this, as often as this; `None`: never.
    pub auto_compaction: Option<Duration>,
    /// Let added members vote as soon as they have caught up.
    pub auto_promote: bool,
    /// Refuse changes of the membership after which no quorum would be alive.
    pub strict_reconfig: bool,
    /// Bytes in use above which only deletions and compactions are taken.
    pub quota_bytes: Option<u64>,
    /// How often the leader compares what the members hold; `None`: never.
    pub compare_hashes: Option<Duration>,
    /// How long there may be no leader until calls that need one fail at once.
    pub leaderless_max: Duration,
    /// How traces are carried; `None`: they end here.
    pub traces: Option<Arc<dyn TraceContext>>,
    /// What operators are told about this member beyond its status.
    pub remarks: Option<Remarks>,
    /// Seals the log. The engine's data is the caller's affair.
    pub keys: Option<Arc<Keyring>>,
}

/// A configuration that cannot work.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// This member is not in the list.
    #[error(
        "member {0:?} is not in the initial cluster; add it to the list, which must be the same on every member"
    )]
    NotListed(String),
    /// Two members share a name or an address.
    #[error("{0:?} appears twice in the initial cluster; names and addresses must differ")]
    Twice(String),
    /// The clockwork does not fit together.
    #[error(
        "timing: heartbeat {0:?} must be below election_min {1:?}, and that below election_max {2:?}"
    )]
    Timing(Duration, Duration, Duration),
}

impl ReplicatedConfig {
    /// A configuration with defaults for everything that has one.
    #[must_use]
    pub fn new(
        data_dir: impl Into<PathBuf>,
        name: &str,
        initial_cluster: Vec<InitialMember>,
    ) -> Self {
        let own = initial_cluster.iter().find(|member| member.name == name);
        Self {
            data_dir: data_dir.into(),
            name: name.to_owned(),
            cluster_token: "kontiki".to_owned(),
            listen_peer: own
                .map(|member| member.peer_address.clone())
                .unwrap_or_default(),
            initial_cluster,
            initial_state: InitialState::default(),
            client_urls: Vec::new(),
            tls: None,
            timing: Timing::default(),
            limits: StoreLimits::default(),
            auto_compaction: Some(Duration::from_secs(300)),
            auto_promote: true,
            strict_reconfig: true,
            quota_bytes: None,
            compare_hashes: Some(Duration::from_secs(600)),
            leaderless_max: Duration::from_secs(3),
            traces: None,
            remarks: None,
            keys: None,
        }
    }

    /// Refuses what cannot work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !self
            .initial_cluster
            .iter()
            .any(|member| member.name == self.name)
        {
            return Err(ConfigError::NotListed(self.name.clone()));
        }
        let mut seen = std::collections::HashSet::new();
        for member in &self.initial_cluster {
            for text in [&member.name, &member.peer_address] {
                if !seen.insert(text) {
                    return Err(ConfigError::Twice(text.clone()));
                }
            }
        }
        let Timing {
            heartbeat,
            election_min,
            election_max,
        } = self.timing;
        if heartbeat >= election_min || election_min >= election_max {
            return Err(ConfigError::Timing(heartbeat, election_min, election_max));
        }
        Ok(())
    }

    /// Where the peers reach this member, as the configuration says.
    #[must_use]
    pub fn own_address(&self) -> String {
        let own = self.initial_cluster.iter().find(|m| m.name == self.name);
        own.map(|own| own.peer_address.clone()).unwrap_or_default()
    }

    /// Where the configuration says that each member is.
    #[must_use]
    pub fn addresses(&self) -> std::collections::BTreeMap<String, String> {
        let members = self.initial_cluster.iter();
        members
            .map(|m| (m.name.clone(), m.peer_address.clone()))
            .collect()
    }

    /// The id that a member of the initial cluster has: the same on every member.
    #[must_use]
    pub fn member_id(&self, name: &str) -> u64 {
        derive_id(&["member", &self.cluster_token, name])
    }

    /// The id of the cluster that the initial cluster makes: the same on every member.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        let mut names: Vec<&str> = self
            .initial_cluster
            .iter()
            .map(|member| member.name.as_str())
            .collect();
        names.sort_unstable();
        let mut parts = vec!["cluster", self.cluster_token.as_str()];
        parts.extend(names);
        derive_id(&parts)
    }
}

pub(crate) fn derive_id(parts: &[&str]) -> u64 {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let id = u64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"));
    // Zero means "none" everywhere.
    id.max(1)
}
