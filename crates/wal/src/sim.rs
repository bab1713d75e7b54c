//! A disk in memory that fails as real ones do.
//!
//! What was not synced may be lost, kept, or torn at a sector when the machine
//! dies; names live and die with their directory's last sync. Everything is
//! decided by one seed.

use crate::{Disk, DiskFile};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SECTOR_BYTES: usize = 512;

/// What a [`SimDisk`] shall do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimFault {
    /// The next write fails with an I/O error.
    FailWrite,
    /// The next sync fails with an I/O error; what it should have kept is lost.
    FailSync,
}

#[derive(Clone, Default)]
struct Inode {
    content: Vec<u8>,
    synced: Vec<u8>,
    /// Writes and truncations since the last sync.
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Truncate(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => {
                let end = offset + data.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(data);
            }
            Self::Truncate(len) => content.resize(*len, 0),
        }
    }
}

type Names = BTreeMap<PathBuf, usize>;

#[derive(Default)]
struct State {
    inodes: Vec<Inode>,
    names: Names,
    /// The names after each change since the last directory sync.
    unsynced_names: Vec<Names>,
    synced_names: Names,
    random: u64,
    fault: Option<SimFault>,
    capacity_bytes: Option<usize>,
    operations_left: Option<u64>,
    /// Counts crashes: handles of an earlier life are dead.
    life: u64,
    dead: bool,
}

impl State {
    fn next_random(&mut self) -> u64 {
        // splitmix64: small, seeded and good enough to choose faults.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next_random() % bound.max(1) as u64).expect("below a usize")
    }

    fn step(&mut self, life: u64) -> io::Result<()> {
        if self.dead || life != self.life {
            return Err(io::Error::other("the simulated machine is down"));
        }
        match &mut self.operations_left {
            Some(0) => {
                self.dead = true;
                Err(io::Error::other("the simulated machine went down"))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn used_bytes(&self) -> usize {
        self.names
            .values()
            .map(|inode| self.inodes[*inode].content.len())
            .sum()
    }

    fn names_changed(&mut self) {
        self.unsynced_names.push(self.names.clone());
    }

    fn write(&mut self, inode: usize, offset: usize, data: &[u8]) -> io::Result<()> {
        if self.fault == Some(SimFault::FailWrite) {
            self.fault = None;
            return Err(io::Error::other("simulated I/O error"));
        }
        let grows = (offset + data.len()).saturating_sub(self.inodes[inode].content.len());
        if self
            .capacity_bytes
            .is_some_and(|capacity| self.used_bytes() + grows > capacity)
        {
            // As a real disk does, a part may get there.
            let part = self.below(data.len());
            let part = part.min(
                self.capacity_bytes
                    .unwrap_or(0)
                    .saturating_sub(self.used_bytes()),
            );
            self.change(
                inode,
                Change::Write {
                    offset,
                    data: data[..part].to_vec(),
                },
            );
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.change(
            inode,
            Change::Write {
                offset,
                data: data.to_vec(),
            },
        );
        Ok(())
    }

    fn change(&mut self, inode: usize, change: Change) {
        let inode = &mut self.inodes[inode];
        change.apply(&mut inode.content);
        inode.unsynced.push(change);
    }

    fn sync(&mut self, inode: usize) -> io::Result<()> {
        if self.fault == Some(SimFault::FailSync) {
            self.fault = None;
            let inode = &mut self.inodes[inode];
            inode.unsynced.clear();
            inode.content.clone_from(&inode.synced);
            return Err(io::Error::other("simulated I/O error"));
        }
        let inode = &mut self.inodes[inode];
        inode.synced.clone_from(&inode.content);
        inode.unsynced.clear();
        Ok(())
    }

    fn crash(&mut self) {
        let kept_names = self.below(self.unsynced_names.len() + 1);
        self.names = match kept_names {
            0 => self.synced_names.clone(),
            kept => self.unsynced_names[kept - 1].clone(),
        };
        self.synced_names = self.names.clone();
        self.unsynced_names.clear();
        for at in 0..self.inodes.len() {
            let kept = self.below(self.inodes[at].unsynced.len() + 1);
            let torn = self.inodes[at].unsynced.get(kept).cloned();
            let mut content = std::mem::take(&mut self.inodes[at].synced);
            for change in &self.inodes[at].unsynced[..kept] {
                change.apply(&mut content);
            }
            if let Some(Change::Write { offset, data }) = torn {
                self.tear(&mut content, offset, &data);
            }
            self.inodes[at] = Inode {
                synced: content.clone(),
                content,
                unsynced: Vec::new(),
            };
        }
        self.life += 1;
        self.dead = false;
        self.operations_left = None;
        self.fault = None;
    }

    /// Writes some of the sectors of `data`; the others stay as they were, or
    /// read as zeroes where the file had not reached yet.
    fn tear(&mut self, content: &mut Vec<u8>, offset: usize, data: &[u8]) {
        let mut at = 0;
        let whole = offset + self.below(data.len() + 1);
        if content.len() < whole {
            content.resize(whole, 0);
        }
        while at < data.len() {
            let from = offset + at;
            let to = ((from / SECTOR_BYTES + 1) * SECTOR_BYTES).min(offset + data.len());
            let visible = to.min(content.len());
            if self.next_random().is_multiple_of(2) && from < visible {
                content[from..visible].copy_from_slice(&data[at..at + visible - from]);
            }
            at += to - from;
        }
    }
}

/// A simulated disk. Clones share it; a clone made before [`SimDisk::crash`]
/// belongs to the machine's earlier life and fails afterwards.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    life: u64,
}

impl SimDisk {
    /// An empty disk whose faults follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: seed,
            ..State::default()
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            life: 0,
        }
    }

    /// The machine dies: what was not synced may be gone, whole or in part.
    /// Answers the disk as the next life sees it.
    #[must_use]
    pub fn crash(&self) -> Self {
        let mut state = self.state.lock();
        state.crash();
        Self {
            state: self.state.clone(),
            life: state.life,
        }
    }

    /// Lets the machine die at the operation after the next `operations`.
    pub fn die_after(&self, operations: u64) {
        self.state.lock().operations_left = Some(operations);
    }

    /// Whether the machine has died since the last [`SimDisk::crash`].
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state.lock().dead
    }

