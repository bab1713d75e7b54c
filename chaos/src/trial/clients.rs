//! Clients with the shapes of Kubernetes traffic: creations, guarded updates and
//! deletions, lists in pages, events and leases that end, compaction.

use crate::trial::recorder::Recorder;
use crate::trial::wire::Wire;
use bytes::Bytes;
use kontiki_checker::{Request, Response};
use kontiki_mvcc::conformance::Random;
use kontiki_store::{
    Compare, DeleteRangeRequest, KeyRange, LeaseId, Op, OpResponse, PutRequest, RangeRequest,
    Revision, StoreError, TxnRequest,
};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// After this long a client goes on without an answer.
const PATIENCE: Duration = Duration::from_millis(2_000);
/// ConfigMaps that are fought about.
const MAPS: usize = 24;
/// Keys of a page.
const PAGE: i64 = 7;
/// Pages of a list, so that none goes on for ever.
const PAGES_MAX: usize = 6;
/// Leases that a client has at a time.
const LEASES_MAX: usize = 3;
const TTL_SECONDS: [i64; 3] = [1, 2, 4];
/// Revisions that compaction leaves.
const KEPT: Revision = 300;

/// How much they do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub clients: usize,
    /// Calls a second of each, at most.
    pub rate: u32,
}

/// Clients at work.
pub(crate) struct Clients {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

struct Client {
    number: usize,
    recorder: Recorder,
    wires: Vec<Wire>,
    member: usize,
    random: Random,
    written: u64,
    /// When each key was last seen to have changed; 0: it was not there.
    known: BTreeMap<Bytes, Revision>,
    newest: Revision,
    leases: Vec<LeaseId>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Get,
    SerializableGet,
    List,
    Count,
    ReadPast,
    Create,
    Update,
    Delete,
    Event,
    Put,
    Grant,
    KeepAlive,
    Revoke,
    Compact,
}

const KINDS: [(usize, Kind); 14] = [
    (14, Kind::Get),
    (6, Kind::SerializableGet),
    (5, Kind::List),
    (2, Kind::Count),
    (3, Kind::ReadPast),
    (12, Kind::Create),
    (30, Kind::Update),
    (8, Kind::Delete),
    (8, Kind::Event),
    (6, Kind::Put),
    (2, Kind::Grant),
    (6, Kind::KeepAlive),
    (1, Kind::Revoke),
    (1, Kind::Compact),
];

impl Clients {
    pub(crate) fn start(recorder: &Recorder, wires: &[Wire], load: Load, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut tasks = JoinSet::new();
        let stop = CancellationToken::new();
        for number in 0..load.clients {
            let client = Client {
                number,
                recorder: recorder.clone(),
                wires: wires.to_vec(),
                member: number % wires.len(),
                random: Random::new(random.number()),
                written: 0,
                known: BTreeMap::new(),
                newest: 1,
                leases: Vec::new(),
            };
            tasks.spawn(client.run(stop.clone(), load.rate));
        }
        Self { stop, tasks }
    }

    /// Lets everybody finish the call under way.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Makes a call and notes it; `None`: there was no answer in time.
pub(crate) async fn call(
    recorder: &Recorder,
    wire: &Wire,
    member: usize,
    request: Request,
) -> Option<Result<Response, StoreError>> {
    let number = recorder.called(member, request.clone());
    let answer = tokio::time::timeout(PATIENCE, wire.call(&request))
        .await
        .ok()?;
    recorder.answered(number, answer.clone());
    Some(answer)
}

fn map_key(number: usize) -> Bytes {
    format!("/registry/configmaps/default/map-{number}").into()
}

impl Client {
    async fn run(mut self, stop: CancellationToken, rate: u32) {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            pace.tick().await;
            match self.kind() {
                Kind::List => self.list().await,
                kind => {
                    let request = self.request(kind);
                    self.call(request).await;
                }
            }
        }
    }

    async fn call(&mut self, request: Request) -> Option<Response> {
        let wire = self.wires[self.member].clone();
        let answer = call(&self.recorder, &wire, self.member, request).await;
        match answer {
            Some(Ok(response)) => {
                self.learn(&response);
                if self.random.one_in(200) {
                    self.member = self.random.below(self.wires.len());
                }
                Some(response)
            }
            Some(Err(error)) if error.is_definite() && error != StoreError::NoLeader => None,
            _ => {
                self.member = self.random.below(self.wires.len());
                None
            }
        }
    }

    fn learn(&mut self, response: &Response) {
        let (header, ranges): (_, Vec<_>) = match response {
            Response::Range(range) => (range.header, vec![range]),
            Response::Txn(txn) => {
                let ranges = txn.responses.iter().filter_map(|op| match op {
                    OpResponse::Range(range) => Some(range),
                    _ => None,
                });
                (txn.header, ranges.collect())
            }
            Response::Lease(grant) if grant.ttl_seconds <= 0 => {
                self.leases.retain(|id| *id != grant.id);
                return;
            }
            Response::Lease(grant) => {
                if !self.leases.contains(&grant.id) {
                    self.leases.push(grant.id);
                }
                return;
            }
            Response::Header(_) => return,
        };
        self.newest = self.newest.max(header.revision);
        for kv in ranges.iter().flat_map(|range| &range.kvs) {
            self.known.insert(kv.key.clone(), kv.mod_revision);
        }
    }

