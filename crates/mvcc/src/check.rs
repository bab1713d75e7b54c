//! Which requests are refused before they reach the log, with etcd's errors.
//!
//! Two kinds of rules live here. What depends on configuration ([`check`] with
//! its [`Limits`]) is only asked before proposing, because replicas may be
//! configured differently. The structural rule that a transaction writes a key
//! at most once is asked again when applying: the layout relies on it.

use kontiki_store::{Compare, CompareTarget, KeyRange, Op, RangeRequest, StoreError, TxnRequest};
use std::collections::BTreeSet;

/// The longest TTL that can be granted.
pub const MAX_LEASE_TTL_SECONDS: i64 = 9_000_000_000;

/// Limits of a single request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Compares or operations in one list of a transaction, nesting included.
    pub txn_ops_max: usize,
    /// Bytes of all keys and values of a request.
    pub request_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            txn_ops_max: 128,
            request_bytes_max: 1_572_864,
        }
    }
}

/// Refuses what may not be proposed.
pub fn check(txn: &TxnRequest, limits: &Limits) -> Result<(), StoreError> {
    check_ops(txn, limits.txn_ops_max)?;
    check_single_writes(txn)?;
    if size_bytes(txn) > limits.request_bytes_max {
        return Err(StoreError::RequestTooLarge);
    }
    Ok(())
}

/// Refuses a range that cannot be served.
pub fn check_range(request: &RangeRequest) -> Result<(), StoreError> {
    check_key(&request.range)
}

/// The TTL that a lease gets: at least the minimum, unless it is beyond what can be granted.
pub fn lease_ttl(requested_seconds: i64, minimum_seconds: i64) -> Result<i64, StoreError> {
    if requested_seconds > MAX_LEASE_TTL_SECONDS {
        return Err(StoreError::LeaseTtlTooLarge);
    }
    Ok(requested_seconds.max(minimum_seconds))
}

fn check_key(range: &KeyRange) -> Result<(), StoreError> {
    if range.key.is_empty() {
        Err(StoreError::EmptyKey)
    } else {
        Ok(())
    }
}

/// Each level of nesting takes the longest list of the level from the budget.
fn check_ops(txn: &TxnRequest, budget: usize) -> Result<(), StoreError> {
    let used = txn
        .compare
        .len()
        .max(txn.success.len())
        .max(txn.failure.len());
    if used > budget {
        return Err(StoreError::TooManyOps);
    }
    for compare in &txn.compare {
        check_key(&compare.range)?;
    }
    for op in txn.success.iter().chain(&txn.failure) {
        check_op(op, budget - used)?;
    }
    Ok(())
}

fn check_op(op: &Op, budget: usize) -> Result<(), StoreError> {
    match op {
        Op::Range(range) => check_range(range),
        Op::DeleteRange(delete) => check_key(&delete.range),
        Op::Txn(txn) => check_ops(txn, budget),
        Op::Put(put) => {
            if put.key.is_empty() {
                return Err(StoreError::EmptyKey);
            }
            if put.ignore_value && !put.value.is_empty() {
                return Err(StoreError::ValueProvided);
            }
            if put.ignore_lease && put.lease != 0 {
                return Err(StoreError::LeaseProvided);
            }
            Ok(())
        }
    }
}

/// Refuses a transaction of which some path may write a key twice. The two
/// branches of one transaction exclude each other and may overlap.
///
/// etcd lets a nested transaction delete what an earlier sibling put; here
/// that is a duplicate too, so that a key has one version a revision.
pub(crate) fn check_single_writes(txn: &TxnRequest) -> Result<(), StoreError> {
    if let ([] | [_], [] | [_]) = (&txn.success[..], &txn.failure[..])
        && !txn
            .success
            .iter()
            .chain(&txn.failure)
            .any(|op| matches!(op, Op::Txn(_)))
    {
        return Ok(());
    }
    Writes::of(&txn.success)?;
    Writes::of(&txn.failure)?;
    Ok(())
}

/// What a list of operations may write.
#[derive(Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Vec<&'a KeyRange>,
}

impl<'a> Writes<'a> {
    fn of(ops: &'a [Op]) -> Result<Self, StoreError> {
        let mut writes = Self::default();
        for op in ops {
            match op {
                Op::Range(_) => {}
                Op::Put(put) => {
                    if !writes.puts.insert(&put.key) {
                        return Err(StoreError::DuplicateKey);
                    }
                }
                Op::DeleteRange(delete) => writes.deletes.push(&delete.range),
                Op::Txn(txn) => {
                    let mut either = Self::of(&txn.success)?;
                    let failure = Self::of(&txn.failure)?;
                    either.puts.extend(failure.puts);
                    either.deletes.extend(failure.deletes);
                    writes.join(either)?;
                }
            }
        }
        // Once more for this level, now that everything of it and below is known.
        for op in ops {
            let twice = match op {
                Op::DeleteRange(delete) => writes.touches(&delete.range),
                Op::Put(put) => writes.deletes.iter().any(|range| range.contains(&put.key)),
                Op::Range(_) | Op::Txn(_) => false,
            };
            if twice {
                return Err(StoreError::DuplicateKey);
            }
        }
        Ok(writes)
    }

    fn join(&mut self, other: Self) -> Result<(), StoreError> {
        if other.puts.iter().any(|key| {
            self.puts.contains(key) || self.deletes.iter().any(|range| range.contains(key))
        }) || other.deletes.iter().any(|range| self.touches(range))
        {
            return Err(StoreError::DuplicateKey);
        }
        self.puts.extend(other.puts);
        self.deletes.extend(other.deletes);
        Ok(())
    }

    fn touches(&self, range: &KeyRange) -> bool {
        self.puts
            .range(&range.key[..]..)
            .take_while(|key| range.contains(key))
            .next()
            .is_some()
    }
}

fn size_bytes(txn: &TxnRequest) -> usize {
    let compares: usize = txn.compare.iter().map(compare_bytes).sum();
    compares
        + txn
            .success
            .iter()
            .chain(&txn.failure)
            .map(op_bytes)
            .sum::<usize>()
}

fn compare_bytes(compare: &Compare) -> usize {
    let value = if let CompareTarget::Value(value) = &compare.target {
        value.len()
    } else {
        8
    };
    compare.range.key.len() + compare.range.end.len() + value
}

fn op_bytes(op: &Op) -> usize {
    match op {
        Op::Range(range) => range.range.key.len() + range.range.end.len(),
        Op::Put(put) => put.key.len() + put.value.len(),
        Op::DeleteRange(delete) => delete.range.key.len() + delete.range.end.len(),
        Op::Txn(txn) => size_bytes(txn),
    }
}
