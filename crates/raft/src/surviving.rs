//! What a disk holds whose cluster lost its quorum.
//!
//! Everything that was acknowledged is in the longest of the logs, if it is among
//! those that survived. Its end may hold entries that were never acknowledged:
//! nobody is left who could say. They are kept, because losing an acknowledged
//! write is worse than keeping one whose client was told nothing.

use crate::corruption::Corruption;
use crate::identity::Identity;
use crate::log_store::LogStore;
use crate::position::Position;
use crate::types::{EntryT, StoredMembershipT};
use crate::window::Verdict;
use kontiki_mvcc::{Engine, EngineError, Entry, StateMachine, decode_batch};
use kontiki_seal::Keyring;
use kontiki_store::{Alarm, Dump, Member, StoreError};
use kontiki_wal::{Disk, SystemClock, Wal, WalConfig, WalError};
use openraft::EntryPayload;
use std::io;
use std::path::Path;
use std::sync::Arc;
use thiserror::Error;

/// Entries that are applied at once.
const ENTRIES_AT_ONCE: u64 = 512;

/// Why a disk could not be read.
#[derive(Debug, Error)]
pub enum SurvivingError {
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] WalError),
    /// The state machine's data cannot be used.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An entry or a position cannot be read.
    #[error("the log cannot be read: {0}")]
    Io(#[from] io::Error),
    /// There is nothing.
    #[error("{0} holds no member of a cluster")]
    Empty(String),
    /// What is there cannot be written out.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How far a disk's log goes. The greater, the more it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogEnd {
    /// Term of the last entry: a log of a later leader supersedes.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

/// A member's disk, opened while its process does not run.
pub struct Surviving {
    identity: Identity,
    wal: Wal,
    content: Arc<StateMachine>,
    position: Position,
    end: LogEnd,
}

impl Surviving {
    /// Opens the log in `log_dir`, which `keys` may have sealed, and the state in
    /// `engine`.
    pub fn open(
        log_dir: &Path,
        disk: Arc<dyn Disk>,
        engine: Arc<dyn Engine>,
        keys: Option<Arc<Keyring>>,
    ) -> Result<Self, SurvivingError> {
        let clock = Arc::new(SystemClock::default());
        let config = WalConfig {
            keys,
            ..WalConfig::new(log_dir.join("wal"))
        };
        let wal = Wal::open(config, disk, clock, None)?;
        let identity = Identity::load(&wal)?
            .ok_or_else(|| SurvivingError::Empty(log_dir.display().to_string()))?;
        let (content, _background) = StateMachine::open(engine)?;
        let position = Position::decode(content.applied_meta())?;
        let mut end = position.applied.map_or_else(LogEnd::default, |id| LogEnd {
            term: id.leader_id.term,
            index: id.index,
        });
        let last = wal.next_index().saturating_sub(1);
        if let Some(entry) = LogStore::new(wal.clone(), Corruption::default())
            .entries(last, last + 1)?
            .pop()
        {
            end = end.max(LogEnd {
                term: entry.log_id.leader_id.term,
                index: entry.log_id.index,
            });
        }
        Ok(Self {
            identity,
            wal,
            content,
            position,
            end,
        })
    }

    /// The member's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.identity.name
    }

    /// The member's id.
    #[must_use]
    pub fn member_id(&self) -> u64 {
        self.identity.member_id
    }

    /// Its cluster's id.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.identity.cluster_id
    }

    /// How far its log goes.
    #[must_use]
    pub fn end(&self) -> LogEnd {
        self.end
    }

    /// Index up to which the log is in the state.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.position.applied.map_or(0, |id| id.index)
    }

    /// The state's revision.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.content.revision()
    }

    /// The members as of the state.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let membership = self.position.membership.membership();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let members = membership.nodes().map(|(id, node)| Member {
            id: *id,
            name: node.name.clone(),
            peer_addresses: vec![node.peer_address.clone()],
            client_urls: node.client_urls.clone(),
            is_learner: !voters.contains(id),
        });
        members.collect()
    }

    /// Applies all of the log, whether committed or not.
    pub fn apply_all(&mut self) -> Result<(), SurvivingError> {
        let log = LogStore::new(self.wal.clone(), Corruption::default());
        loop {
            let next = self.applied_index() + u64::from(self.position.applied.is_some());
            let next = next.max(self.wal.first_index());
            let entries = log.entries(next, next + ENTRIES_AT_ONCE)?;
            if entries.is_empty() {
                self.content.flush()?;
                return Ok(());
            }
            let entries: Result<Vec<Entry>, io::Error> =
                entries.into_iter().map(|entry| self.take(entry)).collect();
            self.content.apply(&entries?, self.position.encode())?;
        }
    }

    fn take(&mut self, entry: EntryT) -> Result<Entry, io::Error> {
        let mut commands = Vec::new();
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => {
                let stored = StoredMembershipT::new(Some(entry.log_id), membership);
                self.position.set_membership(stored);
            }
            EntryPayload::Normal(proposal) => {
                let (origin, _, encoded) = proposal.parse()?;
                // What was proposed twice counts once, here as on a live replica.
                if matches!(self.position.window.admit(origin), Verdict::New) {
                    commands = decode_batch(encoded).map_err(io::Error::other)?;
                }
            }
        }
        self.position.applied = Some(entry.log_id);
        Ok(Entry {
            term: entry.log_id.leader_id.term,
            commands,
        })
    }

    /// Everything in the state, as for a snapshot. Alarms stay behind: they told
    /// of members that are no more.
    pub fn dump(&self) -> Result<Dump, SurvivingError> {
        let dumping = self.content.dump()?;
        Ok(Dump {
            header: dumping.header,
            compact_revision: dumping.compact_revision,
            applied_index: self.applied_index(),
            members: self.members(),
            auth: self.content.auth(),
            alarms: Vec::<Alarm>::new(),
            items: dumping.items,
        })
    }
}
