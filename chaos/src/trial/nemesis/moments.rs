//! Killing the leader in the middle of something.

use super::{Nemesis, RECOVERY_MAX};
use crate::trial::clients;
use crate::trial::schedule::{During, Who};
use anyhow::Result;
use kontiki_checker::Request;
use kontiki_etcd::pb::etcdserverpb::SnapshotRequest;
use std::time::Duration;

impl Nemesis<'_> {
    pub(super) async fn kill_during(&mut self, during: During, lasts: Duration) -> Result<()> {
        match during {
            During::Snapshot => self.kill_during_snapshot(lasts).await,
            During::Installation => self.kill_during_installation(lasts).await,
            During::Compaction => self.kill_during_compaction(lasts).await,
            During::MemberChange => self.kill_during_change(lasts).await,
        }
    }

    /// A moment that is sometimes long enough for what goes on, sometimes not.
    async fn moment(&mut self, micros_max: usize) {
        let micros = self.random.below(micros_max) as u64;
        tokio::time::sleep(Duration::from_micros(micros)).await;
    }

    async fn kill_and_start(&self, leader: usize, lasts: Duration) -> Result<()> {
        self.fleet.kill(leader)?;
        tokio::time::sleep(lasts).await;
        self.fleet.start(leader)
    }

    async fn kill_during_snapshot(&mut self, lasts: Duration) -> Result<()> {
        let leader = self.resolve(Who::Leader).await[0];
        let mut maintenance = self.wires[leader].maintenance();
        let asked = maintenance.snapshot(SnapshotRequest {});
        let stream = tokio::time::timeout(Duration::from_secs(2), asked).await;
        if let Ok(Ok(stream)) = stream {
            let mut stream = stream.into_inner();
            let first = stream.message().await.ok().flatten();
            let left = first.map_or(0, |blob| blob.remaining_bytes);
            self.note(format!("killed with {left} bytes to go"));
        }
        self.kill_and_start(leader, lasts).await
    }

    /// A follower has lost its disk and is being given everything.
    async fn kill_during_installation(&mut self, lasts: Duration) -> Result<()> {
        let follower = self.resolve(Who::Follower(0)).await[0];
        self.fleet.kill(follower)?;
        self.fleet.wipe(follower)?;
        self.fleet.start(follower)?;
        self.moment(600_000).await;
        let leader = self.resolve(Who::Leader).await[0];
        if leader == follower {
            self.note("the rebuilt member led already");
        }
        self.kill_and_start(leader, lasts).await?;
        self.wait_serving(follower, RECOVERY_MAX).await
    }

    async fn kill_during_compaction(&mut self, lasts: Duration) -> Result<()> {
        let leader = self.resolve(Who::Leader).await[0];
        let revision = self.recorder.shown_before() - 1;
        if revision > 1 {
            let (recorder, wire) = (self.recorder.clone(), self.wires[leader].clone());
            let request = Request::Compact(revision);
            tokio::spawn(async move { clients::call(&recorder, &wire, leader, request).await });
            self.moment(8_000).await;
        }
        self.kill_and_start(leader, lasts).await
    }

    async fn kill_during_change(&mut self, lasts: Duration) -> Result<()> {
        let leader = self.resolve(Who::Leader).await[0];
        let guest = self.guest_number();
        self.fleet.let_end(guest);
        let adding = self.begin_to_add().await;
        self.fleet.start(guest)?;
        self.moment(400_000).await;
        self.kill_and_start(leader, lasts).await?;
        let _ = adding.await;
        self.wait_serving(leader, RECOVERY_MAX).await?;
        self.dismiss().await
    }
}
