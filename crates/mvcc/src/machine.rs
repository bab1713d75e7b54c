//! The state machine: what is published, who may change it, how it is opened.
//!
//! One writer at a time ([`StateMachine::apply`] or the end of an install)
//! derives the next [`State`] from the published one, writes it to the engine
//! and then publishes it by swapping one pointer. Readers keep the state they
//! started with. What they read from the engine never changes under them but
//! can go away, by a compaction or an install; they notice by the published
//! state having moved on, and start again or answer that it was compacted.

mod apply;
mod compaction;
mod dump;
mod hash;
mod history;
mod import;
mod read;
mod snapshot;
mod txn;

pub use dump::Dumping;
pub use hash::HashKv;
pub(crate) use history::Chunk;
pub use import::{ImportError, Importer, Revisions};
pub use snapshot::{SnapshotError, SnapshotInstaller, SnapshotReader};
pub(crate) use txn::Change;

use crate::command::Command;
use crate::engine::{Cursor, Engine, EngineError, EngineSize, Space, View};
use crate::index::KeyIndex;
use crate::layout::{self, meta};
use crate::lease::LeaseTable;
use crate::watch::{Hub, Session};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use imbl::OrdMap;
use kontiki_store::{
    AuthState, Header, LeaseGrant, LeaseId, Revision, StoreError, TxnResponse, WatchRequest,
    WatchStream,
};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::{Notify, mpsc, watch};

/// One committed log entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The Raft term it was proposed in; answered in headers.
    pub term: u64,
    /// Its commands; none for an entry that is only the log's own.
    pub commands: Vec<Command>,
}

/// What a command answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The answer of a transaction.
    Txn(TxnResponse),
    /// A lease was granted.
    Lease(LeaseGrant),
    /// Everything else.
    Header(Header),
}

/// The answer to a command, or why it was refused. A refused command changed nothing.
pub type Outcome = Result<Applied, StoreError>;

/// What is replicated of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseState {
    /// The lease.
    pub id: LeaseId,
    /// Seconds it was granted for.
    pub ttl_seconds: i64,
    /// Seconds left at the last checkpoint; 0 when there was none (the full TTL counts).
    pub remaining_seconds: i64,
    /// The keys attached to it, in order.
    pub keys: Vec<Bytes>,
}

/// Everything at one point of the log. A copy costs a few pointers.
#[derive(Clone, Default)]
pub(crate) struct State {
    /// Counts installed snapshots, within this process.
    pub(crate) generation: u64,
    pub(crate) slot: u8,
    pub(crate) revision: Revision,
    pub(crate) compact_revision: Revision,
    pub(crate) term: u64,
    pub(crate) feature_level: u32,
    pub(crate) index: KeyIndex,
    pub(crate) leases: LeaseTable,
    pub(crate) cluster: OrdMap<Bytes, Bytes>,
    pub(crate) auth: Arc<AuthState>,
    pub(crate) applied: Option<Bytes>,
}

impl State {
    pub(crate) fn header(&self) -> Header {
        Header {
            revision: self.revision,
            raft_term: self.term,
        }
    }

    fn encode(&self) -> Bytes {
        layout::encode_numbers(&[
            self.revision,
            self.compact_revision,
            self.term as i64,
            i64::from(self.feature_level),
        ])
    }
}

/// The replicated state machine of one replica.
pub struct StateMachine {
    pub(crate) engine: Arc<dyn Engine>,
    published: RwLock<Arc<State>>,
    /// Held by whoever changes the state.
    writer: Mutex<()>,
    pub(crate) hub: Hub,
    sessions: mpsc::UnboundedSender<Session>,
    /// Rung when there is something to sweep.
    compaction: Arc<Notify>,
    /// The compacted revision up to which the space is free again.
    swept: watch::Sender<Revision>,
    /// Held while one chunk is swept.
    sweeping: Mutex<()>,
    installing: AtomicBool,
}

impl StateMachine {
    /// Opens the state machine on an engine, empty or not. [`Background`] has
    /// to be run for slow watchers and compactions to make progress.
    pub fn open(engine: Arc<dyn Engine>) -> Result<(Arc<Self>, Background), EngineError> {
        let slot = open_root(&*engine)?;
        let state = load(&*engine, slot)?;
        let (sessions, new_sessions) = mpsc::unbounded_channel();
        let swept = compaction::Swept::load(&*engine, slot)?.done;
        let machine = Arc::new(Self {
            hub: Hub::new(state.revision),
            engine,
            published: RwLock::new(Arc::new(state)),
            writer: Mutex::new(()),
            sessions,
            compaction: Arc::new(Notify::new()),
            swept: watch::Sender::new(swept),
            sweeping: Mutex::new(()),
            installing: AtomicBool::new(false),
        });
        machine.compaction.notify_one();
        let background = Background {
            machine: Arc::downgrade(&machine),
            new_sessions,
        };
        Ok((machine, background))
    }

