//! Clients that read and write as those of Kubernetes do, and worse.

use crate::bugs::Bug;
use crate::ledger::Ledger;
use crate::world::World;
use bytes::Bytes;
use kontiki_checker::{Request, Response};
use kontiki_mvcc::conformance::Random;
use kontiki_raft::ReplicatedStore;
use kontiki_store::{
    Compare, CompareOp, CompareTarget, DeleteRangeRequest, KeyRange, LeaseId, Op, OpResponse,
    PutRequest, RangeRequest, Revision, SortKey, SortOrder, Store, StoreError, TxnRequest,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// After this long a client goes on without an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Leases that clients have at a time.
const LEASES_MAX: usize = 6;

struct Client {
    member: usize,
    ready_at: Duration,
    pending: Option<(usize, Duration)>,
}

/// The clients and what they have learned.
pub(crate) struct Workload {
    clients: Vec<Client>,
    random: Random,
    /// What is done how often, this time.
    weights: Vec<(usize, Kind)>,
    think_ms_max: usize,
    keys: usize,
    values: u64,
    /// When each key was last seen to have changed.
    known: BTreeMap<Bytes, Revision>,
    newest: Revision,
    leases: Vec<LeaseId>,
    last_lease: LeaseId,
    bug: Option<Bug>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Get,
    SerializableGet,
    List,
    ReadPast,
    Put,
    PutWithLease,
    Create,
    Update,
    Delete,
    DeletePrefix,
    Mixed,
    ReadOnly,
    Grant,
    KeepAlive,
    Revoke,
    Compact,
}

const KINDS: [(usize, Kind); 16] = [
    (12, Kind::Get),
    (4, Kind::SerializableGet),
    (5, Kind::List),
    (4, Kind::ReadPast),
    (14, Kind::Put),
    (8, Kind::PutWithLease),
    (8, Kind::Create),
    (16, Kind::Update),
    (6, Kind::Delete),
    (1, Kind::DeletePrefix),
    (6, Kind::Mixed),
    (3, Kind::ReadOnly),
    (3, Kind::Grant),
    (6, Kind::KeepAlive),
    (1, Kind::Revoke),
    (1, Kind::Compact),
];

impl Workload {
    pub(crate) fn new(clients: usize, members: usize, seed: u64, bug: Option<Bug>) -> Self {
        let mut random = Random::new(seed);
        // Not everything every time: what is rare beside others gets its day.
        let weights = KINDS.map(|(weight, kind)| {
            let factor = [0, 1, 1, 1, 3][random.below(5)];
            (weight * factor, kind)
        });
        let mut weights = weights.to_vec();
        weights.push((8, Kind::Put));
        let clients = (0..clients).map(|number| Client {
            member: number % members,
            ready_at: Duration::ZERO,
            pending: None,
        });
        Self {
            clients: clients.collect(),
            think_ms_max: [1, 5, 20, 60][random.below(4)],
            keys: [2, 4, 8][random.below(3)],
            random,
            weights,
            values: 0,
            known: BTreeMap::new(),
            newest: 1,
            leases: Vec::new(),
            last_lease: 0,
            bug,
        }
    }

    /// Lets every client that is ready do something.
    pub(crate) fn step(&mut self, world: &World) {
        for at in 0..self.clients.len() {
            if let Some((number, since)) = self.clients[at].pending {
                if let Some(answer) = world.ledger.answer(number) {
                    self.learn(answer);
                } else if world.now - since < PATIENCE
                    && world.nodes[self.clients[at].member].is_running()
                {
                    continue;
                } else if self.random.one_in(2) {
                    self.clients[at].member = self.random.below(world.nodes.len());
                }
                let think = self.random.below(self.think_ms_max + 1) as u64;
                self.clients[at].pending = None;
                self.clients[at].ready_at = world.now + Duration::from_millis(think);
            }
            if world.now < self.clients[at].ready_at {
                continue;
            }
            if self.random.one_in(40) {
                self.clients[at].member = self.random.below(world.nodes.len());
            }
            let member = self.clients[at].member;
            if world.nodes[member].store().is_none() {
                self.clients[at].member = self.random.below(world.nodes.len());
                continue;
            }
            let request = self.request();
            let number = call(world, member, request, self.bug);
            self.clients[at].pending = Some((number, world.now));
        }
    }

    fn learn(&mut self, answer: Result<Response, StoreError>) {
        match answer {
            Ok(Response::Range(response)) => {
                self.newest = self.newest.max(response.header.revision);
                for kv in response.kvs {
                    self.known.insert(kv.key, kv.mod_revision);
                }
            }
            Ok(Response::Txn(response)) => {
                self.newest = self.newest.max(response.header.revision);
                for response in response.responses {
                    if let OpResponse::Range(range) = response {
                        for kv in range.kvs {
                            self.known.insert(kv.key, kv.mod_revision);
                        }
                    }
                }
            }
            Ok(Response::Lease(grant)) if grant.ttl_seconds <= 0 => {
                self.leases.retain(|id| *id != grant.id);
            }
            Ok(Response::Lease(grant)) if !self.leases.contains(&grant.id) => {
                self.leases.push(grant.id);
            }
            _ => {}
        }
    }

    fn key(&mut self) -> Bytes {
        format!("k/{}", self.random.below(self.keys)).into()
    }

    fn put(&mut self, key: Bytes, lease: LeaseId) -> Op {
        self.values += 1;
        let padding = [0, 0, 10, 300][self.random.below(4)];
        let mut value = format!("v{}", self.values).into_bytes();
        value.resize(value.len() + padding, b'.');
        Op::Put(PutRequest {
            key,
            value: value.into(),
            lease,
            prev_kv: self.random.one_in(2),
            ..PutRequest::default()
        })
    }

    fn kind(&mut self) -> Kind {
        let sum = self.weights.iter().map(|(weight, _)| weight).sum();
        let mut drawn = self.random.below(sum);
        for (weight, kind) in &self.weights {
            if drawn < *weight {
                return *kind;
            }
            drawn -= weight;
        }
        Kind::Put
    }

    fn request(&mut self) -> Request {
        let key = self.key();
        let one = |key: &Bytes| RangeRequest {
            range: KeyRange::one(key.clone()),
            ..RangeRequest::default()
        };
        match self.kind() {
            Kind::Get => Request::Range(one(&key)),
            Kind::SerializableGet => Request::Range(RangeRequest {
                serializable: true,
                ..one(&key)
            }),
            Kind::List => Request::Range(self.list()),
            Kind::ReadPast => {
                let back = self.random.below(20) as Revision;
                Request::Range(RangeRequest {
                    revision: (self.newest - back).max(1),
                    ..self.list()
                })
            }
            Kind::Put => {
                let put = self.put(key, 0);
                Request::Txn(plain(put))
            }
            Kind::PutWithLease if !self.leases.is_empty() => {
                let lease = self.leases[self.random.below(self.leases.len())];
                let put = self.put(key, lease);
                Request::Txn(plain(put))
            }
            Kind::Create => {
                let put = self.put(key.clone(), 0);
                Request::Txn(TxnRequest {
                    compare: vec![Compare::mod_revision(key.clone(), 0)],
                    success: vec![put],
                    failure: vec![Op::Range(one(&key))],
                })
            }
            Kind::Update => {
                let known = self.known.get(&key).copied().unwrap_or(0);
                let put = self.put(key.clone(), 0);
                Request::Txn(TxnRequest {
                    compare: vec![Compare::mod_revision(key.clone(), known)],
                    success: vec![put],
                    failure: vec![Op::Range(one(&key))],
                })
            }
            Kind::Delete => Request::Txn(plain(self.delete(KeyRange::one(key)))),
            Kind::DeletePrefix => Request::Txn(plain(self.delete(KeyRange::prefix("k/")))),
            Kind::Mixed => Request::Txn(self.mixed(key)),
            Kind::ReadOnly => Request::Txn(TxnRequest {
                success: vec![Op::Range(one(&key)), Op::Range(self.list())],
                ..TxnRequest::default()
            }),
            Kind::Grant if self.leases.len() < LEASES_MAX => {
                self.last_lease += 1;
                Request::Grant {
                    id: self.last_lease,
                    ttl_seconds: 1 + self.random.below(3) as i64,
                }
            }
            Kind::KeepAlive if !self.leases.is_empty() => {
                Request::KeepAlive(self.leases[self.random.below(self.leases.len())])
            }
            Kind::Revoke if !self.leases.is_empty() => {
                let at = self.random.below(self.leases.len());
                Request::Revoke(self.leases.remove(at))
            }
            Kind::Compact => {
                let back = self.random.below(30) as Revision;
                Request::Compact((self.newest - back).max(1))
            }
            _ => Request::Range(one(&key)),
        }
    }

    fn list(&mut self) -> RangeRequest {
        let mut request = RangeRequest {
            range: KeyRange::prefix("k/"),
            ..RangeRequest::default()
        };
        match self.random.below(6) {
            0 => request.limit = 1 + self.random.below(3) as i64,
            1 => request.count_only = true,
            2 => request.keys_only = true,
            3 => {
                request.order = SortOrder::Descend;
                request.sort_by = [SortKey::Mod, SortKey::Key][self.random.below(2)];
            }
            4 => request.min_mod_revision = (self.newest - 10).max(0),
            _ => {}
        }
        request
    }

    fn delete(&mut self, range: KeyRange) -> Op {
        Op::DeleteRange(DeleteRangeRequest {
            range,
            prev_kv: self.random.one_in(2),
        })
    }

    /// Several operations, nested ones among them.
    fn mixed(&mut self, key: Bytes) -> TxnRequest {
        let other = Bytes::from(format!("k/x{}", self.random.below(2)));
        let read = Op::Range(RangeRequest {
            range: KeyRange::one(key.clone()),
            ..RangeRequest::default()
        });
        let nested = TxnRequest {
            compare: vec![Compare {
                range: KeyRange::one(other.clone()),
                op: CompareOp::Greater,
                target: CompareTarget::Version(0),
            }],
            success: vec![self.delete(KeyRange::one(other.clone()))],
            failure: vec![self.put(other, 0)],
        };
        let first = self.put(key.clone(), 0);
        let refused = self.put(Bytes::from_static(b"k/y"), 0);
        TxnRequest {
            compare: vec![Compare {
                range: KeyRange::one(key),
                op: [CompareOp::Less, CompareOp::NotEqual][self.random.below(2)],
                target: CompareTarget::Version(3),
            }],
            success: vec![first, read.clone(), Op::Txn(nested)],
            failure: vec![read, refused],
        }
    }
}

fn plain(op: Op) -> TxnRequest {
    TxnRequest {
        success: vec![op],
        ..TxnRequest::default()
    }
}

/// Calls a member; the answer goes to the ledger.
pub(crate) fn call(world: &World, member: usize, request: Request, bug: Option<Bug>) -> usize {
    let number = world.ledger.called(member, request.clone());
    let ledger: Ledger = world.ledger.clone();
    if let Some(store) = world.nodes[member].store() {
        world.nodes[member].spawn(async move {
            let result = carry_out(&store, request, bug).await;
            ledger.answered(number, result);
        });
    }
    number
}

async fn carry_out(
    store: &Arc<ReplicatedStore>,
    request: Request,
    bug: Option<Bug>,
) -> Result<Response, StoreError> {
    match request {
        Request::Range(mut request) => {
            let leads = store.status().borrow().is_leader();
            if bug == Some(Bug::StaleReadAfterPause) && leads {
                request.serializable = true;
            }
            store.range(request).await.map(Response::Range)
        }
        Request::Txn(request) => store.txn(request).await.map(Response::Txn),
        Request::Compact(revision) => store.compact(revision, false).await.map(Response::Header),
        Request::Grant { id, ttl_seconds } => store
            .lease_grant(id, ttl_seconds)
            .await
            .map(Response::Lease),
        Request::Revoke(id) => store.lease_revoke(id).await.map(Response::Header),
        Request::KeepAlive(id) => store.lease_keep_alive(id).await.map(Response::Lease),
    }
}
