//! A cluster in one process on simulated disks and a simulated network.

pub mod network;

use bytes::Bytes;
use kontiki_mvcc::{Batch, Engine, EngineError, EngineSize, MemoryEngine, Space, View};
use kontiki_raft::{
    Environment, InitialMember, InitialState, RebuildRefusal, ReplicatedConfig, ReplicatedStore,
    StartError, StoreLimits, Timing,
};
use kontiki_store::{
    KeyRange, Op, PutRequest, RangeRequest, RangeResponse, Store, StoreError, StoreStatus,
    TxnRequest, TxnResponse,
};
use kontiki_wal::{Clock, Disk, SimDisk, SystemClock};
use network::MemoryNetwork;
use prometheus_client::registry::Registry;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const LOG_DIR: &str = "/data/wal";
/// Long enough that only a hang reaches it.
pub const HANG: Duration = Duration::from_secs(60);

/// An engine that stops when its process does.
struct Mortal {
    engine: Arc<MemoryEngine>,
    dead: Arc<AtomicBool>,
    damage: Arc<OnceLock<String>>,
}

impl Mortal {
    fn alive(&self) -> Result<(), EngineError> {
        if self.dead.load(Ordering::Acquire) {
            return Err(EngineError::new("writing", "the process is dead"));
        }
        Ok(())
    }
}

impl Engine for Mortal {
    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        self.alive()?;
        self.engine.write(batch)
    }

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.engine.get(space, key)
    }

    fn get_durable(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.engine.get_durable(space, key)
    }

    fn view(&self) -> Result<Box<dyn View + '_>, EngineError> {
        self.engine.view()
    }

    fn flush(&self) -> Result<(), EngineError> {
        self.alive()?;
        self.engine.flush()
    }

    fn size(&self) -> EngineSize {
        self.engine.size()
    }

    fn damage(&self) -> Option<String> {
        self.damage.get().cloned()
    }
}

pub struct Node {
    pub address: String,
    config: ReplicatedConfig,
    pub disk: SimDisk,
    engine: Arc<MemoryEngine>,
    dead: Arc<AtomicBool>,
    damage: Arc<OnceLock<String>>,
    /// The clock of its leases.
    pub clock: Arc<dyn Clock>,
    pub store: Option<Arc<ReplicatedStore>>,
}

impl Node {
    /// From now on its engine takes nothing, as if its disk was full.
    pub fn refuse_writes(&self) {
        self.dead.store(true, Ordering::Release);
    }

    /// From now on its engine says that it has met damage.
    pub fn find_damage(&self, what: &str) {
        self.damage.set(what.to_owned()).expect("the first damage");
    }
}

pub struct Cluster {
    pub network: MemoryNetwork,
    pub nodes: Vec<Node>,
    seed: u64,
}

impl Cluster {
    /// Prepares `count` members; none is started.
    pub fn new(count: usize, seed: u64) -> Self {
        let names = ["a", "b", "c", "d", "e"];
        let initial: Vec<InitialMember> = names[..count]
            .iter()
            .map(|name| InitialMember {
                name: (*name).into(),
                peer_address: format!("{name}:2380"),
            })
            .collect();
        let nodes = initial.iter().enumerate().map(|(at, member)| {
            let mut config = ReplicatedConfig::new("/data", &member.name, initial.clone());
            config.timing = Timing {
                heartbeat: Duration::from_millis(60),
                election_min: Duration::from_millis(200),
                election_max: Duration::from_millis(400),
            };
            config.limits = StoreLimits {
                wal_segment_bytes_max: 16 << 10,
                wal_cache_bytes_max: 8 << 10,
                log_entries_max: 60,
                log_entries_kept: 10,
                log_check_every: Duration::from_millis(20),
                ..StoreLimits::default()
            };
            Node {
                address: member.peer_address.clone(),
                config,
                disk: SimDisk::new(seed + at as u64),
                engine: Arc::default(),
                dead: Arc::default(),
                damage: Arc::default(),
                clock: Arc::new(SystemClock::default()),
                store: None,
            }
        });
        Self {
            network: MemoryNetwork::default(),
            nodes: nodes.collect(),
            seed,
        }
    }

