//! Preparing an empty disk so that a replica starts on restored content, as a
//! member of a new cluster.
//!
//! The content counts as the first entry of a log that was purged up to it, so
//! that a member that joins later gets it as a snapshot. Every member of the
//! new cluster can be restored by itself from the same file, or one is
//! restored and the others join it with empty disks.

use crate::config::{ConfigError, ReplicatedConfig, derive_id};
use crate::identity::Identity;
use crate::log_store::{SLOT_VOTE, write_durably};
use crate::position::Position;
use crate::types::{PeerNode, StoredMembershipT, VoteT, log_id};
use crate::wire;
use bytes::Bytes;
use kontiki_wal::{Disk, SystemClock, Wal, WalConfig, WalError};
use openraft::Membership;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use thiserror::Error;

const TERM: u64 = 1;
const INDEX: u64 = 1;

/// Why a disk could not be prepared.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log cannot be used.
    #[error(transparent)]
    Log(#[from] WalError),
    /// The system refused something.
    #[error("cannot write the restored log: {0}")]
    Io(#[from] io::Error),
    /// There is a log already.
    #[error("{0} holds a log already; restore into an empty data directory")]
    NotEmpty(String),
    /// The members of the configuration cannot be a membership.
    #[error("the initial cluster cannot be a membership: {0}")]
    Membership(String),
}

/// Who the members of the new cluster are.
pub struct RestorePlan {
    config: ReplicatedConfig,
    cluster_id: u64,
    position: Position,
}

impl RestorePlan {
    /// Plans a new cluster of the configuration's members. `origin` tells
    /// clusters apart that are restored from different snapshots.
    pub fn new(config: ReplicatedConfig, origin: &str) -> Result<Self, RestoreError> {
        config.validate()?;
        let base = format!("{:x}", config.cluster_id());
        let cluster_id = derive_id(&["restored", &base, origin]);
        let nodes = config.initial_cluster.iter().map(|member| {
            let node = PeerNode {
                name: member.name.clone(),
                peer_address: member.peer_address.clone(),
                client_urls: Vec::new(),
                disk_id: disk_id(cluster_id, &member.name),
            };
            (config.member_id(&member.name), node)
        });
        let nodes: BTreeMap<u64, PeerNode> = nodes.collect();
        let voters: BTreeSet<u64> = nodes.keys().copied().collect();
        let membership = Membership::new(vec![voters], nodes)
            .map_err(|error| RestoreError::Membership(error.to_string()))?;
        let at = log_id(TERM, INDEX);
        let mut position = Position::at(at);
        position.set_membership(StoredMembershipT::new(Some(at), membership));
        Ok(Self {
            config,
            cluster_id,
            position,
        })
    }

    /// The position under which the state machine has to hold the content.
    #[must_use]
    pub fn position(&self) -> Bytes {
        self.position.encode()
    }

    /// The new cluster's id.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.cluster_id
    }

    /// Writes the log that belongs to the content. Done last: without it the
    /// content does not count.
    pub async fn write_log(&self, disk: Arc<dyn Disk>) -> Result<(), RestoreError> {
        let dir = self.config.data_dir.join("wal");
        let shown = dir.display().to_string();
        let wal = Wal::open(
            WalConfig::new(dir),
            disk,
            Arc::new(SystemClock::default()),
            None,
        )?;
        if Identity::load(&wal)?.is_some() || wal.next_index() > 0 {
            return Err(RestoreError::NotEmpty(shown));
        }
        let name = &self.config.name;
        let member_id = self.config.member_id(name);
        let vote = wire::Vote::from(VoteT::new(TERM, member_id)).encode_to_vec();
        write_durably(|done| wal.set_state(SLOT_VOTE, vote.into(), done)).await?;
        let marker = wire::LogId::from(log_id(TERM, INDEX)).encode_to_vec();
        write_durably(|done| wal.purge(INDEX, marker.into(), done)).await?;
        let identity = Identity {
            lost: false,
            cluster_id: self.cluster_id,
            member_id,
            disk_id: disk_id(self.cluster_id, name),
            boot: 0,
            admitted: true,
            name: name.clone(),
            token: self.config.cluster_token.clone(),
            configured: self.config.addresses(),
        };
        identity.save(&wal).await?;
        tokio::task::spawn_blocking(move || wal.close())
            .await
            .map_err(io::Error::other)?;
        Ok(())
    }
}

/// The same on every member, so that each can be restored by itself.
fn disk_id(cluster_id: u64, name: &str) -> u64 {
    derive_id(&["disk", &format!("{cluster_id:x}"), name])
}
