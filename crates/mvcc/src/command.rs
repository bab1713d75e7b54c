//! What the log carries: commands, and their encoding.
//!
//! One log entry holds a batch of commands: a version byte, a count, then each
//! command as a kind byte, its length and its body. A replica that meets a
//! version or a kind it does not know stops with an error instead of guessing;
//! [`Command::ActivateFeature`] is how a cluster switches to a newer encoding
//! once every member knows it.

pub use crate::codec::DecodeError;
use crate::codec::{Reader, put_bytes, put_signed, put_varint};
use bytes::{BufMut, Bytes, BytesMut};
use kontiki_store::{
    AuthChange, Compare, CompareOp, CompareTarget, DeleteRangeRequest, KeyRange, LeaseId, Op,
    PutRequest, RangeRequest, Revision, SortKey, SortOrder, TxnRequest,
};

const VERSION: u8 = 1;

/// Deeper nesting is refused when decoding; [`crate::check`] refuses it earlier,
/// because each level costs part of the operation budget.
pub(crate) const MAX_TXN_DEPTH: usize = 128;

/// A deterministic change of the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Nothing; a new leader's first entry.
    Noop,
    /// A transaction. A put or a deletion alone is a transaction of one operation.
    Txn(TxnRequest),
    /// Forget history before a revision.
    Compact {
        /// The oldest revision that stays readable.
        revision: Revision,
    },
    /// Create a lease. The proposer chose the id and raised the TTL to its minimum.
    LeaseGrant {
        /// The lease.
        id: LeaseId,
        /// Its time to live.
        ttl_seconds: i64,
    },
    /// End a lease and delete its keys.
    LeaseRevoke {
        /// The lease.
        id: LeaseId,
    },
    /// Remember how long leases have still to live, for the next leader.
    LeaseCheckpoint {
        /// Pairs of lease and seconds left; 0 forgets the checkpoint (full TTL).
        remaining: Vec<(LeaseId, i64)>,
    },
    /// Set an opaque item of the cluster's own data (members, addresses, ids).
    ClusterPut {
        /// Which item.
        key: Bytes,
        /// Its new content.
        value: Bytes,
    },
    /// Remove an opaque item of the cluster's own data.
    ClusterDelete {
        /// Which item.
        key: Bytes,
    },
    /// Change users or roles.
    Auth(AuthChange),
    /// A transaction whose permissions were checked against users and roles as
    /// of a revision of theirs; refused if they have changed since.
    Permitted {
        /// That revision.
        auth_revision: u64,
        /// The transaction.
        txn: TxnRequest,
    },
    /// Every member knows this feature level; from here on it may be used.
    ActivateFeature {
        /// The level; it never goes down.
        level: u32,
    },
}

impl Command {
    /// A batch of just this command.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode_batch(std::slice::from_ref(self))
    }

    /// Reads a batch that holds one command.
    pub fn decode(input: Bytes) -> Result<Self, DecodeError> {
        let mut commands = decode_batch(input)?;
        match commands.len() {
            1 => Ok(commands.remove(0)),
            count => Err(DecodeError::BadField {
                field: "number of commands",
                value: count as u64,
            }),
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Noop => 0,
            Self::Txn(_) => 1,
            Self::Compact { .. } => 2,
            Self::LeaseGrant { .. } => 3,
            Self::LeaseRevoke { .. } => 4,
            Self::LeaseCheckpoint { .. } => 5,
            Self::ClusterPut { .. } => 6,
            Self::ClusterDelete { .. } => 7,
            Self::ActivateFeature { .. } => 8,
            Self::Auth(_) => 9,
            Self::Permitted { .. } => 10,
        }
    }

    fn encode_body(&self, out: &mut BytesMut) {
        match self {
            Self::Noop => {}
            Self::Txn(txn) => put_txn(out, txn),
            Self::Compact { revision } => put_signed(out, *revision),
            Self::LeaseGrant { id, ttl_seconds } => {
                put_signed(out, *id);
                put_signed(out, *ttl_seconds);
            }
            Self::LeaseRevoke { id } => put_signed(out, *id),
            Self::LeaseCheckpoint { remaining } => {
                put_varint(out, remaining.len() as u64);
                for (id, seconds) in remaining {
                    put_signed(out, *id);
                    put_signed(out, *seconds);
                }
            }
            Self::ClusterPut { key, value } => {
                put_bytes(out, key);
                put_bytes(out, value);
            }
            Self::ClusterDelete { key } => put_bytes(out, key),
            Self::ActivateFeature { level } => put_varint(out, u64::from(*level)),
            Self::Auth(change) => crate::auth::put_change(out, change),
            Self::Permitted { auth_revision, txn } => {
                put_varint(out, *auth_revision);
                put_txn(out, txn);
            }
        }
    }

    fn decode_body(kind: u8, body: Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(body);
        let command = match kind {
            0 => Self::Noop,
            1 => Self::Txn(get_txn(&mut input, 0)?),
            2 => Self::Compact {
                revision: input.signed()?,
            },
            3 => Self::LeaseGrant {
                id: input.signed()?,
                ttl_seconds: input.signed()?,
            },
            4 => Self::LeaseRevoke {
                id: input.signed()?,
            },
            5 => {
                let count = input.count()?;
                let remaining = (0..count)
                    .map(|_| Ok((input.signed()?, input.signed()?)))
                    .collect::<Result<_, DecodeError>>()?;
                Self::LeaseCheckpoint { remaining }
            }
            6 => Self::ClusterPut {
                key: input.bytes()?,
                value: input.bytes()?,
            },
            7 => Self::ClusterDelete {
                key: input.bytes()?,
            },
            8 => Self::ActivateFeature {
                level: u32::try_from(input.varint()?).map_err(|_| DecodeError::BadNumber)?,
            },
            9 => Self::Auth(crate::auth::get_change(&mut input)?),
            10 => Self::Permitted {
                auth_revision: input.varint()?,
                txn: get_txn(&mut input, 0)?,
            },
            kind => return Err(DecodeError::UnknownCommand(kind)),
        };
        input.finish()?;
        Ok(command)
    }
}

