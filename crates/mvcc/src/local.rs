//! A store of one replica without a log: the state machine behind the
//! [`Store`] interface, with a clock for its leases.
//!
//! What is written survives as far as the engine does; there is no log to
//! replay. Meant for tests of everything above the store and for throw-away
//! servers.

use crate::check::{Limits, check, check_range, lease_ttl};
use crate::command::Command;
use crate::engine::{Engine, EngineError, MemoryEngine};
use crate::machine::{Applied, Background, Entry, Outcome, StateMachine};
use async_trait::async_trait;
use bytes::Bytes;
use kontiki_store::{
    Alarm, AuthChange, AuthState, Diagnosis, Dump, Header, KvHash, LeaseGrant, LeaseId, LeaseInfo,
    Member, MemberChange, MemberError, Operations, RangeRequest, RangeResponse, Revision, Store,
    StoreError, StoreStatus, TxnRequest, TxnResponse, WatchRequest, WatchStream,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, watch};

const MEMBER: u64 = 1;
const CLUSTER: u64 = 1;
const TERM: u64 = 1;
/// As etcd's with its default election timeout.
const TTL_SECONDS_MIN: i64 = 2;

/// A monotonic clock.
pub trait Clock: Send + Sync + 'static {
    /// Time since some fixed point.
    fn now(&self) -> Duration;
}

/// The runtime's clock, which tests can pause.
pub struct TokioClock(tokio::time::Instant);

impl TokioClock {
    /// A clock that starts now.
    #[must_use]
    pub fn new() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A [`Store`] directly over a [`StateMachine`].
pub struct LocalStore {
    machine: Arc<StateMachine>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    /// Index of the last entry; held while one is applied.
    index: Mutex<u64>,
    /// When leases end, unless they are kept alive.
    deadlines: Mutex<BTreeMap<LeaseId, Duration>>,
    deadlines_changed: Arc<Notify>,
    status: watch::Sender<StoreStatus>,
}

impl LocalStore {
    /// An empty store in memory that runs on the current runtime, clock and
    /// background work included.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn in_memory() -> Arc<Self> {
        Self::spawn(Arc::new(MemoryEngine::new())).expect("an engine in memory opens")
    }

