//! Encryption at rest, as a process has it: opened at the start, and turned to
//! another key whenever the file of keys says so.

use anyhow::{Result, bail};
use kontiki_seal::Keyring;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

/// The key store, in the store's folder.
const KEYS: &str = "KEYS";
const KEY_FILE_LOOKED_AT_EVERY: Duration = Duration::from_secs(2);

/// What seals a store's folder, if anything does.
#[derive(Clone)]
pub struct Encryption {
    path: PathBuf,
    key_file: Option<PathBuf>,
    open: Arc<Mutex<Option<Arc<Keyring>>>>,
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Encryption").field(&self.path).finish()
    }
}

impl Encryption {
    /// That of a store's folder.
    pub fn of(store: &Path, key_file: Option<&Path>) -> Self {
        Self {
            path: store.join(KEYS),
            key_file: key_file.map(Path::to_owned),
            open: Arc::default(),
        }
    }

    /// Opens the key store, or makes it; `None` if nothing is to be sealed.
    pub fn unlock(&self) -> Result<Option<Arc<Keyring>>> {
        let Some(key_file) = &self.key_file else {
            if self.path.exists() {
                bail!(
                    "the store's data is encrypted ({} is there) and no key file is given; set encryptionKeyFile (--encryption-key-file)",
                    self.path.display()
                );
            }
            return Ok(None);
        };
        let keys = Keyring::open(&self.path, key_file)?;
        *self.open.lock() = Some(keys.clone());
        Ok(Some(keys))
    }

    /// From now on notices another key in the file of keys.
    pub fn follow(&self) {
        if let (Some(keys), Some(key_file)) = (&*self.open.lock(), &self.key_file) {
            let key = keys.sealed_with();
            tracing::info!(key, "the store's data is encrypted on the disk");
            tokio::spawn(follow(Arc::downgrade(keys), key_file.clone()));
        }
    }

    /// What operators are told.
    pub fn remark(&self) -> Option<String> {
        let keys = self.open.lock().clone()?;
        Some(format!(
            "encrypted on the disk; only key {:?} is needed",
            keys.sealed_with()
        ))
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

async fn follow(keys: Weak<Keyring>, key_file: PathBuf) {
    // Read once more in any case: it may have changed since the start.
    let mut seen = None;
    loop {
        tokio::time::sleep(KEY_FILE_LOOKED_AT_EVERY).await;
        let Some(keys) = keys.upgrade() else { return };
        let now = modified(&key_file);
        if now == seen {
            continue;
        }
        match keys.reload() {
            Ok(changed) => {
                seen = now;
                if changed {
                    tracing::info!(
                        key = keys.sealed_with(),
                        "another encryption key is in use; the one before is needed no more"
                    );
                }
            }
            // It may be being written; the key before stays in use.
            Err(error) => tracing::warn!(%error, "the encryption keys cannot be read again"),
        }
    }
}

impl Collector for Encryption {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(keys) = self.open.lock().clone() else {
            return Ok(());
        };
        let key = Info::new(vec![("name", keys.sealed_with())]);
        key.encode(encoder.encode_descriptor(
            "kontiki_store_encryption_key",
            "The key that the store's data on this member's disk cannot be read without",
            None,
            key.metric_type(),
        )?)?;
        let count = ConstGauge::new(i64::try_from(keys.data_keys()).unwrap_or(i64::MAX));
        count.encode(encoder.encode_descriptor(
            "kontiki_store_encryption_data_keys",
            "Keys that sealed data on this member's disk; one more with every change of the key",
            None,
            count.metric_type(),
        )?)
    }
}
