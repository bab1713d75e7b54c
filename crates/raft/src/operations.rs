//! What operators ask of a replica.

use crate::members;
use crate::position::Position;
use crate::store::{ReplicatedStore, header, unexpected};
use crate::wire::ChangeMemberRequest;
use async_trait::async_trait;
use kontiki_mvcc::{Applied, Command, StateMachine};
use kontiki_store::{
    Alarm, AuthChange, AuthState, Diagnosis, Dump, Header, KvHash, Member, MemberChange,
    MemberError, Operations, Revision, Store, StoreError, TxnRequest, TxnResponse,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const ASK_AGAIN: Duration = Duration::from_millis(20);

impl ReplicatedStore {
    /// Reads a lot from the engine, off the runtime's threads.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&StateMachine) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let content = self.replica.content.clone();
        let reading = self.replica.workers.run(move || read(&content));
        reading
            .await
            .map_err(|error| StoreError::Internal(error.to_string()))
    }

    async fn ask_leader(&self, leader: u64, change: &MemberChange) -> Option<members::Changed> {
        if leader == self.replica.id() {
            return members::change(&self.replica, change.clone()).await.ok();
        }
        let change = serde_json::to_vec(change).expect("plain data").into();
        let request = ChangeMemberRequest { change };
        let answer = self.client(leader).change_member(request).await.ok()?;
        members::decode_answer(&answer.into_inner().answer).ok()
    }
}

#[async_trait]
impl Operations for ReplicatedStore {
    async fn hash_kv(&self, revision: Revision) -> Result<KvHash, StoreError> {
        let hash = self
            .read(move |content| content.hash_kv(revision))
            .await??;
        Ok(KvHash {
            header: self.replica.content.header(),
            hash: hash.hash,
            revision: hash.revision,
            compact_revision: hash.compact_revision,
        })
    }

    async fn hash(&self) -> Result<u32, StoreError> {
        self.read(StateMachine::state_hash).await?
    }

    async fn alarms(&self) -> Result<Vec<Alarm>, StoreError> {
        self.read_barrier().await?;
        Ok(self.replica.content.alarms())
    }

    fn local_alarms(&self) -> Vec<Alarm> {
        self.replica.content.alarms()
    }

    async fn set_alarm(&self, alarm: Alarm, on: bool) -> Result<(), StoreError> {
        self.propose(Command::alarm(alarm, on)).await.map(drop)
    }

    async fn move_leader(&self, to: u64) -> Result<(), StoreError> {
        let replica = &self.replica;
        if !replica.is_leader() {
            return Err(MemberError::NotLeader.into());
        }
        if to == replica.id() {
            return Ok(());
        }
        if !replica.voters().contains(&to) {
            return Err(MemberError::BadTransferee.into());
        }
        let patience = replica.config.limits.request_timeout;
        if members::hand_over(replica, to, patience).await {
            Ok(())
        } else {
            Err(MemberError::TransferTimeout.into())
        }
    }

    async fn change_member(
        &self,
        change: MemberChange,
    ) -> Result<(Member, Vec<Member>), StoreError> {
        let deadline = Instant::now() + self.replica.config.limits.request_timeout;
        let mut leader = self.replica.leader.clone();
        loop {
            let known = *leader.borrow_and_update();
            if let Some(id) = known {
                let asked = tokio::time::timeout_at(deadline, self.ask_leader(id, &change)).await;
                if let Ok(Some(changed)) = asked {
                    let (member, members) = changed?;
                    let members = members.into_iter().map(members::shown).collect();
                    return Ok((members::shown(member), members));
                }
            }
            if Instant::now() >= deadline {
                let nobody = known.is_none();
                return Err(if nobody {
                    StoreError::NoLeader
                } else {
                    StoreError::Timeout
                });
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    async fn diagnose(&self, write_probe: bool) -> Result<Diagnosis, StoreError> {
        Ok(self.examine(write_probe).await)
    }

    async fn dump(&self) -> Result<Dump, StoreError> {
        let internal = |error: &dyn std::fmt::Display| StoreError::Internal(error.to_string());
        let dumping = self
            .read(StateMachine::dump)
            .await?
            .map_err(|error| internal(&error))?;
        let position = Position::decode(dumping.meta).map_err(|error| internal(&error))?;
        Ok(Dump {
            header: dumping.header,
            compact_revision: dumping.compact_revision,
            applied_index: position.applied.map_or(0, |id| id.index),
            members: self.members().await?,
            auth: self.auth(),
            alarms: self.replica.content.alarms(),
            items: dumping.items,
        })
    }

    fn auth(&self) -> Arc<AuthState> {
        self.replica.content.auth()
    }

    async fn change_auth(&self, change: AuthChange) -> Result<Header, StoreError> {
        header(&self.propose(Command::Auth(change)).await?)
    }

    async fn txn_permitted(
        &self,
        txn: TxnRequest,
        auth_revision: u64,
    ) -> Result<TxnResponse, StoreError> {
        if txn.is_read_only() {
            return self.txn(txn).await;
        }
        kontiki_mvcc::check(&txn, &self.replica.config.limits.request)?;
        self.replica.content.check_alarms(&txn)?;
        let command = Command::Permitted { auth_revision, txn };
        match self.propose(command).await? {
            Applied::Txn(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }
}
