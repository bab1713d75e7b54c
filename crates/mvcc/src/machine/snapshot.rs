//! Moving the whole content to another replica.
//!
//! A snapshot is a sequence of chunks: a header, rows, an end. Each chunk
//! carries its number and a checksum, the end carries the number of rows, so a
//! lost, repeated, damaged or foreign chunk is noticed before anything of the
//! snapshot is used.

use super::{StateMachine, load, parse_root, root_value};
use crate::codec::{DecodeError, Reader, put_bytes, put_varint};
use crate::engine::{Batch, EngineError, Space, View};
use crate::layout::{self, meta};
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use thiserror::Error;
use tokio::sync::mpsc;

const FORMAT: u8 = 1;
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that wait for a slow receiver.
const CHUNKS_WAITING: usize = 2;
/// Number, checksum, kind.
const FRAME_BYTES: usize = 9;

const HEADER: u8 = 0;
const ROWS: u8 = 1;
const END: u8 = 2;

/// Why a snapshot could not be installed. What was there before still is.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A chunk is missing, repeated or damaged.
    #[error("snapshot chunk {expected}: {reason}; send the snapshot again")]
    Chunk {
        /// The number of the chunk that was due.
        expected: u32,
        /// What is wrong with what came.
        reason: String,
    },
    /// Another snapshot is being installed.
    #[error("another snapshot is being installed")]
    Busy,
}

/// The chunks of one consistent snapshot.
pub struct SnapshotReader {
    meta: Option<Bytes>,
    chunks: Chunks,
}

enum Chunks {
    /// A thread makes them.
    Coming(mpsc::Receiver<Result<Bytes, EngineError>>),
    /// All of them, made before.
    Made(VecDeque<Result<Bytes, EngineError>>),
}

impl SnapshotReader {
    /// The position that the snapshot's content belongs to.
    #[must_use]
    pub fn meta(&self) -> Option<Bytes> {
        self.meta.clone()
    }

    /// The next chunk; `None` after the last.
    pub async fn next(&mut self) -> Option<Result<Bytes, EngineError>> {
        match &mut self.chunks {
            Chunks::Coming(chunks) => chunks.recv().await,
            Chunks::Made(chunks) => chunks.pop_front(),
        }
    }

    /// The next chunk, for callers outside a runtime.
    pub fn blocking_next(&mut self) -> Option<Result<Bytes, EngineError>> {
        match &mut self.chunks {
            Chunks::Coming(chunks) => chunks.blocking_recv(),
            Chunks::Made(chunks) => chunks.pop_front(),
        }
    }
}

