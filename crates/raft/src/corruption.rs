//! Whether anything that this member once wrote does not read back.
//!
//! What is found at a start refuses the start. What is found later is noted here,
//! so that whoever runs the replica can stop it and have it rebuilt.

use crate::watch;
use kontiki_mvcc::EngineError;
use kontiki_wal::WalError;
use std::io;
use std::sync::Arc;

/// The first damage that was found. Clones are the same note.
#[derive(Clone)]
pub(crate) struct Corruption(Arc<watch::Sender<Option<String>>>);

impl Default for Corruption {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Corruption {
    /// Notes damage; only the first counts.
    pub(crate) fn note(&self, what: &str) {
        if self.0.borrow().is_none() {
            tracing::error!(what, "this member's data is corrupt");
            self.0.send_replace(Some(what.to_owned()));
        }
    }

    /// Notes an error of the log if it means damage.
    pub(crate) fn of_log(&self, error: WalError) -> io::Error {
        if matches!(error, WalError::Corrupt { .. }) {
            self.note(&error.to_string());
        }
        error.into()
    }

    /// Notes an error of the engine if it means damage.
    pub(crate) fn of_engine(&self, error: &EngineError) {
        if error.damaged {
            self.note(&error.to_string());
        }
    }

    /// Waits for damage.
    pub(crate) async fn found(&self) -> String {
        let mut noted = self.0.subscribe();
        loop {
            if let Some(found) = self.0.borrow().clone() {
                return found;
            }
            // It cannot fail: the sender is held here.
            let _ = noted.changed().await;
        }
    }
}