    pub(crate) fn state(&self) -> Arc<State> {
        self.published.read().clone()
    }

    fn publish(&self, state: State) {
        let old = std::mem::replace(&mut *self.published.write(), Arc::new(state));
        // Dropped outside the lock: it may be the last reference to many nodes.
        drop(old);
    }

    /// What the caller passed to the last [`Self::apply`], or the snapshot held.
    #[must_use]
    pub fn applied_meta(&self) -> Option<Bytes> {
        self.state().applied.clone()
    }

    /// The position from which the log must be replayed after a crash right now.
    pub fn durable_meta(&self) -> Result<Option<Bytes>, EngineError> {
        let Some(root) = self.engine.get_durable(Space::Meta, layout::ROOT)? else {
            return Ok(None);
        };
        let slot = parse_root(&root)?;
        self.engine
            .get_durable(Space::Meta, &layout::meta_key(slot, meta::APPLIED, &[]))
    }

    /// Makes everything applied so far survive a crash; answers its position,
    /// up to which the log is no longer needed.
    pub fn flush(&self) -> Result<Option<Bytes>, EngineError> {
        let applied = self.applied_meta();
        self.engine.flush()?;
        Ok(applied)
    }

    /// The revision of the last write; 1 when there was none.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.state().revision
    }

    /// The oldest revision that can be read; 0 when nothing was compacted.
    #[must_use]
    pub fn compact_revision(&self) -> Revision {
        self.state().compact_revision
    }

    /// Where the state machine stands.
    #[must_use]
    pub fn header(&self) -> Header {
        self.state().header()
    }

    /// The feature level that the cluster agreed on.
    #[must_use]
    pub fn feature_level(&self) -> u32 {
        self.state().feature_level
    }

    /// How much the engine holds.
    #[must_use]
    pub fn size(&self) -> EngineSize {
        self.engine.size()
    }

    /// What the engine has found damaged since it was opened.
    #[must_use]
    pub fn engine_damage(&self) -> Option<String> {
        self.engine.damage()
    }

    /// Every lease, by id, without its keys.
    #[must_use]
    pub fn leases(&self) -> Vec<LeaseState> {
        let state = self.state();
        state
            .leases
            .iter()
            .map(|(id, lease)| lease_state(id, lease, false))
            .collect()
    }

    /// One lease, with its keys if they are asked for.
    #[must_use]
    pub fn lease(&self, id: LeaseId, keys: bool) -> Option<LeaseState> {
        let state = self.state();
        state
            .leases
            .get(id)
            .map(|lease| lease_state(id, lease, keys))
    }

    /// Users and roles.
    #[must_use]
    pub fn auth(&self) -> Arc<AuthState> {
        self.state().auth.clone()
    }

    /// One item of the cluster's own data.
    #[must_use]
    pub fn cluster_get(&self, key: &[u8]) -> Option<Bytes> {
        self.state().cluster.get(key).cloned()
    }

    /// Every item of the cluster's own data whose key starts with `prefix`.
    #[must_use]
    pub fn cluster_scan(&self, prefix: &[u8]) -> Vec<(Bytes, Bytes)> {
        let from = Bytes::copy_from_slice(prefix);
        let state = self.state();
        let items = state
            .cluster
            .range(from..)
            .take_while(|(key, _)| key.starts_with(prefix));
        items
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Opens a watch. It is fed from apply at once, or, when it starts in the
    /// past or falls behind, from history by [`Background`].
    pub fn watch(&self, request: WatchRequest) -> WatchStream {
        let (stream, session) = self.hub.open(request);
        // Without a background nobody can serve history; the stream ends then.
        let _ = self.sessions.send(session);
        stream
    }

    /// Waits until the space that the compaction up to `revision` freed is
    /// reusable. Ends early when the state machine goes away.
    pub async fn wait_swept(&self, revision: Revision) {
        let mut swept = self.swept.subscribe();
        // An error means that the sender is gone, which `&self` excludes.
        let _ = swept.wait_for(|done| *done >= revision).await;
    }
}

fn lease_state(id: LeaseId, lease: &crate::lease::Lease, keys: bool) -> LeaseState {
    let keys = if keys {
        lease
            .keys
            .iter()
            .map(|key| Bytes::copy_from_slice(key))
            .collect()
    } else {
        Vec::new()
    };
    LeaseState {
        id,
        ttl_seconds: lease.ttl_seconds,
        remaining_seconds: lease.remaining_seconds,
        keys,
    }
}

fn root_value(slot: u8) -> Bytes {
    Bytes::copy_from_slice(&[layout::FORMAT, slot])
}

fn parse_root(raw: &[u8]) -> Result<u8, EngineError> {
    match raw {
        [layout::FORMAT, slot @ (0 | 1)] => Ok(*slot),
        [format, ..] if *format > layout::FORMAT => Err(EngineError::new(
            "opening the state machine",
            format!(
                "the data has format {format}, this program knows up to {}: run the version that wrote it, or a newer one",
                layout::FORMAT
            ),
        )),
        _ => Err(layout::damaged("the root", "it is not one of ours")),
    }
}

