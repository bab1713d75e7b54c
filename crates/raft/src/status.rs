//! The replica's own view of itself, always current.

use kontiki_mvcc::StateMachine;
use kontiki_store::StoreStatus;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use tokio::sync::watch;

/// The one place that writes the status.
pub(crate) struct StatusBoard {
    sender: watch::Sender<StoreStatus>,
    /// What is wrong, by what it concerns.
    troubles: Mutex<BTreeMap<&'static str, String>>,
}

impl StatusBoard {
    pub(crate) fn new(first: StoreStatus) -> Self {
        Self {
            sender: watch::Sender::new(first),
            troubles: Mutex::default(),
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<StoreStatus> {
        self.sender.subscribe()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut StoreStatus)) {
        self.sender.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
    }

    pub(crate) fn applied(&self, index: u64, content: &StateMachine) {
        let (revision, compacted) = (content.revision(), content.compact_revision());
        self.sender.send_modify(|status| {
            status.applied_index = index;
            status.raft_index = status.raft_index.max(index);
            status.revision = revision;
            status.compact_revision = compacted;
        });
    }

    /// Notes what is wrong with `subject`, or that nothing is any more.
    pub(crate) fn trouble(&self, subject: &'static str, what: Option<String>) {
        let mut troubles = self.troubles.lock();
        match what {
            Some(what) => drop(troubles.insert(subject, what)),
            None if troubles.remove(subject).is_none() => return,
            None => {}
        }
        let errors: Vec<String> = troubles.values().cloned().collect();
        self.update(|status| status.errors = errors);
    }
}