/// Encodes the commands of one log entry.
#[must_use]
pub fn encode_batch(commands: &[Command]) -> Bytes {
    let mut out = BytesMut::with_capacity(64 * (commands.len() + 1));
    let mut body = BytesMut::new();
    out.put_u8(VERSION);
    put_varint(&mut out, commands.len() as u64);
    for command in commands {
        body.clear();
        command.encode_body(&mut body);
        out.put_u8(command.kind());
        put_bytes(&mut out, &body);
    }
    out.freeze()
}

/// Decodes the commands of one log entry. Keys and values are slices of `input`.
pub fn decode_batch(input: Bytes) -> Result<Vec<Command>, DecodeError> {
    let mut input = Reader::new(input);
    let version = input.byte()?;
    if version != VERSION {
        return Err(DecodeError::UnknownVersion(version));
    }
    let count = input.count()?;
    let mut commands = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = input.byte()?;
        commands.push(Command::decode_body(kind, input.bytes()?)?);
    }
    input.finish()?;
    Ok(commands)
}

fn put_txn(out: &mut BytesMut, txn: &TxnRequest) {
    put_varint(out, txn.compare.len() as u64);
    for compare in &txn.compare {
        put_compare(out, compare);
    }
    for ops in [&txn.success, &txn.failure] {
        put_varint(out, ops.len() as u64);
        for op in ops {
            put_op(out, op);
        }
    }
}

fn get_txn(input: &mut Reader, depth: usize) -> Result<TxnRequest, DecodeError> {
    if depth >= MAX_TXN_DEPTH {
        return Err(DecodeError::TooDeep);
    }
    let count = input.count()?;
    let compare = (0..count)
        .map(|_| get_compare(input))
        .collect::<Result<_, _>>()?;
    let count = input.count()?;
    let success = (0..count)
        .map(|_| get_op(input, depth))
        .collect::<Result<_, _>>()?;
    let count = input.count()?;
    let failure = (0..count)
        .map(|_| get_op(input, depth))
        .collect::<Result<_, _>>()?;
    Ok(TxnRequest {
        compare,
        success,
        failure,
    })
}

fn put_range(out: &mut BytesMut, range: &KeyRange) {
    put_bytes(out, &range.key);
    put_bytes(out, &range.end);
}

fn get_range(input: &mut Reader) -> Result<KeyRange, DecodeError> {
    Ok(KeyRange {
        key: input.bytes()?,
        end: input.bytes()?,
    })
}

fn put_compare(out: &mut BytesMut, compare: &Compare) {
    put_range(out, &compare.range);
    out.put_u8(match compare.op {
        CompareOp::Equal => 0,
        CompareOp::Greater => 1,
        CompareOp::Less => 2,
        CompareOp::NotEqual => 3,
    });
    let (kind, number) = match &compare.target {
        CompareTarget::Version(number) => (0, *number),
        CompareTarget::CreateRevision(number) => (1, *number),
        CompareTarget::ModRevision(number) => (2, *number),
        CompareTarget::Lease(number) => (4, *number),
        CompareTarget::Value(value) => {
            out.put_u8(3);
            put_bytes(out, value);
            return;
        }
    };
    out.put_u8(kind);
    put_signed(out, number);
}

