//! Random requests over few keys, so that they collide.

use super::Random;
use bytes::Bytes;
use kontiki_store::{
    Compare, CompareOp, CompareTarget, DeleteRangeRequest, Op, PutRequest, RangeRequest, Revision,
    SortKey, SortOrder, TxnRequest,
};

/// Leases that requests name; some of them exist.
pub const LEASES: i64 = 6;

impl Random {
    fn value(&mut self) -> Bytes {
        let len = self.below(12);
        self.bytes(len).into()
    }

    /// A revision around what exists, mostly "now".
    fn revision(&mut self, current: Revision) -> Revision {
        match self.below(6) {
            0 => -1,
            1 | 2 => 1 + self.below(current as usize + 1) as Revision,
            _ => 0,
        }
    }

    /// A range request; `current` is the store's revision.
    pub fn range_request(&mut self, current: Revision) -> RangeRequest {
        let bound = |random: &mut Self| {
            if random.one_in(8) {
                1 + random.below(current as usize) as Revision
            } else {
                0
            }
        };
        RangeRequest {
            range: self.range(),
            limit: if self.one_in(2) {
                self.below(6) as i64
            } else {
                0
            },
            revision: self.revision(current),
            order: [SortOrder::None, SortOrder::Ascend, SortOrder::Descend][self.below(3)],
            sort_by: [
                SortKey::Key,
                SortKey::Key,
                SortKey::Version,
                SortKey::Create,
                SortKey::Mod,
                SortKey::Value,
            ][self.below(6)],
            serializable: false,
            keys_only: self.one_in(4),
            count_only: self.one_in(8),
            min_mod_revision: bound(self),
            max_mod_revision: bound(self),
            min_create_revision: bound(self),
            max_create_revision: bound(self),
        }
    }

    fn compare(&mut self, current: Revision) -> Compare {
        let number = self.below(current as usize + 1) as i64;
        let target = match self.below(5) {
            0 => CompareTarget::Version(self.below(4) as i64),
            1 => CompareTarget::CreateRevision(number),
            2 => CompareTarget::ModRevision(number),
            3 => CompareTarget::Value(self.value()),
            _ => CompareTarget::Lease(self.below(3) as i64),
        };
        let op = [
            CompareOp::Equal,
            CompareOp::Greater,
            CompareOp::Less,
            CompareOp::NotEqual,
        ][self.below(4)];
        Compare {
            range: self.range(),
            op,
            target,
        }
    }

    fn op(&mut self, current: Revision, depth: usize) -> Op {
        match self.below(if depth > 0 { 10 } else { 9 }) {
            0..=4 => {
                let ignore_value = self.one_in(12);
                let ignore_lease = self.one_in(12);
                let lease = if self.one_in(3) {
                    self.below(LEASES as usize) as i64
                } else {
                    0
                };
                Op::Put(PutRequest {
                    key: self.key(),
                    value: if ignore_value {
                        Bytes::new()
                    } else {
                        self.value()
                    },
                    lease: if ignore_lease { 0 } else { lease },
                    prev_kv: self.one_in(3),
                    ignore_value,
                    ignore_lease,
                })
            }
            5 | 6 => Op::DeleteRange(DeleteRangeRequest {
                range: self.range(),
                prev_kv: self.one_in(3),
            }),
            7 | 8 => Op::Range(self.range_request(current)),
            _ => Op::Txn(self.txn(current, depth - 1)),
        }
    }

    /// A transaction, nested up to `depth` more levels. It may be one that is refused.
    pub fn txn(&mut self, current: Revision, depth: usize) -> TxnRequest {
        let (compares, successes, failures) = (self.below(3), self.below(4), self.below(3));
        TxnRequest {
            compare: (0..compares).map(|_| self.compare(current)).collect(),
            success: (0..successes).map(|_| self.op(current, depth)).collect(),
            failure: (0..failures).map(|_| self.op(current, depth)).collect(),
        }
    }
}
