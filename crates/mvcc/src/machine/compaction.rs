//! The physical side of a compaction.
//!
//! That a revision is compacted takes effect when the command is applied; the
//! space is freed afterwards, in chunks, from the changes in order: a change
//! at or before the compacted revision makes the key's older version
//! unreachable, and a deletion before it makes itself unreachable. Deletions
//! *at* the compacted revision stay until the next compaction, because that
//! revision can still be watched from. Where a sweep stands is written with
//! what it deleted, so a restart resumes it.

use super::StateMachine;
use crate::engine::{Batch, Engine, EngineError, Space};
use crate::layout::{self, meta};
use kontiki_store::{EventKind, Revision};
use std::sync::Weak;
use std::sync::atomic::Ordering;

/// Changes looked at in one chunk: a few milliseconds.
const CHUNK: usize = 1000;

/// How far the sweep has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Every compaction up to this revision is finished.
    pub(crate) done: Revision,
    /// The next change to look at.
    from: (Revision, u32),
    /// The compaction that `from` belongs to.
    target: Revision,
}

impl Swept {
    pub(crate) fn load(engine: &dyn Engine, slot: u8) -> Result<Self, EngineError> {
        let Some(raw) = engine.get(Space::Meta, &layout::meta_key(slot, meta::SWEPT, &[]))? else {
            return Ok(Self::default());
        };
        let [done, revision, number, target] =
            layout::decode_numbers("the sweep's position", &raw)?;
        Ok(Self {
            done,
            from: (revision, number as u32),
            target,
        })
    }

    fn put(&self, slot: u8, batch: &mut Batch) {
        let numbers = [self.done, self.from.0, i64::from(self.from.1), self.target];
        batch.put(
            Space::Meta,
            layout::meta_key(slot, meta::SWEPT, &[]),
            layout::encode_numbers(&numbers),
        );
    }
}

/// Sweeps whenever there is something to, until the state machine is gone.
pub(super) async fn sweep_forever(machine: Weak<StateMachine>) {
    loop {
        let Some(strong) = machine.upgrade() else {
            return;
        };
        match strong.sweep_chunk() {
            Ok(true) => {
                drop(strong);
                tokio::task::yield_now().await;
            }
            Ok(false) => wait(strong).await,
            Err(error) => {
                // Space is not freed, nothing else suffers; the next compaction tries again.
                tracing::error!(%error, "the compaction stopped");
                wait(strong).await;
            }
        }
    }
}

/// Waits for the next compaction without keeping the state machine alive for good.
async fn wait(machine: std::sync::Arc<StateMachine>) {
    let notified = machine.compaction.clone();
    drop(machine);
    notified.notified().await;
}

impl StateMachine {
    /// Frees one chunk; whether there may be more to do.
    pub(crate) fn sweep_chunk(&self) -> Result<bool, EngineError> {
        let _sweeping = self.sweeping.lock();
        if self.installing.load(Ordering::Acquire) {
            return Ok(false);
        }
        let state = self.state();
        let (slot, target) = (state.slot, state.compact_revision);
        let mut swept = Swept::load(&*self.engine, slot)?;
        if swept.done >= target {
            self.swept.send_replace(swept.done);
            return Ok(false);
        }
        if swept.target != target {
            // What was left standing at the former target may go now.
            swept.from.1 = 0;
            swept.target = target;
        }
        let mut batch = Batch::new();
        let next = self.sweep_changes(slot, target, swept.from, &mut batch)?;
        let reached = next.unwrap_or((target, 0));
        let (from, to) = (swept.from, reached.min((target, 0)));
        if from < to {
            let (from, to) = (
                layout::change_key(slot, from.0, from.1),
                layout::change_key(slot, to.0, to.1),
            );
            batch.delete_range(Space::Changes, from, to);
        }
        swept.from = reached;
        if next.is_none() {
            swept.done = target;
        }
        swept.put(slot, &mut batch);
        self.engine.write(batch)?;
        self.swept.send_replace(swept.done);
        Ok(next.is_some())
    }

    /// Looks at the changes from `from` up to revision `target`; the first one
    /// that was not looked at, if any is left.
    fn sweep_changes(
        &self,
        slot: u8,
        target: Revision,
        from: (Revision, u32),
        batch: &mut Batch,
    ) -> Result<Option<(Revision, u32)>, EngineError> {
        let view = self.engine.view()?;
        let mut changes = view.cursor(Space::Changes, &layout::change_key(slot, target + 1, 0))?;
        let mut versions = view.cursor(Space::Keys, &[slot + 1])?;
        changes.seek(&layout::change_key(slot, from.0, from.1))?;
        for _ in 0..CHUNK {
            let Some((raw, change)) = changes.item() else {
                return Ok(None);
            };
            let revision = layout::parse_change_key(raw)?;
            let (kind, key) = layout::decode_change(change)?;
            let at = layout::version_key(slot, key, revision);
            let prefix = &at[..at.len() - 8];
            versions.seek(&at)?;
            if versions.item().is_some_and(|(version, _)| version == at) {
                if kind == EventKind::Delete && revision < target {
                    batch.delete(Space::Keys, at.clone());
                }
                versions.next()?;
            }
            // Only the next older one: what is older still went with its successor's change.
            if let Some((version, _)) = versions
                .item()
                .filter(|(version, _)| version.starts_with(prefix))
            {
                batch.delete(Space::Keys, version.to_vec());
            }
            changes.next()?;
        }
        changes
            .item()
            .map(|(raw, _)| layout::parse_change_position(raw))
            .transpose()
    }
}
