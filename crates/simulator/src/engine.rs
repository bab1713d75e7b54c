//! The engine of one member: in memory, with what a crash would leave beside it.

use crate::bugs::Bug;
use bytes::Bytes;
use kontiki_mvcc::{Batch, BatchOp, Engine, EngineError, EngineSize, MemoryEngine, Space, View};
use parking_lot::Mutex;
use std::collections::VecDeque;

/// Positions that [`Bug::DoubleApplyAfterSnapshot`] falls behind.
const POSITIONS_BEHIND: usize = 3;

/// An engine that outlives its process, except for what it did not flush.
pub(crate) struct SimEngine {
    memory: MemoryEngine,
    bug: Option<Bug>,
    /// The newest positions, oldest first.
    positions: Mutex<VecDeque<(Bytes, Bytes)>>,
    flushed: Mutex<Option<(Bytes, Bytes)>>,
}

impl SimEngine {
    pub(crate) fn new(bug: Option<Bug>) -> Self {
        Self {
            memory: MemoryEngine::new(),
            bug,
            positions: Mutex::default(),
            flushed: Mutex::default(),
        }
    }

    /// Forgets what was not flushed.
    pub(crate) fn crash(&self) {
        self.memory.crash();
        self.positions.lock().clear();
        let damaged = match self.bug {
            Some(Bug::DoubleApplyAfterSnapshot) => self.flushed.lock().take(),
            Some(Bug::RevisionSkippedAfterCrash) => self.state_with_the_next_revision(),
            _ => None,
        };
        if let Some((key, value)) = damaged {
            let mut batch = Batch::new();
            batch.put(Space::Meta, key, value);
            self.memory.write(batch).expect("memory takes everything");
        }
    }

    /// The state row of the slot that is in use, one revision further on.
    fn state_with_the_next_revision(&self) -> Option<(Bytes, Bytes)> {
        let root = self.memory.get(Space::Meta, b"root").ok()??;
        let key = [&root[root.len() - 1..], b"state"].concat();
        let state = self.memory.get(Space::Meta, &key).ok()??;
        // A variable-length number whose low seven bits come first.
        let mut state = state.to_vec();
        let low = state.first_mut().filter(|low| **low & 0x7f < 0x7f)?;
        *low += 1;
        Some((key.into(), state.into()))
    }
}

impl Engine for SimEngine {
    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        if self.bug == Some(Bug::DoubleApplyAfterSnapshot) {
            let ops = batch.clone().into_ops();
            let mut positions = self.positions.lock();
            for op in ops {
                if let BatchOp::Put {
                    space: Space::Meta,
                    key,
                    value,
                } = op
                    && key.ends_with(b"applied")
                {
                    positions.push_back((Bytes::copy_from_slice(&key), value));
                }
            }
            while positions.len() > POSITIONS_BEHIND {
                positions.pop_front();
            }
        }
        self.memory.write(batch)
    }

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.memory.get(space, key)
    }

    fn get_durable(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.memory.get_durable(space, key)
    }

    fn view(&self) -> Result<Box<dyn View + '_>, EngineError> {
        self.memory.view()
    }

    fn flush(&self) -> Result<(), EngineError> {
        *self.flushed.lock() = self.positions.lock().front().cloned();
        self.memory.flush()
    }

    fn size(&self) -> EngineSize {
        self.memory.size()
    }
}
