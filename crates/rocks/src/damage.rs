//! What RocksDB says, and whether that means that the data is damaged.

use kontiki_mvcc::{EngineError, Space};
use rocksdb::ErrorKind;
use std::sync::OnceLock;

/// The first damage that anybody met.
#[derive(Default)]
pub(crate) struct Damage(OnceLock<String>);

/// An error that is not remembered, for a database that did not open.
pub(crate) fn failed(operation: String, error: &rocksdb::Error) -> EngineError {
    if error.kind() == ErrorKind::Corruption {
        EngineError::damaged(operation, error)
    } else {
        EngineError::new(operation, error)
    }
}

impl Damage {
    pub(crate) fn found(&self) -> Option<String> {
        self.0.get().cloned()
    }

    pub(crate) fn note(&self, operation: String, error: &rocksdb::Error) -> EngineError {
        let error = failed(operation, error);
        if error.damaged {
            // The first one is enough to act on.
            let _ = self.0.set(error.to_string());
        }
        error
    }

    pub(crate) fn reading(&self, space: Space) -> impl Fn(rocksdb::Error) -> EngineError {
        move |error| self.note(format!("reading from {space:?}"), &error)
    }
}
