//! Transactions: compare, then do one of two lists of operations.

use crate::{Header, KeyRange, KeyValue, LeaseId, RangeRequest, RangeResponse, Revision};
use bytes::Bytes;

/// How a compare's target relates to the expected value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are etcd's own and say it all")]
pub enum CompareOp {
    Equal,
    Greater,
    Less,
    NotEqual,
}

/// What is compared, with the expected value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are etcd's own and say it all")]
pub enum CompareTarget {
    Version(i64),
    CreateRevision(Revision),
    ModRevision(Revision),
    Value(Bytes),
    Lease(LeaseId),
}

/// One condition. Over a range it must hold for every key in it. A missing key
/// compares as zeroes, and its value equals nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The keys it is about.
    pub range: KeyRange,
    /// The relation.
    pub op: CompareOp,
    /// What is compared with what.
    pub target: CompareTarget,
}

impl Compare {
    /// Holds if the key's last change was `revision` (0: the key does not exist).
    #[must_use]
    pub fn mod_revision(key: impl Into<Bytes>, revision: Revision) -> Self {
        Self {
            range: KeyRange::one(key),
            op: CompareOp::Equal,
            target: CompareTarget::ModRevision(revision),
        }
    }
}

/// A write of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutRequest {
    /// The key.
    pub key: Bytes,
    /// Its new value.
    pub value: Bytes,
    /// The lease to attach it to, 0 for none.
    pub lease: LeaseId,
    /// Answer the previous version.
    pub prev_kv: bool,
    /// Keep the present value.
    pub ignore_value: bool,
    /// Keep the present lease.
    pub ignore_lease: bool,
}

/// The answer to a put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutResponse {
    /// The previous version, if asked for and there was one.
    pub prev_kv: Option<KeyValue>,
}

/// A deletion of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteRangeRequest {
    /// Which keys.
    pub range: KeyRange,
    /// Answer the previous versions.
    pub prev_kv: bool,
}

/// The answer to a deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteRangeResponse {
    /// How many keys were deleted.
    pub deleted: i64,
    /// The previous versions, if asked for.
    pub prev_kvs: Vec<KeyValue>,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are etcd's own and say it all")]
pub enum Op {
    Range(RangeRequest),
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
}

/// The answer to one operation, in the order of the operations.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are etcd's own and say it all")]
pub enum OpResponse {
    Range(RangeResponse),
    Put(PutResponse),
    DeleteRange(DeleteRangeResponse),
    Txn(TxnResponse),
}

/// If every compare holds, `success` is run, else `failure`; all of it at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnRequest {
    /// The conditions.
    pub compare: Vec<Compare>,
    /// Run if they hold.
    pub success: Vec<Op>,
    /// Run if they do not.
    pub failure: Vec<Op>,
}

impl TxnRequest {
    /// Whether the transaction only reads, so that it needs no log entry.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| match op {
            Op::Range(_) => true,
            Op::Txn(txn) => txn.is_read_only(),
            Op::Put(_) | Op::DeleteRange(_) => false,
        })
    }
}

/// The answer to a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnResponse {
    /// Where the store stood after it.
    pub header: Header,
    /// Whether the compares held.
    pub succeeded: bool,
    /// One answer for each operation that was run.
    pub responses: Vec<OpResponse>,
}
