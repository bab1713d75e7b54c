//! The log's front: calls return at once, the writer commits in groups.

use crate::format::{RECORD_HEADER_BYTES, parse_record};
use crate::sealing::unseal;
use crate::segments::{Op, Segments};
use crate::view::{Found, Place, View};
use crate::{Clock, Disk, DiskFile, WalError};
use bytes::Bytes;
use kontiki_seal::Keyring;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// Called once, from the writer, when an operation is on disk or has failed.
pub type Done = Box<dyn FnOnce(Result<(), WalError>) + Send>;

/// What the writer does when the disk is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FullDisk {
    /// Fail what waits; it is forgotten.
    Fail,
    /// Keep what waits and try again after this long, until there is room.
    Wait(Duration),
}

/// How a log is kept.
#[derive(Clone)]
pub struct WalConfig {
    /// The directory, which belongs to the log alone.
    pub dir: PathBuf,
    /// A segment that would grow beyond this is followed by a new one.
    pub segment_bytes_max: u64,
    /// How many bytes of the newest entries stay in memory.
    pub cache_bytes_max: usize,
    /// How many bytes one write holds at most (a single operation may be larger).
    pub batch_bytes_max: usize,
    /// What to do when the disk is full.
    pub full_disk: FullDisk,
    /// Seals what is written. What was written without is still read, and with
    /// these what was sealed.
    pub keys: Option<Arc<Keyring>>,
}

impl WalConfig {
    /// A configuration with defaults for a replica of the store.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes_max: 64 << 20,
            cache_bytes_max: 16 << 20,
            batch_bytes_max: 8 << 20,
            full_disk: FullDisk::Fail,
            keys: None,
        }
    }
}

/// Sees every commit; for metrics. Must return quickly.
pub trait WalObserver: Send + Sync + 'static {
    /// A batch of `bytes` was written and synced in `took`.
    fn committed(&self, bytes: usize, took: Duration);
}

/// How the log is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalHealth {
    /// Why the log accepts nothing any more, or what it waits for.
    pub trouble: Option<WalError>,
    /// Bytes of the segments on disk, about.
    pub bytes: u64,
}

/// What [`Wal::step`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing waited.
    Idle,
    /// Something was written, or has failed.
    Written,
    /// The disk is full; another try makes sense after this long.
    Full(Duration),
}

struct Queued {
    op: Op,
    done: Option<Done>,
}

#[derive(Default)]
struct State {
    view: View,
    queue: VecDeque<Queued>,
    /// Something in the queue waits for the disk.
    wanted: bool,
    failed: Option<WalError>,
    waiting: Option<WalError>,
    closed: bool,
    bytes: u64,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    /// Told of work instead of a writer thread.
    stepper: OnceLock<Box<dyn Fn() + Send + Sync>>,
    segments: Mutex<Segments>,
    clock: Arc<dyn Clock>,
    observer: Option<Arc<dyn WalObserver>>,
    config: WalConfig,
}

/// A write-ahead log. Clones are handles of the same log.
#[derive(Clone)]
pub struct Wal {
    shared: Arc<Shared>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Wal {
    /// Opens or creates a log and starts its writer thread.
    pub fn open(
        config: WalConfig,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        observer: Option<Arc<dyn WalObserver>>,
    ) -> Result<Self, WalError> {
        let wal = Self::open_stepped(config, disk, clock, observer)?;
        let shared = wal.shared.clone();
        let writer = std::thread::Builder::new()
            .name("wal-writer".into())
            .spawn(move || shared.run())
            .map_err(|error| WalError::io("writer thread", "start", &error))?;
        *wal.writer.lock() = Some(writer);
        Ok(wal)
    }

    /// Like [`Wal::open`], without a thread: the caller writes with
    /// [`Wal::step`]. For simulations, where every step has its time.
    pub fn open_stepped(
        config: WalConfig,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        observer: Option<Arc<dyn WalObserver>>,
    ) -> Result<Self, WalError> {
        let keys = config.keys.clone();
        let (segments, durable) =
            Segments::open(disk, &config.dir, config.segment_bytes_max, keys)?;
        let view = View::new(durable, segments.files());
        let state = State {
            view,
            bytes: segments.bytes(),
            ..State::default()
        };
        let shared = Shared {
            state: Mutex::new(state),
            work: Condvar::new(),
            stepper: OnceLock::new(),
            segments: Mutex::new(segments),
            clock,
            observer,
            config,
        };
        Ok(Self {
            shared: Arc::new(shared),
            writer: Arc::default(),
        })
    }

    /// Appends entries; `first` must be [`Wal::next_index`].
    pub fn append(&self, first: u64, payloads: Vec<Bytes>, done: Done) -> Result<(), WalError> {
        self.shared
            .submit(Op::Append { first, payloads }, Some(done), true)
    }

    /// Sets a state slot.
    pub fn set_state(&self, slot: u8, value: Bytes, done: Done) -> Result<(), WalError> {
        self.shared
            .submit(Op::State { slot, value }, Some(done), true)
    }

    /// Sets a state slot that need not be on disk now: it goes along with the
    /// next write that must be.
    pub fn set_state_lazily(&self, slot: u8, value: Bytes) -> Result<(), WalError> {
        self.shared.submit(Op::State { slot, value }, None, false)
    }

    /// Drops the entries from `from` on.
    pub fn truncate(&self, from: u64, done: Done) -> Result<(), WalError> {
        self.shared.submit(Op::Truncate { from }, Some(done), true)
    }

    /// Drops the entries up to and with `to`, which may lie beyond the end; the
    /// log then goes on behind it. `marker` is what [`Wal::purged`] answers.
    pub fn purge(&self, to: u64, marker: Bytes, done: Done) -> Result<(), WalError> {
        self.shared
            .submit(Op::Purge { to, marker }, Some(done), true)
    }

    /// The first index that is held.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        self.shared.state.lock().view.first
    }

