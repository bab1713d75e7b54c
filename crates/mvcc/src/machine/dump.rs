//! Everything readable, in the order of the revisions, for copies that other
//! programs read.
//!
//! What was written after the compacted revision comes from the changes in
//! their order. Of what was written before, only the newest version a key is
//! readable, and nothing holds those in the order of their revisions: they are
//! listed and sorted, which takes about the size of their keys in memory.

use super::{StateMachine, load_numbers, parse_root};
use crate::engine::{EngineError, Space, View};
use crate::layout::{self, Record, meta};
use bytes::Bytes;
use kontiki_store::{DumpItem, EventKind, Header, KeyValue, LeaseId, Revision, StoreError};
use tokio::sync::mpsc;

const ITEMS_AT_ONCE: usize = 256;
const BYTES_AT_ONCE: usize = 1 << 20;
/// Portions that wait for a slow receiver.
const PORTIONS_WAITING: usize = 2;

/// A dump under way.
pub struct Dumping {
    /// Where the content stands.
    pub header: Header,
    /// The oldest revision that can be read.
    pub compact_revision: Revision,
    /// The caller's position.
    pub meta: Option<Bytes>,
    /// The content.
    pub items: mpsc::Receiver<Result<Vec<DumpItem>, StoreError>>,
}

struct Start {
    slot: u8,
    header: Header,
    compact_revision: Revision,
    meta: Option<Bytes>,
}

impl StateMachine {
    /// Starts to read everything as it is now, on a thread of its own, no
    /// faster than it is taken. Dropping the receiver ends it.
    pub fn dump(&self) -> Result<Dumping, EngineError> {
        let engine = self.engine.clone();
        let (portions, items) = mpsc::channel(PORTIONS_WAITING);
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("dump".to_owned());
        let spawned = thread.spawn(move || {
            let opened = engine.view().and_then(|view| Ok((start(&*view)?, view)));
            let (start, view) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            let (slot, compacted) = (start.slot, start.compact_revision);
            let _ = ready.send(Ok(start));
            let mut writer = Writer {
                portions,
                pending: Vec::new(),
                bytes: 0,
            };
            match writer.all(&*view, slot, compacted) {
                Ok(()) | Err(Stopped::Unwanted) => {}
                Err(Stopped::Engine(error)) => {
                    let error = StoreError::Internal(error.to_string());
                    let _ = writer.portions.blocking_send(Err(error));
                }
            }
        });
        spawned.map_err(|error| EngineError::new("starting a dump's thread", error))?;
        let start = started
            .recv()
            .map_err(|error| EngineError::new("starting a dump", error))??;
        Ok(Dumping {
            header: start.header,
            compact_revision: start.compact_revision,
            meta: start.meta,
            items,
        })
    }
}

fn start(view: &dyn View) -> Result<Start, EngineError> {
    let root = view.get(Space::Meta, layout::ROOT)?;
    let slot = parse_root(&root.ok_or_else(|| layout::damaged("the root", "it is missing"))?)?;
    let numbers = load_numbers(view, slot)?;
    let meta = view.get(Space::Meta, &layout::meta_key(slot, meta::APPLIED, &[]))?;
    Ok(Start {
        slot,
        header: Header {
            revision: numbers.revision,
            raft_term: numbers.term,
        },
        compact_revision: numbers.compact_revision,
        meta,
    })
}

enum Stopped {
    /// Nobody takes the items any more.
    Unwanted,
    Engine(EngineError),
}

impl From<EngineError> for Stopped {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

struct Writer {
    portions: mpsc::Sender<Result<Vec<DumpItem>, StoreError>>,
    pending: Vec<DumpItem>,
    bytes: usize,
}

impl Writer {
    fn all(&mut self, view: &dyn View, slot: u8, compacted: Revision) -> Result<(), Stopped> {
        self.leases(view, slot)?;
        self.before(view, slot, compacted)?;
        self.changes(view, slot, compacted)?;
        self.flush()
    }