impl StateMachine {
    /// Starts a snapshot of the content as it is now. A thread of its own reads
    /// it, no faster than the chunks are taken; dropping the reader ends it.
    pub fn snapshot(&self) -> Result<SnapshotReader, EngineError> {
        let engine = self.engine.clone();
        let (chunks, receiver) = mpsc::channel(CHUNKS_WAITING);
        let (ready, opened) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("snapshot".to_owned());
        let spawned = thread.spawn(move || {
            let opened = engine
                .view()
                .and_then(|view| Ok((read_applied(&*view)?, view)));
            match opened {
                Ok((applied, view)) => {
                    let _ = ready.send(Ok(applied.clone()));
                    stream(&*view, applied, |chunk| chunks.blocking_send(chunk).is_ok());
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        });
        spawned.map_err(|error| EngineError::new("starting a snapshot's thread", error))?;
        let opened = opened
            .recv()
            .map_err(|error| EngineError::new("starting a snapshot", error))?;
        let (_, meta) = opened?;
        Ok(SnapshotReader {
            meta,
            chunks: Chunks::Coming(receiver),
        })
    }

    /// Like [`Self::snapshot`] without a thread: the whole snapshot lies in
    /// memory when this returns. For simulations, which have one thread.
    pub fn snapshot_at_once(&self) -> Result<SnapshotReader, EngineError> {
        let view = self.engine.view()?;
        let applied = read_applied(&*view)?;
        let meta = applied.1.clone();
        let mut chunks = VecDeque::new();
        stream(&*view, applied, |chunk| {
            chunks.push_back(chunk);
            true
        });
        Ok(SnapshotReader {
            meta,
            chunks: Chunks::Made(chunks),
        })
    }

    /// Starts to install a snapshot. Until [`SnapshotInstaller::finish`] the
    /// present content is served, and stays if the installer is dropped.
    pub fn install(self: &Arc<Self>) -> Result<SnapshotInstaller, SnapshotError> {
        if self.installing.swap(true, Ordering::AcqRel) {
            return Err(SnapshotError::Busy);
        }
        // A sweep that began before the flag was up is waited for.
        drop(self.sweeping.lock());
        let slot = 1 - self.state().slot;
        let installer = SnapshotInstaller {
            machine: self.clone(),
            slot,
            next: 0,
            rows: 0,
            meta: None,
            ended: false,
        };
        self.engine.write(clear(slot))?;
        Ok(installer)
    }
}

fn read_applied(view: &dyn View) -> Result<(u8, Option<Bytes>), EngineError> {
    let root = view.get(Space::Meta, layout::ROOT)?;
    let slot = parse_root(&root.ok_or_else(|| layout::damaged("the root", "it is missing"))?)?;
    Ok((
        slot,
        view.get(Space::Meta, &layout::meta_key(slot, meta::APPLIED, &[]))?,
    ))
}

fn clear(slot: u8) -> Batch {
    let mut batch = Batch::new();
    for space in Space::ALL {
        batch.delete_range(space, vec![slot], vec![slot + 1]);
    }
    batch
}

/// Sends the chunks; stops when `send` says that nobody takes them.
fn stream(
    view: &dyn View,
    applied: (u8, Option<Bytes>),
    mut send: impl FnMut(Result<Bytes, EngineError>) -> bool,
) {
    let mut writer = Writer {
        sink: &mut send,
        number: 0,
        body: BytesMut::new(),
        rows: 0,
    };
    if let Err(Some(error)) = writer.all(view, applied) {
        send(Err(error));
    }
}

struct Writer<'a> {
    sink: &'a mut dyn FnMut(Result<Bytes, EngineError>) -> bool,
    number: u32,
    body: BytesMut,
    rows: u64,
}

impl Writer<'_> {
    /// The error is `None` when the receiver is gone.
    fn all(
        &mut self,
        view: &dyn View,
        (slot, applied): (u8, Option<Bytes>),
    ) -> Result<(), Option<EngineError>> {
        self.body.put_u8(FORMAT);
        self.body.put_u8(u8::from(applied.is_some()));
        put_bytes(&mut self.body, &applied.unwrap_or_default());
        self.send(HEADER)?;
        for space in Space::ALL {
            let mut cursor = view.cursor(space, &[slot + 1])?;
            cursor.seek(&[slot])?;
            // The root lies behind the slots.
            while let Some((key, value)) = cursor.item() {
                self.body.put_u8(space.number());
                put_bytes(&mut self.body, &key[1..]);
                put_bytes(&mut self.body, value);
                self.rows += 1;
                if self.body.len() >= CHUNK_BYTES {
                    self.send(ROWS)?;
                }
                cursor.next()?;
            }
        }
        self.send(ROWS)?;
        let rows = self.rows;
        put_varint(&mut self.body, rows);
        self.send(END)
    }

    fn send(&mut self, kind: u8) -> Result<(), Option<EngineError>> {
        let body = self.body.split();
        let mut chunk = BytesMut::with_capacity(body.len() + FRAME_BYTES);
        chunk.put_u32(self.number);
        chunk.put_u32(checksum(self.number, kind, &body));
        chunk.put_u8(kind);
        chunk.put_slice(&body);
        self.number += 1;
        if (self.sink)(Ok(chunk.freeze())) {
            Ok(())
        } else {
            Err(None)
        }
    }
}

fn checksum(number: u32, kind: u8, body: &[u8]) -> u32 {
    let head = crc32c::crc32c(&[&number.to_be_bytes()[..], &[kind]].concat());
    crc32c::crc32c_append(head, body)
}