    pub async fn started(count: usize, seed: u64) -> Self {
        let mut cluster = Self::new(count, seed);
        for at in 0..count {
            cluster.start(at).await;
        }
        cluster.wait_leader().await;
        cluster
    }

    /// Prepares one more member that joins the others at an address of its own.
    pub fn prepare(&mut self, name: &str) -> usize {
        self.seed += 1000;
        let mut config = self.nodes[0].config.clone();
        config.name = name.to_owned();
        config.listen_peer = format!("{name}:2380");
        config.initial_state = InitialState::Existing;
        config.initial_cluster.push(InitialMember {
            name: name.to_owned(),
            peer_address: config.listen_peer.clone(),
        });
        self.nodes.push(Node {
            address: config.listen_peer.clone(),
            config,
            disk: SimDisk::new(self.seed),
            engine: Arc::default(),
            dead: Arc::default(),
            damage: Arc::default(),
            clock: Arc::new(SystemClock::default()),
            store: None,
        });
        self.nodes.len() - 1
    }

    pub fn configure(&mut self, at: usize, change: impl FnOnce(&mut ReplicatedConfig)) {
        change(&mut self.nodes[at].config);
    }

    pub async fn start(&mut self, at: usize) {
        self.try_start(at).await.expect("the replica starts");
    }

    pub async fn try_start(&mut self, at: usize) -> Result<(), StartError> {
        let node = &mut self.nodes[at];
        node.dead = Arc::default();
        let environment = Environment {
            disk: Arc::new(node.disk.clone()),
            clock: node.clock.clone(),
            network: self.network.at(&node.address),
            ..Environment::default()
        };
        let engine = Arc::new(Mortal {
            engine: node.engine.clone(),
            dead: node.dead.clone(),
            damage: node.damage.clone(),
        });
        let store = ReplicatedStore::start_in(
            environment,
            node.config.clone(),
            engine,
            &mut Registry::default(),
        )
        .await;
        node.store = Some(Arc::new(store?));
        Ok(())
    }

    /// SIGKILL and power loss in one: what was not synced may be gone.
    pub fn kill(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        self.network.kill(&node.address);
        node.dead.store(true, Ordering::Release);
        node.disk = node.disk.crash();
        node.engine.crash();
        node.store = None;
    }

    /// Asks whether a dead member may be rebuilt from the others.
    pub async fn consent(&self, at: usize, patience: Duration) -> Result<(), RebuildRefusal> {
        let node = &self.nodes[at];
        let network = self.network.at(&node.address);
        kontiki_raft::await_consent(&node.config, network, patience).await
    }

    /// Damages the row of a dead member's state whose key ends with `name`; whether
    /// there is one.
    pub fn damage_state(&mut self, at: usize, name: &str) -> bool {
        let engine = &self.nodes[at].engine;
        let view = engine.view().expect("memory");
        let mut cursor = view.cursor(Space::Meta, &[]).expect("memory");
        cursor.seek(&[]).expect("memory");
        let mut found = None;
        while let Some((key, value)) = cursor.item() {
            if key.ends_with(name.as_bytes()) {
                // The beginning of any number, and no end.
                found = Some((key.to_vec(), vec![0xff; value.len()]));
            }
            cursor.next().expect("memory");
        }
        let mut batch = Batch::new();
        if let Some((key, value)) = found.clone() {
            batch.put(Space::Meta, key, value);
        }
        engine.write(batch).expect("memory");
        found.is_some()
    }