    /// The index after the last that is held.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.shared.state.lock().view.next
    }

    /// The last purge and its marker.
    #[must_use]
    pub fn purged(&self) -> Option<(u64, Bytes)> {
        self.shared.state.lock().view.purged.clone()
    }

    /// A state slot's value.
    #[must_use]
    pub fn state(&self, slot: u8) -> Option<Bytes> {
        self.shared.state.lock().view.states.get(&slot).cloned()
    }

    /// Why the log accepts nothing any more. It has then forgotten what was not
    /// on disk, so that its end says nothing about what it was given.
    #[must_use]
    pub fn failure(&self) -> Option<WalError> {
        self.shared.state.lock().failed.clone()
    }

    /// How the log is doing.
    #[must_use]
    pub fn health(&self) -> WalHealth {
        let state = self.shared.state.lock();
        WalHealth {
            trouble: state.failed.clone().or_else(|| state.waiting.clone()),
            bytes: state.bytes,
        }
    }

    /// Reads entries, at least one if the range is not empty, and no more once
    /// `bytes_max` is reached.
    pub fn read(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<Bytes>, WalError> {
        let mut found = Vec::new();
        let mut bytes = 0;
        {
            let state = self.shared.state.lock();
            for index in range.clone() {
                if bytes >= bytes_max && index > range.start {
                    break;
                }
                let entry = state.view.find(index)?;
                bytes += match &entry {
                    Found::Memory(payload) => payload.len(),
                    Found::Disk(_, place) => place.payload_len as usize,
                };
                found.push(entry);
            }
        }
        let mut entries = Vec::with_capacity(found.len());
        for (index, entry) in (range.start..).zip(found) {
            entries.push(match entry {
                Found::Memory(payload) => payload,
                Found::Disk(file, place) => self.read_place(index, &*file, place)?,
            });
        }
        Ok(entries)
    }

    fn read_place(&self, index: u64, file: &dyn DiskFile, place: Place) -> Result<Bytes, WalError> {
        let name = || {
            self.shared
                .config
                .dir
                .join(format!("{:016x}.wal", place.segment))
                .display()
                .to_string()
        };
        let mut data = vec![0; RECORD_HEADER_BYTES + place.payload_len as usize];
        file.read_at(place.offset, &mut data)
            .map_err(|error| WalError::io(name(), "read", &error))?;
        match parse_record(&data, place.segment, place.offset) {
            Ok(record) if record.index == index && place.sealed => {
                let (keys, at) = (&self.shared.config.keys, (place.segment, place.offset));
                let plain = unseal(keys.as_deref(), true, at, &record, &name())?;
                Ok(plain.into_owned().into())
            }
            Ok(record) if record.index == index => {
                Ok(Bytes::from(data).slice(RECORD_HEADER_BYTES..))
            }
            _ => Err(WalError::Corrupt {
                file: name(),
                offset: place.offset,
                reason: format!("entry {index} does not read back as it was written"),
            }),
        }
    }

    /// Writes what waits, up to the bound of one batch. For a log that was
    /// opened with [`Wal::open_stepped`].
    pub fn step(&self) -> Step {
        let batch = self.shared.take_batch();
        if batch.is_empty() {
            return Step::Idle;
        }
        match (self.shared.commit(batch), self.shared.config.full_disk) {
            (Some(batch), FullDisk::Wait(pause)) => {
                self.shared.put_back(batch);
                Step::Full(pause)
            }
            _ => Step::Written,
        }
    }

    /// Calls `wake` whenever something waits for [`Wal::step`]. Only the first
    /// call counts.
    pub fn on_work(&self, wake: impl Fn() + Send + Sync + 'static) {
        // A second one would have to share the steps with the first.
        let _ = self.shared.stepper.set(Box::new(wake));
    }

    /// Writes what waits, then stops the writer. Later calls fail.
    pub fn close(&self) {
        self.shared.state.lock().closed = true;
        self.shared.work.notify_all();
        // Bound here: the guard must not outlive this line, or a second caller
        // would wait for the writer under it.
        let writer = self.writer.lock().take();
        if let Some(writer) = writer
            && writer.thread().id() != std::thread::current().id()
        {
            let _ = writer.join();
        }
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        if Arc::strong_count(&self.writer) == 1 {
            self.close();
        }
    }
}