/// The receiving side of a snapshot.
pub struct SnapshotInstaller {
    machine: Arc<StateMachine>,
    slot: u8,
    next: u32,
    rows: u64,
    meta: Option<Bytes>,
    ended: bool,
}

impl SnapshotInstaller {
    /// Takes the next chunk. After an error the installer is of no more use.
    pub fn push(&mut self, chunk: Bytes) -> Result<(), SnapshotError> {
        if chunk.len() < FRAME_BYTES {
            return Err(self.bad("it is too short"));
        }
        let mut frame = chunk;
        let body = frame.split_off(FRAME_BYTES);
        let number = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
        let sum = u32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
        let kind = frame[8];
        if number != self.next {
            return Err(self.bad(format!("chunk {number} came")));
        }
        if sum != checksum(number, kind, &body) {
            return Err(self.bad("its checksum is wrong"));
        }
        if self.ended {
            return Err(self.bad("it follows the end"));
        }
        match (kind, number) {
            (HEADER, 0) => self.header(body)?,
            (ROWS, 1..) => self.rows(body)?,
            (END, 1..) => self.end(body)?,
            (kind, _) => return Err(self.bad(format!("kind {kind} is not due here"))),
        }
        self.next += 1;
        Ok(())
    }

    /// Switches to the new content, durably; answers its position.
    pub fn finish(self) -> Result<Option<Bytes>, SnapshotError> {
        if !self.ended {
            return Err(self.bad("the snapshot ends too early"));
        }
        let machine = &self.machine;
        let _writer = machine.writer.lock();
        let old = machine.state();
        let mut state = load(&*machine.engine, self.slot)?;
        state.generation = old.generation + 1;
        let mut batch = Batch::new();
        batch.put(Space::Meta, layout::ROOT, root_value(self.slot));
        machine.engine.write(batch)?;
        machine.engine.flush()?;
        let revision = state.revision;
        machine.publish(state);
        machine.hub.reset(revision);
        // Readers that still work on the old content find it gone and start again.
        machine.engine.write(clear(old.slot))?;
        Ok(self.meta.clone())
    }

    fn bad(&self, reason: impl Into<String>) -> SnapshotError {
        SnapshotError::Chunk {
            expected: self.next,
            reason: reason.into(),
        }
    }

    fn decoded<T>(&self, value: Result<T, DecodeError>) -> Result<T, SnapshotError> {
        value.map_err(|error| self.bad(error.to_string()))
    }

    fn header(&mut self, body: Bytes) -> Result<(), SnapshotError> {
        let mut input = Reader::new(body);
        let format = self.decoded(input.byte())?;
        if format != FORMAT {
            return Err(self.bad(format!(
                "it has format {format}, this program knows {FORMAT}: upgrade it"
            )));
        }
        let present = self.decoded(input.byte())? != 0;
        let meta = self.decoded(input.bytes())?;
        self.meta = present.then_some(meta);
        Ok(())
    }

    fn rows(&mut self, body: Bytes) -> Result<(), SnapshotError> {
        let mut input = Reader::new(body);
        let mut batch = Batch::new();
        while !input.is_empty() {
            let space = self.decoded(input.byte())?;
            let space = Space::from_number(space)
                .ok_or_else(|| self.bad(format!("there is no space {space}")))?;
            let key = self.decoded(input.bytes())?;
            let value = self.decoded(input.bytes())?;
            batch.put(space, layout::meta_key(self.slot, &key, &[]), value);
            self.rows += 1;
        }
        Ok(self.machine.engine.write(batch)?)
    }

    fn end(&mut self, body: Bytes) -> Result<(), SnapshotError> {
        let rows = self.decoded(Reader::new(body).varint())?;
        if rows != self.rows {
            return Err(self.bad(format!("{rows} rows were sent, {} came", self.rows)));
        }
        self.ended = true;
        Ok(())
    }
}

impl Drop for SnapshotInstaller {
    fn drop(&mut self) {
        self.machine.installing.store(false, Ordering::Release);
        self.machine.compaction.notify_one();
    }
}
