//! Members that come and go.

use super::{Nemesis, RECOVERY_MAX};
use anyhow::{Context, Result, bail};
use kontiki_etcd::pb::etcdserverpb::cluster_client::ClusterClient;
use kontiki_etcd::pb::etcdserverpb::{
    MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest,
};
use std::time::{Duration, Instant};
use tonic::Status;
use tonic::transport::Channel;

const RETRY_EVERY: Duration = Duration::from_millis(100);
const CALL_PATIENCE: Duration = Duration::from_secs(5);

impl Nemesis<'_> {
    /// The machine of the guest.
    pub(super) fn guest_number(&self) -> usize {
        self.fleet.founders()
    }

    async fn cluster(&self) -> ClusterClient<Channel> {
        let leader = self.pulse.wait_leader().await;
        ClusterClient::new(self.wires[leader].channel())
    }

    /// A member comes as a learner, is promoted, stays, and is removed.
    pub(super) async fn guest(&mut self, lasts: Duration) -> Result<()> {
        let guest = self.guest_number();
        self.hit(&[guest]);
        let began = Instant::now();
        self.add_learner().await?;
        self.fleet.let_end(guest);
        self.fleet.start(guest)?;
        self.promote().await?;
        self.note(format!("promoted after {} ms", began.elapsed().as_millis()));
        tokio::time::sleep(lasts).await;
        self.dismiss().await
    }

    /// Adds the guest as a learner; once more only if it is not there yet.
    async fn add_learner(&self) -> Result<()> {
        let request = MemberAddRequest {
            peer_ur_ls: vec![self.fleet.peer_url(self.guest_number())],
            is_learner: true,
        };
        let deadline = Instant::now() + RECOVERY_MAX;
        loop {
            let mut cluster = self.cluster().await;
            let answer = within(cluster.member_add(request.clone())).await;
            // Of an answer that got lost nobody knows: the list tells.
            if answer.is_ok() || self.guest_id().await?.is_some() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let error = answer.err().context("it was answered")?;
                return Err(error).context("the member cannot be added");
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }

    async fn promote(&self) -> Result<()> {
        let deadline = Instant::now() + RECOVERY_MAX;
        loop {
            let id = self
                .guest_id()
                .await?
                .context("the learner is not listed")?;
            let mut cluster = self.cluster().await;
            let answer = within(cluster.member_promote(MemberPromoteRequest { id })).await;
            match answer {
                Ok(_) => return Ok(()),
                // What an earlier call of unknown end did.
                Err(error)
                    if error
                        .message()
                        .contains("can only promote a learner member")
                        && !error.message().contains("in sync") =>
                {
                    return Ok(());
                }
                Err(error) if Instant::now() > deadline => {
                    let guest = self.guest_number();
                    let tail = self.fleet.tail(guest, 20);
                    bail!("the learner cannot be promoted: {error}; its log ends with\n{tail}");
                }
                Err(_) => tokio::time::sleep(RETRY_EVERY).await,
            }
        }
    }

    /// The id under which the guest is listed, if it is.
    async fn guest_id(&self) -> Result<Option<u64>> {
        let url = self.fleet.peer_url(self.guest_number());
        let deadline = Instant::now() + RECOVERY_MAX;
        loop {
            let mut cluster = self.cluster().await;
            let listed =
                within(cluster.member_list(MemberListRequest { linearizable: true })).await;
            match listed {
                Ok(list) => {
                    let mut members = list.into_inner().members.into_iter();
                    let guest = members.find(|member| member.peer_ur_ls.contains(&url));
                    return Ok(guest.map(|member| member.id));
                }
                Err(error) if Instant::now() > deadline => {
                    return Err(error).context("the members cannot be listed");
                }
                Err(_) => tokio::time::sleep(RETRY_EVERY).await,
            }
        }
    }

    /// Removes the guest, if it is a member, and takes its data away.
    pub(super) async fn dismiss(&mut self) -> Result<()> {
        let guest = self.guest_number();
        let deadline = Instant::now() + RECOVERY_MAX;
        while let Some(id) = self.guest_id().await? {
            let mut cluster = self.cluster().await;
            let answer = within(cluster.member_remove(MemberRemoveRequest { id })).await;
            if let Err(error) = answer
                && Instant::now() > deadline
            {
                return Err(error).context("the member cannot be removed");
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
        self.fleet.kill(guest)?;
        self.fleet.wipe(guest)
    }

    /// Begins to add the guest, and goes on before it is answered.
    pub(super) async fn begin_to_add(&self) -> tokio::task::JoinHandle<()> {
        let mut cluster = self.cluster().await;
        let request = MemberAddRequest {
            peer_ur_ls: vec![self.fleet.peer_url(self.guest_number())],
            is_learner: false,
        };
        tokio::spawn(async move {
            // Whatever becomes of it: the list tells afterwards.
            let _ = within(cluster.member_add(request)).await;
        })
    }
}

async fn within<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(CALL_PATIENCE, call)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")))
}