fn get_compare(input: &mut Reader) -> Result<Compare, DecodeError> {
    let range = get_range(input)?;
    let op = match input.byte()? {
        0 => CompareOp::Equal,
        1 => CompareOp::Greater,
        2 => CompareOp::Less,
        3 => CompareOp::NotEqual,
        value => {
            return Err(DecodeError::BadField {
                field: "compare operator",
                value: value.into(),
            });
        }
    };
    let target = match input.byte()? {
        0 => CompareTarget::Version(input.signed()?),
        1 => CompareTarget::CreateRevision(input.signed()?),
        2 => CompareTarget::ModRevision(input.signed()?),
        3 => CompareTarget::Value(input.bytes()?),
        4 => CompareTarget::Lease(input.signed()?),
        value => {
            return Err(DecodeError::BadField {
                field: "compare target",
                value: value.into(),
            });
        }
    };
    Ok(Compare { range, op, target })
}

fn put_op(out: &mut BytesMut, op: &Op) {
    match op {
        Op::Range(range) => {
            out.put_u8(0);
            put_range_request(out, range);
        }
        Op::Put(put) => {
            out.put_u8(1);
            put_bytes(out, &put.key);
            put_bytes(out, &put.value);
            put_signed(out, put.lease);
            put_flags(out, [put.prev_kv, put.ignore_value, put.ignore_lease]);
        }
        Op::DeleteRange(delete) => {
            out.put_u8(2);
            put_range(out, &delete.range);
            put_flags(out, [delete.prev_kv, false, false]);
        }
        Op::Txn(txn) => {
            out.put_u8(3);
            put_txn(out, txn);
        }
    }
}

fn get_op(input: &mut Reader, depth: usize) -> Result<Op, DecodeError> {
    Ok(match input.byte()? {
        0 => Op::Range(get_range_request(input)?),
        1 => {
            let (key, value, lease) = (input.bytes()?, input.bytes()?, input.signed()?);
            let [prev_kv, ignore_value, ignore_lease] = get_flags(input)?;
            Op::Put(PutRequest {
                key,
                value,
                lease,
                prev_kv,
                ignore_value,
                ignore_lease,
            })
        }
        2 => {
            let range = get_range(input)?;
            let [prev_kv, _, _] = get_flags(input)?;
            Op::DeleteRange(DeleteRangeRequest { range, prev_kv })
        }
        3 => Op::Txn(get_txn(input, depth + 1)?),
        value => {
            return Err(DecodeError::BadField {
                field: "operation",
                value: value.into(),
            });
        }
    })
}

fn put_flags(out: &mut BytesMut, flags: [bool; 3]) {
    out.put_u8(
        flags
            .iter()
            .enumerate()
            .map(|(bit, flag)| u8::from(*flag) << bit)
            .sum(),
    );
}

fn get_flags(input: &mut Reader) -> Result<[bool; 3], DecodeError> {
    let bits = input.byte()?;
    if bits > 7 {
        return Err(DecodeError::BadField {
            field: "flags",
            value: bits.into(),
        });
    }
    Ok([bits & 1 != 0, bits & 2 != 0, bits & 4 != 0])
}

fn put_range_request(out: &mut BytesMut, request: &RangeRequest) {
    put_range(out, &request.range);
    put_signed(out, request.limit);
    put_signed(out, request.revision);
    out.put_u8(match request.order {
        SortOrder::None => 0,
        SortOrder::Ascend => 1,
        SortOrder::Descend => 2,
    });
    out.put_u8(match request.sort_by {
        SortKey::Key => 0,
        SortKey::Version => 1,
        SortKey::Create => 2,
        SortKey::Mod => 3,
        SortKey::Value => 4,
    });
    put_flags(
        out,
        [request.serializable, request.keys_only, request.count_only],
    );
    put_signed(out, request.min_mod_revision);
    put_signed(out, request.max_mod_revision);
    put_signed(out, request.min_create_revision);
    put_signed(out, request.max_create_revision);
}

fn get_range_request(input: &mut Reader) -> Result<RangeRequest, DecodeError> {
    let range = get_range(input)?;
    let (limit, revision) = (input.signed()?, input.signed()?);
    let order = match input.byte()? {
        0 => SortOrder::None,
        1 => SortOrder::Ascend,
        2 => SortOrder::Descend,
        value => {
            return Err(DecodeError::BadField {
                field: "sort order",
                value: value.into(),
            });
        }
    };
    let sort_by = match input.byte()? {
        0 => SortKey::Key,
        1 => SortKey::Version,
        2 => SortKey::Create,
        3 => SortKey::Mod,
        4 => SortKey::Value,
        value => {
            return Err(DecodeError::BadField {
                field: "sort key",
                value: value.into(),
            });
        }
    };
    let [serializable, keys_only, count_only] = get_flags(input)?;
    Ok(RangeRequest {
        range,
        limit,
        revision,
        order,
        sort_by,
        serializable,
        keys_only,
        count_only,
        min_mod_revision: input.signed()?,
        max_mod_revision: input.signed()?,
        min_create_revision: input.signed()?,
        max_create_revision: input.signed()?,
    })
}