impl Shared {
    fn submit(&self, op: Op, done: Option<Done>, wanted: bool) -> Result<(), WalError> {
        let mut state = self.state.lock();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        if state.closed {
            return Err(WalError::Closed);
        }
        match &op {
            Op::Append { first, payloads } => state.view.append(*first, payloads)?,
            Op::State { slot, value } => drop(state.view.states.insert(*slot, value.clone())),
            Op::Truncate { from } => state.view.truncate(*from),
            Op::Purge { to, marker } => state.view.purge(*to, marker.clone()),
        }
        state.queue.push_back(Queued { op, done });
        state.wanted |= wanted;
        drop(state);
        if wanted {
            self.work.notify_one();
            if let Some(wake) = self.stepper.get() {
                wake();
            }
        }
        Ok(())
    }

    fn run(&self) {
        loop {
            {
                let mut state = self.state.lock();
                while !state.wanted && !state.closed {
                    self.work.wait(&mut state);
                }
                if state.closed && state.queue.is_empty() {
                    return;
                }
            }
            let mut batch = self.take_batch();
            while let Some(again) = self.commit(batch) {
                batch = again;
                if !self.pause() {
                    self.fail(batch, &WalError::Closed, false);
                    break;
                }
            }
        }
    }

    /// Waits before a full disk is tried again; `false` if the log was closed.
    fn pause(&self) -> bool {
        let FullDisk::Wait(pause) = self.config.full_disk else {
            return false;
        };
        let mut state = self.state.lock();
        if !state.closed {
            self.work.wait_for(&mut state, pause);
        }
        !state.closed
    }

    fn take_batch(&self) -> Vec<Queued> {
        let mut state = self.state.lock();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(next) = state.queue.front() {
            let size = next.op.size_bytes();
            if !batch.is_empty() && bytes + size > self.config.batch_bytes_max {
                break;
            }
            bytes += size;
            batch.extend(state.queue.pop_front());
        }
        state.wanted = !state.queue.is_empty();
        batch
    }

    fn put_back(&self, batch: Vec<Queued>) {
        let mut state = self.state.lock();
        for queued in batch.into_iter().rev() {
            state.queue.push_front(queued);
        }
        state.wanted = true;
    }

    /// Commits a batch and calls back. Gives the batch back if the disk is full
    /// and the log is to wait for room.
    fn commit(&self, batch: Vec<Queued>) -> Option<Vec<Queued>> {
        let started = self.clock.now();
        // Bound here, so that no lock is held while failures are handled.
        let result = self
            .segments
            .lock()
            .commit(batch.iter().map(|queued| &queued.op));
        match result {
            Ok(places) => {
                let took = self.clock.now().saturating_sub(started);
                self.committed(&batch, places);
                let bytes = batch.iter().map(|queued| queued.op.size_bytes()).sum();
                if let Some(observer) = &self.observer {
                    observer.committed(bytes, took);
                }
                for done in batch.into_iter().filter_map(|queued| queued.done) {
                    done(Ok(()));
                }
                None
            }
            Err(error @ WalError::Full { .. }) => {
                let news = self.state.lock().waiting.replace(error.clone()).is_none();
                if news {
                    tracing::error!(%error, "the write-ahead log cannot grow");
                }
                if matches!(self.config.full_disk, FullDisk::Wait(_)) {
                    return Some(batch);
                }
                self.fail(batch, &error, false);
                None
            }
            Err(error) => {
                tracing::error!(%error, "the write-ahead log failed");
                self.fail(batch, &error, true);
                None
            }
        }
    }

    fn committed(&self, batch: &[Queued], places: Vec<Place>) {
        let mut segments = self.segments.lock();
        let needed = {
            let mut state = self.state.lock();
            let mut places = places.into_iter();
            for queued in batch {
                state.view.durable.follow(&queued.op, &mut places);
            }
            state.waiting = None;
            state.bytes = segments.bytes();
            state.view.files = segments.files();
            let pending = state
                .queue
                .iter()
                .filter_map(|queued| queued.op.lowest_index())
                .min();
            state.view.shrink_tail(self.config.cache_bytes_max, pending);
            state.view.durable.places.front().map(|place| place.segment)
        };
        if batch
            .iter()
            .any(|queued| matches!(queued.op, Op::Purge { .. }))
        {
            for gone in segments.remove_dead(needed) {
                self.state.lock().view.files.remove(&gone);
            }
        }
    }

    /// Fails a batch and everything behind it, and forgets both.
    fn fail(&self, batch: Vec<Queued>, error: &WalError, for_good: bool) {
        let mut state = self.state.lock();
        if for_good {
            state.failed = Some(error.clone());
        }
        let behind = std::mem::take(&mut state.queue);
        state.wanted = false;
        state.view.reset_to_durable();
        drop(state);
        for done in batch
            .into_iter()
            .chain(behind)
            .filter_map(|queued| queued.done)
        {
            done(Err(error.clone()));
        }
    }
}