    /// A store on `engine` that runs on the current runtime, clock and
    /// background work included.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn(engine: Arc<dyn Engine>) -> Result<Arc<Self>, EngineError> {
        let (store, background) = Self::open(engine, Arc::new(TokioClock::new()))?;
        tokio::spawn(background.run());
        tokio::spawn(expire_forever(Arc::downgrade(&store)));
        Ok(store)
    }

    /// A store whose clock, background work and lease expiry
    /// ([`Self::revoke_expired`]) are the caller's.
    pub fn open(
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Arc<Self>, Background), EngineError> {
        let (machine, background) = StateMachine::open(engine)?;
        let index = machine
            .applied_meta()
            .and_then(|meta| meta[..].try_into().ok().map(u64::from_be_bytes));
        let now = clock.now();
        let deadlines = machine
            .leases()
            .into_iter()
            .map(|lease| (lease.id, now + seconds(lease.ttl_seconds)));
        let store = Self {
            deadlines: Mutex::new(deadlines.collect()),
            deadlines_changed: Arc::new(Notify::new()),
            index: Mutex::new(index.unwrap_or(0)),
            status: watch::Sender::new(StoreStatus::default()),
            limits: Limits::default(),
            clock,
            machine,
        };
        store.publish_status(*store.index.lock());
        Ok((Arc::new(store), background))
    }

    /// The state machine, for tests that look inside.
    #[must_use]
    pub fn machine(&self) -> &Arc<StateMachine> {
        &self.machine
    }

    /// Revokes every lease whose time is over; answers when the next one ends.
    pub fn revoke_expired(&self) -> Option<Duration> {
        let now = self.clock.now();
        loop {
            let next = {
                let deadlines = self.deadlines.lock();
                deadlines.iter().map(|(id, at)| (*at, *id)).min()
            };
            match next {
                Some((at, id)) if at <= now => {
                    // Already revoked by a client is as good.
                    let _ = self.propose(Command::LeaseRevoke { id });
                    self.deadlines.lock().remove(&id);
                }
                next => return next.map(|(at, _)| at),
            }
        }
    }

    /// Applies one command.
    pub fn propose(&self, command: Command) -> Outcome {
        let mut index = self.index.lock();
        let entry = Entry {
            term: TERM,
            commands: vec![command],
        };
        let next = *index + 1;
        let meta = Bytes::copy_from_slice(&next.to_be_bytes());
        let outcomes = self.machine.apply(std::slice::from_ref(&entry), meta);
        let outcomes = outcomes.map_err(|error| StoreError::Internal(error.to_string()))?;
        *index = next;
        self.publish_status(next);
        outcomes
            .into_iter()
            .flatten()
            .next()
            .expect("one command has one outcome")
    }

    fn header(&self, outcome: Outcome) -> Result<Header, StoreError> {
        Ok(match outcome? {
            Applied::Header(header) => header,
            Applied::Txn(response) => response.header,
            Applied::Lease(grant) => grant.header,
        })
    }

    fn publish_status(&self, index: u64) {
        let (header, size) = (self.machine.header(), self.machine.size());
        self.status.send_replace(StoreStatus {
            cluster_id: CLUSTER,
            member_id: MEMBER,
            leader_id: MEMBER,
            raft_term: TERM,
            raft_index: index,
            applied_index: index,
            revision: header.revision,
            compact_revision: self.machine.compact_revision(),
            db_size_bytes: size.total_bytes,
            db_size_in_use_bytes: size.live_bytes,
            db_quota_bytes: 0,
            is_learner: false,
            recovered: true,
            errors: Vec::new(),
        });
    }

    fn set_deadline(&self, id: LeaseId, ttl_seconds: i64) {
        self.deadlines
            .lock()
            .insert(id, self.clock.now() + seconds(ttl_seconds));
        self.deadlines_changed.notify_one();
    }

    /// Positive, never 0, and scattered so that nobody relies on an order.
    fn free_lease_id(&self) -> LeaseId {
        let mut seed = *self.index.lock();
        loop {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (seed ^ (seed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let id = (mixed >> 1) as LeaseId;
            if id != 0 && self.machine.lease(id, false).is_none() {
                return id;
            }
        }
    }
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

async fn expire_forever(store: Weak<LocalStore>) {
    loop {
        let Some(strong) = store.upgrade() else {
            return;
        };
        let next = strong.revoke_expired();
        let changed = strong.deadlines_changed.clone();
        let left = next.map(|at| at.saturating_sub(strong.clock.now()));
        drop(strong);
        match left {
            Some(left) => {
                // Whichever comes first: a deadline, or news about deadlines.
                let _ = tokio::time::timeout(left, changed.notified()).await;
            }
            None => changed.notified().await,
        }
    }
}

impl Drop for LocalStore {
    fn drop(&mut self) {
        self.deadlines_changed.notify_one();
    }
}

#[async_trait]
impl Store for LocalStore {
    async fn range(&self, req: RangeRequest) -> Result<RangeResponse, StoreError> {
        check_range(&req)?;
        self.machine.range(&req)
    }

    async fn txn(&self, req: TxnRequest) -> Result<TxnResponse, StoreError> {
        check(&req, &self.limits)?;
        if req.is_read_only() {
            return self.machine.read_txn(&req);
        }
        self.machine.check_alarms(&req)?;
        match self.propose(Command::Txn(req))? {
            Applied::Txn(response) => Ok(response),
            other => Err(StoreError::Internal(format!(
                "a transaction answered {other:?}"
            ))),
        }
    }

    async fn read_barrier(&self) -> Result<Revision, StoreError> {
        Ok(self.machine.revision())
    }

    async fn compact(&self, revision: Revision, physical: bool) -> Result<Header, StoreError> {
        let header = self.header(self.propose(Command::Compact { revision }))?;
        if physical {
            self.machine.wait_swept(revision).await;
        }
        Ok(header)
    }

    async fn watch(&self, req: WatchRequest) -> Result<WatchStream, StoreError> {
        Ok(self.machine.watch(req))
    }

    async fn lease_grant(&self, id: LeaseId, ttl_seconds: i64) -> Result<LeaseGrant, StoreError> {
        let ttl_seconds = lease_ttl(ttl_seconds, TTL_SECONDS_MIN)?;
        let id = if id == 0 { self.free_lease_id() } else { id };
        match self.propose(Command::LeaseGrant { id, ttl_seconds })? {
            Applied::Lease(grant) => {
                self.set_deadline(id, ttl_seconds);
                Ok(grant)
            }
            other => Err(StoreError::Internal(format!("a grant answered {other:?}"))),
        }
    }

    async fn lease_revoke(&self, id: LeaseId) -> Result<Header, StoreError> {
        let header = self.header(self.propose(Command::LeaseRevoke { id }))?;
        self.deadlines.lock().remove(&id);
        Ok(header)
    }

    async fn lease_keep_alive(&self, id: LeaseId) -> Result<LeaseGrant, StoreError> {
        let header = self.machine.header();
        let Some(lease) = self.machine.lease(id, false) else {
            return Ok(LeaseGrant {
                header,
                id,
                ttl_seconds: 0,
            });
        };
        self.set_deadline(id, lease.ttl_seconds);
        Ok(LeaseGrant {
            header,
            id,
            ttl_seconds: lease.ttl_seconds,
        })
    }

    async fn lease_info(&self, id: LeaseId, keys: bool) -> Result<LeaseInfo, StoreError> {
        let header = self.machine.header();
        let Some(lease) = self.machine.lease(id, keys) else {
            return Ok(LeaseInfo {
                header,
                id,
                ttl_seconds: -1,
                ..LeaseInfo::default()
            });
        };
        let deadline = self.deadlines.lock().get(&id).copied().unwrap_or_default();
        let left = deadline.saturating_sub(self.clock.now());
        Ok(LeaseInfo {
            header,
            id,
            ttl_seconds: left.as_secs() as i64,
            granted_ttl_seconds: lease.ttl_seconds,
            keys: lease.keys,
        })
    }

    async fn leases(&self) -> Result<Vec<LeaseId>, StoreError> {
        Ok(self
            .machine
            .leases()
            .into_iter()
            .map(|lease| lease.id)
            .collect())
    }

    fn status(&self) -> watch::Receiver<StoreStatus> {
        self.status.subscribe()
    }

    async fn members(&self) -> Result<Vec<Member>, StoreError> {
        Ok(vec![Member {
            id: MEMBER,
            name: "local".to_owned(),
            ..Member::default()
        }])
    }
}

#[async_trait]
impl Operations for LocalStore {
    async fn hash_kv(&self, revision: Revision) -> Result<KvHash, StoreError> {
        let hash = self.machine.hash_kv(revision)?;
        Ok(KvHash {
            header: self.machine.header(),
            hash: hash.hash,
            revision: hash.revision,
            compact_revision: hash.compact_revision,
        })
    }

    async fn hash(&self) -> Result<u32, StoreError> {
        self.machine.state_hash()
    }

    async fn alarms(&self) -> Result<Vec<Alarm>, StoreError> {
        Ok(self.machine.alarms())
    }

    fn local_alarms(&self) -> Vec<Alarm> {
        self.machine.alarms()
    }

    async fn set_alarm(&self, alarm: Alarm, on: bool) -> Result<(), StoreError> {
        self.propose(Command::alarm(alarm, on)).map(drop)
    }

    async fn move_leader(&self, _to: u64) -> Result<(), StoreError> {
        Err(MemberError::BadTransferee.into())
    }

    async fn change_member(
        &self,
        change: MemberChange,
    ) -> Result<(Member, Vec<Member>), StoreError> {
        Err(match change {
            MemberChange::Remove { id: MEMBER } => MemberError::LastVoter,
            MemberChange::Promote { id: MEMBER } => MemberError::NotLearner,
            MemberChange::Remove { .. }
            | MemberChange::Promote { .. }
            | MemberChange::Readdress { .. } => MemberError::NotFound,
            MemberChange::Add { .. } => MemberError::Unsupported,
        }
        .into())
    }

    async fn diagnose(&self, write_probe: bool) -> Result<Diagnosis, StoreError> {
        Ok(Diagnosis {
            write_probe: write_probe.then_some(Ok(Duration::ZERO)),
            feature_level: self.machine.feature_level(),
            ..Diagnosis::default()
        })
    }

    async fn dump(&self) -> Result<Dump, StoreError> {
        let dumping = self.machine.dump();
        let dumping = dumping.map_err(|error| StoreError::Internal(error.to_string()))?;
        let applied_index = self.status.borrow().applied_index;
        Ok(Dump {
            header: dumping.header,
            compact_revision: dumping.compact_revision,
            applied_index,
            members: self.members().await?,
            auth: self.machine.auth(),
            alarms: self.machine.alarms(),
            items: dumping.items,
        })
    }

    fn auth(&self) -> Arc<AuthState> {
        self.machine.auth()
    }

    async fn change_auth(&self, change: AuthChange) -> Result<Header, StoreError> {
        self.header(self.propose(Command::Auth(change)))
    }

    async fn txn_permitted(
        &self,
        txn: TxnRequest,
        auth_revision: u64,
    ) -> Result<TxnResponse, StoreError> {
        check(&txn, &self.limits)?;
        if txn.is_read_only() {
            return self.machine.read_txn(&txn);
        }
        self.machine.check_alarms(&txn)?;
        match self.propose(Command::Permitted { auth_revision, txn })? {
            Applied::Txn(response) => Ok(response),
            other => Err(StoreError::Internal(format!(
                "a transaction answered {other:?}"
            ))),
        }
    }
}
