//! `kontiki member`: who belongs to the store, changed while it runs.

use super::endpoints::StoreArgs;
use anyhow::{Context, Result};
use kontiki_etcd::pb::etcdserverpb as pb;
use kontiki_etcd::pb::etcdserverpb::cluster_client::ClusterClient;
use kontiki_etcd::pb::etcdserverpb::maintenance_client::MaintenanceClient;
use std::fmt::Write;
use tonic::transport::Channel;

/// What to do.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Show every member.
    List {
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Add a member; start it afterwards with the cluster's state `existing`.
    ///
    /// It catches up as a learner and votes as soon as it has, so the cluster
    /// never waits for a machine that is not there yet.
    Add {
        #[command(flatten)]
        store: StoreArgs,
        /// Where the others will reach it, host:port.
        #[arg(long)]
        peer_address: String,
        /// Keep it a learner until it is promoted by hand.
        #[arg(long)]
        learner: bool,
    },
    /// Make a learner that has caught up a voter.
    Promote {
        #[command(flatten)]
        store: StoreArgs,
        /// Its id, as `list` shows it.
        #[arg(value_parser = parse_id)]
        id: u64,
    },
    /// Remove a member for good. Its id is never used again.
    Remove {
        #[command(flatten)]
        store: StoreArgs,
        /// Its id, as `list` shows it.
        #[arg(value_parser = parse_id)]
        id: u64,
    },
    /// Make a voter the leader.
    MoveLeader {
        #[command(flatten)]
        store: StoreArgs,
        /// Its id, as `list` shows it.
        #[arg(value_parser = parse_id)]
        id: u64,
    },
    /// Tell the others that a member is reached elsewhere.
    Readdress {
        #[command(flatten)]
        store: StoreArgs,
        /// Its id, as `list` shows it.
        #[arg(value_parser = parse_id)]
        id: u64,
        /// Where, host:port.
        #[arg(long)]
        peer_address: String,
    },
}

fn parse_id(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).map_err(|_| {
        format!("{text:?} is no id; ids are hexadecimal, as `kontiki member list` shows them")
    })
}

/// Peers are named by URLs on the wire; the scheme says nothing there.
fn url(address: String) -> String {
    if address.contains("://") {
        address
    } else {
        format!("https://{address}")
    }
}

impl Command {
    /// Carries it out.
    pub fn run(self) -> Result<()> {
        super::block_on(self.carry_out())
    }

    async fn carry_out(self) -> Result<()> {
        let refused = |status: tonic::Status| anyhow::anyhow!("{}", status.message());
        let members = match self {
            Self::List { store } => list(store.connect().await?).await?,
            Self::Add {
                store,
                peer_address,
                learner,
            } => {
                let request = pb::MemberAddRequest {
                    peer_ur_ls: vec![url(peer_address)],
                    is_learner: learner,
                };
                let mut client = ClusterClient::new(store.connect().await?);
                client
                    .member_add(request)
                    .await
                    .map_err(refused)?
                    .into_inner()
                    .members
            }
            Self::Promote { store, id } => {
                let mut client = ClusterClient::new(store.connect().await?);
                let promoted = client.member_promote(pb::MemberPromoteRequest { id }).await;
                promoted.map_err(refused)?.into_inner().members
            }
            Self::Remove { store, id } => {
                let mut client = ClusterClient::new(store.connect().await?);
                let removed = client.member_remove(pb::MemberRemoveRequest { id }).await;
                removed.map_err(refused)?.into_inner().members
            }
            Self::Readdress {
                store,
                id,
                peer_address,
            } => {
                let request = pb::MemberUpdateRequest {
                    id,
                    peer_ur_ls: vec![url(peer_address)],
                };
                let mut client = ClusterClient::new(store.connect().await?);
                client
                    .member_update(request)
                    .await
                    .map_err(refused)?
                    .into_inner()
                    .members
            }
            Self::MoveLeader { store, id } => {
                let leader = leader(&store).await?;
                let request = pb::MoveLeaderRequest { target_id: id };
                let moved = MaintenanceClient::new(leader.clone())
                    .move_leader(request)
                    .await;
                moved.map_err(refused)?;
                return super::print(&format!("{id:x} leads\n"));
            }
        };
        super::print(&table(&members))
    }
}

async fn list(channel: Channel) -> Result<Vec<pb::Member>> {
    let request = pb::MemberListRequest { linearizable: true };
    let listed = ClusterClient::new(channel).member_list(request).await;
    let listed = listed.map_err(|status| anyhow::anyhow!("{}", status.message()))?;
    Ok(listed.into_inner().members)
}

/// Only the leader hands its lead over: the endpoint that leads.
async fn leader(store: &StoreArgs) -> Result<Channel> {
    for endpoint in store.endpoints()? {
        let Ok(channel) = endpoint.connect().await else {
            continue;
        };
        let status = MaintenanceClient::new(channel.clone())
            .status(pb::StatusRequest {})
            .await;
        if let Ok(status) = status.map(tonic::Response::into_inner)
            && status
                .header
                .is_some_and(|header| header.member_id == status.leader)
        {
            return Ok(channel);
        }
    }
    None.context("none of the endpoints leads; name every member's endpoint")
}

fn table(members: &[pb::Member]) -> String {
    let mut lines = vec![["ID", "NAME", "ROLE", "PEERS", "CLIENTS"].map(str::to_owned)];
    lines.extend(members.iter().map(|member| {
        let role = match (member.name.is_empty(), member.is_learner) {
            (true, _) => "not started",
            (false, true) => "learner",
            (false, false) => "voter",
        };
        [
            format!("{:x}", member.id),
            member.name.clone(),
            role.to_owned(),
            member.peer_ur_ls.join(","),
            member.client_ur_ls.join(","),
        ]
    }));
    let width = |column: usize| {
        lines
            .iter()
            .map(|line| line[column].len())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_shown_with_what_they_are() {
        let member = |id, name: &str, is_learner| pb::Member {
            id,
            name: name.to_owned(),
            is_learner,
            ..pb::Member::default()
        };
        let shown = table(&[
            member(0xa1, "a", false),
            member(2, "b", true),
            member(3, "", true),
        ]);
        for (line, role) in shown.lines().skip(1).zip([
            "a1  a     voter",
            "2   b     learner",
            "3         not started",
        ]) {
            assert_eq!(line, role);
        }
        assert_eq!(parse_id("a1"), Ok(0xa1));
        assert!(parse_id("s1").is_err());
    }
}
