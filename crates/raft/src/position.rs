//! Where the state machine stands in the log: written with every batch.

use crate::types::{LogIdT, StoredMembershipT, decode_membership, encode_membership, log_id};
use crate::window::Window;
use crate::wire::state;
use bytes::Bytes;
use prost::Message;
use std::io;

/// The last applied entry, the membership as of it, and which proposals are in.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Position {
    pub applied: Option<LogIdT>,
    pub membership: StoredMembershipT,
    /// The membership's bytes, so that they are made once per change of it.
    membership_bytes: Bytes,
    pub window: Window,
}

impl Position {
    /// A position after an entry, with nothing else known.
    pub(crate) fn at(applied: LogIdT) -> Self {
        Self {
            applied: Some(applied),
            ..Self::default()
        }
    }

    pub(crate) fn set_membership(&mut self, membership: StoredMembershipT) {
        self.membership_bytes = encode_membership(membership.membership());
        self.membership = membership;
    }

    pub(crate) fn encode(&self) -> Bytes {
        let applied = self
            .applied
            .map_or((0, 0), |id| (id.leader_id.term, id.index));
        let membership_log_id = self.membership.log_id();
        let position = state::Position {
            term: applied.0,
            index: applied.1,
            membership: self.membership_bytes.clone(),
            has_membership_log_id: membership_log_id.is_some(),
            membership_term: membership_log_id.map_or(0, |id| id.leader_id.term),
            membership_index: membership_log_id.map_or(0, |id| id.index),
            applied: self.window.encode(),
        };
        position.encode_to_vec().into()
    }

    /// The position that `meta` describes; the beginning if there is none.
    pub(crate) fn decode(meta: Option<Bytes>) -> Result<Self, io::Error> {
        let Some(meta) = meta else {
            return Ok(Self::default());
        };
        let position = state::Position::decode(meta).map_err(io::Error::other)?;
        let mut decoded = Self {
            applied: Some(log_id(position.term, position.index)),
            window: Window::decode(position.applied),
            ..Self::default()
        };
        if !position.membership.is_empty() {
            let id = log_id(position.membership_term, position.membership_index);
            let id = position.has_membership_log_id.then_some(id);
            decoded.set_membership(StoredMembershipT::new(
                id,
                decode_membership(&position.membership)?,
            ));
        }
        Ok(decoded)
    }
}