    fn item(&mut self, item: DumpItem, bytes: usize) -> Result<(), Stopped> {
        self.pending.push(item);
        self.bytes += bytes;
        if self.pending.len() >= ITEMS_AT_ONCE || self.bytes >= BYTES_AT_ONCE {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Stopped> {
        self.bytes = 0;
        let items = std::mem::take(&mut self.pending);
        self.portions
            .blocking_send(Ok(items))
            .map_err(|_| Stopped::Unwanted)
    }

    fn leases(&mut self, view: &dyn View, slot: u8) -> Result<(), Stopped> {
        let mut cursor = view.cursor(Space::Meta, &[slot + 1])?;
        let mut leases = Vec::new();
        let prefix = layout::meta_key(slot, meta::LEASE, &[]);
        super::scan_prefix(&mut *cursor, &prefix, |id, raw| {
            let id = id.try_into().map(LeaseId::from_be_bytes);
            let id = id.map_err(|_| layout::damaged("a lease's key", "it has the wrong length"))?;
            let [ttl_seconds, remaining_seconds] = layout::decode_numbers("a lease", raw)?;
            leases.push(DumpItem::Lease {
                id,
                ttl_seconds,
                remaining_seconds,
            });
            Ok(())
        })?;
        for lease in leases {
            self.item(lease, size_of::<DumpItem>())?;
        }
        Ok(())
    }

    /// The versions from before the compacted revision that can still be read.
    fn before(&mut self, view: &dyn View, slot: u8, compacted: Revision) -> Result<(), Stopped> {
        if compacted == 0 {
            return Ok(());
        }
        let mut found: Vec<(Revision, Box<[u8]>)> = Vec::new();
        let mut cursor = view.cursor(Space::Keys, &[slot + 1])?;
        // The key being looked at, and whether its newest version up to the
        // compacted revision was met.
        let (mut prefix, mut reached) = (Vec::new(), false);
        cursor.seek(&[slot])?;
        while let Some((raw, value)) = cursor.item() {
            let revision = layout::version_revision(raw)?;
            let head = &raw[..raw.len() - 8];
            if head != prefix {
                prefix = head.to_vec();
                reached = false;
            }
            if revision <= compacted && !reached {
                reached = true;
                // What was written at it comes with the changes.
                if revision < compacted && Record::peek(value)?.0 == EventKind::Put {
                    let (key, _) = layout::parse_version_key(raw)?;
                    found.push((revision, key.into()));
                }
            }
            cursor.next()?;
        }
        found.sort_unstable();
        let (mut revision, mut number) = (0, 0);
        for (at, key) in found {
            number = if at == revision { number + 1 } else { 0 };
            revision = at;
            self.version(view, slot, (at, number), EventKind::Put, &key)?;
        }
        Ok(())
    }

    fn changes(&mut self, view: &dyn View, slot: u8, compacted: Revision) -> Result<(), Stopped> {
        let mut cursor = view.cursor(Space::Changes, &[slot + 1])?;
        cursor.seek(&layout::change_key(slot, compacted, 0))?;
        while let Some((raw, change)) = cursor.item() {
            let at = layout::parse_change_position(raw)?;
            let (kind, key) = layout::decode_change(change)?;
            self.version(view, slot, at, kind, key)?;
            cursor.next()?;
        }
        Ok(())
    }

    fn version(
        &mut self,
        view: &dyn View,
        slot: u8,
        (revision, number): (Revision, u32),
        kind: EventKind,
        key: &[u8],
    ) -> Result<(), Stopped> {
        let mut kv = KeyValue {
            key: Bytes::copy_from_slice(key),
            mod_revision: revision,
            ..KeyValue::default()
        };
        if kind == EventKind::Put {
            let raw = view.get(Space::Keys, &layout::version_key(slot, key, revision))?;
            let raw = raw.ok_or_else(|| super::read::missing(key, revision))?;
            let record = Record::decode(raw)?;
            kv.create_revision = record.create_revision;
            kv.version = record.version;
            kv.lease = record.lease;
            kv.value = record.value;
        }
        let bytes = kv.key.len() + kv.value.len();
        let deleted = kind == EventKind::Delete;
        let item = DumpItem::Version {
            number,
            deleted,
            kv,
        };
        self.item(item, bytes)
    }
}
