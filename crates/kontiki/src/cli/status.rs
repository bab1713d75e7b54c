//! `kontiki status`: how the store's members are, as each of them sees itself.

use super::endpoints::{PATIENCE, StoreArgs, StoreEndpoint};
use anyhow::{Result, bail};
use kontiki_etcd::pb::etcdserverpb::cluster_client::ClusterClient;
use kontiki_etcd::pb::etcdserverpb::maintenance_client::MaintenanceClient;
use kontiki_etcd::pb::etcdserverpb::{Member, MemberListRequest, StatusRequest, StatusResponse};
use serde::Serialize;
use std::fmt::Write;

/// Whom to ask, and how to show it.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    store: StoreArgs,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

/// What one endpoint answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    endpoint: String,
    id: String,
    name: String,
    role: &'static str,
    term: u64,
    index: u64,
    applied: u64,
    revision: i64,
    db_size_bytes: i64,
    errors: Vec<String>,
}

impl Args {
    /// Asks everybody and shows it; fails if somebody does not answer or nobody leads.
    pub fn run(self) -> Result<()> {
        let endpoints = self.store.endpoints()?;
        let rows = super::block_on(async {
            Ok(futures::future::join_all(endpoints.into_iter().map(row)).await)
        })?;
        let shown = if self.json {
            format!("{}\n", serde_json::to_string_pretty(&rows)?)
        } else {
            table(&rows)
        };
        super::print(&shown)?;
        verdict(&rows)
    }
}

async fn row(endpoint: StoreEndpoint) -> Row {
    let answered = match tokio::time::timeout(PATIENCE, ask(&endpoint)).await {
        Ok(answered) => answered,
        Err(_) => Err(anyhow::anyhow!("no answer within {} s", PATIENCE.as_secs())),
    };
    let endpoint = endpoint.url;
    match answered {
        Ok((status, members)) => to_row(endpoint, status, &members),
        Err(error) => Row {
            endpoint,
            role: "unreachable",
            errors: vec![format!("{error:#}")],
            ..Row::default()
        },
    }
}

async fn ask(endpoint: &StoreEndpoint) -> Result<(StatusResponse, Vec<Member>)> {
    let channel = endpoint.connect().await?;
    let status = MaintenanceClient::new(channel.clone())
        .status(StatusRequest {})
        .await
        .map_err(|status| anyhow::anyhow!("{}", status.message()))?
        .into_inner();
    // Not linearizable: a member that has lost the others still answers.
    let members = ClusterClient::new(channel)
        .member_list(MemberListRequest {
            linearizable: false,
        })
        .await;
    Ok((
        status,
        members
            .map(|members| members.into_inner().members)
            .unwrap_or_default(),
    ))
}

fn to_row(endpoint: String, status: StatusResponse, members: &[Member]) -> Row {
    let header = status.header.unwrap_or_default();
    let name = members
        .iter()
        .find(|member| member.id == header.member_id)
        .map(|member| member.name.clone());
    let role = match status.leader {
        leader if leader != 0 && leader == header.member_id => "leader",
        _ if status.is_learner => "learner",
        0 => "no leader",
        _ => "follower",
    };
    Row {
        endpoint,
        id: format!("{:x}", header.member_id),
        name: name.unwrap_or_default(),
        role,
        term: status.raft_term,
        index: status.raft_index,
        applied: status.raft_applied_index,
        revision: header.revision,
        db_size_bytes: status.db_size,
        errors: status.errors,
    }
}

const HEADINGS: [&str; 10] = [
    "ENDPOINT", "ID", "NAME", "ROLE", "TERM", "INDEX", "APPLIED", "REVISION", "DB SIZE", "ERRORS",
];

fn table(rows: &[Row]) -> String {
    let mut lines: Vec<[String; 10]> = vec![HEADINGS.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        [
            row.endpoint.clone(),
            row.id.clone(),
            row.name.clone(),
            row.role.to_owned(),
            row.term.to_string(),
            row.index.to_string(),
            row.applied.to_string(),
            row.revision.to_string(),
            size(row.db_size_bytes),
            row.errors.join("; "),
        ]
    }));
    let widths: Vec<usize> = (0..HEADINGS.len())
        .map(|column| {
            lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "{cell:<width$}  ");
        }
        let _ = writeln!(out, "{}", text.trim_end());
    }
    out
}

#[expect(
    clippy::cast_precision_loss,
    reason = "one digit after the point is shown"
)]
fn size(bytes: i64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

fn verdict(rows: &[Row]) -> Result<()> {
    let silent: Vec<&str> = rows
        .iter()
        .filter(|row| row.role == "unreachable")
        .map(|row| row.endpoint.as_str())
        .collect();
    if !silent.is_empty() {
        bail!("no answer from {}", silent.join(", "));
    }
    if !rows.iter().any(|row| row.role == "leader") {
        bail!("none of them leads; name every member, or see whether more than half of them run");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kontiki_etcd::pb::etcdserverpb::ResponseHeader;

    fn status(member: u64, leader: u64) -> StatusResponse {
        StatusResponse {
            header: Some(ResponseHeader {
                member_id: member,
                revision: 42,
                ..ResponseHeader::default()
            }),
            leader,
            raft_term: 3,
            db_size: 2_500_000,
            ..StatusResponse::default()
        }
    }

    #[test]
    fn a_member_is_what_it_says_of_itself() {
        let members = [Member {
            id: 0xa1,
            name: "s1".into(),
            ..Member::default()
        }];
        let leader = to_row("e".into(), status(0xa1, 0xa1), &members);
        assert_eq!(
            (leader.role, leader.name.as_str(), leader.id.as_str()),
            ("leader", "s1", "a1")
        );
        assert_eq!(
            to_row("e".into(), status(2, 0xa1), &members).role,
            "follower"
        );
        assert_eq!(to_row("e".into(), status(2, 0), &members).role, "no leader");
        let learner = StatusResponse {
            is_learner: true,
            ..status(2, 1)
        };
        assert_eq!(to_row("e".into(), learner, &members).role, "learner");
    }

    #[test]
    fn the_verdict_needs_a_leader_and_everybodys_answer() {
        let leader = to_row("a".into(), status(1, 1), &[]);
        let follower = to_row("b".into(), status(2, 1), &[]);
        let silent = Row {
            endpoint: "c".into(),
            role: "unreachable",
            ..Row::default()
        };
        assert!(verdict(&[leader.clone(), follower.clone()]).is_ok());
        assert!(verdict(&[follower]).is_err());
        assert!(
            verdict(&[leader, silent])
                .expect_err("one is silent")
                .to_string()
                .contains('c')
        );
    }

    #[test]
    fn the_columns_of_the_table_stand_below_their_headings() {
        let rows = [to_row("https://10.0.0.1:2379".into(), status(1, 1), &[])];
        let table = table(&rows);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0].find("ROLE"), lines[1].find("leader"));
        assert_eq!(lines[0].find("DB SIZE"), lines[1].find("2.5 MB"));
    }
}
