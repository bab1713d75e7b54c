//! Bugs that are planted to see whether they are found.

use kontiki_wal::{Disk, DiskFile};
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// A mistake that stores have made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The log says that it has synced what it has only written.
    AcknowledgeBeforeSync,
    /// A leader answers reads without asking a quorum whether it still leads.
    StaleReadAfterPause,
    /// A watch whose next revision was compacted goes on after it, silently.
    LostWatchEventAtCompaction,
    /// Leases end by the time of day of the machine.
    LeaseExpiryByLocalClock,
    /// After a crash the revision counter goes on one too high.
    RevisionSkippedAfterCrash,
    /// The durable content is newer than the position that is kept with it.
    DoubleApplyAfterSnapshot,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::AcknowledgeBeforeSync,
        Self::StaleReadAfterPause,
        Self::LostWatchEventAtCompaction,
        Self::LeaseExpiryByLocalClock,
        Self::RevisionSkippedAfterCrash,
        Self::DoubleApplyAfterSnapshot,
    ];
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|bug| format!("{bug:?}") == text);
        found
            .copied()
            .ok_or_else(|| format!("{text:?} is none of {:?}", Self::ALL))
    }
}

/// A disk that never syncs and says that it did.
pub(crate) struct LyingDisk(pub Arc<dyn Disk>);

struct LyingFile(Arc<dyn DiskFile>);

impl DiskFile for LyingFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for LyingDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        // The header of a segment is synced honestly, as it would be for long.
        self.0.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(LyingFile(self.0.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
}
