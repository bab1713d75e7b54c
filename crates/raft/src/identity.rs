//! Who this replica is, as its disk remembers it.

use crate::log_store::{SLOT_IDENTITY, write_durably};
use kontiki_wal::Wal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;

/// Kept in the write-ahead log, so that it is lost only together with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub cluster_id: u64,
    pub member_id: u64,
    /// Drawn at random when the disk was first used.
    pub disk_id: u64,
    /// Lives of the process on this disk; numbers its proposals.
    pub boot: u64,
    /// Whether the cluster's membership is known to name this disk.
    pub admitted: bool,
    /// Whether this disk lost entries that it had acknowledged, see `loss`.
    #[serde(default)]
    pub lost: bool,
    /// The name that the member was configured with when it came into being.
    #[serde(default)]
    pub name: String,
    /// And the cluster's token.
    #[serde(default)]
    pub token: String,
    /// Where the configuration said that each member is, by name, when the
    /// membership last agreed with it. A difference to the present
    /// configuration is news from the operator, everything else is old.
    #[serde(default)]
    pub configured: BTreeMap<String, String>,
}

impl Identity {
    pub(crate) fn load(wal: &Wal) -> Result<Option<Self>, io::Error> {
        let Some(bytes) = wal.state(SLOT_IDENTITY) else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(io::Error::other)
    }

    pub(crate) async fn save(&self, wal: &Wal) -> Result<(), io::Error> {
        let bytes = serde_json::to_vec(self).expect("plain data");
        write_durably(|done| wal.set_state(SLOT_IDENTITY, bytes.into(), done)).await
    }
}