fn open_root(engine: &dyn Engine) -> Result<u8, EngineError> {
    if let Some(root) = engine.get(Space::Meta, layout::ROOT)? {
        return parse_root(&root);
    }
    let mut batch = crate::engine::Batch::new();
    batch.put(Space::Meta, layout::ROOT, root_value(0));
    engine.write(batch)?;
    Ok(0)
}

/// Calls `each` for every item of the space whose key starts with the slot and `prefix`.
pub(crate) fn scan_prefix(
    cursor: &mut dyn Cursor,
    prefix: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    cursor.seek(prefix)?;
    while let Some((key, value)) = cursor.item() {
        let Some(rest) = key.strip_prefix(prefix) else {
            break;
        };
        each(rest, value)?;
        cursor.next()?;
    }
    Ok(())
}

/// The numbers of the state.
struct Numbers {
    revision: Revision,
    compact_revision: Revision,
    term: u64,
    feature_level: u32,
}

fn load_numbers(view: &dyn View, slot: u8) -> Result<Numbers, EngineError> {
    let Some(raw) = view.get(Space::Meta, &layout::meta_key(slot, meta::STATE, &[]))? else {
        return Ok(Numbers {
            revision: 1,
            compact_revision: 0,
            term: 0,
            feature_level: 0,
        });
    };
    let [revision, compact_revision, term, feature] = layout::decode_numbers("the state", &raw)?;
    // Readers would wait for ever for a revision that was compacted before it came.
    if revision < 1 || !(0..=revision).contains(&compact_revision) {
        let what = format!("revision {revision}, compacted at {compact_revision}");
        return Err(layout::damaged("the state", what));
    }
    Ok(Numbers {
        revision,
        compact_revision,
        term: term as u64,
        feature_level: u32::try_from(feature)
            .map_err(|_| layout::damaged("the state", "the feature level is out of range"))?,
    })
}

/// Rebuilds the state from what lies in a slot.
fn load(engine: &dyn Engine, slot: u8) -> Result<State, EngineError> {
    let view = engine.view()?;
    let numbers = load_numbers(&*view, slot)?;
    let mut state = State {
        slot,
        revision: numbers.revision,
        compact_revision: numbers.compact_revision,
        term: numbers.term,
        feature_level: numbers.feature_level,
        ..State::default()
    };
    if let Some(raw) = view.get(Space::Meta, &layout::meta_key(slot, meta::AUTH, &[]))? {
        let auth = crate::auth::decode_state(raw);
        state.auth = Arc::new(auth.map_err(|error| layout::damaged("users and roles", error))?);
    }
    state.applied = view.get(Space::Meta, &layout::meta_key(slot, meta::APPLIED, &[]))?;
    let mut cursor = view.cursor(Space::Meta, &[slot + 1])?;
    scan_prefix(
        &mut *cursor,
        &layout::meta_key(slot, meta::LEASE, &[]),
        |id, raw| {
            let id = id.try_into().map(LeaseId::from_be_bytes);
            let id = id.map_err(|_| layout::damaged("a lease's key", "it has the wrong length"))?;
            let [ttl, remaining] = layout::decode_numbers("a lease", raw)?;
            state.leases.insert(id, ttl, remaining);
            Ok(())
        },
    )?;
    scan_prefix(
        &mut *cursor,
        &layout::meta_key(slot, meta::CLUSTER, &[]),
        |key, value| {
            state
                .cluster
                .insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
            Ok(())
        },
    )?;
    let mut cursor = view.cursor(Space::Current, &[slot + 1])?;
    scan_prefix(&mut *cursor, &[slot], |key, raw| {
        let meta = layout::decode_meta(raw)?;
        state.index.insert(key, meta);
        state.leases.reattach(key, 0, meta.lease);
        Ok(())
    })?;
    Ok(state)
}

/// The slow side of a [`StateMachine`]: watchers that read history, progress
/// answers, physical compaction. All of it in bounded steps.
#[must_use = "slow watchers and compactions stand still until it is run"]
pub struct Background {
    machine: std::sync::Weak<StateMachine>,
    new_sessions: mpsc::UnboundedReceiver<Session>,
}

impl Background {
    /// Runs until the state machine is dropped. It reads from the engine
    /// between its awaits, so a server gives it a thread of its own.
    pub async fn run(mut self) {
        let mut sessions = FuturesUnordered::new();
        let mut sweep = std::pin::pin!(compaction::sweep_forever(self.machine.clone()));
        loop {
            tokio::select! {
                biased;
                session = self.new_sessions.recv() => match session {
                    Some(session) => sessions.push(session.run(self.machine.clone())),
                    None => return,
                },
                Some(()) = sessions.next(), if !sessions.is_empty() => {}
                () = &mut sweep => return,
            }
        }
    }
}
