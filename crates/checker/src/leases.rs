//! A lease lives at least as long as it was promised to.

use crate::history::{History, Moment, Operation, Request, Response};
use crate::replay::Replayed;
use crate::{Clocks, Property, Violation};
use kontiki_store::{LeaseId, Op, StoreError, TxnRequest};
use std::collections::BTreeMap;
use std::time::Duration;

/// What clients know of one lease.
#[derive(Default)]
struct Lease {
    /// When it was granted or kept alive with success: called, answered, for how long.
    promises: Vec<(Moment, Moment, Duration)>,
    /// When somebody asked for its end, with whatever success.
    revocations: Vec<Moment>,
}

/// Answers how many leases ended by themselves.
pub(crate) fn check(
    history: &History,
    replayed: &Replayed,
    clocks: Clocks,
) -> Result<usize, Violation> {
    let mut leases: BTreeMap<LeaseId, Lease> = BTreeMap::new();
    for operation in &history.operations {
        note(&mut leases, operation);
    }
    let mut expired = 0;
    for (id, ended) in &replayed.ended {
        if ended.by_client {
            continue;
        }
        expired += 1;
        let Some(seen) = replayed.seen.get(&ended.revision) else {
            continue;
        };
        let what = format!("lease {id} ended at revision {}", ended.revision);
        not_before_its_time(leases.get(id), *seen, clocks, &what)?;
    }
    for operation in &history.operations {
        no_lease_missing(&leases, operation, clocks)?;
    }
    for (number, revision) in &replayed.wrote {
        if let Request::Txn(txn) = &history.operations[*number].request {
            for id in leases_of(txn) {
                let ended = replayed.ended.get(&id);
                if ended.is_some_and(|ended| ended.revision < *revision) {
                    return Err(Violation::new(
                        Property::Lease,
                        format!(
                            "lease {id} had ended when a key was attached to it at revision {revision}"
                        ),
                    ));
                }
            }
        }
    }
    Ok(expired)
}

fn note(leases: &mut BTreeMap<LeaseId, Lease>, operation: &Operation) {
    let called = operation.called;
    match (&operation.request, operation.response()) {
        (Request::Grant { .. } | Request::KeepAlive(_), Some(Response::Lease(grant))) => {
            let answered = operation.answer.as_ref().map_or(called, |answer| answer.at);
            if let Ok(seconds @ 1..) = u64::try_from(grant.ttl_seconds) {
                let promise = (called, answered, Duration::from_secs(seconds));
                leases.entry(grant.id).or_default().promises.push(promise);
            }
        }
        (Request::Revoke(id), _) => leases.entry(*id).or_default().revocations.push(called),
        _ => {}
    }
}

/// Nothing had promised the lease more time than it had when its end was seen.
fn not_before_its_time(
    lease: Option<&Lease>,
    seen: Moment,
    clocks: Clocks,
    what: &str,
) -> Result<(), Violation> {
    let Some(lease) = lease else { return Ok(()) };
    if lease
        .revocations
        .iter()
        .any(|called| called.order < seen.order)
    {
        return Ok(());
    }
    for (called, _, ttl) in &lease.promises {
        // The promise took effect after it was asked for.
        let earliest = called.time + ttl.mul_f64(1.0 - clocks.drift);
        if called.order < seen.order && seen.time + clocks.error < earliest {
            return Err(Violation::new(
                Property::Lease,
                format!(
                    "{what}, which was seen at {:?}, but at {:?} it was promised {ttl:?}",
                    seen.time, called.time
                ),
            ));
        }
    }
    Ok(())
}

/// Nobody is told that a lease is gone that must still be there.
fn no_lease_missing(
    leases: &BTreeMap<LeaseId, Lease>,
    operation: &Operation,
    clocks: Clocks,
) -> Result<(), Violation> {
    let Some(answer) = &operation.answer else {
        return Ok(());
    };
    let ids = match (&operation.request, &answer.result) {
        (Request::Txn(txn), Err(StoreError::LeaseNotFound)) => leases_of(txn),
        (Request::Revoke(_), Err(StoreError::LeaseNotFound)) => Vec::new(),
        (Request::KeepAlive(id), Ok(Response::Lease(grant))) if grant.ttl_seconds <= 0 => vec![*id],
        _ => return Ok(()),
    };
    // With several leases in one transaction nobody knows which is meant.
    let [id] = ids[..] else { return Ok(()) };
    let Some(lease) = leases.get(&id) else {
        return Ok(());
    };
    let before = Lease {
        promises: lease
            .promises
            .iter()
            .filter(|(_, answered, _)| answered.order < operation.called.order)
            .copied()
            .collect(),
        revocations: lease.revocations.clone(),
    };
    let what = format!("lease {id} was denied by {operation:?}");
    not_before_its_time(Some(&before), answer.at, clocks, &what)
}

fn leases_of(txn: &TxnRequest) -> Vec<LeaseId> {
    let mut ids = Vec::new();
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            Op::Put(put) if put.lease != 0 && !ids.contains(&put.lease) => ids.push(put.lease),
            Op::Txn(txn) => ids.extend(leases_of(txn)),
            _ => {}
        }
    }
    ids
}