    /// The files of a member's log.
    pub fn log_files(&self, at: usize) -> Vec<(PathBuf, Vec<u8>)> {
        let (disk, dir) = (&self.nodes[at].disk, Path::new(LOG_DIR));
        let names = disk.list(dir).expect("the disk works");
        let paths = names.into_iter().map(|name| dir.join(name));
        paths
            .filter_map(|path| Some((path.clone(), disk.content(&path)?)))
            .collect()
    }

    /// Puts other files in the place of a dead member's log.
    pub fn set_log_files(&mut self, at: usize, files: &[(PathBuf, Vec<u8>)]) {
        self.seed += 1000;
        let disk = SimDisk::new(self.seed);
        for (path, content) in files {
            let file = disk.create(path).expect("the disk works");
            file.write_at(0, content).expect("the disk works");
            file.sync().expect("the disk works");
        }
        disk.sync_dir(Path::new(LOG_DIR)).expect("the disk works");
        self.nodes[at].disk = disk;
    }

    /// Replaces the disk of a dead member by an empty one.
    pub fn wipe(&mut self, at: usize) {
        self.seed += 1000;
        let node = &mut self.nodes[at];
        assert!(
            node.store.is_none(),
            "only a dead member's disk is replaced"
        );
        node.disk = SimDisk::new(self.seed);
        node.engine = Arc::default();
    }

    pub fn store(&self, at: usize) -> Arc<ReplicatedStore> {
        self.nodes[at].store.clone().expect("the member is running")
    }

    pub fn status(&self, at: usize) -> StoreStatus {
        self.store(at).status().borrow().clone()
    }

    pub fn running(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|at| self.nodes[*at].store.is_some())
            .collect()
    }

    /// Waits until a running member leads, and answers which.
    pub async fn wait_leader(&self) -> usize {
        let found = async {
            loop {
                for at in self.running() {
                    if self.status(at).is_leader() && self.store(at).read_barrier().await.is_ok() {
                        return at;
                    }
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        self.or_explain("a leader", found).await
    }

    /// Waits until the status of a member is as wanted.
    pub async fn wait_status(
        &self,
        at: usize,
        what: &str,
        wanted: impl FnMut(&StoreStatus) -> bool,
    ) {
        let mut status = self.store(at).status();
        let reached = async { drop(status.wait_for(wanted).await.expect("the member runs")) };
        self.or_explain(what, reached).await;
    }

    pub async fn or_explain<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        match tokio::time::timeout(HANG, future).await {
            Ok(value) => value,
            Err(_) => {
                let all: Vec<_> = self
                    .running()
                    .into_iter()
                    .map(|at| (at, self.status(at)))
                    .collect();
                panic!("waited in vain for {what}: {all:#?}");
            }
        }
    }
}

pub fn put(key: &str, value: &str) -> TxnRequest {
    let put = PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..PutRequest::default()
    };
    TxnRequest {
        success: vec![Op::Put(put)],
        ..TxnRequest::default()
    }
}

/// Writes until it is acknowledged.
pub async fn write(store: &ReplicatedStore, key: &str, value: &str) -> TxnResponse {
    let insist = async {
        loop {
            match store.txn(put(key, value)).await {
                Ok(response) => return response,
                Err(StoreError::Stopped) => panic!("the store stopped"),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(HANG, insist)
        .await
        .expect("the write is acknowledged")
}

pub async fn read(store: &ReplicatedStore, key: &str) -> Result<Option<String>, StoreError> {
    let request = RangeRequest {
        range: KeyRange::one(key.to_owned()),
        ..RangeRequest::default()
    };
    let response = store.range(request).await?;
    Ok(response
        .kvs
        .first()
        .map(|kv| String::from_utf8(kv.value.to_vec()).expect("text")))
}

pub async fn read_all(store: &ReplicatedStore) -> RangeResponse {
    let range = KeyRange {
        key: Bytes::from_static(b"\0"),
        end: Bytes::from_static(b"\0"),
    };
    store
        .range(RangeRequest {
            range,
            ..RangeRequest::default()
        })
        .await
        .expect("a readable store")
}
