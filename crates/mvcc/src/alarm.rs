//! Alarms: part of the cluster's own data, one item each.

use crate::command::Command;
use crate::machine::StateMachine;
use bytes::Bytes;
use kontiki_store::{Alarm, AlarmKind, Op, StoreError, TxnRequest};

const PREFIX: &[u8] = b"alarm/";

impl Command {
    /// Raises or ends an alarm.
    #[must_use]
    pub fn alarm(alarm: Alarm, on: bool) -> Self {
        let mut key = PREFIX.to_vec();
        key.extend_from_slice(&alarm.member_id.to_be_bytes());
        key.push(match alarm.kind {
            AlarmKind::NoSpace => 1,
            AlarmKind::Corrupt => 2,
        });
        let key = Bytes::from(key);
        if on {
            Self::ClusterPut {
                key,
                value: Bytes::new(),
            }
        } else {
            Self::ClusterDelete { key }
        }
    }
}

fn parse(key: &[u8]) -> Option<Alarm> {
    let (member_id, kind) = key.strip_prefix(PREFIX)?.split_first_chunk::<8>()?;
    let kind = match kind {
        [1] => AlarmKind::NoSpace,
        [2] => AlarmKind::Corrupt,
        _ => return None,
    };
    Some(Alarm {
        member_id: u64::from_be_bytes(*member_id),
        kind,
    })
}

impl StateMachine {
    /// The alarms that are on.
    #[must_use]
    pub fn alarms(&self) -> Vec<Alarm> {
        let items = self.cluster_scan(PREFIX);
        items.iter().filter_map(|(key, _)| parse(key)).collect()
    }

    /// Refuses what may not be proposed while an alarm is on. Reads, deletions
    /// and compactions go on while space is short.
    pub fn check_alarms(&self, txn: &TxnRequest) -> Result<(), StoreError> {
        for alarm in self.alarms() {
            match alarm.kind {
                AlarmKind::Corrupt => {
                    let who = format!("member {:x} raised the alarm", alarm.member_id);
                    return Err(StoreError::Corrupt(who));
                }
                AlarmKind::NoSpace if puts(txn) => return Err(StoreError::NoSpace),
                AlarmKind::NoSpace => {}
            }
        }
        Ok(())
    }
}

/// Whether some path of the transaction puts a key.
#[must_use]
pub fn puts(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::Put(_) => true,
        Op::Txn(txn) => puts(txn),
        Op::Range(_) | Op::DeleteRange(_) => false,
    })
}
