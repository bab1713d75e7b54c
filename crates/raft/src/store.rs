//! The replica's front: start, stop, and the store's interface.

use crate::config::ReplicatedConfig;
use crate::corruption::Corruption;
use crate::lessor::Lessor;
use crate::log_store::LogStore;
use crate::machine::Machine;
use crate::metrics::Metrics;
use crate::peers::{Lane, Peers};
use crate::proposer::{self, Proposer};
use crate::reads;
use crate::replica::Replica;
use crate::server::renew_lease;
use crate::start::{
    Environment, StartError, lock_dir, note_moved, open_identity, open_log, open_raft,
    read_position, serve_peers,
};
use crate::status::StatusBoard;
use crate::upkeep::{self, LeaderProposals};
use crate::waiters::Waiters;
use crate::wire::{KeepAliveRequest, TimeToLiveRequest};
use crate::{agreement, formation, members, random, suspicion, watch};
use async_trait::async_trait;
use kontiki_mvcc::{Applied, Command, Engine, StateMachine};
use kontiki_store::{
    Header, LeaseGrant, LeaseId, LeaseInfo, Member, RangeRequest, RangeResponse, Revision, Store,
    StoreError, StoreStatus, TxnRequest, TxnResponse, WatchRequest, WatchStream,
};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument;

const READS_WAITING_MAX: usize = 65_536;

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
        let metrics = Arc::new(Metrics::new());
        let wal = open_log(&environment, &config, metrics.clone())?;
        let (content, background) = StateMachine::open(engine)?;
        if content.feature_level() > agreement::FEATURE_LEVEL {
            return Err(StartError::TooOld {
                data: content.feature_level(),
                known: agreement::FEATURE_LEVEL,
            });
        }
        let position = read_position(&content)?;
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
        let corruption = Corruption::default();
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
            corruption: corruption.clone(),
        };
        let raft = open_raft(
            &config,
            &identity,
            peers.clone(),
            LogStore::new(wal.clone(), corruption.clone()),
            machine,
        )
        .await?;

        metrics.register(registry);
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
            corruption,
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

    /// Waits until something that this member once wrote does not read back, and
    /// says what. Such a member must be stopped, and rebuilt at its next start.
    pub async fn corrupted(&self) -> String {
        self.replica.corruption.found().await
    }

    /// Waits until this replica has stopped of an error, for instance of a disk that
    /// was full when state had to be written, and says which. It does nothing more:
    /// a new start goes on from what is on the disk.
    pub async fn failed(&self) -> String {
        let mut metrics = self.replica.raft.metrics();
        loop {
            let state = metrics.borrow_watched().running_state.clone();
            match state {
                Ok(()) => {}
                // It was asked to.
                Err(Fatal::Stopped) => std::future::pending().await,
                Err(failure) => return failure.to_string(),
            }
            if metrics.changed().await.is_err() {
                return "consensus has ended".to_owned();
            }
        }
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