    /// Arms a fault.
    pub fn inject(&self, fault: SimFault) {
        self.state.lock().fault = Some(fault);
    }

    /// Limits the bytes of all files together.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.state.lock().capacity_bytes = bytes;
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.state.lock().used_bytes()
    }

    /// Flips one bit of a file, on the platter.
    pub fn flip_bit(&self, path: &Path, bit: usize) {
        let mut state = self.state.lock();
        if let Some(inode) = state.names.get(path).copied() {
            let inode = &mut state.inodes[inode];
            for content in [&mut inode.content, &mut inode.synced] {
                if let Some(byte) = content.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }
        }
    }

    /// A file's bytes, if it exists.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.lock();
        state
            .names
            .get(path)
            .map(|inode| state.inodes[*inode].content.clone())
    }

    fn file(&self, inode: usize) -> Arc<dyn DiskFile> {
        Arc::new(SimFile {
            disk: self.clone(),
            inode,
        })
    }
}

struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state.lock().inodes[self.inode].content.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state.lock();
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let content = state.inodes[self.inode]
            .content
            .get(offset..offset + buffer.len());
        buffer.copy_from_slice(content.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.step(self.disk.life)?;
        state.write(
            self.inode,
            usize::try_from(offset).map_err(io::Error::other)?,
            data,
        )
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.step(self.disk.life)?;
        state.change(
            self.inode,
            Change::Truncate(usize::try_from(len).map_err(io::Error::other)?),
        );
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.step(self.disk.life)?;
        state.sync(self.inode)
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        self.state.lock().step(self.life)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        state.step(self.life)?;
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.step(self.life)?;
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.names.insert(path.to_owned(), inode);
        state.names_changed();
        Ok(self.file(inode))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.step(self.life)?;
        let inode = state
            .names
            .get(path)
            .copied()
            .ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step(self.life)?;
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        state.names_changed();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step(self.life)?;
        state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.names_changed();
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step(self.life)?;
        state.synced_names = state.names.clone();
        state.unsynced_names.clear();
        Ok(())
    }
}