    fn kind(&mut self) -> Kind {
        let sum = KINDS.iter().map(|(weight, _)| weight).sum();
        let mut drawn = self.random.below(sum);
        for (weight, kind) in KINDS {
            if drawn < weight {
                return kind;
            }
            drawn -= weight;
        }
        Kind::Get
    }

    /// A value that nobody else ever writes.
    fn put(&mut self, key: Bytes, lease: LeaseId) -> Op {
        self.written += 1;
        let mut value = format!("{}-{}", self.number, self.written).into_bytes();
        let padding = [100, 400, 1_000][self.random.below(3)];
        value.resize(value.len() + padding, b'.');
        Op::Put(PutRequest {
            key,
            value: value.into(),
            lease,
            prev_kv: self.random.one_in(4),
            ..PutRequest::default()
        })
    }

    fn request(&mut self, kind: Kind) -> Request {
        let key = map_key(self.random.below(MAPS));
        let get = RangeRequest {
            range: KeyRange::one(key.clone()),
            ..RangeRequest::default()
        };
        match kind {
            Kind::Get | Kind::List => Request::Range(get),
            Kind::SerializableGet => Request::Range(RangeRequest {
                serializable: true,
                ..get
            }),
            Kind::Count => Request::Range(RangeRequest {
                range: KeyRange::prefix("/registry/"),
                count_only: true,
                ..RangeRequest::default()
            }),
            Kind::ReadPast => {
                let back = self.random.below(60) as Revision;
                Request::Range(RangeRequest {
                    range: KeyRange::prefix("/registry/configmaps/"),
                    revision: (self.newest - back).max(1),
                    limit: PAGE,
                    ..RangeRequest::default()
                })
            }
            Kind::Create => {
                let put = self.put(key.clone(), 0);
                guarded(&key, 0, put, get)
            }
            Kind::Update => {
                let known = self.known.get(&key).copied().unwrap_or(0);
                let put = self.put(key.clone(), 0);
                guarded(&key, known, put, get)
            }
            Kind::Delete => {
                let known = self.known.get(&key).copied().unwrap_or(0);
                let delete = Op::DeleteRange(DeleteRangeRequest {
                    range: KeyRange::one(key.clone()),
                    prev_kv: true,
                });
                guarded(&key, known, delete, get)
            }
            Kind::Event => self.event(),
            Kind::Put => {
                let key = format!("/registry/leases/kube-node-lease/node-{}", self.number);
                let put = self.put(key.into(), 0);
                plain(put)
            }
            Kind::Grant => self.grant(),
            Kind::KeepAlive => match self.lease() {
                Some(lease) => Request::KeepAlive(lease),
                None => self.grant(),
            },
            Kind::Revoke => match self.leases.pop() {
                Some(lease) => Request::Revoke(lease),
                None => Request::Range(get),
            },
            Kind::Compact => {
                // What no watch has shown must stay readable for the checkers.
                let revision = (self.newest - KEPT).min(self.recorder.shown_before() - 1);
                match revision {
                    2.. if self.random.one_in(6) => Request::Compact(revision),
                    _ => Request::Range(get),
                }
            }
        }
    }

    fn lease(&mut self) -> Option<LeaseId> {
        match self.leases.len() {
            0 => None,
            count => Some(self.leases[self.random.below(count)]),
        }
    }

    fn grant(&mut self) -> Request {
        if self.leases.len() >= LEASES_MAX {
            self.leases.remove(0);
        }
        self.written += 1;
        let id = i64::try_from(self.number + 1).unwrap_or(1) << 32
            | i64::try_from(self.written).unwrap_or(1);
        Request::Grant {
            id,
            ttl_seconds: TTL_SECONDS[self.random.below(TTL_SECONDS.len())],
        }
    }

    /// An event, which goes with a lease.
    fn event(&mut self) -> Request {
        let Some(lease) = self.lease() else {
            return self.grant();
        };
        let key = format!(
            "/registry/events/default/{}-{}",
            self.number,
            self.random.below(8)
        );
        let put = self.put(key.into(), lease);
        plain(put)
    }

    /// Every page at the revision of the first, as the API server lists.
    async fn list(&mut self) {
        let whole = KeyRange::prefix("/registry/configmaps/");
        let (mut from, mut revision) = (whole.key.clone(), 0);
        for _ in 0..PAGES_MAX {
            let request = RangeRequest {
                range: KeyRange {
                    key: from,
                    end: whole.end.clone(),
                },
                limit: PAGE,
                revision,
                ..RangeRequest::default()
            };
            let Some(Response::Range(page)) = self.call(Request::Range(request)).await else {
                return;
            };
            let (true, Some(last)) = (page.more, page.kvs.last()) else {
                return;
            };
            if revision == 0 {
                revision = page.header.revision;
            }
            from = [&last.key[..], b"\0"].concat().into();
        }
    }
}

fn guarded(key: &Bytes, known: Revision, op: Op, get: RangeRequest) -> Request {
    Request::Txn(TxnRequest {
        compare: vec![Compare::mod_revision(key.clone(), known)],
        success: vec![op],
        failure: vec![Op::Range(get)],
    })
}

fn plain(op: Op) -> Request {
    Request::Txn(TxnRequest {
        success: vec![op],
        ..TxnRequest::default()
    })
}
