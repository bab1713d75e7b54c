//! The slow side of one watcher: notices that it is gone, answers progress
//! requests, and catches up from history.

use super::{Interest, WatcherId};
use crate::machine::{Chunk, StateMachine};
use kontiki_store::WatchItem;
use std::sync::{Arc, Weak};
use tokio::sync::{Notify, mpsc};

/// Runs as long as its watcher lives.
pub(crate) struct Session {
    id: WatcherId,
    interest: Interest,
    items: mpsc::Sender<WatchItem>,
    asked: mpsc::Receiver<()>,
    wake: Arc<Notify>,
}

/// The watcher is over: dropped, compacted away, or the store is gone.
struct Over;

impl Session {
    pub(super) fn new(
        id: WatcherId,
        interest: Interest,
        items: mpsc::Sender<WatchItem>,
        asked: mpsc::Receiver<()>,
        wake: Arc<Notify>,
    ) -> Self {
        Self {
            id,
            interest,
            items,
            asked,
            wake,
        }
    }

    pub(crate) async fn run(mut self, machine: Weak<StateMachine>) {
        let mut progress_due = false;
        loop {
            tokio::select! {
                biased;
                () = self.wake.notified() => {}
                asked = self.asked.recv() => match asked {
                    Some(()) => progress_due = true,
                    None => break,
                },
            }
            if self.serve(&machine, &mut progress_due).await.is_err() {
                break;
            }
        }
        if let Some(machine) = machine.upgrade() {
            machine.hub.remove(self.id);
        }
    }

    /// Catches up and answers what was asked.
    async fn serve(
        &self,
        machine: &Weak<StateMachine>,
        progress_due: &mut bool,
    ) -> Result<(), Over> {
        loop {
            while self.catch_up(machine).await? {}
            if !*progress_due {
                return Ok(());
            }
            let permit = self.items.reserve().await.map_err(|_| Over)?;
            if machine
                .upgrade()
                .ok_or(Over)?
                .hub
                .answer_progress(self.id, permit)
            {
                *progress_due = false;
                return Ok(());
            }
        }
    }

    /// Sends one chunk of history; whether there is more to do.
    async fn catch_up(&self, machine: &Weak<StateMachine>) -> Result<bool, Over> {
        let Some(from) = machine.upgrade().ok_or(Over)?.hub.unsynced_at(self.id) else {
            return Ok(false);
        };
        // Nothing is read for a watcher that could not take it.
        drop(self.items.reserve().await.map_err(|_| Over)?);
        let strong = machine.upgrade().ok_or(Over)?;
        let chunk = strong.history(&self.interest, from);
        drop(strong);
        match chunk {
            Ok(Chunk::Events {
                batches,
                next,
                complete,
            }) => {
                for batch in batches {
                    self.items
                        .send(WatchItem::Events(batch))
                        .await
                        .map_err(|_| Over)?;
                }
                let synced = machine.upgrade().ok_or(Over)?.hub.caught_up(self.id, next);
                if !complete {
                    // Others get their turn between two chunks.
                    tokio::task::yield_now().await;
                }
                Ok(!synced)
            }
            Ok(Chunk::Compacted(compact_revision)) => {
                // If nobody takes it any more, nobody needs to know.
                let _ = self
                    .items
                    .send(WatchItem::Compacted { compact_revision })
                    .await;
                Err(Over)
            }
            Err(error) => {
                tracing::error!(%error, "a watch could not be caught up from history");
                Err(Over)
            }
        }
    }
}
